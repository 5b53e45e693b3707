"""What Envoys are served, as it is called: types by their URLs, listeners by their names."""

from __future__ import annotations

from enum import StrEnum


class TypeUrl(StrEnum):
    """The types of resources that we serve."""

    CLUSTER = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
    LOAD_ASSIGNMENT = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
    SECRET = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"  # noqa: S105 (a type URL)
    LISTENER = "type.googleapis.com/envoy.config.listener.v3.Listener"
    ROUTE_CONFIGURATION = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
    VIRTUAL_HOST = "type.googleapis.com/envoy.config.route.v3.VirtualHost"


def short_type(type_url: str) -> str:
    """The last part of a type URL: ``Cluster``."""
    return type_url.rpartition(".")[2]


def listener_name(address: str, port: int) -> str:
    """An Envoy listener's name: its address and port, and nothing that could change."""
    return f"listener~{address}~{port}"
