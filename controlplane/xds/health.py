"""gRPC health on the xDS port: SERVING exactly while ``/readyz`` is ready, so that ``grpc:`` probes of Kubernetes work.

Source: grpc/health/v1/health.proto; github.com/grpc/grpc/blob/master/doc/health-checking.md.
"""

from collections.abc import Callable

import anyio
from grpclib.const import Cardinality, Handler, Status

from controlplane._proto.grpc.health.v1 import (
    HealthCheckResponse,
    HealthCheckResponseServingStatus,
    HealthListResponse,
)
from controlplane.xds.calls import Calls, answer, receive_only
from controlplane.xds.errors import XdsError
from controlplane.xds.protobuf import fields, text
from controlplane.xds.transport import Rpc

SERVICES = ("", "envoy.service.discovery.v3.AggregatedDiscoveryService")
"""What may be asked for: the server as a whole, and what it is there for. Both stand alike."""

MAX_CHECKS = 200
MAX_WATCHES = 100


class Health:
    """``grpc.health.v1.Health``, a service for ``XdsServer(services=...)``.

    Args:
        is_ready: Whether the process is ready; asked anew each time.
        poll_seconds: How often it is asked for those who watch.
    """

    def __init__(self, is_ready: Callable[[], bool], *, poll_seconds: float = 1.0) -> None:
        self._is_ready = is_ready
        self._poll_seconds = poll_seconds
        self._checks = Calls(MAX_CHECKS)
        self._watches = Calls(MAX_WATCHES)

    def __mapping__(self) -> dict[str, Handler]:
        """The methods, as grpclib asks for them."""
        prefix = "/grpc.health.v1.Health/"
        return {
            prefix + "Check": self._checks.handler(self._check, Cardinality.UNARY_UNARY),
            prefix + "List": self._checks.handler(self._list, Cardinality.UNARY_UNARY),
            prefix + "Watch": self._watches.handler(self._watch, Cardinality.UNARY_STREAM),
        }

    def _status(self) -> HealthCheckResponseServingStatus:
        known = HealthCheckResponseServingStatus
        return known.SERVING if self._is_ready() else known.NOT_SERVING

    async def _check(self, rpc: Rpc) -> None:
        service = _service(await receive_only(rpc))
        if service not in SERVICES:
            known = ", ".join(repr(name) for name in SERVICES)
            raise XdsError(Status.NOT_FOUND, f"no service {service[:100]!r}; known are {known}")
        await answer(rpc, bytes(HealthCheckResponse(status=self._status())))

    async def _list(self, rpc: Rpc) -> None:
        await receive_only(rpc)
        response = HealthCheckResponse(status=self._status())
        await answer(rpc, bytes(HealthListResponse(statuses=dict.fromkeys(SERVICES, response))))

    async def _watch(self, rpc: Rpc) -> None:
        """Tells the status, and each change of it, until the client goes."""
        is_known = _service(await receive_only(rpc)) in SERVICES
        told: HealthCheckResponseServingStatus | None = None
        while True:
            status = self._status() if is_known else HealthCheckResponseServingStatus.SERVICE_UNKNOWN
            if status != told:
                told = status
                await answer(rpc, bytes(HealthCheckResponse(status=status)))
            await anyio.sleep(self._poll_seconds)


def _service(data: bytes) -> str:
    """The service in a ``HealthCheckRequest``."""
    name = ""
    for number, _, content in fields(data):
        if number == 1 and isinstance(content, bytes):
            name = text(content)
    return name
