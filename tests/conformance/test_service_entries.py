"""ServiceEntries and WorkloadEntries: which clusters they are, who is behind each, and what a route may call them.

The tables of istio-semantics, 1.2 to 1.7 and 1.9, with the decisions of its first list, from YAML to what Envoys are sent.
"""

from __future__ import annotations

from typing import Any

import pytest

from .manifests import (
    Manifest,
    Served,
    backend,
    filter_,
    gateway,
    http_route,
    listener,
    manifest,
    reference_grant,
    rule,
    serve,
    service,
)
from .messages import Json
from .proxy import CLUSTER, LOAD_ASSIGNMENT, VIRTUAL_HOST

NETWORKING = "networking.istio.io"
NODES = {
    "n1": {
        "topology.kubernetes.io/region": "r1",
        "topology.kubernetes.io/zone": "z1",
        "topology.istio.io/subzone": "s1",
    },
    "n2": {"topology.kubernetes.io/region": "r2"},
}


def port(number: int = 80, name: str = "http", protocol: str = "HTTP", **fields: Any) -> Manifest:
    return {"number": number, "name": name, "protocol": protocol, **fields}


def entry(name: str = "se", *hosts: str, namespace: str = "demo", **spec: Any) -> Manifest:
    """A ServiceEntry of resolution STATIC with port 80 and one endpoint; fields of its metadata are ``metadata``."""
    fields = {"resolution": "STATIC", "ports": [port()], "endpoints": [{"address": "1.1.1.1"}]}
    metadata, status = spec.pop("metadata", {}), spec.pop("status", {})
    made = {"hosts": list(hosts) or ["se.example.com"], **fields, **spec}
    if made.get("workloadSelector") is not None or made["endpoints"] is None:
        del made["endpoints"]
    api = f"{NETWORKING}/v1"
    return manifest("ServiceEntry", api, name, namespace, metadata=metadata, spec=made, status=status)


def workload(
    name: str, address: str, labels: Any = None, status: Any = None, namespace: str = "demo", **spec: Any
) -> Manifest:
    metadata = {"labels": {"app": "x"} if labels is None else labels} | spec.pop("metadata", {})
    api, made = f"{NETWORKING}/v1", {"address": address, **spec}
    return manifest("WorkloadEntry", api, name, namespace, metadata=metadata, spec=made, status=status or {})


def pod(
    name: str, address: str, node: str = "", ready: str = "True", namespace: str = "demo", **metadata: Any
) -> Manifest:
    status = {"podIP": address, "conditions": [{"type": "Ready", "status": ready}]}
    made = {"labels": {"app": "x"}, **metadata}
    return manifest("Pod", "v1", name, namespace, metadata=made, spec={"nodeName": node} if node else {}, status=status)


def node(name: str) -> Manifest:
    return manifest("Node", "v1", name, None, metadata={"labels": NODES[name]})


SELECTING: dict[str, Any] = {"workloadSelector": {"labels": {"app": "x"}}}


def to_hostname(host: str, number: int | None = 80, **fields: Any) -> Manifest:
    return {"group": NETWORKING, "kind": "Hostname", "name": host, **({"port": number} if number else {}), **fields}


def to_entry(name: str = "se", number: int = 80, **fields: Any) -> Manifest:
    return {"group": NETWORKING, "kind": "ServiceEntry", "name": name, "port": number, **fields}


def leading_to(*refs: Manifest, namespace: str = "demo") -> list[Manifest]:
    """A route with a rule for each reference: ``/0``, ``/1`` ..."""
    rules = [rule({"path": {"value": f"/{i}"}}, to=ref) for i, ref in enumerate(refs)]
    parents = [{"name": "web", "namespace": "demo"}]
    return [
        gateway(listener(routes="All")),
        http_route("r", *rules, namespace=namespace, parents=parents),
    ]


def clusters(served: Served) -> list[str]:
    """What each of the rules of ``leading_to`` leads to; empty for 500."""
    hosts = served.proxy().table(VIRTUAL_HOST).values()
    routes = [route for host in hosts for route in host["routes"]]
    found = {route["match"]["pathSeparatedPrefix"]: route.get("route", {}).get("cluster", "") for route in routes}
    return [found[path] for path in sorted(found)]


