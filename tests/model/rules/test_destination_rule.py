"""DestinationRule's rules: each broken once, with its whole message, and kept as closely as it can be."""

import pytest

from tests.model.rules.written import Told, told

BROKEN = {
    "no host": (
        "host: a_b",
        'spec.host: "a_b" is no host; use a DNS name, a Service\'s name, or a wildcard such as *.example.com',
    ),
    "export to none": (
        "{host: a, exportTo: ['~']}",
        'spec.exportTo[0]: "~" names no namespace; use a namespace\'s name, . for the own or * for all',
    ),
    "wildcard in a selector": (
        "{host: a, workloadSelector: {matchLabels: {'*': b}}}",
        'spec.workloadSelector.matchLabels["*"]: labels have no wildcards; name the label and its value in full',
    ),
    "policy of no port": (
        "{host: a, trafficPolicy: {portLevelSettings: [{tls: {}}]}}",
        "spec.trafficPolicy.portLevelSettings[0].port.number: required, but missing; add it: a port of "
        "the host, from 1 to 65535",
    ),
    "negative limit": (
        "{host: a, trafficPolicy: {connectionPool: {tcp: {maxConnections: -1}}}}",
        "spec.trafficPolicy.connectionPool.tcp.maxConnections: -1 is negative; use a whole number, or remove the field",
    ),
    "negative limit of requests": (
        "{host: a, trafficPolicy: {connectionPool: {http: {http2MaxRequests: -1}}}}",
        "spec.trafficPolicy.connectionPool.http.http2MaxRequests: -1 is negative; use a whole number, "
        "or remove the field",
    ),
    "two balancers": (
        "{host: a, trafficPolicy: {loadBalancer: {simple: RANDOM, consistentHash: {useSourceIp: true}}}}",
        "spec.trafficPolicy.loadBalancer.consistentHash: does not go with simple; remove one of the two",
    ),
    "two keys": (
        "{host: a, trafficPolicy: {loadBalancer: {consistentHash: {httpHeaderName: a, useSourceIp: false}}}}",
        "spec.trafficPolicy.loadBalancer.consistentHash.useSourceIp: does not go with httpHeaderName; "
        "leave one of the two",
    ),
    "key without a name": (
        "{host: a, trafficPolicy: {loadBalancer: {consistentHash: {httpHeaderName: ''}}}}",
        "spec.trafficPolicy.loadBalancer.consistentHash.httpHeaderName: empty; use the name, or remove the field",
    ),
    "cookie without a name": (
        "{host: a, trafficPolicy: {loadBalancer: {consistentHash: {httpCookie: {name: ''}}}}}",
        "spec.trafficPolicy.loadBalancer.consistentHash.httpCookie.name: empty; use the cookie's name",
    ),
    "ring and table": (
        "{host: a, trafficPolicy: {loadBalancer: {consistentHash: {useSourceIp: true, maglev: {}, ringHash: {}}}}}",
        "spec.trafficPolicy.loadBalancer.consistentHash.maglev: does not go with ringHash; remove one of the two",
    ),
    "size of a ring, twice": (
        "{host: a, trafficPolicy: {loadBalancer: {consistentHash: {useSourceIp: true, minimumRingSize: "
        "1, ringHash: {}}}}}",
        "spec.trafficPolicy.loadBalancer.consistentHash.minimumRingSize: does not go with maglev or "
        "ringHash; remove it; ringHash has a minimumRingSize of its own",
    ),
    "large ring": (
        "{host: a, trafficPolicy: {loadBalancer: {consistentHash: {useSourceIp: true, ringHash: "
        "{minimumRingSize: 8388609}}}}}",
        "spec.trafficPolicy.loadBalancer.consistentHash.ringHash.minimumRingSize: 8388609 is too large "
        "for Envoy; use at most 8388608",
    ),
    "large ring in the old way": (
        "{host: a, trafficPolicy: {loadBalancer: {consistentHash: {useSourceIp: true, minimumRingSize: 8388609}}}}",
        "spec.trafficPolicy.loadBalancer.consistentHash.minimumRingSize: 8388609 is too large for "
        "Envoy; use at most 8388608",
    ),
    "table of no prime": (
        "{host: a, trafficPolicy: {loadBalancer: {consistentHash: {useSourceIp: true, maglev: {tableSize: 65536}}}}}",
        "spec.trafficPolicy.loadBalancer.consistentHash.maglev.tableSize: 65536 is no prime number; use "
        "a prime number, such as 65537",
    ),
    "large table": (
        "{host: a, trafficPolicy: {loadBalancer: {consistentHash: {useSourceIp: true, maglev: {tableSize: 5000081}}}}}",
        "spec.trafficPolicy.loadBalancer.consistentHash.maglev.tableSize: 5000081 is too large for "
        "Envoy; use a prime number of at most 5000011",
    ),
    "shares and failover": (
        "{host: a, trafficPolicy: {loadBalancer: {localityLbSetting: {distribute: [{from: a, to: {a: "
        "100}}], failover: [{from: a, to: b}]}}}}",
        "spec.trafficPolicy.loadBalancer.localityLbSetting.failover: does not go with distribute; "
        "remove one of the two",
    ),
    "shares of less than all": (
        "{host: a, trafficPolicy: {loadBalancer: {localityLbSetting: {distribute: [{from: a, to: {a: 50, b: 49}}]}}}}",
        "spec.trafficPolicy.loadBalancer.localityLbSetting.distribute[0].to: the weights sum to 99; let "
        "them sum to 100",
    ),
    "share of nothing": (
        "{host: a, trafficPolicy: {loadBalancer: {localityLbSetting: {distribute: [{from: a, to: {a: 100, b: 0}}]}}}}",
        'spec.trafficPolicy.loadBalancer.localityLbSetting.distribute[0].to["b"]: 0 is out of range; '
        "use a whole number from 1 to 100",
    ),
    "failover to a zone": (
        "{host: a, trafficPolicy: {loadBalancer: {localityLbSetting: {failover: [{from: a, to: b/c}]}}}}",
        'spec.trafficPolicy.loadBalancer.localityLbSetting.failover[0].to: "b/c" is more than a region; '
        "use a region's name alone",
    ),
    "failover to itself": (
        "{host: a, trafficPolicy: {loadBalancer: {localityLbSetting: {failover: [{from: a, to: a}]}}}}",
        'spec.trafficPolicy.loadBalancer.localityLbSetting.failover[0].to: "a" is the region of from '
        "too; use another region",
    ),
    "no time": (
        "{host: a, trafficPolicy: {connectionPool: {tcp: {connectTimeout: 0s}}}}",
        'spec.trafficPolicy.connectionPool.tcp.connectTimeout: "0s" is less than a millisecond; use a '
        "time such as 1ms or 10s",
    ),
    "short time": (
        "{host: a, trafficPolicy: {outlierDetection: {interval: 999us}}}",
        'spec.trafficPolicy.outlierDetection.interval: "999us" is less than a millisecond; use a time '
        "such as 1ms or 10s",
    ),
    "long time": (
        "{host: a, trafficPolicy: {connectionPool: {http: {idleTimeout: 2562048h}}}}",
        'spec.trafficPolicy.connectionPool.http.idleTimeout: "2562048h" is too long; use a time of at most 2562047h',
    ),
    "negative time": (
        "{host: a, trafficPolicy: {outlierDetection: {interval: -1s}}}",
        'spec.trafficPolicy.outlierDetection.interval: "-1s" is not of this field\'s form; use numbers '
        "with a unit of h, m, s, ms, us or ns, such as 10s, 0.5s or 1h30m",
    ),
    "keepalive": (
        "{host: a, trafficPolicy: {connectionPool: {tcp: {tcpKeepalive: {time: '0'}}}}}",
        'spec.trafficPolicy.connectionPool.tcp.tcpKeepalive.time: "0" is less than a millisecond; use a '
        "time such as 1ms or 10s",
    ),
    "Secret and files": (
        "{host: a, trafficPolicy: {tls: {mode: SIMPLE, credentialName: a, caCertificates: /b}}}",
        "spec.trafficPolicy.tls.credentialName: does not go with caCertificates; leave it, and remove the files",
    ),
    "no certificate": (
        "{host: a, trafficPolicy: {tls: {mode: MUTUAL}}}",
        "spec.trafficPolicy.tls.credentialName: required with mode MUTUAL, but missing; add it: a "
        "Secret with certificate and key, in the Gateway's namespace",
    ),
    "not verified by something": (
        "{host: a, trafficPolicy: {tls: {mode: SIMPLE, insecureSkipVerify: true, subjectAltNames: [a]}}}",
        "spec.trafficPolicy.tls.subjectAltNames: does not go with insecureSkipVerify; remove one of the two",
    ),
    "not verified by a Secret": (
        "{host: a, trafficPolicy: {tls: {mode: SIMPLE, insecureSkipVerify: true, credentialName: a}}}",
        "spec.trafficPolicy.tls.credentialName: does not go with insecureSkipVerify; remove one of the two",
    ),
    "key for a path": (
        "{host: a, trafficPolicy: {tls: {mode: MUTUAL, clientCertificate: /a, privateKey: '-----BEGIN "
        "PRIVATE KEY-----'}}}",
        "spec.trafficPolicy.tls.privateKey: this is no path; put certificates and keys into a Secret, and name it",
    ),
}

