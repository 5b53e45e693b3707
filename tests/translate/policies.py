"""Backends, policies and endpoints as tests write them, and what they are translated to as documents."""

from __future__ import annotations

from itertools import count
from typing import Any

import msgspec

from controlplane.model.events import Settings
from controlplane.model.istio import TrafficPolicy
from controlplane.model.services import Backend, Endpoint, Locality, LocalityGroup
from controlplane.translate.cluster import translate_cluster
from controlplane.translate.document import to_document
from controlplane.translate.resource import TypeUrl

SETTINGS = Settings()
HOST = "a.ns.svc.cluster.local"
"""Of a backend that says none."""
UINT32_MAX = 2**32 - 1
HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_numbers = count()


def a_backend(cluster: str = "kube_ns_a_80", **fields: Any) -> Backend:
    """Port 80 of the Service ns/a, but for these fields."""
    known: dict[str, Any] = {
        "key": ("Service", "ns/a", "", 80),
        "cluster": cluster,
        "host": HOST,
        "port_name": "",
        "target_port": None,
        "single_port": True,
        "protocol": "http",
    }
    return Backend(**{**known, **fields})


def a_policy(**fields: Any) -> TrafficPolicy:
    """A policy from its fields as a DestinationRule writes them."""
    return msgspec.convert(fields, TrafficPolicy)


def an_endpoint(address: str, port: int = 8080, locality: str = "", **fields: Any) -> Endpoint:
    """An endpoint; its locality as ``region/zone/subzone``."""
    return Endpoint(Locality.parse(locality), address, port, **fields)


def a_group(*endpoints: Endpoint, locality: str = "", priority: int = 0, weight: int = 0) -> LocalityGroup:
    """Endpoints of one locality and priority."""
    return LocalityGroup(Locality.parse(locality), priority, weight, endpoints)


def named_cluster(
    policy: TrafficPolicy | None = None,
    *,
    groups: tuple[LocalityGroup, ...] = (),
    has_localities: bool = False,
    settings: Settings = SETTINGS,
    **fields: Any,
) -> tuple[str, bytes]:
    """Name and bytes of a cluster that shares its name with no other; ``fields`` are its backend's."""
    name = f"c{next(_numbers)}"
    body = translate_cluster(
        a_backend(name, **fields), policy, settings, namespace="gw", groups=groups, has_localities=has_localities
    )
    return name, body


def cluster_document(backend: Backend | None = None, /, *, settings: Settings = SETTINGS, **fields: Any) -> Any:
    """The cluster of a backend as protobuf's JSON.

    Args:
        backend: Port 80 of ns/a, where it does not matter.
        settings: The control plane's.
        fields: ``namespace``, ``groups`` and ``has_localities`` of ``translate_cluster``; all others are the policy's.
    """
    ours = {name: fields.pop(name) for name in ("namespace", "groups", "has_localities") if name in fields}
    body = translate_cluster(backend or a_backend(), a_policy(**fields) if fields else None, settings, **ours)
    return to_document(TypeUrl.CLUSTER, body)


def http_options(document: Any) -> Any:
    """The HTTP options of a cluster's document; empty without any."""
    options = dict(document.get("typedExtensionProtocolOptions", {}).get(HTTP_OPTIONS, {}))
    options.pop("@type", None)
    return options


def tls_context(document: Any) -> Any:
    """The TLS context of a cluster's document; None for plain text."""
    socket = document.get("transportSocket")
    return None if socket is None else {key: value for key, value in socket["typedConfig"].items() if key != "@type"}
