"""DestinationRules: which can apply to a backend, which of them a client goes by, and what it says there.

Rules are found by a backend's host and each of its wildcard suffixes, never by going through the rules. Which one holds is a
question of who asks, so it is answered by ``choose_rule`` for one class of clients at a time.

Sources: Istio, DestinationRule; istio-semantics, 2.1, 2.2 and 2.7, and its first list where Istio and kgateway differ.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, unquote

import msgspec

from controlplane.krt import Collection, Fetch, Graph
from controlplane.model.addresses import parse_address
from controlplane.model.istio import DestinationRule, LocalityLbSetting, TrafficPolicy
from controlplane.model.services import (
    NETWORK,
    NODE,
    REGION,
    SUBZONE,
    ZONE,
    Backend,
    BackendRules,
    ClientClass,
    LocalityPolicy,
    RuleCandidate,
)
from controlplane.reducers.backends import Backends
from controlplane.reducers.base import Base, current_settings
from controlplane.reducers.priorities import FROM, LocalityPattern, PriorityLabel, matching_source
from controlplane.reducers.services import exporting_to

ALL: Final = "*"
_EXACT: Final = 10_000
"""Specificity of a host without a wildcard; a wildcard's is its length, below this."""
_SAME_ZONE: Final = (NETWORK, REGION, ZONE)
_SAME_NODE: Final = (*_SAME_ZONE, SUBZONE, NODE)
_DISTRIBUTIONS: Final[Mapping[str, tuple[str, ...]]] = {
    "preferclose": _SAME_ZONE,
    "prefersamezone": _SAME_ZONE,
    "prefersamenode": _SAME_NODE,
    "prefernetwork": (NETWORK,),
}


class RuleHost(msgspec.Struct, frozen=True):
    """The host of a DestinationRule, and when the rule counts: nothing of what it says."""

    key: str
    """The rule, ``namespace/name``."""
    host: str
    """Lower case, with namespace and domain; a leading ``*`` matches anything, dots included."""
    candidate: RuleCandidate

    @property
    def lookup(self) -> str:
        """What it is found by: an exact host itself, ``*.example.com`` for all that ends in that, or ``*``."""
        if not self.host.startswith("*"):
            return self.host
        _, dot, rest = self.host.partition(".")
        return f"*.{rest}" if dot else ALL

    def matches(self, host: str) -> bool:
        """Whether it matches a backend's host, which may be a wildcard itself."""
        return self.host == host or (self.host.startswith("*") and host.removeprefix("*").endswith(self.host[1:]))


@dataclass(frozen=True)
class DestinationRules:
    """Where DestinationRules can apply."""

    of_clusters: Collection[BackendRules]
    """By cluster; only of backends whose host some rule matches."""


def resolve_host(host: str, namespace: str, cluster_domain: str) -> str:
    """The host that a rule means: a name without a dot is a Service of the rule's own namespace.

    Source: Istio, ``ResolveShortnameToFQDN``: ``*`` and IP addresses are taken as they are.
    """
    if host == ALL or "." in host or parse_address(host) is not None:
        return host.lower()
    return f"{host}.{namespace}.svc.{cluster_domain}".lower()


def lookups(host: str) -> Iterator[str]:
    """Everything that a rule for a backend's host can be found by: the host, and its wildcard suffixes down to ``*``."""
    yield host
    rest = host.removeprefix("*.")
    while rest:
        _, _, rest = rest.partition(".")
        if rest:
            yield f"*.{rest}"
    if host != ALL:
        yield ALL


def seen_from(rule: DestinationRule) -> tuple[str, ...]:
    """The namespaces whose clients a rule is for, sorted; ``*`` alone for all.

    One with a workloadSelector is for clients of its own, whatever its exportTo says.
    """
    namespace = rule.metadata.namespace
    if rule.spec.workload_selector is not None:
        return (namespace,)
    return exporting_to(rule.spec.export_to, namespace) or (ALL,)


def to_rule_host(rule: DestinationRule, cluster_domain: str) -> RuleHost:
    """When a rule counts."""
    spec, namespace = rule.spec, rule.metadata.namespace
    host = resolve_host(spec.host, namespace, cluster_domain)
    selector = spec.workload_selector
    candidate = RuleCandidate(
        rule=rule.key,
        exported_to=seen_from(rule),
        selector=tuple(sorted(selector.match_labels.items())) if selector is not None else (),
        specificity=min(len(host), _EXACT - 1) if host.startswith("*") else _EXACT,
        created=rule.metadata.creation_timestamp or "",
    )
    return RuleHost(rule.key, host, candidate)


def choose_rule(rules: BackendRules, backend_namespace: str, client: ClientClass, root_namespace: str) -> str:
    """The rule that a client goes by.

    Of the rules that are exported to the client's namespace and select it, those of one namespace count: the client's own;
    else the backend's; else the root namespace; else any other (kgateway: Istio looks at no other). A client of the root
    namespace has of its own only those that are for it alone, so that the mesh's defaults do not hide a service's rules. Of
    these, the one with the most specific host, one that selects the client before one for all, the oldest, the first by name.

    Returns:
        ``namespace/name``; empty if none applies. Nothing is merged: the others say nothing to this client.
    """
    labels = dict(client.labels)

    def rank(candidate: RuleCandidate) -> tuple[int, int, bool, bool, str, str]:
        namespace = candidate.rule.partition("/")[0]
        if namespace == client.namespace and (namespace != root_namespace or candidate.exported_to == (namespace,)):
            place = 0
        elif namespace == backend_namespace:
            place = 1
        else:
            place = 2 if namespace == root_namespace else 3
        age = not candidate.created, candidate.created
        return place, -candidate.specificity, not candidate.selector, *age, candidate.rule

    applicable = [
        candidate
        for candidate in rules.candidates
        if (candidate.exported_to == (ALL,) or client.namespace in candidate.exported_to)
        and all(labels.get(key) == value for key, value in candidate.selector)
    ]
    return min(applicable, key=rank).rule if applicable else ""


