"""Routes added one after another, each asked from its save on until it is served: what was answered on the way, and when."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from statistics import median, quantiles
from time import monotonic
from typing import Literal

from controlplane.infra import bootstrap
from tests.conformance.manifests import Manifest, gateway, http_route, listener, prefix, rule
from tests.conftest import PATIENCE_S, EnvoyProcess, free_port

from .client import Answer, Connection, Request
from .folder import Folder, backend_service, to_text
from .load import loading
from .plane import LOOPBACK, Command, until_answer

Shape = Literal["hostnames", "paths"]
"""What tells the routes apart: a hostname each, and so a virtual host; or a path each of one hostname."""
EVERY_S = 0.005
_TICK = os.sysconf("SC_CLK_TCK")


@dataclass
class Found:
    """What a probe has found."""

    statuses: Counter[int] = field(default_factory=Counter)
    """Of all answers to all routes; 0 for none."""
    seconds: list[float] = field(default_factory=list)
    """From the end of each route's save to its first 200."""
    wrong: list[str] = field(default_factory=list)
    """The first answers that were neither 404 nor 200."""
    cpu_s: dict[str, float] = field(default_factory=dict)
    """By process, from the first route to the last."""
    others: int = 0
    """Requests meanwhile to the first of the routes, not one of which has failed."""

    @property
    def is_clean(self) -> bool:
        """Whether there was nothing but 404 and 200."""
        return self.statuses.keys() <= {200, 404}

    def __str__(self) -> str:
        p99 = quantiles(self.seconds, n=100)[98] if len(self.seconds) > 1 else self.seconds[0]
        times = f"first 200 after {1000 * median(self.seconds):.0f} ms (median), {1000 * p99:.0f} ms (p99)"
        cpu = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in self.cpu_s.items())
        answers = ", ".join(f"{count} times {status}" for status, count in sorted(self.statuses.items()))
        return f"{len(self.seconds)} routes, {times}; {answers}; {self.others} others; CPU: {cpu}"


class Probe:
    """A Gateway whose routes a probe adds.

    Args:
        shape: See ``Shape``.
        gateway_port: Of its listener.
        backend_port: Of the process that stands behind every Service: each route brings a cluster all the same.
    """

    def __init__(self, shape: Shape, gateway_port: int, backend_port: int) -> None:
        self._shape = shape
        self._port = gateway_port
        self._backend = backend_port

    def request(self, number: int) -> Request:
        """What is asked of a route."""
        if self._shape == "hostnames":
            return Request(f"h{number}.example.com")
        return Request("example.com", f"/p{number}/x")

    def manifests(self, number: int) -> list[Manifest]:
        """A route, its Service and its endpoints."""
        asked, name = self.request(number), f"r{number}"
        matches = [] if self._shape == "hostnames" else [prefix(f"/p{number}")]
        route = http_route(name, rule(*matches, to=name), hostnames=[asked.host])
        return [route, *backend_service(name, self._backend)]

    async def add(self, folder: Folder, number: int, connections: list[Connection], found: Found) -> None:
        """Add a route, and ask on one connection after the other, until each has had its answer.

        Raises:
            AssertionError: It is not served in time.
        """
        folder.replace_text(f"r{number}.yaml", to_text(self.manifests(number)))
        began, first = monotonic(), 0.0
        served: set[Connection] = set()
        for turn, connection in enumerate(cycle(connections)):
            answer = await connection.ask(self.request(number))
            after = monotonic() - began
            self._count(answer, f"route {number} after {1000 * after:.0f} ms", found)
            if answer.status == 200:
                first = first or after
                served.add(connection)
                if len(served) == len(connections):
                    break
            else:
                served.discard(connection)
            assert after < PATIENCE_S, f"route {number} is not served; {found}"
            await asyncio.sleep(max(0.0, began + (turn + 1) * EVERY_S - monotonic()))
        found.seconds.append(first)

    def _count(self, answer: Answer, when: str, found: Found) -> None:
        found.statuses[answer.status] += 1
        if answer.status not in (200, 404) and len(found.wrong) < 20:
            found.wrong.append(f"{when}: {answer} {answer.body!r}")


async def probe(directory: Path, size: int, shape: Shape, workers: int = 4) -> Found:
    """Adds routes to a control plane and an Envoy of their own, and asks for each until it is served.

    Args:
        directory: For manifests, logs and state; empty.
        size: How many routes.
        shape: What tells them apart.
        workers: Of the Envoy.

    Raises:
        AssertionError: A route was not served in time, or one that was served before failed meanwhile.
    """
    found, port = Found(), free_port()
    async with AsyncExitStack() as stack:
        folder = Folder(directory / "manifests")
        command = await stack.enter_async_context(Command(directory / "home", "--files", str(folder.path)))
        load = await stack.enter_async_context(loading(lambda: command.admin.json("/debug/proxies")))
        asked = Probe(shape, port, (await load.serve("echo"))["echo"])
        document = bootstrap("demo/web", xds_address=LOOPBACK, xds_port=command.xds)
        envoy = await stack.enter_async_context(EnvoyProcess(document, directory / "envoy", workers=workers))
        folder.write("gateway.yaml", gateway(listener(port=port)))
        folder.write("r0.yaml", asked.manifests(0))
        await until_answer(port, asked.request(0))
        connections = [await stack.enter_async_context(Connection(port)) for _ in range(workers)]
        await load.start(port, asked.request(0), connections=2, pause_s=EVERY_S)
        with _cpu({"control plane": command.process.pid, "Envoy": envoy.process.pid}, found):
            for number in range(1, size + 1):
                load.editing(f"route {number}")
                await asked.add(folder, number, connections, found)
        await load.finish()
        found.others = load.totals["requests"]
    return found


@contextmanager
def _cpu(processes: dict[str, int], found: Found) -> Iterator[None]:
    before = {name: _cpu_of(pid) for name, pid in processes.items()}
    yield
    found.cpu_s = {name: _cpu_of(pid) - before[name] for name, pid in processes.items()}


def _cpu_of(pid: int) -> float:
    """Seconds. Source: proc(5), fields 14 and 15."""
    fields = Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK
