"""Dependencies: who read what.

A reader's run leaves *tokens*, one for each read, whether or not it found anything. A ``Table`` holds the tokens of one reading
node, of one kind, on one collection or index, with the reader's input keys under each. When it is the reader's turn in a
transaction, each table is asked which of those input keys the change concerns (``mark``). It looks the changed keys, values or
labels up among the tokens, or the tokens among the changed keys, whichever are fewer: the cost is O(tokens of the change + hits),
never O(readers).

A token with one reader holds the key itself instead of a set of one: most have one, and a set is 216 octets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Generic, TypeAlias, TypeVar, cast

from controlplane.krt.collection import Collection
from controlplane.krt.index import Index
from controlplane.krt.keys import Key
from controlplane.krt.rows import Row

K = TypeVar("K")
Readers: TypeAlias = Key | set[Key]
View: TypeAlias = Callable[[Any], object]
Found: TypeAlias = tuple[str, tuple[Key, ...]]
"""How a read is called, and the keys of the rows that it finds now."""


class Table(Generic[K]):
    """The tokens of one kind that one node has on one collection or index."""

    __slots__ = ("collection", "readers")

    def __init__(self, collection: Collection[Row]) -> None:
        self.collection = collection
        self.readers: dict[K, Readers] = {}

    def add(self, token: K, reader: Key) -> None:
        """Register a reader. Adding it twice is adding it once."""
        readers = self.readers
        held = readers.get(token)
        if held is None:
            readers[token] = reader
        elif type(held) is set:
            held.add(reader)
        elif held != reader:
            readers[token] = {cast("Key", held), reader}

    def discard(self, token: K, reader: Key) -> None:
        """Remove a reader; a token without readers goes."""
        held = self.readers.get(token)
        if type(held) is set:
            held.discard(reader)
            if held:
                return
        if held is not None:
            del self.readers[token]

    def mark(self, dirty: set[Key]) -> int:
        """Add the readers that this transaction's change concerns; how many look-ups that took."""
        raise NotImplementedError

    def resolve(self, token: K) -> Found:
        """What a token stands for, for explaining."""
        raise NotImplementedError

    def _mark(self, token: K, dirty: set[Key]) -> None:
        held = self.readers[token]
        if type(held) is set:
            dirty |= held
        else:
            dirty.add(cast("Key", held))


class KeyTable(Table[Key]):
    """Reads of a row by its key."""

    __slots__ = ()

    def mark(self, dirty: set[Key]) -> int:
        """See Table."""
        delta, readers = self.collection._delta, self.readers
        for key in readers.keys() & delta.keys():
            held = readers[key]
            if type(held) is set:
                dirty |= held
            else:
                dirty.add(cast("Key", held))
        return min(len(readers), len(delta))

    def resolve(self, token: Key) -> Found:
        """See Table."""
        return "key", (token,)


class ExistenceTable(Table[Key]):
    """Reads of whether a key has a row."""

    __slots__ = ()

    def mark(self, dirty: set[Key]) -> int:
        """See Table."""
        delta, readers = self.collection._delta, self.readers
        for key in readers.keys() & delta.keys():
            old, new = delta[key]
            if old is None or new is None:
                self._mark(key, dirty)
        return min(len(readers), len(delta))

    def resolve(self, token: Key) -> Found:
        """See Table."""
        return "existence", (token,)


class AllTable(Table[None]):
    """Reads of a whole collection."""

    __slots__ = ()

    def mark(self, dirty: set[Key]) -> int:
        """See Table."""
        if not self.collection._delta:
            return 0
        self._mark(None, dirty)
        return 1

    def resolve(self, token: None) -> Found:
        """See Table."""
        return "all", tuple(self.collection._rows)


class IndexTable(Table[object]):
    """Reads of the rows under a value of an index."""

    __slots__ = ("index",)

    def __init__(self, index: Index[Row]) -> None:
        super().__init__(index.collection)
        self.index = index

    def mark(self, dirty: set[Key]) -> int:
        """See Table."""
        touched, readers = self.index._touched, self.readers
        for value in readers.keys() & touched.keys():
            self._mark(value, dirty)
        return min(len(readers), len(touched))

    def resolve(self, token: object) -> Found:
        """See Table."""
        return f"{self.index.name} = {token!r}", self.index._keys(token)


class AnchoredTable(Table[K]):
    """Tokens that are found by something else than themselves: by anchors, several tokens to an anchor."""

    __slots__ = ("anchored",)

    def __init__(self, collection: Collection[Row]) -> None:
        super().__init__(collection)
        self.anchored: dict[object, dict[K, None]] = {}

    def anchors(self, token: K) -> Iterable[object]:
        """Where a token is found."""
        raise NotImplementedError

    def add(self, token: K, reader: Key) -> None:
        """See Table."""
        if token not in self.readers:
            for anchor in self.anchors(token):
                self.anchored.setdefault(anchor, {})[token] = None
        super().add(token, reader)

    def discard(self, token: K, reader: Key) -> None:
        """See Table."""
        super().discard(token, reader)
        if token not in self.readers:
            for anchor in self.anchors(token):
                tokens = self.anchored.get(anchor)
                if tokens is not None:
                    tokens.pop(token, None)
                    if not tokens:
                        del self.anchored[anchor]


class KeyViewTable(AnchoredTable[tuple[Key, View]]):
    """Reads of a projection of a row."""

    __slots__ = ()

    def anchors(self, token: tuple[Key, View]) -> Iterable[object]:
        """See AnchoredTable."""
        return (token[0],)

    def mark(self, dirty: set[Key]) -> int:
        """See Table."""
        delta, anchored = self.collection._delta, self.anchored
        for key in cast("set[Key]", anchored.keys() & delta.keys()):
            old, new = delta[key]
            for token in anchored[key]:
                if differs(token[1], old, new):
                    self._mark(token, dirty)
        return min(len(anchored), len(delta))

    def resolve(self, token: tuple[Key, View]) -> Found:
        """See Table."""
        return "key, in part", (token[0],)


class IndexViewTable(AnchoredTable[tuple[object, View]]):
    """Reads of a projection of the rows under a value of an index."""

    __slots__ = ("index",)

    def __init__(self, index: Index[Row]) -> None:
        super().__init__(index.collection)
        self.index = index

    def anchors(self, token: tuple[object, View]) -> Iterable[object]:
        """See AnchoredTable."""
        return (token[0],)

    def mark(self, dirty: set[Key]) -> int:
        """See Table."""
        touched, anchored = self.index._touched, self.anchored
        for value in anchored.keys() & touched.keys():
            for token in anchored[value]:
                view = token[1]
                if any(differs(view, old, new) for old, new in touched[value].values()):
                    self._mark(token, dirty)
        return min(len(anchored), len(touched))

    def resolve(self, token: tuple[object, View]) -> Found:
        """See Table."""
        return f"{self.index.name} = {token[0]!r}, in part", self.index._keys(token[0])


def differs(view: View, old: Row | None, new: Row | None) -> bool:
    """Whether a row's projection is another one; a view that raises is taken to say so, and its reader will see it raise."""
    if old is None or new is None:
        return True
    try:
        return bool(view(old) != view(new))
    except Exception:  # noqa: BLE001  # a user's function: to run the reader once too often is never wrong
        return True