def resolved(served: Served) -> tuple[str, str, str]:
    """Status, reason and message of the route's ResolvedRefs."""
    namespace = next(key for key in served.document["statuses"] if key.startswith("HTTPRoute")).split(" ")[1]
    conditions = served.document["statuses"][f"HTTPRoute {namespace}"]["parents"][0]["conditions"]
    (found,) = (c for c in conditions if c["type"] == "ResolvedRefs")
    return found["status"], found["reason"], found["message"]


def assignment(served: Served, cluster: str) -> Json:
    """Of a cluster: by EDS, or its own."""
    proxy = served.proxy()
    own: Json = proxy.table(CLUSTER)[cluster].get("loadAssignment") or proxy.table(LOAD_ASSIGNMENT)[cluster]
    return own


def endpoints(served: Served, cluster: str = "istio-se_demo_se_se.example.com_80") -> list[str]:
    """``region/zone/subzone address:port*weight``, sorted; what is not said is left out."""
    found = []
    for group in assignment(served, cluster).get("endpoints", ()):
        locality = group.get("locality", {})
        where = "/".join(locality.get(part, "") for part in ("region", "zone", "subZone")).rstrip("/")
        for item in group.get("lbEndpoints", ()):
            address = item["endpoint"]["address"]["socketAddress"]
            weight = f"*{item['loadBalancingWeight']}" if "loadBalancingWeight" in item else ""
            found.append(f"{where} {address['address']}:{address['portValue']}{weight}".strip())
    return sorted(found)


def told(served: Served, name: str = "se", kind: str = "ServiceEntry") -> dict[str, tuple[str, str, str]]:
    """Conditions of an object: status, reason and message by type."""
    conditions = served.status(kind, name).get("conditions", ())
    return {c["type"]: (c["status"], c["reason"], c["message"]) for c in conditions}


# 1.2 and 1.7: hosts, ports, names


def test_each_host_and_port_has_a_cluster_of_its_own() -> None:
    ports = [port(), port(443, "alt", targetPort=8443)]
    refs = [to_hostname(host, number) for host in ("a.example.com", "b.example.com") for number in (80, 443)]
    served = serve(entry("se", "b.example.com", "A.Example.com", ports=ports), leading_to(*refs))
    names = [f"istio-se_demo_se_{host}.example.com_{number}" for host in "ab" for number in (80, 443)]
    assert clusters(served) == names
    assert sorted(served.proxy().table(CLUSTER)) == sorted(names)
    assert [endpoints(served, name) for name in names] == [["1.1.1.1:80"], ["1.1.1.1:8443"]] * 2


def test_a_service_entry_is_named_by_its_first_host_in_the_alphabet() -> None:
    served = serve(entry("se", "b.example.com", "a.example.com"), leading_to(to_entry()))
    assert clusters(served) == ["istio-se_demo_se_a.example.com_80"]


def test_a_reference_to_one_host_never_leads_to_another_s_cluster() -> None:
    """Quirk of kgateway that we do not copy: aliases of every host on every backend."""
    served = serve(entry("se", "a.example.com", "b.example.com"), leading_to(to_hostname("b.example.com")))
    assert clusters(served) == ["istio-se_demo_se_b.example.com_80"]


@pytest.mark.parametrize("asked", ["a.example.com", "x.a.example.com"])
def test_a_wildcard_host_stands_for_no_name_but_itself(asked: str) -> None:
    served = serve(entry("se", "*.example.com"), leading_to(to_hostname(asked), to_hostname("*.example.com")))
    assert clusters(served) == ["", "istio-se_demo_se_*.example.com_80"]
    assert resolved(served)[:2] == ("False", "BackendNotFound")


def test_hostnames_are_compared_without_case_and_need_no_grant() -> None:
    served = serve(entry("se", "Api.example.com", namespace="other"), leading_to(to_hostname("API.example.com")))
    assert clusters(served) == ["istio-se_other_se_api.example.com_80"]
    assert resolved(served)[:2] == ("True", "ResolvedRefs")


def test_the_core_group_has_a_name_too() -> None:
    served = serve(leading_to(backend("v1", group="core"), backend("v1", group="")))
    assert clusters(served) == ["kube_demo_v1_8080"] * 2


