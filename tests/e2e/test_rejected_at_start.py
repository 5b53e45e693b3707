"""What an Envoy does not take, where nobody has a last form of it: fresh Envoys, fresh control planes, replicas without a log."""

from __future__ import annotations

import signal
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.conformance.manifests import Manifest, http_route, prefix, regex
from tests.conftest import EnvoyProcess

from .astray import MARKS, Scene, lead_astray, scene, service_rule
from .client import Request, Traffic
from .folder import Folder, backend_service
from .plane import Command, eager_envoy_at, is_settled, until
from .rejecting import (
    FOLLOW_S,
    TOO_LARGE,
    WORDS,
    Told,
    forms,
    marked,
    request,
    routes,
    strict_envoy,
    until_forms,
)

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio, pytest.mark.timeout(120)]

COUNT, BAD, ALSO_BAD = 20, 7, 13
NOBODY = 1
"""A port on which nobody listens."""
ONE_HOSTNAME = pytest.mark.parametrize("one_hostname", [False, True], ids=["a hostname each", "one hostname"])


@pytest.fixture(autouse=True)
def _astray(monkeypatch: pytest.MonkeyPatch) -> None:
    lead_astray(monkeypatch)


def requests_of(*, one_hostname: bool) -> list[Request]:
    return [request(number, one_hostname=one_hostname) for number in range(COUNT)]


def save(found: Scene, form: int, *bad: int, one_hostname: bool) -> None:
    """Routes in this form; those of ``bad`` match what is not taken."""
    made = routes(form, one_hostname=one_hostname, count=COUNT)
    for number in bad:
        (host,) = made[number]["spec"]["hostnames"]
        made[number] = http_route(f"r{number}", marked(form, regex(f"/r{number}/{TOO_LARGE}")), hostnames=[host])
    found.folder.write("routes.yaml", *made, backend_service("v1", found.backend_port))


@ONE_HOSTNAME
async def test_two_of_many(folder: Folder, tmp_path: Path, one_hostname: bool) -> None:
    requests = requests_of(one_hostname=one_hostname)
    old = {requests[number]: "1" for number in (BAD, ALSO_BAD)}
    async with scene(folder, tmp_path, envoy_at=strict_envoy) as found:
        save(found, 1, one_hostname=one_hostname)
        await until_forms(found.port, requests, 1)
        async with Traffic(found.port, *requests) as traffic:
            save(found, 2, BAD, ALSO_BAD, one_hostname=one_hostname)
            await until_forms(found.port, requests, 2, old)
            for number in (BAD, ALSO_BAD):
                await found.told.until_partly_invalid(f"r{number}", "Fall Back", f"/r{number}/")
            await found.in_step()
            assert await found.told.partly_invalid() == {f"r{BAD}", f"r{ALSO_BAD}"}
            # One is mended; the other stays.
            save(found, 3, BAD, one_hostname=one_hostname)
            await until_forms(found.port, requests, 3, {requests[BAD]: "1"})
            await found.told.until_valid(f"r{ALSO_BAD}")
            assert await found.told.partly_invalid() == {f"r{BAD}"}
        assert traffic.failures == 0, traffic.bad
        # It goes, and nothing is left of it.
        folder.remove("routes.yaml")

        async def is_forgotten() -> bool:
            return await found.told.rejected("VirtualHost") == 0

        await until("nothing is held any more", is_forgotten, FOLLOW_S)


@ONE_HOSTNAME
async def test_a_route_that_was_never_taken(folder: Folder, tmp_path: Path, one_hostname: bool) -> None:
    """The Envoy is new, the control plane is new, and the bad route is there from the beginning."""
    requests = requests_of(one_hostname=one_hostname)
    async with scene(
        folder, tmp_path, lambda found: save(found, 1, BAD, one_hostname=one_hostname), strict_envoy
    ) as found:
        await until_forms(found.port, requests, 1, {requests[BAD]: "404"})

        async def is_told() -> bool:
            said = await found.told.conditions(f"HTTPRoute demo/r{BAD}")
            return any(WORDS in message for _, _, message in said.values())

        await until("the status tells of it", is_told, FOLLOW_S)
        await found.in_step()
        save(found, 2, one_hostname=one_hostname)
        await until_forms(found.port, requests, 2)


@pytest.mark.parametrize("kind", MARKS)
async def test_a_cluster_that_was_never_taken(folder: Folder, tmp_path: Path, kind: str) -> None:
    """One that wedges would keep a fresh Envoy from ever asking for listeners."""
    requests = requests_of(one_hostname=False)

    def write(found: Scene, form: int, mark: str) -> None:
        made: list[Manifest] = []
        for number, asked in enumerate(requests):
            name = f"s{number}"
            made += backend_service(name, found.backend_port)
            made.append(http_route(f"r{number}", marked(form, prefix(f"/r{number}"), to=name), hostnames=[asked.host]))
            made.append(service_rule(name, mark if number == BAD else ""))
        found.folder.write("all.yaml", *made)

    async with scene(folder, tmp_path, lambda found: write(found, 1, kind)) as found:
        good = [asked for number, asked in enumerate(requests) if number != BAD]
        await until_forms(found.port, good, 1)
        assert await forms(found.port, [requests[BAD]]) != ["1"]

        async def is_told() -> bool:
            said = await found.told.conditions(f"HTTPRoute demo/r{BAD}")
            return any("not take" in message or "Envoy" in message for _, _, message in said.values())

        await until("the status tells of it", is_told, FOLLOW_S)
        await found.in_step()
        assert await found.envoy.stat("cluster_manager.warming_clusters") == 0
        write(found, 2, "")
        await until_forms(found.port, requests, 2)


