"""Which input owns which output key, when a function may give many rows and two inputs may want one key.

The smallest input key that claims an output key owns it. The rows of the others are kept aside, so that one of them takes over at
once when the owner lets go, without running anything. State depends on the results alone, never on the order they came in.

The common case, an input whose one row has the input's own key, is stored nowhere: an output key without entry is owned by the
input of the same key. That saves two dicts over all rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Generic, TypeVar

from controlplane.krt.keys import Key, ordered, precedes

R = TypeVar("R")


class Claims(Generic[R]):
    """Claims of input keys on output keys.

    Args:
        rows: The output rows, owned ones only; written by ``touch`` alone.
        touch: Writes a row, or removes it (None).
    """

    __slots__ = ("_claimed", "_losers", "_owner", "_rows", "_touch", "contested")

    def __init__(self, rows: Mapping[Key, R], touch: Callable[[Key, R | None], None]) -> None:
        self._rows = rows
        self._touch = touch
        self._owner: dict[Key, Key] = {}
        self._claimed: dict[Key, tuple[Key, ...]] = {}
        self._losers: dict[Key, dict[Key, R]] = {}
        self.contested: set[Key] = set()
        """Inputs that began or ceased to lose a key, or lose it to another one; for the caller to take and clear."""

    def is_plain(self, key: Key) -> bool:
        """Whether an input has no claim but, at most, an unmentioned one on its own key, and nobody else has that key."""
        return key not in self._claimed and key not in self._owner

    def owner(self, output: Key) -> Key:
        """The input that owns an output key that has a row."""
        return self._owner.get(output, output)

    def lost(self, key: Key) -> list[Key]:
        """The output keys that an input claims in vain, sorted."""
        return ordered(output for output in self._claimed.get(key, ()) if key in self._losers.get(output, ()))

    def of(self, key: Key) -> tuple[Key, ...]:
        """The output keys that an input claims, owned or not."""
        claimed = self._claimed.get(key)
        if claimed is not None:
            return claimed
        return (key,) if key in self._rows and key not in self._owner else ()

    def rows_of(self, key: Key) -> Iterator[R]:
        """The rows that an input claims, owned or not, in the order it gave them."""
        for output in self.of(key):
            yield self._losers[output][key] if key in self._losers.get(output, ()) else self._rows[output]

    def replace(self, key: Key, rows: Mapping[Key, R]) -> None:
        """Put new claims of an input in place of its old ones."""
        for output in self.of(key):
            if output not in rows:
                self._release(key, output)
        # Whether the own key may go unmentioned depends on who has it once all is done; a mention too many does no harm.
        if rows:
            self._claimed[key] = tuple(rows)
        else:
            self._claimed.pop(key, None)
        for output, row in rows.items():
            self._claim(key, output, row)
        if len(rows) == 1 and key in rows and self._owner.get(key, key) == key:
            del self._claimed[key]

    def _claim(self, key: Key, output: Key, row: R) -> None:
        old = self._rows.get(output)
        owner = None if old is None else self.owner(output)
        if old is None or owner is None:
            self._own(key, output, row)
        elif owner == key:
            self._write(output, row)
        elif precedes(key, owner):
            # The owner's own key went unmentioned only as long as it owned it.
            self._claimed.setdefault(owner, (output,))
            self._losers.setdefault(output, {})[owner] = old
            self._own(key, output, row)
            self._contest(output)
        else:
            self._losers.setdefault(output, {})[key] = row
            self.contested.add(key)

    def _release(self, key: Key, output: Key) -> None:
        losers = self._losers.get(output)
        if self.owner(output) != key:
            assert losers is not None
            del losers[key]
            self.contested.add(key)
        elif losers:
            self._contest(output)
            heir = ordered(losers)[0]
            self._own(heir, output, losers.pop(heir))
        else:
            self._owner.pop(output, None)
            self._touch(output, None)
        if losers is not None and not losers:
            del self._losers[output]

    def _own(self, key: Key, output: Key, row: R) -> None:
        if key == output:
            self._owner.pop(output, None)
        else:
            self._owner[output] = key
        self._write(output, row)

    def _write(self, output: Key, row: R) -> None:
        old = self._rows.get(output)
        if old is None or (old is not row and old != row):
            self._touch(output, row)

    def _contest(self, output: Key) -> None:
        self.contested.update(self._losers.get(output, ()))
