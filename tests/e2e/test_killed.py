"""The control plane killed and started again, under traffic and edits: no request fails, and nothing is sent twice."""

from __future__ import annotations

import asyncio
import os
import secrets
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from random import Random
from time import monotonic
from typing import Any

import pytest

from controlplane.log import verify
from controlplane.model.codec import EventCodec
from controlplane.runtime.document import for_only_client
from tests.conformance.manifests import Manifest, backend, filter_, gateway, http_route, listener, rule

from .backends import serving_all
from .client import Request, Traffic, ask
from .deliveries import counted, held_by, unneeded
from .folder import Folder, backend_service, to_text
from .istio import destination_rule
from .plane import Command, eager_envoy_at, free_port, is_settled, until, until_answer
from .relay import Relay, label_of, relaying

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio]

LIVES = 20
HOSTS, SERVICES, EXTRAS = 6, 4, 4
BACKENDS = ("one", "two", "three")
FOLLOW_S = 20.0
STAMP = Request("stamp.example.com")


@dataclass
class Shop:
    """What lies in the folder: hosts that are always there and always have a backend that answers; all else changes.

    Args:
        port: Of the listener.
        backends: Ports of the backends.
        random: Decides.
    """

    port: int
    backends: list[int]
    random: Random
    saves: int = 0
    services: dict[str, int] = field(default_factory=dict)
    """The port behind each."""
    routes: dict[str, list[str]] = field(default_factory=dict)
    """The services of each host, in weight from 1 up."""
    timeouts: dict[str, int] = field(default_factory=dict)
    """Of connections, in seconds, where a service has a rule."""
    extras: set[str] = field(default_factory=set)
    """Hosts that are there at times."""
    _numbers: count[int] = field(default_factory=count)

    def __post_init__(self) -> None:
        for _ in range(SERVICES):
            self._add_service()
        self.routes = {f"h{number}.example.com": [self._a_service()] for number in range(HOSTS)}

    def _add_service(self) -> str:
        name = f"service-{next(self._numbers)}"
        self.services[name] = self.random.choice(self.backends)
        return name

    def _a_service(self) -> str:
        return self.random.choice(sorted(self.services))

    def edit(self) -> str:
        """One save's change; what it was."""
        self.saves += 1
        edit = self.random.choice([self._move, self._split, self._replace, self._endpoints, self._policy, self._extra])
        edit()
        return f"{self.saves}: {edit.__name__.strip('_')}"

    def _move(self) -> None:
        self.routes[self.random.choice(sorted(self.routes))] = [self._a_service()]

    def _split(self) -> None:
        self.routes[self.random.choice(sorted(self.routes))] = self.random.sample(sorted(self.services), 2)

    def _replace(self) -> None:
        """A service goes, another comes, and every route moves with it, in one save."""
        old, new = self._a_service(), self._add_service()
        del self.services[old]
        self.timeouts.pop(old, None)
        for host, names in self.routes.items():
            self.routes[host] = [new if name == old else name for name in names]

    def _endpoints(self) -> None:
        self.services[self._a_service()] = self.random.choice(self.backends)

    def _policy(self) -> None:
        self.timeouts[self._a_service()] = self.random.randrange(1, 60)

    def _extra(self) -> None:
        self.extras ^= {f"x{self.random.randrange(EXTRAS)}.example.com"}

    def requests(self) -> list[Request]:
        """What must be answered with 200 at all times."""
        return [Request(host) for host in self.routes]

    def text(self) -> str:
        """All of it in one file, so that a save is one."""
        marking = filter_("ResponseHeaderModifier", set=[{"name": "x-save", "value": str(self.saves)}])
        first = next(iter(self.services))
        made: list[Manifest] = [
            gateway(listener(port=self.port)),
            http_route("stamp", rule(to=first, filters=[marking]), hostnames=[STAMP.host]),
        ]
        for name, port in self.services.items():
            made += backend_service(name, port)
        for name, seconds in self.timeouts.items():
            pool = {"tcp": {"connectTimeout": f"{seconds}s"}}
            made.append(destination_rule(name, f"{name}.demo.svc.cluster.local", connectionPool=pool))
        for host, names in [*self.routes.items(), *((host, [first]) for host in sorted(self.extras))]:
            refs = [backend(name, weight=weight) for weight, name in enumerate(names, 1)]
            made.append(http_route(host.partition(".")[0], rule(to=refs), hostnames=[host]))
        return to_text(made)


