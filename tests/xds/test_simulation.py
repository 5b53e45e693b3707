"""The machine against a proxy that follows Envoy's own rules, whatever the order of commits, messages and breaks.

``Envoy`` below does what envoy-observed.md saw: it withholds every CDS answer while a cluster warms, applies the good parts of
a rejected CDS or LDS response without remembering them, takes virtual hosts of one RouteConfiguration all or none, counts
those of a missing RouteConfiguration as received and drops them, keeps a listener's RouteConfiguration until its drain ends,
and tells at a reconnect what it remembers, right or wrong. However it is driven, it must end with exactly what the tables
hold, every listener started, nothing warming, without any of Envoy's timeouts; and then a reconnect must bring nothing.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from controlplane.xds import Machine, Views
from controlplane.xds.response import Response
from controlplane.xds.types import CLUSTER as CDS
from controlplane.xds.types import LISTENER as LDS
from controlplane.xds.types import LOAD_ASSIGNMENT as EDS
from controlplane.xds.types import ROUTE_CONFIGURATION as RDS
from controlplane.xds.types import SECRET as SDS
from controlplane.xds.types import VIRTUAL_HOST as VHDS
from controlplane.xds.types import route_configuration_of
from controlplane.xds.wire import ErrorDetail, Request

SCOPE = "ns/gw"
CLUSTERS = ["c0", "c1", "c2"]
ROUTES = {"l0": "rc0", "l1": "rc0", "l2": "rc1"}
SECRETS = {"l0": "s0", "l1": "s1", "l2": "s1"}
HOSTS = ["a", "b"]
GOOD = ["1", "2", "3"]
BAD = ["bad1", "bad2"]


class Row:
    """A resource."""

    def __init__(self, name: str, version: str) -> None:
        self.name, self.version, self.body = name, version, b"?"
        self.clusters: tuple[str, ...] = ()
        self.route_configurations: tuple[str, ...] = ()


class Watches:
    """Envoy's subscription to one type: what it wants, what it believes to hold, what it has not said yet."""

    def __init__(self, *, wildcard: bool) -> None:
        self.wildcard = wildcard
        self.names: set[str] = set()
        self.versions: dict[str, str] = {}
        self.added: set[str] = set()
        self.removed: set[str] = set()
        self.is_used = wildcard
        self.is_asked = False
        self.answers: deque[tuple[str, str | None]] = deque()

    def watch(self, name: str) -> None:
        if name not in self.names:
            self.is_used = True
            self.names.add(name)
            self.added.add(name)
            self.removed.discard(name)

    def unwatch(self, name: str) -> None:
        if name in self.names:
            self.names.discard(name)
            self.versions.pop(name, None)
            if name in self.added:
                self.added.discard(name)
            self.removed.add(name)


