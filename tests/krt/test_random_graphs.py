"""Random graphs, random edits: whatever happens, a graph is what it would be from scratch, and nobody ever saw anything else."""

from __future__ import annotations

import os
import random
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from krt_random import KEYS, draw, random_item
from krt_watch import Watched

from controlplane.krt import Commit, Transaction

LONG = os.environ.get("CONTROLPLANE_LONG") == "1"
PHASES = (Phase.reuse, Phase.generate, Phase.shrink)  # without "explain", which takes minutes to say little
# Seeds rather than st.randoms(): that one draws small graphs with few edits, where little can go wrong.
RANDOMS = st.integers(0, 2**32 - 1).map(random.Random)


class Machine(RuleBasedStateMachine):
    """Two graphs at most: one that has lived through everything, and one that was restored from it on the way."""

    @initialize(rng=RANDOMS, nodes=st.integers(2, 12))
    def declare(self, rng: Any, nodes: int) -> None:
        self.watched = Watched(draw(rng, nodes))
        self.copy: Watched | None = None
        self.seq = 0

    def _write(self, watched: Watched, edits: list[tuple[int, str, Any]]) -> Transaction:
        tx = watched.graph.begin(self.seq)
        for source, action, what in edits:
            target = watched.built.sources[source]
            match action:
                case "put":
                    tx.put(target, what)
                    assert tx.get(target, what.key) == what
                case "delete":
                    tx.delete(target, what)
                    assert tx.get(target, what) is None
                case "sync":
                    tx.mark_synced(target)
                case "unsync":
                    tx.mark_unsynced(target)
        return tx

    def _draw_edits(self, rng: Any, count: int) -> list[tuple[int, str, Any]]:
        edits: list[tuple[int, str, Any]] = []
        for _ in range(count):
            source = rng.randrange(2)
            match rng.randrange(10):
                case 0 | 1 | 2:
                    edits.append((source, "delete", rng.choice(KEYS)))
                case 3:
                    edits.append((source, rng.choice(("sync", "sync", "unsync")), None))
                case _:
                    edits.append((source, "put", random_item(rng)))
        return edits

    def _commit(self, edits: list[tuple[int, str, Any]]) -> Commit:
        commit = self._write(self.watched, edits).commit()
        self.watched.check(commit)
        if self.copy is not None:
            other = self._write(self.copy, edits).commit()
            self.copy.check(other)
            assert other == commit, "the restored graph went on differently"
        return commit

    @rule(rng=RANDOMS, count=st.integers(0, 6), skip=st.integers(1, 3))
    def change(self, rng: Any, count: int, skip: int) -> None:
        """A transaction of some edits."""
        self.seq += skip
        self._commit(self._draw_edits(rng, count))

    @rule(rng=RANDOMS, count=st.integers(1, 6))
    def change_in_steps(self, rng: Any, count: int) -> None:
        """The same, a step at a time: outside, nothing has happened until the last one."""
        self.seq += 1
        edits = self._draw_edits(rng, count)
        tx = self._write(self.watched, edits)
        for _ in tx.steps(0, lambda: 0.0):
            self.watched.check_outside()
        self.watched.check(tx.result)
        if self.copy is not None:
            other = self._write(self.copy, edits).commit()
            self.copy.check(other)
            assert other == tx.result, "steps gave something else than no steps"

    @rule(rng=RANDOMS, count=st.integers(1, 4))
    def change_nothing(self, rng: Any, count: int) -> None:
        """A transaction that is aborted, and one that writes what is there."""
        self.seq += 1
        self._write(self.watched, self._draw_edits(rng, count)).abort()
        self.watched.check_outside()
        is_first = self.watched.graph.seq == 0
        commit = self._commit([(i, "put", row) for i in range(2) for row in self.watched.built.sources[i].rows()])
        # Singletons, and what follows from them, run in the first transaction whatever that writes.
        assert is_first or not (commit.deltas or commit.failures or commit.cleared or self.watched.last_ran)

    @rule()
    def restore(self) -> None:
        """A checkpoint holds all that there is."""
        self.copy = self.watched.restored()
        self.watched.equals(self.copy)
        assert self.copy.graph.checkpoint() == self.watched.graph.checkpoint()

    @rule()
    def go_on_with_the_copy(self) -> None:
        """Leave the graph that has lived through everything for the one that was restored."""
        if self.copy is not None:
            self.watched, self.copy = self.copy, None

    @rule(rng=RANDOMS)
    def from_scratch(self, rng: Any) -> None:
        """Incremental equals from-scratch, whatever the order of insertion; rows that failed keys have kept are exempt."""
        if self.watched.graph.seq == 0:
            return
        fresh = self.watched.fresh(rng)
        self.watched.equals(fresh, but=self.watched.tainted(self.watched.graph.checkpoint()))

    @invariant()
    def explanations_end_at_sources(self) -> None:
        if not hasattr(self, "watched"):
            return
        for node in self.watched.built.nodes:
            for row in node.rows()[:1]:
                explanation = self.watched.graph.explain(node.name, row.key)
                assert explanation.changed_seq is not None
                assert explanation.changed_seq <= self.watched.graph.seq
                assert explanation.as_dict()["collection"] == node.name


Machine.TestCase.settings = settings(
    max_examples=2000 if LONG else 120,
    stateful_step_count=20,
    deadline=None,
    phases=PHASES,
    derandomize=not LONG,
    suppress_health_check=list(HealthCheck),
)
TestRandomGraphs = Machine.TestCase
