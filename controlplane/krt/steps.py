"""How work is cut into units, so that a commit can be taken in steps."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import TypeVar

T = TypeVar("T")

CHUNK = 512
"""How many cheap changes are one unit of work: about a millisecond. A run of a function is a unit of its own."""


def chunks(items: list[T]) -> Iterator[list[T]]:
    """The items, ``CHUNK`` at a time."""
    if len(items) <= CHUNK:
        yield items
        return
    rest = iter(items)
    while chunk := list(islice(rest, CHUNK)):
        yield chunk
