"""DestinationRules, made as they are from YAML."""

from __future__ import annotations

from typing import Any

import msgspec

from controlplane.model.istio import DestinationRule


def rule_of(key: str, *, host: str = "*.example.com", created: str = "", **spec: Any) -> DestinationRule:
    """The rule ``namespace/name`` of a host."""
    namespace, _, name = key.partition("/")
    metadata = {"name": name, "namespace": namespace} | ({"creationTimestamp": created} if created else {})
    manifest = {
        "apiVersion": "networking.istio.io/v1",
        "kind": "DestinationRule",
        "metadata": metadata,
        "spec": {"host": host, **spec},
    }
    return msgspec.convert(manifest, DestinationRule)
