"""What a stream asked for of one type: names, and the wildcard in its two forms (rules W1 to W8).

Knows nothing of resources, versions or responses.
"""

import msgspec

from controlplane.xds.errors import exhausted
from controlplane.xds.names import SharedNames

WILDCARD = "*"


class Update(msgspec.Struct, frozen=True):
    """What one request changed."""

    answer: tuple[str, ...] = ()
    """Names that must be answered, sorted: all that were subscribed (W7), and all that were unsubscribed while the wildcard
    still covers them (W5)."""
    dropped: tuple[str, ...] = ()
    """Names that were subscribed and are wanted no longer, sorted."""
    gained_all: bool = False
    """The wildcard was subscribed by name."""
    lost_all: bool = False
    """The wildcard was unsubscribed: only explicit names remain (W4)."""


class Interest:
    """The subscriptions of one stream to one type.

    Args:
        legacy_wildcard: Whether an empty first request means everything.
        max_names: Limit of explicit names.
    """

    __slots__ = ("_legacy_wildcard", "_max_names", "names", "wildcard")

    def __init__(self, *, legacy_wildcard: bool, max_names: int = 100_000) -> None:
        self._legacy_wildcard = legacy_wildcard
        self._max_names = max_names
        self.wildcard = False
        self.names = SharedNames()
        """Those that were subscribed by name; thousands, and in most streams the same ones."""

    def wants(self, name: str) -> bool:
        """Whether a resource of this name is to be sent when it changes."""
        return self.wildcard or name in self.names

    def first(self, subscribe: tuple[str, ...], unsubscribe: tuple[str, ...]) -> Update:
        """The first request of the type on this stream; the only one in which an empty list can mean everything (W1, W3)."""
        if not subscribe and self._legacy_wildcard:
            self.wildcard = True
        return self.update(subscribe, unsubscribe)

    def update(self, subscribe: tuple[str, ...], unsubscribe: tuple[str, ...]) -> Update:
        """Any request. Subscriptions first, then what the same message unsubscribes (W8).

        Raises:
            XdsError: ``RESOURCE_EXHAUSTED`` past the limit of names.
        """
        answer = {name for name in subscribe if name != WILDCARD}
        self.names.update(answer)
        if len(self.names) > self._max_names:
            raise exhausted(
                f"the stream subscribes {len(self.names)} names of one type; the limit is {self._max_names}"
            )
        gained_all = WILDCARD in subscribe
        lost_all = WILDCARD in unsubscribe and (self.wildcard or gained_all)
        self.wildcard = (self.wildcard or gained_all) and not lost_all
        gone = {name for name in unsubscribe if name in self.names}  # W6: others are passed over
        self.names.difference_update(gone)
        if self.wildcard:
            answer |= gone
            dropped = set[str]()
        else:
            answer -= gone
            dropped = gone
        return Update(tuple(sorted(answer)), tuple(sorted(dropped)), gained_all and not lost_all, lost_all)
