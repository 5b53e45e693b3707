"""Control planes, in this process or as the command, and the Envoys that they serve."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sysconfig
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from time import monotonic
from types import MappingProxyType
from typing import Any, TypeVar

from prometheus_client.parser import text_string_to_metric_families

from controlplane.infra import bootstrap
from controlplane.infra.state import StateDirectory
from controlplane.runtime.options import HostPort, RunOptions
from controlplane.runtime.serve import ControlPlane, running
from tests.conftest import PATIENCE_S, POLL_S, EnvoyProcess, free_port

from .client import NOTHING, Answer, Request, ask

LOOPBACK = "127.0.0.1"
COMMAND = Path(sysconfig.get_path("scripts"), "controlplane")

T = TypeVar("T")


async def until(
    what: str, look: Callable[[], Awaitable[T | None]], patience_s: float = PATIENCE_S, last: Callable[[], object] = str
) -> T:
    """What ``look`` gives once that is true in a boolean context; it is asked again and again.

    Args:
        what: What is to come true, for the message.
        look: Looks whether it has.
        patience_s: For how long it may not.
        last: What was seen last, for the message.

    Raises:
        AssertionError: It did not happen in time; the message says what.
    """
    deadline = monotonic() + patience_s
    while not (found := await look()):
        assert monotonic() < deadline, f"in {patience_s:g} s it did not come true that {what}; {last()}"
        await asyncio.sleep(POLL_S)
    return found


async def until_answer(
    port: int, request: Request, status: int = 200, backend: str = "", patience_s: float = PATIENCE_S, **arguments: Any
) -> Answer:
    """The first answer with this status, of this backend if one is named."""
    answer = NOTHING

    async def look() -> Answer | None:
        nonlocal answer
        answer = await ask(port, request, **arguments)
        return answer if answer.status == status and backend in ("", answer.backend) else None

    return await until(f"{request} is answered with {status} {backend}", look, patience_s, lambda: answer)


class Admin:
    """The admin server of a control plane."""

    def __init__(self, port: int) -> None:
        self.port = port

    async def get(self, path: str) -> Answer:
        """A page."""
        return await ask(self.port, Request(f"{LOOPBACK}:{self.port}", path))

    async def text(self, path: str) -> str:
        """A page's text."""
        return (await self.get(path)).body.decode()

    async def json(self, path: str) -> Any:
        """A page that has to be there, decoded."""
        answer = await self.get(path)
        assert answer.status == 200, f"{path}: {answer.status} {answer.body!r}"
        return json.loads(answer.body)

    async def snapshot(self) -> dict[str, Any]:
        """What is served and said."""
        document: dict[str, Any] = await self.json("/debug/snapshot")
        return document

    async def is_ready(self) -> bool:
        """Whether ``/readyz`` says so."""
        return (await self.get("/readyz")).status == 200

    async def metrics(self) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        """Every sample, by name and labels."""
        return {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(await self.text("/metrics"))
            for sample in family.samples
        }

    async def metric(self, name: str, **labels: str) -> float:
        """One sample."""
        return (await self.metrics())[name, frozenset(labels.items())]

    async def condition(self, key: str, type_: str, listener: str | None = None) -> tuple[str, str, str]:
        """Status, reason and message of a condition of an object, a route's first parent, or a Gateway's listener."""
        status = (await self.snapshot())["statuses"][key]
        if listener is not None:
            (status,) = (entry for entry in status["listeners"] if entry["name"] == listener)
        elif "parents" in status:
            status = status["parents"][0]
        (found,) = (condition for condition in status["conditions"] if condition["type"] == type_)
        return found["status"], found["reason"], found.get("message", "")


@asynccontextmanager
async def planning(
    folder: Path | None,
    log_dir: Path | None = None,
    more_sources: Mapping[str, Any] = MappingProxyType({}),
    **options: Any,
) -> AsyncIterator[tuple[ControlPlane, Admin]]:
    """A control plane in this process, on free ports of loopback."""
    chosen = {"xds": HostPort(LOOPBACK, free_port()), "admin": HostPort(LOOPBACK, 0)} | options
    try:
        async with running(RunOptions(files=folder, log_dir=log_dir, **chosen), more_sources) as plane:
            yield plane, Admin(plane.admin.port)
    except BaseExceptionGroup as group:
        if len(group.exceptions) == 1:
            raise group.exceptions[0] from None  # a test that failed says so without the task group around it
        raise


def envoy_at(xds: int, directory: Path, gateway: str = "demo/web", **arguments: Any) -> EnvoyProcess:
    """An Envoy that serves a Gateway, from the bootstrap that we print, of the control plane at this port."""
    return EnvoyProcess(bootstrap(gateway, xds_address=LOOPBACK, xds_port=xds, **arguments), directory)


