"""Classes of clients: what each sees of shared tables and of its own, and what it is told, whatever a commit holds."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import Mapping

import msgspec
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from controlplane.xds import ClientView, Machine, Views
from controlplane.xds.differences import Before
from controlplane.xds.types import CLUSTER, LOAD_ASSIGNMENT, VIRTUAL_HOST

SCOPE = "ns/gw"
TYPES = [CLUSTER, VIRTUAL_HOST]
NAMES = ["rc0/a", "rc0/b", "rc1/a"]
CLASSES = ["", "x", "y"]
PROXIES = ["p0", "p1", "p2"]

Contents = dict[tuple[str, str], str]
"""Type URL and name to version."""


class Row(msgspec.Struct, frozen=True):
    name: str
    version: str
    body: bytes = b"?"
    clusters: tuple[str, ...] = ()
    route_configurations: tuple[str, ...] = ()


def row(name: str, version: str | None) -> Row | None:
    return None if version is None else Row(name, version)


class Ear:
    """What a client was told: by type and name the version before."""

    def __init__(self, view: ClientView) -> None:
        self.view = view
        self.told: list[Contents | dict[tuple[str, str], str | None]] = []
        view.listen(self.hear)

    def hear(self, before: Before) -> None:
        self.told.append(
            {(url, name): entry and entry.version for url, names in before.items() for name, entry in names.items()}
        )


def join(views: Views, proxy: str) -> ClientView:
    """The view of a proxy that is known already."""
    return asyncio.run(views.wait_assigned(proxy))


def contents(view: ClientView) -> Contents:
    found = {}
    for url in TYPES:
        table = view.table(url)
        names = list(table.names())
        assert len(names) == len(set(names)) == len(table)
        for name in names:
            entry = table.get(name)
            assert entry is not None
            assert entry.name == name
            found[url, name] = entry.version
    hosts = view.table(VIRTUAL_HOST)
    for group in ("rc0", "rc1", "rc2"):
        names = list(hosts.group(group))
        assert len(names) == len(set(names))
        assert set(names) == {n for url, n in found if url == VIRTUAL_HOST and n.startswith(f"{group}/")}
    return found


versions = st.sampled_from(["1", "2", None])
edits = st.lists(st.tuples(st.sampled_from(TYPES), st.sampled_from(NAMES), versions), max_size=4)
client_edits = st.lists(
    st.tuples(st.sampled_from(CLASSES), st.sampled_from(TYPES), st.sampled_from(NAMES), versions), max_size=4
)
places = st.lists(st.sampled_from(CLASSES), min_size=1, max_size=2, unique=True).map(tuple)
moves = st.dictionaries(st.sampled_from(PROXIES), places | st.none(), max_size=3)


class ClientViews(RuleBasedStateMachine):
    """Tables, layers and classes change in any mixture; each client's view is the merge of dicts, and it is told just that."""

    @initialize()
    def start(self) -> None:
        self.views = Views()
        self.shared: Contents = {}
        self.layers: dict[str, Contents] = {name: {} for name in CLASSES}
        self.classes: dict[str, tuple[str, ...]] = {}
        """Of the known proxies."""
        self.seen_as: dict[str, tuple[str, ...]] = {}
        """Of the proxies with a view; it stays when the proxy is no longer known."""
        self.ears: dict[str, Ear] = {}
        self.reader: list[dict[str, set[str]]] = []
        self.views.view(SCOPE).listen(
            lambda before: self.reader.append({url: set(names) for url, names in before.items()})
        )

    def model(self, proxy: str) -> Contents:
        seen = dict(self.shared)
        for name in reversed(self.seen_as[proxy]):
            seen |= self.layers[name]
        return seen

    @rule(changes=edits, client_changes=client_edits, moved=moves)
    def commit(self, changes, client_changes, moved) -> None:
        before = {proxy: self.model(proxy) for proxy in self.ears}
        shared_before = dict(self.shared)
        for url, name, version in changes:
            _put(self.shared, (url, name), version)
        for class_name, url, name, version in client_changes:
            _put(self.layers[class_name], (url, name), version)
        for proxy, names in moved.items():
            if names is None:
                self.classes.pop(proxy, None)
            else:
                self.classes[proxy] = names
                if proxy in self.ears:
                    self.seen_as[proxy] = names
        for ear in self.ears.values():
            ear.told.clear()
        self.reader.clear()
        self.views.apply(
            [(SCOPE, url, name, row(name, version)) for url, name, version in changes],
            [(SCOPE, class_name, url, name, row(name, version)) for class_name, url, name, version in client_changes],
            [(proxy, None if names is None else (SCOPE, names)) for proxy, names in moved.items()],
        )
        for proxy, ear in self.ears.items():
            now = self.model(proxy)
            assert contents(ear.view) == now
            assert ear.view.class_names == self.seen_as[proxy]
            different = {key for key in before[proxy].keys() | now.keys() if before[proxy].get(key) != now.get(key)}
            assert ear.told == ([{key: before[proxy].get(key) for key in different}] if different else [])
        different = {k for k in shared_before.keys() | self.shared.keys() if shared_before.get(k) != self.shared.get(k)}
        told = [{(url, name) for url, names in one.items() for name in names} for one in self.reader]
        assert told == ([different] if different else [])

    @rule(proxy=st.sampled_from(PROXIES))
    def connect(self, proxy: str) -> None:
        if proxy in self.classes and proxy not in self.ears:
            self.ears[proxy] = Ear(join(self.views, proxy))
            self.seen_as[proxy] = self.classes[proxy]
            assert contents(self.ears[proxy].view) == self.model(proxy)

    @rule(proxy=st.sampled_from(PROXIES))
    def disconnect(self, proxy: str) -> None:
        self.views.leave(proxy)
        self.ears.pop(proxy, None)
        self.seen_as.pop(proxy, None)

    def teardown(self) -> None:
        if not hasattr(self, "views"):
            return
        for proxy in PROXIES:
            self.views.leave(proxy)
        view = self.views.view(SCOPE)
        assert view.layers.keys() == {name for name, layer in self.layers.items() if layer}
        view.listeners.clear()
        self.views.apply(
            [(SCOPE, url, name, None) for url, name in self.shared],
            [(SCOPE, name, *key, None) for name, layer in self.layers.items() for key in layer],
            [(proxy, None) for proxy in PROXIES],
        )
        self.views.release(SCOPE)
        assert (self.views._views, self.views._assigned, self.views._clients) == ({}, {}, {})


