"""What every test here needs: a folder for manifests, and the certainty that no process is left."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from .folder import Folder
from .plane import living_envoys


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """A folder with our GatewayClass in it."""
    return Folder(tmp_path / "manifests")


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A directory for ``Command``; Envoys that still run on it at the end are ended, and the test has failed."""
    path = tmp_path / "home"
    yield path
    left = living_envoys(path)
    for pid in (pid for pids in left.values() for pid in pids):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    assert not left, f"Envoys that nobody has ended: {left}"
