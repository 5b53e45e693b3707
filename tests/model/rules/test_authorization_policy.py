"""AuthorizationPolicy's rules: each broken once, with its whole message, and kept as closely as it can be."""

import pytest

from tests.model.rules.written import Told, told

BROKEN = {
    "source without a condition": (
        "rules: [{from: [{source: {}}]}]",
        "spec.rules[0].from[0].source: says nothing, and would match everybody; add a condition, or remove from",
    ),
    "no source": (
        "rules: [{from: [{}]}]",
        "spec.rules[0].from[0].source: says nothing, and would match everybody; add a condition, or remove from",
    ),
    "operation without a condition": (
        "rules: [{to: [{operation: {}}]}]",
        "spec.rules[0].to[0].operation: says nothing, and would match everything; add a condition, or remove to",
    ),
    "no operation": (
        "rules: [{to: [{}]}]",
        "spec.rules[0].to[0].operation: says nothing, and would match everything; add a condition, or remove to",
    ),
    "no address": (
        "rules: [{from: [{source: {ipBlocks: [192.0.2.1, a]}}]}]",
        'spec.rules[0].from[0].source.ipBlocks[1]: "a" is neither an IP address nor a CIDR block; use '
        "one such as 192.0.2.1, 2001:db8::1 or 192.0.2.0/24",
    ),
    "long prefix": (
        "rules: [{from: [{source: {notRemoteIpBlocks: [192.0.2.1/33]}}]}]",
        'spec.rules[0].from[0].source.notRemoteIpBlocks[0]: "192.0.2.1/33" is neither an IP address nor '
        "a CIDR block; use one such as 192.0.2.1, 2001:db8::1 or 192.0.2.0/24",
    ),
    "empty value": (
        "rules: [{from: [{source: {principals: ['']}}]}]",
        "spec.rules[0].from[0].source.principals[0]: empty; use a value, or remove it",
    ),
    "service account with a wildcard": (
        "rules: [{from: [{source: {serviceAccounts: ['a*']}}]}]",
        'spec.rules[0].from[0].source.serviceAccounts[0]: "a*" is no service account; use its name, or '
        "namespace/name, without *",
    ),
    "service account in a path": (
        "rules: [{from: [{source: {notServiceAccounts: [a/b/c]}}]}]",
        'spec.rules[0].from[0].source.notServiceAccounts[0]: "a/b/c" is no service account; use its '
        "name, or namespace/name, without *",
    ),
    "service accounts and namespaces": (
        "rules: [{from: [{source: {serviceAccounts: [a], notNamespaces: [b]}}]}]",
        "spec.rules[0].from[0].source.serviceAccounts: do not go with namespaces or principals; leave one of the two",
    ),
    "trust domain with a path": (
        "rules: [{from: [{source: {trustDomains: [a/b]}}]}]",
        'spec.rules[0].from[0].source.trustDomains[0]: "a/b" is no trust domain; use one such as '
        "cluster.local, without /",
    ),
    "trust domain with a wildcard inside": (
        "rules: [{from: [{source: {trustDomains: ['a*b']}}]}]",
        'spec.rules[0].from[0].source.trustDomains[0]: "a*b" has a * in its middle, or several; use one '
        "*, at the start or the end",
    ),
    "no port": (
        "rules: [{to: [{operation: {ports: [http]}}]}]",
        'spec.rules[0].to[0].operation.ports[0]: "http" is no port; use a number from 0 to 65535',
    ),
    "high port": (
        "rules: [{to: [{operation: {notPorts: ['65536']}}]}]",
        'spec.rules[0].to[0].operation.notPorts[0]: "65536" is no port; use a number from 0 to 65535',
    ),
    "negative port": (
        "rules: [{to: [{operation: {ports: ['-1']}}]}]",
        'spec.rules[0].to[0].operation.ports[0]: "-1" is no port; use a number from 0 to 65535',
    ),
    "templates after the last": (
        "rules: [{to: [{operation: {paths: ['/{**}/{*}']}}]}]",
        'spec.rules[0].to[0].operation.paths[0]: "/{**}/{*}" goes on with templates after {**}; let {**} be the last',
    ),
    "braces": (
        "rules: [{to: [{operation: {paths: ['/a{b}']}}]}]",
        'spec.rules[0].to[0].operation.paths[0]: "/a{b}" has braces that are no template; use {*} for '
        "one segment or {**} for any number",
    ),
    "wildcard beside templates": (
        "rules: [{to: [{operation: {paths: ['/{*}/b*']}}]}]",
        'spec.rules[0].to[0].operation.paths[0]: "b*" is no segment to go with templates; use the '
        "characters of a URL's path, without *",
    ),
    "attribute": (
        "rules: [{when: [{key: source.ipp, values: [a]}]}]",
        'spec.rules[0].when[0].key: "source.ipp" is no attribute of a request; did you mean source.ip?',
    ),
    "another attribute": (
        "rules: [{when: [{key: whatever, values: [a]}]}]",
        'spec.rules[0].when[0].key: "whatever" is no attribute of a request; use request.headers[name], '
        "connection.sni, destination.ip, destination.port, remote.ip, request.auth.audiences, "
        "request.auth.presenter, request.auth.principal, source.ip, source.namespace, source.principal, "
        "source.serviceAccount or source.trustDomain",
    ),
    "header without a name": (
        "rules: [{when: [{key: request.headers, values: [a]}]}]",
        'spec.rules[0].when[0].key: "request.headers" names nothing in brackets; write it as request.headers[name]',
    ),
    "claim without a name": (
        "rules: [{when: [{key: 'request.auth.claims[]', values: [a]}]}]",
        'spec.rules[0].when[0].key: "request.auth.claims[]" names nothing in brackets; write it as '
        "request.headers[name]",
    ),
    "no values": (
        "rules: [{when: [{key: source.ip}]}]",
        "spec.rules[0].when[0].values: required without notValues, but missing; add at least one",
    ),
    "values of an attribute": (
        "rules: [{when: [{key: source.ip, notValues: [a]}]}]",
        'spec.rules[0].when[0].notValues[0]: "a" is neither an IP address nor a CIDR block; use one '
        "such as 192.0.2.1, 2001:db8::1 or 192.0.2.0/24",
    ),
    "port of a condition": (
        "rules: [{when: [{key: destination.port, values: ['a']}]}]",
        'spec.rules[0].when[0].values[0]: "a" is no port; use a number from 0 to 65535',
    ),
    "empty value of a condition": (
        "rules: [{when: [{key: source.namespace, values: ['']}]}]",
        "spec.rules[0].when[0].values[0]: empty; use a value, or remove it",
    ),
    "target of another kind": (
        "targetRefs: [{kind: Pod, name: a}]",
        'spec.targetRefs[0].kind: "Pod" is no target of policies; use Gateway, GatewayClass, Service or ServiceEntry',
    ),
    "target of another group": (
        "targetRefs: [{kind: Gateway, group: networking.istio.io, name: a}]",
        'spec.targetRefs[0].group: "networking.istio.io" has no Gateway; use gateway.networking.k8s.io',
    ),
    "Service of a group": (
        "targetRefs: [{kind: Service, group: a, name: a}]",
        'spec.targetRefs[0].group: "a" has no Service; remove it',
    ),
    "target elsewhere": (
        "targetRefs: [{kind: Service, name: a, namespace: b}]",
        "spec.targetRefs[0].namespace: a policy is for objects of its own namespace alone; remove it, "
        "or put the policy into that namespace",
    ),
}

