"""Checkpoints of the graph as JSON, so that a log can be read from the start of any segment."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import msgspec

from controlplane.krt import Checkpoint, Graph
from controlplane.runtime.errors import ControlPlaneError


class CheckpointError(ControlPlaneError):
    """A checkpoint that this version cannot read; the events after an older one may still do."""


class LastComplete(msgspec.Struct, frozen=True, omit_defaults=True):
    """The last moment at which everything had been read, whatever has been lost since."""

    seq: int = 0
    """Of the last transaction then; 0 if there was none."""
    time: str = ""
    """Of that transaction, as the log has it."""
    kinds: tuple[str, ...] = ()
    """Kinds that some source had read, sorted."""


class History(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a state knows of its past that no row says."""

    time: str = ""
    """Of the last transaction; empty in a checkpoint of a version that did not keep it."""
    complete: LastComplete = LastComplete()


def encode_checkpoint(graph: Graph, history: History) -> bytes:
    """Every base row with the seq that changed it, the rows kept for failed keys, and the history. Deterministic."""
    checkpoint = graph.checkpoint()
    document = {
        "seq": checkpoint.seq,
        "history": history,
        "synced": checkpoint.synced,
        "sources": {name: list(rows.values()) for name, rows in checkpoint.sources.items()},
        "kept": {name: [[key, list(rows)] for key, rows in by_key.items()] for name, by_key in checkpoint.kept.items()},
    }
    return msgspec.json.encode(document, order="deterministic")


@lru_cache
def _decoder(row: type) -> msgspec.json.Decoder[list[tuple[Any, int]]]:
    return msgspec.json.Decoder(list[tuple[row, int]])  # type: ignore[valid-type]


@lru_cache
def _kept_decoder(row: type) -> msgspec.json.Decoder[list[tuple[Any, list[Any]]]]:
    return msgspec.json.Decoder(list[tuple[Any, list[row]]])  # type: ignore[valid-type]


class _Encoded(msgspec.Struct):
    seq: int
    synced: list[str]
    sources: dict[str, msgspec.Raw]
    kept: dict[str, msgspec.Raw]
    history: History = History()


def decode_checkpoint(graph: Graph, data: bytes) -> tuple[Checkpoint, History] | None:
    """What ``encode_checkpoint`` of an equal graph gave; None for the empty checkpoint of a new log.

    Raises:
        CheckpointError: It was made by another version, whose collections or rows were others.
    """
    try:
        return _decode(graph, data)
    except (msgspec.DecodeError, LookupError) as error:
        raise CheckpointError(f"a checkpoint of another version cannot be read ({error})") from error


def _decode(graph: Graph, data: bytes) -> tuple[Checkpoint, History] | None:
    if not data.strip() or data.strip() in (b"{}", b"null"):
        return None
    encoded = msgspec.json.decode(data, type=_Encoded)
    collections = {collection.name: collection for collection in graph.collections}
    sources = {}
    for name, raw in encoded.sources.items():
        rows = _decoder(collections[name].row_type).decode(raw)
        sources[name] = {row.key: (row, seq) for row, seq in rows}
    kept: dict[str, dict[Any, tuple[Any, ...]]] = {}
    for name, raw in encoded.kept.items():
        pairs = _kept_decoder(collections[name].kept_type).decode(raw)
        kept[name] = {tuple(key) if isinstance(key, list) else key: tuple(rows) for key, rows in pairs}
    checkpoint = Checkpoint(seq=encoded.seq, sources=sources, kept=kept, synced=tuple(encoded.synced))
    return checkpoint, encoded.history
