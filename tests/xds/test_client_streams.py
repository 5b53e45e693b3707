"""Clients of different classes on real streams: each is served its own, and is moved without a new stream."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from controlplane.xds import ProxyConnected, ProxyDisconnected, XdsServer
from controlplane.xds.types import CLUSTER, LOAD_ASSIGNMENT
from tests.xds.serving import Client, Row, Served, connect

pytestmark = pytest.mark.asyncio


def put(served: Served, shared: dict[str, str], own: dict[str, dict[str, str]]) -> None:
    """One commit of load assignments: shared ones, and by class."""
    served.views.apply(
        [("ns/gw", LOAD_ASSIGNMENT, name, Row(name, version)) for name, version in shared.items()],
        [
            ("ns/gw", class_name, LOAD_ASSIGNMENT, name, Row(name, version))
            for class_name, rows in own.items()
            for name, version in rows.items()
        ],
    )


async def heard(client: Client) -> tuple[dict[str, str], list[str]]:
    """The next response, acknowledged: name to version, and what is removed."""
    response = await client.hear()
    await client.ack(response)
    return {resource.name: resource.version for resource in response.resources}, response.removed_resources


async def ask(client: Client, class_name: str) -> tuple[dict[str, str], list[str]]:
    await client.say(LOAD_ASSIGNMENT, "*", labels={"class": class_name})
    return await heard(client)


async def test_each_class_is_served_its_own_and_all_the_shared(serve: Any) -> None:
    served = await serve()
    put(served, {"both": "1", "covered": "1"}, {"one": {"covered": "2"}, "two": {"more": "3"}})
    async with connect(served) as first, connect(served) as second:
        assert await ask(first, "one") == ({"both": "1", "covered": "2"}, [])
        assert await ask(second, "two") == ({"both": "1", "covered": "1", "more": "3"}, [])
        assert [proxy["classes"] for proxy in served.server.statistics()] == [["one"], ["two"]]
        # Under a class's own entry a shared change is nothing: the first hears of the second commit alone.
        put(served, {"covered": "4"}, {})
        assert await heard(second) == ({"covered": "4"}, [])
        put(served, {"both": "5"}, {})
        assert await heard(first) == ({"both": "5"}, [])
        assert await heard(second) == ({"both": "5"}, [])
        # Without its own entry it sees the shared one again.
        served.views.apply((), [("ns/gw", "one", LOAD_ASSIGNMENT, "covered", None)])
        assert await heard(first) == ({"covered": "4"}, [])


async def test_a_proxy_that_is_moved_is_sent_the_difference_on_the_same_stream(serve: Any) -> None:
    served = await serve()
    put(
        served,
        {"shared": "1", "covered": "1"},
        {
            "near": {"covered": "n", "equal": "e", "gone": "g", "other": "n"},
            "far": {"equal": "e", "new": "f", "other": "f"},
        },
    )
    async with connect(served) as client:
        near = {"shared": "1", "covered": "n", "equal": "e", "gone": "g", "other": "n"}
        assert await ask(client, "near") == (near, [])
        connected = await served.event(ProxyConnected)
        served.assign(connected, "far")
        first = await heard(client)
        # Removals go last.
        assert first == ({"covered": "1", "new": "f", "other": "f"}, [])
        assert await heard(client) == ({}, ["gone"])
        # To a class with nothing of its own, and one that nobody has heard of before, in which nothing differs.
        served.assign(connected, "nothing")
        assert await heard(client) == ({}, ["equal", "new", "other"])
        served.assign(connected, "unknown")
        put(served, {"shared": "2"}, {"near": {"other": "n2"}, "nothing": {"new": "2"}})
        assert await heard(client) == ({"shared": "2"}, [])
        assert len([event for event in served.events if isinstance(event, ProxyConnected)]) == 1


async def test_rules_that_begin_to_tell_proxies_apart_are_one_commit(serve: Any) -> None:
    """All clients are of new classes, the resource leaves what is shared: each hears of what is different for it, once."""
    served = await serve()
    put(served, {"a": "1", "b": "1"}, {})
    async with connect(served) as first, connect(served) as second:
        for client in (first, second):
            assert await ask(client, "") == ({"a": "1", "b": "1"}, [])
        served.views.apply(
            [("ns/gw", LOAD_ASSIGNMENT, "b", None)],
            [("ns/gw", name, LOAD_ASSIGNMENT, "b", Row("b", version)) for name, version in (("z1", "1"), ("z2", "2"))],
            [("envoy-1#1", ("ns/gw", ("z1",))), ("envoy-1#2", ("ns/gw", ("z2",)))],
        )
        assert await heard(second) == ({"b": "2"}, [])
        put(served, {"a": "2"}, {})
        assert await heard(first) == ({"a": "2"}, [])


async def test_s14_a_stream_is_held_until_its_proxy_is_known(serve: Any) -> None:
    served = await serve()
    served.knows_proxies = False
    put(served, {"shared": "1"}, {"one": {"own": "1"}})
    async with connect(served) as client:
        await client.say(LOAD_ASSIGNMENT, "*", labels={"class": "one"})
        connected = await served.event(ProxyConnected)
        answer = asyncio.ensure_future(heard(client))
        put(served, {"late": "1"}, {})
        for _ in range(10):
            await asyncio.sleep(0)
        assert not answer.done()
        [proxy] = served.server.statistics()
        assert (proxy["classes"], proxy["held_at_gate"]) == (None, True)
        served.assign(connected)
        assert await answer == ({"shared": "1", "late": "1", "own": "1"}, [])


async def test_s14_a_stream_that_ends_while_its_proxy_is_not_known_leaves_nothing(serve: Any) -> None:
    served = await serve()
    served.knows_proxies = False
    async with connect(served) as client:
        await client.say(CLUSTER)
        await served.event(ProxyConnected)
    await served.event(ProxyDisconnected)
    assert served.server.stream_count == 0
    assert (served.views._waiting, served.views._clients, served.views._views) == ({}, {}, {})


async def test_s14_a_server_that_stops_ends_streams_of_unknown_proxies(serve: Any) -> None:
    served = await serve()
    served.knows_proxies = False
    async with connect(served) as client:
        await client.say(CLUSTER)
        await served.event(ProxyConnected)
        await served.server.stop(1.0)
    assert (await served.event(ProxyDisconnected)).reason.startswith("the control plane is shutting down")


async def test_stream_numbers_begin_where_they_are_told(serve: Any) -> None:
    """So that a proxy is not taken for one that the views know from elsewhere."""
    served = await serve()
    await served.server.stop(1.0)
    server = XdsServer(served.views, served._on_event, first_stream=7)
    served.port = await server.start("127.0.0.1", 0)
    try:
        async with connect(served) as client:
            await client.say(CLUSTER)
            assert (await served.event(ProxyConnected)).proxy == "envoy-1#7"
    finally:
        await server.stop(1.0)
