"""What a real Envoy says: it accepts every golden case, and answers as ``Proxy`` does, on which all tests here rest."""

from __future__ import annotations

import json
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
import yaml
from aiohttp import web
from yarl import URL

from controlplane.infra.binary import find_envoy

from .manifests import (
    Manifest,
    Served,
    backend,
    endpoint_slice,
    exact,
    filter_,
    gateway,
    http_route,
    listener,
    manifest,
    named,
    prefix,
    regex,
    rule,
    serve,
    service,
)
from .messages import Request
from .static import Json, bootstrap
from .test_rewrites import SLASHES

GOLDEN = Path(__file__).parent.parent / "golden"
CASES = sorted(path.parent.name for path in GOLDEN.glob("*/xds.yaml"))


def load(path: Path) -> list[Json]:
    with path.open() as text:
        return list(yaml.load_all(text, Loader=yaml.CSafeLoader))


@pytest.fixture(scope="module")
def certificate() -> Json:
    """Of a Secret of the golden cases."""
    (secret, *_) = (made for made in load(GOLDEN / "https-by-sni" / "in.yaml") if made["kind"] == "Secret")
    chain, key = (secret["data"][name] for name in ("tls.crt", "tls.key"))
    return {"certificateChain": {"inlineBytes": chain}, "privateKey": {"inlineBytes": key}}


@pytest.mark.envoy
@pytest.mark.parametrize("case", CASES)
def test_it_accepts_every_golden_case(case: str, certificate: Json, tmp_path: Path) -> None:
    """``--mode validate`` checks all that Envoy checks when it loads the resources."""
    (gateways,) = load(GOLDEN / case / "xds.yaml")
    for name, resources in gateways.items():
        file = tmp_path / "bootstrap.json"
        file.write_text(json.dumps(bootstrap(resources, certificate)))
        command = [str(find_envoy()), "--mode", "validate", "-c", str(file), "-l", "error"]
        run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        assert run.returncode == 0, f"{name}: {run.stdout}{run.stderr}"


ANSWERED = {"x-answered": "yes", "x-gone": "1"}
"""Headers that the backends answer with."""


@pytest_asyncio.fixture
async def backends() -> AsyncIterator[list[Manifest]]:
    """Services ``e1`` to ``e3``; behind each a server that says what it was asked."""
    async with AsyncExitStack() as stack:
        made: list[Manifest] = []
        for name in ("e1", "e2", "e3"):

            async def answer(request: web.BaseRequest, name: str = name) -> web.Response:
                headers = {key.lower(): ",".join(request.headers.getall(key)) for key in request.headers}
                body = {"backend": name, "path": request.raw_path, "host": request.host, "headers": headers}
                return web.json_response(body, headers=ANSWERED)

            runner = web.ServerRunner(web.Server(answer))
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            port = runner.addresses[0][1]
            made += [
                manifest("Service", "v1", name, spec={"ports": [{"port": 8080, "targetPort": port}]}),
                endpoint_slice(name, [{"addresses": ["127.0.0.1"]}], [{"port": port}]),
            ]
        yield made


def world(ports: list[int]) -> list[Manifest]:
    """A Gateway and routes in which most of what can be said is said."""
    modifier = {"set": named(a="100%"), "add": named(b="more"), "remove": ["c"]}
    answer_modifier = {"set": named(**{"x-answered": "%REQ(:path)%"}), "remove": ["x-gone", "server"]}
    odd = [backend("e2", weight=2), backend("nobody", weight=1), backend("idle", weight=1), backend("e3", weight=0)]
    rewrites = [
        http_route(
            f"rewrite-{position}",
            rule(prefix(match), to="e1", filters=[filter_("URLRewrite", path=_replacing(replacement))]),
            rule(prefix("/redirect"), to=None, filters=[filter_("RequestRedirect", path=_replacing("/x", full=True))]),
            hostnames=[f"rewrite-{position}.test"],
        )
        for position, (_, match, replacement, _) in enumerate(SLASHES)
    ]
    return [
        gateway(
            listener("all", ports[0]),
            listener("wild", ports[0], "*.example.com"),
            listener("www", ports[0], "www.example.com"),
            listener("second", ports[1]),
        ),
        http_route(
            "matches",
            rule(prefix("/foo"), to="e1"),
            rule(exact("/foo/exact"), to="e2"),
            rule(regex("/foo/[0-9]+"), to="e3"),
            rule(prefix("/foo", headers=named(version="2")), to="e2"),
            rule(prefix("/foo", queryParams=named(page="2")), to="e3"),
            rule(prefix("/foo", method="POST"), to="e3"),
            hostnames=["matches.test", "*.matches.test"],
        ),
        http_route(
            "filters",
            rule(prefix("/headers"), to="e1", filters=[filter_("RequestHeaderModifier", **modifier)]),
            rule(prefix("/answer"), to="e1", filters=[filter_("ResponseHeaderModifier", **answer_modifier)]),
            rule(prefix("/host"), to="e1", filters=[filter_("URLRewrite", hostname="inner.test")]),
            rule(prefix("/share"), to=[backend("e1", filters=[filter_("RequestHeaderModifier", **modifier)])]),
            rule(prefix("/full"), to="e1", filters=[filter_("URLRewrite", path=_replacing(r"/f\1u&ll", full=True))]),
            rule(prefix("/scheme"), to=None, filters=[filter_("RequestRedirect", scheme="https", statusCode=301)]),
            rule(prefix("/port"), to=None, filters=[filter_("RequestRedirect", port=8443)]),
            rule(
                prefix("/moved"), to=None, filters=[filter_("RequestRedirect", hostname="moved.test", statusCode=308)]
            ),
            rule(prefix("/none"), to=None),
            rule(prefix("/missing"), to="nobody"),
            rule(prefix("/idle"), to="idle"),
            rule(prefix("/odd"), to=odd),
            hostnames=["filters.test"],
        ),
        http_route("www", rule(to="e1"), parents=[{"name": "web", "sectionName": "www"}]),
        http_route("wild", rule(prefix("/wild"), to="e2"), parents=[{"name": "web", "sectionName": "wild"}]),
        *rewrites,
        *service("idle", addresses=()),
    ]


