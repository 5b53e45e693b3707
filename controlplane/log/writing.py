"""The newest segment: making it so that a crash leaves it whole or absent, appending to it, and getting over a disk's failure.

What was appended since the last successful fsync is kept in memory, too: after a failed fsync Linux calls pages clean that never
reached the disk, so neither the file nor the next fsync can be asked what of it is there. It is then cut off and written anew.
"""

from __future__ import annotations

from contextlib import suppress
from enum import StrEnum
from pathlib import Path

import msgspec

from controlplane.log.errors import LogError, describe
from controlplane.log.files import File, Files
from controlplane.log.lines import (
    FORMAT_VERSION,
    TEMPORARY_SUFFIX,
    HeaderLine,
    checkpoint_line,
    header_line,
    segment_name,
    timestamp,
)


class Segment(msgspec.Struct, frozen=True):
    """A segment of an open log, as `SegmentedLog.segments` tells."""

    path: Path
    header: HeaderLine
    octets: int

    @property
    def first_seq(self) -> int:
        """The seq of its first event."""
        return self.header.first_seq


class SyncFailed(LogError):
    """An fsync failed. What the disk has is unknown until the log is mended, or opened again and read anew from the disk."""


class Fault(StrEnum):
    """Why nothing may be appended; each but the last can be mended. Who mends one has mended those before it."""

    TORN = "torn"
    """What was written of a transaction is still there."""
    UNSYNCED = "unsynced"
    """An fsync failed."""
    UNNAMED = "unnamed"
    """The segment is whole, its name may not be durable."""
    GONE = "gone"
    """No name leads to the file any more."""
    FINAL = "final"
    """Only opening the log again helps."""


class SegmentWriter:
    """The newest segment, open for appending.

    Attributes:
        last_seq: Last seq that is in it, or before it.
        lines: Lines in it.
        octets: Its size.
        fault: Why nothing may be appended any more; None if it may.
        failure: The same for a person; None if it may.
        keeps: Whether what is not synced is kept in memory. Not where nobody syncs: that would be all of it.
    """

    def __init__(
        self,
        path: Path,
        header: HeaderLine,
        file: File,
        last_seq: int,
        lines: int,
        octets: int,
        state_octets: int,
    ) -> None:
        self.path = path
        self.header = header
        self.last_seq = last_seq
        self.lines = lines
        self.octets = octets
        self.fault: Fault | None = None
        self.failure: str | None = None
        self.keeps = True
        self._state_octets = state_octets
        self._file = file
        self._durable_octets = octets
        self._unsynced: list[bytes] = []
        """What follows these octets, a transaction each, where it is kept."""

    def has_reached(self, segment_octets: int) -> bool:
        """Whether the next segment is due.

        A segment with a large checkpoint goes on until its events weigh as much: checkpoints are at most half of a log.
        """
        events_octets = self.octets - self._state_octets
        return self.octets >= segment_octets and events_octets >= self._state_octets

    def write(self, data: bytes, events: int) -> None:
        """Appends a transaction's lines, with one write unless the system takes less.

        Raises:
            LogError: It could not. The segment ends where it did, or, if that cannot be had either, `fault` is set.
        """
        try:
            self._write(data)
            if self.keeps:
                self._unsynced.append(data)
            self.octets += len(data)
            self.lines += events
            self.last_seq += events
        except OSError as error:
            reason = f"the transaction could not be written: {describe(error)}"
            try:
                self._file.truncate(self.octets)
            except OSError as truncation:
                reason += f"; what was written of it could not be taken back: {describe(truncation)}"
                self.fail(Fault.TORN, reason)
            raise self.error(reason) from error
        except BaseException as error:
            # Ctrl-C, wherever it hit: how much was written nobody knows, and a seq must not be given out twice.
            self.fail(Fault.FINAL, f"an append was interrupted ({type(error).__name__})")
            raise

    def take_back(self, data: bytes, events: int) -> None:
        """Undoes the last ``write``, whose sync has failed: nothing of it is to be in the log."""
        self.octets -= len(data)
        self.lines -= events
        self.last_seq -= events
        self._unsynced.pop()
        with suppress(OSError):
            # Again when it is mended; but until then a reader, or who opens the log next, should not see it.
            self._file.truncate(self.octets)

    def sync(self) -> None:
        """Makes everything in it durable. May run in another thread than ``write``.

        Raises:
            SyncFailed: `fault` is set.
        """
        octets, transactions = self.octets, len(self._unsynced)
        if self.keeps:
            octets = self._durable_octets + sum(len(data) for data in self._unsynced[:transactions])
        try:
            self._file.sync()
            linked = self._file.is_linked()
        except OSError as error:
            self.fail(Fault.UNSYNCED, f"what was appended could not be made durable: {describe(error)}")
            raise SyncFailed(self.failure or "", file=self.path, seq=self.last_seq) from error
        if not linked:
            self.note_gone()
            raise SyncFailed(self.failure or "", file=self.path, seq=self.last_seq)
        self._durable_octets = octets
        del self._unsynced[:transactions]

    @property
    def is_linked(self) -> bool:
        """Whether the file can still be reached by a name."""
        return self._file.is_linked()

    def note_gone(self) -> None:
        """The file was removed under us."""
        self.fail(Fault.GONE, "the file was removed: what is appended would be lost")

    def fail(self, fault: Fault, failure: str) -> None:
        """Nothing may be appended from now on. The graver one counts: a sync may fail while a write does."""
        faults = list(Fault)
        if self.fault is None or faults.index(fault) >= faults.index(self.fault):
            self.fault, self.failure = fault, failure

    def mended(self) -> None:
        """It may be appended to again."""
        self.fault = self.failure = None

    def cut(self) -> None:
        """Takes back what was written of a transaction.

        Raises:
            OSError: It could not; it may be tried again, as with all that mends.
        """
        self._file.truncate(self.octets)

    def rewrite(self) -> None:
        """Cuts off what was not synced and writes it anew, so that there is something for an fsync to make durable.

        Raises:
            OSError: It could not.
        """
        assert self.keeps
        self._file.truncate(self._durable_octets)
        for data in self._unsynced:
            self._write(data)
        self._file.sync()
        self._durable_octets = self.octets
        self._unsynced.clear()

    def close(self) -> None:
        """Frees the file."""
        self._file.close()

    def error(self, reason: str) -> LogError:
        """An error at the place where the next line would stand."""
        return LogError(reason, file=self.path, line=self.lines + 1, seq=self.last_seq + 1)

    def _write(self, data: bytes) -> None:
        written = self._file.write(data)
        while written < len(data):
            # Rare: 2 GB, or a disk that is full. Then the next call says so.
            written += self._file.write(data[written:])


