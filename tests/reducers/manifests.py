"""Random manifests over few names, so that references meet, miss and come back."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

GATEWAY_API = "gateway.networking.k8s.io/v1"
NAMESPACES = ("alpha", "beta")
GATEWAYS = ("edge", "inner")
ROUTES = ("r1", "r2", "r3")
SERVICES = ("s1", "s2", "gone")
SECRETS = ("cert1", "cert2")
HOSTNAMES = ("a.example.com", "b.example.com", "*.example.com", "*.com", "c.example.org")
PATHS = ("/", "/a", "/a/b", "/a/", "/b")

Manifest = dict[str, Any]

namespaces_of = st.sampled_from(("alpha", "alpha", "alpha", "beta"))


def maybe(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=fields)


def object_of(
    kind: str, api: str, names: tuple[str, ...], **more: st.SearchStrategy[Any]
) -> st.SearchStrategy[Manifest]:
    metadata = st.fixed_dictionaries(
        {"name": st.sampled_from(names), "namespace": namespaces_of},
        optional={
            "generation": st.integers(1, 3),
            "creationTimestamp": st.sampled_from(["2024-01-01T00:00:00Z", "2025-01-01T00:00:00Z"]),
        },
    )
    return st.fixed_dictionaries({"apiVersion": st.just(api), "kind": st.just(kind), "metadata": metadata, **more})


OURS = "controlplane.dev/gateway-controller"
gateway_classes = st.sampled_from([OURS, OURS, OURS, "example.com/other"]).map(
    lambda controller: {
        "apiVersion": GATEWAY_API,
        "kind": "GatewayClass",
        "metadata": {"name": "ours"},
        "spec": {"controllerName": controller},
    }
)

_allowed_routes = maybe(
    namespaces=st.sampled_from(
        [
            {"from": "All"},
            {"from": "Same"},
            {"from": "Selector", "selector": {"matchLabels": {"team": "x"}}},
            {
                "from": "Selector",
                "selector": {"matchExpressions": [{"key": "team", "operator": "NotIn", "values": ["x"]}]},
            },
        ]
    ),
    kinds=st.sampled_from(
        [[{"kind": "HTTPRoute"}], [{"kind": "GRPCRoute"}], [{"kind": "HTTPRoute"}, {"kind": "TLSRoute"}]]
    ),
)


@st.composite
def _listeners(draw: st.DrawFn) -> list[Manifest]:
    found = {}
    for name in draw(st.lists(st.sampled_from(["one", "two", "three"]), min_size=1, max_size=3, unique=True)):
        protocol, port = draw(
            st.sampled_from(
                [("HTTP", 8080), ("HTTP", 8080), ("HTTPS", 8443), ("HTTPS", 8443), ("HTTPS", 8080), ("TCP", 9000)]
            )
        )
        listener: Manifest = {"name": name, "protocol": protocol, "port": port}
        if protocol != "TCP" and draw(st.booleans()):
            listener["hostname"] = draw(st.sampled_from(HOSTNAMES))
        if protocol == "HTTPS":
            reference: Manifest = {"name": draw(st.sampled_from((*SECRETS, "gone")))}
            if draw(st.booleans()):
                reference["namespace"] = draw(namespaces_of)
            listener["tls"] = {"certificateRefs": [reference]}
        if allowed := draw(_allowed_routes):
            listener["allowedRoutes"] = allowed
        found[port, protocol, listener.get("hostname")] = listener
    return list(found.values())


gateways = object_of(
    "Gateway",
    GATEWAY_API,
    GATEWAYS,
    spec=st.fixed_dictionaries(
        {"gatewayClassName": st.sampled_from(["ours", "ours", "ours", "unknown"]), "listeners": _listeners()},
        optional={"addresses": st.just([{"type": "IPAddress", "value": "127.0.0.2"}])},
    ),
)

_service_reference = st.fixed_dictionaries(
    {"name": st.sampled_from(("s1", "s1", "s2", "s2", "gone")), "port": st.sampled_from([80, 80, 81])},
    optional={"namespace": namespaces_of},
)
_headers = st.sampled_from(
    [
        {"set": [{"name": "x-a", "value": "100%"}]},
        {"add": [{"name": "x-b", "value": "b"}], "remove": ["x-c"]},
        {"set": [{"name": "Host", "value": "other.example.com"}]},
    ]
)
_filters = st.lists(
    st.one_of(
        st.builds(lambda h: {"type": "RequestHeaderModifier", "requestHeaderModifier": h}, _headers),
        st.builds(
            lambda ref, percent: {"type": "RequestMirror", "requestMirror": {"backendRef": ref, "percent": percent}},
            _service_reference,
            st.integers(0, 100),
        ),
        st.just({"type": "URLRewrite", "urlRewrite": {"hostname": "rewritten.example.com"}}),
        st.just({"type": "ExtensionRef", "extensionRef": {"group": "example.com", "kind": "Thing", "name": "thing"}}),
    ),
    max_size=2,
    unique_by=lambda f: f["type"],
)
_redirect = st.just([{"type": "RequestRedirect", "requestRedirect": {"scheme": "https", "statusCode": 301}}])
_matches = st.lists(
    st.fixed_dictionaries(
        {
            "path": st.builds(
                lambda t, p: {"type": t, "value": p}, st.sampled_from(["PathPrefix", "Exact"]), st.sampled_from(PATHS)
            )
        },
        optional={
            "method": st.sampled_from(["GET", "POST"]),
            "headers": st.just([{"name": "x-version", "value": "2"}]),
            "queryParams": st.just([{"name": "q", "value": "1"}]),
        },
    ),
    max_size=2,
)
_backends = st.lists(
    st.builds(lambda ref, weight: {**ref, "weight": weight}, _service_reference, st.sampled_from([0, 1, 1, 5])),
    max_size=3,
)
_rules = st.one_of(
    st.fixed_dictionaries(
        {"matches": _matches, "filters": _filters, "backendRefs": _backends},
        optional={"timeouts": st.just({"request": "5s", "backendRequest": "2s"})},
    ),
    st.fixed_dictionaries({"matches": _matches, "filters": _redirect}),
)
_parents = st.lists(
    st.fixed_dictionaries(
        {"name": st.sampled_from(("edge", "edge", "inner")), "namespace": namespaces_of},
        optional={"sectionName": st.sampled_from(["one", "two"]), "port": st.sampled_from([8080, 8443])},
    ),
    min_size=1,
    max_size=2,
    unique_by=repr,
)
http_routes = object_of(
    "HTTPRoute",
    GATEWAY_API,
    ROUTES,
    spec=st.fixed_dictionaries(
        {"parentRefs": _parents, "rules": st.lists(_rules, min_size=1, max_size=2)},
        optional={"hostnames": st.lists(st.sampled_from(HOSTNAMES), max_size=2, unique=True)},
    ),
)

services = object_of(
    "Service",
    "v1",
    SERVICES[:2],
    spec=st.sampled_from(
        [
            {"ports": [{"port": 80}]},
            {"ports": [{"name": "web", "port": 80}, {"name": "more", "port": 81, "appProtocol": "kubernetes.io/h2c"}]},
            {"ports": [{"port": 80}], "ipFamilies": ["IPv6", "IPv4"]},
            {"type": "ExternalName", "externalName": "example.com"},
            {"clusterIP": "None", "ports": [{"port": 81, "targetPort": "web"}]},
        ]
    ),
)


@st.composite
def _slices(draw: st.DrawFn) -> Manifest:
    family = draw(st.sampled_from(["IPv4", "IPv6"]))
    addresses = ["10.0.0.1", "10.0.0.2"] if family == "IPv4" else ["fd00::1", "fd00::2"]
    endpoint = st.fixed_dictionaries(
        {"addresses": st.sampled_from(addresses).map(lambda a: [a])},
        optional={
            "conditions": maybe(ready=st.booleans(), serving=st.booleans(), terminating=st.booleans()),
            "zone": st.sampled_from(["z1", "z2"]),
        },
    )
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": draw(st.sampled_from(["e1", "e2", "e3"])),
            "namespace": draw(namespaces_of),
            "labels": {"kubernetes.io/service-name": draw(st.sampled_from(SERVICES[:2]))},
        },
        "addressType": family,
        "endpoints": draw(st.lists(endpoint, max_size=3)),
        "ports": draw(
            st.sampled_from([[{"port": 8080}], [{"name": "web", "port": 8080}, {"name": "more", "port": 8081}]])
        ),
    }


reference_grants = object_of(
    "ReferenceGrant",
    GATEWAY_API,
    ("g1", "g2"),
    spec=st.fixed_dictionaries(
        {
            "from": st.builds(
                lambda kind, ns: [{"group": "gateway.networking.k8s.io", "kind": kind, "namespace": ns}],
                st.sampled_from(["HTTPRoute", "Gateway"]),
                namespaces_of,
            ),
            "to": st.sampled_from(
                [
                    [{"group": "", "kind": "Service"}],
                    [{"group": "", "kind": "Service", "name": "s1"}],
                    [{"group": "", "kind": "Secret"}],
                ]
            ),
        }
    ),
)

namespaces = st.builds(
    lambda name, labels: {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}},
    namespaces_of,
    st.sampled_from([{}, {"team": "x"}, {"team": "y"}]),
)


def working_set() -> list[Manifest]:
    """A set in which everything is served, to begin with: random edits of it go wrong in more interesting ways than chance."""
    listeners = [
        {"name": "one", "protocol": "HTTP", "port": 8080},
        {"name": "two", "protocol": "HTTP", "port": 8080, "hostname": "*.example.com"},
        {
            "name": "three",
            "protocol": "HTTPS",
            "port": 8443,
            "hostname": "a.example.com",
            "tls": {"certificateRefs": [{"name": "cert1"}]},
            "allowedRoutes": {"namespaces": {"from": "All"}},
        },
    ]
    found: list[Manifest] = [
        {
            "apiVersion": GATEWAY_API,
            "kind": "GatewayClass",
            "metadata": {"name": "ours"},
            "spec": {"controllerName": OURS},
        },
        {
            "apiVersion": GATEWAY_API,
            "kind": "Gateway",
            "metadata": {"name": "edge", "namespace": "alpha"},
            "spec": {"gatewayClassName": "ours", "listeners": listeners},
        },
    ]
    for name, service, mirror in (("r1", "s1", "s2"), ("r2", "s2", "s1")):
        copy = {"type": "RequestMirror", "requestMirror": {"backendRef": {"name": mirror, "port": 80}}}
        rule = {"backendRefs": [{"name": service, "port": 80}], "filters": [copy]}
        spec = {"parentRefs": [{"name": "edge"}], "hostnames": ["a.example.com", "*.com"], "rules": [rule]}
        metadata = {"name": name, "namespace": "alpha"}
        found.append({"apiVersion": GATEWAY_API, "kind": "HTTPRoute", "metadata": metadata, "spec": spec})
    for service in SERVICES[:2]:
        metadata = {"name": service, "namespace": "alpha"}
        found.append({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"ports": [{"port": 80}]}})
        found.append(
            {
                "apiVersion": "discovery.k8s.io/v1",
                "kind": "EndpointSlice",
                "metadata": {**metadata, "name": f"e{service[1:]}", "labels": {"kubernetes.io/service-name": service}},
                "addressType": "IPv4",
                "endpoints": [{"addresses": ["10.0.0.9"]}],
                "ports": [{"port": 8080}],
            }
        )
    return found


manifests: st.SearchStrategy[Manifest] = st.one_of(
    gateway_classes, gateways, http_routes, http_routes, services, _slices(), reference_grants, namespaces
)
