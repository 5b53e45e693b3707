"""A recorded log, served again to a real Envoy: as it was, and as it was before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.conformance.manifests import gateway, http_route, https, listener, rule

from .backends import serving_all
from .certificates import make_pair, tls_secret, trusting
from .client import Request, ask
from .folder import Folder, backend_service
from .plane import Admin, Command, envoy_at, free_port, planning, until, until_answer

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio]

PLAIN, SECURE, LATER = Request("plain.example.com"), Request("secure.example.com"), Request("later.example.com")


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Every file below a folder: its octets, and when they were written."""
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


async def test_a_log_is_served_as_it_was_at_any_seq(folder: Folder, tmp_path: Path) -> None:
    port, tls_port, log = free_port(), free_port(), tmp_path / "log"
    pair = make_pair(SECURE.host)
    async with serving_all("one", "two") as backends:
        folder.write("gateway.yaml", gateway(listener(port=port), https("tls", SECURE.host, "cert", port=tls_port)))
        folder.write("cert.yaml", tls_secret("cert", pair))
        folder.write("services.yaml", *(backend_service(name, backend.port) for name, backend in backends.items()))
        folder.write("route.yaml", http_route("route", rule(to="one"), hostnames=[PLAIN.host, SECURE.host]))
        async with planning(folder.path, log) as (_, admin):
            await until("it is ready", admin.is_ready)
            early = await admin.snapshot()
            folder.write(
                "route.yaml", http_route("route", rule(to="two"), hostnames=[PLAIN.host, SECURE.host, LATER.host])
            )
            late = await until("the edit is served", lambda: another(admin, early["version"]))
        recorded = contents(log)
        folder.write("route.yaml", http_route("route", rule(to=None), hostnames=[PLAIN.host]))

        for arguments, expected, backend, later in (
            (("--until", str(early["seq"])), early, "one", "404"),
            ((), late, "two", "two"),
        ):
            async with Command(tmp_path / f"replay-{backend}", "--replay", str(log), *arguments) as command:
                served = await command.admin.snapshot()  # before there is a proxy for statuses to tell of
                async with envoy_at(command.xds, tmp_path / f"envoy-{backend}") as envoy:
                    await until_answer(port, PLAIN, backend=backend)
                    await until_answer(tls_port, SECURE, backend=backend, tls=trusting(pair))
                    assert (await ask(port, LATER)).backend == later
                    assert await envoy.stat("control_plane.connected_state") == 1
                    assert (await command.admin.snapshot())["version"] == expected["version"]
                assert (served["version"], served["gateways"], served["statuses"]) == (
                    expected["version"], expected["gateways"], expected["statuses"],
                )  # fmt: skip
            assert command.process.returncode == 0
            assert contents(log) == recorded


async def another(admin: Admin, version: str) -> dict[str, Any] | None:
    """The snapshot, once it has another version."""
    document = await admin.snapshot()
    return document if document["version"] != version else None
