"""Disks that are full, that fail, that lie about it; processes and machines that die at any operation."""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from controlplane.log import LogError, SegmentedLog, Transaction, read_log, verify
from controlplane.log.testing import Crash, DictCodec, ForgetfulFiles

FOLDER = Path("/log")
FIRST = FOLDER / f"{1:020d}.jsonl"
OpenLog = Callable[..., SegmentedLog[dict[str, Any]]]


def seqs(files: ForgetfulFiles) -> list[int]:
    return [t.seq for t in read_log(FOLDER, DictCodec(), files=files) if isinstance(t, Transaction)]


class Failing:
    """Fails the given operations, once each, with the given error."""

    def __init__(
        self, files: ForgetfulFiles, *operations: str, error: int = errno.EIO, taken: int | None = None
    ) -> None:
        self.operations = list(operations)
        self._error = error
        self._taken = taken
        files.fault = self

    def __call__(self, operation: str, path: Path) -> int | None:
        if operation == "write" and self._taken:
            taken, self._taken = self._taken, None
            return taken
        if operation in self.operations:
            self.operations.remove(operation)
            raise OSError(self._error, os.strerror(self._error))
        return None


class TestWriteFails:
    @pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO])
    @pytest.mark.parametrize("taken", [None, 1, 100, 139])
    def test_nothing_of_it_is_left_and_the_next_one_succeeds(
        self, open_log: OpenLog, files: ForgetfulFiles, taken: int | None, error: int
    ) -> None:
        log = open_log()
        log.append([{"n": 1}], source="test")
        before = files.content(FIRST)
        Failing(files, "write", error=error, taken=taken)
        with pytest.raises(LogError, match=f"the transaction could not be written: {os.strerror(error)}") as info:
            log.append([{"n": 2}, {"n": 3}], source="test")
        assert (info.value.file, info.value.line, info.value.seq) == (str(FIRST), 4, 2)
        assert files.content(FIRST) == before
        assert (log.last_seq, log.statistics().appended, log.statistics().failure) == (1, 1, None)
        assert log.append([{"n": 2}], source="test").seq == 2
        assert seqs(files) == [1, 2]

    @pytest.mark.parametrize("taken", [1, 100])
    def test_a_short_write_is_completed(self, open_log: OpenLog, files: ForgetfulFiles, taken: int) -> None:
        log = open_log()
        Failing(files, taken=taken)
        log.append([{"n": 1}, {"n": 2}], source="test")
        assert seqs(files) == [2]

    def test_what_cannot_be_taken_back_stops_the_log_until_it_is_opened_again(
        self, open_log: OpenLog, files: ForgetfulFiles
    ) -> None:
        log = open_log()
        log.append([{"n": 1}], source="test")
        Failing(files, "write", "truncate", error=errno.ENOSPC, taken=50)
        with pytest.raises(LogError, match="could not be taken back"):
            log.append([{"n": 2}], source="test")
        with pytest.raises(LogError, match="open the log again") as info:
            log.append([{"n": 2}], source="test")
        assert (info.value.file, info.value.line, info.value.seq) == (str(FIRST), 4, 2)
        assert "could not be taken back" in str(log.statistics().failure)
        log.close()
        with open_log() as log:
            assert log.opened.cut
            assert log.opened.cut.octets == 50
            assert log.append([{"n": 2}], source="test").seq == 2


class TestSyncFails:
    def test_nothing_is_appended_or_called_synced_any_more(self, open_log: OpenLog, files: ForgetfulFiles) -> None:
        """The next fsync would succeed, and what the first one lost would not be on the disk."""
        log = open_log()
        log.append([{"n": 1}], source="test")
        log.sync()
        log.append([{"n": 2}], source="test")
        Failing(files, "sync")
        for reason in (
            r"could not be made durable: Input/output error \(EIO\); look for the disk's errors",
            "nothing can be synced since an earlier failure",
        ):
            with pytest.raises(LogError, match=reason):
                log.sync()
            assert log.statistics().unsynced == 1
        with pytest.raises(LogError, match="open the log again"):
            log.append([{"n": 3}], source="test")
        log.close()

    def test_opening_again_reads_from_the_disk_not_from_the_cache(
        self, open_log: OpenLog, files: ForgetfulFiles
    ) -> None:
        log = open_log()
        log.append([{"n": 1}], source="test")
        log.sync()
        log.append([{"n": 2}], source="test")
        Failing(files, "sync")
        with pytest.raises(LogError, match="durable"):
            log.sync()
        assert seqs(files) == [1, 2], "the cache still has it"
        log.close()
        with open_log() as log:
            assert log.last_seq == 1, "the disk has not"
            log.append([{"n": "again"}], source="test")
        files.crash()
        assert seqs(files) == [1, 2]

    def test_in_the_middle_of_a_group(self, open_log: OpenLog, files: ForgetfulFiles) -> None:
        log = open_log(fsync="grouped")
        log.append([{"n": 1}], source="test")
        Failing(files, "sync")
        with pytest.raises(LogError, match="durable"):
            log.sync_if_due(0.0)
        with pytest.raises(LogError, match="earlier failure"):
            log.sync_if_due(1.0)

    def test_at_closing(self, open_log: OpenLog, files: ForgetfulFiles) -> None:
        log = open_log()
        log.append([{"n": 1}], source="test")
        Failing(files, "sync")
        with pytest.raises(LogError, match="durable"):
            log.close()
        open_log().close()