def header_after(before: SegmentWriter, schema_version: int) -> HeaderLine:
    """The header of the segment that goes on where another ends; it replaces one that has no events."""
    header = before.header
    first_seq = before.last_seq + 1
    previous = header.previous if first_seq == header.first_seq else header.first_seq
    return HeaderLine("controlplane", FORMAT_VERSION, schema_version, header.identity, first_seq, previous, timestamp())


def create_segment(folder: Path, header: HeaderLine, checkpoint: bytes, files: Files) -> SegmentWriter:
    """A new segment without events, durable under its name, its content before its name.

    Returns:
        It; with `Fault.UNNAMED` if all but its name is durable.

    Raises:
        LogError: It could not be made; nothing of it is left.
    """
    path = folder / segment_name(header.first_seq)
    temporary = path.with_name(path.name + TEMPORARY_SUFFIX)
    state = header_line(header) + checkpoint_line(header.first_seq - 1, checkpoint)
    file = None
    try:
        file = files.create(temporary, 0o644)
        writer = SegmentWriter(path, header, file, header.first_seq - 1, 2, len(state), len(state))
        written = 0
        while written < len(state):
            written += file.write(state[written:])
        file.sync()
        files.rename(temporary, path)
    except BaseException as error:
        if file:
            file.close()
        with suppress(OSError):
            files.remove(temporary)
        if isinstance(error, OSError):
            raise LogError(
                f"the segment could not be made: {describe(error)}", file=path, line=1, seq=header.first_seq
            ) from error
        raise
    try:
        files.sync_folder(folder)
    except OSError as error:
        writer.fail(Fault.UNNAMED, f"its name could not be made durable: {describe(error)}")
    return writer


def name_again(segment: SegmentWriter, folder: Path, files: Files) -> None:
    """Gives a segment its name once more: an fsync that failed says nothing when it is repeated, one of a new change does.

    A crash on the way leaves the segment before it as the newest, which is whole.

    Raises:
        OSError: It could not.
    """
    temporary = segment.path.with_name(segment.path.name + TEMPORARY_SUFFIX)
    with suppress(FileNotFoundError):  # under that name already, if it was tried before
        files.rename(segment.path, temporary)
    files.sync_folder(folder)
    files.rename(temporary, segment.path)
    files.sync_folder(folder)


def take_octets(folder: Path, seq: int, octets: int, files: Files) -> None:
    """Whether the disk takes so many octets; nothing of them is left.

    Raises:
        OSError: It does not.
    """
    temporary = folder / (segment_name(seq) + TEMPORARY_SUFFIX)
    try:
        file = files.create(temporary, 0o644)
        try:
            written = 0
            while written < octets:
                written += file.write(bytes(octets - written))
            file.sync()
        finally:
            file.close()
    finally:
        with suppress(OSError):
            files.remove(temporary)
