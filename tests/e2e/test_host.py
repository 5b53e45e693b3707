"""``--infra host``: Envoys as processes of this machine, with ports that others may want, under a control plane that may die."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from controlplane.log import verify
from controlplane.model.codec import EventCodec
from tests.conformance.manifests import Manifest, gateway, http_route, listener, prefix, rule

from .backends import serving_all
from .client import NOTHING, Request, Traffic, ask
from .folder import Folder, backend_service
from .plane import Command, free_port, is_settled, living_envoys, sent_resources, until, until_answer

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio]

ASKED = Request("example.com")
SHUTDOWN_S = 5.0
WEB, OTHER = "Gateway demo/web", "Gateway demo/other"


def gateway_on(name: str, *ports: int, created: str | None = None) -> Manifest:
    listeners = [listener(f"port-{number}", port) for number, port in enumerate(ports)]
    return gateway(*listeners, name=name, metadata={"creationTimestamp": created} if created else {})


def host_mode(home: Path, folder: Folder, xds: int | None = None) -> Command:
    return Command(home, "--files", str(folder.path), "--infra", "host", xds=xds)


def errors_of(command: Command) -> list[dict[str, Any]]:
    return [event for event in command.events() if event["level"] == "error"]


async def test_a_taken_port_is_told_and_serves_once_it_is_free(folder: Folder, home: Path) -> None:
    free, taken = free_port(), free_port()
    async with serving_all("v1") as backends:
        folder.write("v1.yaml", backend_service("v1", backends["v1"].port), http_route("route", rule()))
        folder.write("web.yaml", gateway_on("web", free, taken))
        with socket.create_server(("127.0.0.1", taken)) as squatter:
            async with host_mode(home, folder) as command:
                await until_answer(free, ASKED, backend="v1")

                async def programmed(listener_name: str | None) -> bool:
                    return (await command.admin.condition(WEB, "Programmed", listener_name))[0] == "True"

                async def is_told() -> bool:
                    return (await command.admin.condition(WEB, "Programmed", "port-1"))[1] == "PortUnavailable"

                await until("the status tells of the port", is_told)
                _, reason, message = await command.admin.condition(WEB, "Programmed", "port-1")
                assert reason == "PortUnavailable"
                assert f"127.0.0.1:{taken}" in message
                await until("the other port is programmed", lambda: programmed("port-0"))
                assert await programmed(None)
                (error,) = errors_of(command)
                assert error["listener"] == f"127.0.0.1:{taken}"
                assert (error["gateway"], error["reason"]) == ("demo/web", message)
                assert len(command.envoys()["demo/web"]) == 1

                async with Traffic(free, ASKED) as traffic:
                    squatter.close()
                    await until_answer(taken, ASKED, backend="v1")
                    await until("the status tells that it is served", lambda: programmed("port-1"))
                assert traffic.failures == 0, traffic.bad
    assert not living_envoys(home)


async def test_two_gateways_on_one_port(folder: Folder, home: Path) -> None:
    shared, own = free_port(), free_port()
    async with serving_all("v1", "v2") as backends:
        folder.write("services.yaml", *(backend_service(name, backend.port) for name, backend in backends.items()))
        folder.write("routes.yaml", http_route("web", rule()), http_route("other", rule(to="v2"), parents=["other"]))
        folder.write("web.yaml", gateway_on("web", shared, created="2020-01-01T00:00:00Z"))
        folder.write("other.yaml", gateway_on("other", own, shared, created="2024-01-01T00:00:00Z"))
        async with host_mode(home, folder) as command:
            await until_answer(shared, ASKED, backend="v1")
            await until_answer(own, ASKED, backend="v2")
            assert {key: len(pids) for key, pids in command.envoys().items()} == {"demo/other": 1, "demo/web": 1}
            status, reason, message = await command.admin.condition(OTHER, "Accepted", "port-1")
            assert (status, reason) == ("False", "PortUnavailable")
            assert f":{shared} is taken by Gateway demo/web" in message
            assert (await command.admin.condition(OTHER, "Programmed", "port-1"))[0] == "False"
            await until("it has its own port", lambda: is_programmed(command, OTHER, "port-0"))
            await until("the older has both", lambda: is_programmed(command, WEB, "port-0"))
            # Computed, not tried out: no Envoy was refused.
            assert errors_of(command) == []

            # The one that has it goes; the other gets it, and its other port has not noticed.
            async with Traffic(own, ASKED) as traffic:
                folder.remove("web.yaml")
                await until_answer(shared, ASKED, backend="v2")
                await until("its Envoy has ended", lambda: has_only(command, "demo/other"))
            assert traffic.failures == 0, traffic.bad
            await until("the status tells of it", lambda: is_programmed(command, OTHER, "port-1"))


async def is_programmed(command: Command, gateway_key: str, listener_name: str) -> bool:
    return (await command.admin.condition(gateway_key, "Programmed", listener_name))[0] == "True"


async def has_only(command: Command, gateway_key: str) -> bool:
    return command.envoys().keys() == {gateway_key}


async def test_envoys_outlive_a_killed_control_plane_and_the_next_one_takes_them_over(
    folder: Folder, home: Path
) -> None:
    web, other = free_port(), free_port()
    async with serving_all("v1", "v2") as backends:
        folder.write("services.yaml", *(backend_service(name, backend.port) for name, backend in backends.items()))
        folder.write("gateways.yaml", gateway_on("web", web), gateway_on("other", other))
        folder.write("routes.yaml", http_route("web", rule()), http_route("other", rule(to="v2"), parents=["other"]))
        async with host_mode(home, folder) as first:
            await until_answer(web, ASKED, backend="v1")
            await until_answer(other, ASKED, backend="v2")
            await until("both Envoys are in step", lambda: is_settled(first.admin, 2))
            pids, version = first.envoys(), (await first.admin.snapshot())["version"]
            async with Traffic(web, ASKED) as traffic, Traffic(other, ASKED) as others:
                await first.kill()
                assert first.envoys() == pids
                await traffic.answers.grow(50)
                await others.answers.grow(50)

                async with host_mode(home, folder, xds=first.xds) as second:
                    await until("both Envoys are back and in step", lambda: is_settled(second.admin, 2))
                    assert second.envoys() == pids
                    infra = await second.admin.json("/debug/infra")
                    assert {key: [found["pid"]] for key, found in infra.items()} == pids
                    assert all(found["adopted"] and not found["restarts"] for found in infra.values())
                    assert (await second.admin.snapshot())["version"] == version
                    assert await sent_resources(second.admin) == {}
                    await second.kill()

                # What changed while nobody was there, and nothing else.
                both = rule(prefix("/new"), to="v2"), rule()
                folder.write(
                    "routes.yaml", http_route("web", *both), http_route("other", rule(to="v2"), parents=["other"])
                )
                async with host_mode(home, folder, xds=first.xds) as third:
                    await until_answer(web, Request("example.com", "/new"), backend="v2")
                    await until("both Envoys are back and in step", lambda: is_settled(third.admin, 2))
                    assert third.envoys() == pids
                    # The route's virtual host, and the cluster that is new to this Gateway with its load assignment, which
                    # comes with the cluster and once more when the Envoy asks for it.
                    sent = await sent_resources(third.admin)
                    assert sent.pop("EDS") <= 2
                    assert sent == {"VHDS": 1, "CDS": 1}
                    assert (traffic.failures, others.failures) == (0, 0), (traffic.bad, others.bad)
    assert not living_envoys(home)


async def test_sigterm_ends_all_of_it(folder: Folder, home: Path) -> None:
    web, other = free_port(), free_port()
    async with serving_all("v1") as backends:
        folder.write(
            "all.yaml", backend_service("v1", backends["v1"].port), gateway_on("web", web), gateway_on("other", other)
        )
        folder.write("route.yaml", http_route("route", rule(), parents=["web", "other"]))
        async with host_mode(home, folder) as command, Traffic(web, ASKED), Traffic(other, ASKED):
            await until_answer(web, ASKED, backend="v1")
            await until_answer(other, ASKED, backend="v1")
            assert len(command.envoys()) == 2
            code, seconds = await command.terminate()
        assert code == 0, command.output.read_text()
        assert seconds < SHUTDOWN_S
        assert not living_envoys(home)
        assert await ask(web, ASKED) == NOTHING
        assert errors_of(command) == []
        report = verify(command.log_dir, EventCodec())
        assert not report.damage
        assert report.torn is None
