"""Whatever is translated, a real Envoy takes it, and does what the policy says."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from itertools import product
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.model.base import ObjectMeta
from controlplane.model.events import Settings
from controlplane.model.ir import LocalityGroup
from controlplane.model.istio import SimpleLB, TLSMode
from controlplane.model.kubernetes import Secret
from controlplane.translate.cluster import hash_policies, translate_cluster
from controlplane.translate.document import from_document, to_document
from controlplane.translate.load_assignment import translate_endpoints, translate_virtual_addresses
from controlplane.translate.resource import TypeUrl
from controlplane.translate.secret import translate_ca, translate_secret, with_private_key
from tests.conftest import free_port
from tests.e2e.certificates import Pair, make_pair
from tests.translate.loading import Given, load
from tests.translate.policies import a_backend, a_group, a_policy, an_endpoint

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio]

MAX = 2**32 - 1
HOST = "a.ns.svc.cluster.local"
ROUTE_ACTION = "type.googleapis.com/envoy.config.route.v3.RouteAction"
FAMILIES = get_args(Settings.__annotations__["dns_lookup_family"]) or ("V4_PREFERRED", "V4_ONLY", "V6_ONLY", "AUTO", "ALL")
HASHES: list[dict[str, Any]] = [
    {"httpHeaderName": "x"},
    {"httpCookie": {"name": "c", "ttl": "0s", "path": "/"}},
    {"httpCookie": {"name": "c"}},
    {"useSourceIp": True},
    {"httpQueryParameterName": "q"},
]  # fmt: skip
BALANCERS: list[dict[str, Any]] = [
    *({"simple": kind} for kind in get_args(SimpleLB)),
    *({"consistentHash": keys} for keys in HASHES),
    *({"consistentHash": {"minimumRingSize": size}} for size in (1, 8_388_608, 10**15)),
    *({"consistentHash": {"ringHash": {"minimumRingSize": size}}} for size in (0, 1025, 2**64)),
    *({"consistentHash": {"maglev": {"tableSize": size}}} for size in (0, 1, 2, 10, 65537, 5_000_011, 5_000_077)),
]
GROUPS: list[tuple[LocalityGroup, ...]] = [
    (),
    (a_group(),),
    (a_group(an_endpoint("127.0.0.1")),),
    (a_group(an_endpoint("localhost"), priority=1, weight=1),),
    (a_group(an_endpoint("127.0.0.1", weight=MAX), an_endpoint("localhost", weight=MAX), weight=MAX), a_group(an_endpoint("::1"), locality="r/z/s", weight=MAX), a_group(locality="r2", priority=7)),
]  # fmt: skip


def variants() -> Iterator[tuple[str, bytes]]:
    """Every kind of cluster that we know to make."""
    for has_localities, balancer in product((False, True), BALANCERS):
        policy = a_policy(loadBalancer=balancer)
        for discovery, groups in (("endpoints", ()), ("dns", GROUPS[4])):
            yield cluster(policy, discovery=discovery, groups=groups, has_localities=has_localities)
    for family, discovery, groups in product(FAMILIES, ("dns", "dns_round_robin"), GROUPS):
        yield cluster(discovery=discovery, groups=groups, has_localities=True, settings=Settings(dns_lookup_family=family))
    names = ((), ("x.test", "spiffe://a/b", "10.0.0.1", "me@x.test"))
    hosts = (HOST, "*.example.com", "*", "10.0.0.1")
    for mode, credential, sni, said, skips, host in product(
        get_args(TLSMode), ("", "cred"), ("", "a.test", "x" * 256), names, (None, True), hosts
    ):
        tls = {"mode": mode, "credentialName": credential, "sni": sni, "subjectAltNames": said, "insecureSkipVerify": skips}
        yield cluster(a_policy(tls=tls), host=host)
    for protocol, upgrade in product(("http", "h2c", "ws"), ("DEFAULT", "UPGRADE", "DO_NOT_UPGRADE")):
        for tls, streams in product(("DISABLE", "SIMPLE"), (0, 1, 2**31 - 1)):
            http = {"h2UpgradePolicy": upgrade, "maxConcurrentStreams": streams}
            yield cluster(a_policy(tls={"mode": tls}, connectionPool={"http": http}), protocol=protocol)
    for outliers in ({}, {"interval": "0s", "baseEjectionTime": "0s"}, {"interval": "9999999h", "baseEjectionTime": "9999999h"}):
        for errors, percent, split in product((0, 1, MAX), (0, 100), (False, True)):
            counts = dict.fromkeys(("consecutiveLocalOriginFailures", "consecutiveGatewayErrors", "consecutive5xxErrors"), errors)
            more = {"maxEjectionPercent": percent, "minHealthPercent": percent, "splitExternalLocalOriginErrors": split}
            yield cluster(a_policy(outlierDetection={**outliers, **counts, **more}))  # fmt: skip
    for duration, count in product(("0s", "1ns", "9999999h"), (-1, 0, 1, 2**31 - 1)):
        keepalive = {"time": duration, "interval": duration, "probes": max(count, 0)}
        timeouts = dict.fromkeys(("connectTimeout", "idleTimeout", "maxConnectionDuration"), duration)
        limits = dict.fromkeys(("http1MaxPendingRequests", "http2MaxRequests", "maxRetries", "maxRequestsPerConnection"), count)
        tcp = {"maxConnections": count, "tcpKeepalive": keepalive, **timeouts}
        yield cluster(a_policy(connectionPool={"tcp": tcp, "http": {**limits, "idleTimeout": duration}}))


def cluster(policy: Any = None, *, groups: Any = (), has_localities: bool = False, settings: Settings = Settings(), **fields: Any) -> tuple[str, bytes]:  # fmt: skip
    """A cluster with a name of its own."""
    name = f"c{next(_numbers)}"
    backend = a_backend(name, **fields)
    body = translate_cluster(backend, policy, settings, namespace="gw", groups=groups, has_localities=has_localities)
    return name, body


_numbers = iter(range(10**9))


async def test_no_kind_of_cluster_is_rejected(tmp_path):
    clusters = dict(variants())
    async with load(Given(clusters), tmp_path / "files", free_port()) as loaded:
        assert await loaded.rejected() == {}
        assert len(await loaded.active()) == len(clusters) > 500


async def test_the_loader_tells_what_is_rejected(tmp_path):
    """A ring that is larger than its largest size: what we never emit, and what this module is there to find."""
    name, body = cluster(a_policy(loadBalancer={"consistentHash": {"minimumRingSize": 2000}}))
    document: Any = to_document(TypeUrl.CLUSTER, body)
    document["ringHashLbConfig"]["maximumRingSize"] = "10"
    other, good = cluster()
    given = Given({name: from_document(document), other: good})
    async with load(given, tmp_path / "files", free_port(), 1.0) as loaded:
        assert list(await loaded.rejected()) == [name]


async def test_no_kind_of_load_assignment_is_rejected(tmp_path):
    weighted = (
        a_group(an_endpoint("10.0.0.1", weight=MAX), an_endpoint("::1", weight=MAX, mesh_tls=True), weight=MAX),
        a_group(an_endpoint("10.0.0.2"), locality="r/z/s", weight=MAX),
        a_group(locality="r2", priority=500, weight=1),
    )
    bodies = [lambda name: translate_endpoints(name, weighted), lambda name: translate_endpoints(name, ())]
    for addresses, port in product(((), ("10.0.0.1",), ("fd00::1", "10.0.0.1", "10.0.0.2")), (0, 80)):
        bodies.append(lambda name, *given: translate_virtual_addresses(name, addresses, port))  # noqa: B023
    clusters, assignments = {}, {}
    for make, balancer in product(bodies, ({}, {"consistentHash": {}}, {"consistentHash": {"maglev": {}}})):
        name, body = cluster(a_policy(loadBalancer=balancer), has_localities=True)
        clusters[name], assignments[name] = body, make(name)
    async with load(Given(clusters, assignments), tmp_path / "files", free_port()) as loaded:
        assert await loaded.rejected() == {}
        stats = await loaded.envoy.stats(r"cluster\..*\.(update_rejected|update_failure|update_success)")
        assert sum(value for name, value in stats.items() if not name.endswith("update_success")) == 0
        assert sum(value for name, value in stats.items() if name.endswith("update_success")) == len(clusters)


DURATIONS = st.one_of(
    st.just("0"),
    st.builds("{}{}".format, st.integers(0, 10**9), st.sampled_from(["h", "m", "s", "ms", "us", "ns"])),
    st.builds("{}.{}s{}ms".format, st.integers(0, 99), st.integers(0, 999), st.integers(0, 10**6)),
)
INT32 = st.one_of(st.integers(0, 3), st.integers(-(2**31), 2**31 - 1))
UINT32 = st.one_of(st.integers(0, 3), st.integers(0, MAX))
TEXT = st.one_of(st.just(""), st.sampled_from(["a.test", "spiffe://a/b", "*.test"]), st.just("x" * 300), st.text(max_size=9))
POOLS = st.fixed_dictionaries(
    {},
    optional={
        "tcp": st.fixed_dictionaries(
            {},
            optional={
                "maxConnections": INT32,
                "connectTimeout": DURATIONS,
                "idleTimeout": DURATIONS,
                "maxConnectionDuration": DURATIONS,
                "tcpKeepalive": st.fixed_dictionaries({}, optional={"probes": UINT32, "time": DURATIONS, "interval": DURATIONS}),
            },
        ),
        "http": st.fixed_dictionaries(
            {},
            optional={
                "http1MaxPendingRequests": INT32,
                "http2MaxRequests": INT32,
                "maxRequestsPerConnection": INT32,
                "maxRetries": INT32,
                "idleTimeout": DURATIONS,
                "h2UpgradePolicy": st.sampled_from(["DEFAULT", "UPGRADE", "DO_NOT_UPGRADE"]),
                "maxConcurrentStreams": INT32,
            },
        ),
    },
)  # fmt: skip
SIZES = st.one_of(st.integers(0, 70_000), st.integers(0, 2**64))
POLICIES = st.fixed_dictionaries(
    {},
    optional={
        "connectionPool": POOLS,
        "outlierDetection": st.fixed_dictionaries(
            {},
            optional={
                "splitExternalLocalOriginErrors": st.booleans(),
                "consecutiveLocalOriginFailures": UINT32,
                "consecutiveGatewayErrors": UINT32,
                "consecutive5xxErrors": UINT32,
                "interval": DURATIONS,
                "baseEjectionTime": DURATIONS,
                "maxEjectionPercent": st.integers(0, 100),
                "minHealthPercent": st.integers(0, 100),
            },
        ),
        "loadBalancer": st.fixed_dictionaries(
            {},
            optional={
                "simple": st.sampled_from(get_args(SimpleLB)),
                "consistentHash": st.fixed_dictionaries(
                    {},
                    optional={
                        "httpHeaderName": TEXT,
                        "httpCookie": st.fixed_dictionaries({"name": TEXT}, optional={"path": TEXT, "ttl": DURATIONS}),
                        "useSourceIp": st.booleans(),
                        "httpQueryParameterName": TEXT,
                        "ringHash": st.fixed_dictionaries({}, optional={"minimumRingSize": SIZES}),
                        "maglev": st.fixed_dictionaries({}, optional={"tableSize": SIZES}),
                        "minimumRingSize": SIZES,
                    },
                ),
            },
        ),
        "tls": st.fixed_dictionaries(
            {},
            optional={
                "mode": st.sampled_from(get_args(TLSMode)),
                "credentialName": st.sampled_from(["", "cred", "a/b", "kubernetes://x"]),
                "sni": TEXT,
                "subjectAltNames": st.lists(TEXT, max_size=3),
                "insecureSkipVerify": st.booleans(),
            },
        ),
    },
)  # fmt: skip
DISCOVERIES = st.sampled_from(["endpoints", "dns", "dns_round_robin"])
PROTOCOLS = st.sampled_from(["http", "h2c", "ws"])
HOSTS = st.sampled_from([HOST, "*.example.com"])


async def test_no_policy_that_can_be_written_is_rejected(tmp_path):
    """Wider than what is accepted: the rules that span fields are not looked at, and nothing may depend on them."""
    clusters, routes, policies = {}, [], {}

    @settings(max_examples=250, deadline=None, database=None)
    @given(POLICIES, DISCOVERIES, PROTOCOLS, HOSTS, st.sampled_from(GROUPS), st.booleans())
    def write(fields, discovery, protocol, host, groups, has_localities):
        policy = a_policy(**fields)
        backend = {"discovery": discovery, "protocol": protocol, "host": host}
        name, body = cluster(policy, groups=groups, has_localities=has_localities, **backend)
        clusters[name], policies[name] = body, fields
        routes.append(route(name, hash_policies(policy)))

    write()
    async with load(Given(clusters, routes=routes), tmp_path / "files", free_port()) as loaded:
        rejected = await loaded.rejected()
        assert {name: (reason, policies[name]) for name, reason in rejected.items()} == {}


def route(name: str, policies: Any = ()) -> dict[str, Any]:
    """Requests for ``/name`` go to the cluster."""
    hashed = [_hash_policy(policy) for policy in policies]
    action = {"cluster": name, "timeout": "5s", "hash_policy": hashed}
    return {"match": {"prefix": f"/{name}"}, "route": action}


def _hash_policy(policy: Any) -> Any:
    document = to_document("type.googleapis.com/envoy.config.route.v3.RouteAction.HashPolicy", bytes(policy))
    return {key: value for key, value in document.items() if key != "@type"}


class Backend:
    """A server that says ``hello``, and keeps what its clients showed."""

    def __init__(self) -> None:
        self.port = 0
        self.requests: list[bytes] = []
        self.asked_for: list[str | None] = []
        self.shown: list[Any] = []
        self.protocols: list[str | None] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tls = writer.get_extra_info("ssl_object")
        if tls is not None:
            self.shown.append(tls.getpeercert())
            self.protocols.append(tls.version())
        try:
            while True:
                self.requests.append(await reader.readuntil(b"\r\n\r\n"))
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello")
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            writer.close()


@asynccontextmanager
async def serving(pair: Pair | None, directory: Path, *, client: Pair | None = None) -> AsyncIterator[Backend]:
    """A backend with this certificate, in plain text without one; with ``client``, for clients that show that alone."""
    backend = Backend()
    context = None
    if pair is not None:
        file = directory / f"{id(pair)}.pem"
        file.write_text(pair.certificate + pair.key)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        context.sni_callback = lambda _, name, __: backend.asked_for.append(name)
        if client is not None:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(cadata=client.certificate)
    server = await asyncio.start_server(backend.serve, "127.0.0.1", 0, ssl=context)
    backend.port = server.sockets[0].getsockname()[1]
    try:
        yield backend
    finally:
        server.close()


def secrets(**pairs: Pair) -> dict[str, bytes]:
    """The resources of Secrets with a pair and, as its own authority, its certificate."""
    found = {}
    for name, pair in pairs.items():
        secret = Secret(
            metadata=ObjectMeta(name=name, namespace="gw"),
            certificate_chain=pair.certificate,
            key_digest="digest",
            pair_digest="digest",
            ca_certificates=pair.certificate,
        )
        for translated in (translate_secret(secret), translate_ca(secret)):
            assert translated is not None
            body = with_private_key(translated.body, {"digest": pair.key.encode()}.get)
            assert body is not None
            found[translated.key] = body
    return found


async def test_tls_verifies_what_the_policy_says(tmp_path):
    """Each kind of TLS against a backend whose certificate is its own authority."""
    own, other = make_pair(HOST), make_pair(HOST)
    simple, mutual = {"mode": "SIMPLE"}, {"mode": "MUTUAL"}
    cases: dict[str, tuple[dict[str, Any], int]] = {
        "system": (simple, 503),
        "system-sans": ({**simple, "subjectAltNames": [HOST]}, 503),
        "plain": ({"mode": "DISABLE"}, 503),
        "own": ({**simple, "credentialName": "own"}, 200),
        "other": ({**simple, "credentialName": "other"}, 503),
        "missing": ({**simple, "credentialName": "missing"}, 503),
        "wrong-sni": ({**simple, "credentialName": "own", "sni": "x.test"}, 503),
        "other-sni": ({**simple, "credentialName": "own", "sni": "x.test", "subjectAltNames": ["y.test", HOST]}, 200),
        "wrong-san": ({**simple, "credentialName": "own", "subjectAltNames": ["y.test"]}, 503),
        "insecure": ({**simple, "insecureSkipVerify": True}, 200),
        "mutual": ({**mutual, "credentialName": "own"}, 200),
        "mutual-missing": ({**mutual, "credentialName": "missing"}, 503),
        "mutual-none": (mutual, 503),
        "istio": ({"mode": "ISTIO_MUTUAL"}, 503),
        "istio-insecure": ({"mode": "ISTIO_MUTUAL", "insecureSkipVerify": True, "credentialName": "own"}, 503),
    }
    async with AsyncExitStack() as stack:
        clusters, assignments, backends = {}, {}, {}
        for name, (tls, _) in cases.items():
            backends[name] = backend = await stack.enter_async_context(serving(own, tmp_path))
            policy = a_policy(tls=tls)
            clusters[name] = translate_cluster(a_backend(name), policy, Settings(), namespace="gw")
            assignments[name] = translate_endpoints(name, (a_group(an_endpoint("127.0.0.1", backend.port)),))
        routes = [route(name) for name in sorted(cases, reverse=True)]
        given = Given(clusters, assignments, secrets(own=own, other=other), routes)
        loaded = await stack.enter_async_context(load(given, tmp_path / "files", free_port()))
        answers = {name: await loaded.request(f"/{name}") for name in cases}
        statuses = {name: status for name, (status, _) in answers.items()}
        assert statuses == {name: status for name, (_, status) in cases.items()}, answers
        for name, (_, status) in cases.items():
            assert bool(backends[name].requests) is (status == 200), name
        for name, reason in (("system", "error"), ("other", "error"), ("wrong-san", "san"), ("istio", "cert_hash")):
            assert await loaded.envoy.stat(f"cluster.{name}.ssl.fail_verify_{reason}"), name
        assert backends["own"].asked_for == [HOST]
        assert backends["own"].protocols == ["TLSv1.3"]
        assert backends["other-sni"].asked_for == ["x.test"]


async def test_mutual_tls_shows_the_secrets_certificate(tmp_path):
    own, mine = make_pair(HOST), make_pair("me.test")
    cases = {"simple": {"mode": "SIMPLE", "insecureSkipVerify": True}, "mutual": {"mode": "MUTUAL", "credentialName": "mine", "insecureSkipVerify": True}}  # fmt: skip
    async with serving(own, tmp_path, client=mine) as backend:
        clusters = {
            name: translate_cluster(a_backend(name), a_policy(tls=tls), Settings(), namespace="gw")
            for name, tls in cases.items()
        }
        group = a_group(an_endpoint("127.0.0.1", backend.port))
        assignments = {name: translate_endpoints(name, (group,)) for name in cases}
        given = Given(clusters, assignments, secrets(mine=mine), [route(name) for name in cases])
        async with load(given, tmp_path / "files", free_port()) as loaded:
            assert (await loaded.request("/mutual"))[0] == 200
            assert (await loaded.request("/simple"))[0] == 503
        assert [certificate["subjectAltName"] for certificate in backend.shown] == [(("DNS", "me.test"),)]


async def test_istios_mutual_tls_sends_nothing_in_plain_text(tmp_path):
    async with serving(None, tmp_path) as backend:
        tls = {"mode": "ISTIO_MUTUAL"}
        name, body = cluster(a_policy(tls=tls, connectionPool={"tcp": {"connectTimeout": "0.3s"}}))
        group = a_group(an_endpoint("127.0.0.1", backend.port))
        given = Given({name: body}, {name: translate_endpoints(name, (group,))}, routes=[route(name)])
        async with load(given, tmp_path / "files", free_port()) as loaded:
            assert (await loaded.request(f"/{name}"))[0] == 503
            assert await loaded.envoy.stat(f"cluster.{name}.upstream_cx_total") > 0
        assert backend.requests == []


async def test_a_wildcard_names_and_verifies_the_requests_host(tmp_path):
    own = make_pair("a.example.com")
    tls = {"mode": "SIMPLE", "credentialName": "own"}
    async with serving(own, tmp_path) as backend:
        name, body = cluster(a_policy(tls=tls), host="*.example.com")
        group = a_group(an_endpoint("127.0.0.1", backend.port))
        given = Given({name: body}, {name: translate_endpoints(name, (group,))}, secrets(own=own), [route(name)])
        async with load(given, tmp_path / "files", free_port()) as loaded:
            assert (await loaded.request(f"/{name}", "a.example.com"))[0] == 200
            assert (await loaded.request(f"/{name}", "b.example.com"))[0] == 503
        assert backend.asked_for == ["a.example.com", "b.example.com"]
        assert len(backend.requests) == 1


async def test_the_largest_values_still_connect(tmp_path):
    """What the system refuses of a socket is found out only when one is opened."""
    pool = {
        "tcp": {
            "maxConnections": 1,
            "connectTimeout": "9999999h",
            "idleTimeout": "9999999h",
            "maxConnectionDuration": "9999999h",
            "tcpKeepalive": {"time": "9999999h", "interval": "9999999h", "probes": MAX},
        },
        "http": {"http1MaxPendingRequests": 1, "http2MaxRequests": 1, "maxRequestsPerConnection": 1},
    }
    async with serving(None, tmp_path) as backend:
        name, body = cluster(a_policy(connectionPool=pool))
        group = a_group(an_endpoint("127.0.0.1", backend.port))
        given = Given({name: body}, {name: translate_endpoints(name, (group,))}, routes=[route(name)])
        async with load(given, tmp_path / "files", free_port()) as loaded:
            assert [await loaded.request(f"/{name}") for _ in range(2)] == [(200, "hello")] * 2
            assert await loaded.envoy.stat(f"cluster.{name}.upstream_cx_total") == 2


async def test_names_are_resolved(tmp_path):
    async with serving(None, tmp_path) as backend:
        groups = (a_group(an_endpoint("localhost", backend.port), locality="r/z/s", weight=1),)
        clusters = dict(
            cluster(discovery=discovery, groups=groups, has_localities=True) for discovery in ("dns", "dns_round_robin")
        )
        given = Given(clusters, routes=[route(name) for name in clusters])
        async with load(given, tmp_path / "files", free_port()) as loaded:
            for name in clusters:

                async def answers(name: str = name) -> bool:
                    return await loaded.request(f"/{name}") == (200, "hello")

                await loaded.envoy.wait(answers)


async def test_a_name_that_nobody_resolves_holds_nothing_up(tmp_path):
    groups = (a_group(an_endpoint("slow.test")),)
    name, body = cluster(discovery="dns", groups=groups)
    document = to_document(TypeUrl.CLUSTER, body)
    patient = from_document({**document, "waitForWarmOnInit": True})
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as silent:
        silent.bind(("127.0.0.1", 0))
        port = silent.getsockname()[1]
        async with load(Given({name: body}, resolvers={name: port}), tmp_path / "fast", free_port()) as loaded:
            assert await loaded.active() == {name}
        given = Given({name: patient}, resolvers={name: port})
        async with load(given, tmp_path / "slow", free_port(), 1.0) as loaded:
            assert await loaded.rejected() == {name: "does not warm"}


async def test_a_header_is_hashed_to_one_endpoint(tmp_path):
    policy = a_policy(loadBalancer={"consistentHash": {"httpHeaderName": "x-user", "maglev": {"tableSize": 11}}})
    async with AsyncExitStack() as stack:
        backends = [await stack.enter_async_context(serving(None, tmp_path)) for _ in range(3)]
        name, body = cluster(policy)
        group = a_group(*(an_endpoint("127.0.0.1", backend.port) for backend in backends))
        routes = [route(name, hash_policies(policy))]
        given = Given({name: body}, {name: translate_endpoints(name, (group,))}, routes=routes)
        loaded = await stack.enter_async_context(load(given, tmp_path / "files", free_port()))
        for user in range(8):
            before = [len(backend.requests) for backend in backends]
            for _ in range(4):
                headers = {"host": "a.test", "x-user": str(user)}
                async with loaded.envoy._session.get(f"http://127.0.0.1:{loaded.port}/{name}", headers=headers) as answer:
                    assert answer.status == 200
            counts = [len(backend.requests) - count for backend, count in zip(backends, before, strict=True)]
            assert sorted(counts) == [0, 0, 4]
        assert sum(bool(backend.requests) for backend in backends) > 1
