"""Calls of the services beside the aggregated stream: their limits, and the boundary at which an error ends one of them.

They share the port with the proxies, so what holds there holds here: a length that a client claims is not believed, a message
that it does not read ends its connection, and no call waits forever for its request.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import anyio
import h2.exceptions
import structlog
from grpclib.const import Cardinality, Handler, Status
from grpclib.exceptions import GRPCError

from controlplane.xds.errors import XdsError, exhausted, invalid
from controlplane.xds.transport import Rpc, connection_of, receive_message

log = structlog.get_logger(__name__)

MAX_REQUEST = 64 * 1024
"""Octets of a request; node matchers are the longest."""

REQUEST_SECONDS = 10.0
"""A call whose request has not come after this long is ended."""

SEND_SECONDS = 30.0
"""An answer that is not read for this long ends its connection."""


class Calls:
    """The open calls of some methods.

    Args:
        limit: How many may be open at once.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.open = 0

    def handler(self, serve: Callable[[Rpc], Awaitable[None]], cardinality: Cardinality) -> Handler:
        """A method as grpclib takes it; its messages are bytes."""

        async def call(rpc: Rpc) -> None:
            try:
                with self._place():
                    await serve(rpc)
            except XdsError as error:
                raise GRPCError(error.code, error.message) from None
            except (h2.exceptions.H2Error, ConnectionError):
                pass  # the client is gone; there is nobody to tell
            except GRPCError:
                raise
            except Exception:
                log.exception("call_failed", method=serve.__qualname__)
                text = "the control plane failed on this call; its log says why"
                raise GRPCError(Status.INTERNAL, text) from None

        return Handler(call, cardinality, bytes, bytes)

    @contextmanager
    def _place(self) -> Iterator[None]:
        """One of the open calls.

        Raises:
            XdsError: There are too many.
        """
        if self.open >= self._limit:
            raise exhausted(f"{self.open} calls like this one are open; the limit is {self._limit}")
        self.open += 1
        try:
            yield
        finally:
            self.open -= 1


async def receive_only(rpc: Rpc) -> bytes:
    """The one request of a unary call.

    Raises:
        XdsError: It is too long, cut off, missing, or does not come.
    """
    data = None
    with anyio.move_on_after(REQUEST_SECONDS) as scope:
        data = await receive_message(rpc, MAX_REQUEST)
    if scope.cancelled_caught:
        raise XdsError(Status.DEADLINE_EXCEEDED, f"no request came within {REQUEST_SECONDS:g} s")
    if data is None:
        raise invalid("the call has no request")
    return data


async def answer(rpc: Rpc, data: bytes) -> None:
    """Sends one message; the connection is ended when the client does not read it."""
    reason = f"the client did not read an answer for {SEND_SECONDS:g} s"
    watchdog = asyncio.get_running_loop().call_later(SEND_SECONDS, connection_of(rpc).abort, reason)
    try:
        await rpc.send_message(data)
    finally:
        watchdog.cancel()