TO_SERVICES = reference_grant(
    "services", "other", [{"kind": "HTTPRoute", "namespace": name} for name in ("demo", "third")], [{"kind": "Service"}]
)


def test_a_service_is_found_by_its_hostname() -> None:
    """With the grant that a reference to the Service needs: another spelling of its name is no way round it."""
    made = service("late", namespace="other")
    route = leading_to(to_hostname("late.other.svc.cluster.local", 8080))
    assert clusters(serve(made, TO_SERVICES, route)) == ["kube_other_late_8080"]
    refused = serve(made, route)
    assert clusters(refused) == [""]
    assert resolved(refused)[:2] == ("False", "RefNotPermitted")


@pytest.mark.parametrize(
    ("one", "two", "expected"),
    [
        ({"creationTimestamp": "2024-01-01T00:00:00Z"}, {"creationTimestamp": "2025-01-01T00:00:00Z"}, "one"),
        ({"creationTimestamp": "2025-01-01T00:00:00Z"}, {"creationTimestamp": "2024-01-01T00:00:00Z"}, "two"),
        ({}, {"creationTimestamp": "2025-01-01T00:00:00Z"}, "two"),
        ({}, {}, "one"),
    ],
)
def test_of_several_with_a_host_the_oldest_is_meant_then_the_first_by_name(
    one: Manifest, two: Manifest, expected: str
) -> None:
    served = serve(entry("two", metadata=two), entry("one", metadata=one), leading_to(to_hostname("se.example.com")))
    assert clusters(served) == [f"istio-se_demo_{expected}_se.example.com_80"]


def test_one_that_is_not_served_stands_behind_those_that_are() -> None:
    old = {"creationTimestamp": "2020-01-01T00:00:00Z"}
    served = serve(
        entry("none", resolution="NONE", endpoints=None, metadata=old),
        entry(),
        leading_to(to_hostname("se.example.com")),
    )
    assert clusters(served) == ["istio-se_demo_se_se.example.com_80"]


def test_the_port_is_part_of_what_is_looked_up() -> None:
    one, two = entry("one", ports=[port(80)]), entry("two", ports=[port(81)])
    served = serve(one, two, leading_to(*[to_hostname("se.example.com", number) for number in (80, 81, 82)]))
    assert clusters(served) == ["istio-se_demo_one_se.example.com_80", "istio-se_demo_two_se.example.com_81", ""]
    assert resolved(served)[1] == "BackendNotFound"
    assert "its ports are 80, 81" in resolved(served)[2]


@pytest.mark.parametrize(
    ("ref", "reason", "says"),
    [
        (to_hostname("nobody.example.com"), "BackendNotFound", "create a ServiceEntry"),
        (to_hostname("se.example.com", None), "BackendNotFound", "needs a port; its ports are 80"),
        (to_hostname("se.example.com", namespace="demo"), "UnsupportedValue", "no namespace"),
        (to_entry("nobody"), "BackendNotFound", "ServiceEntry demo/nobody does not exist"),
        (to_entry("se", 81), "BackendNotFound", "no port 81; its ports are 80"),
        (to_entry("se", namespace="other"), "RefNotPermitted", "add a ReferenceGrant in other"),
        (
            {"group": NETWORKING, "kind": "Sidecar", "name": "se", "port": 80},
            "InvalidKind",
            "a ServiceEntry or a Hostname",
        ),
        ({"group": "", "kind": "ServiceEntry", "name": "se", "port": 80}, "InvalidKind", "core/ServiceEntry"),
    ],
)
def test_what_does_not_resolve_says_what_to_do(ref: Manifest, reason: str, says: str) -> None:
    served = serve(entry(), leading_to(ref))
    assert clusters(served) == [""]
    assert resolved(served)[:2] == ("False", reason)
    assert says in resolved(served)[2]


def test_a_service_entry_of_another_namespace_needs_a_grant_for_its_kind() -> None:
    routes = [{"kind": "HTTPRoute", "namespace": "demo"}]
    targets = [{"kind": "ServiceEntry", "group": NETWORKING, "name": "se"}]
    ref = to_entry(namespace="other")
    for grants, expected in (
        ([reference_grant("g", "other", routes, targets)], "istio-se_other_se_se.example.com_80"),
        ([reference_grant("g", "other", routes, [{"kind": "Service"}])], ""),
    ):
        assert clusters(serve(entry(namespace="other"), grants, leading_to(ref))) == [expected]