WARNED = {
    "denial of nothing": (
        "action: DENY",
        "spec.rules: none: nothing is denied; add a rule; {} denies everything",
    ),
}
"""What is served, and most likely not meant."""

UNSUPPORTED = {
    "filter's metadata": (
        "rules: [{when: [{key: 'experimental.envoy.filters.a[b]', values: [c]}]}]",
        'spec.rules[0].when[0].key: "experimental.envoy.filters.a[b]" is not supported yet: no filter '
        "gives it a value; use an attribute of the request",
    ),
    # MULTI action
    "selector": (
        "selector: {matchLabels: {a: b}}",
        "spec.selector: not supported yet: the policy is for what targetRefs names, and for nothing "
        "without them; remove it, or do without until it is supported",
    ),
    "old target": (
        "targetRef: {kind: Service, name: a}",
        "spec.targetRef: not supported yet: the policy is for what targetRefs names, and for nothing "
        "without them; remove it, or do without until it is supported",
    ),
}
"""What the API has and we do not act on."""


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_rule_is_told_in_whole(case: str) -> None:
    spec, message = BROKEN[case]
    assert told("AuthorizationPolicy", spec) == Told(errors=(message,))


@pytest.mark.parametrize("case", WARNED)
def test_a_warning_is_told_in_whole(case: str) -> None:
    spec, message = WARNED[case]
    assert told("AuthorizationPolicy", spec) == Told(warnings=(message,))


@pytest.mark.parametrize("case", UNSUPPORTED)
def test_what_is_not_supported_is_told_in_whole(case: str) -> None:
    spec, message = UNSUPPORTED[case]
    assert told("AuthorizationPolicy", spec) == Told(unsupported=(message,))


KEPT = (
    "{}",
    "rules: [{}]",
    "{action: AUDIT, targetRefs: [{kind: Service, name: a}, {kind: Service, group: core, name: a}]}",
    "targetRefs: [{kind: Gateway, group: gateway.networking.k8s.io, name: a}, "
    "{kind: GatewayClass, group: gateway.networking.k8s.io, name: a}, {kind: ServiceEntry, group: networking.istio.io, name: a}]",
    "rules: [{from: [{source: {ipBlocks: [192.0.2.1, 192.0.2.1/24, '2001:db8::/32', '::/0']}}]}]",
    "rules: [{from: [{source: {serviceAccounts: [a, b/c], trustDomains: ['*', 'a*', '*a', a]}}]}]",
    "rules: [{from: [{source: {notPrincipals: ['a*b']}}], to: [{operation: {ports: ['0', '65535', '080']}}]}]",
    "rules: [{to: [{operation: {paths: ['/*', '/a/{*}/b/{**}', '/a*b', '*'], methods: ['G*'], notHosts: ['*.a']}}]}]",
    "rules: [{when: [{key: 'request.headers[X-A]', values: [a]}, {key: destination.port, notValues: ['80']}]}]",
    "rules: [{when: [{key: 'request.auth.claims[a][b]', values: [a]}, {key: source.trustDomain, values: ['*']}]}]",
)


@pytest.mark.parametrize("spec", KEPT)
def test_what_keeps_the_rules_is_accepted_without_a_word(spec: str) -> None:
    assert told("AuthorizationPolicy", spec) == Told()


def test_another_action_is_told_with_its_provider() -> None:
    assert told("AuthorizationPolicy", "{action: CUSTOM, provider: {name: a}}").unsupported == (
        'spec.action: "CUSTOM" is not supported yet; use ALLOW, AUDIT or DENY',
        "spec.provider: not supported yet: nobody else is asked; remove it, or do without until it is supported",
    )
