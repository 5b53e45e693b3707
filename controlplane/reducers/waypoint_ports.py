"""What a waypoint matches: the ports of captured services at the services' own addresses, each place once.

Two services that have one address and port cannot be told apart, and Envoy refuses a listener with two filter chains of one
match as a whole. So the older has the place, and the other's status says so. Blocks that overlap are no conflict: the longest
prefix wins.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final, Literal

import msgspec

from controlplane.krt import Collection, Fetch, Graph, Group, Index
from controlplane.model.addresses import parse_block
from controlplane.model.istio import ServiceEntry
from controlplane.model.services import Backend, BackendKey
from controlplane.reducers.backends import Backends
from controlplane.reducers.base import Base
from controlplane.reducers.capture import BoundWaypoint, Captures, bound_waypoint

_LONGEST_NAME: Final = 253


class WaypointPort(msgspec.Struct, frozen=True):
    """A port of a captured service."""

    key: BackendKey
    waypoint: BoundWaypoint
    chain: str
    """Name of its chain."""
    cluster: str
    host: str
    port_name: str
    application: Literal["http", "tcp"]
    addresses: tuple[str, ...]
    """Where the waypoint takes it: IP addresses and CIDR blocks in one spelling each, sorted. Empty: nowhere, no chain."""
    rank: tuple[bool, str, str, str, int, str]
    """The smallest has a place that several ask for: the oldest, then the first by name, then its entry's first host."""
    exported_to: tuple[str, ...] = ()
    problem: str = ""
    """Why it is taken at fewer places than it has, or at none."""

    @property
    def owner(self) -> str:
        """``Kind namespace/name`` of its object."""
        return f"{self.key[0]} {self.key[1]}"

    @property
    def namespace(self) -> str:
        """Of its object."""
        return self.key[1].partition("/")[0]

    @property
    def port(self) -> int:
        """The service's."""
        return self.key[3]


@dataclass(frozen=True)
class WaypointPorts:
    """Ports of captured services."""

    rows: Collection[WaypointPort]
    by_owner: Index[WaypointPort]
    """By ``Kind namespace/name``."""
    by_host: Index[WaypointPort]


def normalise_addresses(addresses: Iterable[str]) -> tuple[str, ...]:
    """Addresses and CIDR blocks as a filter chain can match them: one spelling each, sorted, junk left out."""
    blocks = {block for text in addresses if (block := parse_block(text)) is not None}
    return tuple(sorted(str(block).removesuffix(f"/{block.max_prefixlen}") for block in blocks))


def chain_name(backend: Backend) -> str:
    """Name of a port's chain: of ``Service`` s in n ``fc_http_80_s_n``, of a ServiceEntry its host as well.

    Names of objects have no underscore and the host stands last, so no two ports share a name. One too long ends in a hash.
    """
    _, key, host, port = backend.key
    namespace, _, name = key.partition("/")
    made = "_".join(["fc", backend.application, str(port), name, namespace, *([host] if host else [])])
    if len(made) <= _LONGEST_NAME:
        return made
    digest = blake2b(made.encode(), digest_size=8).hexdigest()
    return f"{made[: _LONGEST_NAME - len(digest) - 1]}~{digest}"


def _hosts(entry: ServiceEntry) -> tuple[str, ...]:
    return tuple(host.lower() for host in entry.spec.hosts)


def _first(group: Group[WaypointPort]) -> BackendKey:
    """A view: the port that has a place."""
    return min(group.rows, key=lambda row: row.rank).key


def _describe(key: BackendKey) -> str:
    return f"{key[0]} {key[1]}" + (f" (host {key[2]})" if key[2] else "")


def declare_waypoint_ports(graph: Graph, base: Base, captures: Captures, backends: Backends) -> WaypointPorts:
    """Declare the ports of captured services."""

    def claim(backend: Backend, fetch: Fetch) -> WaypointPort | None:
        waypoint = fetch(captures.rows, backend.owner, view=bound_waypoint)
        if waypoint is None:
            return None
        kind, key, host, port = backend.key
        hosts = (fetch(base.service_entries, key, view=_hosts) or ()) if host else ()
        addresses = normalise_addresses(backend.addresses) if not backend.unserved else ()
        problem = backend.unserved
        if not addresses and not problem:
            problem = f"port {port} is not taken: there is no address of its own; give it a virtual IP address"
        return WaypointPort(
            key=backend.key,
            waypoint=waypoint,
            chain=chain_name(backend),
            cluster=backend.cluster,
            host=backend.host,
            port_name=backend.port_name,
            application=backend.application,
            addresses=addresses,
            rank=(not backend.created, backend.created, key, kind, hosts.index(host) if host in hosts else 0, host),
            exported_to=backend.exported_to,
            problem=problem,
        )

    reads = (base.service_entries, captures.rows)
    claims = graph.map("waypoint_port_claims", WaypointPort, backends.backends, claim, reads=reads)
    places = graph.group("waypoint_places", claims, by=_places)

    def settle(row: WaypointPort, fetch: Fetch) -> WaypointPort:
        lost = {}
        for place in _places(row):
            winner = fetch(places, place, view=_first)
            if winner is not None and winner != row.key:
                lost[place[1]] = winner
        if not lost:
            return row
        taken = "; ".join(
            f"{address} port {row.port} is taken by {_describe(lost[address])}" for address in sorted(lost)
        )
        remedy = "which is older or, where no creation time tells, comes first; give each an address of its own"
        kept = tuple(address for address in row.addresses if address not in lost)
        return msgspec.structs.replace(row, addresses=kept, problem=f"{taken}, {remedy}")

    rows = graph.map("waypoint_ports", WaypointPort, claims, settle, reads=(places,))
    return WaypointPorts(
        rows,
        rows.index("waypoint_ports_by_owner", lambda row: row.owner),
        rows.index("waypoint_ports_by_host", lambda row: row.host),
    )


def _places(row: WaypointPort) -> list[tuple[str, str, int]]:
    return [(row.waypoint.key, address, row.port) for address in row.addresses]
