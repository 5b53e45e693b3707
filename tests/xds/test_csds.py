"""Client status over a real socket, asked with the generated client and read with protobuf's own decoder."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from grpclib.client import Channel, UnaryUnaryMethod
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from controlplane._proto.envoy.admin.v3 import ClientResourceStatus
from controlplane._proto.envoy.service.status.v3 import (
    ClientConfig,
    ClientStatusDiscoveryServiceStub,
    ClientStatusRequest,
    ClientStatusResponse,
    ConfigStatus,
)
from controlplane._proto.envoy.type.matcher.v3 import (
    DoubleMatcher,
    NodeMatcher,
    RegexMatcher,
    StringMatcher,
    StructMatcher,
    StructMatcherPathSegment,
    ValueMatcher,
)
from controlplane._proto.google.rpc import Status as RpcStatus
from controlplane.xds import (
    Certificates,
    ClientStatus,
    IdentityRule,
    ResourceRejected,
    TlsFiles,
    everyone,
    this_machine,
)
from controlplane.xds.csds import is_loopback
from controlplane.xds.errors import XdsError
from controlplane.xds.transport import PassThrough
from controlplane.xds.types import CLUSTER, LISTENER, LOAD_ASSIGNMENT, ROUTE_CONFIGURATION, SECRET, VIRTUAL_HOST
from tests.authority import Authority
from tests.xds.serving import PATIENCE_S, Row, Served, connect

pytestmark = pytest.mark.asyncio

DESCRIPTORS = Path(__file__).parents[2] / "controlplane" / "_proto" / "descriptors.binpb"

SYNCED, STALE, ERROR, NOT_SENT = (
    ConfigStatus.SYNCED,
    ConfigStatus.STALE,
    ConfigStatus.ERROR,
    ConfigStatus.NOT_SENT,
)
ACKED, NACKED = ClientResourceStatus.ACKED, ClientResourceStatus.NACKED
REQUESTED, DOES_NOT_EXIST = ClientResourceStatus.REQUESTED, ClientResourceStatus.DOES_NOT_EXIST


@pytest.fixture
def serve_status(serve):
    """Starts a server that tells of its clients."""

    async def start(security: Mapping[str, Any] | None = None, **options: Any) -> Served:
        served: Served
        service = ClientStatus(lambda: served.server, **options)
        served = await serve(services=(service,), **(security or {}))
        return served

    return start


@contextlib.asynccontextmanager
async def asking(served: Served) -> AsyncIterator[ClientStatusDiscoveryServiceStub]:
    channel = Channel("127.0.0.1", served.port)
    try:
        yield ClientStatusDiscoveryServiceStub(channel, timeout=PATIENCE_S)
    finally:
        channel.close()


async def fetch(served: Served, *matchers: NodeMatcher, contents: bool = False) -> list[ClientConfig]:
    request = ClientStatusRequest(node_matchers=list(matchers), exclude_resource_contents=not contents)
    async with asking(served) as stub:
        return (await stub.fetch_client_status(request)).config


async def states(served: Served) -> dict[tuple[str, str], tuple[str, ConfigStatus, ClientResourceStatus]]:
    """Of the only proxy, by the type's short name and the resource's."""
    [config] = await fetch(served)
    return {
        (entry.type_url.rpartition(".")[2], entry.name): (entry.version_info, entry.config_status, entry.client_status)
        for entry in config.generic_xds_configs
    }


async def turn(served: Served, count: int) -> None:
    """Returns when the server has read this many requests."""
    async with asyncio.timeout(PATIENCE_S):
        while served.server.counters.get("requests", 0) < count:  # noqa: ASYNC110  nobody tells of a request
            await asyncio.sleep(0)


async def test_nobody_is_connected(serve_status):
    assert await fetch(await serve_status()) == []


async def test_a_proxy_says_who_it_is_and_holds_nothing_at_the_gate(serve):
    served: Served
    service = ClientStatus(lambda: served.server)
    served = await serve(gate=False, services=(service,))
    served.put(CLUSTER, a="1")
    async with connect(served) as client:
        await client.say(CLUSTER, node_id="envoy-7", region="r1", labels={"app": "web"})
        await turn(served, 1)
        [config] = await fetch(served)
    assert config.node.id == "envoy-7"
    assert config.node.locality.region == "r1"
    assert config.node.metadata.fields["role"].string_value == "controlplane~ns~gw"
    assert config.node.metadata.fields["labels"].struct_value.fields["app"].string_value == "web"
    assert config.client_scope == "ns/gw"
    assert config.generic_xds_configs == []


async def test_a_resource_is_stale_until_it_is_acknowledged_and_then_synced(serve_status):
    served = await serve_status()
    served.put(CLUSTER, a="1")
    async with connect(served) as client:
        await client.say(CLUSTER)
        response = await client.hear()
        assert await states(served) == {("Cluster", "a"): ("", STALE, REQUESTED)}
        await client.ack(response)
        await turn(served, 2)
        assert await states(served) == {("Cluster", "a"): ("1", SYNCED, ACKED)}
        served.put(CLUSTER, a="2")
        response = await client.hear()
        assert await states(served) == {("Cluster", "a"): ("1", STALE, ACKED)}
        served.put(CLUSTER, b="1")
        assert await states(served) == {
            ("Cluster", "a"): ("1", STALE, ACKED),
            ("Cluster", "b"): ("", NOT_SENT, REQUESTED),
        }


async def test_a_rejected_resource_says_why_and_in_which_version(serve_status):
    served = await serve_status()
    served.views.apply([("ns/gw", CLUSTER, "a", Row("a", "1", b"body"))])
    async with connect(served) as client:
        await client.say(CLUSTER)
        response = await client.hear()
        error = RpcStatus(code=13, message='no; inline_string: "-----BEGIN PRIVATE KEY-----"')
        await client.say(CLUSTER, role=None, response_nonce=response.nonce, error_detail=error)
        await turn(served, 2)
        [config] = await fetch(served, contents=True)
        [entry] = config.generic_xds_configs
        assert (entry.config_status, entry.client_status, entry.version_info) == (ERROR, NACKED, "")
        assert entry.xds_config is None
        assert entry.error_state.version_info == "1"
        assert entry.error_state.details == 'no; inline_string: "[redacted]"'
        assert entry.error_state.failed_configuration.value == b"body"
        [config] = await fetch(served)
        assert config.generic_xds_configs[0].error_state.failed_configuration is None


async def test_a_proxy_that_rejects_a_version_is_shown_with_the_one_before(serve_status):
    served = await serve_status()
    served.views.apply([("ns/gw", CLUSTER, "a", Row("a", "1", b"good"))])
    async with connect(served) as client:
        await client.say(CLUSTER)
        await client.ack(await client.hear())
        served.views.apply([("ns/gw", CLUSTER, "a", Row("a", "2", b"bad"))])
        response = await client.hear()
        error = RpcStatus(code=13, message="no")
        await client.say(CLUSTER, role=None, response_nonce=response.nonce, error_detail=error)
        await served.event(ResourceRejected)
        served.views.apply(
            [("ns/gw", CLUSTER, "a", Row("a", "1", b"good"))], rejections=[("ns/gw", CLUSTER, "a", True)]
        )
        again = await client.hear()
        assert [(found.name, found.version) for found in again.resources] == [("a", "1")]
        await client.ack(again)
        await turn(served, 4)
        [config] = await fetch(served, contents=True)
        [entry] = config.generic_xds_configs
        assert (entry.config_status, entry.client_status, entry.version_info) == (ERROR, ACKED, "1")
        assert entry.xds_config.value == b"good"
        assert "rejected the newest version" in entry.error_state.details
        served.views.apply(
            [("ns/gw", CLUSTER, "a", Row("a", "3", b"better"))], rejections=[("ns/gw", CLUSTER, "a", False)]
        )
        await client.ack(await client.hear())
        await turn(served, 5)
        assert await states(served) == {("Cluster", "a"): ("3", SYNCED, ACKED)}


async def test_a_name_that_does_not_exist_is_told_as_such(serve_status):
    served = await serve_status()
    async with connect(served) as client:
        await client.say(LOAD_ASSIGNMENT, "nowhere")
        response = await client.hear()
        assert response.removed_resources == ["nowhere"]
        await client.ack(response)
        await turn(served, 2)
        assert await states(served) == {("ClusterLoadAssignment", "nowhere"): ("", SYNCED, DOES_NOT_EXIST)}


async def test_virtual_hosts_are_told_once_their_route_configuration_is_there(serve_status):
    served = await serve_status()
    served.views.apply(
        [
            ("ns/gw", ROUTE_CONFIGURATION, "rc", Row("rc", "1")),
            ("ns/gw", VIRTUAL_HOST, "rc/host", Row("rc/host", "1")),
            ("ns/gw", VIRTUAL_HOST, "other/host", Row("other/host", "1")),
        ]
    )
    async with connect(served) as client:
        await client.say(VIRTUAL_HOST)
        await client.say(ROUTE_CONFIGURATION, "rc", role=None)
        while (response := await client.hear()).type_url != VIRTUAL_HOST:
            await client.ack(response)
        await client.ack(response)
        await turn(served, 4)
        assert await states(served) == {
            ("RouteConfiguration", "rc"): ("1", SYNCED, ACKED),
            ("VirtualHost", "rc/host"): ("1", SYNCED, ACKED),
        }


async def test_contents_are_those_of_the_version_that_is_held(serve_status):
    served = await serve_status()
    served.views.apply([("ns/gw", CLUSTER, "a", Row("a", "1", b"first"))])
    async with connect(served) as client:
        await client.say(CLUSTER)
        await client.ack(await client.hear())
        await turn(served, 2)
        [config] = await fetch(served, contents=True)
        [entry] = config.generic_xds_configs
        assert (entry.xds_config.type_url, entry.xds_config.value) == (CLUSTER, b"first")
        [config] = await fetch(served)
        assert config.generic_xds_configs[0].xds_config is None
        served.views.apply([("ns/gw", CLUSTER, "a", Row("a", "2", b"second"))])
        await client.hear()
        [config] = await fetch(served, contents=True)
        assert config.generic_xds_configs[0].version_info == "1"
        assert config.generic_xds_configs[0].xds_config is None


async def test_a_secret_never_has_contents(serve_status):
    served = await serve_status()
    served.views._resolve = lambda resource: b"THE KEY"
    served.views.apply([("ns/gw", SECRET, name, Row(name, "1", b"THE KEY")) for name in ("held", "rejected")])
    async with connect(served) as client:
        await client.say(SECRET, "held", "rejected")
        for _ in range(2):
            response = await client.hear()
            name = response.resources[0].name
            error = RpcStatus(code=13, message="bad") if name == "rejected" else None
            await client.say(SECRET, role=None, response_nonce=response.nonce, error_detail=error)
        await turn(served, 3)
        [config] = await fetch(served, contents=True)
    assert [entry.config_status for entry in config.generic_xds_configs] == [SYNCED, ERROR]
    assert b"THE KEY" not in bytes(ClientStatusResponse(config=[config]))


async def test_protobuf_itself_reads_the_same(serve_status):
    served = await serve_status()
    served.put(CLUSTER, a="1")
    served.put(LISTENER, l="1")
    descriptors = descriptor_pb2.FileDescriptorSet.FromString(DESCRIPTORS.read_bytes())
    pool = descriptor_pool.DescriptorPool()
    for file in descriptors.file:
        pool.Add(file)
    official = message_factory.GetMessageClass(
        pool.FindMessageTypeByName("envoy.service.status.v3.ClientStatusResponse")
    )
    channel = Channel("127.0.0.1", served.port, codec=PassThrough())
    fetching = UnaryUnaryMethod(
        channel, "/envoy.service.status.v3.ClientStatusDiscoveryService/FetchClientStatus", bytes, bytes
    )
    async with connect(served) as client:
        await client.say(CLUSTER, labels={"app": "web"})
        await client.ack(await client.hear())
        await client.say(LISTENER, role=None)
        await client.hear()
        [config] = official.FromString(await fetching(b"")).config
    channel.close()
    assert config.node.metadata["labels"]["app"] == "web"
    assert [
        (entry.name, entry.version_info, entry.config_status, entry.client_status)
        for entry in config.generic_xds_configs
    ] == [("a", "1", SYNCED, ACKED), ("l", "", STALE, REQUESTED)]


def by_id(**pattern: Any) -> NodeMatcher:
    return NodeMatcher(node_id=StringMatcher(**pattern))


def by_metadata(*path: str, value: ValueMatcher) -> NodeMatcher:
    segments = [StructMatcherPathSegment(key=key) for key in path]
    return NodeMatcher(node_metadatas=[StructMatcher(path=segments, value=value)])


def said(**pattern: Any) -> ValueMatcher:
    return ValueMatcher(string_match=StringMatcher(**pattern))


@pytest.mark.parametrize(
    ("matchers", "found"),
    [
        ((), ["web-1", "web-2", "db-1"]),
        ((NodeMatcher(),), ["web-1", "web-2", "db-1"]),
        ((by_id(exact="web-1"),), ["web-1"]),
        ((by_id(exact="web"),), []),
        ((by_id(prefix="web"),), ["web-1", "web-2"]),
        ((by_id(prefix="WEB", ignore_case=True),), ["web-1", "web-2"]),
        ((by_id(suffix="-1"),), ["web-1", "db-1"]),
        ((by_id(contains="b-"),), ["web-1", "web-2", "db-1"]),
        ((by_id(safe_regex=RegexMatcher(regex="(web|db)-[0-1]")),), ["web-1", "db-1"]),
        ((by_id(safe_regex=RegexMatcher(regex="web")),), []),
        ((by_id(exact="web-2"), by_id(exact="db-1")), ["web-2", "db-1"]),
        ((by_metadata("role", value=said(exact="controlplane~ns~db")),), ["db-1"]),
        ((by_metadata("labels", "tier", value=said(exact="a")),), ["web-1"]),
        ((by_metadata("labels", "tier", value=ValueMatcher(present_match=True)),), ["web-1", "web-2"]),
        ((by_metadata("labels", "tier", value=ValueMatcher(present_match=False)),), ["db-1"]),
        (
            (
                NodeMatcher(
                    node_id=StringMatcher(suffix="-1"),
                    node_metadatas=by_metadata("labels", "tier", value=said(prefix="")).node_metadatas,
                ),
            ),
            ["web-1"],
        ),
    ],
)
async def test_node_matchers_choose_proxies(serve_status, matchers, found):
    served = await serve_status()
    async with connect(served) as first, connect(served) as second, connect(served) as third:
        await first.say(CLUSTER, node_id="web-1", labels={"tier": "a"})
        await first.hear()
        await second.say(CLUSTER, node_id="web-2", labels={"tier": "b"})
        await second.hear()
        await third.say(CLUSTER, node_id="db-1", role="controlplane~ns~db")
        await third.hear()
        assert [config.node.id for config in await fetch(served, *matchers)] == found


@pytest.mark.parametrize(
    ("matcher", "message"),
    [
        (by_id(), "needs one of exact, prefix"),
        (by_id(safe_regex=RegexMatcher(regex="(")), "RE2 cannot compile"),
        (by_id(safe_regex=RegexMatcher(regex="a" * 5000)), "the limit is 4096"),
        (by_metadata("cluster", value=said(exact="a")), "metadata cluster is not remembered"),
        (by_metadata(value=said(exact="a")), "not remembered"),
        (by_metadata("role", value=ValueMatcher(double_match=DoubleMatcher(exact=1.0))), "string_match"),
    ],
)
async def test_what_cannot_be_matched_is_refused(serve_status, matcher, message):
    served = await serve_status()
    with pytest.raises(GRPCError, match=message) as caught:
        await fetch(served, matcher)
    assert caught.value.status is Status.INVALID_ARGUMENT


async def test_an_answer_is_bounded_and_says_how_to_narrow(serve_status):
    served = await serve_status(max_answer=3000)
    served.views.apply([("ns/gw", CLUSTER, "a", Row("a", "1", bytes(1000)))])
    async with contextlib.AsyncExitStack() as stack:
        for number in range(3):
            client = await stack.enter_async_context(connect(served))
            await client.say(CLUSTER, node_id=f"envoy-{number}")
            await client.ack(await client.hear())
        await turn(served, 6)
        assert len(await fetch(served)) == 3
        assert len(await fetch(served, by_id(exact="envoy-1"), contents=True)) == 1
        with pytest.raises(GRPCError) as caught:
            await fetch(served, contents=True)
    assert caught.value.status is Status.RESOURCE_EXHAUSTED
    assert "2 of the 3 proxies that match fit in" in caught.value.message
    assert "node_matchers" in caught.value.message
    assert "exclude_resource_contents" in caught.value.message


async def test_a_stream_is_answered_as_often_as_it_asks(serve_status):
    served = await serve_status()
    questions: asyncio.Queue[ClientStatusRequest | None] = asyncio.Queue()

    async def ask() -> AsyncIterator[ClientStatusRequest]:
        while (question := await questions.get()) is not None:
            yield question

    async with asking(served) as stub, connect(served) as client:
        questions.put_nowait(ClientStatusRequest())
        answers = stub.stream_client_status(ask())
        assert (await anext(answers)).config == []
        await client.say(CLUSTER)
        await client.hear()
        questions.put_nowait(ClientStatusRequest())
        assert [config.node.id for config in (await anext(answers)).config] == ["envoy-1"]
        questions.put_nowait(None)
        assert [answer async for answer in answers] == []


class Caller:
    """A call from somewhere."""

    def __init__(self, address: Any) -> None:
        self.peer = self
        self._address = address

    def addr(self) -> Any:
        return self._address


@pytest.mark.parametrize("address", [("10.0.0.7", 4711), ("fe80::1%eth0", 1, 0, 2), ("", 0), None, "/a/socket"])
async def test_other_machines_are_refused_with_advice(address):
    with pytest.raises(XdsError, match="--client-status-from-anywhere") as caught:
        this_machine(Caller(address))
    assert caught.value.code is Status.PERMISSION_DENIED


@pytest.mark.parametrize("address", ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"])
async def test_this_machine_is_known_in_each_form(address):
    assert is_loopback(address)
    this_machine(Caller((address, 1)))
    everyone(Caller(("10.0.0.7", 1)))


async def test_with_client_certificates_a_caller_sees_what_his_grants(serve_status, tmp_path):
    authority = Authority()
    (tmp_path / "ca.crt").write_text(authority.certificate)
    files = TlsFiles(*authority.server().write(tmp_path / "server"), tmp_path / "ca.crt")
    served = await serve_status({"certificates": Certificates(files), "identities": IdentityRule("cluster.local")})
    web, db = (authority.client_context(authority.proxy(f"ns/{name}"), tmp_path / name) for name in ("web", "db"))
    async with connect(served, tls=web) as first, connect(served, tls=db) as second:
        await first.say(CLUSTER, node_id="web-1", role="controlplane~ns~web")
        await first.hear()
        await second.say(CLUSTER, node_id="db-1", role="controlplane~ns~db")
        await second.hear()
        for tls, found in [(web, ["web-1"]), (db, ["db-1"])]:
            channel = Channel("127.0.0.1", served.port, ssl=tls)
            stub = ClientStatusDiscoveryServiceStub(channel, timeout=PATIENCE_S)
            config = (await stub.fetch_client_status(ClientStatusRequest())).config
            everything = NodeMatcher(node_id=StringMatcher(prefix=""))
            assert [client.node.id for client in config] == found
            response = await stub.fetch_client_status(ClientStatusRequest(node_matchers=[everything]))
            assert [client.node.id for client in response.config] == found
            channel.close()


async def test_a_refused_call_reads_nothing_and_disturbs_nobody(serve_status):
    def nobody(rpc: object) -> Any:
        raise XdsError(Status.PERMISSION_DENIED, "no")

    served = await serve_status(access=nobody)
    async with connect(served) as client:
        await client.say(CLUSTER)
        await client.ack(await client.hear())
        with pytest.raises(GRPCError) as caught:
            await fetch(served)
        assert caught.value.status is Status.PERMISSION_DENIED
        served.put(CLUSTER, a="1")
        assert [resource.name for resource in (await client.hear()).resources] == ["a"]
