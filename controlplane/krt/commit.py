"""What a transaction gives: everything that it changed, at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar, cast

import msgspec

from controlplane.krt.collection import Collection
from controlplane.krt.failure import Failure
from controlplane.krt.keys import Key
from controlplane.krt.rows import Row

R = TypeVar("R", bound=Row)


class Commit(msgspec.Struct, frozen=True):
    """Everything that one transaction changed. The same log gives the same commits, on any machine."""

    seq: int
    deltas: Mapping[str, Mapping[Key, tuple[Row | None, Row | None]]]
    """By collection, in declaration order, those that changed only; then by key, sorted: the row before and the row after. The
    row before is the row after of the last commit that has the key."""
    newly_synced: tuple[str, ...]
    """Collections that are synced from this commit on, in declaration order."""
    newly_unsynced: tuple[str, ...]
    """Collections that are not any more."""
    failures: tuple[Failure, ...]
    """Failures that began with this commit, or say something else now; by collection, in declaration order, then by key."""
    cleared: tuple[Failure, ...]
    """Failures that ended with it."""
    runs: Mapping[str, int]
    """Runs by collection, in declaration order, of those that ran. Also counts runs after which nothing was different."""

    def delta(self, collection: Collection[R]) -> Mapping[Key, tuple[R | None, R | None]]:
        """What changed of one collection; empty if nothing did."""
        return cast("Mapping[Key, tuple[R | None, R | None]]", self.deltas.get(collection.name, {}))
