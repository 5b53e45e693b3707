"""Ports that are taken, and free again. The others that listen are sockets of this very process."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest

from controlplane.infra.listeners import ListenerKey, ListenerWatch
from controlplane.model.events import ListenerFailed, ListenerRecovered

pytestmark = pytest.mark.asyncio

INTERVAL_S = 0.05

Watching = Callable[..., AbstractAsyncContextManager[ListenerWatch]]


@pytest.fixture
def watching(reports, log) -> Watching:
    @asynccontextmanager
    async def watch(envoys: dict[int, str] | None = None) -> AsyncIterator[ListenerWatch]:
        watch = ListenerWatch(reports, lambda: {} if envoys is None else envoys, log.logger, interval_s=INTERVAL_S)
        task = asyncio.create_task(watch.run())
        try:
            yield watch
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    return watch


def listen() -> tuple[socket.socket, ListenerKey]:
    server = socket.create_server(("127.0.0.1", 0))
    return server, ListenerKey("demo/web", *server.getsockname())


def free() -> ListenerKey:
    server, key = listen()
    server.close()
    return key


async def test_a_taken_port_is_told_once_and_so_is_its_return(watching: Watching, reports, log) -> None:
    server, key = listen()
    envoys: dict[int, str] = {}
    async with watching(envoys) as watch:
        with server:
            watch.want([key])
            failed = await reports.next(ListenerFailed)
            assert (failed.gateway, failed.address, failed.port) == key
            assert f"pid {os.getpid()}" in failed.reason
            assert (await log.event("listener_failed"))["reason"] == failed.reason
            # What is held by a sibling is told in the second look, by which `key` has been looked at again.
            sibling, sibling_key = listen()
            with sibling:
                envoys[os.getpid()] = "demo/other"
                watch.want([key, sibling_key])
                await reports.next(ListenerFailed, 2)
                watch.want([key])
                await reports.next(ListenerRecovered)
        await reports.next(ListenerRecovered, 2)
    assert [type(event) for event in reports.items if event.port == key.port] == [ListenerFailed, ListenerRecovered]


async def test_free_ports_and_our_own_are_nothing_to_tell(watching: Watching, reports) -> None:
    server, key = listen()
    foreign = socket.create_server(("127.0.0.2", 0))
    with server, foreign:
        async with watching({os.getpid(): "demo/web"}) as watch:
            # All of this process' sockets are demo/web's; another gateway wants the second, which makes an end to the waiting.
            taken = ListenerKey("demo/zzz", *foreign.getsockname())
            watch.want([key, free(), taken])
            await reports.next(ListenerFailed)
    assert [(event.gateway, event.port) for event in reports.items] == [(taken.gateway, taken.port)]


async def test_what_a_sibling_holds_counts_from_the_second_look_on(watching: Watching, reports) -> None:
    server, key = listen()
    with server:
        async with watching({os.getpid(): "demo/other"}) as watch:
            began = asyncio.get_running_loop().time()
            watch.want([key])
            failed = await reports.next(ListenerFailed)
            assert asyncio.get_running_loop().time() - began >= INTERVAL_S
            assert "is held by the Envoy of Gateway demo/other" in failed.reason
            server.close()
            await reports.next(ListenerRecovered)


async def test_a_port_on_its_way_from_a_sibling_is_never_told(watching: Watching, reports) -> None:
    moving, key = listen()
    stuck, stuck_key = listen()
    with stuck:
        async with watching({os.getpid(): "demo/other"}) as watch:
            nonsense = ListenerKey("demo/zzz", "nowhere", 1)  # told in the first look, of which it is the last
            watch.want([key, stuck_key._replace(gateway="demo/zzz"), nonsense])
            assert (await reports.next(ListenerFailed)).address == "nowhere"
            moving.close()
            assert (await reports.next(ListenerFailed, 2)).port == stuck_key.port  # in the second look, after `key`
            watch.want([key])
            await reports.next(ListenerRecovered, 2)
    assert {event.gateway for event in reports.items} == {"demo/zzz"}


async def test_what_envoy_refuses_is_told_in_its_words_and_offered_ever_more_rarely(
    watching: Watching, reports
) -> None:
    key = free()
    clock = asyncio.get_running_loop().time
    async with watching() as watch:
        watch.want([key])
        for count, patience_s in enumerate((INTERVAL_S, 2 * INTERVAL_S, 4 * INTERVAL_S), 1):
            watch.refused(key, "cannot bind: Permission denied")
            failed = await reports.next(ListenerFailed, count)
            began = clock()
            assert "cannot bind: Permission denied" in failed.reason
            assert f"{key.address}:{key.port}" in failed.reason
            await reports.next(ListenerRecovered, count)
            assert clock() - began >= patience_s * 0.9
    assert len(reports.items) == 6


async def test_a_refusal_of_what_is_taken_names_who_has_it_and_is_told_once(watching: Watching, reports) -> None:
    key = free()
    async with watching() as watch:
        watch.want([key])
        with socket.create_server(key[1:]):
            watch.refused(key, "cannot bind: Address already in use")
            failed = await reports.next(ListenerFailed)
            assert f"pid {os.getpid()}" in failed.reason
            watch.refused(key, "cannot bind: Address already in use")
        await reports.next(ListenerRecovered)
    assert len(reports.items) == 2


async def test_what_nobody_wants_is_not_told_and_what_is_given_up_recovers(watching: Watching, reports) -> None:
    server, key = listen()
    with server:
        async with watching() as watch:
            watch.refused(free(), "cannot bind")
            watch.want([key])
            await reports.next(ListenerFailed)
            watch.want([])
            assert await reports.next(ListenerRecovered) == ListenerRecovered(*key)
        assert len(reports.items) == 2


async def test_an_address_that_is_none_is_told(watching: Watching, reports) -> None:
    async with watching() as watch:
        watch.want([ListenerKey("demo/web", "example.com", 8080)])
        assert (await reports.next(ListenerFailed)).reason == "'example.com' is no IP address: change spec.addresses"
