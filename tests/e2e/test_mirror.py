"""A mirror whose endpoints move, under traffic: the copies follow, the main answers never notice."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from tests.conformance.manifests import (
    backend,
    endpoint_slice,
    filter_,
    gateway,
    http_route,
    listener,
    reference_grant,
    rule,
)

from .backends import Backend, serving_all
from .client import Request, Traffic
from .folder import Folder, backend_service, endpoints, flat
from .istio import at, hostname, service_entry
from .plane import envoy_for, free_port, planning, until, until_answer

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio]

TIMES = 20
FOLLOW_S = 10
ASKED = Request("shop.example.com", "/cart?item=7")


async def test_copies_follow_the_mirrors_endpoints(folder: Folder, tmp_path: Path) -> None:
    port = free_port()
    names = [f"mirror-{number}" for number in range(TIMES + 1)]
    async with serving_all("main", *names) as backends:
        mirrored = rule(to="main", filters=[filter_("RequestMirror", backendRef=backend("mirror"))])
        service, *slices = flat(backend_service("mirror", backends[names[0]].port))
        folder.write("route.yaml", gateway(listener(port=port)), http_route("shop", mirrored))
        folder.write("services.yaml", backend_service("main", backends["main"].port), service)
        folder.write("mirror.yaml", slices)
        async with planning(folder.path) as (plane, _), envoy_for(plane, tmp_path / "envoy"):
            await until_answer(port, ASKED, backend="main")
            async with Traffic(port, ASKED) as traffic:
                await backends[names[0]].requests.grow(1, FOLLOW_S)
                for number, (old, new) in enumerate(pairwise(names)):
                    before, after = backends[old].requests, backends[new].requests
                    if number % 2:  # another slice takes the place of the old one, as when a Service's pods are all new
                        here, ports = [{"addresses": ["127.0.0.1"]}], [{"port": backends[new].port}]
                        folder.write("mirror.yaml", endpoint_slice("mirror", here, ports, suffix=new))
                    else:
                        folder.write("mirror.yaml", endpoints("mirror", [backends[new].port]))
                    # Ten more than the first: what was under way to the old one has arrived.
                    await after.grow(1, FOLLOW_S)
                    await after.grow(10)
                    copied = before.total
                    await after.grow(20)
                    assert before.total == copied, f"{old} still gets copies beside {new}"
            assert traffic.failures == 0, traffic.bad
            (copy,) = {(seen.method, seen.path, dict(seen.headers)["host"]) for seen in backends[names[-1]].last}
            assert copy == (ASKED.method, ASKED.path, ASKED.host)

            async def all_are_copied() -> bool:
                return sum(backends[name].requests.total for name in names) >= traffic.by_status[200]

            await until("each answered request has its copy", all_are_copied)
    print(f"{TIMES} replacements, {traffic.by_status[200]} requests, {traffic.failures} failures")


async def _moves(old: Backend, new: Backend) -> None:
    """The copies go from one to the other: ten more than the first, and what was under way to the old one has arrived."""
    await new.requests.grow(1, FOLLOW_S)
    await new.requests.grow(10)
    copied = old.requests.total
    await new.requests.grow(20)
    assert old.requests.total == copied, f"{old.name} still gets copies beside {new.name}"


async def test_copies_follow_a_host_of_a_service_entry(folder: Folder, tmp_path: Path) -> None:
    """A mirror that is named by a Hostname: its ServiceEntry's endpoints are replaced, and it goes and comes back."""
    port = free_port()
    names = [f"mirror-{number}" for number in range(TIMES + 1)]
    async with serving_all("main", *names) as backends:

        def entry(name: str) -> dict[str, object]:
            return service_entry("mirror", "mirror.mesh", [at(backends[name].port)])

        mirrored = rule(to="main", filters=[filter_("RequestMirror", backendRef=hostname("mirror.mesh"))])
        folder.write("route.yaml", gateway(listener(port=port)), http_route("shop", mirrored))
        folder.write("services.yaml", backend_service("main", backends["main"].port))
        folder.write("mirror.yaml", entry(names[0]))
        async with planning(folder.path) as (plane, admin), envoy_for(plane, tmp_path / "envoy"):
            await until_answer(port, ASKED, backend="main")
            async with Traffic(port, ASKED) as traffic:
                await backends[names[0]].requests.grow(1, FOLLOW_S)
                for old, new in pairwise(names):
                    folder.write("mirror.yaml", entry(new))
                    await _moves(backends[old], backends[new])
                last = backends[names[-1]].requests
                folder.write("mirror.yaml", service_entry("mirror", "another.mesh", [at(backends[names[-1]].port)]))

                async def is_unresolved() -> bool:
                    return (await admin.condition("HTTPRoute demo/shop", "ResolvedRefs"))[1] == "BackendNotFound"

                await until("the route says that the host is gone", is_unresolved)
                await traffic.answers.grow(20)
                gone = last.total
                await traffic.answers.grow(50)
                assert last.total == gone
                folder.write("mirror.yaml", entry(names[-1]))
                await last.grow(5, FOLLOW_S)
            assert traffic.failures == 0, traffic.bad
    print(f"{TIMES} replacements, {traffic.by_status[200]} requests, {traffic.failures} failures")


async def test_copies_stop_and_go_on_with_the_reference_grant(folder: Folder, tmp_path: Path) -> None:
    """A mirror in another namespace, under traffic: the grant is taken away and given back, and the endpoints move meanwhile."""
    port = free_port()
    async with serving_all("main", "one", "two") as backends:
        grant = reference_grant("g", "other", [{"kind": "HTTPRoute", "namespace": "demo"}], [{"kind": "Service"}])
        reference = backend("mirror", namespace="other")
        mirrored = rule(to="main", filters=[filter_("RequestMirror", backendRef=reference)])
        folder.write("route.yaml", gateway(listener(port=port)), http_route("shop", mirrored))
        folder.write("services.yaml", backend_service("main", backends["main"].port))
        folder.write("mirror.yaml", backend_service("mirror", backends["one"].port, namespace="other"))
        folder.write("grant.yaml", grant)
        async with planning(folder.path) as (plane, admin), envoy_for(plane, tmp_path / "envoy"):

            async def reason_is(reason: str) -> bool:
                return (await admin.condition("HTTPRoute demo/shop", "ResolvedRefs"))[1] == reason

            await until_answer(port, ASKED, backend="main")
            async with Traffic(port, ASKED) as traffic:
                old, new = backends["one"], backends["two"]
                for _ in range(5):
                    await old.requests.grow(5, FOLLOW_S)
                    folder.remove("grant.yaml")
                    await until("the grant is missed", lambda: reason_is("RefNotPermitted"))
                    await traffic.answers.grow(20)
                    copied = old.requests.total
                    await traffic.answers.grow(50)
                    assert old.requests.total == copied, "copied without a grant"
                    folder.write("mirror.yaml", backend_service("mirror", new.port, namespace="other"))
                    folder.write("grant.yaml", grant)
                    await _moves(old, new)
                    await until("all is well again", lambda: reason_is("ResolvedRefs"))
                    old, new = new, old
            assert traffic.failures == 0, traffic.bad
