"""The bytes are what README.md says: checked with nothing but README.md, json and zlib."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import zlib
from pathlib import Path
from typing import Any

import pytest

import controlplane.log
from controlplane.log import Checkpoint, SegmentedLog, Transaction, read_log, verify
from controlplane.log.testing import DictCodec

README = Path(controlplane.log.__file__).with_name("README.md").read_text()
EXAMPLE = re.search(r"```json\n(.*?)```", README, re.DOTALL)[1].encode()  # type: ignore[index]


def another_reader(folder: Path) -> tuple[Any, list[list[Any]]]:
    """What someone writes who has read README.md only: the checkpoint, the transactions' events."""
    transactions: list[list[Any]] = []
    checkpoint: Any = None
    identity: Any = None
    last_seq: Any = None
    previous: Any = None
    paths = sorted(path for path in folder.iterdir() if re.fullmatch(r"\d{20}\.jsonl", path.name))
    for path in paths:
        events: list[Any] = []
        for number, line in enumerate(path.read_bytes().splitlines(keepends=True), 1):
            if not line.endswith(b"\n") and path == paths[-1]:
                break
            assert line[-21:] == b',"crc32":"%08x"}\n' % zlib.crc32(line[:-21]), (path, number)
            value = json.loads(line)
            if number == 1:
                assert (value["log"], value["format"], value["first_seq"]) == ("controlplane", 1, int(path.name[:20]))
                assert identity in (None, value["identity"])
                assert previous is None or value["previous"] == previous
                identity, previous = value["identity"], value["first_seq"]
            elif number == 2:
                assert value["seq"] == previous - 1
                assert last_seq in (None, value["seq"])
                assert (value["checkpoint"] is None) == (value["seq"] == 0)
                checkpoint, last_seq = (value if checkpoint is None else checkpoint), value["seq"]
            else:
                assert value["seq"] == last_seq + 1
                events.append(value)
                last_seq = value["seq"]
                assert len({(e["transaction"], e["time"], e["source"]) for e in events}) == 1
                if last_seq == value["transaction"]:
                    transactions.append(events)
                    events = []
        assert path == paths[-1] or not events
    return checkpoint, transactions


def as_another_reader(folder: Path) -> tuple[Any, list[list[Any]]]:
    checkpoint, *transactions = read_log(folder, DictCodec())
    assert isinstance(checkpoint, Checkpoint)
    return (
        {"seq": checkpoint.seq, "checkpoint": json.loads(checkpoint.data or b"null")},
        [
            [
                {
                    "seq": r.seq,
                    "transaction": r.transaction,
                    "time": r.time,
                    "source": r.source,
                    "type": "Note",
                    "data": r.event,
                }
                for r in transaction.records()
            ]
            for transaction in transactions
            if isinstance(transaction, Transaction)
        ],
    )


def without_checksums(read: tuple[Any, list[list[Any]]]) -> tuple[Any, list[list[Any]]]:
    def strip(value: dict[str, Any]) -> dict[str, Any]:
        return {name: member for name, member in value.items() if name != "crc32"}

    return strip(read[0]), [[strip(event) for event in events] for events in read[1]]


def test_another_reader_reads_the_same(three_segments: Path) -> None:
    read = without_checksums(another_reader(three_segments))
    assert read == as_another_reader(three_segments)
    assert [len(events) for events in read[1]] == [2, 2, 1, 3]


@pytest.mark.parametrize("cut", [1, 30, 200, 400])
def test_another_reader_stops_at_the_same_unfinished_transaction(three_segments: Path, cut: int) -> None:
    path = three_segments / "00000000000000000005.jsonl"
    path.write_bytes(path.read_bytes()[:-cut])
    assert verify(three_segments).torn
    assert without_checksums(another_reader(three_segments)) == as_another_reader(three_segments)


def test_the_example_is_a_log(tmp_path: Path) -> None:
    (tmp_path / "00000000000000000001.jsonl").write_bytes(EXAMPLE)
    assert verify(tmp_path).damage == ()
    assert len(another_reader(tmp_path)[1]) == 1
    with SegmentedLog.open(tmp_path, DictCodec()) as log:
        assert log.append([{}], source="test").seq == 3


def test_the_example_is_what_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    header = json.loads(EXAMPLE.splitlines()[0])
    monkeypatch.setattr("controlplane.log.opening.timestamp", lambda: header["time"])
    monkeypatch.setattr("uuid.UUID.hex", header["identity"])
    with SegmentedLog.open(tmp_path, DictCodec()) as log:
        events = [json.loads(line) for line in EXAMPLE.splitlines()[2:]]
        log.append([{"type": e["type"], **e["data"]} for e in events], source="files", time=events[0]["time"])
    assert (tmp_path / "00000000000000000001.jsonl").read_bytes() == EXAMPLE


@pytest.mark.skipif(not all(map(shutil.which, ("sh", "sed", "gzip", "tail", "od"))), reason="a tool is missing")
def test_the_example_can_be_checked_with_the_shell(tmp_path: Path) -> None:
    (tmp_path / "00000000000000000001.jsonl").write_bytes(EXAMPLE)
    script = re.search(r"```sh\n(.*?)```", README, re.DOTALL)
    assert script
    printed = subprocess.run(["sh", "-c", script[1]], cwd=tmp_path, capture_output=True, check=True, text=True).stdout
    assert printed.split() == [json.loads(EXAMPLE.splitlines()[2])["crc32"]]
