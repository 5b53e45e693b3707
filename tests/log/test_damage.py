"""What a crash leaves is cut off; what no crash leaves is told: file, line and seq. Nothing passes unnoticed."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from controlplane.log import LogError, LogReport, SegmentedLog, Transaction, read_log, verify
from controlplane.log.lines import HeaderLine, InvalidLine, checkpoint_line, event_line, header_line, read_event
from controlplane.log.testing import DictCodec, ForgetfulFiles

FOLDER = Path("/log")
TIME = "2026-01-02T03:04:05.000006Z"
FIRST, SECOND, THIRD = (f"{seq:020d}.jsonl" for seq in (1, 3, 5))


def seqs(folder: Path, files: ForgetfulFiles | None = None) -> list[int]:
    return [t.seq for t in read_log(folder, DictCodec(), files=files) if isinstance(t, Transaction)]


@pytest.fixture
def in_memory(three_segments: Path, files: ForgetfulFiles) -> ForgetfulFiles:
    """The three segments where they can be changed a thousand times a second."""
    files.make_folder(FOLDER, 0o777)
    for path in three_segments.glob("*.jsonl"):
        files.overwrite(FOLDER / path.name, path.read_bytes())
    return files


def test_the_fixture_is_as_it_says(three_segments: Path) -> None:
    report = verify(three_segments, DictCodec())
    assert (report.damage, report.torn, report.foreign) == ((), None, ())
    assert (report.first_seq, report.last_seq, report.events, report.transactions) == (1, 8, 8, 4)
    assert report.octets == sum(path.stat().st_size for path in three_segments.glob("*.jsonl"))
    assert report.last_time == TIME
    assert [(s.first_seq, s.last_seq, s.events, s.transactions) for s in report.segments] == [
        (1, 2, 2, 1),
        (3, 4, 2, 1),
        (5, 8, 4, 2),
    ]


class TestTornEnd:
    def test_at_every_octet_of_the_last_transaction(self, in_memory: ForgetfulFiles) -> None:
        path = FOLDER / THIRD
        whole = in_memory.content(path)
        lines = whole.splitlines(keepends=True)
        start = sum(map(len, lines[:3]))
        for size in range(start, len(whole) + 1):
            in_memory.overwrite(path, whole[:size])
            expected = [2, 4, 5, 8] if size == len(whole) else [2, 4, 5]
            assert seqs(FOLDER, in_memory) == expected, "a reader takes it for a writer at work"
            report = verify(FOLDER, files=in_memory)
            assert report.damage == ()
            with SegmentedLog.open(FOLDER, DictCodec(), files=in_memory) as log:
                cut = log.opened.cut
                assert cut == report.torn
                if size in (start, len(whole)):
                    assert cut is None
                    assert log.opened.warnings() == ()
                else:
                    assert cut
                    assert (cut.file, cut.line, cut.offset, cut.octets, cut.seq) == (
                        str(path),
                        4,
                        start,
                        size - start,
                        6,
                    )
                    assert "line 4: cut off" in log.opened.warnings()[0]
                assert log.append([{"n": "next"}], source="test").seq == expected[-1] + 1
            assert verify(FOLDER, DictCodec(), files=in_memory).torn is None
            assert seqs(FOLDER, in_memory) == [*expected, expected[-1] + 1]

    def test_at_every_octet_of_the_only_transaction(self, in_memory: ForgetfulFiles) -> None:
        content = in_memory.content(FOLDER / FIRST)
        for name in (SECOND, THIRD):
            in_memory.remove(FOLDER / name)
        start = sum(map(len, content.splitlines(keepends=True)[:2]))
        for size in range(start, len(content)):
            in_memory.overwrite(FOLDER / FIRST, content[:size])
            with SegmentedLog.open(FOLDER, DictCodec(), files=in_memory) as log:
                assert log.last_seq == 0
            assert in_memory.content(FOLDER / FIRST) == content[:start]

    @pytest.mark.parametrize("zeros", [1, 511, 4096])
    @pytest.mark.parametrize("kept", [0, 1, 100])
    def test_blocks_that_were_never_written(self, in_memory: ForgetfulFiles, zeros: int, kept: int) -> None:
        """Some file systems have the new size on the disk before the content: it then reads as zeros."""
        path = FOLDER / THIRD
        lines = in_memory.content(path).splitlines(keepends=True)
        whole = b"".join(lines[:3])
        in_memory.overwrite(path, whole + b"".join(lines[3:])[:kept] + bytes(zeros))
        with SegmentedLog.open(FOLDER, DictCodec(), files=in_memory) as log:
            assert (log.last_seq, log.opened.cut and log.opened.cut.octets) == (5, kept + zeros)
        in_memory.crash()
        assert in_memory.content(path) == whole, "the cut is durable"

    def test_in_a_segment_that_has_a_successor_is_damage(self, in_memory: ForgetfulFiles) -> None:
        content = in_memory.content(FOLDER / SECOND)
        for size in range(sum(map(len, content.splitlines(keepends=True)[:2])), len(content)):
            in_memory.overwrite(FOLDER / SECOND, content[:size])
            with pytest.raises(LogError) as info:
                seqs(FOLDER, in_memory)
            assert info.value.seq in (3, 4, 5)
            assert verify(FOLDER, files=in_memory).damage


class TestFlippedOctet:
    def test_no_other_octet_makes_a_valid_line(self) -> None:
        """All 255 others at every position of a line; CRC-32 finds every error within 32 bits by construction."""
        line = event_line(7, 8, TIME, "files", "Note", b'{"text":"abcABC019"}')
        assert read_event(line)
        for position in range(len(line)):
            for other in range(256):
                if other != line[position]:
                    with pytest.raises(InvalidLine):
                        read_event(line[:position] + bytes([other]) + line[position + 1 :])

    @pytest.mark.parametrize("flip", [0x01, 0x20, 0x80, "newline"])
    @pytest.mark.parametrize("name", [FIRST, SECOND, THIRD])
    def test_every_octet_of_a_log_counts(self, in_memory: ForgetfulFiles, name: str, flip: int | str) -> None:
        """Each flip is an error that names file, line and seq, but for the log's very last octet: that looks torn."""
        path = FOLDER / name
        content = in_memory.content(path)
        first_seq = int(name[:20])
        line = 1
        for position, octet in enumerate(content):
            other = ord("\n") if isinstance(flip, str) else octet ^ flip
            if other == octet:
                line += 1
                continue
            in_memory.overwrite(path, content[:position] + bytes([other]) + content[position + 1 :])
            report = verify(FOLDER, files=in_memory)
            if name == THIRD and position == len(content) - 1:
                assert (report.damage, report.torn and report.torn.seq) == ((), 6)
                assert seqs(FOLDER, in_memory) == [2, 4, 5]
                break
            assert report.damage
            assert (report.damage[0].file, report.damage[0].line) == (str(path), line)
            assert report.damage[0].seq == first_seq + max(0, line - 3)
            with pytest.raises(LogError) as info:
                seqs(FOLDER, in_memory)
            assert (info.value.file, info.value.line, info.value.seq) == (str(path), line, report.damage[0].seq)
            if name == THIRD or line == 1:
                with pytest.raises(LogError, match="controlplane log verify"):
                    SegmentedLog.open(FOLDER, DictCodec(), files=in_memory)
            else:
                SegmentedLog.open(FOLDER, DictCodec(), files=in_memory).close()
            if octet == ord("\n"):
                line += 1

    def test_opening_leaves_a_damaged_log_as_it_is(self, in_memory: ForgetfulFiles) -> None:
        content = in_memory.content(FOLDER / THIRD)
        damaged = content[:-50] + b"#" + content[-49:-5]
        in_memory.overwrite(FOLDER / THIRD, damaged)
        SegmentedLog.open(FOLDER, DictCodec(), files=in_memory).close()  # without a newline it is torn
        damaged = content[:-50] + b"#" + content[-49:]
        in_memory.overwrite(FOLDER / THIRD, damaged)
        with pytest.raises(LogError, match="line 6, seq 8: the line's checksum does not match"):
            SegmentedLog.open(FOLDER, DictCodec(), files=in_memory)
        assert in_memory.content(FOLDER / THIRD) == damaged


