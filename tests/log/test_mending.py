"""After a failure the log goes on by itself as soon as the disk lets it: nothing lost, nothing torn, nothing twice."""

from __future__ import annotations

import errno
import os
import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from controlplane.log import Checkpoint, LogError, SecretStore, SegmentedLog, Transaction, read_log, verify
from controlplane.log.testing import DictCodec, ForgetfulFiles

FOLDER = Path("/log")
FIRST = FOLDER / f"{1:020d}.jsonl"
OpenLog = Callable[..., SegmentedLog[dict[str, Any]]]


class Broken:
    """Fails these operations until ``operations`` is emptied; of the first write so many octets are ``taken``."""

    def __init__(self, files: ForgetfulFiles, *operations: str, error: int = errno.ENOSPC) -> None:
        self.operations = set(operations)
        self.taken = 0
        self._error = error
        files.fault = self

    def __call__(self, operation: str, path: Path) -> int | None:
        if operation == "write" and self.taken:
            taken, self.taken = self.taken, 0
            return taken
        if operation in self.operations:
            raise OSError(self._error, os.strerror(self._error))
        return None


def seqs(files: ForgetfulFiles) -> list[int]:
    return [t.seq for t in read_log(FOLDER, DictCodec(), files=files) if isinstance(t, Transaction)]


def test_what_could_not_be_taken_back_is_cut_off_later(open_log: OpenLog, files: ForgetfulFiles) -> None:
    log = open_log()
    log.append([{"n": 1}], source="test")
    before = files.content(FIRST)
    broken = Broken(files, "truncate", "write", error=errno.EROFS)
    broken.taken = 50
    with pytest.raises(LogError, match="could not be taken back: Read-only file system"):
        log.append([{"n": 2}], source="test")
    assert len(files.content(FIRST)) == len(before) + 50
    for _ in range(2):
        with pytest.raises(LogError, match=r"now: Read-only file system \(EROFS\); mount this file system for writing"):
            log.mend()
    broken.operations.clear()
    log.mend()
    assert files.content(FIRST) == before
    assert log.statistics().failure is None
    assert log.append([{"n": 2}], source="test").seq == 2
    assert seqs(files) == [1, 2]


@pytest.mark.parametrize("again", ["truncate", "write", "sync"])
def test_what_an_fsync_failed_on_is_written_anew(open_log: OpenLog, files: ForgetfulFiles, again: str) -> None:
    """From memory: neither the file nor the next fsync can be asked what of it is on the disk."""
    log = open_log(fsync="grouped")
    log.append([{"n": 1}], source="test")
    log.sync()
    log.append([{"n": 2}, {"n": 3}], source="test")
    log.append([{"n": 4}], source="test")
    broken = Broken(files, "sync", error=errno.EIO)
    with pytest.raises(LogError, match="could not be made durable"):
        log.sync()
    broken.operations = {again}
    for _ in range(2):
        with pytest.raises(LogError, match=r"could not be made durable.*now: Input/output error"):
            log.mend()
    broken.operations.clear()
    log.mend()
    assert log.statistics().unsynced == 0
    files.crash()
    assert seqs(files) == [1, 3, 4]


def test_a_write_that_fails_after_an_fsync_hides_nothing(open_log: OpenLog, files: ForgetfulFiles) -> None:
    """The fsync fails in another thread, while an append is under way."""
    log = open_log(fsync="grouped")
    log.append([{"n": 1}], source="test")
    broken = Broken(files, "sync", error=errno.EIO)

    def fault(operation: str, path: Path) -> int | None:
        if operation == "write":
            files.fault = broken
            with pytest.raises(LogError, match="could not be made durable"):
                log.sync()
            broken.operations = {"write", "truncate"}
        return broken(operation, path)

    files.fault = fault
    with pytest.raises(LogError, match="could not be taken back"):
        log.append([{"n": 2}], source="test")
    files.fault = None
    log.mend()
    assert log.append([{"n": 2}], source="test").seq == 2
    log.sync()
    files.crash()
    assert seqs(files) == [1, 2]


def test_a_transaction_that_was_refused_for_its_fsync_is_not_in_the_log(
    open_log: OpenLog, files: ForgetfulFiles
) -> None:
    """Its owner tries it again: it must not be there twice."""
    log = open_log(fsync="always")
    log.append([{"n": 1}], source="test")
    broken = Broken(files, "sync", "truncate")
    with pytest.raises(LogError, match="could not be made durable"):
        log.append([{"n": 2}], source="test")
    assert (log.last_seq, log.statistics().appended) == (1, 1)
    broken.operations.clear()
    log.mend()
    assert log.append([{"n": "again"}], source="test").seq == 2
    files.crash()
    transactions = [t for t in read_log(FOLDER, DictCodec(), files=files) if isinstance(t, Transaction)]
    assert [t.events for t in transactions] == [({"n": 1},), ({"n": "again"},)]


