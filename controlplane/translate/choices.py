"""Which form of a cluster, and of its load assignment, each client of a gateway is served.

Most clusters are the same for everybody and are rows of their gateway. Where a DestinationRule or a traffic distribution may
tell clients apart there is a choice for each class of clients, and what two classes choose alike is encoded once: a form is
named by what went into it, never by whom it is for.

    clusters that a gateway uses ──┬─ that no rule touches ──────────> choice of the gateway ──┬─> forms ─> encoded once
                                   └─ x classes of its clients ──────> choice of a class ──────┘
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import msgspec

from controlplane.krt import Collection, Count, Fetch, Graph
from controlplane.model.ir import Backend, BackendRules, ClientClass, LocalityPolicy, OwnedGateway
from controlplane.model.istio import TrafficPolicy
from controlplane.reducers import State
from controlplane.reducers.base import current_settings
from controlplane.reducers.destination_rules import (
    choose_rule,
    distribution_labels,
    effective_policy,
    locality_policy,
    perspective,
)

FOR_ALL: Final = ""
"""In the place of a class: a choice of the whole gateway."""
BY_DISTRIBUTION: Final = "~distribution"
"""In the place of a rule: the service's own traffic distribution."""
BY_ADDRESS: Final = "~address"
"""In the place of a rule: the service's own addresses instead of its endpoints."""
BY_ADDRESS_APART: Final = "~address-apart"
"""The same, in a load assignment that has a name of its own.

Where a rule speaks, a cluster is another one by address (there is no TLS to a waypoint). Under one name the new endpoints would
reach the old cluster before Envoy has the new one, and be spoken to in the wrong way.
"""

ClusterForm = tuple[str, str, str, str, str]
"""Cluster, DestinationRule, namespace whose Secrets it names, way (one of ``BY_ADDRESS`` or empty), perspective if it holds its endpoints."""
AssignmentForm = tuple[str, str, str]
"""Cluster, what orders its endpoints (a DestinationRule, ``BY_DISTRIBUTION``, one of ``BY_ADDRESS`` or empty), perspective."""


class UsedBackend(msgspec.Struct, frozen=True):
    """A gateway uses a cluster that clients may be served in different forms."""

    key: tuple[str, str]
    """Gateway, cluster."""


class ClientBackend(msgspec.Struct, frozen=True):
    """A class of clients has a choice of its own to make."""

    key: tuple[str, str, str]
    """Gateway, class, cluster."""


class Choice(msgspec.Struct, frozen=True):
    """The forms in which somebody is served a cluster."""

    key: tuple[str, str, str]
    """Gateway, class or ``FOR_ALL``, cluster."""
    cluster: ClusterForm
    assignment: AssignmentForm | None
    """None where the cluster holds its endpoints itself."""

    @property
    def gateway(self) -> str:
        """``namespace/name``."""
        return self.key[0]

    @property
    def name(self) -> str:
        """Of the cluster."""
        return self.key[2]

    @property
    def assignment_name(self) -> str:
        """Of the load assignment."""
        return assignment_name(self.name, self.cluster[3])


@dataclass(frozen=True)
class Choices:
    """The choices of gateways and of classes of their clients."""

    of_gateways: Collection[Choice]
    of_clients: Collection[Choice]
    ruled: Collection[UsedBackend]
    """Clusters of gateways that clients choose for themselves."""


class _Ruled(msgspec.Struct, frozen=True):
    """A backend for which rules may tell clients apart."""

    key: str
    """The cluster."""


def needs_credentials(policy: TrafficPolicy | None) -> bool:
    """Whether a policy names a Secret, which each gateway has in its own namespace."""
    return policy is not None and policy.tls is not None and bool(policy.tls.credential_name)


def assignment_name(cluster: str, way: str) -> str:
    """What the load assignment of a form is called."""
    return f"{cluster}{BY_ADDRESS}" if way == BY_ADDRESS_APART else cluster


def policy_of(fetch: Fetch, state: State, rule: str, port: int) -> TrafficPolicy | None:
    """What a rule says of a backend's port; None without a rule."""
    row = fetch(state.base.destination_rules, rule) if rule else None
    return effective_policy(row, port) if row is not None else None


def through_address(policy: TrafficPolicy | None) -> TrafficPolicy | None:
    """What of a policy holds for the way to a waypoint: the waypoint applies the rest.

    A single address cannot be balanced, and must not be ejected; TLS would hide the request from the waypoint.
    """
    if policy is None or policy.connection_pool is None:
        return None
    return TrafficPolicy(connection_pool=policy.connection_pool)


