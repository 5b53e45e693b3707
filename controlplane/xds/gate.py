"""The gate of one stream: what names clusters waits until the proxy has proven them; clusters stay while something names them.

A cluster is proven by the acknowledgement of the CDS response that brought it; or, because a cluster that warms withholds
every answer to CDS, by the acknowledgement of a load assignment that was sent after it, if the proxy has subscribed that. Envoy
subscribes load assignments as soon as it has taken a cluster in, so a new one whose load assignment it acknowledges without
having subscribed it is *wedged*: taken into no use, and in the way of every answer until it is withdrawn (trap 1).

Each resource waits for itself alone. Past the deadline it is *withheld*: it stays as the proxy has it, and nothing else waits
for it. A cluster is removed when nothing that the proxy may hold names it and the grace is over: a retry under way looks it up
once more (envoy-observed.md, traps 2, 6, 9).
"""

from collections.abc import Callable, Collection, Iterable

import msgspec

from controlplane.xds.lane import Items
from controlplane.xds.limits import Limits
from controlplane.xds.standing import Standing
from controlplane.xds.tables import Entry
from controlplane.xds.wire import load_assignment_of

_UPSTREAM_TLS = b"envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"


class Withheld(msgspec.Struct, frozen=True):
    """The proxy stays at its last version of a resource: it has not proven clusters that the newest one names."""

    type_url: str
    name: str
    clusters: tuple[str, ...]
    """Those that it has not proven, sorted."""


class Resumed(msgspec.Struct, frozen=True):
    """What was withheld is sent, or is no longer to be."""

    type_url: str
    name: str


class Waiting(msgspec.Struct):
    """A resource that waits for clusters."""

    since: float
    clusters: tuple[str, ...]
    is_overdue: bool = False
    told: tuple[str, ...] = ()
    """The clusters of which it was told last that it waits for them; none where it was not told."""


