"""A herd: streams wait for their turn rather than be refused."""

from __future__ import annotations

import asyncio
from time import process_time
from typing import Any

import pytest
from grpclib.const import Status
from structlog.testing import capture_logs

from controlplane.xds import ProxyConnected, ProxyDisconnected, Settings, XdsError
from controlplane.xds.admission import Rate, Turns
from controlplane.xds.refusals import MAX_REFUSALS, Refusals
from controlplane.xds.types import CLUSTER
from tests.xds.serving import connect, until
from tests.xds.test_server import frozen_client


@pytest.mark.asyncio
@pytest.mark.looptime
async def test_a_burst_passes_and_the_rest_comes_at_the_rate_in_order():
    rate = Rate(10, burst=5, longest_wait=100)
    passed: list[tuple[int, float]] = []
    loop = asyncio.get_running_loop()
    began = loop.time()

    async def pass_through(number: int) -> None:
        await rate.enter()
        passed.append((number, round(loop.time() - began, 6)))

    await asyncio.gather(*(pass_through(number) for number in range(20)))
    assert passed == [(number, max(0.0, round((number - 4) / 10, 6))) for number in range(20)]
    await asyncio.sleep(10)
    passed.clear()
    began = loop.time()
    await asyncio.gather(*(pass_through(number) for number in range(6)))
    assert [at for _, at in passed] == [0, 0, 0, 0, 0, 0.1]
    assert rate.waiting == 0


@pytest.mark.asyncio
@pytest.mark.looptime
async def test_who_would_wait_too_long_is_refused_and_takes_nobodys_place():
    rate = Rate(10, burst=1, longest_wait=0.25)
    waiting = [asyncio.ensure_future(rate.enter()) for _ in range(3)]
    await asyncio.sleep(0)
    for _ in range(3):
        with pytest.raises(XdsError) as caught:
            await rate.enter()
        assert caught.value.code is Status.UNAVAILABLE
        assert caught.value.message == "2 streams wait to begin; the limit is 10 a second; connect again later"
    await asyncio.gather(*waiting)
    await rate.enter()


@pytest.mark.asyncio
@pytest.mark.looptime
async def test_so_many_turns_at_a_time_each_bounded():
    turns = Turns(2, seconds=1)
    loop = asyncio.get_running_loop()
    began = loop.time()
    first, second = await turns.take(), await turns.take()
    third = asyncio.ensure_future(turns.take())
    await asyncio.sleep(0.5)
    assert turns.waiting == 1
    first.end()
    first.end()
    await third
    fourth = asyncio.ensure_future(turns.take())
    fifth = asyncio.ensure_future(turns.take())
    await asyncio.sleep(0.1)
    fifth.cancel()
    await fourth
    assert round(loop.time() - began, 6) == 1, "a turn that nobody ends is over"
    second.end()
    assert turns.waiting == 0
    (await turns.take()).end()


@pytest.mark.asyncio
async def test_a_stream_that_is_slow_holds_its_turn_and_no_longer_than_it_lives(serve):
    served = await serve(Settings(streams_at_once=1, turn_seconds=100))
    async with frozen_client(served, resources=40):
        async with connect(served) as client:
            await client.say(CLUSTER)
            await served.event(ProxyConnected, 2)
            await until(lambda: served.server.waiting_count == 1)
        await served.event(ProxyDisconnected)
        await until(lambda: served.server.waiting_count == 0)
    await served.event(ProxyDisconnected, 2)
    async with connect(served) as client:
        await client.say(CLUSTER)
        await client.hear()


@pytest.mark.asyncio
async def test_a_slow_streams_turn_is_over_in_time(serve):
    served = await serve(Settings(streams_at_once=1, turn_seconds=0.1))
    async with frozen_client(served, resources=40), connect(served) as client:
        await client.say(CLUSTER)
        await client.hear()


@pytest.mark.asyncio
async def test_streams_that_are_held_at_the_gate_keep_nobody_from_his_turn(serve):
    served = await serve(Settings(streams_at_once=1, turn_seconds=100), gate=False)
    async with connect(served) as first, connect(served) as second:
        for client in (first, second):
            await client.say(CLUSTER)
        await served.event(ProxyConnected, 2)
        assert served.server.waiting_count == 0
        served.views.open()
        for client in (first, second):
            await client.hear()


@pytest.mark.asyncio
async def test_a_herd_is_admitted_in_seconds_and_nobody_is_refused(serve):
    served = await serve()
    known = {f"c{number}": "1" for number in range(1000)}
    served.put(CLUSTER, **known)

    async def reconnect() -> int:
        async with connect(served) as client:
            await client.say(CLUSTER, initial_resource_versions=known)
            return len((await client.hear()).resources)
        raise AssertionError

    began = process_time()  # of both sides; other processes do not count
    assert await asyncio.gather(*(reconnect() for _ in range(100))) == [0] * 100
    assert process_time() - began < 10
    assert not [name for name in served.server.counters if name.startswith("ended")]


def test_refusals_are_told_once_a_minute_and_never_too_many():
    now = 0.0
    refusals = Refusals(lambda: now)

    def told(*messages: str) -> list[dict[str, Any]]:
        with capture_logs() as logs:
            for message in messages:
                refusals.tell("refused", message)
        return list(logs)

    assert len(told("one", "one", "one")) == 1
    now = 61.0
    assert len(told("one")) == 1
    assert len(told(*(str(number) for number in range(10 * MAX_REFUSALS)))) == MAX_REFUSALS - 1
    now = 130.0
    (entry,) = told("another")
    assert entry["unsaid"] == 9 * MAX_REFUSALS + 1
