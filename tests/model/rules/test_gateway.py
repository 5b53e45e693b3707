"""Gateway's rules: each broken once, with its whole message, and kept as closely as it can be."""

import pytest
import yaml

from controlplane.model.decode import Decoded, Rejected
from tests.model.rules.written import decode_document

HTTP = "{name: http, port: 80, protocol: HTTP}"
CERTIFICATE = "tls: {certificateRefs: [{name: a}]}"


def decode(spec: str) -> Decoded | Rejected:
    return decode_document("Gateway", {"spec": {"gatewayClassName": "controlplane", **yaml.safe_load(spec)}}, "gw")


def listener(text: str) -> str:
    return f"listeners: [{{name: a, port: 80, {text}}}]"


BROKEN = {
    "one name twice": (
        "listeners: [{name: a, port: 80, protocol: HTTP}, {name: a, port: 81, protocol: HTTP}]",
        'spec.listeners[1].name: "a" is the name of listeners[0] too; use another name',
    ),
    "one listener twice": (
        "listeners: [{name: a, port: 80, protocol: HTTP}, {name: b, port: 80, protocol: HTTP}]",
        "spec.listeners[1]: the port, protocol and hostname of listeners[0]; "
        "change one of the three, or remove the listener",
    ),
    "one address twice": (
        f"{{listeners: [{HTTP}], addresses: [{{value: 192.0.2.1}}, {{value: 192.0.2.1}}]}}",
        "spec.addresses[1].value: the value of addresses[0] too; remove it",
    ),
    "TLS on HTTP": (
        listener(f"protocol: HTTP, {CERTIFICATE}"),
        "spec.listeners[0].tls: does not go with protocol HTTP; remove it, or set protocol to HTTPS",
    ),
    "TLS on UDP": (
        listener(f"protocol: UDP, {CERTIFICATE}"),
        "spec.listeners[0].tls: does not go with protocol UDP; remove it",
    ),
    "HTTPS passed through": (
        listener("protocol: HTTPS, tls: {mode: Passthrough}"),
        "spec.listeners[0].tls.mode: Passthrough does not go with protocol HTTPS; "
        "set it to Terminate, or set protocol to TLS",
    ),
    "TLS without TLS": (
        listener("protocol: TLS"),
        "spec.listeners[0].tls: required with protocol TLS, but missing; add it, with its mode",
    ),
    "hostname on TCP": (
        listener("protocol: TCP, hostname: a.example.com"),
        "spec.listeners[0].hostname: does not go with protocol TCP; remove it",
    ),
    "no certificate": (
        listener("protocol: HTTPS, tls: {}"),
        "spec.listeners[0].tls.certificateRefs: required with mode Terminate, but missing; "
        "name a Secret of type kubernetes.io/tls in certificateRefs",
    ),
    "no IP address": (
        f"{{listeners: [{HTTP}], addresses: [{{value: 192.0.2.256}}]}}",
        'spec.addresses[0].value: "192.0.2.256" is no IP address; '
        "use an address such as 192.0.2.1 or 2001:db8::1, or remove the field",
    ),
    "no hostname": (
        f"{{listeners: [{HTTP}], addresses: [{{type: Hostname, value: 'a b'}}]}}",
        'spec.addresses[0].value: "a b" is no hostname; '
        "use a lower-case DNS name such as www.example.com, at most one leading '*.', no port and no IP brackets",
    ),
    "no name of a label": (
        f"{{listeners: [{HTTP}], infrastructure: {{labels: {{'a b': c}}}}}}",
        'spec.infrastructure.labels["a b"]: "a b" is no name for labels; '
        "use a name of at most 63 letters, digits, '-', '_' and '.', after a domain and '/' or without",
    ),
    "no name of an annotation": (
        f"{{listeners: [{HTTP}], infrastructure: {{annotations: {{/a: c}}}}}}",
        'spec.infrastructure.annotations["/a"]: "/a" is no name for annotations; '
        "use a name of at most 63 letters, digits, '-', '_' and '.', after a domain and '/' or without",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_rule_is_told_in_whole(case: str) -> None:
    spec, message = BROKEN[case]
    outcome = decode(spec)
    assert isinstance(outcome, Rejected)
    assert outcome.messages == (f"Gateway demo/gw: {message}",)


KEPT = {
    "listeners that differ in the hostname": (
        "listeners: [{name: a, port: 80, protocol: HTTP}, {name: b, port: 80, protocol: HTTP, hostname: b.example.com}]"
    ),
    "listeners that differ in the protocol": (
        f"listeners: [{{name: a, port: 80, protocol: HTTP}}, {{name: b, port: 80, protocol: HTTPS, {CERTIFICATE}}}]"
    ),
    "two addresses of the controller's choice": f"{{listeners: [{HTTP}], addresses: [{{}}, {{}}]}}",
    "one value of two types": (
        f"{{listeners: [{HTTP}], addresses: [{{type: example.com/a, value: b}}, {{type: example.com/a, value: b}}]}}"
    ),
    "IPv6 address": f"{{listeners: [{HTTP}], addresses: [{{value: '2001:db8::1'}}]}}",
    "empty hostname": f"{{listeners: [{HTTP}], addresses: [{{type: Hostname, value: ''}}]}}",
    "options instead of a certificate": listener("protocol: HTTPS, tls: {options: {example.com/a: b}}"),
    "TLS passed through": listener("protocol: TLS, tls: {mode: Passthrough}"),
    "protocol of somebody's own": listener(f"protocol: example.com/a, {CERTIFICATE}"),
    "names with domains": f"{{listeners: [{HTTP}], infrastructure: {{labels: {{example.com/a_B.c: d}}}}}}",
}


@pytest.mark.parametrize("case", KEPT)
def test_what_keeps_the_rules_passes(case: str) -> None:
    outcome = decode(KEPT[case])
    assert isinstance(outcome, Decoded), outcome


def test_a_selector_that_cannot_be_is_told() -> None:
    namespaces = "{from: Selector, selector: {matchExpressions: [{key: a, operator: %s}]}}"
    outcome = decode(listener(f"protocol: HTTP, allowedRoutes: {{namespaces: {namespaces % 'In'}}}"))
    assert isinstance(outcome, Rejected)
    path = "spec.listeners[0].allowedRoutes.namespaces.selector.matchExpressions[0]"
    assert outcome.messages == (
        f"Gateway demo/gw: {path}.values: required with operator In, but missing; add at least one",
    )
    outcome = decode(listener(f"protocol: HTTP, allowedRoutes: {{namespaces: {namespaces % 'Exists, values: [a]'}}}"))
    assert isinstance(outcome, Rejected)
    assert outcome.messages == (f"Gateway demo/gw: {path}.values: do not go with operator Exists; remove them",)
    outcome = decode(listener(f"protocol: HTTP, allowedRoutes: {{namespaces: {namespaces % 'DoesNotExist'}}}"))
    assert isinstance(outcome, Decoded)
