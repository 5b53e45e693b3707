"""Clusters and load assignments: each form encoded once, and served to whoever chose it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from controlplane.krt import Collection, Count, Fetch, Graph
from controlplane.model.ir import BackendEndpoints, Endpoint, LocalityGroup
from controlplane.reducers import State
from controlplane.reducers.base import current_settings
from controlplane.reducers.destination_rules import client_labels_of, locality_policy
from controlplane.reducers.endpoints import endpoint_labels
from controlplane.reducers.priorities import prioritize
from controlplane.translate.choices import (
    BY_ADDRESS,
    BY_DISTRIBUTION,
    Choice,
    Choices,
    declare_choices,
    policy_of,
    through_address,
)
from controlplane.translate.cluster import secrets_of, translate_cluster
from controlplane.translate.load_assignment import translate_endpoints, translate_virtual_addresses
from controlplane.translate.resource import ClientResource, Encoded, Resource, TypeUrl, encoded
from controlplane.translate.uses import Use


@dataclass(frozen=True)
class Clusters:
    """Clusters and load assignments as they are served."""

    resources: tuple[Collection[Resource], Collection[Resource]]
    client_resources: Collection[ClientResource]
    secret_uses: Collection[Use]


def declare_clusters(graph: Graph, state: State, used: Collection[Count]) -> Clusters:
    """Declare what is served of the clusters that gateways use."""
    choices = declare_choices(graph, state, used)
    clusters, assignments = _declare_forms(graph, state, choices)

    def serve_cluster(row: Choice, fetch: Fetch) -> Resource | None:
        found = fetch(clusters, row.cluster)
        return Resource((row.gateway, str(TypeUrl.CLUSTER), row.name), found.version, found.body) if found else None

    def serve_assignment(row: Choice, fetch: Fetch) -> Resource | None:
        found = fetch(assignments, row.assignment) if row.assignment is not None else None
        type_url = str(TypeUrl.LOAD_ASSIGNMENT)
        return Resource((row.gateway, type_url, row.name), found.version, found.body) if found else None

    def serve_client(row: Choice, fetch: Fetch) -> Iterator[ClientResource]:
        gateway, client, name = row.key
        for type_url, found in (
            (TypeUrl.CLUSTER, fetch(clusters, row.cluster)),
            (TypeUrl.LOAD_ASSIGNMENT, fetch(assignments, row.assignment) if row.assignment is not None else None),
        ):
            if found is not None:
                yield ClientResource((gateway, client, str(type_url), name), found.version, found.body)

    def use_secrets(row: Choice, fetch: Fetch) -> Iterator[Use]:
        name, rule, namespace, _, _ = row.cluster
        if namespace:
            for secret in secrets_of(policy_of(fetch, state, rule, _port(fetch, state, name)), namespace):
                yield Use((row.gateway, secret, row.key[1], name))

    reads = (state.base.destination_rules, state.backends.by_cluster)
    return Clusters(
        (
            graph.map("cluster_resources", Resource, choices.of_gateways, serve_cluster, reads=(clusters,)),
            graph.map(
                "load_assignment_resources", Resource, choices.of_gateways, serve_assignment, reads=(assignments,)
            ),
        ),
        graph.map("client_resources", ClientResource, choices.of_clients, serve_client, reads=(clusters, assignments)),
        graph.map("cluster_secret_uses", Use, choices.of_clients, use_secrets, reads=reads),
    )


def _port_of(backend: Any) -> int:
    port: int = backend.port
    return port


def _port(fetch: Fetch, state: State, cluster: str) -> int:
    found = fetch.by(state.backends.by_cluster, cluster, view=_port_of)
    return found[0] if found else 0


def _declare_forms(graph: Graph, state: State, choices: Choices) -> tuple[Collection[Encoded], Collection[Encoded]]:
    """The forms that somebody chose, each encoded once whoever they are, and none that nobody did."""
    base, backends = state.base, state.backends
    chosen = graph.union("choices", Choice, (choices.of_gateways, choices.of_clients))
    cluster_forms = graph.count("cluster_forms", chosen, by=lambda row: row.cluster)
    assignment_forms = graph.count("assignment_forms", chosen, by=lambda row: row.assignment)

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

    def make_cluster(row: Count, fetch: Fetch) -> Encoded | None:
        cluster, rule, namespace, way, seen = row.key
        found = fetch.by(backends.by_cluster, cluster)
        if not found or found[0].unserved:
            return None
        backend, settings = found[0], current_settings(fetch, base)
        policy = policy_of(fetch, state, rule, backend.port)
        if way == BY_ADDRESS:
            body = translate_cluster(
                msgspec.structs.replace(backend, discovery="endpoints"), through_address(policy), settings
            )
            return encoded(row.key, body)
        localities = locality_policy(policy, backend.traffic_distribution)
        groups: tuple[LocalityGroup, ...] = ()
        if backend.discovery != "endpoints":
            groups = groups_of(fetch, cluster, "" if localities is None else (rule or BY_DISTRIBUTION), seen)
        body = translate_cluster(
            backend, policy, settings, namespace=namespace, groups=groups, has_localities=localities is not None
        )
        return encoded(row.key, body)

    def make_assignment(row: Count, fetch: Fetch) -> Encoded | None:
        cluster, order, seen = row.key
        if order == BY_ADDRESS:
            found = fetch(state.waypoints.ingress, cluster)
            if found is None:
                return None
            return encoded(row.key, translate_virtual_addresses(cluster, found.addresses, found.port))
        if not fetch.by(backends.by_cluster, cluster, view=_port_of):
            return None
        return encoded(row.key, translate_endpoints(cluster, groups_of(fetch, cluster, order, seen)))

    reads = (
        base.settings, base.destination_rules, base.pods, base.nodes, backends.by_cluster, backends.endpoints_by_cluster,
    )  # fmt: skip
    clusters = graph.map("clusters", Encoded, cluster_forms, make_cluster, reads=reads)
    assignments = graph.map(
        "load_assignments", Encoded, assignment_forms, make_assignment, reads=(*reads, state.waypoints.ingress)
    )
    return clusters, assignments
