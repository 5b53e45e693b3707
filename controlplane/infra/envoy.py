"""One Envoy of one gateway, kept alive.

Whoever restarts it must not make things worse: a process that dies at once is started ever more rarely (``Backoff``), and one
that an earlier control plane left behind is taken over if it is the one that we would start, else ended first. There are never
two for one gateway.
"""

from __future__ import annotations

import hashlib
import signal
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Final

import anyio
import msgspec
import structlog

from controlplane.infra.output import LOG_FORMAT, OutputFollower
from controlplane.infra.process import Process
from controlplane.infra.state import CONFIG_FLAG, GatewayDirectory, Record

STOP_DEADLINE_S: Final = 3.0
"""Seconds between SIGTERM and SIGKILL; the whole control plane has five to end."""


class EnvoyState(StrEnum):
    """What a supervised Envoy is doing."""

    STARTING = "starting"
    """It runs, and its admin interface does not listen yet."""
    RUNNING = "running"
    WAITING = "waiting"
    """It ended, and is started again when the back-off is over."""
    STOPPING = "stopping"


class EnvoyStatistics(msgspec.Struct, frozen=True, rename="camel"):
    """How the Envoy of one gateway is."""

    state: EnvoyState
    pid: int | None
    """None while none runs."""
    started: str
    """RFC 3339, UTC; empty before the first start."""
    restarts: int
    """Starts after the first, of this control plane's life."""
    adopted: bool
    """Whether the one that runs was started by an earlier control plane."""
    admin_port: int | None
    """On 127.0.0.1; None before it listens."""


class Backoff:
    """How long to wait before the next start, in seconds: doubling, and from the beginning again after a healthy life."""

    SHORTEST_S: Final = 0.1
    LONGEST_S: Final = 30.0
    HEALTHY_S: Final = 30.0
    """A life of this length was no failed start."""

    def __init__(self) -> None:
        self._next_s = self.SHORTEST_S

    def after(self, lived_s: float) -> float:
        """The wait after a process that lived this long; 0 for one that did not start."""
        if lived_s >= self.HEALTHY_S:
            self._next_s = self.SHORTEST_S
        delay_s, self._next_s = self._next_s, min(self._next_s * 2, self.LONGEST_S)
        return delay_s


class EnvoyCommand(msgspec.Struct, frozen=True):
    """How Envoys are started, whatever gateway they serve."""

    binary: Path
    concurrency: int
    """Worker threads."""
    drain_time_s: int
    """Seconds that connections of a removed listener are given."""
    log_level: str

    def arguments(self, directory: GatewayDirectory) -> tuple[str, ...]:
        """The command line for one gateway."""
        return (
            str(self.binary),
            *(CONFIG_FLAG, str(directory.bootstrap)),
            *("--admin-address-path", str(directory.admin_address)),
            *("--concurrency", str(self.concurrency)),
            *("--drain-time-s", str(self.drain_time_s)),
            # Every response of a draining connection asks its client to close. The default asks ever more of them as time
            # passes, against a herd of reconnects; with seconds to drain, a quiet connection would be cut unasked.
            *("--drain-strategy", "immediate"),
            # We replace processes and never hand over sockets; with it, all Envoys of a machine need ids of shared memory.
            "--disable-hot-restart",
            *("--log-level", self.log_level),
            *("--log-format", LOG_FORMAT),
        )

    def digest(self, directory: GatewayDirectory, bootstrap: bytes) -> str:
        """Of everything that decides how an Envoy runs, the binary's identity included: an upgrade replaces it.

        Raises:
            OSError: The binary is gone.
        """
        binary = self.binary.stat()
        parts = (self.arguments(directory), bootstrap, binary.st_size, binary.st_mtime_ns)
        return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()


