"""A folder that is edited at random under traffic: answers, documents and statuses follow each edit, and the log has it all."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from statistics import median
from time import monotonic
from typing import Any

import pytest

from controlplane.krt import Commit
from controlplane.log import read_log
from controlplane.model.codec import EventCodec
from controlplane.runtime.core import State
from controlplane.runtime.document import compare, snapshot
from controlplane.runtime.offline import read_state
from tests.conftest import POLL_S, free_port

from .backends import SLOW, serving_all
from .client import Connection, Traffic, ask
from .editor import Editor
from .folder import Folder
from .plane import Admin, Command, envoy_at, until, until_answer
from .world import BACKENDS, PROBES, ROUTES, STABLE, Outcome, Probe, World, outcome_of, random_route

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio]

EDITS = 200
FOLLOW_S = 10.0
REPEATS = 4
"""So many answers are looked at where several are right."""
LOOKS = 2
"""A listing that may have begun before a save, and the first that has not."""
ASKERS = 4
ANSWER_S = 2.0
FAST_PROBES = [probe for probe in PROBES if not probe.request.path.endswith(SLOW)]
"""Those that wait for nothing: they tell the time that it takes to follow."""


@pytest.mark.timeout(900)
async def test_everything_follows_every_edit(folder: Folder, tmp_path: Path) -> None:
    seed = int(os.environ.get("CONTROLPLANE_SEED") or secrets.randbits(32))
    print(f"CONTROLPLANE_SEED={seed}")
    began = monotonic()
    folder.remove("class.yaml")
    followed: list[tuple[float, str]] = []
    versions: dict[int, str] = {}
    kinds: Counter[str] = Counter()
    async with AsyncExitStack() as stack:
        backends = await stack.enter_async_context(serving_all("stable", *BACKENDS))
        ports = {name: backend.port for name, backend in backends.items()}
        ports |= {"first": free_port(), "second": free_port()}
        random = Random(seed)
        editor = Editor(World(ports, {f"r{number}": random_route(random) for number in range(ROUTES)}), folder, random)
        command = await stack.enter_async_context(Command(tmp_path / "home", "--files", str(folder.path)))
        await stack.enter_async_context(envoy_at(command.xds, tmp_path / "envoy"))
        await until_answer(ports["first"], STABLE)
        fast = [probe.request for probe in FAST_PROBES if probe.port == "first"]
        stable = await stack.enter_async_context(Traffic(ports["first"], STABLE, pause_s=0.01))
        noise = await stack.enter_async_context(Traffic(ports["first"], *fast, pause_s=0.01))
        asker = Asker(ports)
        for number in range(1, EDITS + 1):
            before = {probe: editor.world.expect(probe) for probe in PROBES}
            saved = monotonic()
            what = editor.edit()
            looks = await count_looks(command.admin)
            kinds[what.partition(":")[0]] += 1
            try:
                changed = [probe for probe in FAST_PROBES if editor.world.expect(probe) != before[probe]]
                await asker.until_right(editor.world, changed)
                if changed:
                    followed.append((monotonic() - saved, what))
                document = await until_documents_agree(command.admin, editor)
                await asker.until_right(editor.world, PROBES)
                # What changes nothing, as a new name does, must have been seen before the next edit, too.
                await until("the folder was looked at", lambda: has_looked(command.admin, looks + LOOKS))
            except BaseException as error:
                error.add_note(
                    f"CONTROLPLANE_SEED={seed}, edit {number}: {what}\n{editor.world}\nbroken: {editor.broken}"
                )
                raise
            versions[document["seq"]] = document["version"]
        await stable.answers.grow(10)
        assert stable.failures == 0, stable.bad
        assert noise.by_status.keys() <= {200, 302, 404, 500, 503, 504}, noise.by_status
    print(f"{EDITS} edits in {monotonic() - began:.0f} s: {dict(sorted(kinds.items()))}")
    most, slowest = max(followed)
    middle = median(seconds for seconds, _ in followed)
    print(f"followed {len(followed)} times, in {middle:.3f} s (median), {most:.3f} s at most, after: {slowest}")
    print(
        f"traffic: {stable.by_status[200]} stable requests, {stable.failures} failures; beside them {dict(noise.by_status)}"
    )
    assert_log_gives(command.log_dir, versions)


async def until_documents_agree(admin: Admin, editor: Editor) -> dict[str, Any]:
    """The snapshot, once it is what the folder translates to; but for the status of the object that is wrong."""
    expected = await asyncio.to_thread(editor.expected)
    broken = editor.broken
    wrong = {broken.key} if broken is not None and broken.key else set()

    def essence(document: dict[str, Any]) -> dict[str, Any]:
        statuses = {key: status for key, status in document["statuses"].items() if key not in wrong}
        return {"gateways": document["gateways"], "statuses": statuses}

    errors, found = 0.0, expected

    async def look() -> dict[str, Any] | None:
        nonlocal errors, found
        errors = await admin.metric("controlplane_source_errors", source="files")
        found = await admin.snapshot()
        return found if errors == (broken is not None) and essence(found) == essence(expected) else None

    def difference() -> str:
        named = [name for name, _, _ in compare(essence(expected), essence(found))]
        return f"errors: {errors:g}, different: {named}"

    document = await until("the snapshot is the folder's translation", look, FOLLOW_S, difference)
    assert not wrong or any(
        condition["type"] == "controlplane.dev/InputValid" and condition["status"] == "False"
        for condition in conditions_of(document["statuses"][broken.key])
    )
    assert wrong or document["version"] == expected["version"]
    return document


async def count_looks(admin: Admin) -> int:
    """How often the folder has been listed."""
    looks: int = (await admin.json("/debug/sources"))["files"]["looks"]
    return looks


async def has_looked(admin: Admin, looks: int) -> bool:
    """Whether the folder has been listed so often."""
    return await count_looks(admin) >= looks


def conditions_of(status: dict[str, Any]) -> list[dict[str, Any]]:
    """Conditions of an object and of its parents."""
    return [*status.get("conditions", ()), *(c for parent in status.get("parents", ()) for c in parent["conditions"])]


class Asker:
    """Asks what the world has an answer to, until the answer is right."""

    def __init__(self, ports: dict[str, int]) -> None:
        self._ports = ports

    async def until_right(self, world: World, probes: Iterable[Probe]) -> None:
        """Returns once each of these was answered as it should be.

        Raises:
            AssertionError: One was not, for the time that Envoy is given to follow.
        """
        waiting = iter([(probe, expected) for probe in probes if (expected := world.expect(probe)) is not None])
        deadline = monotonic() + FOLLOW_S

        async def work() -> None:
            async with Connection(self._ports["first"]) as connection:
                for probe, expected in waiting:
                    for _ in range(1 if len(expected) == 1 else REPEATS):
                        await self._until_right(connection, probe, expected, deadline)

        await asyncio.gather(*(work() for _ in range(ASKERS)))

    async def _until_right(
        self, connection: Connection, probe: Probe, expected: frozenset[Outcome], deadline: float
    ) -> None:
        while (outcome := await self._ask(connection, probe)) not in expected:
            assert monotonic() < deadline, f"{probe} gives {outcome}, not one of {sorted(expected)}"
            await asyncio.sleep(POLL_S)

    async def _ask(self, connection: Connection, probe: Probe) -> Outcome | None:
        """None for no answer yet: before Envoy has followed, a backend may be asked that does not answer, without end."""
        try:
            async with asyncio.timeout(ANSWER_S):
                if probe.port == "first":
                    return outcome_of(await connection.ask(probe.request))
                # A connection that was opened before the listener was removed would be answered until it is drained.
                return outcome_of(await ask(self._ports[probe.port], probe.request))
        except TimeoutError:
            return None


def assert_log_gives(log_dir: Path, versions: dict[int, str]) -> None:
    """Replayed to each seq at which a version was seen, the log gives that version."""
    state = State()
    replayed: dict[int, str] = {}

    def look(commit: Commit) -> None:
        if commit.seq in versions:
            replayed[commit.seq] = snapshot(state)["version"]

    state.take(read_log(log_dir, EventCodec()), look)
    assert replayed == versions
    # The way that `controlplane replay --until` goes, for some.
    for seq in sorted(versions)[:: len(versions) // 3]:
        assert snapshot(read_state(log_dir, seq))["version"] == versions[seq]
