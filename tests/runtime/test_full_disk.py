"""A disk that is full, and one that is gone: told, nothing lost of what is served, and all goes on by itself afterwards."""

from __future__ import annotations

import asyncio
import resource
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from controlplane.log import LogError, verify
from controlplane.model.events import AnyEvent, SourceSynced
from controlplane.runtime import upkeep
from controlplane.runtime.core import Core, replay
from controlplane.runtime.document import snapshot
from controlplane.runtime.serve import ControlPlane, running
from tests.reducers.manifests import working_set

from .test_control_plane import PATIENCE_S, options, pages_of, synced, until


class Disk:
    """A place whose room can be used up and given back."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def fill(self) -> None:
        """No room from now on."""
        raise NotImplementedError

    def free(self) -> None:
        """Room again."""
        raise NotImplementedError


class SmallFileSystem(Disk):
    """A file system of its own, filled by a file."""

    says = "No space left on device (ENOSPC); make room on this file system"

    def fill(self) -> None:
        with (self.path / "filler").open("wb", buffering=0) as filler:
            try:
                while filler.write(bytes(4096)):
                    pass
            except OSError:
                pass

    def free(self) -> None:
        (self.path / "filler").unlink(missing_ok=True)


class LimitedFiles(Disk):
    """No file may become larger than the log is; EFBIG. Unlike a full disk anybody can have that."""

    says = "File too large (EFBIG); raise the limit on the size of files (ulimit -f)"

    def fill(self) -> None:
        largest = max(path.stat().st_size for path in self.path.rglob("*.jsonl"))
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest + 100, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))

    def free(self) -> None:
        limit = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))


@contextmanager
def mounted(path: Path) -> Iterator[None]:
    path.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(path)], check=False, capture_output=True
    )
    if made.returncode:
        pytest.skip("this user may not mount a file system")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(path)], check=False, capture_output=True)


@pytest.fixture(params=["small file system", "limited files"])
def disk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[SmallFileSystem | LimitedFiles]:
    if request.param == "small file system":
        with mounted(tmp_path / "disk"):
            yield SmallFileSystem(tmp_path / "disk")
        return
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limited = LimitedFiles(tmp_path / "disk")
    try:
        yield limited
    finally:
        limited.free()
        signal.signal(signal.SIGXFSZ, handler)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """All is tried again soon, and nothing rests on how soon."""
    for name in ("_FIRST_PAUSE_SECONDS", "_LONGEST_PAUSE_SECONDS", "_LOOK_SECONDS"):
        monkeypatch.setattr(upkeep, name, 0.02)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "manifests"
    made.mkdir()
    write(made, working_set())
    return made


def write(folder: Path, documents: list[dict[str, Any]]) -> None:
    """In small files: a limit on the size of files is one on these as well."""
    parts = [documents[start : start + 4] for start in range(0, len(documents), 4)]
    for number, part in enumerate(parts):
        (folder / f"{number}.yaml").write_text(yaml.safe_dump_all(part))
    for path in folder.iterdir():
        if int(path.stem) >= len(parts):
            path.unlink()


def without_a_route_with_another() -> list[dict[str, Any]]:
    """And with more than what is left of a file's last block."""
    more = [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": f"more-{n}"}} for n in range(60)]
    route = next(document for document in working_set() if document["metadata"]["name"] == "r1")
    others = [document for document in working_set() if document["metadata"]["name"] != "r1"]
    return [*others, *more, route | {"metadata": route["metadata"] | {"name": "r1-again"}}]


async def refused(look: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not look():  # noqa: ASYNC110 (nobody tells that an append was refused)
            await asyncio.sleep(0.01)


def routes(plane: ControlPlane) -> set[str]:
    return {row.key for row in plane.core.state.rows.base.http_routes.rows()}


@pytest.mark.asyncio
async def test_a_full_disk_is_told_and_what_it_kept_out_comes_in_when_there_is_room(
    folder: Path, disk: SmallFileSystem | LimitedFiles
) -> None:
    """A deletion too: what was not appended counts as not seen."""
    log = disk.path / "log"
    async with running(options(folder, log_dir=log)) as plane, pages_of(plane) as pages:
        await synced(plane)
        before, seq = snapshot(plane.core.state), plane.core.state.seq
        disk.fill()
        write(folder, without_a_route_with_another())
        await refused(lambda: plane.core.refusal)
        status, text = await pages.get("/readyz?verbose")
        assert status == 503
        assert "[-] process/log failed" in text
        assert f"{log}/{1:020d}.jsonl, line" in text
        assert f"the transaction could not be written: {disk.says}; it goes on by itself" in text.replace(
            "nothing can be written; now", "the transaction could not be written"
        )
        assert "\ncontrolplane_log_writable 0.0" in (await pages.get("/metrics"))[1]
        assert disk.says in (await pages.json("/debug/log"))["refusal"]
        assert snapshot(plane.core.state) == before
        assert plane.views.seq == seq
        report = verify(log)
        assert (report.damage, report.torn, report.last_seq) == ((), None, seq)

        disk.free()
        await until(plane, lambda: "alpha/r1-again" in routes(plane))
        assert "alpha/r1" not in routes(plane)
        await refused(lambda: not plane.core.refusal)
        assert (await pages.get("/readyz"))[0] == 200
        assert "\ncontrolplane_log_writable 1.0" in (await pages.get("/metrics"))[1]
        live = snapshot(plane.core.state)
    assert verify(log).damage == ()
    assert snapshot(replay(log, live["seq"])) == live


@pytest.mark.asyncio
async def test_readiness_comes_back_with_the_room_though_nobody_has_anything_to_say(
    folder: Path, disk: SmallFileSystem | LimitedFiles
) -> None:
    async with running(options(folder, log_dir=disk.path / "log")) as plane, pages_of(plane) as pages:
        await synced(plane)
        disk.fill()
        with pytest.raises(LogError, match="could not be written"):
            await plane.core.append("once", [SourceSynced(("-" * 5_000,))])
        assert (await pages.get("/readyz"))[0] == 503
        disk.free()
        await refused(lambda: not plane.core.refusal)
        assert (await pages.get("/readyz"))[0] == 200
        seq = plane.core.state.seq
        assert plane.core.log.last_seq == seq


@pytest.mark.asyncio
async def test_a_log_whose_folder_is_removed_is_begun_anew_with_what_is_served(folder: Path) -> None:
    """Its history is lost with it; what is served is not, and the next start finds it."""
    log = folder.parent / "log"
    async with running(options(folder)) as plane, pages_of(plane) as pages:
        await synced(plane)
        remove(log)
        write(folder, without_a_route_with_another())
        await until(plane, lambda: "alpha/r1-again" in routes(plane))
        await plane.core.mend()
        write(folder, working_set())
        await until(plane, lambda: "alpha/r1" in routes(plane))
        await refused(lambda: plane.core.log.statistics().unsynced == 0)
        assert (await pages.get("/readyz"))[0] == 200
        live = snapshot(plane.core.state)
        since = plane.core.state.time
    assert verify(log).damage == ()
    assert snapshot(replay(log, live["seq"])) == live
    write(folder, [])
    held: dict[str, tuple[Sequence[str], Callable[[Core], Silent]]] = {"held": (("Service",), Silent)}
    async with running(options(folder), held) as plane:
        assert plane.core.state.stale_since == since
        assert plane.views.is_open


class Silent:
    """A source that never says anything."""

    name = "held"

    def __init__(self, core: Core) -> None:
        pass

    async def run(self) -> None:
        await asyncio.Event().wait()

    def statistics(self) -> object:
        return {}

    async def say(self, *events: AnyEvent) -> None:
        raise AssertionError(events)


def remove(folder: Path) -> None:
    shutil.rmtree(folder)
