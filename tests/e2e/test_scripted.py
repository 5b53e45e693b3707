"""A client that disconnects at random, also in the midst of a response that it has not acknowledged, while a hundred edits are made.

It ends with exactly the newest state, and is sent nothing on the way that it had. There is no Envoy here: this one claims what
it has and never lies, so that whatever is wrong in the end is ours.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Mapping
from contextlib import AsyncExitStack, suppress
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest
from grpclib.exceptions import GRPCError, StreamTerminatedError

from controlplane._proto.envoy.service.discovery.v3 import DeltaDiscoveryResponse
from tests.xds.serving import Client, connect

from .deliveries import Key, counted, held_by, unneeded
from .folder import Folder
from .plane import free_port, is_settled, planning, until
from .relay import Relay, label_of, relaying
from .shop import Shop, versions_of

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(120)]

EDITS = 100
TYPES: Mapping[str, str] = {
    "Cluster": "type.googleapis.com/envoy.config.cluster.v3.Cluster",
    "ClusterLoadAssignment": "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
    "Listener": "type.googleapis.com/envoy.config.listener.v3.Listener",
    "RouteConfiguration": "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
    "VirtualHost": "type.googleapis.com/envoy.config.route.v3.VirtualHost",
}
"""In the order in which an Envoy asks when it reconnects."""


class Scripted:
    """A delta client that remembers what it has from one stream to the next.

    Args:
        relay: The way to the control plane.
        route_configuration: The one that the listener names.
        random: Decides when it disconnects.
    """

    def __init__(self, relay: Relay, route_configuration: str, random: Random) -> None:
        self._relay = relay
        self._route_configuration = route_configuration
        self._random = random
        self.held: dict[Key, str] = {}
        self.breaks = 0
        self.is_restless = True
        """Whether it still disconnects."""

    async def run(self) -> None:
        """One stream after the other, until cancelled."""
        while True:
            left = self._random.randrange(1, 9)
            async with connect(SimpleNamespace(port=self._relay.port)) as client:  # type: ignore[arg-type]
                with suppress(GRPCError, StreamTerminatedError, OSError):
                    await self._talk(client, left)
            self.breaks += 1
            await asyncio.sleep(0)

    async def _talk(self, client: Client, left: int) -> None:
        """Until so many responses have come; the last of them is applied, or lost, and not acknowledged."""
        first = True
        for label, url in TYPES.items():
            names = self._names(label)
            if label == "ClusterLoadAssignment" and not names:
                continue
            claims = {name: version for (of, name), version in self.held.items() if of == label}
            role = {"role": "controlplane~demo~web"} if first else {"role": None}
            await client.say(url, *names, initial_resource_versions=claims, **role)
            first = False
        while response := await client.stream.recv_message():
            left -= 1
            if left <= 0 and self.is_restless:
                if self._random.random() < 0.5:
                    self._apply(response)
                return
            more = self._apply(response)
            await client.ack(response)
            if any(more):
                subscribe, unsubscribe = more
                url = TYPES["ClusterLoadAssignment"]
                await client.say(url, *subscribe, role=None, resource_names_unsubscribe=unsubscribe)

    def _names(self, label: str) -> list[str]:
        if label == "ClusterLoadAssignment":
            return sorted(name for of, name in self.held if of == "Cluster")
        return [self._route_configuration] if label == "RouteConfiguration" else []

    def _apply(self, response: DeltaDiscoveryResponse) -> tuple[list[str], list[str]]:
        """Takes what it brings; which load assignments are to be asked for, and which no longer."""
        label = label_of(response.type_url)
        before = {name for of, name in self.held if of == "Cluster"}
        for name in response.removed_resources:
            self.held.pop((label, name), None)
        self.held |= {(label, found.name): found.version for found in response.resources}
        after = {name for of, name in self.held if of == "Cluster"}
        for name in before - after:
            self.held.pop(("ClusterLoadAssignment", name), None)
        return sorted(after - before), sorted(before - after)


async def test_a_restless_client_ends_with_exactly_the_newest_state(
    folder: Folder, capsys: pytest.CaptureFixture[str]
) -> None:
    seed = int(os.environ.get("CONTROLPLANE_SEED") or secrets.randbits(32))
    random = Random(seed)
    shop = Shop(free_port(), [free_port()], random)
    folder.write_text("all.yaml", shop.text())
    async with AsyncExitStack() as stack:
        plane, admin = await stack.enter_async_context(planning(folder.path))
        await until("the folder is read", admin.is_ready)
        relay = await stack.enter_async_context(relaying(plane.options.xds.port))
        client = Scripted(relay, f"http~{shop.port}", random)
        running = asyncio.create_task(client.run())
        stack.callback(running.cancel)
        different: set[Any] = set()

        async def is_read() -> bool:
            host = (await admin.snapshot())["gateways"]["demo/web"][TYPES["VirtualHost"]]
            stamp = host[f"http~{shop.port}/stamp.example.com"]["resource"]
            return f"'{shop.saves}'" in str(stamp)

        async def has_what_is_served() -> bool:
            nonlocal different
            different = client.held.items() ^ versions_of(await admin.snapshot()).items()
            return not different

        try:
            for _ in range(EDITS):
                shop.edit()
                folder.replace_text("all.yaml", shop.text())
                if random.random() < 0.5:  # else the next one may be read with it
                    await until(f"save {shop.saves} is read", is_read)
            client.is_restless = False
            await until("the client has exactly what is served", has_what_is_served, last=lambda: sorted(different))
            await until("it is in step", lambda: is_settled(admin))
            assert held_by(relay.last) == client.held
            assert unneeded(relay.streams) == []
        except BaseException as error:
            error.add_note(f"CONTROLPLANE_SEED={seed}")
            raise
        assert client.breaks > EDITS / 10
    with capsys.disabled():
        print(f"\nCONTROLPLANE_SEED={seed}: {EDITS} edits, {client.breaks} streams, sent {counted(relay.streams)}")