class Envoy:
    """A proxy, over all its streams."""

    def __init__(self) -> None:
        self.types = {
            CDS: Watches(wildcard=True),
            EDS: Watches(wildcard=False),
            SDS: Watches(wildcard=False),
            LDS: Watches(wildcard=True),
            RDS: Watches(wildcard=False),
            VHDS: Watches(wildcard=True),
        }
        self.types[VHDS].is_used = False
        self.clusters: dict[str, str] = {}
        self.warming: dict[str, str] = {}
        self.assignments: dict[str, str] = {}
        self.secrets: dict[str, str | None] = {}
        self.listeners: dict[str, str] = {}
        self.draining: set[str] = set()
        self.routes: dict[str, str] = {}
        self.hosts: dict[str, dict[str, str]] = {}
        self.started: set[str] = set()
        """RouteConfigurations whose virtual hosts have come; a listener waits for that."""
        self.unrecorded: set[str] = set()
        """Clusters and listeners that were applied out of a rejected response, which Envoy does not remember."""
        self.lost: set[str] = set()
        """Those of them that the server, too, has forgotten since the stream broke (trap 5): nobody can know them."""

    # The stream.

    def connect(self) -> None:
        self.lost |= self.unrecorded
        for watches in self.types.values():
            watches.is_asked = False
            watches.answers.clear()

    def next_request(self) -> Request | None:
        """What the proxy says next: the types in their order, answers with subscriptions on them."""
        for type_url, watches in self.types.items():
            if not watches.is_used or (type_url == CDS and self.warming):
                continue
            nonce, error = watches.answers.popleft() if watches.answers else ("", None)
            if watches.is_asked and not nonce and not watches.added and not watches.removed:
                continue
            first = not watches.is_asked
            subscribe = watches.names if first else watches.added
            request = Request(
                type_url=type_url,
                subscribe=() if watches.wildcard else tuple(sorted(subscribe)),
                unsubscribe=() if first else tuple(sorted(watches.removed)),
                versions=dict(watches.versions) if first else {},
                nonce=nonce,
                error=None if error is None else ErrorDetail(13, error),
            )
            watches.is_asked = True
            watches.added.clear()
            watches.removed.clear()
            return request
        return None

    def take(self, response: Response) -> None:
        """Carries a response out, and remembers the answer to it."""
        watches = self.types[response.type_url]
        if not watches.is_used:
            return  # no subscription of the type: dropped without an answer
        carry_out = {
            CDS: self._clusters,
            EDS: self._assignments,
            SDS: self._secrets,
            LDS: self._listeners,
            RDS: self._routes,
            VHDS: self._hosts,
        }[response.type_url]
        bad = carry_out(response.versions, response.removed)
        if bad is None:
            for name, version in response.versions.items():
                if watches.wildcard or name in watches.names:
                    watches.versions[name] = version
            for name in response.removed:
                watches.versions.pop(name, None)
            if response.type_url in (CDS, LDS):
                self.unrecorded -= {*response.versions, *response.removed}
                self.lost -= {*response.versions, *response.removed}
        elif response.type_url in (CDS, LDS):
            self.unrecorded |= {name for name, version in response.versions.items() if version not in BAD}
        watches.answers.append((response.nonce, bad))

    # The types.

    def _clusters(self, versions: dict[str, str], removed: Iterable[str]) -> str | None:
        bad = [name for name, version in versions.items() if version in BAD]
        for name in removed:
            self.clusters.pop(name, None)
            self.warming.pop(name, None)
            self.assignments.pop(name, None)
            self.types[EDS].unwatch(name)
        for name, version in versions.items():
            if name in bad or version == self.warming.get(name, self.clusters.get(name)):
                continue
            self.warming[name] = version
            self.types[EDS].watch(name)
        return f"bad: {bad}" if bad else None

    def _assignments(self, versions: dict[str, str], removed: Iterable[str]) -> None:
        for name, version in versions.items():
            if name in self.types[EDS].names:
                self.assignments[name] = version
                self._warmed(name)
        for name in removed:
            self._warmed(name)

    def _warmed(self, name: str) -> None:
        if name in self.warming:
            self.clusters[name] = self.warming.pop(name)

    def _secrets(self, versions: dict[str, str], removed: Iterable[str]) -> None:
        for name, version in versions.items():
            if name in self.types[SDS].names:
                self.secrets[name] = version
        for name in removed:
            self.secrets.setdefault(name, None)

    def _listeners(self, versions: dict[str, str], removed: Iterable[str]) -> str | None:
        bad = [name for name, version in versions.items() if version in BAD]
        for name in removed:
            if self.listeners.pop(name, None) is not None:
                self.draining.add(name)
        for name, version in versions.items():
            if name not in bad:
                self.listeners[name] = version
                self.draining.discard(name)
                self.types[RDS].watch(ROUTES[name])
                self.types[SDS].watch(SECRETS[name])
        return f"bad: {bad}" if bad else None

    def end_drain(self) -> None:
        self.draining.clear()
        for name in tuple(self.types[RDS].names):
            if name not in {ROUTES[listener] for listener in self.listeners}:
                self.types[RDS].unwatch(name)
                self.routes.pop(name, None)
                self.hosts.pop(name, None)
                self.started.discard(name)
        for name in tuple(self.types[SDS].names):
            if name not in {SECRETS[listener] for listener in self.listeners}:
                self.types[SDS].unwatch(name)
                self.secrets.pop(name, None)

    def _routes(self, versions: dict[str, str], removed: Iterable[str]) -> str | None:
        if any(version in BAD for version in versions.values()):
            return "bad"
        for name, version in versions.items():
            if name in self.types[RDS].names:
                self.routes[name] = version
                self.hosts.setdefault(name, {})
                self.types[VHDS].is_used = True
        return None

    def _hosts(self, versions: dict[str, str], removed: Iterable[str]) -> str | None:
        [owner] = {route_configuration_of(name) for name in [*versions, *removed]}
        if owner not in self.hosts:
            return None
        if any(version in BAD for version in versions.values()):
            return "bad"
        self.hosts[owner].update(versions)
        for name in removed:
            self.hosts[owner].pop(name, None)
        self.started.add(owner)
        return None