Change = Callable[[list[bytes]], list[bytes]]


def sealed(seq: int, transaction: int, *, time: str = TIME, source: str = "test") -> bytes:
    return event_line(seq, transaction, time, source, "Note", b"{}")


CHANGES: dict[str, tuple[Change, int, int, str]] = {
    # what happens to the newest segment's lines (header, checkpoint, 5, 6, 7, 8): the line, seq and reason that are told
    "a line is missing": (lambda lines: lines[:3] + lines[4:], 4, 6, "seq 7 stands where seq 6 should"),
    "a line is there twice": (lambda lines: lines[:4] + lines[3:], 5, 7, "seq 6 stands where seq 7 should"),
    "two lines are swapped": (
        lambda lines: [*lines[:3], lines[4], lines[3], lines[5]],
        4,
        6,
        "seq 7 stands where seq 6 should",
    ),
    "a line of other stuff": (lambda lines: [*lines[:3], b"hello\n", *lines[3:]], 4, 6, "does not end in a checksum"),
    "an empty line": (lambda lines: [*lines[:3], b"\n", *lines[3:]], 4, 6, "does not end in a checksum"),
    "the checkpoint is missing": (lambda lines: [lines[0], *lines[2:]], 2, 5, "the line is no checkpoint"),
    "the checkpoint of another seq": (
        lambda lines: [lines[0], checkpoint_line(3, b"{}"), *lines[2:]],
        2,
        5,
        "the checkpoint is that of seq 3",
    ),
    "the header is missing": (lambda lines: lines[1:], 1, 5, "the line is no segment header"),
    "the header is missing and so is all": (lambda lines: [], 1, 5, "the file is empty"),
    "the header only": (lambda lines: lines[:1], 2, 5, "the file ends before it"),
    "half a header": (lambda lines: [lines[0][:40]], 1, 5, "does not end in a checksum"),
    "half a checkpoint": (lambda lines: [lines[0], lines[1][:30]], 2, 5, "does not end in a checksum"),
    "another event": (lambda lines: [*lines[:3], lines[1]], 4, 6, "the line is no event"),
    "a transaction before its seq": (lambda lines: [*lines[:3], sealed(6, 5)], 4, 6, "smaller than the seq"),
    "a transaction that changes its mind": (
        lambda lines: [*lines[:3], sealed(6, 8), sealed(7, 7)],
        5,
        7,
        "transaction 7 begins before transaction 8 has ended",
    ),
    "two times in a transaction": (
        lambda lines: [*lines[:3], sealed(6, 7), sealed(7, 7, time=TIME.replace("05", "06"))],
        5,
        7,
        "time or source differ",
    ),
    "two sources in a transaction": (
        lambda lines: [*lines[:3], sealed(6, 7), sealed(7, 7, source="other")],
        5,
        7,
        "time or source differ",
    ),
}


