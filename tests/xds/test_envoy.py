"""The protocol against a real Envoy: what only it can show.

Where Envoy would wait for one of its 15 s timeouts if we were wrong, a test allows much less.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import hashlib
import random
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from controlplane._proto.envoy.config.cluster.v3 import Cluster, ClusterDiscoveryType, ClusterEdsClusterConfig
from controlplane._proto.envoy.config.core.v3 import (
    Address,
    AggregatedConfigSource,
    ApiVersion,
    ConfigSource,
    DataSource,
    SocketAddress,
    TransportSocket,
    TypedExtensionConfig,
)
from controlplane._proto.envoy.config.endpoint.v3 import (
    ClusterLoadAssignment,
    Endpoint,
    LbEndpoint,
    LocalityLbEndpoints,
)
from controlplane._proto.envoy.config.listener.v3 import (
    Filter,
    FilterChain,
    FilterChainMatch,
    Listener,
    ListenerFilter,
)
from controlplane._proto.envoy.config.route.v3 import (
    DirectResponseAction,
    Route,
    RouteAction,
    RouteConfiguration,
    RouteMatch,
    Vhds,
    VirtualHost,
)
from controlplane._proto.envoy.extensions.filters.http.router.v3 import Router
from controlplane._proto.envoy.extensions.filters.listener.tls_inspector.v3 import TlsInspector
from controlplane._proto.envoy.extensions.filters.network.http_connection_manager.v3 import (
    HttpConnectionManager,
    HttpFilter,
    Rds,
)
from controlplane._proto.envoy.extensions.transport_sockets.tls.v3 import (
    CommonTlsContext,
    DownstreamTlsContext,
    SdsSecretConfig,
    Secret,
    TlsCertificate,
)
from controlplane._proto.envoy.type.matcher.v3 import RegexMatcher
from controlplane._proto.google.protobuf import Any as ProtoAny
from controlplane.xds import Event, Limits, ProxyConnected, ProxyRejected, Settings, Views, XdsServer
from controlplane.xds.protobuf import field
from controlplane.xds.transport import abort
from controlplane.xds.types import CLUSTER, LISTENER, LOAD_ASSIGNMENT, ROUTE_CONFIGURATION, VIRTUAL_HOST

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio]

ROLE = "controlplane~ns~gw"
SCOPE = "ns/gw"
SOON_S = 5.0
"""Far below Envoy's timeouts of 15 s."""
ADS = ConfigSource(ads=AggregatedConfigSource(), resource_api_version=ApiVersion.V3)


class Row:
    """A resource from its message; the version is a hash of the bytes."""

    def __init__(self, message: Any) -> None:
        self.name: str = getattr(message, "name", "") or message.cluster_name
        self.body = bytes(message)
        self.version = hashlib.blake2b(self.body, digest_size=8).hexdigest()
        self.type_url = ProtoAny.pack(message).type_url
        self.clusters = tuple(
            sorted(
                {route.route.cluster for route in getattr(message, "routes", ()) if route.route and route.route.cluster}
            )
        )
        self.route_configurations: tuple[str, ...] = ()


class Served:
    """A server, its tables and what it told."""

    def __init__(self) -> None:
        self.views = Views(resolve=lambda resource: resource.body)
        self.events: list[Event] = []
        self.server = XdsServer(
            self.views, self._on_event, Settings(identifier="test", limits=Limits(grace_seconds=0.1))
        )
        self.port = 0

    def _on_event(self, event: Event) -> None:
        self.events.append(event)
        if isinstance(event, ProxyConnected):
            self.views.apply((), assignments=[(event.proxy, (event.scope, ("",)))])

    def put(self, *messages: Any) -> None:
        """One commit of these resources."""
        self.views.apply((SCOPE, row.type_url, row.name, row) for row in map(Row, messages))

    def remove(self, *names: tuple[str, str]) -> None:
        """One commit without them: pairs of type URL and name."""
        self.views.apply((SCOPE, type_url, name, None) for type_url, name in names)

    def break_streams(self) -> None:
        """Ends the connections of all proxies at once."""
        for stream in self.server._streams.values():
            abort(stream._rpc)

    async def reconnected(self, streams: int) -> None:
        """Returns once so many streams have been opened altogether."""
        await self.until(lambda: self.count(ProxyConnected) >= streams)

    async def settled(self) -> None:
        """Returns once every proxy is in step, and has asked for listeners."""
        await self.until(
            lambda: (
                bool(proxies := self.server.statistics(versions=False))
                and all(proxy["settled"] and LISTENER in proxy["types"] for proxy in proxies)
            )
        )

    async def until(self, predicate: Callable[[], bool]) -> None:
        async with asyncio.timeout(SOON_S):
            while not predicate():  # noqa: ASYNC110  (the ledger changes with what an Envoy says)
                await asyncio.sleep(0.01)

    def count(self, kind: type) -> int:
        return sum(isinstance(event, kind) for event in self.events)

    def ledger(self, type_url: str) -> dict[str, Any]:
        """Of the one proxy."""
        [proxy] = self.server.statistics()
        ledger: dict[str, Any] = proxy["types"][type_url]
        return ledger


