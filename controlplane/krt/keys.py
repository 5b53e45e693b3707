"""Keys of rows, and their order: the one order in which anything leaves the engine."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, TypeAlias, TypeVar, cast

Key: TypeAlias = str | tuple[object, ...]
"""What names a row in its collection: a string, or a tuple of strings and integers."""

T = TypeVar("T")


def is_key(value: object) -> bool:
    """Whether a value can be a key. What a tuple holds is looked at when it is hashed and sorted."""
    return isinstance(value, str | tuple)


def is_name(value: str) -> bool:
    """Whether a string can name a collection or an index: snake_case."""
    return re.fullmatch(r"[a-z][a-z0-9_]*", value) is not None


def ordered(keys: Iterable[T]) -> list[T]:
    """Keys in ascending order, Python's own where it has one.

    Keys of one collection are of one shape, so Python's order is what everybody sees. Should shapes be mixed all the same, the
    order is still total and the same on every machine: integers before strings before tuples, tuples element by element. The
    two agree wherever both exist: a sort compares every pair of neighbours, so it cannot miss a pair that has no order.
    """
    found: list[Any] = list(keys)
    try:
        found.sort()
    except TypeError:
        found.sort(key=_rank)
    return found


def precedes(one: Key, other: Key) -> bool:
    """Whether ``one`` comes before ``other`` in the order of ``ordered``."""
    try:
        return bool(cast("Any", one) < cast("Any", other))
    except TypeError:
        return _rank(one) < _rank(other)


def _rank(key: object) -> tuple[Any, ...]:
    match key:
        case int():
            return (0, key)
        case str():
            return (1, key)
        case tuple():
            return (2, tuple(_rank(part) for part in key))
        case _:
            return (3, type(key).__name__, repr(key))