WARNED = {
    "nothing to hash": (
        "{host: a, trafficPolicy: {loadBalancer: {consistentHash: {maglev: {}}}}}",
        "spec.trafficPolicy.loadBalancer.consistentHash: nothing to hash: endpoints are chosen at "
        "random; add httpHeaderName, httpCookie, useSourceIp or httpQueryParameterName",
    ),
    "address that is not to be hashed": (
        "{host: a, trafficPolicy: {loadBalancer: {consistentHash: {useSourceIp: false}}}}",
        "spec.trafficPolicy.loadBalancer.consistentHash: nothing to hash: endpoints are chosen at "
        "random; add httpHeaderName, httpCookie, useSourceIp or httpQueryParameterName",
    ),
    "header that no request has": (
        "{host: a, trafficPolicy: {loadBalancer: {consistentHash: {httpHeaderName: 'a b'}}}}",
        'spec.trafficPolicy.loadBalancer.consistentHash.httpHeaderName: "a b" is no header\'s name: nothing '
        "is hashed by it, and endpoints are chosen at random; use letters, digits and '-'",
    ),
    "header that no request has, at a port": (
        "{host: a, trafficPolicy: {portLevelSettings: [{port: {number: 80}, loadBalancer: {consistentHash: "
        "{httpHeaderName: 'a:'}}}]}}",
        'spec.trafficPolicy.portLevelSettings[0].loadBalancer.consistentHash.httpHeaderName: "a:" is no header\'s '
        "name: nothing is hashed by it, and endpoints are chosen at random; use letters, digits and '-'",
    ),
    "cookie that no request has": (
        "{host: a, trafficPolicy: {loadBalancer: {consistentHash: {httpCookie: {name: a=b, ttl: 0s}}}}}",
        'spec.trafficPolicy.loadBalancer.consistentHash.httpCookie.name: "a=b" is no cookie\'s name: nothing is '
        "hashed by it, and endpoints are chosen at random; use letters, digits, '-' and '_'",
    ),
    "path that no cookie has": (
        "{host: a, trafficPolicy: {loadBalancer: {consistentHash: {httpCookie: {name: a, path: /;b}}}}}",
        'spec.trafficPolicy.loadBalancer.consistentHash.httpCookie.path: "/;b" is no cookie\'s path: nothing is '
        "hashed by it, and endpoints are chosen at random; use printable ASCII without ';'",
    ),
    "ring that takes seconds": (
        "{host: a, trafficPolicy: {loadBalancer: {consistentHash: {useSourceIp: true, ringHash: "
        "{minimumRingSize: 1048577}}}}}",
        "spec.trafficPolicy.loadBalancer.consistentHash.ringHash.minimumRingSize: with 1048577 entries Envoy "
        "stalls for seconds, in hundreds of megabytes, whenever endpoints change; use at most 1048576",
    ),
    "ring that takes seconds, in its old spelling": (
        "{host: a, trafficPolicy: {loadBalancer: {consistentHash: {useSourceIp: true, minimumRingSize: 8388608}}}}",
        "spec.trafficPolicy.loadBalancer.consistentHash.minimumRingSize: with 8388608 entries Envoy stalls "
        "for seconds, in hundreds of megabytes, whenever endpoints change; use at most 1048576",
    ),
    "name that is too long to be asked for": (
        f"{{host: a, trafficPolicy: {{tls: {{mode: SIMPLE, sni: {'é' * 128}}}}}}}",
        "spec.trafficPolicy.tls.sni: 256 octets, which TLS cannot send: the host is asked for instead; use at most 255",
    ),
    "name of a line": (
        '{host: a, trafficPolicy: {tls: {mode: SIMPLE, sni: "a\\nb"}}}',
        'spec.trafficPolicy.tls.sni: "a\\nb" is no name that TLS could ask for: the host is asked for instead; '
        "use a DNS name",
    ),
    "name that no certificate has": (
        '{host: a, trafficPolicy: {tls: {mode: SIMPLE, subjectAltNames: [a, "a\\nb"]}}}',
        'spec.trafficPolicy.tls.subjectAltNames[1]: "a\\nb" is in no certificate: it does not count; use a name '
        "that the certificate has",
    ),
    "Secret with a namespace": (
        "{host: a, trafficPolicy: {tls: {mode: SIMPLE, credentialName: b/a}}}",
        'spec.trafficPolicy.tls.credentialName: "b/a" is no Secret\'s name, so none is found: requests get 503; '
        "use its name alone: it is read from the Gateway's namespace",
    ),
    "two policies of a port": (
        "{host: a, trafficPolicy: {portLevelSettings: [{port: {number: 80}}, {port: {number: 80}}]}}",
        "spec.trafficPolicy.portLevelSettings[1]: has no effect: portLevelSettings[0] is for the same "
        "port; remove one of the two",
    ),
    "local errors among the others": (
        "{host: a, trafficPolicy: {outlierDetection: {consecutiveLocalOriginFailures: 5}}}",
        "spec.trafficPolicy.outlierDetection.consecutiveLocalOriginFailures: has no effect without "
        "splitExternalLocalOriginErrors; set splitExternalLocalOriginErrors to true",
    ),
    "selected and exported": (
        "{host: a, workloadSelector: {matchLabels: {a: b}}, exportTo: ['*', demo, .]}",
        "spec.exportTo[0]: has no effect: with workloadSelector a rule is for its own namespace; remove "
        "it, or remove workloadSelector",
    ),
}
"""What is served, and most likely not meant."""

