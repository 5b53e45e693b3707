"""ServiceEntry's rules: each broken once, with its whole message, and kept as closely as it can be."""

import pytest

from tests.model.rules.written import Told, told

BROKEN = {
    "every host": (
        "hosts: ['*']",
        'spec.hosts[0]: "*" would be every host; name hosts, such as *.example.com',
    ),
    "no host": (
        "hosts: [a_b]",
        'spec.hosts[0]: "a_b" is no host; use a DNS name, or one after *.',
    ),
    "host of numbers": (
        "hosts: [192.0.2.1]",
        'spec.hosts[0]: "192.0.2.1" is no host; use a DNS name, or one after *.',
    ),
    "long host": (
        "hosts: "
        "[aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
        "aaaaaaaaaaaaaaaaaaaaaaaaaaa.aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.aaaaaa"
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
        "aaaaaaaaaaaaaaaaaaaa]",
        'spec.hosts[0]: "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa..." is no host; use '
        "a DNS name, or one after *.",
    ),
    "wildcard to resolve": (
        "{hosts: ['*.example.com'], resolution: DNS}",
        'spec.hosts[0]: "*.example.com" cannot be resolved, and there are no endpoints; use a DNS name '
        "without *, or add endpoints",
    ),
    "no address": (
        "{hosts: [a], addresses: [b]}",
        'spec.addresses[0]: "b" is neither an IP address nor a CIDR block; use one such as 192.0.2.1, '
        "2001:db8::1 or 192.0.2.0/24",
    ),
    "mask": (
        "{hosts: [a], addresses: [192.0.2.0/255.255.255.0]}",
        'spec.addresses[0]: "192.0.2.0/255.255.255.0" is neither an IP address nor a CIDR block; use '
        "one such as 192.0.2.1, 2001:db8::1 or 192.0.2.0/24",
    ),
    "block to resolve": (
        "{hosts: [a.example.com], addresses: [192.0.2.0/24], resolution: DNS}",
        "spec.addresses[0]: a CIDR block does not go with resolution DNS; use IP addresses, or set "
        "resolution to STATIC",
    ),
    "port without a name": (
        "{hosts: [a], ports: [{number: 80}]}",
        "spec.ports[0].name: required, but missing; add it, such as http",
    ),
    "port's name": (
        "{hosts: [a], ports: [{number: 80, name: a_b}]}",
        "spec.ports[0].name: \"a_b\" is no port's name; use letters, digits and '-', at most 63, with a "
        "letter or digit first and last",
    ),
    "one name twice": (
        "{hosts: [a], ports: [{number: 80, name: a}, {number: 81, name: a}]}",
        'spec.ports[1].name: "a" is the name of ports[0] too; use another name',
    ),
    "one number twice": (
        "{hosts: [a], ports: [{number: 80, name: a}, {number: 80, name: b}]}",
        "spec.ports[1].number: 80 is the number of ports[0] too; remove one of the two",
    ),
    "selector and endpoints": (
        "{hosts: [a], resolution: STATIC, workloadSelector: {labels: {a: b}}, endpoints: [{address: 192.0.2.1}]}",
        "spec.workloadSelector: does not go with endpoints; remove one of the two",
    ),
    "endpoints without a resolution": (
        "{hosts: [a], endpoints: [{address: 192.0.2.1}]}",
        "spec.endpoints: do not go with resolution NONE, the default; set resolution to STATIC, or to "
        "DNS if there are names among them",
    ),
    "several endpoints in turns": (
        "{hosts: [a.example.com], resolution: DNS_ROUND_ROBIN, endpoints: [{address: 192.0.2.1}, "
        "{address: 192.0.2.2}]}",
        "spec.endpoints: resolution DNS_ROUND_ROBIN takes one endpoint, and there are 2; leave one, or "
        "set resolution to DNS",
    ),
    "port's name of an endpoint": (
        "{hosts: [a], resolution: STATIC, endpoints: [{address: 192.0.2.1, ports: {a_b: 1}}]}",
        'spec.endpoints[0].ports["a_b"]: "a_b" is no port\'s name; use letters, digits and \'-\', at most '
        "63, with a letter or digit first and last",
    ),
    "port of an endpoint": (
        "{hosts: [a], resolution: STATIC, ports: [{number: 1, name: a}], endpoints: [{address: "
        "192.0.2.1, ports: {a: 0}}]}",
        'spec.endpoints[0].ports["a"]: 0 is out of range; use a whole number from 1 to 65535',
    ),
    "wildcard in a selector": (
        "{hosts: [a], resolution: STATIC, workloadSelector: {labels: {a: 'b*'}}}",
        'spec.workloadSelector.labels["a"]: labels have no wildcards; name the label and its value in full',
    ),
    "label without a name": (
        "{hosts: [a], resolution: STATIC, workloadSelector: {labels: {'': b}}}",
        'spec.workloadSelector.labels[""]: a label without a name; remove it',
    ),
    "export": (
        "{hosts: [a], exportTo: [A]}",
        'spec.exportTo[0]: "A" names no namespace; use a namespace\'s name, . for the own or * for all',
    ),
}

