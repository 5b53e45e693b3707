"""The admin server: probes, metrics, and ``/debug``, which answers to this machine alone unless told otherwise."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from time import monotonic
from typing import Any

import anyio
import msgspec
import orjson
import structlog
from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from controlplane.log import LogError
from controlplane.runtime.core import Core, State
from controlplane.runtime.document import render as render_document
from controlplane.runtime.document import snapshot
from controlplane.runtime.errors import ControlPlaneError
from controlplane.runtime.explain import explain
from controlplane.runtime.options import HostPort
from controlplane.runtime.readiness import Readiness, render

_MAX_LAG_SECONDS = 10.0
_log = structlog.get_logger(__name__)

Handler = Callable[[web.Request], Any]


class LoopLag:
    """How long the event loop has not had its turn; the one thing that ``/livez`` looks at."""

    def __init__(self) -> None:
        self._last = monotonic()

    def beat(self) -> None:
        """Called by the loop, about once a second."""
        self._last = monotonic()

    @property
    def seconds(self) -> float:
        """Seconds since the last beat."""
        return monotonic() - self._last


@dataclass(frozen=True)
class AdminSources:
    """What the admin server shows."""

    core: Core
    readiness: Readiness
    registry: CollectorRegistry
    lag: LoopLag
    proxies: Callable[[], object]
    infra: Callable[[], object]
    sources: Callable[[], object]
    log: Callable[[], object] = dict
    """Of a log on a disk; empty for one in memory."""
    retry: Callable[[], Awaitable[int]] | None = None
    """Has everything that proxies rejected offered again; how much that is. None where nothing may be appended."""
    debug_from_anywhere: bool = False


def _json(value: object, status: int = 200) -> web.Response:
    body = orjson.dumps(
        msgspec.to_builtins(value, str_keys=True), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
    )
    return web.Response(body=body, content_type="application/json", status=status)


def collections_document(state: State) -> dict[str, Any]:
    """Rows, counters and failures of every collection."""
    return {
        "seq": state.seq,
        "collections": [
            {"name": c.name, "synced": c.synced, "statistics": msgspec.to_builtins(c.statistics())}
            for c in state.graph.collections
        ],
        "failures": [msgspec.to_builtins(failure) for failure in state.graph.failures()],
        "objects": [
            msgspec.to_builtins(report)
            for report in state.rows.base.reports.rows()
            if report.errors or report.warnings or report.unsupported
        ],
        "parts": [msgspec.to_builtins(part) for part in state.rows.base.source_parts.rows()],
    }


class Admin:
    """The handlers."""

    def __init__(self, shown: AdminSources) -> None:
        self._shown = shown

    def application(self) -> web.Application:
        """The aiohttp application."""
        app = web.Application(middlewares=[self._guard])
        app.router.add_get("/livez", self._livez)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/", self._index)
        for name, handler in self._debug_pages().items():
            app.router.add_get(f"/debug/{name}", handler)
        if self._shown.retry is not None:
            app.router.add_post("/debug/retry", self._retry)
        return app

    def _debug_pages(self) -> dict[str, Handler]:
        return {
            "snapshot": self._snapshot,
            "collections": self._collections,
            "graph": self._graph,
            "proxies": self._proxies,
            "explain": self._explain,
            "infra": self._infra,
            "sources": self._sources,
            "log": self._log,
        }

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path.startswith("/debug") and not self._shown.debug_from_anywhere and not _is_local(request.remote):
            text = (
                "/debug answers to this machine only; use kubectl port-forward, or start with --debug-from-anywhere\n"
            )
            return web.Response(text=text, status=403)
        response: web.StreamResponse = await handler(request)
        return response

    async def _retry(self, request: web.Request) -> web.Response:
        assert self._shown.retry is not None
        try:
            count = await self._shown.retry()
        except LogError as error:
            return web.Response(text=f"{error}\n", status=503)
        return web.Response(text=f"{count} rejected resources are offered again\n")

    async def _index(self, request: web.Request) -> web.Response:
        pages = ["/livez", "/readyz?verbose", "/metrics", *(f"/debug/{name}" for name in self._debug_pages())]
        return web.Response(text="\n".join([*pages, ""]))

    async def _livez(self, request: web.Request) -> web.Response:
        lag = self._shown.lag.seconds
        return web.Response(text=f"event loop lag {lag:.3f} s\n", status=200 if lag < _MAX_LAG_SECONDS else 503)

    async def _readyz(self, request: web.Request) -> web.Response:
        readiness = self._shown.readiness
        ready = readiness.ready()
        verbose = "verbose" in request.query
        text = render(readiness.checks()) if verbose or not ready else "ready\n"
        return web.Response(text=text, status=200 if ready else 503)

    async def _metrics(self, request: web.Request) -> web.Response:
        return web.Response(body=generate_latest(self._shown.registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def _snapshot(self, request: web.Request) -> web.Response:
        form = request.query.get("o", "json")
        if form not in ("json", "yaml"):
            return web.Response(text=f"o={form}: unknown; use json or yaml\n", status=400)
        text = render_document(snapshot(self._shown.core.state), "yaml" if form == "yaml" else "json")
        return web.Response(text=text, content_type=f"application/{form}")

    async def _collections(self, request: web.Request) -> web.Response:
        name = request.query.get("name")
        if name is None:
            return _json(collections_document(self._shown.core.state))
        for collection in self._shown.core.state.graph.collections:
            if collection.name == name:
                return _json({"name": name, "rows": [msgspec.to_builtins(r, str_keys=True) for r in collection.rows()]})
        return web.Response(text=f"name={name}: no such collection; /debug/collections lists them\n", status=404)

    async def _graph(self, request: web.Request) -> web.Response:
        return web.Response(text=self._shown.core.state.graph.mermaid())

    async def _proxies(self, request: web.Request) -> web.Response:
        return _json(self._shown.proxies())

    async def _infra(self, request: web.Request) -> web.Response:
        return _json(self._shown.infra())

    async def _sources(self, request: web.Request) -> web.Response:
        return _json(self._shown.sources())

    async def _log(self, request: web.Request) -> web.Response:
        return _json(self._shown.log())

    async def _explain(self, request: web.Request) -> web.Response:
        missing = [name for name in ("gateway", "type", "name") if name not in request.query]
        if missing:
            text = f"missing: {', '.join(missing)}; ask /debug/explain?gateway=NS/NAME&type=VirtualHost&name=NAME[&client=CLASS]\n"
            return web.Response(text=text, status=400)
        query = request.query
        try:
            async with self._shown.core.settled() as state:
                found = explain(state, query["gateway"], query["type"], query["name"], query.get("client"))
        except LookupError as error:
            return web.Response(text=f"{error.args[0]}\n", status=404)
        return _json(found)


def _is_local(remote: str | None) -> bool:
    try:
        return remote is not None and ip_address(remote).is_loopback
    except ValueError:
        return False


@asynccontextmanager
async def serve_admin(shown: AdminSources, address: HostPort) -> AsyncIterator[HostPort]:
    """The admin server, listening until the block ends; the address that it has.

    Raises:
        ControlPlaneError: The address cannot be had.
    """
    runner = web.AppRunner(Admin(shown).application(), access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    try:
        site = web.TCPSite(runner, address.host, address.port)
        try:
            await site.start()
        except OSError as error:
            text = f"--admin {address}: {error.strerror}; stop what listens there, or use another port"
            raise ControlPlaneError(text) from error
        bound = HostPort(address.host, runner.addresses[0][1])
        _log.info("admin_listening", address=str(bound))
        yield bound
    finally:
        with anyio.CancelScope(shield=True):
            await runner.cleanup()
