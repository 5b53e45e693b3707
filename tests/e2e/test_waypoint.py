"""Waypoints with a real Envoy and real bytes: what a node's proxy brings by the PROXY protocol, and what an Envoy tunnels."""

from __future__ import annotations

import asyncio
import base64
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.manifests import (
    GROUP,
    Manifest,
    gateway,
    gateway_class,
    http_route,
    listener,
    manifest,
    prefix,
    rule,
)
from tests.conftest import EnvoyProcess

from .backends import Backend, serving_all
from .client import Connection, Request, ask
from .folder import Folder, endpoints
from .identities import Authority, Identity, spiffe
from .plane import Admin, envoy_for, free_port, planning, until, until_answer
from .waypoint_client import CLIENT, Address, exchange, proxied, proxy_header, tunnels

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio]

WEB: Address = ("10.1.0.1", 80)
WEB6: Address = ("fd00::1", 80)
DATABASE: Address = ("10.1.0.1", 5432)
EXTERNAL: Address = ("10.7.3.4", 80)
"""In the block of a ServiceEntry."""
FRIEND, FOE = spiffe("demo", "friend"), spiffe("demo", "foe")
HOST = Request("web.demo.svc.cluster.local")


def waypoint(*listeners: Manifest) -> list[Manifest]:
    """The Gateway, and its class."""
    spec = {"gatewayClassName": "controlplane-waypoint"}
    return [gateway_class("controlplane-waypoint"), gateway(*listeners, name="wp", **spec)]


def proxy_listener(port: int) -> Manifest:
    return listener("proxy", port, protocol="istio.io/PROXY")


def hbone_listener(port: int, secret: str = "identity") -> Manifest:
    return listener("hbone", port, protocol="HBONE", tls={"certificateRefs": [{"name": secret}]})


def identity_secret(identity: Identity, authority: Authority) -> Manifest:
    parts = {"tls.crt": identity.certificate, "tls.key": identity.key, "ca.crt": authority.certificate}
    data = {name: base64.b64encode(text.encode()).decode() for name, text in parts.items()}
    return manifest("Secret", "v1", "identity", type="kubernetes.io/tls", data=data)


def services(web: Backend, external: Backend) -> list[Manifest]:
    """A Service with a port for HTTP and one for anything, and a ServiceEntry, both captured; and one that is not."""
    labels = {"istio.io/use-waypoint": "wp"}
    addresses = {"clusterIP": WEB[0], "clusterIPs": [WEB[0], WEB6[0]]}
    ports = [{"name": "http", "port": 80}, {"name": "tcp", "port": 5432}]
    free = {"clusterIP": "10.1.0.2", "clusterIPs": ["10.1.0.2"], "ports": ports}
    slices = endpoints("web", [web.port])
    slices[0]["ports"] = [{"name": name, "port": web.port} for name in ("http", "tcp")]
    entry = {
        "hosts": ["api.example.com"],
        "addresses": ["10.7.0.0/16"],
        "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}],
        "resolution": "STATIC",
        "endpoints": [{"address": "127.0.0.1", "ports": {"http": external.port}}],
    }
    return [
        manifest("Service", "v1", "web", metadata={"labels": labels}, spec={**addresses, "ports": ports}),
        manifest("Service", "v1", "free", spec=free),
        *slices,
        manifest("ServiceEntry", "networking.istio.io/v1", "api", metadata={"labels": labels}, spec=entry),
    ]


def policy(name: str, target: str, kind: str = "Service", **spec: Any) -> Manifest:
    group = "" if kind == "Service" else GROUP
    refs = [{"group": group, "kind": kind, "name": target}]
    return manifest("AuthorizationPolicy", "security.istio.io/v1", name, spec={"targetRefs": refs, **spec})


def only(principal: str, **operation: Any) -> dict[str, Any]:
    """Rules that this principal satisfies, and with an operation that alone."""
    to = {"to": [{"operation": operation}]} if operation else {}
    return {"rules": [{"from": [{"source": {"principals": [principal.removeprefix("spiffe://")]}}], **to}]}


