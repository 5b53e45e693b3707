"""Checkpoints of the graph as JSON, so that a log can be read from the start of any segment."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import msgspec

from controlplane.krt import Checkpoint, Graph
from controlplane.runtime.errors import ControlPlaneError


class CheckpointError(ControlPlaneError):
    """A checkpoint that this version cannot read; the events after an older one may still do."""


def encode_checkpoint(graph: Graph) -> bytes:
    """Every base row with the seq that changed it, and the rows kept for failed keys. Deterministic."""
    checkpoint = graph.checkpoint()
    document = {
        "seq": checkpoint.seq,
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


def decode_checkpoint(graph: Graph, data: bytes) -> Checkpoint | None:
    """What ``encode_checkpoint`` of an equal graph gave; None for the empty checkpoint of a new log.

    Raises:
        CheckpointError: It was made by another version, whose collections or rows were others.
    """
    try:
        return _decode(graph, data)
    except (msgspec.DecodeError, LookupError) as error:
        raise CheckpointError(f"a checkpoint of another version cannot be read ({error})") from error


def _decode(graph: Graph, data: bytes) -> Checkpoint | None:
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
    return Checkpoint(seq=encoded.seq, sources=sources, kept=kept, synced=tuple(encoded.synced))
