"""Endpoint priorities by client: each Envoy sends its traffic to what is near *it*, and on to the next when that fails."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conformance.manifests import Manifest, gateway, http_route, listener, rule

from .backends import Backend, serving_all
from .client import Request, ask
from .folder import Folder
from .istio import hostname, locality_example, node, pod
from .plane import Admin, envoy_for, free_port, planning, until, until_answer

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio]

SE = Request("se.example.com")
NEAR, ZONE_AWAY, FAR = "r1/r1z2/r1z2s4", "r1/r1z3/r1z3s4", "r2/r2z1/r2z1s1"
ENOUGH = 30
"""Requests after which chance does not explain that all of them went to one of three."""


def gateways(*ports: int) -> list[Manifest]:
    """A Gateway for each port, since two Envoys cannot have one, and a route of all of them to the host of the example."""
    names = [f"gw-{number}" for number in range(len(ports))]
    made = [
        gateway(listener(port=port), name=name, namespace="gwtest") for name, port in zip(names, ports, strict=True)
    ]
    route = http_route("to-se", rule(to=[hostname("se.example.com")]), parents=names, namespace="gwtest")
    return [*made, route]


async def all_go_to(port: int, backend: str) -> None:
    """The next requests arrive there, each of them."""
    found = {(await ask(port, SE)).backend for _ in range(ENOUGH)}
    assert found == {backend}


def place(locality: str) -> dict[str, str]:
    region, zone, sub_zone = locality.split("/")
    return {"region": region, "zone": zone, "sub_zone": sub_zone}


async def test_each_envoy_prefers_what_is_near_it(folder: Folder, tmp_path: Path) -> None:
    """One ServiceEntry, one DestinationRule, an Envoy in r1 and one in r2: nearest first, and the next when it is gone."""
    one, two = free_port(), free_port()
    async with serving_all("near", "zone", "far") as backends:
        ports = [backend.port for backend in backends.values()]
        entry, destination_rule = locality_example(ports)
        folder.write("gateways.yaml", gateways(one, two))
        folder.write("rule.yaml", destination_rule)
        folder.write("entry.yaml", entry)
        async with (
            planning(folder.path) as (plane, _),
            envoy_for(plane, tmp_path / "r1", "gwtest/gw-0", **place(NEAR)),
            envoy_for(plane, tmp_path / "r2", "gwtest/gw-1", **place(FAR)),
        ):
            await until_answer(one, SE, backend="near")
            await until_answer(two, SE, backend="far")
            await all_go_to(one, "near")
            await all_go_to(two, "far")

            first, *others = entry["spec"]["endpoints"]
            entry["spec"]["endpoints"] = others
            folder.write("entry.yaml", entry)
            await until_answer(one, SE, backend="zone")
            await all_go_to(one, "zone")
            await all_go_to(two, "far")

            entry["spec"]["endpoints"] = [first]
            folder.write("entry.yaml", entry)
            await until_answer(two, SE, backend="near")
            await all_go_to(two, "near")
            await until_answer(one, SE, backend="near")


async def test_an_ejected_endpoint_is_followed_by_the_next(folder: Folder, tmp_path: Path) -> None:
    """The nearest answers 503 seven times and is ejected: the next zone has the traffic; and if that fails too, the other region.

    One endpoint can always be ejected; more of three only where the rule says so.
    """
    port = free_port()
    async with serving_all("near", "zone", "far") as backends:
        folder.write("gateways.yaml", gateways(port))
        entry, destination_rule = locality_example([backend.port for backend in backends.values()])
        folder.write("entry.yaml", entry)
        folder.write("rule.yaml", destination_rule)
        async with (
            planning(folder.path) as (plane, _),
            envoy_for(plane, tmp_path / "r1", "gwtest/gw-0", **place(NEAR)) as envoy,
        ):
            await until_answer(port, SE, backend="near")
            await _fail(backends["near"], port)
            await until_answer(port, SE, backend="zone")
            await all_go_to(port, "zone")

            destination_rule["spec"]["trafficPolicy"]["outlierDetection"]["maxEjectionPercent"] = 100
            folder.write("rule.yaml", destination_rule)
            cluster = "istio-se_gwtest_example-se_se.example.com_80"

            async def is_changed() -> bool:
                return await envoy.stat("cluster_manager.cluster_modified") > 0

            await until(f"the Envoy has {cluster} anew", is_changed)
            for failing, following in (("near", "zone"), ("zone", "far")):
                await _fail(backends[failing], port)
                await until_answer(port, SE, backend=following)
                await all_go_to(port, following)


async def _fail(backend: Backend, port: int) -> None:
    backend.status = 503
    answers = [await ask(port, SE) for _ in range(7)]
    assert {answer.backend for answer in answers} == {backend.name}


async def _nodes_of(admin: Admin) -> list[str]:
    return [proxy["proxy"] for proxy in await admin.json("/debug/proxies")]


async def test_the_traffic_follows_the_nodes_labels(folder: Folder, tmp_path: Path) -> None:
    """The proxy's Pod says its Node, and the Node's labels say where it is: they change, and no new stream is needed."""
    port = free_port()
    async with serving_all("near", "zone", "far") as backends:
        folder.write("gateways.yaml", gateways(port))
        folder.write("mesh.yaml", locality_example([backend.port for backend in backends.values()]))
        folder.write("pod.yaml", pod("gw-0", "worker", namespace="gwtest"))
        folder.write("node.yaml", node("worker", NEAR))
        async with planning(folder.path) as (plane, admin), envoy_for(plane, tmp_path / "gw", "gwtest/gw-0"):
            await until_answer(port, SE, backend="near")
            streams = await _nodes_of(admin)
            for locality, backend in ((FAR, "far"), (ZONE_AWAY, "zone"), (NEAR, "near")):
                folder.write("node.yaml", node("worker", locality))
                await until_answer(port, SE, backend=backend)
                await all_go_to(port, backend)
            folder.write("node.yaml", node("worker", NEAR), node("other", FAR))
            folder.write("pod.yaml", pod("gw-0", "other", namespace="gwtest"))
            await until_answer(port, SE, backend="far")
            assert await _nodes_of(admin) == streams

            async def remembers_no_class() -> bool:
                return len({row.class_names for row in plane.core.state.rows.clients.clients.rows()}) == 1

            await until("one class is left", remembers_no_class)
