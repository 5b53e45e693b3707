"""A log against its model: any order of appends, syncs, segments, faults, crashes and openings."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from controlplane.log import Checkpoint, LogError, SegmentedLog, Transaction, read_log, verify
from controlplane.log.testing import DictCodec, ForgetfulFiles

FOLDER = Path("/log")
TIME = "2026-01-02T03:04:05.000006Z"
sizes = st.lists(st.integers(0, 300), min_size=1, max_size=4)


class LogMachine(RuleBasedStateMachine):
    """The model is the list of transactions, and how many of them are promised to survive a power failure."""

    def __init__(self) -> None:
        super().__init__()
        self.files = ForgetfulFiles()
        self.transactions: list[Transaction[dict[str, Any]]] = []
        self.synced = 0
        self.maybe: Transaction[dict[str, Any]] | None = None
        """Its append failed on its sync: it is not in the log, unless this is opened before it is mended."""

    @initialize(segment_bytes=st.sampled_from([1, 500, 2000]), fsync=st.sampled_from(["always", "grouped", "never"]))
    def begin(self, segment_bytes: int, fsync: str) -> None:
        self.options: dict[str, Any] = {"segment_bytes": segment_bytes, "fsync": fsync}
        self.open()

    def open(self) -> None:
        self.log: SegmentedLog[dict[str, Any]] = SegmentedLog.open(
            FOLDER, DictCodec(), files=self.files, checkpoint=self.checkpoint, **self.options
        )
        # Transactions of the model that the disk did not keep are gone; no others are, and none is new.
        kept = self.log.last_seq
        if self.maybe is not None and self.maybe.seq == kept:
            self.transactions.append(self.maybe)
        self.maybe = None
        assert kept == 0 or kept in {t.seq for t in self.transactions}
        self.transactions = [t for t in self.transactions if t.seq <= kept]
        assert len(self.transactions) >= self.synced
        self.synced = len(self.transactions)

    def checkpoint(self) -> bytes:
        return b'{"transactions":%d}' % len(self.transactions)

    @property
    def works(self) -> bool:
        return self.log.statistics().failure is None

    def note_syncs(self) -> None:
        if self.log.statistics().unsynced == 0:
            self.synced = len(self.transactions)

    @precondition(lambda self: self.works)
    @rule(sizes=sizes)
    def append(self, sizes: list[int]) -> None:
        segments = len(self.log.segments)
        before = len(self.transactions)
        self.transactions.append(self.log.append([{"pad": "-" * size} for size in sizes], source="test"))
        if len(self.log.segments) > segments:
            self.synced = before
        self.note_syncs()

    @precondition(lambda self: self.works)
    @rule()
    def sync(self) -> None:
        self.log.sync()
        self.note_syncs()

    @precondition(lambda self: self.works)
    @rule(
        sizes=sizes,
        fails=st.sets(st.sampled_from(["write", "truncate", "create", "rename", "sync", "sync_folder"]), min_size=1),
        taken=st.none() | st.integers(1, 400),
    )
    def append_to_a_failing_disk(self, sizes: list[int], fails: set[str], taken: int | None) -> None:
        pieces = [] if taken is None else [taken]
        failed: list[str] = []

        def fault(operation: str, path: Path) -> int | None:
            if operation == "write" and pieces:
                return pieces.pop()
            if operation in fails:
                failed.append(operation)
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return None

        before, segments = len(self.transactions), len(self.log.segments)
        events = [{"pad": "-" * size} for size in sizes]
        self.files.fault = fault
        try:
            self.transactions.append(self.log.append(events, source="test", time=TIME))
        except LogError:
            assert failed
            last_seq = self.transactions[-1].seq if self.transactions else 0
            assert self.log.last_seq == last_seq
            if self.options["fsync"] == "always" and not self.works:
                self.maybe = Transaction(last_seq + len(events), last_seq + 1, TIME, "test", tuple(events))
        finally:
            self.files.fault = None
        if len(self.log.segments) > segments:
            self.synced = before
        if self.works:
            self.note_syncs()

    @precondition(lambda self: not self.works)
    @rule(fails=st.sets(st.sampled_from(["write", "truncate", "create", "rename", "sync", "sync_folder"])))
    def mend(self, fails: set[str]) -> None:
        """As often as it fails, nothing that was appended is lost; where nobody keeps it, that is told."""

        def fault(operation: str, path: Path) -> int | None:
            if operation in fails:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return None

        self.files.fault = fault
        try:
            self.log.mend()
            self.maybe = None
            self.note_syncs()
        except LogError:
            assert fails or (self.log.statistics().is_final and self.options["fsync"] == "never")
            assert not self.works
        finally:
            self.files.fault = None

    @rule()
    def close_and_open(self) -> None:
        if self.works:
            self.synced = len(self.transactions)
        self.log.close()
        self.open()

    @rule()
    def die(self) -> None:
        if self.works:
            self.synced = len(self.transactions)  # what the process wrote, the system has
        self.files.restart()
        self.open()

    @rule(data=st.data())
    def lose_power(self, data: Any) -> None:
        self.files.crash(lambda most: data.draw(st.integers(0, most)))
        self.open()

    @precondition(lambda self: self.works)
    @rule(until=st.integers(0, 50))
    def read_until(self, until: int) -> None:
        read = list(read_log(FOLDER, DictCodec(), from_segment="newest", until=until, files=self.files))
        start = read[0]
        assert isinstance(start, Checkpoint)
        assert read[1:] == [t for t in self.transactions if start.seq < t.seq <= until]
        count = sum(t.seq <= start.seq for t in self.transactions)
        assert start.data == (b'{"transactions":%d}' % count if start.seq else b"")

    @invariant()
    def what_was_appended_is_there(self) -> None:
        if not hasattr(self, "log"):
            return
        read = list(self.log.read())
        if self.works:
            assert read == [Checkpoint(0, b""), *self.transactions]
        else:
            # What is being written anew when the disk fails once more is for a while in memory only.
            possible = [Checkpoint(0, b""), *self.transactions, *([self.maybe] if self.maybe is not None else [])]
            assert read == possible[: len(read)]
            assert len(read) > self.synced
        report = verify(FOLDER, DictCodec(), files=self.files)
        assert report.damage == ()
        assert self.works <= (report.torn is None)


TestLog = LogMachine.TestCase
TestLog.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
