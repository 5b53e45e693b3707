"""One pass over segments: what is valid, what is damaged, and where the last whole transaction ends.

The rules that lead from one line to the next live here and only here; opening, reading and verifying differ in what they do
with what is found. This module changes nothing on the disk.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Self

from controlplane.log.damage import Damage, OnDamage, Torn
from controlplane.log.errors import LogError, describe
from controlplane.log.files import Files
from controlplane.log.lines import (
    FORMAT_VERSION,
    CheckpointLine,
    EventLine,
    HeaderLine,
    InvalidLine,
    read_checkpoint,
    read_event,
    read_header,
    segment_first_seq,
)


class SegmentScan:
    """A segment, read from its start: the header at once, then the checkpoint, then the events.

    Attributes:
        path: The file.
        first_seq: As its name says.
        header: None if it is damaged.
        line: Number of the line that was read last.
        offset: Where that line begins.
        last_seq: Last seq of the last whole transaction so far.
        end: Octets up to its end.
        end_line: Number of its last line.
        position: Octets read so far.
        torn: What follows it, known once `events` is through; only the newest segment can have one.
    """

    def __init__(self, path: Path, files: Files, *, newest: bool, on_damage: OnDamage) -> None:
        self.path = path
        self.first_seq = segment_first_seq(path.name) or 0
        self.last_seq = self.first_seq - 1
        self.line = self.offset = self.end = self.end_line = 0
        self.torn: Torn | None = None
        self._newest = newest
        self._on_damage = on_damage
        self.position = 0
        try:
            self._stream = files.read(path)
        except FileNotFoundError:
            raise LogError("it is gone: dropped meanwhile as old, or removed; read the log again", file=path) from None
        except OSError as error:
            raise LogError(f"it cannot be read: {describe(error)}", file=path) from error
        try:
            self.header = self._read_header()
        except BaseException:
            self._stream.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.close()

    def checkpoint(self) -> CheckpointLine | None:
        """The checkpoint; None if it is damaged. Must be called once, before `events`."""
        try:
            checkpoint = read_checkpoint(self._next())
        except InvalidLine as error:
            self._report(self.first_seq, f"the segment's checkpoint is damaged: {error}")
            checkpoint = None
        if checkpoint and checkpoint.seq != self.first_seq - 1:
            self._report(self.first_seq, f"the checkpoint is that of seq {checkpoint.seq}")
            checkpoint = None
        self._mark(self.first_seq - 1)
        return checkpoint

    def events(self) -> Iterator[EventLine]:
        """The valid event lines, those of an unfinished last transaction included.

        After damage that ``on_damage`` did not raise, it goes on with the next valid line.
        """
        expected = self.first_seq
        lost = 0  # damaged lines since the last valid one, each of which may have held a seq
        open_with: EventLine | None = None  # the line before, if its transaction goes on
        while line := self._next():
            if not line.endswith(b"\n"):
                break
            try:
                event = read_event(line)
            except InvalidLine as error:
                self._report(expected + lost, str(error))
                lost += 1
                open_with = None
                continue
            if not expected <= event.seq <= expected + lost:
                self._report(expected, f"seq {event.seq} stands where seq {expected} should")
                open_with = None
            elif problem := _transaction_problem(open_with, event):
                self._report(event.seq, problem)
            expected = event.seq + 1
            lost = 0
            open_with = event if event.seq < event.transaction else None
            if open_with is None:
                self._mark(event.seq)
            yield event
        self._finish(expected, cut=bool(line) or open_with is not None)

    def _finish(self, expected: int, *, cut: bool) -> None:
        if not cut:
            return
        if self._newest:
            octets = self.position - self.end
            self.torn = Torn(str(self.path), self.end_line + 1, self.end, octets, self.last_seq + 1)
        else:
            self._report(expected, "the segment breaks off inside a transaction, though another segment follows")

    def _mark(self, seq: int) -> None:
        self.last_seq, self.end, self.end_line = seq, self.position, self.line

    def _next(self) -> bytes:
        try:
            line = self._stream.readline()
        except OSError as error:
            raise LogError(
                f"it cannot be read: {error.strerror}", file=self.path, line=self.line + 1, seq=self.last_seq + 1
            ) from error
        self.line += 1
        self.offset = self.position
        self.position += len(line)
        return line

    def _report(self, seq: int, reason: str) -> None:
        self._on_damage(Damage(str(self.path), self.line, self.offset, seq, reason))

    def _read_header(self) -> HeaderLine | None:
        line = self._next()
        if not line:
            reason = f"the file is empty; if seq {self.first_seq} and later are to be given up, remove it"
            self._report(self.first_seq, reason)
            return None
        try:
            header = read_header(line)
        except InvalidLine as error:
            self._report(self.first_seq, f"the segment's header is damaged: {error}")
            return None
        if header.format > FORMAT_VERSION:
            raise LogError(
                f"written in format {header.format} by a newer version, this one reads {FORMAT_VERSION}: upgrade",
                file=self.path,
                line=1,
            )
        if header.first_seq != self.first_seq:
            self._report(self.first_seq, f"the file holds the segment of seq {header.first_seq}: a copy, or renamed")
            return None
        return header


def check_chain(headers: Sequence[tuple[Path, HeaderLine]], on_damage: OnDamage) -> None:
    """Reports a segment that is missing between two others, or that belongs to another log."""
    for (before_path, before), (path, header) in pairwise(headers):
        if header.identity != before.identity:
            reason = (
                f"it belongs to another log than {before_path.name}: identity {header.identity}, not {before.identity}"
            )
        elif header.previous != before.first_seq:
            reason = f"the segment of seq {header.previous} before it is missing, the one before is {before_path.name}"
        else:
            continue
        on_damage(Damage(str(path), 1, 0, header.first_seq, reason))


def _transaction_problem(before: EventLine | None, event: EventLine) -> str | None:
    if event.transaction < event.seq:
        return f"transaction {event.transaction} is smaller than the seq"
    if before is None:
        return None
    if event.transaction != before.transaction:
        return f"transaction {event.transaction} begins before transaction {before.transaction} has ended"
    if event.time != before.time or event.source != before.source:
        return f"time or source differ within transaction {event.transaction}"
    return None
