"""The fold: what each event does to the base collections, where no other test would notice."""

from __future__ import annotations

import pytest

from controlplane.log import MemoryLog
from controlplane.model.base import ObjectMeta
from controlplane.model.codec import EventCodec
from controlplane.model.events import (
    AnyEvent,
    ControlPlaneStarted,
    ObjectAccepted,
    ObjectApplied,
    ObjectDeleted,
    ObjectRejected,
    ProxyAcknowledged,
    ProxyConnected,
    ProxyDisconnected,
    ProxyRejected,
    Settings,
    SourceSynced,
)
from controlplane.model.gateway import Gateway, GatewayClass, GatewayClassSpec, GatewaySpec, Listener
from controlplane.model.kubernetes import Namespace
from controlplane.model.objects import KINDS
from controlplane.model.references import FieldProblem, ObjectReference
from controlplane.runtime.core import State

NAMESPACE = ObjectReference("Namespace", "", "a")


class World:
    """A state, and a log before it."""

    def __init__(self) -> None:
        self.log: MemoryLog[AnyEvent] = MemoryLog(EventCodec())
        self.state = State()

    def append(self, *events: AnyEvent, source: str = "files") -> None:
        self.state.apply(self.log.append(events, source=source))

    def start(self, *sources: str) -> None:
        kinds = {source: tuple(KINDS) for source in sources}
        self.append(ControlPlaneStarted(version="t", settings=Settings(), sources=kinds), source="controlplane")


@pytest.fixture
def world() -> World:
    made = World()
    made.start("files")
    made.append(ObjectApplied(Namespace(metadata=ObjectMeta(name="a"))), SourceSynced(tuple(KINDS)))
    return made


def test_accepting_ends_a_rejection_and_keeps_the_object(world: World) -> None:
    world.append(ObjectRejected(NAMESPACE, (FieldProblem("spec", "wrong", "mend it"),)))
    assert "Namespace a" in {row.key for row in world.state.rows.statuses.rows()}
    assert [row.count for row in world.state.rows.errors.rows()] == [1]
    world.append(ObjectAccepted(NAMESPACE))
    assert "Namespace a" not in {row.key for row in world.state.rows.statuses.rows()}
    assert world.state.rows.errors.rows() == ()
    assert world.state.rows.base.namespaces.get("a") is not None


def test_an_incarnation_without_a_source_drops_what_it_gave_once_everything_is_read(world: World) -> None:
    """Not before: what takes its place is still on the way, and who is served meanwhile must not be served less."""
    base = world.state.rows.base
    world.start("files", "other")
    world.start("other", "another")
    world.append(SourceSynced(tuple(KINDS)), source="other")
    world.append(SourceSynced(("Namespace",)), source="another")
    assert base.namespaces.get("a") is not None
    rest = tuple(kind for kind in KINDS if kind != "Namespace")
    world.append(ObjectApplied(Namespace(metadata=ObjectMeta(name="b"))), SourceSynced(rest), source="another")
    assert [row.key for row in base.namespaces.rows()] == ["b"]
    assert [row.key for row in base.reports.rows()] == ["Namespace b"]


def test_a_source_that_takes_an_object_over_keeps_it(world: World) -> None:
    world.start("other")
    world.append(ObjectApplied(Namespace(metadata=ObjectMeta(name="a"))), SourceSynced(tuple(KINDS)), source="other")
    assert [row.key for row in world.state.rows.base.namespaces.rows()] == ["a"]


def test_a_start_says_what_it_serves_until_everything_is_read(world: World) -> None:
    """And as soon as that is so, it is no longer so, in one transaction."""
    since = "2026-01-02T03:04:05.000006Z"
    kinds = tuple(KINDS)
    world.append(ControlPlaneStarted("t", Settings(), {"files": kinds}, since), source="controlplane")
    assert world.state.stale_since == since
    assert world.state.may_be_served
    assert not world.state.is_complete
    world.append(SourceSynced(kinds[1:]))
    assert world.state.stale_since == since
    world.append(SourceSynced(kinds))
    assert (world.state.stale_since, world.state.is_complete) == ("", True)
    world.start("files")
    assert not world.state.may_be_served


def test_a_kind_waits_for_every_source_that_promised_it(world: World) -> None:
    world.start("files", "other")
    world.append(SourceSynced(tuple(KINDS)))
    assert not world.state.translation.resources.synced
    world.append(SourceSynced(tuple(KINDS)), source="other")
    assert world.state.translation.resources.synced


def test_a_proxy_that_is_gone_leaves_nothing(world: World) -> None:
    base = world.state.rows.base
    world.append(ProxyConnected(proxy="p", node="n", gateway="demo/web"))
    for type_url, message in (("t2", "first"), ("t1", "other"), ("t2", "last")):
        world.append(ProxyRejected("p", "demo/web", type_url, ("x",), message))
    row = base.proxy_rejections.get("p")
    assert row is not None
    assert [(r.type_url, r.message) for r in row.rejections] == [("t1", "other"), ("t2", "last")]
    world.append(ProxyDisconnected("p"), ProxyAcknowledged("p", 3))
    assert (base.proxies.rows(), base.proxy_rejections.rows()) == ((), ())


def test_an_object_applied_again_as_it_is_runs_nothing_but_its_report(world: World) -> None:
    """A resync of a source, or a save that changes nothing, costs no status and no translation."""
    commit = world.log.append(
        [ObjectApplied(Namespace(metadata=ObjectMeta(name="a")), resource_version="9", origin="b.yaml:1")],
        source="files",
    )
    runs = world.state.apply(commit).runs
    assert set(runs) <= {"reports", "namespaces", "plain_statuses", "errors"}


def gateway(name: str, created: str | None) -> ObjectApplied:
    listener = Listener(name="http", port=8080, protocol="HTTP")
    spec = GatewaySpec(gateway_class_name="ours", listeners=(listener,))
    return ObjectApplied(
        Gateway(metadata=ObjectMeta(name=name, namespace="demo", creation_timestamp=created), spec=spec)
    )


@pytest.mark.parametrize(
    ("first", "second", "owner"),
    [
        ("2024-01-01T00:00:00Z", "2025-01-01T00:00:00Z", "demo/a"),
        ("2025-01-01T00:00:00Z", "2024-01-01T00:00:00Z", "demo/b"),
        (None, "2025-01-01T00:00:00Z", "demo/b"),
        (None, None, "demo/a"),
    ],
)
def test_on_one_machine_a_port_is_the_oldest_gateways(first: str | None, second: str | None, owner: str) -> None:
    """Then the first by name; the other says so, and has it as soon as it is free."""
    world = World()
    settings = Settings(infra="host", listen_address="127.0.0.1")
    world.append(ControlPlaneStarted(version="t", settings=settings, sources={"files": tuple(KINDS)}))
    spec = GatewayClassSpec(controller_name=settings.controller_name)
    world.append(ObjectApplied(GatewayClass(metadata=ObjectMeta(name="ours"), spec=spec)))
    world.append(gateway("a", first), gateway("b", second), SourceSynced(tuple(KINDS)))
    other = "demo/b" if owner == "demo/a" else "demo/a"
    assert {row.key[0] for row in world.state.translation.resources.rows()} == {owner}
    status = world.state.rows.statuses.get(f"Gateway {other}")
    assert status is not None
    assert f"is taken by Gateway {owner}" in status.document.decode()
    world.append(ObjectDeleted(ObjectReference("Gateway", *owner.split("/"))))
    assert {row.key[0] for row in world.state.translation.resources.rows()} == {other}
