"""Random manifests of Istio's kinds, of Pods and Nodes, over the same few names: references meet, miss and come back."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from tests.reducers.manifests import (
    GATEWAY_API,
    OURS,
    Manifest,
    manifests,
    maybe,
    namespaces_of,
    object_of,
    working_set,
)

NETWORKING = "networking.istio.io/v1"
WAYPOINT = "wp"
HOSTS = ("a.mesh", "b.mesh", "*.wild.mesh")
LOCALITIES = ("r1/z1/s1", "r1/z2/s1", "r2/z3/s1", "", "r1", "r1//s1")
VERSIONS = ("v1", "v2")
_ADDRESSES = ("10.1.0.1", "10.1.0.2", "10.1.0.3", "fd00::9", "backend.example.org", "unix:///tmp/s", "")
_REGION, _ZONE, _SUBZONE = "topology.kubernetes.io/region", "topology.kubernetes.io/zone", "topology.istio.io/subzone"

_workload_labels = maybe(
    **{
        "version": st.sampled_from(VERSIONS),
        "app": st.sampled_from(["x", "y"]),
        "topology.istio.io/network": st.sampled_from(["n1", "n2"]),
    }
)
_captures = maybe(
    **{
        "istio.io/use-waypoint": st.sampled_from([WAYPOINT, WAYPOINT, "none", "gone"]),
        "istio.io/use-waypoint-namespace": namespaces_of,
        "istio.io/ingress-use-waypoint": st.sampled_from(["true", "false", "maybe"]),
    }
)


def _labelled(
    kind: str, api: str, names: tuple[str, ...], labels: st.SearchStrategy[dict[str, str]], **more: Any
) -> st.SearchStrategy[Manifest]:
    def put(raw: Manifest, found: dict[str, str]) -> Manifest:
        return {**raw, "metadata": {**raw["metadata"], "labels": found}}

    return st.builds(put, object_of(kind, api, names, **more), labels)


_inline = st.lists(
    st.fixed_dictionaries(
        {"address": st.sampled_from(_ADDRESSES)},
        optional={
            "locality": st.sampled_from(LOCALITIES),
            "labels": _workload_labels,
            "weight": st.integers(0, 3),
            "network": st.sampled_from(["n1", "n2"]),
            "ports": st.sampled_from([{"http": 8080}, {"other": 9}]),
        },
    ),
    max_size=3,
)
_ports = st.sampled_from(
    [
        [{"number": 80, "name": "http", "protocol": "HTTP"}],
        [
            {"number": 80, "name": "http", "protocol": "HTTP", "targetPort": 8080},
            {"number": 443, "name": "tls", "protocol": "TLS"},
        ],
        [{"number": 81, "name": "tcp", "protocol": "TCP"}],
        [{"number": 80, "name": "grpc", "protocol": "GRPC"}],
    ]
)
_places = st.one_of(
    st.fixed_dictionaries({"endpoints": _inline}),
    st.fixed_dictionaries(
        {"workloadSelector": st.fixed_dictionaries({"labels": st.sampled_from([{"app": "x"}, {"app": "y"}])})}
    ),
    st.just({}),
)
_entry_specs = st.builds(
    lambda a, b: {**a, **b},
    st.fixed_dictionaries(
        {
            "hosts": st.lists(st.sampled_from(HOSTS), min_size=1, max_size=2, unique=True),
            "ports": _ports,
            "resolution": st.sampled_from(
                ["STATIC", "STATIC", "STATIC", "DNS", "DNS_ROUND_ROBIN", "NONE", "DYNAMIC_DNS"]
            ),
        },
        optional={
            "addresses": st.sampled_from([["10.9.0.1"], ["10.9.0.1", "fd00::9:1"], ["10.9.0.0/24"]]),
            "exportTo": st.sampled_from([["."], ["*"], ["alpha"], ["beta", "."]]),
            "location": st.sampled_from(["MESH_INTERNAL", "MESH_EXTERNAL"]),
        },
    ),
    _places,
)
service_entries = _labelled("ServiceEntry", NETWORKING, ("se1", "se2"), _captures, spec=_entry_specs)
workload_entries = _labelled(
    "WorkloadEntry",
    NETWORKING,
    ("we1", "we2"),
    _workload_labels,
    spec=st.fixed_dictionaries(
        {"address": st.sampled_from(_ADDRESSES[:4])},
        optional={"locality": st.sampled_from(LOCALITIES), "labels": _workload_labels, "weight": st.integers(0, 2)},
    ),
    status=maybe(
        conditions=st.sampled_from([[{"type": "Healthy", "status": "True"}], [{"type": "Healthy", "status": "False"}]])
    ),
)

_locality_settings = st.one_of(
    st.just({"enabled": False}),
    st.just({}),
    st.fixed_dictionaries(
        {
            "failoverPriority": st.lists(
                st.sampled_from([_REGION, _ZONE, "version", "version=v1", "topology.istio.io/network", "nobody"]),
                max_size=3,
                unique=True,
            )
        },
        optional={"failover": st.just([{"from": "r1", "to": "r2"}])},
    ),
    st.just({"distribute": [{"from": "r1/*", "to": {"r1/z1/*": 70, "r2/*": 30}}]}),
)
_policies = maybe(
    outlierDetection=st.sampled_from([{"consecutive5xxErrors": 3}, {"interval": "5s", "minHealthPercent": 10}, {}]),
    connectionPool=st.sampled_from(
        [{"tcp": {"maxConnections": 7}}, {"http": {"http2MaxRequests": 9, "h2UpgradePolicy": "UPGRADE"}}]
    ),
    loadBalancer=st.builds(
        lambda balancing, localities: {**balancing, **localities},
        st.sampled_from([{}, {"simple": "ROUND_ROBIN"}, {"consistentHash": {"httpHeaderName": "x-user"}}]),
        maybe(localityLbSetting=_locality_settings),
    ),
    tls=st.sampled_from(
        [
            {"mode": "SIMPLE"},
            {"mode": "MUTUAL", "credentialName": "cert1"},
            {"mode": "DISABLE"},
            {"mode": "ISTIO_MUTUAL"},
        ]
    ),
)
destination_rules = object_of(
    "DestinationRule",
    NETWORKING,
    ("d1", "d2", "d3"),
    spec=st.fixed_dictionaries(
        {
            "host": st.sampled_from(
                ("s1", "s2.beta.svc.cluster.local", "*.mesh", "a.mesh", "*", "*.alpha.svc.cluster.local")
            ),
            "trafficPolicy": st.one_of(
                _policies,
                st.builds(
                    lambda whole, port: {**whole, "portLevelSettings": [{**port, "port": {"number": 80}}]},
                    _policies,
                    _policies,
                ),
            ),
        },
        optional={
            "exportTo": st.sampled_from([["."], ["*"], ["alpha"]]),
            "workloadSelector": st.builds(lambda v: {"matchLabels": {"version": v}}, st.sampled_from(VERSIONS)),
        },
    ),
)

_targets = st.lists(
    st.sampled_from(
        [
            {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": WAYPOINT},
            {"group": "gateway.networking.k8s.io", "kind": "GatewayClass", "name": "controlplane-waypoint"},
            {"group": "", "kind": "Service", "name": "s1"},
            {"group": "networking.istio.io", "kind": "ServiceEntry", "name": "se1"},
        ]
    ),
    max_size=2,
    unique_by=repr,
)
authorization_policies = object_of(
    "AuthorizationPolicy",
    "security.istio.io/v1",
    ("p1", "p2"),
    spec=st.fixed_dictionaries(
        {"targetRefs": _targets, "action": st.sampled_from(["ALLOW", "DENY", "AUDIT", "CUSTOM"])},
        optional={
            "rules": st.sampled_from(
                [
                    [{}],
                    [{"to": [{"operation": {"methods": ["GET"], "paths": ["/a*"]}}]}],
                    [
                        {
                            "from": [
                                {"source": {"principals": ["cluster.local/ns/alpha/sa/x"], "notNamespaces": ["beta"]}}
                            ]
                        }
                    ],
                ]
            )
        },
    ),
)

pods = _labelled(
    "Pod",
    "v1",
    ("pod1", "pod2", "proxy1"),
    _workload_labels,
    spec=maybe(nodeName=st.sampled_from(["node1", "node2", "gone"])),
    status=st.fixed_dictionaries(
        {"podIP": st.sampled_from(["10.2.0.1", "10.2.0.2"])},
        optional={
            "conditions": st.sampled_from(
                [[{"type": "Ready", "status": "True"}], [{"type": "Ready", "status": "False"}]]
            )
        },
    ),
)
nodes = st.builds(
    lambda name, labels: {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}},
    st.sampled_from(["node1", "node2"]),
    maybe(
        **{
            _REGION: st.sampled_from(["r1", "r2"]),
            _ZONE: st.sampled_from(["z1", "z2", "z3"]),
            _SUBZONE: st.sampled_from(["s1", "s2"]),
        }
    ),
)

waypoint_classes = st.sampled_from([OURS, OURS, OURS, "example.com/other"]).map(
    lambda controller: {
        "apiVersion": GATEWAY_API,
        "kind": "GatewayClass",
        "metadata": {"name": "controlplane-waypoint"},
        "spec": {"controllerName": controller},
    }
)
_waypoint_listeners = st.lists(
    st.one_of(
        st.fixed_dictionaries(
            {
                "name": st.sampled_from(["proxy", "other"]),
                "protocol": st.just("istio.io/PROXY"),
                "port": st.just(15088),
            },
            optional={
                "allowedRoutes": st.sampled_from([{"namespaces": {"from": "All"}}, {"namespaces": {"from": "Same"}}])
            },
        ),
        st.just({"name": "hbone", "protocol": "HBONE", "port": 15008, "tls": {"certificateRefs": [{"name": "cert1"}]}}),
        st.just({"name": "http", "protocol": "HTTP", "port": 8080}),
    ),
    min_size=1,
    max_size=3,
    unique_by=lambda listener: listener["name"],
)
waypoints = _labelled(
    "Gateway",
    GATEWAY_API,
    (WAYPOINT,),
    maybe(**{"istio.io/waypoint-for": st.sampled_from(["service", "all", "none", "workload"])}),
    spec=st.fixed_dictionaries(
        {"gatewayClassName": st.just("controlplane-waypoint"), "listeners": _waypoint_listeners}
    ),
)

captured_services = _labelled(
    "Service",
    "v1",
    ("s1", "s2"),
    _captures,
    spec=st.builds(
        lambda address, ports, more: {**address, "ports": ports, **more},
        st.sampled_from(
            [{"clusterIP": "10.8.0.1"}, {"clusterIP": "10.8.0.2"}, {"clusterIPs": ["fd00::8", "10.8.0.3"]}, {}]
        ),
        st.sampled_from([[{"port": 80}], [{"name": "http", "port": 80}, {"name": "tcp-x", "port": 81}]]),
        maybe(trafficDistribution=st.sampled_from(["PreferClose", "PreferSameNode"])),
    ),
)
captured_namespaces = st.builds(
    lambda name, labels: {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}},
    namespaces_of,
    _captures,
)
_mesh_backends = st.sampled_from(
    [
        {"group": "networking.istio.io", "kind": "Hostname", "name": "a.mesh", "port": 80},
        {"group": "networking.istio.io", "kind": "ServiceEntry", "name": "se1", "port": 80},
        {"name": "s1", "port": 80},
    ]
)
_mesh_parents = st.lists(
    st.sampled_from(
        [
            {"group": "", "kind": "Service", "name": "s1"},
            {"group": "", "kind": "Service", "name": "s1", "port": 80},
            {"group": "networking.istio.io", "kind": "ServiceEntry", "name": "se1"},
            {"group": "networking.istio.io", "kind": "Hostname", "name": "a.mesh"},
            {"name": WAYPOINT},
            {"name": "edge"},
        ]
    ),
    min_size=1,
    max_size=3,
    unique_by=repr,
)
mesh_routes = object_of(
    "HTTPRoute",
    GATEWAY_API,
    ("r2", "m1", "m2"),
    spec=st.fixed_dictionaries(
        {
            "parentRefs": _mesh_parents,
            "rules": st.lists(
                st.builds(
                    lambda to, mirror: {
                        "backendRefs": [to],
                        "filters": [{"type": "RequestMirror", "requestMirror": {"backendRef": mirror}}],
                    },
                    _mesh_backends,
                    _mesh_backends,
                ),
                min_size=1,
                max_size=2,
            ),
        },
        optional={"hostnames": st.just(["a.example.com"])},
    ),
)


def mesh_working_set() -> list[Manifest]:
    """The plain set, and beside it a waypoint that captures, a rule of localities, a ServiceEntry with workloads."""
    alpha = {"namespace": "alpha"}
    capture = {"istio.io/use-waypoint": WAYPOINT, "istio.io/ingress-use-waypoint": "true"}
    setting = {"failoverPriority": [_REGION, "version"]}
    return [
        *working_set(),
        {
            "apiVersion": GATEWAY_API,
            "kind": "GatewayClass",
            "metadata": {"name": "controlplane-waypoint"},
            "spec": {"controllerName": OURS},
        },
        {
            "apiVersion": GATEWAY_API,
            "kind": "Gateway",
            "metadata": {"name": WAYPOINT, **alpha},
            "spec": {
                "gatewayClassName": "controlplane-waypoint",
                "listeners": [{"name": "proxy", "protocol": "istio.io/PROXY", "port": 15088}],
            },
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "s1", **alpha, "labels": capture},
            "spec": {"clusterIP": "10.8.0.1", "ports": [{"name": "http", "port": 80}]},
        },
        {
            "apiVersion": NETWORKING,
            "kind": "ServiceEntry",
            "metadata": {"name": "se1", **alpha, "labels": {"istio.io/use-waypoint": WAYPOINT}},
            "spec": {
                "hosts": ["a.mesh"],
                "addresses": ["10.9.0.1"],
                "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}],
                "resolution": "STATIC",
                "workloadSelector": {"labels": {"app": "x"}},
            },
        },
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "pod1", **alpha, "labels": {"app": "x", "version": "v1"}},
            "spec": {"nodeName": "node1"},
            "status": {"podIP": "10.2.0.1", "conditions": [{"type": "Ready", "status": "True"}]},
        },
        {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": "node1", "labels": {_REGION: "r1", _ZONE: "z1"}},
        },
        {
            "apiVersion": NETWORKING,
            "kind": "DestinationRule",
            "metadata": {"name": "d1", **alpha},
            "spec": {
                "host": "a.mesh",
                "trafficPolicy": {
                    "outlierDetection": {"consecutive5xxErrors": 3},
                    "loadBalancer": {"localityLbSetting": setting},
                },
            },
        },
        {
            "apiVersion": GATEWAY_API,
            "kind": "HTTPRoute",
            "metadata": {"name": "m1", **alpha},
            "spec": {
                "parentRefs": [
                    {"name": "edge"},
                    {"group": "networking.istio.io", "kind": "ServiceEntry", "name": "se1"},
                ],
                "rules": [
                    {
                        "backendRefs": [
                            {"group": "networking.istio.io", "kind": "Hostname", "name": "a.mesh", "port": 80}
                        ]
                    }
                ],
            },
        },
    ]


_MESH = st.one_of(
    manifests,
    manifests,
    service_entries,
    service_entries,
    workload_entries,
    destination_rules,
    destination_rules,
    authorization_policies,
    pods,
    nodes,
    waypoint_classes,
    waypoints,
    captured_services,
    captured_namespaces,
    mesh_routes,
)


@st.composite
def _mesh_manifests(draw: st.DrawFn) -> Manifest:
    return draw(_MESH)


mesh_manifests = _mesh_manifests()
"""Any of them, under a short name: Hypothesis writes strategies out."""
