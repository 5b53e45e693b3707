"""A Gateway with one service that a test moves things about, and one to which nothing happens and that must not notice anything."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.conformance.manifests import Manifest, gateway, http_route, listener, rule

from .backends import Backend, serving_all
from .client import Request, Tally, Traffic, ask
from .folder import Folder, backend_service
from .plane import Admin, envoy_for, free_port, planning, until, until_answer

STILL, SHOP = Request("still.example.com"), Request("shop.example.com")
ENOUGH = 20
"""Requests after which chance does not explain that all of them went to one of two."""


@dataclass
class Scene:
    """An Envoy for the Gateway ``web``, and backends."""

    folder: Folder
    admin: Admin
    backends: dict[str, Backend]
    port: int
    xds: int
    """The control plane's port, for further Envoys."""
    still: list[Manifest]
    """What ``still.yaml`` holds: the Gateway, and what nothing happens to."""

    def route(self, to: str | Manifest, **fields: Any) -> None:
        """The route of ``SHOP``."""
        self.folder.write("route.yaml", http_route("shop", rule(to=to, **fields), hostnames=[SHOP.host]))

    async def answers(self, status: int = 200, backend: str = "") -> None:
        """Returns once the shop answers so."""
        await until_answer(self.port, SHOP, status, backend)

    async def answer(self, *names: str) -> None:
        """Returns once these backends and no others answer."""

        async def look() -> bool:
            return {(await ask(self.port, SHOP)).backend for _ in range(ENOUGH)} == set(names)

        await until(f"{names} answer", look)

    async def says(self, reason: str, text: str = "") -> None:
        """Returns once the route says so of its references."""
        found: object = None

        async def look() -> bool:
            nonlocal found
            _, now, message = found = await self.admin.condition("HTTPRoute demo/shop", "ResolvedRefs")
            return now == reason and text in message

        await until(f"the route says {reason} {text}", look, last=lambda: found)


@asynccontextmanager
async def scene(folder: Folder, tmp_path: Path, *names: str) -> AsyncIterator[Scene]:
    """The scene with backends of these names, what the test has written served too; whom nothing happens to notices nothing."""
    port = free_port()
    async with serving_all("still", *names) as backends:
        still = http_route("still", rule(to="still"), hostnames=[STILL.host])
        own = backend_service("still", backends["still"].port)
        written = [gateway(listener(port=port)), still, *own]
        folder.write("still.yaml", written)
        async with planning(folder.path) as (plane, admin), envoy_for(plane, tmp_path / "envoy"):
            await until_answer(port, STILL)
            async with undisturbed(port):
                yield Scene(folder, admin, backends, port, plane.options.xds.port, written)


@asynccontextmanager
async def undisturbed(port: int, request: Request = STILL, *, kept: bool = True) -> AsyncIterator[Traffic]:
    """Traffic of which no request fails, ``kept`` on the one connection that it began with."""
    opened: set[int] = set()
    traffic = Traffic(port, request, clients=1, watch=lambda _, __, connection: opened.add(connection.opened))
    async with traffic:
        await traffic.answers.grow(5)
        yield traffic
        await traffic.answers.grow(10)
    assert traffic.failures == 0, traffic.bad
    assert not kept or opened == {1}


async def stops(tally: Tally, traffic: Traffic) -> None:
    """Returns once nothing is added while others are answered."""

    async def look() -> bool:
        before = tally.total
        await traffic.answers.grow(ENOUGH)
        return tally.total == before

    await until("no more come", look)
