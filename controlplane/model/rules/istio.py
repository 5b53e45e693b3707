"""What Istio's kinds have in common: times, namespaces to export to, labels to select by.

Where Istio accepts an object, so do we; where its validation rejects what has one meaning all the same, we accept that too.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from functools import cache
from typing import Final

from controlplane.model.base import Row
from controlplane.model.problems import entry, quoted
from controlplane.model.references import FieldProblem
from controlplane.model.rules.rule import Rule
from controlplane.model.scalars import DNS_LABEL, INT64_MAX, ISTIO_DURATION, nanoseconds_of
from controlplane.model.shapes import Text, shape_of

_MILLISECOND: Final = 1_000_000
_NAMESPACE: Final = re.compile(DNS_LABEL)


def durations(*may_be_zero: str) -> Rule[Row]:
    """The rule that every time in a struct is at least a millisecond, and no longer than Go can count.

    Args:
        may_be_zero: Fields, as the API spells them, of which 0 has a meaning.
    """

    def times_are_in_range(row: Row) -> Iterator[FieldProblem]:
        for attribute, name in _times_of(type(row)):
            text = getattr(row, attribute)
            if text is None:
                continue
            time = nanoseconds_of(text)
            if time > INT64_MAX:
                yield FieldProblem(name, f"{quoted(text)} is too long", "use a time of at most 2562047h")
            elif time < _MILLISECOND and name not in may_be_zero:
                yield FieldProblem(name, f"{quoted(text)} is less than a millisecond", "use a time such as 1ms or 10s")

    return times_are_in_range


@cache
def _times_of(struct: type[Row]) -> tuple[tuple[str, str], ...]:
    """Fields of a struct that are times: the attribute, and the name that the API has."""
    fields = zip(struct.__struct_fields__, struct.__struct_encode_fields__, strict=True)
    shapes = shape_of(struct).fields
    return tuple(
        (attribute, name)
        for attribute, name in fields
        if isinstance(shape := shapes[name], Text) and shape.pattern == ISTIO_DURATION
    )


def exports(names: Collection[str], words: Collection[str]) -> Iterator[FieldProblem]:
    """What is wrong with ``exportTo``.

    Args:
        names: The field's.
        words: Of ``.``, ``*`` and ``~``, those that the kind knows.
    """
    for position, name in enumerate(names):
        if name not in words and not (len(name) <= 63 and _NAMESPACE.search(name)):
            problem = f"{quoted(name)} names no namespace"
            yield FieldProblem(f"exportTo[{position}]", problem, "use a namespace's name, . for the own or * for all")


def selected_labels(labels: Mapping[str, str], field: str) -> Iterator[FieldProblem]:
    """What is wrong with labels to select workloads by: they are compared as they stand."""
    for key, value in labels.items():
        if not key:
            yield FieldProblem(entry(field, key), "a label without a name", "remove it")
        elif "*" in key or "*" in value:
            yield FieldProblem(entry(field, key), "labels have no wildcards", "name the label and its value in full")
