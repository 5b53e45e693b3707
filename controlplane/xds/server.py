"""The xDS server: aggregated delta discovery over gRPC.

grpclib carries bytes, the machine decides, the views hold what is true. Here stand only limits, the life of streams, and the
boundary at which an error ends one stream and no other.
"""

import asyncio
from collections.abc import Collection, Mapping
from typing import Any

import anyio
import structlog
from grpclib.const import Cardinality, Handler, Status
from grpclib.exceptions import GRPCError

from controlplane.xds.errors import XdsError, exhausted
from controlplane.xds.events import OnEvent
from controlplane.xds.settings import Settings
from controlplane.xds.stream import SHUTDOWN, ProxyStream
from controlplane.xds.transport import PassThrough, Rpc, Server
from controlplane.xds.views import Views

log = structlog.get_logger(__name__)

REFUSAL_SECONDS = 60.0
MAX_REFUSALS = 100
SERVICE = "/envoy.service.discovery.v3.AggregatedDiscoveryService/"


class XdsServer:
    """Serves the views to proxies.

    Args:
        views: What is served. While their gate is shut, streams are held unanswered.
        on_event: Told of every proxy that comes, goes, acknowledges, rejects.
        settings: Limits and times.
        services: Further grpclib services on the same port.
        first_stream: The first stream's number; later than any that the views may still know from elsewhere.
    """

    def __init__(
        self,
        views: Views,
        on_event: OnEvent,
        settings: Settings | None = None,
        services: Collection[Any] = (),
        *,
        first_stream: int = 1,
    ) -> None:
        self.views = views
        self.on_event = on_event
        self.settings = settings or Settings()
        self._services = services
        self._server: Server | None = None
        self._streams: dict[int, ProxyStream] = {}
        self._stream_numbers = first_stream - 1
        self._counters: dict[str, int] = {}
        self._refusals: dict[str, float] = {}
        self._is_stopping = False
        self._all_ended = anyio.Event()

    async def start(self, host: str, port: int) -> int:
        """Listens; the port, which is the given one unless that is 0.

        Raises:
            OSError: The address cannot be had.
        """
        server = Server(
            [_Mapping(self._handlers()), *self._services],
            codec=PassThrough(),
            config=self.settings.grpc_configuration(),
        )
        await server.start(host, port)
        self._server = server
        self._is_stopping = False
        self._all_ended = anyio.Event()
        return server.port

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
        stream = ProxyStream(self, rpc, number)
        try:
            self._admit()
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
            self._streams.pop(number, None)
            if self._is_stopping and not self._streams:
                self._all_ended.set()

    def _log_refusal(self, stream: ProxyStream, error: XdsError) -> None:
        """Once a minute for each reason: a proxy that is refused comes back several times a second."""
        if error.code is Status.UNAVAILABLE:
            return
        now = asyncio.get_running_loop().time()
        if now - self._refusals.get(error.message, -REFUSAL_SECONDS) < REFUSAL_SECONDS:
            return
        if len(self._refusals) >= MAX_REFUSALS:
            self._refusals.clear()
        self._refusals[error.message] = now
        log.warning("stream_refused", address=stream.address, code=error.code.name, message=error.message)

    def _admit(self) -> None:
        if self._is_stopping:
            raise XdsError(Status.UNAVAILABLE, SHUTDOWN)
        if len(self._streams) >= self.settings.max_streams:
            raise exhausted(f"{len(self._streams)} streams are open; the limit is {self.settings.max_streams}")

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
