"""The server over real sockets, with a grpclib client in Envoy's place."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import struct
from collections.abc import AsyncIterator

import pytest
from grpclib.client import Channel
from grpclib.const import Status
from structlog.testing import capture_logs

from controlplane._proto.envoy.config.core.v3 import Node
from controlplane._proto.envoy.service.discovery.v3 import DeltaDiscoveryRequest
from controlplane._proto.google.protobuf import Struct, Value
from controlplane._proto.google.rpc import Status as RpcStatus
from controlplane._proto.grpc.health.v1 import (
    HealthBase,
    HealthCheckRequest,
    HealthCheckResponse,
    HealthCheckResponseServingStatus,
    HealthStub,
)
from controlplane.xds import (
    ProxyAcknowledged,
    ProxyConnected,
    ProxyDisconnected,
    ProxyRejected,
    ResourceRejected,
    Settings,
    Views,
    XdsServer,
)
from controlplane.xds.server import SERVICE
from controlplane.xds.types import CLUSTER, LISTENER, LOAD_ASSIGNMENT, SECRET
from controlplane.xds.wire import Request
from tests.xds.serving import PATIENCE_S, Row, Served, connect

pytestmark = pytest.mark.asyncio


async def test_a_client_is_served_and_events_tell_of_it(serve):
    served = await serve(Settings(report_seconds=0.01, identifier="replica-1"))
    served.put(CLUSTER, seq=7, a="1", b="1")
    async with connect(served) as client:
        await client.say(CLUSTER)
        response = await client.hear()
        assert [(resource.name, resource.version) for resource in response.resources] == [("a", "1"), ("b", "1")]
        assert response.system_version_info == "7"
        assert response.control_plane.identifier == "replica-1"
        await client.ack(response)
        assert await served.event(ProxyAcknowledged) == ProxyAcknowledged(
            proxy="envoy-1#1", scope="ns/gw", seq=7, rejected=0
        )
        served.put(CLUSTER, seq=8, a="2")
        response = await client.hear()
        await client.say(
            CLUSTER,
            role=None,
            response_nonce=response.nonce,
            error_detail=RpcStatus(code=13, message='inline_string: "-----BEGIN PRIVATE KEY-----\\nMII"'),
        )
        rejected = await served.event(ProxyRejected)
        assert rejected.resources == (("a", "2"),)
        guilty = await served.event(ResourceRejected)
        assert (guilty.name, guilty.version, guilty.fallback_version) == ("a", "2", "1")
        response = await client.hear()
        assert [(resource.name, resource.version) for resource in response.resources] == [("a", "1")]
        await client.ack(response)
        assert rejected.message == 'inline_string: "[redacted]"'
        assert await served.event(ProxyAcknowledged, 2) == ProxyAcknowledged(
            proxy="envoy-1#1", scope="ns/gw", seq=8, rejected=1
        )
    gone = await served.event(ProxyDisconnected)
    assert (gone.proxy, gone.scope) == ("envoy-1#1", "ns/gw")
    connected = await served.event(ProxyConnected)
    assert (connected.node, connected.scope) == ("envoy-1", "ns/gw")
    assert connected.address.startswith("127.0.0.1:")


async def test_s1_a_request_without_type_ends_the_stream_with_a_reason(serve):
    served = await serve()
    async with connect(served) as client:
        await client.say("")
        assert await client.end() == (
            Status.INVALID_ARGUMENT,
            "the request has no type_url, which an aggregated stream needs",
        )


async def test_s2_the_node_is_remembered_and_later_ones_are_ignored(serve):
    served = await serve()
    served.put(LISTENER, l="1")
    async with connect(served) as client:
        await client.say(CLUSTER)
        await client.hear()
        await client.say(LISTENER, role="controlplane~another~gateway")
        response = await client.hear()
        assert [resource.name for resource in response.resources] == ["l"]
    assert len([event for event in served.events if isinstance(event, ProxyConnected)]) == 1


@pytest.mark.parametrize("role", [None, "", "sidecar~1.2.3.4", "controlplane~only-one"])
async def test_s2_a_stream_without_a_valid_node_is_refused(serve, role):
    served = await serve()
    async with connect(served) as client:
        await client.say(CLUSTER, role=role)
        status, message = await client.end()
    assert status is Status.INVALID_ARGUMENT
    assert "node" in message
    assert served.events == []


async def test_s14_streams_are_held_until_the_gate_opens(serve):
    served = await serve(gate=False)
    served.put(CLUSTER, early="1")
    async with connect(served) as client:
        await client.say(CLUSTER)
        await served.event(ProxyConnected)
        [proxy] = served.server.statistics()
        assert proxy["held_at_gate"]
        heard = asyncio.ensure_future(client.hear())
        served.put(CLUSTER, late="1")
        for _ in range(10):
            await asyncio.sleep(0)
        assert not heard.done()
        served.views.open()
        response = await heard
        assert [resource.name for resource in response.resources] == ["early", "late"]


async def test_s14_a_stream_that_ends_while_it_is_held_is_noticed(serve):
    served = await serve(gate=False)
    async with connect(served) as client:
        await client.say(CLUSTER)
        await served.event(ProxyConnected)
    await served.event(ProxyDisconnected)
    assert served.server.stream_count == 0


async def test_s13_an_ended_stream_leaves_nothing(serve):
    served = await serve()
    for number in range(3):
        async with connect(served) as client:
            await client.say(CLUSTER)
            await client.hear()
        await served.event(ProxyDisconnected, number + 1)
    assert served.server.stream_count == 0
    assert served.views._views == {}


async def test_a_client_that_ends_its_side_is_answered_with_ok(serve):
    served = await serve()
    async with connect(served) as client:
        await client.say(CLUSTER)
        await client.hear()
        await client.stream.end()
        assert await client.end() == (Status.OK, None)
    assert (await served.event(ProxyDisconnected)).reason == "the proxy ended the stream"


async def test_s15_a_message_beyond_the_limit_is_refused_before_its_body_is_read(serve):
    served = await serve(Settings(max_message=1000))
    async with connect(served) as client:
        await client.say(CLUSTER)
        await client.hear()
        await client.stream._stream.send_data(struct.pack(">BI", 0, 2**32 - 1) + b"x" * 100)
        assert await client.end() == (
            Status.RESOURCE_EXHAUSTED,
            "the request has 4294967295 octets; the limit is 1000",
        )
    assert served.server.counters["ended_resource_exhausted"] == 1


async def test_a_message_that_is_no_protobuf_ends_the_stream(serve):
    served = await serve()
    async with connect(served) as client:
        await client.say(CLUSTER)
        await client.hear()
        await client.stream._stream.send_data(struct.pack(">BI", 0, 3) + b"\x1a\x05a")
        assert await client.end() == (Status.INVALID_ARGUMENT, "the request is not protobuf: it is cut off")


async def test_a_stream_that_ends_within_a_message_is_told_so(serve):
    served = await serve()
    async with connect(served) as client:
        await client.stream._stream.send_data(struct.pack(">BI", 0, 100) + b"cut", end_stream=True)
        assert await client.end() == (Status.INVALID_ARGUMENT, "the stream ended within a request")


async def test_a_compressed_message_is_refused(serve):
    served = await serve()
    async with connect(served) as client:
        await client.stream._stream.send_data(struct.pack(">BI", 1, 3) + b"abc")
        status, _ = await client.end()
        assert status is Status.UNIMPLEMENTED


async def test_state_of_the_world_is_refused_with_advice(serve):
    served = await serve()
    async with connect(served, "StreamAggregatedResources") as client:
        status, message = await client.end()
    assert status is Status.UNIMPLEMENTED
    assert "DELTA_GRPC" in message


async def test_the_number_of_streams_is_limited(serve):
    served = await serve(Settings(max_streams=1))
    async with connect(served) as first:
        await first.say(CLUSTER)
        await first.hear()
        async with connect(served) as second:
            assert await second.end() == (Status.RESOURCE_EXHAUSTED, "1 streams are open; the limit is 1")
        served.put(CLUSTER, a="1")
        # the first, which has not acknowledged, is undisturbed
        assert served.server.stream_count == 1


async def test_an_error_of_ours_ends_its_stream_alone(serve, monkeypatch):
    served = await serve()
    async with connect(served) as good, connect(served) as bad:
        await good.say(CLUSTER)
        await good.ack(await good.hear())
        await bad.say(LISTENER)
        await bad.hear()
        broken = served.server._streams[max(served.server._streams)]
        monkeypatch.setattr(broken._machine, "receive", lambda request: 1 / 0)
        with capture_logs() as logs:
            await bad.say(LISTENER, role=None)
            status, message = await bad.end()
        assert status is Status.INTERNAL
        assert "its log says why" in message
        assert [entry["event"] for entry in logs if entry["log_level"] == "error"] == ["stream_failed"]
        assert served.server.counters["ended_internal"] == 1
        served.put(CLUSTER, a="1")
        assert [resource.name for resource in (await good.hear()).resources] == ["a"]


async def test_an_error_while_a_commit_is_taken_in_ends_its_stream_alone(serve, monkeypatch):
    served = await serve()
    async with connect(served) as bad, connect(served) as good:
        for client in (bad, good):
            await client.say(CLUSTER)
            await client.ack(await client.hear())
            await served.event(ProxyConnected, 1)
        first = served.server._streams[min(served.server._streams)]
        monkeypatch.setattr(first._machine, "changed", lambda before: 1 / 0)
        with capture_logs() as logs:
            served.put(CLUSTER, a="1")
            assert [resource.name for resource in (await good.hear()).resources] == ["a"]
            status, _ = await bad.end()
        assert status is Status.INTERNAL
        assert [entry["event"] for entry in logs if entry["log_level"] == "error"] == ["stream_failed"]
        assert (await served.event(ProxyDisconnected)).reason == "ZeroDivisionError"
        assert served.server.stream_count == 1


async def test_a_client_that_is_refused_again_and_again_is_logged_once(serve):
    served = await serve()
    with capture_logs() as logs:
        for _ in range(3):
            async with connect(served) as client:
                await client.say(CLUSTER, role="")
                await client.end()
    assert [entry["event"] for entry in logs] == ["stream_refused"]
    assert served.server.counters["ended_invalid_argument"] == 3


async def test_two_clients_are_sent_the_same_bytes(serve):
    served = await serve()
    served.put(CLUSTER, a="1")
    async with connect(served) as first, connect(served) as second:
        for client in (first, second):
            await client.say(CLUSTER)
            await client.ack(await client.hear())
        parts = [
            served.views.view("ns/gw").table(CLUSTER).get("a").parts(),
            served.views.view("ns/gw").table(CLUSTER).get("a").parts(),
        ]
        assert all(one is other for one, other in zip(*parts, strict=True))
        served.put(CLUSTER, a="2")
        assert await first.hear() == await second.hear()


async def test_scopes_are_apart(serve):
    served = await serve()
    served.put(CLUSTER, scope="ns/gw", mine="1")
    served.put(CLUSTER, scope="ns/other", theirs="1")
    async with connect(served) as client:
        await client.say(CLUSTER, "*", "theirs")
        response = await client.hear()
        assert [resource.name for resource in response.resources] == ["mine"]
        assert (await client.hear()).removed_resources == ["theirs"]


async def test_stop_ends_streams_with_unavailable_also_held_ones(serve):
    for gate in (True, False):
        served = await serve(gate=gate)
        async with connect(served) as client:
            await client.say(CLUSTER)
            await served.event(ProxyConnected)
            if gate:
                await client.hear()
            stopping = asyncio.ensure_future(served.server.stop(5.0))
            status, message = await client.end()
            await stopping
        assert status is Status.UNAVAILABLE
        assert "shutting down" in message
        assert (await served.event(ProxyDisconnected)).reason == message
        with pytest.raises(OSError, match="Connect"):
            await asyncio.open_connection("127.0.0.1", served.port)


async def test_stop_aborts_what_does_not_end_within_the_deadline(serve):
    served = await serve()
    async with frozen_client(served, resources=40):
        await asyncio.wait_for(served.server.stop(0.1), PATIENCE_S)
    assert served.server.stream_count == 0


@contextlib.asynccontextmanager
async def frozen_client(served: Served, resources: int) -> AsyncIterator[asyncio.StreamWriter]:
    """A client that asks for more than all buffers hold, and then reads nothing."""
    import h2.connection
    import h2.settings

    served.views.apply(
        ("ns/gw", CLUSTER, f"big-{number:03}", Row(f"big-{number:03}", "1", bytes(2**20)))
        for number in range(resources)
    )
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port, limit=2**16)
    connection = h2.connection.H2Connection()
    connection.initiate_connection()
    connection.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 2**31 - 1})
    connection.increment_flow_control_window(2**30)
    headers = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", SERVICE + "DeltaAggregatedResources"),
        (":authority", "test"),
        ("te", "trailers"),
        ("content-type", "application/grpc+proto"),
    ]
    connection.send_headers(1, headers)
    node = Node(id="frozen", metadata=Struct(fields={"role": Value(string_value="controlplane~ns~gw")}))
    message = bytes(DeltaDiscoveryRequest(node=node, type_url=CLUSTER))
    connection.send_data(1, struct.pack(">BI", 0, len(message)) + message)
    writer.write(connection.data_to_send())
    reader._transport.pause_reading()
    await served.event(ProxyConnected)
    try:
        yield writer
    finally:
        writer.transport.abort()


async def test_a_proxy_that_does_not_read_is_aborted_and_disturbs_nobody(serve):
    served = await serve(Settings(send_seconds=0.3))
    async with frozen_client(served, resources=40), connect(served) as client:
        await client.say(LOAD_ASSIGNMENT, "a")
        await client.ack(await client.hear())
        served.put(LOAD_ASSIGNMENT, a="1")
        assert [resource.name for resource in (await client.hear()).resources] == ["a"]
        gone = await served.event(ProxyDisconnected)
        assert gone.proxy.startswith("frozen#")
        assert gone.reason == "the proxy did not read a response for 0.3 s"
        assert served.server.counters["aborted"] == 1
        assert served.server.stream_count == 1


async def test_a_connection_whose_pings_are_not_answered_is_dropped(serve):
    served = await serve(Settings(keepalive_seconds=0.1, keepalive_timeout_seconds=0.1))
    async with frozen_client(served, resources=0):
        gone = await served.event(ProxyDisconnected)
    assert gone.reason == "the client did not answer a ping for 0.1 s"


async def test_a_herd_of_reconnects_is_served(serve):
    served = await serve()
    served.put(CLUSTER, **{f"c{number}": "1" for number in range(100)})
    versions = {f"c{number}": "1" for number in range(100)}

    async def reconnect() -> int:
        async with connect(served) as client:
            await client.say(CLUSTER, initial_resource_versions=versions)
            return len((await client.hear()).resources)
        raise AssertionError

    assert await asyncio.gather(*(reconnect() for _ in range(50))) == [0] * 50


async def test_s15_what_a_reconnect_claimed_is_not_kept(serve):
    served = await serve()
    versions = {f"c{number}": "1" for number in range(100)}
    served.put(CLUSTER, **versions)
    async with connect(served) as client:
        await client.say(CLUSTER, initial_resource_versions=versions)
        await client.ack(await client.hear())
        await served.event(ProxyConnected)
        [stream] = served.server._streams.values()
        assert stream._first is None
        gc.collect()
        assert not [found for found in gc.get_objects() if isinstance(found, Request) and found.versions]


async def test_secrets_are_resolved_when_they_are_sent_and_appear_nowhere_else(serve):
    served = await serve()
    served.views.apply([("ns/gw", SECRET, "s", Row("s", "1", b"digest only"))])
    served.views._resolve = lambda resource: b""
    served.views.apply([("ns/gw", SECRET, "t", Row("t", "1", b"digest only"))])
    async with connect(served) as client:
        await client.say(SECRET, "t")
        response = await client.hear()
        assert response.resources[0].resource.value == b""
        [proxy] = served.server.statistics()
        assert proxy["types"][SECRET]["sent_versions"] == {"t": "1"}
        assert "digest only" not in str(proxy)


async def test_statistics_are_json(serve):
    import orjson

    served = await serve()
    served.put(CLUSTER, a="1")
    async with connect(served) as client:
        await client.say(CLUSTER)
        await client.hear()
        [proxy] = orjson.loads(orjson.dumps(served.server.statistics()))
        assert proxy["gateway"] == "ns/gw"
        assert proxy["types"][CLUSTER]["sent_versions"] == {"a": "1"}
        assert proxy["types"][CLUSTER]["acknowledged_versions"] == {}
        assert served.server.counters["streams"] == 1


class Health(HealthBase):
    """A service of another kind, on the same port."""

    async def check(self, message: HealthCheckRequest) -> HealthCheckResponse:
        return HealthCheckResponse(status=HealthCheckResponseServingStatus.SERVING)


async def test_other_services_share_the_port(serve):
    served = await serve(services=(Health(),))
    channel = Channel("127.0.0.1", served.port)
    try:
        response = await HealthStub(channel).check(HealthCheckRequest())
        assert response.status == HealthCheckResponseServingStatus.SERVING
    finally:
        channel.close()


async def test_an_address_that_is_taken_is_an_error(serve):
    served = await serve()
    another = XdsServer(Views(), lambda _: None)
    with pytest.raises(OSError, match="in use"):
        await another.start("127.0.0.1", served.port)
    await another.stop()
