"""The echo backends."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator

import aiohttp
import pytest
import pytest_asyncio

from controlplane.runtime.echo import Backend, serve_echo
from controlplane.runtime.errors import ControlPlaneError

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as made:
        yield made


async def test_it_says_what_it_was_asked(session: aiohttp.ClientSession) -> None:
    headers = [("Host", "shop.example"), ("X-Many", "one"), ("X-Many", "two"), ("X-One", "1")]
    async with serve_echo(Backend("web", 0)) as port:
        url = f"http://127.0.0.1:{port}/a/b%20c?x=1&y=2&x=3"
        async with session.put(
            url, headers=headers, data=b"ignored", skip_auto_headers=("User-Agent", "Accept")
        ) as response:
            text = await response.text()
            answer = await response.json()
    assert response.status == 200
    assert response.headers["x-served-by"] == "web"
    assert text.endswith("}\n")
    assert list(answer) == ["service", "method", "host", "path", "query", "headers"]
    assert answer["service"] == "web"
    assert answer["method"] == "PUT"
    assert answer["host"] == "shop.example"
    assert answer["path"] == "/a/b%20c"
    assert answer["query"] == {"x": ["1", "3"], "y": "2"}
    assert answer["headers"]["x-many"] == ["one", "two"]
    assert answer["headers"]["x-one"] == "1"


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "DELETE", "OPTIONS", "PATCH"])
async def test_every_method_and_path_is_answered(method: str, session: aiohttp.ClientSession) -> None:
    async with serve_echo(Backend("web", 0)) as port:
        for path in ("", "/", "//", "/any/thing/"):
            async with session.request(method, f"http://127.0.0.1:{port}{path}") as response:
                assert response.status == 200


async def test_a_port_that_is_taken_is_a_message() -> None:
    async with serve_echo(Backend("web", 0)) as port:
        with pytest.raises(ControlPlaneError, match=f"backend api needs 127.0.0.1:{port}: .*; stop what has it"):
            async with serve_echo(Backend("api", port)):
                pass


async def test_it_runs_by_itself_and_ends_when_asked(session: aiohttp.ClientSession, unused_tcp_port: int) -> None:
    arguments = ("-m", "controlplane.runtime.echo", "--name", "api", "--port", str(unused_tcp_port))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-W", "error", *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(20):
            assert str(unused_tcp_port) in (await process.stdout.readline()).decode()
            async with session.get(f"http://127.0.0.1:{unused_tcp_port}/hello") as response:
                assert (await response.json())["service"] == "api"
            process.send_signal(signal.SIGTERM)
            _, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0
    assert b'api: "GET /hello HTTP/1.1" 200' in errors