def test_where_nothing_is_kept_the_disk_is_asked(open_log: OpenLog, files: ForgetfulFiles) -> None:
    """``never`` syncs at the end of a segment only; if the disk has all of it, it goes on, else it says what is lost."""
    for has_all in (True, False):
        log = open_log(segment_bytes=1)
        seq = log.append([{"pad": "-" * 300}], source="test").seq
        if has_all:
            log.sync()
            log._segments.durability.synced_seq = seq - 1
        Broken(files, "sync")
        with pytest.raises(LogError, match="could not be made durable"):
            log.append([{"n": 2}], source="test")
        files.fault = None
        if has_all:
            log.mend()
            log.append([{"n": 2}], source="test")
            log.close()
            continue
        with pytest.raises(LogError, match=f"the disk has lost seq {seq} to {seq}: open the log again"):
            log.mend()
        assert log.statistics().is_final
        with pytest.raises(LogError, match="open the log again"):
            log.mend()


def test_a_folder_that_is_removed_is_begun_anew_with_the_state_as_it_is(
    open_log: OpenLog, files: ForgetfulFiles
) -> None:
    """An open file takes what is written to it long after its last name has gone."""
    state: bytes | None = None
    log = open_log(fsync="grouped", checkpoint=lambda: state)
    log.append([{"n": 1}], source="test")
    files.remove_folder(FOLDER)
    log.append([{"n": 2}], source="test")
    with pytest.raises(LogError, match="the file was removed: what is appended would be lost"):
        log.sync()
    with pytest.raises(LogError, match="the file was removed"):
        log.append([{"n": 3}], source="test")
    with pytest.raises(LogError, match="no checkpoint just now"):
        log.mend()
    state = b'{"after":2}'
    log.mend()
    log.append([{"n": 3}], source="test")
    log.close()
    read = list(read_log(FOLDER, DictCodec(), files=files))
    assert read[0] == Checkpoint(2, b'{"after":2}')
    assert [item.seq for item in read[1:]] == [3]
    assert verify(FOLDER, files=files).damage == ()
    with open_log() as log:
        assert log.append([{"n": 4}], source="test").seq == 4


def test_a_file_that_is_removed_among_others_is_not_replaced(open_log: OpenLog, files: ForgetfulFiles) -> None:
    """There would be a hole in the log; who opens it again goes on where it ends now."""
    log = open_log(segment_bytes=1, fsync="grouped")
    for n in range(2):
        log.append([{"pad": "-" * 300, "n": n}], source="test")
    files.remove(log.segments[-1].path)
    with pytest.raises(LogError, match="other segments are still there: open the log again"):
        log.mend()
    assert log.statistics().is_final
    log.close()
    with open_log() as log:
        assert log.last_seq == 1


def test_mending_without_a_failure_asks_the_disk(open_log: OpenLog, files: ForgetfulFiles) -> None:
    """For as much as it refused last; readiness must not come back before an append can."""
    log = open_log()
    log.append([{"n": 1}], source="test")
    room = 10_000

    def fault(operation: str, path: Path) -> int | None:
        used = sum(len(files.content(FOLDER / name)) for name in files.names(FOLDER))
        if operation == "write" and used >= room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return room - used if operation == "write" else None

    files.fault = fault
    with pytest.raises(LogError, match="could not be written: No space left on device"):
        log.append([{"pad": "-" * 20_000}], source="test")
    with pytest.raises(LogError, match="nothing can be written; now: No space left on device"):
        log.mend()
    room = 30_000
    log.mend()
    assert files.names(FOLDER) == [FIRST.name]
    log.append([{"pad": "-" * 20_000}], source="test")
    assert seqs(files) == [1, 2]


@contextmanager
def limited_files(octets: int) -> Iterator[None]:
    """No file of this process grows beyond this; a real write then takes what fits, and the next one nothing."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (octets, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_real_file_that_may_not_grow(tmp_path: Path) -> None:
    with SegmentedLog.open(tmp_path, DictCodec(), fsync="always") as log:
        log.append([{"n": 1}], source="test")
        size = log.segments[0].octets
        with limited_files(size + 100):
            for _ in range(2):
                with pytest.raises(LogError, match=r"File too large \(EFBIG\); raise the limit"):
                    log.append([{"pad": "-" * 20_000}], source="test")
            with pytest.raises(LogError, match="EFBIG"):
                log.mend()
            store = SecretStore(tmp_path)
            with pytest.raises(LogError, match=r"the secret could not be stored: File too large \(EFBIG\)"):
                store.put(b"-" * 20_000)
            assert sorted(path.name for path in store.path.iterdir()) == []
        assert log.segments[0].path.stat().st_size == size
        log.mend()
        log.append([{"pad": "-" * 20_000}], source="test")
    assert [item.seq for item in read_log(tmp_path, DictCodec())] == [0, 1, 2]


def test_a_store_whose_folder_was_removed_is_made_again(tmp_path: Path) -> None:
    store = SecretStore(tmp_path)
    store.path.rmdir()
    assert store.get(store.put(b"key")) == b"key"
    assert store.path.stat().st_mode & 0o777 == 0o700
