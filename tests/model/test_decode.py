"""Manifests that are wrong, each with the whole message that a person reads; and the way of those that are right."""

import copy
from typing import Any

import msgspec
import pytest
import yaml

from controlplane.model.decode import Decoded, Ignored, Outcome, Rejected, decode_object, in_its_own_words
from controlplane.model.gateway import Gateway, GatewayClass
from controlplane.model.http_route import HTTPRoute
from controlplane.model.kubernetes import EndpointSlice, Namespace, Service
from controlplane.model.objects import KINDS, KubernetesObject
from controlplane.model.references import FieldProblem, ObjectReference


def decode(text: str) -> Outcome:
    return decode_object(yaml.safe_load(text))


def accept(text: str) -> KubernetesObject:
    outcome = decode(text)
    assert isinstance(outcome, Decoded), outcome
    assert outcome.warnings == ()
    assert outcome.unsupported == ()
    return outcome.object


ROUTE = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web, namespace: demo}
spec: %s
"""
GATEWAY = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: gw, namespace: demo}
spec: %s
"""
SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: api, namespace: demo}
spec: %s
"""
SLICE = """
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: api-1, namespace: demo}
%s
"""

BAD = {
    "enum with a near miss": (
        ROUTE % "{rules: [{matches: [{path: {type: Prefix, value: /}}]}]}",
        'HTTPRoute demo/web: spec.rules[0].matches[0].path.type: "Prefix" is not a value of this field; '
        "use Exact, PathPrefix or RegularExpression (did you mean PathPrefix?)",
    ),
    "enum without one": (
        ROUTE % "{rules: [{matches: [{method: FETCH}]}]}",
        'HTTPRoute demo/web: spec.rules[0].matches[0].method: "FETCH" is not a value of this field; '
        "use CONNECT, DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT or TRACE",
    ),
    "enum of numbers": (
        ROUTE % "{rules: [{filters: [{type: RequestRedirect, requestRedirect: {statusCode: 418}}]}]}",
        "HTTPRoute demo/web: spec.rules[0].filters[0].requestRedirect.statusCode: 418 is not a value of this field; "
        "use 301, 302, 303, 307 or 308",
    ),
    "enum of another type": (
        ROUTE % '{rules: [{filters: [{type: RequestRedirect, requestRedirect: {statusCode: "301"}}]}]}',
        'HTTPRoute demo/web: spec.rules[0].filters[0].requestRedirect.statusCode: "301" is text, where a number belongs; '
        "use 301, 302, 303, 307 or 308",
    ),
    "range": (
        ROUTE % "{rules: [{backendRefs: [{name: api, port: 70000}]}]}",
        "HTTPRoute demo/web: spec.rules[0].backendRefs[0].port: 70000 is out of range; "
        "use a whole number from 1 to 65535",
    ),
    "text for a number": (
        ROUTE % "{rules: [{backendRefs: [{name: api, port: http}]}]}",
        'HTTPRoute demo/web: spec.rules[0].backendRefs[0].port: "http" is text, where a whole number belongs; '
        "use a whole number from 1 to 65535",
    ),
    "fraction for a number": (
        ROUTE % "{rules: [{backendRefs: [{name: api, port: 80, weight: 0.5}]}]}",
        "HTTPRoute demo/web: spec.rules[0].backendRefs[0].weight: 0.5 is a number with a fraction, "
        "where a whole number belongs; use a whole number from 0 to 1000000",
    ),
    "boolean for a number": (
        ROUTE % "{rules: [{backendRefs: [{name: api, port: true}]}]}",
        "HTTPRoute demo/web: spec.rules[0].backendRefs[0].port: true is a boolean, where a whole number belongs; "
        "use a whole number from 1 to 65535",
    ),
    "number for text": (
        ROUTE % "{rules: [{matches: [{headers: [{name: version, value: 2}]}]}]}",
        "HTTPRoute demo/web: spec.rules[0].matches[0].headers[0].value: 2 is a number, where text belongs; "
        'put it in quotes: "2"',
    ),
    "boolean for text": (
        GATEWAY % "{gatewayClassName: on, listeners: [{name: http, port: 80, protocol: HTTP}]}",
        'Gateway demo/gw: spec.gatewayClassName: true is a boolean, where text belongs; put it in quotes: "true"',
    ),
    "list for text": (
        GATEWAY % "{gatewayClassName: [a], listeners: [{name: http, port: 80, protocol: HTTP}]}",
        "Gateway demo/gw: spec.gatewayClassName: a list, where text belongs; use text",
    ),
    "text for a list": (
        ROUTE % "{hostnames: www.example.com}",
        'HTTPRoute demo/web: spec.hostnames: "www.example.com" is text, where a list belongs; use a list',
    ),
    "object for a list": (
        ROUTE % "{parentRefs: {name: gw}}",
        "HTTPRoute demo/web: spec.parentRefs: an object, where a list belongs; use a list",
    ),
    "list for an object": (
        ROUTE % "{rules: [{timeouts: [10s]}]}",
        "HTTPRoute demo/web: spec.rules[0].timeouts: a list, where an object belongs; "
        "use an object with backendRequest or request",
    ),
    "null in a list": (
        ROUTE % "{parentRefs: [null]}",
        "HTTPRoute demo/web: spec.parentRefs[0]: nothing, where an object belongs; "
        "use an object with group, kind, name, namespace, port or sectionName",
    ),
    "text for a boolean": (
        SERVICE % "{ports: [{port: 80}], publishNotReadyAddresses: 'yes'}",
        'Service demo/api: spec.publishNotReadyAddresses: "yes" is text, where true or false belongs; '
        "use true or false",
    ),
    "neither number nor text": (
        SERVICE % "{ports: [{port: 80, targetPort: 1.5}]}",
        "Service demo/api: spec.ports[0].targetPort: 1.5 is a number with a fraction, "
        "where a whole number from 1 to 65535 or text of 1 to 15 characters belongs; "
        "use a whole number from 1 to 65535 or text of 1 to 15 characters",
    ),
    "pattern": (
        ROUTE % "{hostnames: ['WWW.example.com:8080']}",
        'HTTPRoute demo/web: spec.hostnames[0]: "WWW.example.com:8080" is not of this field\'s form; '
        "use a lower-case DNS name such as www.example.com, at most one leading '*.', no port and no IP brackets",
    ),
    "pattern with a line's end": (
        ROUTE % '{hostnames: ["www.example.com\\n"]}',
        'HTTPRoute demo/web: spec.hostnames[0]: "www.example.com\\n" is not of this field\'s form; '
        "use a lower-case DNS name such as www.example.com, at most one leading '*.', no port and no IP brackets",
    ),
    "duration": (
        ROUTE % "{rules: [{timeouts: {request: 1.5s}}]}",
        'HTTPRoute demo/web: spec.rules[0].timeouts.request: "1.5s" is not of this field\'s form; '
        "use one to four numbers with a unit of h, m, s or ms, such as 10s, 500ms or 1h30m, without fractions",
    ),
    "header name": (
        ROUTE % "{rules: [{matches: [{headers: [{name: 'X Y', value: a}]}]}]}",
        'HTTPRoute demo/web: spec.rules[0].matches[0].headers[0].name: "X Y" is not of this field\'s form; '
        "use a header name of RFC 7230: letters, digits and !#$%&'*+-.^_`|~, without ':' or blanks",
    ),
    "empty text": (
        ROUTE % "{parentRefs: [{name: ''}]}",
        "HTTPRoute demo/web: spec.parentRefs[0].name: empty; use text of 1 to 253 characters",
    ),
    "long text": (
        ROUTE % f"{{rules: [{{matches: [{{path: {{value: /{'a' * 2000}}}}}]}}]}}",
        f'HTTPRoute demo/web: spec.rules[0].matches[0].path.value: "/{"a" * 56}..." has 2001 characters; '
        "use at most 1024",
    ),
    "empty list": (
        GATEWAY % "{gatewayClassName: controlplane, listeners: []}",
        "Gateway demo/gw: spec.listeners: the list is empty; give at least one item",
    ),
    "long list": (
        ROUTE % f"{{hostnames: [{', '.join(f'h{number}.example.com' for number in range(17))}]}}",
        "HTTPRoute demo/web: spec.hostnames: the list has 17 items; use at most 16",
    ),
    "long map": (
        GATEWAY
        % f"""
          gatewayClassName: controlplane
          listeners: [{{name: http, port: 80, protocol: HTTP}}]
          infrastructure: {{labels: {{{", ".join(f"l{number}: a" for number in range(9))}}}}}""",
        "Gateway demo/gw: spec.infrastructure.labels: the map has 9 entries; use at most 8",
    ),
    "value of a map": (
        """
        apiVersion: v1
        kind: Namespace
        metadata: {name: demo, labels: {team: a, version: 2}}""",
        'Namespace demo: metadata.labels["version"]: 2 is a number, where text belongs; put it in quotes: "2"',
    ),
    "name in a map": (
        """
        apiVersion: v1
        kind: Namespace
        metadata: {name: demo, labels: {on: yes please}}""",
        'Namespace demo: metadata.labels: true is a boolean, where a name belongs; put it in quotes: "true"',
    ),
    "name of a field that is none of Unicode's": (
        ROUTE % '{"\\ud800": a}',
        'HTTPRoute demo/web: spec: "\\ud800" is no field\'s name; put it in quotes or remove it',
    ),
    "name of a field": (
        ROUTE % "{1: a}",
        "HTTPRoute demo/web: spec: 1 is no field's name; put it in quotes or remove it",
    ),
    "missing field": (
        GATEWAY % "{gatewayClassName: controlplane, listeners: [{name: http, protocol: HTTP}]}",
        "Gateway demo/gw: spec.listeners[0].port: required, but missing; add it: a whole number from 1 to 65535",
    ),
    "missing field with a near miss": (
        GATEWAY % "{gatewayClass: controlplane, listeners: [{name: http, port: 80, protocol: HTTP}]}",
        "Gateway demo/gw: spec.gatewayClassName: required, but missing; "
        'add it: text of 1 to 253 characters (is "gatewayClass" meant to be it?)',
    ),
    "missing specification": (
        "{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {name: web}}",
        "HTTPRoute default/web: spec: required, but missing; add it: an object with hostnames, parentRefs or rules",
    ),
    "missing enum": (
        SLICE % "endpoints: []",
        "EndpointSlice demo/api-1: addressType: required, but missing; add it: FQDN, IPv4 or IPv6",
    ),
    "missing name": (
        "{apiVersion: v1, kind: Service, metadata: {namespace: demo}, spec: {ports: [{port: 80}]}}",
        "Service without a name: metadata.name: required, but missing; add it: the object's name",
    ),
    "missing metadata": (
        "{apiVersion: v1, kind: Service, spec: {ports: [{port: 80}]}}",
        "Service without a name: metadata: required, but missing; add it: an object with name",
    ),
    "metadata of another type": (
        "{apiVersion: v1, kind: Service, metadata: api, spec: {ports: [{port: 80}]}}",
        'Service without a name: metadata: "api" is text, where an object belongs; '
        "use an object with annotations, creationTimestamp, generation, labels, name or namespace",
    ),
    "name": (
        "{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {name: My_Route}, spec: {}}",
        'HTTPRoute default/My_Route: metadata.name: "My_Route" is not of this field\'s form; '
        "use lower-case letters, digits, '-' and '.', with a letter or digit at both ends of each part",
    ),
    "name with a dot": (
        "{apiVersion: v1, kind: Service, metadata: {name: api.v1}, spec: {ports: [{port: 80}]}}",
        'Service default/api.v1: metadata.name: "api.v1" is not of this field\'s form; '
        "use lower-case letters, digits and '-', with a letter or digit first and last",
    ),
    "name that YAML reads as a number": (
        "{apiVersion: v1, kind: Service, metadata: {name: 123}, spec: {ports: [{port: 80}]}}",
        'Service default/123: metadata.name: 123 is a number, where text belongs; put it in quotes: "123"',
    ),
    "namespace": (
        "{apiVersion: v1, kind: Service, metadata: {name: api, namespace: a.b}, spec: {ports: [{port: 80}]}}",
        'Service a.b/api: metadata.namespace: "a.b" is not of this field\'s form; '
        "use lower-case letters, digits and '-', with a letter or digit first and last",
    ),
    "date": (
        "{apiVersion: v1, kind: Namespace, metadata: {name: demo, labels: {since: 2024-05-31}}}",
        'Namespace demo: metadata.labels["since"]: 2024-05-31 is a date, where text belongs; '
        'put it in quotes: "2024-05-31"',
    ),
    "time": (
        "{apiVersion: v1, kind: Namespace, metadata: {name: demo, creationTimestamp: yesterday}}",
        'Namespace demo: metadata.creationTimestamp: "yesterday" is not of this field\'s form; '
        "use a time in UTC such as 2024-05-31T12:00:00Z",
    ),
    "version": (
        "{apiVersion: gateway.networking.k8s.io/v1alpha2, kind: HTTPRoute, metadata: {name: web}, spec: {}}",
        'HTTPRoute default/web: apiVersion: "gateway.networking.k8s.io/v1alpha2" is not accepted for kind HTTPRoute; '
        "use gateway.networking.k8s.io/v1 or gateway.networking.k8s.io/v1beta1",
    ),
    "group with a slip": (
        "{apiVersion: networking.k8s.io/v1, kind: Gateway, metadata: {name: gw}, spec: {}}",
        'Gateway default/gw: apiVersion: "networking.k8s.io/v1" is not accepted for kind Gateway; '
        "use gateway.networking.k8s.io/v1 or gateway.networking.k8s.io/v1beta1",
    ),
    "missing version": (
        "{kind: Service, metadata: {name: api}, spec: {ports: [{port: 80}]}}",
        "Service default/api: apiVersion: required, but missing; add it: v1",
    ),
    "version of another type": (
        "{apiVersion: 1, kind: Service, metadata: {name: api}, spec: {ports: [{port: 80}]}}",
        'Service default/api: apiVersion: 1 is a number, where text belongs; put it in quotes: "1"',
    ),
    "missing kind": (
        "{apiVersion: v1, metadata: {name: api}}",
        "a document without a kind: kind: required, but missing; add it, such as AuthorizationPolicy, "
        "DestinationRule, EndpointSlice, Gateway, GatewayClass, HTTPRoute, Namespace, Node, Pod, ReferenceGrant, Secret, "
        "Service, ServiceEntry or WorkloadEntry",
    ),
    "kind of another type": (
        "{apiVersion: v1, kind: [Service], metadata: {name: api}}",
        "a document without a kind: kind: a list, where text belongs; use text",
    ),
    "kind in another case": (
        "{apiVersion: gateway.networking.k8s.io/v1, kind: HttpRoute, metadata: {name: web}}",
        'HTTPRoute default/web: kind: "HttpRoute" is no kind of gateway.networking.k8s.io; use HTTPRoute',
    ),
    "kind in the plural": (
        "{apiVersion: v1, kind: Services, metadata: {name: web}}",
        'Service default/web: kind: "Services" is no kind of the core group; use Service',
    ),
    "half a surrogate pair": (
        ROUTE % '{rules: [{matches: [{headers: [{name: a, value: "x\\ud800"}]}]}]}',
        'HTTPRoute demo/web: spec.rules[0].matches[0].headers[0].value: "x\\ud800" has half a surrogate pair in it; '
        "use characters that Unicode has",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_manifest_is_told_in_whole(case: str) -> None:
    text, message = BAD[case]
    outcome = decode(text)
    assert isinstance(outcome, Rejected)
    assert outcome.messages == (message,)


def test_every_error_is_told() -> None:
    outcome = decode(ROUTE % "{hostnames: [A, b, C], rules: [{backendRefs: [{port: 0}]}]}")
    assert isinstance(outcome, Rejected)
    assert [error.path for error in outcome.errors] == [
        "spec.hostnames[0]",
        "spec.hostnames[2]",
        "spec.rules[0].backendRefs[0].port",
        "spec.rules[0].backendRefs[0].name",
    ]


def test_errors_are_bounded() -> None:
    outcome = decode(ROUTE % f"{{hostnames: [{', '.join('ABCDEFGHIJKLMNOP')}]}}")
    assert isinstance(outcome, Rejected)
    assert len(outcome.errors) == 11
    assert outcome.messages[-1] == "HTTPRoute demo/web: 6 more of the kind; mend these first"


def test_warnings_are_bounded() -> None:
    outcome = decode(ROUTE % f"{{{', '.join(f'{letter}: 1' for letter in 'ABCDEFGHIJKLMNOP')}}}")
    assert isinstance(outcome, Decoded)
    assert len(outcome.warnings) == 11
    assert str(outcome.warnings[-1]) == "6 more of the kind; look at these first"


def test_names_and_fields_are_told_together() -> None:
    outcome = decode("{apiVersion: v1, kind: Service, metadata: {name: A}, spec: {ports: [{port: 0}]}}")
    assert isinstance(outcome, Rejected)
    assert [error.path for error in outcome.errors] == ["metadata.name", "spec.ports[0].port"]


def test_a_rejection_names_its_object() -> None:
    outcome = decode(ROUTE % "{hostnames: [A]}")
    assert isinstance(outcome, Rejected)
    assert outcome.reference == ObjectReference("HTTPRoute", "demo", "web")


def test_an_error_that_we_have_no_words_for_speaks_for_itself() -> None:
    cases: dict[tuple[str, str], dict[Any, Any]] = {
        ("spec.listeners", "Expected `array`, got `int`"): {"spec": {"listeners": 1}},
        ("spec.listeners[0].port", "Expected `int` >= 1"): {"spec": {"listeners": [{"port": 0}]}},
        ("metadata.labels[...]", "Expected `str`, got `int`"): {"metadata": {"labels": {"a": 1}}},
        ("metadata.labels", "Expected `str`, got `int`"): {"metadata": {"labels": {1: "a"}}},
        ("metadata", "Object missing required field `name`"): {"metadata": {}},
        ("", "Object missing required field `metadata`"): {},
    }
    for (path, problem), document in cases.items():
        with pytest.raises(msgspec.ValidationError) as caught:
            msgspec.convert(document, Gateway)
        assert in_its_own_words(caught.value) == FieldProblem(path, problem, "see the API's reference for this field")


@pytest.mark.parametrize(
    ("api_version", "kind"),
    [
        ("apps/v1", "Deployment"),
        ("gateway.networking.k8s.io/v1", "GRPCRoute"),
        ("serving.knative.dev/v1", "Service"),
        ("networking.istio.io/v1", "Gateway"),
        ("v1", "List"),
    ],
)
def test_kinds_of_others_are_ignored(api_version: str, kind: str) -> None:
    assert decode(f"{{apiVersion: {api_version}, kind: {kind}}}") == Ignored(kind, api_version)


def test_a_kind_of_nobody_is_ignored() -> None:
    assert decode("{kind: Anything}") == Ignored("Anything", "")


@pytest.mark.parametrize("kind", KINDS)
def test_every_accepted_version_is_kept_as_written(kind: str) -> None:
    specifications: dict[str, dict[str, Any]] = {
        "DestinationRule": {"spec": {"host": "a"}},
        "EndpointSlice": {"addressType": "IPv4"},
        "Gateway": {"spec": {"gatewayClassName": "a", "listeners": [{"name": "a", "port": 1, "protocol": "HTTP"}]}},
        "GatewayClass": {"spec": {"controllerName": "example.com/a"}},
        "HTTPRoute": {"spec": {}},
        "ReferenceGrant": {
            "spec": {"from": [{"group": "", "kind": "A", "namespace": "b"}], "to": [{"group": "", "kind": "A"}]}
        },
        "Service": {"spec": {"ports": [{"port": 1}]}},
        "ServiceEntry": {"spec": {"hosts": ["a.example.com"]}},
        "WorkloadEntry": {"spec": {"address": "192.0.2.1"}},
    }
    for api_version in KINDS[kind].api_versions:
        raw = {"apiVersion": api_version, "kind": kind, "metadata": {"name": "a"}, **specifications.get(kind, {})}
        outcome = decode_object(raw)
        assert isinstance(outcome, Decoded), outcome
        assert outcome.object.api_version == api_version
        assert outcome.object.kind == kind
        assert outcome.object.key == ("default/a" if KINDS[kind].namespaced else "a")


def test_kinds_are_sorted() -> None:
    assert list(KINDS) == sorted(KINDS)


def test_a_route_has_the_defaults_of_the_api() -> None:
    route = accept(
        ROUTE
        % """
          parentRefs: [{name: gw}]
          rules:
          - backendRefs: [{name: api, port: 80}]
          - matches: [{headers: [{name: a, value: b}], queryParams: [{name: c, value: d}]}, {path: {type: Exact}}]
            filters:
            - {type: RequestMirror, requestMirror: {backendRef: {name: b, port: 1}, fraction: {numerator: 1}}}
          - filters: [{type: RequestRedirect, requestRedirect: {}}]
          - matches: []"""
    )
    assert isinstance(route, HTTPRoute)
    parent = route.spec.parent_refs[0]
    assert (parent.group, parent.kind, parent.namespace) == ("gateway.networking.k8s.io", "Gateway", None)
    plain, matching, redirecting, empty = route.spec.rules
    backend = plain.backend_refs[0]
    assert (backend.group, backend.kind, backend.weight) == ("", "Service", 1)
    assert [(match.path.type, match.path.value) for match in plain.matches] == [("PathPrefix", "/")]
    assert matching.matches[0].headers[0].type == "Exact"
    assert matching.matches[0].query_params[0].type == "Exact"
    assert (matching.matches[1].path.type, matching.matches[1].path.value) == ("Exact", "/")
    mirror = matching.filters[0].request_mirror
    assert mirror is not None
    assert mirror.fraction is not None
    assert mirror.fraction.denominator == 100
    redirect = redirecting.filters[0].request_redirect
    assert redirect is not None
    assert redirect.status_code == 302
    assert empty.matches == plain.matches


def test_a_route_without_rules_forwards_every_path() -> None:
    route = accept(ROUTE % "{}")
    assert isinstance(route, HTTPRoute)
    assert [rule.matches[0].path.value for rule in route.spec.rules] == ["/"]


def test_a_gateway_has_the_defaults_of_the_api() -> None:
    gateway = accept(
        GATEWAY
        % """
          gatewayClassName: controlplane
          listeners:
          - {name: a, port: 80, protocol: HTTP}
          - {name: b, port: 80, protocol: HTTP, hostname: b.example.com, allowedRoutes: {kinds: [{kind: HTTPRoute}]}}
          - {name: c, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: c}]}}
          addresses: [{value: 192.0.2.1}]"""
    )
    assert isinstance(gateway, Gateway)
    first, second, third = gateway.spec.listeners
    assert (first.allowed_routes.namespaces.from_, first.allowed_routes.kinds) == ("Same", ())
    assert second.allowed_routes.namespaces.from_ == "Same"
    assert second.allowed_routes.kinds[0].group == "gateway.networking.k8s.io"
    assert third.tls is not None
    assert (third.tls.mode, third.tls.certificate_refs[0].kind, third.tls.certificate_refs[0].group) == (
        "Terminate",
        "Secret",
        "",
    )
    assert gateway.spec.addresses[0].type == "IPAddress"


def test_a_service_and_a_slice_have_the_defaults_of_the_api() -> None:
    service = accept(SERVICE % "{ports: [{port: 80}]}")
    assert isinstance(service, Service)
    assert (service.spec.type, service.spec.ports[0].protocol, service.is_headless) == ("ClusterIP", "TCP", False)
    slice_ = accept(SLICE % "addressType: IPv4\nendpoints: [{addresses: [192.0.2.1]}]\nports: [{port: 80}]")
    assert isinstance(slice_, EndpointSlice)
    assert (slice_.endpoints[0].conditions.ready, slice_.ports[0].name, slice_.ports[0].protocol) == (None, "", "TCP")


def test_null_is_absent() -> None:
    """As ``kubectl create --dry-run`` and half-empty YAML have it."""
    route = accept(
        """
        apiVersion: gateway.networking.k8s.io/v1
        kind: HTTPRoute
        metadata: {name: web, namespace: null, creationTimestamp: null, labels: null, annotations: {a: null}}
        spec:
          hostnames: null
          rules: null
        status:
        """
    )
    assert isinstance(route, HTTPRoute)
    assert (route.key, route.metadata.labels, route.metadata.annotations) == ("default/web", {}, {"a": ""})
    assert route.spec.hostnames == ()
    assert len(route.spec.rules) == 1


def test_cluster_scoped_kinds_have_no_namespace() -> None:
    gateway_class = accept(
        """
        apiVersion: gateway.networking.k8s.io/v1
        kind: GatewayClass
        metadata: {name: controlplane, namespace: demo}
        spec: {controllerName: controlplane.dev/gateway-controller}"""
    )
    assert isinstance(gateway_class, GatewayClass)
    assert (gateway_class.metadata.namespace, gateway_class.key) == ("", "controlplane")


SERVED = """
apiVersion: v1
kind: Namespace
metadata:
  name: demo
  uid: 1d2c
  resourceVersion: "%s"
  generation: 3
  creationTimestamp: "2024-05-31T12:00:00Z"
  labels: {team: a}
  annotations:
    keep: this
    kubectl.kubernetes.io/last-applied-configuration: "%s"
  managedFields: [{manager: kubectl, time: %s}]