def effective_policy(policy: TrafficPolicy | None, port: int) -> TrafficPolicy | None:
    """What a rule's trafficPolicy says of a backend's port, without ``port_level_settings``.

    The first entry of portLevelSettings for the port replaces all else: what it does not set is unset, not inherited.
    """
    if policy is None:
        return None
    own = next((entry for entry in policy.port_level_settings if entry.port.number == port), None)
    if own is None:
        return msgspec.structs.replace(policy, port_level_settings=())
    return TrafficPolicy(
        connection_pool=own.connection_pool,
        load_balancer=own.load_balancer,
        outlier_detection=own.outlier_detection,
        tls=own.tls,
    )


def _setting(policy: TrafficPolicy | None) -> LocalityLbSetting | None:
    balancer = policy.load_balancer if policy is not None else None
    return balancer.locality_lb_setting if balancer is not None else None


def _of_setting(setting: LocalityLbSetting) -> LocalityPolicy | None:
    if setting.enabled is False:
        return None
    if setting.distribute:
        entries = ((entry.from_, tuple(sorted(entry.to.items()))) for entry in setting.distribute)
        return LocalityPolicy(distribute=tuple(entries))
    failover = tuple((entry.from_, entry.to) for entry in setting.failover)
    return LocalityPolicy(setting.failover_priority, failover)


def locality_policy(policy: TrafficPolicy | None, traffic_distribution: str) -> LocalityPolicy | None:
    """Which endpoints a client prefers: by what its rule says, else by the service's own traffic distribution.

    A rule with ``enabled: false`` does say something: that localities do not count, whatever the service would like.

    Returns:
        None where nothing is said about localities. An empty policy is the default failover, by region, zone and subzone.
    """
    setting = _setting(policy)
    if setting is not None:
        return _of_setting(setting)
    entries = _DISTRIBUTIONS.get(traffic_distribution.lower())
    return LocalityPolicy(failover_priority=entries) if entries is not None else None


def _looked_at(policy: LocalityPolicy) -> frozenset[str]:
    """Labels of a client that ``prioritize`` looks at, those of its locality among them."""
    if policy.distribute:
        patterns = [LocalityPattern.parse(source) for source, _ in policy.distribute]
        parts = ((REGION, "region"), (ZONE, "zone"), (SUBZONE, "subzone"))
        return frozenset(key for key, part in parts if any(getattr(p, part) is not None for p in patterns))
    labels = map(PriorityLabel.parse, policy.failover_priority)
    keys = frozenset(label.key for label in labels if label.value is None)
    by_locality = policy.failover or not policy.failover_priority
    return keys | {REGION, ZONE, SUBZONE} if by_locality else keys


def rule_labels(rule: DestinationRule) -> frozenset[str]:
    """Labels of clients that a rule looks at, over all its ports: to select them, and to prefer endpoints for them."""
    selector, policy = rule.spec.workload_selector, rule.spec.traffic_policy
    found = frozenset(selector.match_labels) if selector is not None else frozenset()
    if policy is None:
        return found
    ports = {0, *(entry.port.number for entry in policy.port_level_settings)}
    policies = (locality_policy(effective_policy(rule.spec.traffic_policy, port), "") for port in sorted(ports))
    return found.union(*(_looked_at(policy) for policy in policies if policy is not None))


def distribution_labels(traffic_distribution: str) -> frozenset[str]:
    """Labels of clients that a traffic distribution looks at; empty for one that says nothing."""
    policy = locality_policy(None, traffic_distribution)
    return _looked_at(policy) if policy is not None else frozenset()


def perspective(policy: LocalityPolicy, client: ClientClass) -> str:
    """Everything of a client that ``prioritize`` looks at, in one text: clients with equal texts see the same priorities.

    Under ``distribute`` that is which of its entries is the client's; otherwise the labels, an absent one being empty.
    """
    if policy.distribute:
        position = matching_source(policy.distribute, client.locality)
        return f"{FROM}={'' if position is None else position}"
    keys = _looked_at(policy)
    return " ".join(
        f"{quote(key, safe='/')}={quote(value, safe='/:')}"
        for key, value in sorted(client.labels)
        if key in keys and value
    )


def client_labels_of(perspective: str) -> dict[str, str]:
    """What ``perspective`` wrote down, as ``prioritize`` takes it."""
    pairs = (pair.partition("=") for pair in perspective.split(" ") if pair)
    return {unquote(key): unquote(value) for key, _, value in pairs}


def declare_destination_rules(graph: Graph, base: Base, backends: Backends) -> DestinationRules:
    """Declare which rules can apply to which backend."""
    hosts = graph.map(
        "destination_rule_hosts",
        RuleHost,
        base.destination_rules,
        lambda rule, fetch: to_rule_host(rule, current_settings(fetch, base).cluster_domain),
        reads=(base.settings,),
    )
    by_lookup = hosts.index("destination_rules_by_host", lambda row: row.lookup)

    def find_rules(backend: Backend, fetch: Fetch) -> BackendRules | None:
        found = [
            row.candidate
            for lookup in lookups(backend.host)
            for row in fetch.by(by_lookup, lookup)
            if row.matches(backend.host)
        ]
        if not found:
            return None
        return BackendRules(backend.cluster, tuple(sorted(found, key=lambda candidate: candidate.rule)))

    of_clusters = graph.map("backend_rules", BackendRules, backends.backends, find_rules, reads=(by_lookup,))
    return DestinationRules(of_clusters)
