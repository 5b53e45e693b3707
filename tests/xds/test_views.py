"""The tables, what a commit tells the streams, and the gate."""

from __future__ import annotations

import asyncio
import gc

import msgspec
import pytest

from controlplane.xds import Views
from controlplane.xds.differences import Before
from controlplane.xds.types import CLUSTER, SECRET, VIRTUAL_HOST


class Row(msgspec.Struct, frozen=True):
    name: str
    version: str
    body: bytes = b"?"
    clusters: tuple[str, ...] = ()
    route_configurations: tuple[str, ...] = ()


class Listener:
    """Keeps what it was told: by type and name the version before."""

    def __init__(self, views: Views, scope: str = "ns/gw") -> None:
        self.told: list[dict[str, dict[str, str | None]]] = []
        views.view(scope).listen(self)

    def __call__(self, before: Before) -> None:
        self.told.append(
            {url: {name: entry and entry.version for name, entry in names.items()} for url, names in before.items()}
        )


@pytest.fixture
def views() -> Views:
    return Views()


def test_a_commit_tells_what_stood_there_before(views):
    listener = Listener(views)
    views.apply([("ns/gw", CLUSTER, "a", Row("a", "1")), ("ns/gw", CLUSTER, "b", Row("b", "1"))], seq=1)
    views.apply([("ns/gw", CLUSTER, "a", Row("a", "2")), ("ns/gw", CLUSTER, "b", None)], seq=2)
    assert listener.told == [{CLUSTER: {"a": None, "b": None}}, {CLUSTER: {"a": "1", "b": "1"}}]
    assert views.seq == 2


def test_of_a_name_that_changes_twice_the_first_state_is_told(views):
    views.apply([("ns/gw", CLUSTER, "a", Row("a", "1"))])
    listener = Listener(views)
    views.apply([("ns/gw", CLUSTER, "a", Row("a", "2")), ("ns/gw", CLUSTER, "a", Row("a", "3"))])
    assert listener.told == [{CLUSTER: {"a": "1"}}]


def test_an_unchanged_version_is_no_change(views):
    views.apply([("ns/gw", CLUSTER, "a", Row("a", "1"))])
    listener = Listener(views)
    views.apply([("ns/gw", CLUSTER, "a", Row("a", "1")), ("ns/gw", CLUSTER, "gone", None)], seq=9)
    assert listener.told == []
    assert views.seq == 9


def test_only_the_scopes_that_a_commit_touches_are_told(views):
    mine, theirs = Listener(views, "ns/mine"), Listener(views, "ns/theirs")
    views.apply([("ns/mine", CLUSTER, "a", Row("a", "1"))])
    assert len(mine.told) == 1
    assert theirs.told == []


def test_a_listener_may_end_itself_while_it_is_told(views):
    view = views.view("ns/gw")
    told = []

    def once(before: Before) -> None:
        told.append(before)
        view.unlisten(once)

    view.listen(once)
    views.apply([("ns/gw", CLUSTER, "a", Row("a", "1"))])
    views.apply([("ns/gw", CLUSTER, "a", Row("a", "2"))])
    assert len(told) == 1


def test_virtual_hosts_are_found_by_their_configuration(views):
    table = views.view("ns/gw").table(VIRTUAL_HOST)
    views.apply(("ns/gw", VIRTUAL_HOST, name, Row(name, "1")) for name in ("rc/a", "rc/b", "rc/x/c"))
    assert sorted(table.group("rc")) == ["rc/a", "rc/b"]
    assert sorted(table.group("rc/x")) == ["rc/x/c"]
    views.apply([("ns/gw", VIRTUAL_HOST, "rc/a", Row("rc/a", "2")), ("ns/gw", VIRTUAL_HOST, "rc/b", None)])
    assert sorted(table.group("rc")) == ["rc/a"]
    views.apply([("ns/gw", VIRTUAL_HOST, "rc/a", None)])
    assert sorted(table.group("rc")) == []
    assert table._groups[1].keys() == {"rc/x"}


def test_scopes_share_the_bytes_of_equal_resources(views):
    views.apply((scope, CLUSTER, "a", Row("a", "1", b"body")) for scope in ("ns/one", "ns/two"))
    one, two = (views.view(scope).table(CLUSTER).get("a") for scope in ("ns/one", "ns/two"))
    assert one is two
    views.apply((scope, CLUSTER, "a", None) for scope in ("ns/one", "ns/two"))
    del one, two
    gc.collect()
    assert len(views._entries) == 0


def test_a_body_is_not_copied(views):
    row = Row("a", "1", b"body")
    views.apply([("ns/gw", CLUSTER, "a", row)])
    assert views.view("ns/gw").table(CLUSTER).get("a").parts()[1] is row.body


def test_secrets_are_resolved_each_time_they_are_sent(views):
    bytes_now = [b"key 1"]
    views = Views(resolve=lambda resource: bytes_now[0])
    views.apply([("ns/gw", SECRET, "s", Row("s", "1", b"digest"))])
    entry = views.view("ns/gw").table(SECRET).get("s")
    assert entry.parts()[1] == b"key 1"
    bytes_now[0] = None
    assert entry.parts() is None


def test_without_a_resolver_secrets_are_served_as_removed(views):
    views.apply([("ns/gw", SECRET, "s", Row("s", "1", b"digest"))])
    assert views.view("ns/gw").table(SECRET).get("s").parts() is None


def test_a_scope_without_resources_and_listeners_is_forgotten(views):
    views.apply([("ns/gw", CLUSTER, "a", Row("a", "1"))])
    listener = Listener(views)
    views.apply([("ns/gw", CLUSTER, "a", None)])
    assert views._views.keys() == {"ns/gw"}
    views.view("ns/gw").unlisten(listener)
    views.release("ns/gw")
    assert views._views == {}
    views.apply([("ns/unknown", CLUSTER, "a", None)])
    assert views._views == {}


def test_statistics_count_by_scope_and_type(views):
    views.apply([("ns/b", CLUSTER, "a", Row("a", "1")), ("ns/a", CLUSTER, "a", Row("a", "1"))])
    assert views.statistics() == {"ns/a": {CLUSTER: 1}, "ns/b": {CLUSTER: 1}}
    assert list(views.statistics()) == ["ns/a", "ns/b"]


@pytest.mark.asyncio
async def test_the_gate_opens_once_and_for_all(views):
    assert not views.is_open
    waiting = asyncio.ensure_future(views.wait_open())
    await asyncio.sleep(0)
    assert not waiting.done()
    views.open()
    await waiting
    views.open()
    assert views.is_open
    await views.wait_open()
