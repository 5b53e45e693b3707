"""Dependencies on label selectors: which rows a selector matches, and whose selector matches some labels.

Both are the same search, seen from either side: tokens and rows are laid under anchors (``labels``), a changed row looks its
anchors up, and every token found there is checked in full against the row before and the row after. So a row that leaves a
selector, or whose selector lets go, marks the reader as surely as one that comes in.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Generic, TypeAlias, TypeVar

from controlplane.krt.keys import Key
from controlplane.krt.labels import Anchor, AnchorIndex, Labels, label_anchors, selector_anchors
from controlplane.krt.rows import Row
from controlplane.krt.selector import Pair, Selector
from controlplane.krt.tables import AnchoredTable, Found

SelectToken: TypeAlias = tuple[str | None, Selector]
SelectingToken: TypeAlias = tuple[str | None, tuple[Pair, ...]]
M = TypeVar("M")
F = TypeVar("F")


class MatchTable(AnchoredTable[M], Generic[M, F]):
    """Reads by label selector, one way or the other: ``M`` is what is looked for, ``F`` what a row has to show for it."""

    __slots__ = ("_results", "_version", "index")

    def __init__(self, index: AnchorIndex[Row, F]) -> None:
        super().__init__(index.collection)
        self.index = index
        self._results: dict[M, tuple[M, tuple[Row, ...]]] = {}
        self._version = -1

    def search(self, token: M) -> tuple[tuple[Key, Row], ...]:
        """The rows that a token finds now, by key, sorted."""
        raise NotImplementedError

    def row_anchors(self, namespace: str | None, fact: F) -> Iterable[Anchor]:
        """The anchors of every token that may find a row."""
        raise NotImplementedError

    def matches(self, token: M, fact: F) -> bool:
        """Whether a token, found by an anchor, does find the row."""
        raise NotImplementedError

    def find(self, token: M) -> tuple[M, tuple[Row, ...]]:
        """The rows, sorted by key, and one object for all equal tokens. Remembered until the collection changes."""
        if self._version != self.collection._version:
            self._results = {}
            self._version = self.collection._version
        found = self._results.get(token)
        if found is None:
            found = self._results[token] = token, tuple(row for _, row in self.search(token))
        return found

    def discard(self, token: M, reader: Key) -> None:
        """See Table."""
        super().discard(token, reader)
        if token not in self.readers:
            self._results.pop(token, None)

    def mark(self, dirty: set[Key]) -> int:
        """See Table."""
        anchored, lookups = self.anchored, 0
        for change in self.collection._delta.values():
            for row in change:
                facts = None if row is None else self.index.facts(row)
                if facts is None:
                    continue
                namespace, fact = facts
                for scope in (None,) if namespace is None else (None, namespace):
                    for anchor in self.row_anchors(scope, fact):
                        lookups += 1
                        for token in anchored.get(anchor, ()):
                            if self.matches(token, fact):
                                self._mark(token, dirty)
        return lookups

    def resolve(self, token: M) -> Found:
        """See Table."""
        return f"by {self.index.what}", tuple(key for key, _ in self.search(token))


class SelectTable(MatchTable[SelectToken, Labels]):
    """Reads of the rows that a selector matches."""

    __slots__ = ()

    def anchors(self, token: SelectToken) -> Iterable[Anchor]:
        """See AnchoredTable."""
        return selector_anchors(*token)

    def search(self, token: SelectToken) -> tuple[tuple[Key, Row], ...]:
        """See MatchTable."""
        namespace, selector = token
        return self.index.search(namespace, selector_anchors(namespace, selector), selector.match)

    def row_anchors(self, namespace: str | None, fact: Labels) -> Iterable[Anchor]:
        """See MatchTable."""
        return label_anchors(namespace, fact.items())

    def matches(self, token: SelectToken, fact: Labels) -> bool:
        """See MatchTable."""
        return token[1].match(fact)


class SelectingTable(MatchTable[SelectingToken, Selector]):
    """Reads of the rows whose selector matches some labels."""

    __slots__ = ("_labels",)

    def __init__(self, index: AnchorIndex[Row, Selector]) -> None:
        super().__init__(index)
        self._labels: dict[SelectingToken, dict[str, str]] = {}

    def anchors(self, token: SelectingToken) -> Iterable[Anchor]:
        """See AnchoredTable."""
        return label_anchors(*token)

    def search(self, token: SelectingToken) -> tuple[tuple[Key, Row], ...]:
        """See MatchTable."""
        namespace, pairs = token
        labels = dict(pairs)
        return self.index.search(namespace, label_anchors(namespace, pairs), lambda selector: selector.match(labels))

    def row_anchors(self, namespace: str | None, fact: Selector) -> Iterable[Anchor]:
        """See MatchTable."""
        return selector_anchors(namespace, fact)

    def matches(self, token: SelectingToken, fact: Selector) -> bool:
        """See MatchTable."""
        return fact.match(self._labels[token])

    def add(self, token: SelectingToken, reader: Key) -> None:
        """See Table."""
        if token not in self.readers:
            self._labels[token] = dict(token[1])
        super().add(token, reader)

    def discard(self, token: SelectingToken, reader: Key) -> None:
        """See Table."""
        super().discard(token, reader)
        if token not in self.readers:
            self._labels.pop(token, None)
