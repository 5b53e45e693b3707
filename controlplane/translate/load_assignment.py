"""Endpoints in their order of preference into load assignments."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from controlplane._proto.envoy.config.core.v3 import Address, Metadata, SocketAddress
from controlplane._proto.envoy.config.core.v3 import Locality as EnvoyLocality
from controlplane._proto.envoy.config.endpoint.v3 import (
    ClusterLoadAssignment,
    EndpointAdditionalAddress,
    LbEndpoint,
    LocalityLbEndpoints,
)
from controlplane._proto.envoy.config.endpoint.v3 import Endpoint as EnvoyEndpoint
from controlplane._proto.google.protobuf import Struct, Value
from controlplane.model.services import Endpoint, Locality, LocalityGroup

_LARGEST_PRIORITY: Final = 128
_LARGEST_SUM: Final = 2**32 - 1
"""Envoy rejects a load assignment whose weights sum to more, over endpoints or over localities."""
_TLS_MODE: Final = "envoy.transport_socket_match"


def compose_load_assignment(cluster: str, groups: tuple[LocalityGroup, ...]) -> ClusterLoadAssignment:
    """The message of ``translate_endpoints``, for a cluster that holds its endpoints itself."""
    endpoint_divisor = _divisor(endpoint.weight for group in groups for endpoint in group.endpoints)
    group_divisor = _divisor(group.weight for group in groups)
    return ClusterLoadAssignment(
        cluster_name=cluster,
        endpoints=[
            LocalityLbEndpoints(
                locality=_locality(group.locality),
                lb_endpoints=[_endpoint(endpoint, endpoint_divisor) for endpoint in group.endpoints],
                load_balancing_weight=_weight(group.weight, group_divisor),
                priority=min(group.priority, _LARGEST_PRIORITY),
            )
            for group in groups
        ],
    )


def translate_endpoints(cluster: str, groups: tuple[LocalityGroup, ...]) -> bytes:
    """The load assignment of a cluster, its groups in the order given. Without endpoints it is empty, never absent.

    Weights beyond what Envoy can add up are divided, all by the same number: shares stay what they were, nearly.
    """
    return bytes(compose_load_assignment(cluster, groups))


def translate_virtual_addresses(cluster: str, addresses: tuple[str, ...], port: int) -> bytes:
    """The load assignment of a service that is reached at its own addresses: one endpoint, the first address before the others.

    Args:
        cluster: Its name.
        addresses: IP addresses, the preferred first; none gives an empty assignment.
        port: The service's.
    """
    assignment = ClusterLoadAssignment(cluster_name=cluster)
    if addresses:
        endpoint = EnvoyEndpoint(
            address=_address(addresses[0], port),
            additional_addresses=[
                EndpointAdditionalAddress(address=_address(address, port)) for address in addresses[1:]
            ],
        )
        assignment.endpoints = [LocalityLbEndpoints(lb_endpoints=[LbEndpoint(endpoint=endpoint)])]
    return bytes(assignment)


def _address(address: str, port: int) -> Address:
    return Address(socket_address=SocketAddress(address=address, port_value=port))


def _locality(locality: Locality) -> EnvoyLocality | None:
    if locality == Locality():
        return None
    return EnvoyLocality(region=locality.region, zone=locality.zone, sub_zone=locality.subzone)


def _endpoint(endpoint: Endpoint, divisor: int) -> LbEndpoint:
    return LbEndpoint(
        endpoint=EnvoyEndpoint(address=_address(endpoint.address, endpoint.port)),
        metadata=_mesh_tls() if endpoint.mesh_tls else None,
        load_balancing_weight=_weight(endpoint.weight, divisor),
    )


def _mesh_tls() -> Metadata:
    """What a ``transport_socket_matches`` would look at. Our clusters have none: the endpoint is talked to like the others."""
    return Metadata(filter_metadata={_TLS_MODE: Struct(fields={"tlsMode": Value(string_value="istio")})})


def _divisor(weights: Iterable[int]) -> int:
    """By what to divide weights so that they add up; a weight that is not said counts as 1."""
    said = [weight or 1 for weight in weights]
    total = sum(said)
    return 1 if total <= _LARGEST_SUM else -(-total // (_LARGEST_SUM - len(said)))


def _weight(weight: int, divisor: int) -> int | None:
    return max(1, weight // divisor) if weight else None