UNSUPPORTED = {
    "credential of another kind": (
        "{host: a, trafficPolicy: {tls: {mode: SIMPLE, credentialName: 'configmap://a'}}}",
        'spec.trafficPolicy.tls.credentialName: "configmap://a" is not supported yet: only Secrets are '
        "read; use the name of a Secret in the Gateway's namespace",
    ),
    "mode of the mesh": (
        "{host: a, trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}}",
        'spec.trafficPolicy.tls.mode: "ISTIO_MUTUAL" is not supported yet: requests get 503, and nothing '
        "is sent in plain text; use MUTUAL with a credentialName, or DISABLE for plain text",
    ),
    "mode of the mesh for a port": (
        "{host: a, trafficPolicy: {portLevelSettings: [{port: {number: 80}, tls: {mode: ISTIO_MUTUAL}}]}}",
        'spec.trafficPolicy.portLevelSettings[0].tls.mode: "ISTIO_MUTUAL" is not supported yet: requests get '
        "503, and nothing is sent in plain text; use MUTUAL with a credentialName, or DISABLE for plain text",
    ),
    "no choice": (
        "{host: a, trafficPolicy: {loadBalancer: {simple: PASSTHROUGH}}}",
        'spec.trafficPolicy.loadBalancer.simple: "PASSTHROUGH" is not supported yet: the default balancing is '
        "used, endpoints take turns; remove it, or use LEAST_REQUEST, RANDOM or ROUND_ROBIN",
    ),
    "files": (
        "{host: a, trafficPolicy: {tls: {mode: SIMPLE, caCertificates: /a}}}",
        "spec.trafficPolicy.tls.caCertificates: not supported yet: no file is read; a Secret that "
        "credentialName names can hold it; remove it, or do without until it is supported",
    ),
    "subsets": (
        "{host: a, subsets: [{name: v1}]}",
        "spec.subsets: not supported yet: no route can name a subset; remove it, or do without until it is supported",
    ),
    "warmup for a port": (
        "{host: a, trafficPolicy: {portLevelSettings: [{port: {number: 80}, loadBalancer: {warmup: "
        "{duration: 10s}}}]}}",
        "spec.trafficPolicy.portLevelSettings[0].loadBalancer.warmup: not supported yet: new endpoints "
        "get their whole share at once; remove it, or do without until it is supported",
    ),
}
"""What the API has and we do not act on."""


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_rule_is_told_in_whole(case: str) -> None:
    spec, message = BROKEN[case]
    assert told("DestinationRule", spec) == Told(errors=(message,))


