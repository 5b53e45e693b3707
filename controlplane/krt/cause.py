"""One step of an explanation: what a row was made of."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from controlplane.krt.collection import Collection
    from controlplane.krt.keys import Key
    from controlplane.krt.rows import Row


class Cause(NamedTuple):
    """One read, or one input, and the rows that it found; no keys if it is known that it found none."""

    collection: Collection[Row]
    how: str
    keys: tuple[Key, ...]