def service_parent(name: str, port: int | None = None, kind: str = "Service", group: str = "") -> Manifest:
    return {"group": group, "kind": kind, "name": name, **({"port": port} if port else {})}


@asynccontextmanager
async def meshed(
    folder: Folder, tmp_path: Path, *listeners: Manifest
) -> AsyncIterator[tuple[dict[str, Backend], Admin, EnvoyProcess]]:
    """A waypoint with these listeners and its Envoy, before backends ``web`` and ``external``."""
    async with serving_all("web", "external", "other") as backends:
        folder.write("waypoint.yaml", waypoint(*listeners))
        folder.write("services.yaml", services(backends["web"], backends["external"]))
        async with (
            planning(folder.path) as (plane, admin),
            envoy_for(plane, tmp_path / "waypoint", "demo/wp") as envoy,
        ):
            yield backends, admin, envoy


async def status_of(port: int, destination: Address, principal: str | None = FRIEND, request: Request = HOST) -> int:
    return (await ask(port, proxied(request, destination, principal))).status


async def test_connections_are_taken_by_where_they_were_going(folder: Folder, tmp_path: Path) -> None:
    """Ports and addresses of what is captured, and nothing else: a waypoint is no open relay."""
    port = free_port()
    async with meshed(folder, tmp_path, proxy_listener(port)) as (_, _, envoy):
        await until_answer(port, proxied(HOST, WEB), backend="web")
        assert (await ask(port, proxied(HOST, WEB6, source=("fd00::7", 7)))).backend == "web"
        await until_answer(port, proxied(HOST, EXTERNAL), backend="external")
        request = HOST.encode().replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n")
        assert b"x-backend: web" in await exchange(port, proxy_header(DATABASE) + request, end=False)
        for stranger in (("10.1.0.1", 81), ("10.1.0.2", 80), ("10.8.0.1", 80), ("127.0.0.1", port)):
            assert await status_of(port, stranger) == 0
        assert (await ask(port, HOST)).status == 0  # without the PROXY protocol
        assert await envoy.stat("listener_manager.listener_create_failure") == 0


async def test_the_client_is_whom_the_node_says(folder: Folder, tmp_path: Path) -> None:
    """The backend is told of the client's own address, and what a gateway before has said of the request stays."""
    port = free_port()
    async with meshed(folder, tmp_path, proxy_listener(port)):
        answer = await until_answer(port, proxied(HOST, WEB), backend="web")
        assert dict(answer.seen["headers"])["x-forwarded-for"] == CLIENT[0]
        said = (("x-forwarded-for", "203.0.113.9"), ("x-forwarded-proto", "https"), ("x-request-id", "trace"))
        answer = await ask(port, proxied(Request(HOST.host, headers=said), WEB))
        headers = dict(answer.seen["headers"])
        assert headers["x-forwarded-for"] == f"203.0.113.9,{CLIENT[0]}"
        assert headers["x-forwarded-proto"] == "https"
        assert headers["x-request-id"] == "trace"


async def test_policies_see_the_principal(folder: Folder, tmp_path: Path) -> None:
    """ALLOW and DENY by principal, for HTTP and for TCP; a connection of which nobody says whose it is has none."""
    port = free_port()
    folder.write("policy.yaml", policy("allow", "web", action="ALLOW", **only(FRIEND)))
    async with meshed(folder, tmp_path, proxy_listener(port)) as (_, admin, _):
        await until_answer(port, proxied(HOST, WEB, FRIEND), backend="web")
        assert await status_of(port, WEB, FOE) == 403
        assert await status_of(port, WEB, None) == 403
        request = HOST.encode().replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n")
        assert b"200 OK" in await exchange(port, proxy_header(DATABASE, FRIEND) + request, end=False)
        assert await exchange(port, proxy_header(DATABASE, FOE) + request, end=False) == b""
        assert await status_of(port, EXTERNAL, FOE) == 200  # another service's policy

        anyone = {"rules": [{"from": [{"source": {"principals": ["*"]}}]}]}
        folder.write("policy.yaml", policy("allow", "web", action="ALLOW", **anyone))
        await until_answer(port, proxied(HOST, WEB, FOE), backend="web")
        assert await status_of(port, WEB, None) == 403

        deny = policy("deny", "wp", "Gateway", action="DENY", **only(FOE, paths=["/secret*"]))
        folder.write("policy.yaml", deny)
        await until_answer(port, proxied(Request(HOST.host, "/secret/1"), EXTERNAL, FOE), status=403)
        assert await status_of(port, WEB, FOE) == 200
        assert await status_of(port, EXTERNAL, FRIEND, Request(HOST.host, "/secret/1")) == 200
        assert await admin.is_ready()


