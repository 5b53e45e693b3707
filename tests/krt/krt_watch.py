"""Watches a random graph from outside: what must hold after each commit, whatever it was."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any

from krt_random import Built, Item, NodeSpec, Oracle, Read, Run

from controlplane.krt import Checkpoint, Commit, Failure
from controlplane.krt.map import Computed

State = dict[str, dict[Any, Any]]


class Watched:
    """A graph, and the state that its commits add up to."""

    def __init__(self, specs: tuple[NodeSpec, ...]) -> None:
        self.built = Built(specs)
        self.graph = self.built.graph
        self.state: State = {node.name: {} for node in self.built.nodes}
        self.failures: dict[tuple[str, Any, str], Failure] = {}
        self.synced: set[str] = set()
        self.last_ran: set[tuple[str, Any]] = set()
        self.restored_at: int | None = None
        self.last_reads: dict[tuple[str, Any], Run] = {}
        self.claims: dict[tuple[str, Any], tuple[Any, ...]] = {}

    def check(self, commit: Commit) -> None:
        """Everything that one commit must keep."""
        before = {name: dict(rows) for name, rows in self.state.items()}
        self._check_deltas(commit)
        self._check_rows(self.state)
        self._check_failures(commit)
        self._check_runs(commit, before)
        self._check_kept()
        self._check_dependencies()
        self.synced |= set(commit.newly_synced)
        self.synced -= set(commit.newly_unsynced)
        assert self.synced == {node.name for node in self.built.nodes if node.synced}

    def _check_deltas(self, commit: Commit) -> None:
        names = [node.name for node in self.built.nodes]
        assert list(commit.deltas) == [name for name in names if name in commit.deltas]
        for name, delta in commit.deltas.items():
            assert delta
            assert list(delta) == sorted(delta, key=lambda key: (isinstance(key, tuple), key))
            rows = self.state[name]
            for key, (old, new) in delta.items():
                assert old != new, (name, key, old)
                assert old == rows.get(key), f"{name} {key}: the chain is broken"
                if new is None:
                    del rows[key]
                else:
                    assert new.key == key
                    rows[key] = new

    def check_outside(self) -> None:
        """What readers outside see is the state of the last commit that was checked."""
        self._check_rows(self.state)
        assert {(f.node, f.key, f.message): f for f in self.graph.failures()} == self.failures

    def _check_rows(self, state: State) -> None:
        oracle = Oracle(state)
        for node, index in zip(self.built.nodes, self.built.indexes, strict=True):
            rows = tuple(oracle.rows(node.name))
            assert node.rows() == rows
            assert len(node) == len(rows)
            for row in rows:
                assert node.get(row.key) == row
            assert node.get("nobody") is None
            for tag in ("red", "green", "blue", "extra"):
                assert index.get(tag) == oracle.under(node.name, tag)

    def _check_failures(self, commit: Commit) -> None:
        def name(failure: Failure) -> tuple[str, Any, str]:
            return failure.node, failure.key, failure.message

        now = {name(failure): failure for failure in self.graph.failures()}
        assert set(commit.failures) == set(now.values()) - set(self.failures.values())
        ended = {(f.node, f.key) for f in self.failures.values()} - {(f.node, f.key) for f in now.values()}
        assert {(f.node, f.key) for f in commit.cleared} >= ended
        assert all(self.failures[name(failure)] == failure for failure in commit.cleared)
        self.failures = now

    def _check_runs(self, commit: Commit, before: State) -> None:
        """No torn read, nothing run twice, nothing run in vain, nothing left out."""
        oracle = Oracle(self.state)
        runs, self.built.runs = self.built.runs, []
        keys = [(run.node, run.key) for run in runs]
        assert len(set(keys)) == len(keys), "a key ran twice"
        order = {node.name: rank for rank, node in enumerate(self.built.nodes)}
        assert keys == sorted(keys, key=lambda k: (order[k[0]], isinstance(k[1], tuple), k[1])), "out of order"
        for run in runs:
            for read in run.reads:
                assert read.answer == oracle.answer(read), f"{run.node} {run.key} has seen a torn {read}"
        ran = set(keys)
        for spec, node in zip(self.built.specs, self.built.nodes, strict=True):
            if not isinstance(node, Computed):
                continue
            primary = self.built.nodes[spec.inputs[0]].name if spec.kind == "map" else None
            inputs = set(self.state[primary]) if primary else {node.name}
            for key in inputs:
                last = self.last_reads.get((node.name, key))
                changed = primary is not None and before[primary].get(key) != self.state[primary][key]
                must = last is None or changed or any(r.answer != oracle.answer(r) for r in last.reads)
                if must:
                    assert (node.name, key) in ran, f"{node.name} {key} should have run"
                elif (node.name, key) in ran:
                    assert last is not None
                    assert any(self._touched(r, commit) for r in last.reads), f"{node.name} {key} ran in vain"
            for name, key in list(self.last_reads):
                if name == node.name and key not in inputs:
                    del self.last_reads[name, key]
            assert commit.runs.get(node.name, 0) == sum(1 for name, _ in ran if name == node.name)
        self.last_ran = ran
        self.last_reads.update(((run.node, run.key), run) for run in runs)

    @staticmethod
    def _touched(read: Read, commit: Commit) -> bool:
        """A view of an index value compares rows one by one, so rows that trade places may mark its reader."""
        return read.how == "by_view" and read.target in commit.deltas

    def _check_kept(self) -> None:
        """An input that fails still gives what it gave last, whoever has those keys now."""
        claims: dict[tuple[str, Any], tuple[Any, ...]] = {}
        for spec, node in zip(self.built.specs, self.built.nodes, strict=True):
            if isinstance(node, Computed):
                inputs = self.state[self.built.nodes[spec.inputs[0]].name] if spec.kind == "map" else (node.name,)
                for key in inputs:
                    claims[node.name, key] = tuple(node._claims.rows_of(key))
                for key in node._raised if self.graph.seq != self.restored_at else ():
                    assert claims[node.name, key] == self.claims.get((node.name, key), ())
        self.claims = claims

    def _check_dependencies(self) -> None:
        """The reverse map is the map of the last runs, turned round: nothing left over, nothing missing."""
        for node in self.built.nodes:
            if not isinstance(node, Computed):
                continue
            wanted: dict[Any, dict[Any, set[Any]]] = {table: {} for table in node._fetch._tables}
            for key, tokens in node._tokens_of.items():
                for table, token in zip(tokens[::2], tokens[1::2], strict=True):
                    wanted[table].setdefault(token, set()).add(key)
            for table, readers in wanted.items():
                held = {token: set(keys) if type(keys) is set else {keys} for token, keys in table.readers.items()}
                assert held == readers
                if not readers:
                    assert not getattr(table, "anchored", None)
            assert node.statistics().tokens == sum(map(len, wanted.values()))

    def fresh(self, rng: random.Random) -> Watched:
        """The same graph from scratch, from the sources' rows in random order."""
        other = Watched(self.built.specs)
        tx = other.graph.begin(self.graph.seq)
        writes = [(i, row) for i, source in enumerate(self.built.sources) for row in source.rows()]
        rng.shuffle(writes)
        for i, row in writes:
            tx.put(other.built.sources[i], row)
        for mine, theirs in zip(self.built.sources, other.built.sources, strict=True):
            if mine.synced:
                tx.mark_synced(theirs)
        other.check(tx.commit())
        return other

    def restored(self) -> Watched:
        """The same graph from a checkpoint."""
        other = Watched(self.built.specs)
        other.restored_at = self.graph.seq
        commit = other.graph.restore(self.graph.checkpoint())
        if self.graph.seq:
            other.check(commit)
        return other

    def equals(self, other: Watched, *, but: Iterable[str] = ()) -> None:
        """Every collection, its failures and its sync are the same."""
        left_out = set(but)
        for name, rows in self.state.items():
            if name not in left_out:
                assert rows == other.state[name], name
        mine = {key: f for key, f in self.failures.items() if f.node not in left_out}
        theirs = {key: f for key, f in other.failures.items() if f.node not in left_out}
        assert mine == theirs
        assert self.synced == other.synced

    def tainted(self, checkpoint: Checkpoint) -> set[str]:
        """Collections that hold kept rows, or may have seen some."""
        found = set(checkpoint.kept)
        for node in self.built.nodes:
            if any(getattr(read, "collection", read).name in found for read in node.inputs):
                found.add(node.name)
        return found


__all__ = ["Item", "Watched"]
