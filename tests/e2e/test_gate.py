"""The gate: nobody is sent half a configuration, and never again less than before."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from controlplane.model.decode import Decoded, decode_object
from controlplane.model.events import AnyEvent, ObjectApplied, SourceAvailable, SourceSynced, SourceUnavailable
from controlplane.runtime.core import Core
from controlplane.runtime.options import HostPort
from tests.conformance.manifests import Manifest, gateway, http_route, listener, prefix, rule
from tests.conftest import EnvoyProcess

from .backends import Backend, serving_all
from .client import NOTHING, Request, Traffic, ask
from .folder import Folder, backend_service, flat, to_text
from .plane import LOOPBACK, Admin, envoy_for, free_port, is_settled, planning, sent_resources, until, until_answer

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio]

HOST = "example.com"
FROM_FILES, FROM_HELD = Request(HOST, "/files"), Request(HOST, "/held")


class ScriptedSource:
    """A source that promises Services, and says what the test makes it say, when it does. Also the function that makes it."""

    name = "scripted"

    def __call__(self, core: Core) -> ScriptedSource:
        self._core = core
        return self

    async def run(self) -> None:
        await asyncio.get_running_loop().create_future()

    def statistics(self) -> object:
        return {}

    async def say(self, *events: AnyEvent) -> None:
        await self._core.append(self.name, events)


def applied(*objects: Manifest) -> list[AnyEvent]:
    events: list[AnyEvent] = []
    for document in objects:
        decoded = decode_object(document)
        assert isinstance(decoded, Decoded)
        events.append(ObjectApplied(decoded.object))
    return events


def write(folder: Folder, port: int, backends: dict[str, Backend]) -> Manifest:
    """Everything but the Service ``held``, which is returned: the source that is held back has it."""
    service, *slices = flat(backend_service("held", backends["held"].port))
    folder.write(
        "all.yaml",
        gateway(listener(port=port)),
        http_route("all", rule(prefix("/files"), to="files"), rule(prefix("/held"), to="held")),
        backend_service("files", backends["files"].port),
        slices,
    )
    return service


async def assert_nothing_was_sent(envoy: EnvoyProcess, port: int) -> None:
    """Envoy has a stream to the control plane, and has had no word of it."""
    stats = await envoy.stats("^(control_plane|listener_manager|cluster_manager)\\.")
    assert stats["control_plane.connected_state"] == 1
    assert await envoy.get("/ready") in ("PRE_INITIALIZING\n", "INITIALIZING\n")
    assert stats["listener_manager.total_listeners_active"] == 0
    assert stats["listener_manager.total_listeners_warming"] == 0
    for service in ("listener_manager.lds", "cluster_manager.cds"):
        counted = {name: stats[f"{service}.{name}"] for name in ("update_success", "update_rejected", "update_failure")}
        assert not any(counted.values()), (service, counted)
    assert await ask(port, FROM_FILES) == NOTHING


async def test_a_source_that_is_held_back_holds_everything_back(folder: Folder, tmp_path: Path) -> None:
    held, port = ScriptedSource(), free_port()
    async with serving_all("files", "held") as backends:
        service = write(folder, port, backends)
        sources = {held.name: (("Service",), held)}
        async with (
            planning(folder.path, more_sources=sources) as (plane, admin),
            envoy_for(plane, tmp_path / "envoy") as envoy,
        ):
            await until("the Envoy is connected", lambda: is_connected(envoy))
            await until("the files are read", lambda: files_are_read(admin))
            before = plane.core.state.seq
            folder.write("more.yaml", backend_service("more"))
            await until("the next edit is in the log", lambda: has_passed(admin, before))

            # Everything is there but what one source has promised: still not a byte goes out.
            assert plane.xds.stream_count == 1
            assert plane.xds.counters.get("responses", 0) == 0
            assert [proxy["held_at_gate"] for proxy in plane.xds.statistics()] == [True]
            await assert_nothing_was_sent(envoy, port)
            answer = await admin.get("/readyz?verbose")
            text = answer.body.decode()
            assert answer.status == 503
            assert "[-] sources/scripted/Service failed" in text
            assert "the first list of Service from source scripted is not in yet" in text
            assert "[+] sources/files/Service ok" in text
            assert "[-] collections/synced failed" in text
            assert text.endswith("not ready\n")
            assert await admin.metric("controlplane_source_synced", source="scripted", kind="Service") == 0
            assert await admin.metric("controlplane_source_synced", source="files", kind="Service") == 1
            assert await admin.metric("controlplane_ready", layer="sources") == 0

            await held.say(*applied(service), SourceSynced(("Service",)))
            await until_answer(port, FROM_HELD, backend="held")
            await until_answer(port, FROM_FILES, backend="files")
            assert (await admin.get("/readyz")).status == 200
            assert await envoy.get("/ready") == "LIVE\n"


async def test_a_source_that_is_lost_takes_nothing_with_it(folder: Folder, tmp_path: Path) -> None:
    held, port = ScriptedSource(), free_port()
    async with serving_all("files", "held", "two") as backends:
        service = write(folder, port, backends)
        sources = {held.name: (("Service",), held)}
        async with planning(folder.path, more_sources=sources) as (plane, admin):
            async with envoy_for(plane, tmp_path / "envoy") as envoy:
                await until("the Envoy is connected", lambda: is_connected(envoy))
                await held.say(*applied(service), SourceSynced(("Service",)))
                await until_answer(port, FROM_HELD, backend="held")
                await until("the Envoy is in step", lambda: is_settled(admin))
                sent, version = plane.xds.counters["sent_resources"], (await admin.snapshot())["version"]

                async with Traffic(port, FROM_HELD, FROM_FILES) as traffic:
                    await traffic.answers.grow(20)
                    await held.say(SourceUnavailable("", "the connection was refused; start the server"))
                    await traffic.answers.grow(100)
                    text = await admin.text("/readyz?verbose")
                    assert "[!] sources/scripted/connection degraded" in text
                    assert "the connection was refused" in text
                    assert text.endswith("\nready\n")
                    assert await admin.is_ready()
                    assert await admin.metric("controlplane_degraded", layer="sources") == 1
                    assert await admin.metric("controlplane_source_errors", source="scripted") == 1
                    assert await admin.metric("controlplane_ready", layer="sources") == 1
                    assert plane.xds.counters["sent_resources"] == sent
                    assert (await admin.snapshot())["version"] == version

                    # The other sources go on.
                    two = http_route("two", rule(prefix("/two"), to="two"))
                    folder.write("two.yaml", two, backend_service("two", backends["two"].port))
                    await until_answer(port, Request(HOST, "/two"), backend="two")
                assert traffic.failures == 0, traffic.bad

            # Who comes now is given all that there was.
            async with envoy_for(plane, tmp_path / "late"):
                await until_answer(port, FROM_HELD, backend="held")
                await held.say(SourceAvailable(""))
                assert await admin.metric("controlplane_degraded", layer="sources") == 0
                assert await admin.metric("controlplane_source_errors", source="scripted") == 0
                assert (await ask(port, FROM_HELD)).backend == "held"


async def test_a_restart_with_a_source_held_back_leaves_envoy_as_it_is(folder: Folder, tmp_path: Path) -> None:
    port, xds = free_port(), HostPort(LOOPBACK, free_port())
    async with serving_all("files", "held") as backends, AsyncExitStack() as stack:
        service = write(folder, port, backends)
        first = ScriptedSource()
        sources = {first.name: (("Service",), first)}
        async with planning(folder.path, tmp_path / "log", sources, xds=xds) as (plane, admin):
            envoy = await stack.enter_async_context(envoy_for(plane, tmp_path / "envoy"))
            await first.say(*applied(service), SourceSynced(("Service",)))
            await until_answer(port, FROM_HELD, backend="held")
            await until("the Envoy is in step", lambda: is_settled(admin))
            traffic = await stack.enter_async_context(Traffic(port, FROM_HELD, FROM_FILES))
        await until("the Envoy has noticed the end", lambda: is_disconnected(envoy))

        second = ScriptedSource()
        sources = {second.name: (("Service",), second)}
        async with planning(folder.path, tmp_path / "log", sources, xds=xds, serve_from_log=False) as (plane, admin):
            await until("the Envoy is connected", lambda: is_connected(envoy))
            await until("the files are read", lambda: files_are_read(admin))
            await traffic.answers.grow(50)
            assert not await admin.is_ready()
            assert plane.xds.counters.get("responses", 0) == 0

            await second.say(*applied(service), SourceSynced(("Service",)))
            await until("the Envoy is in step", lambda: is_settled(admin))
            assert await admin.is_ready()
            assert plane.xds.counters.get("sent_resources", 0) == 0
            folder.write("two.yaml", http_route("two", rule(prefix("/two"), to="files")))
            await until_answer(port, Request(HOST, "/two"), backend="files")
        await traffic.answers.grow(50)
        assert traffic.failures == 0, traffic.bad


async def test_a_restart_without_its_folder_goes_on_from_the_log(folder: Folder, tmp_path: Path) -> None:
    """Nothing is sent again; and when the folder is back, what has changed in it and nothing else."""
    port, xds = free_port(), HostPort(LOOPBACK, free_port())
    async with serving_all("files", "held") as backends, AsyncExitStack() as stack:
        folder.write("held.yaml", write(folder, port, backends))
        async with planning(folder.path, tmp_path / "log", xds=xds) as (plane, admin):
            envoy = await stack.enter_async_context(envoy_for(plane, tmp_path / "envoy"))
            await until_answer(port, FROM_HELD, backend="held")
            await until("the Envoy is in step", lambda: is_settled(admin))
            traffic = await stack.enter_async_context(Traffic(port, FROM_HELD, FROM_FILES))
            version = (await admin.snapshot())["version"]
        await until("the Envoy has noticed the end", lambda: is_disconnected(envoy))
        away = folder.move_away()
        async with planning(folder.path, tmp_path / "log", xds=xds) as (plane, admin):
            await until("the Envoy is in step", lambda: is_settled(admin))
            await assert_stale(admin, plane.core.state.stale_since)
            assert plane.xds.counters.get("sent_resources", 0) == 0
            folder.move_back(away)
            await until("the folder is read", lambda: files_are_read(admin))
            await assert_fresh(admin)
            assert (await admin.snapshot())["version"] == version
            assert plane.xds.counters.get("sent_resources", 0) == 0
            folder.write("two.yaml", http_route("two", rule(prefix("/two"), to="files")))
            await until_answer(port, Request(HOST, "/two"), backend="files")
            assert await sent_resources(admin) == {"VHDS": 1}
        await traffic.answers.grow(50)
        assert traffic.failures == 0, traffic.bad


async def test_an_envoy_that_is_new_is_served_from_the_log(folder: Folder, tmp_path: Path) -> None:
    """The control plane was restarted, its folder is gone, and nobody has ever seen this Envoy: it serves all the same."""
    port = free_port()
    async with serving_all("files", "held") as backends:
        folder.write("held.yaml", write(folder, port, backends))
        async with planning(folder.path, tmp_path / "log") as (plane, admin):
            await until("the folder is read", admin.is_ready)
        away = folder.move_away()
        async with (
            planning(folder.path, tmp_path / "log") as (plane, admin),
            envoy_for(plane, tmp_path / "envoy") as envoy,
        ):
            await until_answer(port, FROM_HELD, backend="held")
            await assert_stale(admin, plane.core.state.stale_since)
            assert await envoy.get("/ready") == "LIVE\n"
            await until("the Envoy is in step", lambda: is_settled(admin))
            sent = plane.xds.counters["sent_resources"]
            async with Traffic(port, FROM_HELD, FROM_FILES) as traffic:
                await traffic.answers.grow(20)
                text = to_text(http_route("two", rule(prefix("/two"), to="files")))
                folder.move_back(away, {"two.yaml": text})
                await until_answer(port, Request(HOST, "/two"), backend="files")
                await until("the Envoy is in step", lambda: is_settled(admin))
                await assert_fresh(admin)
                # One virtual host has one more route.
                assert plane.xds.counters["sent_resources"] == sent + 1
                await traffic.answers.grow(20)
            assert traffic.failures == 0, traffic.bad


async def assert_stale(admin: Admin, since: str) -> None:
    """Ready, and told as stale: in readiness, in metrics, in the Gateway's status."""
    assert since
    await until("the folder was looked for", lambda: is_told(admin, "[!] sources/files/connection degraded"))
    assert await is_told(admin, f"served as the log has it of {since}, until these sources have been read: files")
    assert await admin.is_ready()
    assert await admin.metric("controlplane_served_from_log_seconds") > 0
    assert await admin.metric("controlplane_source_synced", source="files", kind="Gateway") == 0
    status, reason, message = await admin.condition("Gateway demo/web", "controlplane.dev/Fresh")
    assert (status, reason) == ("False", "ServedFromLog")
    assert since in message


async def assert_fresh(admin: Admin) -> None:
    """Nothing of it is left."""
    assert await admin.metric("controlplane_served_from_log_seconds") == 0
    assert not await is_told(admin, "degraded")
    conditions = (await admin.snapshot())["statuses"]["Gateway demo/web"]["conditions"]
    assert "controlplane.dev/Fresh" not in {condition["type"] for condition in conditions}


async def is_told(admin: Admin, text: str) -> bool:
    return text in await admin.text("/readyz?verbose")


async def files_are_read(admin: Admin) -> bool:
    return "[+] sources/files/Service ok" in await admin.text("/readyz?verbose")


async def has_passed(admin: Admin, seq: int) -> bool:
    return bool((await admin.snapshot())["seq"] > seq)


async def is_connected(envoy: EnvoyProcess) -> bool:
    return await envoy.stat("control_plane.connected_state") == 1


async def is_disconnected(envoy: EnvoyProcess) -> bool:
    return not await is_connected(envoy)
