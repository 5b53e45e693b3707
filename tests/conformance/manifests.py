"""Manifests for tests, short, and what the pipeline makes of them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from controlplane.runtime.document import for_only_client, snapshot
from controlplane.runtime.offline import translate_paths
from controlplane.runtime.options import Infra

from .messages import Answer, Request
from .proxy import Proxy

Manifest = dict[str, Any]

GROUP: Final = "gateway.networking.k8s.io"
CONTROLLER: Final = "controlplane.dev/gateway-controller"
NAMESPACE: Final = "demo"


def manifest(kind: str, api: str, name: str, namespace: str | None = NAMESPACE, **fields: Any) -> Manifest:
    """An object; ``metadata`` among the fields adds to its own."""
    own = {"name": name} | ({"namespace": namespace} if namespace else {})
    return {"apiVersion": api, "kind": kind, "metadata": own | fields.pop("metadata", {}), **fields}


def gateway_class(name: str = "controlplane", controller: str = CONTROLLER, **spec: Any) -> Manifest:
    return manifest("GatewayClass", f"{GROUP}/v1", name, None, spec={"controllerName": controller, **spec})


def gateway(*listeners: Manifest, name: str = "web", namespace: str = NAMESPACE, **spec: Any) -> Manifest:
    """A Gateway of our class; without listeners, one for HTTP on port 80."""
    spec = {"gatewayClassName": "controlplane", "listeners": list(listeners) or [listener()]} | spec
    metadata = spec.pop("metadata", {})
    return manifest("Gateway", f"{GROUP}/v1", name, namespace, metadata=metadata, spec=spec)


def listener(name: str = "http", port: int = 80, hostname: str | None = None, **fields: Any) -> Manifest:
    """A listener; ``routes`` among the fields is short for ``allowedRoutes.namespaces.from``."""
    if source := fields.pop("routes", None):
        fields["allowedRoutes"] = {"namespaces": {"from": source}}
    hostnames = {"hostname": hostname} if hostname else {}
    return {"name": name, "port": port, "protocol": "HTTP", **hostnames, **fields}


def https(name: str, hostname: str | None, *secrets: str | Manifest, port: int = 443, **fields: Any) -> Manifest:
    """An HTTPS listener with these certificateRefs."""
    refs = [{"name": secret} if isinstance(secret, str) else secret for secret in secrets]
    return listener(name, port, hostname, protocol="HTTPS", tls={"certificateRefs": refs}, **fields)


def http_route(
    name: str,
    *rules: Manifest,
    hostnames: Sequence[str] = (),
    parents: Sequence[str | Manifest] = ("web",),
    namespace: str = NAMESPACE,
    **metadata: Any,
) -> Manifest:
    """An HTTPRoute; a parent is a Gateway's name or a whole parentRef."""
    refs = [{"name": parent} if isinstance(parent, str) else parent for parent in parents]
    spec = {"parentRefs": refs, "rules": list(rules)} | ({"hostnames": list(hostnames)} if hostnames else {})
    return manifest("HTTPRoute", f"{GROUP}/v1", name, namespace, metadata=metadata, spec=spec)


def rule(*matches: Manifest, to: str | Manifest | Iterable[str | Manifest] | None = "v1", **fields: Any) -> Manifest:
    """A rule; ``to`` is a Service's name, a backendRef, several, or None for no backendRefs at all."""
    refs = [to] if isinstance(to, str | dict) else list(to or ())
    made: Manifest = {"matches": list(matches)} if matches else {}
    if to is not None:
        made["backendRefs"] = [backend(ref) if isinstance(ref, str) else ref for ref in refs]
    return made | fields


def backend(name: str, port: int = 8080, **fields: Any) -> Manifest:
    return {"name": name, "port": port, **fields}


def prefix(value: str, **fields: Any) -> Manifest:
    return {"path": {"type": "PathPrefix", "value": value}, **fields}


def exact(value: str, **fields: Any) -> Manifest:
    return {"path": {"type": "Exact", "value": value}, **fields}


def regex(value: str, **fields: Any) -> Manifest:
    return {"path": {"type": "RegularExpression", "value": value}, **fields}


def named(**values: str) -> list[Manifest]:
    """Header or query parameter matches, or headers to write: ``x_version="1"`` is the header ``x-version``."""
    return [{"name": name.replace("_", "-"), "value": value} for name, value in values.items()]


def filter_(type_: str, **fields: Any) -> Manifest:
    """A filter of a type, with its field."""
    own = {"URLRewrite": "urlRewrite", "CORS": "cors"}.get(type_, type_[0].lower() + type_[1:])
    return {"type": type_, own: fields}


def service(
    name: str,
    port: int = 8080,
    namespace: str = NAMESPACE,
    addresses: Sequence[str] = ("10.0.0.1",),
    **port_fields: Any,
) -> list[Manifest]:
    """A Service with one port, and an EndpointSlice with these addresses."""
    ports = [{"port": port, "targetPort": 3000, **port_fields}]
    return [
        manifest("Service", "v1", name, namespace, spec={"ports": ports}),
        endpoint_slice(name, [{"addresses": [address]} for address in addresses], namespace=namespace),
    ]