@pytest.mark.parametrize("case", WARNED)
def test_a_warning_is_told_in_whole(case: str) -> None:
    spec, message = WARNED[case]
    assert told("DestinationRule", spec) == Told(warnings=(message,))


@pytest.mark.parametrize("case", UNSUPPORTED)
def test_what_is_not_supported_is_told_in_whole(case: str) -> None:
    spec, message = UNSUPPORTED[case]
    assert told("DestinationRule", spec) == Told(unsupported=(message,))


TRAFFIC = "{host: a, trafficPolicy: {%s}}"
BALANCER = TRAFFIC % "loadBalancer: {%s}"
KEPT = (
    "host: a",
    "host: '*'",
    "host: '*.example.com'",
    "{host: a.demo.svc.cluster.local, exportTo: [., '*', demo]}",
    "{host: a, workloadSelector: {matchLabels: {a: b}}, exportTo: [demo, .]}",
    TRAFFIC % "",
    TRAFFIC % "connectionPool: {tcp: {idleTimeout: 0s, connectTimeout: 1ms, maxConnections: 0}, http: {}}",
    TRAFFIC % "connectionPool: {http: {idleTimeout: 2562047h, h2UpgradePolicy: UPGRADE}}",
    TRAFFIC % "portLevelSettings: [{port: {number: 80}}, {port: {number: 81}, tls: {mode: SIMPLE}}]",
    BALANCER % "simple: LEAST_CONN",
    BALANCER % "simple: UNSPECIFIED",
    BALANCER % "consistentHash: {httpHeaderName: a, maglev: {tableSize: 5000011}}",
    BALANCER % "consistentHash: {httpCookie: {name: a, ttl: 0s}, ringHash: {minimumRingSize: 1048576}}",
    BALANCER % "consistentHash: {httpQueryParameterName: a, maglev: {}}",
    BALANCER % "consistentHash: {useSourceIp: true, minimumRingSize: 1048576}",
    BALANCER % "localityLbSetting: {distribute: [{from: r/*, to: {r//b: 1, '*': 99}}], failoverPriority: [a, b=c=d]}",
    BALANCER % "localityLbSetting: {enabled: null, failover: [{from: a, to: b}], failoverPriority: [a]}",
    TRAFFIC % "outlierDetection: {splitExternalLocalOriginErrors: true, consecutiveLocalOriginFailures: 5}",
    TRAFFIC % "tls: {mode: MUTUAL, credentialName: a, insecureSkipVerify: true}",
    BALANCER % "consistentHash: {httpHeaderName: ':authority'}",
    BALANCER % "consistentHash: {httpCookie: {name: a, path: '/b c'}}",
    TRAFFIC % f"tls: {{mode: SIMPLE, sni: {'a' * 255}}}",
    TRAFFIC % f"tls: {{sni: {'a' * 256}, credentialName: b/a}}",
    TRAFFIC % "tls: {mode: SIMPLE, insecureSkipVerify: true}",
    TRAFFIC % "tls: {credentialName: a, insecureSkipVerify: true, subjectAltNames: [b]}",
)


@pytest.mark.parametrize("spec", KEPT)
def test_what_keeps_the_rules_is_accepted_without_a_word(spec: str) -> None:
    assert told("DestinationRule", spec) == Told()