@pytest.mark.parametrize("case", CHANGES)
def test_lines_that_do_not_follow_each_other(in_memory: ForgetfulFiles, case: str) -> None:
    change, line, seq, reason = CHANGES[case]
    path = FOLDER / THIRD
    in_memory.overwrite(path, b"".join(change(in_memory.content(path).splitlines(keepends=True))))
    with pytest.raises(LogError, match=reason) as opening:
        SegmentedLog.open(FOLDER, DictCodec(), files=in_memory)
    with pytest.raises(LogError, match=reason) as reading:
        seqs(FOLDER, in_memory)
    found = verify(FOLDER, files=in_memory).damage[0]
    for error in (opening.value, reading.value, found):
        assert (error.file, error.line, error.seq) == (str(path), line, seq)


def test_one_damaged_line_is_one_damage(in_memory: ForgetfulFiles) -> None:
    """What follows it is checked on, not reported again."""
    path = FOLDER / THIRD
    lines = in_memory.content(path).splitlines(keepends=True)
    for index in range(2, len(lines)):
        damaged = [*lines[:index], lines[index].replace(b"Note", b"Nope"), *lines[index + 1 :]]
        in_memory.overwrite(path, b"".join(damaged))
        report = verify(FOLDER, DictCodec(), files=in_memory)
        assert [(d.line, d.seq) for d in report.damage] == [(index + 1, index + 3)]
        assert report.events == 7


def test_all_damage_is_found_not_only_the_first(in_memory: ForgetfulFiles) -> None:
    def spoil(name: str, line: int) -> None:
        lines = in_memory.content(FOLDER / name).splitlines(keepends=True)
        lines[line - 1] = lines[line - 1].replace(b'"seq":', b'"sea":')
        in_memory.overwrite(FOLDER / name, b"".join(lines))

    spoil(FIRST, 2)
    spoil(FIRST, 4)
    spoil(SECOND, 3)
    spoil(THIRD, 4)
    spoil(THIRD, 5)
    report: LogReport = verify(FOLDER, files=in_memory)
    places = [(Path(d.file).name, d.line, d.seq) for d in report.damage]
    # The end of the first segment is lost, so the second does not go on where it ends.
    assert places == [(FIRST, 2, 1), (FIRST, 4, 2), (SECOND, 1, 3), (SECOND, 3, 3), (THIRD, 4, 6), (THIRD, 5, 7)]
    assert (report.last_seq, report.events) == (8, 4)
    lines = in_memory.content(FOLDER / SECOND).splitlines(keepends=True)
    for damage in report.damage:
        if damage.file.endswith(SECOND):
            assert damage.offset == sum(map(len, lines[: damage.line - 1]))


