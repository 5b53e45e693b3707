"""Rows of waypoints: what they listen to, what they capture, and which routes have a part in that."""

from __future__ import annotations

from typing import Literal

import msgspec


class WaypointListener(msgspec.Struct, frozen=True):
    """A listener of a waypoint that takes traffic for the services that it captures."""

    key: tuple[str, str, int]
    """Gateway, address, port."""
    protocol: Literal["PROXY", "HBONE"]
    """PROXY protocol from a node's proxy, or CONNECT over mutual TLS."""
    secrets: tuple[str, ...] = ()
    """HBONE: Secrets of its certificateRefs that hold a certificate; the first that has CA certificates says whom to trust."""


class WaypointChain(msgspec.Struct, frozen=True):
    """One port of a captured service on its waypoint: what becomes one filter chain."""

    key: tuple[str, str]
    """Gateway, and the chain's name: ``fc_http_80_name_namespace``."""
    port: int
    addresses: tuple[str, ...]
    """IP addresses and CIDR blocks; never empty."""
    application: Literal["http", "tcp"]
    cluster: str
    """The service's own."""
    policies: tuple[str, ...] = ()
    """AuthorizationPolicies that hold for it, sorted."""

    @property
    def gateway(self) -> str:
        """``namespace/name`` of the waypoint."""
        return self.key[0]

    @property
    def route_configuration(self) -> str:
        """Name of its RouteConfiguration, if it speaks HTTP: the chain's own."""
        return self.key[1]


class WaypointRoute(msgspec.Struct, frozen=True):
    """A route has a part in a chain's virtual hosts."""

    key: tuple[str, str, str]
    """Gateway, route configuration (the chain's name), route."""
    rank: int
    """0: attached to the service, whatever its hostnames (GAMMA). 1: attached to the waypoint, for its hostnames."""
    hostnames: tuple[str, ...] = ()
    """Of rank 1; empty for all."""


class IngressVirtualAddresses(msgspec.Struct, frozen=True):
    """A backend that gateways reach at the service's own address, so that its waypoint sees the traffic."""

    key: str
    """The cluster."""
    addresses: tuple[str, ...]
    """Sorted as the settings say, IP addresses only; empty if the service has none, and then requests get 503."""
    port: int
