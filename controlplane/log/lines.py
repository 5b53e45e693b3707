"""The bytes of a segment's lines: how each is written and what makes it valid. README.md is the specification.

Lines are put together from bytes, never re-encoded: the codec's JSON stands in the line exactly as it was given, and the
checksum covers exactly what stands before it. What follows from one line to the next is the scanner's (``scan``).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final
from zlib import crc32

import msgspec
import orjson

from controlplane.log.records import Codec, E

FORMAT_VERSION: Final = 1
"""Version of the lines' format; raised when a reader of the version before would misread them."""

TAIL_OCTETS: Final = 21
"""Octets of ``,"crc32":"xxxxxxxx"}`` and the newline, with which every line ends."""

TEMPORARY_SUFFIX: Final = ".tmp"
"""What a segment's name ends in until its checkpoint is synced."""

_SEGMENT_NAME: Final = re.compile(r"([0-9]{20})\.jsonl")
_TIME: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z")


class HeaderLine(msgspec.Struct, frozen=True):
    """First line of a segment."""

    log: str
    """``controlplane``, so that ``head -1`` tells what the file is."""
    format: int
    """`FORMAT_VERSION` of the writer."""
    schema: int
    """Version of the events' schema, the codec's business."""
    identity: str
    """32 hexadecimal digits, drawn when the log was made; the same in all its segments."""
    first_seq: int
    """The seq that the first event has or will have; the file's name, too."""
    previous: int | None
    """The same of the segment before; None in the first that the log ever had."""
    time: str
    """When the segment was made."""


class CheckpointLine(msgspec.Struct, frozen=True):
    """Second line of a segment."""

    seq: int
    checkpoint: msgspec.Raw


class EventLine(msgspec.Struct, frozen=True, gc=False):
    """Every line from the third on."""

    seq: int
    transaction: int
    time: str
    source: str
    type: str
    data: msgspec.Raw


class InvalidLine(ValueError):
    """A line that this writer cannot have written in this form."""


_header_decoder: Final = msgspec.json.Decoder(HeaderLine)
_checkpoint_decoder: Final = msgspec.json.Decoder(CheckpointLine)
_event_decoder: Final = msgspec.json.Decoder(EventLine)
_any_decoder: Final = msgspec.json.Decoder(msgspec.Raw)


def segment_name(first_seq: int) -> str:
    """The name of the segment whose first event has this seq; names sort as the seqs do."""
    return f"{first_seq:020d}.jsonl"


def segment_first_seq(name: str) -> int | None:
    """The seq that `segment_name` was given; None for what is no segment's name."""
    match = _SEGMENT_NAME.fullmatch(name)
    return int(match[1]) if match and int(match[1]) > 0 else None


def header_line(header: HeaderLine) -> bytes:
    """The line of a header."""
    return _seal(orjson.dumps(msgspec.to_builtins(header))[:-1])


def checkpoint_line(seq: int, data: bytes) -> bytes:
    """The line of a checkpoint; empty ``data`` is the empty state before seq 1."""
    return _seal(b'{"seq":%d,"checkpoint":%b' % (seq, data or b"null"))


def event_line(seq: int, transaction: int, time: str, source: str, type: str, data: bytes) -> bytes:  # noqa: A002
    """The line of an event. ``time`` and ``data`` must have passed `require_time` and `require_object`."""
    return _seal(
        b'{"seq":%d,"transaction":%d,"time":"%b","source":%b,"type":%b,"data":%b'
        % (seq, transaction, time.encode(), _json_string(source), _json_string(type), data)
    )


def read_header(line: bytes) -> HeaderLine:
    """The header that stands in a line.

    Raises:
        InvalidLine: It does not, or not whole.
    """
    _require_sealed(line)
    try:
        header = _header_decoder.decode(line)
    except msgspec.DecodeError as error:
        raise InvalidLine(f"the line is no segment header ({error})") from None
    if header.log != "controlplane":
        raise InvalidLine(f"the line is the header of a {header.log!r} log, not of ours")
    return header


def read_checkpoint(line: bytes) -> CheckpointLine:
    """The checkpoint that stands in a line; raises as `read_header` does."""
    _require_sealed(line)
    try:
        return _checkpoint_decoder.decode(line)
    except msgspec.DecodeError as error:
        raise InvalidLine(f"the line is no checkpoint ({error})") from None


def read_event(line: bytes) -> EventLine:
    """The event that stands in a line; raises as `read_header` does."""
    _require_sealed(line)
    try:
        return _event_decoder.decode(line)
    except msgspec.DecodeError as error:
        raise InvalidLine(f"the line is no event ({error})") from None


def encode_events(events: Iterable[E], codec: Codec[E]) -> list[tuple[str, bytes]]:
    """Type and data of each event, checked before any of them is written.

    Raises:
        ValueError: There are none, or the codec gave what could not be read back.
    """
    encoded = []
    for event in events:
        kind, data = codec.encode(event)
        encoded.append((kind, require_object(data, kind)))
    if not encoded:
        raise ValueError("a transaction needs at least one event")
    return encoded


def timestamp() -> str:
    """Now, in the log's form."""
    return f"{datetime.now(UTC).isoformat(timespec='microseconds')[:-6]}Z"


def require_object(data: bytes, what: str) -> bytes:
    """``data``, if it is one JSON object that fits a line.

    Raises:
        ValueError: It is not. A line that could not be read back must not be written.
    """
    try:
        _any_decoder.decode(data)
        if not data.isascii():
            data.decode()  # the decoder skips over what is inside strings
    except ValueError as error:
        raise ValueError(f"{what} is not JSON: {error}") from None
    if data[:1] != b"{" or b"\n" in data:
        raise ValueError(f"{what} must be one JSON object without a newline, it begins with {data[:20]!r}")
    return data


def require_time(time: str) -> str:
    """``time``, if it is RFC 3339 in UTC with microseconds, ``2026-01-02T03:04:05.000006Z``.

    Raises:
        ValueError: It is not; times in the log have one form, so that they sort as text.
    """
    if _TIME.fullmatch(time) is None:
        raise ValueError(f"time must look like 2026-01-02T03:04:05.000006Z, got {time!r}")
    return time


@lru_cache(maxsize=1024)
def _json_string(text: str) -> bytes:
    return orjson.dumps(text)


def _seal(body: bytes) -> bytes:
    return b'%b,"crc32":"%08x"}\n' % (body, crc32(body))


def _require_sealed(line: bytes) -> None:
    body = line[:-TAIL_OCTETS]
    if line[-TAIL_OCTETS:] == b',"crc32":"%08x"}\n' % crc32(body):
        return
    if not line:
        raise InvalidLine("the file ends before it")
    if line[-TAIL_OCTETS : 10 - TAIL_OCTETS] != b',"crc32":"':
        raise InvalidLine("the line does not end in a checksum")
    raise InvalidLine("the line's checksum does not match")
