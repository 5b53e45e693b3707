"""What it costs that many proxies reconnect at once, each with the versions of all that it holds.

``python -m bench.herd``: a control plane in this process, 100 scripted proxies in another, each of which claims 5,000 clusters,
load assignments and virtual hosts, in an order of its own, and subscribes the load assignments by name; ``--small`` is 10
proxies of 500. Prints the server's CPU time from the first connection until every proxy is in step. Nothing has changed, so no
resource may be sent. Exits with 1 above the limit, or if one is.
"""

from __future__ import annotations

import sys
from statistics import median
from time import process_time
from typing import NamedTuple

from bench.fleet import fleet
from bench.plane import control_plane, measured, until
from controlplane.runtime.serve import ControlPlane

LIMIT_PROXY, LIMIT_CLAIM = 0.01, 0.04 / 15_000
"""Seconds of CPU time: of a proxy, and of each version that it claims. 100 proxies with 5,000 of three types: 5 s."""
REQUESTS = 7
"""Of each proxy: five types, and the acknowledgements of two empty answers."""


class Size(NamedTuple):
    """How much there is of everything."""

    proxies: int
    routes: int
    repeats: int


FULL, SMALL = Size(100, 5_000, 3), Size(10, 500, 3)


class Herd(NamedTuple):
    """What one reconnect of all cost."""

    claims: int
    octets: int
    seconds: float
    sent: int


async def _reconnect(plane: ControlPlane, size: Size) -> Herd:
    async with fleet() as proxies:
        order = {"port": plane.options.xds.port, "count": size.proxies, "subscriptions": size.routes}
        ready = await proxies.order("reconnect", **order)
        requests, sent = plane.xds.counters["requests"], plane.xds.counters["sent_resources"]
        begun = process_time()
        await proxies.report()
        await until(lambda: plane.xds.counters["requests"] >= requests + size.proxies * REQUESTS)
        await until(lambda: all(proxy["settled"] for proxy in plane.xds.statistics(versions=False)))
        seconds = process_time() - begun
    await until(lambda: not plane.xds.stream_count)
    return Herd(ready["claims"], ready["octets"], seconds, plane.xds.counters["sent_resources"] - sent)


async def _measure(size: Size, failures: list[str]) -> None:
    async with control_plane(size.routes) as plane:
        herds = [await _reconnect(plane, size) for _ in range(size.repeats)]
    claims, octets = herds[0].claims, herds[0].octets
    times, sent = [herd.seconds for herd in herds], sum(herd.sent for herd in herds)
    limit = size.proxies * (LIMIT_PROXY + LIMIT_CLAIM * claims)
    print(f"{size.proxies} proxies reconnect at once, with {claims} versions each")
    print(f"  CPU of the server         median {median(times):.2f} s, max {max(times):.2f} s, limit {limit:.2f} s")
    print(f"  of that a proxy           {median(times) / size.proxies * 1e3:.1f} ms, for {octets} octets")
    print(f"  resources sent            {sent}")
    if median(times) > limit:
        failures.append("a herd costs too much time")
    if sent:
        failures.append("something was sent that did not change")


if __name__ == "__main__":
    sys.exit(measured(_measure, SMALL if "--small" in sys.argv[1:] else FULL))