@pytest.mark.parametrize(
    ("export_to", "from_demo", "from_other"),
    [
        ([], True, True),
        (["*"], True, True),
        (["."], False, True),
        (["demo"], True, False),
        (["demo", "."], True, True),
        (["~"], False, False),
    ],
)
def test_a_hostname_is_for_namespaces_that_it_is_exported_to(
    export_to: list[str], from_demo: bool, from_other: bool
) -> None:
    for namespace, visible in (("demo", from_demo), ("other", from_other)):
        served = serve(
            entry(namespace="other", exportTo=export_to), leading_to(to_hostname("se.example.com"), namespace=namespace)
        )
        assert bool(clusters(served)[0]) == visible
        if not visible:
            assert f"not exported to namespace {namespace}" in resolved(served)[2]


def test_exports_do_not_count_where_the_object_is_named_with_a_grant() -> None:
    grant = reference_grant(
        "g", "other", [{"kind": "HTTPRoute", "namespace": "demo"}], [{"kind": "ServiceEntry", "group": NETWORKING}]
    )
    served = serve(entry(namespace="other", exportTo=["."]), grant, leading_to(to_entry(namespace="other")))
    assert clusters(served) == ["istio-se_other_se_se.example.com_80"]


def test_a_service_s_annotation_exports_its_hostname() -> None:
    (made, slice_) = service("late", namespace="other")
    made["metadata"]["annotations"] = {"networking.istio.io/exportTo": "., third"}
    for namespace, visible in (("demo", False), ("other", True), ("third", True)):
        ref = to_hostname("late.other.svc.cluster.local", 8080)
        served = serve(made, slice_, TO_SERVICES, leading_to(ref, namespace=namespace))
        assert bool(clusters(served)[0]) == visible


# 1.3: resolution


@pytest.mark.parametrize("resolution", ["NONE", "DYNAMIC_DNS"])
def test_what_is_not_served_has_no_cluster_and_says_so(resolution: str) -> None:
    refs = (to_hostname("se.example.com"), to_entry())
    served = serve(entry(resolution=resolution, endpoints=None), leading_to(*refs))
    assert clusters(served) == ["", ""]
    assert served.proxy().table(CLUSTER) == {}
    assert resolved(served)[:2] == ("False", "UnsupportedValue")
    assert f"resolution {resolution}" in resolved(served)[2]
    assert told(served)["Accepted"][:2] == ("False", "UnsupportedValue")
    messages = [told(served)[kind][2] for kind in ("Accepted", "controlplane.dev/FullySupported")]
    assert [text.rpartition("; ")[2] for text in messages] == ["use DNS, DNS_ROUND_ROBIN or STATIC"] * 2


def test_static_endpoints_come_by_load_assignment() -> None:
    """So that a change of an endpoint leaves the cluster alone."""
    served = serve(entry(endpoints=[{"address": "1.1.1.1"}, {"address": "FD00::1"}]), leading_to(to_entry()))
    (cluster,) = served.proxy().table(CLUSTER).values()
    assert cluster["type"] == "EDS"
    assert endpoints(served) == ["1.1.1.1:80", "fd00::1:80"]


@pytest.mark.parametrize("resolution", ["DNS", "DNS_ROUND_ROBIN"])
def test_names_are_resolved_by_envoy(resolution: str) -> None:
    served = serve(entry(resolution=resolution, endpoints=[{"address": "Foo.example.org"}]), leading_to(to_entry()))
    (cluster,) = served.proxy().table(CLUSTER).values()
    assert cluster["clusterType"]["name"] == "envoy.clusters.dns"
    dns = cluster["clusterType"]["typedConfig"]
    assert dns.get("allAddressesInSingleEndpoint", False) == (resolution == "DNS_ROUND_ROBIN")
    assert endpoints(served) == ["foo.example.org:80"]
    assert served.proxy().table(LOAD_ASSIGNMENT) == {}


