"""What every node of the graph is: a keyed table of frozen rows that changes once a transaction.

A node computes by *touching* rows (``_touch``): the table is written in place, and what stood there before is remembered. That
memory is three things at once: the first half of the commit's ``(old, new)``, what readers outside see until the transaction is
published, and the proof that a row really changed. Node kinds differ in ``_compute`` alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from controlplane.krt.bucket import sort_in_place
from controlplane.krt.errors import GraphError, RowTypeError
from controlplane.krt.failure import Failure, FailureBook, describe
from controlplane.krt.index import Index
from controlplane.krt.keys import Key, is_key, is_name, ordered
from controlplane.krt.labels import LabelIndex, SelectorIndex
from controlplane.krt.rows import Options, Row, Statistics
from controlplane.krt.steps import chunks

if TYPE_CHECKING:
    from controlplane.krt.cause import Cause

R_co = TypeVar("R_co", bound=Row, covariant=True)

_OWN_KEY: Callable[[Any], Key] = attrgetter("key")


class State:
    """What the collections of one graph share."""

    __slots__ = ("broken", "running", "sealed", "seq", "started")

    def __init__(self) -> None:
        self.seq = 0
        """Of the last commit."""
        self.sealed = False
        """A transaction was opened: nothing can be declared any more."""
        self.started = False
        """The first commit has begun."""
        self.running = False
        """The engine is at work, and with it functions that must not look at collections but through ``fetch``."""
        self.broken: int | None = None
        """The transaction whose commit an error of the engine's own interrupted."""


