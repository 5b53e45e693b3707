"""One of each kind of collection, behind one way to write it: what the conformance suite runs on.

Each kind is fed from sources so that ``put(name, text)`` makes a row appear under ``key(name)`` that carries ``text``, and
``delete(name)`` makes it go.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from krt_rows import Text

from controlplane.krt import Collection, Count, Fetch, Graph, Group, Source, Transaction


class Kind:
    """A collection under test. ``many``: it can hold several rows at once."""

    name = "things"
    many = True
    has_text = True

    def __init__(self) -> None:
        self.graph = Graph()
        self.collection: Collection[Any] = self.declare(self.graph)
        self.by_text = self.collection.index("by_text", self.text)
        self.readers = self.graph.source("readers", Text)
        self.runs: list[Any] = []
        self.followers: Collection[Text] = self.graph.map(
            "followers", Text, self.readers, self.follow, reads=(self.collection,)
        )

    def follow(self, reader: Text, fetch: Fetch) -> Text:
        self.runs.append(reader.key)
        row = fetch(self.collection, self.key(reader.key))
        return Text(reader.key, "absent" if row is None else str(self.text(row)))

    def declare(self, graph: Graph) -> Collection[Any]:
        raise NotImplementedError

    def put(self, tx: Transaction, name: str, text: str = "1") -> None:
        raise NotImplementedError

    def delete(self, tx: Transaction, name: str) -> None:
        raise NotImplementedError

    def key(self, name: Any) -> Any:
        return name

    def text(self, row: Any) -> str:
        return str(row.text)

    @property
    def sources(self) -> list[Source[Any]]:
        return [node for node in self.graph.collections if isinstance(node, Source)]


class FromOne(Kind):
    """Fed from one source, key by key."""

    def put(self, tx: Transaction, name: str, text: str = "1") -> None:
        tx.put(self.source, Text(name, text))

    def delete(self, tx: Transaction, name: str) -> None:
        tx.delete(self.source, name)


class SourceKind(FromOne):
    def declare(self, graph: Graph) -> Collection[Any]:
        self.source = graph.source(self.name, Text)
        return self.source


class MapKind(FromOne):
    def declare(self, graph: Graph) -> Collection[Any]:
        self.source = graph.source("inputs", Text)
        return graph.map(self.name, Text, self.source, lambda row, _: Text(row.key, row.text))


class RenamingMapKind(FromOne):
    """Rows with keys of their own, tuples."""

    def declare(self, graph: Graph) -> Collection[Any]:
        self.source = graph.source("inputs", Text)
        return graph.map(self.name, Text, self.source, lambda row, _: [Text(("x", row.key), row.text)])

    def key(self, name: Any) -> Any:
        return ("x", name)


class FetchingMapKind(FromOne):
    """Rows whose text comes from elsewhere, over an index."""

    def declare(self, graph: Graph) -> Collection[Any]:
        self.names = graph.source("names", Text)
        self.source = graph.source("inputs", Text)
        by_key = self.source.index("by_key", lambda row: row.key)

        def compute(row: Text, fetch: Fetch) -> Iterator[Text]:
            for found in fetch.by(by_key, row.key):
                yield Text(row.key, found.text)

        return graph.map(self.name, Text, self.names, compute, reads=(by_key,))

    def put(self, tx: Transaction, name: str, text: str = "1") -> None:
        tx.put(self.names, Text(name))
        super().put(tx, name, text)


class GroupKind(FromOne):
    """A group of one member."""

    def declare(self, graph: Graph) -> Collection[Any]:
        self.source = graph.source("inputs", Text)
        return graph.group(self.name, self.source, by=lambda row: row.key)

    def text(self, row: Group[Text]) -> str:
        return row.rows[0].text


class CountKind(Kind):
    """As many members as the text says."""

    def declare(self, graph: Graph) -> Collection[Any]:
        self.source = graph.source("inputs", Text)
        return graph.count(self.name, self.source, by=lambda row: row.key[0])

    def put(self, tx: Transaction, name: str, text: str = "1") -> None:
        self.delete(tx, name)
        for i in range(int(text)):
            tx.put(self.source, Text((name, i)))

    def delete(self, tx: Transaction, name: str) -> None:
        for row in tx.rows(self.source):
            if row.key[0] == name:
                tx.delete(self.source, row.key)

    def text(self, row: Count) -> str:
        return str(row.count)


class UnionKind(Kind):
    """Even names come from one part, odd ones from the other."""

    def declare(self, graph: Graph) -> Collection[Any]:
        self.parts = graph.source("evens", Text), graph.source("odds", Text)
        return graph.union(self.name, Text, self.parts)

    def put(self, tx: Transaction, name: str, text: str = "1") -> None:
        tx.put(self.parts[ord(name[-1]) % 2], Text(name, text))

    def delete(self, tx: Transaction, name: str) -> None:
        tx.delete(self.parts[ord(name[-1]) % 2], name)


class OverlaidUnionKind(UnionKind):
    """The same, with a part of lower priority beneath that has whatever the other one has."""

    def declare(self, graph: Graph) -> Collection[Any]:
        self.parts = graph.source("uppers", Text), graph.source("lowers", Text)
        return graph.union(self.name, Text, self.parts)

    def put(self, tx: Transaction, name: str, text: str = "1") -> None:
        tx.put(self.parts[0], Text(name, text))
        tx.put(self.parts[1], Text(name, "lower"))

    def delete(self, tx: Transaction, name: str) -> None:
        tx.delete(self.parts[0], name)
        tx.delete(self.parts[1], name)


class SingletonKind(FromOne):
    """The first row of a source."""

    many = False

    def declare(self, graph: Graph) -> Collection[Any]:
        self.source = graph.source("inputs", Text)
        return graph.singleton(
            self.name, Text, lambda fetch: next(iter(fetch.all(self.source)), None), reads=(self.source,)
        )


KINDS: tuple[type[Kind], ...] = (
    SourceKind,
    MapKind,
    RenamingMapKind,
    FetchingMapKind,
    GroupKind,
    CountKind,
    UnionKind,
    OverlaidUnionKind,
    SingletonKind,
)
