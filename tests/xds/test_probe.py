"""A rejected virtual host is taken apart: the routes at fault are found without disturbing the others.

Envoy judges a virtual host as a whole; the proxy here rejects every one that holds a bad route.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.xds.facts import RejectedResource
from controlplane.xds.probe import HOST, name_of, routes_of
from controlplane.xds.protobuf import field
from controlplane.xds.response import Response
from controlplane.xds.types import CLUSTER, ROUTE_CONFIGURATION, VIRTUAL_HOST
from tests.xds.conftest import SCOPE, Client, Row, World

PROBE = f"rc/{HOST}"


def route(name: str, content: str) -> bytes:
    """A route as far as the probe looks: its name, and something else."""
    return field(1, content.encode()) + field(14, name.encode())


def virtual_host(name: str, routes: dict[str, str]) -> bytes:
    return b"".join([field(1, name.encode()), field(2, b"x.com"), *(field(3, route(*pair)) for pair in routes.items())])


def offer(world: World, version: str, routes: dict[str, str], host: str = "rc/x") -> None:
    """One commit of one virtual host."""
    world.views.apply([(SCOPE, VIRTUAL_HOST, host, Row(host, version, virtual_host(host, routes)))])


class Judge:
    """A proxy that rejects virtual hosts with a bad route, and counts."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.held: dict[str, bytes] = {}
        self.rejected = 0

    def settle(self, waiting: list[Response]) -> None:
        waiting = list(waiting)
        while waiting:
            response = waiting.pop(0)
            bodies = {name: response.parts[2 * i + 1] for i, name in enumerate(response.versions)}
            if any(b"bad" in route for body in bodies.values() for route in routes_of(body)):
                self.rejected += 1
                waiting += self.client.nack(response, f"no {self.rejected}")
                continue
            if response.type_url == VIRTUAL_HOST:
                self.held.update(bodies)
            for name in response.removed:
                self.held.pop(name, None)
            waiting += self.client.ack(response)

    def found(self) -> list[RejectedResource]:
        return [fact for fact in self.client.facts if isinstance(fact, RejectedResource)]


@pytest.fixture
def judge(world, client):
    """A proxy with a virtual host of four good routes."""
    world.commit({ROUTE_CONFIGURATION: {"rc": "1"}})
    offer(world, "1", {f"r{i}": "good" for i in range(4)})
    judge = Judge(client)
    judge.settle(client.ask(ROUTE_CONFIGURATION, "rc"))
    judge.settle(client.ask(VIRTUAL_HOST))
    client.facts.clear()
    return judge


def test_the_bad_one_of_fifty_new_routes_is_found(world, client, judge):
    routes = {f"r{i}": "new" for i in range(50)} | {"r17": "bad"}
    offer(world, "2", routes)
    judge.settle(client.responses())
    [fact] = judge.found()
    [found] = fact.resource.routes
    assert (found.name, found.body, found.fallback) == ("r17", route("r17", "bad"), b"")
    assert found.message == f"no {judge.rejected}"
    assert fact.resource.last.version == "1"
    assert judge.rejected < 20
    assert judge.held["rc/x"] == virtual_host("rc/x", {f"r{i}": "good" for i in range(4)})
    assert PROBE not in judge.held


def test_a_changed_route_falls_back_to_its_last_form(world, client, judge):
    offer(world, "2", {"r0": "good", "r1": "bad", "r2": "good", "r3": "new"})
    judge.settle(client.responses())
    [fact] = judge.found()
    [found] = fact.resource.routes
    assert (found.name, found.fallback) == ("r1", route("r1", "good"))


def test_only_what_is_new_is_tried(world, client, judge):
    tried = []
    offer(world, "2", {"r0": "good", "r1": "bad", "r2": "good", "r3": "good"})
    waiting = client.responses()
    while waiting:
        response = waiting.pop(0)
        bodies = [response.parts[2 * i + 1] for i in range(len(response.versions))]
        if PROBE in response.versions:
            tried += [name_of(route) for body in bodies for route in routes_of(body)]
        bad = any(b"bad" in body for body in bodies)
        waiting += client.nack(response) if bad else client.ack(response)
    assert tried == ["r1"]


def test_a_virtual_host_without_a_bad_route_is_at_fault_as_a_whole(world, client, judge):
    offer(world, "2", {"r0": "other"})
    waiting = client.nack(*client.responses(), "no")
    judge.settle(waiting)
    [fact] = judge.found()
    assert fact.resource.routes == ()
    assert fact.resource.entry.version == "2"
    assert PROBE not in judge.held


def test_a_virtual_host_that_changes_meanwhile_is_offered_anew(world, client, judge):
    offer(world, "2", {"r0": "bad", "r1": "new"})
    [back] = client.nack(*client.responses())
    [probe] = client.ack(back)
    assert list(probe.versions) == [PROBE]
    offer(world, "3", {"r0": "good", "r1": "new"})
    judge.settle([probe])
    judge.settle(client.responses())
    assert judge.found() == []
    assert judge.held == {"rc/x": virtual_host("rc/x", {"r0": "good", "r1": "new"})}
    assert client.machine.is_settled


