"""Istio's manifests, and what stands beside them, for real ports of loopback."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.conformance.manifests import NAMESPACE, Manifest, manifest

NETWORKING = "networking.istio.io/v1"
REGION, ZONE = "topology.kubernetes.io/region", "topology.kubernetes.io/zone"
SUBZONE = "topology.istio.io/subzone"
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