def endpoint_slice(
    of: str,
    endpoints: Sequence[Manifest],
    ports: Sequence[Manifest] = ({"port": 3000},),
    *,
    family: str = "IPv4",
    namespace: str = NAMESPACE,
    suffix: str = "1",
) -> Manifest:
    fields = {"addressType": family, "endpoints": list(endpoints), "ports": list(ports)}
    labels = {"kubernetes.io/service-name": of}
    api = "discovery.k8s.io/v1"
    return manifest("EndpointSlice", api, f"{of}-{suffix}", namespace, metadata={"labels": labels}, **fields)


def reference_grant(
    name: str,
    namespace: str,
    sources: Iterable[Mapping[str, str]],
    targets: Iterable[Mapping[str, str]],
    version: str = "v1",
) -> Manifest:
    """A ReferenceGrant; HTTPRoutes and Gateways have Gateway API's group, all else the core's."""
    group = {"HTTPRoute": GROUP, "Gateway": GROUP}
    spec = {
        "from": [{"group": group.get(source["kind"], ""), **source} for source in sources],
        "to": [{"group": group.get(target["kind"], ""), **target} for target in targets],
    }
    return manifest("ReferenceGrant", f"{GROUP}/{version}", name, namespace, spec=spec)


BACKENDS: Final = tuple(made for name in ("v1", "v2", "v3") for made in service(name))
"""Services ``v1`` to ``v3``, each with an endpoint."""


@dataclass(frozen=True)
class Served:
    """What became of manifests."""

    document: Mapping[str, Any]
    errors: tuple[str, ...]
    warnings: tuple[str, ...]

    def proxy(self, key: str = f"{NAMESPACE}/web") -> Proxy:
        """The Envoy of a Gateway; one that has been sent nothing, for a Gateway that is served nothing."""
        return Proxy(self.document["gateways"].get(key, {}))

    def ask(self, path: str = "/", host: str = "example.com", **fields: Any) -> Answer:
        """What the Gateway ``web`` does with a request."""
        return self.proxy().ask(Request(path, host, **fields))

    def to(self, path: str = "/", host: str = "example.com", **fields: Any) -> str:
        """Where the Gateway ``web`` sends a request: a service of ours by name, any other as ``namespace/name:port``."""
        return self.ask(path, host, **fields).backend.removeprefix(f"{NAMESPACE}/").removesuffix(":8080")

    def status(self, kind: str, name: str, namespace: str | None = NAMESPACE) -> Mapping[str, Any]:
        """The status of an object; empty where it has none."""
        status: Mapping[str, Any] = self.document["statuses"].get(
            f"{kind} {namespace}/{name}" if namespace else f"{kind} {name}", {}
        )
        return status

    def parent(self, route: str, position: int = 0) -> dict[str, tuple[str, str]]:
        """Conditions of a route's parent: ``(status, reason)`` by type."""
        return conditions(self.status("HTTPRoute", route)["parents"][position])

    def gateway(self, name: str = "web") -> dict[str, tuple[str, str]]:
        """Conditions of a Gateway."""
        return conditions(self.status("Gateway", name))

    def listener_status(self, name: str = "http", gateway: str = "web") -> Mapping[str, Any]:
        (found,) = (entry for entry in self.status("Gateway", gateway)["listeners"] if entry["name"] == name)
        status: Mapping[str, Any] = found
        return status

    def listener(self, name: str = "http", gateway: str = "web") -> dict[str, tuple[str, str]]:
        """Conditions of a listener."""
        return conditions(self.listener_status(name, gateway))

    def attached(self, name: str = "http", gateway: str = "web") -> int:
        count: int = self.listener_status(name, gateway)["attachedRoutes"]
        return count


def conditions(status: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """``(status, reason)`` by type."""
    found = [(condition["type"], (condition["status"], condition["reason"])) for condition in status["conditions"]]
    assert len(dict(found)) == len(found), f"a type twice: {found}"
    return dict(found)


def serve(*objects: Manifest | Iterable[Manifest], infra: Infra = "none") -> Served:
    """Translates manifests, with our GatewayClass, the services of ``BACKENDS``, and a Gateway if none is given.

    Args:
        objects: Manifests, and lists of them.
        infra: Who runs the Envoys.
    """
    flat = [made for item in objects for made in ([item] if isinstance(item, dict) else item)]
    flat += [gateway_class(), *BACKENDS]
    if not any(made["kind"] == "Gateway" for made in flat):
        flat.append(gateway())
    with TemporaryDirectory() as folder:
        # JSON is YAML without its traps.
        Path(folder, "all.yaml").write_text("\n---\n".join(json.dumps(made, indent=2) for made in flat))
        translated = translate_paths([Path(folder)], infra)
    return Served(for_only_client(snapshot(translated.state)), translated.errors, translated.warnings)
