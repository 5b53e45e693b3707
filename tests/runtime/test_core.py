"""The one writer: what is in the log is folded, whatever happens to who asked for it; a state goes on where it was left."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest
from anyio.lowlevel import checkpoint

from controlplane.krt import Commit
from controlplane.log import MemoryLog, SegmentedLog
from controlplane.model.base import ObjectMeta
from controlplane.model.codec import EventCodec
from controlplane.model.events import AnyEvent, ControlPlaneStarted, ObjectApplied, Settings, SourceSynced
from controlplane.model.kubernetes import Namespace
from controlplane.model.objects import KINDS
from controlplane.runtime.core import Core, State, replay
from controlplane.runtime.document import snapshot


def namespaces(count: int) -> list[AnyEvent]:
    return [ObjectApplied(Namespace(metadata=ObjectMeta(name=f"n{i}"))) for i in range(count)]


def started() -> ControlPlaneStarted:
    return ControlPlaneStarted(version="t", settings=Settings(), sources={"files": tuple(KINDS)})


@pytest.mark.asyncio
async def test_a_cancelled_append_is_folded_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the write and the fold nobody may stop: the log would say what the state does not."""
    core = Core(MemoryLog(EventCodec()), State())
    await core.append("controlplane", [started()])
    steps = 0

    def in_many_steps(self: object, budget: float, clock: object) -> Iterator[None]:
        nonlocal steps
        for _ in range(5):
            steps += 1
            yield
        self.commit()  # type: ignore[attr-defined]

    monkeypatch.setattr("controlplane.krt.Transaction.steps", in_many_steps)
    async with anyio.create_task_group() as group:
        group.start_soon(core.append, "files", namespaces(3))
        while not steps:
            await checkpoint()
        group.cancel_scope.cancel()
    assert len(core.state.rows.base.namespaces) == 3
    assert core.state.seq == core.log.last_seq


@pytest.mark.asyncio
async def test_commits_come_in_order_each_once() -> None:
    """However many append at once."""
    core = Core(MemoryLog(EventCodec()), State())
    seen: list[int] = []
    core.subscribe(lambda commit: seen.append(commit.seq))
    await core.append("controlplane", [started()])
    async with anyio.create_task_group() as group:
        for event in namespaces(50):
            group.start_soon(core.append, "files", [event])
    assert seen == list(range(1, 52))


def test_a_replay_from_the_newest_segment_equals_one_from_the_oldest(tmp_path: Path) -> None:
    """Checkpoints carry all that a state needs to go on, its seq included."""
    state = State()
    commits: list[Commit] = []
    with SegmentedLog.open(tmp_path, EventCodec(), checkpoint=state.checkpoint, segment_bytes=2_000) as log:
        state.apply(log.append([started(), SourceSynced(tuple(KINDS))], source="files"))
        for event in namespaces(60):
            state.apply(log.append([event], source="files"))
        assert len(log.segments) > 2
    newest = replay(tmp_path)
    oldest = replay(tmp_path, listen=commits.append)
    assert newest.seq == oldest.seq == state.seq
    assert newest.checkpoint() == oldest.checkpoint() == state.checkpoint()
    assert snapshot(newest) == snapshot(state)
    assert newest.was_complete
    assert len(commits) == 61
    # A state restored from a checkpoint alone, with nothing after it, is at the checkpoint's seq.
    bare = State()
    bare.restore(state.checkpoint())
    assert bare.seq == state.seq
