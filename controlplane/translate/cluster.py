"""A backend with its policy into a cluster."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from controlplane._proto.envoy.config.cluster.v3 import (
    Cluster,
    ClusterCommonLbConfig,
    ClusterCommonLbConfigLocalityWeightedLbConfig,
    ClusterCustomClusterType,
    ClusterDiscoveryType,
    ClusterEdsClusterConfig,
)
from controlplane._proto.envoy.extensions.clusters.common.dns.v3 import DnsLookupFamily
from controlplane._proto.envoy.extensions.clusters.dns.v3 import DnsCluster, DnsClusterRefreshRate
from controlplane._proto.google.protobuf import Any
from controlplane.model.events import Settings
from controlplane.model.istio import OutlierDetection, TrafficPolicy
from controlplane.model.services import Backend, LocalityGroup
from controlplane.translate.config_source import FETCH_TIMEOUT, ads
from controlplane.translate.connection_pool import (
    connect_timeout,
    speaks_http2,
    translate_http_options,
    translate_keepalive,
    translate_limits,
)
from controlplane.translate.load_assignment import compose_load_assignment
from controlplane.translate.load_balancer import hash_policies, set_load_balancer
from controlplane.translate.outlier_detection import translate_outlier_detection, translate_panic_threshold
from controlplane.translate.upstream_tls import names_request_host, secrets_of, translate_tls

__all__ = ["ads", "hash_policies", "secrets_of", "translate_cluster"]

_BUFFER_LIMIT: Final = 32_768
_REFRESH: Final = timedelta(seconds=60)
"""How often a name is resolved whose records do not say how long they hold."""
_RETRY_FIRST: Final = timedelta(seconds=1)
_RETRY_LAST: Final = timedelta(seconds=10)
"""How soon a name is resolved again that could not be, at first and in the end."""


def translate_cluster(
    backend: Backend,
    policy: TrafficPolicy | None,
    settings: Settings,
    *,
    namespace: str = "",
    groups: tuple[LocalityGroup, ...] = (),
    has_localities: bool = False,
    assignment: str = "",
) -> bytes:
    """The cluster of a backend, encoded.

    Args:
        backend: What is spoken to.
        policy: How, for its port alone; None for the defaults.
        settings: The control plane's.
        namespace: Where the Secrets are that the policy names.
        groups: Endpoints, for a backend whose names Envoy resolves; others have a load assignment.
        has_localities: Whether endpoints were ordered by locality. Localities then have their shares of the traffic by their
            weights: one without a weight gets none.
        assignment: Name of its load assignment; empty for the cluster's own.
    """
    pool = policy.connection_pool if policy is not None else None
    outliers = policy.outlier_detection if policy is not None else None
    tls = policy.tls if policy is not None else None
    cluster = Cluster(
        name=backend.cluster,
        connect_timeout=connect_timeout(pool, settings),
        per_connection_buffer_limit_bytes=_BUFFER_LIMIT,
        circuit_breakers=translate_limits(pool),
        typed_extension_protocol_options=translate_http_options(
            backend, pool, names_request_host=names_request_host(tls, backend.host)
        ),
        outlier_detection=translate_outlier_detection(outliers) if outliers is not None else None,
        common_lb_config=_common_options(outliers, has_localities=has_localities),
        transport_socket=translate_tls(tls, backend.host, namespace, is_http2=speaks_http2(backend, pool)),
        upstream_connection_options=translate_keepalive(pool),
        # An endpoint that Kubernetes or a name server has withdrawn goes at once, whatever its health was.
        ignore_health_on_host_removal=True,
    )
    if backend.discovery == "endpoints":
        cluster.type = ClusterDiscoveryType.EDS
        service_name = "" if assignment == backend.cluster else assignment
        cluster.eds_cluster_config = ClusterEdsClusterConfig(eds_config=ads(FETCH_TIMEOUT), service_name=service_name)
    else:
        _resolve_names(cluster, backend, settings, groups)
    set_load_balancer(cluster, policy.load_balancer if policy is not None else None)
    return bytes(cluster)


def _common_options(outliers: OutlierDetection | None, *, has_localities: bool) -> ClusterCommonLbConfig | None:
    if outliers is None and not has_localities:
        return None
    return ClusterCommonLbConfig(
        healthy_panic_threshold=translate_panic_threshold(outliers) if outliers is not None else None,
        locality_weighted_lb_config=ClusterCommonLbConfigLocalityWeightedLbConfig() if has_localities else None,
    )


def _resolve_names(cluster: Cluster, backend: Backend, settings: Settings, groups: tuple[LocalityGroup, ...]) -> None:
    """Make Envoy resolve the endpoints' names.

    A name that is slow to resolve holds nothing else up: its cluster counts as warm at once. Envoy takes the first of a
    name's addresses, in turns, for one name alone; several are resolved as any others, and all their addresses are used.
    """
    served = tuple(group for group in groups if group.endpoints)
    is_one_name = len(served) == 1 and len(served[0].endpoints) == 1
    dns = DnsCluster(
        dns_refresh_rate=_REFRESH,
        dns_failure_refresh_rate=DnsClusterRefreshRate(base_interval=_RETRY_FIRST, max_interval=_RETRY_LAST),
        respect_dns_ttl=True,
        dns_lookup_family=DnsLookupFamily[settings.dns_lookup_family],
        all_addresses_in_single_endpoint=backend.discovery == "dns_round_robin" and is_one_name,
    )
    cluster.cluster_type = ClusterCustomClusterType(name="envoy.clusters.dns", typed_config=Any.pack(dns))
    cluster.wait_for_warm_on_init = False
    cluster.load_assignment = compose_load_assignment(backend.cluster, served)
