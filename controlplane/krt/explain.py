"""Explanations: from a row, through the rows that it was made of, to the sources."""

from __future__ import annotations

from collections import Counter, deque
from typing import TypeAlias

import msgspec

from controlplane.krt.cause import Cause
from controlplane.krt.collection import Collection
from controlplane.krt.keys import Key
from controlplane.krt.rows import Row

Json: TypeAlias = dict[str, object]


class Explanation(msgspec.Struct, frozen=True):
    """One row and what it was made of. A tree: sources are its leaves, and each row is opened once, where it is least deep."""

    collection: str
    key: Key | None
    """None for a read of several rows that found none."""
    changed_seq: int | None
    """The seq at which the row last changed; None if there is no such row."""
    how: str = ""
    """How the row above read it: ``input``, ``key``, ``all`` ..., or the index and its value. Empty at the root."""
    inputs: tuple[Explanation, ...] = ()
    failure: str = ""
    """Why the row is not newer than it is: what its function raised when it ran last."""
    repeated: bool = False
    """Opened elsewhere in the tree."""
    omitted: int = 0
    """Inputs left out because the explanation has as many entries as it may."""

    @property
    def absent(self) -> bool:
        """Whether what was read is not there."""
        return self.changed_seq is None

    def as_dict(self) -> Json:
        """The tree in JSON's types, without what is empty."""
        found: Json = {"collection": self.collection}
        if self.key is not None:
            found["key"] = self.key if isinstance(self.key, str) else list(self.key)
        if self.how:
            found["how"] = self.how
        if self.changed_seq is None:
            found["absent"] = True
        else:
            found["changed_seq"] = self.changed_seq
        if self.failure:
            found["failure"] = self.failure
        if self.repeated:
            found["repeated"] = True
        if self.inputs:
            found["inputs"] = [entry.as_dict() for entry in self.inputs]
        if self.omitted:
            found["omitted"] = self.omitted
        return found


class _Entry:
    """An explanation that is being made."""

    __slots__ = ("collection", "how", "inputs", "key", "omitted", "repeated")

    def __init__(self, collection: Collection[Row], key: Key | None, how: str) -> None:
        self.collection = collection
        self.key = key
        self.how = how
        self.inputs: list[_Entry] = []
        self.repeated = False
        self.omitted = 0

    def freeze(self) -> Explanation:
        return Explanation(
            collection=self.collection.name,
            key=self.key,
            changed_seq=None if self.key is None else self.collection._changed.get(self.key),
            how=self.how,
            inputs=tuple(entry.freeze() for entry in self.inputs),
            failure="" if self.key is None else self.collection._failure_of(self.key),
            repeated=self.repeated,
            omitted=self.omitted,
        )


def explain(collection: Collection[Row], key: Key, depth: int, entries: int, width: int) -> Explanation:
    """Explain a row, breadth first, so that what is left out for want of entries is the farthest away."""
    root = _Entry(collection, key, "")
    opened: set[tuple[Collection[Row], Key]] = set()
    waiting = deque([(root, 0)])
    while waiting:
        entry, level = waiting.popleft()
        if entry.key is None or entry.key not in entry.collection._rows:
            continue
        if (entry.collection, entry.key) in opened:
            entry.repeated = bool(entry.collection.inputs)
            continue
        opened.add((entry.collection, entry.key))
        shown: Counter[str] = Counter()
        for cause in entry.collection._causes(entry.key):
            for found in cause.keys or (None,):
                shown[cause.collection.name] += 1
                if level >= depth or entries <= 1 or shown[cause.collection.name] > width:
                    entry.omitted += 1
                    continue
                entries -= 1
                below = _Entry(cause.collection, found, cause.how)
                entry.inputs.append(below)
                waiting.append((below, level + 1))
    return root.freeze()


__all__ = ["Cause", "Explanation", "explain"]
