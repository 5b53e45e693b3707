"""A folder that is edited at random under traffic: answers, documents and statuses follow each edit, and the log has it all."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections import Counter
from collections.abc import Iterable
from contextlib import AsyncExitStack
from pathlib import Path
from random import Random
from statistics import median
from time import monotonic
from typing import Any

import pytest

from controlplane.krt import Commit
from controlplane.log import read_log
from controlplane.model.codec import EventCodec
from controlplane.model.events import SCHEMA_VERSION
from controlplane.runtime.core import State
from controlplane.runtime.document import compare, snapshot
from controlplane.runtime.offline import read_state
from tests.conftest import POLL_S

from .backends import serving_all
from .client import Connection, Traffic, ask
from .editor import Broken, Editor
from .folder import Folder
from .oracle import PROBES, Outcome, Probe, expect, outcome_of
from .plane import Command, envoy_at, free_port, is_settled, until, until_answer
from .world import BACKENDS, ROUTES, STABLE, World, random_route

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio]

EDITS, LIFE = 200, 45
"""How many, and how many the control plane lives to see: it is killed before the next and started again after it."""
FOLLOW_S = 10.0
REPEATS = 4
"""So many answers are looked at where several are right."""
INPUT_VALID = "controlplane.dev/InputValid"
ASKERS = 4
ANSWER_S = 2.0
FAST_PROBES = [probe for probe in PROBES if not probe.is_slow]
"""Those that wait for nothing: they tell the time that it takes to follow."""


@pytest.mark.timeout(600)
async def test_everything_follows_every_edit(
    folder: Folder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seed = int(os.environ.get("CONTROLPLANE_SEED") or secrets.randbits(32))
    random, began = Random(seed), monotonic()
    folder.remove("class.yaml")
    async with AsyncExitStack() as stack:
        backends = await stack.enter_async_context(serving_all("stable", *BACKENDS))
        ports = {name: backend.port for name, backend in backends.items()}
        ports |= {"first": free_port(), "second": free_port()}
        editor = Editor(World(ports, {f"r{number}": random_route(random) for number in range(ROUTES)}), folder, random)
        command = await stack.enter_async_context(Command(tmp_path / "home", "--files", str(folder.path)))
        await stack.enter_async_context(envoy_at(command.xds, tmp_path / "envoy"))
        await until_answer(ports["first"], STABLE)
        requests = [probe.request for probe in FAST_PROBES if probe.port == "first"]
        stable = await stack.enter_async_context(Traffic(ports["first"], STABLE, pause_s=0.01))
        others = await stack.enter_async_context(Traffic(ports["first"], *requests, pause_s=0.01))
        course = Course(editor, command, Asker(ports))
        for number in range(1, EDITS + 1):
            try:
                await course.edit()
            except BaseException as error:
                error.add_note(f"CONTROLPLANE_SEED={seed} edit {number}: {course.what}")
                error.add_note(f"{editor.world}\nbroken: {editor.broken}")
                raise
        await stable.answers.grow(10)
        assert stable.failures == 0, stable.bad
        assert others.by_status.keys() <= {200, 302, 404, 500, 503, 504}, others.by_status
    assert_log_gives(command.log_dir, course.versions)
    with capsys.disabled():
        print(f"\nCONTROLPLANE_SEED={seed}: {EDITS} edits in {monotonic() - began:.0f} s, {course}")
        print(
            f"{stable.by_status[200]} requests without a failure; beside them {dict(sorted(others.by_status.items()))}"
        )


class Course:
    """One edit after the other, each when all has followed the one before."""

    def __init__(self, editor: Editor, command: Command, asker: Asker) -> None:
        self._editor = editor
        self._command = command
        self._admin = command.admin
        self._asker = asker
        self._seen = 0
        """Edits that this life of the control plane has seen."""
        self._kinds: Counter[str] = Counter()
        self._seconds: list[float] = []
        """From each save that changed answers until all of them had changed."""
        self._visible: tuple[str, Broken | None] | None = None
        self.what = ""
        """The edit under way."""
        self.versions: dict[int, str] = {}
        """Seq to version, as seen after each edit."""

    def __str__(self) -> str:
        middle, most = median(self._seconds), max(self._seconds)
        followed = f"answers followed {len(self._seconds)} times in {middle:.3f} s (median), {most:.3f} s at most"
        return f"{followed}; {dict(sorted(self._kinds.items()))}"

    async def edit(self) -> None:
        """The next edit, and all that follows from it."""
        # Not while something is broken: a new life cannot tell what a file defines that it has never read, and takes nothing
        # away that might be there.
        away = self._seen >= LIFE and self._editor.broken is None
        self._seen = 0 if away else self._seen + 1
        before = {probe: expect(self._editor.world, probe) for probe in FAST_PROBES}
        if away:
            await self._command.kill()
        began = monotonic()
        self.what = self._editor.edit()
        self._kinds[self.what.partition(":")[0]] += 1
        if away:
            await self._command.start()
            await until("the Envoy is back", lambda: is_settled(self._admin))
        looks = await self._looks()
        changed = [probe for probe in FAST_PROBES if expect(self._editor.world, probe) != before[probe]]
        await self._asker.until_right(self._editor.world, changed)
        if changed and not away:
            self._seconds.append(monotonic() - began)
        document = await self._until_documents_agree()
        self.versions[document["seq"]] = document["version"]
        await self._asker.until_right(self._editor.world, PROBES)

        async def is_seen() -> bool:
            return await self._looks() >= looks + 2

        visible = (document["version"], self._editor.broken)
        if visible == self._visible:
            # Nothing told that the edit was seen, as it must be before the next: by the second look, since the first may have
            # begun before it.
            await until("the folder was looked at", is_seen)
        self._visible = visible

    async def _looks(self) -> int:
        """How often the folder has been listed."""
        looks: int = (await self._admin.json("/debug/sources"))["files"]["looks"]
        return looks

    async def _until_documents_agree(self) -> dict[str, Any]:
        """The snapshot, once it is what the folder translates to; but for the status of the object that is wrong."""
        expected = await asyncio.to_thread(self._editor.expected)
        broken = self._editor.broken
        wrong = broken.key if broken is not None else ""

        def essence(document: dict[str, Any]) -> dict[str, Any]:
            statuses = {key: status for key, status in document["statuses"].items() if key != wrong}
            return {"gateways": document["gateways"], "statuses": statuses}

        errors, found = 0.0, expected

        async def agree() -> dict[str, Any] | None:
            nonlocal errors, found
            errors = await self._admin.metric("controlplane_source_errors", source="files")
            found = await self._admin.snapshot()
            return found if errors == (broken is not None) and essence(found) == essence(expected) else None

        def difference() -> str:
            names = [name for name, _, _ in compare(essence(expected), essence(found))]
            return f"errors: {errors:g}, different: {names}"

        document = await until("the snapshot is the folder's translation", agree, FOLLOW_S, difference)
        if wrong:
            (said,) = {c["status"] for c in conditions_of(document["statuses"][wrong]) if c["type"] == INPUT_VALID}
            assert said == "False"
        else:
            assert document["version"] == expected["version"]
        return document


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
        waiting = iter([(probe, expected) for probe in probes if (expected := expect(world, probe)) is not None])
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

    state.take(read_log(log_dir, EventCodec(), schema_version=SCHEMA_VERSION), look)
    assert replayed == versions
    # The way that `controlplane replay --until` goes, for some.
    for seq in sorted(versions)[:: len(versions) // 3]:
        assert snapshot(read_state(log_dir, seq))["version"] == versions[seq]
