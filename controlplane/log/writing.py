"""The newest segment: making it so that a crash leaves it whole or absent, and appending to it."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import msgspec

from controlplane.log.errors import LogError
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
    """An fsync failed. What the disk has is unknown until the log is opened again, and read anew from the disk."""


class SegmentWriter:
    """The newest segment, open for appending.

    Attributes:
        last_seq: Last seq that is in it, or before it.
        lines: Lines in it.
        octets: Its size.
        failure: Why nothing may be appended any more; None if it may.
    """

    def __init__(
        self, path: Path, header: HeaderLine, file: File, last_seq: int, lines: int, octets: int, state_octets: int
    ) -> None:
        self.path = path
        self.header = header
        self.last_seq = last_seq
        self.lines = lines
        self.octets = octets
        self.failure: str | None = None
        self._state_octets = state_octets
        self._file = file

    def has_reached(self, segment_octets: int) -> bool:
        """Whether the next segment is due.

        A segment with a large checkpoint goes on until its events weigh as much: checkpoints are at most half of a log.
        """
        events_octets = self.octets - self._state_octets
        return self.octets >= segment_octets and events_octets >= self._state_octets

    def write(self, data: bytes, events: int) -> None:
        """Appends a transaction's lines, with one write unless the system takes less.

        Raises:
            LogError: It could not. The segment ends where it did, or, if that cannot be had either, `failure` is set.
        """
        try:
            written = self._file.write(data)
            while written < len(data):
                # Rare: 2 GB, or a disk that is full. Then the next call says so.
                written += self._file.write(data[written:])
            self.octets += len(data)
            self.lines += events
            self.last_seq += events
        except OSError as error:
            reason = f"the transaction could not be written: {error.strerror}"
            try:
                self._file.truncate(self.octets)
            except OSError as truncation:
                self.failure = f"{reason}; what was written of it could not be taken back: {truncation.strerror}"
                reason = self.failure
            raise self.error(reason) from error
        except BaseException as error:
            # Ctrl-C, wherever it hit: how much was written nobody knows, and a seq must not be given out twice.
            self.failure = f"an append was interrupted ({type(error).__name__})"
            raise

    def sync(self) -> None:
        """Makes everything in it durable.

        Raises:
            SyncFailed: `failure` is set.
        """
        try:
            self._file.sync()
        except OSError as error:
            self.failure = f"what was appended could not be made durable: {error.strerror}"
            raise SyncFailed(self.failure, file=self.path, seq=self.last_seq) from error

    def close(self) -> None:
        """Frees the file."""
        self._file.close()

    def error(self, reason: str) -> LogError:
        """An error at the place where the next line would stand."""
        return LogError(reason, file=self.path, line=self.lines + 1, seq=self.last_seq + 1)


def header_after(before: SegmentWriter, schema_version: int) -> HeaderLine:
    """The header of the segment that goes on where another ends; it replaces one that has no events."""
    header = before.header
    first_seq = before.last_seq + 1
    previous = header.previous if first_seq == header.first_seq else header.first_seq
    return HeaderLine("controlplane", FORMAT_VERSION, schema_version, header.identity, first_seq, previous, timestamp())


def create_segment(folder: Path, header: HeaderLine, checkpoint: bytes, files: Files) -> SegmentWriter:
    """A new segment without events, durable under its name, its content before its name.

    Raises:
        LogError: It could not be made; nothing of it is left.
        SyncFailed: It could not be made durable; what is left is for the next opening to see.
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
        writer.sync()
        files.rename(temporary, path)
        try:
            files.sync_folder(folder)
        except OSError as error:
            raise SyncFailed(f"its name could not be made durable: {error.strerror}", file=path) from error
    except BaseException as error:
        if file:
            file.close()
            with suppress(OSError):
                files.remove(temporary)
        if isinstance(error, OSError):
            raise LogError(
                f"the segment could not be made: {error.strerror}", file=path, line=1, seq=header.first_seq
            ) from error
        raise
    return writer