@pytest_asyncio.fixture
async def served() -> AsyncIterator[Served]:
    """A server with an open gate."""
    served = Served()
    served.port = await served.server.start("127.0.0.1", 0)
    served.views.open()
    yield served
    await served.server.stop(1.0)


@pytest_asyncio.fixture
async def backend() -> AsyncIterator[int]:
    """A server of HTTP that says ``hello``; its port."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello")
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()


def address(port: int) -> Address:
    return Address(socket_address=SocketAddress(address="127.0.0.1", port_value=port))


def listener(name: str, port: int, route: str = "rc", **more: Any) -> Listener:
    return Listener(name=name, address=address(port), filter_chains=[chain(route)], enable_reuse_port=False, **more)


def chain(route: str, server_name: str = "", secret: str = "") -> FilterChain:
    manager = HttpConnectionManager(
        stat_prefix=route,
        rds=Rds(config_source=ADS, route_config_name=route),
        http_filters=[HttpFilter(name="router", typed_config=ProtoAny.pack(Router()))],
    )
    found = FilterChain(filters=[Filter(name="http", typed_config=ProtoAny.pack(manager))])
    if server_name:
        found.name = server_name
        found.filter_chain_match = FilterChainMatch(server_names=[server_name])
        context = DownstreamTlsContext(
            common_tls_context=CommonTlsContext(
                tls_certificate_sds_secret_configs=[SdsSecretConfig(name=secret, sds_config=ADS)]
            )
        )
        found.transport_socket = TransportSocket(name="tls", typed_config=ProtoAny.pack(context))
    return found


def routes(name: str = "rc") -> RouteConfiguration:
    return RouteConfiguration(name=name, vhds=Vhds(config_source=ADS), ignore_port_in_host_matching=True)


def host(domain: str, body: str = "", *, route: str = "rc", cluster: str = "", regex: str = "") -> VirtualHost:
    match = RouteMatch(safe_regex=RegexMatcher(regex=regex)) if regex else RouteMatch(prefix="/")
    action: dict[str, Any] = (
        {"route": RouteAction(cluster=cluster)}
        if cluster
        else {"direct_response": DirectResponseAction(status=200, body=DataSource(inline_string=body or domain))}
    )
    return VirtualHost(name=f"{route}/{domain}", domains=[domain], routes=[Route(match=match, **action)])


def cluster(name: str, timeout_ms: int = 1000) -> Cluster:
    return Cluster(
        name=name,
        type=ClusterDiscoveryType.EDS,
        eds_cluster_config=ClusterEdsClusterConfig(eds_config=ADS),
        connect_timeout=dt.timedelta(milliseconds=timeout_ms),
    )


def endpoints(name: str, *ports: int) -> ClusterLoadAssignment:
    found = [LbEndpoint(endpoint=Endpoint(address=address(port))) for port in ports]
    return ClusterLoadAssignment(cluster_name=name, endpoints=[LocalityLbEndpoints(lb_endpoints=found)])


async def test_s14_an_envoy_is_held_until_the_gate_opens(start_envoy, free_port):
    served = Served()
    served.port = await served.server.start("127.0.0.1", 0)
    port = free_port()
    envoy = await start_envoy(served.port, role=ROLE)
    try:
        await served.until(lambda: served.count(ProxyConnected) == 1)
        served.put(listener("l", port), routes(), host("a.com"))
        assert served.server.counters.get("responses", 0) == 0
        assert "LIVE" not in await envoy.get("/ready")
        served.views.open()
        await envoy.wait_for(port, "a.com", 200, SOON_S)
        assert "LIVE" in await envoy.get("/ready")
    finally:
        await served.server.stop(1.0)


async def test_v6_virtual_hosts_arrive_at_a_fresh_envoy_at_once(served, start_envoy, free_port):
    port = free_port()
    served.put(listener("l", port), routes(), host("a.com", "A"), host("*.b.com", "B"), host("*", "any"))
    envoy = await start_envoy(served.port, role=ROLE)
    await envoy.wait_for(port, "a.com", 200, SOON_S)
    assert await envoy.request(port, "a.com") == (200, "A")
    assert await envoy.request(port, "x.b.com:8080") == (200, "B")
    assert await envoy.request(port, "c.com") == (200, "any")
    await served.settled()
    connected = next(event for event in served.events if isinstance(event, ProxyConnected))
    assert connected.user_agent == "envoy 1.40.0"
    assert served.ledger(VIRTUAL_HOST)["responses"] == 1

    # a further one is one resource; a moved one is one response
    served.put(host("d.com", "D"))
    await envoy.wait_for(port, "d.com", 200, SOON_S)
    served.put(host("d.com", "D2"))
    await served.settled()
    assert await envoy.request(port, "d.com") == (200, "D2")
    moved = VirtualHost(name="rc/moved", domains=["d.com"], routes=host("x", "moved").routes)
    served.views.apply([(SCOPE, VIRTUAL_HOST, "rc/d.com", None), (SCOPE, VIRTUAL_HOST, "rc/moved", Row(moved))])
    await served.settled()
    assert await envoy.request(port, "d.com") == (200, "moved")
    assert served.ledger(VIRTUAL_HOST)["resources"] == 6
    assert served.count(ProxyRejected) == 0


async def test_v7_a_configuration_without_virtual_hosts_starts_its_listener(served, start_envoy, free_port):
    port, second = free_port(), free_port()
    served.put(listener("l", port), routes())
    envoy = await start_envoy(served.port, role=ROLE)
    await envoy.wait_for(port, "a.com", 404, SOON_S)
    served.put(listener("m", second, "rc2"), routes("rc2"))
    await envoy.wait_for(second, "a.com", 404, SOON_S)
    served.put(host("a.com"), host("a.com", "second", route="rc2"))
    await envoy.wait_for(port, "a.com", 200, SOON_S)
    await envoy.wait_for(second, "a.com", 200, SOON_S)


@pytest.mark.parametrize("when", ["same stream", "broken before the drain ends", "broken after the drain ended"])
async def test_trap3_a_listener_removed_drained_and_added_again_serves_at_once(served, start_envoy, free_port, when):
    port, stays = free_port(), free_port()
    serving = (listener("l", port), routes(), host("a.com", "A"), host("b.com", "B"))
    served.put(*serving, listener("stays", stays, "rc2"), routes("rc2"), host("a.com", route="rc2"))
    envoy = await start_envoy(served.port, role=ROLE)
    await envoy.wait_for(port, "b.com", 200, SOON_S)
    await served.settled()

    served.remove((LISTENER, "l"), (ROUTE_CONFIGURATION, "rc"), (VIRTUAL_HOST, "rc/a.com"), (VIRTUAL_HOST, "rc/b.com"))
    await envoy.wait_for(port, "a.com", 0, SOON_S)
    if when == "broken before the drain ends":
        served.break_streams()
        await served.reconnected(2)
    await served.until(lambda: served.ledger(ROUTE_CONFIGURATION)["names"] == ["rc2"])  # 2 s after the removal
    if when == "broken after the drain ended":
        served.break_streams()
        await served.reconnected(2)
        await served.until(lambda: VIRTUAL_HOST in served.server.statistics()[0]["types"])
    await served.settled()

    served.put(*serving)
    await envoy.wait_for(port, "a.com", 200, SOON_S)
    assert await envoy.request(port, "b.com") == (200, "B")
    assert await envoy.request(stays, "a.com") == (200, "a.com")
    assert served.count(ProxyRejected) == 0


async def test_p15_a_rejected_virtual_host_does_not_disturb_others(served, start_envoy, free_port):
    port = free_port()
    served.put(listener("l", port), routes(), host("a.com", "A"), host("bad.com", "old"))
    envoy = await start_envoy(served.port, role=ROLE)
    await envoy.wait_for(port, "a.com", 200, SOON_S)
    served.put(host("bad.com", regex="/(unclosed"))
    await served.until(lambda: served.count(ProxyRejected) >= 1)
    rejected = next(event for event in served.events if isinstance(event, ProxyRejected))
    assert [name for name, _ in rejected.resources] == ["rc/bad.com"]
    assert "unclosed" in rejected.message
    assert await envoy.request(port, "bad.com") == (200, "old")

    served.put(host("a.com", "A2"), host("c.com", "C"))
    await envoy.wait_for(port, "c.com", 200, SOON_S)
    assert await envoy.request(port, "a.com") == (200, "A2")
    await served.settled()
    names = [name for event in served.events if isinstance(event, ProxyRejected) for name, _ in event.resources]
    assert names.count("rc/bad.com") == 1  # not offered again

    served.put(host("bad.com", "mended"))
    await served.settled()
    assert await envoy.request(port, "bad.com") == (200, "mended")
    assert served.server.statistics()[0]["types"][VIRTUAL_HOST]["rejections"] == {}


async def test_p15_a_rejected_cluster_does_not_disturb_others(served, start_envoy, free_port, backend):
    port = free_port()
    served.put(listener("l", port), routes(), host("a.com", cluster="a"), cluster("a"), endpoints("a", backend))
    envoy = await start_envoy(served.port, role=ROLE)
    await envoy.wait_for(port, "a.com", 200, SOON_S)
    served.put(cluster("bad", timeout_ms=0), endpoints("bad"), cluster("b"), endpoints("b", backend))
    await served.until(lambda: served.count(ProxyRejected) >= 1)
    served.put(host("c.com", cluster="c"), cluster("c"), endpoints("c", backend))
    await envoy.wait_for(port, "c.com", 200, SOON_S)
    served.put(cluster("bad"), endpoints("bad", backend), host("bad.com", cluster="bad"))
    await envoy.wait_for(port, "bad.com", 200, SOON_S)
    await served.settled()
    held = served.ledger(CLUSTER)["acknowledged_versions"]
    assert sorted(held) == ["a", "b", "bad", "c"]
    assert served.ledger(CLUSTER)["rejections"] == {}


async def test_r2_a_reconnect_with_unchanged_content_is_sent_no_resource(served, start_envoy, free_port, backend):
    port, secure = free_port(), free_port()
    served.put(
        *(listener("l", port), routes(), host("a.com", cluster="a"), host("b.com", "B")),
        *(cluster("a"), endpoints("a", backend), cluster("b"), endpoints("b")),
        *(https("s", secure, {"s.com": "secret"}), routes("rc-s.com"), host("s.com", route="rc-s.com")),
        certificate("secret", "s.com"),
    )
    envoy = await start_envoy(served.port, role=ROLE)
    await envoy.wait_for(port, "a.com", 200, SOON_S)
    await served.settled()
    before = dict(served.server.counters)
    for broken in range(1, 3):
        served.break_streams()
        await served.reconnected(1 + broken)
        await served.until(lambda: len(served.server.statistics()[0]["types"]) == 6)
        await served.settled()
    after = served.server.counters
    assert after["sent_resources"] == before["sent_resources"]
    assert after["responses"] - before["responses"] == 2 * 2  # the empty answers to CDS and LDS (R8)
    assert after["sent_octets"] - before["sent_octets"] < 2 * 2 * 100
    assert await envoy.request(port, "a.com") == (200, "hello")
    assert served.ledger(VIRTUAL_HOST)["acknowledged_versions"].keys() == {"rc/a.com", "rc/b.com", "rc-s.com/s.com"}


async def test_r2_what_changed_while_the_proxy_was_away_is_all_that_is_sent(served, start_envoy, free_port, backend):
    port = free_port()
    served.put(listener("l", port), routes(), host("a.com", "A"), host("b.com", cluster="b"), host("c.com"))
    served.put(cluster("a"), endpoints("a"), cluster("b"), endpoints("b"))
    envoy = await start_envoy(served.port, role=ROLE)
    await envoy.wait_for(port, "a.com", 200, SOON_S)
    await served.settled()
    before = served.server.counters["sent_resources"]
    served.break_streams()
    served.put(host("a.com", "A2"), cluster("b", 2000), endpoints("b", backend))
    served.remove((CLUSTER, "a"), (LOAD_ASSIGNMENT, "a"), (VIRTUAL_HOST, "rc/c.com"))
    await served.reconnected(2)
    await envoy.wait_for(port, "b.com", 200, SOON_S)
    await served.until(lambda: len(served.server.statistics()[0]["types"]) == 5)
    await served.settled()
    # With the load assignment twice, if it was asked for; and the cluster in its last form first, if it went out to the stream
    # that was about to end.
    assert served.server.counters["sent_resources"] - before <= 6
    assert await envoy.request(port, "a.com") == (200, "A2")
    assert (await envoy.request(port, "c.com"))[0] == 404
    async with asyncio.timeout(SOON_S):
        while await envoy.stat("cluster_manager.active_clusters") != 2:  # noqa: ASYNC110  (the xDS server's, and b)
            await asyncio.sleep(0.01)


async def test_p8_a_changed_cluster_is_warm_at_once(served, start_envoy, free_port, backend):
    port = free_port()
    served.put(listener("l", port), routes(), host("a.com", cluster="a"), cluster("a"), endpoints("a", backend))
    envoy = await start_envoy(served.port, role=ROLE)
    await envoy.wait_for(port, "a.com", 200, SOON_S)
    await served.settled()
    for timeout_ms in range(1001, 1006):
        served.put(cluster("a", timeout_ms))
        await served.settled()  # Envoy acknowledges clusters only when none is warming
        assert await envoy.request(port, "a.com") == (200, "hello")
    assert await envoy.stat("cluster_manager.warming_clusters") == 0
    assert await envoy.stat("cluster_manager.cluster_modified") == 5
    assert (await envoy.stats("assignment_use_cached|assignment_timeout")).get(
        "cluster.a.assignment_use_cached", 0
    ) == 0

    # a new host with a new cluster: never anything but 404 and 200
    seen = set()
    asking = asyncio.ensure_future(_ask(envoy, port, "n.com", seen))
    served.put(host("n.com", cluster="n"), cluster("n"), endpoints("n", backend))
    await asyncio.wait_for(asking, SOON_S)
    assert seen <= {404, 200}


async def _ask(envoy: Any, port: int, domain: str, seen: set[int]) -> None:
    while 200 not in seen:
        seen.add((await envoy.request(port, domain))[0])


async def test_p9_a_cluster_without_load_assignment_holds_nothing_up(served, start_envoy, free_port):
    port = free_port()
    served.put(listener("l", port), routes(), host("a.com"), cluster("none"), cluster("empty"), endpoints("empty"))
    envoy = await start_envoy(served.port, role=ROLE)
    await envoy.wait_for(port, "a.com", 200, SOON_S)
    await served.settled()
    assert await envoy.stat("cluster_manager.warming_clusters") == 0


async def test_trap8_a_stream_that_broke_while_a_cluster_warmed_is_served(served, start_envoy, free_port, backend):
    """A DNS name that nobody answers keeps its cluster warming; the new stream has no CDS request at all."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        resolver = field(1, bytes(address(silent.getsockname()[1])))
        port = free_port()
        served.put(listener("l", port), routes(), host("a.com", cluster="a"), cluster("a"), endpoints("a", backend))
        envoy = await start_envoy(served.port, role=ROLE)
        await envoy.wait_for(port, "a.com", 200, SOON_S)
        await served.settled()
        warming = Cluster(
            name="dns",
            type=ClusterDiscoveryType.STRICT_DNS,
            connect_timeout=dt.timedelta(seconds=1),
            load_assignment=ClusterLoadAssignment(
                cluster_name="dns",
                endpoints=[
                    LocalityLbEndpoints(
                        lb_endpoints=[
                            LbEndpoint(
                                endpoint=Endpoint(
                                    address=Address(socket_address=SocketAddress(address="nobody.test", port_value=80))
                                )
                            )
                        ]
                    )
                ],
            ),
            typed_dns_resolver_config=TypedExtensionConfig(
                name="envoy.network.dns_resolver.cares",
                typed_config=ProtoAny(
                    type_url="type.googleapis.com/envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig",
                    value=resolver,
                ),
            ),
        )
        served.put(warming)
        await served.until(lambda: served.ledger(CLUSTER)["unanswered"] != [])
        await envoy.wait(lambda: _is_warming(envoy))
        served.break_streams()
        await served.reconnected(2)
        await served.until(lambda: VIRTUAL_HOST in served.server.statistics()[0]["types"])
        assert CLUSTER not in served.server.statistics()[0]["types"]

        served.put(host("n.com", cluster="n"), cluster("n"), endpoints("n", backend))
        await envoy.wait_for(port, "n.com", 200, SOON_S)
        served.remove((CLUSTER, "dns"))
        await served.until(lambda: served.server.statistics()[0]["types"][CLUSTER]["wildcard"])  # it asks at last
        await served.settled()
        assert await envoy.stat("cluster_manager.warming_clusters") == 0
        assert await envoy.request(port, "a.com") == (200, "hello")
        assert served.ledger(CLUSTER)["acknowledged_versions"].keys() == {"a", "n"}


