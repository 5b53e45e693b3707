"""What the tests of the proxies share: a log that can be awaited, and the certainty that no process is left."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import structlog

from controlplane.infra import HostInfra
from controlplane.infra.state import StateDirectory
from controlplane.model.events import ListenerFailed, ListenerRecovered

PATIENCE_S = 20
"""How long a real process may take to do what it does in a fraction of a second."""


class Recorder:
    """A list that can be awaited."""

    def __init__(self) -> None:
        self.items: list[Any] = []
        self._news = asyncio.Event()

    def add(self, item: Any) -> None:
        self.items.append(item)
        self._news.set()

    async def until(self, matches: Callable[[Any], bool], count: int = 1) -> list[Any]:
        """The items that match, once there are ``count`` of them."""
        async with asyncio.timeout(PATIENCE_S):
            while len(found := [item for item in self.items if matches(item)]) < count:
                self._news.clear()
                await self._news.wait()
        return found


class Log(Recorder):
    """What was logged: dictionaries of structlog, with ``level``."""

    def __init__(self) -> None:
        super().__init__()
        self.logger = structlog.wrap_logger(
            None, processors=[self._take], wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG)
        )

    def _take(self, _: object, method: str, entry: dict[str, Any]) -> dict[str, Any]:
        self.add({**entry, "level": method})
        raise structlog.DropEvent

    async def event(self, text: str, count: int = 1, **fields: object) -> dict[str, Any]:
        """The ``count``-th entry of this text with these fields."""
        entries = await self.until(
            lambda e: e["event"] == text and all(e.get(k) == v for k, v in fields.items()), count
        )
        return entries[count - 1]

    async def line(self, text: str, **fields: object) -> dict[str, Any]:
        """The first line of an Envoy's own log that says this."""
        return await self.event("envoy_log", message=text, **fields)

    def texts(self) -> list[str]:
        """What Envoys said."""
        return [entry["message"] for entry in self.items if entry["event"] == "envoy_log"]


class Reports(Recorder):
    """The events that were reported."""

    async def __call__(self, event: ListenerFailed | ListenerRecovered) -> None:
        self.add(event)

    async def next(self, kind: type, count: int = 1) -> Any:
        return (await self.until(lambda event: isinstance(event, kind), count))[count - 1]


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
def reports() -> Reports:
    return Reports()


@pytest.fixture
def state_dir(tmp_path: Path) -> Iterator[Path]:
    """A state directory; whoever still runs on it at the end is ended, and the test has failed."""
    path = tmp_path / "state"
    yield path
    left = [process for processes in StateDirectory(path).running().values() for process in processes]
    for process in left:
        process.send(signal.SIGKILL)
        process.close()
    assert not left


Hosting = Callable[..., AbstractAsyncContextManager[HostInfra]]


@pytest.fixture
def hosting(state_dir: Path, log: Log, reports: Reports) -> Hosting:
    """Runs a HostInfra for as long as the block lasts."""

    @asynccontextmanager
    async def host(**options: Any) -> AsyncIterator[HostInfra]:
        arguments = {
            "state_dir": state_dir,
            "xds_address": "127.0.0.1",
            "xds_port": 1,
            "report": reports,
            "log": log.logger,
        }
        infra = HostInfra(**(arguments | options))
        task = asyncio.create_task(infra.run())
        try:
            yield infra
        finally:
            task.cancel()
            async with asyncio.timeout(PATIENCE_S):
                await asyncio.gather(task, return_exceptions=True)

    return host