def test_what_follows_damage_can_be_given_up_as_the_readme_says(in_memory: ForgetfulFiles) -> None:
    path = FOLDER / THIRD
    content = in_memory.content(path)
    for line, kept in ((3, 4), (4, 5), (5, 5), (6, 5)):
        lines = content.splitlines(keepends=True)
        lines[line - 1] = lines[line - 1].replace(b"Note", b"Nope")
        in_memory.overwrite(path, b"".join(lines))
        (damage,) = verify(FOLDER, files=in_memory).damage
        in_memory.overwrite(path, b"".join(lines)[: damage.offset])
        with SegmentedLog.open(FOLDER, DictCodec(), files=in_memory) as log:
            assert log.last_seq == kept


def test_a_report_is_bounded(in_memory: ForgetfulFiles) -> None:
    in_memory.overwrite(FOLDER / THIRD, in_memory.content(FOLDER / THIRD) + b"\n" * 5000)
    report = verify(FOLDER, files=in_memory)
    assert (len(report.damage), report.damages) == (1000, 5000)


class TestSegments:
    def test_one_in_the_middle_is_missing(self, in_memory: ForgetfulFiles) -> None:
        in_memory.remove(FOLDER / SECOND)
        for act in (SegmentedLog.open, read_log):
            with pytest.raises(LogError, match="the segment of seq 3 before it is missing") as info:
                act(FOLDER, DictCodec(), files=in_memory)
            assert (info.value.file, info.value.line, info.value.seq) == (str(FOLDER / THIRD), 1, 5)
        assert verify(FOLDER, files=in_memory).damage

    def test_the_oldest_is_missing_which_is_what_dropping_will_do(self, in_memory: ForgetfulFiles) -> None:
        in_memory.remove(FOLDER / FIRST)
        assert verify(FOLDER, files=in_memory).damage == ()
        with SegmentedLog.open(FOLDER, DictCodec(), files=in_memory) as log:
            assert (log.opened.first_seq, log.last_seq) == (3, 8)

    def test_the_end_of_one_is_missing(self, in_memory: ForgetfulFiles) -> None:
        """Cut between two transactions no line is wrong; only that seqs are missing shows it."""
        lines = in_memory.content(FOLDER / SECOND).splitlines(keepends=True)
        in_memory.overwrite(FOLDER / SECOND, b"".join(lines[:2]))
        with pytest.raises(LogError, match="ends at seq 2: what is between is missing") as info:
            seqs(FOLDER, in_memory)
        assert (info.value.file, info.value.line, info.value.seq) == (str(FOLDER / THIRD), 1, 5)
        assert [d.seq for d in verify(FOLDER, files=in_memory).damage] == [5]

    @pytest.mark.parametrize("copy", ["00000000000000000002.jsonl", "00000000000000000009.jsonl"])
    def test_one_is_there_twice(self, in_memory: ForgetfulFiles, copy: str) -> None:
        in_memory.overwrite(FOLDER / copy, in_memory.content(FOLDER / FIRST))
        for act in (SegmentedLog.open, read_log):
            with pytest.raises(LogError, match="the file holds the segment of seq 1: a copy, or renamed") as info:
                act(FOLDER, DictCodec(), files=in_memory)
            assert info.value.file == str(FOLDER / copy)
        assert verify(FOLDER, files=in_memory).damage[0].file == str(FOLDER / copy)

    def test_one_is_of_another_log(self, in_memory: ForgetfulFiles, tmp_path: Path) -> None:
        checkpoints = [b"{}", b"{}"]
        with SegmentedLog.open(
            tmp_path / "other", DictCodec(), segment_bytes=1, checkpoint=lambda: checkpoints.pop()
        ) as other:
            for _ in range(3):
                other.append([{"pad": "-" * 100}] * 2, source="test")
        in_memory.overwrite(FOLDER / SECOND, (tmp_path / "other" / SECOND).read_bytes())
        for act in (SegmentedLog.open, read_log):
            with pytest.raises(LogError, match=f"it belongs to another log than {FIRST}: identity"):
                act(FOLDER, DictCodec(), files=in_memory)
        assert [d.seq for d in verify(FOLDER, files=in_memory).damage] == [3, 5]

    def test_an_empty_last_one_can_be_removed(self, in_memory: ForgetfulFiles) -> None:
        path = FOLDER / f"{9:020d}.jsonl"
        in_memory.overwrite(path, b"")
        for act in (SegmentedLog.open, read_log):
            with pytest.raises(LogError, match="the file is empty; if seq 9 and later are to be given up, remove it"):
                act(FOLDER, DictCodec(), files=in_memory)
        in_memory.remove(path)
        with SegmentedLog.open(FOLDER, DictCodec(), files=in_memory) as log:
            assert log.append([{}], source="test").seq == 9


