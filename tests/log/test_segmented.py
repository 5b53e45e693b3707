"""Appending on disk: writes, syncs, segments, the lock."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from controlplane.log import (
    Checkpoint,
    LogError,
    LogLocked,
    SegmentedLog,
    Transaction,
    UnknownEventType,
    read_log,
    verify,
)
from controlplane.log.testing import DictCodec, ForgetfulFiles

FOLDER = Path("/log")
OpenLog = Callable[..., SegmentedLog[dict[str, Any]]]


def segment(first_seq: int) -> Path:
    return FOLDER / f"{first_seq:020d}.jsonl"


class Counting:
    """Counts the operations on files."""

    def __init__(self, files: ForgetfulFiles) -> None:
        self.seen: list[str] = []
        files.fault = self

    def __call__(self, operation: str, path: Path) -> None:
        self.seen.append(operation)

    def take(self) -> list[str]:
        seen, self.seen = self.seen, []
        return seen


def test_a_transaction_is_one_write(open_log: OpenLog, files: ForgetfulFiles) -> None:
    log = open_log()
    counting = Counting(files)
    log.append([{"n": n} for n in range(100)], source="test")
    assert counting.take() == ["write"]


def test_always_syncs_before_append_returns(open_log: OpenLog, files: ForgetfulFiles) -> None:
    log = open_log(fsync="always")
    counting = Counting(files)
    log.append([{}], source="test")
    assert counting.take() == ["write", "sync"]
    assert log.statistics().unsynced == 0
    assert log.sync_if_due(1000.0) == 0.1
    assert counting.take() == []


def test_grouped_syncs_when_due_and_at_most_so_often(open_log: OpenLog, files: ForgetfulFiles) -> None:
    log = open_log(fsync="grouped")
    counting = Counting(files)
    assert log.sync_if_due(10.0) == 0.1, "nothing to sync"
    log.append([{}], source="test")
    assert log.sync_if_due(10.0) == 0.1
    assert counting.take() == ["write", "sync"]
    log.append([{}], source="test")
    assert log.sync_if_due(10.04) == pytest.approx(0.06)
    assert log.statistics().unsynced == 1
    assert log.sync_if_due(10.1) == 0.1
    assert counting.take() == ["write", "sync"]
    assert log.statistics().unsynced == 0
    log.append([{}], source="test")
    assert log.sync_if_due(99.0) == 0.1, "after a pause the first one need not wait"
    assert counting.take() == ["write", "sync"]


def test_never_syncs_only_at_the_end_of_a_segment_and_at_close(open_log: OpenLog, files: ForgetfulFiles) -> None:
    log = open_log(fsync="never", segment_bytes=1)
    counting = Counting(files)
    log.append([{}] * 3, source="test")
    assert log.sync_if_due(1000.0) == 0.1
    assert counting.take() == ["write"]
    log.append([{}], source="test")
    assert counting.take() == ["sync", "create", "write", "sync", "rename", "sync_folder", "write"]
    log.close()
    assert counting.take() == ["sync"]


def test_sync_may_run_in_another_thread_while_appends_go_on(open_log: OpenLog, files: ForgetfulFiles) -> None:
    """An append during the sync is left to the next one; a new segment waits for it."""
    log = open_log(fsync="grouped", segment_bytes=1)
    log.append([{}] * 5, source="test")
    syncing, go_on = threading.Event(), threading.Event()
    order: list[str] = []

    def fault(operation: str, path: Path) -> None:
        order.append(operation)
        if operation == "sync" and threading.current_thread() is thread:
            syncing.set()
            assert go_on.wait(10)
            order.append("synced")

    thread = threading.Thread(target=log.sync)
    files.fault = fault
    thread.start()
    assert syncing.wait(10)
    appender = threading.Thread(target=log.append, args=([{}],), kwargs={"source": "test"})
    appender.start()  # needs a new segment, and the lock that the sync holds
    go_on.set()
    thread.join(10)
    appender.join(10)
    assert order[:3] == ["sync", "synced", "create"]
    assert (log.last_seq, log.statistics().unsynced, len(log.segments)) == (6, 1, 2)


def test_an_append_during_a_sync_stays_unsynced(open_log: OpenLog, files: ForgetfulFiles) -> None:
    log = open_log()
    log.append([{}], source="test")

    def fault(operation: str, path: Path) -> None:
        files.fault = None
        log.append([{}], source="test")

    files.fault = fault
    log.sync()
    assert (log.last_seq, log.statistics().unsynced) == (2, 1)


def test_statistics_tell_times_and_sizes(tmp_path: Path, codec: DictCodec) -> None:
    now = 100.0
    with SegmentedLog.open(
        tmp_path, codec, segment_bytes=1, checkpoint=lambda: b"{}", clock=lambda: now, fsync="always"
    ) as log:
        assert log.statistics().seconds_since_append is None
        assert log.statistics().seconds_since_sync is None
        log.append([{"pad": "-" * 300}], source="test")
        log.append([{}] * 2, source="test")
        now = 103.5
        statistics = log.statistics()
        assert (statistics.seconds_since_append, statistics.seconds_since_sync) == (3.5, 3.5)
        assert (statistics.syncs, statistics.segments, statistics.unsynced) == (2, 2, 0)
        assert statistics.octets == sum(path.stat().st_size for path in tmp_path.glob("*.jsonl"))
        assert [s.path.name for s in log.segments] == sorted(path.name for path in tmp_path.glob("*.jsonl"))
        assert [s.octets for s in log.segments] == [s.path.stat().st_size for s in log.segments]
        before = statistics
    with SegmentedLog.open(tmp_path, codec) as log:
        assert log.statistics().octets == before.octets
        assert (log.statistics().appended, log.statistics().last_seq) == (0, 3)


def test_a_segment_begins_with_the_state_after_all_before_it(open_log: OpenLog, files: ForgetfulFiles) -> None:
    state: list[int] = []
    log = open_log(segment_bytes=1, checkpoint=lambda: orjson.dumps({"sum": sum(state)}))
    for n in (1, 2, 3):
        log.append([{"n": n, "pad": "-" * 200}] * n, source="test")
        state.extend([n] * n)
    assert [s.first_seq for s in log.segments] == [1, 2, 4]
    assert next(log.read()) == Checkpoint(0, b"")
    newest = list(log.read(from_segment="newest"))
    assert newest[0] == Checkpoint(3, b'{"sum":5}')
    assert [t.seq for t in newest[1:]] == [6]
    until_three = list(log.read(from_segment="newest", until=3))
    assert until_three == [Checkpoint(3, b'{"sum":5}')], "the newest that starts at or before it"
    assert [t.seq for t in log.read(from_segment="newest", until=2)] == [1]


def test_a_checkpoint_that_cannot_be_had_puts_the_segment_off(open_log: OpenLog) -> None:
    states: list[bytes | None] = [None, b"{}"]
    log = open_log(segment_bytes=1, checkpoint=lambda: states.pop(0))
    for _ in range(3):
        log.append([{"pad": "-" * 200}], source="test")
    assert [s.first_seq for s in log.segments] == [1, 3]


def test_without_a_checkpoint_function_there_is_one_segment(open_log: OpenLog) -> None:
    log = open_log(segment_bytes=1, checkpoint=None)
    for _ in range(3):
        log.append([{}], source="test")
    assert len(log.segments) == 1


@pytest.mark.parametrize("state", [b"", b"null", b"[]", b'{"a":', b'{\n"a":1}'])
def test_a_checkpoint_that_is_no_object_is_refused_and_nothing_is_appended(open_log: OpenLog, state: bytes) -> None:
    log = open_log(segment_bytes=1, checkpoint=lambda: state)
    log.append([{"pad": "-" * 200}], source="test")
    with pytest.raises(ValueError, match="the checkpoint"):
        log.append([{}], source="test")
    assert log.last_seq == 1
    assert len(log.segments) == 1


def test_a_large_checkpoint_is_not_written_for_every_append(open_log: OpenLog) -> None:
    log = open_log(segment_bytes=1, checkpoint=lambda: b'{"pad":"%b"}' % (b"-" * 10_000))
    for _ in range(400):
        log.append([{"pad": "-" * 100}], source="test")
    octets = [s.octets for s in log.segments]
    assert sum(octets) < 2.1 * 400 * 250
    assert all(size > 20_000 for size in octets[1:-1])


def test_each_segment_reads_back_as_the_whole_does(three_segments: Path, codec: DictCodec) -> None:
    whole = [t for t in read_log(three_segments, codec) if isinstance(t, Transaction)]
    assert [t.seq for t in whole] == [2, 4, 5, 8]
    for until in range(9):
        newest = list(read_log(three_segments, codec, from_segment="newest", until=until))
        assert isinstance(newest[0], Checkpoint)
        assert newest[1:] == [t for t in whole if newest[0].seq < t.seq <= until]


def test_a_seq_before_the_oldest_checkpoint_is_an_error(three_segments: Path, codec: DictCodec) -> None:
    (three_segments / "00000000000000000001.jsonl").unlink()
    assert [t.seq for t in read_log(three_segments, codec)] == [2, 4, 5, 8]
    with pytest.raises(LogError, match="seq 1 has been dropped; the oldest state that is still here is that at seq 2"):
        read_log(three_segments, codec, until=1)


def test_a_second_writer_is_told_who_has_it(tmp_path: Path, codec: DictCodec) -> None:
    (tmp_path / "lock").write_text("a longer number than ours: 4194304000\n")
    with SegmentedLog.open(tmp_path, codec) as log:
        log.append([{}], source="test")
        with pytest.raises(LogLocked, match=f"process {os.getpid()} has this log open") as info:
            SegmentedLog.open(tmp_path, codec)
        assert info.value.pid == os.getpid()
        assert len(list(read_log(tmp_path, codec))) == 2, "readers need no lock"
        assert log.append([{}], source="test").seq == 2
    with SegmentedLog.open(tmp_path, codec) as log:
        assert log.last_seq == 2


def test_the_lock_holds_between_processes_and_ends_with_its_process(tmp_path: Path, codec: DictCodec) -> None:
    program = (
        "import sys; from controlplane.log import SegmentedLog; from controlplane.log.testing import DictCodec\n"
        "log = SegmentedLog.open(sys.argv[1], DictCodec()); print('open', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    ) as child:
        assert child.stdout
        assert child.stdout.readline() == b"open\n"
        with pytest.raises(LogLocked) as info:
            SegmentedLog.open(tmp_path, codec)
        assert info.value.pid == child.pid
        child.kill()
        child.wait()
    SegmentedLog.open(tmp_path, codec).close()


def test_a_failed_opening_gives_the_lock_back(tmp_path: Path, codec: DictCodec) -> None:
    path = tmp_path / "00000000000000000001.jsonl"
    path.write_bytes(b"nonsense\n")
    with pytest.raises(LogError, match="header"):
        SegmentedLog.open(tmp_path, codec)
    path.unlink()
    SegmentedLog.open(tmp_path, codec).close()


def test_a_new_log_is_made_with_its_parents(tmp_path: Path, codec: DictCodec) -> None:
    with SegmentedLog.open(tmp_path / "a" / "b", codec) as log:
        assert log.opened.created
        assert log.opened.warnings() == ()
    with SegmentedLog.open(str(tmp_path / "a" / "b"), codec) as log:
        assert not log.opened.created


def test_files_of_others_are_left_alone_and_told(three_segments: Path, codec: DictCodec) -> None:
    names = ["README", "1.jsonl", "00000000000000000001.jsonl.gz", "00000000000000000000.jsonl", "notes.jsonl.tmp"]
    for name in names:
        (three_segments / name).write_text("mine")
    with SegmentedLog.open(three_segments, codec) as log:
        assert log.opened.foreign == tuple(sorted(names))
        assert "README: not part of the log, left alone" in log.opened.warnings()
    assert verify(three_segments).foreign == tuple(sorted(names))
    assert all((three_segments / name).read_text() == "mine" for name in names)


@pytest.mark.parametrize("leftover", [b"", b'{"log":"controlplane"'])
def test_an_unfinished_segment_is_removed(three_segments: Path, codec: DictCodec, leftover: bytes) -> None:
    path = three_segments / "00000000000000000009.jsonl.tmp"
    path.write_bytes(leftover)
    assert [t.seq for t in read_log(three_segments, codec)] == [0, 2, 4, 5, 8]
    with SegmentedLog.open(three_segments, codec) as log:
        assert log.opened.removed == (str(path),)
        assert "crash" in log.opened.warnings()[0]
    assert not path.exists()


def test_every_line_is_json_for_other_tools(three_segments: Path) -> None:
    lines = [line for path in sorted(three_segments.glob("*.jsonl")) for line in path.read_bytes().splitlines()]
    assert [orjson.loads(line).get("seq") for line in lines] == [None, 0, 1, 2, None, 2, 3, 4, None, 4, 5, 6, 7, 8]


@pytest.mark.skipif(not shutil.which("jq"), reason="jq is not installed")
def test_jq_reads_it(three_segments: Path) -> None:
    paths = [str(path) for path in sorted(three_segments.glob("*.jsonl"))]
    query = 'select(.type == "Note") | .data.n'
    printed = subprocess.run(["jq", query, *paths], capture_output=True, check=True, text=True).stdout
    assert printed.split() == ["1", "2", "3", "4", "5", "6", "7", "8"]


def test_an_unknown_event_type_says_where_and_what_to_do(tmp_path: Path, codec: DictCodec) -> None:
    with SegmentedLog.open(tmp_path, codec) as log:
        log.append([{"type": "FromTheFuture"}, {}], source="test")
    with pytest.raises(UnknownEventType, match="'FromTheFuture', written by a newer version: upgrade") as info:
        list(read_log(tmp_path, codec))
    error = info.value
    assert (error.file, error.line, error.seq) == (str(tmp_path / "00000000000000000001.jsonl"), 3, 1)
    assert isinstance(error.__cause__, LookupError)
    assert verify(tmp_path).damage == ()
    assert [(d.line, d.seq) for d in verify(tmp_path, codec).damage] == [(3, 1)]
    assert list(read_log(tmp_path, codec, until=1)) == [Checkpoint(0, b"")], "what is not wanted is not decoded"


def test_an_event_that_the_codec_cannot_decode_says_where(tmp_path: Path, codec: DictCodec) -> None:
    class Strict(DictCodec):
        def decode(self, type: str, data: bytes) -> dict[str, object]:  # noqa: A002
            raise ValueError("field n is missing")

    with SegmentedLog.open(tmp_path, codec) as log:
        log.append([{}], source="test")
    with pytest.raises(LogError, match="line 3, seq 1: the Note cannot be decoded: field n is missing"):
        list(read_log(tmp_path, Strict()))
    assert [d.reason for d in verify(tmp_path, Strict()).damage] == ["the Note cannot be decoded: field n is missing"]


class TestSchemaVersion:
    def test_a_newer_one_is_refused(self, tmp_path: Path, codec: DictCodec) -> None:
        SegmentedLog.open(tmp_path, codec, schema_version=2).close()
        with pytest.raises(LogError, match="event schema 2 by a newer version, this one reads 1: upgrade"):
            SegmentedLog.open(tmp_path, codec, schema_version=1)
        with pytest.raises(LogError, match="upgrade"):
            read_log(tmp_path, codec)
        assert list(read_log(tmp_path, codec, schema_version=2)) == [Checkpoint(0, b"")]

    def test_the_first_append_of_a_newer_one_begins_a_segment(self, open_log: OpenLog, codec: DictCodec) -> None:
        with open_log(schema_version=1) as log:
            log.append([{"n": 1}], source="test")
        with open_log(schema_version=2) as log:
            assert len(log.segments) == 1
            log.append([{"n": 2}], source="test")
            assert [(s.first_seq, s.header.schema) for s in log.segments] == [(1, 1), (2, 2)]
            assert [t.seq for t in log.read()] == [0, 1, 2]

    def test_a_segment_without_events_is_replaced(self, open_log: OpenLog, files: ForgetfulFiles) -> None:
        with open_log(schema_version=1) as log:
            identity = log.segments[0].header.identity
        with open_log(schema_version=2) as log:
            log.append([{"n": 1}], source="test")
            assert [(s.first_seq, s.header.schema, s.header.previous) for s in log.segments] == [(1, 2, None)]
            assert log.segments[0].header.identity == identity
            assert [t.seq for t in log.read()] == [0, 1]
        with open_log(schema_version=2, segment_bytes=1) as log:
            log.append([{"pad": "-" * 300}], source="test")
            log.append([{"n": 3}], source="test")
        lines = files.content(segment(3)).splitlines(keepends=True)
        files.overwrite(segment(3), b"".join(lines[:2]))
        with open_log(schema_version=3) as log:
            log.append([{"n": 3}], source="test")
            assert [(s.first_seq, s.header.schema, s.header.previous) for s in log.segments][-1] == (3, 3, 1)
        with open_log(schema_version=3) as log:
            assert [t.seq for t in log.read()] == [0, 1, 2, 3]

    def test_without_a_checkpoint_it_is_refused(self, open_log: OpenLog) -> None:
        with open_log(schema_version=1) as log:
            log.append([{"n": 1}], source="test")
        with open_log(schema_version=2, checkpoint=lambda: None) as log:
            with pytest.raises(LogError, match="events of schema 2 need a segment of their own"):
                log.append([{"n": 2}], source="test")
            assert log.last_seq == 1


def test_a_newer_format_is_refused(open_log: OpenLog, files: ForgetfulFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("controlplane.log.opening.FORMAT_VERSION", 2)
        open_log().close()
    with pytest.raises(LogError, match="format 2 by a newer version, this one reads 1: upgrade"):
        open_log()


def test_permissions_are_the_users_choice(tmp_path: Path, codec: DictCodec) -> None:
    SegmentedLog.open(tmp_path / "log", codec).close()
    assert stat.S_IMODE((tmp_path / "log" / "00000000000000000001.jsonl").stat().st_mode) & 0o111 == 0
