"""Old segments are dropped whole, from the oldest on; what is left can be read, and says what it no longer holds."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from controlplane.log import LogError, SegmentedLog, Transaction, read_log, verify
from controlplane.log.testing import DictCodec, ForgetfulFiles

FOLDER = Path("/log")
OpenLog = Callable[..., SegmentedLog[dict[str, Any]]]
LATER = 4_000_000_000.0


@pytest.fixture
def log(open_log: OpenLog) -> SegmentedLog[dict[str, Any]]:
    """Five segments of one event each, of about a kilobyte."""
    log = open_log(segment_bytes=1, fsync="always")
    for _ in range(5):
        log.append([{"pad": "-" * 600}], source="test")
    assert len(log.segments) == 5
    return log


def first_seqs(log: SegmentedLog[dict[str, Any]]) -> list[int]:
    return [segment.first_seq for segment in log.segments]


def test_by_size(log: SegmentedLog[dict[str, Any]], files: ForgetfulFiles) -> None:
    sizes = [segment.octets for segment in log.segments]
    assert log.drop_old(max_bytes=sum(sizes), max_age=None, keep_seq=5, now=0.0) == ()
    (dropped,) = log.drop_old(max_bytes=sum(sizes) - 1, max_age=None, keep_seq=5, now=0.0)
    assert (dropped.first_seq, first_seqs(log)) == (1, [2, 3, 4, 5])
    log.drop_old(max_bytes=sizes[-1] + sizes[-2], max_age=None, keep_seq=5, now=0.0)
    assert first_seqs(log) == [4, 5]
    assert [path.name for path in (segment.path for segment in log.segments)] == files.names(FOLDER)
    statistics = log.statistics()
    assert (statistics.first_seq, statistics.segments, statistics.octets) == (4, 2, sum(sizes[-2:]))
    assert (statistics.dropped_segments, statistics.dropped_octets) == (3, sum(sizes[:3]))


def test_by_age(log: SegmentedLog[dict[str, Any]]) -> None:
    """A segment's age is that of its last event, which is not older than the segment after it."""
    assert log.drop_old(max_bytes=None, max_age=3600.0, keep_seq=5, now=0.0) == (), "a clock that was set back"
    log.drop_old(max_bytes=None, max_age=3600.0, keep_seq=5, now=LATER)
    assert first_seqs(log) == [5]


def test_never_the_newest(log: SegmentedLog[dict[str, Any]]) -> None:
    log.drop_old(max_bytes=0, max_age=0.0, keep_seq=5, now=LATER)
    assert first_seqs(log) == [5]
    assert log.append([{"n": 6}], source="test").seq == 6


@pytest.mark.parametrize(
    ("keep_seq", "left"), [(0, [1, 2, 3, 4, 5]), (1, [2, 3, 4, 5]), (3, [4, 5]), (4, [5]), (9, [5])]
)
def test_never_what_a_replay_of_a_seq_needs(log: SegmentedLog[dict[str, Any]], keep_seq: int, left: list[int]) -> None:
    """A segment that begins right after it has it as its checkpoint."""
    log.drop_old(max_bytes=0, max_age=0.0, keep_seq=keep_seq, now=LATER)
    assert first_seqs(log) == left
    list(log.read(until=keep_seq))


def test_what_is_dropped_is_named(log: SegmentedLog[dict[str, Any]], files: ForgetfulFiles, open_log: OpenLog) -> None:
    log.drop_old(max_bytes=0, max_age=None, keep_seq=2, now=0.0)
    assert [t.seq for t in log.read() if isinstance(t, Transaction)] == [3, 4, 5]
    with pytest.raises(LogError, match="seq 1 has been dropped; the oldest state that is still here is that at seq 2"):
        read_log(FOLDER, DictCodec(), until=1, files=files)
    assert verify(FOLDER, files=files).damage == ()
    log.close()
    with open_log() as again:
        assert again.opened.first_seq == 3
        assert again.append([{}], source="test").seq == 6


def test_a_reader_at_work_is_told(log: SegmentedLog[dict[str, Any]]) -> None:
    reading = log.read()
    next(reading)
    log.drop_old(max_bytes=0, max_age=None, keep_seq=5, now=0.0)
    with pytest.raises(LogError, match="it is gone: dropped meanwhile as old, or removed; read the log again"):
        list(reading)


@pytest.mark.parametrize("operation", ["remove", "sync_folder"])
def test_one_that_cannot_be_removed_stops_nothing(
    log: SegmentedLog[dict[str, Any]], files: ForgetfulFiles, operation: str
) -> None:
    def fault(attempted: str, path: Path) -> int | None:
        if attempted == operation:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        return None

    files.fault = fault
    with pytest.raises(LogError, match=r"the segment cannot be dropped: Read-only file system \(EROFS\)"):
        log.drop_old(max_bytes=0, max_age=None, keep_seq=5, now=0.0)
    files.fault = None
    log.append([{"n": 6}], source="test")
    log.drop_old(max_bytes=0, max_age=None, keep_seq=6, now=0.0)
    assert len(log.segments) == 1


def test_a_crash_leaves_no_hole(files: ForgetfulFiles, log: SegmentedLog[dict[str, Any]], open_log: OpenLog) -> None:
    """Names that are removed together may come back one without the other; so they go one by one."""
    log.drop_old(max_bytes=0, max_age=None, keep_seq=5, now=0.0)
    files.crash()
    with open_log() as again:
        assert first_seqs(again) == [5]
