"""Lanes: the responses that wait for each other.

All clusters are one lane; every RouteConfiguration's virtual hosts are one of their own. In a lane at most one response waits
for its acknowledgement; what changes meanwhile is only remembered by name, and the newest state of those names is one response
afterwards. So a slow proxy costs a set of names, never a queue.

A name is in one of four places: *owed* (to be answered, whatever the proxy holds), *pending* (to be sent if it differs),
*outstanding* (in a response without an answer), *suspect* (in a rejected response, and unchanged since; see ``apart``). A name
in none of them is in step with the table. That is all the memory that a proxy costs while nothing happens: none.
"""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from controlplane.xds.apart import Apart

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
    is_trial: bool = False
    """Whether it offers a group of suspects."""
    is_given_up: bool = False
    """Whether its answer was overdue."""


class Lane:
    """The state of one lane of one stream."""

    __slots__ = ("apart", "key", "outstanding", "owed", "pending", "reply")

    def __init__(self, key: str) -> None:
        self.key = key
        self.owed: set[str] = set()
        self.pending: set[str] = set()
        self.reply = False
        """A response is due, even if it says nothing."""
        self.outstanding: dict[str, Outstanding] = {}
        """By nonce, oldest first."""
        self.apart: Apart | None = None
        """What stood in rejected responses, while there is any of it."""

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

    @property
    def suspects(self) -> Items:
        """What stood in a rejected response, and has not changed since."""
        return {} if self.apart is None else self.apart.suspects

    def clear_suspects(self, names: Iterable[str], *, taken: bool = False) -> None:
        """As ``Apart.clear``."""
        if self.apart is not None:
            self.apart.clear(names, taken=taken)
            if not self.apart.suspects:
                self.apart = None


class Lanes:
    """All lanes of one type on one stream that have anything to remember."""

    def __init__(self) -> None:
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
        if lane.is_settled and lane.apart is None and self._lanes.get(lane.key) is lane:
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

    def send(self, lane: Lane, response: Outstanding) -> list[Outstanding]:
        """Remembers a response that goes out now; those that are forgotten for it."""
        lane.reply = False
        lane.pending -= response.items.keys()
        lane.owed -= response.items.keys()
        lane.outstanding[response.nonce] = response
        self._of_nonce[response.nonce] = lane
        forgotten = [lane.outstanding.pop(nonce) for nonce in tuple(lane.outstanding)[:-MAX_UNANSWERED]]
        for old in forgotten:
            del self._of_nonce[old.nonce]
        return forgotten

    def answered(self, nonce: str) -> tuple[Lane, Outstanding] | None:
        """The lane of a response that is answered now, and the response; None for an unknown nonce."""
        lane = self._of_nonce.pop(nonce, None)
        if lane is None:
            return None
        response = lane.outstanding.pop(nonce)
        self.wake(lane.key)
        return lane, response

    def find_outstanding(self, nonce: str) -> Outstanding | None:
        """The response of this nonce, while it has no answer."""
        lane = self._of_nonce.get(nonce)
        return None if lane is None else lane.outstanding[nonce]

    def is_waiting(self, nonce: str) -> bool:
        """Whether the response of this nonce holds its lane up."""
        response = self.find_outstanding(nonce)
        return response is not None and response.blocking

    def go_on(self, nonce: str) -> None:
        """The proxy is known to have processed this response: its lane need not wait for the answer."""
        response = self.find_outstanding(nonce)
        if response is not None:
            response.blocking = False
            self.wake(self._of_nonce[nonce].key)

    def expire(self, nonce: str) -> Items:
        """The answer is overdue: the lane goes on without it. What the response said."""
        lane = self._of_nonce[nonce]
        for response in lane.outstanding.values():
            response.blocking = False
            response.is_given_up = True
        self.wake(lane.key)
        return lane.outstanding[nonce].items

    def unanswered(self) -> list[Outstanding]:
        """Responses without an answer, by the time they were sent."""
        found = [response for lane in self._lanes.values() for response in lane.outstanding.values()]
        return sorted(found, key=lambda response: response.sent_at)