@pytest.mark.parametrize("resolution", ["DNS", "DNS_ROUND_ROBIN"])
def test_without_endpoints_each_host_is_resolved_by_its_own_name(resolution: str) -> None:
    """Quirk of kgateway that we do not copy: all hosts in every cluster."""
    hosts = ("a.example.com", "b.example.com")
    ports = [port(targetPort=8080)]
    made = entry("se", *hosts, resolution=resolution, endpoints=None, ports=ports)
    served = serve(made, leading_to(*map(to_hostname, hosts)))
    assert [endpoints(served, name) for name in clusters(served)] == [["a.example.com:8080"], ["b.example.com:8080"]]


def test_a_wildcard_is_resolved_by_its_endpoints() -> None:
    made = entry("se", "*.example.com", resolution="DNS", endpoints=[{"address": "lb.example.com"}])
    served = serve(made, leading_to(to_hostname("*.example.com")))
    assert endpoints(served, clusters(served)[0]) == ["lb.example.com:80"]


# 1.2: protocols


@pytest.mark.parametrize(
    ("protocol", "is_http2"),
    [
        ("HTTP", False),
        ("http2", True),
        ("GRPC", True),
        ("grpc-web", True),
        ("HTTPS", False),
        ("TLS", False),
        ("TCP", False),
    ],
)
def test_the_port_s_protocol_says_what_is_spoken(protocol: str, is_http2: bool) -> None:
    """Ports that take TLS are served too: a DestinationRule may say how."""
    served = serve(entry(ports=[port(protocol=protocol)]), leading_to(to_entry()))
    (cluster,) = served.proxy().table(CLUSTER).values()
    assert ("typedExtensionProtocolOptions" in cluster) == is_http2
    assert resolved(served)[:2] == ("True", "ResolvedRefs")


def test_a_port_for_datagrams_is_not_served() -> None:
    ports = [port(), port(53, "dns", "UDP")]
    served = serve(entry(ports=ports), leading_to(to_entry(), to_entry(number=53)))
    assert clusters(served) == ["istio-se_demo_se_se.example.com_80", ""]
    assert "UDP" in resolved(served)[2]
    assert "port 53" in told(served)["PartiallyInvalid"][2]


# 1.4: endpoints


@pytest.mark.parametrize(
    ("ports", "own", "expected"),
    [
        ([port()], {}, 80),
        ([port(targetPort=8080)], {}, 8080),
        ([port(targetPort=8080)], {"http": 9090}, 9090),
        ([port()], {"http": 9090}, 9090),
        ([port(targetPort=8080)], {"other": 9090}, 8080),
    ],
)
@pytest.mark.parametrize("resolution", ["STATIC", "DNS"])
def test_an_endpoint_s_port(ports: list[Manifest], own: dict[str, int], expected: int, resolution: str) -> None:
    """Its own by the port's name, else the target port, else the port."""
    made = entry(ports=ports, endpoints=[{"address": "1.1.1.1", "ports": own}], resolution=resolution)
    assert endpoints(serve(made, leading_to(to_entry()))) == [f"1.1.1.1:{expected}"]


def test_target_ports_are_each_port_s_own() -> None:
    """se-hostname-ref-multiport."""
    ports = [port(80, "http", targetPort=18080), port(443, "https", "HTTPS", targetPort=18443)]
    refs = [to_hostname("se.example.com", number) for number in (80, 443)]
    served = serve(entry(ports=ports), leading_to(*refs))
    assert [endpoints(served, name) for name in clusters(served)] == [["1.1.1.1:18080"], ["1.1.1.1:18443"]]


def test_weights_and_localities_are_what_the_endpoint_says() -> None:
    listed = [
        {"address": "1.1.1.1", "weight": 7, "locality": "r1/z1/s1"},
        {"address": "1.1.1.2", "locality": "r1"},
        {"address": "1.1.1.3", "labels": {"topology.kubernetes.io/region": "r3", "topology.kubernetes.io/zone": "z3"}},
        {"address": "1.1.1.4", "locality": "r4", "labels": {"topology.kubernetes.io/zone": "z4"}},
    ]
    served = serve(entry(endpoints=listed), leading_to(to_entry()))
    assert endpoints(served) == ["r1 1.1.1.2:80", "r1/z1/s1 1.1.1.1:80*7", "r3/z3 1.1.1.3:80", "r4 1.1.1.4:80"]


