"""From what the log says to what a source sees: the fewest events that tell the difference. Pure.

A source that reads everything anew at each change need not know what changed; it compares. The state compared is the fold of a
source's own events: an applied object replaces what was there and clears a rejection, a deletion clears both.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from controlplane.model.events import (
    AnyEvent,
    ObjectAccepted,
    ObjectApplied,
    ObjectDeleted,
    ObjectRejected,
    SourceAvailable,
    SourceUnavailable,
)
from controlplane.model.references import ObjectReference


class State(msgspec.Struct, frozen=True):
    """What a source's events up to some moment add up to; each thing as the event that would bring it about."""

    objects: Mapping[ObjectReference, ObjectApplied] = {}
    rejections: Mapping[ObjectReference, ObjectRejected] = {}
    """An object can be both: rejected, and served as it was before."""
    parts: Mapping[str, str] = {}
    """Part of the source that is wrong or lost -> reason."""

    @property
    def errors(self) -> int:
        """How many things a person has to mend."""
        return len(self.rejections) + len(self.parts)


def diff(before: State, after: State) -> tuple[AnyEvent, ...]:
    """The events that lead from one state to the other; none if they are equal.

    Where an object stands (``origin``) is no difference: a file that is renamed changes nothing. Where an error stands is one,
    because a person looks for it there.

    Returns:
        Objects by kind, namespace and name, an object's rejection after its application; then parts by name.
    """
    events: list[AnyEvent] = []
    references = before.objects.keys() | before.rejections.keys() | after.objects.keys() | after.rejections.keys()
    for reference in sorted(reference for reference in references if _changed(reference, before, after)):
        events += _object_events(reference, before, after)
    for part in sorted(before.parts.keys() | after.parts.keys()):
        if part not in after.parts:
            events.append(SourceAvailable(part))
        elif before.parts.get(part) != after.parts[part]:
            events.append(SourceUnavailable(part, after.parts[part]))
    return tuple(events)


def _changed(reference: ObjectReference, before: State, after: State) -> bool:
    """Whether ``_object_events`` is worth calling: almost always not, so this decides by identity first."""
    return not _same(before.objects.get(reference), after.objects.get(reference)) or (
        before.rejections.get(reference) != after.rejections.get(reference)
    )


def _same(one: ObjectApplied | None, other: ObjectApplied | None) -> bool:
    if one is other or one is None or other is None:
        return one is other
    return (one.object, one.warnings, one.unsupported) == (other.object, other.warnings, other.unsupported)


def _object_events(reference: ObjectReference, before: State, after: State) -> list[AnyEvent]:
    events: list[AnyEvent] = []
    applied, rejected = after.objects.get(reference), after.rejections.get(reference)
    was_applied, was_rejected = before.objects.get(reference), before.rejections.get(reference)
    if applied is None and (was_applied is not None or rejected is None):
        events.append(ObjectDeleted(reference))
        was_rejected = None
    elif applied is not None and not _same(was_applied, applied):
        events.append(applied)
        was_rejected = None
    if rejected is not None and rejected != was_rejected:
        events.append(rejected)
    elif rejected is None and was_rejected is not None:
        events.append(ObjectAccepted(reference))
    return events