def test_a_log_of_something_else(in_memory: ForgetfulFiles) -> None:
    header = HeaderLine("another", 1, 1, "0" * 32, 1, None, TIME)
    in_memory.overwrite(FOLDER / FIRST, header_line(header))
    with pytest.raises(LogError, match="the header of a 'another' log, not of ours"):
        read_log(FOLDER, DictCodec(), files=in_memory)


class TestFolders:
    def test_none(self, tmp_path: Path) -> None:
        for act in (lambda path: read_log(path, DictCodec()), verify):
            with pytest.raises(LogError, match="there is no such folder") as info:
                act(tmp_path / "no")
            assert info.value.file == str(tmp_path / "no")
        assert not (tmp_path / "no").exists()

    def test_an_empty_one(self, tmp_path: Path) -> None:
        for act in (lambda path: read_log(path, DictCodec()), verify):
            with pytest.raises(LogError, match="there is no log in this folder"):
                act(tmp_path)
        with SegmentedLog.open(tmp_path, DictCodec()) as log:
            assert log.opened.created
        assert sorted(path.name for path in tmp_path.iterdir()) == [FIRST, "lock"]

    def test_a_file_instead(self, tmp_path: Path) -> None:
        (tmp_path / "log").write_text("")
        with pytest.raises(LogError, match=r"/log: "):
            SegmentedLog.open(tmp_path / "log", DictCodec())
        with pytest.raises(LogError, match=r"/log: it cannot be read: Not a directory"):
            read_log(tmp_path / "log", DictCodec())

    @pytest.fixture
    def unprivileged(self) -> Iterator[Path]:
        """A folder that everyone may enter, and this process without the right to do everything."""
        folder = Path(tempfile.mkdtemp(dir=tempfile.gettempdir()))
        folder.chmod(0o755)
        was = os.geteuid()
        try:
            if was == 0:
                os.chown(folder, 65534, -1)
                os.seteuid(65534)
            yield folder
        finally:
            os.seteuid(was)
            folder.chmod(0o755)
            shutil.rmtree(folder)

    def test_one_that_may_not_be_written_to(self, unprivileged: Path) -> None:
        with SegmentedLog.open(unprivileged, DictCodec()) as log:
            log.append([{"n": 1}], source="test")
        (unprivileged / "lock").unlink()
        unprivileged.chmod(0o555)
        with pytest.raises(LogError, match="the folder cannot be written to: Permission denied"):
            SegmentedLog.open(unprivileged, DictCodec())
        assert seqs(unprivileged) == [1], "a reader needs no more than to read"
        assert verify(unprivileged).last_seq == 1
        with pytest.raises(LogError, match="the folder cannot be written to: Permission denied"):
            SegmentedLog.open(unprivileged / "below", DictCodec())

    def test_segments_that_may_not_be_read_or_written(self, unprivileged: Path) -> None:
        with SegmentedLog.open(unprivileged, DictCodec()) as log:
            log.append([{"n": 1}], source="test")
        (unprivileged / FIRST).chmod(0o444)
        with pytest.raises(LogError, match=f"{FIRST}: it cannot be opened: Permission denied"):
            SegmentedLog.open(unprivileged, DictCodec())
        (unprivileged / FIRST).chmod(0)
        with pytest.raises(LogError, match=f"{FIRST}: it cannot be read: Permission denied"):
            seqs(unprivileged)


def test_a_reader_beside_a_writer_sees_whole_transactions_only(
    open_log: Callable[..., SegmentedLog[dict[str, Any]]], files: ForgetfulFiles
) -> None:
    """At every moment of appends that the system takes piece by piece, new segments included."""
    log = open_log(segment_bytes=1)
    seen: list[list[int]] = []

    def read_between(operation: str, path: Path) -> int | None:
        seen.append(seqs(FOLDER, files))
        verified = verify(FOLDER, files=files)
        assert verified.damage == ()
        return 97 if operation == "write" else None

    files.fault = read_between
    for size in (1, 3, 2):
        log.append([{"pad": "-" * 200}] * size, source="test")
    assert len(seen) > 20
    assert {tuple(s) for s in seen} == {(), (1,), (1, 4)}
