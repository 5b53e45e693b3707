"""A start on a log: its last complete state is served at once, told as stale, and gives way to what the sources say."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from controlplane.log import SegmentedLog
from controlplane.model.base import ObjectMeta
from controlplane.model.codec import EventCodec
from controlplane.model.events import (
    SCHEMA_VERSION,
    AnyEvent,
    ControlPlaneStarted,
    ObjectApplied,
    ObjectDeleted,
    Settings,
    SourceSynced,
)
from controlplane.model.kubernetes import Namespace
from controlplane.model.objects import KINDS
from controlplane.model.references import ObjectReference
from controlplane.runtime.core import Core, State, replay
from controlplane.runtime.document import snapshot
from controlplane.runtime.errors import OptionError
from controlplane.runtime.freshness import servable_since
from controlplane.runtime.offline import log_records
from controlplane.runtime.options import RunOptions
from controlplane.runtime.publish import Publisher
from controlplane.runtime.readiness import Readiness
from controlplane.runtime.serve import ControlPlane, running
from controlplane.xds import Views
from tests.reducers.manifests import working_set

from .test_control_plane import HeldSource, options, pages_of, synced, until

ALL = tuple(KINDS)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "manifests"
    made.mkdir()
    (made / "all.yaml").write_text(yaml.safe_dump_all(working_set()))
    return made


def move(folder: Path, elsewhere: Path) -> None:
    folder.rename(elsewhere)


class Life:
    """A log on a disk and the states that processes fold from it, one after the other."""

    def __init__(self, path: Path, *, segment_bytes: int = 1 << 20) -> None:
        self.path = path
        self._segment_bytes = segment_bytes
        self._minute = 0
        self.begin()

    def begin(self) -> None:
        """A process starts."""
        self.state = State()
        self.log: SegmentedLog[AnyEvent] = SegmentedLog.open(
            self.path,
            EventCodec(),
            checkpoint=self.state.checkpoint,
            segment_bytes=self._segment_bytes,
            schema_version=SCHEMA_VERSION,
        )
        self.state.take_from(lambda start: self.log.read(from_segment=start))

    def again(self) -> None:
        """It dies, and another starts."""
        self.log.close()
        self.begin()

    def append(self, *events: AnyEvent, source: str = "files") -> str:
        """A transaction a minute; its time."""
        self._minute += 1
        time = f"2026-01-02T03:{self._minute:02d}:00.000000Z"
        self.state.apply(self.log.append(events, source=source, time=time))
        return time

    def start(self, *, serve: bool = True, **sources: Sequence[str]) -> str:
        """``ControlPlaneStarted`` as the runtime makes it; what it says of how stale it is."""
        kinds = {name: tuple(of_one) for name, of_one in (sources or {"files": ALL}).items()}
        since = servable_since(self.state, {kind for of_one in kinds.values() for kind in of_one}) if serve else ""
        self.append(ControlPlaneStarted("t", Settings(), kinds, since), source="controlplane")
        return since


def applied(name: str) -> ObjectApplied:
    return ObjectApplied(Namespace(metadata=ObjectMeta(name=name)))


@pytest.fixture(params=[1 << 20, 1], ids=["one segment", "a segment for each transaction"])
def life(tmp_path: Path, request: pytest.FixtureRequest) -> Life:
    return Life(tmp_path / "log", segment_bytes=request.param)


class TestWhatIsComplete:
    def test_a_log_that_ends_in_the_middle_of_its_first_load_is_not(self, life: Life) -> None:
        assert life.start() == ""
        life.append(applied("a"), SourceSynced(ALL[1:]))
        life.again()
        assert not life.state.was_complete
        assert life.start() == ""
        assert not life.state.may_be_served

    def test_the_time_is_that_of_the_last_transaction(self, life: Life) -> None:
        life.start()
        life.append(applied("a"), SourceSynced(ALL))
        last = life.append(applied("b"))
        life.again()
        assert life.start() == last
        assert life.state.may_be_served

    def test_what_was_served_stale_and_never_read_again_does_not_become_younger(self, life: Life) -> None:
        life.start()
        last = life.append(applied("a"), SourceSynced(ALL))
        for n in range(3):
            life.again()
            assert life.start() == last
            life.append(applied(f"more-{n}"), SourceSynced(ALL[1:]))
        life.again()
        life.start(serve=False)
        life.append(applied("unserved"))
        assert not life.state.may_be_served
        life.again()
        assert life.start() == last
        fresh = life.append(SourceSynced(ALL))
        assert life.state.stale_since == ""
        life.again()
        assert life.start() == fresh

    def test_settings_are_known_and_not_awaited(self, life: Life) -> None:
        life.start()
        last = life.append(SourceSynced(ALL))
        life.again()
        assert servable_since(life.state, ALL) == last
        life.append(ControlPlaneStarted("t2", Settings(connect_timeout_ms=1), {"files": ALL}, last))
        assert life.state.may_be_served

    def test_a_source_that_is_configured_no_more_is_served_until_the_others_are_read(self, life: Life) -> None:
        """Whatever happens on the way: to serve less than before is for when it is known what takes its place."""
        life.start(files=ALL, other=["Namespace"])
        life.append(applied("a"), SourceSynced(("Namespace",)), source="other")
        last = life.append(applied("b"), SourceSynced(ALL))
        for _ in range(2):
            life.again()
            assert life.start() == last
            assert len(life.state.rows.base.namespaces) == 2
        life.append(SourceSynced(ALL))
        assert [row.key for row in life.state.rows.base.namespaces.rows()] == ["b"]

    def test_a_source_that_takes_the_place_of_another(self, life: Life) -> None:
        life.start(old=ALL)
        last = life.append(applied("a"), applied("b"), SourceSynced(ALL), source="old")
        life.again()
        assert life.start(new=ALL) == last
        seen = []
        for kind in ALL:
            objects = [applied("b"), applied("c")] if kind == "Namespace" else []
            life.append(*objects, SourceSynced((kind,)), source="new")
            seen.append([row.key for row in life.state.rows.base.namespaces.rows()])
        assert all({"a", "b"} <= {*names} for names in seen[:-1])
        assert seen[-1] == ["b", "c"]

    def test_a_kind_that_nobody_had_read_makes_it_half_a_configuration(self, life: Life) -> None:
        """As of a version that did not know it, or of sources that did not promise it."""
        known = tuple(kind for kind in ALL if kind != "EndpointSlice")
        life.start(files=known)
        last = life.append(applied("a"), SourceSynced(known))
        life.again()
        assert life.start() == ""
        life.append(SourceSynced(ALL[1:]))
        life.again()
        assert life.start(files=known) == last, "who does not ask for it is served as before"
        life.again()
        assert life.start() == ""
        life.append(SourceSynced(ALL))
        life.again()
        assert life.start() != ""

    def test_a_kind_of_another_source_than_before_was_read_all_the_same(self, life: Life) -> None:
        life.start(files=ALL)
        last = life.append(SourceSynced(ALL))
        life.again()
        assert life.start(files=ALL, more=["Service"]) == last

    def test_a_checkpoint_alone_says_it_all(self, life: Life) -> None:
        life.start()
        last = life.append(applied("a"), SourceSynced(ALL))
        for start in (False, True):
            if start:
                life.start()
            bare = State()
            bare.restore(life.state.checkpoint())
            assert (bare.complete, bare.time) == (life.state.complete, life.state.time)
            assert servable_since(bare, ALL) == last
        document = json.loads(life.state.checkpoint())
        del document["history"]
        older = State()
        older.restore(json.dumps(document).encode())
        assert servable_since(older, ALL) == "", "an older version's, of which nobody knows when that was"


@pytest.fixture
def held() -> dict[str, Any]:
    """Another source, which promises Services and syncs when it is told to."""
    sources: dict[str, tuple[Sequence[str], Callable[[Core], HeldSource]]] = {"held": (("Service",), HeldSource)}
    return sources


async def first_life(folder: Path, held: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """What was served and said at its end, and when that was."""
    async with running(options(folder), held) as plane:
        await until(plane, lambda: plane.core.state.rows.base.gateways.synced)
        await of_held(plane).say(SourceSynced(("Service",)))
        await synced(plane)
        return snapshot(plane.core.state), plane.core.state.time


def of_held(plane: ControlPlane) -> HeldSource:
    found = plane.sources[-1]
    assert isinstance(found, HeldSource)
    return found


def fresh_condition(plane: ControlPlane) -> list[dict[str, Any]]:
    status = snapshot(plane.core.state)["statuses"]["Gateway alpha/edge"]
    return [found for found in status["conditions"] if found["type"] == "controlplane.dev/Fresh"]


@pytest.mark.asyncio
async def test_it_is_served_at_once_and_told_until_all_sources_are_read(folder: Path, held: dict[str, Any]) -> None:
    before, since = await first_life(folder, held)
    async with running(options(folder), held) as plane, pages_of(plane) as pages:
        assert plane.views.is_open
        assert {scope: sum(counts.values()) for scope, counts in plane.views.statistics().items()} == {
            scope: sum(len(names) for names in types.values()) for scope, types in before["gateways"].items()
        }
        await until(plane, lambda: plane.core.state.rows.base.gateways.synced)
        status, text = await pages.get("/readyz?verbose")
        assert status == 200
        assert "[!] sources/held/Service degraded" in text
        assert f"served as the log has it of {since}, until these sources have been read: held" in text
        assert "[+] sources/files/Gateway ok" in text
        assert text.endswith("\nready\n")
        (condition,) = fresh_condition(plane)
        assert (condition["status"], condition["reason"]) == ("False", "ServedFromLog")
        assert f"served as the log has it of {since}" in condition["message"]
        metrics = (await pages.get("/metrics"))[1]
        age = float(metrics.partition("\ncontrolplane_served_from_log_seconds ")[2].split()[0])
        assert 0 < age < 3600
        assert 'controlplane_source_synced{kind="Service",source="held"} 0.0' in metrics.replace(
            'source="held",kind="Service"', 'kind="Service",source="held"'
        )
        assert (await pages.json("/debug/log"))["stale_since"] == since
        assert plane.core.state.rows.base.gateways.synced
        now = snapshot(plane.core.state)
        assert now["gateways"] == before["gateways"]

        await of_held(plane).say(SourceSynced(("Service",)))
        assert fresh_condition(plane) == []
        assert "\ncontrolplane_served_from_log_seconds 0.0" in (await pages.get("/metrics"))[1]
        assert "degraded" not in (await pages.get("/readyz?verbose"))[1]
        assert snapshot(plane.core.state)["version"] == before["version"]
    names = [type(record.event).__name__ for record in log_records(folder.parent / "log", before["seq"] + 1)]
    assert names == ["ControlPlaneStarted", "SourceSynced", "SourceSynced"]
    assert datetime.fromisoformat(since).tzinfo is not None


@pytest.mark.asyncio
async def test_a_replay_shows_how_stale_it_was(folder: Path, held: dict[str, Any]) -> None:
    """Nothing of it is read from a clock."""
    _, since = await first_life(folder, held)
    async with running(options(folder), held) as plane:
        live = snapshot(plane.core.state)
    again = replay(folder.parent / "log", live["seq"])
    assert again.stale_since == since
    assert snapshot(again) == live
    async with running(
        RunOptions(replay=folder.parent / "log", xds=plane.options.xds, admin=plane.options.admin)
    ) as recorded:
        assert recorded.views.is_open


@pytest.mark.asyncio
async def test_without_it_the_gate_stays_shut(folder: Path, held: dict[str, Any]) -> None:
    """With a log that says so, and without a log."""
    await first_life(folder, held)
    for more in ({"serve_from_log": False}, {"log_dir": None}):
        async with running(options(folder, **more), held) as plane, pages_of(plane) as pages:
            await until(plane, lambda: plane.core.state.rows.base.gateways.synced)
            assert not plane.views.is_open
            assert (await pages.get("/readyz"))[0] == 503
            await of_held(plane).say(SourceSynced(("Service",)))
            assert plane.views.is_open


@pytest.mark.asyncio
async def test_nobody_sees_less_while_one_kind_after_the_other_is_read(folder: Path, held: dict[str, Any]) -> None:
    """What is gone goes when its source says so; what another source has yet to say stays."""
    before, _ = await first_life(folder, held)
    documents = [document for document in working_set() if document["metadata"]["name"] != "r1"]
    (folder / "all.yaml").write_text(yaml.safe_dump_all(documents))
    async with running(options(folder), held) as plane:
        seen = []
        plane.core.subscribe(lambda commit: seen.append(snapshot(plane.core.state)["gateways"]))
        await until(plane, lambda: plane.core.state.rows.base.http_routes.get("alpha/r1") is None)
        gone = {
            (scope, kind, name)
            for scope, types in before["gateways"].items()
            for kind, names in types.items()
            for name in names
            if name not in seen[-1][scope].get(kind, {})
        }
        assert {kind.rpartition(".")[2] for _, kind, _ in gone} <= {"VirtualHost", "Cluster", "ClusterLoadAssignment"}
        await of_held(plane).say(SourceSynced(("Service",)))
        assert seen[-1] == seen[-2]


@pytest.mark.asyncio
async def test_a_folder_that_is_gone_is_waited_for(folder: Path) -> None:
    """Objects that nobody could look for are not gone."""
    async with running(options(folder)) as plane:
        await synced(plane)
        before = snapshot(plane.core.state)
    away = folder.with_name("away")
    move(folder, away)
    with pytest.raises(OptionError, match="no such folder"):
        options(folder, serve_from_log=False).check()
    with pytest.raises(OptionError, match="no such folder"):
        options(folder, log_dir=None).check()
    async with running(options(folder)) as plane, pages_of(plane) as pages:
        assert plane.views.is_open
        await until(plane, lambda: len(plane.core.state.rows.base.source_parts) > 0)
        assert snapshot(plane.core.state)["gateways"] == before["gateways"]
        status, text = await pages.get("/readyz?verbose")
        assert status == 200
        assert "[!] sources/files/connection degraded" in text
        move(away, folder)
        await synced(plane)
        assert snapshot(plane.core.state)["version"] == before["version"]
    types = [type(record.event) for record in log_records(folder.parent / "log", before["seq"] + 1)]
    assert ObjectApplied not in types
    assert ObjectDeleted not in types


@pytest.mark.asyncio
async def test_host_envoys_are_wanted_from_the_log(folder: Path, held: dict[str, Any]) -> None:
    """Those of the state that is served, before anything has been read; none of them is stopped for want of a source."""
    await first_life(folder, held)

    class Wanted:
        def __init__(self) -> None:
            self.gateways: list[set[str]] = []

        def want_listeners(self, listeners: object) -> None:
            pass

        def want(self, gateways: Any) -> None:
            self.gateways.append(set(gateways))

    async with running(options(folder, serve_from_log=False), held) as plane:
        state = plane.core.state
        owned = {row.key for row in state.rows.gateways.owned.rows()}
    life = Life(folder.parent / "log")
    wanted = Wanted()
    core = Core(life.log, life.state)
    publisher = Publisher(life.state, Readiness(core), Views(), wanted, recorded=False)  # type: ignore[arg-type]
    publisher.publish_all()
    core.subscribe(publisher.publish)
    kinds = {"files": ALL}
    await core.append("controlplane", [ControlPlaneStarted("t", Settings(), kinds, servable_since(life.state, ALL))])
    assert wanted.gateways == [owned]
    await core.append("files", [SourceSynced(ALL)])
    assert wanted.gateways == [owned]
    reference = ObjectReference("Gateway", "alpha", "edge")
    await core.append("files", [ObjectDeleted(reference)])
    assert wanted.gateways == [owned, owned - {"alpha/edge"}]
    life.log.close()
