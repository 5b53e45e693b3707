"""Taking a rejected response apart: its resources are offered again in halves, until each guilty one stands alone.

One rejection says that something in a response is bad, not what. Its resources are *suspects* until a later response with them
is acknowledged, or until they change. They are offered in groups, each a response of its own: a group that is rejected is
halved, one that is taken is innocent. A suspect that was rejected alone is *doubtful*: it can be bad only beside the old
version of another (a port, a domain that the other is about to free). Once some other group has been taken it is tried again,
and rejected alone once more it is guilty.

Innocent resources are offered until they are acknowledged, even where Envoy has applied them long since: what stood in a
rejected response is missing in what it recalls (envoy-observed.md, trap 5).

Knows names and versions, nothing of tables. The number of tries is bounded: beyond it what is left is judged as one.
"""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence

from controlplane.xds.lane import Items

MAX_TRIES = 2_000
"""Rejected groups of one episode, which ends when no suspect is left: enough for a hundred guilty among a thousand."""
MAX_NAMED = 16
"""Suspects that are tried each by itself because the proxy named them; more are halved as others are."""


class Apart:
    """The suspects of one lane. An episode: from the first rejection until no suspect is left."""

    __slots__ = ("_doubtful", "_groups", "_has_progress", "_tries", "suspects")

    def __init__(self) -> None:
        self.suspects: Items = {}
        """Name to version (None for a removal) of what stood in a rejected response and has not changed since."""
        self._groups: deque[tuple[str, ...]] = deque()
        self._doubtful: dict[str, None] = {}
        self._has_progress = False
        """Whether others were taken since something became doubtful."""
        self._tries = 0

    def reject(
        self, suspects: Mapping[str, str | None], *, was_alone: bool, named: Sequence[str] = ()
    ) -> Sequence[str]:
        """A response with these suspects was rejected; those that are doubtful now.

        Args:
            suspects: Of what stood in it, that which has not changed since.
            was_alone: Whether it was the only thing in the response.
            named: Suspects that the proxy's words name. A hint: they are tried by themselves, after the others.
        """
        self._tries += 1
        self.suspects.update(suspects)
        names = sorted(suspects)
        if not names:
            return ()
        if was_alone or self._tries > MAX_TRIES:
            self._doubtful.update(dict.fromkeys(names))
            return names
        if 0 < len(named) < len(names) and len(named) <= MAX_NAMED:
            groups = [[name for name in names if name not in named], *([name] for name in named)]
        else:
            half = (len(names) + 1) // 2
            groups = [names[:half], names[half:]]
        self._groups.extendleft(tuple(group) for group in reversed(groups) if group)
        return ()

    def clear(self, names: Iterable[str], *, taken: bool) -> None:
        """These are suspects no longer.

        Args:
            names: Any names.
            taken: Whether because the proxy took them; else they have changed, or are not wanted any more.
        """
        for name in names:
            if name in self.suspects:
                del self.suspects[name]
                self._doubtful.pop(name, None)
                self._has_progress |= taken and bool(self._doubtful)

    def next_group(self) -> tuple[str, ...]:
        """The names that are to be offered next, together and with nothing else; empty when there are none."""
        while self._groups:
            group = tuple(name for name in self._groups[0] if name in self.suspects)
            if group:
                return group
            self._groups.popleft()
        if self._doubtful and self._has_progress and self._tries <= MAX_TRIES:
            self._has_progress = False
            self._groups.extend((name,) for name in sorted(self._doubtful))
            self._doubtful.clear()
            return self.next_group()
        return ()

    def offered(self) -> None:
        """The group that ``next_group`` gave is on its way."""
        self._groups.popleft()

    def judge(self) -> list[str]:
        """The guilty: all doubtful ones, once there is nothing left to try; they are suspects no longer."""
        if self._groups and self.next_group():
            return []
        if not self._doubtful or (self._has_progress and self._tries <= MAX_TRIES):
            return []
        guilty = sorted(self._doubtful)
        for name in guilty:
            del self.suspects[name]
        self._doubtful.clear()
        self._has_progress = False
        return guilty
