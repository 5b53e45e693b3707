"""Who may ask for what: every way that we could think of to read another gateway's resources."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest
from grpclib.client import Channel
from grpclib.const import Status
from structlog.testing import capture_logs

from controlplane._proto.envoy.config.core.v3 import Node
from controlplane._proto.envoy.service.discovery.v3 import DeltaDiscoveryRequest
from controlplane._proto.google.protobuf import Struct, Value
from controlplane.xds import Certificates, IdentityRule, ProxyConnected, TlsFiles, XdsError
from controlplane.xds.types import CLUSTER, LISTENER, SECRET
from tests.authority import Authority, Issued
from tests.xds.serving import Client, Served, connect, open_stream

RULE = IdentityRule("cluster.local")
AUTHORITY = Authority()
MINE = "spiffe://cluster.local/ns/ns/sa/gw"
MY_DNS = "gw.ns.gateway.cluster.local"


def issue(*uris: str, dns: tuple[str, ...] = (), **more: Any) -> Issued:
    return AUTHORITY.issue(uris=uris, dns=dns, **more)


@pytest.mark.parametrize(
    ("names", "permitted"),
    [
        ({"uris": [MINE]}, True),
        ({"dns": [MY_DNS]}, True),
        ({"dns": [MY_DNS.upper()]}, True),
        ({"dns": ["other.ns.gateway.cluster.local", MY_DNS]}, True),
        ({"uris": [MINE], "dns": ["other.ns.gateway.cluster.local"]}, True),
        # a SPIFFE certificate is what its one URI says
        ({"uris": ["spiffe://cluster.local/ns/ns/sa/other"], "dns": [MY_DNS]}, False),
        ({"uris": ["https://cluster.local/ns/ns/sa/gw"], "dns": [MY_DNS]}, False),
        ({"uris": [MINE, "spiffe://cluster.local/ns/ns/sa/other"]}, False),
        ({"uris": [MINE, MINE]}, False),
        # nearly
        ({"uris": ["spiffe://elsewhere/ns/ns/sa/gw"]}, False),
        ({"uris": ["spiffe://cluster.local/ns/other/sa/gw"]}, False),
        ({"uris": [MINE + "/"]}, False),
        ({"uris": [MINE + "?x"]}, False),
        ({"uris": [MINE + "#x"]}, False),
        ({"uris": ["spiffe://cluster.local//ns/ns/sa/gw"]}, False),
        ({"uris": ["spiffe://cluster.local/ns/x/../ns/sa/gw"]}, False),
        ({"uris": ["spiffe://cluster.local/ns/ns/sa/g%77"]}, False),
        ({"uris": ["spiffe://cluster.local/ns/ns/sa/GW"]}, False),
        ({"uris": ["spiffe://cluster.local/ns/ns/sa/*"]}, False),
        ({"dns": ["*.ns.gateway.cluster.local"]}, False),
        ({"dns": ["gw.ns.gateway.cluster.local.evil.example"]}, False),
        ({"dns": ["gw.ns.cluster.local"]}, False),
        ({"dns": ["gw.ns"]}, False),
        ({"common_name": MY_DNS}, False),
        ({"common_name": MINE}, False),
        ({"addresses": ["127.0.0.1"]}, False),
        ({}, False),
    ],
)
def test_the_rule(names, permitted):
    certificate = AUTHORITY.issue(**names).der
    assert RULE.permits("ns/gw", certificate) is permitted
    if permitted:
        RULE.check("ns/gw", certificate)
    else:
        with pytest.raises(XdsError):
            RULE.check("ns/gw", certificate)


def test_dots_do_not_move_between_name_and_namespace():
    certificate = issue(dns=("a.b.c.gateway.cluster.local",)).der
    assert RULE.permits("c/a.b", certificate)
    assert not RULE.permits("b.c/a", certificate)


@pytest.mark.parametrize(
    "scope", ["", "/", "ns/", "/gw", "ns/gw/more", "ns/../gw", "NS/gw", "ns/gw\n", "n s/gw", "ns/*"]
)
def test_what_can_be_no_gateway_is_granted_to_nobody(scope):
    certificate = issue("spiffe://cluster.local/ns/ns/sa/gw").der
    assert RULE.needed(scope) is None
    assert not RULE.permits(scope, certificate)
    with pytest.raises(XdsError, match="is no gateway's namespace and name"):
        RULE.check(scope, certificate)


def test_no_certificate_permits_nothing():
    with pytest.raises(XdsError, match="the client has no certificate"):
        RULE.check("ns/gw", None)
    assert not RULE.permits("ns/gw", b"no certificate")


def test_a_refusal_says_what_was_presented_and_what_is_needed():
    with pytest.raises(XdsError) as caught:
        RULE.check("ns/gw", issue("spiffe://cluster.local/ns/ns/sa/other").der)
    assert caught.value.code is Status.PERMISSION_DENIED
    assert caught.value.message == (
        f"gateway ns/gw is served to URI {MINE}, or without any URI to DNS {MY_DNS}; "
        "the client's certificate has URI spiffe://cluster.local/ns/ns/sa/other"
    )
    with pytest.raises(XdsError) as caught:
        RULE.check("ns/gw", issue(dns=tuple(f"{number}.example" for number in range(50))).der)
    assert caught.value.message.endswith("DNS 0.example, DNS 1.example, DNS 2.example, DNS 3.example, 46 more")


# On the wire.


@pytest.fixture
def start(serve, tmp_path):
    async def start_server(**options: Any) -> Served:
        certificate, key = AUTHORITY.server().write(tmp_path / "server")
        ca = tmp_path / "ca.crt"
        ca.write_text(AUTHORITY.certificate)
        security = {"certificates": Certificates(TlsFiles(certificate, key, ca)), "identities": RULE} | options
        served: Served = await serve(**security)
        for scope, name in (("ns/gw", "mine"), ("ns/other", "theirs"), ("far/gw", "far")):
            served.put(SECRET, scope=scope, **{name: "1"})
            served.put(CLUSTER, scope=scope, **{name: "1"})
        return served

    return start_server


def tls_of(issued: Issued | None, directory: Path) -> Any:
    return AUTHORITY.client_context(issued, directory / "client")


@pytest.mark.asyncio
@pytest.mark.parametrize("issued", [AUTHORITY.proxy("ns/gw"), issue(dns=(MY_DNS,))])
async def test_a_proxy_reads_its_own_gateway(issued, start, tmp_path):
    served = await start()
    async with connect(served, tls=tls_of(issued, tmp_path)) as client:
        await client.say(CLUSTER)
        assert [resource.name for resource in (await client.hear()).resources] == ["mine"]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "role",
    [
        "controlplane~ns~other",
        "controlplane~far~gw",
        "controlplane~ns~*",
        "controlplane~~gw",
        "controlplane~ns~",
        "controlplane~ns~gw~",
        "controlplane~ns~gw~other",
        "controlplane~ns/gw~",
        "controlplane~ns~../ns/other",
        "~ns~gw",
        "",
        None,
    ],
)
async def test_no_role_but_its_own_gives_it_anything(role, start, tmp_path):
    served = await start()
    async with connect(served, tls=tls_of(AUTHORITY.proxy("ns/gw"), tmp_path)) as client:
        with capture_logs() as logs:
            await client.say(CLUSTER, role=role)
            status, _ = await client.end()
    named = role in ("controlplane~ns~other", "controlplane~far~gw", "controlplane~ns~*")
    assert status is (Status.PERMISSION_DENIED if named else Status.INVALID_ARGUMENT)
    assert served.events == [], "a stream that was refused is in the log"
    assert [entry["event"] for entry in logs] == ["stream_refused"]
    assert served.server.views._clients == {}


@pytest.mark.asyncio
async def test_a_refused_client_is_logged_once_a_minute(start, tmp_path):
    served = await start()
    context = tls_of(AUTHORITY.proxy("ns/gw"), tmp_path)
    with capture_logs() as logs:
        for _ in range(3):
            async with connect(served, tls=context) as client:
                await client.say(CLUSTER, role="controlplane~ns~other")
                assert (await client.end())[0] is Status.PERMISSION_DENIED
    assert [(entry["event"], entry["code"]) for entry in logs] == [("stream_refused", "PERMISSION_DENIED")]
    assert served.server.counters["ended_permission_denied"] == 3


async def names(client: Client, type_url: str) -> list[str]:
    return [resource.name for resource in (await client.hear()).resources]


@pytest.mark.asyncio
async def test_a_second_node_in_a_later_message_changes_nothing(start, tmp_path):
    served = await start()
    async with connect(served, tls=tls_of(AUTHORITY.proxy("ns/gw"), tmp_path)) as client:
        await client.say(LISTENER)
        await client.hear()
        await client.say(CLUSTER, "*", "theirs", role="controlplane~ns~other", node_id="another")
        assert await names(client, CLUSTER) == ["mine"]
        assert (await client.hear()).removed_resources == ["theirs"]
    assert len([event for event in served.events if isinstance(event, ProxyConnected)]) == 1


def node(role: str) -> Node:
    return Node(id="envoy", metadata=Struct(fields={"role": Value(string_value=role)}))


@pytest.mark.asyncio
@pytest.mark.parametrize("first", ["controlplane~ns~gw", "controlplane~ns~other"])
async def test_two_nodes_in_one_message_are_the_one_that_is_checked(first, start, tmp_path):
    """Protobuf merges a field that comes twice; whatever is made of it, what is checked is what is served."""
    second = "controlplane~ns~other" if first.endswith("gw") else "controlplane~ns~gw"
    served = await start()
    async with connect(served, tls=tls_of(AUTHORITY.proxy("ns/gw"), tmp_path)) as client:
        body = bytes(DeltaDiscoveryRequest(node=node(first), type_url=CLUSTER))
        body += bytes(DeltaDiscoveryRequest(node=node(second)))
        await client.stream._stream.send_data(struct.pack(">BI", 0, len(body)) + body)
        if second.endswith("gw"):
            assert await names(client, CLUSTER) == ["mine"]
        else:
            assert (await client.end())[0] is Status.PERMISSION_DENIED


@pytest.mark.asyncio
async def test_names_of_another_gateway_are_not_there(start, tmp_path):
    served = await start()
    async with connect(served, tls=tls_of(AUTHORITY.proxy("ns/gw"), tmp_path)) as client:
        await client.say(SECRET, "theirs", "far", "ns/other/theirs", "../other/theirs")
        response = await client.hear()
        seen = {*response.removed_resources}
        while len(seen) < 4:
            assert not response.resources
            response = await client.hear()
            seen |= {*response.removed_resources}
        assert seen == {"theirs", "far", "ns/other/theirs", "../other/theirs"}


@pytest.mark.asyncio
async def test_each_stream_of_a_connection_is_checked(start, tmp_path):
    served = await start()
    issued = issue(dns=(MY_DNS, "gw.far.gateway.cluster.local"))
    channel = Channel("127.0.0.1", served.port, ssl=tls_of(issued, tmp_path))
    try:
        for role, found in (("ns~gw", ["mine"]), ("far~gw", ["far"]), ("ns~other", None), ("ns~gw", ["mine"])):
            client = await open_stream(channel)
            await client.say(CLUSTER, role=f"controlplane~{role}")
            if found is None:
                assert (await client.end())[0] is Status.PERMISSION_DENIED
            else:
                assert await names(client, CLUSTER) == found
    finally:
        channel.close()


@pytest.mark.asyncio
async def test_without_an_authority_of_clients_nobody_is_checked(start, tmp_path):
    certificate, key = AUTHORITY.server().write(tmp_path / "server")
    served = await start(certificates=Certificates(TlsFiles(certificate, key)))
    async with connect(served, tls=tls_of(None, tmp_path)) as client:
        await client.say(CLUSTER, role="controlplane~ns~other")
        assert await names(client, CLUSTER) == ["theirs"]
