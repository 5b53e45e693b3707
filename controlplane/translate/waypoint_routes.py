"""The virtual hosts of a waypoint's chains: routes of the service before those of the waypoint.

Each chain has a route configuration of its own, since its connections are one service's whatever host they ask for. Whose
hostname matters is a route that is attached to the waypoint as a whole.
"""

from __future__ import annotations

from collections.abc import Collection as Rows
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Final

import msgspec

from controlplane._proto.envoy.config.route.v3 import Route, RouteAction, RouteMatch
from controlplane.reducers.hostnames import ANY, wider
from controlplane.translate.route import Hashing, RouteEntry, no_hashing
from controlplane.translate.virtual_host import EncodedRoutes, VirtualHostRow, compose_virtual_host

_FIRST: Final = (0, 0, 0, 0, 0, False, "", "", 0, 0)


class RoutePart(msgspec.Struct, frozen=True):
    """The part that a route has in a chain's virtual hosts."""

    rank: int
    """As ``WaypointRoute.rank``."""
    hostnames: tuple[str, ...]
    """Lower case; empty for all. Rank 0 has none."""
    routes: EncodedRoutes


def default_route(cluster: str, hashing: Hashing = no_hashing) -> RouteEntry:
    """Everything to the service itself, as if there were no waypoint: what stands where no route says otherwise."""
    # Envoy's own limit is 15 s, which nobody asked for and which breaks long answers.
    action = RouteAction(cluster=cluster, timeout=timedelta(0), hash_policy=list(hashing(cluster)))
    body = bytes(Route(name="default", match=RouteMatch(prefix="/"), route=action))
    return RouteEntry(_FIRST, body, (cluster,))


def compose_virtual_hosts(
    gateway: str, route_configuration: str, parts: Sequence[RoutePart], default: RouteEntry
) -> Iterator[VirtualHostRow]:
    """The virtual hosts of a chain, ``*`` first, then one for each hostname that a route of the waypoint names.

    Within a host: routes of the service, whatever their hostnames; then those of the waypoint for this hostname, for each wider
    one, for all. What none of a service's own routes matches is 404, as GAMMA has it. A service without routes of its own is
    reached as it is where the waypoint's do not match: one route of the waypoint must not turn off all that it captures.

    Args:
        gateway: The waypoint.
        route_configuration: The chain's.
        parts: Of routes, in any order; ``compose_virtual_host`` sorts each rank by Gateway API's precedence.
        default: ``default_route`` of the chain's cluster.

    Source: Gateway API v1, HTTPRouteSpec.Hostnames and GAMMA's route semantics. Cost: O(hostnames x routes that reach them).
    """
    own = [part.routes for part in parts if part.rank == 0]
    by_hostname: dict[str, list[EncodedRoutes]] = {ANY: []}
    for part in parts:
        if part.rank != 0:
            for hostname in part.hostnames or (ANY,):
                by_hostname.setdefault(hostname, []).append(part.routes)
    for hostname in sorted(by_hostname):
        ranks: list[Rows[EncodedRoutes]] = [own]
        ranks += [by_hostname.get(pattern, []) for pattern in (hostname, *wider(hostname, ANY))]
        key = (gateway, route_configuration, hostname)
        if not own:
            ranks.append([EncodedRoutes((gateway, route_configuration, ""), (default,))])
        yield compose_virtual_host(key, ranks)
