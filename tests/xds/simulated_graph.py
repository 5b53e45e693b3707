"""What users want, made into tables, as the graph of collections does it: in one commit, only what is reached, and with what proxies
took last in the place of what they reject.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from weakref import WeakSet

import msgspec

from controlplane.xds import Views
from controlplane.xds.facts import RejectedResource
from controlplane.xds.types import CLUSTER as CDS
from controlplane.xds.types import LISTENER as LDS
from controlplane.xds.types import LOAD_ASSIGNMENT as EDS
from controlplane.xds.types import ROUTE_CONFIGURATION as RDS
from controlplane.xds.types import SECRET as SDS
from controlplane.xds.types import VIRTUAL_HOST as VHDS
from controlplane.xds.types import route_configuration_of
from tests.xds.offers import (
    HostForm,
    ListenerForm,
    RouteForm,
    RoutesForm,
    Row,
    assignment_of,
    cluster_row,
    encode_route,
    host_row,
    listener_row,
    plain_row,
    read_listener,
    read_route,
    routes_row,
    secret_of,
)

SCOPE = "ns/gw"
TYPES = (CDS, EDS, SDS, LDS, RDS, VHDS)
Tables = dict[str, dict[str, Row]]


class Wanted(msgspec.Struct):
    """What users want. What nothing leads to is not served."""

    clusters: dict[str, str | None] = {}
    """Name to version, ``1`` for one that is not here; None for one that does not exist."""
    assignments: dict[str, str] = {}
    """By name of the cluster."""
    secrets: dict[str, str | None] = {}
    listeners: dict[str, ListenerForm] = {}
    routes: dict[str, RoutesForm] = {}
    """One that is not here has its virtual hosts by VHDS."""
    hosts: dict[str, HostForm] = {}


class Graph:
    """The tables, and what is held back from them."""

    def __init__(self) -> None:
        self.wanted = Wanted()
        self.offered: Tables = {type_url: {} for type_url in TYPES}
        self.tables: Tables = {type_url: {} for type_url in TYPES}
        self.forms: dict[tuple[str, str], dict[str, Row | None]] = {}
        """Of each name the versions that proxies reject, and what is served instead of each."""
        self.parts: dict[str, dict[bytes, tuple[bytes, str]]] = {}
        """Of each virtual host the routes that proxies reject, what stands instead of each, and the rejected cluster that a
        route is held back for."""
        self.rejected: set[tuple[str, str]] = set()
        self.rows: WeakSet[Row] = WeakSet()
        """Every row that anybody still holds."""
        self.bodies: dict[tuple[str, str, str], bytes] = {}
        """Of each version that there ever was."""
        self.mended: dict[str, str] = {}
        """Of each virtual host the version without the routes that are held back."""
        self.seq = 0
        self.start()

    def start(self) -> None:
        """A control plane that starts, on what it remembers: not which versions were taken."""
        self.views = Views(resolve=lambda resource: resource.body)
        self.views.apply(
            [(SCOPE, type_url, name, row) for type_url, table in self.tables.items() for name, row in table.items()],
            seq=self.seq,
            rejections=[(SCOPE, *key, True) for key in sorted(self.rejected)],
        )

    # Rejections.

    def reject(self, fact: RejectedResource) -> None:
        """Notes what a proxy does not take; the next commit serves something else."""
        found = fact.resource
        name, version = found.entry.name, found.entry.version
        if fact.type_url == SDS:
            return  # the proxy keeps the old one by itself
        for route in found.routes:
            self.parts.setdefault(name, {})[route.body] = (route.fallback, route.cluster)
        if found.routes:
            return
        instead: Row | None = None
        if found.last is not None:
            last = found.last
            names = read_listener(last.resource.body).route_configurations if fact.type_url == LDS else ()
            instead = self._row(Row(name, last.version, last.resource.body, last.clusters, names))
        elif found.held:
            instead = self._row(Row(name, found.held, b""))
        self.forms.setdefault((fact.type_url, name), {})[version] = instead

    # Commits.

    def commit(self) -> None:
        """Serves what is wanted now, as one commit."""
        before = self.tables
        self.offered, self.tables = ({type_url: {} for type_url in TYPES} for _ in range(2))
        for name, form in self.wanted.listeners.items():
            self._offer(LDS, listener_row(name, form))
        for name in self._named_routes():
            self._offer(RDS, routes_row(name, self.wanted.routes.get(name, RoutesForm("1"))))
        for name, host in self.wanted.hosts.items():
            owner = route_configuration_of(name)
            if owner in self.tables[RDS] and owner not in self.wanted.routes:
                self._offer_host(name, host)
        for name in self._named_clusters():
            self._offer_cluster(name)
        secrets = {name for table in (self.offered, self.tables) for name in self._named_secrets(table)}
        for name in sorted(secrets):
            version = self.wanted.secrets.get(name, "1")
            if version is not None:
                self._offer(SDS, plain_row(name, version))
        self._end_rejections()
        rejected = {key for key, forms in self.forms.items() if forms}
        rejected |= {(VHDS, name) for name, parts in self.parts.items() if parts}
        self.seq += 1
        self.views.apply(
            self._changes(before),
            seq=self.seq,
            rejections=[(SCOPE, *key, key in rejected) for key in sorted(rejected ^ self.rejected)],
        )
        self.rejected = rejected

    def _offer_host(self, name: str, host: HostForm) -> None:
        offered = self.offered[VHDS][name] = self._row(host_row(name, host))
        self.bodies[VHDS, name, offered.version] = offered.body
        routes: list[RouteForm] = []
        for route in host.routes:
            body = encode_route(route)
            fallback, cluster = self.parts.get(name, {}).get(body, (body, ""))
            if cluster and not self.forms.get((CDS, cluster)):
                fallback = body
            if fallback:
                routes.append(read_route(fallback))
        row = host_row(name, HostForm(host.version, tuple(routes)))
        self.bodies[VHDS, name, row.version] = row.body
        served = self.forms.get((VHDS, name), {}).get(row.version, row)
        self.mended[name] = row.version
        if served is not None:
            self.tables[VHDS][name] = self._row(served)

    def _offer_cluster(self, name: str) -> None:
        version = self.wanted.clusters.get(name, "1")
        if version is None:
            return
        self._offer(CDS, cluster_row(name, version))
        if assignment_of(name):
            self._offer(EDS, plain_row(assignment_of(name), self.wanted.assignments.get(name, "1")))

    def _offer(self, type_url: str, row: Row) -> None:
        self.offered[type_url][row.name] = self._row(row)
        self.bodies[type_url, row.name, row.version] = row.body
        served = self.forms.get((type_url, row.name), {}).get(row.version, row)
        if served is not None:
            self.tables[type_url][row.name] = self._row(served)

    def _row(self, row: Row) -> Row:
        self.rows.add(row)
        return row

    def _named_routes(self) -> list[str]:
        tables = (self.offered, self.tables)
        return sorted({name for table in tables for row in table[LDS].values() for name in row.route_configurations})

    def _named_clusters(self) -> list[str]:
        return sorted({name for table in (self.offered, self.tables) for _, _, name in clusters_named(table)})

    def _named_secrets(self, tables: Tables) -> Iterator[str]:
        for name in tables[LDS].values():
            yield from read_listener(name.body).secrets if name.body else ()
        yield from (secret_of(name) for name in tables[CDS] if secret_of(name))

    def _end_rejections(self) -> None:
        for (type_url, name), forms in tuple(self.forms.items()):
            row = self.offered[type_url].get(name)
            version = None if row is None else self.mended[name] if type_url == VHDS else row.version
            self.forms[type_url, name] = {v: form for v, form in forms.items() if v == version}
        for name, parts in tuple(self.parts.items()):
            host = self.wanted.hosts.get(name)
            bodies = {encode_route(route) for route in host.routes} if host is not None else set()
            self.parts[name] = {
                body: (fallback, cluster)
                for body, (fallback, cluster) in parts.items()
                if body in bodies and (not cluster or self.forms.get((CDS, cluster)))
            }

    def _changes(self, before: Tables) -> Iterable[tuple[str, str, str, Row | None]]:
        for type_url in TYPES:
            for name in sorted({*before[type_url], *self.tables[type_url]}):
                row = self.tables[type_url].get(name)
                if row != before[type_url].get(name):
                    yield SCOPE, type_url, name, row

    # What is in them.

    def missing(self, row: Row) -> tuple[str, ...]:
        """Clusters that a row names and that the tables do not have."""
        return tuple(name for name in row.clusters if name not in self.tables[CDS])

    def is_unknown(self, type_url: str, name: str) -> bool:
        """Whether the tables hold a form of which nobody knows the bytes any more."""
        row = self.tables[type_url].get(name)
        return row is not None and not row.body


def clusters_named(tables: Tables) -> Iterator[tuple[str, str, str]]:
    """Type, name, and cluster."""
    for type_url in (LDS, RDS, VHDS):
        for name, row in tables[type_url].items():
            yield from ((type_url, name, cluster) for cluster in row.clusters)
