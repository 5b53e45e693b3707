"""Which events are durable, and when the others are due. The only part of the log that two threads may use at once."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock

from controlplane.log.interface import SYNC_SECONDS
from controlplane.log.writing import SegmentWriter, SyncFailed


class Durability:
    """How far a log is on the disk.

    Attributes:
        lock: Held while a segment is being synced, so that it is not closed under it. `sync` expects it held.
        synced_seq: Everything up to this seq survives a power failure.
        syncs: How many there were.
        seconds: How long they took.
        synced_at: When the last one ended, on the log's clock; None before the first.
    """

    def __init__(self, synced_seq: int, clock: Callable[[], float]) -> None:
        self.lock = Lock()
        self.synced_seq = synced_seq
        self.syncs = 0
        self.seconds = 0.0
        self.synced_at: float | None = None
        self._clock = clock
        self._due = float("-inf")

    def sync(self, segment: SegmentWriter) -> None:
        """Makes the newest segment durable.

        Raises:
            SyncFailed: Now or earlier: a second fsync would be told that all is well.
        """
        if segment.failure:
            raise SyncFailed(f"nothing can be synced since an earlier failure ({segment.failure})", file=segment.path)
        seq = segment.last_seq  # what is appended while the disk works is left to the next sync
        if seq == self.synced_seq:
            return
        started = self._clock()
        segment.sync()
        self.synced_at = self._clock()
        self.synced_seq = seq
        self.syncs += 1
        self.seconds += self.synced_at - started

    def wait(self, now: float) -> float:
        """Seconds until the next grouped sync may be; 0 means now, and makes the one after it due `SYNC_SECONDS` later."""
        if now < self._due:
            return self._due - now
        self._due = now + SYNC_SECONDS
        return 0.0
