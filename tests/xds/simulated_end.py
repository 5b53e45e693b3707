"""What must hold in the end, when a proxy has answered everything and nothing happens any more."""

from __future__ import annotations

from collections.abc import Iterator

from controlplane.xds.response import Response
from controlplane.xds.types import CLUSTER as CDS
from controlplane.xds.types import LISTENER as LDS
from controlplane.xds.types import LOAD_ASSIGNMENT as EDS
from controlplane.xds.types import ROUTE_CONFIGURATION as RDS
from controlplane.xds.types import SECRET as SDS
from controlplane.xds.types import VIRTUAL_HOST as VHDS
from controlplane.xds.types import route_configuration_of
from tests.xds.offers import Row, is_bad
from tests.xds.simulated_world import PROBE, World


class End:
    """A world in which nothing happens any more."""

    def __init__(self, world: World) -> None:
        self.world = world

    def compare(self) -> None:
        """The proxy holds what the tables say, and nothing else."""
        self._compare_clusters()
        self._compare_listeners()
        self._compare_routes()
        bad = [
            (url, row.name)
            for url, row in self._all_rows()
            if is_bad(row.version) and self._is_asked_for(url, row.name) and not self.is_blocked(url, row.name)
        ]
        assert not bad, f"offered still, and bad: {bad}"
        assert self.world.machine.is_settled or self.world.proxy.clusters.wedged, "not settled"
        self._compare_facts()

    def _is_asked_for(self, type_url: str, name: str) -> bool:
        """Whether the proxy has to say what it thinks of it. A bad secret it rejects, and keeps the old one by itself."""
        if type_url == VHDS:
            return route_configuration_of(name) in self.world.proxy.hosts
        return type_url in (CDS, LDS) or (type_url != SDS and name in self.world.proxy.types[type_url].names)

    def _all_rows(self) -> Iterator[tuple[str, Row]]:
        for type_url, table in self.world.graph.tables.items():
            yield from ((type_url, row) for row in table.values())

    def _is_known(self) -> bool:
        """Whether nothing stays in an older form, of which a machine may not know what it names."""
        return all(row.body and not self.is_blocked(url, row.name) for url, row in self._all_rows())

    def is_blocked(self, type_url: str, name: str) -> bool:
        """Whether it names a cluster that the tables do not have."""
        row = self.world.graph.tables[type_url].get(name)
        return row is not None and bool(self.world.graph.missing(row))

    def _compare_clusters(self) -> None:
        proxy, tables = self.world.proxy, self.world.graph.tables
        clusters = proxy.clusters
        assert not clusters.warming, f"warming: {sorted(clusters.warming)}"
        wedged = {name: v for name, v in clusters.wedged.items() if not self.world.graph.is_unknown(CDS, name)}
        assert not wedged, f"wedged: {wedged}"
        assert clusters.wedged or not clusters.is_paused
        named = {cluster for cluster, _, _ in proxy.live_routes()}
        for name, row in tables[CDS].items():
            if self.world.graph.is_unknown(CDS, name):
                continue
            assert name in clusters.active, f"no cluster {name}"
            assert clusters.active[name].version == row.version, name
        if self._is_known() and all(
            route in tables[RDS] for row in tables[LDS].values() for route in row.route_configurations
        ):
            # Else a machine may not know what is in use.
            extra = clusters.active.keys() - tables[CDS].keys() - named - proxy.lost
            assert not extra, f"clusters that nobody wants: {extra}"
        for form in clusters.active.values():
            if form.assignment in tables[EDS] and not self.world.graph.is_unknown(EDS, form.assignment):
                assert proxy.assignments.get(form.assignment) == tables[EDS][form.assignment].version, form.assignment

    def _compare_listeners(self) -> None:
        proxy, tables = self.world.proxy, self.world.graph.tables
        for name, row in tables[LDS].items():
            is_whole = all(route in tables[RDS] for route in row.route_configurations)
            if is_whole and not self.world.graph.is_unknown(LDS, name) and not self.is_blocked(LDS, name):
                assert name in proxy.listeners, f"listener {name} is not in use"
                assert name not in proxy.opening, f"listener {name} waits"
                assert proxy.listeners[name].version == row.version
        extra = {*proxy.listeners, *proxy.opening} - tables[LDS].keys() - proxy.lost
        assert not extra, f"listeners that nobody wants: {extra}"

    def _compare_routes(self) -> None:
        proxy, tables = self.world.proxy, self.world.graph.tables
        for name in proxy.types[RDS].names:
            if name in tables[RDS] and not self.world.graph.is_unknown(RDS, name) and not self.is_blocked(RDS, name):
                claim = proxy.types[RDS].claims.get(name)
                assert claim == tables[RDS][name].version, f"RouteConfiguration {name}: {claim}"
                assert name in proxy.routes
        for owner, hosts in proxy.hosts.items():
            wanted = {name: row for name, row in tables[VHDS].items() if route_configuration_of(name) == owner}
            assert not any(name.endswith(PROBE) for name in hosts), "a probe is left"
            for name, row in wanted.items():
                if not self.is_blocked(VHDS, name) and not self.world.graph.is_unknown(VHDS, name):
                    assert name in hosts, f"no virtual host {name}"
                    assert str(hosts[name]) == row.version, name
            assert hosts.keys() <= wanted.keys(), f"virtual hosts that nobody wants: {hosts.keys() - wanted.keys()}"
        assert not any(name.endswith(PROBE) for name in proxy.types[VHDS].claims), "a probe is remembered"

    def _compare_facts(self) -> None:
        rejected = {name for type_url, name in self.world.graph.rejected if type_url == CDS}
        for name, row in self.world.graph.tables[VHDS].items():
            in_vain = rejected & {*self.world.graph.missing(row)}
            if route_configuration_of(name) in self.world.proxy.hosts:
                assert not in_vain, f"{name} waits for ever for {in_vain}, and its other routes with it"
        for type_url, name in self.world.withheld:
            assert self.is_blocked(type_url, name), f"withheld still: {type_url} {name}"
        for type_url, row in self._all_rows():
            held = self.world.proxy.types[type_url].claims.get(row.name)
            if (
                type_url == VHDS
                and route_configuration_of(row.name) in self.world.proxy.hosts
                and self.is_blocked(VHDS, row.name)
            ):
                assert held == row.version or (VHDS, row.name) in self.world.withheld, (
                    f"neither held nor withheld: {row.name}"
                )

    def reconnect_brings_nothing(self) -> None:
        """With unchanged content, a new stream is sent no resource."""
        if self.world.proxy.lost or self.world.proxy.unrecorded or not self._is_known():
            return
        absent = self._absent()
        self.world.connect()
        sent: list[Response] = []
        self.world.sees = sent.append
        self.world.converge()
        for response in sent:
            resources = {n: v for n, v in response.versions.items() if response.type_url != SDS or not is_bad(v)}
            assert not resources, f"a reconnect with unchanged content: {response}"
            assert absent >= {*response.removed}, f"a reconnect with unchanged content: {response}"
        self.compare()

    def _absent(self) -> set[str]:
        """What is asked for and does not exist: it is said again that it does not."""
        tables = self.world.graph.tables
        asked = {
            name for url in (SDS, RDS, EDS) for name in self.world.proxy.types[url].names if name not in tables[url]
        }
        return asked | {f"{name}/-" for name in self.world.proxy.types[RDS].names}