def _put(table: Contents, key: tuple[str, str], version: str | None) -> None:
    if version is None:
        table.pop(key, None)
    else:
        table[key] = version


TestClientViews = ClientViews.TestCase
TestClientViews.settings = settings(
    max_examples=200, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)


@pytest.fixture
def views() -> Views:
    return Views()


def assign(views: Views, **classes: str) -> None:
    views.apply((), assignments=[(proxy, (SCOPE, (name,))) for proxy, name in classes.items()])


def test_clients_that_see_the_same_difference_are_told_by_one_mapping(views):
    """A thousand proxies of a class cost one difference, also when they change their class together."""
    assign(views, a="x", b="x", c="y")
    told: list[Before] = []
    for proxy in "abc":
        join(views, proxy).listen(told.append)
    views.apply([(SCOPE, CLUSTER, "n", Row("n", "1"))])
    assert len(told) == 3
    assert told[0] is told[1]
    told.clear()
    views.apply(
        (),
        [(SCOPE, "z", CLUSTER, "m", Row("m", "1"))],
        [("a", (SCOPE, ("z",))), ("b", (SCOPE, ("z",)))],
    )
    assert told == [{CLUSTER: {"m": None}}] * 2
    assert told[0] is told[1]


def test_to_move_costs_the_layers_and_not_what_is_shared(views, monkeypatch):
    """Names that both classes share are not looked at; equal versions are no change."""
    views.apply(
        [(SCOPE, LOAD_ASSIGNMENT, f"s{number}", Row(f"s{number}", "1")) for number in range(1000)],
        [(SCOPE, name, LOAD_ASSIGNMENT, "own", Row("own", "1")) for name in "xy"],
        [("p", (SCOPE, ("x",)))],
    )
    view = join(views, "p")
    told: list[Before] = []
    view.listen(told.append)
    looks = []
    shared = views.view(SCOPE).shared
    monkeypatch.setattr(type(shared), "get", lambda self, url, name: looks.append(name), raising=True)
    assign(views, p="y")
    assert told == []
    assert set(looks) == {"own"}
    assert view.class_names == ("y",)


