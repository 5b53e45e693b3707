"""Rows kept by key, read in the order of their keys."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Generic, TypeVar

from controlplane.krt.keys import Key, ordered

R = TypeVar("R")


class Bucket(Generic[R]):
    """A set of rows by key. Changes cost O(1); the first read after one costs a copy, and a sort if keys were added."""

    __slots__ = ("_in_order", "_sorted", "members")

    def __init__(self) -> None:
        self.members: dict[Key, R] = {}
        """In no order. Never bound anew: whoever iterates holds it."""
        self._in_order = True
        self._sorted: tuple[R, ...] | None = ()

    def put(self, key: Key, row: R) -> None:
        """Add or replace a row."""
        if key not in self.members:
            self._in_order = False
        self.members[key] = row
        self._sorted = None

    def pop(self, key: Key) -> None:
        """Remove a row; it need not be there."""
        self.members.pop(key, None)
        self._sorted = None

    def rows(self) -> tuple[R, ...]:
        """All rows, sorted by key."""
        found = self._sorted
        if found is None:
            self._sort()
            found = self._sorted = tuple(self.members.values())
        return found

    def items(self) -> Iterable[tuple[Key, R]]:
        """All rows with their keys, sorted by key."""
        self._sort()
        return self.members.items()

    def _sort(self) -> None:
        if not self._in_order:
            sort_in_place(self.members)
            self._in_order = True


def sort_in_place(rows: dict[Key, R]) -> None:
    """Bring a dict into the order of its keys, as the same object."""
    items = [(key, rows[key]) for key in ordered(rows)]
    rows.clear()
    rows.update(items)


def values_of(extracted: object) -> tuple[object, ...]:
    """What an extractor gave, as distinct values: None is none, a list or frozenset is many, all else (a tuple too) is one."""
    if extracted is None:
        return ()
    if isinstance(extracted, list | frozenset | set):
        return tuple(dict.fromkeys(extracted))
    return (extracted,)


class Assignment:
    """Which values each key has been given. A single value, the common case, costs no tuple."""

    __slots__ = ("_given",)

    def __init__(self) -> None:
        self._given: dict[Key, object] = {}

    def get(self, key: Key) -> tuple[object, ...]:
        """The key's values; empty for a key that is unknown."""
        given = self._given.get(key)
        if given is None:
            return ()
        return tuple(given) if type(given) is list else (given,)

    def put(self, key: Key, values: tuple[object, ...]) -> None:
        """Replace the key's values."""
        if len(values) == 1:
            self._given[key] = values[0]
        elif values:
            self._given[key] = list(values)
        else:
            self._given.pop(key, None)

    def keys_of(self, value: object) -> Iterable[Key]:
        """The keys that have a value, in no order. Cost: O(all keys), for explaining only."""
        return (key for key in self._given if value in self.get(key))