class Course:
    """Lives of a control plane, one after the other."""

    def __init__(self, shop: Shop, folder: Folder, command: Command, relay: Relay) -> None:
        self._shop = shop
        self._folder = folder
        self._command = command
        self._relay = relay
        self._random = shop.random
        self.edits: list[str] = []

    def _save(self) -> None:
        self.edits.append(self._shop.edit())
        self._folder.replace_text("all.yaml", self._shop.text())

    async def follows(self) -> None:
        """Returns once the last save is served."""
        wanted = str(self._shop.saves)

        async def is_served() -> bool:
            return (await ask(self._shop.port, STAMP)).header("x-save") == wanted

        await until(f"save {wanted} is served", is_served, FOLLOW_S)

    async def _pass_responses(self, number: int) -> None:
        """Returns once so many further responses have passed, or the save is served with fewer."""
        said = sum(len(stream.responses) for stream in self._relay.streams) + number
        wanted = str(self._shop.saves)

        async def have_passed() -> bool:
            if sum(len(stream.responses) for stream in self._relay.streams) >= said:
                return True
            return (await ask(self._shop.port, STAMP)).header("x-save") == wanted

        await until("the next responses have passed", have_passed, FOLLOW_S)

    async def live(self) -> None:
        """Edits, a death in the midst of the last one, edits that nobody sees, and another life."""
        for _ in range(self._random.randrange(3)):
            self._save()
            await self.follows()
        self._save()
        if (responses := self._random.randrange(5)) < 4:  # else before it can have read the file
            await self._pass_responses(responses)
        await self._command.kill()
        for _ in range(self._random.randrange(3)):
            self._save()
        starting = asyncio.create_task(self._command.start())
        if self._random.random() < 0.5:
            await until("another process is there", self._is_started)
            self._save()
        await starting
        if self._random.random() < 0.5:
            self._save()
            await self.follows()

    async def _is_started(self) -> bool:
        return self._command.process.returncode is None


def versions_of(document: dict[str, Any], gateway_key: str = "demo/web") -> dict[tuple[str, str], str]:
    """What the one client of a Gateway is served: version by type and name."""
    return {
        (label_of(type_url), name): entry["version"]
        for type_url, resources in for_only_client(document)["gateways"][gateway_key].items()
        for name, entry in resources.items()
    }


@pytest.mark.timeout(400)
async def test_killed_and_started_again_under_traffic_and_edits(
    folder: Folder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seed, began = int(os.environ.get("CONTROLPLANE_SEED") or secrets.randbits(32)), monotonic()
    async with AsyncExitStack() as stack:
        backends = await stack.enter_async_context(serving_all(*BACKENDS))
        shop = Shop(free_port(), [found.port for found in backends.values()], Random(seed))
        folder.write_text("all.yaml", shop.text())
        command = await stack.enter_async_context(Command(tmp_path / "home", "--files", str(folder.path)))
        relay = await stack.enter_async_context(relaying(command.xds))
        await stack.enter_async_context(eager_envoy_at(relay.port, tmp_path / "envoy"))
        course = Course(shop, folder, command, relay)
        await course.follows()
        for request in shop.requests():
            await until_answer(shop.port, request)
        traffic = await stack.enter_async_context(Traffic(shop.port, *shop.requests(), clients=4))
        try:
            for _ in range(LIVES):
                await course.live()
            await course.follows()

            await until("the Envoy is in step", lambda: is_settled(command.admin), FOLLOW_S)
            await traffic.answers.grow(20)
            assert traffic.failures == 0, traffic.bad
            assert unneeded(relay.streams) == []
            assert [stream.rejections for stream in relay.streams if stream.rejections] == []

            different: set[Any] = set()

            async def has_what_is_served() -> bool:
                nonlocal different
                served = versions_of(await command.admin.snapshot())
                different = held_by(relay.last).items() ^ served.items()
                return not different

            # What nothing uses any more goes last, when its time of grace is over.
            await until("the Envoy has exactly what is served", has_what_is_served, FOLLOW_S, lambda: sorted(different))
        except BaseException as error:
            error.add_note(f"CONTROLPLANE_SEED={seed}: {course.edits}")
            raise
        await command.kill()
        assert not verify(command.log_dir, EventCodec()).damage
    with capsys.disabled():
        print(
            f"\nCONTROLPLANE_SEED={seed}: {LIVES} lives, {shop.saves} saves in {monotonic() - began:.0f} s; "
            f"{traffic.by_status[200]} requests without a failure; sent {counted(relay.streams)} "
            f"on {len(relay.streams)} streams"
        )
