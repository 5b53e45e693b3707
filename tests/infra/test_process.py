"""Processes that are nobody's child."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from controlplane.infra.process import Process, command_line

pytestmark = pytest.mark.asyncio


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "100"]) as child:
        yield child
        child.kill()


def spawn(path: Path, *arguments: str) -> Process:
    return Process.spawn(arguments, directory=path, output=path / "output")


async def test_output_is_appended_to_a_file_and_the_status_is_known(tmp_path: Path) -> None:
    for text in ("one", "two"):
        process = spawn(tmp_path, "sh", "-c", f"echo {text}; echo {text} >&2; exit 7")
        assert await process.wait() == 7
        process.close()
    assert (tmp_path / "output").read_text() == "one\none\ntwo\ntwo\n"


async def test_it_has_a_session_of_its_own(tmp_path: Path) -> None:
    process = spawn(tmp_path, "sleep", "100")
    assert os.getsid(process.pid) == process.pid != os.getsid(0)
    assert await process.stop(5.0)
    process.close()


async def test_a_binary_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        spawn(tmp_path, str(tmp_path / "nothing"))


async def test_one_that_is_not_our_child_is_watched(sleeper: subprocess.Popen[bytes]) -> None:
    process = Process.attach(sleeper.pid)
    assert process is not None
    assert process.arguments == ("sleep", "100")
    waiting = asyncio.create_task(process.wait())
    process.send(signal.SIGKILL)
    assert await waiting is None
    process.send(signal.SIGKILL)  # too late, and no error
    process.close()


async def test_the_dead_and_the_unburied_are_not_attached_to(sleeper: subprocess.Popen[bytes]) -> None:
    held = Process.attach(sleeper.pid)
    assert held is not None
    sleeper.send_signal(signal.SIGKILL)
    await held.wait()
    held.close()
    assert Path(f"/proc/{sleeper.pid}").exists()  # a zombie: its parent, this test, has not waited
    assert Process.attach(sleeper.pid) is None
    assert command_line(sleeper.pid) == ()
    sleeper.wait()
    assert Process.attach(sleeper.pid) is None


async def test_one_that_does_not_listen_is_killed(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    os.mkfifo(ready)
    process = spawn(tmp_path, "sh", "-c", f"trap '' TERM; echo > {ready}; while :; do sleep 100; done")
    await asyncio.to_thread(ready.read_text)
    assert await process.stop(0.05)
    assert await process.wait() == -signal.SIGKILL
    process.close()


async def test_the_start_time_tells_two_lives_of_a_number_apart(sleeper: subprocess.Popen[bytes]) -> None:
    process = Process.attach(sleeper.pid)
    ourselves = Process.attach(os.getpid())
    assert process is not None
    assert ourselves is not None
    assert process.start_time >= ourselves.start_time > 0
    process.close()
    ourselves.close()
