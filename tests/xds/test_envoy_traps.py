"""Traps of a real Envoy, one by one: what it does that a server would not expect, and that no harm comes of it here.

Those that are not here stand where ``tests/README.md`` says, under "Traps of a real Envoy".
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from controlplane._proto.envoy.config.endpoint.v3 import ClusterLoadAssignment
from controlplane.xds import ProxyRejected
from controlplane.xds.types import CLUSTER, LISTENER, LOAD_ASSIGNMENT, VIRTUAL_HOST
from tests.conftest import PATIENCE_S, EnvoyProcess, delta_bootstrap
from tests.xds.test_envoy import (
    ROLE,
    SCOPE,
    SOON_S,
    Row,
    Served,
    backend,
    certificate,
    cluster,
    endpoints,
    handshake,
    host,
    https,
    listener,
    routes,
    served,
)

__all__ = ["backend", "served"]  # fixtures

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio]

CHANGES = 20
NODE_OCTETS = 10_000
"""Far less than what a node of Envoy's takes (61 kB), far more than an acknowledgement."""


class Relay:
    """Between an Envoy and a server: counts what the Envoy says."""

    def __init__(self, to: int) -> None:
        self._to = to
        self._tasks: set[asyncio.Task[None]] = set()
        self.octets = 0

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """A connection."""
        server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self._to)
        self._tasks = {
            asyncio.create_task(self._carry(reader, server_writer, 1)),
            asyncio.create_task(self._carry(server_reader, writer, 0)),
        }

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, share: int) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(2**16):
                self.octets += share * len(data)
                writer.write(data)
                await writer.drain()
        writer.close()

    async def end(self) -> None:
        """End what it carries."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@contextlib.asynccontextmanager
async def relaying(to: int) -> AsyncIterator[tuple[Relay, int]]:
    """A relay and its port."""
    relay = Relay(to)
    server = await asyncio.start_server(relay.take, "127.0.0.1", 0)
    try:
        yield relay, server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await relay.end()


@pytest.mark.parametrize("sends_node", ["once", "always"])
async def test_trap4_the_node_comes_once_and_is_skipped_where_it_comes_always(
    served: Served, start_envoy: Any, free_port: Any, sends_node: str
) -> None:
    port = free_port()
    served.put(listener("l", port), routes(), host("a.com", "0"))
    async with relaying(served.port) as (relay, relay_port):
        document = delta_bootstrap(relay_port, role=ROLE)
        document["dynamic_resources"]["ads_config"]["set_node_on_first_message_only"] = sends_node == "once"
        envoy = await start_envoy(bootstrap=document)
        await envoy.wait_for(port, "a.com", 200, SOON_S)
        await served.settled()
        before = relay.octets
        for number in range(1, CHANGES + 1):
            served.put(host("a.com", str(number)))
            await served.settled()
        octets = (relay.octets - before) / CHANGES
        assert (octets < NODE_OCTETS) == (sends_node == "once"), octets
        assert await envoy.request(port, "a.com") == (200, str(CHANGES))
        assert len(served.server.statistics()) == 1
        await envoy.__aexit__()


async def test_trap5_what_a_rejected_response_left_behind_goes_when_it_is_to_go(
    served: Served, start_envoy: Any, free_port: Any, backend: int
) -> None:
    """A cluster out of a rejected response is in use, and missing in the next stream's claims unless it was offered again."""
    port = free_port()
    served.put(listener("l", port), routes(), host("a.com"))
    envoy = await start_envoy(served.port, role=ROLE)
    await envoy.wait_for(port, "a.com", 200, SOON_S)
    served.put(cluster("bad", timeout_ms=0), endpoints("bad"), cluster("good"), endpoints("good", backend))
    served.put(host("g.com", cluster="good"))
    await served.until(lambda: served.count(ProxyRejected) > 0)
    await envoy.wait_for(port, "g.com", 200, SOON_S)
    await served.until(lambda: "good" in served.ledger(CLUSTER)["acknowledged_versions"])

    served.break_streams()
    served.remove((VIRTUAL_HOST, "rc/g.com"), (CLUSTER, "good"), (LOAD_ASSIGNMENT, "good"))
    await served.reconnected(2)

    async def is_gone() -> bool:
        return await clusters_of(envoy) == set()

    await envoy.wait(is_gone, PATIENCE_S)
    assert await envoy.request(port, "a.com") == (200, "a.com")


async def test_trap5_what_left_beside_a_rejection_comes_again(
    served: Served, start_envoy: Any, free_port: Any, backend: int
) -> None:
    """A cluster that was removed by a rejected response would still be claimed, and never sent again: removals go alone."""
    port = free_port()
    old = (cluster("old"), endpoints("old", backend))
    served.put(listener("l", port), routes(), host("a.com", cluster="old"), *old)
    envoy = await start_envoy(served.port, role=ROLE)
    await envoy.wait_for(port, "a.com", 200, SOON_S)
    bad = [Row(message) for message in (cluster("bad", timeout_ms=0), endpoints("bad"), host("a.com", "direct"))]
    gone = [(CLUSTER, "old"), (LOAD_ASSIGNMENT, "old")]
    served.views.apply([*((SCOPE, row.type_url, row.name, row) for row in bad), *((SCOPE, *key, None) for key in gone)])
    await served.until(lambda: served.count(ProxyRejected) > 0)

    async def is_gone() -> bool:
        return await clusters_of(envoy) == set()

    await envoy.wait(is_gone, PATIENCE_S)
    served.break_streams()
    await served.reconnected(2)
    served.put(*old, host("a.com", cluster="old"))
    await served.until(lambda: VIRTUAL_HOST in served.server.statistics()[0]["types"])
    await served.settled()
    assert await envoy.request(port, "a.com") == (200, "hello")


