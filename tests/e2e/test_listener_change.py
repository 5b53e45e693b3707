"""Listeners and certificates changed under load, four workers: no request fails."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conformance.manifests import gateway, http_route, https, listener, rule

from .certificates import make_pair, tls_secret, trusting
from .changing import SHOP, changing
from .client import Connection, Request
from .folder import Folder, backend_service
from .plane import Command, free_port, until, until_answer

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio]

TIMES = 20


@pytest.mark.parametrize("where", ["on its own port", "on the same port"])
async def test_a_listener_comes_and_goes_beside(folder: Folder, tmp_path: Path, where: str) -> None:
    """With a route and a Service of its own."""
    asked = Request("other.example.com")
    async with changing(folder, tmp_path) as s:
        ports = await s.load.serve("shop", "other")
        port = s.port if where == "on the same port" else free_port()
        first = listener("first", s.port, "shop.example.com")
        second = listener("second", port, "other.example.com")
        route = http_route("other", rule(to="other"), hostnames=[asked.host])
        folder.write(
            "shop.yaml",
            http_route("shop", rule(to="shop"), hostnames=[SHOP.host]),
            backend_service("shop", ports["shop"]),
        )
        folder.write("gateway.yaml", gateway(first))
        await s.start(SHOP)
        await s.load.allow(["shop/"])
        for _ in range(TIMES // 2):
            s.save("gateway.yaml", "added", gateway(first, second), route, backend_service("other", ports["other"]))
            await until_answer(port, asked)
            group = await s.load.start(port, asked, connections=4, pause_s=0.001)
            await s.load.to("other", group=group)
            await s.load.stop(group)
            s.save("gateway.yaml", "removed", gateway(first))
            await until_answer(port, asked, 404 if port == s.port else 0)
            await s.settled()


async def test_a_certificate_is_rotated(folder: Folder, tmp_path: Path) -> None:
    """Connections that are kept stay, new ones shake hands with the one certificate or the other; now and then by another Secret."""
    other = Request("other.example.com")
    pairs = [make_pair(SHOP.host) for _ in range(TIMES)]
    still = make_pair(other.host)
    async with changing(folder, tmp_path) as s:
        ports = await s.load.serve("shop")

        def listeners(secret: str) -> list[dict[str, object]]:
            return [
                https("shop", SHOP.host, secret, port=s.port),
                https("other", other.host, "still", port=s.port),
            ]

        folder.write("shop.yaml", http_route("shop", rule(to="shop")), backend_service("shop", ports["shop"]))
        folder.write("still.yaml", tls_secret("still", still))
        folder.write("secret.yaml", tls_secret("s0", pairs[0]))
        folder.write("gateway.yaml", gateway(*listeners("s0")))
        await s.start()
        for request in (SHOP, other):
            await until_answer(s.port, request, tls=trusting(*pairs, still))
        kept = await s.load.start(s.port, SHOP, connections=8, pause_s=0.001, tls=pairs)
        fresh = await s.load.start(s.port, SHOP, connections=4, pause_s=0.002, tls=pairs, fresh=True)
        beside = await s.load.start(s.port, other, connections=4, pause_s=0.001, tls=[still])
        for number, pair in enumerate(pairs[1:], 1):
            if number % 5:
                name = f"s{number // 5}"
                s.save("gateway.yaml", f"certificate {number}", gateway(*listeners(name)), tls_secret(name, pair))
            else:
                name = f"s{number // 5}"
                s.save("gateway.yaml", f"another Secret {number}", gateway(*listeners(name)), tls_secret(name, pair))

            async def is_shown(pair: object = pair) -> bool:
                async with Connection(s.port, trusting(*pairs)) as connection:
                    answered = (await connection.ask(SHOP)).status == 200
                    return answered and connection.certificate == pair.der

            await until(f"certificate {number} is shown", is_shown)
        reports = [await s.load.stop(group) for group in (kept, fresh, beside)]
    assert reports[2]["opened"] == 4, "connections of the other hostname were closed"


async def test_what_drains_is_let_go_when_the_drain_time_is_over(folder: Folder, home: Path) -> None:
    """Envoy's own drain time is ten minutes, for which everything that a removed listener used would have to stay."""
    kept, removed = free_port(), free_port()
    async with changing(folder, home) as s:
        ports = await s.load.serve("shop")
        folder.write("shop.yaml", http_route("shop", rule(to="shop")), backend_service("shop", ports["shop"]))
        folder.write("gateway.yaml", gateway(listener("kept", kept), listener("removed", removed)))
        async with Command(home, "--files", str(folder.path), "--infra", "host") as command:
            s.admin = command.admin
            await until_answer(removed, SHOP)
            await s.load.start(kept, SHOP, connections=4, pause_s=0.005)

            async def names() -> list[str]:
                (proxy,) = await command.admin.json("/debug/proxies")
                (ledger,) = (each for each in proxy["types"].values() if each["type"] == "RDS")
                return sorted(ledger["names"])

            async def holds(*expected: int) -> bool:
                return await names() == sorted(f"http~{port}" for port in expected)

            await until("both are served", lambda: holds(kept, removed))
            s.save("gateway.yaml", "removed", gateway(listener("kept", kept)))
            await until("the Envoy has let go of its routes", lambda: holds(kept))
            await s.load.finish()
