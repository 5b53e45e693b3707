"""Routes changed under load, four workers: no request fails, and none goes where it should not.

Each answer tells the backend that gave it and what a filter has written on the request, so that half a change is seen as well
as none. ``CONTROLPLANE_LONG=1`` makes all 200 flips, one every 200 ms.
"""

from __future__ import annotations

import asyncio
from itertools import islice, permutations
from pathlib import Path
from time import monotonic

import pytest

from tests.conformance.manifests import (
    Manifest,
    backend,
    endpoint_slice,
    exact,
    filter_,
    gateway,
    http_route,
    listener,
    manifest,
    named,
    prefix,
    rule,
)

from .backends import SLOW, Backend, serving
from .changing import IS_LONG, SHOP, changing
from .client import Connection, Request, ask
from .folder import Folder, backend_service
from .plane import until, until_answer

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio]

FLIPS, EVERY_S = (200, 0.2) if IS_LONG else (60, 0.1)
TIMES = 20


def marking(value: str) -> Manifest:
    """A filter by which a backend's answers tell ``value``."""
    return filter_("RequestHeaderModifier", set=[{"name": "x-mark", "value": value}])


def shop(*rules: Manifest, name: str = "shop", hosts: tuple[str, ...] = (SHOP.host,)) -> Manifest:
    return http_route(name, *rules, hostnames=hosts)


def two_ports(name: str, first: int, second: int) -> list[Manifest]:
    """A Service whose ports 8080 and 8081 are these of loopback."""
    names = {"one": (8080, first), "two": (8081, second)}
    service = manifest(
        "Service", "v1", name, spec={"ports": [{"name": n, "port": port} for n, (port, _) in names.items()]}
    )
    ports = [{"name": n, "port": port} for n, (_, port) in names.items()]
    return [service, endpoint_slice(name, [{"addresses": ["127.0.0.1"]}], ports)]


@pytest.mark.long
@pytest.mark.parametrize("between", ["ports", "services"])
async def test_a_port_flips_and_a_filter_comes_and_goes(folder: Folder, tmp_path: Path, between: str) -> None:
    """At its own pace, whether or not the flip before has been followed. Only what goes to one backend carries the mark."""
    async with changing(folder, tmp_path) as s:
        ports = await s.load.serve("a", "b")
        if between == "ports":
            folder.write("backends.yaml", two_ports("a", ports["a"], ports["b"]))
            targets = [backend("a", 8080), backend("a", 8081)]
        else:
            folder.write("backends.yaml", *(backend_service(name, port) for name, port in ports.items()))
            targets = [backend("a"), backend("b")]
        plain, marked = targets[0], targets[1] | {"filters": [marking("b")]}
        folder.write("gateway.yaml", gateway(listener(port=s.port)))
        folder.write("route.yaml", shop(rule(to=plain)))
        await s.start(SHOP, pause_s=0)
        await s.load.allow(["a/", "b/b"])
        began = monotonic()
        for number in range(1, FLIPS + 1):
            s.save("route.yaml", f"to {'ab'[number % 2]}", shop(rule(to=marked if number % 2 else plain)))
            await asyncio.sleep(began + number * EVERY_S - monotonic())
        s.save("route.yaml", "at last to b", shop(rule(to=marked)))
        await s.load.converge(["b/b"])
        s.save("route.yaml", "at last to a", shop(rule(to=plain)))
        await s.load.converge(["a/"])
        await s.load.allow(["a/"])
    assert min(s.load.totals["a/"], s.load.totals["b/b"]) > FLIPS


async def test_each_flip_is_seen_by_all_before_the_next(folder: Folder, tmp_path: Path) -> None:
    """Beside it the clusters go that nothing needs any more. Once all have the new form nobody gets the old one again."""
    async with changing(folder, tmp_path) as s:
        ports = await s.load.serve("a", "b")
        folder.write("gateway.yaml", gateway(listener(port=s.port)))
        folder.write("backends.yaml", *(backend_service(name, port) for name, port in ports.items()))
        folder.write("route.yaml", shop(rule(to="a")))
        await s.start(SHOP)
        for number in range(TIMES):
            name = "ba"[number % 2]
            marked = backend(name, filters=[marking(str(number))])
            s.save("route.yaml", f"to {name}/{number}", shop(rule(to=marked)))
            await s.load.converge([f"{name}/{number}"])
            await s.load.allow([f"{name}/{number}", f"{'ab'[number % 2]}/{number + 1}"])


async def test_rules_are_reordered(folder: Folder, tmp_path: Path) -> None:
    """Which rule answers is decided by what they match, and between equals by the rest: no order may change an answer."""
    hosts = {"a": "/a/1", "b": "/b", "c": "/a", "d": "/b"}
    async with changing(folder, tmp_path) as s:
        ports = await s.load.serve(*hosts)
        rules = {
            "a": rule(prefix("/a"), to="a"),
            "b": rule(prefix("/"), to="b"),
            "c": rule(exact("/a"), to="c"),
            "d": rule(prefix("/", headers=named(x_to="d")), to="d"),
        }
        folder.write("gateway.yaml", gateway(listener(port=s.port)))
        folder.write("backends.yaml", *(backend_service(name, port) for name, port in ports.items()))
        folder.write("route.yaml", shop(*rules.values()))
        requests = [
            Request(SHOP.host, path, headers=(("x-to", "d"),) if name == "d" else ()) for name, path in hosts.items()
        ]
        await s.start(*requests)
        await s.load.allow(*([f"{name}/"] for name in hosts))
        for order in islice(permutations(rules), TIMES):
            # The filter makes the change visible: all of it is there, or nothing.
            mark = "".join(order)
            marked = [rules[name] | {"filters": [marking(mark)]} for name in order]
            await s.load.allow(*({f"{name}/", f"{name}/{mark}"} for name in hosts))
            s.save("route.yaml", f"order {mark}", shop(*marked))
            await s.load.converge(*([f"{name}/{mark}"] for name in hosts))
            s.save("route.yaml", f"order {mark} without marks", shop(*(rules[name] for name in order)))
            await s.load.converge(*([f"{name}/"] for name in hosts))


