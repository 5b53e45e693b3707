"""Reading a log: a checkpoint, then transactions. Needs no lock, and tolerates a writer at work."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal, TypeAlias

from controlplane.log.damage import Damage, refuse
from controlplane.log.errors import LogError, UnknownEventType
from controlplane.log.files import Files, OSFiles
from controlplane.log.folder import list_folder
from controlplane.log.lines import EventLine, HeaderLine, segment_first_seq
from controlplane.log.records import Checkpoint, Codec, E, Transaction
from controlplane.log.scan import SegmentScan, check_chain

FromSegment: TypeAlias = Literal["oldest", "newest"]


def read_log(
    path: Path | str,
    codec: Codec[E],
    *,
    from_segment: FromSegment = "oldest",
    until: int | None = None,
    schema_version: int = 1,
    files: Files | None = None,
) -> Iterator[Checkpoint | Transaction[E]]:
    """A log's `Checkpoint`, then every `Transaction` after it, in order.

    What a writer appends meanwhile may or may not be seen, a transaction that is not whole is not; that is no error.

    Args:
        path: The log's folder.
        codec: Decodes the events.
        from_segment: Where to start: with the ``oldest`` segment, or with the ``newest`` (of those that start at or before
            ``until``), which is the shortest way to a state.
        until: Stops before the first transaction with a greater seq. A seq inside a transaction is not a state: that
            transaction is left out. Beyond the log's end it reads everything.
        schema_version: Newest schema of events that the codec knows.
        files: The file system.

    Raises:
        LogError: There is no log, or (also later, while iterating) it is damaged: file, line, seq.
        UnknownEventType: While iterating: a newer version wrote an event.
    """
    files = files or OSFiles()
    headers = read_headers(Path(path), files, schema_version)
    starts = [index for index, (_, header) in enumerate(headers) if until is None or header.first_seq <= until + 1]
    if not starts:
        oldest, header = headers[0]
        gone = "has been dropped" if header.previous is not None else "lies before the log's beginning"
        raise LogError(
            f"seq {until} {gone}; the oldest state that is still here is that at seq {header.first_seq - 1}",
            file=oldest,
            seq=header.first_seq,
        )
    start = starts[0] if from_segment == "oldest" else starts[-1]
    return _read_segments([path for path, _ in headers[start:]], codec, until, files)


def read_headers(path: Path, files: Files, schema_version: int) -> list[tuple[Path, HeaderLine]]:
    """All segments, oldest first, with their headers; never empty.

    Raises:
        LogError: A header is damaged or from a newer version, a segment is missing, or there is none.
    """
    headers = []
    for segment in list_folder(path, files).segments:
        with SegmentScan(segment, files, newest=False, on_damage=refuse) as scan:
            assert scan.header
            headers.append((segment, scan.header))
        if scan.header.schema > schema_version:
            raise LogError(
                f"written with event schema {scan.header.schema} by a newer version, this one reads {schema_version}: upgrade",
                file=segment,
                line=1,
            )
    if not headers:
        raise LogError("there is no log in this folder (no segment, NNNNNNNNNNNNNNNNNNNN.jsonl)", file=path)
    check_chain(headers, refuse)
    return headers


def _read_segments(
    paths: list[Path], codec: Codec[E], until: int | None, files: Files
) -> Iterator[Checkpoint | Transaction[E]]:
    last_seq = None
    for path in paths:
        with SegmentScan(path, files, newest=path == paths[-1], on_damage=refuse) as scan:
            checkpoint = scan.checkpoint()
            if last_seq is None:
                assert checkpoint
                yield Checkpoint(checkpoint.seq, bytes(checkpoint.checkpoint) if checkpoint.seq else b"")
            else:
                check_continues(last_seq, scan)
            events: list[E] = []
            for line in scan.events():
                if until is not None and line.transaction > until:
                    return
                events.append(_decode(codec, line, scan))
                if line.seq == line.transaction:
                    yield Transaction(line.seq, line.seq - len(events) + 1, line.time, line.source, tuple(events))
                    events.clear()
            last_seq = scan.last_seq


def check_continues(last_seq: int, scan: SegmentScan) -> None:
    """Raises LogError if the segment before does not end where this one begins: its end was cut off."""
    if segment_first_seq(scan.path.name) != last_seq + 1:
        reason = f"the segment before ends at seq {last_seq}: what is between is missing"
        refuse(Damage(str(scan.path), 1, 0, scan.first_seq, reason))


def _decode(codec: Codec[E], line: EventLine, scan: SegmentScan) -> E:
    try:
        return codec.decode(line.type, bytes(line.data))
    except LookupError as error:
        raise UnknownEventType(
            f"unknown event type {line.type!r}, written by a newer version: upgrade",
            file=scan.path,
            line=scan.line,
            seq=line.seq,
        ) from error
    except ValueError as error:
        raise LogError(
            f"the {line.type} cannot be decoded: {error}", file=scan.path, line=scan.line, seq=line.seq
        ) from error