PROXY = "proxy#1"
versions_of = st.sampled_from([*GOOD, *GOOD, *BAD, None])
good_versions = st.sampled_from(GOOD)


class Simulation(RuleBasedStateMachine):
    """Commits, changes of the proxy's class, messages, breaks and drains in any order."""

    @initialize(seed=st.dictionaries(st.sampled_from(list(ROUTES)), good_versions))
    def start(self, seed: dict[str, str]) -> None:
        self.views = Views(resolve=lambda resource: resource.body)
        self.tables: dict[str, dict[str, str]] = {type_url: {} for type_url in (CDS, EDS, SDS, LDS, RDS, VHDS)}
        self.envoy = Envoy()
        self.now = 0.0
        self.machine: Machine | None = None
        self.class_name = ""
        self.layer: dict[tuple[str, str], str] = {}
        """What the proxy's class is served of its own."""
        self.forgotten: set[str] = set()
        self._commit(listeners=seed, clusters={"c0": "1"}, hosts={})
        self._connect()

    def _connect(self) -> None:
        self.views.leave(PROXY)
        view = asyncio.run(self.views.wait_assigned(PROXY))
        self.machine = Machine(view)
        view.listen(self.machine.changed)
        self.envoy.connect()
        self.to_server: deque[Request] = deque()
        self.to_envoy: deque[Response] = deque()
        self.nonces: set[str] = set()
        self.delivered: set[str] = set()

    # Commits.

    @rule(
        clusters=st.dictionaries(st.sampled_from(CLUSTERS), versions_of, max_size=2),
        assignments=st.dictionaries(st.sampled_from(CLUSTERS), good_versions, max_size=2),
        listeners=st.dictionaries(st.sampled_from(list(ROUTES)), versions_of, max_size=2),
        routes=st.dictionaries(st.sampled_from(["rc0", "rc1"]), st.sampled_from([*GOOD, "bad1"]), max_size=1),
        hosts=st.dictionaries(
            st.tuples(st.sampled_from(["rc0", "rc1"]), st.sampled_from(HOSTS)), versions_of, max_size=3
        ),
        secrets=st.dictionaries(st.sampled_from(["s0", "s1"]), st.sampled_from([*GOOD, None]), max_size=1),
        own=st.frozensets(st.sampled_from([*CLUSTERS, *ROUTES, "rc0/a", "rc1/b", "s0"]), max_size=4),
        is_moved=st.booleans(),
    )
    def commit(self, **changes) -> None:
        self._commit(**changes)

    def _commit(
        self, clusters, listeners, hosts, assignments=None, routes=None, secrets=None, own=frozenset(), is_moved=False
    ) -> None:
        tables = {type_url: dict(table) for type_url, table in self.tables.items()}
        _edit(tables[CDS], clusters)
        _edit(tables[LDS], listeners)
        _edit(tables[SDS], secrets or {})
        _edit(tables[EDS], assignments or {})
        tables[EDS] = {name: tables[EDS].get(name, "1") for name in tables[CDS]}
        served = {ROUTES[name] for name in tables[LDS]}
        tables[RDS] = {name: (routes or {}).get(name, tables[RDS].get(name, "1")) for name in served}
        _edit(tables[VHDS], {f"{owner}/{host}": version for (owner, host), version in hosts.items()})
        tables[VHDS] = {
            name: version for name, version in tables[VHDS].items() if route_configuration_of(name) in served
        }
        self._apply(tables, own, is_moved)

    def _apply(
        self, tables: dict[str, dict[str, str]], own: frozenset[str] = frozenset(), is_moved: bool = False
    ) -> None:
        """One commit, after which the proxy sees these tables.

        Args:
            tables: All that it sees.
            own: Names of which it sees what its class is served, over something else that all are served.
            is_moved: Whether it is of another class from now on.
        """
        changes = []
        layer = {}
        for type_url, table in tables.items():
            for name in sorted({*table, *self.tables[type_url]}):
                version = table.get(name)
                if name in own and version is not None:
                    layer[type_url, name] = version
                    version = "covered"
                changes.append((SCOPE, type_url, name, None if version is None else Row(name, version)))
        before, self.class_name = self.class_name, f"{self.class_name}+" if is_moved else self.class_name
        client_changes = [(SCOPE, before, *key, None) for key in self.layer if is_moved or key not in layer]
        client_changes += [(SCOPE, self.class_name, *key, Row(key[1], version)) for key, version in layer.items()]
        self.tables, self.layer = tables, layer
        self.views.apply(changes, client_changes, [(PROXY, (SCOPE, (self.class_name,)))])

    # Messages.

    @rule()
    def proxy_speaks(self) -> None:
        request = self.envoy.next_request()
        if request is not None:
            self.to_server.append(request)

    @precondition(lambda self: self.to_server)
    @rule()
    def server_hears(self) -> None:
        request = self.to_server.popleft()
        assert self.machine is not None
        self.machine.receive(request)
        if request.type_url == RDS:
            self.delivered |= request.versions.keys() & set(request.subscribe)
            self.delivered -= set(request.unsubscribe)

    @rule()
    def server_speaks(self) -> None:
        self._server_speaks()

    def _server_speaks(self) -> bool:
        assert self.machine is not None
        response = self.machine.next_response(self.now)
        if response is None:
            return False
        self._check(response)
        self.to_envoy.append(response)
        return True

    def _check(self, response: Response) -> None:
        names = [*response.versions, *response.removed]
        assert len(names) == len(set(names)), "a name twice in one response (P1)"
        assert response.nonce not in self.nonces
        self.nonces.add(response.nonce)
        if response.type_url in (CDS, LDS):
            assert not (response.versions and response.removed), "removals beside additions (trap 5)"
        if response.type_url == RDS:
            self.delivered |= response.versions.keys()
        if response.type_url == VHDS:
            owners = {route_configuration_of(name) for name in names}
            assert len(owners) == 1, "one response for each RouteConfiguration"
            assert not response.versions or owners <= self.delivered, "virtual hosts of what was not delivered"

    @precondition(lambda self: self.to_envoy)
    @rule()
    def proxy_hears(self) -> None:
        self.envoy.take(self.to_envoy.popleft())

    @rule(
        steps=st.lists(st.sampled_from(["proxy_speaks", "server_hears", "server_speaks", "proxy_hears"]), max_size=25),
        breaks=st.booleans(),
    )
    def converse(self, steps: list[str], breaks: bool) -> None:
        """A conversation in any interleaving, perhaps cut off in its midst."""
        self._exchange(steps)
        if breaks:
            self._connect()

    def _exchange(self, steps: list[str]) -> None:
        for step in steps:
            if step == "server_hears" and not self.to_server:
                self.proxy_speaks()
            if step == "proxy_hears" and not self.to_envoy:
                self._server_speaks()
            waits_for = {"server_hears": self.to_server, "proxy_hears": self.to_envoy}
            if waits_for.get(step, True):
                getattr(self, step)()

    @rule(
        kind=st.sampled_from(["clusters", "listeners", "hosts"]),
        which=st.integers(0, 1),
        version=good_versions,
        messages=st.integers(1, 6),
    )
    def change_is_interrupted(self, kind: str, which: int, version: str, messages: int) -> None:
        """One change of a proxy at rest, and the stream breaks after so many messages."""
        while self._talk():
            pass
        names = {"clusters": CLUSTERS, "listeners": list(ROUTES), "hosts": [("rc0", "a"), ("rc1", "b")]}
        changes: dict[str, dict] = {"clusters": {}, "listeners": {}, "hosts": {}}
        changes[kind] = {names[kind][which]: version}
        self._commit(**changes)
        self._exchange(["proxy_hears", "server_hears"] * (messages // 2) + ["proxy_hears"] * (messages % 2))
        self._connect()

    @rule(rounds=st.integers(1, 8))
    def talk(self, rounds: int) -> None:
        for _ in range(rounds):
            self._talk()

    def _talk(self) -> bool:
        busy = False
        while (request := self.envoy.next_request()) is not None:
            self.to_server.append(request)
        while self.to_server:
            busy = True
            self.server_hears()
        while self._server_speaks():
            busy = True
        while self.to_envoy:
            busy = True
            self.proxy_hears()
        return busy

    # Everything else that happens.

    @rule()
    def stream_breaks(self) -> None:
        self._connect()

    @rule()
    def drains_end(self) -> None:
        self.envoy.end_drain()

    @rule()
    def time_passes(self) -> None:
        self.now += 3.0

    # The end.

    def teardown(self) -> None:
        if not hasattr(self, "machine"):
            return
        tables = {
            type_url: {name: "9" if version in BAD else version for name, version in table.items()}
            for type_url, table in self.tables.items()
        }
        self._apply(tables)
        self._converge()
        self._compare()
        assert self.machine is not None
        assert self.machine.is_settled
        if self.envoy.lost:
            return
        assert all(not delivery.held for delivery in self.machine._deliveries.values())
        self._connect()
        sent = self._converge()
        absent = {"s0", "s1", "rc0/-", "rc1/-"}  # asked for, and answered again
        resources = [response for response in sent if response.versions or set(response.removed) - absent]
        assert resources == [], "a reconnect with unchanged content"
        self._compare()

    def _converge(self) -> list[Response]:
        sent: list[Response] = []
        collect, self._check = self._check, lambda response: (sent.append(response), collect(response))  # type: ignore[method-assign]
        quiet = 0
        for _ in range(200):
            self.envoy.end_drain()
            quiet = 0 if self._talk() else quiet + 1
            if quiet > 5:
                break
            self.now += 4.0
        else:
            raise AssertionError("the proxy never comes to rest")
        self._check = collect  # type: ignore[method-assign]
        return sent

    def _compare(self) -> None:
        envoy, tables = self.envoy, self.tables
        assert envoy.warming == {}
        for found, type_url in ((envoy.clusters, CDS), (envoy.assignments, EDS), (envoy.listeners, LDS)):
            assert _without(found, envoy.lost) == _without(tables[type_url], envoy.lost)
        for listener in tables[LDS]:
            owner = ROUTES[listener]
            assert envoy.routes[owner] == tables[RDS][owner]
            assert owner in envoy.started, "the listener never starts"
            assert envoy.hosts[owner] == {
                name: version for name, version in tables[VHDS].items() if route_configuration_of(name) == owner
            }
            assert SECRETS[listener] in envoy.secrets, "a secret without an answer"
            if SECRETS[listener] in tables[SDS]:
                assert envoy.secrets[SECRETS[listener]] == tables[SDS][SECRETS[listener]]


def _without(table: dict[str, str], names: set[str]) -> dict[str, str]:
    return {name: version for name, version in table.items() if name not in names}


def _edit(table: dict[str, str], changes: dict[str, str | None]) -> None:
    for name, version in changes.items():
        if version is None:
            table.pop(name, None)
        else:
            table[name] = version


TestSimulation = Simulation.TestCase
TestSimulation.settings = settings(
    max_examples=150, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
