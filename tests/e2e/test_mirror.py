"""A mirror whose endpoints move, under traffic: the copies follow, the main answers never notice."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from tests.conformance.manifests import backend, endpoint_slice, filter_, gateway, http_route, listener, rule

from .backends import serving_all
from .client import Request, Traffic
from .folder import Folder, backend_service, endpoints, flat
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
