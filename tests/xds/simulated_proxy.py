"""An Envoy, as far as experiments with Envoy 1.40 say what it does with what it is sent (envoy-observed.md).

It reads bytes, and knows nothing of the server. What it would do by itself after a timeout of its own (15 s) it does not do
here: nobody may need that.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping

from controlplane.xds.response import Response
from controlplane.xds.types import CLUSTER as CDS
from controlplane.xds.types import LISTENER as LDS
from controlplane.xds.types import LOAD_ASSIGNMENT as EDS
from controlplane.xds.types import ROUTE_CONFIGURATION as RDS
from controlplane.xds.types import SECRET as SDS
from controlplane.xds.types import VIRTUAL_HOST as VHDS
from controlplane.xds.types import route_configuration_of
from controlplane.xds.wire import ErrorDetail, Request
from tests.xds.offers import (
    HostForm,
    ListenerForm,
    RoutesForm,
    is_bad,
    read_host,
    read_listener,
    read_routes,
    read_version,
)
from tests.xds.simulated_clusters import INVALID, Bodies, Clusters


class Watches:
    """Envoy's subscription to one type: what it wants, what it believes to hold, what it has not said yet."""

    def __init__(self, *, wildcard: bool, is_used: bool) -> None:
        self.wildcard = wildcard
        self.is_used = is_used
        self.names: set[str] = set()
        self.claims: dict[str, str] = {}
        """What it tells the next stream that it holds: right or wrong."""
        self.added: set[str] = set()
        self.removed: set[str] = set()
        self.is_asked = False

    def want(self, names: set[str]) -> None:
        """The names that are wanted from now on."""
        for name in names - self.names:
            self.is_used = True
            self.added.add(name)
            self.removed.discard(name)
        for name in self.names - names:
            self.claims.pop(name, None)
            self.added.discard(name)
            self.removed.add(name)
        self.names = set(names)

    def record(self, versions: Mapping[str, str], removed: Iterable[str]) -> None:
        """A response was taken."""
        self.claims.update({name: v for name, v in versions.items() if self.wildcard or name in self.names})
        for name in removed:
            self.claims.pop(name, None)

    def reconnect(self) -> None:
        """A new stream."""
        self.is_asked = False

    @property
    def has_news(self) -> bool:
        """Whether there is something to say without being asked."""
        return self.is_used and (not self.is_asked or bool(self.added or self.removed))

    def request(self, type_url: str, nonce: str = "", error: str | None = None, *, with_news: bool = True) -> Request:
        """The next request: an answer, what else has changed, or both."""
        first = not self.is_asked
        request = Request(
            type_url=type_url,
            subscribe=() if self.wildcard or not with_news else tuple(sorted(self.names if first else self.added)),
            unsubscribe=() if first or not with_news else tuple(sorted(self.removed)),
            versions=dict(self.claims) if first else {},
            nonce=nonce,
            error=None if error is None else ErrorDetail(13, error),
        )
        self.is_asked = True
        if with_news:
            self.added.clear()
            self.removed.clear()
        return request


