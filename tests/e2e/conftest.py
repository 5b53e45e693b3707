"""What every test here needs: a folder for manifests, and the certainty that no process is left."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .folder import Folder
from .plane import end_envoys


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """A folder with our GatewayClass in it."""
    return Folder(tmp_path / "manifests")


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A directory for ``Command``; Envoys that still run on it at the end are ended, and the test has failed."""
    path = tmp_path / "home"
    yield path
    assert not end_envoys(path)
