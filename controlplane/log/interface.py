"""What every log can do, wherever it keeps its events."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, Protocol

import msgspec

from controlplane.log.reading import FromSegment
from controlplane.log.records import Checkpoint, E, Transaction

SYNC_SECONDS: Final = 0.1
"""Longest time between two grouped syncs while there is something to sync."""


class LogStatistics(msgspec.Struct, frozen=True):
    """Figures of a log, for metrics and readiness. Counters begin at 0 when the log is opened."""

    first_seq: int
    """Seq of the first event that is still there, or would be."""
    last_seq: int
    """Seq of the last event; 0 in an empty log."""
    segments: int
    """Files on the disk, or 1."""
    octets: int
    """Of all segments, checkpoints included."""
    appended: int
    """Events appended."""
    transactions: int
    """Transactions appended."""
    syncs: int
    """Syncs that were done."""
    sync_seconds: float
    """Time that all of them took."""
    unsynced: int
    """Events that a power failure could lose now."""
    seconds_since_append: float | None
    """None if nothing was appended."""
    seconds_since_sync: float | None
    """None if there was none."""
    failure: str | None
    """Why the log refuses to append until it is mended; None if it does not."""
    is_final: bool = False
    """Whether mending is of no use: the log must be opened again."""
    segment_failure: str | None = None
    """Why the newest segment is longer than it should be: the next one could not be begun; None if it could."""
    dropped_segments: int = 0
    """Segments that `drop_old` has dropped."""
    dropped_octets: int = 0
    """Their size."""


class Log(Protocol[E]):
    """The one way in: what is appended here is a fact, in this order."""

    @property
    def last_seq(self) -> int:
        """Seq of the last event; 0 in an empty log."""

    def append(self, events: Iterable[E], *, source: str, time: str | None = None) -> Transaction[E]:
        """Makes the events one transaction at the log's end."""

    def read(
        self, *, from_segment: FromSegment = "oldest", until: int | None = None
    ) -> Iterator[Checkpoint | Transaction[E]]:
        """As `read_log`."""

    def sync(self) -> None:
        """Returns when all that was appended before survives a power failure."""

    def sync_if_due(self, now: float) -> float:
        """Does the grouped sync if it is time for it; in how many seconds to call again."""

    def mend(self) -> None:
        """Sees to it that the log can be appended to; raises LogError where it cannot just now."""

    def statistics(self) -> LogStatistics:
        """Figures as of now."""

    def close(self) -> None:
        """Ends it, synced; a second call does nothing."""
