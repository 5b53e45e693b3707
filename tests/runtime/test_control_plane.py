"""A whole control plane in this process, without an Envoy: its pages, its log, its starts and ends."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from controlplane.krt import Commit
from controlplane.log import LogError
from controlplane.model.events import AnyEvent, SourceSynced, SourceUnavailable
from controlplane.runtime.core import Core, replay
from controlplane.runtime.document import render, snapshot
from controlplane.runtime.errors import ControlPlaneError
from controlplane.runtime.offline import log_records, translate_paths
from controlplane.runtime.options import HostPort, RunOptions
from controlplane.runtime.serve import ControlPlane, running
from controlplane.xds import Locality, ProxyConnected, ProxyRejected
from tests.reducers.manifests import working_set

PATIENCE_S = 20.0
ANY_PORT = HostPort("127.0.0.1", 0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "manifests"
    made.mkdir()
    (made / "all.yaml").write_text(yaml.safe_dump_all(working_set()))
    return made


def options(folder: Path, **more: Any) -> RunOptions:
    given = {"log_dir": folder.parent / "log", "state_dir": folder.parent, "xds": ANY_PORT, "admin": ANY_PORT}
    return RunOptions(files=folder, **(given | more))


async def until(plane: ControlPlane, condition: Callable[[], bool]) -> None:
    """Return after the first commit in which the condition holds, or at once."""
    changed = asyncio.Event()

    def look(_: Commit) -> None:
        changed.set()

    plane.core.subscribe(look)
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            changed.clear()
            await changed.wait()


async def synced(plane: ControlPlane) -> None:
    await until(plane, lambda: plane.core.state.translation.resources.synced)


class Pages:
    """The admin server as a client sees it."""

    def __init__(self, session: aiohttp.ClientSession, plane: ControlPlane) -> None:
        self._session = session
        self._base = f"http://{plane.admin}"

    async def get(self, path: str) -> tuple[int, str]:
        async with self._session.get(self._base + path) as response:
            return response.status, await response.text()

    async def json(self, path: str) -> Any:
        status, text = await self.get(path)
        assert status == 200, text
        return json.loads(text)


@asynccontextmanager
async def pages_of(plane: ControlPlane) -> AsyncIterator[Pages]:
    async with aiohttp.ClientSession() as session:
        yield Pages(session, plane)


def reasons(document: dict[str, Any], gateway: str) -> dict[str, str]:
    """Why each listener of a Gateway is programmed or not."""
    return {
        listener["name"]: condition["reason"]
        for listener in document["statuses"][gateway]["listeners"]
        for condition in listener["conditions"]
        if condition["type"] == "Programmed"
    }


@pytest.mark.asyncio
async def test_the_snapshot_is_the_translation_and_the_replay(folder: Path) -> None:
    """Live, translated and replayed: one document, but for the listeners that no proxy has."""
    async with running(options(folder)) as plane:
        await synced(plane)
        async with pages_of(plane) as pages:
            live = await pages.json("/debug/snapshot")
            _, text = await pages.get("/debug/snapshot")
            assert yaml.safe_load((await pages.get("/debug/snapshot?o=yaml"))[1]) == live
            assert (await pages.get("/debug/snapshot?o=xml"))[0] == 400
    offline = snapshot(translate_paths([folder]).state)
    assert live["gateways"] == offline["gateways"]
    waits = {"Gateway alpha/edge"}
    others = {key: status for key, status in live["statuses"].items() if key not in waits}
    assert others == {key: status for key, status in offline["statuses"].items() if key not in waits}
    assert reasons(live, "Gateway alpha/edge") == {"one": "Pending", "two": "Pending", "three": "Invalid"}
    assert reasons(offline, "Gateway alpha/edge") == {"one": "Programmed", "two": "Programmed", "three": "Invalid"}
    assert live["version"] == offline["version"]
    assert render(snapshot(replay(folder.parent / "log", live["seq"])), "json") == text


@pytest.mark.asyncio
async def test_every_page_answers(folder: Path) -> None:
    """Probes, metrics, and all of /debug."""
    (folder / "broken.yaml").write_text("a: [")
    async with running(options(folder)) as plane, pages_of(plane) as pages:
        await synced(plane)
        _, index = await pages.get("/")
        for path in index.split():
            if "explain" not in path:
                assert (await pages.get(path))[0] == 200, path
        _, verbose = await pages.get("/readyz?verbose")
        assert "[+] collections/synced ok" in verbose
        assert "[!] sources/files/broken.yaml degraded" in verbose
        assert verbose.endswith("ready\n")
        assert (await pages.get("/readyz"))[1] == "ready\n"
        _, metrics = await pages.get("/metrics")
        assert 'controlplane_source_errors{source="files"} 1.0' in metrics
        assert 'controlplane_ready{layer="sources"} 1.0' in metrics
        assert 'controlplane_time_to_ready_seconds{layer="collections"}' in metrics
        collections = await pages.json("/debug/collections")
        assert [part["reason"] for part in collections["parts"]]
        assert (await pages.json("/debug/collections?name=http_routes"))["rows"]
        assert (await pages.get("/debug/collections?name=nope"))[0] == 404
        assert (await pages.get("/debug/graph"))[1].startswith("flowchart")
        (folder / "broken.yaml").write_text("")
        await until(plane, lambda: not len(plane.core.state.rows.base.source_parts))
        assert 'controlplane_source_errors{source="files"} 0.0' in (await pages.get("/metrics"))[1]


@pytest.mark.asyncio
async def test_explain_leads_from_a_resource_to_its_events(folder: Path) -> None:
    """Every object that a virtual host was made of, with the seq and the line at which it came in."""
    async with running(options(folder)) as plane, pages_of(plane) as pages:
        await synced(plane)
        query = "/debug/explain?gateway=alpha/edge&type=virtualhost&name=http~8080/a.example.com"
        found = await pages.json(query)
        records = {record.seq: record.event for record in log_records(folder.parent / "log")}
        objects = {event["object"]: event for event in found["events"]}
        assert {"Gateway alpha/edge", "GatewayClass ours", "HTTPRoute alpha/r1", "Service alpha/s1"} <= objects.keys()
        for name, event in objects.items():
            record = records[event["seq"]]
            assert name == f"{record.object.kind} {record.object.key}"  # type: ignore[union-attr]
            assert event["origin"].startswith("all.yaml:")
        assert found["resource"]["version"]
        endpoints = "/debug/explain?gateway=alpha/edge&type=ClusterLoadAssignment&name=kube_alpha_s1_80"
        assert "EndpointSlice alpha/e1" in {e["object"] for e in (await pages.json(endpoints))["events"]}
        for wrong, message in (
            ("/debug/explain", "missing: gateway, type, name"),
            ("/debug/explain?gateway=a&type=Foo&name=b", "none of Cluster"),
            ("/debug/explain?gateway=alpha/edge&type=Cluster&name=b", "is not served Cluster 'b'; it is served kube_"),
        ):
            status, text = await pages.get(wrong)
            assert status in (400, 404)
            assert message in text


@pytest.mark.asyncio
async def test_a_restart_appends_only_what_changed_meanwhile(folder: Path) -> None:
    """The folder is compared with what the log says; equal objects are no events, and what is gone is deleted."""
    async with running(options(folder)) as plane:
        await synced(plane)
        first = plane.core.state.seq
        version = snapshot(plane.core.state)["version"]
    async with running(options(folder)) as plane:
        await synced(plane)
        assert snapshot(plane.core.state)["version"] == version
        second = plane.core.state.seq
    names = [type(r.event).__name__ for r in log_records(folder.parent / "log", first + 1, second)]
    assert names == ["ControlPlaneStarted", "SourceSynced"]
    documents = [document for document in working_set() if document["metadata"]["name"] != "r1"]
    (folder / "all.yaml").write_text(yaml.safe_dump_all(documents))
    async with running(options(folder)) as plane:
        await synced(plane)
        third = plane.core.state.seq
        assert plane.core.state.rows.base.http_routes.get("alpha/r1") is None
    names = [type(r.event).__name__ for r in log_records(folder.parent / "log", second + 1, third)]
    assert names == ["ControlPlaneStarted", "ObjectDeleted", "SourceSynced"]


class HeldSource:
    """A source that promises Services and syncs when it is told to."""

    name = "held"

    def __init__(self, core: Core) -> None:
        self._append = core.appender(self.name)

    async def run(self) -> None:
        await asyncio.Event().wait()

    def statistics(self) -> object:
        return {}

    async def say(self, *events: AnyEvent) -> None:
        await self._append(events)


@pytest.mark.asyncio
async def test_readiness_names_what_is_missing_and_a_lost_source_is_degraded(folder: Path) -> None:
    """Unready until the last source is in; never unready again for one that is lost."""
    sources: dict[str, tuple[Sequence[str], Callable[[Core], HeldSource]]] = {"held": (("Service",), HeldSource)}
    async with running(options(folder), sources) as plane, pages_of(plane) as pages:
        held = plane.sources[-1]
        assert isinstance(held, HeldSource)
        await until(plane, lambda: plane.core.state.rows.base.gateways.synced)
        status, text = await pages.get("/readyz?verbose")
        assert status == 503
        assert "[-] sources/held/Service failed for" in text
        assert "services" in text
        assert not plane.views.is_open
        await held.say(SourceSynced(("Service",)))
        assert (await pages.get("/readyz"))[0] == 200
        assert plane.views.is_open
        before = snapshot(plane.core.state)
        await held.say(SourceUnavailable("", "the connection was refused"))
        status, text = await pages.get("/readyz?verbose")
        assert status == 200
        assert "[!] sources/held/connection degraded" in text
        assert "the connection was refused" in text
        assert 'controlplane_degraded{layer="sources"} 1.0' in (await pages.get("/metrics"))[1]
        assert snapshot(plane.core.state)["gateways"] == before["gateways"]


@pytest.mark.asyncio
async def test_a_port_that_is_taken_is_named(folder: Path) -> None:
    """For both servers: the option, and what to do."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = HostPort("127.0.0.1", taken.getsockname()[1])
        for name in ("xds", "admin"):
            with pytest.RaisesGroup(ControlPlaneError, allow_unwrapped=True, flatten_subgroups=True) as caught:
                async with running(options(folder, **{name: address})):
                    pass
            assert f"--{name} {address}" in _messages(caught.value)


