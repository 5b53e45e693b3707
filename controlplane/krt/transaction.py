"""A transaction: what is written to sources together."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, TypeVar, cast

from controlplane.krt.collection import State
from controlplane.krt.commit import Commit
from controlplane.krt.errors import GraphError
from controlplane.krt.keys import Key, ordered
from controlplane.krt.propagation import Propagation
from controlplane.krt.rows import Row
from controlplane.krt.source import Source

R = TypeVar("R", bound=Row)


class Transaction:
    """Writes to sources that become visible together, with all that follows from them. Made by ``Graph.begin``.

    Ends with ``commit()``, with ``steps()`` run to their end, or with ``abort()``.
    """

    def __init__(self, seq: int, state: State, propagation: Propagation, end: Callable[[], None]) -> None:
        self.seq = seq
        self._state = state
        self._propagation = propagation
        self._end = end
        self._pending: dict[Source[Any], dict[Key, Row | None]] = {}
        self._synced: dict[Source[Any], bool] = {}
        self._work: Iterator[None] | None = None
        self._result: Commit | None = None
        self._aborted = False

    def put(self, source: Source[R], row: R) -> None:
        """Add or replace the row of its key. A row equal to the one that is there is no change.

        Raises:
            GraphError: The row is of another type, or its key is not one.
        """
        if not isinstance(row, source.row_type):
            raise GraphError(f"{source.name} holds {source.row_type.__name__}, not {type(row).__name__}")
        self._writes(source)[source._key_of_row(row)] = row

    def delete(self, source: Source[R], key: Key) -> None:
        """Remove the row of a key; it need not be there."""
        self._writes(source)[key] = None

    def get(self, source: Source[R], key: Key) -> R | None:
        """The row of a key, this transaction's own writes included."""
        pending = self._writes(source)
        return cast("R | None", pending[key]) if key in pending else source._rows.get(key)

    def rows(self, source: Source[R]) -> tuple[R, ...]:
        """All rows, this transaction's own writes included, sorted by key. Cost: O(rows)."""
        pending = self._writes(source)
        if not pending:
            return source._all()
        shown = cast("dict[Key, R | None]", {**source._rows, **pending})
        return tuple(row for key in ordered(shown) if (row := shown[key]) is not None)

    def mark_synced(self, source: Source[Any]) -> None:
        """Say that a source holds all that there is for it."""
        self._writes(source)
        self._synced[source] = True

    def mark_unsynced(self, source: Source[Any]) -> None:
        """Say that it does not, or that nobody knows."""
        self._writes(source)
        self._synced[source] = False

    def abort(self) -> None:
        """Drop all writes. The seq can be used again.

        Raises:
            GraphError: The commit has begun; it cannot be undone half-way.
        """
        self._require_open()
        self._aborted = True
        self._end()

    def commit(self) -> Commit:
        """Carry the writes through the graph and publish what follows. Also completes ``steps`` that were left half-way."""
        deque(self._begun(), maxlen=0)
        return self.result

    def steps(self, budget: float, clock: Callable[[], float]) -> Iterator[None]:
        """Commit in steps: yields whenever ``budget`` is spent, so that others get their turn.

        Until the last step is over, readers outside see the previous commit. ``result`` is the commit afterwards.

        Args:
            budget: How long a step may take before it yields, in the clock's unit. A single run of a function, and a sort or a
                look-up of all that changed in one collection, are never interrupted.
            clock: Such as ``time.monotonic``. The engine has none of its own.
        """
        work = self._begun()
        deadline = clock() + budget
        for _ in work:
            if clock() >= deadline:
                yield
                deadline = clock() + budget

    @property
    def is_committing(self) -> bool:
        """Whether the commit has begun and is not complete."""
        return self._work is not None and self._result is None

    @property
    def result(self) -> Commit:
        """The commit.

        Raises:
            GraphError: It is not complete.
        """
        if self._result is None:
            raise GraphError(f"transaction {self.seq} is not committed")
        return self._result

    def _begun(self) -> Iterator[None]:
        if self._work is None:
            self._require_open()
            self._work = self._propagation.carry(self.seq, self._pending, self._synced, self._complete)
        return self._work

    def _complete(self, commit: Commit) -> None:
        self._result = commit
        self._pending = {}
        self._end()

    def _writes(self, source: Source[Any]) -> dict[Key, Row | None]:
        if self._work is not None or self._aborted:
            self._require_open()
        pending = self._pending.get(source)
        if pending is None:
            if not isinstance(source, Source):
                raise GraphError(f"{source.name} is a {source.kind}; a transaction writes sources only")
            if source._state is not self._state:
                raise GraphError(f"{source.name} belongs to another graph")
            pending = self._pending[source] = {}
        return pending

    def _require_open(self) -> None:
        if self._aborted:
            raise GraphError(f"transaction {self.seq} was aborted")
        if self._work is not None:
            raise GraphError(f"transaction {self.seq} is {'committed' if self._result else 'being committed'} already")
