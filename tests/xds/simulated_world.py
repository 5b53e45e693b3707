"""The machine between tables and a simulated proxy; what must hold is looked at whenever anything happens."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import msgspec

from controlplane.xds import Limits, Machine
from controlplane.xds.facts import Fact, Rejected, RejectedResource
from controlplane.xds.gate import Resumed, Withheld
from controlplane.xds.response import Response
from controlplane.xds.types import CLUSTER as CDS
from controlplane.xds.types import LISTENER as LDS
from controlplane.xds.types import LOAD_ASSIGNMENT as EDS
from controlplane.xds.types import ROUTE_CONFIGURATION as RDS
from controlplane.xds.types import VIRTUAL_HOST as VHDS
from controlplane.xds.types import label_of, route_configuration_of
from controlplane.xds.wire import ErrorDetail, Request
from tests.xds.offers import ClusterForm, is_bad, read_host, read_route, read_routes
from tests.xds.simulated_graph import SCOPE, Graph, clusters_named
from tests.xds.simulated_proxy import Proxy

PROBE = "/probe.controlplane.invalid"
LIMITS = Limits()
_EPSILON = 1e-6
MOST_TRIES = 40
"""Answers of a type until every good resource beside bad ones has got through."""


class Promise(msgspec.Struct):
    """A good resource that stood in a rejected response."""

    type_url: str
    name: str
    version: str
    answers: int = 0
    """Of the type, since."""


class World:
    """Tables, a machine, a proxy, what is under way between them, and the time."""

    def __init__(self, *, is_terse: bool = True) -> None:
        self.graph = Graph()
        self.proxy = Proxy(is_terse=is_terse)
        self.now = 0.0
        self.is_prompt = True
        """Whether what proxies reject is held back at once; else when ``hold_back`` is called."""
        self.told: deque[RejectedResource] = deque()
        self.committed: dict[tuple[str, str, str], float] = {}
        self.excused: set[tuple[str, str, str]] = set()
        self.was_bad: set[str] = set()
        """Load assignments."""
        self.last_live: dict[str, float] = {}
        self.log: list[str] = []
        """What happened, for people."""
        self.sees: Callable[[Response], None] = lambda response: None
        """Is told of every response."""
        self.used_nonces: list[tuple[str, str]] = []
        self.connect()

    # The stream.

    def connect(self) -> None:
        """A new stream; what was under way is lost."""
        self.view = self.graph.views.view(SCOPE)
        if hasattr(self, "machine"):
            self.stale_view.unlisten(self.machine.changed)
            self.machine.end()
        self.stale_view = self.view
        self.machine = Machine(self.view, LIMITS)
        self.sees = lambda response: None
        self.view.listen(self.machine.changed)
        self.proxy.connect()
        self.to_machine: deque[Request] = deque()
        self.to_proxy: deque[Response] = deque()
        self.delivered: set[str] = set()
        self.outstanding: dict[str, tuple[str, str, float]] = {}
        """By nonce: type, RouteConfiguration of virtual hosts, and when it was sent."""
        self.sent: dict[str, Response] = {}
        self.withheld: dict[tuple[str, str], tuple[str, ...]] = {}
        self.promises: list[Promise] = []
        self.subscribed: dict[str, float] = {}
        self.had: set[tuple[str, str]] = {
            (type_url, name) for type_url, watches in self.proxy.types.items() for name in watches.claims
        }
        self.log.append("CONNECT")

    def restart_proxy(self) -> None:
        """A fresh Envoy in the place of the other."""
        self.proxy = Proxy(is_terse=self.proxy.is_terse)
        self.proxy.now = self.now
        self.last_live.clear()
        self.excused.clear()
        self.connect()

    def restart_control_plane(self) -> None:
        """Another control plane, of the same tables."""
        self.graph.start()
        self.connect()

    # Commits.

    def commit(self) -> None:
        """Serves what is wanted now."""
        self.graph.commit()
        current = {(u, row.name, row.version) for u, table in self.graph.tables.items() for row in table.values()}
        self.committed = {key: self.committed.get(key, self.now) for key in current}
        graph = self.graph
        self.was_bad |= {name for name, row in graph.offered[EDS].items() if is_bad(row.version)}
        self.excused |= {key for key in clusters_named(graph.tables) if key[2] not in graph.offered[CDS]}
        self.log.append(f"COMMIT {self._describe_tables()}")

    def _describe_tables(self) -> str:
        return " ".join(
            f"{label_of(url)}{{{', '.join(f'{n}={r.version}' for n, r in sorted(table.items()))}}}"
            for url, table in self.graph.tables.items()
            if table
        )

    def hold_back(self) -> None:
        """What proxies reject is held back in the tables."""
        if self.told:
            while self.told:
                self.graph.reject(self.told.popleft())
            self.commit()

    # Messages.

    def proxy_speaks(self) -> bool:
        request = self.proxy.next_request()
        if request is None:
            return False
        self.to_machine.append(request)
        return True

    def machine_hears(self) -> None:
        request = self.to_machine.popleft()
        self.log.append(f"{self.now:.1f} > {_describe(request)}")
        for name in request.subscribe:
            self.subscribed[request.type_url + name] = self.now
        facts = self.machine.receive(request)
        if request.type_url == RDS:
            self.delivered |= request.versions.keys() & set(request.subscribe)
            self.delivered -= set(request.unsubscribe)
        if self.outstanding.pop(request.nonce, None) is not None:
            self._count_answer(request)
        self._learn(facts)

    def _count_answer(self, request: Request) -> None:
        for promise in self.promises:
            promise.answers += promise.type_url == request.type_url
        response = self.sent.pop(request.nonce)
        if request.error is not None:
            self.promises += [
                Promise(request.type_url, name, version)
                for name, version in response.versions.items()
                if not is_bad(version) and not self._is_bad_host(request.type_url, response, name)
            ]
        self.promises = [promise for promise in self.promises if self._is_owed(promise)]
        for promise in self.promises:
            assert promise.answers <= MOST_TRIES, f"good, and does not get through: {promise}"

    def _is_bad_host(self, type_url: str, response: Response, name: str) -> bool:
        body = dict(zip(response.versions, response.parts[1::2], strict=True))[name]
        if type_url == RDS:
            return read_routes(body).is_rejected
        return type_url == VHDS and (read_host(body).is_rejected or name.endswith(PROBE))

    def _is_owed(self, promise: Promise) -> bool:
        row = self.graph.tables[promise.type_url].get(promise.name)
        if row is None or row.version != promise.version or self.graph.missing(row):
            return False
        return self.proxy.types[promise.type_url].claims.get(promise.name) != promise.version

    def machine_speaks(self) -> bool:
        response = self.machine.next_response(self.now)
        self._learn(self.machine.take_facts())
        if response is None:
            deadline = self.machine.deadline
            assert deadline is None or deadline > self.now, "it has nothing to say, and would be asked for ever"
            return False
        self.log.append(f"{self.now:.1f} < {response}")
        self._check(response)
        self.sees(response)
        self.to_proxy.append(response)
        return True

    def proxy_hears(self) -> None:
        self.proxy.take(self.to_proxy.popleft())
        self.look()

    def stale_answer(self, which: int, *, is_rejection: bool) -> None:
        """An answer to something that was answered long ago, or on another stream."""
        old = [(url, nonce) for url, nonce in self.used_nonces if nonce not in self.outstanding]
        if not old:
            return
        url, nonce = old[which % len(old)]
        if self.proxy.types[url].is_asked:
            before = list(self.told)
            error = ErrorDetail(13, "stale") if is_rejection else None
            facts = self.machine.receive(Request(type_url=url, nonce=nonce, error=error))
            assert not any(isinstance(fact, Rejected) and fact.items for fact in facts)
            self._learn(facts)
            assert before == list(self.told)

    # What must hold.

    def _check(self, response: Response) -> None:
        names = [*response.versions, *response.removed]
        assert len(names) == len(set(names)), "a name twice in one response"
        assert response.nonce not in self.sent
        url = response.type_url
        if url in (CDS, LDS):
            assert not (response.versions and response.removed), "removals beside additions"
        owner = ""
        if url == RDS:
            self.delivered |= response.versions.keys()
        if url == VHDS:
            [owner] = {route_configuration_of(name) for name in names}
            assert not response.versions or owner in self.delivered, "virtual hosts of what was not delivered"
            waited_for = [sent_at for _, other, sent_at in self.outstanding.values() if other == owner]
            is_overdue = any(self.now - sent_at >= LIMITS.acknowledge_seconds - _EPSILON for sent_at in waited_for)
            assert not waited_for or is_overdue, "two responses of virtual hosts of one RouteConfiguration"
        for name, body in zip(response.versions, response.parts[1::2], strict=True):
            if not name.endswith(PROBE):
                key = (url, name, response.versions[name])
                assert self.graph.bodies[key] == bytes(body), "not the bytes of this version"
                self._excuse(url, name, response.versions[name])
            self.had.add((url, name))
        self.sent[response.nonce] = response
        self.outstanding[response.nonce] = (url, owner, self.now)
        self.used_nonces = [*self.used_nonces[-20:], (url, response.nonce)]

    def _excuse(self, url: str, name: str, version: str) -> None:
        """What may be sent although the proxy does not have all clusters that it names."""
        row = self.graph.tables[url].get(name)
        since = max(self.committed.get((url, name, version), self.now), self.subscribed.get(url + name, 0.0))
        is_late = self.now - since >= LIMITS.gate_seconds - _EPSILON
        is_needed = url in (LDS, RDS) and (url, name) not in self.had
        for cluster in row.clusters if row is not None and row.version == version else ():
            is_missing = cluster not in self.graph.tables[CDS]
            if is_late and (is_missing or is_needed):
                self.excused.add((url, name, cluster))

    def look(self) -> None:
        """No request is lost: there is a cluster behind every route, and behind those that just went."""
        active = {name for name, form in self.proxy.clusters.active.items() if self._has_endpoints(form)}
        live: dict[str, list[tuple[str, str]]] = {}
        for cluster, type_url, name in self.proxy.live_routes():
            live.setdefault(cluster, []).append((type_url, name))
        for cluster, sources in live.items():
            if cluster in active:
                self.last_live[cluster] = self.now
            else:
                blamed = [source for source in sources if (*source, cluster) not in self.excused]
                assert not blamed, f"{blamed} lead to {cluster}, which the proxy does not have"
        for cluster, since in tuple(self.last_live.items()):
            if self.now - since >= LIMITS.grace_seconds - _EPSILON:
                self.last_live.pop(cluster)
            elif cluster not in active and cluster not in live:
                raise AssertionError(f"{cluster} is gone {self.now - since:.1f} s after the last route to it")

    def _has_endpoints(self, form: ClusterForm) -> bool:
        """Whether requests to it are answered; where its load assignment was ever bad, it need not."""
        return not form.assignment or form.assignment in self.proxy.assignments or form.assignment in self.was_bad

    def _learn(self, facts: list[Fact]) -> None:
        for fact in facts:
            match fact:
                case Withheld():
                    key = (fact.type_url, fact.name)
                    assert self.withheld.get(key) != fact.clusters, f"withheld twice: {key}"
                    self.withheld[key] = fact.clusters
                    self.log.append(f"{self.now:.1f} ! withheld {label_of(fact.type_url)} {fact.name}: {fact.clusters}")
                case Resumed():
                    key = (fact.type_url, fact.name)
                    assert key in self.withheld, f"resumed, and was not withheld: {key}"
                    del self.withheld[key]
                    self.log.append(f"{self.now:.1f} ! resumed {label_of(fact.type_url)} {fact.name}")
                case RejectedResource():
                    self._judge(fact)
                    self.told.append(fact)
                case _:
                    pass
        if self.is_prompt:
            self.hold_back()

    def _judge(self, fact: RejectedResource) -> None:
        """Nobody is blamed who is good."""
        found = fact.resource
        entry = found.entry
        last = None if found.last is None else found.last.version
        routes = [f"{read_route(route.body)} {route.cluster}" for route in found.routes]
        self.log.append(
            f"{self.now:.1f} ! REJECTED {label_of(fact.type_url)} {entry.name} {entry.version}, fallback {last!r}, "
            f"held {found.held!r}, routes {routes}"
        )
        assert last is None or last != entry.version
        if fact.type_url == VHDS and any(route.cluster for route in found.routes):
            for route in found.routes:
                known = (CDS, route.cluster) in self.graph.rejected or any(
                    (other.type_url, other.resource.entry.name) == (CDS, route.cluster) for other in self.told
                )
                assert known or is_bad(self.graph.wanted.clusters.get(route.cluster) or "1"), (
                    f"routes to {route.cluster}, which nobody rejects"
                )
                assert read_route(route.body).cluster == route.cluster
        elif fact.type_url == VHDS:
            host = read_host(entry.resource.body)
            assert host.is_rejected, "a good virtual host is blamed"
            assert not found.routes or all(is_bad(read_route(route.body).version) for route in found.routes)
            if not is_bad(host.version):
                assert found.routes, "a virtual host is blamed for what its routes do"
        elif fact.type_url == RDS:
            assert read_routes(entry.resource.body).is_rejected, "a good RouteConfiguration is blamed"
        else:
            assert is_bad(entry.version) or entry.version[0] == "s", f"{entry.name} {entry.version} is good, and blamed"
        assert last is None or not is_bad(last), "the fallback was never taken"

    # Going on.

    def pass_time(self, seconds: float) -> None:
        self.look()
        self.now += seconds
        self.proxy.pass_time(self.now)
        if self.log[-1][-2:] == " .":
            self.log.pop()
        self.log.append(f"{self.now:.1f} .")
        self.look()

    def talk(self) -> bool:
        """One round in which everybody says all that there is to say; whether anything was said."""
        busy = False
        while self.proxy_speaks():
            pass
        while self.to_machine:
            busy = True
            self.machine_hears()
        while self.machine_speaks():
            busy = True
        while self.to_proxy:
            busy = True
            self.proxy_hears()
        return busy

    def rest(self) -> None:
        """Talks until nobody has anything to say, at this moment."""
        for _ in range(300):
            if not self.talk():
                return
        raise AssertionError("they never come to rest")

    def run(self, seconds: float) -> None:
        """Goes on for some time, without an end of drains."""
        end = self.now + seconds
        self.rest()
        while (moment := self._next_moment()) is not None and moment <= end:
            self.pass_time(moment - self.now)
            self.rest()
        self.pass_time(end - self.now)
        self.rest()

    def _next_moment(self) -> float | None:
        times = (self.machine.deadline, self.proxy.next_event)
        return min((time for time in times if time is not None), default=None)

    def converge(self) -> None:
        """Until nothing happens any more."""
        for _ in range(150):
            self.rest()
            if self.told:
                self.hold_back()
                continue
            moment = self._next_moment()
            if moment is not None:
                self.pass_time(moment - self.now)
            elif self.proxy.draining:
                self.proxy.end_drain()
                self.look()
            else:
                return
        raise AssertionError("it never ends")


def _describe(request: Request) -> str:
    said = [label_of(request.type_url)]
    if request.nonce:
        said.append(f"{'ACK' if request.error is None else 'NACK'} {request.nonce}")
    if request.error is not None:
        said.append(request.error.message[:60])
    said += [f"+{name}" for name in request.subscribe]
    said += [f"-{name}" for name in request.unsubscribe]
    if request.versions:
        said.append(f"claims {request.versions}")
    return " ".join(said)