class Proxy:
    """A proxy, over all its streams.

    Args:
        is_terse: Whether it tells changes of its subscriptions together with an answer, where it has both to tell.
    """

    def __init__(self, *, is_terse: bool = True) -> None:
        self.is_terse = is_terse
        self.now = 0.0
        self.types = {
            CDS: Watches(wildcard=True, is_used=True),
            EDS: Watches(wildcard=False, is_used=False),
            SDS: Watches(wildcard=False, is_used=False),
            LDS: Watches(wildcard=True, is_used=False),
            RDS: Watches(wildcard=False, is_used=False),
            VHDS: Watches(wildcard=True, is_used=False),
        }
        self.answers: deque[tuple[str, str, str | None]] = deque()
        """Type, nonce, and the error."""
        self.clusters = Clusters()
        self.assignments: dict[str, str] = {}
        self.secrets: dict[str, str | None] = {}
        """None is the answer that there is none."""
        self.listeners: dict[str, ListenerForm] = {}
        """Those in use."""
        self.opening: dict[str, ListenerForm] = {}
        """Those that wait for what they need; an older version may be in use."""
        self.draining: list[ListenerForm] = []
        self.routes: dict[str, RoutesForm] = {}
        self.hosts: dict[str, dict[str, HostForm]] = {}
        """By RouteConfiguration of which they come by VHDS."""
        self.started: set[str] = set()
        """RouteConfigurations whose virtual hosts have come; a listener waits for that."""
        self.given_up: set[str] = set()
        """RouteConfigurations that a listener does not wait for any more, because something of the type was rejected."""
        self.unrecorded: set[str] = set()
        """Clusters and listeners that were applied out of a rejected response, which Envoy does not remember."""
        self.lost: set[str] = set()
        """Those of them that were so when a stream broke (trap 5): nobody can know them."""

    # The stream.

    def connect(self) -> None:
        """A new stream."""
        self.lost |= self.unrecorded
        self.answers.clear()
        for watches in self.types.values():
            watches.reconnect()

    def next_request(self) -> Request | None:
        """What the proxy says next: changes of what it wants before answers, these in their order but for those that wait."""
        said = {url: watches for url, watches in self.types.items() if url != CDS or not self.clusters.is_paused}
        for url, watches in said.items():
            is_said_later = self.is_terse and watches.is_asked and any(answer[0] == url for answer in self.answers)
            if watches.has_news and not is_said_later:
                # The first request of a type on a stream can be the answer to what was sent unasked (trap 8).
                answer = next((answer for answer in self.answers if answer[0] == url and not watches.is_asked), None)
                if answer is None:
                    return watches.request(url)
                self.answers.remove(answer)
                return watches.request(*answer)
        for answer in self.answers:
            if answer[0] in said:
                self.answers.remove(answer)
                return self.types[answer[0]].request(*answer, with_news=self.is_terse)
        return None

    def take(self, response: Response) -> None:
        """Carries a response out, and remembers the answer to it."""
        watches = self.types[response.type_url]
        if not watches.is_used:
            return  # no subscription of the type: dropped without an answer
        bodies = dict(zip(response.versions, response.parts[1::2], strict=True))
        error = self._carry_out(response.type_url, bodies, response.removed)
        self._look_around()
        if error is None:
            watches.record(response.versions, response.removed)
        if response.type_url in (CDS, LDS):
            self._note(response, error)
        self.answers.append((response.type_url, response.nonce, error))

    def _note(self, response: Response, error: str | None) -> None:
        names = {*response.versions, *response.removed}
        if error is None:
            self.unrecorded -= names
            self.lost -= names
        elif error != INVALID:
            self.unrecorded |= {name for name, version in response.versions.items() if version[0] not in "bpw"}

    def pass_time(self, now: float) -> None:
        """What happens by itself."""
        self.now = now
        self._look_around()

    @property
    def next_event(self) -> float | None:
        """When something happens by itself."""
        times = [cluster.ready_at for cluster in self.clusters.warming.values() if cluster.ready_at > self.now]
        return min(times, default=None)

    def end_drain(self) -> None:
        """Connections of listeners that went are closed."""
        self.draining.clear()
        self._look_around()

    def _look_around(self) -> None:
        """What follows from what is there: what is in use, and what is wanted."""
        while True:
            before = len(self.clusters.warming), len(self.opening)
            self.clusters.warm_up(self.secrets, self.now)
            for name, form in tuple(self.opening.items()):
                if self._is_ready(form):
                    self._drain(name)
                    self.listeners[name] = self.opening.pop(name)
            if (len(self.clusters.warming), len(self.opening)) == before:
                break
        listeners = [*self.listeners.values(), *self.opening.values(), *self.draining]
        self.types[LDS].is_used |= self.clusters.is_initialized
        self.types[EDS].want(self.clusters.assignments())
        self.types[RDS].want({name for form in listeners for name in form.route_configurations})
        self.types[SDS].want(self.clusters.secrets() | {name for form in listeners for name in form.secrets})
        for kept, wanted in (
            (self.assignments, self.types[EDS].names),
            (self.secrets, self.types[SDS].names),
            (self.routes, self.types[RDS].names),
            (self.hosts, self.types[RDS].names),
        ):
            for name in kept.keys() - wanted:
                del kept[name]
        self.started &= self.types[RDS].names
        self.given_up &= self.types[RDS].names

    def _is_ready(self, form: ListenerForm) -> bool:
        return (self.started | self.given_up).issuperset(form.route_configurations) and self.secrets.keys() >= {
            *form.secrets
        }

    # The types.

    def _carry_out(self, type_url: str, bodies: Bodies, removed: Iterable[str]) -> str | None:
        if type_url == CDS:
            return self.clusters.take(bodies, removed, self.now)
        carry_out = {
            EDS: self._take_assignments,
            SDS: self._take_secrets,
            LDS: self._take_listeners,
            RDS: self._take_routes,
            VHDS: self._take_hosts,
        }[type_url]
        return carry_out(bodies, removed)

    def _take_assignments(self, bodies: Bodies, removed: Iterable[str]) -> str | None:
        versions = {name: read_version(body) for name, body in bodies.items() if name in self.types[EDS].names}
        bad = {version for version in versions.values() if is_bad(version)}
        if bad:
            # Who waits for a load assignment waits no longer, named here or not, and has no endpoints.
            removed = self.types[EDS].names
        for name, version in versions.items():
            if not is_bad(version) and bad <= {"b2"}:
                self.assignments[name] = version
                self.clusters.assign(name)
        for name in removed:
            self.clusters.assign(name)  # which leaves the endpoints of one that is in use
        return (INVALID if "p1" in bad else "malformed IP address: bad") if bad else None

    def _take_secrets(self, bodies: Bodies, removed: Iterable[str]) -> str | None:
        error = None
        for name in {*bodies, *removed} & self.types[SDS].names:
            version = read_version(bodies[name]) if name in bodies else None
            if version is None or is_bad(version):
                self.secrets.setdefault(name, None)  # the old one serves
                error = "Failed to load private key" if version is not None else error
            else:
                self.secrets[name] = version
        return error

    def _take_listeners(self, bodies: Bodies, removed: Iterable[str]) -> str | None:
        forms = {name: read_listener(body) for name, body in bodies.items()}
        if any(form.version[0] == "p" for form in forms.values()):
            return INVALID
        for name in removed:
            self.opening.pop(name, None)
            self._drain(name)
        for name, form in forms.items():
            if form == self.opening.get(name, self.listeners.get(name)) or is_bad(form.version):
                continue
            self.opening[name] = form
        bad = [f"{name}: it says so" for name, form in forms.items() if is_bad(form.version)]
        return "Error adding/updating listener(s) " + "\n".join(bad) if bad else None

    def _drain(self, name: str) -> None:
        form = self.listeners.pop(name, None)
        if form is not None:
            self.draining.append(form)

    def _take_routes(self, bodies: Bodies, removed: Iterable[str]) -> str | None:
        forms = {name: read_routes(body) for name, body in bodies.items() if name in self.types[RDS].names}
        if any(form.is_rejected for form in forms.values()):
            self.given_up |= self.types[RDS].names
            return "a route is wrong"
        for name, form in forms.items():
            self.routes[name] = form
            if form.host is not None:
                self.started.add(name)
            else:
                self.hosts.setdefault(name, {})
                self.types[VHDS].is_used = True
        return None

    def _take_hosts(self, bodies: Bodies, removed: Iterable[str]) -> str | None:
        [owner] = {route_configuration_of(name) for name in [*bodies, *removed]}
        if owner not in self.hosts:
            return None  # dropped, and remembered all the same (trap 3)
        hosts = {name: form for name, form in self.hosts[owner].items() if name not in removed}
        hosts |= {name: read_host(body) for name, body in bodies.items()}
        if any(form.is_rejected for form in hosts.values()):
            self.given_up |= self.hosts.keys()
            return "regex '(a|b){20}' RE2 program size of 62 > max program size of 50"
        domains = [form.domain for form in hosts.values()]
        if len(domains) != len(set(domains)):
            return "Only unique values for domains are permitted. Duplicate entry of domain"
        self.hosts[owner] = hosts
        self.started.add(owner)
        return None

    # What it serves.

    def live_routes(self) -> Iterator[tuple[str, str, str]]:
        """Cluster, type and name of whatever sends requests there now."""
        for hosts in self.hosts.values():
            for name, host in hosts.items():
                if host.domain == name.rpartition("/")[2] and not host.domain.endswith(".invalid"):
                    yield from ((cluster, VHDS, name) for cluster in host.clusters)
        for owner, form in self.routes.items():
            if form.host is not None:
                yield from ((cluster, RDS, owner) for cluster in form.host.clusters)
        for name, listener in self.listeners.items():
            yield from ((cluster, LDS, name) for cluster in listener.clusters)
