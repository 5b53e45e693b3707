"""The log without a disk, for tests and for commands that run once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Generic

from controlplane.log.errors import LogError
from controlplane.log.interface import SYNC_SECONDS, LogStatistics
from controlplane.log.lines import encode_events, require_time, timestamp
from controlplane.log.reading import FromSegment
from controlplane.log.records import Checkpoint, Codec, E, Transaction


class MemoryLog(Generic[E]):
    """A log that is gone with its process, and grows until then.

    Args:
        codec: Encodes and decodes the events.
        keep: False forgets each transaction at once, for a process that runs for ever and is never read back.
        after: The last seq of a log that this one goes on from.

    Events are kept as the codec's bytes and decoded anew by each reader, as from a disk: what does not survive the codec
    does not survive here either.
    """

    def __init__(self, codec: Codec[E], *, keep: bool = True, after: int = 0) -> None:
        self._codec = codec
        self._keep = keep
        self._transactions: list[tuple[int, str, str, list[tuple[str, bytes]]]] = []
        self._after = after
        self._last_seq = after
        self._octets = 0
        self._closed = False

    @property
    def last_seq(self) -> int:  # noqa: D102 (Log has it)
        return self._last_seq

    def append(self, events: Iterable[E], *, source: str, time: str | None = None) -> Transaction[E]:  # noqa: D102
        if self._closed:
            raise LogError("the log is closed", seq=self._last_seq + 1)
        events = tuple(events)
        encoded = encode_events(events, self._codec)
        time = timestamp() if time is None else require_time(time)
        first_seq = self._last_seq + 1
        self._last_seq += len(events)
        self._octets += sum(len(data) for _, data in encoded)
        if self._keep:
            self._transactions.append((first_seq, time, source, encoded))
        return Transaction(self._last_seq, first_seq, time, source, events)

    def read(  # noqa: D102
        self, *, from_segment: FromSegment = "oldest", until: int | None = None
    ) -> Iterator[Checkpoint | Transaction[E]]:
        yield Checkpoint(self._after, b"")
        for first_seq, time, source, encoded in list(self._transactions):
            last_seq = first_seq + len(encoded) - 1
            if until is not None and last_seq > until:
                return
            events = tuple(self._codec.decode(kind, data) for kind, data in encoded)
            yield Transaction(last_seq, first_seq, time, source, events)

    def sync(self) -> None:
        """Does nothing: there is nothing to survive."""

    def sync_if_due(self, now: float) -> float:
        """Does nothing; asks to be called again in a tenth of a second."""
        return SYNC_SECONDS

    def mend(self) -> None:
        """Does nothing: there is nothing that fails."""

    def statistics(self) -> LogStatistics:  # noqa: D102
        return LogStatistics(
            first_seq=self._after + 1,
            last_seq=self._last_seq,
            segments=1,
            octets=self._octets,
            appended=self._last_seq - self._after,
            transactions=len(self._transactions),
            syncs=0,
            sync_seconds=0.0,
            unsynced=self._last_seq - self._after,
            seconds_since_append=None,
            seconds_since_sync=None,
            failure=None,
        )

    def close(self) -> None:  # noqa: D102
        self._closed = True