def envoy_for(plane: ControlPlane, directory: Path, gateway: str = "demo/web", **arguments: Any) -> EnvoyProcess:
    """An Envoy that serves a Gateway of this control plane; the arguments are the bootstrap's."""
    return envoy_at(plane.options.xds.port, directory, gateway, **arguments)


def eager_envoy_at(xds: int, directory: Path, gateway: str = "demo/web", **static_layer: int) -> EnvoyProcess:
    """As ``envoy_at``, one that comes back at once when its stream has ended.

    Args:
        xds: The control plane's port.
        directory: For its files.
        gateway: ``namespace/name``.
        static_layer: What its runtime has; dots of a name as two underscores.
    """
    document: dict[str, Any] = bootstrap(gateway, xds_address=LOOPBACK, xds_port=xds)
    (service,) = document["dynamic_resources"]["ads_config"]["grpc_services"]
    service["envoy_grpc"]["retry_policy"]["retry_back_off"] = {"base_interval": "0.05s", "max_interval": "0.1s"}
    (layer,) = document["layered_runtime"]["layers"]
    layer["static_layer"] |= {name.replace("__", "."): value for name, value in static_layer.items()}
    return EnvoyProcess(document, directory)


class Command:
    """``controlplane run`` as a process, its output in a file, its state and log in a directory; alive while the block lasts.

    Args:
        directory: For its files; the next life finds there what this one has left.
        arguments: Beyond addresses and directories.
        xds: Port for Envoys; a free one if not given.
    """

    def __init__(self, directory: Path, *arguments: str, xds: int | None = None) -> None:
        self._directory = directory
        self._arguments = arguments
        self.xds = xds or free_port()
        self.admin = Admin(free_port())
        self.output = directory / "output.txt"
        self.state = directory / "state"
        self.process: asyncio.subprocess.Process

    @property
    def log_dir(self) -> Path:
        """Where its log lies."""
        return self._directory / "log"

    async def __aenter__(self) -> Command:
        await self.start()
        return self

    async def start(self) -> None:
        """Begin a life; the first begins with the block."""
        self._directory.mkdir(parents=True, exist_ok=True)
        addresses = ("--xds", f"{LOOPBACK}:{self.xds}", "--admin", f"{LOOPBACK}:{self.admin.port}")
        log = () if "--replay" in self._arguments else ("--log-dir", str(self.log_dir))
        with self.output.open("ab") as output:
            self.process = await asyncio.create_subprocess_exec(
                str(COMMAND), "run", *addresses, *log, "--state-dir", str(self.state), *self._arguments,
                stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output,
            )  # fmt: skip
        try:
            await until("the control plane is ready", self._is_up)
        except BaseException:
            await self.kill()
            raise

    async def _is_up(self) -> bool:
        assert self.process.returncode is None, self.output.read_text()
        return await self.admin.is_ready()

    async def __aexit__(self, *_: object) -> None:
        if self.process.returncode is None:
            await self.terminate()

    async def terminate(self) -> tuple[int, float]:
        """Ends it as an operator does: its exit code, and how many seconds it took."""
        began = monotonic()
        self.process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(PATIENCE_S):
                code = await self.process.wait()
        except BaseException:
            await self.kill()
            raise
        return code, monotonic() - began

    async def kill(self) -> None:
        """Ends it without a word."""
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()

    def events(self) -> list[dict[str, Any]]:
        """What it has said so far, its lines decoded."""
        return [json.loads(line) for line in self.output.read_text().splitlines() if line.startswith("{")]

    def envoys(self) -> dict[str, list[int]]:
        """Process ids of its Envoys that live, by Gateway."""
        return living_envoys(self._directory)


def living_envoys(directory: Path) -> dict[str, list[int]]:
    """Process ids of the Envoys that a ``Command`` on this directory has started, by Gateway."""
    found: dict[str, list[int]] = {}
    for gateway, processes in StateDirectory(directory / "state" / "envoys").running().items():
        for process in processes:
            found.setdefault(gateway, []).append(process.pid)
            process.close()
    return found


def end_envoys(directory: Path) -> dict[str, list[int]]:
    """Ends the Envoys of a ``Command``, which should have ended them; those that had not ended, by Gateway."""
    left = living_envoys(directory)
    for pid in (pid for pids in left.values() for pid in pids):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return left


async def is_settled(admin: Admin, proxies: int = 1) -> bool:
    """Whether so many Envoys have a stream, and all of them have acknowledged all that there is."""
    found = await admin.json("/debug/proxies")
    return len(found) == proxies and all(proxy["settled"] for proxy in found)


async def sent_resources(admin: Admin) -> dict[str, int]:
    """How many resources were sent on the streams that are open now, by type; types of which there were none are left out."""
    total: Counter[str] = Counter()
    for proxy in await admin.json("/debug/proxies"):
        for ledger in proxy["types"].values():
            total[ledger["type"]] += ledger["resources"]
    return dict(+total)
