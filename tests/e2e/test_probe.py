"""New routes with new clusters: a client that asks too early is told 404, and from the first 200 on 200, never anything else."""

from __future__ import annotations

from pathlib import Path

import pytest

from .probing import Shape, probe

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio]


@pytest.mark.parametrize(("shape", "size"), [("hostnames", 300), ("paths", 100)])
async def test_a_new_route_is_404_and_then_200(
    tmp_path: Path, shape: Shape, size: int, capsys: pytest.CaptureFixture[str]
) -> None:
    found = await probe(tmp_path, size, shape)
    with capsys.disabled():
        print(f"\nby {shape}: {found}")
    assert found.is_clean, found.wrong
    assert len(found.seconds) == size
