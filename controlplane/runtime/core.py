"""The one way in: events to the log, the log's transactions into the graph, commits to whoever listens.

Live and in a replay the same code folds the same transactions; nothing else may change a row.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from time import perf_counter

import anyio
import anyio.lowlevel
import anyio.to_thread
import structlog

from controlplane.krt import Commit, Graph
from controlplane.log import Checkpoint, FromSegment, Log, LogError, Transaction, read_log
from controlplane.model.codec import EventCodec
from controlplane.model.events import SCHEMA_VERSION, AnyEvent
from controlplane.reducers import Fold, declare_state
from controlplane.runtime.checkpoint import (
    CheckpointError,
    History,
    LastComplete,
    decode_checkpoint,
    encode_checkpoint,
)
from controlplane.runtime.untaken import Untaken
from controlplane.sources import Appender
from controlplane.translate import declare_translation

Subscriber = Callable[[Commit], None]

_log = structlog.get_logger(__name__)


class State:
    """The graph and its fold: rows, resources and statuses at one seq."""

    def __init__(self) -> None:
        self.graph = Graph(clock=perf_counter)
        self.rows = declare_state(self.graph)
        self.translation = declare_translation(self.graph, self.rows)
        self._fold = Fold(self.rows.base)
        self.seq = 0
        self.time = ""
        """Of the last transaction."""
        self.untaken = Untaken(self.translation.resources)
        self.untaken_of_clients = Untaken(self.translation.client_resources)
        self.complete = LastComplete()
        """When everything was synced the last time."""

    @property
    def is_complete(self) -> bool:
        """Whether all that is served is made of everything: what gateways share, and what classes of clients get."""
        return self.translation.resources.synced and self.translation.client_resources.synced

    @property
    def was_complete(self) -> bool:
        """Whether everything was synced at some seq up to this one.

        What there was then is still there, if its sources have not changed it: no start takes it away.
        """
        return self.complete.seq > 0

    @property
    def stale_since(self) -> str:
        """The time of the complete state that is served until everything has been read again; empty where none is."""
        row = self.rows.base.incarnation.get("incarnation")
        return row.stale_since if row is not None else ""

    @property
    def may_be_served(self) -> bool:
        """Whether proxies may be answered from this state: it is complete, or stands for the log's last complete one."""
        return self.is_complete or bool(self.stale_since)

    def apply(self, transaction: Transaction[AnyEvent]) -> Commit:
        """Fold one transaction, all at once."""
        tx = self.graph.begin(transaction.seq)
        self._fold.apply(tx, transaction.source, transaction.first_seq, transaction.events)
        commit = tx.commit()
        self._advance(transaction, commit)
        return commit

    async def apply_in_steps(self, transaction: Transaction[AnyEvent], budget: float = 0.02) -> Commit:
        """Fold one transaction and give the event loop its turn every ``budget`` seconds; readers see the state before it."""
        tx = self.graph.begin(transaction.seq)
        self._fold.apply(tx, transaction.source, transaction.first_seq, transaction.events)
        for _ in tx.steps(budget=budget, clock=perf_counter):
            await anyio.lowlevel.checkpoint()
        self._advance(transaction, tx.result)
        return tx.result

    def _advance(self, transaction: Transaction[AnyEvent], commit: Commit) -> None:
        self.seq, self.time = transaction.seq, transaction.time
        if self.is_complete:
            kinds = self.complete.kinds
            if commit.delta(self.rows.base.source_kinds) or not kinds:
                kinds = self._kinds()
            self.complete = LastComplete(self.seq, self.time, kinds)

    def _kinds(self) -> tuple[str, ...]:
        return tuple(sorted({row.key[0] for row in self.rows.base.source_kinds.rows()}))

    def checkpoint(self) -> bytes:
        """The state as the log keeps it at the start of a segment."""
        return encode_checkpoint(self.graph, History(self.time, self.complete))

    def restore(self, data: bytes) -> None:
        """Take up a checkpoint; empty is the state before the first event."""
        restored = decode_checkpoint(self.graph, data)
        if restored is not None:
            checkpoint, history = restored
            self.seq = self.graph.restore(checkpoint).seq
            self.time, self.complete = history.time, history.complete
            if self.is_complete:
                self.complete = LastComplete(self.seq, self.time, self._kinds())

    def take_from(
        self,
        read: Callable[[FromSegment], Iterable[Checkpoint | Transaction[AnyEvent]]],
        listen: Subscriber | None = None,
    ) -> None:
        """Fold a log the shortest way: from its newest checkpoint, or from the oldest if another version made that one.

        Raises:
            CheckpointError: This version can read neither.
        """
        try:
            self.take(read("newest"), listen)
        except CheckpointError as error:
            _log.warning(
                "checkpoint_of_another_version", detail=str(error), remedy="reading the log from its beginning"
            )
            try:
                self.take(read("oldest"), listen)
            except CheckpointError as again:
                text = f"{again}; read this log with the version that wrote it, or move it away and start a new one"
                raise CheckpointError(text) from again

    def take(self, items: Iterable[Checkpoint | Transaction[AnyEvent]], listen: Subscriber | None = None) -> None:
        """Fold what a log holds."""
        for item in items:
            if isinstance(item, Checkpoint):
                self.restore(item.data)
                continue
            commit = self.apply(item)
            if listen is not None:
                listen(commit)

    def take_with_memory(self, read: Callable[[FromSegment], Iterable[Checkpoint | Transaction[AnyEvent]]]) -> None:
        """As ``take_from``, and what no proxy was seen to take is remembered.

        Raises:
            CheckpointError: This version can read neither.
        """

        def listen(commit: Commit) -> None:
            for untaken in (self.untaken, self.untaken_of_clients):
                for old, new in commit.delta(self.rows.base.proxies).values():
                    if new is not None and (old is None or new.acknowledged > old.acknowledged):
                        untaken.take(new.gateway, new.acknowledged)
                untaken.listen(commit)

        self.take_from(read, listen)


