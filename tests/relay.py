"""A TCP relay that can be frozen: what a client and a server see when the network between them is gone without a word."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator


class Relay:
    """Carries bytes to a port of loopback, until it is frozen."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._going = asyncio.Event()
        self._going.set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: list[asyncio.StreamWriter] = []
        self.port = 0
        self.connections = 0

    def freeze(self) -> None:
        """From now on no byte is carried on connections that there are, and none of them ends."""
        self._going.clear()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        going = self._going  # of this connection: a later one goes its own way
        self.connections += 1
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._port)
        except OSError:
            writer.transport.abort()
            return
        self._writers += [writer, far_writer]
        for one, other in ((reader, far_writer), (far_reader, writer)):
            task = asyncio.ensure_future(_carry(one, other, going))
            self._tasks.add(task)

    def thaw(self) -> None:
        """Connections from now on are carried again; those that were frozen stay so."""
        self._going = asyncio.Event()
        self._going.set()

    def cut(self) -> None:
        """Ends every connection that there is; new ones are carried."""
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Relay]:
        """Listens while the block lasts."""
        server = await asyncio.start_server(self._relay, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for task in self._tasks:
                task.cancel()
            for writer in self._writers:
                writer.transport.abort()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await server.wait_closed()


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, going: asyncio.Event) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(2**16):
            await going.wait()
            writer.write(data)
            await writer.drain()
        await going.wait()
        writer.transport.abort()