async def clusters_of(envoy: EnvoyProcess) -> set[str]:
    """Clusters that it has by xDS."""
    dump = await envoy.config_dump()
    (part,) = (part for part in dump["configs"] if part["@type"].endswith("ClustersConfigDump"))
    held = [*part.get("dynamic_active_clusters", ()), *part.get("dynamic_warming_clusters", ())]
    return {entry["cluster"]["name"] for entry in held}


async def test_trap6_an_acknowledged_listener_is_not_yet_one_that_serves(
    served: Served, start_envoy: Any, free_port: Any
) -> None:
    """Envoy acknowledges it while its routes are missing; an old version serves meanwhile, and what that uses stays."""
    port, second = free_port(), free_port()
    served.put(listener("l", port), routes(), host("a.com", "A"))
    envoy = await start_envoy(served.port, role=ROLE)
    await envoy.wait_for(port, "a.com", 200, SOON_S)
    await served.settled()

    # A new one without its routes, and the old one turned to routes that are missing as well.
    served.put(listener("m", second, "rc2"), listener("l", port, "rc3"))
    await served.until(lambda: served.ledger(LISTENER)["acknowledged_versions"].keys() == {"l", "m"})

    async def both_warm() -> bool:
        return await envoy.stat("listener_manager.total_listeners_warming") == 2

    await envoy.wait(both_warm, SOON_S)
    assert (await envoy.request(second, "a.com"))[0] == 0
    assert await envoy.request(port, "a.com") == (200, "A")
    served.put(host("a.com", "A2"))
    await served.settled()
    assert await envoy.request(port, "a.com") == (200, "A2")

    served.put(routes("rc2"), host("a.com", "M", route="rc2"), routes("rc3"), host("a.com", "L", route="rc3"))
    await envoy.wait_for(second, "a.com", 200, SOON_S)

    async def is_new() -> bool:
        return await envoy.request(port, "a.com") == (200, "L")

    await envoy.wait(is_new, SOON_S)
    assert await envoy.request(second, "a.com") == (200, "M")


async def test_trap10_a_chain_that_comes_without_its_secret_holds_no_other_up(
    served: Served, start_envoy: Any, free_port: Any
) -> None:
    """Chains of one port go live together: the secret that is missing is answered at once, so that the others need not wait."""
    port = free_port()
    names = ("first.com", "late.com", "second.com")
    served.put(
        https("l", port, {"first.com": "s-first"}),
        *(routes(f"rc-{name}") for name in names),
        certificate("s-first", "first.com"),
    )
    envoy = await start_envoy(served.port, role=ROLE)
    await envoy.wait(lambda: _is_shown(port, "first.com"), SOON_S)
    first = await handshake(port, "first.com")
    served.put(
        https("l", port, {name: f"s-{name.removesuffix('.com')}" for name in names}),
        certificate("s-second", "second.com"),
    )
    await envoy.wait(lambda: _is_shown(port, "second.com"), SOON_S)
    assert await handshake(port, "late.com") is None
    assert await handshake(port, "first.com") == first
    served.put(certificate("s-late", "late.com"))
    await envoy.wait(lambda: _is_shown(port, "late.com"), SOON_S)


async def _is_shown(port: int, server_name: str) -> bool:
    return bool(await handshake(port, server_name))


async def test_trap12_virtual_hosts_are_sent_together_while_one_response_is_under_way(
    served: Served, start_envoy: Any, free_port: Any
) -> None:
    """Each response costs Envoy the whole table, whatever stands in it: many changes are few responses."""
    port, many = free_port(), 500
    served.put(listener("l", port), routes(), *(host(f"h{number}.com") for number in range(many)))
    envoy = await start_envoy(served.port, role=ROLE)
    await envoy.wait_for(port, "h0.com", 200, SOON_S)
    await served.settled()
    before = served.ledger(VIRTUAL_HOST)["responses"]
    for number in range(many):
        served.put(host(f"h{number}.com", "new"))
        await asyncio.sleep(0)
    await served.settled()
    assert served.ledger(VIRTUAL_HOST)["responses"] - before < many / 5
    for number in (0, many // 2, many - 1):
        assert await envoy.request(port, f"h{number}.com") == (200, "new")


async def test_trap15_a_bad_load_assignment_does_not_disturb_others(
    served: Served, start_envoy: Any, free_port: Any, backend: int
) -> None:
    """Envoy may or may not have applied what stood beside it: it is offered until it is accepted."""
    port = free_port()
    served.put(
        *(listener("l", port), routes(), host("a.com", cluster="a"), host("b.com", cluster="b")),
        *(cluster("a"), endpoints("a"), cluster("b"), endpoints("b", backend)),
    )
    envoy = await start_envoy(served.port, role=ROLE)
    await envoy.wait_for(port, "b.com", 200, SOON_S)
    await served.settled()
    served.put(not_an_address("b", backend), endpoints("a", backend))
    await served.until(lambda: served.count(ProxyRejected) > 0)
    served.put(cluster("c"), endpoints("c", backend), host("c.com", cluster="c"))
    for domain in ("a.com", "c.com"):
        await envoy.wait_for(port, domain, 200, SOON_S)
    assert await envoy.request(port, "b.com") == (200, "hello")
    served.put(endpoints("b", backend, backend))
    await served.settled()
    assert served.ledger(LOAD_ASSIGNMENT)["rejections"] == {}
    assert await envoy.request(port, "b.com") == (200, "hello")


def not_an_address(name: str, port: int) -> ClusterLoadAssignment:
    found = endpoints(name, port)
    found.endpoints[0].lb_endpoints[0].endpoint.address.socket_address.address = "not-an-address"
    return found
