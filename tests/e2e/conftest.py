"""What every test here needs: a folder that it may write manifests to."""

from __future__ import annotations

from pathlib import Path

import pytest

from .folder import Folder


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """A folder with our GatewayClass in it."""
    return Folder(tmp_path / "manifests")