def test_two_bad_virtual_hosts_are_taken_apart_one_after_the_other(world, client, judge):
    offer(world, "2", {"r0": "bad", "r1": "new"})
    offer(world, "1", {"s0": "new", "s1": "bad"}, "rc/y")
    judge.settle(client.responses())
    assert {fact.resource.entry.name: [r.name for r in fact.resource.routes] for fact in judge.found()} == {
        "rc/x": ["r0"],
        "rc/y": ["s1"],
    }
    assert list(judge.held) == ["rc/x"]


def test_an_unsubscribed_configuration_ends_the_probe(world, client, judge):
    offer(world, "2", {"r0": "bad", "r1": "new"})
    [back] = client.nack(*client.responses())
    [probe] = client.ack(back)
    waiting = client.ask(ROUTE_CONFIGURATION, unsubscribe=["rc"])
    judge.settle([probe, *waiting])
    assert judge.held == {}
    assert client.machine.is_settled


@given(st.lists(st.sampled_from(["good", "bad", "new"]), min_size=1, max_size=24))
def test_exactly_the_bad_routes_are_found(contents: list[str]):
    world = World()
    client = world.connect()
    judge = Judge(client)
    world.commit({ROUTE_CONFIGURATION: {"rc": "1"}})
    before = {f"r{i}": "good" for i in range(0, len(contents), 2)}
    offer(world, "1", before)
    judge.settle(client.ask(ROUTE_CONFIGURATION, "rc"))
    judge.settle(client.ask(VIRTUAL_HOST))
    after = {f"r{i}": content for i, content in enumerate(contents)}
    offer(world, "2", after)
    judge.settle(client.responses())
    found = [found for fact in judge.found() for found in fact.resource.routes]
    assert sorted(r.name for r in found) == sorted(name for name, content in after.items() if content == "bad")
    assert all(bool(r.fallback) == (r.name in before) for r in found)
    assert PROBE not in judge.held
    assert client.machine.is_settled


def action(name: str, cluster: str) -> bytes:
    """A route to a cluster: RouteAction's first field."""
    return field(2, field(1, cluster.encode())) + field(14, name.encode())


def test_only_the_routes_to_a_rejected_cluster_are_held_back(world, client, judge):
    """The others of the virtual host need not wait for it in vain; a flip keeps its old target."""

    def offer_routes(version: str, *routes: bytes, clusters: tuple[str, ...]) -> None:
        body = b"".join([field(1, b"rc/x"), field(2, b"x.com"), *(field(3, route) for route in routes)])
        world.views.apply([(SCOPE, VIRTUAL_HOST, "rc/x", Row("rc/x", version, body, clusters))])

    judge.settle(client.ask(CLUSTER))
    world.put(CLUSTER, a="1", b2="1")
    offer_routes("2", action("r0", "a"), action("r1", "a"), clusters=("a",))
    judge.settle(client.responses())
    judge.settle(client.later(1.0))
    client.facts.clear()
    world.put(CLUSTER, b="bad")
    offer_routes("3", action("r0", "b"), action("r1", "b2"), action("r2", "b"), clusters=("b", "b2"))
    waiting = client.responses()
    assert [response.type_url for response in waiting] == [CLUSTER]
    judge.settle(client.nack(*waiting, "Error adding/updating cluster(s) b: no"))
    cluster, host = judge.found()
    assert cluster.resource.entry.name == "b"
    assert [(r.name, r.fallback, r.cluster) for r in host.resource.routes] == [
        ("r0", action("r0", "a"), "b"),
        ("r2", b"", "b"),
    ]
    assert host.resource.message == "cluster b: Error adding/updating cluster(s) b: no"
    client.facts.clear()
    client.later(1.0)
    assert judge.found() == []  # said once
    offer_routes("4", action("r0", "a"), action("r1", "b2"), clusters=("a", "b2"))
    judge.settle(client.responses())
    assert judge.held["rc/x"].endswith(field(3, action("r1", "b2")))


def test_a_proxy_that_comes_and_does_not_take_what_all_others_have_is_served_the_rest(world, client, judge):
    """It is its own affair: nobody else is to lose anything by it."""
    offer(world, "2", {"r0": "bad", "r1": "new"})
    client.settle()  # this one takes it
    late = Judge(world.connect())
    late.settle(late.client.ask(ROUTE_CONFIGURATION, "rc"))
    late.settle(late.client.ask(VIRTUAL_HOST))
    assert late.found() == []
    assert late.held == {"rc/x": virtual_host("rc/x", {"r1": "new"})}
    assert late.client.machine.is_settled
    offer(world, "3", {"r0": "good", "r1": "new"})
    late.settle(late.client.responses())
    assert late.held == {"rc/x": virtual_host("rc/x", {"r0": "good", "r1": "new"})}
