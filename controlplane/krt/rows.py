"""What a row is, what may be said of the rows of a collection, and what is counted of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Generic, TypedDict, TypeVar

import msgspec

from controlplane.krt.keys import Key
from controlplane.krt.selector import Selector

Row = msgspec.Struct
"""Frozen, compared by value. Its fields hold what nobody changes."""

R = TypeVar("R", bound=Row)


class Options(TypedDict, Generic[R], total=False):
    """What may be said of the rows of any collection.

    Attributes:
        key: The key of a row; without it, ``row.key``.
        labels: The labels of a row, for ``fetch.select``.
        selector: Whom a row selects, for ``fetch.selecting``; None for nobody.
        namespace: The namespace of a row, for ``fetch.select`` and ``fetch.selecting`` with a namespace.
    """

    key: Callable[[R], Key]
    labels: Callable[[R], Mapping[str, str]]
    selector: Callable[[R], Selector | None]
    namespace: Callable[[R], str | None]


class Statistics(msgspec.Struct, frozen=True):
    """Counters of one collection since its graph was made."""

    rows: int
    runs: int
    """How often its function ran; for kinds without one, how many changed inputs it has taken in."""
    changes: int
    """Rows added, changed or removed."""
    cutoffs: int
    """Runs after which nothing was different."""
    failures: int
    """Keys that fail now."""
    seconds: float
    """Time spent in it; 0.0 unless the graph was given a clock."""
    tokens: int
    """Dependencies registered now."""
    lookups: int
    """Changed keys, values or labels that were looked up among them."""
