"""A real Envoy does to connections and requests what a policy says."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest

from controlplane._proto.envoy.config.cluster.v3 import Cluster
from controlplane.model.base import ObjectMeta
from controlplane.model.events import Settings
from controlplane.model.kubernetes import Secret
from controlplane.translate.cluster import hash_policies, translate_cluster
from controlplane.translate.load_assignment import translate_endpoints
from controlplane.translate.secret import translate_ca, translate_secret, with_private_key
from tests.conftest import free_port
from tests.e2e.certificates import Pair, make_pair
from tests.translate.loading import Given, load, route
from tests.translate.policies import HOST, UINT32_MAX, a_backend, a_group, a_policy, an_endpoint, named_cluster

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio]


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
        name, body = named_cluster(a_policy(tls=tls, connectionPool={"tcp": {"connectTimeout": "0.3s"}}))
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
        name, body = named_cluster(a_policy(tls=tls), host="*.example.com")
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
            "tcpKeepalive": {"time": "9999999h", "interval": "9999999h", "probes": UINT32_MAX},
        },
        "http": {"http1MaxPendingRequests": 1, "http2MaxRequests": 1, "maxRequestsPerConnection": 1},
    }
    async with serving(None, tmp_path) as backend:
        name, body = named_cluster(a_policy(connectionPool=pool))
        group = a_group(an_endpoint("127.0.0.1", backend.port))
        given = Given({name: body}, {name: translate_endpoints(name, (group,))}, routes=[route(name)])
        async with load(given, tmp_path / "files", free_port()) as loaded:
            assert [await loaded.request(f"/{name}") for _ in range(2)] == [(200, "hello")] * 2
            assert await loaded.envoy.stat(f"cluster.{name}.upstream_cx_total") == 2


async def test_names_are_resolved(tmp_path):
    async with serving(None, tmp_path) as backend:
        groups = (a_group(an_endpoint("localhost", backend.port), locality="r/z/s", weight=1),)
        clusters = dict(
            named_cluster(discovery=discovery, groups=groups, has_localities=True)
            for discovery in ("dns", "dns_round_robin")
        )
        given = Given(clusters, routes=[route(name) for name in clusters])
        async with load(given, tmp_path / "files", free_port()) as loaded:
            for name in clusters:

                async def answers(name: str = name) -> bool:
                    return await loaded.request(f"/{name}") == (200, "hello")

                await loaded.envoy.wait(answers)


async def test_a_name_that_nobody_resolves_holds_nothing_up(tmp_path):
    groups = (a_group(an_endpoint("slow.test")),)
    name, body = named_cluster(discovery="dns", groups=groups)
    patient = Cluster.parse(body)
    patient.wait_for_warm_on_init = True
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as silent:
        silent.bind(("127.0.0.1", 0))
        port = silent.getsockname()[1]
        async with load(Given({name: body}, resolvers={name: port}), tmp_path / "fast", free_port()) as loaded:
            assert await loaded.active() == {name}
        given = Given({name: bytes(patient)}, resolvers={name: port})
        async with load(given, tmp_path / "slow", free_port(), 1.0) as loaded:
            assert await loaded.rejected() == {name: "does not warm"}


async def test_a_header_is_hashed_to_one_endpoint(tmp_path):
    policy = a_policy(loadBalancer={"consistentHash": {"httpHeaderName": "x-user", "maglev": {"tableSize": 11}}})
    async with AsyncExitStack() as stack:
        backends = [await stack.enter_async_context(serving(None, tmp_path)) for _ in range(3)]
        name, body = named_cluster(policy)
        group = a_group(*(an_endpoint("127.0.0.1", backend.port) for backend in backends))
        routes = [route(name, hash_policies(policy))]
        given = Given({name: body}, {name: translate_endpoints(name, (group,))}, routes=routes)
        loaded = await stack.enter_async_context(load(given, tmp_path / "files", free_port()))
        for user in range(8):
            before = [len(backend.requests) for backend in backends]
            for _ in range(4):
                headers = {"host": "a.test", "x-user": str(user)}
                async with loaded.envoy._session.get(
                    f"http://127.0.0.1:{loaded.port}/{name}", headers=headers
                ) as answer:
                    assert answer.status == 200
            counts = [len(backend.requests) - count for backend, count in zip(backends, before, strict=True)]
            assert sorted(counts) == [0, 0, 4]
        assert sum(bool(backend.requests) for backend in backends) > 1
