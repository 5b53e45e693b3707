"""How an endpoint is chosen: the cluster's part of it, and what routes hash.

Envoy checks the bounds of rings and tables late, and a cluster that fails there stops the answers to all others for good
(envoy-observed, trap 1). So nothing outside of the bounds leaves here, whatever the model lets through.
"""

from __future__ import annotations

from math import isqrt
from typing import Final

from controlplane._proto.envoy.config.cluster.v3 import (
    Cluster,
    ClusterLbPolicy,
    ClusterMaglevLbConfig,
    ClusterRingHashLbConfig,
)
from controlplane._proto.envoy.config.route.v3 import (
    RouteActionHashPolicy,
    RouteActionHashPolicyConnectionProperties,
    RouteActionHashPolicyCookie,
    RouteActionHashPolicyHeader,
    RouteActionHashPolicyQueryParameter,
)
from controlplane.model.hash_keys import is_cookie_name, is_cookie_path, is_header_name
from controlplane.model.istio import ConsistentHashLB, HTTPCookie, LoadBalancerSettings, TrafficPolicy
from controlplane.translate.durations import translate_duration

LARGEST_RING: Final = 8 * 1024 * 1024
LARGEST_TABLE: Final = 5_000_011
"""Source: Envoy, cluster.proto, RingHashLbConfig and MaglevLbConfig."""

_POLICY: Final = {
    "LEAST_CONN": ClusterLbPolicy.LEAST_REQUEST,
    "LEAST_REQUEST": ClusterLbPolicy.LEAST_REQUEST,
    "RANDOM": ClusterLbPolicy.RANDOM,
}
"""The others, ``PASSTHROUGH`` among them, which we do not have, take turns."""


def set_load_balancer(cluster: Cluster, settings: LoadBalancerSettings | None) -> None:
    """Set how the cluster's endpoints are chosen."""
    if settings is None:
        return
    hashing = settings.consistent_hash
    if hashing is None:
        cluster.lb_policy = _POLICY.get(settings.simple or "", ClusterLbPolicy.ROUND_ROBIN)
    elif hashing.maglev is not None:
        cluster.lb_policy = ClusterLbPolicy.MAGLEV
        if is_table_size(hashing.maglev.table_size):
            cluster.maglev_lb_config = ClusterMaglevLbConfig(table_size=hashing.maglev.table_size)
    else:
        cluster.lb_policy = ClusterLbPolicy.RING_HASH
        ring = hashing.ring_hash
        size = ring.minimum_ring_size if ring is not None else hashing.minimum_ring_size
        if size:
            cluster.ring_hash_lb_config = ClusterRingHashLbConfig(minimum_ring_size=min(size, LARGEST_RING))


def is_table_size(size: int) -> bool:
    """Whether Envoy takes it as the size of a Maglev table: a prime number, not too large. Cost: O(sqrt(size))."""
    return 1 < size <= LARGEST_TABLE and all(size % divisor for divisor in range(2, isqrt(size) + 1))


def hash_policies(policy: TrafficPolicy | None) -> list[RouteActionHashPolicy]:
    """What of a request decides which endpoint it goes to; empty if the policy hashes nothing, or what no request can have."""
    balancer = policy.load_balancer if policy is not None else None
    hashing = balancer.consistent_hash if balancer is not None else None
    found = _hash_policy(hashing) if hashing is not None else None
    return [found] if found is not None else []


def _hash_policy(hashing: ConsistentHashLB) -> RouteActionHashPolicy | None:
    """The key; the first in the API's order where several are set."""
    if name := hashing.http_header_name:
        header = RouteActionHashPolicyHeader(header_name=name)
        return RouteActionHashPolicy(header=header) if is_header_name(name) else None
    if (cookie := hashing.http_cookie) is not None:
        return RouteActionHashPolicy(cookie=_cookie(cookie)) if _can_be_set(cookie) else None
    if hashing.use_source_ip:
        return RouteActionHashPolicy(connection_properties=RouteActionHashPolicyConnectionProperties(source_ip=True))
    if name := hashing.http_query_parameter_name:
        return RouteActionHashPolicy(query_parameter=RouteActionHashPolicyQueryParameter(name=name))
    return None


def _cookie(cookie: HTTPCookie) -> RouteActionHashPolicyCookie:
    """Without a lifetime Envoy only reads it; with one of 0 it sets one that ends with the client's session."""
    return RouteActionHashPolicyCookie(name=cookie.name, ttl=translate_duration(cookie.ttl), path=cookie.path)


def _can_be_set(cookie: HTTPCookie) -> bool:
    return is_cookie_name(cookie.name) and is_cookie_path(cookie.path)
