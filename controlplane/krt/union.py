"""Unions: several collections as one, by priority."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar, TypeVar

from controlplane.krt.cause import Cause
from controlplane.krt.collection import Collection, State
from controlplane.krt.keys import Key, ordered
from controlplane.krt.rows import Options, Row
from controlplane.krt.steps import chunks

R = TypeVar("R", bound=Row)


class Union(Collection[R]):
    """All rows of its inputs. Where two have a key, the earlier input's row stands; when that goes, the next one's does."""

    kind: ClassVar[str] = "union"

    def __init__(
        self,
        state: State,
        rank: int,
        name: str,
        row_type: type[R],
        parts: Sequence[Collection[R]],
        options: Options[R],
    ) -> None:
        super().__init__(state, rank, name, row_type, parts, options)
        self._parts = tuple(parts)

    def _compute(self) -> Iterator[None]:
        dirty: set[Key] = set()
        for part in self._parts:
            dirty.update(part._delta)
        self._runs += len(dirty)
        tables = [part._rows for part in self._parts]
        for keys in chunks(ordered(dirty)):
            for key in keys:
                new = next((table[key] for table in tables if key in table), None)
                old = self._rows.get(key)
                if old is new or old == new:
                    self._cutoffs += 1
                else:
                    self._touch(key, new)
            yield

    def _causes(self, key: Key) -> Iterator[Cause]:
        for part in self._parts:
            if key in part._rows:
                yield Cause(part, "first to have it", (key,))
                return
            yield Cause(part, "does not have it", ())