WARNED = {
    "one host twice": (
        "{hosts: [a.example.com, A.example.com], resolution: STATIC}",
        "spec.hosts[1]: the host of hosts[0] too; remove it",
    ),
    "port of an endpoint alone": (
        "{hosts: [a], resolution: STATIC, endpoints: [{address: 192.0.2.1, ports: {http: 80}}]}",
        'spec.endpoints[0].ports["http"]: no port of this object has the name "http"; rename or remove it',
    ),
    "name of a static endpoint": (
        "{hosts: [a], resolution: STATIC, endpoints: [{address: b.example.com}]}",
        'spec.endpoints[0].address: "b.example.com" is no IP address, which resolution STATIC takes: nothing is '
        "sent there; use an IP address, or set resolution to DNS",
    ),
    "endpoint without an address": (
        "{hosts: [a], resolution: STATIC, endpoints: [{}]}",
        "spec.endpoints[0].address: missing: nothing is sent there; add an IP address or a DNS name",
    ),
    "address of an endpoint": (
        "{hosts: [a], resolution: STATIC, endpoints: [{address: a_b}]}",
        'spec.endpoints[0].address: "a_b" is neither an IP address nor a DNS name: nothing is sent there; use one such as '
        "192.0.2.1, 2001:db8::1 or a.example.com",
    ),
    "selector that is not used": (
        "{hosts: [a], resolution: DNS, workloadSelector: {labels: {a: b}}}",
        "spec.workloadSelector: has no effect with resolution DNS; remove it, or set resolution to STATIC",
    ),
    "selector without labels": (
        "{hosts: [a], resolution: STATIC, workloadSelector: {}}",
        "spec.workloadSelector: selects nothing without labels; add labels, or list endpoints instead",
    ),
    "endpoint behind a gateway": (
        "{hosts: [a], resolution: STATIC, endpoints: [{network: n}]}",
        "spec.endpoints[0].address: empty: nothing is sent there; add an IP address or a DNS name",
    ),
    "protocol": (
        "{hosts: [a], resolution: STATIC, ports: [{number: 80, name: a, protocol: HTPP}]}",
        'spec.ports[0].protocol: "HTPP" is no known protocol; use HTTP, HTTP2, GRPC, TLS or TCP',
    ),
}
"""What is served, and most likely not meant."""

