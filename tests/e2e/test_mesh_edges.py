"""DestinationRules with their Secrets, and what waypoints go by: each is moved under traffic, and the answers follow."""

from __future__ import annotations

import base64
import json
import ssl
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.conformance.manifests import Manifest, manifest

from .backends import Backend, serving
from .certificates import Pair, make_pair
from .client import Answer, Connection, Request, Tally, Traffic, ask
from .edges import SHOP, scene, stops, undisturbed
from .folder import Folder, backend_service, endpoints
from .identities import Authority, spiffe
from .istio import USE_WAYPOINT, authorization, destination_rule, namespace, proxy_waypoint
from .plane import envoy_at, free_port, is_settled, until, until_answer
from .waypoint_client import Address, node_proxy, proxied

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio]

HOST = "shop.demo.svc.cluster.local"
PLAIN, BROKEN = {"mode": "DISABLE"}, {"mode": "SIMPLE", "insecureSkipVerify": True}
"""TLS to a backend that speaks none: with the first it answers, with the other it cannot."""


def server_side(directory: Path, pair: Pair, clients: Authority | None = None) -> ssl.SSLContext:
    """A server with this certificate; with ``clients``, for those alone that the authority knows."""
    path = directory / "server.pem"
    path.write_text(pair.certificate + pair.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    path.unlink()
    if clients is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=clients.certificate)
    return context


def secret(**parts: str) -> Manifest:
    """The Secret that the rule names; ``_`` stands for the dot."""
    data = {name.replace("_", "."): base64.b64encode(text.encode()).decode() for name, text in parts.items()}
    return manifest("Secret", "v1", "credential", type="Opaque", data=data)


def credentials(mode: str) -> Manifest:
    """The rule; each request is a handshake."""
    tls = {"mode": mode, "credentialName": "credential"}
    return destination_rule("shop", "shop", tls=tls, connectionPool={"http": {"maxRequestsPerConnection": 1}})


async def test_authorities_that_come_late_and_are_rotated(folder: Folder, tmp_path: Path) -> None:
    """Whom a rule trusts: 503 without the Secret. With both authorities for a while, a rotation fails nobody."""
    old, new = make_pair(HOST), make_pair(HOST)
    async with scene(folder, tmp_path) as s, AsyncExitStack() as stack:
        ports = {
            name: (await stack.enter_async_context(serving(Backend(name), server_side(tmp_path, pair)))).port
            for name, pair in (("old", old), ("new", new))
        }

        async def both_are_trusted() -> bool:
            served = await s.admin.text("/debug/snapshot")
            is_served = all(json.dumps(pair.certificate)[1:-1] in served for pair in (old, new))
            return is_served and await is_settled(s.admin)

        folder.write("rule.yaml", credentials("SIMPLE"))
        folder.write("shop.yaml", backend_service("shop", ports["old"]))
        s.route("shop")
        await s.answers(503)
        for _ in range(2):
            folder.write("secret.yaml", secret(ca_crt=old.certificate))
            await s.answers(200, "old")
            folder.write("shop.yaml", backend_service("shop", ports["new"]))
            await s.answers(503)
            folder.write("secret.yaml", secret(ca_crt=new.certificate))
            await s.answers(200, "new")
            folder.write("secret.yaml", secret(ca_crt=new.certificate + old.certificate))
            await until("both are trusted", both_are_trusted)
            async with undisturbed(s.port, SHOP):
                folder.write("shop.yaml", backend_service("shop", ports["old"], ports["new"]))
                await s.answer("old", "new")
                folder.write("shop.yaml", backend_service("shop", ports["old"]))
                await s.answer("old")
                folder.write("secret.yaml", secret(ca_crt=old.certificate))


async def test_authorities_that_are_taken_away(folder: Folder, tmp_path: Path) -> None:
    """Without the Secret nobody is trusted any more, as when it was never there; it comes back, and so does the backend."""
    own = make_pair(HOST)
    async with scene(folder, tmp_path) as s, serving(Backend("shop"), server_side(tmp_path, own)) as shop:
        folder.write("rule.yaml", credentials("SIMPLE"))
        folder.write("shop.yaml", backend_service("shop", shop.port))
        s.route("shop")
        for _ in range(2):
            await s.answers(503)
            folder.write("secret.yaml", secret(ca_crt=own.certificate))
            await s.answers(200)
            folder.remove("secret.yaml")
        await s.answers(503)


