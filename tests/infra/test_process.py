"""Processes that are nobody's child."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import uvloop

from controlplane.infra.process import Process, command_line


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "100"]) as child:
        yield child
        child.kill()


@pytest.fixture
def spawn(tmp_path: Path) -> Iterator[Callable[..., Process]]:
    """Starts processes, of which none is left at the end."""
    spawned: list[Process] = []

    def start(*arguments: str) -> Process:
        process = Process.spawn(arguments, directory=tmp_path, output=tmp_path / "output")
        spawned.append(process)
        return process

    yield start
    for process in spawned:
        process.send(signal.SIGKILL)
        process.close()


@pytest.mark.asyncio
async def test_output_is_appended_to_a_file_and_the_status_is_known(
    tmp_path: Path, spawn: Callable[..., Process]
) -> None:
    for text in ("one", "two"):
        process = spawn("sh", "-c", f"echo {text}; echo {text} >&2; exit 7")
        assert await process.wait() == 7
    assert (tmp_path / "output").read_text() == "one\none\ntwo\ntwo\n"


@pytest.mark.asyncio
async def test_it_has_a_session_of_its_own(spawn: Callable[..., Process]) -> None:
    process = spawn("sleep", "100")
    assert os.getsid(process.pid) == process.pid != os.getsid(0)
    assert await process.stop(5.0)


@pytest.mark.asyncio
async def test_a_binary_that_is_not_there_is_an_error(tmp_path: Path, spawn: Callable[..., Process]) -> None:
    with pytest.raises(FileNotFoundError):
        spawn(str(tmp_path / "nothing"))


@pytest.mark.asyncio
async def test_one_that_is_not_our_child_is_watched(sleeper: subprocess.Popen[bytes]) -> None:
    process = Process.attach(sleeper.pid)
    assert process is not None
    waiting = asyncio.create_task(process.wait())
    process.send(signal.SIGKILL)
    assert await waiting is None
    process.send(signal.SIGKILL)  # too late, and no error
    process.close()


@pytest.mark.asyncio
async def test_the_dead_and_the_unburied_are_not_attached_to(sleeper: subprocess.Popen[bytes]) -> None:
    held = Process.attach(sleeper.pid)
    assert held is not None
    sleeper.send_signal(signal.SIGKILL)
    await held.wait()
    held.close()
    os.kill(sleeper.pid, 0)  # still there: its parent, this test, has not waited
    assert Process.attach(sleeper.pid) is None
    assert command_line(sleeper.pid) == ()
    sleeper.wait()
    assert Process.attach(sleeper.pid) is None


@pytest.mark.asyncio
async def test_one_that_does_not_listen_is_killed(tmp_path: Path, spawn: Callable[..., Process]) -> None:
    ready = tmp_path / "ready"
    os.mkfifo(ready)
    program = f"import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); open({str(ready)!r}, 'w').close(); time.sleep(100)"
    process = spawn(sys.executable, "-c", program)
    await asyncio.to_thread(ready.read_text)
    assert await process.stop(0.05)
    assert await process.wait() == -signal.SIGKILL


@pytest.mark.asyncio
async def test_the_start_time_tells_two_lives_of_a_number_apart(sleeper: subprocess.Popen[bytes]) -> None:
    process = Process.attach(sleeper.pid)
    ourselves = Process.attach(os.getpid())
    assert process is not None
    assert ourselves is not None
    assert process.start_time >= ourselves.start_time > 0
    assert ourselves.arguments == command_line(os.getpid()) != ()
    process.close()
    ourselves.close()


def test_uvloop_watches_them_as_well(tmp_path: Path) -> None:
    async def main() -> int | None:
        process = Process.spawn(["sleep", "100"], directory=tmp_path, output=tmp_path / "output")
        waiting = asyncio.create_task(process.wait())
        await asyncio.sleep(0)
        process.send(signal.SIGTERM)
        try:
            async with asyncio.timeout(20):
                return await waiting
        finally:
            process.send(signal.SIGKILL)
            process.close()

    assert uvloop.run(main()) == -signal.SIGTERM
