"""Old segments go, and with them the private keys that nothing names any more; a key that is about to be named stays."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from controlplane.log import LogError, SecretStore, SegmentedLog, digests_in
from controlplane.model.base import ObjectMeta
from controlplane.model.codec import EventCodec
from controlplane.model.events import (
    SCHEMA_VERSION,
    AnyEvent,
    ControlPlaneStarted,
    ObjectApplied,
    Settings,
    SourceSynced,
)
from controlplane.model.kubernetes import Namespace, Secret
from controlplane.model.objects import KINDS
from controlplane.runtime.core import Core, State, replay
from controlplane.runtime.errors import ControlPlaneError
from controlplane.runtime.offline import log_records
from controlplane.runtime.private_keys import PrivateKeys
from controlplane.runtime.readiness import Standing
from controlplane.runtime.upkeep import Upkeep

pytestmark = pytest.mark.asyncio
ALL = tuple(KINDS)


class Plane:
    """A log with a segment for each transaction, the state before it, a store of keys, and what keeps them small."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.state = State()
        self.log: SegmentedLog[AnyEvent] = SegmentedLog.open(
            path, EventCodec(), checkpoint=self.state.checkpoint, segment_bytes=1, schema_version=SCHEMA_VERSION
        )
        self.core = Core(self.log, self.state)
        self.store = SecretStore(path)
        self.keys = PrivateKeys(self.store)
        self.keep = self.keys.keeper("files")
        self.append = self.keys.appender("files", self.core.appender("files"))
        self.now = 0.0
        self.limits(max_bytes=0)

    def limits(self, *, max_bytes: int | None = None, max_age: float | None = None) -> None:
        self.upkeep = Upkeep(
            self.core, self.log, self.keys, max_bytes=max_bytes, max_age=max_age, clock=lambda: self.now
        )

    async def start(self, *, complete: bool = True) -> None:
        await self.core.append("controlplane", [ControlPlaneStarted("t", Settings(), {"files": ALL})])
        if complete:
            await self.append([SourceSynced(ALL)])

    async def note(self, name: str, text: str = "") -> None:
        """An event that is longer than a checkpoint, so that the next one begins a segment."""
        labels = {f"pad-{n}": "-" * 250 for n in range(8)}
        if text:
            labels["text"] = text
        await self.append([ObjectApplied(Namespace(metadata=ObjectMeta(name=name, labels=labels)))])

    async def put_secret(self, name: str, key: bytes) -> str:
        digest = self.keep(key)
        secret = Secret(metadata=ObjectMeta(name=name, namespace="demo"), key_digest=f"sha256:{digest}")
        await self.append([ObjectApplied(secret)])
        return digest

    @property
    def stored(self) -> set[str]:
        return {path.name for path in self.store.path.iterdir()}


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[Plane]:
    made = Plane(tmp_path / "log")
    yield made
    made.log.close()


async def test_what_is_left_gives_the_same_state(plane: Plane) -> None:
    await plane.start()
    for n in range(6):
        await plane.note("always-the-same", f"{n}")
    assert len(plane.log.segments) > 3
    await plane.upkeep.look()
    (left,) = plane.log.segments
    assert plane.log.statistics().dropped_segments > 2
    assert replay(plane.path).checkpoint() == plane.state.checkpoint()
    with pytest.raises(LogError, match=f"seq 1 has been dropped; .* is that at seq {left.first_seq - 1}"):
        replay(plane.path, 1)
    assert next(log_records(plane.path)).seq == left.first_seq
    for asked in ({"start": 2}, {"until": 3}):
        with pytest.raises(ControlPlaneError, match=f"events before seq {left.first_seq} have been dropped"):
            list(log_records(plane.path, **asked))
    document = plane.upkeep.document()
    assert [segment["file"] for segment in document["segments"]] == [left.path.name]
    assert document["retention"] == {"max_bytes": 0, "max_age_seconds": None, "failure": ""}


