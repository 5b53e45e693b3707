"""Indexes: the rows of a collection by a value of theirs, shared by all who read it that way."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Generic, TypeVar

from controlplane.krt.bucket import Assignment, Bucket, values_of
from controlplane.krt.keys import Key, ordered
from controlplane.krt.steps import CHUNK

if TYPE_CHECKING:
    from controlplane.krt.collection import Collection

R_co = TypeVar("R_co", covariant=True)

Change = tuple[R_co | None, R_co | None]


class Index(Generic[R_co]):
    """Rows by the value that ``extract`` gives. Made by ``Collection.index``.

    Cost of a change: O(values of the row before and after). A row whose value cannot be extracted is under no value, and is a
    failure of the collection.
    """

    def __init__(self, collection: Collection[R_co], name: str, extract: Callable[[R_co], object]) -> None:  # type: ignore[type-var]
        self.collection = collection
        self.name = name
        self._extract = extract
        self._buckets: dict[object, Bucket[R_co]] = {}
        self._values = Assignment()
        self._touched: dict[object, dict[Key, Change[R_co]]] = {}
        """What this transaction changed, by value: what a row was there and is there, None where it was or is not."""

    def __repr__(self) -> str:
        return f"<index {self.name} of {self.collection.name}: {len(self._buckets)} values>"

    def get(self, value: object) -> tuple[R_co, ...]:
        """The rows under a value, sorted by key, as of the last published commit. Functions ``fetch.by`` instead."""
        self.collection._refuse_functions()
        touched = self._touched.get(value)
        if not touched:
            return self._rows(value)
        bucket = self._buckets.get(value)
        shown: dict[Key, R_co | None] = {} if bucket is None else dict(bucket.members)
        shown.update((key, old) for key, (old, _) in touched.items())
        return tuple(row for key in ordered(shown) if (row := shown[key]) is not None)

    def _rows(self, value: object) -> tuple[R_co, ...]:
        bucket = self._buckets.get(value)
        return () if bucket is None else bucket.rows()

    def _keys(self, value: object) -> tuple[Key, ...]:
        bucket = self._buckets.get(value)
        return () if bucket is None else tuple(bucket.members)

    def _apply(self, delta: Mapping[Key, Change[R_co]]) -> Iterator[None]:
        """Follow the collection; a yield ends a unit of work."""
        extract, assigned, buckets, touched = self._extract, self._values, self._buckets, self._touched
        for count, (key, change) in enumerate(delta.items()):
            if count % CHUNK == CHUNK - 1:
                yield
            old, new = change
            values: tuple[object, ...] = ()
            if new is not None:
                try:
                    values = values_of(extract(new))
                    hash(values)
                except Exception as error:  # noqa: BLE001  # a user's function: the row is under no value, all else goes on
                    self.collection._fail_row(key, self.name, error)
                    values = ()
            before = assigned.get(key)
            if values != before:
                assigned.put(key, values)
            for value in before:
                if value not in values:
                    bucket = buckets[value]
                    bucket.pop(key)
                    if not bucket.members:
                        del buckets[value]
                    touched.setdefault(value, {})[key] = (old, None)
            if new is None:
                continue
            for value in values:
                bucket = buckets.get(value) or buckets.setdefault(value, Bucket())
                bucket.put(key, new)
                touched.setdefault(value, {})[key] = change if value in before else (None, new)
