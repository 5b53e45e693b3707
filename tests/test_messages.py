"""Every kind of message that bad input gives: it names the object, the field, and what to do.

Each case is a whole folder on its way through ``translate``; the message is looked for where a user sees it: on standard error
for what cannot be read, in the object's status for what cannot be served.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from controlplane.runtime.document import snapshot
from controlplane.runtime.offline import translate_paths

_GATEWAY_API = "gateway.networking.k8s.io/v1"


class Case(NamedTuple):
    """One mistake."""

    name: str
    manifests: str | list[dict[str, Any]]
    names: str
    """The object, or the file, that the message has to name."""
    field: str
    """The field, as the API spells it."""
    advice: str
    """Words of what to do."""


def gateway(**spec: Any) -> dict[str, Any]:
    listener = {"name": "http", "port": 8080, "protocol": "HTTP"}
    whole = {"gatewayClassName": "controlplane", "listeners": [listener], **spec}
    return {
        "apiVersion": _GATEWAY_API,
        "kind": "Gateway",
        "metadata": {"name": "web", "namespace": "demo"},
        "spec": whole,
    }


def listener(**fields: Any) -> dict[str, Any]:
    return gateway(listeners=[{"name": "http", "port": 8080, "protocol": "HTTP", **fields}])


def route(*rules: dict[str, Any], **spec: Any) -> dict[str, Any]:
    whole = {"parentRefs": [{"name": "web"}], "rules": list(rules) or [{}], **spec}
    return {
        "apiVersion": _GATEWAY_API,
        "kind": "HTTPRoute",
        "metadata": {"name": "r", "namespace": "demo"},
        "spec": whole,
    }


def to(name: str = "app", port: int | None = 80, **more: Any) -> dict[str, Any]:
    return {"backendRefs": [{"name": name, **({"port": port} if port else {}), **more}]}


def service(**spec: Any) -> dict[str, Any]:
    whole = {"ports": [{"port": 80}], **spec}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "app", "namespace": "demo"}, "spec": whole}


CLASS = {
    "apiVersion": _GATEWAY_API,
    "kind": "GatewayClass",
    "metadata": {"name": "controlplane"},
    "spec": {"controllerName": "controlplane.dev/gateway-controller"},
}

READ = [
    Case("yaml syntax", "kind: [unclosed\n", "in.yaml", "", "close it"),
    Case("a tab in yaml", "kind: Gateway\nmetadata:\n\tname: x\n", "in.yaml", "", "blanks"),
    Case("a key twice", "kind: Gateway\nkind: Service\n", "in.yaml", "kind", "remove"),
    Case("no kind", [{"apiVersion": "v1", "metadata": {"name": "x"}}], "in.yaml", "kind", ""),
    Case("no name", [{**service(), "metadata": {"namespace": "demo"}}], "Service", "metadata.name", ""),
    Case("a bad name", [{**service(), "metadata": {"name": "Not_Valid", "namespace": "demo"}}], "Service", "metadata.name", "lower"),
    Case("an unknown version", [{**gateway(), "apiVersion": "gateway.networking.k8s.io/v9"}], "Gateway demo/web", "apiVersion", "v1"),
    Case("a wrong type", [listener(port="http")], "Gateway demo/web", "spec.listeners[0].port", ""),
    Case("out of range", [listener(port=70_000)], "Gateway demo/web", "spec.listeners[0].port", "65535"),
    Case("not in the enum", [route({"matches": [{"path": {"type": "Glob", "value": "/"}}]})], "HTTPRoute demo/r", "spec.rules[0].matches[0].path.type", "PathPrefix"),
    Case("a bad hostname", [route(hostnames=["UPPER.example.com"])], "HTTPRoute demo/r", "spec.hostnames[0]", "lower"),
    Case("a required field", [gateway(listeners=[{"name": "http", "protocol": "HTTP"}])], "Gateway demo/web", "spec.listeners[0]", "port"),
    Case("no listeners", [gateway(listeners=[])], "Gateway demo/web", "spec.listeners", ""),
    Case("a path without slash", [route({"matches": [{"path": {"value": "api"}}]})], "HTTPRoute demo/r", "spec.rules[0].matches[0].path.value", "/"),
    Case("a bad duration", [route({**to(), "timeouts": {"request": "1.5s"}})], "HTTPRoute demo/r", "spec.rules[0].timeouts.request", ""),
    Case("timeouts that contradict", [route({**to(), "timeouts": {"request": "1s", "backendRequest": "2s"}})], "HTTPRoute demo/r", "spec.rules[0].timeouts", "request"),
    Case("a filter without its field", [route({"filters": [{"type": "URLRewrite"}]})], "HTTPRoute demo/r", "spec.rules[0].filters[0]", "urlRewrite"),
    Case("redirect and backends", [route({**to(), "filters": [{"type": "RequestRedirect", "requestRedirect": {}}]})], "HTTPRoute demo/r", "spec.rules[0]", "backendRefs"),
    Case("a service without port", [route(to(port=None))], "HTTPRoute demo/r", "spec.rules[0].backendRefs[0].port", ""),
    Case("a weight below zero", [route(to(weight=-1))], "HTTPRoute demo/r", "spec.rules[0].backendRefs[0].weight", "0"),
    Case("listeners of one name", [gateway(listeners=[{"name": "a", "port": 80, "protocol": "HTTP"}, {"name": "a", "port": 81, "protocol": "HTTP"}])], "Gateway demo/web", "spec.listeners[1].name", ""),
    Case("the same object twice", [service(), service()], "Service demo/app", "", "remove"),
]  # fmt: skip

SERVED = [
    Case("a protocol that is not supported", [listener(protocol="TCP")], "Gateway demo/web", "protocol", "HTTP"),
    Case("https without tls", [listener(protocol="HTTPS")], "Gateway demo/web", "tls.certificateRefs", "name a Secret"),
    Case("two protocols on a port", [gateway(listeners=[{"name": "a", "port": 80, "protocol": "HTTP"}, {"name": "b", "port": 80, "protocol": "HTTPS", "tls": {"certificateRefs": [{"name": "c"}]}}])], "Gateway demo/web", "port 80", "use one protocol"),
    Case("a missing certificate", [listener(protocol="HTTPS", tls={"certificateRefs": [{"name": "c"}]})], "Gateway demo/web", "Secret demo/c", "create it"),
    Case("a certificate elsewhere", [listener(protocol="HTTPS", tls={"certificateRefs": [{"name": "c", "namespace": "other"}]})], "Gateway demo/web", "tls.certificateRefs", "ReferenceGrant"),
    Case("route kinds that cannot attach", [listener(allowedRoutes={"kinds": [{"kind": "TCPRoute"}]})], "Gateway demo/web", "allowedRoutes.kinds", "use HTTPRoute"),
    Case("a missing service", [gateway(), route(to())], "HTTPRoute demo/r", "rules[0].backendRefs[0]", "create it"),
    Case("a missing port", [gateway(), route(to(port=99)), service()], "HTTPRoute demo/r", "rules[0].backendRefs[0]", "its ports are 80"),
    Case("a service elsewhere", [gateway(), route(to(namespace="other"))], "HTTPRoute demo/r", "rules[0].backendRefs[0]", "add a ReferenceGrant in other"),
    Case("an ExternalName service", [gateway(), route(to()), service(type="ExternalName", externalName="example.com")], "HTTPRoute demo/r", "rules[0].backendRefs[0]", "use one with endpoints"),
    Case("a kind that is no backend", [gateway(), route({"backendRefs": [{"kind": "Bucket", "group": "example.com", "name": "b"}]})], "HTTPRoute demo/r", "rules[0].backendRefs[0]", "use a Service"),
    Case("a mirror that does not exist", [gateway(), service(), route({**to(), "filters": [{"type": "RequestMirror", "requestMirror": {"backendRef": {"name": "gone", "port": 80}}}]})], "HTTPRoute demo/r", "rules[0].filters[0].requestMirror.backendRef", "create it"),
    Case("an unsupported filter", [gateway(), service(), route({**to(), "filters": [{"type": "ExtensionRef", "extensionRef": {"group": "example.com", "kind": "X", "name": "x"}}]})], "HTTPRoute demo/r", "rules[0].filters[0]", "remove it"),
    Case("no such listener", [gateway(), route(to(), parentRefs=[{"name": "web", "sectionName": "nope"}])], "HTTPRoute demo/r", "parentRefs", "name one that it has"),
    Case("a namespace that is not allowed", [gateway(), {**route(to(), parentRefs=[{"name": "web", "namespace": "demo"}]), "metadata": {"name": "r", "namespace": "other"}}], "HTTPRoute other/r", "listeners http", "allowedRoutes"),
    Case("hostnames that do not meet", [listener(hostname="a.example.com"), route(to(), hostnames=["b.example.com"])], "HTTPRoute demo/r", "hostnames", "a.example.com"),
    Case("parameters of a class", [{**CLASS, "spec": {**CLASS["spec"], "parametersRef": {"group": "g", "kind": "K", "name": "params"}}}], "GatewayClass controlplane", "parametersRef", "remove it"),
    Case("an unknown field", [gateway(listenrs=[])], "Gateway demo/web", "spec.listenrs", "listeners"),
    Case("a field that is not supported", [gateway(infrastructure={"labels": {"a": "b"}})], "Gateway demo/web", "spec.infrastructure", ""),
]  # fmt: skip


def write(folder: Path, manifests: str | list[dict[str, Any]]) -> None:
    text = manifests if isinstance(manifests, str) else yaml.safe_dump_all(manifests)
    (folder / "in.yaml").write_text(text)


@pytest.mark.parametrize("case", READ, ids=lambda case: case.name)
def test_what_cannot_be_read_says_so(case: Case, tmp_path: Path) -> None:
    """Standard error has one line for it."""
    write(tmp_path, case.manifests)
    errors = translate_paths([tmp_path]).errors
    assert len(errors) == 1, errors
    line = errors[0]
    for part in ("in.yaml", case.names, case.field, case.advice):
        assert part in line, line
    if case.field.startswith("spec."):
        assert "; " in line, f"no advice: {line}"


@pytest.mark.parametrize("case", READ, ids=lambda case: case.name)
def test_what_cannot_be_read_stops_nothing_else(case: Case, tmp_path: Path) -> None:
    """Another file of the folder is served all the same."""
    write(tmp_path, case.manifests)
    other = {**gateway(), "metadata": {"name": "other", "namespace": "demo"}}
    (tmp_path / "other.yaml").write_text(yaml.safe_dump_all([CLASS, other]))
    assert "demo/other" in snapshot(translate_paths([tmp_path]).state)["gateways"]


@pytest.mark.parametrize("case", SERVED, ids=lambda case: case.name)
def test_what_cannot_be_served_says_so(case: Case, tmp_path: Path) -> None:
    """The object's own status has a condition for it."""
    assert isinstance(case.manifests, list)
    has_class = any(manifest["kind"] == "GatewayClass" for manifest in case.manifests)
    write(tmp_path, [*case.manifests, *([] if has_class else [CLASS])])
    statuses = snapshot(translate_paths([tmp_path]).state)["statuses"]
    assert case.names in statuses, list(statuses)
    messages = [c["message"] for c in _conditions(statuses[case.names]) if c["message"]]
    assert any(case.field in message and case.advice in message for message in messages), messages


def _conditions(document: Any) -> list[dict[str, Any]]:
    """All conditions of a status, wherever they stand in it."""
    if isinstance(document, list):
        return [found for item in document for found in _conditions(item)]
    if not isinstance(document, dict):
        return []
    mine = list(document.get("conditions", ()))
    return mine + [found for key, value in document.items() if key != "conditions" for found in _conditions(value)]
