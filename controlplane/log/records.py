"""What a log is read as. State exists only at a transaction's end, so a transaction is the unit, not the event."""

from __future__ import annotations

from typing import Generic, Protocol, TypeVar

import msgspec

E = TypeVar("E")
E_co = TypeVar("E_co", covariant=True)


class Codec(Protocol[E]):
    """How events become bytes. The log stores them and looks at nothing inside."""

    def encode(self, event: E) -> tuple[str, bytes]:
        """The event's type and its JSON object, without a raw newline (any compact encoder's output)."""

    def decode(self, type: str, data: bytes) -> E:  # noqa: A002 (the word of the log's lines)
        """The event that ``encode`` was given.

        Raises:
            LookupError: The type is unknown; the reader turns it into `UnknownEventType`.
            ValueError: ``data`` is not an event of that type; the reader turns it into `LogError`.
        """


class Record(msgspec.Struct, Generic[E_co], frozen=True):
    """One event as the log has it."""

    seq: int
    """Position in the log: 1, 2, 3, no gaps."""
    transaction: int
    """Last seq of the events that were appended with it."""
    time: str
    """When it was appended: RFC 3339, UTC, microseconds. Follows the wall clock, so it may step back; seq never does."""
    source: str
    """The task that appended it."""
    event: E_co


class Transaction(msgspec.Struct, Generic[E_co], frozen=True):
    """The events that were appended together; all of them are in the log, or none."""

    seq: int
    """Its name: the seq of its last event."""
    first_seq: int
    """The seq of its first event."""
    time: str
    """As `Record.time`; one for all its events."""
    source: str
    """The task that appended it."""
    events: tuple[E_co, ...]
    """In the order of their seqs, never empty."""

    def records(self) -> tuple[Record[E_co], ...]:
        """Its events one by one, with their seqs."""
        return tuple(
            Record(seq, self.seq, self.time, self.source, event)
            for seq, event in enumerate(self.events, self.first_seq)
        )


class Checkpoint(msgspec.Struct, frozen=True):
    """The state after everything up to a seq, as the writer's ``checkpoint`` callable gave it."""

    seq: int
    """Last seq that is in the state; 0 at the start of the log."""
    data: bytes
    """A JSON object; empty bytes if and only if ``seq`` is 0."""
