"""What a proxy in step costs: little, however much it was sent."""

from __future__ import annotations

import gc
import tracemalloc

from controlplane.xds.types import CLUSTER, LISTENER, LOAD_ASSIGNMENT, ROUTE_CONFIGURATION, VIRTUAL_HOST

NAMES = [f"kube_demo_app-{number}_80" for number in range(5_000)]
HOSTS = [f"rc/app-{number}.example.com" for number in range(5_000)]


def bring_up(world):
    client = world.connect()
    clusters = client.ask(CLUSTER)
    client.settle(client.ask(LOAD_ASSIGNMENT, *NAMES))
    client.settle(clusters)
    client.settle(client.ask(LISTENER))
    client.settle(client.ask(ROUTE_CONFIGURATION, "rc"))
    client.settle(client.ask(VIRTUAL_HOST))
    assert client.machine.is_settled
    client.facts.clear()
    return client


def test_a_proxy_in_step_keeps_no_room_for_what_it_was_sent(world):
    world.commit(
        {
            CLUSTER: dict.fromkeys(NAMES, "1"),
            LOAD_ASSIGNMENT: dict.fromkeys(NAMES, "1"),
            LISTENER: {"l": "1"},
            ROUTE_CONFIGURATION: {"rc": "1"},
            VIRTUAL_HOST: dict.fromkeys(HOSTS, "1"),
        }
    )
    first = bring_up(world)
    gc.collect()
    tracemalloc.start()
    try:
        others = [bring_up(world) for _ in range(5)]
        gc.collect()
        octets = tracemalloc.get_traced_memory()[0] / len(others)
    finally:
        tracemalloc.stop()
    assert octets < 40_000
    assert first.machine.is_settled
