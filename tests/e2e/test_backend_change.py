"""Backends changed under load, four workers: no request fails, and none goes to a backend that is no longer meant."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from time import monotonic

import pytest

from tests.conformance.manifests import Manifest, endpoint_slice, gateway, http_route, listener, manifest, rule

from .changing import IS_LONG, SHOP, Scene, changing
from .client import Request
from .dns import NameServer, name_server
from .folder import Folder, Objects, backend_service, endpoints
from .istio import at, destination_rule, hostname, service_entry
from .plane import until

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio]

TIMES = 20
AT_ONCE_S = 2.0
RESOLVE_S = 0.3
"""How long a name server takes."""
REPLACEMENTS, EVERY_S = (200, 0.2) if IS_LONG else (60, 0.1)
POLICIES: list[Manifest] = [
    {"outlierDetection": {"consecutive5xxErrors": 7}},
    {"connectionPool": {"tcp": {"connectTimeout": "2s", "maxConnections": 500}}},
    {"loadBalancer": {"simple": "RANDOM"}},
    {"loadBalancer": {"consistentHash": {"httpHeaderName": "x-user"}}},
]


def route(to: str | Manifest) -> Manifest:
    return http_route("shop", rule(to=to), hostnames=[SHOP.host])


async def start(s: Scene, *objects: Objects, pause_s: float = 0.001) -> None:
    """Serve these, in a file for edits, behind a Gateway."""
    s.folder.write("gateway.yaml", gateway(listener(port=s.port)))
    s.folder.write("shop.yaml", *objects)
    await s.start(SHOP, pause_s=pause_s)


async def test_a_service_is_replaced_by_another_in_one_save(folder: Folder, tmp_path: Path) -> None:
    """Each time one that is new, with the one before deleted: its cluster goes, and no answer comes from there any more."""
    async with changing(folder, tmp_path) as s:
        ports = await s.load.serve("a", "b")
        await start(s, route("s0"), backend_service("s0", ports["a"]))
        for number in range(1, TIMES):
            name, backend = f"s{number}", "ab"[number % 2]
            await s.load.allow(["a/", "b/"])
            s.save("shop.yaml", f"replaced by {name}", route(name), backend_service(name, ports[backend]))
            await s.load.to(backend)

        async def are_gone() -> bool:
            return await s.clusters() == {f"kube_demo_s{TIMES - 1}_8080"}

        await until("clusters that nothing needs are gone", are_gone)


@pytest.mark.long
async def test_services_are_replaced_faster_than_anybody_follows(folder: Folder, tmp_path: Path) -> None:
    async with changing(folder, tmp_path) as s:
        ports = await s.load.serve("a", "b", "last")
        await start(s, route("s0"), backend_service("s0", ports["a"]), pause_s=0)
        await s.load.allow(["a/", "b/", "last/"])
        began = monotonic()
        for number in range(1, REPLACEMENTS):
            name = f"s{number}"
            s.save("shop.yaml", f"replaced by {name}", route(name), backend_service(name, ports["ab"[number % 2]]))
            await asyncio.sleep(began + number * EVERY_S - monotonic())
        s.save("shop.yaml", "replaced by last", route("last"), backend_service("last", ports["last"]))
        await s.load.to("last")


async def test_endpoints_are_replaced(folder: Folder, tmp_path: Path) -> None:
    """An old pod ends once the new one has all requests. Its slice is changed, or another takes its place, in turn."""
    async with changing(folder, tmp_path) as s:
        names = [f"pod-{number}" for number in range(TIMES)]
        ports = await s.load.serve(*names)
        service, *slices = backend_service("shop", ports[names[0]])
        await start(s, route("shop"), service, slices)
        for number, name in enumerate(names[1:], 1):
            await s.load.allow([f"{names[number - 1]}/", f"{name}/"])
            here = [{"addresses": ["127.0.0.1"]}]
            slices = [endpoint_slice("shop", here, [{"port": ports[name]}], suffix=f"{number // 2}")]
            s.save("shop.yaml", f"endpoints are {name}", route("shop"), service, slices)
            await s.load.to(name)
            await s.load.close(names[number - 1])


async def test_a_services_port_is_renamed(folder: Folder, tmp_path: Path) -> None:
    """In the Service and its EndpointSlice in one save; in turn its endpoint moves as well."""
    async with changing(folder, tmp_path) as s:
        ports = await s.load.serve("a", "b")

        def named(port_name: str, pod_port: int) -> list[Manifest]:
            service = manifest("Service", "v1", "shop", spec={"ports": [{"name": port_name, "port": 8080}]})
            here = [{"addresses": ["127.0.0.1"]}]
            return [service, endpoint_slice("shop", here, [{"name": port_name, "port": pod_port}])]

        await start(s, route("shop"), named("p0", ports["a"]))
        for number in range(1, TIMES):
            # Endpoints change with every other name only: that shows when the edit before has been followed.
            backend = "ab"[(number + 1) // 2 % 2]
            await s.load.allow(["a/", "b/"])
            s.save("shop.yaml", f"renamed to p{number}", route("shop"), named(f"p{number}", ports[backend]))
            await s.load.to(backend)


async def test_a_service_entrys_endpoints_are_replaced(folder: Folder, tmp_path: Path) -> None:
    async with changing(folder, tmp_path) as s:
        names = [f"pod-{number}" for number in range(TIMES)]
        ports = await s.load.serve(*names)
        target = route(hostname("shop.mesh"))
        await start(s, target, service_entry("shop", "shop.mesh", [at(ports[names[0]])]))
        for old, new in pairwise(names):
            await s.load.allow([f"{old}/", f"{new}/"])
            s.save("shop.yaml", f"endpoints are {new}", target, service_entry("shop", "shop.mesh", [at(ports[new])]))
            await s.load.to(new)
            await s.load.close(old)


def static(port: int) -> list[Manifest]:
    """A route to a host whose endpoint is an address."""
    return [route(hostname("shop.mesh")), service_entry("shop", "shop.mesh", [at(port)])]


def resolved(port: int, host: str = "localhost") -> list[Manifest]:
    """The same, but the endpoint is a name that Envoy resolves."""
    endpoint = at(port) | {"address": host}
    return [route(hostname("shop.mesh")), service_entry("shop", "shop.mesh", [endpoint], resolution="DNS")]


def of_kubernetes(port: int) -> list[Manifest]:
    """A route to a Service."""
    return [route("shop"), *backend_service("shop", port)]


@pytest.mark.parametrize("form", [of_kubernetes, static, resolved])
async def test_a_rule_for_the_backend_comes_and_goes(
    folder: Folder, tmp_path: Path, form: Callable[[int], list[Manifest]]
) -> None:
    """A DestinationRule: the cluster changes, and Envoy warms the new one while the old one serves."""
    async with changing(folder, tmp_path) as s:
        ports = await s.load.serve("a")
        objects = form(ports["a"])
        host = "shop.demo.svc.cluster.local" if form is of_kubernetes else "shop.mesh"
        await start(s, *objects)
        for number in range(TIMES):
            policy = POLICIES[number // 2 % len(POLICIES)]
            rules = [destination_rule("shop", host, **policy)] if number % 2 == 0 else []
            before = await s.envoy.stat("cluster_manager.cluster_modified")
            s.save("shop.yaml", f"{'with' if rules else 'without'} {policy}", *objects, rules)

            async def is_changed(before: int = before) -> bool:
                return await s.envoy.stat("cluster_manager.cluster_modified") > before

            await until("the cluster has changed", is_changed)
            await s.settled()
            await s.load.to("a")


async def test_a_host_is_resolved_in_another_way(folder: Folder, tmp_path: Path) -> None:
    """A ServiceEntry between addresses that we send and names that Envoy resolves: a cluster of another type by the same name."""
    async with changing(folder, tmp_path) as s:
        ports = await s.load.serve("a", "b")
        await start(s, static(ports["a"]))
        for number in range(1, TIMES // 2):
            backend, form = "ab"[number % 2], (static, resolved)[number % 2]
            await s.load.allow(["a/", "b/"])
            s.save("shop.yaml", form.__name__, form(ports[backend]))
            await s.load.to(backend)


async def test_a_route_turns_to_a_host_that_envoy_resolves(folder: Folder, tmp_path: Path) -> None:
    """Its cluster is new: no request may come to it before the name is resolved, if that takes no longer than it is given."""
    async with name_server() as names, changing(folder, tmp_path) as s:
        names.delay_s = RESOLVE_S
        s.bootstrap = names.bootstrap
        ports = await s.load.serve("a", "b")
        await start(s, of_kubernetes(ports["a"]))
        for number in range(TIMES // 4):
            await s.load.allow(["a/", "b/"])
            s.save("shop.yaml", "to the resolved host", resolved(ports["b"], f"pod-{number}.test"))
            await s.load.to("b")
            await s.load.allow(["a/", "b/"])
            s.save("shop.yaml", "to the Service", of_kubernetes(ports["a"]))
            await s.load.to("a")
        assert names.questions


@pytest.mark.xfail(reason="such a cluster counts as warm before its name is resolved: wait_for_warm_on_init is false")
async def test_a_resolved_host_changes(folder: Folder, tmp_path: Path) -> None:
    """Its port, its name, and a DestinationRule for it: the old cluster serves until the new one's name is resolved."""
    async with name_server() as names, changing(folder, tmp_path) as s:
        names.delay_s = RESOLVE_S
        s.bootstrap = names.bootstrap
        ports = await s.load.serve("a", "b")
        await start(s, resolved(ports["a"], "pod.test"))
        for number in range(1, TIMES // 2):
            backend = "ab"[number % 2]
            rules = [destination_rule("shop", "shop.mesh", **POLICIES[number % len(POLICIES)])] if number % 3 else []
            await s.load.allow(["a/", "b/"])
            s.save("shop.yaml", f"to {backend}", resolved(ports[backend], f"pod-{number}.test"), rules)
            await s.load.to(backend)


async def test_a_name_that_nobody_resolves_holds_nothing_else_up(folder: Folder, tmp_path: Path) -> None:
    """Envoy withholds what it says to clusters while one of them warms: that may delay the route to that one, and no other."""
    lost = Request("lost.example.com")
    async with name_server() as names, changing(folder, tmp_path) as s:
        names.delay_s = 3600.0
        s.bootstrap = names.bootstrap
        ports = await s.load.serve("a", "b")
        await start(s, of_kubernetes(ports["a"]))
        entry = service_entry("lost", "lost.mesh", [at(ports["a"]) | {"address": "lost.test"}], resolution="DNS")
        s.save(
            "lost.yaml", "a lost host", http_route("lost", rule(to=hostname("lost.mesh")), hostnames=[lost.host]), entry
        )
        await until("its name is asked for", partial(_is_asked, names))
        for number in range(1, TIMES // 4):
            backend, name = "ab"[number % 2], f"s{number}"
            await s.load.allow(["a/", "b/"])
            began = monotonic()
            s.save("shop.yaml", f"replaced by {name}", route(name), backend_service(name, ports[backend]))
            await s.load.to(backend)
            assert monotonic() - began < AT_ONCE_S


async def _is_asked(names: NameServer) -> bool:
    return names.questions > 0


async def test_endpoints_go_to_another_slice(folder: Folder, tmp_path: Path) -> None:
    """In two saves, the new slice first."""
    async with changing(folder, tmp_path) as s:
        ports = await s.load.serve("a", "b")
        service, *_ = backend_service("shop")
        folder.write("slice-0.yaml", endpoints("shop", [ports["a"]]))
        await start(s, route("shop"), service)
        here = [{"addresses": ["127.0.0.1"]}]
        for number in range(1, TIMES):
            backend = "ab"[number % 2]
            await s.load.allow(["a/", "b/"])
            s.load.editing(f"slice {number} beside the one before")
            new = endpoint_slice("shop", here, [{"port": ports[backend]}], suffix=f"s{number}")
            s.save(f"slice-{number}.yaml", f"slice {number} beside", new)
            s.load.editing(f"slice {number - 1} goes")
            folder.remove(f"slice-{number - 1}.yaml")
            await s.load.to(backend)
