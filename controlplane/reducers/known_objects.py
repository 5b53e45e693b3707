"""What a source has given, as a source that begins again must know it."""

from __future__ import annotations

import msgspec

from controlplane.model.objects import KubernetesObject
from controlplane.model.references import FieldProblem, ObjectReference
from controlplane.reducers.base import Base


class KnownObjects(msgspec.Struct, frozen=True):
    """What the log says that a source has given: what it must take back if it does not find it again."""

    objects: dict[ObjectReference, KubernetesObject]
    remarks: dict[ObjectReference, tuple[tuple[FieldProblem, ...], tuple[FieldProblem, ...]]]
    """Warnings and unsupported fields, of objects that have any."""
    rejected: frozenset[ObjectReference]
    """Objects whose newest form is wrong; one can be among ``objects`` as well, in its last good form."""


def known_objects(base: Base, source: str) -> KnownObjects:
    """What a source has given so far. Cost: O(objects)."""
    known = KnownObjects({}, {}, frozenset())
    rejected = set()
    for report in base.reports.rows():
        if report.source != source:
            continue
        kind, _, key = report.key.partition(" ")
        namespace, _, name = key.rpartition("/")
        reference = ObjectReference(kind, namespace, name)
        row = base.of_kind(kind).get(key)
        if row is not None:
            known.objects[reference] = row
        if report.warnings or report.unsupported:
            known.remarks[reference] = (report.warnings, report.unsupported)
        if report.errors:
            rejected.add(reference)
    return msgspec.structs.replace(known, rejected=frozenset(rejected))