class Collection(Generic[R_co]):
    """A keyed table of frozen rows. Read from outside it shows the last published commit, never one under way.

    Functions of the graph must not read it this way, since nothing would make them run again: they ``fetch``.
    """

    kind: ClassVar[str]

    def __init__(
        self,
        state: State,
        rank: int,
        name: str,
        row_type: type[R_co],
        inputs: Sequence[Collection[Row] | Index[Row]],
        options: Options[R_co],
    ) -> None:
        self.name = name
        self.row_type = row_type
        self.inputs = tuple(inputs)
        """What it was declared to read, its primary input first."""
        self._state = state
        self._rank = rank
        self._queued = False
        self._dependents: list[Collection[Row]] = []
        self._rows: dict[Key, R_co] = {}
        self._changed: dict[Key, int] = {}
        self._before: dict[Key, R_co | None] = {}
        self._delta: dict[Key, tuple[R_co | None, R_co | None]] = {}
        self._version = 0
        self._in_order = True
        self._sorted: tuple[R_co, ...] | None = ()
        self._unsure = False
        self._indexes: dict[str, Index[R_co]] = {}
        self._key_of: Callable[[R_co], Key] = options.get("key", _OWN_KEY)
        namespace, labels, selector = options.get("namespace"), options.get("labels"), options.get("selector")
        self._label_index = None if labels is None else LabelIndex(self, labels, namespace)
        self._selector_index = None if selector is None else SelectorIndex(self, selector, namespace)
        self._failures = FailureBook()
        self._row_failures = FailureBook()
        self._synced = False
        self._followers: list[Index[R_co] | LabelIndex[R_co] | SelectorIndex[R_co]] = [
            follower for follower in (self._label_index, self._selector_index) if follower is not None
        ]
        """What is brought up to date with each change, in a fixed order."""
        self._runs = self._changes = self._cutoffs = self._lookups = self._writes = 0
        self._seconds = 0.0

    def __repr__(self) -> str:
        return f"<{self.kind} {self.name}: {len(self._rows)} rows>"

    def get(self, key: Key) -> R_co | None:
        """The row of a key, None if there is none."""
        self._refuse_functions()
        if key in self._before:
            return self._before[key]
        return self._rows.get(key)

    def rows(self) -> tuple[R_co, ...]:
        """All rows, sorted by key. Cost: O(rows) after a change."""
        self._refuse_functions()
        if not self._before:
            return self._all()
        shown: dict[Key, R_co | None] = {**self._rows, **self._before}
        return tuple(row for key in ordered(shown) if (row := shown[key]) is not None)

    def __len__(self) -> int:
        self._refuse_functions()
        rows = self._rows
        return len(rows) + sum((old is not None) - (key in rows) for key, old in self._before.items())

    @property
    def kept_type(self) -> type[Row]:
        """The type of the rows that a checkpoint keeps for it: its own rows', or its members' for a group or a count."""
        return self.row_type

    @property
    def synced(self) -> bool:
        """Whether all that it reads, down to the sources, is synced."""
        self._refuse_functions()
        return self._synced

    def index(self, name: str, extract: Callable[[R_co], object]) -> Index[R_co]:
        """Declare an index: rows by a value of theirs.

        Args:
            name: Unique within the collection, snake_case.
            extract: The value of a row. None: in no value. A list or a frozenset: several. A tuple is one value.
        """
        if self._state.sealed:
            raise GraphError(f"index {name} of {self.name}: the graph has started; declare all indexes before")
        if not is_name(name):
            raise GraphError(f"{name!r} is not a name in snake_case")
        if name in self._indexes:
            raise GraphError(f"{self.name} has an index {name} already")
        made = self._indexes[name] = Index(self, name, extract)
        self._followers.append(made)
        return made

    def statistics(self) -> Statistics:
        """The counters, as of now."""
        return Statistics(
            rows=len(self._rows),
            runs=self._runs,
            changes=self._changes,
            cutoffs=self._cutoffs,
            failures=len(self._failures) + len(self._row_failures),
            seconds=self._seconds,
            tokens=self._tokens(),
            lookups=self._lookups,
        )

    def failures(self) -> tuple[Failure, ...]:
        """Its failures as of the last commit, sorted by key."""
        return self._failures.published() + self._row_failures.published()

    # What a node kind says of itself.

    def _compute(self) -> Iterator[None]:
        """Touch every row that the transaction changes; a yield ends a unit of work."""
        raise NotImplementedError

    def _tokens(self) -> int:
        return 0

    def _failure_of(self, key: Key) -> str:
        """What is wrong with the row of a key, for explaining; empty for nothing."""
        return failure_text(self._row_failures.get(key))

    def _kept(self) -> Mapping[Key, tuple[Row, ...]]:
        """Rows that only history explains, by the input key that fails now; for a checkpoint."""
        return {}

    def _carry(self, kept: Mapping[Key, tuple[Any, ...]]) -> None:
        """Take such rows from a checkpoint, before the first run."""
        if kept:
            raise GraphError(f"{self.name} is a {self.kind}, which keeps no rows, but the checkpoint has some for it")

    def _causes(self, key: Key) -> Iterator[Cause]:
        """What the row of a key was made of: rows that are there, and reads that found nothing."""
        raise NotImplementedError

    # What the engine does with a node.

    def _advance(self, seq: int) -> Iterator[None]:
        yield from self._compute()
        if self._before:
            yield from self._settle(seq)

    def _touch(self, key: Key, row: R_co | None) -> None:
        """Write a row, or remove it."""
        rows, before = self._rows, self._before
        self._writes += 1
        if key in before:
            self._unsure = True
            self._in_order = False  # it may have been removed: put back, it stands last
        else:
            old = before[key] = rows.get(key)
            if old is None:
                self._in_order = False
        if row is None:
            rows.pop(key, None)
        else:
            rows[key] = row

    def _settle(self, seq: int) -> Iterator[None]:
        """Turn what was touched into the sorted delta, and bring indexes up to date with it."""
        rows, before, delta, changed = self._rows, self._before, self._delta, self._changed
        for keys in chunks(ordered(before)):
            for key in keys:
                old, new = before[key], rows.get(key)
                if old is new or (self._unsure and old == new):
                    if old is not None:
                        rows[key] = old  # equal rows are one object, the one that readers have
                    continue
                delta[key] = (old, new)
                if new is None:
                    del changed[key]
                else:
                    changed[key] = seq
            yield
        self._unsure = False
        if not delta:
            return
        self._row_failures.clear_all(delta)
        self._sorted = None
        self._version += 1
        self._changes += len(delta)
        for follower in self._followers:
            yield from follower._apply(delta)

    def _publish(self) -> tuple[tuple[Failure, ...], tuple[Failure, ...]]:
        """Show the new state outside; the failures that began and ended with it. The delta is the commit's from here on."""
        self._before = {}
        self._delta = {}
        for index in self._indexes.values():
            index._touched = {}
        began, ended = self._failures.publish()
        rows_began, rows_ended = self._row_failures.publish()
        return began + rows_began, ended + rows_ended

    def _fail_row(self, key: Key, about: str, error: Exception) -> None:
        """Report that something could not be read from a row; the first such report of a row stands."""
        if key not in self._row_failures:
            self._row_failures.put(describe(self.name, key, error, about))

    def _key_of_row(self, row: R_co) -> Key:  # type: ignore[misc]  # covariant: nothing is stored
        """The key of a row.

        Raises:
            RowTypeError: It is not a key.
        """
        key = self._key_of(row)
        if not is_key(key):
            raise RowTypeError(f"{self.name}: the key of a row is {type(key).__name__}, not a string or a tuple")
        return key

    def _all(self) -> tuple[R_co, ...]:
        """All rows of the present, sorted by key."""
        found = self._sorted
        if found is None:
            if not self._in_order:
                sort_in_place(self._rows)
                self._in_order = True
            found = self._sorted = tuple(self._rows.values())
        return found

    def _refuse_functions(self) -> None:
        if self._state.running:
            raise GraphError(
                f"{self.name} was read by a function of the graph without fetch; nothing would make the function run again"
            )


def failure_text(failure: Failure | None) -> str:
    """A failure in one line; empty for none."""
    return "" if failure is None else f"{failure.exception}: {failure.message}"
