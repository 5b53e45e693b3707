"""Lanes: the responses that wait for each other.

All clusters are one lane; every RouteConfiguration's virtual hosts are one of their own. In a lane at most one response waits
for its acknowledgement; what changes meanwhile is only remembered by name, and the newest state of those names is one response
afterwards. So a slow proxy costs a set of names, never a queue.

A name is in one of four places: *owed* (to be answered, whatever the proxy holds), *pending* (to be sent if it differs),
*outstanding* (in a response without an answer), *suspect* (in a rejected response, and unchanged since). A name in none of
them is in step with the table. That is all the memory that a proxy costs while nothing happens: none.
"""

from collections.abc import Iterator

import msgspec

MAX_UNANSWERED = 16
"""Responses of one lane whose answer is still accepted after the deadline; older ones are forgotten."""

Items = dict[str, str | None]
"""What a response says: name to version; None is a removal."""


class Outstanding(msgspec.Struct):
    """A response that was sent and not yet answered."""

    nonce: str
    items: Items
    sent_at: float
    """Seconds, on the clock that the machine is driven by."""
    blocking: bool
    """Whether its lane waits for the answer."""


class Lane:
    """The state of one lane of one stream."""

    __slots__ = ("key", "outstanding", "owed", "pending", "reply", "stalled", "suspects", "tried")

    def __init__(self, key: str) -> None:
        self.key = key
        self.owed: set[str] = set()
        self.pending: set[str] = set()
        self.reply = False
        """A response is due, even if it says nothing."""
        self.outstanding: dict[str, Outstanding] = {}
        """By nonce, oldest first."""
        self.stalled = False
        """An answer is overdue: until one comes, nothing here waits for answers."""
        self.suspects: Items = {}
        """What stood in a rejected response. The guilty and the innocent alike: which is which is found out by taking the
        response apart (the next step of this design; ``offer`` is its place)."""
        self.tried: Items = {}
        """What was last rejected, or last offered for another try: not to be offered again as it was (P15)."""

    @property
    def is_blocked(self) -> bool:
        """Whether a response waits for its acknowledgement."""
        return any(response.blocking for response in self.outstanding.values())

    @property
    def is_settled(self) -> bool:
        """Whether there is nothing to send and nothing to wait for."""
        return not (self.owed or self.pending or self.reply or self.outstanding)

    def holds(self, name: str) -> bool:
        """Whether a response with this name has no answer yet."""
        return any(name in response.items for response in self.outstanding.values())

    def offer(self) -> Items:
        """The suspects that are worth another try: all of them, unless just that has been rejected already.

        A suspect that changes is pending and no longer here, so every change of one gives the others another try, after it;
        then either all are accepted or just what is left has been rejected, so this ends.
        Taking a rejected response apart (halving it until the guilty resource stands alone, then sending that one's last
        good version) is to replace this method.
        """
        return {} if self.suspects == self.tried else self.suspects


class Lanes:
    """All lanes of one type on one stream that have anything to remember."""

    def __init__(self) -> None:
        self.waiting = 0
        """Responses whose lane waits for their answer."""
        self._lanes: dict[str, Lane] = {}
        self._ready: dict[str, None] = {}
        self._of_nonce: dict[str, Lane] = {}

    def __iter__(self) -> Iterator[Lane]:
        return iter(self._lanes.values())

    def find(self, key: str) -> Lane | None:
        """The lane, if it has anything to remember."""
        return self._lanes.get(key)

    def get(self, key: str) -> Lane:
        """The lane, new if need be."""
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = Lane(key)
        return lane

    def tidy(self, lane: Lane) -> None:
        """Forgets the lane if it has nothing to remember."""
        if lane.is_settled and not lane.suspects and self._lanes.get(lane.key) is lane:
            del self._lanes[lane.key]
            self._ready.pop(lane.key, None)

    # Which lanes are worth a look.

    def wake(self, key: str) -> None:
        """Something that kept this lane from sending has changed."""
        self._ready[key] = None

    def rest(self, key: str) -> None:
        """The lane has nothing that may be sent, until it is woken."""
        self._ready.pop(key, None)

    def ready(self) -> tuple[str, ...]:
        """Keys of the lanes that may have something to send, in the order in which they were woken."""
        return tuple(self._ready)

    # Responses and answers.

    def send(self, lane: Lane, response: Outstanding) -> None:
        """Remembers a response that goes out now."""
        self.waiting += response.blocking
        lane.reply = False
        lane.pending -= response.items.keys()
        lane.owed -= response.items.keys()
        if response.items == lane.suspects:
            lane.tried = response.items
        lane.outstanding[response.nonce] = response
        self._of_nonce[response.nonce] = lane
        for forgotten in tuple(lane.outstanding)[:-MAX_UNANSWERED]:
            self.stop_waiting(lane.outstanding.pop(forgotten))
            del self._of_nonce[forgotten]

    def answered(self, nonce: str) -> tuple[Lane, Items] | None:
        """The lane of a response that is answered now, and what it said; None for an unknown nonce."""
        lane = self._of_nonce.pop(nonce, None)
        if lane is None:
            return None
        response = lane.outstanding.pop(nonce)
        self.stop_waiting(response)
        lane.stalled = False
        self.wake(lane.key)
        return lane, response.items

    def is_waiting(self, nonce: str) -> bool:
        """Whether the response of this nonce holds its lane up."""
        lane = self._of_nonce.get(nonce)
        return lane is not None and lane.outstanding[nonce].blocking

    def expire(self, nonce: str) -> Items:
        """The answer is overdue: the lane goes on without it. What the response said."""
        lane = self._of_nonce[nonce]
        for response in lane.outstanding.values():
            self.stop_waiting(response)
        lane.stalled = True
        self.wake(lane.key)
        return lane.outstanding[nonce].items

    def stop_waiting(self, response: Outstanding) -> None:
        """Its answer is still taken, but no longer waited for."""
        self.waiting -= response.blocking
        response.blocking = False

    def unanswered(self) -> list[Outstanding]:
        """Responses without an answer, by the time they were sent."""
        found = [response for lane in self._lanes.values() for response in lane.outstanding.values()]
        return sorted(found, key=lambda response: response.sent_at)
