"""A mesh in manifests, as rows: what the reducers make of Gateways, services and routes, transaction by transaction."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import msgspec
import yaml

from controlplane.krt import Graph
from controlplane.model.base import ObjectMeta
from controlplane.model.decode import Decoded, decode_object
from controlplane.model.events import (
    AnyEvent,
    ControlPlaneStarted,
    ObjectApplied,
    ObjectDeleted,
    Settings,
    SourceSynced,
)
from controlplane.model.kubernetes import Secret
from controlplane.model.objects import KINDS
from controlplane.model.references import ObjectReference
from controlplane.model.waypoints import WaypointChain
from controlplane.reducers import Fold, declare_state

Manifest = dict[str, Any]

NAMESPACE: Final = "shop"
_GATEWAY: Final = "gateway.networking.k8s.io/v1"
_NETWORKING: Final = "networking.istio.io/v1"
OURS: Final = "controlplane.dev/gateway-controller"


def manifest(kind: str, api: str, name: str, namespace: str | None = NAMESPACE, **fields: Any) -> Manifest:
    """An object; ``metadata`` and ``labels`` among the fields add to its own metadata."""
    metadata = {"name": name} | ({"namespace": namespace} if namespace else {}) | fields.pop("metadata", {})
    if labels := fields.pop("labels", None):
        metadata["labels"] = labels
    return {"apiVersion": api, "kind": kind, "metadata": metadata, **fields}


def gateway_class(name: str = "controlplane-waypoint", controller: str = OURS, **fields: Any) -> Manifest:
    return manifest("GatewayClass", _GATEWAY, name, None, spec={"controllerName": controller}, **fields)


def listener(name: str = "proxy", protocol: str = "istio.io/PROXY", port: int = 15088, **fields: Any) -> Manifest:
    """A listener; ``routes`` among the fields is short for ``allowedRoutes.namespaces.from``."""
    if source := fields.pop("routes", None):
        fields["allowedRoutes"] = {"namespaces": {"from": source}}
    return {"name": name, "protocol": protocol, "port": port, **fields}


def hbone(*secrets: str, name: str = "hbone", **fields: Any) -> Manifest:
    tls = {"tls": {"certificateRefs": [{"name": secret} for secret in secrets]}} if secrets else {}
    return listener(name, "HBONE", fields.pop("port", 15008), **{**tls, **fields})


def waypoint(
    *listeners: Manifest, name: str = "wp", namespace: str = NAMESPACE, of: str = "controlplane-waypoint", **fields: Any
) -> Manifest:
    """A waypoint; without listeners, one for the PROXY protocol."""
    spec = {"gatewayClassName": of, "listeners": list(listeners) or [listener()]} | fields.pop("spec", {})
    return manifest("Gateway", _GATEWAY, name, namespace, spec=spec, **fields)


def use(name: str = "wp", namespace: str | None = None, ingress: str | None = None) -> dict[str, str]:
    """Labels that name a waypoint."""
    found = {"istio.io/use-waypoint": name}
    found |= {"istio.io/use-waypoint-namespace": namespace} if namespace else {}
    return found | ({"istio.io/ingress-use-waypoint": ingress} if ingress is not None else {})


def namespace(name: str, labels: dict[str, str]) -> Manifest:
    """A Namespace with labels."""
    return manifest("Namespace", "v1", name, None, labels=labels)


def service(
    name: str = "web",
    *ports: Manifest,
    vips: Iterable[str] = ("10.0.0.1",),
    namespace: str = NAMESPACE,
    created: str = "",
    **fields: Any,
) -> Manifest:
    """A Service; without ports, one that speaks HTTP on 80. No VIPs: a headless one."""
    addresses = list(vips)
    spec: Manifest = {"ports": list(ports) or [{"name": "http", "port": 80}], "clusterIP": (addresses or ["None"])[0]}
    spec |= {"clusterIPs": addresses} if addresses else {}
    metadata = {"creationTimestamp": created} if created else {}
    return manifest("Service", "v1", name, namespace, metadata=metadata, spec=spec | fields.pop("spec", {}), **fields)


def entry(
    name: str = "ext",
    *hosts: str,
    vips: Iterable[str] = ("10.9.0.1",),
    namespace: str = NAMESPACE,
    created: str = "",
    protocol: str = "HTTP",
    **fields: Any,
) -> Manifest:
    """A ServiceEntry of resolution STATIC with port 80; without hosts, ``{name}.example.com``."""
    spec: Manifest = {
        "hosts": list(hosts) or [f"{name}.example.com"],
        "ports": [{"number": 80, "name": "web", "protocol": protocol}],
        "resolution": "STATIC",
        "endpoints": [{"address": "192.0.2.1"}],
        "addresses": list(vips),
    }
    metadata = {"creationTimestamp": created} if created else {}
    spec |= fields.pop("spec", {})
    return manifest("ServiceEntry", _NETWORKING, name, namespace, metadata=metadata, spec=spec, **fields)


def route(name: str, *parents: Manifest, namespace: str = NAMESPACE, hostnames: Iterable[str] = ()) -> Manifest:
    """An HTTPRoute to the Service ``web``."""
    spec: Manifest = {
        "parentRefs": list(parents),
        "rules": [{"backendRefs": [{"name": "web", "port": 80}]}],
    } | ({"hostnames": list(hostnames)} if hostnames else {})
    return manifest("HTTPRoute", _GATEWAY, name, namespace, spec=spec)


def parent(kind: str, name: str, **fields: Any) -> Manifest:
    group = {"Service": "", "Gateway": "gateway.networking.k8s.io"}.get(kind, "networking.istio.io")
    return {"group": group, "kind": kind, "name": name, **fields}


def certificate(name: str = "cert", *, pair: bool = True, authority: bool = True) -> Secret:
    """A Secret as decoding leaves it."""
    return Secret(
        metadata=ObjectMeta(name=name, namespace=NAMESPACE),
        type="kubernetes.io/tls",
        certificate_chain="certificate" if pair else None,
        key_digest="sha256:aa" if pair else None,
        pair_digest="sha256:aa" if pair else None,
        ca_certificates="authority" if authority else None,
        ca_digest="sha256:bb" if authority else None,
    )


class Mesh:
    """The state that manifests give; a waypoint's class is among them.

    Args:
        objects: Manifests and Secrets, applied in one transaction.
        settings: As ``Settings`` has them.
    """

    def __init__(self, *objects: Manifest | Secret, **settings: Any) -> None:
        graph = Graph()
        self.graph = graph
        self.rows = declare_state(graph)
        self._fold = Fold(self.rows.base)
        self._seq = 0
        started = ControlPlaneStarted(version="test", settings=Settings(**settings), sources={"files": tuple(KINDS)})
        self.append(started, SourceSynced(tuple(KINDS)))
        self.apply(gateway_class(), *objects)

    def append(self, *events: AnyEvent) -> None:
        """One transaction. No function may fail in it."""
        tx = self.graph.begin(self._seq + len(events))
        self._fold.apply(tx, "files", self._seq + 1, events)
        commit = tx.commit()
        self._seq += len(events)
        assert not commit.failures, commit.failures

    def apply(self, *objects: Manifest | Secret) -> None:
        """Objects as they are written, in one transaction."""
        events: list[AnyEvent] = []
        for made in objects:
            if isinstance(made, Secret):
                events.append(ObjectApplied(made))
                continue
            (read,) = yaml.safe_load_all(yaml.safe_dump(made))
            decoded = decode_object(read)
            assert isinstance(decoded, Decoded), decoded
            events.append(ObjectApplied(decoded.object, warnings=decoded.warnings, unsupported=decoded.unsupported))
        self.append(*events)

    def delete(self, kind: str, name: str, namespace: str = NAMESPACE) -> None:
        """One object goes."""
        self.append(
            ObjectDeleted(ObjectReference(kind, "" if kind in ("Namespace", "GatewayClass") else namespace, name))
        )

    def status(self, key: str) -> Any:
        """The status of ``Kind namespace/name``; empty where it has none."""
        row = self.rows.statuses.get(key)
        return msgspec.json.decode(row.document) if row is not None else {}

    def bound(self, key: str = f"Service {NAMESPACE}/web") -> tuple[str, str, str] | None:
        """Status, reason and message of ``istio.io/WaypointBound``."""
        for condition in self.status(key).get("conditions", ()):
            if condition["type"] == "istio.io/WaypointBound":
                return condition["status"], condition["reason"], condition["message"]
        return None

    def listener(self, name: str = "proxy", gateway: str = f"{NAMESPACE}/wp") -> dict[str, tuple[str, str]]:
        """Conditions of a listener: ``(status, reason)`` by type."""
        return conditions(self.listener_status(name, gateway))

    def listener_status(self, name: str = "proxy", gateway: str = f"{NAMESPACE}/wp") -> Any:
        (found,) = (item for item in self.status(f"Gateway {gateway}")["listeners"] if item["name"] == name)
        return found

    def parents(self, name: str, namespace: str = NAMESPACE) -> list[dict[str, tuple[str, str]]]:
        """Conditions of each parentRef of an HTTPRoute that is ours."""
        return [conditions(found) for found in self.status(f"HTTPRoute {namespace}/{name}").get("parents", ())]

    def chains(self, gateway: str = f"{NAMESPACE}/wp") -> dict[str, WaypointChain]:
        """The chains of a waypoint by name."""
        return {row.key[1]: row for row in self.rows.waypoints.chains.rows() if row.gateway == gateway}

    def matches(self, gateway: str = f"{NAMESPACE}/wp") -> dict[str, list[str]]:
        """The places of each chain: addresses, with the port."""
        return {name: [f"{a} {row.port}" for a in row.addresses] for name, row in self.chains(gateway).items()}

    def routes(self, gateway: str = f"{NAMESPACE}/wp") -> dict[str, list[tuple[int, str, tuple[str, ...]]]]:
        """Rank, route and hostnames of each chain's routes."""
        found: dict[str, list[tuple[int, str, tuple[str, ...]]]] = {}
        for row in self.rows.waypoints.routes.rows():
            if row.key[0] == gateway:
                found.setdefault(row.key[1], []).append((row.rank, row.key[2], row.hostnames))
        return found

    def listeners(self) -> dict[tuple[str, str, int], tuple[str, tuple[str, ...]]]:
        """Protocol and Secrets of each waypoint listener."""
        return {row.key: (row.protocol, row.secrets) for row in self.rows.waypoints.listeners.rows()}

    def ingress(self) -> dict[str, tuple[str, ...]]:
        """The addresses of each cluster that gateways reach at them."""
        return {row.key: row.addresses for row in self.rows.waypoints.ingress.rows()}


def conditions(status: Any) -> dict[str, tuple[str, str]]:
    """``(status, reason)`` by type."""
    return {found["type"]: (found["status"], found["reason"]) for found in status["conditions"]}
