"""From a gateway through a waypoint: labelled traffic comes to the service's own address and passes the waypoint, or goes straight.

Two real Envoys of one control plane, a Gateway's and a waypoint's, and between them what stands for the node's proxy.
"""

from __future__ import annotations

import ssl
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import pytest

from tests.conformance.manifests import backend, filter_, gateway, http_route, listener, rule

from .backends import Backend, serving, serving_all
from .certificates import make_pair
from .client import Request, Traffic, ask
from .folder import Folder, backend_service
from .ingress import ENTRY, GATEWAY, PASSED, SECRET, SHOP, STRAIGHT, Ways, labels, served, set_up, switch, way_of
from .istio import destination_rule, namespace, proxy_waypoint
from .plane import Command, envoy_at, free_port, until, until_answer
from .waypoint_client import node_proxy

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio]

VIP, VIP_TOO, VIP6, NOBODY = "127.0.0.77", "127.0.0.78", "::1", "127.0.0.99"
"""Own addresses of services; at the last of them nobody listens."""
BOUND = "istio.io/WaypointBound"


async def test_pods_see_only_what_has_passed_the_waypoint(folder: Folder, tmp_path: Path) -> None:
    """Route and policies of the waypoint hold for what comes from the gateway; of each request the pods saw, it had the route."""
    async with set_up(folder) as scene:
        scene.service(labels(), VIP)
        async with served(scene, tmp_path, VIP) as (admin, taken):
            await until_answer(scene.port, SHOP)
            answers = [await ask(scene.port, SHOP) for _ in range(40)]
            assert {answer.backend for answer in answers} == {"one", "two"}
            arrived = scene.arrived()
            assert (await ask(scene.port, SECRET)).status == 403
            assert scene.arrived() == arrived
            assert {way_of(seen) for pod in scene.pods.values() for seen in pod.last} == {PASSED}
            assert sum(len(pod.last) for pod in scene.pods.values()) == arrived  # each of them was looked at
            assert set(taken) == {(VIP, scene.own)}
            status, _, message = await admin.condition("Service demo/shop", BOUND)
            assert status == "True"
            assert "Ingress traffic will traverse the waypoint" in message

            scene.service(labels("false"), VIP)
            await scene.until_way(STRAIGHT)
            assert (await ask(scene.port, SECRET)).status == 200  # of which the gateway knows nothing


async def test_the_label_is_switched_under_traffic(folder: Folder, tmp_path: Path) -> None:
    async with set_up(folder) as scene:
        scene.service(labels(), VIP)
        async with served(scene, tmp_path, VIP):
            await scene.until_way(PASSED)
            await switch(scene, lambda own: scene.service(own, VIP), times=20)


@pytest.mark.parametrize("resolution", ["STATIC", "DNS"])
async def test_the_label_of_a_service_entry(folder: Folder, tmp_path: Path, resolution: str) -> None:
    """As for a Service, also for one whose endpoints are names."""
    async with set_up(folder, ENTRY) as scene:
        write = partial(scene.entry, resolution=resolution, addresses=[VIP])
        write(labels())
        async with served(scene, tmp_path, VIP):
            await scene.until_way(PASSED)
            assert (await ask(scene.port, SECRET)).status == 403
            await switch(scene, write)


async def test_the_services_word_before_its_namespaces(folder: Folder, tmp_path: Path) -> None:
    async with set_up(folder) as scene:
        scene.service({}, VIP)
        async with served(scene, tmp_path, VIP):
            await scene.until_way(STRAIGHT)
            of_namespace = labels()
            steps = [
                (of_namespace, {}, PASSED),
                (of_namespace, labels("false", None), STRAIGHT),
                (of_namespace, labels("true", None), PASSED),
                (of_namespace, labels(None, "none"), STRAIGHT),
                (labels("false"), labels("true", None), PASSED),
                (labels("false"), {}, STRAIGHT),
                (labels(None), labels(), PASSED),
                ({}, labels("perhaps"), STRAIGHT),
            ]
            for inherited, own, way in steps:
                folder.write("namespace.yaml", namespace("demo", inherited))
                scene.service(own, VIP)
                await scene.until_way(way)


