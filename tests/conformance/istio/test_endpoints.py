"""1.4 and 1.5: endpoints of ServiceEntries, inline, by selector, by name; 1.2 and 1.3 as far as they stand around them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conformance.manifests import Manifest

from .mesh import (
    NETWORK,
    REGION,
    SUBZONE,
    ZONE,
    View,
    at,
    entry,
    leading_to,
    locality,
    node,
    pod,
    port,
    rule_for,
    to_host,
    view,
    workload,
)
from .places import ENTRY

APP = {"app": "x"}
SELECTING: dict[str, Any] = {"workloadSelector": {"labels": APP}}
DNS = ["DNS", "DNS_ROUND_ROBIN"]


def seen(*objects: Any, host: str = "se.example.com", **asking: Any) -> View:
    return view(objects, leading_to(to_host(host)), **asking)


def places(served: View, cluster: str = ENTRY) -> dict[str, str]:
    """Locality by address."""
    return {address: place for place, _, _, there in served.grouped(cluster) for address in there}


# Resolution


@pytest.mark.parametrize("resolution", ["STATIC", *DNS])
def test_the_type_of_the_cluster(resolution: str) -> None:
    """1.3; ADR 6: what has IP addresses comes by load assignment."""
    cluster = seen(entry(endpoints=[at("1.1.1.1")], resolution=resolution)).cluster(ENTRY)
    assert cluster["connectTimeout"] == "5s"
    if resolution == "STATIC":
        assert cluster["type"] == "EDS"
        return
    assert "edsClusterConfig" not in cluster
    assert cluster["clusterType"]["name"] == "envoy.clusters.dns"
    config = cluster["clusterType"]["typedConfig"]
    assert config.get("allAddressesInSingleEndpoint", False) is (resolution == "DNS_ROUND_ROBIN")


@pytest.mark.parametrize("resolution", ["NONE", "DYNAMIC_DNS"])
def test_what_is_not_served_has_no_cluster_and_is_told(resolution: str) -> None:
    """First list, 9."""
    host = "*.example.com" if resolution == "DYNAMIC_DNS" else "se.example.com"
    served = seen(entry("se", host, resolution=resolution), host=host)
    assert served.clusters == {}
    (parent,) = served.parents("r")
    assert parent["ResolvedRefs"][0] == "False"
    assert resolution in served.told("ServiceEntry", "se") + served.told("HTTPRoute", "r")


# Inline endpoints: the port


@pytest.mark.parametrize(
    ("ports", "own", "expected"),
    [
        ([port(80)], {}, 80),
        ([port(80, targetPort=8080)], {}, 8080),
        ([port(80, targetPort=8080)], {"http": 9090}, 9090),
        ([port(80)], {"http": 9090}, 9090),
        ([port(80, targetPort=8080)], {"other": 9090}, 8080),
        ([port(80)], {"other": 9090}, 80),
    ],
)
@pytest.mark.parametrize("way", ["inline", "DNS", "WorkloadEntry"])
def test_the_port_of_an_endpoint(way: str, ports: list[Manifest], own: dict[str, int], expected: int) -> None:
    if way == "WorkloadEntry":
        served = seen(entry(ports=ports, **SELECTING), workload("w", "1.1.1.1", APP, ports=own))
    else:
        resolution = "DNS" if way == "DNS" else "STATIC"
        served = seen(entry(ports=ports, endpoints=[at("1.1.1.1", ports=own)], resolution=resolution))
    assert served.sockets(ENTRY) == [f"1.1.1.1:{expected}"]


@pytest.mark.parametrize(("target", "expected"), [({}, 80), ({"targetPort": 8080}, 8080)])
def test_the_port_of_a_pod(target: dict[str, Any], expected: int) -> None:
    served = seen(entry(ports=[port(**target)], **SELECTING), pod("p", "10.0.0.1", labels=APP))
    assert served.sockets(ENTRY) == [f"10.0.0.1:{expected}"]


# Inline endpoints: the address


@pytest.mark.parametrize(
    ("resolution", "address", "is_served"),
    [
        ("STATIC", "1.1.1.1", True),
        ("STATIC", "2001:db8::1", True),
        ("STATIC", "name.example.com", False),
        ("DNS", "1.1.1.1", True),
        ("DNS", "name.example.com", True),
        ("DNS_ROUND_ROBIN", "name.example.com", True),
    ],
)
def test_the_address_of_an_endpoint(resolution: str, address: str, is_served: bool) -> None:
    made = [at(address)] if resolution == "DNS_ROUND_ROBIN" else [at(address), at("9.9.9.9")]
    served = seen(entry(endpoints=made, resolution=resolution))
    assert (address in places(served)) is is_served


@pytest.mark.parametrize("resolution", DNS)
def test_without_endpoints_a_host_is_its_own_endpoint(resolution: str) -> None:
    """First list, 8: the backend's own host, not all of the entry's."""
    made = entry("se", "a.example.com", "b.example.com", resolution=resolution)
    served = view(made, leading_to(to_host("a.example.com"), to_host("b.example.com")))
    assert {name: served.sockets(name) for name in served.clusters} == {
        "istio-se_gwtest_se_a.example.com_80": ["a.example.com:80"],
        "istio-se_gwtest_se_b.example.com_80": ["b.example.com:80"],
    }


def test_an_address_that_is_empty_has_no_endpoint() -> None:
    served = seen(entry(endpoints=[{"network": "n1"}, at("1.1.1.1")]))
    assert served.sockets(ENTRY) == ["1.1.1.1:80"]


@pytest.mark.parametrize("way", ["inline", "DNS", "WorkloadEntry"])
@pytest.mark.parametrize(("weight", "expected"), [(None, None), (0, None), (1, 1), (7, 7)])
def test_weights(way: str, weight: int | None, expected: int | None) -> None:
    fields: dict[str, Any] = {} if weight is None else {"weight": weight}
    if way == "WorkloadEntry":
        served = seen(entry(**SELECTING), workload("w", "1.1.1.1", APP, **fields))
    else:
        served = seen(entry(endpoints=[at("1.1.1.1", **fields)], resolution="DNS" if way == "DNS" else "STATIC"))
    ((item,),) = (group["lbEndpoints"] for group in served.groups(ENTRY))
    assert item.get("loadBalancingWeight", 1) == (expected or 1)


@pytest.mark.parametrize("location", ["MESH_INTERNAL", "MESH_EXTERNAL", None])
@pytest.mark.parametrize("mode", ["istio", "disabled", None])
def test_mutual_tls_of_the_mesh(location: str | None, mode: str | None) -> None:
    labels = {"security.istio.io/tlsMode": mode} if mode else {}
    fields = {"location": location} if location else {}
    served = seen(entry(endpoints=[at("1.1.1.1", labels=labels)], **fields))
    ((item,),) = (group["lbEndpoints"] for group in served.groups(ENTRY))
    found = item.get("metadata", {}).get("filterMetadata", {}).get("envoy.transport_socket_match")
    assert found == ({"tlsMode": "istio"} if (location, mode) == ("MESH_INTERNAL", "istio") else None)


# Who is ready


@pytest.mark.parametrize(
    ("made", "is_served"),
    [
        (pod("p", "1.1.1.1", labels=APP), True),
        (pod("p", "1.1.1.1", labels=APP, ready=False), False),
        (pod("p", "", labels=APP), False),
        (workload("w", "1.1.1.1", APP), True),
    ],
)
def test_readiness(made: Manifest, is_served: bool) -> None:
    assert (seen(entry(**SELECTING), made).sockets(ENTRY) == ["1.1.1.1:80"]) is is_served


def test_a_pod_that_ends_is_left_out() -> None:
    made = pod("p", "1.1.1.1", labels=APP)
    made["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert seen(entry(**SELECTING), made).sockets(ENTRY) == []


# 1.5: selection


@pytest.mark.parametrize(
    ("selector", "made", "is_selected"),
    [
        (APP, pod("p", "1.1.1.1", labels={"app": "x", "version": "v1"}), True),
        (APP, pod("p", "1.1.1.1", labels={"app": "y"}), False),
        (APP, pod("p", "1.1.1.1"), False),
        ({"app": "x", "version": "v1"}, pod("p", "1.1.1.1", labels=APP), False),
        (APP, workload("w", "1.1.1.1", APP), True),
        (APP, workload("w", "1.1.1.1", {}, spec_labels=APP), False),
        (APP, workload("w", "1.1.1.1", APP, spec_labels={"app": "y"}), True),
        (APP, pod("p", "1.1.1.1", labels=APP, namespace="elsewhere"), False),
        (APP, workload("w", "1.1.1.1", APP, namespace="elsewhere"), False),
        # Labels that the Node gives count for Pods.
        ({ZONE: "z1"}, pod("p", "1.1.1.1", "n1"), True),
        ({ZONE: "z2"}, pod("p", "1.1.1.1", "n1"), False),
        # An empty one selects nothing.
        ({}, pod("p", "1.1.1.1", labels=APP), False),
        ({}, workload("w", "1.1.1.1", APP), False),
    ],
)
def test_selection(selector: dict[str, str], made: Manifest, is_selected: bool) -> None:
    served = seen(entry(workloadSelector={"labels": selector}), made, node("n1", "r1/z1"))
    assert (served.sockets(ENTRY) == ["1.1.1.1:80"]) is is_selected


@pytest.mark.parametrize("resolution", DNS)
def test_a_selector_is_ignored_where_names_are_resolved(resolution: str) -> None:
    served = seen(entry(resolution=resolution, **SELECTING), pod("p", "1.1.1.1", labels=APP))
    assert served.sockets(ENTRY) == ["se.example.com:80"]


# 1.5: derived labels

PRIORITY = locality(failoverPriority=[NETWORK, REGION, ZONE, SUBZONE])
IN_LABELS = {REGION: "r1", ZONE: "z1", SUBZONE: "s1"}


@pytest.mark.parametrize(
    ("made", "place"),
    [
        (workload("w", "1.1.1.1", APP, locality="r1/z1/s1"), "r1/z1/s1"),
        (workload("w", "1.1.1.1", APP, locality="r1/z1"), "r1/z1"),
        (workload("w", "1.1.1.1", APP, locality="r1"), "r1"),
        (workload("w", "1.1.1.1", {**APP, **IN_LABELS}), "r1/z1/s1"),
        (workload("w", "1.1.1.1", APP, spec_labels=IN_LABELS), "r1/z1/s1"),
        (workload("w", "1.1.1.1", {**APP, **IN_LABELS}, locality="r2/z2/s2"), "r2/z2/s2"),
        (workload("w", "1.1.1.1", {**APP, REGION: "r9"}, spec_labels={REGION: "r1"}), "r1"),
        (workload("w", "1.1.1.1", APP), ""),
        (pod("p", "1.1.1.1", "n1", APP), "r1/z1/s1"),
        (pod("p", "1.1.1.1", "n1", {**APP, REGION: "r9"}), "r1/z1/s1"),
        (pod("p", "1.1.1.1", "unknown", {**APP, REGION: "r9"}), "r9"),
        (pod("p", "1.1.1.1", "", APP), ""),
    ],
)
def test_the_locality_of_a_workload(made: Manifest, place: str) -> None:
    assert places(seen(entry(**SELECTING), node("n1", "r1/z1/s1"), made)) == {"1.1.1.1": place}


@pytest.mark.parametrize(
    ("fields", "is_near"),
    [
        ({"network": "n1"}, True),
        ({"network": "n2"}, False),
        ({"spec_labels": {NETWORK: "n1"}}, True),
        ({"network": "n1", "spec_labels": {NETWORK: "n2"}}, True),
        ({}, False),
    ],
)
def test_the_network_of_a_workload(fields: dict[str, Any], is_near: bool) -> None:
    made = [
        entry(**SELECTING),
        workload("w", "1.1.1.1", APP, **fields),
        workload("far", "2.2.2.2", APP, locality="r9/z9/s9", network="n1"),
    ]
    served = seen(*made, rule_for("se.example.com", **PRIORITY), labels={NETWORK: "n1"})
    # Near: of the network of the proxy, and of no locality, as it is; 2.2.2.2 is in a region.
    assert served.priorities(ENTRY)["1.1.1.1"] == (0 if is_near else 1)


def test_pods_and_workload_entries_stand_side_by_side() -> None:
    made = [pod("p", "10.0.0.1", "n1", APP), workload("w", "1.1.1.1", APP, locality="r2"), node("n1", "r1/z1")]
    assert places(seen(entry(**SELECTING), *made)) == {"10.0.0.1": "r1/z1", "1.1.1.1": "r2"}