spec: {finalizers: [kubernetes]}
status: {phase: %s}
"""


def test_what_changes_without_meaning_is_no_change() -> None:
    first = accept(SERVED % (1, "a", 2024, "Active"))
    second = accept(SERVED % (2, "b", 2025, "Terminating"))
    assert first == second
    assert isinstance(first, Namespace)
    assert first.metadata.annotations == {"keep": "this"}
    assert (first.metadata.generation, first.metadata.creation_timestamp) == (3, "2024-05-31T12:00:00Z")


def test_the_document_is_not_changed() -> None:
    raw = yaml.safe_load(SERVED % (1, "a", 2024, "Active"))
    before = copy.deepcopy(raw)
    decode_object(raw)
    assert raw == before


def test_ipv6_addresses_have_one_spelling() -> None:
    text = "addressType: IPv6\nendpoints: [{addresses: ['%s']}]"
    first = accept(SLICE % (text % "2001:DB8:0:0:0:0:0:1"))
    assert first == accept(SLICE % (text % "2001:db8::1"))
    assert isinstance(first, EndpointSlice)
    assert first.endpoints[0].addresses == ("2001:db8::1",)


def test_what_stands_in_a_message_is_fit_for_a_terminal_and_for_json() -> None:
    outcome = decode(ROUTE % '{hostnames: ["\\u001b[31mred\\ud800"], "\\ud800\\u001b": 1}')
    assert isinstance(outcome, Rejected)
    assert all(message.isprintable() for message in outcome.messages)
    msgspec.json.encode(outcome.errors)
    warned = decode(ROUTE % '{"\\u001b": 1}')
    assert isinstance(warned, Decoded)
    assert [warning.path for warning in warned.warnings] == ["spec.\\x1b"]
    named = decode('{apiVersion: v1, kind: Namespace, metadata: {name: "\\ud800\\n"}}')
    assert isinstance(named, Rejected)
    assert msgspec.json.encode(named.reference)
