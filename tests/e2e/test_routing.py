"""What Envoy answers, for each feature of Gateway API's core; not what we think that it would answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from urllib.parse import urlsplit

import aiohttp
import pytest
import pytest_asyncio

from .backends import SLOW, Backend, serving_all, serving_h2c
from .client import Answer, Connection, Request, ask
from .features import BACKENDS, REDIRECTS, SLASHES, every_feature, host
from .folder import Folder
from .plane import Command, end_envoys, free_port, until_answer

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="module")]

TRIES = 200
EVEN = range(60, 141)
"""Of that many tries; a fair coin falls outside once in 10 ** 8 runs."""


@dataclass(frozen=True)
class Served:
    """An Envoy with every feature in it."""

    port: int
    backends: dict[str, Backend]

    async def ask(self, name: str, path: str = "/", **fields: object) -> Answer:
        """A request for the hostname of a feature."""
        return await ask(self.port, Request(host(name), path, **fields))  # type: ignore[arg-type]

    async def count(self, name: str) -> Counter[str]:
        """Who answers how often."""
        async with Connection(self.port) as connection:
            return Counter([(await connection.ask(Request(host(name)))).backend for _ in range(TRIES)])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    """One Envoy for all tests here, which change nothing."""
    directory = tmp_path_factory.mktemp("routing")
    folder = Folder(directory / "manifests")
    async with AsyncExitStack() as stack:
        backends = await stack.enter_async_context(serving_all(*BACKENDS))
        backends["v1"].answer_headers += (("X-Set", "old"), ("x-set", "older"), ("x-add", "first"), ("x-gone", "1"))
        ports = {name: backend.port for name, backend in backends.items()}
        ports["h2c"] = await stack.enter_async_context(serving_h2c("h2c"))
        port = free_port()
        folder.write("all.yaml", every_feature(port, ports))
        await stack.enter_async_context(Command(directory, "--files", str(folder.path), "--infra", "host"))
        await until_answer(port, Request(host("paths"), "/foo"))
        yield Served(port, backends)
    assert not end_envoys(directory)


@pytest.mark.parametrize(
    ("path", "backend"),
    [
        ("/foo", "v1"), ("/foo/", "v1"), ("/foo/bar", "v1"), ("/foo?x", "v1"), ("/foobar", "404"), ("/FOO", "404"),
        ("/foo/exact", "v2"), ("/foo/exact/", "v1"), ("/re/abc", "v3"), ("/re/abc/d", "404"), ("/re/ABC", "404"), ("/", "404"),
    ],
)  # fmt: skip
async def test_paths(served: Served, path: str, backend: str) -> None:
    assert (await served.ask("paths", path)).backend == backend


@pytest.mark.parametrize(
    ("request_", "backend"),
    [
        ({"headers": (("x-color", "blue"), ("x-size", "12"))}, "v1"),
        ({"headers": (("x-color", "blue"),)}, "404"),
        ({"headers": (("x-color", "blue"), ("x-size", "12a"))}, "404"),
        ({"path": "/?q=1&r=xyz"}, "v2"),
        ({"path": "/?q=1&r=xy"}, "404"),
        ({"path": "/?q=10&r=xz"}, "404"),
        ({"method": "POST"}, "v3"),
        ({"method": "GET"}, "404"),
        ({"method": "POST", "headers": (("x-color", "blue"), ("x-size", "1"))}, "v3"),
    ],
)
async def test_conditions(served: Served, request_: dict[str, object], backend: str) -> None:
    assert (await served.ask("conditions", **request_)).backend == backend  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("request_", "backend"),
    [
        ({"path": "/"}, "v1"),
        ({"path": "/a"}, "v2"),
        ({"path": "/a", "headers": (("x-color", "blue"),)}, "v3"),
        ({"path": "/a", "method": "PUT", "headers": (("x-color", "blue"),)}, "copy-1"),
        ({"path": "/a/b/c", "method": "PUT"}, "copy-2"),
        ({"path": "/a/b", "method": "PUT"}, "copy-3"),
    ],
)
async def test_precedence(served: Served, request_: dict[str, str], backend: str) -> None:
    assert (await served.ask("precedence", **request_)).backend == backend


async def test_any_match_of_a_rule_is_enough_and_the_older_route_wins(served: Served) -> None:
    assert (await served.ask("several", "/one", method="POST")).backend == "v1"
    assert (await served.ask("several", "/two")).backend == "v1"
    assert (await served.ask("several", "/two", method="POST")).backend == "404"
    assert (await served.ask("same", "/same")).backend == "v1"


@pytest.mark.parametrize(("number", "path", "rewritten"), [(n, row[0], row[3]) for n, row in enumerate(SLASHES)])
async def test_a_replaced_prefix(served: Served, number: int, path: str, rewritten: str) -> None:
    assert (await served.ask(f"slashes-{number}", path)).seen["path"] == rewritten


async def test_a_replaced_path_and_hostname(served: Served) -> None:
    seen = (await served.ask("rewrite-full", "/a/b?c=d")).seen
    assert seen["path"] == r"/full/\1$?c=d"
    assert dict(seen["headers"])["host"] == "inner.example.org"


async def test_a_host_header_that_is_set(served: Served) -> None:
    assert dict((await served.ask("host-header")).seen["headers"])["host"] == "inner.example.org"


@pytest.mark.parametrize("name", REDIRECTS)
async def test_redirects(served: Served, name: str) -> None:
    _, status, location = REDIRECTS[name]
    for sent in (host(f"redirect-{name}"), f"{host(f'redirect-{name}')}:{served.port}"):
        answer = await ask(served.port, Request(sent, "/a/b?c=d"))
        assert answer.status == status
        assert _parts(answer.header("location") or "") == _parts(location.format(port=served.port))


def _parts(url: str) -> tuple[str, str, int | None, str, str]:
    """A URL without the spellings that mean the same: a scheme's own port may stand there or not."""
    parts = urlsplit(url)
    return (
        parts.scheme,
        parts.hostname or "",
        parts.port or {"http": 80, "https": 443}[parts.scheme],
        parts.path,
        parts.query,
    )