async def _is_warming(envoy: Any) -> bool:
    return bool(await envoy.stat("cluster_manager.warming_clusters"))


def https(name: str, port: int, secrets: dict[str, str]) -> Listener:
    return Listener(
        name=name,
        address=address(port),
        enable_reuse_port=False,
        listener_filters=[ListenerFilter(name="tls", typed_config=ProtoAny.pack(TlsInspector()))],
        filter_chains=[chain(f"rc-{domain}", domain, secret) for domain, secret in secrets.items()],
    )


def certificate(name: str, domain: str, *, key: ec.EllipticCurvePrivateKey | None = None) -> Secret:
    own = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, domain)])
    now = dt.datetime.now(dt.UTC)
    found = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(own.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(domain)]), critical=False)
        .sign(own, hashes.SHA256())
    )
    private = (key or own).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return Secret(
        name=name,
        tls_certificate=TlsCertificate(
            certificate_chain=DataSource(inline_bytes=found.public_bytes(serialization.Encoding.PEM)),
            private_key=DataSource(inline_bytes=private),
        ),
    )


async def handshake(port: int, server_name: str) -> bytes | None:
    """The certificate that a connection is shown; None when it is reset, empty when nobody listens."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=server_name)
    except ConnectionRefusedError:
        return b""
    except (ConnectionError, ssl.SSLError):
        return None
    shown: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        await writer.wait_closed()
    return shown


async def test_a_missing_or_rejected_secret_stops_its_own_chain_alone(served, start_envoy, free_port):
    port = free_port()
    mismatched = certificate("s-bad", "bad.com", key=ec.generate_private_key(ec.SECP256R1()))
    served.put(
        https("l", port, {"good.com": "s-good", "missing.com": "s-missing", "bad.com": "s-bad"}),
        *(routes(f"rc-{domain}") for domain in ("good.com", "missing.com", "bad.com")),
        certificate("s-good", "good.com"),
        mismatched,
    )
    envoy = await start_envoy(served.port, role=ROLE)
    await envoy.wait(lambda: _shown(port, "good.com"), SOON_S)
    assert await handshake(port, "missing.com") is None
    assert await handshake(port, "bad.com") is None
    await served.until(lambda: served.count(ProxyRejected) >= 1)
    rejected = next(event for event in served.events if isinstance(event, ProxyRejected))
    assert [name for name, _ in rejected.resources] == ["s-bad"]
    private = mismatched.tls_certificate.private_key.inline_bytes.decode()
    assert not any(
        line in repr(served.events) + repr(served.server.statistics()) for line in private.splitlines()[1:-1]
    )

    first = await handshake(port, "good.com")
    served.put(
        certificate("s-missing", "missing.com"), certificate("s-bad", "bad.com"), certificate("s-good", "good.com")
    )
    await envoy.wait(lambda: _shown(port, "missing.com"), SOON_S)
    await envoy.wait(lambda: _shown(port, "bad.com"), SOON_S)
    assert await handshake(port, "good.com") not in (first, None, b"")


async def _shown(port: int, server_name: str) -> bool:
    return bool(await handshake(port, server_name))


async def test_a_refused_envoy_logs_why(served, start_envoy):
    envoy = await start_envoy(served.port, role="controlplane~only-one")

    async def logged() -> bool:
        return "expected 'controlplane~{gateway namespace}~{gateway name}'" in envoy.log_path.read_text()

    await envoy.wait(logged, SOON_S)


async def test_a_stopped_server_is_found_again(served, start_envoy, free_port):
    port = free_port()
    served.put(listener("l", port), routes(), host("a.com", "A"))
    envoy = await start_envoy(served.port, role=ROLE)
    await envoy.wait_for(port, "a.com", 200, SOON_S)
    await served.server.stop(1.0)
    assert await envoy.request(port, "a.com") == (200, "A")
    await served.server.start("127.0.0.1", served.port)
    served.put(host("a.com", "A2"))
    await served.reconnected(2)
    await served.until(lambda: VIRTUAL_HOST in served.server.statistics()[0]["types"])
    await served.settled()
    assert await envoy.request(port, "a.com") == (200, "A2")


@pytest.mark.parametrize("seed", [1, 2])
async def test_random_edits_and_breaks_end_with_what_the_tables_hold(served, start_envoy, free_port, backend, seed):
    chance = random.Random(seed)
    ports = {"l0": free_port(), "l1": free_port()}
    tables: dict[tuple[str, str], Row] = {}
    envoy = await start_envoy(served.port, role=ROLE)

    def edit() -> None:
        """One commit: a cluster with its endpoints, a listener with its routes, or a few virtual hosts."""
        wanted = dict(tables)
        match chance.choice(["cluster", "cluster", "listener", "hosts", "hosts", "hosts"]):
            case "cluster":
                name = f"c{chance.randrange(4)}"
                _set(wanted, (CLUSTER, name), chance.choice([None, cluster(name, chance.randrange(500, 999))]))
            case "listener":
                name = chance.choice(["l0", "l1"])
                _set(wanted, (LISTENER, name), chance.choice([None, listener(name, ports[name], f"rc-{name}")]))
            case _:
                for _ in range(chance.randrange(1, 4)):
                    route, domain = chance.choice(["rc-l0", "rc-l1"]), f"h{chance.randrange(6)}.com"
                    made = host(domain, str(chance.random()), route=route)
                    _set(wanted, (VIRTUAL_HOST, made.name), chance.choice([None, made, made]))
        for name in [f"c{number}" for number in range(4)]:
            exists = (CLUSTER, name) in wanted
            _set(wanted, (LOAD_ASSIGNMENT, name), endpoints(name, backend) if exists else None)
        for name in ("l0", "l1"):
            exists = (LISTENER, name) in wanted
            _set(wanted, (ROUTE_CONFIGURATION, f"rc-{name}"), routes(f"rc-{name}") if exists else None)
        served_hosts = {
            key: row
            for key, row in wanted.items()
            if key[0] != VIRTUAL_HOST or (LISTENER, key[1].split("/")[0].removeprefix("rc-")) in wanted
        }
        served.views.apply((SCOPE, *key, served_hosts.get(key)) for key in sorted({*tables, *served_hosts}))
        tables.clear()
        tables.update(served_hosts)

    for _ in range(120):
        edit()
        if chance.random() < 0.1:
            served.break_streams()
        await asyncio.sleep(chance.choice([0, 0, 0.001, 0.01, 0.1]))
    for name, port in ports.items():  # both serve in the end, whatever they went through
        tables[LISTENER, name] = Row(listener(name, port, f"rc-{name}"))
        tables[ROUTE_CONFIGURATION, f"rc-{name}"] = Row(routes(f"rc-{name}"))
    served.views.apply((SCOPE, *key, row) for key, row in tables.items())
    for name, port in ports.items():
        await envoy.wait_for(port, "nobody.com", 404, SOON_S)
        await served.settled()
        for domain in (f"h{number}.com" for number in range(6)):
            row = tables.get((VIRTUAL_HOST, f"rc-{name}/{domain}"))
            expected = VirtualHost.parse(row.body).routes[0].direct_response.body.inline_string if row else ""
            assert await envoy.request(port, domain) == ((200, expected) if row else (404, ""))
    assert served.count(ProxyRejected) == 0
    assert await envoy.stat("cluster_manager.warming_clusters") == 0
    dump = await envoy.config_dump()
    [clusters] = [part for part in dump["configs"] if part["@type"].endswith("ClustersConfigDump")]
    held = {entry["cluster"]["name"] for entry in clusters.get("dynamic_active_clusters", ())}
    assert held == {name for type_url, name in tables if type_url == CLUSTER}


def _set(tables: dict[tuple[str, str], Row], key: tuple[str, str], message: Any) -> None:
    if message is None:
        tables.pop(key, None)
    else:
        tables[key] = Row(message)
