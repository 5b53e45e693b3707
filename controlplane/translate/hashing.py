"""What requests are hashed by, on their way to clusters whose DestinationRule asks for consistent hashing.

Routes are shared by all clients of a gateway, while rules are chosen for each: a route hashes by the rule that a client of a
namespace would go by of which nothing else is known. Where no rule looks at labels, that is every client's rule.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from controlplane._proto.envoy.config.route.v3 import RouteActionHashPolicy
from controlplane.krt import Fetch
from controlplane.model.ir import Backend, ClientClass
from controlplane.reducers import State
from controlplane.reducers.base import current_settings
from controlplane.reducers.destination_rules import choose_rule
from controlplane.translate.choices import policy_of
from controlplane.translate.load_balancer import hash_policies
from controlplane.translate.route import Hashing


def _place_of(backend: Backend) -> tuple[str, int]:
    return backend.namespace, backend.port


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
        return hash_policies(policy_of(fetch, state, rule, port))

    return hashing
