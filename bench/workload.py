"""The load that the benchmarks share: the field's own shape (gateway-api-bench, route scale), made of objects in memory.

N HTTPRoutes with a hostname of their own, one rule, one PathPrefix match and one backendRef; N Services with one endpoint each;
one Gateway with one HTTP listener.
"""

from __future__ import annotations

from collections.abc import Iterator

from controlplane.log import Log
from controlplane.model.decode import Decoded, decode_object
from controlplane.model.events import AnyEvent, ControlPlaneStarted, ObjectApplied, Settings, SourceSynced
from controlplane.model.objects import KINDS
from controlplane.runtime.core import State

GATEWAY_API = "gateway.networking.k8s.io/v1"
GATEWAY = "bench/web"
ROUTE_CONFIGURATION = "http~8080"
"""Of its one listener."""


def _applied(raw: dict[str, object]) -> ObjectApplied:
    decoded = decode_object(raw)
    assert isinstance(decoded, Decoded), decoded
    return ObjectApplied(decoded.object)


def route(number: int, path: str) -> ObjectApplied:
    """The HTTPRoute of a number, with a path to match."""
    match = {"path": {"type": "PathPrefix", "value": path}}
    rule = {"matches": [match], "backendRefs": [{"name": f"app-{number}", "port": 80}]}
    return _applied(
        {
            "apiVersion": GATEWAY_API,
            "kind": "HTTPRoute",
            "metadata": {"name": f"app-{number}", "namespace": "bench"},
            "spec": {
                "parentRefs": [{"name": "web"}],
                "hostnames": [f"app-{number}.example.com"],
                "rules": [rule],
            },
        }
    )


def endpoints(number: int, address: str) -> ObjectApplied:
    """The EndpointSlice of a number, with its one endpoint."""
    return _applied(
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": f"app-{number}-1",
                "namespace": "bench",
                "labels": {"kubernetes.io/service-name": f"app-{number}"},
            },
            "addressType": "IPv4",
            "endpoints": [{"addresses": [address]}],
            "ports": [{"port": 8080}],
        }
    )


def objects(size: int) -> Iterator[ObjectApplied]:
    """Everything for ``size`` routes."""
    spec: dict[str, object] = {"controllerName": Settings().controller_name}
    yield _applied({"apiVersion": GATEWAY_API, "kind": "GatewayClass", "metadata": {"name": "bench"}, "spec": spec})
    listeners = [{"name": "http", "port": 8080, "protocol": "HTTP"}]
    spec = {"gatewayClassName": "bench", "listeners": listeners}
    metadata = {"name": "web", "namespace": "bench"}
    yield _applied({"apiVersion": GATEWAY_API, "kind": "Gateway", "metadata": metadata, "spec": spec})
    for number in range(size):
        metadata = {"name": f"app-{number}", "namespace": "bench"}
        spec = {"ports": [{"port": 80, "targetPort": 8080}]}
        yield _applied({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec})
        yield endpoints(number, "10.0.0.1")
        yield route(number, "/")


def load(log: Log[AnyEvent], size: int) -> State:
    """A state that has seen everything for ``size`` routes, and is synced."""
    state = State()
    started = ControlPlaneStarted(version="bench", settings=Settings(), sources={"bench": tuple(KINDS)})
    state.apply(log.append([started], source="controlplane"))
    state.apply(log.append([*objects(size), SourceSynced(tuple(KINDS))], source="bench"))
    return state