def _facts(backend: Backend) -> tuple[str, int, str, str]:
    return backend.namespace, backend.port, backend.traffic_distribution, backend.discovery


def declare_choices(graph: Graph, state: State, used: Collection[Count]) -> Choices:
    """Declare the choices.

    Args:
        graph: Where.
        state: The reducers' collections.
        used: Clusters that gateways use, by (gateway, cluster).
    """
    backends, rules = state.backends, state.destination_rules.of_clusters
    ruled = graph.map("ruled_backends", _Ruled, backends.backends, _make_ruled(rules), reads=(rules,))

    def is_by_address(fetch: Fetch, gateway: str, cluster: str) -> bool:
        if not fetch.exists(state.waypoints.ingress, cluster):
            return False
        return not fetch(state.gateways.owned, gateway, view=_captures)

    def choose_for_all(row: Count, fetch: Fetch) -> Choice | None:
        gateway, cluster = row.key
        if fetch.exists(ruled, cluster):
            return None
        found = fetch.by(backends.by_cluster, cluster, view=_facts)
        if not found:
            return None
        if is_by_address(fetch, gateway, cluster):
            return Choice((gateway, FOR_ALL, cluster), (cluster, "", "", BY_ADDRESS, ""), (cluster, BY_ADDRESS, ""))
        assignment = (cluster, "", "") if found[0][3] == "endpoints" else None
        return Choice((gateway, FOR_ALL, cluster), (cluster, "", "", "", ""), assignment)

    def choose_for_class(row: ClientBackend, fetch: Fetch) -> Choice | None:
        gateway, name, cluster = row.key
        found = fetch.by(backends.by_cluster, cluster, view=_facts)
        client: ClientClass | None = fetch(state.clients.classes, (gateway, name))
        if not found or client is None:
            return None
        namespace, port, distribution, discovery = found[0]
        candidates: BackendRules | None = fetch(rules, cluster)
        root = current_settings(fetch, state.base).root_namespace
        rule = choose_rule(candidates, namespace, client, root) if candidates is not None else ""
        policy = policy_of(fetch, state, rule, port)
        # The Gateway's own, never one that a proxy names: what a proxy says of itself is not proven.
        secrets = gateway.partition("/")[0] if needs_credentials(policy) else ""
        if is_by_address(fetch, gateway, cluster):
            rule = rule if through_address(policy) is not None else ""
            return Choice(row.key, (cluster, rule, "", BY_ADDRESS_APART, ""), (cluster, BY_ADDRESS_APART, ""))
        localities = locality_policy(policy, distribution)
        seen = perspective(localities, client) if localities is not None else ""
        if discovery != "endpoints":
            return Choice(row.key, (cluster, rule, secrets, "", seen), None)
        order = _what_orders(policy, localities, rule)
        return Choice(row.key, (cluster, rule, secrets, "", ""), (cluster, order, seen))

    reads = (state.base.settings, backends.by_cluster, state.waypoints.ingress, state.gateways.owned)
    of_gateways = graph.map("gateway_choices", Choice, used, choose_for_all, reads=(*reads, ruled))
    used_ruled = graph.map(
        "used_ruled_backends",
        UsedBackend,
        used,
        lambda row, fetch: UsedBackend(row.key) if fetch.exists(ruled, row.key[1]) else None,
        reads=(ruled,),
    )
    by_gateway = used_ruled.index("ruled_backends_by_gateway", lambda row: row.key[0])

    def pair(client: ClientClass, fetch: Fetch) -> Iterator[ClientBackend]:
        for row in fetch.by(by_gateway, client.key[0]):
            yield ClientBackend((*client.key, row.key[1]))

    pairs = graph.map("client_backends", ClientBackend, state.clients.classes, pair, reads=(by_gateway,))
    of_clients = graph.map(
        "client_choices",
        Choice,
        pairs,
        choose_for_class,
        reads=(*reads, rules, state.clients.classes, state.base.destination_rules),
    )
    return Choices(of_gateways, of_clients, used_ruled)


def _captures(owned: OwnedGateway) -> bool:
    return bool(owned.waypoint_for)


def _make_ruled(rules: Collection[BackendRules]) -> Callable[[Backend, Fetch], _Ruled | None]:
    def make(backend: Backend, fetch: Fetch) -> _Ruled | None:
        is_ruled = fetch.exists(rules, backend.cluster) or distribution_labels(backend.traffic_distribution)
        return _Ruled(backend.cluster) if is_ruled else None

    return make


def _what_orders(policy: TrafficPolicy | None, localities: LocalityPolicy | None, rule: str) -> str:
    if localities is None:
        return ""
    return rule if locality_policy(policy, "") is not None else BY_DISTRIBUTION
