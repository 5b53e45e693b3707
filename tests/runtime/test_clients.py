"""Proxies of different classes in a whole control plane: each is served its own, live, while the log is full, and in a replay."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
import yaml

from controlplane.log import LogError
from controlplane.runtime.core import replay
from controlplane.runtime.document import render, snapshot
from controlplane.runtime.errors import ControlPlaneError
from controlplane.runtime.explain import explain
from controlplane.runtime.offline import log_records, translate_paths
from controlplane.runtime.options import AskedClient, HostPort, RunOptions
from controlplane.runtime.serve import ControlPlane, running
from controlplane.xds.types import LOAD_ASSIGNMENT
from tests.conformance.manifests import (
    Manifest,
    endpoint_slice,
    gateway,
    gateway_class,
    http_route,
    manifest,
    rule,
    service,
)
from tests.xds.serving import Client, connect

pytestmark = pytest.mark.asyncio

PATIENCE_S = 20.0
ANY_PORT = HostPort("127.0.0.1", 0)
REGION, ZONE = "topology.kubernetes.io/region", "topology.kubernetes.io/zone"
RULED, PLAIN = "kube_demo_ruled_8080", "kube_demo_plain_8080"
ROLE = "controlplane~demo~web"


def place(region: str) -> dict[str, Any]:
    return {"metadata": {"labels": {REGION: region, ZONE: f"{region}-1"}}}


def objects(**nodes: str) -> list[Manifest]:
    """A Service whose endpoints are in two regions and have a rule, one without, and a Pod on a Node."""
    policy = {
        "loadBalancer": {"localityLbSetting": {"failoverPriority": [REGION]}},
        "outlierDetection": {"consecutive5xxErrors": 7},
    }
    endpoints = [{"addresses": [f"10.0.0.{number}"], "nodeName": f"node-r{number}"} for number in (1, 2)]
    return [
        gateway_class(),
        gateway(),
        http_route("all", rule(to=["ruled", "plain"])),
        *service("plain"),
        manifest("Service", "v1", "ruled", spec={"ports": [{"port": 8080, "targetPort": 3000}]}),
        endpoint_slice("ruled", endpoints),
        manifest("DestinationRule", "networking.istio.io/v1", "near", spec={"host": "ruled", "trafficPolicy": policy}),
        *(manifest("Node", "v1", f"node-{region}", None, **place(region)) for region in ("r1", "r2")),
        *(manifest("Node", "v1", name, None, **place(region)) for name, region in nodes.items()),
        manifest("Pod", "v1", "pod", spec={"nodeName": "worker"}),
    ]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "manifests"
    made.mkdir()
    write(made, worker="r1")
    return made


def write(folder: Path, **nodes: str) -> None:
    (folder / "all.yaml").write_text(yaml.safe_dump_all(objects(**nodes)))


@asynccontextmanager
async def serving(folder: Path, **more: Any) -> AsyncIterator[ControlPlane]:
    given = {"log_dir": folder.parent / "log", "state_dir": folder.parent, "xds": ANY_PORT, "admin": ANY_PORT}
    async with running(RunOptions(files=folder, **(given | more))) as plane:
        async with asyncio.timeout(PATIENCE_S):
            await plane.views.wait_open()
        yield plane


@asynccontextmanager
async def stream(plane: ControlPlane) -> AsyncIterator[Client]:
    assert plane.xds._server is not None
    async with connect(SimpleNamespace(port=plane.xds._server.port)) as client:  # type: ignore[arg-type]
        yield client


async def assignments(client: Client) -> dict[str, bytes]:
    """The next response, acknowledged: name to bytes."""
    response = await client.hear()
    await client.ack(response)
    assert response.removed_resources == []
    return {resource.name: resource.resource.value for resource in response.resources if resource.resource}


async def ask(client: Client, node: str, **metadata: Any) -> dict[str, bytes]:
    await client.say(LOAD_ASSIGNMENT, "*", role=ROLE, node_id=node, **metadata)
    return await assignments(client)


def expected(folder: Path, region: str) -> bytes:
    """The ruled load assignment as a translation shows it for this region."""
    state = translate_paths([folder], client=AskedClient(locality=region)).state
    assert state.graph.failures() == ()
    (row,) = (r for r in state.translation.client_resources.rows() if r.key[2:] == (LOAD_ASSIGNMENT, RULED))
    return row.body


async def page(plane: ControlPlane, path: str) -> Any:
    async with aiohttp.ClientSession() as session, session.get(f"http://{plane.admin}{path}") as response:
        text = await response.text()
        return json.loads(text) if response.content_type == "application/json" else text


async def test_each_proxy_is_served_its_own_and_is_moved_on_its_stream(folder: Path) -> None:
    near, far = expected(folder, "r1"), expected(folder, "r2")
    assert near != far
    async with serving(folder) as plane, stream(plane) as first, stream(plane) as second:
        one = await ask(first, "pod.demo")
        two = await ask(second, "somebody.demo", region="r2")
        assert one.keys() == two.keys() == {RULED, PLAIN}
        assert one[PLAIN] == two[PLAIN]
        assert (one[RULED], two[RULED]) == (near, far)
        shown = await page(plane, "/debug/proxies")
        assert [proxy["classes"][-1] for proxy in shown] == [f"demo {REGION}=r1", f"demo {REGION}=r2"]
        metrics = await page(plane, "/metrics")
        assert 'controlplane_client_classes{gateway="demo/web"} 3.0' in metrics
        assert 'controlplane_proxies{gateway="demo/web"} 2.0' in metrics
        # Its Node is elsewhere now: what it is sent is the difference and nothing else.
        write(folder, worker="r2")
        assert await assignments(first) == {RULED: far}
        # A rule for all that nobody is told apart by: each is of the gateway's one class.
        document = await page(plane, "/debug/snapshot")
        assert document["clients"]["demo/web"].keys() == {f"demo {REGION}=r2"}
        assert RULED not in document["gateways"]["demo/web"][LOAD_ASSIGNMENT]


async def test_explain_and_the_document_know_what_classes_are_served(folder: Path) -> None:
    async with serving(folder) as plane, stream(plane) as first, stream(plane) as second:
        await ask(first, "pod.demo")
        state = plane.core.state
        only = explain(state, "demo/web", "ClusterLoadAssignment", RULED)
        assert only["resource"]["client"] == f"demo {REGION}=r1"
        assert {"DestinationRule demo/near", "EndpointSlice demo/ruled-1"} <= {e["object"] for e in only["events"]}
        await ask(second, "somebody.demo", region="r2")
        query = f"/debug/explain?gateway=demo/web&type=ClusterLoadAssignment&name={RULED}"
        assert "say which with client=, one of 'demo topology" in await page(plane, query)
        assert "say which with client=" in await page(plane, f"{query}&client=nobody")
        found = await page(plane, f"{query}&client=demo%20{REGION}%3Dr2")
        assert found["resource"] == {
            "gateway": "demo/web",
            "client": f"demo {REGION}=r2",
            "type": LOAD_ASSIGNMENT,
            "name": RULED,
            "version": snapshot(state)["clients"]["demo/web"][f"demo {REGION}=r2"][LOAD_ASSIGNMENT][RULED]["version"],
        }
        shared = await page(plane, query.replace(RULED, PLAIN) + "&client=nobody")
        assert "client" not in shared["resource"]
        assert f"it is served {PLAIN}, {RULED}" in await page(plane, query.replace(RULED, "x"))
        # Who is connected is no matter of the version.
        assert snapshot(state)["version"] == snapshot(translate_paths([folder]).state)["version"]
        seq = state.seq
        text = render(snapshot(state), "json")
    assert render(snapshot(replay(folder.parent / "log", seq)), "json") == text


async def test_a_new_proxy_waits_while_the_log_cannot_be_written(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not in the log is not served by; who is served already goes on, and readiness says what is wrong."""
    async with serving(folder) as plane, stream(plane) as first, stream(plane) as second:
        await ask(first, "pod.demo")
        append = plane.core.log.append

        def refuse(*_: object, **__: object) -> None:
            raise LogError("no space left on device")

        monkeypatch.setattr(plane.core.log, "append", refuse)
        seq = plane.core.state.seq
        answer = asyncio.ensure_future(ask(second, "somebody.demo", region="r2"))
        async with asyncio.timeout(PATIENCE_S):
            while not plane.core.refusal:  # noqa: ASYNC110 (nobody tells that an append was refused)
                await asyncio.sleep(0.01)
        assert not answer.done()
        assert [proxy["held_at_gate"] for proxy in plane.xds.statistics()] == [False, True]
        assert "[-] process/log failed" in await page(plane, "/readyz?verbose")
        assert plane.core.state.seq == seq
        # One that gives up meanwhile was never here.
        async with stream(plane) as third:
            await third.say(LOAD_ASSIGNMENT, "*", role=ROLE, node_id="gone.demo")
            async with asyncio.timeout(PATIENCE_S):
                while plane.xds.stream_count < 3:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
        async with asyncio.timeout(PATIENCE_S):
            while plane.xds.stream_count > 2:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        monkeypatch.setattr(plane.core.log, "append", append)
        assert (await answer)[RULED] == expected(folder, "r2")
        assert plane.views._waiting == {}
    names = [(type(r.event).__name__, getattr(r.event, "proxy", "")) for r in log_records(folder.parent / "log")]
    assert [name for name in names if name[0] == "ProxyConnected"] == [
        ("ProxyConnected", "pod.demo#1"),
        ("ProxyConnected", "somebody.demo#2"),
    ]