@pytest.mark.asyncio
async def test_a_log_belongs_to_one_process(folder: Path) -> None:
    """A second control plane on the same log is refused, with the first one's process id."""
    async with running(options(folder)):
        with pytest.raises(LogError, match="process"):
            async with running(options(folder)):
                pass


@pytest.mark.asyncio
async def test_debug_answers_to_this_machine_only(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless told otherwise; probes and metrics answer to everybody."""
    monkeypatch.setattr("controlplane.runtime.admin._is_local", lambda remote: False)
    async with running(options(folder)) as plane, pages_of(plane) as pages:
        await synced(plane)
        status, text = await pages.get("/debug/snapshot")
        assert status == 403
        assert "--debug-from-anywhere" in text
        assert (await pages.get("/readyz"))[0] == 200
        assert (await pages.get("/metrics"))[0] == 200
    async with running(options(folder, debug_from_anywhere=True)) as plane, pages_of(plane) as pages:
        assert (await pages.get("/debug/snapshot"))[0] == 200


def _messages(error: BaseException) -> str:
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(map(_messages, error.exceptions))
    return str(error)


@pytest.mark.asyncio
async def test_a_recorded_log_is_served_as_it_was_and_left_as_it_is(folder: Path) -> None:
    """All resources of that moment, the gate open, not an octet changed; a moment before everything was read is refused."""
    path = folder.parent / "log"
    async with running(options(folder)) as plane:
        await synced(plane)
        live = plane.views.statistics()
        version = snapshot(plane.core.state)["version"]
    content = {file: file.read_bytes() for file in path.iterdir() if file.is_file()}
    recorded = RunOptions(replay=path, xds=ANY_PORT, admin=ANY_PORT)
    async with running(recorded) as plane, pages_of(plane) as pages:
        assert plane.views.is_open
        assert live["alpha/edge"]
        assert plane.views.statistics() == live
        assert (await pages.json("/debug/snapshot"))["version"] == version
    assert {file: file.read_bytes() for file in path.iterdir() if file.is_file()} == content
    with pytest.raises(ControlPlaneError, match="not everything had been read"):
        async with running(RunOptions(replay=path, until=1, xds=ANY_PORT, admin=ANY_PORT)):
            pass


@pytest.mark.asyncio
async def test_what_proxies_had_to_say_at_the_end_is_in_the_log(folder: Path) -> None:
    """Their streams end with us, and that is the log's last word of them."""
    async with running(options(folder)) as plane:
        await synced(plane)
        plane.xds.on_event(
            ProxyConnected(
                proxy="p",
                node="n",
                cluster="",
                scope="alpha/edge",
                locality=Locality("", "", ""),
                labels=(),
                user_agent="",
                address="",
            )
        )
        plane.xds.on_event(
            ProxyRejected(proxy="p", scope="alpha/edge", type_url="t", nonce="1", resources=(), code=1, message="no")
        )
    names = [type(record.event).__name__ for record in log_records(folder.parent / "log")]
    assert names[-2:] == ["ProxyConnected", "ProxyRejected"]