class Gate:
    """Which clusters a proxy has proven, what waits for them, and what can be removed.

    Args:
        clusters: Of the stream.
        assignments: Of the stream.
        limits: How long what is waited for, and what stays how long.
    """

    def __init__(self, clusters: Standing, assignments: Standing, limits: Limits) -> None:
        self.now = 0.0
        """Seconds, on the clock that the machine is driven by."""
        self.news: list[Withheld | Resumed] = []
        """What is to be told."""
        self._clusters = clusters
        self._assignments = assignments
        self._gated: list[Standing] = []
        self._limits = limits
        self._waiting: dict[tuple[str, str], Waiting] = {}
        """By type URL and name, the longest first."""
        self._awaited: dict[str, tuple[str, int]] = {}
        """Load assignments whose acknowledgement proves something: the cluster, and the number of its response."""
        self._unproven: dict[str, set[str]] = {}
        """By the nonce of a CDS response, clusters in it whose load assignment is not acknowledged yet."""
        self._assigned: dict[str, int] = {}
        """Clusters that are proven by their load assignment and whose response is not answered: the number of that."""
        self._unresolved: dict[str, list[str]] = {}
        """By the nonce of a CDS response, clusters in it that have no load assignment."""
        self._fresh: set[str] = set()
        """Clusters that the proxy did not have, and whose load assignment it has not acknowledged yet. It may have rejected that,
        and acknowledges the cluster all the same."""
        self._pushed: set[str] = set()
        """Clusters whose load assignment was sent although it was not subscribed."""
        self.processed_now: list[str] = []
        """Nonces that have come to ``is_processed`` since somebody looked."""
        self.lingers: Callable[[str], bool] = lambda listener: False
        """Whether an older version of a listener may still be in use."""
        self._processed: set[str] = set()
        """Nonces of CDS responses that have no answer although all their load assignments are acknowledged."""
        self._resolving: dict[str, float] = {}
        """Clusters that have no load assignment and were acknowledged just now: when, the longest ago first."""
        self._free_since: dict[str, float] = {}
        """Clusters that are to be removed and that nothing names, the longest first."""
        clusters.gate = self

    def guard(self, delivery: Standing) -> None:
        """Has the resources of this type wait for the clusters that they name."""
        delivery.gate = self
        self._gated.append(delivery)

    # What may be sent.

    def has(self, cluster: str) -> bool:
        """Whether the proxy has proven this cluster."""
        clusters = self._clusters
        entry = clusters.desired(cluster)
        if entry is None:
            return False
        if clusters.exists(cluster):
            return (
                cluster not in self._fresh
                and cluster not in self._resolving
                and not (cluster in clusters.held and self._resolves(entry))
            )
        if not clusters.asked:
            # Its stream broke while a cluster warmed, and it says nothing of clusters until that is over (trap 8). It
            # subscribes the load assignments of those that it has.
            return self._assignments.asked and self._assignments.exists(_assignment_of(entry))
        return cluster in self._assigned

    def admits(self, delivery: Standing, entry: Entry, *, is_answer: bool) -> bool:
        """As ``Gatekeeper``."""
        missing = tuple(name for name in entry.clusters if not self.has(name))
        key = (delivery.rule.url, entry.name)
        if not missing:
            self.dismiss(*key)
            return True
        waiting = self._waiting.setdefault(key, Waiting(self.now, missing))
        if not set(missing) <= set(waiting.clusters):  # it waits for something else now: from now on
            del self._waiting[key]
            waiting = self._waiting[key] = Waiting(self.now, missing, told=waiting.told)
        waiting.clusters = missing
        return waiting.is_overdue and is_answer and delivery.rule.needed and not delivery.exists(entry.name)

    def dismiss(self, type_url: str, name: str) -> None:
        """As ``Gatekeeper``."""
        waiting = self._waiting.pop((type_url, name), None)
        if waiting is None:
            return
        if waiting.told:
            self.news.append(Resumed(type_url, name))
        for delivery in self._gated:
            if delivery.rule.url == type_url:
                delivery.lanes.wake(delivery.rule.lane(name))  # a first answer may have waited for just this

    def is_overdue(self, type_url: str, name: str) -> bool:
        """As ``Gatekeeper``."""
        waiting = self._waiting.get((type_url, name))
        return waiting is not None and waiting.is_overdue

    def in_vain(self, rejected: Collection[str]) -> list[tuple[str, str, str]]:
        """What waits for a cluster that is rejected: type URL, name, cluster.

        Args:
            rejected: Clusters of which proxies of the gateway reject what there is.
        """
        clusters = self._clusters
        return [
            (*key, name)
            for key, waiting in self._waiting.items()
            for name in waiting.clusters
            if clusters.desired(name) is None and name in rejected
        ]

    # Proofs.

    def clusters_sent(self, entries: Iterable[Entry], nonce: str) -> None:
        """These clusters go out under this nonce."""
        names = set()
        unresolved = []
        for entry in entries:
            assignment = _assignment_of(entry)
            self._assigned.pop(entry.name, None)
            self._pushed.discard(entry.name)
            self._fresh.discard(entry.name)
            if self._assignments.table.get(assignment) is not None:
                self._awaited[assignment] = (entry.name, int(nonce))
                names.add(entry.name)
                if not self._clusters.exists(entry.name):
                    self._fresh.add(entry.name)
            else:
                unresolved.append(entry.name)
        if unresolved:
            self._unresolved[nonce] = unresolved
        if names:
            self._unproven[nonce] = names

    def assignments_taken(self, items: Items, nonce: str) -> list[str]:
        """A response with these load assignments was acknowledged; clusters that are wedged."""
        wedged = []
        is_news = False
        for assignment in items if self._awaited else ():
            cluster, number = self._awaited.get(assignment, ("", 0))
            if not cluster or number > int(nonce):
                continue
            del self._awaited[assignment]
            self._fresh.discard(cluster)
            is_news = True
            of_response = self._unproven.get(str(number))
            if of_response is None:
                continue
            of_response.discard(cluster)
            if self._assignments.interest.wants(assignment):
                if not self._needs_secrets(cluster):
                    self._assigned[cluster] = number
            elif not self._clusters.exists(cluster):
                wedged.append(cluster)
            if not of_response:
                del self._unproven[str(number)]
                self._processed.add(str(number))
                self.processed_now.append(str(number))
                self._clusters.lanes.go_on(str(number))
        if is_news:
            self.wake()
        for emptied in (self._awaited, self._fresh, self._pushed):
            if not emptied:
                emptied.clear()  # gives back the room that thousands of names took
        return wedged

    def left_out(self, nonce: str) -> list[str]:
        """Load assignments that a proxy has not subscribed by now, although it has the clusters; each once.

        A fresh proxy is not sent load assignments before it asks, so one of a wedged cluster would never be sent. Its
        acknowledgement is what tells.
        """
        found = [
            assignment
            for assignment, (cluster, number) in self._awaited.items()
            if number < int(nonce) and cluster not in self._pushed and not self._assignments.interest.wants(assignment)
        ]
        self._pushed.update(self._awaited[assignment][0] for assignment in found)
        return [assignment for assignment in found if self._assignments.is_in_step(assignment)]

    def _needs_secrets(self, cluster: str) -> bool:
        """Whether a cluster has secrets, for which it goes on warming when its load assignment is there."""
        entry = self._clusters.table.get(cluster)
        return entry is not None and _UPSTREAM_TLS in entry.resource.body

    def clusters_answered(self, items: Items, nonce: str) -> None:
        """The CDS response of this nonce was answered, or given up."""
        self._unproven.pop(nonce, None)
        self._processed.discard(nonce)
        for name in self._unresolved.pop(nonce, ()):
            if self._clusters.exists(name):
                self._resolving.pop(name, None)
                self._resolving[name] = self.now
        for name in items:
            if self._assigned.get(name) == int(nonce):
                del self._assigned[name]
        for nothing in (self._assigned, self._awaited):
            if not nothing:
                nothing.clear()  # see ``Delivery.acknowledge``
        self.wake()

    def _resolves(self, cluster: Entry) -> bool:
        """Whether the proxy finds the endpoints of a cluster by itself: a changed one has none until it has."""
        return self._assignments.table.get(_assignment_of(cluster)) is None

    def clusters_given_up(self, nonce: str) -> None:
        """No answer to this CDS response is waited for any more; what its load assignments have proven stays proven."""
        self._unproven.pop(nonce, None)
        self._unresolved.pop(nonce, None)
        self._processed.discard(nonce)

    def is_doubtful(self, cluster: str) -> bool:
        """Whether a cluster of a response without an answer may be why there is none, and can be withdrawn without harm.

        One that the proxy had before goes back to what it was; a new one that is proven may be in use already.
        """
        return self._clusters.exists(cluster) or cluster not in self._assigned

    def may_wedge(self, cluster: str) -> bool:
        """Whether a proxy that asks for no clusters may have this one wedged.

        It has not subscribed the load assignment; or it has, and proxies took another version last than the one offered.
        """
        entry = self._clusters.table.get(cluster)
        if entry is None:
            return False
        assignment = _assignment_of(entry)
        if self._assignments.table.get(assignment) is not None and not self._assignments.interest.wants(assignment):
            return True
        last = self._clusters.table.last_taken(cluster)
        return last is not None and last is not entry

    def is_processed(self, nonce: str) -> bool:
        """Whether the proxy has processed a CDS response, as it shows by its load assignments, and does not answer it."""
        return nonce in self._processed

    def wake(self) -> None:
        """Something was proven: what waits is looked at again."""
        for type_url, name in self._waiting:
            for delivery in self._gated:
                if delivery.rule.url == type_url:
                    delivery.lanes.wake(delivery.rule.lane(name))

    # Removals.

    def may_remove(self, name: str) -> bool:
        """As ``Gatekeeper``: what was withdrawn, at once; else once the grace is over."""
        if name in self._clusters.overrides:
            return True
        since = self._free_since.get(name)
        return since is not None and self.now - since >= self._limits.grace_seconds

    def look(self) -> None:
        """Looks which of the clusters that are to be removed are named by something that the proxy may hold.

        Cost: O(names that are out of step), and nothing while no cluster is to be removed.
        """
        leaving = [
            name for lane in self._clusters.lanes for name in lane.pending if self._clusters.desired(name) is None
        ]
        if not leaving and not self._free_since:
            return
        named = self._named()
        free = {} if named is None else dict.fromkeys(name for name in leaving if name not in named)
        for name in [name for name in self._free_since if name not in free]:
            del self._free_since[name]
        for name in free:
            self._free_since.setdefault(name, self.now)

    def _named(self) -> set[str] | None:
        """Clusters that something names which the proxy may hold and the tables do not; None while that is not known."""
        found: set[str] = set()
        for delivery in self._gated:
            if delivery.is_unclear:
                return None
            for versions in delivery.named.values():
                for clusters in versions.values():
                    if clusters is None:
                        return None
                    found.update(clusters)
            for name in [name for name in delivery.superseded if not self.lingers(name)]:
                del delivery.superseded[name]
            for clusters_before in delivery.superseded.values():
                found.update(clusters_before)
        return found

    # Time.

    @property
    def deadline(self) -> float | None:
        """When ``pass_time`` has something to do although nothing came in."""
        limits = self._limits
        gate = next((w.since + limits.gate_seconds for w in self._waiting.values() if not w.is_overdue), None)
        due = (since + limits.grace_seconds for since in self._free_since.values())
        grace = next((time for time in due if time > self.now), None)  # what is past waits for an answer, not for time
        resolved = next((since + limits.resolve_seconds for since in self._resolving.values()), None)
        return min((time for time in (gate, grace, resolved) if time is not None), default=None)

    def pass_time(self, now: float) -> None:
        """It is that late."""
        self.now = now
        for name in [n for n, since in self._resolving.items() if now - since >= self._limits.resolve_seconds]:
            del self._resolving[name]
            self.wake()
        for (type_url, name), waiting in self._waiting.items():
            if not waiting.is_overdue and now - waiting.since >= self._limits.gate_seconds:
                waiting.is_overdue = True
                if waiting.told != waiting.clusters:
                    waiting.told = waiting.clusters
                    self.news.append(Withheld(type_url, name, waiting.clusters))
                for delivery in self._gated:
                    if delivery.rule.url == type_url:
                        delivery.lanes.wake(delivery.rule.lane(name))


def _assignment_of(cluster: Entry) -> str:
    return load_assignment_of(cluster.resource.body) or cluster.name  # P17