def test_what_has_no_address_of_ours_is_left_out() -> None:
    listed = [{"address": "1.1.1.1"}, {"address": "unix:///var/run/x"}, {"address": "", "network": "n1"}]
    assert endpoints(serve(entry(endpoints=listed), leading_to(to_entry()))) == ["1.1.1.1:80"]


def test_an_address_that_is_listed_twice_is_one_endpoint() -> None:
    listed = [{"address": "1.1.1.1", "weight": 2}, {"address": "1.1.1.1", "weight": 1}]
    assert endpoints(serve(entry(endpoints=listed), leading_to(to_entry()))) == ["1.1.1.1:80*2"]


def mesh_tls(served: Served) -> list[str]:
    """Addresses of endpoints that take Istio's mutual TLS."""
    return [
        item["endpoint"]["address"]["socketAddress"]["address"]
        for group in assignment(served, "istio-se_demo_se_se.example.com_80")["endpoints"]
        for item in group["lbEndpoints"]
        if item.get("metadata", {}).get("filterMetadata", {}).get("envoy.transport_socket_match")
        == {"tlsMode": "istio"}
    ]


@pytest.mark.parametrize(("location", "expected"), [("MESH_INTERNAL", ["1.1.1.1"]), ("MESH_EXTERNAL", [])])
def test_mutual_tls_is_for_labelled_workloads_of_the_mesh(location: str, expected: list[str]) -> None:
    labels = {"security.istio.io/tlsMode": "istio"}
    listed = [{"address": "1.1.1.1", "labels": labels}, {"address": "1.1.1.2"}]
    assert mesh_tls(serve(entry(endpoints=listed, location=location), leading_to(to_entry()))) == expected
    (made,) = [pod("p", "1.1.1.1", labels={"app": "x", **labels})]
    assert mesh_tls(serve(entry(location=location, **SELECTING), made, leading_to(to_entry()))) == expected


# 1.5: workloadSelector


def test_pods_and_workload_entries_are_selected() -> None:
    """se-backendref, se-workloadentry."""
    served = serve(
        entry(**SELECTING, ports=[port(targetPort=8080)]),
        node("n1"),
        node("n2"),
        pod("p1", "10.0.0.1", "n1"),
        pod("p2", "10.0.0.2", "n2"),
        pod("p3", "10.0.0.3", "gone"),
        workload("w1", "1.1.1.1", ports={"http": 9090}, locality="r1/z1/sz1", weight=4),
        workload("w2", "255.0.0.1"),
        leading_to(to_entry()),
    )
    assert endpoints(served) == [
        "10.0.0.3:8080",
        "255.0.0.1:8080",
        "r1/z1/s1 10.0.0.1:8080",
        "r1/z1/sz1 1.1.1.1:9090*4",
        "r2 10.0.0.2:8080",
    ]
    assert told(served) == {}


@pytest.mark.parametrize(
    ("made", "is_served"),
    [
        (pod("p", "10.0.0.1"), True),
        (pod("p", "10.0.0.1", ready="False"), False),
        (pod("p", "10.0.0.1", deletionTimestamp="2024-05-31T12:00:00Z"), False),
        (pod("p", ""), False),
        (pod("p", "10.0.0.1", labels={"app": "y"}), False),
        (pod("p", "10.0.0.1", namespace="other"), False),
        (workload("w", "10.0.0.1"), True),
        (workload("w", "10.0.0.1", status={"conditions": [{"type": "Healthy", "status": "True"}]}), True),
        (workload("w", "10.0.0.1", status={"conditions": [{"type": "Healthy", "status": "False"}]}), False),
        (workload("w", "10.0.0.1", metadata={"annotations": {"proxy.istio.io/health-checks-enabled": "true"}}), False),
        (workload("w", "10.0.0.1", labels={}), False),
        (workload("w", "10.0.0.1", namespace="other"), False),
        (workload("w", "name.example.com"), False),
    ],
)
def test_who_is_served(made: Manifest, is_served: bool) -> None:
    """Ready, not terminating, healthy, of the namespace, labelled, with an address."""
    served = serve(entry(**SELECTING), made, leading_to(to_entry()))
    assert endpoints(served) == (["10.0.0.1:80"] if is_served else [])


