"""A lane: the responses that wait for each other.

All clusters are one lane; every RouteConfiguration's virtual hosts are one of their own. In a lane at most one response waits
for its acknowledgement; what changes meanwhile is only remembered by name, and the newest state of those names is one response
afterwards. So a slow proxy costs a set of names, never a queue.

Names are in one of four places: *owed* (to be answered, whatever the proxy holds), *pending* (to be sent if it differs),
*outstanding* (in a response without an answer), *suspect* (in a rejected response, and unchanged since). A name in none of
them is in step with the table. That is all the memory that a proxy costs while nothing happens: none.
"""

import msgspec

MAX_UNANSWERED = 16
"""Responses of one lane whose answer is still accepted after the deadline; older ones are forgotten."""

Composition = frozenset[tuple[str, str | None]]
"""What a response said: names with versions, None for a removal."""


class Outstanding(msgspec.Struct):
    """A response that was sent and not yet answered."""

    nonce: str
    items: dict[str, str | None]
    """Name to version; None is a removal."""
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
        self.suspects: dict[str, str | None] = {}
        """Name to the version that stood in a rejected response. The guilty and the innocent alike: which is which is
        found out by taking the response apart (the next step of this design; ``offer`` is its place)."""
        self.tried: Composition = frozenset()
        """What was last rejected, or last offered for another try: not to be offered again as it was (P15)."""

    @property
    def is_blocked(self) -> bool:
        """Whether a response waits for its acknowledgement."""
        return any(response.blocking for response in self.outstanding.values())

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing to remember."""
        return not (self.owed or self.pending or self.reply or self.outstanding or self.suspects)

    @property
    def is_settled(self) -> bool:
        """Whether there is nothing to send and nothing to wait for."""
        return not (self.owed or self.pending or self.reply or self.outstanding)

    def holds(self, name: str) -> bool:
        """Whether a response with this name has no answer yet."""
        return any(name in response.items for response in self.outstanding.values())

    def send(self, response: Outstanding) -> list[str]:
        """Remembers a response that goes out now; the nonces that are forgotten for it."""
        self.outstanding[response.nonce] = response
        if response.items == self.suspects:
            self.tried = frozenset(response.items.items())
        self.pending -= response.items.keys()
        self.owed -= response.items.keys()
        forgotten = list(self.outstanding)[:-MAX_UNANSWERED]
        for nonce in forgotten:
            del self.outstanding[nonce]
        return forgotten

    def offer(self) -> dict[str, str | None]:
        """The suspects that are worth another try: all of them, unless just that has been rejected already.

        A suspect that changes is pending and no longer here, so every change of one gives the others another try, after it;
        then either all are accepted or just what is left has been rejected, so this ends.
        Taking a rejected response apart (halving it until the guilty resource stands alone, then sending that one's last
        good version) is to replace this method.
        """
        return {} if frozenset(self.suspects.items()) == self.tried else self.suspects
