"""Unknown fields and fields that are known and not supported: what is told of each, and what is not."""

import pytest
import yaml

from controlplane.model.decode import Decoded, decode_object
from controlplane.model.known_fields import survey


def decode(text: str) -> Decoded:
    outcome = decode_object(yaml.safe_load(text))
    assert isinstance(outcome, Decoded), outcome
    return outcome


ROUTE = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web}
spec: %s
"""
GATEWAY = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: gw}
spec:
  gatewayClassName: controlplane
  listeners: [%s]
"""
HTTP = "{name: http, port: 80, protocol: HTTP}"
REMEDY = "remove it, or do without until it is supported"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            ROUTE % "{rules: [{backendRef: []}]}",
            "spec.rules[0].backendRef: unknown field, ignored; did you mean backendRefs?",
        ),
        (
            ROUTE % "{rules: [{}, {matches: [{path: {typ: Exact}}]}]}",
            "spec.rules[1].matches[0].path.typ: unknown field, ignored; did you mean type?",
        ),
        (
            ROUTE % "{hostname: a.example.com}",
            "spec.hostname: unknown field, ignored; did you mean hostnames?",
        ),
        (
            ROUTE % "{rules: [{Timeouts: {}}]}",
            "spec.rules[0].Timeouts: unknown field, ignored; did you mean timeouts?",
        ),
        (
            ROUTE % "{rules: [{timeouts: {idle: 1s}}]}",
            "spec.rules[0].timeouts.idle: unknown field, ignored; remove it, or use backendRequest or request",
        ),
        (
            ROUTE.replace("name: web", "name: web, lables: {}") % "{}",
            "metadata.lables: unknown field, ignored; did you mean labels?",
        ),
        (
            "{apiVersion: v1, kind: Namespace, metadata: {name: a, whatever: 1}}",
            "metadata.whatever: unknown field, ignored; remove it",
        ),
        (
            "{apiVersion: v1, kind: Namespace, metadata: {name: a}, sepc: {}}",
            "sepc: unknown field, ignored; did you mean spec?",
        ),
        (
            "{apiVersion: v1, kind: Service, metadata: {name: a}, spec: {ports: [{port: 1, targetport: 2}]}}",
            "spec.ports[0].targetport: unknown field, ignored; did you mean targetPort?",
        ),
    ],
)
def test_an_unknown_field_is_told(text: str, message: str) -> None:
    outcome = decode(text)
    assert [str(warning) for warning in outcome.warnings] == [message]
    assert outcome.unsupported == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            ROUTE % "{rules: [{retry: {attempts: 3}}]}",
            f"spec.rules[0].retry: not supported yet: failed requests are not tried again; {REMEDY}",
        ),
        (
            ROUTE % "{rules: [{sessionPersistence: {type: Cookie}}]}",
            "spec.rules[0].sessionPersistence: not supported yet: "
            f"requests of one session go to any endpoint; {REMEDY}",
        ),
        (
            ROUTE % "{useDefaultGateways: All}",
            f"spec.useDefaultGateways: not supported yet: the route attaches to its parentRefs alone; {REMEDY}",
        ),
        (
            ROUTE % "{rules: [{filters: [{type: CORS, cors: {allowOrigins: ['*']}}]}]}",
            'spec.rules[0].filters[0].type: "CORS" is not supported yet; '
            "use RequestHeaderModifier, RequestMirror, RequestRedirect, ResponseHeaderModifier or URLRewrite",
        ),
        (
            ROUTE % "{rules: [{filters: [{type: ExternalAuth, externalAuth: {protocol: GRPC}}]}]}",
            'spec.rules[0].filters[0].type: "ExternalAuth" is not supported yet; '
            "use RequestHeaderModifier, RequestMirror, RequestRedirect, ResponseHeaderModifier or URLRewrite",
        ),
        (
            ROUTE
            % """{rules: [{backendRefs: [{name: a, port: 1, filters: [
                   {type: ExtensionRef, extensionRef: {group: example.com, kind: A, name: b}}]}]}]}""",
            'spec.rules[0].backendRefs[0].filters[0].type: "ExtensionRef" is not supported yet; '
            "use RequestHeaderModifier, RequestMirror, RequestRedirect, ResponseHeaderModifier or URLRewrite",
        ),
        (
            GATEWAY % "{name: tcp, port: 80, protocol: TCP}",
            'spec.listeners[0].protocol: "TCP" is not supported yet; use HBONE, HTTP, HTTPS or istio.io/PROXY',
        ),
        (
            GATEWAY % "{name: tls, port: 443, protocol: example.com/own}",
            'spec.listeners[0].protocol: "example.com/own" is not supported yet; use HBONE, HTTP, HTTPS or istio.io/PROXY',
        ),
        (
            GATEWAY
            % "{name: https, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: a}], options: {a.b/c: d}}}",
            f"spec.listeners[0].tls.options: not supported yet: TLS keeps its default options; {REMEDY}",
        ),
        (
            GATEWAY % HTTP + "  tls: {frontend: {default: {}}}",
            f"spec.tls.frontend: not supported yet: clients' certificates are not validated; {REMEDY}",
        ),
        (
            GATEWAY % HTTP + "  tls: {backend: {clientCertificateRef: {name: a}}}",
            f"spec.tls.backend: not supported yet: backends are shown no client certificate; {REMEDY}",
        ),
        (
            GATEWAY % HTTP + "  addresses: [{type: Hostname, value: a.example.com}]",
            'spec.addresses[0].type: "Hostname" is not supported yet; use IPAddress',
        ),
        (
            GATEWAY % HTTP + "  infrastructure: {labels: {a: b}}",
            f"spec.infrastructure: not supported yet: what runs the Gateway gets none of it; {REMEDY}",
        ),
        (
            "{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: a}, addressType: FQDN}",
            'addressType: "FQDN" is not supported yet; use IPv4 or IPv6',
        ),
        (
            "{apiVersion: v1, kind: Service, metadata: {name: a}, spec: {type: ExternalName, externalName: b.example.com}}",
            'spec.type: "ExternalName" is not supported yet; use ClusterIP, LoadBalancer or NodePort',
        ),
    ],
)
def test_a_field_that_is_not_supported_is_told(text: str, message: str) -> None:
    outcome = decode(text)
    assert [str(problem) for problem in outcome.unsupported] == [message]
    assert outcome.warnings == ()


