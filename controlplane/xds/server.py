"""The xDS server: aggregated delta discovery over gRPC.

grpclib carries bytes, the machine decides, the views hold what is true. Here stand only limits, the life of streams, and the
boundary at which an error ends one stream and no other.
"""

from collections.abc import Collection, Mapping
from typing import Any

import anyio
import structlog
from grpclib.const import Cardinality, Handler, Status
from grpclib.exceptions import GRPCError

from controlplane.xds.admission import Rate, Turns
from controlplane.xds.connections import Server
from controlplane.xds.errors import XdsError, exhausted
from controlplane.xds.events import OnEvent
from controlplane.xds.identity import IdentityRule
from controlplane.xds.refusals import Refusals
from controlplane.xds.settings import Settings
from controlplane.xds.stream import SHUTDOWN, ProxyStream
from controlplane.xds.tls import Certificates
from controlplane.xds.transport import PassThrough, Rpc, connection_of
from controlplane.xds.views import Views

log = structlog.get_logger(__name__)

SERVICE = "/envoy.service.discovery.v3.AggregatedDiscoveryService/"


class XdsServer:
    """Serves the views to proxies.

    Args:
        views: What is served. While their gate is shut, streams are held unanswered.
        on_event: Told of every proxy that comes, goes, acknowledges, rejects.
        settings: Limits and times.
        services: Further grpclib services on the same port.
        first_stream: The first stream's number; later than any that the views may still know from elsewhere.
        certificates: For TLS; None serves plaintext.
        identities: Which certificate may ask for what; None, or certificates that ask clients for none, let everybody ask.
    """

    def __init__(
        self,
        views: Views,
        on_event: OnEvent,
        settings: Settings | None = None,
        services: Collection[Any] = (),
        *,
        first_stream: int = 1,
        certificates: Certificates | None = None,
        identities: IdentityRule | None = None,
    ) -> None:
        self.views = views
        self.on_event = on_event
        self.settings = settings or Settings()
        self.certificates = certificates
        self._identities = identities if certificates is not None and certificates.asks_clients else None
        self._services = services
        self._server: Server | None = None
        self._streams: dict[int, ProxyStream] = {}
        self._stream_numbers = first_stream - 1
        self._counters: dict[str, int] = {}
        self._refusals = Refusals()
        self.rate = Rate(self.settings.streams_per_second, self.settings.streams_burst, self.settings.admission_seconds)
        self.turns = Turns(self.settings.streams_at_once, self.settings.turn_seconds)
        self._is_stopping = False
        self._all_ended = anyio.Event()

    async def start(self, host: str, port: int) -> int:
        """Listens; the port, which is the given one unless that is 0.

        Raises:
            OSError: The address cannot be had.
        """
        server = Server(
            [_Mapping(self._handlers()), *self._services],
            self.settings,
            self.count,
            self._refusals,
            lambda: None if self.certificates is None else self.certificates.context,
            codec=PassThrough(),
        )
        bound = await server.listen(host, port)
        self._server = server
        self._is_stopping = False
        self._all_ended = anyio.Event()
        return bound

    async def stop(self, deadline_seconds: float = 3.0) -> None:
        """Ends all streams with ``UNAVAILABLE``, each after the response under way, and then every connection.

        Args:
            deadline_seconds: After this long, what is left is aborted.
        """
        if self._server is None:
            return
        self._is_stopping = True
        self._server.stop_listening()
        for stream in tuple(self._streams.values()):
            stream.close()
        if self._streams:
            with anyio.move_on_after(deadline_seconds):
                await self._all_ended.wait()
        self._server.close()
        self._server.abort_connections()
        await self._server.wait_closed()
        self._server = None

    def _handlers(self) -> dict[str, Handler]:
        return {
            SERVICE + "DeltaAggregatedResources": Handler(self._delta, Cardinality.STREAM_STREAM, bytes, bytes),
            SERVICE + "StreamAggregatedResources": Handler(self._whole, Cardinality.STREAM_STREAM, bytes, bytes),
        }

    async def _delta(self, rpc: Rpc) -> None:
        """The boundary of a stream: every error ends here, counted, as a gRPC status."""
        self._stream_numbers += 1
        number = self._stream_numbers
        self.count("streams")
        connection = connection_of(rpc)
        stream = ProxyStream(self, rpc, number)
        connection.streams += 1
        try:
            self._admit(connection.streams)
            self._streams[number] = stream
            await stream.serve()
        except XdsError as error:
            self.count(f"ended_{error.code.name.lower()}")
            self._log_refusal(stream, error)
            raise GRPCError(error.code, error.message) from None
        except Exception:
            self.count("ended_internal")
            log.exception("stream_failed", address=stream.address, proxy=stream.proxy)
            raise GRPCError(Status.INTERNAL, "the control plane failed on this stream; its log says why") from None
        finally:
            connection.streams -= 1
            self._streams.pop(number, None)
            if self._is_stopping and not self._streams:
                self._all_ended.set()

    def _log_refusal(self, stream: ProxyStream, error: XdsError) -> None:
        if self._is_stopping and error.message == SHUTDOWN:
            return
        self._refusals.tell("stream_refused", error.message, code=error.code.name, address=stream.address)

    def _admit(self, on_connection: int) -> None:
        if self._is_stopping:
            raise XdsError(Status.UNAVAILABLE, SHUTDOWN)
        if len(self._streams) >= self.settings.max_streams:
            raise exhausted(f"{len(self._streams)} streams are open; the limit is {self.settings.max_streams}")
        if on_connection > self.settings.max_connection_streams:
            raise exhausted(
                f"{on_connection - 1} streams are open on this connection; "
                f"the limit is {self.settings.max_connection_streams}"
            )

    def permits(self, rpc: Rpc, scope: str) -> bool:
        """Whether the client at the other end may read what a scope is served; everybody may where no rule is set."""
        return self._identities is None or self._identities.permits(scope, connection_of(rpc).certificate())

    def check(self, rpc: Rpc, scope: str) -> None:
        """Refuses a client that may not read what a scope is served.

        Raises:
            XdsError: ``PERMISSION_DENIED``, with what was presented and what is needed.
        """
        if self._identities is not None:
            self._identities.check(scope, connection_of(rpc).certificate())

    async def _whole(self, rpc: Rpc) -> None:
        raise GRPCError(
            Status.UNIMPLEMENTED,
            "only delta xDS is served: set api_type: DELTA_GRPC in the bootstrap's dynamic_resources.ads_config",
        )

    def count(self, counter: str, by: int = 1) -> None:
        """Adds to a counter of ``counters``."""
        self._counters[counter] = self._counters.get(counter, 0) + by

    @property
    def counters(self) -> Mapping[str, int]:
        """Totals since the start, by name: ``streams``, ``requests``, ``responses``, ``sent_octets``, ``rejected`` ..."""
        return self._counters

    @property
    def stream_count(self) -> int:
        """Open streams."""
        return len(self._streams)

    @property
    def connection_count(self) -> int:
        """Open connections, those that shake hands included."""
        return self._server.open_count if self._server is not None else 0

    @property
    def waiting_count(self) -> int:
        """Streams that wait for their turn to begin."""
        return self.rate.waiting + self.turns.waiting

    @property
    def streams(self) -> tuple[ProxyStream, ...]:
        """Open streams, by their numbers."""
        return tuple(self._streams.values())

    def statistics(self, *, versions: bool = True) -> list[dict[str, Any]]:
        """For each stream who the proxy is, and its ledger by type, in JSON's types; by stream number.

        Args:
            versions: Whether names and versions are listed, or only counted.
        """
        return [stream.statistics(versions=versions) for stream in tuple(self._streams.values())]


class _Mapping:
    """Handlers in the form in which grpclib takes a service."""

    def __init__(self, handlers: dict[str, Handler]) -> None:
        self._handlers = handlers

    def __mapping__(self) -> dict[str, Handler]:
        return self._handlers