async def test_weights_are_shifted(folder: Folder, tmp_path: Path) -> None:
    """From 100/0 to 0/100 by way of 50/50, to a Service that comes with the first shift, and goes when all is back."""

    def split(first: int, second: int) -> Manifest:
        return shop(rule(to=[backend("a", weight=first), backend("b", weight=second)]))

    async with changing(folder, tmp_path) as s:
        ports = await s.load.serve("a", "b")
        own = {name: backend_service(name, port) for name, port in ports.items()}
        folder.write("gateway.yaml", gateway(listener(port=s.port)), own["a"])
        folder.write("route.yaml", shop(rule(to="a")))
        await s.start(SHOP)
        for _ in range(TIMES // 2):
            await s.load.allow(["a/", "b/"])
            for weights in ((100, 0), (50, 50), (0, 100)):
                s.save("route.yaml", f"weights {weights}", split(*weights), own["b"])
            await s.load.to("b")
            await s.load.allow(["a/", "b/"])
            for weights in ((50, 50), (100, 0)):
                s.save("route.yaml", f"weights {weights}", split(*weights), own["b"])
            await s.load.to("a")
            s.save("route.yaml", "b is gone", shop(rule(to="a")))
            await s.settled()


async def test_a_hostname_moves_from_one_route_to_another(folder: Folder, tmp_path: Path) -> None:
    """In one save; beside it each route keeps a hostname of its own."""
    asked = [SHOP, Request("left.example.com"), Request("right.example.com")]
    async with changing(folder, tmp_path) as s:
        ports = await s.load.serve("left", "right")

        def routes(holder: str) -> list[Manifest]:
            hosts = {name: (f"{name}.example.com", *((SHOP.host,) if name == holder else ())) for name in ports}
            return [shop(rule(to=name), name=name, hosts=hosts[name]) for name in ports]

        folder.write("gateway.yaml", gateway(listener(port=s.port)))
        folder.write("backends.yaml", *(backend_service(name, port) for name, port in ports.items()))
        folder.write("routes.yaml", routes("left"))
        await s.start(*asked)
        own = (["left/"], ["right/"])
        for number in range(TIMES):
            holder = ("right", "left")[number % 2]
            await s.load.allow(["left/", "right/"], *own)
            s.save("routes.yaml", f"{SHOP.host} moves to {holder}", routes(holder))
            await s.load.converge([f"{holder}/"], *own)
            await s.load.allow([f"{holder}/"], *own)


async def test_what_is_under_way_outlives_its_cluster(folder: Folder, tmp_path: Path) -> None:
    """A request that waits for its answer while its route, its Service and its cluster go is answered after all."""
    async with changing(folder, tmp_path) as s, serving(Backend("old")) as old:
        ports = await s.load.serve("new")
        folder.write("gateway.yaml", gateway(listener(port=s.port)))
        folder.write("route.yaml", shop(rule(to="old")), backend_service("old", old.port))
        await s.start()
        await until_answer(s.port, SHOP, backend="old")
        async with Connection(s.port) as connection:
            waiting = asyncio.create_task(connection.ask(Request(SHOP.host, SLOW)))
            await old.requests.reach(2)
            s.save("route.yaml", "replaced", shop(rule(to="new")), backend_service("new", ports["new"]))

            async def is_gone() -> bool:
                return "kube_demo_old_8080" not in await s.clusters()

            await until("its cluster is gone", is_gone)
            old.go_on.set()
            answer = await waiting
        assert (answer.status, answer.backend) == (200, "old"), answer


async def test_a_retry_finds_its_cluster_though_it_is_no_longer_wanted(folder: Folder, tmp_path: Path) -> None:
    """Envoy tries again on the cluster that the request began with, which is why removed clusters are kept for a grace.

    HTTPRoutes have no retries here yet, so the route asks Envoy for them by header.
    """
    retrying = filter_("RequestHeaderModifier", set=named(x_envoy_retry_on="5xx", x_envoy_max_retries="3"))
    async with changing(folder, tmp_path) as s, serving(Backend("old")) as old:
        ports = await s.load.serve("new", "later")
        folder.write("gateway.yaml", gateway(listener(port=s.port)))
        folder.write("route.yaml", shop(rule(to="old", filters=[retrying])), backend_service("old", old.port))
        await s.start()
        await until_answer(s.port, SHOP, backend="old")
        old.status = 503
        assert (await ask(s.port, SHOP)).status == 503
        assert old.requests.total == 1 + 4, "Envoy did not try again"
        async with Connection(s.port) as connection:
            waiting = asyncio.create_task(connection.ask(Request(SHOP.host, SLOW)))
            await old.requests.grow(1)
            s.save("route.yaml", "replaced", shop(rule(to="new")), backend_service("new", ports["new"]))
            await until_answer(s.port, SHOP)
            # Another change, so that whatever goes with the first one has gone.
            later = Request("later.example.com")
            s.save(
                "later.yaml",
                "another",
                shop(rule(to="later"), name="later", hosts=(later.host,)),
                backend_service("later", ports["later"]),
            )
            await until_answer(s.port, later)
            old.watch = lambda _: setattr(old, "status", 200)
            old.go_on.set()
            answer = await waiting
        assert (answer.status, answer.backend) == (200, "old"), answer
