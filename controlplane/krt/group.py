"""Groups and counts: rows gathered by a key of theirs, kept up to date at the cost of the change."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, Generic, TypeVar, cast

import msgspec

from controlplane.krt.bucket import Assignment, Bucket, values_of
from controlplane.krt.cause import Cause
from controlplane.krt.collection import Collection, State
from controlplane.krt.errors import RowTypeError
from controlplane.krt.failure import describe
from controlplane.krt.keys import Key, is_key, ordered
from controlplane.krt.rows import Row
from controlplane.krt.steps import CHUNK

M = TypeVar("M", bound=Row)
G = TypeVar("G", bound=Row)


class Group(msgspec.Struct, Generic[M], frozen=True):
    """The rows that share a key, sorted by their own keys; never empty."""

    key: Any
    """What ``by`` gave; only who declared the group knows its form."""
    rows: tuple[M, ...]


class Count(msgspec.Struct, frozen=True):
    """How many rows share a key; never 0."""

    key: Any
    """As in `Group`."""
    count: int


class Grouping(Collection[G], Generic[G, M]):
    """What groups and counts have in common: which rows belong to which keys.

    A row whose ``by`` raises stays where it was, as it was, until it can be told where it belongs.
    """

    def __init__(
        self, state: State, rank: int, name: str, row_type: type[G], members: Collection[M], by: Callable[[M], object]
    ) -> None:
        super().__init__(state, rank, name, row_type, (members,), {})
        self._members = members
        self._by = by
        self._groups_of = Assignment()
        self._last_good: dict[Key, M] = {}
        """For a member whose ``by`` raised: the row that it is still counted as."""
        self._carried: dict[Key, tuple[M, ...]] = {}

    @property
    def kept_type(self) -> type[Row]:
        """See Collection."""
        return self._members.row_type

    def _join(self, group: Key, key: Key, row: M, *, was_there: bool) -> None:
        raise NotImplementedError

    def _leave(self, group: Key, key: Key) -> None:
        raise NotImplementedError

    def _write(self) -> Iterator[None]:
        """Touch the rows of the groups that were joined or left."""
        raise NotImplementedError

    def _compute(self) -> Iterator[None]:
        groups_of, last_good, failures = self._groups_of, self._last_good, self._failures
        for count, (key, (old, new)) in enumerate(self._members._delta.items()):
            groups: tuple[Key, ...] = ()
            if new is not None:
                try:
                    groups = self._checked(self._by(new))
                except Exception as error:  # noqa: BLE001  # a user's function: this member fails, everything else goes on
                    self._keep(key, old)
                    failures.put(describe(self.name, key, error))
                    continue
            if key in failures:
                failures.clear(key)
                last_good.pop(key, None)
                self._unsure = True
            before = cast("tuple[Key, ...]", groups_of.get(key))
            for group in before:
                if group not in groups:
                    self._leave(group, key)
            if new is not None:
                for group in groups:
                    self._join(group, key, new, was_there=group in before)
            groups_of.put(key, groups)
            if count % CHUNK == CHUNK - 1:
                yield
        self._runs += len(self._members._delta)
        yield from self._write()

    def _checked(self, extracted: object) -> tuple[Key, ...]:
        groups = values_of(extracted)
        for group in groups:
            if not is_key(group):
                raise RowTypeError(f"by= gave {type(group).__name__}, not a key (a string or a tuple)")
        hash(groups)
        return cast("tuple[Key, ...]", groups)

    def _keep(self, key: Key, old: M | None) -> None:
        """Leave a member whose ``by`` raised as it was."""
        if key in self._failures:
            return
        carried = self._carried.pop(key, None)
        if old is not None:
            self._last_good[key] = old
        elif carried is not None:
            (row,) = carried
            try:
                groups = self._checked(self._by(row))
            except Exception:  # noqa: BLE001  # a user's function, which places less than the one of the checkpoint did
                return
            self._last_good[key] = row
            for group in groups:
                self._join(group, key, row, was_there=False)
            self._groups_of.put(key, groups)

    def _kept(self) -> dict[Key, tuple[M, ...]]:
        return {key: (self._last_good[key],) for key in ordered(self._last_good)}

    def _carry(self, kept: Mapping[Key, tuple[M, ...]]) -> None:
        self._carried = dict(kept)

    def _causes(self, key: Key) -> Iterator[Cause]:
        yield Cause(self._members, "member", tuple(ordered(self._groups_of.keys_of(key))))


class GroupBy(Grouping[Group[M], M]):
    """The rows of another collection, by a key of theirs. Cost of a change: O(rows of the groups that it touches), a copy."""

    kind: ClassVar[str] = "group"

    def __init__(self, state: State, rank: int, name: str, members: Collection[M], by: Callable[[M], object]) -> None:
        super().__init__(state, rank, name, Group, members, by)
        self._buckets: dict[Key, Bucket[M]] = {}
        self._stale: set[Key] = set()

    def _join(self, group: Key, key: Key, row: M, *, was_there: bool) -> None:
        bucket = self._buckets.get(group)
        if bucket is None:
            bucket = self._buckets[group] = Bucket()
        bucket.put(key, row)
        self._stale.add(group)

    def _leave(self, group: Key, key: Key) -> None:
        self._buckets[group].pop(key)
        self._stale.add(group)

    def _write(self) -> Iterator[None]:
        stale, self._stale = self._stale, set()
        for count, group in enumerate(ordered(stale)):
            bucket = self._buckets[group]
            if bucket.members:
                self._touch(group, Group(group, bucket.rows()))
            else:
                del self._buckets[group]
                self._touch(group, None)
            if count % CHUNK == CHUNK - 1:
                yield


class CountBy(Grouping[Count, M]):
    """How many rows of another collection share a key. Cost of a change: O(1)."""

    kind: ClassVar[str] = "count"

    def __init__(self, state: State, rank: int, name: str, members: Collection[M], by: Callable[[M], object]) -> None:
        super().__init__(state, rank, name, Count, members, by)
        self._differences: dict[Key, int] = {}

    def _join(self, group: Key, key: Key, row: M, *, was_there: bool) -> None:
        if not was_there:
            self._differences[group] = self._differences.get(group, 0) + 1

    def _leave(self, group: Key, key: Key) -> None:
        self._differences[group] = self._differences.get(group, 0) - 1

    def _write(self) -> Iterator[None]:
        differences, self._differences = self._differences, {}
        for number, (group, difference) in enumerate(differences.items()):
            if difference:
                old = self._rows.get(group)
                count = difference + (0 if old is None else old.count)
                self._touch(group, Count(group, count) if count else None)
            if number % CHUNK == CHUNK - 1:
                yield
