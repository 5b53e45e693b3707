"""Random graphs of every kind of collection, with functions that read in every way there is, and an oracle beside them.

A graph is drawn as data (`NodeSpec`), so that the same one can be built again. Its functions depend on nothing but what they are
given and what they fetch; they raise sometimes, give several rows, and claim each other's keys. Every read of every run is written
down (`Read`), together with its answer; `answer` gives the answer again by looking at all rows, with none of the engine's means.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any
from zlib import crc32

import msgspec

from controlplane.krt import Collection, Fetch, Graph, Group, Operator, Requirement, Selector, Source

KEYS = ("a", "b", "c", "d", "e", "f")
TAGS = ("red", "green", "blue")
SPACES = ("north", "south")
PAIRS = (("app", "x"), ("app", "y"), ("tier", "1"), ("tier", "2"))


class Item(msgspec.Struct, frozen=True):
    key: str
    value: int
    tag: str = "red"
    space: str = "north"
    labels: dict[str, str] = {}  # msgspec copies it
    selector: Selector | None = None


SELECTORS: tuple[Selector | None, ...] = (
    None,
    Selector(),
    Selector.from_labels({"app": "x"}),
    Selector.from_labels({"app": "y", "tier": "1"}),
    Selector(match_expressions=(Requirement("app", Operator.IN, ("x", "y")),)),
    Selector(match_expressions=(Requirement("tier", Operator.NOT_IN, ("1",)),)),
    Selector(match_expressions=(Requirement("tier", Operator.EXISTS),)),
    Selector((("app", "x"),), (Requirement("tier", Operator.DOES_NOT_EXIST),)),
)


@dataclass(frozen=True)
class ReadSpec:
    """One read of a function: how, of which collection (by position), and what turns the row into what is looked for."""

    how: str
    target: int
    salt: int


@dataclass(frozen=True)
class NodeSpec:
    kind: str
    inputs: tuple[int, ...] = ()
    reads: tuple[ReadSpec, ...] = ()
    salt: int = 0
    raises: bool = False
    collides: bool = False


HOWS = ("key", "key_view", "exists", "by", "by_view", "select", "selecting", "all")


def draw(rng: random.Random, nodes: int) -> tuple[NodeSpec, ...]:
    """A graph: two sources, then derived collections of random kinds over random ones before."""
    specs = [NodeSpec("source"), NodeSpec("source")]
    for _ in range(nodes):
        kind = rng.choice(("map", "map", "map", "group", "count", "union", "singleton"))
        items = [i for i, spec in enumerate(specs) if spec.kind not in {"group", "count"}]
        inputs: tuple[int, ...] = ()
        if kind == "map":
            inputs = (rng.randrange(len(specs)),)
        elif kind in {"group", "count"}:
            inputs = (rng.choice(items),)
        elif kind == "union":
            inputs = tuple(rng.sample(items, rng.randint(2, min(3, len(items)))))
        reads: tuple[ReadSpec, ...] = ()
        if kind in {"map", "singleton"}:
            reads = tuple(_draw_read(rng, specs, items) for _ in range(rng.randint(0 if kind == "map" else 1, 3)))
        specs.append(NodeSpec(kind, inputs, reads, rng.randrange(1000), rng.random() < 0.4, rng.random() < 0.4))
    return tuple(specs)


def _draw_read(rng: random.Random, specs: list[NodeSpec], items: list[int]) -> ReadSpec:
    how = rng.choice(HOWS)
    target = rng.choice(items) if how in {"select", "selecting"} else rng.randrange(len(specs))
    return ReadSpec(how, target, rng.randrange(1000))


@dataclass
class Read:
    how: str
    target: str
    what: Any
    answer: Any


@dataclass
class Run:
    node: str
    key: Any
    row: Any
    reads: list[Read] = field(default_factory=list)


def digest(value: object) -> int:
    """A number that is the same on every machine and for every hash seed."""
    if isinstance(value, Item):
        value = (value.key, value.value, value.tag, value.space, sorted(value.labels.items()), value.selector)
    if isinstance(value, Group):
        value = (value.key, tuple(digest(row) for row in value.rows))
    return crc32(repr(value).encode())


def tags_of(item: Item) -> Any:
    """One value, several, none, or an error: everything that an extractor may do."""
    match item.value % 11:
        case 10:
            raise ValueError(f"no tag in {item.key}")
        case 9:
            return None
        case 8:
            return [item.tag, "extra", item.tag]
        case 7:
            return frozenset(TAGS)
        case _:
            return item.tag


def size_of(row: Any) -> str:
    return TAGS[digest(row) % 3]


view_value = attrgetter("value")


def view_small(row: Any) -> int:
    return digest(row) % 2


def selector_of(item: Item) -> Selector | None:
    if item.value % 17 == 16:
        raise ValueError(f"no selector in {item.key}")
    return item.selector


def labels_of(item: Item) -> dict[str, str]:
    if item.value % 17 == 15:
        raise ValueError(f"no labels in {item.key}")
    return item.labels


def space_of(item: Item) -> str | None:
    return None if item.value % 13 == 12 else item.space


class Built:
    """A graph made from a specification, and what its functions did in the last transaction."""

    def __init__(self, specs: tuple[NodeSpec, ...]) -> None:
        self.specs = specs
        self.graph = Graph()
        self.nodes: list[Collection[Any]] = []
        self.indexes: list[Any] = []
        self.runs: list[Run] = []
        for position, spec in enumerate(specs):
            self.nodes.append(self._declare(position, spec))
            is_item = spec.kind not in {"group", "count"}
            self.indexes.append(self.nodes[-1].index("by_tag", tags_of if is_item else size_of))
        self.sources: list[Source[Item]] = [node for node in self.nodes if isinstance(node, Source)]

    def _declare(self, position: int, spec: NodeSpec) -> Collection[Any]:
        graph, name = self.graph, f"{spec.kind}_{position}"
        options: Any = {"labels": labels_of, "selector": selector_of, "namespace": space_of}
        reads = tuple(
            self.indexes[read.target] if read.how in {"by", "by_view"} else self.nodes[read.target]
            for read in spec.reads
        )
        inputs = [self.nodes[i] for i in spec.inputs]
        match spec.kind:
            case "source":
                return graph.source(name, Item, **options)
            case "map":
                return graph.map(name, Item, inputs[0], self._function(name, spec), reads=reads, **options)
            case "group":
                return graph.group(name, inputs[0], by=tags_of)
            case "count":
                return graph.count(
                    name, inputs[0], by=lambda item: (tags_of(item), "n") if item.value % 11 < 7 else None
                )
            case "union":
                return graph.union(name, Item, inputs, **options)
            case _:
                function = self._function(name, spec)
                return graph.singleton(name, Item, lambda fetch: function(None, fetch), reads=reads, **options)

    def _function(self, name: str, spec: NodeSpec) -> Callable[[Any, Fetch], Any]:
        def compute(row: Any, fetch: Fetch) -> Any:
            run = Run(name, name if row is None else row.key, row)
            self.runs.append(run)
            seen = digest((spec.salt, digest(row)))
            for read in spec.reads:
                # What is looked for may follow from what was found: dependencies change from run to run.
                entry = self._read(read, row, seen if read.salt % 2 else 0, fetch)
                run.reads.append(entry)
                seen = digest(
                    (
                        seen,
                        [digest(part) for part in entry.answer]
                        if isinstance(entry.answer, tuple)
                        else digest(entry.answer),
                    )
                )
                if spec.raises and seen % 5 == 0:
                    raise ValueError(f"{name} does not like {seen % 3}")
            if spec.kind == "singleton":
                return None if seen % 4 == 0 else self._item(KEYS[seen % 2], seen)
            return self._rows(row, seen, spec)

        return compute

    def _rows(self, row: Any, seen: int, spec: NodeSpec) -> Any:
        own = row.key if isinstance(row.key, str) else "-".join(map(str, row.key))
        match seen // 7 % 6:
            case 0:
                return None
            case 1:
                return (self._item(f"{own}{i}", seen + i) for i in range(seen % 3))
            case 2 if spec.collides:
                return [self._item(KEYS[(spec.salt + i) % 4], seen + i) for i in range(2)]
            case 3 if spec.collides:
                return self._item(KEYS[seen % 3], spec.salt)  # equal rows from different inputs
            case 4 if spec.raises and seen % 3 == 0:
                return [self._item(own, 1), self._item(own, 2)] if seen % 2 else Group(own, ())
            case _:
                return self._item(own, seen)

    @staticmethod
    def _item(key: str, seen: int) -> Item:
        labels = dict(PAIRS[seen // 3 % 4 : seen // 3 % 4 + seen % 3])
        return Item(
            key, seen % 23, TAGS[seen // 5 % 3], SPACES[seen // 2 % 2], labels, SELECTORS[seen // 11 % len(SELECTORS)]
        )

    def _read(self, read: ReadSpec, row: Any, seen: int, fetch: Fetch) -> Read:
        node, index = self.nodes[read.target], self.indexes[read.target]
        number = digest((read.salt, seen, None if row is None else row.key))
        view = (view_small, lambda r: digest(r) % 3)[number % 2]
        space = (None, *SPACES)[number // 5 % 3]
        match read.how:
            case "key" | "key_view" | "exists":
                keys = {"group": TAGS, "count": [(tag, "n") for tag in TAGS]}.get(node.kind, [*KEYS[:4], "a0"])
                what: Any = keys[number // 5 % len(keys)]
                if read.how == "key":
                    return Read("key", node.name, what, fetch(node, what))
                if read.how == "exists":
                    return Read("exists", node.name, what, fetch.exists(node, what))
                return Read("key_view", node.name, (what, number % 2), fetch(node, what, view=view))
            case "by":
                what = (*TAGS, "extra")[number // 5 % 4]
                return Read("by", node.name, what, fetch.by(index, what))
            case "by_view":
                what = (*TAGS, "extra")[number // 5 % 4]
                return Read("by_view", node.name, (what, number % 2), fetch.by(index, what, view=view))
            case "select":
                selector = SELECTORS[1 + number // 7 % (len(SELECTORS) - 1)]
                assert selector is not None
                return Read("select", node.name, (selector, space), fetch.select(node, selector, space))
            case "selecting":
                labels = dict(PAIRS[number // 7 % 4 : number // 7 % 4 + 2])
                return Read("selecting", node.name, (labels, space), fetch.selecting(node, labels, space))
            case _:
                return Read("all", node.name, None, fetch.all(node))


class Oracle:
    """Answers reads by looking at every row of a state."""

    def __init__(self, state: dict[str, dict[Any, Any]]) -> None:
        self.state = state

    def rows(self, name: str) -> Iterator[Any]:
        rows = self.state[name]
        return (rows[key] for key in sorted(rows))

    def answer(self, read: Read) -> Any:
        rows = self.state[read.target]
        match read.how:
            case "key":
                return rows.get(read.what)
            case "exists":
                return read.what in rows
            case "key_view":
                row = rows.get(read.what[0])
                return None if row is None else self._view(read)(row)
            case "by":
                return self.under(read.target, read.what)
            case "by_view":
                return tuple(map(self._view(read), self.under(read.target, read.what[0])))
            case "select":
                selector, space = read.what
                return tuple(
                    r
                    for r in self.rows(read.target)
                    if self._fits(r, space) and r.value % 17 != 15 and selector.match(r.labels)
                )
            case "selecting":
                labels, space = read.what
                return tuple(
                    r
                    for r in self.rows(read.target)
                    if self._fits(r, space)
                    and r.value % 17 != 16
                    and r.selector is not None
                    and r.selector.match(labels)
                )
            case _:
                return tuple(self.rows(read.target))

    @staticmethod
    def _fits(row: Item, space: str | None) -> bool:
        return space is None or space_of(row) == space

    @staticmethod
    def _view(read: Read) -> Callable[[Any], int]:
        return (view_small, lambda r: digest(r) % 3)[read.what[1]]

    def under(self, name: str, value: str) -> tuple[Any, ...]:
        found = []
        for row in self.rows(name):
            try:
                values = tags_of(row) if isinstance(row, Item) else size_of(row)
            except ValueError:
                continue
            if value in (values if isinstance(values, list | frozenset) else [values]):
                found.append(row)
        return tuple(found)


def random_item(rng: random.Random, key: str | None = None) -> Item:
    count = rng.randrange(3)
    return Item(
        key or rng.choice(KEYS),
        rng.randrange(23),
        rng.choice(TAGS),
        rng.choice(SPACES),
        dict(rng.sample(PAIRS, count)),
        rng.choice(SELECTORS),
    )