class EnvoySupervisor:
    """Keeps the Envoy of one gateway running.

    Args:
        gateway: ``namespace/name``.
        directory: Its files.
        command: How to start it.
        bootstrap: Its bootstrap, JSON.
        found: Envoys of this gateway that an earlier control plane left behind; ours from now on.
        log: Where to tell what happens.
        secrets: Files that the bootstrap names, beside it, by file name.
    """

    def __init__(
        self,
        gateway: str,
        directory: GatewayDirectory,
        command: EnvoyCommand,
        bootstrap: bytes,
        found: Sequence[Process],
        log: structlog.typing.FilteringBoundLogger,
        secrets: Mapping[str, bytes] = MappingProxyType({}),
    ) -> None:
        self.gateway = gateway
        self._directory = directory
        self._command = command
        self._bootstrap = bootstrap
        self._secrets = dict(secrets)
        self._found = list(found)
        self._log = log.bind(gateway=gateway)
        self._scope = anyio.CancelScope()
        self._retired = False
        self._process: Process | None = None
        self._state = EnvoyState.WAITING
        self._started = ""
        self._adopted = False
        self._restarts = 0

    async def run(self) -> None:
        """Keep it running until cancelled, stopped or retired; end it then. Afterwards none runs."""
        follower = OutputFollower(self._directory.output, self._directory.output_seen, self._log)
        async with anyio.create_task_group() as group:
            group.start_soon(follower.run)
            try:
                with self._scope:
                    if not self._scope.cancel_called:
                        await self._keep_running(follower)
            finally:
                self._state = EnvoyState.STOPPING
                with anyio.CancelScope(shield=True):
                    for process in self._living():
                        await self._stop(process)
                self._process, self._found = None, []
                self._directory.remove_record()
                follower.drain()
                if self._retired:
                    self._directory.remove()
                group.cancel_scope.cancel()

    def stop(self) -> None:
        """End its Envoy, or never start one."""
        self._scope.cancel()

    def retire(self) -> None:
        """The gateway is gone: end its Envoy and remove its files."""
        self._retired = True
        self.stop()

    def pids(self) -> tuple[int, ...]:
        """Processes that may hold ports of this gateway."""
        return tuple(process.pid for process in self._living())

    def statistics(self) -> EnvoyStatistics:
        """How it is. Cost: reads one small file."""
        running = self._process is not None
        port = self._directory.admin_port() if running else None
        state = EnvoyState.STARTING if self._state is EnvoyState.RUNNING and port is None else self._state
        return EnvoyStatistics(
            state=state,
            pid=self._process.pid if self._process is not None else None,
            started=self._started,
            restarts=self._restarts,
            adopted=self._adopted,
            admin_port=port,
        )

    def _living(self) -> list[Process]:
        return [*self._found, *([self._process] if self._process is not None else [])]

    async def _keep_running(self, follower: OutputFollower) -> None:
        backoff = Backoff()
        await self._adopt()
        while True:
            if self._process is None:
                self._process = self._start()
            lived_s = 0.0
            if self._process is not None:
                self._state = EnvoyState.RUNNING
                began = anyio.current_time()
                status = await self._process.wait()
                lived_s = anyio.current_time() - began
                pid = self._process.pid
                self._process.close()
                self._process = None
                follower.drain()
                self._log.error("envoy_ended", pid=pid, status=_words(status), lived_s=round(lived_s, 3))
            self._state = EnvoyState.WAITING
            delay_s = backoff.after(lived_s)
            self._log.info("envoy_backing_off", delay_s=delay_s)
            await anyio.sleep(delay_s)
            self._restarts += 1

    async def _adopt(self) -> None:
        """Take over the Envoy that an earlier control plane left, if it is the one that we would start; end all others."""
        record = self._directory.record()
        while self._found:
            process = self._found[-1]
            if self._process is None and record is not None and self._would_start(process, record):
                self._process, self._adopted, self._started = process, True, record.started
                self._log.info("envoy_adopted", pid=process.pid)
            else:
                self._log.info("envoy_not_adopted", pid=process.pid)
                await self._stop(process)
            self._found.pop()

    def _would_start(self, process: Process, record: Record) -> bool:
        arguments = self._command.arguments(self._directory)
        try:
            digest = self._digest()
        except OSError:
            return False
        # The end of the command line only: a script's interpreter stands before it.
        return (
            record.describes(process) and record.digest == digest and process.arguments[-len(arguments) :] == arguments
        )

    def _digest(self) -> str:
        return self._command.digest(self._directory, b"".join((self._bootstrap, *self._secrets.values())))

    def _start(self) -> Process | None:
        """A new Envoy; None if it cannot be started, which is told."""
        directory = self._directory
        try:
            directory.create()
            for name, data in self._secrets.items():
                directory.write_secret(name, data)
            directory.write_bootstrap(self._bootstrap)
            directory.admin_address.unlink(missing_ok=True)
            digest = self._digest()
            process = Process.spawn(
                self._command.arguments(directory), directory=directory.path, output=directory.output
            )
        except OSError as error:
            self._log.error("envoy_start_failed", binary=str(self._command.binary), reason=error.strerror or str(error))
            return None
        self._adopted, self._started = False, datetime.now(UTC).isoformat(timespec="milliseconds")
        self._log.info("envoy_started", pid=process.pid)
        try:
            directory.write_record(Record(process.pid, process.start_time, digest, self._started))
        except OSError as error:
            self._log.warning("envoy_not_recorded", pid=process.pid, reason=error.strerror)
        return process

    async def _stop(self, process: Process) -> None:
        try:
            ended = await process.stop(STOP_DEADLINE_S)
        except PermissionError:
            ended = False
        if ended:
            self._log.info("envoy_stopped", pid=process.pid)
        else:
            self._log.error("envoy_does_not_end", pid=process.pid)
        process.close()


def _words(status: int | None) -> str:
    if status is None:
        return "not known: it was not our child"
    return f"exit status {status}" if status >= 0 else f"killed by {signal.Signals(-status).name}"