@pytest.mark.parametrize(
    "text",
    [
        GATEWAY % HTTP + "  infrastructure: {}\n  allowedListeners:\n  addresses: [{type: null, value: 192.0.2.1}]",
        ROUTE % "{rules: [{retry: null, filters: null, backendRefs: null}]}",
    ],
)
def test_what_is_empty_asks_for_nothing(text: str) -> None:
    outcome = decode(text)
    assert (outcome.warnings, outcome.unsupported) == ((), ())


def test_what_others_read_is_dropped_without_a_word() -> None:
    outcome = decode(
        """
        apiVersion: v1
        kind: Service
        metadata:
          {name: a, uid: b, resourceVersion: "1", ownerReferences: [], finalizers: [c], generateName: d, selfLink: e,
           deletionTimestamp: "2024-05-31T12:00:00Z", deletionGracePeriodSeconds: 1, managedFields: []}
        spec:
          {ports: [{port: 80, nodePort: 30080}], sessionAffinity: None, externalTrafficPolicy: Cluster,
           internalTrafficPolicy: Cluster, ipFamilyPolicy: SingleStack, allocateLoadBalancerNodePorts: true}
        status: {loadBalancer: {}}"""
    )
    assert (outcome.warnings, outcome.unsupported) == ((), ())
    slice_ = decode(
        """
        apiVersion: discovery.k8s.io/v1
        kind: EndpointSlice
        metadata: {name: a}
        addressType: IPv4
        endpoints:
        - addresses: [192.0.2.1]
          hints: {forZones: [{name: b}]}
          targetRef: {kind: Pod, name: c, namespace: default, uid: d}"""
    )
    assert (slice_.warnings, slice_.unsupported) == ((), ())


def test_warnings_do_not_keep_an_object_from_being_served() -> None:
    outcome = decode(ROUTE % "{hostnames: [a.example.com], colour: red}")
    assert outcome.object == decode(ROUTE % "{hostnames: [a.example.com]}").object


def test_all_are_told_in_the_documents_order() -> None:
    outcome = decode(ROUTE % "{b: 1, rules: [{a: 1, retry: {attempts: 1}}, {c: 1, retry: {attempts: 1}}]}")
    assert [problem.path for problem in outcome.warnings] == ["spec.b", "spec.rules[0].a", "spec.rules[1].c"]
    assert [problem.path for problem in outcome.unsupported] == ["spec.rules[0].retry", "spec.rules[1].retry"]


def test_documents_of_tuples_are_surveyed_too() -> None:
    """The quick look knows dicts and lists alone; whatever else there is, is looked at closely."""
    raw = {"kind": "HTTPRoute", "spec": {"rules": ({"a": 1}, {"matches": ({},)})}}
    unknown, _ = survey(raw, "HTTPRoute")
    assert [problem.path for problem in unknown] == ["spec.rules[0].a"]
