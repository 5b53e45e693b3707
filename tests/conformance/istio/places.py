"""The workloads of kgateway's own tables (2.6), and the proxy that asks there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from tests.conformance.manifests import Manifest

from .mesh import HOSTNAME, NETWORK, PLACE, entry, node, pod, service, slice_of

PROXY: Final = "r1/r1z2/r1z2s3"
PROXY_LABELS: Final[Mapping[str, str]] = {"version": "v1", NETWORK: "n1", HOSTNAME: "worker"}
ASKING: Final[dict[str, Any]] = {"locality": PROXY, "labels": PROXY_LABELS}
"""Keywords of ``view``: the Pod ``gateway`` of the tables."""

PODS: Final = {
    "reviews-1": ("10.244.1.11", "worker", PROXY, {"version": "v1", NETWORK: "n1"}),
    "reviews-2": ("10.244.2.14", "worker2", "r1/r1z2/r1z2s4", {"version": "v2", NETWORK: "n1"}),
    "reviews-3": ("10.244.3.3", "worker3", "r1/r1z3/r1z3s4", {}),
    "reviews-4": ("10.244.4.4", "worker4", "r2/r2z1/r2z1s1", {"version": "v1", NETWORK: "n2"}),
}
SERVICE: Final = "kube_gwtest_reviews_80"
ENTRY: Final = "istio-se_gwtest_se_se.example.com_80"


def workloads() -> list[Manifest]:
    """The four Pods of ``PODS`` (label ``app: reviews``), and their Nodes."""
    pods = [pod(name, ip, on, {"app": "reviews", **labels}) for name, (ip, on, _, labels) in PODS.items()]
    return [*pods, *(node(on, place) for _, on, place, _ in PODS.values())]


def reviews(**fields: Any) -> list[Manifest]:
    """The Service ``reviews`` with the four Pods behind it."""
    endpoints = [
        {"addresses": [ip], "nodeName": on, "targetRef": {"kind": "Pod", "name": name, "namespace": "gwtest"}}
        for name, (ip, on, _, _) in PODS.items()
    ]
    return [service("reviews", **fields), slice_of("reviews", endpoints), *workloads()]


def reviews_entry(**fields: Any) -> list[Manifest]:
    """The ServiceEntry ``se`` which selects the four Pods."""
    return [entry(workloadSelector={"labels": {"app": "reviews"}}, location="MESH_INTERNAL", **fields), *workloads()]


def by_pod(found: Mapping[str, int]) -> list[int]:
    """The priority of each of the four Pods, in their order."""
    return [found[ip] for ip, *_ in PODS.values()]


def place_labels(place: str) -> dict[str, str]:
    """A locality as labels."""
    return dict(zip(PLACE, place.split("/"), strict=False))
