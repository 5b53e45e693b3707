"""A scripted delta client on the machine, and the tables that it is served from."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from controlplane.xds import Limits, Machine, Settings, Views, XdsServer
from controlplane.xds.facts import Fact
from controlplane.xds.response import Response
from controlplane.xds.wire import ErrorDetail, Request
from tests.xds.serving import Served

SCOPE = "ns/gw"


class Row(msgspec.Struct, frozen=True):
    """A resource as the tables take it."""

    name: str
    version: str
    body: bytes
    clusters: tuple[str, ...] = ()
    route_configurations: tuple[str, ...] = ()


class Client:
    """One stream: says what it is told to say, and keeps what it was sent."""

    def __init__(self, world: World, limits: Limits | None = None) -> None:
        self.view = world.views.view(SCOPE)
        self.machine = Machine(self.view, limits)
        self.view.listen(self.machine.changed)
        self.now = 0.0
        self.facts: list[Fact] = []

    def ask(
        self,
        type_url: str,
        *subscribe: str,
        unsubscribe: Iterable[str] = (),
        versions: Mapping[str, str] | None = None,
        nonce: str = "",
        error: str | None = None,
    ) -> list[Response]:
        """Sends one request; what comes back."""
        request = Request(
            type_url=type_url,
            subscribe=subscribe,
            unsubscribe=tuple(unsubscribe),
            versions=dict(versions or {}),
            nonce=nonce,
            error=None if error is None else ErrorDetail(13, error),
        )
        self.facts += self.machine.receive(request)
        return self.responses()

    def responses(self) -> list[Response]:
        """What may be sent now."""
        found = self.machine.responses(self.now)
        self.facts += self.machine.take_facts()
        return found

    def ack(self, *responses: Response) -> list[Response]:
        """Acknowledges; what comes then."""
        return [then for response in responses for then in self.ask(response.type_url, nonce=response.nonce)]

    def nack(self, response: Response, error: str = "bad") -> list[Response]:
        """Rejects; what comes then."""
        return self.ask(response.type_url, nonce=response.nonce, error=error)

    def settle(self, responses: Iterable[Response] | None = None) -> list[Response]:
        """Acknowledges everything until nothing comes any more; all that was sent on the way, in order."""
        waiting = list(self.responses() if responses is None else responses)
        seen: list[Response] = []
        while waiting:
            response = waiting.pop(0)
            seen.append(response)
            waiting += self.ack(response)
        return seen

    def later(self, seconds: float) -> list[Response]:
        """What may be sent after so much more time."""
        self.now += seconds
        return self.responses()

    def disconnect(self) -> None:
        """Ends the stream."""
        self.view.unlisten(self.machine.changed)
        self.machine.end()


class World:
    """The tables, and commits to them."""

    def __init__(self) -> None:
        self.views = Views(resolve=lambda resource: self.secrets.get(resource.name, resource.body))
        self.secrets: dict[str, bytes | None] = {}
        """By name what is sent instead of the body; None is a secret whose bytes are gone."""
        self.seq = 0

    def commit(
        self,
        changes: Mapping[str, Mapping[str, str | None]],
        clusters: Mapping[str, tuple[str, ...]] | None = None,
        route_configurations: Mapping[str, tuple[str, ...]] | None = None,
    ) -> None:
        """One commit: by type and name the new version, None removes; by name the clusters and RouteConfigurations it names."""

        def row(name: str, version: str) -> Row:
            named = (clusters or {}).get(name, ()), (route_configurations or {}).get(name, ())
            return Row(name, version, f"{name}@{version}".encode(), *named)

        self.seq += 1
        self.views.apply(
            (
                (SCOPE, type_url, name, None if version is None else row(name, version))
                for type_url, names in changes.items()
                for name, version in names.items()
            ),
            seq=self.seq,
        )

    def put(self, type_url: str, **names: str | None) -> None:
        """One commit of one type: ``put(CLUSTER, a="1", b=None)``."""
        self.commit({type_url: names})

    def connect(self, limits: Limits | None = None) -> Client:
        """A new stream."""
        return Client(self, limits)


@pytest.fixture
def world() -> World:
    """Empty tables."""
    return World()


@pytest.fixture
def client(world: World) -> Client:
    """A stream on the empty tables."""
    return world.connect()


@pytest.fixture
def said() -> Any:
    """What responses say, short enough to compare: ``("CDS", {"a": "1"}, ())``."""
    from controlplane.xds.types import label_of

    def describe(responses: Iterable[Response]) -> list[tuple[str, dict[str, str], tuple[str, ...]]]:
        return [(label_of(response.type_url), response.versions, response.removed) for response in responses]

    return describe


@pytest_asyncio.fixture
async def serve() -> AsyncIterator[Callable[..., Any]]:
    """Starts servers with an open gate, and stops them."""
    servers: list[XdsServer] = []

    async def start(
        settings: Settings | None = None, *, gate: bool = True, services: tuple[Any, ...] = (), **security: Any
    ) -> Served:
        served = Served(settings, services, **security)
        served.port = await served.server.start("127.0.0.1", 0)
        servers.append(served.server)
        if gate:
            served.views.open()
        return served

    yield start
    for server in servers:
        await server.stop(1.0)