async def test_a_certificate_to_show_that_comes_late_and_is_rotated(folder: Folder, tmp_path: Path) -> None:
    """Whom a backend knows: 503 without the Secret, and with another's certificate."""
    own = make_pair(HOST)
    old, new = Authority("old"), Authority("new")

    def shown(authority: Authority) -> Manifest:
        identity = authority.issue(spiffe("demo", "web"))
        return secret(tls_crt=identity.certificate, tls_key=identity.key, ca_crt=own.certificate)

    async with scene(folder, tmp_path) as s, AsyncExitStack() as stack:
        ports = {
            name: (await stack.enter_async_context(serving(Backend(name), server_side(tmp_path, own, clients)))).port
            for name, clients in (("old", old), ("new", new))
        }
        folder.write("rule.yaml", credentials("MUTUAL"))
        folder.write("shop.yaml", backend_service("shop", ports["old"]))
        s.route("shop")
        await s.answers(503)
        folder.write("secret.yaml", secret(ca_crt=own.certificate))
        await s.answers(503)
        folder.write("secret.yaml", shown(old))
        await s.answers(200, "old")
        folder.write("shop.yaml", backend_service("shop", ports["new"]))
        await s.answers(503)
        folder.write("secret.yaml", shown(new))
        await s.answers(200, "new")
        async with undisturbed(s.port, SHOP):
            for _ in range(3):
                folder.write("secret.yaml", shown(new))
                await s.answer("new")
        folder.write("rule.yaml", credentials("SIMPLE"))
        await s.answers(503)
        folder.write("rule.yaml", credentials("MUTUAL"))
        await s.answers(200, "new")


async def test_a_rule_that_goes_makes_way_for_the_next(folder: Folder, tmp_path: Path) -> None:
    """DestinationRules of one host: the older deleted and created again, and one of another namespace that is exported or not."""

    def ruled(name: str, month: int, tls: Manifest, space: str = "demo", exported: str = "*") -> Manifest:
        made = destination_rule(name, "shop.demo.svc.cluster.local", space, tls=tls)
        made["metadata"]["creationTimestamp"] = f"2026-{month:02}-01T00:00:00Z"
        made["spec"]["exportTo"] = [exported]
        return made

    async with scene(folder, tmp_path, "shop") as s:
        folder.write("shop.yaml", backend_service("shop", s.backends["shop"].port))
        s.route("shop")
        await s.answers()
        folder.write("young.yaml", ruled("young", 2, BROKEN))
        await s.answers(503)
        for _ in range(2):
            folder.write("old.yaml", ruled("old", 1, PLAIN))
            await s.answers(200)
            folder.remove("old.yaml")
            await s.answers(503)
        folder.remove("young.yaml")
        await s.answers(200)
        for exported, status in (("*", 503), (".", 200), ("demo", 503), ("elsewhere", 200)):
            folder.write("foreign.yaml", ruled("foreign", 1, BROKEN, "other", exported))
            await s.answers(status)
        folder.write("foreign.yaml", ruled("foreign", 1, BROKEN, "other"))
        await s.answers(503)
        folder.write("own.yaml", ruled("own", 3, PLAIN))  # the client's own namespace comes first
        await s.answers(200)


PLACE: Address = ("127.0.0.77", 80)
"""The shop's own address: nobody needs to listen there where a node's proxy says that somebody wanted to go there."""


def service(name: str, place: Address, pod: Backend, waypoint: str | None = None) -> list[Manifest]:
    """A service with an address of its own; with the name of a waypoint, captured by its own label."""
    labels = {USE_WAYPOINT: waypoint} if waypoint else {}
    spec = {"clusterIP": place[0], "ports": [{"name": "http", "port": place[1]}]}
    return [manifest("Service", "v1", name, metadata={"labels": labels}, spec=spec), *endpoints(name, [pod.port])]


