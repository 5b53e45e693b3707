"""HTTP/2 and gRPC from clients that break both: no crash, nothing left behind, a clear status where there is one to give.

Each test has a bystander, on a connection of its own, who is served before and after.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio
from grpclib.const import Status
from h2.errors import ErrorCodes
from hpack import Encoder
from hypothesis import strategies as st

from controlplane.xds import ClientStatus, Health, http2
from tests.xds.fuzzing import fuzz, fuzzer
from tests.xds.hostile import (
    HEADERS,
    METHOD,
    PATIENT,
    PREFACE,
    Bystander,
    Hostile,
    Watch,
    attack,
    data,
    headers,
    message,
    nothing_is_left,
    raw_frame,
    reset,
    settings,
)
from tests.xds.serving import PATIENCE_S, Served
from tests.xds.test_fuzz_requests import CORPUS, MUTATED

HELLO = message(CORPUS["cds-first"])
HEALTH = "/grpc.health.v1.Health/Check"
CSDS = "/envoy.service.status.v3.ClientStatusDiscoveryService/FetchClientStatus"


def with_headers(**changed: str | None) -> tuple[tuple[str, str], ...]:
    """The usual headers but for these; None leaves one out, and ``method`` means ``:method``."""
    names = {"method": ":method", "path": ":path", "scheme": ":scheme", "content_type": "content-type"}
    given = {names.get(name, name.replace("_", "-")): value for name, value in changed.items()}
    kept = [(name, given.pop(name, value)) for name, value in HEADERS]
    return tuple((name, value) for name, value in [*kept, *given.items()] if value is not None)


def make_server() -> Served:
    """A server with all its services."""
    served: Served
    services = (Health(lambda: True), ClientStatus(lambda: served.server))
    served = Served(PATIENT, services)
    return served


class Scene:
    """A server, a bystander, and what the server had at the beginning."""

    def __init__(self, served: Served, bystander: Bystander) -> None:
        self.served = served
        self.bystander = bystander
        self.watch = Watch()
        self._streams = served.server.stream_count
        self._tasks = len(asyncio.all_tasks())

    async def is_undisturbed(self) -> None:
        """The bystander is served, nobody complained, and nothing is left."""
        await self.bystander.is_served()
        await nothing_is_left(self.served, self._streams, self._tasks)
        assert self.watch.complaints == []


async def make_scene() -> Scene:
    served = make_server()
    served.port = await served.server.start("127.0.0.1", 0)
    served.views.open()
    return Scene(served, await Bystander.connect(served))


@pytest_asyncio.fixture
async def scene() -> AsyncIterator[Scene]:
    made = await make_scene()
    with made.watch.watching():
        yield made
        await made.is_undisturbed()
    made.bystander.leave()
    await made.served.server.stop(1.0)


# What has an answer.


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("changed", "status", "grpc_status"),
    [
        ({"path": "/nowhere"}, "200", Status.UNIMPLEMENTED),
        ({"path": ""}, None, None),
        ({"method": "GET"}, "405", None),
        ({"content_type": "text/plain"}, "415", Status.UNKNOWN),
        ({"content_type": "application/grpc+json"}, "415", Status.UNKNOWN),
        ({"content_type": None}, "415", Status.UNKNOWN),
        ({"te": None}, "400", Status.UNKNOWN),
        ({"path": METHOD.replace("Delta", "Stream")}, "200", Status.UNIMPLEMENTED),
    ],
)
async def test_a_wrong_request_has_an_http_or_grpc_status(scene, changed, status, grpc_status):
    async with attack(scene.served) as client:
        client.begin()
        client.send(headers(1, with_headers(**changed)))
        if status is None:
            assert (await client.ended()).goaway == ErrorCodes.PROTOCOL_ERROR
            return
        said = await client.until(1)
        assert said[":status"] == status
        assert said.get("grpc-status") == (None if grpc_status is None else str(grpc_status.value))


@pytest.mark.asyncio
@pytest.mark.parametrize("path", [METHOD, HEALTH, CSDS])
@pytest.mark.parametrize(
    ("content", "status"),
    [
        (message(b"", length=2**32 - 1), Status.RESOURCE_EXHAUSTED),
        (message(b"abc", flag=1), Status.UNIMPLEMENTED),
        (message(b"abc", flag=255), Status.UNIMPLEMENTED),
        (message(b"abc", length=4), Status.INVALID_ARGUMENT),
        (b"\x00\x00", Status.INVALID_ARGUMENT),
        (message(b"\xff\xff\xff"), Status.INVALID_ARGUMENT),
    ],
)
async def test_a_wrong_message_has_a_status(scene, path, content, status):
    async with attack(scene.served) as client:
        client.begin()
        client.send(headers(1, with_headers(path=path)), data(1, content, end=True))
        assert (await client.until(1)).get("grpc-status") == str(status.value)


@pytest.mark.asyncio
@pytest.mark.parametrize("path", [HEALTH, CSDS])
async def test_a_call_without_a_request_has_a_status(scene, path):
    async with attack(scene.served) as client:
        client.begin()
        client.send(headers(1, with_headers(path=path), end=True))
        assert (await client.until(1)).get("grpc-status") == str(Status.INVALID_ARGUMENT.value)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "header", [("x-bin", "A"), ("grpc-timeout", "soon"), ("grpc-timeout", "0n"), ("grpc-status", "x")]
)
async def test_metadata_that_nobody_reads_is_not_looked_at(scene, header):
    async with attack(scene.served) as client:
        client.begin()
        client.send(headers(1, (*with_headers(path=HEALTH), header)), data(1, message(b""), end=True))
        assert (await client.until(1))["grpc-status"] == "0"


@pytest.mark.asyncio
async def test_a_handler_that_cannot_answer_does_not_leave_its_stream_open(scene, monkeypatch):
    monkeypatch.setattr("grpclib.server.Deadline.from_headers", lambda headers: 1 / 0)
    async with attack(scene.served) as client:
        client.begin()
        client.send(headers(1))
        await client.until(1)
        assert client.answer.resets[1] == ErrorCodes.INTERNAL_ERROR
    assert len(scene.watch.complaints) == 1  # grpclib's own, of a failure of ours
    scene.watch.complaints.clear()


@pytest.mark.asyncio
async def test_a_stream_that_is_cut_off_leaves_nothing(scene):
    cut = [b"", HELLO[:3], HELLO[:20], HELLO, HELLO + HELLO[:9]]
    async with attack(scene.served) as client:
        client.begin()
        for number, content in enumerate(cut * 4):
            client.send(headers(2 * number + 1), data(2 * number + 1, content))
        for number in range(len(cut) * 4):
            client.send(reset(2 * number + 1))
        client.send(headers(1001, with_headers(path=HEALTH)), data(1001, message(b""), end=True))
        assert (await client.until(1001))["grpc-status"] == "0"


@pytest.mark.asyncio
async def test_a_stream_that_is_reset_before_it_begins_is_forgotten(scene):
    """In one packet, so that its handler has no time to start."""
    async with attack(scene.served) as client:
        client.begin()
        client.send(*(headers(number) + data(number, HELLO) + reset(number) for number in range(1, 401, 2)))
        client.send(headers(1001, with_headers(path=HEALTH)), data(1001, message(b""), end=True))
        assert (await client.until(1001))["grpc-status"] == "0"
        [hostile] = [found for found in scene.served.server._server.connections if found.processor.streams == {}]
        assert hostile.processor.streams == {}


@pytest.mark.asyncio
async def test_a_frame_of_a_kind_that_nobody_knows_is_ignored(scene):
    async with attack(scene.served) as client:
        client.begin()
        client.send(raw_frame(0xFA, 0xFF, 0, b"grease"), raw_frame(0x0A, 0, 0, b"\x00\x01ah3=x"))
        client.send(headers(1, with_headers(path=HEALTH)), raw_frame(0xBB, 1, 1, b""))
        client.send(data(1, message(b""), end=True))
        assert (await client.until(1))["grpc-status"] == "0"


@pytest.mark.asyncio
async def test_an_answered_stream_may_not_go_on(scene):
    async with attack(scene.served) as client:
        client.begin()
        client.send(headers(1, with_headers(path=HEALTH)), data(1, message(b"")))
        await client.until(1)
        while 1 not in client.answer.resets:
            assert await client._more()
        assert client.answer.resets[1] == ErrorCodes.NO_ERROR
        client.send(data(1, bytes(100)), data(1, bytes(100), end=True))


# What ends the connection.

BROKEN = {
    "HTTP/1": b"GET / HTTP/1.1\r\nHost: test\r\n\r\n",
    "TLS": bytes.fromhex("16030100c8010000c40303") + bytes(200),
    "nothing of anything": bytes(range(256)) * 4,
    "zeros": bytes(1000),
    "a frame too long": PREFACE + settings() + raw_frame(0, 0, 1, bytes(20_000)),
    "headers that are no HPACK": PREFACE + settings() + headers(1, raw=b"\xff" * 50),
    "data before headers": PREFACE + settings() + data(1, b"x"),
    "an even stream": PREFACE + settings() + headers(2),
    "a stream again": PREFACE + settings() + headers(5) + headers(3),
    "no method": PREFACE + settings() + headers(1, HEADERS[1:]),
    "no path": PREFACE + settings() + headers(1, with_headers(path=None)),
    "header in capitals": PREFACE + settings() + headers(1, (*HEADERS, ("Upper", "x"))),
    "header not in ASCII": PREFACE + settings() + headers(1, raw=Encoder().encode([*HEADERS, (b"x", b"\xff\xfe")])),
    "header with a newline": PREFACE + settings() + headers(1, (*HEADERS, ("x", "a\r\nb"))),
    "huge headers": PREFACE + settings() + headers(1, (*HEADERS, ("x", "y" * 70_000))),
    "endless headers": PREFACE + settings() + raw_frame(1, 0, 1, b"") + raw_frame(9, 0, 1, b"") * 200,
    "a bomb of headers": PREFACE
    + settings()
    + headers(1, raw=Encoder().encode([("x", "y" * 4000)]) + b"\xbe" * 16_000),
    "window of nothing": PREFACE + settings() + raw_frame(8, 0, 0, bytes(4)),
    "window beyond all": PREFACE + settings() + raw_frame(8, 0, 0, struct.pack(">I", 2**31 - 1)) * 2,
    "settings that cannot be": PREFACE + raw_frame(4, 0, 0, struct.pack(">HI", 5, 1)),
    "settings cut off": PREFACE + raw_frame(4, 0, 0, b"abc"),
    "a ping too short": PREFACE + settings() + raw_frame(6, 0, 0, b"abc"),
    "a push": PREFACE + settings() + raw_frame(5, 4, 1, struct.pack(">I", 2)),
    "a goaway": PREFACE + settings() + raw_frame(7, 0, 0, bytes(8)),
    "a priority of itself": PREFACE + settings() + raw_frame(2, 0, 1, struct.pack(">IB", 1, 0)),
}


@pytest.mark.asyncio
@pytest.mark.parametrize("name", BROKEN)
async def test_broken_http2_ends_the_connection(scene, name):
    async with attack(scene.served) as client:
        client.send(BROKEN[name])
        answer = await client.ended()
        assert answer.goaway is not None or name == "a goaway"


@pytest.mark.asyncio
async def test_what_was_served_on_a_connection_ends_with_it(scene):
    async with attack(scene.served) as client:
        client.begin()
        client.send(headers(1), data(1, HELLO), headers(3), data(3, HELLO))
        async with asyncio.timeout(PATIENCE_S):
            while scene.served.server.stream_count < 3:  # noqa: ASYNC110
                await asyncio.sleep(0)
        client.send(data(99, b"never opened"))
        assert (await client.ended()).goaway is not None
        await nothing_is_left(scene.served, 1, len(asyncio.all_tasks()))


# What costs more than it should.


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "flood",
    [
        pytest.param([headers(number) + reset(number) for number in range(1, 10_001, 2)], id="resets"),
        pytest.param([raw_frame(6, 0, 0, bytes(8))] * 20_000, id="pings"),
        pytest.param([settings()] * 20_000, id="settings"),
        pytest.param([raw_frame(2, 0, 3, struct.pack(">IB", 1, 0))] * 20_000, id="priorities"),
    ],
)
async def test_a_flood_ends_its_connection_and_lets_others_have_their_turn(scene, flood):
    async with attack(scene.served) as client:
        client.begin()
        client.send(*flood)
        serving = [asyncio.create_task(scene.bystander.is_served())]
        answer = await client.ended()
        await asyncio.gather(*serving)
    assert answer.goaway == ErrorCodes.ENHANCE_YOUR_CALM


@pytest.mark.asyncio
async def test_one_read_is_not_taken_in_whole(scene, monkeypatch):
    """A turn ends when its time is over, however much of a read is left; the rest is taken in later, in order."""
    rounds = 0
    fed: list[tuple[int, int]] = []
    feed = http2.Protocol._feed

    async def count_rounds() -> None:
        nonlocal rounds
        while True:
            rounds += 1
            await asyncio.sleep(0)

    def slowly(self: http2.Protocol, content: bytes) -> None:
        fed.append((rounds, len(content)))
        feed(self, content)
        time.sleep(http2.TURN_SECONDS)

    monkeypatch.setattr(http2.Protocol, "_feed", slowly)
    counting = asyncio.create_task(count_rounds())
    async with attack(scene.served) as client:
        client.begin()
        client.send(*(raw_frame(8, 0, 0, struct.pack(">I", 1)) for _ in range(2000)))
        client.send(headers(1, with_headers(path=HEALTH)), data(1, message(b""), end=True))
        assert (await client.until(1))["grpc-status"] == "0"
    counting.cancel()
    monkeypatch.undo()
    assert max(octets for _, octets in fed) <= 4096
    assert max(Counter(found for found, _ in fed).values()) <= 2


@pytest.mark.asyncio
async def test_thousands_of_short_streams_are_served(scene):
    async with attack(scene.served) as client:
        client.begin()
        for first in range(1, 4001, 80):
            for number in range(first, first + 80, 2):
                client.send(headers(number, with_headers(path=HEALTH)), data(number, message(b""), end=True))
            for number in range(first, first + 80, 2):
                assert (await client.until(number))["grpc-status"] == "0"
    await scene.is_undisturbed()
    assert scene.served.server.counters.get("connections_broken", 0) == 0


@pytest.mark.asyncio
async def test_replies_that_nobody_reads_do_not_pile_up(scene, monkeypatch):
    monkeypatch.setattr(http2, "MAX_IDLE_FRAMES", 10**9)
    monkeypatch.setattr(http2, "MAX_UNREAD", 2**14)
    async with attack(scene.served) as client:
        client.begin()
        client.writer.transport.pause_reading()
        async with asyncio.timeout(PATIENCE_S):
            while len(known := scene.served.server._server.connections) < 2:  # noqa: ASYNC110
                await asyncio.sleep(0)
        for connection in known:
            connection._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        pings = raw_frame(6, 0, 0, bytes(8)) * 5000
        async with asyncio.timeout(PATIENCE_S):
            while not client.writer.transport.is_closing():
                client.send(pings)
                try:
                    await client.writer.drain()
                except ConnectionError:
                    break
    assert scene.served.server.counters["connections_broken"] == 1


@pytest.mark.asyncio
async def test_a_window_that_is_never_opened_holds_up_its_own_stream_alone(scene):
    scene.served.put("type.googleapis.com/envoy.config.cluster.v3.Cluster", **{f"c{n}": "1" for n in range(50)})
    await scene.bystander._client.ack(await scene.bystander._client.hear())
    async with attack(scene.served) as client:
        client.send(PREFACE, settings(INITIAL_WINDOW_SIZE=0))
        client.send(headers(1), data(1, HELLO), headers(3), data(3, HELLO))
        while 1 not in client.answer.headers:
            assert await client._more()
        client.send(settings(INITIAL_WINDOW_SIZE=5), settings(INITIAL_WINDOW_SIZE=0), reset(1))
        await scene.bystander.is_served()


# Anything at all.

STREAMS = st.sampled_from([0, 1, 1, 1, 3, 3, 5, 2, 2**31 - 1])
PATHS = st.sampled_from([METHOD, METHOD, HEALTH, HEALTH.replace("Check", "Watch"), CSDS, "/nowhere"])
FIELDS = st.sampled_from(
    [
        ("grpc-timeout", "1n"),
        ("grpc-timeout", "99999999H"),
        ("grpc-timeout", "-1S"),
        ("x-bin", "AA"),
        ("x", ""),
        ("te", "gzip"),
        (":path", METHOD),
        ("content-length", "5"),
        ("grpc-encoding", "gzip"),
        ("host", "other"),
    ]
)
BODIES = st.one_of(
    st.just(HELLO),
    MUTATED.map(message),
    st.builds(
        message, st.binary(max_size=20), length=st.sampled_from([0, 5, 2**16, 2**32 - 1]), flag=st.integers(0, 2)
    ),
    st.binary(max_size=30),
)
STEPS = st.one_of(
    st.builds(
        lambda stream, path, more, end: headers(stream, (*with_headers(path=path), *more), end=end),
        STREAMS,
        PATHS,
        st.lists(FIELDS, max_size=2),
        st.booleans(),
    ),
    st.builds(lambda stream, body, end: data(stream, body, end=end), STREAMS, BODIES, st.booleans()),
    st.builds(reset, STREAMS, st.sampled_from([0, 8, 2**32 - 1])),
    st.builds(raw_frame, st.integers(0, 16), st.integers(0, 255), STREAMS, st.binary(max_size=24)),
    st.builds(lambda size: settings(INITIAL_WINDOW_SIZE=size), st.sampled_from([0, 1, 65535, 2**31 - 1])),
    st.builds(
        lambda stream, more: raw_frame(8, 0, stream, struct.pack(">I", more)),
        STREAMS,
        st.sampled_from([0, 1, 2**16, 2**31 - 1]),
    ),
    st.binary(max_size=40),
)
PAUSE = "pause"
SCRIPTS = st.tuples(st.booleans(), st.lists(STEPS | st.just(PAUSE), max_size=12), st.booleans())
"""Whether it begins well; what it sends, with pauses in which the server has its turn; whether it says goodbye."""


async def play(client: Hostile, script: tuple[bool, list[Any], bool]) -> None:
    """What a script says."""
    begins_well, steps, ends_well = script
    if begins_well:
        client.begin()
    for step in steps:
        if step == PAUSE:
            for _ in range(5):
                await asyncio.sleep(0)
        else:
            client.send(step)
    if ends_well and not client.writer.is_closing():
        with contextlib.suppress(OSError):  # the server was first
            client.writer.write_eof()
        await client.ended()


def run_in(runner: asyncio.Runner, scene: Scene) -> Callable[[Any], None]:
    """Plays a script before the scene, and looks at what is left."""

    async def check(script: tuple[bool, list[Any], bool]) -> None:
        scene.watch.complaints.clear()
        with scene.watch.watching():
            async with attack(scene.served) as client:
                await play(client, script)
            await scene.is_undisturbed()

    def run(script: tuple[bool, list[Any], bool]) -> None:
        runner.run(check(script))

    return run


@fuzzer
def test_any_frames_leave_nothing_and_disturb_nobody():
    with asyncio.Runner() as runner:
        scene: Scene = runner.run(make_scene())
        try:
            fuzz(run_in(runner, scene), SCRIPTS, examples=150)
        finally:
            scene.bystander.leave()
            runner.run(scene.served.server.stop(1.0))
