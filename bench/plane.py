"""A whole control plane in this process, with a generated workload for a source, and what it has cost so far."""

from __future__ import annotations

import ctypes
import ctypes.util
import gc
import logging
import resource
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import anyio

from bench.workload import objects
from controlplane.model.events import SourceSynced
from controlplane.model.objects import KINDS
from controlplane.runtime.core import Core
from controlplane.runtime.launch import configure_logs, run_loop
from controlplane.runtime.options import HostPort, RunOptions
from controlplane.runtime.serve import ControlPlane, Source, running

LOOPBACK = "127.0.0.1"
SOURCE = "bench"

T = TypeVar("T")


class _Workload:
    """The source of the generated objects."""

    name = SOURCE

    def __init__(self, core: Core, size: int) -> None:
        self._core = core
        self._size = size

    async def run(self) -> None:
        """Appends everything, once."""
        await self._core.append(self.name, [*objects(self._size), SourceSynced(tuple(KINDS))])

    def statistics(self) -> object:
        """Nothing."""
        return {}


@asynccontextmanager
async def control_plane(size: int) -> AsyncIterator[ControlPlane]:
    """A control plane on loopback that serves ``size`` routes, as the command ``run`` makes it, its log on disk."""

    def make(core: Core) -> Source:
        return _Workload(core, size)

    configure_logs(output=sys.stderr, level=logging.ERROR)
    with tempfile.TemporaryDirectory() as manifests, tempfile.TemporaryDirectory() as log:
        options = RunOptions(
            files=Path(manifests),
            log_dir=Path(log),
            xds=HostPort(LOOPBACK, _free_port()),
            admin=HostPort(LOOPBACK, 0),
        )
        async with running(options, {SOURCE: (tuple(KINDS), make)}) as plane:
            await plane.views.wait_open()
            yield plane


def measured(measure: Callable[[T, list[str]], Awaitable[None]], size: T) -> int:
    """Runs a measurement on the event loop that a control plane has; the exit code, 1 if it found something over a limit."""
    failures: list[str] = []
    run_loop(measure, size, failures)
    for failure in failures:
        print(f"over the limit: {failure}")
    return 1 if failures else 0


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


async def until(condition: Callable[[], bool], pause_seconds: float = 0.01) -> None:
    """Returns when the condition holds; it is looked at again and again."""
    while not condition():  # noqa: ASYNC110  what is measured is not to be burdened with telling
        await anyio.sleep(pause_seconds)


async def until_recorded(plane: ControlPlane, seq: int, proxies: int) -> None:
    """Returns when so many proxies have acknowledged everything up to ``seq``, and the log says so."""
    rows = plane.core.state.rows.base.proxies
    await until(lambda: sum(row.acknowledged >= seq for row in rows.rows()) >= proxies)


def resident() -> int:
    """Octets of memory that this process holds now, without what is free and could be given back."""
    gc.collect()
    name = ctypes.util.find_library("c")
    if name is not None and hasattr(library := ctypes.CDLL(name), "malloc_trim"):
        library.malloc_trim(0)
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
