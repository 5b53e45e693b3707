from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from controlplane.log import SegmentedLog
from controlplane.log.testing import DictCodec, ForgetfulFiles

FOLDER = Path("/log")
TIME = "2026-01-02T03:04:05.000006Z"


@pytest.fixture
def codec() -> DictCodec:
    return DictCodec()


@pytest.fixture
def files() -> ForgetfulFiles:
    return ForgetfulFiles()


@pytest.fixture
def three_segments(tmp_path: Path) -> Path:
    """Seqs 1-2, 3-4 and 5, 6-8: two segments of one transaction, then one of two, the last of three events."""
    checkpoints = [b'{"after":2}', b'{"after":4}', None]
    folder = tmp_path / "log"
    with SegmentedLog.open(folder, DictCodec(), segment_bytes=1, checkpoint=lambda: checkpoints.pop(0)) as log:
        for events in (2, 2, 1, 3):
            first_seq = log.last_seq + 1
            log.append([{"n": first_seq + i, "pad": "-" * 20} for i in range(events)], source="test", time=TIME)
    return folder


OpenLog = Callable[..., SegmentedLog[dict[str, Any]]]


@pytest.fixture
def open_log(files: ForgetfulFiles, codec: DictCodec) -> OpenLog:
    """Opens the log of the forgetful files; a new segment for each transaction if ``segment_bytes`` is 1."""

    def open_log(**options: Any) -> SegmentedLog[dict[str, Any]]:
        options.setdefault("checkpoint", lambda: b"{}")
        options.setdefault("fsync", "never")
        return SegmentedLog.open(FOLDER, codec, files=files, **options)

    return open_log
