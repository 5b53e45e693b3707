"""Rows by their labels, and rows by whom they select: what makes label selectors as cheap as keys.

Both indexes lay rows down under *anchors*: a namespace with one label pair, or a namespace alone. Labels are found under each of
their pairs, a selector under the few pairs of which what it selects must carry one (``Selector.anchors``). A find looks at one
anchor, or a few, and checks every candidate in full. The namespace ``None`` stands for all of them; an index holds only the
scopes (all, or each) that somebody has read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Generic, TypeAlias, TypeVar

from controlplane.krt.bucket import Bucket
from controlplane.krt.errors import GraphError
from controlplane.krt.keys import Key, ordered
from controlplane.krt.rows import Row
from controlplane.krt.selector import Pair, Selector
from controlplane.krt.steps import CHUNK

if TYPE_CHECKING:
    from controlplane.krt.collection import Collection

R_co = TypeVar("R_co", bound=Row, covariant=True)
F = TypeVar("F")

Anchor: TypeAlias = tuple[str | None] | tuple[str | None, str, str]
Labels: TypeAlias = Mapping[str, str]


class AnchorIndex(Generic[R_co, F]):
    """Rows under anchors. ``F`` is what is read from a row: its labels, or its selector."""

    what: str

    def __init__(
        self,
        collection: Collection[R_co],
        read: Callable[[R_co], F | None],
        namespace: Callable[[R_co], str | None] | None,
    ) -> None:
        self.collection = collection
        self._read = read
        self._namespace = namespace
        self._buckets: dict[Anchor, Bucket[R_co]] = {}
        self._everywhere = False
        self._by_namespace = False

    def facts(self, row: R_co) -> tuple[str | None, F] | None:  # type: ignore[misc]  # covariant: nothing is stored
        """Namespace, and labels or selector; None for a row that has none, or from which they cannot be read."""
        try:
            found = self._read(row)
            if found is None:
                return None
            return (None if self._namespace is None else self._namespace(row)), found
        except Exception:  # noqa: BLE001  # reported once, when the row changed
            return None

    def anchors(self, fact: F) -> Iterator[tuple[()] | Pair]:
        """The pairs under which a row lies; ``()`` for its namespace alone."""
        raise NotImplementedError

    def _laid_under(self, row: R_co) -> Iterator[Anchor]:  # type: ignore[misc]
        facts = self.facts(row)
        if facts is None:
            return
        namespace, fact = facts
        for pair in self.anchors(fact):
            if self._everywhere:
                yield (None, *pair)
            if self._by_namespace and namespace is not None:
                yield (namespace, *pair)

    def open(self, namespace: str | None) -> None:
        """Make a scope readable. Cost: O(rows), once a graph for each of the two scopes.

        Raises:
            GraphError: A namespace was asked of a collection that declares none.
        """
        if namespace is None:
            if self._everywhere:
                return
            self._everywhere = True
        else:
            if self._by_namespace:
                return
            if self._namespace is None:
                raise GraphError(
                    f"{self.collection.name} declares no namespace=, so {self.what} cannot be read by namespace"
                )
            self._by_namespace = True
        self._buckets = {}
        for key, row in self.collection._rows.items():
            for anchor in self._laid_under(row):
                self._bucket(anchor).put(key, row)

    def search(
        self, namespace: str | None, anchors: Iterable[Anchor], accept: Callable[[F], bool]
    ) -> tuple[tuple[Key, R_co], ...]:
        """The rows under any of the anchors that are accepted, by key, sorted."""
        self.open(namespace)
        buckets = [bucket for anchor in anchors if (bucket := self._buckets.get(anchor)) is not None]
        if len(buckets) == 1:
            candidates = buckets[0].items()
        else:
            members: dict[Key, R_co] = {}
            for bucket in buckets:
                members.update(bucket.members)
            candidates = [(key, members[key]) for key in ordered(members)]
        return tuple(
            (key, row) for key, row in candidates if (facts := self.facts(row)) is not None and accept(facts[1])
        )

    def _bucket(self, anchor: Anchor) -> Bucket[R_co]:
        bucket = self._buckets.get(anchor)
        if bucket is None:
            bucket = self._buckets[anchor] = Bucket()
        return bucket

    def _apply(self, delta: Mapping[Key, tuple[R_co | None, R_co | None]]) -> Iterator[None]:
        """Follow the collection; a yield ends a unit of work."""
        is_open = self._everywhere or self._by_namespace
        for count, (key, (old, new)) in enumerate(delta.items()):
            if new is not None:
                try:
                    self._read(new)
                    if self._namespace is not None:
                        self._namespace(new)
                except Exception as error:  # noqa: BLE001  # a user's function: the row is not found by it, all else goes on
                    self.collection._fail_row(key, self.what, error)
            if is_open:
                self._move(key, old, new)
            if count % CHUNK == CHUNK - 1:
                yield

    def _move(self, key: Key, old: R_co | None, new: R_co | None) -> None:
        laid = () if new is None else tuple(self._laid_under(new))
        if old is not None:
            for anchor in self._laid_under(old):
                if anchor not in laid:
                    bucket = self._buckets[anchor]
                    bucket.pop(key)
                    if not bucket.members:
                        del self._buckets[anchor]
        if new is not None:
            for anchor in laid:
                self._bucket(anchor).put(key, new)


class LabelIndex(AnchorIndex[R_co, Labels]):
    """Rows by their labels."""

    what = "labels"

    def anchors(self, fact: Labels) -> Iterator[tuple[()] | Pair]:
        """Each label, and the namespace."""
        yield ()
        yield from fact.items()


class SelectorIndex(AnchorIndex[R_co, Selector]):
    """Rows by whom they select."""

    what = "selector"

    def anchors(self, fact: Selector) -> Iterator[tuple[()] | Pair]:
        """The selector's anchors; the namespace for one that has none."""
        pairs = fact.anchors()
        if not pairs:
            yield ()
        yield from pairs


def selector_anchors(namespace: str | None, selector: Selector) -> tuple[Anchor, ...]:
    """Where what a selector matches may lie."""
    pairs = selector.anchors()
    return tuple((namespace, key, value) for key, value in pairs) if pairs else ((namespace,),)


def label_anchors(namespace: str | None, labels: Iterable[Pair]) -> tuple[Anchor, ...]:
    """Where what selects these labels may lie."""
    return ((namespace,), *((namespace, key, value) for key, value in labels))
