"""Clusters and load assignments: each form encoded once, and served to whoever chose it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import msgspec

from controlplane.krt import Collection, Fetch, Graph, Index
from controlplane.model.services import Backend, BackendEndpoints, Endpoint, LocalityGroup
from controlplane.reducers import State
from controlplane.reducers.base import current_settings
from controlplane.reducers.destination_rules import client_labels_of, locality_policy
from controlplane.reducers.endpoints import endpoint_labels
from controlplane.reducers.priorities import prioritize
from controlplane.translate.choices import (
    BY_ADDRESS,
    BY_ADDRESS_APART,
    BY_DISTRIBUTION,
    Choice,
    Choices,
    assignment_name,
    declare_choices,
    policy_of,
    through_address,
)
from controlplane.translate.cluster import secrets_of, translate_cluster
from controlplane.translate.load_assignment import translate_endpoints, translate_virtual_addresses
from controlplane.translate.resource import ClientResource, Encoded, Resource, TypeUrl, encoded
from controlplane.translate.upstream_tls import without_credentials
from controlplane.translate.uses import Demand, Use, demand

_Row = TypeVar("_Row", bound=Resource | ClientResource)


class FormError(Exception):
    """What somebody chose cannot be made."""


@dataclass(frozen=True)
class Clusters:
    """Clusters and load assignments as they are served."""

    resources: tuple[Collection[Resource], ...]
    of_clients: Mapping[str, Collection[ClientResource]]
    """By type URL."""
    secret_uses: Collection[Use]


def declare_clusters(graph: Graph, state: State, used: Collection[Demand], secrets: Collection[Encoded]) -> Clusters:
    """Declare what is served of the clusters that gateways use.

    Args:
        graph: Where.
        state: The reducers' collections.
        used: By (gateway, cluster).
        secrets: Those that there are, by name.
    """
    choices = declare_choices(graph, state, used)
    clusters, assignments = _declare_forms(graph, state, choices, secrets)
    mine, theirs, by_cluster = choices.of_gateways, choices.of_clients, state.backends.by_cluster
    # Each type for itself: where an assignment cannot be made, the cluster is there all the same.
    cluster_resources = _serve(graph, "cluster_resources", Resource, mine, _cluster_of, clusters, by_cluster)
    assignment_resources = _serve(
        graph, "load_assignment_resources", Resource, mine, _assignment_of, assignments, by_cluster
    )
    client_clusters = _serve(graph, "client_clusters", ClientResource, theirs, _cluster_of, clusters, by_cluster)
    client_assignments = _serve(
        graph, "client_load_assignments", ClientResource, theirs, _assignment_of, assignments, by_cluster
    )
    return Clusters(
        (cluster_resources, assignment_resources),
        {str(TypeUrl.CLUSTER): client_clusters, str(TypeUrl.LOAD_ASSIGNMENT): client_assignments},
        _declare_secret_uses(graph, state, used),
    )


class _Chosen(NamedTuple):
    """A form that somebody chose."""

    type_url: TypeUrl
    name: str
    """What the resource is called."""
    form: tuple[str, ...]


def _cluster_of(row: Choice) -> _Chosen:
    return _Chosen(TypeUrl.CLUSTER, row.name, row.cluster)


def _assignment_of(row: Choice) -> _Chosen | None:
    if row.assignment is None:
        return None
    return _Chosen(TypeUrl.LOAD_ASSIGNMENT, row.assignment_name, row.assignment)


def _serve(
    graph: Graph,
    name: str,
    row_type: type[_Row],
    choices: Collection[Choice],
    chosen_of: Callable[[Choice], _Chosen | None],
    forms: Collection[Encoded],
    by_cluster: Index[Backend],
) -> Collection[_Row]:
    """Declare the resources of a type as gateways, or as classes of their clients, are served them.

    Args:
        graph: Where.
        name: Of the collection.
        row_type: Of its rows; those of ``ClientResource`` have the class in their keys.
        choices: Of gateways, or of classes.
        chosen_of: Which form of the type; None for no resource.
        forms: Those of the type.
        by_cluster: Tells a form that cannot be made, whose choosers keep what they were served, from one that is not served.
    """

    def serve(row: Choice, fetch: Fetch) -> _Row | None:
        chosen = chosen_of(row)
        if chosen is None:
            return None
        form = fetch(forms, chosen.form)
        if form is not None:
            whom = row.key[:2] if row_type is ClientResource else row.key[:1]
            key: tuple[Any, ...] = (*whom, str(chosen.type_url), chosen.name)
            return row_type(key, form.version, form.body)
        if any(fetch.by(by_cluster, row.name, view=_is_served)):
            raise FormError(f"a form of {row.name} cannot be made; see the failure of {forms.name} {chosen.form}")
        return None

    return graph.map(name, row_type, choices, serve, reads=(forms, by_cluster))


def _declare_secret_uses(graph: Graph, state: State, used: Collection[Demand]) -> Collection[Use]:
    """Declare who names which Secret.

    By every rule that a client may go by, so that what is served in common does not depend on who is connected.
    """
    rules, by_cluster = state.destination_rules.of_clusters, state.backends.by_cluster

    def use_secrets(row: Demand, fetch: Fetch) -> Iterator[Use]:
        gateway, cluster = row.key
        candidates = fetch(rules, cluster)
        port = next(iter(fetch.by(by_cluster, cluster, view=_port_of)), 0)
        for candidate in candidates.candidates if candidates is not None else ():
            policy = policy_of(fetch, state, candidate.rule, port)
            for secret in secrets_of(policy, gateway.partition("/")[0]):
                yield Use((gateway, secret, candidate.rule, cluster))

    reads = (state.base.destination_rules, rules, by_cluster)
    return graph.map("cluster_secret_uses", Use, used, use_secrets, reads=reads)


def _port_of(backend: Backend) -> int:
    return backend.port


def _is_served(backend: Backend) -> bool:
    return not backend.unserved


def _declare_forms(
    graph: Graph, state: State, choices: Choices, secrets: Collection[Encoded]
) -> tuple[Collection[Encoded], Collection[Encoded]]:
    """The forms that somebody chose, each encoded once whoever they are, and none that nobody did."""
    base, backends = state.base, state.backends
    chosen = graph.union("choices", Choice, (choices.of_gateways, choices.of_clients))
    cluster_forms = demand(graph, "cluster_forms", chosen, by=lambda row: row.cluster)
    assignment_forms = demand(graph, "assignment_forms", chosen, by=lambda row: row.assignment)

    def groups_of(fetch: Fetch, cluster: str, order: str, seen: str) -> tuple[LocalityGroup, ...]:
        rows: tuple[BackendEndpoints, ...] = fetch.by(backends.endpoints_by_cluster, cluster)
        endpoints: tuple[Endpoint, ...] = rows[0].endpoints if rows else ()
        if not order:
            return prioritize([(endpoint, {}) for endpoint in endpoints], None, {})
        backend = fetch.by(backends.by_cluster, cluster)[0]
        rule = "" if order == BY_DISTRIBUTION else order
        policy = policy_of(fetch, state, rule, backend.port)
        localities = locality_policy(policy, backend.traffic_distribution)
        labelled = [(endpoint, endpoint_labels(fetch, base, endpoint)) for endpoint in endpoints]
        return prioritize(labelled, localities, client_labels_of(seen))

    def make_cluster(row: Demand, fetch: Fetch) -> Encoded | None:
        cluster, rule, namespace, way, seen = row.key
        found = fetch.by(backends.by_cluster, cluster)
        if not found or found[0].unserved:
            return None
        backend, settings = found[0], current_settings(fetch, base)
        policy = policy_of(fetch, state, rule, backend.port)
        if way:
            by_address = msgspec.structs.replace(backend, discovery="endpoints")
            name = assignment_name(cluster, way)
            body = translate_cluster(by_address, through_address(policy), settings, assignment=name)
            return encoded(row.key, body)
        if not all(fetch.exists(secrets, name) for name in secrets_of(policy, namespace)):
            policy = without_credentials(policy)
        localities = locality_policy(policy, backend.traffic_distribution)
        groups: tuple[LocalityGroup, ...] = ()
        if backend.discovery != "endpoints":
            groups = groups_of(fetch, cluster, "" if localities is None else (rule or BY_DISTRIBUTION), seen)
        body = translate_cluster(
            backend, policy, settings, namespace=namespace, groups=groups, has_localities=localities is not None
        )
        return encoded(row.key, body)

    def make_assignment(row: Demand, fetch: Fetch) -> Encoded | None:
        cluster, order, seen = row.key
        if order in (BY_ADDRESS, BY_ADDRESS_APART):
            found = fetch(state.waypoints.ingress, cluster)
            if found is None:
                return None
            name = assignment_name(cluster, order)
            return encoded(row.key, translate_virtual_addresses(name, found.addresses, found.port))
        if not fetch.by(backends.by_cluster, cluster, view=_port_of):
            return None
        return encoded(row.key, translate_endpoints(cluster, groups_of(fetch, cluster, order, seen)))

    reads = (
        base.settings, base.destination_rules, base.pods, base.nodes, backends.by_cluster, backends.endpoints_by_cluster,
    )  # fmt: skip
    clusters = graph.map("clusters", Encoded, cluster_forms, make_cluster, reads=(*reads, secrets))
    assignments = graph.map(
        "load_assignments", Encoded, assignment_forms, make_assignment, reads=(*reads, state.waypoints.ingress)
    )
    return clusters, assignments
