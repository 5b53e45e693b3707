"""Connections that are silent, half open, too many, or broken; streams that do not begin, or are not answered."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from pathlib import Path

import pytest
import uvloop
from grpclib.client import Channel
from grpclib.const import Status
from h2.connection import H2Connection
from structlog.testing import capture_logs

from controlplane.xds import Certificates, ProxyConnected, ProxyDisconnected, Settings, TlsFiles
from controlplane.xds.types import CLUSTER, LISTENER
from tests.authority import Authority
from tests.relay import Relay
from tests.xds.serving import PATIENCE_S, Row, Served, connect, open_stream, until

LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
"""Their transports and their TLS are not the same code."""


def tls(tmp_path: Path) -> tuple[Certificates, ssl.SSLContext]:
    """A server's certificates, and what a client connects with."""
    authority = Authority()
    return (
        Certificates(TlsFiles(*authority.server().write(tmp_path / "server"))),
        authority.client_context(None, tmp_path),
    )


async def read_all(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(PATIENCE_S):
        with contextlib.suppress(ConnectionError):
            return await reader.read()
    return b""


@pytest.mark.parametrize("words", [b"", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes.fromhex("000000040000000000")])
@pytest.mark.asyncio
async def test_a_connection_without_a_stream_is_closed(words, serve):
    served = await serve(Settings(idle_seconds=0.1))
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    writer.write(words)
    assert b"the connection had no stream for 0.1 s" in await read_all(reader)
    writer.close()
    await until(lambda: served.server.connection_count == 0)
    assert served.server.counters["connections_idle"] == 1


@pytest.mark.asyncio
async def test_a_connection_with_a_stream_is_not_idle_and_one_whose_stream_has_ended_is(serve):
    served = await serve(Settings(idle_seconds=0.1))
    channel = Channel("127.0.0.1", served.port)
    client = await open_stream(channel)
    await client.say(CLUSTER)
    await client.ack(await client.hear())
    for _ in range(2):  # later connections that are idle tell the time
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        await read_all(reader)
        writer.close()
    served.put(CLUSTER, a="1")
    await client.hear()
    await client.stream.end()
    await client.end()
    await until(lambda: served.server.connection_count == 0)
    assert served.server.counters["connections_idle"] == 3
    channel.close()


@pytest.mark.asyncio
async def test_a_client_that_never_finishes_tls_is_dropped(serve, tmp_path):
    certificates, _ = tls(tmp_path)
    served = await serve(Settings(handshake_seconds=0.1), certificates=certificates)
    with capture_logs() as logs:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        await until(lambda: served.server.connection_count == 1)
        assert await read_all(reader) == b""
        await until(lambda: served.server.connection_count == 0)
    assert served.server.counters["handshakes_failed"] == 1
    assert [entry["event"] for entry in logs] == ["handshake_failed"]
    writer.close()


@pytest.mark.asyncio
async def test_the_number_of_connections_is_limited_also_of_those_that_only_shake_hands(serve, tmp_path):
    certificates, context = tls(tmp_path)
    served = await serve(Settings(max_connections=2), certificates=certificates)
    async with connect(served, tls=context) as client:
        await client.say(CLUSTER)
        await client.ack(await client.hear())
        _, silent = await asyncio.open_connection("127.0.0.1", served.port)
        await until(lambda: served.server.connection_count == 2)
        with capture_logs() as logs:
            for _ in range(3):
                reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
                assert await read_all(reader) == b""
                writer.close()
        assert [entry["message"] for entry in logs] == ["2 connections are open, which is the limit"]
        assert served.server.counters["connections_refused"] == 3
        silent.transport.abort()
        await until(lambda: served.server.connection_count == 1)
        async with connect(served, tls=context) as second:
            await second.say(CLUSTER)
            await second.hear()


@pytest.mark.asyncio
async def test_the_number_of_streams_on_a_connection_is_limited(serve):
    served = await serve(Settings(max_connection_streams=2))
    channel = Channel("127.0.0.1", served.port)
    clients = [await open_stream(channel) for _ in range(2)]
    for client in clients:
        await client.say(CLUSTER)
        await client.hear()
    third = await open_stream(channel)
    assert await third.end() == (
        Status.RESOURCE_EXHAUSTED,
        "2 streams are open on this connection; the limit is 2",
    )
    await clients[0].stream.end()
    await clients[0].end()
    again = await open_stream(channel)
    await again.say(CLUSTER)
    await again.hear()
    async with connect(served) as other:
        await other.say(CLUSTER)
        await other.hear()
    channel.close()


@pytest.mark.asyncio
async def test_a_stream_that_never_says_who_it_is_is_ended(serve):
    served = await serve(Settings(introduction_seconds=0.1))
    async with connect(served) as client:
        assert await client.end() == (
            Status.RESOURCE_EXHAUSTED,
            "the stream had no request for 0.1 s, which is the limit",
        )
    assert served.events == []


@pytest.mark.asyncio
async def test_a_frame_of_an_unknown_kind_is_ignored_and_a_broken_one_ends_its_connection_alone(serve):
    served = await serve()
    async with connect(served) as good:
        await good.say(CLUSTER)
        await good.ack(await good.hear())
        client = H2Connection()
        client.initiate_connection()
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        unknown = bytes.fromhex("000001ee000000000000")
        writer.write(client.data_to_send() + unknown)
        client.ping(b"whatever")
        writer.write(client.data_to_send())
        seen = b""
        async with asyncio.timeout(PATIENCE_S):
            while b"whatever" not in seen:
                seen += await reader.read(100)
        writer.write(bytes.fromhex("000001000000000001ff"))  # data of a stream that there is not
        await read_all(reader)
        writer.close()
        await until(lambda: served.server.connection_count == 1)
        served.put(CLUSTER, a="1")
        assert [resource.name for resource in (await good.hear()).resources] == ["a"]


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("encrypted", [False, True])
@pytest.mark.parametrize("unsent", [0, 24])
def test_a_half_open_connection_is_noticed_idle_or_with_unsent_bytes(unsent, encrypted, loop, tmp_path):
    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(freeze(unsent, *tls(tmp_path) if encrypted else (None, None)))


async def freeze(unsent: int, certificates: Certificates | None, context: ssl.SSLContext | None) -> None:
    """A connection on which nothing comes and goes any more, with so many megabytes still to be sent."""
    settings = Settings(keepalive_seconds=0.2, keepalive_timeout_seconds=0.2, send_seconds=100)
    served = Served(settings, certificates=certificates)
    served.port = await served.server.start("127.0.0.1", 0)
    served.views.open()
    async with Relay(served.port).running() as relay:
        channel = Channel("127.0.0.1", relay.port, ssl=context)
        client = await open_stream(channel)
        await client.say(CLUSTER)
        await client.ack(await client.hear())
        # idle, and answered: nothing happens
        await until(lambda: served.server.counters.get("pings", 0) >= 4)
        assert not [event for event in served.events if isinstance(event, ProxyDisconnected)]
        relay.freeze()
        began = asyncio.get_running_loop().time()
        served.views.apply(
            ("ns/gw", CLUSTER, f"big-{number}", Row(f"big-{number}", "1", bytes(2**20))) for number in range(unsent)
        )
        gone = await served.event(ProxyDisconnected)
        assert asyncio.get_running_loop().time() - began < 3
        channel.close()
    assert gone.reason == "the client did not answer a ping for 0.2 s"
    assert served.server.stream_count == 0
    assert served.server.connection_count == 0
    assert served.server.counters["connections_silent"] == 1
    await served.server.stop()


@pytest.mark.asyncio
async def test_a_response_that_is_never_answered_ends_the_connection(serve):
    served = await serve(Settings(answer_seconds=0.1))
    async with connect(served) as client:
        await client.say(LISTENER)
        await client.hear()
        gone = await served.event(ProxyDisconnected)
    assert gone.reason == "the proxy did not answer a response for 0.1 s"
    assert served.server.counters["aborted"] == 1


@pytest.mark.asyncio
async def test_clusters_may_be_unanswered_for_as_long_as_one_warms(serve):
    served = await serve(Settings(answer_seconds=0.1))

    async def pass_time(aborted: int) -> None:
        """Until another one, which answers nothing and came later, is aborted."""
        async with connect(served) as other:
            await other.say(LISTENER)
            await other.hear()
            await served.event(ProxyDisconnected, aborted)

    async with connect(served) as client:
        await client.say(CLUSTER)
        await client.hear()
        await pass_time(1)
        served.put(LISTENER, l="1")
        await client.say(LISTENER)
        await client.ack(await client.hear())
        await pass_time(2)
        assert served.server.counters["aborted"] == 2
        assert not [gone for gone in served.events if isinstance(gone, ProxyDisconnected) and gone.proxy == "envoy-1#1"]


@pytest.mark.asyncio
async def test_whoever_says_anything_is_alive(serve):
    served = await serve(Settings(answer_seconds=0.3))
    async with connect(served) as client:
        await client.say(LISTENER)
        await client.hear()
        await client.say(LISTENER, "one-more")
        await client.say(CLUSTER)
        await served.event(ProxyConnected)
        await client.hear()
        assert "aborted" not in served.server.counters
