"""One proxy's stream: a reader and a writer around a machine.

The reader takes requests in as they come; the writer asks the machine for one response at a time and waits until the proxy
has taken its bytes. While it waits, commits cost names in the machine and nothing else; no other stream notices.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from typing import Any, Protocol

import anyio
import h2.exceptions
import structlog
from grpclib.const import Status
from grpclib.exceptions import StreamTerminatedError

from controlplane.xds.admission import Rate, Turn, Turns
from controlplane.xds.differences import Before
from controlplane.xds.errors import XdsError, exhausted
from controlplane.xds.events import (
    DeliveryResumed,
    DeliveryWithheld,
    OnEvent,
    ProxyAcknowledged,
    ProxyConnected,
    ProxyDisconnected,
    ProxyRejected,
    ResourceRejected,
)
from controlplane.xds.facts import Acknowledged, Fact, Rejected, RejectedResource
from controlplane.xds.gate import Resumed, Withheld
from controlplane.xds.machine import Machine
from controlplane.xds.node import Node, parse_node
from controlplane.xds.resource_state import ResourceState
from controlplane.xds.response import Response
from controlplane.xds.scope import ClientView
from controlplane.xds.settings import Settings
from controlplane.xds.transport import Rpc, connection_of, receive_message
from controlplane.xds.types import CLUSTER, SECRET
from controlplane.xds.views import Views
from controlplane.xds.wire import find_node, scan_request

log = structlog.get_logger(__name__)

ENDED = "the proxy ended the stream"
LOST = "the connection was lost"
SHUTDOWN = "the control plane is shutting down; connect again"


class Host(Protocol):
    """What a stream needs of the server that it belongs to."""

    views: Views
    settings: Settings
    on_event: OnEvent
    rate: Rate
    turns: Turns

    def check(self, rpc: Rpc, scope: str) -> None:
        """Raises where the client may not read what the scope is served."""

    def count(self, counter: str, by: int = 1) -> None:
        """Adds to a counter."""


class ProxyStream:
    """One stream.

    Args:
        host: The server.
        rpc: grpclib's end of it.
        number: Of the stream, in this life of the process.
    """

    def __init__(self, host: Host, rpc: Rpc, number: int) -> None:
        self._host = host
        self._rpc = rpc
        self._number = number
        self._node: Node | None = None
        self._view: ClientView | None = None
        self._machine: Machine | None = None
        self._first: bytes | None = None
        self._wake = asyncio.Event()
        self._scope = anyio.CancelScope()
        self._failure: Exception | None = None
        self._reason = ENDED
        self._is_closing = False
        self._settled_seq = 0
        self._reported_seq = 0
        self._report_timer: asyncio.TimerHandle | None = None
        self._answer_timer: asyncio.TimerHandle | None = None
        self._turn: Turn | None = None
        self._connection = connection_of(rpc)
        self.address = self._connection.address

    @property
    def proxy(self) -> str:
        """The proxy's identity in events: its node id and the stream's number."""
        return f"{self._node.id if self._node else ''}#{self._number}"

    @property
    def node(self) -> Node | None:
        """Who the proxy is; None until its first request has come."""
        return self._node

    async def serve(self) -> None:
        """Serves the stream to its end.

        Raises:
            XdsError: The stream has to end with a status.
        """
        with self._scope:
            node = await self._introduce()
            if node is None:
                return
            await self._host.rate.enter()
            self._connected(node)
            try:
                await self._host.views.wait_open()
                self._view = await self._host.views.wait_assigned(self.proxy)
                self._turn = await self._host.turns.take()
                await self._converse(self._view)
            except asyncio.CancelledError:
                if not self._is_closing and self._reason == ENDED:
                    self._reason = self._connection.ended or LOST
                raise
            finally:
                self._end_turn()
                self._end_wait()
                if self._machine is not None:
                    self._machine.end()
                self._host.views.leave(self.proxy)
                if self._failure is not None:
                    failure = self._failure
                    self._reason = str(failure) if isinstance(failure, XdsError) else type(failure).__name__
                self._disconnected(node)
        if self._failure is not None:
            raise self._failure
        if self._is_closing:
            raise XdsError(Status.UNAVAILABLE, SHUTDOWN)

    async def _introduce(self) -> Node | None:
        """Who the proxy is, from its first request; that one is kept as it came until it can be answered."""
        seconds = self._host.settings.introduction_seconds
        with anyio.move_on_after(seconds) as waiting:
            self._first = await self._receive()
        if waiting.cancelled_caught:
            raise exhausted(f"the stream had no request for {seconds:g} s, which is the limit")
        if self._first is None:
            return None
        node = parse_node(find_node(self._first))
        self._host.check(self._rpc, node.scope)
        self._node = node
        return node

    async def _converse(self, view: ClientView) -> None:
        self._machine = Machine(view, self._host.settings.limits)
        view.listen(self._changed)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._until_end, self._write, tasks.cancel_scope)
            await self._until_end(self._read, tasks.cancel_scope)

    async def _until_end(self, side: Callable[[], Awaitable[None]], scope: anyio.CancelScope) -> None:
        """Runs the reader or the writer; whichever ends first ends both, and its error is the stream's."""
        try:
            await side()
        except (StreamTerminatedError, h2.exceptions.H2Error, ConnectionError):
            self._reason = self._connection.ended or LOST
        except Exception as error:  # noqa: BLE001  carried to the stream's boundary, which counts and logs it
            self._failure = error
        scope.cancel()

    # Reading.

    async def _receive(self) -> bytes | None:
        data = await receive_message(self._rpc, self._host.settings.max_message)
        self._end_wait()
        if data is not None:
            self._host.count("requests")
            self._host.count("received_octets", len(data))
        return data

    async def _read(self) -> None:
        data, self._first = self._first, None
        while data is not None:
            self._take(data)
            del data  # nothing of it is kept while the next is waited for
            await asyncio.sleep(0)  # grpclib does not pause where there is more to read; others want their turn
            data = await self._receive()

    def _take(self, data: bytes) -> None:
        """Takes one request in; the node, which is known, stays unread (S2)."""
        assert self._machine is not None
        self._tell(self._machine.receive(scan_request(data)))
        self._wake.set()

    def _changed(self, before: Before) -> None:
        assert self._machine is not None
        try:
            self._machine.changed(before)
        except Exception as error:  # noqa: BLE001  this stream's end, told at its boundary; the commit goes on to the others
            self._failure = error
            self._scope.cancel()
        self._wake.set()

    # Writing.

    async def _write(self) -> None:
        assert self._machine is not None
        loop = asyncio.get_running_loop()
        while not self._is_closing:
            self._wake.clear()
            response = self._machine.next_response(loop.time())
            self._tell(self._machine.take_facts())
            if response is not None:
                await self._send(response)
                continue
            self._note_settled()
            timeout = None if self._machine.deadline is None else self._machine.deadline - loop.time()
            with anyio.move_on_after(timeout):
                await self._wake.wait()
        self._reason = SHUTDOWN

    async def _send(self, response: Response) -> None:
        settings = self._host.settings
        seq = self._host.views.seq
        data = response.encode(system_version=str(seq), control_plane=settings.identifier)
        loop = asyncio.get_running_loop()
        watchdog = loop.call_later(settings.send_seconds, self._not_read)
        try:
            await self._rpc.send_message(data)
        finally:
            watchdog.cancel()
        self._end_turn()
        if self._answer_timer is None and response.type_url != CLUSTER:
            self._answer_timer = loop.call_later(settings.answer_seconds, self._not_answered)
        self._host.count("responses")
        self._host.count("sent_resources", len(response.versions))
        self._host.count("sent_octets", len(data))
        await asyncio.sleep(0)  # grpclib does not pause where the socket takes everything; others want their turn

    def _not_read(self) -> None:
        self._abort(f"the proxy did not read a response for {self._host.settings.send_seconds:g} s")

    def _not_answered(self) -> None:
        """Nothing came at all since a response that has to be answered."""
        self._answer_timer = None
        if self._machine is not None and not self._machine.is_settled:
            self._abort(f"the proxy did not answer a response for {self._host.settings.answer_seconds:g} s")

    def _abort(self, reason: str) -> None:
        self._reason = reason
        self._host.count("aborted")
        self._connection.abort(reason)

    def _end_wait(self) -> None:
        if self._answer_timer is not None:
            self._answer_timer.cancel()
            self._answer_timer = None

    def _end_turn(self) -> None:
        if self._turn is not None:
            self._turn.end()
            self._turn = None

    def close(self) -> None:
        """Ends the stream after the response that is under way."""
        self._is_closing = True
        self._wake.set()
        if self._machine is None:
            self._reason = SHUTDOWN
            self._scope.cancel()

    # Telling.

    def _connected(self, node: Node) -> None:
        self._host.on_event(
            ProxyConnected(
                proxy=self.proxy,
                node=node.id,
                cluster=node.cluster,
                scope=node.scope,
                locality=node.locality,
                labels=node.labels,
                user_agent=node.user_agent,
                address=self.address,
            )
        )
        log.info("proxy_connected", proxy=self.proxy, gateway=node.scope, address=self.address)

    def _disconnected(self, node: Node) -> None:
        if self._report_timer is not None:
            self._report_timer.cancel()
            self._report_if_settled()
        self._host.on_event(ProxyDisconnected(proxy=self.proxy, scope=node.scope, reason=self._reason))
        log.info("proxy_disconnected", proxy=self.proxy, gateway=node.scope, reason=self._reason)

    def _tell(self, facts: Iterable[Fact]) -> None:
        """Makes events of what the machine has found out."""
        assert self._node is not None
        who = {"proxy": self.proxy, "scope": self._node.scope}
        for fact in facts:
            match fact:
                case Acknowledged():
                    self._host.count("acknowledged")
                case Rejected():
                    self._host.count("rejected")
                    self._host.on_event(_rejected_response(fact, who))
                case RejectedResource():
                    self._host.count("rejected_resources")
                    self._host.on_event(_rejected_resource(fact, who))
                case Withheld(type_url, name, clusters):
                    self._host.count("withheld")
                    self._host.on_event(DeliveryWithheld(type_url=type_url, name=name, clusters=clusters, **who))
                case Resumed(type_url, name):
                    self._host.on_event(DeliveryResumed(type_url=type_url, name=name, **who))

    def _note_settled(self) -> None:
        """Remembers that the proxy is in step, and reports it soon."""
        assert self._machine is not None
        seq = self._host.views.seq
        if seq > self._settled_seq and self._machine.is_settled:
            self._settled_seq = seq
            if self._report_timer is None:
                loop = asyncio.get_running_loop()
                self._report_timer = loop.call_later(self._host.settings.report_seconds, self._report_if_settled)

    def _report_if_settled(self) -> None:
        assert self._node is not None
        assert self._machine is not None
        self._report_timer = None
        if not self._machine.is_settled:
            self._settled_seq = self._reported_seq  # there was more to come; it is reported when that is done
        elif self._settled_seq > self._reported_seq:
            self._reported_seq = self._settled_seq
            self._host.on_event(
                ProxyAcknowledged(
                    proxy=self.proxy,
                    scope=self._node.scope,
                    seq=self._settled_seq,
                    rejected=self._machine.rejected,
                    listeners=self._machine.listeners_in_use(),
                )
            )

    def resource_states(self) -> Iterator[list[ResourceState]]:
        """How each resource stands on the proxy, type by type; nothing while the stream is held."""
        return iter(()) if self._machine is None else self._machine.resource_states()

    def statistics(self, *, versions: bool) -> dict[str, Any]:
        """What ``/debug/proxies`` shows of the stream."""
        node = self._node
        return {
            "proxy": self.proxy,
            "node": node.id if node else None,
            "gateway": node.scope if node else None,
            "classes": list(self._view.class_names) if self._view else None,
            "address": self.address,
            "user_agent": node.user_agent if node else None,
            "node_locality": str(node.locality) if node else None,
            "held_at_gate": self._machine is None,
            "settled": self._machine is not None and self._machine.is_settled,
            "types": {} if self._machine is None else self._machine.statistics(versions=versions),
        }


def _rejected_response(fact: Rejected, who: Mapping[str, str]) -> ProxyRejected:
    return ProxyRejected(
        type_url=fact.type_url,
        nonce=fact.nonce,
        resources=tuple(sorted((name, version or "") for name, version in fact.items.items())),
        code=fact.error.code,
        message=fact.error.message,
        **who,
    )


def _rejected_resource(fact: RejectedResource, who: Mapping[str, str]) -> ResourceRejected:
    """Of a secret no bytes are told."""
    found = fact.resource
    last = found.last
    return ResourceRejected(
        type_url=fact.type_url,
        name=found.entry.name,
        version=found.entry.version,
        message=found.message,
        fallback_version=found.held if last is None else last.version,
        fallback=b"" if last is None or fact.type_url == SECRET else last.resource.body,
        fallback_clusters=() if last is None else last.clusters,
        routes=found.routes,
        **who,
    )
