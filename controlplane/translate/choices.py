"""Which form of a cluster, and of its load assignment, each client of a gateway is served.

Most clusters are the same for everybody and are rows of their gateway. Where a DestinationRule or a traffic distribution can
tell clients apart there is a choice for each class of clients, and what two classes choose alike is encoded once: a form is
named by what went into it, never by whom it is for.

    clusters that a gateway uses ──┬─ where no rule tells clients apart ─> choice of the gateway ──┬─> forms ─> encoded once
                                   └─ x classes of its clients ──────────> choice of a class ──────┘
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import msgspec

from controlplane.krt import Collection, Fetch, Graph
from controlplane.model.ir import OwnedGateway
from controlplane.model.istio import DestinationRule, TrafficPolicy
from controlplane.model.services import Backend, ClientClass, LocalityPolicy
from controlplane.reducers import State
from controlplane.reducers.base import current_settings
from controlplane.reducers.clients import default_class
from controlplane.reducers.destination_rules import (
    choose_rule,
    effective_policy,
    locality_policy,
    perspective,
)
from controlplane.translate.uses import Demand

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
    looked_at: str
    """The set of labels that its rules look at (``RuledBackend``)."""


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


def needs_credentials(policy: TrafficPolicy | None) -> bool:
    """Whether a policy names a Secret, which each gateway has in its own namespace."""
    return policy is not None and policy.tls is not None and bool(policy.tls.credential_name)


def assignment_name(cluster: str, way: str) -> str:
    """What the load assignment of a form is called."""
    return f"{cluster}{BY_ADDRESS}" if way == BY_ADDRESS_APART else cluster


def _said_by(rule: DestinationRule) -> TrafficPolicy | None:
    """A view: of a rule's other parts, its metadata above all, no form is made."""
    return rule.spec.traffic_policy


def policy_of(fetch: Fetch, state: State, rule: str, port: int) -> TrafficPolicy | None:
    """What a rule says of a backend's port; None without a rule."""
    return effective_policy(fetch(state.base.destination_rules, rule, view=_said_by), port) if rule else None


def through_address(policy: TrafficPolicy | None) -> TrafficPolicy | None:
    """What of a policy holds for the way to a waypoint: the waypoint applies the rest.

    A single address cannot be balanced, and must not be ejected; TLS would hide the request from the waypoint.
    """
    if policy is None or policy.connection_pool is None:
        return None
    return TrafficPolicy(connection_pool=policy.connection_pool)


def _facts(backend: Backend) -> tuple[str, int, str, str]:
    return backend.namespace, backend.port, backend.traffic_distribution, backend.discovery


def declare_choices(graph: Graph, state: State, used: Collection[Demand]) -> Choices:
    """Declare the choices.

    Args:
        graph: Where.
        state: The reducers' collections.
        used: Clusters that gateways use, by (gateway, cluster).
    """
    backends, rules = state.backends, state.destination_rules.of_clusters
    ruled = state.clients.ruled

    def is_by_address(fetch: Fetch, gateway: str, cluster: str) -> bool:
        if not fetch.exists(state.waypoints.ingress, cluster):
            return False
        return not fetch(state.gateways.owned, gateway, view=_captures)

    def choose(fetch: Fetch, key: tuple[str, str, str], client: ClientClass) -> Choice | None:
        gateway, _, cluster = key
        found = fetch.by(backends.by_cluster, cluster, view=_facts)
        if not found:
            return None
        namespace, port, distribution, discovery = found[0]
        candidates = fetch(rules, cluster)
        root = current_settings(fetch, state.base).root_namespace if candidates is not None else ""
        rule = choose_rule(candidates, namespace, client, root) if candidates is not None else ""
        policy = policy_of(fetch, state, rule, port)
        if is_by_address(fetch, gateway, cluster):
            way = BY_ADDRESS_APART if rule else BY_ADDRESS
            rule = rule if through_address(policy) is not None else ""
            return Choice(key, (cluster, rule, "", way, ""), (cluster, way, ""))
        # The Gateway's own namespace, never one that a proxy names: what a proxy says of itself is not proven.
        secrets = gateway.partition("/")[0] if needs_credentials(policy) else ""
        localities = locality_policy(policy, distribution)
        seen = perspective(localities, client) if localities is not None else ""
        if discovery != "endpoints":
            return Choice(key, (cluster, rule, secrets, "", seen), None)
        return Choice(key, (cluster, rule, secrets, "", ""), (cluster, _what_orders(policy, localities, rule), seen))

    def choose_for_all(row: Demand, fetch: Fetch) -> Choice | None:
        gateway, cluster = row.key
        if fetch.exists(ruled, cluster):
            return None
        return choose(fetch, (gateway, FOR_ALL, cluster), default_class(gateway))

    def choose_for_class(row: ClientBackend, fetch: Fetch) -> Choice | None:
        client = fetch(state.clients.classes, row.key[:2])
        return choose(fetch, row.key, client) if client is not None else None

    reads = (
        state.base.settings, state.base.destination_rules, state.gateways.owned, state.waypoints.ingress,
        backends.by_cluster, rules,
    )  # fmt: skip
    of_gateways = graph.map("gateway_choices", Choice, used, choose_for_all, reads=(*reads, ruled))

    def use_ruled(row: Demand, fetch: Fetch) -> UsedBackend | None:
        found = fetch(ruled, row.key[1])
        return UsedBackend(row.key, found.looked_at) if found is not None else None

    used_ruled = graph.map("used_ruled_backends", UsedBackend, used, use_ruled, reads=(ruled,))
    by_labels = used_ruled.index("ruled_backends_by_labels", lambda row: (row.key[0], row.looked_at))

    def pair(client: ClientClass, fetch: Fetch) -> Iterator[ClientBackend]:
        for row in fetch.by(by_labels, (client.key[0], client.looked_at)):
            yield ClientBackend((*client.key, row.key[1]))

    pairs = graph.map("client_backends", ClientBackend, state.clients.classes, pair, reads=(by_labels,))
    of_clients = graph.map("client_choices", Choice, pairs, choose_for_class, reads=(*reads, state.clients.classes))
    return Choices(of_gateways, of_clients)


def _captures(owned: OwnedGateway) -> bool:
    return bool(owned.waypoint_for)


def _what_orders(policy: TrafficPolicy | None, localities: LocalityPolicy | None, rule: str) -> str:
    if localities is None:
        return ""
    return rule if locality_policy(policy, "") is not None else BY_DISTRIBUTION
