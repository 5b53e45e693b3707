"""Sources: the tables that transactions write."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar, TypeVar

from controlplane.krt.cause import Cause
from controlplane.krt.collection import Collection, State
from controlplane.krt.keys import Key, ordered
from controlplane.krt.rows import Options, Row
from controlplane.krt.steps import chunks

R = TypeVar("R", bound=Row)


class Source(Collection[R]):
    """Rows that come from outside, through ``Transaction.put`` and ``delete``. Synced when a transaction says so."""

    kind: ClassVar[str] = "source"

    def __init__(self, state: State, rank: int, name: str, row_type: type[R], options: Options[R]) -> None:
        super().__init__(state, rank, name, row_type, (), options)
        self._pending: Mapping[Key, R | None] = {}

    def _compute(self) -> Iterator[None]:
        pending, self._pending = self._pending, {}
        rows = self._rows
        self._runs += len(pending)
        for keys in chunks(ordered(pending)):
            for key in keys:
                old, new = rows.get(key), pending[key]
                if old is new or old == new:
                    self._cutoffs += 1
                else:
                    self._touch(key, new)
            yield

    def _causes(self, key: Key) -> Iterator[Cause]:
        return iter(())
