"""1.8, TrafficDistribution of Services and ServiceEntries, and 1.9, kgateway's golden examples."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conformance.manifests import Manifest

from .mesh import (
    NETWORK,
    REGION,
    SUBZONE,
    ZONE,
    at,
    entry,
    leading_to,
    locality,
    port,
    rule_for,
    to_entry,
    to_host,
    to_service,
    view,
    workload,
)
from .places import ASKING, ENTRY, SERVICE, by_pod, place_labels, reviews, reviews_entry

ANNOTATION = "networking.istio.io/traffic-distribution"

# First list, 1 to 3: compacted, topology.kubernetes.io/region, and the network first. Of the raw values with the proxy n1 and
# r1/r1z2/r1z2s3 on worker: PreferClose has three entries, so reviews-3 (no network, other zone) is 3 + 1 and reviews-4 (n2,
# other region) 3 + 2; PreferSameNode has five, so reviews-2 (other subzone) is 2, reviews-3 5 + 3, reviews-4 5 + 4.
VALUES = [
    ("PreferClose", [0, 0, 1, 2]),
    ("PreferSameZone", [0, 0, 1, 2]),
    ("PreferSameNode", [0, 1, 2, 3]),
    ("PreferNetwork", [0, 0, 1, 1]),
    ("Any", [0, 0, 0, 0]),
    ("SomethingElse", [0, 0, 0, 0]),
    ("", [0, 0, 0, 0]),
]


@pytest.mark.parametrize(("value", "expected"), VALUES)
def test_a_service_says_it_in_an_annotation(value: str, expected: list[int]) -> None:
    served = view(reviews(annotations={ANNOTATION: value}), leading_to(to_service()), **ASKING)
    assert by_pod(served.priorities(SERVICE)) == expected


@pytest.mark.parametrize(("value", "expected"), [item for item in VALUES if item[0].startswith("PreferSame")])
def test_a_service_says_it_in_its_field(value: str, expected: list[int]) -> None:
    served = view(reviews(trafficDistribution=value), leading_to(to_service()), **ASKING)
    assert by_pod(served.priorities(SERVICE)) == expected


@pytest.mark.parametrize(("value", "expected"), VALUES)
def test_a_service_entry_says_it_in_an_annotation(value: str, expected: list[int]) -> None:
    served = view(reviews_entry(annotations={ANNOTATION: value}), leading_to(to_host()), **ASKING)
    assert by_pod(served.priorities(ENTRY)) == expected


def test_the_field_stands_before_the_annotation() -> None:
    made = reviews(trafficDistribution="PreferClose", annotations={ANNOTATION: "PreferSameNode"})
    assert by_pod(view(made, leading_to(to_service()), **ASKING).priorities(SERVICE)) == [0, 0, 1, 2]


def test_without_any_all_are_of_one_priority() -> None:
    assert by_pod(view(reviews(), leading_to(to_service()), **ASKING).priorities(SERVICE)) == [0, 0, 0, 0]


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (locality(failoverPriority=["version"]), [0, 1, 1, 0]),
        # 2.7: switched off is nothing at all, also of what the Service says.
        (locality(enabled=False), [0, 0, 0, 0]),
        # A rule that says nothing of localities gives no priorities of its own, so the Service's hold.
        ({"connectionPool": {"tcp": {"maxConnections": 7}}}, [0, 1, 2, 3]),
    ],
)
def test_a_rule_with_priorities_stands_before_it(policy: dict[str, Any], expected: list[int]) -> None:
    made = [*reviews(trafficDistribution="PreferSameNode"), rule_for("reviews", **policy)]
    assert by_pod(view(made, leading_to(to_service()), **ASKING).priorities(SERVICE)) == expected


def test_the_deprecated_region_label_counts_for_nothing() -> None:
    """First list, 2."""
    near, far = "r1/z1/s1", "r2/z1/s1"
    made = entry(endpoints=[at("1.1.1.1", near), at("2.2.2.2", far)], annotations={ANNOTATION: "PreferClose"})
    labels = {"failure-domain.beta.kubernetes.io/region": "r2"}
    served = view(made, leading_to(to_host()), locality=near, labels=labels)
    assert served.priorities(ENTRY) == {"1.1.1.1": 0, "2.2.2.2": 1}


# 1.9

THREE = [at("1.1.1.1", "r1/r1z2/r1z2s4"), at("2.2.2.2", "r1/r1z3/r1z3s4"), at("3.3.3.3", "r2/r2z1/r2z1s1")]
PLACES = locality(failoverPriority=[REGION, ZONE, SUBZONE])
WHERE = {"labels": {"app": "reviews"}}


def golden_dns() -> list[Manifest]:
    endpoints = [at("foo.external.com", "r1/r1z2/r1z2s4"), at("1.1.1.1", "r2/r2z1/r2z1s1")]
    return [entry(endpoints=endpoints, resolution="DNS")]


def golden_backend_ref() -> list[Manifest]:
    made = reviews_entry()
    return [
        *made,
        workload("far", "255.0.0.1", {"app": "reviews"}),
        workload("empty", "", WHERE["labels"], network="n9"),
    ]


@pytest.mark.parametrize(
    ("made", "ref", "expected"),
    [
        pytest.param(
            golden_dns(), to_host(), {"foo.external.com": 0, "1.1.1.1": 1}, id="se-dns-endpoints, raw 1 and 3"
        ),
        pytest.param(
            [entry(endpoints=THREE)],
            to_host(),
            {"1.1.1.1": 0, "2.2.2.2": 1, "3.3.3.3": 2},
            id="se-hostname-ref, raw 1, 2, 3",
        ),
        pytest.param(
            golden_backend_ref(),
            to_entry(),
            {"10.244.1.11": 0, "10.244.2.14": 1, "10.244.3.3": 2, "10.244.4.4": 3, "255.0.0.1": 3},
            id="se-backendref",
        ),
    ],
)
def test_golden_priorities(made: list[Manifest], ref: Manifest, expected: dict[str, int]) -> None:
    served = view(made, rule_for("se.example.com", **PLACES), leading_to(ref), **ASKING)
    assert served.priorities(ENTRY) == expected


def test_golden_without_locality_has_no_locality() -> None:
    """``se-backendref``: the WorkloadEntry without a locality, and the one without an address."""
    served = view(golden_backend_ref(), rule_for("se.example.com", **PLACES), leading_to(to_entry()), **ASKING)
    (group,) = (g for g in served.groups(ENTRY) if "locality" not in g)
    assert [item["endpoint"]["address"]["socketAddress"]["address"] for item in group["lbEndpoints"]] == ["255.0.0.1"]


def test_golden_multiport() -> None:
    """``se-hostname-ref-multiport``."""
    ports = [port(80, targetPort=18080), port(443, "https", "TLS", targetPort=18443)]
    served = view(entry(endpoints=[at("1.1.1.1")], ports=ports), leading_to(to_host(), to_host(number=443)))
    assert {name: served.sockets(name) for name in served.clusters} == {
        "istio-se_gwtest_se_se.example.com_80": ["1.1.1.1:18080"],
        "istio-se_gwtest_se_se.example.com_443": ["1.1.1.1:18443"],
    }


def test_golden_workload_entry() -> None:
    """``se-workloadentry``."""
    made = entry(workloadSelector=WHERE)
    work = workload("w", "1.1.1.1", {"app": "reviews"}, ports={"http": 8080}, locality="r1/z1/sz1")
    served = view(made, work, leading_to(to_host()))
    assert served.sockets(ENTRY) == ["1.1.1.1:8080"]
    assert [place for place, *_ in served.grouped(ENTRY)] == ["r1/z1/sz1"]


@pytest.mark.parametrize("source", ["field", "annotation"])
def test_golden_prefer_same_node(source: str) -> None:
    """``svc-prefer-same-node``: raw 0, 2, 5, 5 at kgateway; 0, 2, 8, 9 with the network first, then compacted."""
    said: dict[str, Any] = {"trafficDistribution": "PreferSameNode"}
    if source == "annotation":
        said = {"annotations": {ANNOTATION: "PreferSameNode"}}
    assert by_pod(view(reviews(**said), leading_to(to_service()), **ASKING).priorities(SERVICE)) == [0, 1, 2, 3]


def test_labels_of_an_inline_endpoint_tell_its_locality_and_network() -> None:
    """1.5, effective labels, as TrafficDistribution sees them."""
    endpoints = [
        at("1.1.1.1", labels={**place_labels("r1/z1/s1"), NETWORK: "n1"}),
        at("2.2.2.2", "r1/z1/s1", network="n2", labels={NETWORK: "n1"}),
    ]
    made = entry(endpoints=endpoints, annotations={ANNOTATION: "PreferClose"})
    served = view(made, leading_to(to_host()), locality="r1/z1/s1", labels={NETWORK: "n1"})
    assert served.priorities(ENTRY) == {"1.1.1.1": 0, "2.2.2.2": 1}
