"""Opening a log for writing: the lock, the leftovers of a crash, the end of the newest segment.

What a crash can leave behind is mended here, and is all that is: a segment under its temporary name, and an unfinished
transaction at the very end. Anything else is damage, and is told, not mended.
"""

from __future__ import annotations

import uuid
from pathlib import Path

import msgspec

from controlplane.log.damage import Torn, refuse
from controlplane.log.errors import LogError, LogLocked, describe
from controlplane.log.files import File, Files, Held, Lock
from controlplane.log.folder import LOCK_NAME, list_folder
from controlplane.log.lines import FORMAT_VERSION, HeaderLine, timestamp
from controlplane.log.reading import read_headers
from controlplane.log.scan import SegmentScan
from controlplane.log.writing import Segment, SegmentWriter, create_segment


class Opened(msgspec.Struct, frozen=True):
    """What opening found and did; to be logged."""

    created: bool
    """There was no log in the folder."""
    first_seq: int
    """Of the oldest segment."""
    last_seq: int
    segments: int
    cut: Torn | None
    """The unfinished transaction that was cut off."""
    removed: tuple[str, ...]
    """Unfinished segments that were removed."""
    foreign: tuple[str, ...]
    """Names in the folder that are none of ours; they are left alone."""

    def warnings(self) -> tuple[str, ...]:
        """A sentence for each thing that a person may want to know of; empty in ordinary times."""
        sentences = []
        if self.cut:
            sentences.append(
                f"{self.cut.file}, line {self.cut.line}: cut off {self.cut.octets} octets of a transaction that a crash left "
                f"unfinished; the log ends at seq {self.last_seq}"
            )
        sentences.extend(f"{path}: removed, a crash left this segment unfinished" for path in self.removed)
        sentences.extend(f"{name}: not part of the log, left alone" for name in self.foreign)
        return tuple(sentences)


def take_lock(path: Path, files: Files) -> Lock:
    """The writer's lock of a log's folder, which is made if need be.

    Raises:
        LogLocked: Another process has it.
        LogError: The folder cannot be written to.
    """
    try:
        files.make_folder(path, 0o777)
        return files.lock(path / LOCK_NAME)
    except Held as held:
        who = "another process" if held.pid is None else f"process {held.pid}"
        raise LogLocked(
            f"{who} has this log open for writing: stop it first, or use another folder", file=path, pid=held.pid
        ) from None
    except OSError as error:
        raise LogError(f"the folder cannot be written to: {describe(error)}", file=path) from error


def recover(path: Path, files: Files, schema_version: int) -> tuple[Opened, list[Segment], SegmentWriter]:
    """Brings a log to the end of its last whole transaction, durable, or makes it.

    Reads the headers of all segments and the newest one whole; damage in an older one is for `verify` and for readers.

    Returns:
        What was found, the older segments, the newest one.

    Raises:
        LogError: It is damaged, from a newer version, or cannot be read or written.
    """
    listing = list_folder(path, files)
    try:
        for temporary in listing.temporary:
            files.remove(temporary)
        files.sync_folder(path)
    except OSError as error:
        raise LogError(f"the folder cannot be written to: {describe(error)}", file=path) from error
    removed = tuple(str(temporary) for temporary in listing.temporary)
    if not listing.segments:
        header = HeaderLine("controlplane", FORMAT_VERSION, schema_version, uuid.uuid4().hex, 1, None, timestamp())
        first = create_segment(path, header, b"", files)
        if first.failure:
            first.close()
            raise first.error(first.failure)
        return Opened(True, 1, 0, 1, None, removed, listing.foreign), [], first
    headers = read_headers(path, files, schema_version)
    *older, (newest, header) = headers
    try:
        segments = [Segment(path, header, files.size(path)) for path, header in older]
        file = files.append(newest)
    except OSError as error:
        raise LogError(f"it cannot be opened: {describe(error)}", file=newest) from error
    try:
        writer, torn = _end(Segment(newest, header, 0), file, files)
    except BaseException:
        file.close()
        raise
    last_seq = writer.last_seq
    return (
        Opened(False, headers[0][1].first_seq, last_seq, len(headers), torn, removed, listing.foreign),
        segments,
        writer,
    )


def _end(segment: Segment, file: File, files: Files) -> tuple[SegmentWriter, Torn | None]:
    """Finds the end of the newest segment, cuts off what is torn, and makes it durable.

    The file is synced and dropped from the cache before it is read: after a failed fsync, Linux keeps pages in the cache that
    never reached the disk and calls them clean. What is appended next must stand on what the disk has.
    """
    path, header = segment.path, segment.header
    try:
        file.sync()
        files.drop_cache(path)
        with SegmentScan(path, files, newest=True, on_damage=refuse) as scan:
            scan.checkpoint()
            state_octets = scan.end
            for _ in scan.events():
                pass
        if scan.torn:
            file.truncate(scan.end)
            file.sync()
    except OSError as error:
        raise LogError(f"its end cannot be made durable: {describe(error)}", file=path) from error
    return SegmentWriter(path, header, file, scan.last_seq, scan.end_line, scan.end, state_octets), scan.torn
