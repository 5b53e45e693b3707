"""What a folder says at one moment: each file's reading, taken anew only where the file changed.

Synchronous, and without a thought for time: whether files are still is for the caller to find out, by comparing listings.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from typing import Final

import msgspec

from controlplane.sources.claims import Reading, after_earlier
from controlplane.sources.folder import Listing, read_file
from controlplane.sources.manifest_text import read_text


class Snapshot(msgspec.Struct, frozen=True):
    """A listing and what its files say."""

    listing: Listing
    readings: Mapping[str, Reading]
    """By relative path; also of files that cannot be looked at now."""
    unread: frozenset[str] = frozenset()
    """Files that did not hold still or could not be read; none of them in ``listing``, so that the next look tries again."""

    @property
    def is_doubtful(self) -> bool:
        """Whether some file may define objects of which nothing is known: one that could not be read wholly as yet."""
        return any(not reading.was_complete for reading in self.readings.values()) or any(
            path not in self.readings for path in self.listing.faults
        )

    @property
    def ignored(self) -> dict[str, int]:
        """Kind that is none of ours -> number of objects; sorted."""
        total: Counter[str] = Counter()
        for reading in self.readings.values():
            total.update(reading.ignored)
        return dict(sorted(total.items()))

    @property
    def reasons(self) -> dict[str, str]:
        """What could not be looked at: path -> reason, which names it."""
        return {path: f"{path}: {fault}" if path else fault for path, fault in self.listing.faults.items()}


EMPTY: Final = Snapshot(Listing({}, {}), {})
"""Before the first look."""


def moving_files(one: Listing, other: Listing) -> frozenset[str]:
    """The files that are not the same in both."""
    paths = one.files.keys() | other.files.keys()
    return frozenset(path for path in paths if one.files.get(path) != other.files.get(path))


def emptied_files(listing: Listing, earlier: Snapshot, since: float) -> frozenset[str]:
    """The files that had objects and were made empty after a moment, in seconds since the epoch."""
    return frozenset(
        path
        for path, file in listing.files.items()
        if not file.signature.size
        and file.signature.modified > since * 1e9
        and path in earlier.readings
        and earlier.readings[path].claims
    )


def take_snapshot(
    listing: Listing, earlier: Snapshot, *, moving: Collection[str], emptied: Collection[str] = (), patient: bool
) -> Snapshot | None:
    """What the listed files say.

    Args:
        listing: What to read.
        earlier: What was read before; a file that has not changed since is not read again.
        moving: Files not to be read now, and not to be taken for deleted.
        emptied: Files of which what they said last stands until the next look.
        patient: Whether to give up (None) when a file changes meanwhile; if not, it counts as moving.
    """
    readings: dict[str, Reading] = {}
    unread = {*moving, *emptied}
    gone = {
        file.signature.content: earlier.readings[path]
        for path, file in earlier.listing.files.items()
        if path not in listing.files
    }
    for path, file in listing.files.items():
        before = earlier.readings.get(path)
        if path in emptied and before is not None:
            readings[path] = before
        elif path in unread:
            readings[path] = _restless(path, before)
        elif before is not None and earlier.listing.files.get(path) == file:
            readings[path] = before
        else:
            content = read_file(file)
            if content is None and patient:
                return None
            if isinstance(content, bytes):
                known = before or gone.get(file.signature.content) or _any_of(gone.values())
                readings[path] = after_earlier(read_text(path, content), known)
            else:
                unread.add(path)
                readings[path] = _restless(path, before) if content is None else _unreadable(path, content, before)
    for path, reading in earlier.readings.items():
        if path in listing.files:
            continue
        if path in unread:
            readings[path] = _restless(path, reading)
        elif listing.fault_above(path) is not None:
            readings[path] = after_earlier(Reading(complete=False), reading)
    files = {path: file for path, file in listing.files.items() if path not in unread}
    return Snapshot(Listing(files, listing.faults), readings, frozenset(unread))


def _any_of(gone: Collection[Reading]) -> Reading | None:
    """What a new file may have been called before, if it is renamed and broken in one go: any file that went with it.

    Counts only where the new file is not complete. Then all that vanished is kept until it is: better than to take away what
    somebody is just moving.
    """
    claims = tuple(claim for reading in gone for claim in (*reading.claims, *reading.kept))
    return Reading(claims=claims) if claims else None


def _unreadable(path: str, why: str, before: Reading | None) -> Reading:
    return after_earlier(Reading(problems={path: f"{path}: {why}"}, complete=False), before)


def _restless(path: str, before: Reading | None) -> Reading:
    """Of a file that has not been still: nothing new is known."""
    problem = {path: f"{path}: the file keeps changing and is not read; stop writing to it"}
    if before is None:
        return Reading(problems=problem, complete=False, was_complete=False)
    return msgspec.structs.replace(before, problems={**before.problems, **problem})
