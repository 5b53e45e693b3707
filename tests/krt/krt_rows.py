"""Rows and graphs that many tests of the engine use."""

from __future__ import annotations

from typing import Any

import msgspec

from controlplane.krt import Commit, Graph, Selector, Source


class Pod(msgspec.Struct, frozen=True):
    key: str
    node: str = "n1"
    ip: str = "10.0.0.1"
    namespace: str = "default"
    labels: dict[str, str] = {}


class Service(msgspec.Struct, frozen=True):
    key: str
    wants: str = ""
    namespace: str = "default"
    selector: Selector | None = None


class Text(msgspec.Struct, frozen=True):
    key: str | tuple[Any, ...]
    text: str = ""


class Driver:
    """Writes transactions with ever greater seqs."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph

    def write(self, *writes: tuple[Source[Any], Any]) -> Commit:
        """One transaction: rows are put, keys are deleted, True and False mark synced and unsynced."""
        tx = self.graph.begin(self.graph.seq + 1)
        for source, what in writes:
            if isinstance(what, msgspec.Struct):
                tx.put(source, what)
            elif what is True:
                tx.mark_synced(source)
            elif what is False:
                tx.mark_unsynced(source)
            else:
                tx.delete(source, what)
        return tx.commit()


def keys(commit: Commit, name: str) -> dict[Any, str]:
    """What happened to each key of a collection: ``+`` added, ``-`` removed, ``~`` changed; in the commit's order."""
    return {
        key: "+" if old is None else "-" if new is None else "~"
        for key, (old, new) in commit.deltas.get(name, {}).items()
    }
