"""How a graph is declared: the constructors of its collections, and what they refuse."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias, TypeVar, Unpack

from controlplane.krt.collection import Collection, State
from controlplane.krt.errors import GraphError
from controlplane.krt.fetch import Fetch
from controlplane.krt.group import Count, CountBy, Group, GroupBy
from controlplane.krt.index import Index
from controlplane.krt.keys import Key, is_name
from controlplane.krt.map import Map, Result, Singleton
from controlplane.krt.rows import Options, Row
from controlplane.krt.source import Source
from controlplane.krt.union import Union

R = TypeVar("R", bound=Row)
P = TypeVar("P", bound=Row)
C = TypeVar("C", bound=Collection[Any])
G = TypeVar("G", bound=Key)

Reads: TypeAlias = Sequence[Collection[Row] | Index[Row]]


class Declarations:
    """The collections of a graph, in declaration order, which is a topological order: a collection names what exists."""

    def __init__(self) -> None:
        self._state = State()
        self._nodes: list[Collection[Any]] = []
        self._by_name: dict[str, Collection[Any]] = {}

    def source(self, name: str, row_type: type[R], **options: Unpack[Options[R]]) -> Source[R]:
        """Declare a table that transactions write."""
        return self._add(Source(*self._place(name, row_type, (), options), options))

    def map(
        self,
        name: str,
        row_type: type[R],
        primary: Collection[P],
        function: Callable[[P, Fetch], Result[R]],
        *,
        reads: Reads = (),
        **options: Unpack[Options[R]],
    ) -> Collection[R]:
        """Declare rows computed from each row of another collection.

        Args:
            name: Unique, a plural noun in snake_case.
            row_type: A frozen ``msgspec.Struct``.
            primary: The collection whose rows the function is given, one at a time.
            function: Pure; it may read through ``fetch`` only. Gives a row, none, or several.
            reads: What it may fetch from. An index allows reads through that index, not of its collection otherwise.
            options: See ``Options``.
        """
        place = self._place(name, row_type, (primary, *reads), options)
        return self._add(Map(*place, primary, function, tuple(reads), options))

    def singleton(
        self,
        name: str,
        row_type: type[R],
        function: Callable[[Fetch], R | None],
        *,
        reads: Reads = (),
        **options: Unpack[Options[R]],
    ) -> Collection[R]:
        """Declare one row, or none, computed from whatever the function reads. It runs first in the first transaction."""
        place = self._place(name, row_type, reads, options)
        return self._add(Singleton(*place, function, tuple(reads), options))

    def group(
        self, name: str, members: Collection[P], *, by: Callable[[P], Key | list[G] | frozenset[G] | None]
    ) -> Collection[Group[P]]:
        """Declare the rows of a collection by a key of theirs.

        Args:
            name: Unique, a plural noun in snake_case.
            members: The rows to group.
            by: The group of a row. None: in no group. A list or a frozenset: in several. A tuple is one key.
        """
        state, rank, name, _ = self._place(name, Group, (members,), {})
        return self._add(GroupBy(state, rank, name, members, by))

    def count(
        self, name: str, members: Collection[P], *, by: Callable[[P], Key | list[G] | frozenset[G] | None]
    ) -> Collection[Count]:
        """Declare how many rows of a collection share a key; ``by`` as for ``group``."""
        state, rank, name, _ = self._place(name, Count, (members,), {})
        return self._add(CountBy(state, rank, name, members, by))

    def union(
        self, name: str, row_type: type[R], parts: Sequence[Collection[R]], **options: Unpack[Options[R]]
    ) -> Collection[R]:
        """Declare several collections as one; the earlier of two that have a key gives the row."""
        if len(set(parts)) != len(parts):
            raise GraphError(f"union {name} names a collection twice")
        if "key" in options:
            raise GraphError(f"union {name}: rows keep the keys that they have in the parts; drop key=")
        options["key"] = _no_key  # never asked
        return self._add(Union(*self._place(name, row_type, parts, options), parts, options))

    def _place(
        self, name: str, row_type: type[R], inputs: Reads, options: Options[Any]
    ) -> tuple[State, int, str, type[R]]:
        if self._state.sealed:
            raise GraphError(f"{name}: the graph has started; declare all collections before")
        if not is_name(name):
            raise GraphError(f"{name!r} is not a name in snake_case")
        if name in self._by_name:
            raise GraphError(f"there is a collection {name} already")
        for read in inputs:
            of = read.collection if isinstance(read, Index) else read
            if self._by_name.get(of.name) is not of:
                raise GraphError(f"{name} reads {of.name}, which is not of this graph")
        if not (isinstance(row_type, type) and issubclass(row_type, Row)):
            raise GraphError(f"{name}: rows are frozen msgspec.Structs, and {row_type!r} is none")
        if not row_type.__struct_config__.frozen:
            raise GraphError(f"{name}: {row_type.__name__} is not frozen")
        if "key" not in options and not hasattr(row_type, "key"):
            raise GraphError(f"{name}: {row_type.__name__} has no key; give key=")
        return self._state, len(self._nodes), name, row_type

    def _add(self, node: C) -> C:
        self._nodes.append(node)
        self._by_name[node.name] = node
        for read in dict.fromkeys(read.collection if isinstance(read, Index) else read for read in node.inputs):
            read._dependents.append(node)
        return node


def _no_key(row: Row) -> Key:
    raise GraphError(f"a union does not ask {row!r} for its key")