def _replacing(value: str, *, full: bool = False) -> Manifest:
    if full:
        return {"type": "ReplaceFullPath", "replaceFullPath": value}
    return {"type": "ReplacePrefixMatch", "replacePrefixMatch": value}


def requests(ports: list[int]) -> list[Request]:
    paths = [
        "/foo",
        "/foo/",
        "/foo/bar",
        "/foobar",
        "/foo/exact",
        "/foo/exact/",
        "/foo/17",
        "/foo/17/x",
        "/foo?page=2",
        "/foo?page=1&page=2",
    ]
    asked = [Request(path, "matches.test") for path in paths]
    asked += [
        Request("/foo/17", host) for host in ("a.matches.test", "A.B.Matches.Test:99", "xmatches.test", "matches.test.")
    ]
    asked += [Request("/foo", "matches.test", headers={"Version": value}) for value in ("2", "3")]
    asked += [Request("/foo?page=2", "matches.test", "POST", {"version": "2"})]
    sent = {"a": "sent", "b": "sent", "c": "sent", "d": "sent"}
    paths = [
        "/headers",
        "/answer/x?y=%2F",
        "/host",
        "/share",
        "/full/x?y",
        "/scheme/x?y",
        "/port",
        "/moved/x",
        "/none",
        "/missing",
        "/idle",
    ]
    asked += [Request(path, "filters.test", headers=sent) for path in paths]
    asked += [
        Request("/scheme", f"filters.test:{ports[0]}"),
        Request("/moved", "filters.test:80"),
        Request("/odd", "filters.test"),
    ]
    asked += [
        Request(path, host) for path in ("/", "/wild") for host in ("www.example.com", "foo.example.com", "other.test")
    ]
    asked += [Request(path, f"rewrite-{position}.test") for position, (path, *_) in enumerate(SLASHES)]
    asked += [Request("/redirect/a?b", "rewrite-0.test")]
    return [Request(each.path, each.host, each.method, each.headers, port) for each in asked for port in ports]


async def compare(client: aiohttp.ClientSession, served: Served, request: Request) -> None:
    expected = served.proxy().ask(request, ANSWERED)
    url = URL(f"http://127.0.0.1:{request.port}{request.path}", encoded=True)
    headers = {**request.headers, "host": request.host}
    async with client.request(request.method, url, headers=headers, allow_redirects=False) as response:
        found: dict[str, Any] = {"status": response.status, "location": response.headers.get("location", "")}
        if expected.shares and not response.ok:
            assert str(response.status) in expected.shares, request
            return
        assert found == {"status": expected.status or 200, "location": expected.location}, request
        if not expected.shares:
            return
        body = await response.json()
        forward = expected.forwards[f"demo/{body['backend']}:8080"]
        assert (body["path"], body["host"]) == (forward.path, forward.host), request
        assert {name: body["headers"].get(name) for name in "abcd"} == {
            name: forward.headers.get(name) for name in "abcd"
        }
        for name in ANSWERED:
            assert response.headers.get(name) == forward.response.get(name), request


@pytest.mark.envoy
@pytest.mark.asyncio
async def test_it_answers_as_the_proxy_of_these_tests(
    backends: list[Manifest], start_envoy: Callable[..., Any], free_port: Callable[[], int]
) -> None:
    ports = [free_port(), free_port()]
    served = serve(world(ports), backends, infra="host")
    assert not served.errors
    envoy = await start_envoy(bootstrap=bootstrap(served.document["gateways"]["demo/web"]))
    await envoy.wait_for(ports[0], "matches.test", 404)
    async with aiohttp.ClientSession() as client:
        for request in requests(ports):
            await compare(client, served, request)
