"""What it costs that many proxies get one changed endpoint each, and what each of them costs while nothing happens.

``python -m bench.fan_out``: a control plane in this process, 500 scripted delta clients in another, each of which subscribes the
load assignments of 5,000 clusters by name and acknowledges everything; ``--small`` is 10 clients of 100. One proxy more has
everything and has stopped reading. Prints, for one changed EndpointSlice, the time from before the append to the last client's
receipt, the server's CPU time until all have acknowledged, and what each client is sent; and the server's memory for each
client, beyond what all share. Exits with 1 above a limit, or when the proxy that does not read holds more than one state.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from statistics import median
from time import monotonic, process_time
from typing import Any, NamedTuple

from bench.fleet import Fleet, fleet
from bench.plane import SOURCE, control_plane, measured, resident, until, until_recorded
from bench.workload import endpoints
from controlplane.runtime.serve import ControlPlane
from controlplane.translate import TypeUrl

LIMIT_SECONDS = 1.0
"""For 500 clients: of CPU time, whatever else the machine does; and of time for the best of all repeats."""
LIMIT_OCTETS = 150_000
"""Of memory for each client, beyond what all share."""
LIMIT_CLIENTS = 500
CHANGING = 5
"""Load assignments that change in turns."""


class Size(NamedTuple):
    """How much there is of everything."""

    clients: int
    routes: int
    repeats: int


FULL, SMALL = Size(500, 5_000, 15), Size(10, 100, 5)


class Round(NamedTuple):
    """What one change cost."""

    seconds: float
    cpu: float
    octets: float


async def _change(plane: ControlPlane, clients: Fleet, number: int, size: Size) -> Round:
    """One EndpointSlice is changed, and all clients get it."""
    address = f"10.9.{number // 200}.{number % 200 + 1}"
    await clients.order("expect", marker=address)
    acknowledged = plane.xds.counters["acknowledged"]
    begun, cpu = monotonic(), process_time()
    seq = await plane.core.append(SOURCE, [endpoints(number % CHANGING, address)])
    report = await clients.report()
    await until(lambda: plane.xds.counters["acknowledged"] >= acknowledged + size.clients, 0.001)
    cpu = process_time() - cpu
    await until_recorded(plane, seq, size.clients)
    return Round(report["last"] - begun, cpu, report["octets"])


async def _memory(plane: ControlPlane, clients: Fleet, size: Size) -> float:
    """Octets that each client costs the server; the first one pays for what is shared."""
    port = plane.options.xds.port
    await clients.order("connect", port=port, count=1, subscriptions=size.routes)
    await until_recorded(plane, 1, 1)
    before = resident()
    await clients.order("connect", port=port, count=size.clients - 1, subscriptions=size.routes)
    await until_recorded(plane, 1, size.clients)
    return (resident() - before) / (size.clients - 1)


def _unread(plane: ControlPlane, node: str) -> tuple[int, int]:
    """What the proxy that does not read is kept: responses that are under way, and names that are to follow."""
    (stream,) = (stream for stream in plane.xds.statistics(versions=False) if stream["node"] == node)
    ledger: dict[str, Any] = stream["types"][TypeUrl.LOAD_ASSIGNMENT]
    return len(ledger["unanswered"]), ledger["pending"]


def _describe(values: Sequence[float], unit: str, scale: float = 1.0) -> str:
    return f"median {median(values) * scale:.1f} {unit}, max {max(values) * scale:.1f} {unit}"


async def _measure(size: Size, failures: list[str]) -> None:
    async with control_plane(size.routes) as plane, fleet() as clients:
        octets = await _memory(plane, clients, size)
        print(f"{size.clients} delta clients, {size.routes} load assignments by name each, one more that does not read")
        print(f"  memory of the server per client {octets / 1e3:.1f} kB, limit {LIMIT_OCTETS / 1e3:.0f} kB")
        idle = await clients.order("stall", port=plane.options.xds.port, subscriptions=size.routes)
        rounds = [await _change(plane, clients, number, size) for number in range(size.repeats)]
        under_way, names = _unread(plane, idle["proxy"])
        limit = LIMIT_SECONDS * size.clients / LIMIT_CLIENTS
        seconds, cpu = [found.seconds for found in rounds], [found.cpu for found in rounds]
        print("one endpoint changed")
        print(f"  commit to last receipt    {_describe(seconds, 'ms', 1e3)}")
        print(f"  CPU of the server         {_describe(cpu, 'ms', 1e3)}, limit {limit * 1e3:.0f} ms")
        print(f"  received by each client   {_describe([found.octets for found in rounds], 'octets')}")
        print(f"  kept for the one that does not read: {under_way} response, then {names} names as they are by then")
    if octets > LIMIT_OCTETS:
        failures.append("a client costs too much memory")
    if median(cpu) > limit or min(seconds) > LIMIT_SECONDS:
        failures.append("one change costs too much time")
    if under_way > 1 or names > CHANGING:
        failures.append("the proxy that does not read holds more than one state")


if __name__ == "__main__":
    sys.exit(measured(_measure, SMALL if "--small" in sys.argv[1:] else FULL))
