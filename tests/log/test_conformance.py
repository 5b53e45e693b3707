"""What every log does, in memory or on disk."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from controlplane.log import Checkpoint, Log, LogError, MemoryLog, Record, SegmentedLog, Transaction
from controlplane.log.testing import DictCodec

TIME = "2026-01-02T03:04:05.000006Z"
AnyLog = Log[dict[str, Any]]


@pytest.fixture(params=["memory", "disk"])
def log(request: pytest.FixtureRequest, tmp_path: Path, codec: DictCodec) -> Iterator[AnyLog]:
    log: AnyLog = MemoryLog(codec) if request.param == "memory" else SegmentedLog.open(tmp_path / "log", codec)
    yield log
    log.close()


def test_an_empty_log_is_an_empty_checkpoint(log: AnyLog) -> None:
    assert list(log.read()) == [Checkpoint(0, b"")]
    assert log.last_seq == 0


def test_seqs_count_from_one_without_gaps_and_a_transaction_is_named_by_its_last(log: AnyLog) -> None:
    assert log.append([{"n": 1}], source="files", time=TIME) == Transaction(1, 1, TIME, "files", ({"n": 1},))
    second = log.append([{"n": 2}, {"type": "Other", "n": 3}, {"n": 4}], source="kubernetes", time=TIME)
    assert (second.first_seq, second.seq, log.last_seq) == (2, 4, 4)
    assert [(r.seq, r.transaction, r.event["n"]) for r in second.records()] == [(2, 4, 2), (3, 4, 3), (4, 4, 4)]
    assert second.records()[1] == Record(3, 4, TIME, "kubernetes", {"type": "Other", "n": 3})


def test_what_is_read_is_what_was_appended(log: AnyLog) -> None:
    appended = [
        log.append([{"text": 'ü "quoted" \n\t\0 \u2028'}, {"n": n}], source='a "b" ü', time=TIME) for n in range(5)
    ]
    assert list(log.read()) == [Checkpoint(0, b""), *appended]


def test_until_leaves_out_a_transaction_that_it_cuts(log: AnyLog) -> None:
    for size in (1, 3, 2):
        log.append([{}] * size, source="test")
    seqs = {until: [t.seq for t in log.read(until=until)][1:] for until in range(8)}
    assert seqs == {0: [], 1: [1], 2: [1], 3: [1], 4: [1, 4], 5: [1, 4], 6: [1, 4, 6], 7: [1, 4, 6]}


def test_the_time_is_now_unless_given(log: AnyLog) -> None:
    first = log.append([{}], source="test")
    second = log.append([{}], source="test")
    assert "2026-01-01T00:00:00.000000Z" < first.time <= second.time < "9999"
    assert len(first.time) == len(TIME)


@pytest.mark.parametrize("time", ["2026-01-02T03:04:05Z", "2026-01-02T03:04:05.000006+00:00", "", 'x","seq":9'])
def test_a_time_in_another_form_is_refused(log: AnyLog, time: str) -> None:
    with pytest.raises(ValueError, match="time must look like"):
        log.append([{}], source="test", time=time)
    assert log.last_seq == 0


def test_a_transaction_without_events_is_refused(log: AnyLog) -> None:
    with pytest.raises(ValueError, match="at least one event"):
        log.append([], source="test")


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"null", b"{", b'{"a":1}{}', b'{\n"a":1}', b'{"a":"\xff"}', b'{"a":"\0"}', b' {"a":1}']
)
def test_what_could_not_be_read_back_is_not_written(log: AnyLog, data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    log.append([{"n": 1}], source="test")
    with monkeypatch.context() as patch:
        patch.setattr(DictCodec, "encode", lambda self, event: ("Broken", data if event["n"] == 3 else b"{}"))
        with pytest.raises(ValueError, match="Broken"):
            log.append([{"n": 2}, {"n": 3}], source="test")
    assert log.append([{"n": 2}], source="test").seq == 2


def test_a_reader_does_not_see_what_comes_after_or_half_a_transaction(log: AnyLog) -> None:
    log.append([{}], source="test")
    reader = log.read()
    assert next(reader) == Checkpoint(0, b"")
    log.append([{}, {}], source="test")
    assert [t.seq for t in reader] in ([1], [1, 3])


def test_a_closed_log_refuses_and_closing_twice_is_fine(log: AnyLog) -> None:
    log.append([{}], source="test")
    log.close()
    log.close()
    with pytest.raises(LogError, match="closed"):
        log.append([{}], source="test")
    assert log.last_seq == 1


def test_statistics_count_from_opening(log: AnyLog) -> None:
    log.append([{}, {}], source="test")
    log.append([{}], source="test")
    statistics = log.statistics()
    assert (statistics.last_seq, statistics.appended, statistics.transactions, statistics.segments) == (3, 3, 2, 1)
    assert statistics.unsynced == 3
    assert statistics.octets > 0
    assert statistics.failure is None
    log.sync()
    assert log.sync_if_due(0.0) == 0.1
