"""The scheduler: carries one transaction through the graph.

It walks the collections that the transaction's changes reach, lowest rank first. A collection's rank is its position in the
declaration, and it reads lower ranks only; so when its turn comes, all that it can read is final. That is why no function ever
sees a state that never was, and why no key has to run twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from heapq import heappop, heappush
from typing import Any

from controlplane.krt.collection import Collection, State
from controlplane.krt.commit import Commit
from controlplane.krt.failure import Failure
from controlplane.krt.index import Index
from controlplane.krt.keys import Key
from controlplane.krt.map import Singleton
from controlplane.krt.rows import Row
from controlplane.krt.source import Source

Writes = Mapping[Source[Any], Mapping[Key, Row | None]]
_OVER = object()


class Propagation:
    """Of one graph; used once a transaction."""

    def __init__(self, state: State, nodes: Sequence[Collection[Any]], clock: Callable[[], float] | None) -> None:
        self._state = state
        self._nodes = nodes
        self._clock = clock
        self._queue: list[int] = []

    def carry(
        self, seq: int, writes: Writes, synced: Mapping[Source[Any], bool], publish: Callable[[Commit], None]
    ) -> Iterator[None]:
        """Carry writes through the graph, then publish all of it at once; a yield ends a unit of work.

        An exception that comes out of here is the engine's own, since what functions raise is a failure of theirs. It leaves
        the collections half-way, so it ends the use of the graph.
        """
        state, nodes, queue = self._state, self._nodes, self._queue
        try:
            for source, pending in writes.items():
                if pending:
                    source._pending = pending
                    self._enqueue(source)
            first = not state.started
            if first:
                state.started = True
                for node in nodes:
                    if isinstance(node, Singleton):
                        self._enqueue(node)
            advanced: list[Collection[Any]] = []
            runs: dict[str, int] = {}
            while queue:
                node = nodes[heappop(queue)]
                node._queued = False
                before = node._runs
                work = node._advance(seq) if self._clock is None else self._timed(node, seq, self._clock)
                state.running = True
                for _ in work:
                    state.running = False
                    yield
                    state.running = True
                state.running = False
                advanced.append(node)
                if node._runs != before:
                    runs[node.name] = node._runs - before
                if node._delta:
                    for dependent in node._dependents:
                        self._enqueue(dependent)
            changed_sync = self._follow_sync(synced) if synced or first else ((), ())
            state.seq = seq
            publish(_published(seq, advanced, runs, *changed_sync))
        except BaseException:
            state.broken = seq
            state.running = False
            raise

    def _enqueue(self, node: Collection[Any]) -> None:
        if not node._queued:
            node._queued = True
            heappush(self._queue, node._rank)

    def _timed(self, node: Collection[Any], seq: int, clock: Callable[[], float]) -> Iterator[None]:
        work = node._advance(seq)
        over = False
        while not over:
            began = clock()
            over = next(work, _OVER) is _OVER
            node._seconds += clock() - began
            yield

    def _follow_sync(self, marked: Mapping[Source[Any], bool]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Bring ``synced`` up to date; who has become so, and who is not any more, in declaration order."""
        gained: list[str] = []
        lost: list[str] = []
        for node in self._nodes:
            if isinstance(node, Source):
                synced = marked.get(node, node._synced)
            else:
                synced = all((read.collection if isinstance(read, Index) else read)._synced for read in node.inputs)
            if synced != node._synced:
                node._synced = synced
                (gained if synced else lost).append(node.name)
        return tuple(gained), tuple(lost)


def _published(
    seq: int,
    advanced: Sequence[Collection[Any]],
    runs: Mapping[str, int],
    newly_synced: tuple[str, ...],
    newly_unsynced: tuple[str, ...],
) -> Commit:
    """Show the new state of every collection that was advanced, and say what is new in it."""
    deltas: dict[str, Mapping[Key, tuple[Row | None, Row | None]]] = {}
    failures: list[Failure] = []
    cleared: list[Failure] = []
    for node in advanced:
        if node._delta:
            deltas[node.name] = node._delta
        began, ended = node._publish()
        failures += began
        cleared += ended
    return Commit(seq, deltas, newly_synced, newly_unsynced, tuple(failures), tuple(cleared), runs)
