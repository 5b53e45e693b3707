"""Backends and clients in a process of their own, so that they take no turn from a control plane in the test's process.

A line of JSON on standard input is a command, a line on standard output its answer or a failure. It speaks as much HTTP/1.1 as
it needs, without pipelining: some thousand requests a second on a core, Envoy's share not counted. It imports nothing of ours,
and must not know what is edited, or why: ``load.py`` knows.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
from collections import Counter
from functools import partial
from time import monotonic
from typing import Any

import uvloop

MARK = b"\r\nx-mark: "
"""A header of requests that backends tell in their answers."""
MOST = 100
"""Failures that are told; all are counted."""
RETRY_S = 0.02
"""Between attempts to open a connection that is refused."""


def tell(**line: Any) -> None:
    """A line to whoever commands."""
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


class Backend(asyncio.Protocol):
    """A connection to a backend, which answers with its name and the request's mark: ``x-token: name/mark``."""

    def __init__(self, name: str, open_: set[Backend]) -> None:
        self._name = name.encode()
        self._open = open_
        self._buffer = b""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self._open.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._open.discard(self)

    def data_received(self, data: bytes) -> None:
        *heads, self._buffer = (self._buffer + data).split(b"\r\n\r\n")
        for head in heads:
            mark = head.partition(MARK)[2].partition(b"\r\n")[0]
            token = self._name + b"/" + mark
            self.transport.write(b"HTTP/1.1 200 OK\r\nx-token: %b\r\ncontent-length: 2\r\n\r\nok" % token)


class Group:
    """Clients that ask the same, each on a connection of its own.

    Args:
        number: Its name in what is told.
        spec: ``port``; ``requests``, each whole; ``connections``; ``pause`` in seconds between answer and request; ``fresh``,
            whether each request has a connection of its own; ``trust``, PEM, and ``server_name`` for TLS.
    """

    def __init__(self, number: int, spec: dict[str, Any]) -> None:
        self.number = number
        self.port: int = spec["port"]
        self.requests = [request.encode() for request in spec["requests"]]
        self.pause: float = spec["pause"]
        self.fresh: bool = spec["fresh"]
        self.server_name: str | None = spec["server_name"]
        self.tls = ssl.create_default_context(cadata=spec["trust"]) if spec["trust"] else None
        self.allowed: list[set[str] | None] = [None] * len(self.requests)
        self.tokens: Counter[str] = Counter()
        self.statuses: Counter[int] = Counter()
        self.opened = 0
        self.failures = 0
        self.stopped = False
        self.wanted: list[set[str]] = []
        self.since = 0.0
        self.waiting: int | None = None
        """Id of the command that waits for ``wanted``."""
        self.clients = [Client(self, number) for number in range(spec["connections"])]

    def start(self) -> None:
        """Let all of them begin."""
        for client in self.clients:
            client.open()

    def converge(self, id_: int, wanted: list[list[str]]) -> None:
        """Answer the command once every client has had one of these tokens as its newest answer to every request."""
        self.wanted, self.waiting, self.since = [set(tokens) for tokens in wanted], id_, monotonic()
        for client in self.clients:
            client.agreed.clear()

    def agree(self) -> None:
        """A client has had an answer that was wanted."""
        if self.waiting is not None and all(len(client.agreed) == len(self.requests) for client in self.clients):
            tell(done=self.waiting, seconds=monotonic() - self.since)
            self.waiting = None

    def fail(self, client: Client, status: int, **more: Any) -> None:
        """A request has failed."""
        self.failures += 1
        if self.failures <= MOST:
            request = self.requests[client.turn].decode("latin-1").split(" HTTP")[0]
            now = monotonic()
            tell(failure=self.number, client=client.number, request=request, status=status, at=now, began=client.began, **more)  # fmt: skip

    def report(self) -> dict[str, Any]:
        """What there is to tell in the end."""
        now = monotonic()
        oldest = max((now - client.began for client in self.clients if client.asking), default=0.0)
        return {
            "group": self.number, "tokens": self.tokens, "statuses": self.statuses, "failures": self.failures,
            "opened": self.opened, "oldest": oldest,
        }  # fmt: skip


