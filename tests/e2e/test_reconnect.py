"""A proxy that reconnects while nothing has changed is sent nothing: to the same process, to its next life, to another replica."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conformance.manifests import Manifest, backend, filter_, gateway, http_route, https, listener, prefix, rule
from tests.conftest import EnvoyProcess

from .backends import Backend, serving_all
from .certificates import make_pair, tls_secret
from .client import Request, Traffic, ask
from .deliveries import claims_of, counted, unneeded
from .folder import Folder, backend_service
from .istio import at, destination_rule, hostname, service_entry
from .plane import Admin, Command, eager_envoy_at, free_port, is_settled, until, until_answer
from .relay import Relay, relaying

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio]

SECURE, SECOND, STAMP = "secure.example.com", "second.example.com", "stamp.example.com"
TYPES = {"Cluster", "ClusterLoadAssignment", "Listener", "RouteConfiguration", "VirtualHost"}
WITH_SECRETS = TYPES | {"Secret"}
EMPTY_REPLIES = 2
"""The answers to the first requests for clusters and for listeners, which a proxy waits for."""
EMPTY_OCTETS = 150
"""More than an answer of nothing takes."""
COUNTERS = "cluster_(added|modified|removed)|listener_(added|modified|removed)|update_success|rds.*config_reload"


@dataclass
class Scene:
    """One Envoy behind a relay, and two control planes that read one folder."""

    folder: Folder
    relay: Relay
    envoy: EnvoyProcess
    first: Command
    second: Command
    backends: dict[str, Backend]
    port: int
    saves: int = 0

    @property
    def admin(self) -> Admin:
        """Of the control plane that the Envoy reaches."""
        return (self.first if self.relay.upstream == self.first.xds else self.second).admin

    def save(self, to: str = "one") -> None:
        """A save that changes one virtual host, and nothing else."""
        self.saves += 1
        self.folder.write("stamp.yaml", stamp(self.saves, to))

    async def follows(self) -> None:
        """Returns once the last save is served, and the Envoy is in step."""

        async def is_stamped() -> bool:
            return (await ask(self.port, Request(STAMP))).header("x-save") == str(self.saves)

        await until(f"save {self.saves} is served", is_stamped)
        await until("the Envoy is in step", self.is_in_step)

    async def is_in_step(self) -> bool:
        """Whether the newest stream has asked for everything, and the Envoy has acknowledged all that there is."""
        return self.relay.last.asked_for >= WITH_SECRETS and await is_settled(self.admin)


def stamp(number: int, to: str = "one") -> Manifest:
    """A route whose answers carry a number."""
    marking = filter_("ResponseHeaderModifier", set=[{"name": "x-save", "value": str(number)}])
    return http_route("stamp", rule(to=to, filters=[marking]), hostnames=[STAMP])


def manifests(port: int, tls_port: int, backends: dict[str, Backend]) -> list[Manifest | list[Manifest]]:
    """Something of everything: listeners with and without TLS, clusters of each origin, one without endpoints, one that is not there."""
    split = [backend("one", weight=1), backend("two", weight=3)]
    return [
        gateway(
            listener(port=port), *(https(f"tls-{host}", host, "cert", port=tls_port) for host in (SECURE, SECOND))
        ),
        tls_secret("cert", make_pair(SECURE)),
        *(backend_service(name, found.port) for name, found in backends.items()),
        backend_service("empty"),
        service_entry("entry", "entry.mesh", [at(backends["two"].port)]),
        service_entry("named", "named.mesh", [{**at(backends["two"].port), "address": "localhost"}], resolution="DNS"),
        destination_rule("hashed", "one.demo.svc.cluster.local", loadBalancer={"consistentHash": {"useSourceIp": True}}),
        http_route("plain", rule(prefix("/split"), to=split), rule(to="one"), hostnames=["plain.example.com"]),
        http_route("any", rule(to=hostname("entry.mesh")), rule(prefix("/named"), to=hostname("named.mesh"))),
        http_route("empty", rule(to="empty"), hostnames=["empty.example.com", "*.empty.example.com"]),
        http_route("missing", rule(to="nowhere"), hostnames=["missing.example.com"]),
        http_route("secure", rule(to="two"), hostnames=[SECURE, SECOND]),
    ]  # fmt: skip


@asynccontextmanager
async def scene(folder: Folder, tmp_path: Path) -> AsyncIterator[Scene]:
    """All of it, in step."""
    port, tls_port = free_port(), free_port()
    async with AsyncExitStack() as stack:
        backends = await stack.enter_async_context(serving_all("one", "two"))
        folder.write("all.yaml", *manifests(port, tls_port, backends))
        folder.write("stamp.yaml", stamp(0))
        first = await stack.enter_async_context(Command(tmp_path / "first", "--files", str(folder.path)))
        second = await stack.enter_async_context(Command(tmp_path / "second", "--files", str(folder.path)))
        relay = await stack.enter_async_context(relaying(first.xds))
        envoy = await stack.enter_async_context(eager_envoy_at(relay.port, tmp_path / "envoy"))
        found = Scene(folder, relay, envoy, first, second, backends, port)
        await found.follows()
        await until_answer(port, Request("plain.example.com"), backend="one")
        await until_answer(port, Request("other.example.com", "/named"), backend="two")
        yield found


async def _cut(scene: Scene) -> None:
    scene.relay.cut()


async def _kill(scene: Scene) -> None:
    await scene.first.kill()
    await scene.first.start()


async def _move(scene: Scene) -> None:
    scene.relay.upstream = scene.second.xds
    scene.relay.cut()


WAYS: dict[str, Callable[[Scene], Awaitable[None]]] = {
    "to the same process": _cut,
    "to its next life on its log": _kill,
    "to another that read the same manifests": _move,
}


async def _reconnected(scene: Scene, streams: int) -> None:
    """Returns once there was another stream, and the Envoy is in step on it."""

    async def is_back() -> bool:
        return len(scene.relay.streams) > streams and await scene.is_in_step()

    await until("the Envoy is back and in step", is_back)


@pytest.mark.parametrize("way", WAYS)
async def test_unchanged_content_is_not_sent_again(folder: Folder, tmp_path: Path, way: str) -> None:
    async with scene(folder, tmp_path) as found:
        for _ in range(3):
            streams, before = len(found.relay.streams), await found.envoy.stats(COUNTERS)
            async with Traffic(found.port, Request("plain.example.com")) as traffic:
                await WAYS[way](found)
                await _reconnected(found, streams)
            assert traffic.failures == 0, traffic.bad
            again = found.relay.streams[streams:]
            assert counted(again) == {}
            assert [removed for stream in again for removed in stream.removed] == []
            for stream in again:
                assert len(stream.responses) <= EMPTY_REPLIES
                assert stream.octets <= EMPTY_REPLIES * EMPTY_OCTETS
            # Each type was claimed, so that there was something to send.
            assert {label for label, _ in claims_of(found.relay.last)} == WITH_SECRETS
            after = await found.envoy.stats(COUNTERS)
            assert {name: after[name] - count for name, count in before.items() if after[name] != count} in (
                {}, {"cluster_manager.cds.update_success": 1, "listener_manager.lds.update_success": 1},
            )  # fmt: skip

            # What is changed next is all that is sent on that stream, from its first octet on.
            found.save()
            await found.follows()
            assert counted(again) == {"VirtualHost": 1}
        assert unneeded(found.relay.streams) == []
        assert [stream.rejections for stream in found.relay.streams if stream.rejections] == []


@pytest.mark.parametrize("way", WAYS)
async def test_what_changed_while_nobody_was_there_is_all_that_is_sent(
    folder: Folder, tmp_path: Path, way: str
) -> None:
    async with scene(folder, tmp_path) as found:
        streams, upstream = len(found.relay.streams), found.relay.upstream
        found.relay.upstream = free_port()  # nobody
        found.relay.cut()
        found.save(to="three")
        found.folder.write("three.yaml", backend_service("three", found.backends["two"].port))
        if way == "to its next life on its log":
            await found.first.kill()
            found.relay.upstream = upstream
            await found.first.start()
        else:
            wanted = found.second if way == "to another that read the same manifests" else found.first

            async def is_read() -> bool:
                said = (await wanted.admin.snapshot())["gateways"]["demo/web"]
                return any("three" in name for name in said["type.googleapis.com/envoy.config.cluster.v3.Cluster"])

            await until("the save is read", is_read)
            found.relay.upstream = wanted.xds
        await found.follows()
        again = counted(found.relay.streams[streams:])
        assert again.pop("ClusterLoadAssignment") <= 2  # with its cluster, and when it was asked for
        assert again == {"Cluster": 1, "VirtualHost": 1}
        assert unneeded(found.relay.streams) == []


async def test_what_is_as_it_was_when_the_proxy_comes_back_is_not_sent(folder: Folder, tmp_path: Path) -> None:
    """Changed and changed back while the proxy was away: versions are content, not count."""
    async with scene(folder, tmp_path) as found:
        streams, upstream = len(found.relay.streams), found.relay.upstream
        found.relay.upstream = free_port()
        found.relay.cut()
        before = (await found.admin.snapshot())["version"]
        found.folder.write("stamp.yaml", stamp(100, to="two"))

        async def is_version(wanted: bool) -> bool:
            return ((await found.first.admin.snapshot())["version"] == before) == wanted

        await until("the change is read", lambda: is_version(wanted=False))
        found.folder.write("stamp.yaml", stamp(0))
        await until("it is as it was", lambda: is_version(wanted=True))
        found.relay.upstream = upstream
        await _reconnected(found, streams)
        assert counted(found.relay.streams[streams:]) == {}