class TestNewSegmentFails:
    @pytest.fixture
    def full(self, open_log: OpenLog) -> SegmentedLog[dict[str, Any]]:
        log = open_log(segment_bytes=1)
        log.append([{"pad": "-" * 300}], source="test")
        return log

    @pytest.mark.parametrize("operation", ["create", "write", "sync", "rename"])
    def test_the_log_goes_on_where_it_was_and_tries_again_later(
        self, open_log: OpenLog, files: ForgetfulFiles, operation: str
    ) -> None:
        """There may be room for an event where there is none for a checkpoint; and a large one is not tried each time."""
        now = 0.0
        log = open_log(segment_bytes=1, clock=lambda: now)
        log.append([{"pad": "-" * 300}], source="test")
        log.sync()
        Failing(files, operation, error=errno.ENOSPC)
        log.append([{"n": 2}], source="test")
        failure = log.statistics().segment_failure
        assert failure is not None
        second = FOLDER / f"{2:020d}.jsonl"
        assert f"{second}, line 1, seq 2: the segment could not be made: No space left on device (ENOSPC)" in failure
        assert files.names(FOLDER) == [FIRST.name]
        now = 29.0
        log.append([{"n": 3}], source="test")
        assert (len(log.segments), log.statistics().segment_failure) == (1, failure)
        now = 31.0
        log.append([{"n": 4}], source="test")
        assert (len(log.segments), log.statistics().segment_failure) == (2, None)
        assert seqs(files) == [1, 2, 3, 4]

    def test_events_of_a_newer_schema_cannot_go_on_in_the_old_one(
        self, open_log: OpenLog, files: ForgetfulFiles
    ) -> None:
        with open_log() as log:
            log.append([{"n": 1}], source="test")
        log = open_log(schema_version=2)
        for _ in range(2):
            Failing(files, "create", error=errno.ENOSPC)
            with pytest.raises(LogError, match="the segment could not be made: No space left on device"):
                log.append([{"n": 2}], source="test")
        log.append([{"n": 2}], source="test")
        assert [segment.header.schema for segment in log.segments] == [1, 2]

    def test_a_name_that_may_not_be_durable_is_given_again(
        self, full: SegmentedLog[dict[str, Any]], files: ForgetfulFiles
    ) -> None:
        full.sync()
        Failing(files, "sync_folder")
        with pytest.raises(LogError, match="its name could not be made durable"):
            full.append([{"n": 2}], source="test")
        with pytest.raises(LogError, match="mend it, or open the log again"):
            full.append([{"n": 2}], source="test")
        for operation in ("rename", "sync_folder"):
            Failing(files, operation)
            with pytest.raises(LogError, match=r"its name could not be made durable.*now: Input/output error"):
                full.mend()
        full.mend()
        full.append([{"n": 2}], source="test")
        full.sync()
        files.crash()
        assert seqs(files) == [1, 2]
        assert files.names(FOLDER) == [FIRST.name, f"{2:020d}.jsonl"]

    def test_what_the_checkpoint_function_raises_is_its_callers(self, open_log: OpenLog, files: ForgetfulFiles) -> None:
        log = open_log(segment_bytes=1, checkpoint=lambda: b"%d" % (1 // 0))
        log.append([{"pad": "-" * 300}], source="test")
        with pytest.raises(ZeroDivisionError):
            log.append([{"n": 2}], source="test")
        assert files.names(FOLDER) == [FIRST.name]
        assert log.last_seq == 1


@pytest.mark.parametrize("operation", ["write", "create", "rename", "sync_folder"])
def test_an_interrupted_append_gives_no_seq_out_twice(open_log: OpenLog, files: ForgetfulFiles, operation: str) -> None:
    """Ctrl-C hits anywhere, and what shuts down after it may want to append something."""
    log = open_log(segment_bytes=10_000 if operation == "write" else 1)
    log.append([{"pad": "-" * 300}], source="test")

    def interrupt(attempted: str, path: Path) -> int | None:
        if attempted != operation:
            return None
        if operation == "write" and files.fault is interrupt:
            files.fault = lambda *_: interrupt(attempted, path)
            return 10
        raise KeyboardInterrupt

    files.fault = interrupt
    with pytest.raises(KeyboardInterrupt):
        log.append([{"n": 2}], source="test")
    files.fault = None
    with pytest.raises(LogError, match=r"interrupted \(KeyboardInterrupt\)\): open the log again"):
        log.append([{"n": 2}], source="test")
    log.close()
    with open_log() as log:
        assert log.append([{"n": 2}], source="test").seq == 2
    assert verify(FOLDER, files=files).damage == ()


class TestOpeningFails:
    @pytest.mark.parametrize("operation", ["make_folder", "lock", "sync_folder", "create", "write", "sync", "rename"])
    def test_of_a_new_log(self, open_log: OpenLog, files: ForgetfulFiles, operation: str) -> None:
        Failing(files, operation)
        with pytest.raises(LogError, match="Input/output error"):
            open_log()
        with open_log() as log:
            assert log.append([{}], source="test").seq == 1

    @pytest.mark.parametrize("operation", ["append", "sync", "truncate", "remove"])
    def test_of_one_that_a_crash_has_torn(self, open_log: OpenLog, files: ForgetfulFiles, operation: str) -> None:
        with open_log() as log:
            log.append([{"n": 1}], source="test")
        torn = files.content(FIRST) + b'{"seq":2'
        files.overwrite(FIRST, torn)
        files.overwrite(FOLDER / f"{2:020d}.jsonl.tmp", b"")
        Failing(files, operation)
        with pytest.raises(LogError, match="Input/output error"):
            open_log()
        assert files.content(FIRST) == torn
        with open_log() as log:
            assert log.append([{"n": 2}], source="test").seq == 2


def test_a_disk_that_cannot_be_read(open_log: OpenLog, files: ForgetfulFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_log() as log:
        log.append([{"n": 1}], source="test")
    read = ForgetfulFiles.read

    class Bad:
        def __init__(self, stream: Any) -> None:
            self.stream = stream
            self.lines = 0

        def readline(self) -> bytes:
            self.lines += 1
            if self.lines == 3:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return self.stream.readline()  # type: ignore[no-any-return]

        def close(self) -> None:
            self.stream.close()

    monkeypatch.setattr(files, "read", lambda path: Bad(read(files, path)))
    for act in (seqs, lambda files: verify(FOLDER, files=files), lambda files: open_log()):
        with pytest.raises(LogError, match="it cannot be read: Input/output error") as info:
            act(files)
        assert (info.value.line, info.value.seq) == (3, 1)


class Scenario:
    """A life of a log that goes through every operation there is."""

    def __init__(self, files: ForgetfulFiles) -> None:
        self.files = files
        self.appended: list[int] = []
        self.acknowledged = 0
        self.synced = 0

    def run(self) -> None:
        for size in (1, 3):
            log = SegmentedLog.open(
                FOLDER, DictCodec(), files=self.files, fsync="never", segment_bytes=400, checkpoint=lambda: b"{}"
            )
            for _ in range(3):
                self._append(log, size)
                self._append(log, 1)
                log.sync()
                self.synced = log.last_seq
            self._append(log, 1)
            log.close()
            self.synced = log.last_seq

    def _append(self, log: SegmentedLog[dict[str, Any]], events: int) -> None:
        self.appended.append(log.last_seq + events)
        log.append([{"n": log.last_seq + 1 + n, "pad": "-" * 40} for n in range(events)], source="test")
        self.acknowledged = log.last_seq


def operations_of_the_scenario() -> int:
    files = ForgetfulFiles()
    scenario = Scenario(files)
    scenario.run()
    assert scenario.appended[-1] == scenario.synced == 20
    return files.operations


@pytest.mark.parametrize("death", ["process", "power, nothing survives", "power, all survives", "power, some survives"])
def test_a_death_at_any_operation_loses_nothing_that_was_promised(death: str) -> None:
    """The process' death keeps what was acknowledged, the machine's what was synced; both keep a beginning."""
    chance = random.Random(7)
    choose: dict[str, Callable[[int], int]] = {
        "power, nothing survives": lambda most: 0,
        "power, all survives": lambda most: most,
        "power, some survives": lambda most: chance.randint(0, most),
    }
    total = operations_of_the_scenario()
    assert total > 60
    for last in range(total):
        files = ForgetfulFiles()
        scenario = Scenario(files)

        def fault(operation: str, path: Path, files: ForgetfulFiles = files, last: int = last) -> int | None:
            if files.operations > last:
                if operation == "write" and files.operations == last + 1:
                    return 60  # the process dies between two pieces of a write
                raise Crash
            return None

        files.fault = fault
        with suppress(Crash):
            scenario.run()
        if death == "process":
            files.restart()
        else:
            files.crash(choose[death])
        with SegmentedLog.open(FOLDER, DictCodec(), files=files) as log:
            survived = [t.seq for t in log.read() if isinstance(t, Transaction)]
            promised = scenario.acknowledged if death == "process" else scenario.synced
            assert survived == scenario.appended[: len(survived)]
            assert log.last_seq == (survived or [0])[-1] >= promised
            log.append([{"after": "the crash"}], source="test")
        report = verify(FOLDER, DictCodec(), files=files)
        assert (report.damage, report.torn) == ((), None)
        assert not [name for name in files.names(FOLDER) if name.endswith(".tmp")]
