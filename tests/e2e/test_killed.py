"""The control plane killed and started again, under traffic and edits: no request fails, and nothing is sent twice."""

from __future__ import annotations

import asyncio
import os
import secrets
from contextlib import AsyncExitStack
from pathlib import Path
from random import Random
from time import monotonic
from typing import Any

import pytest

from controlplane.log import verify
from controlplane.model.codec import EventCodec

from .backends import serving_all
from .client import Traffic, ask
from .deliveries import counted, held_by, unneeded
from .folder import Folder
from .plane import Command, eager_envoy_at, free_port, is_settled, until, until_answer
from .relay import Relay, relaying
from .shop import STAMP, Shop, versions_of

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio]

LIVES = 20
BACKENDS = ("one", "two", "three")
FOLLOW_S = 20.0


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