async def test_the_last_complete_state_can_be_replayed_however_long_ago_it_was(plane: Plane) -> None:
    """Starts that never read everything again must not push it out of the log."""
    await plane.start()
    await plane.note("a")
    complete = plane.state.seq
    for n in range(5):
        await plane.start(complete=False)
        await plane.note(f"later-{n}")
    await plane.upkeep.look()
    assert plane.log.segments[0].first_seq <= complete + 1
    assert replay(plane.path, complete).seq == complete
    await plane.append([SourceSynced(ALL)])
    await plane.note("b")
    await plane.note("c")
    await plane.upkeep.look()
    assert plane.log.segments[0].first_seq > complete + 1


async def test_by_age_and_not_at_all(plane: Plane) -> None:
    await plane.start()
    for n in range(4):
        await plane.note(f"{n}")
    segments = len(plane.log.segments)
    plane.now = 4_000_000_000.0
    plane.limits()
    await plane.upkeep.look()
    assert len(plane.log.segments) == segments
    plane.limits(max_age=7 * 86_400.0)
    await plane.upkeep.look()
    assert len(plane.log.segments) == 1


async def test_keys_go_with_the_last_segment_that_names_them(plane: Plane) -> None:
    await plane.start()
    first = await plane.put_secret("cert", b"first")
    second = await plane.put_secret("cert", b"second")
    await plane.note("a")
    plane.limits()
    await plane.upkeep.look()
    assert plane.stored == {first, second}, "a replay of that moment serves the first"
    plane.limits(max_bytes=0)
    await plane.note("b")
    await plane.upkeep.look()
    assert digests_in(plane.log.segments[0].path)[0] == {second}
    assert plane.stored == {second}
    assert plane.upkeep.document()["private_keys_dropped"] == 1


async def test_a_key_that_is_about_to_be_named_stays(plane: Plane) -> None:
    """Between its storing and the event that names it, or as long as that event cannot be appended."""
    await plane.start()
    await plane.note("a")
    digest = plane.keep(b"key")
    forgotten = plane.keys.keeper("other")(b"of a source that appends something else")
    await plane.upkeep.look()
    assert plane.stored == {digest, forgotten}
    await plane.put_secret("cert", b"key")
    await plane.keys.appender("other", plane.core.appender("other"))([SourceSynced(("Service",))])
    for n in range(3):
        await plane.note(f"{n}")
    await plane.upkeep.look()
    assert plane.stored == {digest}


async def test_what_cannot_be_dropped_is_told_and_tried_again(plane: Plane, monkeypatch: pytest.MonkeyPatch) -> None:
    await plane.start()
    for n in range(4):
        await plane.note(f"{n}")

    def refuse(_: Path) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as broken:
        broken.setattr(plane.log._files, "remove", refuse)
        await plane.upkeep.look()
        (check,) = plane.upkeep.checks()
        assert (check.name, check.standing) == ("log-retention", Standing.DEGRADED)
        assert "the segment cannot be dropped: Permission denied (EACCES); let this user write here" in check.reason
    await plane.upkeep.look()
    assert list(plane.upkeep.checks()) == []
    assert len(plane.log.segments) == 1


async def test_a_store_that_takes_nothing_is_told_until_it_does(plane: Plane, monkeypatch: pytest.MonkeyPatch) -> None:
    await plane.start()

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(plane.store._files, "create", refuse)
        with pytest.raises(LogError, match="the secret could not be stored"):
            plane.keep(b"key")
        await plane.upkeep.look()
        (check,) = plane.upkeep.checks()
        assert (check.name, check.standing) == ("secrets", Standing.FAILED)
        assert "No space left on device (ENOSPC); make room on this file system" in check.reason
    await plane.upkeep.look()
    assert list(plane.upkeep.checks()) == []
    assert plane.stored == set()


async def test_digests_are_found_wherever_they_stand(tmp_path: Path) -> None:
    """Across the pieces that a file is read in, and in what was added to it since."""
    file = tmp_path / "file"
    digests = [f"{n:064x}" for n in range(4)]
    pieces = [b"-" * (1 << 18), b"-" * 30, b'"', b""]
    content = b"".join(pad + f"sha256:{digest}".encode() for pad, digest in zip(pieces, digests, strict=True))
    for cut in (10, 40, (1 << 18) + 20, len(content) - 3):
        file.write_bytes(content[:cut])
        before, end = digests_in(file)
        file.write_bytes(content)
        after, _ = digests_in(file, start=end)
        assert before | after == {*digests}
    assert digests_in(file)[0] == {*digests}
