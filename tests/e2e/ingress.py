"""A Gateway, a waypoint, and between them a stand-in for the node's proxy: who passes whom on the way to a service's pods.

What passes the waypoint carries a header that its route alone sets, so the pods' answers tell which way each request came.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from controlplane.model.events import Settings
from tests.conformance.manifests import backend, gateway, http_route, listener, manifest, rule

from .backends import Backend, Seen, serving_all
from .client import Answer, Connection, Request, Tally, Traffic, ask
from .folder import Folder, endpoints
from .identities import spiffe
from .istio import (
    BY,
    INGRESS_USE_WAYPOINT,
    USE_WAYPOINT,
    at,
    authorization,
    hostname,
    marking_route,
    proxy_waypoint,
    service_entry,
)
from .plane import Admin, envoy_for, free_port, planning, until
from .waypoint_client import Address, node_proxy

SHOP, SECRET = Request("shop.example.com"), Request("shop.example.com", "/secret/1")
GATEWAY = spiffe("demo", "web")
SERVICE = {"group": "", "kind": "Service", "name": "shop"}
ENTRY = {"group": "networking.istio.io", "kind": "ServiceEntry", "name": "shop"}
STRAIGHT, PASSED = "straight", "passed"


def way_of(seen: Seen | dict[str, Any]) -> str:
    """Which way a request came, as the pod saw it."""
    headers = dict(seen["headers"] if isinstance(seen, dict) else seen.headers)
    return PASSED if headers.get(BY) == "mark" else STRAIGHT


def labels(ingress: str | None = "true", waypoint: str | None = "wp") -> dict[str, str]:
    found = {USE_WAYPOINT: waypoint, INGRESS_USE_WAYPOINT: ingress}
    return {key: value for key, value in found.items() if value is not None}


@dataclass
class Scene:
    """A Gateway, a waypoint and two pods; which service leads to them is for the test to write."""

    folder: Folder
    pods: dict[str, Backend]
    port: int
    """The Gateway's."""
    waypoint: int
    """The waypoint's."""
    own: int
    """The service's, at its own addresses."""

    def service(self, own_labels: dict[str, str], *addresses: str) -> None:
        """The Service; without addresses it is headless."""
        spec: dict[str, Any] = {"ports": [{"name": "http", "port": self.own}], "clusterIP": (*addresses, "None")[0]}
        spec |= {"clusterIPs": list(addresses)} if addresses else {}
        made = manifest("Service", "v1", "shop", metadata={"labels": own_labels}, spec=spec)
        slices = endpoints("shop", [pod.port for pod in self.pods.values()])
        for each in slices:
            each["ports"][0]["name"] = "http"
        self.folder.write("service.yaml", made, slices)

    def entry(self, own_labels: dict[str, str], resolution: str = "STATIC", **fields: Any) -> None:
        """The ServiceEntry."""
        listed = [at(pod.port) for pod in self.pods.values()]
        if resolution == "DNS":
            listed = [{**each, "address": "localhost"} for each in listed]
        ports = [{"number": self.own, "name": "http", "protocol": "HTTP"}]
        metadata = {"labels": own_labels}
        status = fields.pop("status", {})
        made = service_entry(
            "shop", "shop.mesh", listed, ports=ports, resolution=resolution, metadata=metadata, **fields
        )
        self.folder.write("service.yaml", {**made, "status": status})

    async def until_way(self, way: str) -> None:
        """Returns once requests come to the pods this way; from then on all of them do."""

        async def look() -> bool:
            answer = await ask(self.port, SHOP)
            return answer.status == 200 and way_of(answer.seen) == way

        await until(f"requests come {way}", look)
        assert {way_of((await ask(self.port, SHOP)).seen) for _ in range(5)} == {way}

    def arrived(self) -> int:
        """Requests that have come to a pod."""
        return sum(pod.requests.total for pod in self.pods.values())


@asynccontextmanager
async def set_up(folder: Folder, parent: dict[str, str] = SERVICE) -> AsyncIterator[Scene]:
    """The scene's manifests and pods; no service yet."""
    async with serving_all("one", "two") as pods:
        scene = Scene(folder, pods, free_port(), free_port(), free_port())
        to = backend("shop", scene.own) if parent is SERVICE else hostname("shop.mesh", scene.own)
        folder.write("gateways.yaml", gateway(listener(port=scene.port)), proxy_waypoint(scene.waypoint))
        deny = authorization("deny", parent, "DENY", {"to": [{"operation": {"paths": ["/secret*"]}}]})
        named = GATEWAY.removeprefix("spiffe://")
        allow = authorization("allow", parent, "ALLOW", {"from": [{"source": {"principals": [named]}}]})
        folder.write("routes.yaml", http_route("shop", rule(to=to)), marking_route("mark", parent, to), deny, allow)
        yield scene


@asynccontextmanager
async def served(
    scene: Scene, tmp_path: Path, *addresses: str, **settings: Any
) -> AsyncIterator[tuple[Admin, Counter[Address]]]:
    """A control plane with these settings, both Envoys, and the node's proxy at these addresses."""
    places = [(address, scene.own) for address in addresses]
    async with (
        node_proxy(scene.waypoint, GATEWAY, *places) as taken,
        planning(scene.folder.path, mesh=Settings(**settings)) as (plane, admin),
        envoy_for(plane, tmp_path / "waypoint", "demo/wp"),
        envoy_for(plane, tmp_path / "web"),
    ):
        yield admin, taken


class Ways(dict[str, Tally]):
    """How many requests came which way: for ``Traffic``'s ``watch`` those answered, for a backend's all."""

    def __init__(self) -> None:
        super().__init__({PASSED: Tally(), STRAIGHT: Tally()})

    def __call__(self, _: Request, answer: Answer, __: Connection) -> None:
        if answer.status == 200:
            self[way_of(answer.seen)].add()

    def add(self, seen: Seen) -> None:
        """One more, as a backend's ``watch``."""
        self[way_of(seen)].add()

    async def turn(self, way: str) -> None:
        """Returns once all come this way: ten, and then none the other way beside twenty more."""
        (other,) = {PASSED, STRAIGHT} - {way}
        await self[way].grow(10)

        async def look() -> bool:
            before = self[other].total
            await self[way].grow(20)
            return self[other].total == before

        await until(f"all come {way}", look)


async def switch(scene: Scene, write: Callable[[dict[str, str]], None], times: int = 10) -> None:
    """The label goes off and on again so many times under traffic: each time all requests change their way, and none fails."""
    ways = Ways()
    async with Traffic(scene.port, SHOP, watch=ways) as traffic:
        await ways.turn(PASSED)
        for number in range(times):
            write(labels("true" if number % 2 else "false"))
            await ways.turn(PASSED if number % 2 else STRAIGHT)
    assert traffic.failures == 0, traffic.bad
    print(f"{times} switches, {traffic.by_status[200]} requests, {traffic.failures} failures")