def test_a_listener_that_ends_another_is_not_told_after_it(views):
    assign(views, a="", b="")
    told = []

    def hear(before: Before) -> None:
        told.append(before)
        views.leave("b")

    join(views, "a").listen(hear)
    join(views, "b").listen(lambda before: told.append(before))
    views.apply([(SCOPE, CLUSTER, "n", Row("n", "1"))])
    assert len(told) == 1


def test_a_proxy_that_changes_its_class_twice_in_a_commit_is_told_of_the_ends(views):
    """From what it was to what it is; and of nothing but the tables when it is what it was."""
    views.apply(
        (),
        [(SCOPE, name, CLUSTER, "n", Row("n", version)) for name, version in (("x", "1"), ("y", "2"), ("z", "3"))],
        [("p", (SCOPE, ("x",)))],
    )
    told: list[Before] = []
    view = join(views, "p")
    view.listen(lambda before: told.append({url: dict(names) for url, names in before.items()}))
    first = view.table(CLUSTER).get("n")
    views.apply((), assignments=[("p", (SCOPE, ("y",))), ("p", (SCOPE, ("z",)))])
    assert told == [{CLUSTER: {"n": first}}]
    told.clear()
    changes = [(SCOPE, CLUSTER, "s", Row("s", "1"))]
    views.apply(changes, assignments=[("p", (SCOPE, ("y",))), ("p", (SCOPE, ("z",)))])
    assert told == [{CLUSTER: {"s": None}}]
    assert view.class_names == ("z",)


def test_nobody_reads_half_a_commit(views):
    """When the first is told, everything of the commit is in place, for all."""
    assign(views, a="x", b="x")
    first, second = join(views, "a"), join(views, "b")
    seen: list[tuple[Mapping[str, str] | object, ...]] = []

    def look(_: Before) -> None:
        seen.append(tuple(contents(view) for view in (first, second)))

    first.listen(look)
    second.listen(look)
    views.apply(
        [(SCOPE, CLUSTER, "s", Row("s", "1"))],
        [(SCOPE, "y", CLUSTER, "o", Row("o", "1"))],
        [("a", (SCOPE, ("y",))), ("b", (SCOPE, ("y",)))],
    )
    both = {(CLUSTER, "s"): "1", (CLUSTER, "o"): "1"}
    assert seen == [(both, both), (both, both)]


@pytest.mark.asyncio
async def test_a_proxy_waits_until_it_is_known(views):
    waiting = asyncio.ensure_future(views.wait_assigned("p"))
    assign(views, another="x")
    views.apply((), assignments=[("p", None)])
    await asyncio.sleep(0)
    assert not waiting.done()
    assign(views, p="x")
    assert (await waiting).class_names == ("x",)
    assert await views.wait_assigned("p") is await views.wait_assigned("p")


@pytest.mark.asyncio
async def test_a_proxy_that_changes_its_class_before_it_is_served_has_the_newest(views):
    waiting = asyncio.ensure_future(views.wait_assigned("p"))
    await asyncio.sleep(0)
    assign(views, p="x")
    views.apply((), assignments=[("p", None)])
    assign(views, p="y")
    assert (await waiting).class_names == ("y",)


@pytest.mark.asyncio
async def test_a_proxy_that_goes_while_it_waits_leaves_nothing(views):
    waiting = asyncio.ensure_future(views.wait_assigned("p"))
    await asyncio.sleep(0)
    assert views._waiting.keys() == {"p"}
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    views.leave("p")
    assert (views._waiting, views._clients, views._views) == ({}, {}, {})
    assign(views, p="x")
    views.apply((), assignments=[("p", None)])
    assert (views._assigned, views._views) == ({}, {})


def test_an_idle_client_costs_the_same_however_much_it_sees(views):
    """No copy of the shared names for each client."""

    def cost(names: int) -> int:
        views = Views()
        views.apply([(SCOPE, CLUSTER, f"c{number}", Row(f"c{number}", "1")) for number in range(names)])
        proxies = {f"p{number}": f"{number % 3}" for number in range(100)}
        assign(views, **proxies)
        tracemalloc.start()
        machines = [Machine(join(views, proxy)) for proxy in proxies]
        octets, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert len(machines) == 100
        return octets

    few, many = cost(10), cost(5_000)
    assert many < few * 1.1