UNSUPPORTED = {
    "no resolution": (
        "hosts: [a]",
        "spec.resolution: NONE, the default, is not supported yet: nothing is sent to its hosts; use "
        "DNS, DNS_ROUND_ROBIN or STATIC",
    ),
    "resolution of any name": (
        "{hosts: ['*.a'], resolution: DYNAMIC_DNS}",
        "spec.resolution: DYNAMIC_DNS is not supported yet: nothing is sent to its hosts; use DNS, "
        "DNS_ROUND_ROBIN or STATIC",
    ),
    "socket": (
        "{hosts: [a], resolution: STATIC, endpoints: [{address: 'unix:///a'}, {address: 192.0.2.1}]}",
        "spec.endpoints[0].address: Unix domain sockets are not supported yet: nothing is sent there; "
        "use an IP address or a DNS name",
    ),
    "datagrams": (
        "{hosts: [a], resolution: STATIC, ports: [{number: 53, name: dns, protocol: UDP}]}",
        "spec.ports[0].protocol: UDP is not supported yet: the port gets no datagrams; remove the port, "
        "or use one that takes TCP",
    ),
}
"""What the API has and we do not act on."""


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_rule_is_told_in_whole(case: str) -> None:
    spec, message = BROKEN[case]
    assert told("ServiceEntry", spec) == Told(errors=(message,))


@pytest.mark.parametrize("case", WARNED)
def test_a_warning_is_told_in_whole(case: str) -> None:
    spec, message = WARNED[case]
    assert told("ServiceEntry", spec) == Told(warnings=(message,))


@pytest.mark.parametrize("case", UNSUPPORTED)
def test_what_is_not_supported_is_told_in_whole(case: str) -> None:
    spec, message = UNSUPPORTED[case]
    assert told("ServiceEntry", spec) == Told(unsupported=(message,))


KEPT = (
    "{hosts: [A.example.com., b, '*.c', '*d.e'], resolution: STATIC}",
    "{hosts: [a.example.com], addresses: ['2001:db8::1', 192.0.2.0/24, 192.0.2.1], resolution: STATIC}",
    "{hosts: [a], resolution: STATIC, endpoints: [{address: 192.0.2.1}, {address: '2001:db8::1'}]}",
    "{hosts: ['*.a'], resolution: DNS, endpoints: [{address: b.example.com}, {address: 192.0.2.1}]}",
    "{hosts: [a], resolution: DNS_ROUND_ROBIN, endpoints: [{address: b.example.com}]}",
    "{hosts: [a], resolution: STATIC, workloadSelector: {labels: {a: b}}}",
    "{hosts: [a, b], resolution: STATIC, ports: [{number: 80, name: a-B, protocol: grpc-web}, {number: 81, name: c}]}",
    "{hosts: [a], resolution: STATIC, ports: [{number: 80, name: a, targetPort: 0}], endpoints: "
    "[{address: 192.0.2.1, ports: {a: 65535}, weight: 0, locality: r//z, labels: {a: b}}]}",
    "{hosts: [a], resolution: STATIC, exportTo: [., '*', '~', demo]}",
)


@pytest.mark.parametrize("spec", KEPT)
def test_what_keeps_the_rules_is_accepted_without_a_word(spec: str) -> None:
    assert told("ServiceEntry", spec) == Told()


WORKLOADS = {
    "address: 192.0.2.1": None,
    "address: a.example.com": None,
    "{}": "spec.address: missing: nothing is sent there; add an IP address or a DNS name",
    "address: a b": 'spec.address: "a b" is neither an IP address nor a DNS name: '
    "nothing is sent there; use one such as 192.0.2.1, 2001:db8::1 or a.example.com",
    "{address: 192.0.2.1, ports: {a: 65536}}": 'spec.ports["a"]: 65536 is out of range; '
    "use a whole number from 1 to 65535",
    "network: n": "spec.address: empty: nothing is sent there; add an IP address or a DNS name",
    "address: 'unix://@a'": "spec.address: Unix domain sockets are not supported yet: nothing is sent there; "
    "use an IP address or a DNS name",
}


@pytest.mark.parametrize("spec", WORKLOADS)
def test_workloads_keep_the_same_rules(spec: str) -> None:
    errors, warnings, unsupported = told("WorkloadEntry", spec)
    assert errors + warnings + unsupported == (() if WORKLOADS[spec] is None else (WORKLOADS[spec],))
