"""A route that passes our checks and that an Envoy does not take: it alone keeps its last form, and its status says why.

The Envoy has a limit that the bootstrap which we print lifts, so that a regular expression too large for it reaches it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from math import log2
from pathlib import Path

import pytest

from controlplane.model.events import ProxyRejected, RejectionEnded, ResourceRejected
from tests.conformance.manifests import gateway, http_route, listener, prefix, regex

from .backends import Backend, serving
from .client import Request, Traffic
from .folder import Folder, backend_service
from .plane import Command, free_port, is_settled, until
from .rejecting import (
    BAD,
    COUNT,
    FOLLOW_S,
    SHOP,
    TOO_LARGE,
    WORDS,
    Told,
    forms,
    marked,
    read_events,
    request,
    routes,
    strict_envoy,
    until_forms,
)
from .relay import Relay, relaying

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio, pytest.mark.timeout(120)]

QUIET = Request("quiet.example.com", "/quiet")
QUIET_IN_SHOP = Request(SHOP, "/quiet")
MENDED = "[a-c]+"
TRIES = 4 * int(log2(COUNT) + 1)
"""More rejections than halving can need, of all offers together."""
ONE_HOSTNAME = pytest.mark.parametrize("one_hostname", [False, True], ids=["a hostname each", "one hostname"])


@dataclass
class Scene:
    """A control plane and an Envoy with the limit, a relay between them, and traffic to what nobody touches."""

    folder: Folder
    path: Path
    command: Command
    relay: Relay
    told: Told
    port: int
    one_hostname: bool
    traffic: Traffic

    def save(self, form: int, bad: str = "") -> None:
        """One save of all routes."""
        self.folder.write("routes.yaml", *routes(form, bad, one_hostname=self.one_hostname))

    @property
    def requests(self) -> list[Request]:
        """What every route answers."""
        return [request(number, one_hostname=self.one_hostname) for number in range(COUNT)]

    @property
    def bad(self) -> Request:
        """What the route answers that is not taken."""
        return self.requests[BAD]

    async def shows(self, form: int, bad: str = "") -> None:
        """Returns once all are in this form, but for the bad one, if its form is given."""
        await until_forms(self.port, self.requests, form, {self.bad: bad} if bad else {})

    async def in_step(self, proxies: int = 1) -> None:
        """Returns once the Envoys have taken all that there is."""
        await until("the Envoy is in step", lambda: is_settled(self.told.admin, proxies), FOLLOW_S)

    async def holds(self) -> None:
        """Returns once the save in form 2 is served as far as it can be, and said so."""
        await self.shows(2, bad="1")
        await self.told.until_partly_invalid(f"r{BAD}", "Fall Back", WORDS)
        await self.in_step()

    @property
    def rejections(self) -> int:
        """How many responses were rejected."""
        return sum(len(stream.rejections) for stream in self.relay.streams)


@asynccontextmanager
async def scene(
    folder: Folder, tmp_path: Path, *, one_hostname: bool, backend: Backend | None = None
) -> AsyncIterator[Scene]:
    """All routes in form 1; on a backend that may outlive the scene."""
    port = free_port()
    async with AsyncExitStack() as stack:
        if backend is None:
            backend = await stack.enter_async_context(serving(Backend("v1")))
        quiet = http_route("quiet", marked(0, prefix("/quiet")), hostnames=[QUIET.host, SHOP])
        folder.write("all.yaml", gateway(listener(port=port)), backend_service("v1", backend.port), quiet)
        command = await stack.enter_async_context(Command(tmp_path / "home", "--files", str(folder.path)))
        relay = await stack.enter_async_context(relaying(command.xds))
        await stack.enter_async_context(strict_envoy(relay.port, tmp_path / "envoy"))
        traffic = Traffic(port, QUIET, QUIET_IN_SHOP)
        found = Scene(folder, tmp_path, command, relay, Told(command.admin), port, one_hostname, traffic)
        found.save(1)
        await found.shows(1)
        async with traffic:
            yield found
            await traffic.answers.grow(10)
        assert traffic.failures == 0, traffic.bad


@ONE_HOSTNAME
async def test_one_of_fifty_keeps_its_last_form(folder: Folder, tmp_path: Path, one_hostname: bool) -> None:
    async with scene(folder, tmp_path, one_hostname=one_hostname) as found:
        async with Traffic(found.port, found.bad) as still:
            found.save(2, TOO_LARGE)
            await found.shows(2, bad="1")
            message = await found.told.until_partly_invalid(f"r{BAD}", "Fall Back", WORDS)
            assert TOO_LARGE in message
            await found.in_step()
            # It stays so once all that there was to say has been said.
            await found.shows(2, bad="1")
            assert await found.told.partly_invalid() == {f"r{BAD}"}
            assert await found.told.rejected("VirtualHost") == 1
            shown = await found.told.of_proxies()
            assert f"{found.bad.host}" in shown
            assert WORDS in shown
            assert 0 < found.rejections <= TRIES

            found.save(3, MENDED)
            await found.shows(3)
            await found.told.until_valid(f"r{BAD}")
        assert still.failures == 0, still.bad
        assert await found.told.partly_invalid() == set()
        assert await found.told.rejected("VirtualHost") == 0
        await found.in_step()
        assert WORDS not in await found.told.of_proxies()
    rejections = await read_events(found.command.log_dir, ProxyRejected, ResourceRejected, RejectionEnded)
    kinds = [type(event) for event in rejections]
    assert kinds.count(ProxyRejected) == found.rejections
    assert kinds.count(ResourceRejected) == 1
    assert kinds[-1] is RejectionEnded


@ONE_HOSTNAME
async def test_what_is_held_is_not_offered_again_and_stands_in_nobodys_way(
    folder: Folder, tmp_path: Path, one_hostname: bool
) -> None:
    async with scene(folder, tmp_path, one_hostname=one_hostname) as found:
        found.save(2, TOO_LARGE)
        await found.holds()
        rejections = found.rejections
        for number in range(3, 6):  # the others go on, also those of its hostname
            made = routes(number, one_hostname=one_hostname)
            made[BAD] = routes(2, TOO_LARGE, one_hostname=one_hostname)[BAD]
            found.folder.write("routes.yaml", *made)
            await found.shows(number, bad="1")
        await found.in_step()
        assert found.rejections == rejections

        # Another that is not taken either: offered at once, rejected, the same form stays.
        found.save(6, f"{TOO_LARGE}x?")
        await found.shows(6, bad="1")
        await found.told.until_partly_invalid(f"r{BAD}", "Fall Back", f"{TOO_LARGE}x?")
        # And back to the first: its form is still the last that was taken.
        found.save(7, MENDED)
        await found.shows(7)
        found.save(8, TOO_LARGE)
        await found.shows(8, bad="7")
        await found.told.until_partly_invalid(f"r{BAD}", "Fall Back", WORDS)


@ONE_HOSTNAME
async def test_one_bad_rule_among_good_ones(folder: Folder, tmp_path: Path, one_hostname: bool) -> None:
    host = SHOP if one_hostname else "rules.example.com"
    paths = [Request(host, f"/rule{number}/abc") for number in range(4)]

    def save(form: int, bad: str = "") -> None:
        made = [marked(form, prefix(f"/rule{number}")) for number in range(4)]
        if bad:
            made[1] = marked(form, regex(f"/rule1/{bad}"))
        folder.write("rules.yaml", http_route("rules", *made, hostnames=[host]))

    async with scene(folder, tmp_path, one_hostname=one_hostname) as found:
        save(1)
        await until_forms(found.port, paths, 1)
        save(2, TOO_LARGE)
        await until_forms(found.port, paths, 2, {paths[1]: "1"})
        message = await found.told.until_partly_invalid("rules", "Fall Back", WORDS)
        assert "rules[1]" in message
        await found.shows(1)
        save(3)
        await until_forms(found.port, paths, 3)
        await found.told.until_valid("rules")


@ONE_HOSTNAME
async def test_a_new_rule_that_is_not_taken_is_dropped(folder: Folder, tmp_path: Path, one_hostname: bool) -> None:
    host = SHOP if one_hostname else "new.example.com"
    good, bad = Request(host, "/good"), Request(host, "/bad/abc")

    def save(form: int, pattern: str) -> None:
        made = marked(form, prefix("/good")), marked(form, regex(f"/bad/{pattern}"))
        folder.write("new.yaml", http_route("new", *made, hostnames=[host]))

    async with scene(folder, tmp_path, one_hostname=one_hostname) as found:
        save(1, TOO_LARGE)
        await until_forms(found.port, [good, bad], 1, {bad: "404"})
        await found.told.until_partly_invalid("new", "Dropped Rule", WORDS)
        await found.shows(1)
        save(2, MENDED)
        await until_forms(found.port, [good, bad], 2)
        await found.told.until_valid("new")


@ONE_HOSTNAME
async def test_a_new_route_of_which_nothing_is_taken(folder: Folder, tmp_path: Path, one_hostname: bool) -> None:
    host = SHOP if one_hostname else "new.example.com"
    asked = Request(host, "/bad/abc")
    async with scene(folder, tmp_path, one_hostname=one_hostname) as found:
        folder.write("new.yaml", http_route("new", marked(1, regex(f"/bad/{TOO_LARGE}")), hostnames=[host]))

        async def is_told() -> bool:
            said = await found.told.conditions("HTTPRoute demo/new")
            return any(WORDS in message for _, _, message in said.values())

        await until("the status tells of it", is_told, FOLLOW_S)
        assert await forms(found.port, [asked]) == ["404"]
        found.save(2)
        await found.shows(2)
        folder.write("new.yaml", http_route("new", marked(3, regex(f"/bad/{MENDED}")), hostnames=[host]))
        await until_forms(found.port, [asked], 3)


async def _cut(found: Scene, stack: AsyncExitStack) -> int:
    found.relay.cut()
    return 1


async def _another_envoy(found: Scene, stack: AsyncExitStack) -> int:
    await stack.enter_async_context(strict_envoy(found.relay.port, found.path / "another"))
    return 2


async def _restart(found: Scene, stack: AsyncExitStack) -> int:
    await found.command.kill()
    await found.command.start()
    return 1


WAYS: dict[str, Callable[[Scene, AsyncExitStack], Awaitable[int]]] = {
    "the Envoy reconnects": _cut,
    "another Envoy of the Gateway": _another_envoy,
    "the control plane is killed and starts on its log": _restart,
}
"""What happens; it gives how many Envoys there are then."""


@ONE_HOSTNAME
@pytest.mark.parametrize("way", WAYS)
async def test_what_is_held_outlives_streams_and_processes(
    folder: Folder, tmp_path: Path, way: str, one_hostname: bool
) -> None:
    async with AsyncExitStack() as stack, scene(folder, tmp_path, one_hostname=one_hostname) as found:
        found.save(2, TOO_LARGE)
        await found.holds()
        streams = len(found.relay.streams)
        proxies = await WAYS[way](found, stack)

        async def is_back() -> bool:
            there = len(found.relay.streams) > streams and "VirtualHost" in found.relay.last.asked_for
            return there and await is_settled(found.told.admin, proxies)

        await until("the Envoy is back and in step", is_back, FOLLOW_S)
        await found.shows(2, bad="1")
        await found.told.until_partly_invalid(f"r{BAD}", "Fall Back", WORDS)
        later = found.relay.streams[streams:]
        assert [stream.rejections for stream in later if stream.rejections] == []
        assert not any(TOO_LARGE.encode() in sent.body for stream in later for sent in stream.sent)
        found.save(3, MENDED)
        await found.shows(3)
        await found.told.until_valid(f"r{BAD}")


@ONE_HOSTNAME
async def test_what_is_held_is_in_a_replay_and_in_a_new_envoy(
    folder: Folder, tmp_path: Path, one_hostname: bool
) -> None:
    """The log alone says what is held: a replay serves it to an Envoy that has seen nothing before."""
    async with serving(Backend("v1")) as backend:
        async with scene(folder, tmp_path, one_hostname=one_hostname, backend=backend) as found:
            found.save(2, TOO_LARGE)
            await found.holds()
            served = await found.told.admin.snapshot()
        async with (
            Command(tmp_path / "replay", "--replay", str(found.command.log_dir)) as replay,
            relaying(replay.xds) as relay,
            strict_envoy(relay.port, tmp_path / "late"),
        ):
            await found.shows(2, bad="1")
            again = await replay.admin.snapshot()
            assert (again["version"], again["gateways"]) == (served["version"], served["gateways"])
            assert await Told(replay.admin).partly_invalid() == {f"r{BAD}"}
            assert relay.last.rejections == []
