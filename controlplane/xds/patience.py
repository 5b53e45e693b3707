"""How long a proxy is waited for, and what its silence means.

A lane whose answer is overdue goes on without it. Clusters are another matter: Envoy withholds every answer to CDS while a
cluster warms, and one that it rejects late never ends warming (envoy-observed.md, traps 1 and 8). Its load assignments show
that it has taken the clusters in, so its silence is that of one of them, which is found by taking back what may be at fault.
"""

from collections import deque
from collections.abc import Collection

from controlplane.xds.delivery import Delivery
from controlplane.xds.facts import Rejected
from controlplane.xds.gate import Gate
from controlplane.xds.held import UNKNOWN
from controlplane.xds.wire import ErrorDetail

_DEADLINE_EXCEEDED = 4


class Patience:
    """The deadlines of one stream.

    Args:
        clusters: Of the stream.
        gate: Of the stream.
        seconds: How long an answer may take.
    """

    def __init__(self, clusters: Delivery, gate: Gate, seconds: float) -> None:
        self._clusters = clusters
        self._gate = gate
        self._seconds = seconds
        self._deadlines: deque[tuple[float, Delivery, str]] = deque()
        self._withdrawn: set[str] = set()
        """Nonces of unanswered CDS responses of which what may keep the proxy from answering has been taken back."""
        self._is_speechless = False
        """Load assignments were asked for before clusters, and nothing has been done about that yet."""
        self._speech_due: float | None = None
        """When the proxy has to have asked for clusters."""

    def sent(self, delivery: Delivery, nonce: str, now: float) -> None:
        """A response goes out."""
        self._deadlines.append((now + self._seconds, delivery, nonce))

    def clusters_answered(self, nonce: str) -> None:
        """A CDS response was answered."""
        self._withdrawn.discard(nonce)

    def assignments_asked_first(self) -> None:
        """Load assignments were asked for, and clusters were not."""
        self._is_speechless = True

    @property
    def deadline(self) -> float | None:
        """When ``pass_time`` may have something to do."""
        while self._deadlines and not self._is_unanswered():
            self._deadlines.popleft()
        times = [self._speech_due, self._deadlines[0][0] if self._deadlines else None]
        return min((time for time in times if time is not None), default=None)

    def _is_unanswered(self) -> bool:
        """Whether the answer of the first deadline is still missing, and waited for."""
        _, delivery, nonce = self._deadlines[0]
        return delivery.lanes.is_waiting(nonce) or (delivery is self._clusters and self._gate.is_processed(nonce))

    def pass_time(self, now: float, rejected: Collection[str]) -> tuple[list[tuple[Delivery, str]], list[Rejected]]:
        """It is that late: responses whose answer is overdue, and those to which the proxy stays silent whatever is done.

        Args:
            now: Seconds, on the clock that the machine is driven by.
            rejected: Clusters of which proxies of the gateway reject what there is.
        """
        overdue: list[tuple[Delivery, str]] = []
        facts: list[Rejected] = []
        while self._deadlines and self._deadlines[0][0] <= now:
            is_unanswered = self._is_unanswered()
            _, delivery, nonce = self._deadlines.popleft()
            if is_unanswered and delivery is self._clusters and self._gate.is_processed(nonce):
                if not self._has_another(nonce):
                    facts += self._end_silence(nonce, now)
            elif is_unanswered:
                overdue.append((delivery, nonce))
        self._free_clusters(now, rejected)
        return overdue, facts

    def _has_another(self, nonce: str) -> bool:
        """Whether a later deadline stands for this response."""
        return any(other == nonce and delivery is self._clusters for _, delivery, other in self._deadlines)

    def _end_silence(self, nonce: str, now: float) -> list[Rejected]:
        """The proxy has taken these clusters in and does not answer: one of them keeps it from answering.

        What may be at fault is taken back, upon which it answers, and says why. If it still does not, what keeps it silent is
        not among these: they are offered again, and not waited for.
        """
        clusters = self._clusters
        response = clusters.lanes.find_outstanding(nonce)
        if response is None:
            self._withdrawn.discard(nonce)
            return []
        if any(int(other.nonce) < int(nonce) for other in clusters.lanes.unanswered()):
            self.sent(clusters, nonce, now)  # an older one stands before it
            return []
        if nonce not in self._withdrawn:
            self._withdrawn.add(nonce)
            clusters.take_back(name for name in response.items if self._gate.is_doubtful(name))
            self.sent(clusters, nonce, now)
            return []
        items = clusters.expire(nonce)
        self._withdrawn.discard(nonce)
        self._gate.clusters_given_up(nonce)
        clusters.give_back(items)
        error = ErrorDetail(
            _DEADLINE_EXCEEDED, f"no answer for {now - response.sent_at:.0f} s; something else holds it back"
        )
        return [Rejected(clusters.rule.url, nonce, items, error)]

    def _free_clusters(self, now: float, rejected: Collection[str]) -> None:
        """A proxy that asks for load assignments and not for clusters has one that never ends warming.

        It has subscribed the load assignments of those that it took in. What it has not, and what is newer than what proxies
        took last, is taken back; with that it can speak again, and is offered everything anew.
        """
        clusters = self._clusters
        if not self._is_speechless:
            return
        if self._speech_due is None:
            self._speech_due = now + self._seconds
        if clusters.asked or now >= self._speech_due:
            self._is_speechless, self._speech_due = False, None
        if clusters.asked or self._is_speechless:
            return
        clusters.take_back(name for name in tuple(clusters.table.names()) if self._gate.may_wedge(name))
        for name in rejected:
            if clusters.table.get(name) is None:
                clusters.overrides[name] = None
            clusters.compare(name, UNKNOWN)