async def test_routes_of_the_service_come_first(folder: Folder, tmp_path: Path) -> None:
    """No route: the service. A route of the service: it alone, else 404; one of the waypoint: after it, for its hostnames."""
    port = free_port()
    async with meshed(folder, tmp_path, proxy_listener(port)) as (backends, _, _):
        other = manifest("Service", "v1", "other", spec={"ports": [{"port": 8080}]})
        folder.write("other.yaml", other, endpoints("other", [backends["other"].port]))
        await until_answer(port, proxied(HOST, WEB), backend="web")
        wide = http_route("wide", rule(prefix("/"), to="other"), parents=["wp"], hostnames=["x.example.com"])
        folder.write("wide.yaml", wide)
        await until_answer(port, proxied(Request("x.example.com"), WEB), backend="other")
        assert (await ask(port, proxied(HOST, WEB))).backend == "web"  # of this host no route speaks

        mine = http_route("mine", rule(prefix("/own"), to="other"))
        mine["spec"]["parentRefs"] = [service_parent("web", 80)]
        folder.write("mine.yaml", mine)
        await until_answer(port, proxied(Request(HOST.host, "/own"), WEB), backend="other")
        assert await status_of(port, WEB) == 404
        assert (await ask(port, proxied(Request("x.example.com", "/"), WEB))).backend == "other"
        assert (await ask(port, proxied(HOST, EXTERNAL))).backend == "external"

        folder.remove("mine.yaml")
        await until_answer(port, proxied(HOST, WEB), backend="web")


async def test_hbone(folder: Folder, tmp_path: Path) -> None:
    """Two clients at a time through one waypoint: each is who its certificate says, and strangers are nobody."""
    port, authority = free_port(), Authority()
    clients = {
        "friend": authority.issue(FRIEND),
        "foe": authority.issue(FOE),
        "nobody": authority.issue(),
        "stranger": Authority("another").issue(FRIEND),
    }
    places = [f"{WEB[0]}:80", f"[{WEB6[0]}]:80", f"{EXTERNAL[0]}:80", "10.1.0.2:80", "web.demo.svc.cluster.local:80"]
    ends = {name: {place: free_port() for place in places} for name in clients}
    folder.write("identity.yaml", identity_secret(authority.issue(spiffe("demo", "wp")), authority))
    folder.write("policy.yaml", policy("allow", "web", action="ALLOW", **only(FRIEND)))
    async with meshed(folder, tmp_path, hbone_listener(port)), AsyncExitStack() as stack:
        for name, identity in clients.items():
            ports = {end: place for place, end in ends[name].items()}
            document = tunnels(port, ports, identity, authority.certificate)
            await stack.enter_async_context(EnvoyProcess(document, tmp_path / name))
        web = {name: ends[name][places[0]] for name in clients}
        await until_answer(web["friend"], HOST, backend="web")
        assert (await ask(ends["friend"][places[1]], HOST)).backend == "web"
        assert (await ask(ends["foe"][places[2]], HOST)).backend == "external"
        for nowhere in places[3:]:
            assert (await ask(ends["friend"][nowhere], HOST)).status == 0
        assert (await ask(web["foe"], HOST)).status == 403
        assert (await ask(web["nobody"], HOST)).status == 403
        assert (await ask(web["stranger"], HOST)).status == 0
        names = ["friend", "foe"] * 50
        answers = await asyncio.gather(*(ask(web[name], HOST) for name in names))
        found = Counter((name, answer.status) for name, answer in zip(names, answers, strict=True))
        assert found == {("friend", 200): 50, ("foe", 403): 50}


