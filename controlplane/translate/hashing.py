"""What requests are hashed by, on their way to clusters whose DestinationRule asks for consistent hashing.

Routes are shared by all clients of a gateway, while rules are chosen for each: a route hashes by the rule that a client of a
namespace would go by of which nothing else is known. Where no rule looks at labels, that is every client's rule.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from controlplane._proto.envoy.config.route.v3 import RouteActionHashPolicy
from controlplane.krt import Fetch
from controlplane.model.istio import DestinationRule, LoadBalancerSettings, PortTrafficPolicy, TrafficPolicy
from controlplane.model.services import Backend, ClientClass
from controlplane.reducers import State
from controlplane.reducers.base import current_settings
from controlplane.reducers.destination_rules import choose_rule, effective_policy
from controlplane.translate.load_balancer import hash_policies
from controlplane.translate.route import Hashing


def _place_of(backend: Backend) -> tuple[str, int]:
    return backend.namespace, backend.port


def _hashing_of(rule: DestinationRule) -> TrafficPolicy | None:
    """A view: a rule as far as routes depend on it."""
    policy = rule.spec.traffic_policy
    if policy is None:
        return None
    ports = tuple(
        PortTrafficPolicy(port=entry.port, load_balancer=_only_hash(entry.load_balancer))
        for entry in policy.port_level_settings
    )
    return TrafficPolicy(load_balancer=_only_hash(policy.load_balancer), port_level_settings=ports)


def _only_hash(balancer: LoadBalancerSettings | None) -> LoadBalancerSettings | None:
    hashing = balancer.consistent_hash if balancer is not None else None
    return LoadBalancerSettings(consistent_hash=hashing) if hashing is not None else None


def hashing_reads(state: State) -> tuple[Any, ...]:
    """What a function that uses ``hashing_for`` declares to read."""
    return (
        state.base.settings,
        state.base.destination_rules,
        state.destination_rules.of_clusters,
        state.backends.by_cluster,
    )


def hashing_for(fetch: Fetch, state: State, namespace: str) -> Hashing:
    """What clients of a namespace hash by, by cluster."""
    client = ClientClass(("", ""), namespace, ())

    def hashing(cluster: str) -> Sequence[RouteActionHashPolicy]:
        candidates = fetch(state.destination_rules.of_clusters, cluster)
        found = fetch.by(state.backends.by_cluster, cluster, view=_place_of) if candidates is not None else ()
        if candidates is None or not found:
            return ()
        backend_namespace, port = found[0]
        root = current_settings(fetch, state.base).root_namespace
        rule = choose_rule(candidates, backend_namespace, client, root)
        said = fetch(state.base.destination_rules, rule, view=_hashing_of) if rule else None
        return hash_policies(effective_policy(said, port))

    return hashing