async def test_namespaces_that_are_captured_and_let_go(folder: Folder, tmp_path: Path) -> None:
    """Labels of the Namespace: what of it is captured, and whether the waypoint admits it. What is captured by its own label stays."""
    port, own, kept = free_port(), Request("own.demo"), ("127.0.0.78", 80)
    inside, captured = {"mesh": "in"}, {USE_WAYPOINT: "wp"}
    admitted: Manifest = {"namespaces": {"from": "Selector", "selector": {"matchLabels": inside}}}
    async with scene(folder, tmp_path, "shop", "own") as s:
        folder.write("waypoint.yaml", proxy_waypoint(port, allowedRoutes=admitted))
        folder.write("own.yaml", service("own", kept, s.backends["own"], "wp"))
        folder.write("shop.yaml", service("shop", PLACE, s.backends["shop"]))
        folder.write("namespace.yaml", namespace("demo", inside))
        async with envoy_at(s.xds, tmp_path / "waypoint", "demo/wp"):
            await until_answer(port, proxied(own, kept), backend="own")
            assert (await ask(port, proxied(SHOP, PLACE))).status == 0
            async with Connection(port) as connection:
                await connection.ask(proxied(own, kept))
                for _ in range(3):
                    folder.write("namespace.yaml", namespace("demo", inside | captured))
                    await until_answer(port, proxied(SHOP, PLACE), backend="shop")
                    assert (await connection.ask(own)).backend == "own"
                    folder.write("namespace.yaml", namespace("demo", inside))
                    await until_answer(port, proxied(SHOP, PLACE), status=0)
                    assert (await connection.ask(own)).backend == "own"
                assert connection.opened == 1
            folder.write("namespace.yaml", namespace("demo", captured))
            await until_answer(port, proxied(own, kept), status=0)
            status, reason, _ = await s.admin.condition("Service demo/own", "istio.io/WaypointBound")
            assert (status, reason) == ("False", "AttachmentDenied")
            folder.write("namespace.yaml", namespace("demo", inside | captured))
            await until_answer(port, proxied(own, kept), backend="own")
            await until_answer(port, proxied(SHOP, PLACE), backend="shop")


async def test_policies_that_come_and_go(folder: Folder, tmp_path: Path) -> None:
    """AuthorizationPolicies of one service: 403, then 200, kept connections included. Another service's connection stays."""
    port, places = free_port(), {name: ("127.0.0.1", free_port()) for name in ("shop", "other")}
    shop, other = (place[1] for place in places.values())
    named = {"group": "", "kind": "Service", "name": "shop"}
    deny = authorization("deny", named, "DENY", {"to": [{"operation": {"paths": ["/"]}}]})
    by_status = {200: Tally(), 403: Tally()}

    def count(_: Request, answer: Answer, __: Connection) -> None:
        by_status[answer.status].add()

    async with scene(folder, tmp_path, *places) as s, node_proxy(port, "", *places.values()):
        folder.write("waypoint.yaml", proxy_waypoint(port))
        for name, place in places.items():
            folder.write(f"{name}.yaml", service(name, place, s.backends[name], "wp"))
        async with envoy_at(s.xds, tmp_path / "waypoint", "demo/wp"):
            await until_answer(shop, SHOP, backend="shop")
            await until_answer(other, SHOP, backend="other")
            async with undisturbed(other, SHOP), Traffic(shop, SHOP, watch=count) as traffic:
                for _ in range(2):
                    await by_status[200].grow(10)
                    folder.write("policy.yaml", deny)
                    await until_answer(shop, SHOP, status=403)
                    await stops(by_status[200], traffic)
                    folder.remove("policy.yaml")
                    await until_answer(shop, SHOP)
                    await stops(by_status[403], traffic)
                assert traffic.by_status.keys() == {200, 403}, traffic.bad
                folder.write("policy.yaml", deny)
                await until_answer(shop, SHOP, status=403)
            async with undisturbed(other, SHOP):
                folder.remove("shop.yaml")
                await until_answer(shop, SHOP, status=0)
                folder.write("shop.yaml", service("shop", places["shop"], s.backends["shop"], "wp"))
                await until_answer(shop, SHOP, status=403)