async def test_the_setting_says_whether_labels_are_looked_at(
    folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``INGRESS_USE_WAYPOINTS`` of one life of the control plane and the option of the next, between them neither."""
    async with set_up(folder) as scene, AsyncExitStack() as stack:
        scene.service(labels(), VIP)
        monkeypatch.setenv("INGRESS_USE_WAYPOINTS", "false")
        await stack.enter_async_context(node_proxy(scene.waypoint, GATEWAY, (VIP, scene.own)))
        command = await stack.enter_async_context(Command(tmp_path / "home", "--files", str(folder.path)))
        await stack.enter_async_context(envoy_at(command.xds, tmp_path / "waypoint", "demo/wp"))
        await stack.enter_async_context(envoy_at(command.xds, tmp_path / "web"))
        await scene.until_way(STRAIGHT)
        _, _, message = await command.admin.condition("Service demo/shop", BOUND)
        assert "INGRESS_USE_WAYPOINTS is off" in message
        async with Traffic(scene.port, SHOP) as traffic:
            await command.terminate()
            monkeypatch.delenv("INGRESS_USE_WAYPOINTS")
            await command.start()
            await scene.until_way(PASSED)
            await command.terminate()
        assert traffic.failures == 0, traffic.bad
        option = Command(tmp_path / "home", "--files", str(folder.path), "--no-ingress-use-waypoints", xds=command.xds)
        await stack.enter_async_context(option)
        await scene.until_way(STRAIGHT)


async def test_a_service_without_an_address(folder: Folder, tmp_path: Path) -> None:
    """It is not reached round the waypoint: 503, and the status says why. Istio allocates an address: it is reached there."""
    async with set_up(folder, ENTRY) as scene:
        scene.entry(labels())
        async with served(scene, tmp_path, VIP) as (admin, _):
            await until_answer(scene.port, SHOP, status=503)
            _, _, message = await admin.condition("ServiceEntry demo/shop", BOUND)
            assert f"port {scene.own} is not taken: there is no address of its own" in message
            assert scene.arrived() == 0
            scene.entry(labels(), status={"addresses": [{"value": VIP, "host": "shop.mesh"}]})
            await scene.until_way(PASSED)
            scene.entry(labels(), status={"addresses": [{"value": VIP, "host": "other.mesh"}]})
            await until_answer(scene.port, SHOP, status=503)
            scene.entry(labels("false"))
            await scene.until_way(STRAIGHT)


async def test_a_headless_service(folder: Folder, tmp_path: Path) -> None:
    async with set_up(folder) as scene:
        scene.service(labels())
        async with served(scene, tmp_path, VIP) as (admin, _):
            await until_answer(scene.port, SHOP, status=503)
            assert "give it a virtual IP address" in (await admin.condition("Service demo/shop", BOUND))[2]
            assert scene.arrived() == 0
            scene.service(labels(), VIP)
            await scene.until_way(PASSED)


@pytest.mark.parametrize(
    ("family", "addresses", "expected"),
    [
        ("V4_PREFERRED", [VIP6, VIP], VIP),
        ("AUTO", [VIP, VIP6], VIP6),
        ("V6_ONLY", [VIP, VIP6], VIP6),
        ("ALL", [VIP_TOO, VIP], VIP_TOO),
        ("V4_PREFERRED", [NOBODY, VIP], VIP),
    ],
)
async def test_of_several_addresses_the_preferred(
    folder: Folder, tmp_path: Path, family: str, addresses: list[str], expected: str
) -> None:
    """The first by family that answers."""
    async with set_up(folder) as scene:
        scene.service(labels(), *addresses)
        everywhere = (VIP, VIP_TOO, VIP6)
        async with served(scene, tmp_path, *everywhere, dns_lookup_family=family) as (_, taken):
            await scene.until_way(PASSED)
            assert set(taken) == {(expected, scene.own)}


@pytest.mark.parametrize(("family", "address"), [("V4_PREFERRED", "127.0.0.0/24"), ("V6_ONLY", VIP)])
async def test_addresses_that_no_gateway_can_connect_to(
    folder: Folder, tmp_path: Path, family: str, address: str
) -> None:
    """A block, and one of the other family: as without any, 503, and the status says so."""
    async with set_up(folder, ENTRY) as scene:
        scene.entry(labels(), addresses=[address])
        async with served(scene, tmp_path, VIP, dns_lookup_family=family) as (admin, taken):
            await until_answer(scene.port, SHOP, status=503)
            assert scene.arrived() == 0
            assert not taken
            assert "503" in (await admin.condition("ServiceEntry demo/shop", BOUND))[2]


async def test_copies_pass_the_waypoint_of_their_target(folder: Folder, tmp_path: Path) -> None:
    """A mirror's target is labelled, its main backend is not: the copies alone come through the waypoint, as long as it is."""
    async with set_up(folder) as scene, serving_all("main") as backends:
        port, target = free_port(), backend("shop", scene.own)
        mirrored = rule(to="main", filters=[filter_("RequestMirror", backendRef=target)])
        folder.write("gateways.yaml", gateway(listener(port=port)), proxy_waypoint(scene.waypoint))
        folder.write("mirrored.yaml", http_route("mirrored", mirrored, hostnames=["main.example.com"]))
        folder.write("main.yaml", backend_service("main", backends["main"].port))
        scene.service(labels(), VIP)
        ways = Ways()
        for pod in scene.pods.values():
            pod.watch = ways.add
        async with served(scene, tmp_path, VIP):
            await until_answer(port, Request("main.example.com"), backend="main")
            async with Traffic(port, Request("main.example.com")) as traffic:
                for ingress, way in 3 * [("true", PASSED), ("false", STRAIGHT)]:
                    scene.service(labels(ingress), VIP)
                    await ways.turn(way)
            assert traffic.failures == 0, traffic.bad
            assert {way_of(seen) for seen in backends["main"].last} == {STRAIGHT}


async def test_a_rule_of_the_service_is_for_the_waypoint(folder: Folder, tmp_path: Path) -> None:
    """TLS to the pods: begun by the waypoint, or by the gateway where it goes straight; and no request fails in between."""
    pair = make_pair("shop.test")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    (tmp_path / "pair.pem").write_text(pair.certificate + pair.key)
    context.load_cert_chain(tmp_path / "pair.pem")
    async with set_up(folder) as scene, AsyncExitStack() as stack:
        scene.pods = {"one": await stack.enter_async_context(serving(Backend("one"), context))}
        tls = {"mode": "SIMPLE", "insecureSkipVerify": True}
        folder.write("rule.yaml", destination_rule("shop", "shop", tls=tls))
        scene.service(labels(), VIP)
        async with served(scene, tmp_path, VIP):
            await scene.until_way(PASSED)
            await switch(scene, lambda own: scene.service(own, VIP))


async def test_a_rule_that_comes_and_goes_under_traffic(folder: Folder, tmp_path: Path) -> None:
    """The way to the waypoint is by a rule's connection pool: one that keeps no connection is seen by the node's proxy."""
    once = destination_rule("shop", "shop", connectionPool={"http": {"maxRequestsPerConnection": 1}})
    async with set_up(folder) as scene:
        scene.service(labels(), VIP)
        ways = Ways()
        async with served(scene, tmp_path, VIP) as (_, taken):
            await scene.until_way(PASSED)
            async with Traffic(scene.port, SHOP, watch=ways) as traffic:

                async def connections(wanted: range) -> bool:
                    before = taken.total()
                    await traffic.answers.grow(20)
                    return taken.total() - before in wanted

                for _ in range(5):
                    await until("connections are kept", lambda: connections(range(1)))
                    folder.write("rule.yaml", once)
                    await until("none is kept", lambda: connections(range(15, 30)))
                    folder.remove("rule.yaml")
            assert traffic.failures == 0, traffic.bad
            assert not ways[STRAIGHT].total


async def test_a_waypoint_that_comes_and_goes(folder: Folder, tmp_path: Path) -> None:
    """Services name it before it is there: they are reached straight and told so, others never notice."""
    async with set_up(folder) as scene, serving_all("still") as backends:
        still = http_route("still", rule(to="still"), hostnames=["still.example.com"])
        folder.write("still.yaml", still, backend_service("still", backends["still"].port))
        folder.write("gateways.yaml", gateway(listener(port=scene.port)))
        scene.service(labels(), VIP)
        async with served(scene, tmp_path, VIP) as (admin, _):
            await scene.until_way(STRAIGHT)
            await until_answer(scene.port, Request("still.example.com"))
            async with Traffic(scene.port, Request("still.example.com")) as traffic:
                for _ in range(3):
                    found = await admin.condition("Service demo/shop", BOUND)
                    assert found[:2] == ("False", "WaypointIsNotReady")
                    assert "waypoint demo/wp does not exist" in found[2]
                    folder.write("waypoint.yaml", proxy_waypoint(scene.waypoint))
                    await scene.until_way(PASSED)
                    folder.remove("waypoint.yaml")
                    await scene.until_way(STRAIGHT)
                await traffic.answers.grow(10)
            assert traffic.failures == 0, traffic.bad