@pytest.mark.parametrize("name", ["headers", "backend-headers"])
async def test_headers_of_requests_and_answers(served: Served, name: str) -> None:
    sent = (("x-set", "1"), ("X-Set", "2"), ("x-add", "mine"), ("x-gone", "1"), ("x-secret", "hidden"))
    answer = await served.ask(name, headers=sent)
    seen = Answer(200, tuple((key, value) for key, value in answer.seen["headers"]))
    for headers, first in ((seen, "mine"), (answer, "first")):
        assert headers.all("x-set") == ["100% of %REQ(x-secret)%"]
        assert ",".join(headers.all("x-add")) == f"{first},a, b;c=%20"
        assert headers.all("x-new") == ["new"]
        assert headers.all("x-gone") == []


async def test_weights(served: Served) -> None:
    counts = await served.count("even")
    assert counts.keys() == {"v1", "v2"}
    assert counts["v1"] in EVEN
    assert (await served.ask("all-zero")).status == 500


async def test_a_share_that_leads_nowhere_is_answered_with_500(served: Served) -> None:
    counts = await served.count("half-unresolved")
    assert counts.keys() == {"v1", "500"}
    assert counts["500"] in EVEN
    for name in ("unresolved", "no-backends", "wrong-port", "not-granted"):
        assert (await served.ask(name)).status == 500, name


async def test_endpoints(served: Served) -> None:
    assert (await served.ask("no-endpoints")).status == 503
    assert (await served.ask("named-ports", "/web")).backend == "v1"
    assert (await served.ask("named-ports", "/admin")).backend == "v2"
    assert (await served.count("not-ready")).keys() == {"v1"}
    assert (await served.ask("terminating")).backend == "v3"
    assert (await served.ask("granted")).backend == "other"


@pytest.mark.parametrize("name", ["timeout", "backend-timeout"])
async def test_timeouts(served: Served, name: str) -> None:
    assert (await served.ask(name, SLOW)).status == 504
    assert (await served.ask(name)).backend == "v1"


async def test_h2c(served: Served) -> None:
    answer = await served.ask("h2c", "/two", method="POST", body=b"body")
    assert (answer.backend, answer.seen["method"], answer.seen["path"]) == ("h2c", "POST", "/two")
    assert dict(answer.seen["headers"])[":authority"] == host("h2c")


async def test_websocket(served: Served) -> None:
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"http://127.0.0.1:{served.port}/talk", headers={"host": host("websocket")}) as socket,
    ):
        for word in ("one", "two"):
            await socket.send_str(word)
            assert await socket.receive_str() == f"v2: {word}"


async def test_mirrors(served: Served) -> None:
    all_, none, half = (served.backends[f"copy-{number}"].requests for number in (1, 2, 3))
    before = [tally.total for tally in (all_, none, half)]
    assert await served.count("mirrors") == {"v1": TRIES}
    await all_.reach(before[0] + TRIES)
    assert all_.total - before[0] == TRIES
    assert none.total == before[1]
    assert half.total - before[2] in EVEN
    assert {seen.path for seen in served.backends["copy-1"].last} == {"/"}
    assert dict(served.backends["copy-1"].last[-1].headers)["host"] == host("mirrors")


@pytest.mark.parametrize(
    ("name", "backend"),
    [
        ("a.wild.example.com", "v1"),
        ("a.b.wild.example.com", "v1"),
        ("A.Wild.Example.COM", "v1"),
        ("wild.example.com", "404"),
        ("exact.wild.example.com", "v2"),
        ("exact.wild.example.com:1234", "v2"),
        ("a.wild.example.com:80", "v1"),
        ("unknown.example.com", "404"),
        ("a.narrow.example.com", "404"),
        ("b.narrow.example.com", "v2"),
        ("by-port.example.com", "404"),
        ("foreign.example.com", "404"),
    ],
)
async def test_hostnames(served: Served, name: str, backend: str) -> None:
    assert (await ask(served.port, Request(name))).backend == backend


async def test_a_route_without_hostnames_takes_its_listeners(served: Served) -> None:
    assert (await ask(served.port, Request("any.narrow.example.com", "/listeners"))).backend == "v3"
    assert (await ask(served.port, Request("any.example.com", "/listeners"))).backend == "404"
