"""``fetch``: how a function of the graph reads, and how its dependencies become known.

Each read leaves a token, whether or not it found anything, before it gives its answer; so a function that raises half-way has
left the tokens of what it read. The tokens of a run are a flat list, ``[table, token, table, token ...]``: most runs read what the
run before read, and then one comparison of two tuples is all that there is to do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import FunctionType
from typing import Any, TypeVar, overload

from controlplane.krt.collection import Collection
from controlplane.krt.errors import GraphError
from controlplane.krt.index import Index
from controlplane.krt.keys import Key
from controlplane.krt.matching import SelectingTable, SelectTable
from controlplane.krt.rows import Row
from controlplane.krt.selector import Selector
from controlplane.krt.tables import (
    AllTable,
    ExistenceTable,
    IndexTable,
    IndexViewTable,
    KeyTable,
    KeyViewTable,
    Table,
    View,
)

R = TypeVar("R", bound=Row)
V = TypeVar("V")
T = TypeVar("T", bound=Table[Any])


class Fetch:
    """Reads for one function of one collection. Every answer is of the transaction under way, and final in it.

    Works only while the function runs, and only on what the collection declared in ``reads``.

    A ``view`` is a function of a row: the reader gets its results, and runs again only when one of them changes. Name it once,
    outside the function; a lambda in place does as well unless it closes over something, which makes it another view each time.
    """

    __slots__ = (
        "_all_tables",
        "_existence_tables",
        "_index_tables",
        "_index_view_tables",
        "_indexes",
        "_key_tables",
        "_key_view_tables",
        "_log",
        "_readable",
        "_reader",
        "_select_tables",
        "_selecting_tables",
        "_tables",
        "_views",
    )

    def __init__(self, reader: str, reads: Iterable[Collection[Row] | Index[Row]]) -> None:
        self._reader = reader
        self._readable = {read for read in reads if isinstance(read, Collection)}
        self._indexes = {read for read in reads if isinstance(read, Index)}
        self._log: list[Any] | None = None
        self._tables: list[Table[Any]] = []
        self._key_tables: dict[Collection[Row], KeyTable] = {}
        self._key_view_tables: dict[Collection[Row], KeyViewTable] = {}
        self._existence_tables: dict[Collection[Row], ExistenceTable] = {}
        self._all_tables: dict[Collection[Row], AllTable] = {}
        self._select_tables: dict[Collection[Row], SelectTable] = {}
        self._selecting_tables: dict[Collection[Row], SelectingTable] = {}
        self._index_tables: dict[Index[Row], IndexTable] = {}
        self._index_view_tables: dict[Index[Row], IndexViewTable] = {}
        self._views: dict[int, FunctionType] = {}

    @overload
    def __call__(self, collection: Collection[R], key: Key) -> R | None: ...

    @overload
    def __call__(self, collection: Collection[R], key: Key, view: Callable[[R], V]) -> V | None: ...

    def __call__(self, collection: Collection[Row], key: Key, view: View | None = None) -> object:
        """The row of a key, or a view of it; None if there is none."""
        log = self._log
        if log is None:
            raise self._too_late()
        row = collection._rows.get(key)
        if view is None:
            try:
                table = self._key_tables[collection]
            except KeyError:
                table = self._key_tables[collection] = self._open(collection, KeyTable(collection))
            log.append(table)
            log.append(key)
            return row
        try:
            views = self._key_view_tables[collection]
        except KeyError:
            views = self._key_view_tables[collection] = self._open(collection, KeyViewTable(collection))
        token = (key, self._same(view))
        log.append(views)
        log.append(token)
        return None if row is None else view(row)

    def exists(self, collection: Collection[Row], key: Key) -> bool:
        """Whether a key has a row. The reader runs again when it appears or goes, not when it changes."""
        log = self._log
        if log is None:
            raise self._too_late()
        found = key in collection._rows
        table = self._existence_tables.get(collection)
        if table is None:
            table = self._existence_tables[collection] = self._open(collection, ExistenceTable(collection))
        log.append(table)
        log.append(key)
        return found

    @overload
    def by(self, index: Index[R], value: object) -> tuple[R, ...]: ...

    @overload
    def by(self, index: Index[R], value: object, view: Callable[[R], V]) -> tuple[V, ...]: ...

    def by(self, index: Index[Row], value: object, view: View | None = None) -> tuple[object, ...]:
        """The rows under a value of an index, or a view of each, sorted by key."""
        log = self._log
        if log is None:
            raise self._too_late()
        bucket = index._buckets.get(value)
        if view is None:
            try:
                table = self._index_tables[index]
            except KeyError:
                table = self._index_tables[index] = self._open(index, IndexTable(index))
            log.append(table)
            log.append(value)
            return () if bucket is None else bucket.rows()
        try:
            views = self._index_view_tables[index]
        except KeyError:
            views = self._index_view_tables[index] = self._open(index, IndexViewTable(index))
        token = (value, self._same(view))
        log.append(views)
        log.append(token)
        return () if bucket is None else tuple(map(view, bucket.rows()))

    def select(self, collection: Collection[R], selector: Selector, namespace: str | None = None) -> tuple[R, ...]:
        """The rows whose labels a selector matches, sorted by key; of one namespace, or of all (None)."""
        log = self._log
        if log is None:
            raise self._too_late()
        table = self._select_tables.get(collection)
        if table is None:
            if collection._label_index is None:
                raise GraphError(f"{self._reader} selects from {collection.name}, which declares no labels=")
            table = self._open(collection, SelectTable(collection._label_index))
            self._select_tables[collection] = table
        token, found = table.find((namespace, selector))
        log.append(table)
        log.append(token)
        return found  # type: ignore[return-value]  # the table is of this collection

    def selecting(
        self, collection: Collection[R], labels: Mapping[str, str], namespace: str | None = None
    ) -> tuple[R, ...]:
        """The rows whose selector matches these labels, sorted by key; of one namespace, or of all (None)."""
        log = self._log
        if log is None:
            raise self._too_late()
        table = self._selecting_tables.get(collection)
        if table is None:
            if collection._selector_index is None:
                raise GraphError(f"{self._reader} asks who selects in {collection.name}, which declares no selector=")
            table = self._open(collection, SelectingTable(collection._selector_index))
            self._selecting_tables[collection] = table
        token, found = table.find((namespace, tuple(sorted(labels.items()))))
        log.append(table)
        log.append(token)
        return found  # type: ignore[return-value]  # the table is of this collection

    def all(self, collection: Collection[R]) -> tuple[R, ...]:
        """All rows, sorted by key. Any change of the collection makes the reader run again."""
        log = self._log
        if log is None:
            raise self._too_late()
        table = self._all_tables.get(collection)
        if table is None:
            table = self._all_tables[collection] = self._open(collection, AllTable(collection))
        log.append(table)
        log.append(None)
        return collection._all()

    def _open(self, read: Collection[Row] | Index[Row], table: T) -> T:
        """Begin to track reads of one kind.

        Raises:
            GraphError: The collection did not declare it in ``reads``.
        """
        if read not in self._readable and read not in self._indexes:
            what = f"index {read.name} of {read.collection.name}" if isinstance(read, Index) else read.name
            raise GraphError(f"{self._reader} reads {what}, which is not in its reads=")
        self._tables.append(table)
        return table

    def _same(self, view: View) -> View:
        """One object for all that are made by one lambda expression, so that a run's tokens equal those of the run before."""
        if type(view) is not FunctionType or view.__closure__ or view.__defaults__ or view.__kwdefaults__:
            hash(view)
            return view
        known = self._views.setdefault(id(view.__code__), view)
        return known if known.__globals__ is view.__globals__ else view

    def _too_late(self) -> GraphError:
        return GraphError(
            f"fetch of {self._reader} was used outside a run of its function, where no read can be recorded"
        )
