"""What proxies reject, from the server's facts to the log and back: once, with what it came from, and until it is over."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from controlplane.log import MemoryLog, SegmentedLog, Transaction
from controlplane.model.codec import EventCodec
from controlplane.model.events import (
    AnyEvent,
    ControlPlaneStarted,
    DeliveryWithheld,
    ObjectApplied,
    ProxyAcknowledged,
    ProxyConnected,
    RejectionEnded,
    ResourceRejected,
    Settings,
    SourceSynced,
)
from controlplane.model.objects import KINDS
from controlplane.runtime.core import Core, State
from controlplane.runtime.document import snapshot
from controlplane.runtime.explain import explain
from controlplane.runtime.held import held_by
from controlplane.runtime.metrics import make_registry
from controlplane.runtime.narration import narrate
from controlplane.runtime.proxies import ProxyJournal, follow_rejections
from controlplane.runtime.readiness import Readiness
from controlplane.translate import TypeUrl
from controlplane.xds import events as xds
from tests.reducers.rejecting import GATEWAY, VIRTUAL_HOST, WORDS, World, cluster, decoded, route

HOST_URL, CLUSTER_URL, LISTENER_URL = map(str, (TypeUrl.VIRTUAL_HOST, TypeUrl.CLUSTER, TypeUrl.LISTENER))


class Plane:
    """A core over a small world, and the journal of its proxies."""

    def __init__(self) -> None:
        world = World(route("r1", "/a"), route("r2", "/b", to="two"))
        self.log: MemoryLog[AnyEvent] = world.log
        self.core = Core(world.log, world.state)
        self.journal = ProxyJournal(self.core)
        follow_rejections(self.core, self.journal)
        self.world = world

    async def apply(self, *objects: dict[str, Any]) -> None:
        await self.core.append("files", [ObjectApplied(obj) for obj in decoded(*objects)])

    def rejected(self, type_url: str, name: str, proxy: str = "p#1", **fields: Any) -> xds.ResourceRejected:
        """The fact that a proxy rejects what is served now."""
        row = self.core.state.translation.resources.get((GATEWAY, type_url, name))
        assert row is not None
        given = {
            "version": row.version,
            "message": WORDS,
            "fallback_version": "before",
            "fallback": b"",
            "fallback_clusters": (),
            "routes": (),
        }
        return xds.ResourceRejected(proxy=proxy, scope=GATEWAY, type_url=type_url, name=name, **(given | fields))

    def guilty(self, name: str, fallback: bytes = b"") -> xds.RejectedRoute:
        return xds.RejectedRoute(name, self.world.routes()[name], fallback)

    def events(self, *types: type[AnyEvent]) -> list[AnyEvent]:
        items = [item for item in self.log.read() if isinstance(item, Transaction)]
        return [event for item in items for event in item.events if isinstance(event, types)]


@pytest.fixture
def plane() -> Plane:
    return Plane()


@pytest.mark.asyncio
async def test_five_hundred_proxies_that_reject_the_same_are_one_event(plane: Plane) -> None:
    for number in range(250):
        plane.journal.put(plane.rejected(HOST_URL, VIRTUAL_HOST, f"p#{number}"))
    facts = [plane.rejected(HOST_URL, VIRTUAL_HOST, f"q#{number}") for number in range(250)]
    await plane.journal.flush()
    for fact in facts:
        plane.journal.put(fact)
    await plane.journal.flush()
    (event,) = plane.events(ResourceRejected)
    assert isinstance(event, ResourceRejected)
    assert event.proxy == "p#0"


@pytest.mark.asyncio
async def test_origins_are_what_the_resource_was_made_of(plane: Plane) -> None:
    plane.journal.put(plane.rejected(HOST_URL, VIRTUAL_HOST))
    plane.journal.put(plane.rejected(CLUSTER_URL, cluster("two")))
    await plane.journal.flush()
    host, of_cluster = plane.events(ResourceRejected)
    assert isinstance(host, ResourceRejected)
    assert isinstance(of_cluster, ResourceRejected)
    assert host.origins == ("Gateway demo/web", "HTTPRoute demo/r1", "HTTPRoute demo/r2")
    assert of_cluster.origins == ("Gateway demo/web", "HTTPRoute demo/r2"), "r1 leads elsewhere"
    assert "PartiallyInvalid" in plane.world.conditions("HTTPRoute demo/r2")


@pytest.mark.asyncio
async def test_of_routes_at_fault_only_theirs_are_the_origins(plane: Plane) -> None:
    fallback = plane.world.routes()["demo/r2/0/0"]
    plane.journal.put(plane.rejected(HOST_URL, VIRTUAL_HOST, routes=(plane.guilty("demo/r1/0/0", fallback),)))
    await plane.journal.flush()
    (event,) = plane.events(ResourceRejected)
    assert isinstance(event, ResourceRejected)
    assert event.origins == ("HTTPRoute demo/r1",)
    (part,) = event.parts
    assert part.fallback_clusters == (cluster("two"),)


@pytest.mark.asyncio
async def test_origins_are_bounded_and_found_in_a_large_world(plane: Plane) -> None:
    await plane.apply(*(route(f"many{n}", f"/{n}") for n in range(300)))
    plane.journal.put(plane.rejected(HOST_URL, VIRTUAL_HOST))
    await plane.journal.flush()
    (event,) = plane.events(ResourceRejected)
    assert isinstance(event, ResourceRejected)
    assert len(event.origins) == 64
    plane.journal.put(plane.rejected(CLUSTER_URL, cluster("two")))
    await plane.journal.flush()
    of_cluster = plane.events(ResourceRejected)[-1]
    assert isinstance(of_cluster, ResourceRejected)
    assert "HTTPRoute demo/r2" in of_cluster.origins, "though it stands last among three hundred"


@pytest.mark.asyncio
async def test_a_secret_leaves_no_fallback_and_a_bound_port_no_rejection(plane: Plane) -> None:
    (listener,) = plane.world.names(TypeUrl.LISTENER)
    plane.journal.put(plane.rejected(LISTENER_URL, listener, message=f"{listener}: cannot bind '0.0.0.0:80'"))
    secret = xds.ResourceRejected(
        proxy="p#1", scope=GATEWAY, type_url=str(TypeUrl.SECRET), name="demo/cert", version="v", message=WORDS,
        fallback_version="w", fallback=b"a private key", fallback_clusters=(), routes=(),
    )  # fmt: skip
    plane.journal.put(secret)
    await plane.journal.flush()
    (event,) = plane.events(ResourceRejected)
    assert isinstance(event, ResourceRejected)
    assert (event.type_url, event.fallback) == (str(TypeUrl.SECRET), b"")


@pytest.mark.asyncio
async def test_a_rejection_ends_when_something_else_is_offered_and_never_twice(plane: Plane) -> None:
    plane.journal.put(plane.rejected(HOST_URL, VIRTUAL_HOST))
    await plane.journal.flush()
    assert plane.events(RejectionEnded) == []
    await plane.apply(route("r1", "/c"))
    await plane.journal.flush()
    assert plane.events(RejectionEnded) == [RejectionEnded(GATEWAY, HOST_URL, VIRTUAL_HOST)]
    await plane.apply(route("r1", "/d"))
    await plane.journal.flush()
    assert len(plane.events(RejectionEnded)) == 1
    assert plane.core.state.rows.base.rejections.rows() == ()


@pytest.mark.asyncio
async def test_of_two_routes_at_fault_the_mended_one_is_over(plane: Plane) -> None:
    both = tuple(plane.guilty(name) for name in ("demo/r1/0/0", "demo/r2/0/0"))
    plane.journal.put(plane.rejected(HOST_URL, VIRTUAL_HOST, routes=both))
    await plane.journal.flush()
    assert {"demo/r1/0/0", "demo/r2/0/0"}.isdisjoint(plane.world.routes())
    await plane.apply(route("r1", "/mended"))
    await plane.journal.flush()
    (row,) = plane.core.state.rows.base.rejections.rows()
    assert [part.name for part in row.parts] == ["demo/r2/0/0"]
    assert row.origins == ("HTTPRoute demo/r2",)
    assert plane.world.routes().keys() == {"demo/r1/0/0"}
    assert plane.world.conditions("HTTPRoute demo/r1").keys() == {"Accepted", "ResolvedRefs"}
    assert plane.world.conditions("HTTPRoute demo/r2")["Accepted"][0] == "False"
    before = len(plane.events(RejectionEnded))
    await plane.journal.flush()
    assert len(plane.events(RejectionEnded)) == before == 1


@pytest.mark.asyncio
async def test_what_is_found_while_another_ends_is_not_ended_with_it(plane: Plane) -> None:
    plane.journal.put(plane.rejected(HOST_URL, VIRTUAL_HOST))
    await plane.journal.flush()
    await plane.apply(route("r1", "/bad"))
    plane.journal.put(plane.rejected(HOST_URL, VIRTUAL_HOST, fallback_version="older"))
    await plane.journal.flush()
    (row,) = plane.core.state.rows.base.rejections.rows()
    assert [form.fallback_version for form in row.forms] == ["older"]
    served = plane.world.served(TypeUrl.VIRTUAL_HOST, VIRTUAL_HOST)
    assert served.version == "older"


@pytest.mark.asyncio
async def test_what_ended_while_nobody_could_write_it_is_over_at_the_next_start(plane: Plane) -> None:
    plane.journal.put(plane.rejected(HOST_URL, VIRTUAL_HOST))
    await plane.journal.flush()
    await plane.apply(route("r1", "/c"))
    core = Core(plane.log, plane.world.replayed())
    journal = ProxyJournal(core)
    follow_rejections(core, journal)
    started = ControlPlaneStarted(version="t", settings=Settings(), sources={"files": tuple(KINDS)})
    await core.append("controlplane", [started])
    journal.end_all()
    await journal.flush()
    assert core.state.rows.base.rejections.rows() == ()


@pytest.mark.asyncio
async def test_a_withheld_delivery_names_its_routes(plane: Plane) -> None:
    await plane.core.append("xds", [ProxyConnected(proxy="p#1", node="n", gateway=GATEWAY)])
    key = {"proxy": "p#1", "scope": GATEWAY, "type_url": HOST_URL, "name": VIRTUAL_HOST}
    plane.journal.put(xds.DeliveryWithheld(**key, clusters=(cluster("one"),)))
    await plane.journal.flush()
    (event,) = plane.events(DeliveryWithheld)
    assert isinstance(event, DeliveryWithheld)
    assert event.origins == ("Gateway demo/web", "HTTPRoute demo/r1", "HTTPRoute demo/r2")
    assert plane.world.conditions("HTTPRoute demo/r1")["controlplane.dev/Delivered"][0] == "False"
    plane.journal.put(xds.DeliveryResumed(**key))
    await plane.journal.flush()
    assert "controlplane.dev/Delivered" not in plane.world.conditions("HTTPRoute demo/r1")


@pytest.mark.asyncio
async def test_people_are_told(plane: Plane) -> None:
    lines = []
    plane.core.subscribe(lambda commit: lines.extend(narrate(plane.core.state, commit)))
    plane.journal.put(plane.rejected(CLUSTER_URL, cluster("two"), fallback_version=""))
    await plane.journal.flush()
    assert [line.text for line in lines if line.about == "resource"] == [
        f"Cluster {cluster('two')} of {GATEWAY}: {WORDS}; it is not served"
    ]
    registry = make_registry(plane.core, Readiness(plane.core))
    labels = {"gateway": GATEWAY, "type": "Cluster"}
    assert registry.get_sample_value("controlplane_rejected_resources", labels) == 1
    found = explain(plane.core.state, GATEWAY, "Cluster", cluster("two"))
    assert found["resource"]["version"] == ""
    assert [said["message"] for said in found["rejection"]["versions"].values()] == [WORDS]
    assert "rejections" in {entry["collection"] for entry in _entries(found["derivation"])}
    yaml.safe_dump(snapshot(plane.core.state))


def _entries(tree: dict[str, Any]) -> list[dict[str, Any]]:
    found = [tree]
    for entry in found:
        found.extend(entry.get("inputs", ()))
    return found


def test_a_log_says_what_each_proxy_held(tmp_path: Path) -> None:
    log: SegmentedLog[AnyEvent] = SegmentedLog.open(tmp_path, EventCodec(), fsync="never")
    state = State()

    def append(*events: AnyEvent, source: str = "files") -> int:
        state.apply(log.append(events, source=source))
        return state.seq

    started = ControlPlaneStarted(version="t", settings=Settings(), sources={"files": tuple(KINDS)})
    objects = World(route("r1", "/a"), route("r2", "/b", to="two")).objects
    append(started, *map(ObjectApplied, objects), SourceSynced(tuple(KINDS)))
    seq = append(*(ProxyConnected(proxy=p, node="n", gateway=GATEWAY) for p in ("p", "slow", "new")), source="xds")
    key = (GATEWAY, HOST_URL, VIRTUAL_HOST)
    first = state.translation.resources.get(key)
    assert first is not None
    append(ProxyAcknowledged("p", seq, ("l",)), ProxyAcknowledged("slow", seq), source="xds")
    changed = append(*map(ObjectApplied, decoded(route("r1", "/c"))))
    second = state.translation.resources.get(key)
    assert second is not None
    waits = DeliveryWithheld("slow", GATEWAY, CLUSTER_URL, cluster("two"), (cluster("two"),))
    at = append(ProxyAcknowledged("p", changed, ("l",)), waits, source="xds")
    append(ResourceRejected(*key, second.version, "p", WORDS))
    log.close()

    found = held_by(tmp_path, at)
    assert found["seq"] == at
    assert found["proxies"]["p"]["resources"][HOST_URL] == {VIRTUAL_HOST: second.version}
    assert found["proxies"]["p"]["listeners"] == ["l"]
    assert found["proxies"]["slow"]["resources"][HOST_URL] == {VIRTUAL_HOST: first.version}
    assert cluster("two") not in found["proxies"]["slow"]["resources"][CLUSTER_URL]
    assert found["proxies"]["slow"]["withheld"] == {CLUSTER_URL: {cluster("two"): [cluster("two")]}}
    assert found["proxies"]["new"]["resources"] == {}
    after = held_by(tmp_path, at + 1)["proxies"]["p"]
    assert (after["rejected"], HOST_URL in after["resources"]) == ([f"VirtualHost {VIRTUAL_HOST}"], False)
