"""What files say about objects, and what holds when they disagree or can no longer be read. Pure.

A claim is one definition of one object in one file. Any number of files may claim an object; one definition is served:

- of those that can be decoded, the first by file and position, so that what is served does not depend on history;
- if none can, what was served before; that is history, and the reason why the state before is an argument here.

A file whose text cannot be read, or holds a document of which nobody can tell what it defines, keeps its earlier claims to the
objects that it no longer names. They count only where no file names the object now.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import islice
from typing import Final

import msgspec

from controlplane.model.events import ObjectApplied, ObjectRejected
from controlplane.model.references import FieldProblem, ObjectReference
from controlplane.model.tls_pair import NO_KEYS, PrivateKeys
from controlplane.sources.differences import State

MAX_PLACES: Final = 5
"""Places named for an object that is defined more often than once."""


class Claim(msgspec.Struct, frozen=True):
    """One definition of an object."""

    reference: ObjectReference
    origin: str
    """``file:line`` where the definition begins."""
    applied: ObjectApplied | None = None
    """None if it cannot be decoded."""
    rejected: ObjectRejected | None = None
    """Why it cannot be decoded."""
    private_keys: PrivateKeys = NO_KEYS
    """What ``applied`` names by digest."""


class Reading(msgspec.Struct, frozen=True):
    """What one file says."""

    claims: tuple[Claim, ...] = ()
    """In the order of the text."""
    problems: Mapping[str, str] = {}
    """Part (the file, or ``file#document``) -> what is wrong with it that belongs to no object."""
    ignored: Mapping[str, int] = {}
    """Kind that is none of ours -> number of objects."""
    complete: bool = True
    """Whether it is known of every document what it defines."""
    kept: tuple[Claim, ...] = ()
    """Of earlier readings: to objects that the file may still define, where it is not complete."""
    was_complete: bool = True
    """Whether this reading or one before it was complete: if so, ``claims`` and ``kept`` are all that the file can define."""


def after_earlier(reading: Reading, earlier: Reading | None) -> Reading:
    """``reading`` with what an earlier one of the same file leaves it to keep."""
    if reading.complete:
        return reading
    if earlier is None:
        return msgspec.structs.replace(reading, was_complete=False)
    named = {claim.reference for claim in reading.claims}
    kept = tuple(claim for claim in (*earlier.claims, *earlier.kept) if claim.reference not in named)
    return msgspec.structs.replace(reading, kept=kept, was_complete=earlier.was_complete)


def resolve(
    before: State,
    readings: Mapping[str, Reading],
    faults: Mapping[str, str],
    unclaimed: Collection[ObjectReference] = (),
) -> State:
    """What holds now that the files say this.

    Args:
        before: What held until now: for objects that nobody defines well any more.
        readings: By relative path.
        faults: What else is wrong with the source: part -> reason.
        unclaimed: Objects that stay as they were if no file names them.

    Cost: O(claims).
    """
    claims: dict[ObjectReference, list[Claim]] = {}
    kept: set[ObjectReference] = set(unclaimed)
    parts = dict(faults)
    for _, reading in sorted(readings.items()):
        for claim in reading.claims:
            claims.setdefault(claim.reference, []).append(claim)
        kept.update(claim.reference for claim in reading.kept)
        parts.update(reading.problems)
    objects: dict[ObjectReference, ObjectApplied] = {}
    rejections: dict[ObjectReference, ObjectRejected] = {}
    for reference, definitions in claims.items():
        served = next((claim.applied for claim in definitions if claim.applied), None) or before.objects.get(reference)
        if served:
            objects[reference] = served
        if len(definitions) > 1 or definitions[0].rejected:
            rejections[reference] = _rejection(reference, definitions)
    for reference in kept - claims.keys():
        if reference in before.objects:
            objects[reference] = before.objects[reference]
        if reference in before.rejections:
            rejections[reference] = before.rejections[reference]
    return State(objects, rejections, parts)


def private_keys(readings: Mapping[str, Reading], applied: Iterable[object]) -> Iterator[bytes]:
    """The private keys of those definitions whose events are (by identity) among ``applied``."""
    wanted = {id(event) for event in applied}
    for _, reading in sorted(readings.items()):
        for claim in reading.claims:
            if claim.private_keys and id(claim.applied) in wanted:
                yield from claim.private_keys.values()


def _rejection(reference: ObjectReference, definitions: list[Claim]) -> ObjectRejected:
    rejected = [claim.rejected for claim in definitions if claim.rejected]
    if len(definitions) == 1:
        return rejected[0]
    places = [f"at {claim.origin}" for claim in islice(definitions, MAX_PLACES)]
    if more := len(definitions) - len(places):
        places.append(f"at {more} more places")
    count = "twice" if len(definitions) == 2 else f"{len(definitions)} times"
    served = next((f"; the one at {claim.origin} counts" for claim in definitions if claim.applied), "")
    problem = f"defined {count}: {', '.join(places[:-1])} and {places[-1]}{served}"
    errors = (FieldProblem("", problem, "remove all but one"), *(error for event in rejected for error in event.errors))
    return ObjectRejected(reference, errors, rejected[0].origin if rejected else definitions[1].origin)