def replay(path: Path, until: int | None = None, listen: Subscriber | None = None) -> State:
    """The state that a log gives.

    Args:
        path: The log's folder.
        until: Stop after the last transaction that is whole at this seq; None reads all.
        listen: Called with each commit.

    Raises:
        LogError: The log is damaged, or does not reach back to ``until``.
    """
    state = State()

    def read(start: FromSegment) -> Iterable[Checkpoint | Transaction[AnyEvent]]:
        return read_log(path, EventCodec(), from_segment=start, until=until, schema_version=SCHEMA_VERSION)

    if listen is None:
        state.take_from(read)
    else:
        state.take(read("oldest"), listen)
    return state


class Core:
    """State with a log before it: the one writer."""

    def __init__(self, log: Log[AnyEvent], state: State) -> None:
        self.log = log
        self.state = state
        self.refusal = ""
        """Why the last append failed; empty where it did not."""
        self._turn = anyio.Lock()
        self._subscribers: list[Subscriber] = []

    def subscribe(self, subscriber: Subscriber) -> None:
        """Call ``subscriber`` with every commit from now on, in order, right after it is published."""
        self._subscribers.append(subscriber)

    async def append(self, source: str, events: Sequence[AnyEvent]) -> int:
        """Append events as one transaction, fold and publish it.

        Returns:
            The transaction's seq. The events are written, not necessarily synced, when this returns.

        Raises:
            LogError: The log cannot be written; nothing was folded.
        """
        if not events:
            return self.state.seq
        async with self._turn:
            try:
                transaction = await self._write(source, events)
            except LogError as error:
                self.refusal = str(error)
                raise
            self.refusal = ""
            # A transaction that is in the log must be folded: a cancelled caller waits for that.
            with anyio.CancelScope(shield=True):
                commit = await self.state.apply_in_steps(transaction)
            for failure in commit.failures:
                _log.error("reducer_failed", node=failure.node, key=failure.key, error=failure.message, seq=commit.seq)
            for subscriber in self._subscribers:
                try:
                    subscriber(commit)
                except Exception:  # noqa: BLE001
                    # The commit stands, and the others are to hear of it.
                    _log.exception("subscriber_failed", seq=commit.seq)
            return transaction.seq

    async def _write(self, source: str, events: Sequence[AnyEvent]) -> Transaction[AnyEvent]:
        try:
            return self.log.append(events, source=source)
        except LogError:
            if not self.log.statistics().failure:
                raise
        await anyio.to_thread.run_sync(self.log.mend)
        return self.log.append(events, source=source)

    async def mend(self) -> None:
        """See to it that the log can be appended to; ``refusal`` says whether it can.

        Raises:
            LogError: Not yet.
        """
        async with self._turn:
            try:
                await anyio.to_thread.run_sync(self.log.mend)
            except LogError as error:
                self.refusal = str(error)
                raise
            self.refusal = ""

    @asynccontextmanager
    async def settled(self) -> AsyncIterator[State]:
        """The state while no commit is under way; none begins before the block ends."""
        async with self._turn:
            yield self.state

    def appender(self, source: str) -> Appender:
        """The way in for one source."""

        async def append(events: Sequence[AnyEvent]) -> None:
            await self.append(source, events)

        return append
