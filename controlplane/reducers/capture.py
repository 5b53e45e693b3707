"""Which waypoint takes a service's traffic: what its labels, or its Namespace's, ask for, and whether the waypoint lets it in.

A Service or ServiceEntry that names no waypoint has no row. One that names another controller's waypoint has none either: what
becomes of it is for that controller to say. Everything that a row hangs on is read by it, so it follows whatever appears later.

Sources: Istio, labels ``istio.io/use-waypoint``, ``istio.io/use-waypoint-namespace``, ``istio.io/ingress-use-waypoint`` and the
condition ``istio.io/WaypointBound`` (its reasons and first words are Istio's, so that its tools understand them).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

import msgspec

from controlplane.krt import Collection, Fetch, Graph
from controlplane.model.base import ObjectMeta
from controlplane.model.conditions import Condition, ConditionType, Reason
from controlplane.model.gateway import RouteNamespaces
from controlplane.model.ir import OwnedGateway
from controlplane.model.istio import ServiceEntry
from controlplane.model.kubernetes import Namespace, Service
from controlplane.model.scalars import parse_bool
from controlplane.reducers.admission import allows_namespace, namespace_labels
from controlplane.reducers.base import Base, current_settings
from controlplane.reducers.gateways import Gateways
from controlplane.reducers.protocols import WAYPOINT_PROTOCOLS

USE_WAYPOINT: Final = "istio.io/use-waypoint"
USE_WAYPOINT_NAMESPACE: Final = "istio.io/use-waypoint-namespace"
INGRESS_USE_WAYPOINT: Final = "istio.io/ingress-use-waypoint"
_GATEWAY_NAME: Final = "gateway.networking.k8s.io/gateway-name"
_MANAGED: Final = "gateway.istio.io/managed"
_MESH_CONTROLLERS: Final = ("istio.io-mesh-controller", "istio.io-eastwest-controller")


class Waypoint(msgspec.Struct, frozen=True):
    """A Gateway of ours that is a waypoint."""

    key: str
    class_name: str
    captures: str
    """``service``, ``all``, or another word, which is nothing."""
    admits: RouteNamespaces | None
    """Namespaces whose services it takes; None if it has no listener that could take any."""

    @property
    def namespace(self) -> str:
        """Its own."""
        return self.key.partition("/")[0]


class Capture(msgspec.Struct, frozen=True):
    """A service that names a waypoint."""

    key: str
    """``Kind namespace/name`` of the Service or ServiceEntry."""
    waypoint: str
    """The one that it names."""
    class_name: str
    """The waypoint's; empty if there is no such waypoint."""
    bound: Condition
    """Whether the waypoint takes its traffic, as far as the service as a whole goes."""
    through_ingress: bool = False
    """Whether gateways are to reach it at its own address, so that its waypoint sees the traffic."""


class BoundWaypoint(NamedTuple):
    """The waypoint that takes a service's traffic."""

    key: str
    class_name: str


class _Labels(NamedTuple):
    waypoint: str | None
    namespace: str
    ingress: str | None


@dataclass(frozen=True)
class Captures:
    """Waypoints, and who names them."""

    waypoints: Collection[Waypoint]
    of_services: Collection[Capture]
    rows: Collection[Capture]
    """Of Services and ServiceEntries."""


def bound_waypoint(capture: Capture) -> BoundWaypoint | None:
    """A view: the waypoint that takes a service's traffic, or None."""
    return BoundWaypoint(capture.waypoint, capture.class_name) if capture.bound.status else None


def _select(labels: Mapping[str, str]) -> _Labels:
    return _Labels(labels.get(USE_WAYPOINT), labels.get(USE_WAYPOINT_NAMESPACE, ""), labels.get(INGRESS_USE_WAYPOINT))


def _of_namespace(namespace: Namespace) -> _Labels:
    return _select(namespace.metadata.labels)


def _refusal(reason: Reason, message: str) -> Condition:
    return Condition(ConditionType.WAYPOINT_BOUND, False, reason, message)


