"""The rules of Services and EndpointSlices: each broken once, with its whole message, and kept."""

import pytest
import yaml

from controlplane.model.decode import Decoded, Rejected
from tests.model.rules.written import decode_document


def decode(kind: str, text: str) -> Decoded | Rejected:
    return decode_document(kind, yaml.safe_load(text), "api")


BROKEN = {
    "port without a name": (
        "Service",
        "spec: {ports: [{name: a, port: 1}, {port: 2}]}",
        "spec.ports[1].name: required where there are several ports, but missing; "
        "add it: an EndpointSlice's port is found by it",
    ),
    "one name of ports twice": (
        "Service",
        "spec: {ports: [{name: a, port: 1}, {name: a, port: 2}]}",
        'spec.ports[1].name: "a" is the name of ports[0] too; use another name',
    ),
    "one port twice": (
        "Service",
        "spec: {ports: [{name: a, port: 1}, {name: b, port: 1}]}",
        "spec.ports[1]: the port and protocol of ports[0] too; remove one of the two",
    ),
    "external name without one": (
        "Service",
        "spec: {type: ExternalName}",
        "spec.externalName: required with type ExternalName, but missing; add it: a DNS name",
    ),
    "no ports": (
        "Service",
        "spec: {selector: {app: a}}",
        "spec.ports: required, but missing; add at least one port, or set clusterIP to None",
    ),
    "no cluster address": (
        "Service",
        "spec: {ports: [{port: 1}], clusterIP: none}",
        'spec.clusterIP: "none" is no IP address; use an IP address or None, or remove the field',
    ),
    "no second cluster address": (
        "Service",
        "spec: {ports: [{port: 1}], clusterIP: 192.0.2.1, clusterIPs: [192.0.2.1, a]}",
        'spec.clusterIPs[1]: "a" is no IP address; use an IP address or None, or remove the field',
    ),
    "endpoint of another type": (
        "EndpointSlice",
        "{addressType: IPv4, endpoints: [{addresses: [192.0.2.1]}, {addresses: ['2001:db8::1']}]}",
        'endpoints[1].addresses[0]: "2001:db8::1" is no IPv4 address; use one such as 192.0.2.1, or change addressType',
    ),
    "endpoint by name": (
        "EndpointSlice",
        "{addressType: IPv6, endpoints: [{addresses: [pod.example.com]}]}",
        'endpoints[0].addresses[0]: "pod.example.com" is no IPv6 address; '
        "use one such as 2001:db8::1, or change addressType",
    ),
    "one name of a slice's ports twice": (
        "EndpointSlice",
        "{addressType: IPv4, ports: [{port: 1}, {port: 2}]}",
        'ports[1].name: "" is the name of ports[0] too; use another name',
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_rule_is_told_in_whole(case: str) -> None:
    kind, text, message = BROKEN[case]
    outcome = decode(kind, text)
    assert isinstance(outcome, Rejected)
    assert outcome.messages == (f"{kind} demo/api: {message}",)


KEPT = {
    "headless without ports": ("Service", "spec: {clusterIP: None}"),
    "one port without a name": ("Service", "spec: {ports: [{port: 1}]}"),
    "one port of two protocols": (
        "Service",
        "spec: {ports: [{name: a, port: 53}, {name: b, port: 53, protocol: UDP}]}",
    ),
    "external name": ("Service", "spec: {type: ExternalName, externalName: a.example.com}"),
    "two families": (
        "Service",
        "spec: {ports: [{port: 1}], clusterIP: 192.0.2.1, clusterIPs: [192.0.2.1, '2001:db8::1'], ipFamilies: [IPv4, IPv6]}",
    ),
    "loopback endpoint": ("EndpointSlice", "{addressType: IPv4, endpoints: [{addresses: [127.0.0.1]}]}"),
    "endpoint by name in a slice of names": (
        "EndpointSlice",
        "{addressType: FQDN, endpoints: [{addresses: [pod.example.com]}]}",
    ),
    "ports of a slice": ("EndpointSlice", "{addressType: IPv4, ports: [{port: 1}, {name: a, port: 1}]}"),
}


@pytest.mark.parametrize("case", KEPT)
def test_what_keeps_the_rules_passes(case: str) -> None:
    outcome = decode(*KEPT[case])
    assert isinstance(outcome, Decoded), outcome
