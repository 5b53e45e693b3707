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
from controlplane.log.lines import encode_events, event_line, require_time, timestamp
from controlplane.log.opening import Opened
from controlplane.log.reading import FromSegment, read_log
from controlplane.log.records import Checkpoint, Codec, E, Transaction
from controlplane.log.segments import CheckpointFunction, Segments
from controlplane.log.writing import Fault, Segment

FsyncMode: TypeAlias = Literal["always", "grouped", "never"]

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
        self._fsync = fsync
        self._schema_version = schema_version
        self._files = files
        self._clock = clock
        self._segments = Segments(
            path,
            checkpoint=checkpoint,
            segment_octets=segment_bytes,
            schema_version=schema_version,
            keeps=fsync != "never",
            files=files,
            clock=clock,
        )
        self.opened: Opened = self._segments.opened
        self._closed = False
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
        return self._segments.newest.last_seq

    @property
    def segments(self) -> tuple[Segment, ...]:
        """All of them, oldest first, with their sizes now."""
        return self._segments.all()

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
                succeed. Unless ``statistics().failure`` is set: then `mend` must succeed first; if the process dies before,
                only opening tells whether the transaction is in the log.
            ValueError: There are no events, or the codec or ``time`` gave what the log cannot store.
        """
        self._require_usable()
        events = tuple(events)
        encoded = encode_events(events, self._codec)
        time = timestamp() if time is None else require_time(time)
        self._segments.begin_if_due()
        newest = self._segments.newest
        first_seq = newest.last_seq + 1
        last_seq = newest.last_seq + len(encoded)
        data = b"".join(
            event_line(seq, last_seq, time, source, kind, data) for seq, (kind, data) in enumerate(encoded, first_seq)
        )
        self._segments.refused_octets = len(data)
        newest.write(data, len(encoded))
        if self._fsync == "always":
            try:
                self.sync()
            except LogError:
                newest.take_back(data, len(encoded))
                raise
        self._segments.refused_octets = 0
        self._appended += len(encoded)
        self._transactions += 1
        self._appended_at = self._clock()
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
            LogError: The disk did not take it. Nothing can be appended until `mend` has succeeded: the system may have
                dropped what it could not write, and would call the next sync a success.
        """
        segments = self._segments
        with segments.durability.lock:
            segments.durability.sync(segments.newest)

    def mend(self) -> None:
        """Sees to it that the log can be appended to, after a failure and without one: nothing that was appended is lost.

        What was written halfway is cut off; what an fsync failed on is written anew from memory; a folder that was removed is
        made again and begins with the state as it is. Where nothing has failed, the disk is asked whether it takes as much as
        it refused last. May be called from any thread, while nothing is being appended and the state is at rest.

        Raises:
            LogError: Not yet. Try again, unless ``statistics().is_final``.
        """
        if not self._closed:
            self._segments.mend()

    def drop_old(
        self, *, max_bytes: int | None, max_age: float | None, keep_seq: int, now: float
    ) -> tuple[Segment, ...]:
        """Drops the oldest segments, whole, never the newest; which those were. May be called from any thread.

        Args:
            max_bytes: Size of all segments from which on the oldest goes; None keeps them for ever.
            max_age: Seconds after its last event after which a segment goes; None as above.
            keep_seq: The state at this seq can still be replayed afterwards.
            now: Seconds since the epoch.

        Raises:
            LogError: One could not be removed; those that were are gone from `segments`.
        """
        return self._segments.drop(max_octets=max_bytes, max_age=max_age, keep_seq=keep_seq, now=now)

    def sync_if_due(self, now: float) -> float:
        """Syncs if the mode is ``grouped``, something is unsynced and the last sync is a tenth of a second ago.

        Args:
            now: Of a monotonic clock of the caller's, in seconds, the same clock each time.

        Returns:
            Seconds until it should be called again.

        Raises:
            LogError: As `sync`.
        """
        durability = self._segments.durability
        if self._fsync == "never" and not self._segments.newest.failure and not self._segments.newest.is_linked:
            self.sync()  # which says that the file was removed
        if self._fsync != "grouped" or durability.synced_seq == self.last_seq:
            return SYNC_SECONDS
        if wait := durability.wait(now):
            return wait
        self.sync()
        return SYNC_SECONDS

    def statistics(self) -> LogStatistics:
        """Figures as of now."""
        now = self._clock()
        segments, durability = self._segments, self._segments.durability
        newest = segments.newest
        return LogStatistics(
            first_seq=segments.all()[0].first_seq,
            last_seq=self.last_seq,
            segments=len(segments.older) + 1,
            octets=sum(segment.octets for segment in segments.all()),
            appended=self._appended,
            transactions=self._transactions,
            syncs=durability.syncs,
            sync_seconds=durability.seconds,
            unsynced=self.last_seq - durability.synced_seq,
            seconds_since_append=None if self._appended_at is None else now - self._appended_at,
            seconds_since_sync=None if durability.synced_at is None else now - durability.synced_at,
            failure=newest.failure,
            is_final=newest.fault is Fault.FINAL,
            segment_failure=segments.failure,
            dropped_segments=segments.dropped[0],
            dropped_octets=segments.dropped[1],
        )

    def close(self) -> None:
        """Syncs, and lets others open it. A second call does nothing.

        Raises:
            LogError: The disk did not take the last events; the log is closed all the same.
        """
        if not self._closed:
            self._closed = True
            self._segments.close()

    def _require_usable(self) -> None:
        newest = self._segments.newest
        if self._closed:
            raise newest.error("the log is closed")
        if newest.failure:
            remedy = "open the log again" if newest.fault is Fault.FINAL else "mend it, or open the log again"
            raise newest.error(f"nothing can be appended since an earlier failure ({newest.failure}): {remedy}")