async def test_hbone_without_anybody_to_trust_is_not_served(folder: Folder, tmp_path: Path) -> None:
    """The authority's certificate goes: nobody is taken at their word. It comes back: the port opens again."""
    port, authority = free_port(), Authority()
    own = identity_secret(authority.issue(spiffe("demo", "wp")), authority)
    folder.write("identity.yaml", own)
    async with meshed(folder, tmp_path, hbone_listener(port)):
        end = free_port()
        document = tunnels(port, {end: f"{WEB[0]}:80"}, authority.issue(FRIEND), authority.certificate)
        async with EnvoyProcess(document, tmp_path / "tunnel"):
            await until_answer(end, HOST, backend="web")
            without = {**own, "data": {name: text for name, text in own["data"].items() if name != "ca.crt"}}
            folder.write("identity.yaml", without)

            async def is_closed() -> bool:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                except OSError:
                    return True
                writer.close()
                return False

            await until("the port is closed", is_closed)
            folder.write("identity.yaml", own)
            await until_answer(end, HOST, backend="web")


async def test_what_is_captured_besides_disturbs_no_connection(folder: Folder, tmp_path: Path) -> None:
    """Another service captured and let go again, by both ways in: kept connections stay, the new place opens and closes."""
    proxy, hbone, end, authority = free_port(), free_port(), free_port(), Authority()
    folder.write("identity.yaml", identity_secret(authority.issue(spiffe("demo", "wp")), authority))
    document = tunnels(hbone, {end: f"{WEB[0]}:80"}, authority.issue(FRIEND), authority.certificate)
    listeners = (proxy_listener(proxy), hbone_listener(hbone))
    async with (
        meshed(folder, tmp_path, *listeners) as (backends, _, _),
        EnvoyProcess(document, tmp_path / "tunnel"),
        Connection(proxy) as brought,
        Connection(end) as tunnelled,
    ):
        await until_answer(proxy, proxied(HOST, WEB), backend="web")
        await until_answer(end, HOST, backend="web")
        assert (await brought.ask(proxied(HOST, WEB))).backend == "web"
        assert (await tunnelled.ask(HOST)).backend == "web"
        labels, spec = (
            {"istio.io/use-waypoint": "wp"},
            {"clusterIP": "10.1.0.9", "ports": [{"name": "http", "port": 80}]},
        )
        late = manifest("Service", "v1", "late", metadata={"labels": labels}, spec=spec)
        for _ in range(2):
            folder.write("late.yaml", late, endpoints("late", [backends["other"].port]))
            await until_answer(proxy, proxied(HOST, ("10.1.0.9", 80)), backend="other")
            folder.remove("late.yaml")
            await until_answer(proxy, proxied(HOST, ("10.1.0.9", 80)), status=0)
        assert (await brought.ask(HOST)).backend == "web"
        assert (await tunnelled.ask(HOST)).backend == "web"
        assert (brought.opened, tunnelled.opened) == (1, 1)


async def test_the_listener_is_there_as_long_as_something_is_captured(folder: Folder, tmp_path: Path) -> None:
    port = free_port()
    async with meshed(folder, tmp_path, proxy_listener(port)) as (backends, _, envoy):
        for _ in range(2):
            await until_answer(port, proxied(HOST, WEB), backend="web")
            folder.write("services.yaml")

            async def is_gone() -> bool:
                return f"~{port}" not in await envoy.get("/listeners")

            await until("the listener is gone", is_gone)
            folder.write("services.yaml", services(backends["web"], backends["external"]))
