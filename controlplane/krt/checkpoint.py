"""Checkpoints: the state of a graph in as few rows as it can be rebuilt from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from controlplane.krt.collection import Collection
from controlplane.krt.commit import Commit
from controlplane.krt.errors import GraphError
from controlplane.krt.keys import Key, ordered
from controlplane.krt.rows import Row
from controlplane.krt.source import Source

if TYPE_CHECKING:
    from controlplane.krt.graph import Graph


class Checkpoint(msgspec.Struct, frozen=True):
    """What a graph cannot compute again: its sources, and the rows that failed keys have kept."""

    seq: int
    sources: Mapping[str, Mapping[Key, tuple[Row, int]]]
    """By source in declaration order, then by key, sorted: the row, and the seq of its last change."""
    kept: Mapping[str, Mapping[Key, tuple[Row, ...]]]
    """By collection in declaration order, then by the input key that fails now: the rows of its last good run. For a group or a
    count it is the one member row that it still goes by. ``Collection.kept_type`` is the rows' type."""
    synced: tuple[str, ...]
    """The sources that are synced, in declaration order."""


def take_checkpoint(seq: int, nodes: Sequence[Collection[Any]]) -> Checkpoint:
    """The state of a graph at rest."""
    sources: dict[str, Mapping[Key, tuple[Row, int]]] = {}
    kept: dict[str, Mapping[Key, tuple[Row, ...]]] = {}
    for node in nodes:
        if isinstance(node, Source):
            sources[node.name] = {key: (node._rows[key], node._changed[key]) for key in ordered(node._rows)}
        elif rows := node._kept():
            kept[node.name] = rows
    synced = tuple(node.name for node in nodes if isinstance(node, Source) and node.synced)
    return Checkpoint(seq, sources, kept, synced)


def restore_checkpoint(graph: Graph, checkpoint: Checkpoint) -> Commit:
    """Fill a graph that has not started."""
    sources = {name: _source(graph, name) for name in (*checkpoint.sources, *checkpoint.synced)}
    for name, kept in checkpoint.kept.items():
        graph.collection(name)._carry(kept)
    if checkpoint.seq == 0:
        return Commit(0, {}, (), (), (), (), {})
    tx = graph.begin(checkpoint.seq)
    for name, rows in checkpoint.sources.items():
        for row, _ in rows.values():
            tx.put(sources[name], row)
    for name in checkpoint.synced:
        tx.mark_synced(sources[name])
    commit = tx.commit()
    for name, rows in checkpoint.sources.items():
        sources[name]._changed.update((key, seq) for key, (_, seq) in rows.items())
    for node in graph.collections:
        node._carry({})
    return commit


def _source(graph: Graph, name: str) -> Source[Any]:
    found = graph.collection(name)
    if not isinstance(found, Source):
        raise GraphError(f"the checkpoint has a source {name}, which is a {found.kind} here")
    return found
