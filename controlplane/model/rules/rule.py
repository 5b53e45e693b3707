"""What a rule is, and what most rules need: to find what stands twice."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import TypeAlias, TypeVar

from controlplane.model.references import FieldProblem

S = TypeVar("S")

Rule: TypeAlias = Callable[[S], Iterable[FieldProblem]]
"""Gives what a struct breaks, with paths from that struct."""


def repetitions(keys: Iterable[Hashable]) -> Iterator[tuple[int, int]]:
    """Positions of keys that stood before, each with the position where it first stood. None is no key."""
    first: dict[Hashable, int] = {}
    for position, key in enumerate(keys):
        if key is not None and first.setdefault(key, position) != position:
            yield position, first[key]
