"""The backends of the quickstart: they answer every request with what they were asked, as JSON.

So ``curl`` shows what a route did on the way: which backend it chose, how it rewrote the path, which headers it set.
``python -m controlplane.runtime.echo --name web --port 9001`` runs one by itself, as the compose file does. This module must not
know of control planes.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from functools import partial

import anyio
import msgspec
import orjson
from aiohttp import web

from controlplane.runtime.errors import ControlPlaneError


class Backend(msgspec.Struct, frozen=True):
    """An echo backend."""

    name: str
    """What it calls itself in its answers."""
    port: int
    """0 takes a free one."""
    address: str = "127.0.0.1"


def echo_application(name: str) -> web.Application:
    """Answers every method and path with 200 and a description of the request, indented, ending in a newline.

    ``headers`` and ``query`` hold a string for what came once and a list for what came more often; header names are in lower
    case.
    """

    async def echo(request: web.Request) -> web.Response:
        answer = {
            "service": name,
            "method": request.method,
            "host": request.host,
            "path": request.rel_url.raw_path,
            "query": _by_name(request.query.items()),
            "headers": _by_name((header.lower(), value) for header, value in request.headers.items()),
        }
        return web.Response(
            body=orjson.dumps(answer, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE),
            content_type="application/json",
            headers={"x-served-by": name},
        )

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", echo)
    return application


@asynccontextmanager
async def serve_echo(backend: Backend) -> AsyncIterator[int]:
    """Serve until the block ends; gives the port.

    Raises:
        ControlPlaneError: The port cannot be had.
    """
    runner = web.AppRunner(echo_application(backend.name), access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    try:
        site = web.TCPSite(runner, backend.address, backend.port)
        try:
            await site.start()
        except OSError as error:
            place = f"{backend.address}:{backend.port}"
            raise ControlPlaneError(
                f"backend {backend.name} needs {place}: {error.strerror}; stop what has it"
            ) from error
        yield runner.addresses[0][1]
    finally:
        with anyio.CancelScope(shield=True):
            await runner.cleanup()


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until SIGINT or SIGTERM, and print a line for each request: what a mirrored copy leaves to see."""
    parser = argparse.ArgumentParser(prog="python -m controlplane.runtime.echo", description=echo_application.__doc__)
    parser.add_argument("--name", required=True, help="what it calls itself in its answers")
    parser.add_argument("--address", default="127.0.0.1", help="what it listens on (default: %(default)s)")
    parser.add_argument("--port", type=int, required=True, help="0 takes a free one")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    web.run_app(
        echo_application(options.name),
        host=options.address,
        port=options.port,
        access_log_format=f'{options.name}: "%r" %s, Host "%{{Host}}i"',
        shutdown_timeout=1.0,
        # A pipe would hold the line back until the end.
        print=partial(print, flush=True),
    )


def _by_name(pairs: Iterable[tuple[str, str]]) -> dict[str, str | list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in pairs:
        found.setdefault(name, []).append(value)
    return {name: values if len(values) > 1 else values[0] for name, values in sorted(found.items())}


if __name__ == "__main__":
    main()
