"""Many scripted proxies in a process of their own, so that their work is not counted as the server's.

``python -m bench.fleet`` reads orders from standard input and reports on standard output, a JSON object a line each. ``Fleet``
is the other end of that.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from time import monotonic
from typing import Any

from bench.proxy import Proxy, count_resources, load_assignments, resources
from bench.workload import GATEWAY
from controlplane.runtime.launch import run_loop
from controlplane.translate import TypeUrl

PATIENCE_SECONDS = 300.0
Watch = Callable[[Proxy, str, bytes], None]


class Fleet:
    """The process of the proxies, as whoever measures the server sees it."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def order(self, what: str, **details: object) -> dict[str, Any]:
        """Gives an order; what is reported when it is carried out."""
        self.tell(what, **details)
        return await self.report()

    def tell(self, what: str, **details: object) -> None:
        """Gives an order."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"order": what, **details}).encode() + b"\n")

    async def report(self) -> dict[str, Any]:
        """The next report.

        Raises:
            TimeoutError: None came; something is not served.
        """
        assert self._process.stdout is not None
        async with asyncio.timeout(PATIENCE_SECONDS):
            line = await self._process.stdout.readline()
        report: dict[str, Any] = json.loads(line)
        return report


@asynccontextmanager
async def fleet() -> AsyncIterator[Fleet]:
    """A process that waits for orders until the block ends."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.fleet", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    try:
        yield Fleet(process)
    finally:
        process.terminate()
        await process.wait()


class _Proxies:
    """The proxies, and the orders that they carry out; each order returns what is reported."""

    def __init__(self) -> None:
        self._proxies: list[Proxy] = []
        self._idle: Proxy | None = None
        """Has everything, and does not read any more."""
        self._assignments: dict[int, tuple[str, ...]] = {}
        self._watch: Watch | None = None

    async def connect(self, port: int, count: int, subscriptions: int, at_once: int = 10) -> dict[str, object]:
        """New proxies, a few at a time, until each has got all its load assignments and virtual hosts."""
        for begin in range(0, count, at_once):
            await self._connect(port, [self._proxy() for _ in range(min(at_once, count - begin))], subscriptions)
        return {"clients": len(self._proxies)}

    async def stall(self, port: int, subscriptions: int) -> dict[str, object]:
        """One more proxy, which gets everything and then does not read any more."""
        await self.connect(port, 1, subscriptions)
        self._idle = self._proxies.pop()
        self._idle.stream.stop_reading()
        return {"proxy": self._idle.name}

    async def expect(self, marker: str) -> dict[str, object]:
        """When the last proxy has received a load assignment with this address, and the octets that each has received."""
        before = sum(proxy.stream.octets for proxy in self._proxies)
        times: list[float] = []
        done = asyncio.Event()

        def watch(_: Proxy, type_url: str, response: bytes) -> None:
            if type_url == TypeUrl.LOAD_ASSIGNMENT and marker.encode() in response:
                times.append(monotonic())
                if len(times) == len(self._proxies):
                    done.set()

        self._watch = watch
        say({"ready": True})
        await done.wait()
        octets = sum(proxy.stream.octets for proxy in self._proxies) - before
        return {"last": times[-1], "octets": octets / len(self._proxies)}

    async def reconnect(self, port: int, count: int, subscriptions: int) -> dict[str, object]:
        """One proxy comes, learns all versions, and goes. Then many that hold these come at once."""
        versions: dict[str, dict[str, str]] = {}

        def learn(_: Proxy, type_url: str, response: bytes) -> None:
            known = versions.setdefault(type_url, {})
            known.update((name, version) for name, (version, _) in resources(response).items())

        self._watch = learn
        await self.connect(port, 1, subscriptions)
        self._proxies.pop().stream.close()
        herd = [self._proxy() for _ in range(count)]
        requests = [proxy.claim(versions) for proxy in herd]
        say({"ready": True, "claims": sum(map(len, versions.values())), "octets": sum(map(len, requests[0]))})
        async with asyncio.TaskGroup() as group:
            for proxy, messages in zip(herd, requests, strict=True):
                group.create_task(proxy.connect(port, messages))
        return {}

    def _proxy(self) -> Proxy:
        proxy = Proxy(f"envoy-{len(self._proxies)}", GATEWAY, self._names, self._arrived)
        self._proxies.append(proxy)
        return proxy

    async def _connect(self, port: int, proxies: Sequence[Proxy], subscriptions: int) -> None:
        missing = {
            (proxy, url): subscriptions for proxy in proxies for url in (TypeUrl.LOAD_ASSIGNMENT, TypeUrl.VIRTUAL_HOST)
        }
        done = asyncio.Event()
        watch = self._watch

        def count(proxy: Proxy, type_url: str, response: bytes) -> None:
            if watch is not None:
                watch(proxy, type_url, response)
            key = proxy, TypeUrl(type_url)
            if key in missing:
                missing[key] -= count_resources(response)
                if missing[key] <= 0:
                    del missing[key]
            if not missing:
                done.set()

        self._watch = count
        for proxy in proxies:
            await proxy.connect(port)
        await done.wait()
        self._watch = watch

    def _arrived(self, proxy: Proxy, type_url: str, response: bytes) -> None:
        if self._watch is not None:
            self._watch(proxy, type_url, response)

    def _names(self, response: bytes) -> tuple[str, ...]:
        """The first proxy reads the names of the clusters; what is as long for another one is the same clusters."""
        known = self._assignments.get(len(response))
        if known is None:
            known = self._assignments[len(response)] = load_assignments(response)
        return known


def say(report: dict[str, object]) -> None:
    """Reports."""
    print(json.dumps(report), flush=True)


async def main() -> None:
    """Carries out orders until there are no more."""
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    proxies = _Proxies()
    while line := await reader.readline():
        details = json.loads(line)
        say(await getattr(proxies, details.pop("order"))(**details))


if __name__ == "__main__":
    run_loop(main)
