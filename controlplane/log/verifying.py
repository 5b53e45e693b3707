"""Checking a whole log, and telling all that is wrong with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import msgspec

from controlplane.log.damage import Damage, Torn
from controlplane.log.errors import LogError
from controlplane.log.files import Files, OSFiles
from controlplane.log.folder import list_folder
from controlplane.log.lines import EventLine, HeaderLine
from controlplane.log.records import Codec
from controlplane.log.scan import SegmentScan, check_chain

DAMAGE_LIMIT: Final = 1000
"""How much damage a report names; a file overwritten with line breaks has any amount of it."""


class SegmentReport(msgspec.Struct, frozen=True):
    """What is in a segment. Damaged lines are counted in ``octets`` only."""

    file: str
    first_seq: int
    last_seq: int
    """Of the last valid event; ``first_seq - 1`` if there is none."""
    transactions: int
    """Whose last event is valid."""
    events: int
    octets: int
    checkpoint_octets: int
    """Of these, header and checkpoint."""
    last_time: str | None


class LogReport(msgspec.Struct, frozen=True):
    """What is in a log."""

    segments: tuple[SegmentReport, ...]
    damage: tuple[Damage, ...]
    """In the order of the log, the first `DAMAGE_LIMIT` of it; empty in a good one."""
    damages: int
    """How much there is in all."""
    torn: Torn | None
    """An unfinished transaction at the end: no damage. A writer is at it, or the next opening cuts it off."""
    foreign: tuple[str, ...]
    """Names in the folder that are none of the log's."""

    @property
    def first_seq(self) -> int:
        """Of the oldest segment."""
        return self.segments[0].first_seq

    @property
    def last_seq(self) -> int:
        """Of the last valid event."""
        return self.segments[-1].last_seq

    @property
    def events(self) -> int:
        """In all segments."""
        return sum(segment.events for segment in self.segments)

    @property
    def transactions(self) -> int:
        """In all segments."""
        return sum(segment.transactions for segment in self.segments)

    @property
    def octets(self) -> int:
        """Of all segments."""
        return sum(segment.octets for segment in self.segments)

    @property
    def last_time(self) -> str | None:
        """Of the last event; None in an empty log."""
        return next((segment.last_time for segment in reversed(self.segments) if segment.last_time), None)


def verify(path: Path | str, codec: Codec[Any] | None = None, *, files: Files | None = None) -> LogReport:
    """Reads a log from end to end, past all damage. Needs no lock and changes nothing.

    Args:
        path: The log's folder.
        codec: If given, every event is decoded, too.
        files: The file system.

    Raises:
        LogError: There is no log, a file cannot be read, or a newer version wrote it.
    """
    files = files or OSFiles()
    listing = list_folder(Path(path), files)
    if not listing.segments:
        raise LogError("there is no log in this folder (no segment, NNNNNNNNNNNNNNNNNNNN.jsonl)", file=path)
    found = _Found()
    reports: list[SegmentReport] = []
    headers: list[tuple[Path, HeaderLine]] = []
    torn = None
    for segment in listing.segments:
        with SegmentScan(segment, files, newest=segment == listing.segments[-1], on_damage=found) as scan:
            if scan.header:
                headers.append((segment, scan.header))
                check_chain(headers[-2:], found)
            if reports and scan.first_seq != reports[-1].last_seq + 1:
                reason = f"the segment before ends at seq {reports[-1].last_seq}: what is between is missing"
                found(Damage(str(segment), 1, 0, scan.first_seq, reason))
            reports.append(_verify_segment(scan, codec, found))
            torn = scan.torn
    return LogReport(tuple(reports), tuple(found.damage), found.count, torn, listing.foreign)


class _Found:
    """Collects damage, within bounds."""

    def __init__(self) -> None:
        self.damage: list[Damage] = []
        self.count = 0

    def __call__(self, damage: Damage) -> None:
        self.count += 1
        if len(self.damage) < DAMAGE_LIMIT:
            self.damage.append(damage)


def _verify_segment(scan: SegmentScan, codec: Codec[Any] | None, found: _Found) -> SegmentReport:
    scan.checkpoint()
    checkpoint_octets = scan.end
    events = transactions = 0
    last_seq = scan.first_seq - 1
    last_time = None
    for event in scan.events():
        events += 1
        transactions += event.seq == event.transaction
        last_seq, last_time = event.seq, event.time
        if codec and (reason := _decoding_problem(codec, event)):
            found(Damage(str(scan.path), scan.line, scan.offset, event.seq, reason))
    octets = scan.position
    return SegmentReport(
        str(scan.path), scan.first_seq, last_seq, transactions, events, octets, checkpoint_octets, last_time
    )


def _decoding_problem(codec: Codec[Any], event: EventLine) -> str | None:
    try:
        codec.decode(event.type, bytes(event.data))
    except LookupError:
        return f"unknown event type {event.type!r}, written by a newer version"
    except ValueError as error:
        return f"the {event.type} cannot be decoded: {error}"
    return None