async def test_a_replay_serves_each_proxy_by_its_class_and_leaves_the_record_alone(folder: Path) -> None:
    """The recorded proxies are not here, and who comes is not taken for one of them; what they do stays in memory."""
    path = folder.parent / "log"
    async with serving(folder) as plane, stream(plane) as first:
        await ask(first, "pod.demo")
        recorded = snapshot(plane.core.state)
    content = {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}
    until = RunOptions(replay=path, until=recorded["seq"], xds=ANY_PORT, admin=ANY_PORT)
    async with running(until) as plane:
        # At the recorded seq, to the byte; the proxy of the record is a part of it.
        assert snapshot(plane.core.state) == recorded
        assert [row.key for row in plane.core.state.rows.clients.clients.rows()] == ["pod.demo#1"]
        assert plane.core.log.last_seq == recorded["seq"]
        assert "controlplane_proxies{" not in await page(plane, "/metrics")
        assert plane.views._assigned == {}
        async with stream(plane) as same, stream(plane) as other:
            assert (await ask(same, "pod.demo"))[RULED] == expected(folder, "r1")
            assert (await ask(other, "somebody.demo", region="r2"))[RULED] == expected(folder, "r2")
            shown = await page(plane, "/debug/proxies")
            assert [(proxy["proxy"], proxy["classes"][-1]) for proxy in shown] == [
                ("pod.demo#2", f"demo {REGION}=r1"),
                ("somebody.demo#3", f"demo {REGION}=r2"),
            ]
            metrics = await page(plane, "/metrics")
            assert 'controlplane_proxies{gateway="demo/web"} 2.0' in metrics
            now = await page(plane, "/debug/snapshot")
            assert now["seq"] > recorded["seq"]
            assert f"controlplane_log_seq {now['seq']}.0" in metrics
            assert (now["version"], now["gateways"]) == (recorded["version"], recorded["gateways"])
            assert now["clients"]["demo/web"].keys() == {f"demo {REGION}=r1", f"demo {REGION}=r2"}
    assert {file: file.read_bytes() for file in path.rglob("*") if file.is_file()} == content
    assert replay(path, recorded["seq"]).seq == recorded["seq"]
    with pytest.raises(ControlPlaneError, match="not everything had been read"):
        async with running(RunOptions(replay=path, until=1, xds=ANY_PORT, admin=ANY_PORT)):
            pass
