"""The log on disk: one writer, one JSON object a line, in segments. README.md says what is durable when.

One thread appends; ``sync`` and ``sync_if_due`` may run in another one meanwhile, because an fsync takes as long as the disk
likes and must not hold up the event loop. There is no thread in here: whoever owns the log calls ``sync_if_due``, and thus
learns of a failure where it can act on it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Final, Generic, Literal, Self, TypeAlias

from controlplane.log import files as file_system
from controlplane.log.errors import LogError
from controlplane.log.interface import SYNC_SECONDS, LogStatistics
from controlplane.log.lines import (
    encode_events,
    event_line,
    require_object,
    require_time,
    timestamp,
)
from controlplane.log.opening import Opened, recover, take_lock
from controlplane.log.reading import FromSegment, read_log
from controlplane.log.records import Checkpoint, Codec, E, Transaction
from controlplane.log.syncing import Durability
from controlplane.log.writing import Segment, SegmentWriter, SyncFailed, create_segment, header_after

FsyncMode: TypeAlias = Literal["always", "grouped", "never"]

CheckpointFunction: TypeAlias = Callable[[], bytes | None]
"""Gives the state after everything appended so far as a JSON object, or None if it cannot just now."""

SEGMENT_BYTES: Final = 64 * 1024 * 1024
"""Size from which on a segment is followed by the next, unless told otherwise."""


class SegmentedLog(Generic[E]):
    """A log in a folder, open for writing; `open` makes one.

    Attributes:
        path: The folder.
        opened: What opening found; its warnings are for the owner to log.
    """

    def __init__(
        self,
        path: Path,
        codec: Codec[E],
        *,
        checkpoint: CheckpointFunction | None,
        fsync: FsyncMode,
        segment_bytes: int,
        schema_version: int,
        files: file_system.Files,
        clock: Callable[[], float],
    ) -> None:
        self.path = path
        self._codec = codec
        self._checkpoint = checkpoint
        self._fsync = fsync
        self._segment_octets = segment_bytes
        self._schema_version = schema_version
        self._files = files
        self._clock = clock
        self._lock = take_lock(path, files)
        self._older: list[Segment]  # oldest first; dropping segments begins here
        self._newest: SegmentWriter
        try:
            self.opened: Opened
            self.opened, self._older, self._newest = recover(path, files, schema_version)
        except BaseException:
            self._lock.release()
            raise
        self._closed = False
        self._durability = Durability(self._newest.last_seq, clock)
        self._appended = self._transactions = 0
        self._appended_at: float | None = None

    @classmethod
    def open(
        cls,
        path: Path | str,
        codec: Codec[E],
        *,
        checkpoint: CheckpointFunction | None = None,
        fsync: FsyncMode = "grouped",
        segment_bytes: int = SEGMENT_BYTES,
        schema_version: int = 1,
        files: file_system.Files | None = None,
        clock: Callable[[], float] = monotonic,
    ) -> SegmentedLog[E]:
        """Opens a log for writing, or makes it; what a crash left unfinished is cut off, see `opened`.

        Args:
            path: The folder; it and its parents are made.
            codec: Encodes and decodes the events.
            checkpoint: Asked at the start of an append that begins a segment, for the state after all that was appended
                before. None as its answer puts the new segment off to the next append; without it there is one segment.
            fsync: ``always``: before `append` returns. ``grouped``: when the owner calls `sync_if_due`. ``never``: at the
                end of a segment and at `close` only, so a power failure costs what the system has not written by itself.
            segment_bytes: Size from which on a segment is followed by the next; more if the checkpoint is larger than half
                of it.
            schema_version: Version of the codec's events. A log with a newer one is refused; with an older one, the first
                append begins a new segment.
            files: The file system.
            clock: Monotonic, in seconds; for figures only.

        Raises:
            LogLocked: Another process has it open.
            LogError: It is damaged (file, line, seq), from a newer version, or the folder cannot be written to.
        """
        return cls(
            Path(path),
            codec,
            checkpoint=checkpoint,
            fsync=fsync,
            segment_bytes=segment_bytes,
            schema_version=schema_version,
            files=files or file_system.OSFiles(),
            clock=clock,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def last_seq(self) -> int:
        """Seq of the last event; 0 in an empty log."""
        return self._newest.last_seq

    @property
    def segments(self) -> tuple[Segment, ...]:
        """All of them, oldest first, with their sizes now."""
        newest = self._newest
        return (*self._older, Segment(newest.path, newest.header, newest.octets))

    def append(self, events: Iterable[E], *, source: str, time: str | None = None) -> Transaction[E]:
        """Makes the events one transaction at the log's end; they are in the file when it returns.

        Must not be called before the owner has folded what was appended before, or the checkpoint of a new segment would
        lack it.

        Args:
            events: At least one.
            source: The task that appends.
            time: RFC 3339, UTC, microseconds; now if None.

        Raises:
            LogError: It could not be written (file, line, seq): nothing of it is in the log, and the next append may
                succeed. Unless ``statistics().failure`` is set: then the log must be opened again, and only that tells
                whether the transaction is in it.
            ValueError: There are no events, or the codec or ``time`` gave what the log cannot store.
        """
        self._require_usable()
        events = tuple(events)
        encoded = encode_events(events, self._codec)
        time = timestamp() if time is None else require_time(time)
        self._begin_segment_if_due()
        newest = self._newest
        first_seq = newest.last_seq + 1
        last_seq = newest.last_seq + len(encoded)
        lines = [
            event_line(seq, last_seq, time, source, kind, data) for seq, (kind, data) in enumerate(encoded, first_seq)
        ]
        newest.write(b"".join(lines), len(lines))
        self._appended += len(lines)
        self._transactions += 1
        self._appended_at = self._clock()
        if self._fsync == "always":
            self.sync()
        return Transaction(last_seq, first_seq, time, source, events)

    def read(
        self, *, from_segment: FromSegment = "oldest", until: int | None = None
    ) -> Iterator[Checkpoint | Transaction[E]]:
        """As `read_log`, of this log."""
        return read_log(
            self.path,
            self._codec,
            from_segment=from_segment,
            until=until,
            schema_version=self._schema_version,
            files=self._files,
        )

    def sync(self) -> None:
        """Returns when all that was appended before the call is on the disk. May be called from any thread.

        Raises:
            LogError: The disk did not take it. Nothing can be appended until the log is opened again: the system may have
                dropped what it could not write, and would call the next sync a success.
        """
        with self._durability.lock:
            self._durability.sync(self._newest)

    def sync_if_due(self, now: float) -> float:
        """Syncs if the mode is ``grouped``, something is unsynced and the last sync is a tenth of a second ago.

        Args:
            now: Of a monotonic clock of the caller's, in seconds, the same clock each time.

        Returns:
            Seconds until it should be called again.

        Raises:
            LogError: As `sync`.
        """
        if self._fsync != "grouped" or self._durability.synced_seq == self.last_seq:
            return SYNC_SECONDS
        if wait := self._durability.wait(now):
            return wait
        self.sync()
        return SYNC_SECONDS

    def statistics(self) -> LogStatistics:
        """Figures as of now."""
        now = self._clock()
        durability = self._durability
        return LogStatistics(
            last_seq=self.last_seq,
            segments=len(self._older) + 1,
            octets=sum(segment.octets for segment in self.segments),
            appended=self._appended,
            transactions=self._transactions,
            syncs=durability.syncs,
            sync_seconds=durability.seconds,
            unsynced=self.last_seq - durability.synced_seq,
            seconds_since_append=None if self._appended_at is None else now - self._appended_at,
            seconds_since_sync=None if durability.synced_at is None else now - durability.synced_at,
            failure=self._newest.failure,
        )

    def close(self) -> None:
        """Syncs, and lets others open it. A second call does nothing.

        Raises:
            LogError: The disk did not take the last events; the log is closed all the same.
        """
        if self._closed:
            return
        self._closed = True
        with self._durability.lock:
            try:
                if self._newest.failure is None:
                    self._durability.sync(self._newest)
            finally:
                self._newest.close()
                self._lock.release()

    def _require_usable(self) -> None:
        if self._closed:
            raise self._newest.error("the log is closed")
        if failure := self._newest.failure:
            raise self._newest.error(
                f"nothing can be appended since an earlier failure ({failure}): open the log again"
            )

    def _begin_segment_if_due(self) -> None:
        newest = self._newest
        outdated = newest.header.schema < self._schema_version
        if not outdated and not newest.has_reached(self._segment_octets):
            return
        if newest.last_seq == 0:
            self._begin_segment(b"")
        elif (state := self._checkpoint() if self._checkpoint else None) is not None:
            self._begin_segment(require_object(state, "the checkpoint"))
        elif outdated:
            raise newest.error(
                f"events of schema {self._schema_version} need a segment of their own, "
                "and there is no checkpoint just now to begin it with"
            )

    def _begin_segment(self, state: bytes) -> None:
        before = self._newest
        header = header_after(before, self._schema_version)
        with self._durability.lock:
            # A segment that has a successor is whole and on the disk, in every mode.
            self._durability.sync(before)
            try:
                newest = create_segment(self.path, header, state, self._files)
                if before.path != newest.path:
                    self._older.append(Segment(before.path, before.header, before.octets))
                self._newest = newest
            except SyncFailed as error:
                before.failure = error.reason
                raise
            except LogError:
                raise  # nothing of the new segment is left
            except BaseException as error:
                # If the new segment is there, nothing may be appended to this one.
                before.failure = f"beginning a segment was interrupted ({type(error).__name__})"
                raise
            before.close()