class Client(asyncio.Protocol):
    """One client: asks as soon as it has its answer and the pause is over."""

    def __init__(self, group: Group, number: int) -> None:
        self.group = group
        self.number = number
        self.turn = number % len(group.requests)
        self.asking = False
        self.began = 0.0
        self.agreed: set[int] = set()
        """Requests whose newest answer is what is wanted."""
        self._loop = asyncio.get_running_loop()
        self._transport: Any = None
        self._buffer = b""
        self._opening: asyncio.Task[None] | None = None

    def open(self) -> None:
        """Connect, and ask."""
        if not self.group.stopped:
            self._opening = self._loop.create_task(self._connect())

    async def _connect(self) -> None:
        group = self.group
        self.began = monotonic()
        try:
            await self._loop.create_connection(
                lambda: self, "127.0.0.1", group.port, ssl=group.tls, server_hostname=group.server_name
            )
        except OSError as error:
            group.statuses[0] += 1
            group.fail(self, 0, why=f"not connected: {error!r}")
            self._loop.call_later(RETRY_S, self.open)

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._buffer = b""
        self.group.opened += 1
        self._ask()

    def _ask(self) -> None:
        if self.group.stopped:
            self._transport.abort()
            return
        if self._transport.is_closing():
            return  # connection_lost opens another
        self.asking, self.began = True, monotonic()
        self._transport.write(self.group.requests[self.turn])

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, end, body = self._buffer.partition(b"\r\n\r\n")
        if not end:
            return
        lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        if len(body) < int(headers.get("content-length", 0)):
            return
        self._buffer = b""
        self._judge(int(lines[0].split(" ", 2)[1]), headers, body)
        self.asking = False
        self.turn = (self.turn + 1) % len(self.group.requests)
        if self.group.fresh or headers.get("connection") == "close":
            self._transport.abort() if self.group.fresh else self._transport.close()
        elif self.group.pause:
            self._loop.call_later(self.group.pause, self._ask)
        else:
            self._ask()

    def _judge(self, status: int, headers: dict[str, str], body: bytes) -> None:
        group = self.group
        token = headers.get("x-token", "")
        group.statuses[status] += 1
        group.tokens[token] += 1
        allowed = group.allowed[self.turn]
        if status != 200 or (allowed is not None and token not in allowed):
            seen = {name: value for name, value in headers.items() if name.startswith("x-")}
            group.fail(self, status, token=token, headers=seen, body=body[:200].decode("latin-1"))
        if group.waiting is not None and self.began >= group.since:
            if status == 200 and token in group.wanted[self.turn]:
                self.agreed.add(self.turn)
                group.agree()
            else:
                self.agreed.discard(self.turn)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.asking and not self.group.stopped:
            self.asking = False
            self.group.statuses[0] += 1
            self.group.fail(self, 0, why=f"connection ended: {exc!r}", body=self._buffer[:200].decode("latin-1"))
        self._loop.call_later(self.group.pause, self.open)


class Worker:
    """Carries out commands."""

    def __init__(self) -> None:
        self._groups: list[Group] = []
        self._servers: dict[str, asyncio.Server] = {}
        self._open: dict[str, set[Backend]] = {}

    async def run(self) -> None:
        """Until standard input ends."""
        reader = asyncio.StreamReader(limit=2**24)
        await asyncio.get_running_loop().connect_read_pipe(partial(asyncio.StreamReaderProtocol, reader), sys.stdin)
        while line := await reader.readline():
            command = json.loads(line)
            await getattr(self, f"do_{command.pop('do')}")(command.pop("id"), **command)

    async def do_serve(self, id_: int, name: str) -> None:
        """Open a backend; tells its port."""
        loop = asyncio.get_running_loop()
        connections = self._open[name] = set()
        server = self._servers[name] = await loop.create_server(lambda: Backend(name, connections), "127.0.0.1", 0)
        tell(done=id_, port=server.sockets[0].getsockname()[1])

    async def do_close(self, id_: int, name: str) -> None:
        """End a backend and all its connections; tells how many there were."""
        self._servers.pop(name).close()
        connections = list(self._open[name])
        for connection in connections:
            connection.transport.abort()
        tell(done=id_, connections=len(connections))

    async def do_start(self, id_: int, **spec: Any) -> None:
        """Start clients."""
        group = Group(len(self._groups), spec)
        self._groups.append(group)
        group.start()
        tell(done=id_, group=group.number)

    async def do_converge(self, id_: int, group: int, wanted: list[list[str]]) -> None:
        """See ``Group.converge``."""
        self._groups[group].converge(id_, wanted)

    async def do_allow(self, id_: int, group: int, tokens: list[list[str] | None]) -> None:
        """From now on any other token is a failure, by request; None allows all."""
        self._groups[group].allowed = [None if each is None else set(each) for each in tokens]
        tell(done=id_)

    async def do_stop(self, id_: int, group: int) -> None:
        """Stop clients; tells what they have seen."""
        found = self._groups[group]
        report = found.report()
        found.stopped = True
        tell(done=id_, **report)


if __name__ == "__main__":
    uvloop.install()
    asyncio.run(Worker().run())