class _Capturer:
    """Finds the waypoint of one service, in one run."""

    def __init__(self, fetch: Fetch, base: Base, gateways: Gateways, waypoints: Collection[Waypoint]) -> None:
        self._fetch = fetch
        self._base = base
        self._gateways = gateways
        self._waypoints = waypoints

    def capture(self, kind: str, metadata: ObjectMeta, selector: Mapping[str, str]) -> Capture | None:
        """The row of a service, or None if no waypoint of ours has to do with it."""
        own = _select(metadata.labels)
        inherited = self._fetch(self._base.namespaces, metadata.namespace, view=_of_namespace) or _Labels(
            None, "", None
        )
        chosen = own if own.waypoint is not None else inherited
        if chosen.waypoint in (None, "none") or self._belongs_to_waypoint(metadata, selector):
            return None
        key = f"{chosen.namespace or metadata.namespace}/{chosen.waypoint}"
        waypoint = self._fetch(self._waypoints, key)
        if waypoint is None and self._is_foreign(key):
            return None
        refusal = self._refuse(key, waypoint, metadata.namespace)
        owner = f"{kind} {metadata.namespace}/{metadata.name}"
        if waypoint is None or refusal is not None:
            assert refusal is not None
            return Capture(owner, key, waypoint.class_name if waypoint is not None else "", refusal)
        through_ingress, remark = self._through_ingress(own.ingress, inherited.ingress)
        message = f"Successfully attached to waypoint {key}{remark}"
        bound = Condition(ConditionType.WAYPOINT_BOUND, True, Reason.WAYPOINT_ACCEPTED, message)
        return Capture(owner, key, waypoint.class_name, bound, through_ingress)

    def _is_foreign(self, gateway: str) -> bool:
        exists = self._fetch.exists
        return not exists(self._gateways.owned, gateway) and exists(self._base.gateways, gateway)

    def _belongs_to_waypoint(self, metadata: ObjectMeta, selector: Mapping[str, str]) -> bool:
        """Whether this is the Service of a waypoint itself, whose traffic would go round in circles."""
        if metadata.labels.get(_MANAGED) in _MESH_CONTROLLERS:
            return True
        names = {labels[_GATEWAY_NAME] for labels in (metadata.labels, selector) if _GATEWAY_NAME in labels}
        return any(self._fetch.exists(self._waypoints, f"{metadata.namespace}/{name}") for name in sorted(names))

    def _refuse(self, key: str, waypoint: Waypoint | None, namespace: str) -> Condition | None:
        if waypoint is None:
            classes = ", ".join(current_settings(self._fetch, self._base).waypoint_classes) or "none is set"
            if self._fetch.exists(self._gateways.owned, key):
                text = f"Gateway {key} is no waypoint; give it a class of waypoints ({classes})"
            else:
                text = f"waypoint {key} does not exist; create a Gateway of that name with a class of waypoints ({classes})"
            return _refusal(Reason.WAYPOINT_IS_NOT_READY, text)
        if waypoint.admits is None:
            text = f"waypoint {key} has no listener that is accepted; see its status"
            return _refusal(Reason.WAYPOINT_IS_NOT_READY, text)
        if waypoint.captures not in ("service", "all"):
            text = f"waypoint {key} is for {waypoint.captures!r} and takes no services; label it istio.io/waypoint-for: service"
            return _refusal(Reason.UNSUPPORTED_TRAFFIC_TYPE, text)
        selects = waypoint.admits.from_ == "Selector"
        labels = namespace_labels(self._fetch, self._base, namespace) if selects else {}
        if allows_namespace(waypoint.admits, waypoint.namespace, namespace, labels):
            return None
        text = (
            f"waypoint {key} takes no services of namespace {namespace}; see allowedRoutes.namespaces of its listener"
        )
        return _refusal(Reason.ATTACHMENT_DENIED, text)

    def _through_ingress(self, own: str | None, inherited: str | None) -> tuple[bool, str]:
        """Whether gateways go by the waypoint, and if they do not, what there is to say of it."""
        label = own if own is not None else inherited
        if label is None:
            return False, ""
        wanted = parse_bool(label)
        if wanted is None:
            whose = "" if own is not None else " of the Namespace"
            return False, f". Label {INGRESS_USE_WAYPOINT}{whose}: {label!r} is taken for false; write true or false"
        if not wanted:
            return False, ". Ingress traffic is not using the waypoint"
        if not current_settings(self._fetch, self._base).ingress_use_waypoints:
            return False, ". Ingress traffic is not using the waypoint, since the setting INGRESS_USE_WAYPOINTS is off"
        return True, ""


def declare_captures(graph: Graph, base: Base, gateways: Gateways) -> Captures:
    """Declare waypoints and who names them."""

    def make_waypoint(owned: OwnedGateway, fetch: Fetch) -> Waypoint | None:
        if not owned.waypoint_for:
            return None
        served = [listener for listener in fetch.by(gateways.by_gateway, owned.key) if listener.valid]
        bound = next((x for protocol in WAYPOINT_PROTOCOLS for x in served if x.protocol == protocol), None)
        admits = bound.allowed.namespaces if bound is not None and not owned.problems else None
        return Waypoint(owned.key, owned.gateway.spec.gateway_class_name, owned.waypoint_for, admits)

    waypoints = graph.map("waypoints", Waypoint, gateways.owned, make_waypoint, reads=(gateways.by_gateway,))

    def capture_service(service: Service, fetch: Fetch) -> Capture | None:
        return _Capturer(fetch, base, gateways, waypoints).capture("Service", service.metadata, service.spec.selector)

    def capture_entry(entry: ServiceEntry, fetch: Fetch) -> Capture | None:
        return _Capturer(fetch, base, gateways, waypoints).capture("ServiceEntry", entry.metadata, {})

    reads = (base.settings, base.namespaces, base.gateways, gateways.owned, waypoints)
    of_services = graph.map("captured_services", Capture, base.services, capture_service, reads=reads)
    of_entries = graph.map("captured_service_entries", Capture, base.service_entries, capture_entry, reads=reads)
    return Captures(waypoints, of_services, graph.union("captures", Capture, (of_services, of_entries)))