def test_a_workload_entry_is_selected_by_the_labels_of_its_metadata_alone() -> None:
    (made,) = [workload("w", "10.0.0.1", labels={})]
    made["spec"]["labels"] = {"app": "x"}
    assert endpoints(serve(entry(**SELECTING), made, leading_to(to_entry()))) == []


def test_an_empty_selector_selects_nothing() -> None:
    served = serve(
        entry(workloadSelector={"labels": {}}), pod("p", "10.0.0.1"), workload("w", "10.0.0.2"), leading_to(to_entry())
    )
    assert endpoints(served) == []


def test_a_selector_does_not_count_where_names_are_resolved() -> None:
    served = serve(entry(resolution="DNS", **SELECTING), workload("w", "10.0.0.2"), leading_to(to_entry()))
    assert endpoints(served) == ["se.example.com:80"]
    assert "does not count with resolution DNS" in told(served)["PartiallyInvalid"][2]


def test_a_pod_s_own_labels_tell_its_locality_where_no_node_does() -> None:
    labels = {"app": "x", "topology.kubernetes.io/region": "own", "topology.kubernetes.io/zone": "z9"}
    made = (pod("p1", "10.0.0.1", labels=labels), pod("p2", "10.0.0.2", "n2", labels=labels), node("n2"))
    served = serve(entry(**SELECTING), *made, leading_to(to_entry()))
    assert endpoints(served) == ["own/z9 10.0.0.1:80", "r2/z9 10.0.0.2:80"]


# statuses


def test_of_an_entry_with_which_all_is_well_nothing_is_said() -> None:
    assert told(serve(entry(), leading_to(to_entry()))) == {}


@pytest.mark.parametrize(
    ("made", "type_", "says"),
    [
        ([entry(ports=[])], "Accepted", "ports: there are none"),
        ([entry(ports=[port(protocol="UDP")])], "Accepted", "UDP"),
        ([entry(**SELECTING)], "ResolvedRefs", "no Pod and no WorkloadEntry of namespace demo"),
        ([entry(**SELECTING), pod("p", "10.0.0.1", ready="False")], "ResolvedRefs", "none of the 1 workloads"),
        (
            [entry(**SELECTING), workload("w", "a.example.com")],
            "PartiallyInvalid",
            "WorkloadEntry demo/w: 'a.example.com'",
        ),
        ([entry(workloadSelector={"labels": {}})], "ResolvedRefs", "without labels"),
        ([entry(endpoints=None)], "ResolvedRefs", "requests get 503"),
        ([entry(endpoints=[{"address": "1.1.1.1", "locality": "a/b/c/d"}])], "PartiallyInvalid", "'a/b/c/d'"),
        ([entry(endpoints=[{"address": "unix:///x"}])], "controlplane.dev/FullySupported", "endpoints[0]"),
        ([entry(resolution="NONE", endpoints=None)], "controlplane.dev/FullySupported", "NONE"),
    ],
)
def test_what_is_left_out_is_told(made: list[Manifest], type_: str, says: str) -> None:
    served = serve(made)
    assert says in told(served)[type_][2]


# mirrors


@pytest.mark.parametrize(
    ("ref", "cluster"),
    [
        (to_hostname("se.example.com"), "istio-se_demo_se_se.example.com_80"),
        (to_entry(), "istio-se_demo_se_se.example.com_80"),
        (backend("v2"), "kube_demo_v2_8080"),
        (to_hostname("nobody.example.com"), None),
    ],
)
def test_a_mirror_goes_wherever_a_backend_can(ref: Manifest, cluster: str | None) -> None:
    made = rule(filters=[filter_("RequestMirror", backendRef=ref)])
    served = serve(entry(), http_route("r", made))
    (host,) = served.proxy().table(VIRTUAL_HOST).values()
    policies = host["routes"][0]["route"].get("requestMirrorPolicies", [])
    assert [policy["cluster"] for policy in policies] == ([cluster] if cluster else [])
    assert set(served.proxy().table(CLUSTER)) == {"kube_demo_v1_8080", *([cluster] if cluster else [])}