@ONE_HOSTNAME
async def test_a_lenient_envoy_serves_what_the_strict_one_serves(
    folder: Folder, tmp_path: Path, one_hostname: bool
) -> None:
    """What one of a Gateway's Envoys does not take is held back from all of them, also where another took it first."""
    requests = requests_of(one_hostname=one_hostname)
    async with scene(folder, tmp_path, envoy_at=strict_envoy) as found:
        save(found, 1, one_hostname=one_hostname)
        await until_forms(found.port, requests, 1)
        await found.in_step()
        async with eager_envoy_at(found.relay.port, tmp_path / "lenient") as lenient:
            await until("both are there", lambda: is_settled(found.told.admin, 2))
            found.envoy.process.send_signal(signal.SIGSTOP)
            try:
                save(found, 2, BAD, one_hostname=one_hostname)
                await until("the lenient one has it", lambda: _has(lenient, TOO_LARGE), FOLLOW_S)
            finally:
                found.envoy.process.send_signal(signal.SIGCONT)
            # Both listen on the port; each connection is taken by either.
            for _ in range(5):
                await until_forms(found.port, requests, 2, {requests[BAD]: "1"})
            await found.told.until_partly_invalid(f"r{BAD}", "Fall Back", WORDS)
            await found.in_step(2)
            for envoy in (found.envoy, lenient):
                assert not await _has(envoy, TOO_LARGE)
            save(found, 3, one_hostname=one_hostname)
            for _ in range(5):
                await until_forms(found.port, requests, 3)


async def _has(envoy: EnvoyProcess, text: str) -> bool:
    return text in await envoy.get("/config_dump")


@ONE_HOSTNAME
async def test_a_replica_without_the_log(folder: Folder, tmp_path: Path, one_hostname: bool) -> None:
    """Another control plane has read the bad form and nothing else; the Envoy that comes to it has the good one."""
    requests = requests_of(one_hostname=one_hostname)
    others = [asked for number, asked in enumerate(requests) if number != BAD]
    async with scene(folder, tmp_path, envoy_at=strict_envoy) as found:
        save(found, 1, one_hostname=one_hostname)
        await until_forms(found.port, requests, 1)
        await found.in_step()
        async with Traffic(found.port, *others) as traffic:
            upstream = found.relay.upstream
            found.relay.upstream = NOBODY
            found.relay.cut()
            save(found, 2, BAD, one_hostname=one_hostname)
            async with Command(tmp_path / "replica", "--files", str(folder.path)) as replica:
                found.relay.upstream = replica.xds
                await until_forms(found.port, others, 2)
                found.told = Told(replica.admin)

                async def is_told() -> bool:
                    said = await found.told.conditions(f"HTTPRoute demo/r{BAD}")
                    return any(WORDS in message for _, _, message in said.values())

                await until("the status tells of it", is_told, FOLLOW_S)
                await found.in_step()
                save(found, 3, one_hostname=one_hostname)
                await until_forms(found.port, requests, 3)
            found.relay.upstream = upstream
        assert traffic.failures == 0, traffic.bad


@pytest.mark.parametrize("envoy", ["the one that was there", "a new one"])
@ONE_HOSTNAME
async def test_a_log_whose_last_save_nobody_was_sent(
    folder: Folder, tmp_path: Path, one_hostname: bool, envoy: str
) -> None:
    """Saved while no Envoy was connected; then the control plane began another life on its log, and only now one comes."""
    requests = requests_of(one_hostname=one_hostname)
    others = [asked for number, asked in enumerate(requests) if number != BAD]
    async with scene(folder, tmp_path, envoy_at=strict_envoy) as found:
        save(found, 1, one_hostname=one_hostname)
        await until_forms(found.port, requests, 1)
        await found.in_step()
        upstream, found.relay.upstream = found.relay.upstream, NOBODY
        found.relay.cut()
        before = (await found.told.admin.snapshot())["version"]
        save(found, 2, BAD, one_hostname=one_hostname)

        async def is_read() -> bool:
            document = await found.told.admin.snapshot()
            return bool(document["version"] != before)

        await until("the save is in the log", is_read, FOLLOW_S)
        await found.live()
        if envoy == "a new one":
            await found.envoy.__aexit__()
        found.relay.upstream = upstream
        async with AsyncExitStack() as stack:
            if envoy == "a new one":
                await stack.enter_async_context(strict_envoy(found.relay.port, tmp_path / "new"))
            await until_forms(found.port, others, 2)

            async def is_told() -> bool:
                said = await found.told.conditions(f"HTTPRoute demo/r{BAD}")
                return any(WORDS in message for _, _, message in said.values())

            await until("the status tells of it", is_told, FOLLOW_S)
