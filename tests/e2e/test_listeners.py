"""Listeners that come and go under several Envoys of one control plane."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path
from time import monotonic

import pytest

from controlplane.runtime.options import HostPort
from tests.conformance.manifests import Manifest, gateway, http_route, listener, rule
from tests.conftest import EnvoyProcess

from .backends import serving_all
from .client import NOTHING, Request, Traffic, ask
from .folder import Folder, backend_service
from .plane import LOOPBACK, Admin, envoy_for, free_port, is_settled, planning, until, until_answer

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio]

ASKED = Request("example.com")
AT_ONCE_S = 5.0
"""Envoy waits 15 s for virtual hosts that nobody sends again, and then answers 404."""


def two_gateways(*ports: int, other: int) -> list[Manifest]:
    return [
        gateway(*(listener(f"port-{number}", port) for number, port in enumerate(ports))),
        gateway(listener(port=other), name="other"),
        http_route("route", rule(to="v1"), parents=["web", "other"]),
    ]


@pytest.mark.parametrize("seen", ["closed", "drained"])
@pytest.mark.parametrize("stream", ["same", "new"])
async def test_a_listener_that_is_back_serves_at_once(folder: Folder, tmp_path: Path, seen: str, stream: str) -> None:
    """Whether the Envoy has drained it before it comes back, and whether on the stream that it drained on.

    On a new stream the Envoy drains in between, where nobody sees it, if not before: it then claims virtual hosts that it has
    nowhere to put (reference: envoy-observed, trap 3).
    """
    kept, removed, other = free_port(), free_port(), free_port()
    xds, log = HostPort(LOOPBACK, free_port()), tmp_path / "log"
    async with serving_all("v1") as backends, AsyncExitStack() as stack:
        folder.write("v1.yaml", backend_service("v1", backends["v1"].port))
        folder.write("gateways.yaml", two_gateways(kept, removed, other=other))
        async with planning(folder.path, log, xds=xds) as (plane, admin):
            envoy = await stack.enter_async_context(envoy_for(plane, tmp_path / "envoy"))
            await stack.enter_async_context(envoy_for(plane, tmp_path / "other", "demo/other"))
            for port in (kept, removed, other):
                await until_answer(port, ASKED, backend="v1")
            await until("both Envoys are in step", lambda: is_settled(admin, 2))
            traffic = await stack.enter_async_context(Traffic(kept, ASKED))
            others = await stack.enter_async_context(Traffic(other, ASKED))
            sent = await sent_to(admin, "demo/other")

            folder.write("gateways.yaml", two_gateways(kept, other=other))
            await until("the port is closed", lambda: is_closed(removed))
            if seen == "drained":
                await until("the Envoy has let go of its routes", lambda: has_let_go(admin, removed))
            if stream == "same":
                await come_back(folder, kept, removed, other)
                assert await sent_to(admin, "demo/other") == sent
        if stream == "new":
            await until("the Envoy has drained it", lambda: has_drained(envoy))
            async with planning(folder.path, log, xds=xds) as (_, admin):
                await until("both Envoys are in step", lambda: is_settled(admin, 2))
                await come_back(folder, kept, removed, other)
                assert await sent_to(admin, "demo/other") == 0
        await traffic.answers.grow(20)
        await others.answers.grow(20)
        assert (traffic.failures, others.failures) == (0, 0), (traffic.bad, others.bad)


async def come_back(folder: Folder, kept: int, removed: int, other: int) -> None:
    began = monotonic()
    folder.write("gateways.yaml", two_gateways(kept, removed, other=other))
    await until_answer(removed, ASKED, backend="v1")
    assert monotonic() - began < AT_ONCE_S


async def has_drained(envoy: EnvoyProcess) -> bool:
    return await envoy.stat("listener_manager.total_listeners_draining") == 0


async def is_closed(port: int) -> bool:
    return await ask(port, ASKED) == NOTHING


async def sent_to(admin: Admin, gateway: str) -> int:
    """How many resources the Envoy of a Gateway was sent on its stream."""
    (proxy,) = (proxy for proxy in await admin.json("/debug/proxies") if proxy["gateway"] == gateway)
    return sum(ledger["resources"] for ledger in proxy["types"].values())


async def has_let_go(admin: Admin, port: int) -> bool:
    """Whether no Envoy asks for the routes of a port any more."""
    names = [
        name
        for proxy in await admin.json("/debug/proxies")
        for ledger in proxy["types"].values()
        if ledger["type"] == "RDS"
        for name in ledger["names"]
    ]
    return bool(names) and f"http~{port}" not in names
