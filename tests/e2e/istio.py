"""Istio's manifests, and what stands beside them, for real ports of loopback."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.conformance.manifests import (
    NAMESPACE,
    Manifest,
    filter_,
    gateway,
    gateway_class,
    http_route,
    listener,
    manifest,
    rule,
)

NETWORKING = "networking.istio.io/v1"
REGION, ZONE = "topology.kubernetes.io/region", "topology.kubernetes.io/zone"
SUBZONE = "topology.istio.io/subzone"
USE_WAYPOINT, INGRESS_USE_WAYPOINT = "istio.io/use-waypoint", "istio.io/ingress-use-waypoint"
BY = "x-passed-by"
"""The header that ``marking_route`` sets."""
EXAMPLE = Path(__file__).with_name("locality-priority.yaml")


def service_entry(
    name: str, host: str, endpoints: Iterable[Mapping[str, Any]] = (), namespace: str = NAMESPACE, **spec: Any
) -> Manifest:
    """A ServiceEntry of one host with a port 80 for HTTP; what the spec says goes over that."""
    whole = {
        "hosts": [host],
        "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}],
        "resolution": "STATIC",
        "location": "MESH_INTERNAL",
        "endpoints": list(endpoints),
    } | spec
    metadata = whole.pop("metadata", {})
    return manifest("ServiceEntry", NETWORKING, name, namespace, metadata=metadata, spec=whole)


def at(port: int, locality: str = "", **fields: Any) -> dict[str, Any]:
    """An endpoint on a port of loopback."""
    where = {"locality": locality} if locality else {}
    return {"address": "127.0.0.1", "ports": {"http": port}, **where, **fields}


def destination_rule(name: str, host: str, namespace: str = NAMESPACE, **policy: Any) -> Manifest:
    """A DestinationRule with this trafficPolicy."""
    return manifest("DestinationRule", NETWORKING, name, namespace, spec={"host": host, "trafficPolicy": policy})


def hostname(host: str, port: int = 80) -> dict[str, Any]:
    """A reference to a host."""
    return {"group": "networking.istio.io", "kind": "Hostname", "name": host, "port": port}


def pod(
    name: str, node: str, labels: Mapping[str, str] | None = None, ip: str = "", namespace: str = NAMESPACE
) -> Manifest:
    """A Pod that is ready."""
    conditions = [{"type": "Ready", "status": "True"}]
    return manifest(
        "Pod",
        "v1",
        name,
        namespace,
        metadata={"labels": dict(labels or {})},
        spec={"nodeName": node},
        status={"podIP": ip, "conditions": conditions},
    )


def node(name: str, locality: str) -> Manifest:
    """A Node at ``region/zone/subzone``."""
    labels = dict(zip((REGION, ZONE, SUBZONE), locality.split("/"), strict=False))
    return manifest("Node", "v1", name, None, metadata={"labels": labels})


def locality_example(ports: Iterable[int]) -> list[Manifest]:
    """The example of the documentation, its endpoints on these ports of loopback, in order."""
    documents: list[Manifest] = list(yaml.safe_load_all(EXAMPLE.read_text()))
    entry = documents[0]["spec"]
    for endpoint, port in zip(entry["endpoints"], ports, strict=True):
        endpoint |= {"address": "127.0.0.1", "ports": {"http": port}}
    return documents


def namespace(name: str, labels: Mapping[str, str]) -> Manifest:
    """A Namespace with labels."""
    return manifest("Namespace", "v1", name, None, metadata={"labels": dict(labels)})


def proxy_waypoint(port: int, name: str = "wp", **listener_fields: Any) -> list[Manifest]:
    """A waypoint whose listener speaks the PROXY protocol, and its class."""
    entrance = listener("proxy", port, protocol="istio.io/PROXY", **listener_fields)
    made = gateway(entrance, name=name, gatewayClassName="controlplane-waypoint")
    return [gateway_class("controlplane-waypoint"), made]


def authorization(name: str, target: Mapping[str, str], action: str, *rules: Mapping[str, Any]) -> Manifest:
    """An AuthorizationPolicy of one target."""
    spec = {"targetRefs": [dict(target)], "action": action, "rules": [dict(each) for each in rules]}
    return manifest("AuthorizationPolicy", "security.istio.io/v1", name, spec=spec)


def marking_route(name: str, parent: Mapping[str, str], to: Manifest) -> Manifest:
    """A route of a service: requests that a waypoint lets through by it carry the header ``BY`` with the route's name."""
    marking = filter_("RequestHeaderModifier", set=[{"name": BY, "value": name}])
    return http_route(name, rule(to=to, filters=[marking]), parents=[dict(parent)])
