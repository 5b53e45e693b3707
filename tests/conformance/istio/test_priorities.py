"""2.5, how endpoints get priorities, and kgateway's tables for it, 2.6."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conformance.manifests import Manifest

from .mesh import (
    NETWORK,
    NS,
    REGION,
    SUBZONE,
    ZONE,
    at,
    entry,
    leading_to,
    locality,
    pod,
    rule_for,
    to_host,
    to_service,
    view,
    workload,
)
from .places import ASKING, ENTRY, SERVICE, by_pod, reviews, reviews_entry

PLACES = [REGION, ZONE, SUBZONE]
HERE = "r1/z1/s1"

# 2.6


def port_level(number: int = 80, **setting: Any) -> dict[str, Any]:
    return {"portLevelSettings": [{"port": {"number": number}, **locality(**setting)}]}


TABLE = [
    pytest.param({}, locality(failoverPriority=PLACES), [0, 1, 2, 3], id="failover"),
    pytest.param({}, port_level(enabled=True), [0, 1, 2, 3], id="failover-default"),
    pytest.param(
        {"namespace": "default", "exportTo": [NS]}, port_level(enabled=True), [0, 1, 2, 3], id="failover-default-diffns"
    ),
    pytest.param(
        {},
        locality(failoverPriority=["version=v1", "topology.istio.io/network=n1"]),
        [0, 2, 2, 1],
        id="failover-key-val-labels",
    ),
    pytest.param(
        {},
        locality(failoverPriority=["version", "topology.istio.io/network"]),
        [0, 2, 2, 1],
        id="failover-label-keys",
    ),
]


@pytest.mark.parametrize(("metadata", "policy", "expected"), TABLE)
def test_of_a_service(metadata: Manifest, policy: dict[str, Any], expected: list[int]) -> None:
    rule = rule_for("reviews.gwtest.svc.cluster.local", **metadata, **policy)
    assert by_pod(view(reviews(), rule, leading_to(to_service()), **ASKING).priorities(SERVICE)) == expected


@pytest.mark.parametrize(("metadata", "policy", "expected"), TABLE)
def test_of_a_service_entry(metadata: Manifest, policy: dict[str, Any], expected: list[int]) -> None:
    served = view(reviews_entry(), rule_for("se.example.com", **metadata, **policy), leading_to(to_host()), **ASKING)
    assert by_pod(served.priorities(ENTRY)) == expected


@pytest.mark.parametrize("setting", [{"failoverPriority": [REGION]}, {"enabled": True}, {}])
def test_of_two_regions(setting: dict[str, Any]) -> None:
    """``cla_test.go``: by label and by an empty PriorityInfo alike."""
    made = entry(endpoints=[at("1.1.1.1", "R1"), at("2.2.2.2", "R2")])
    served = view(made, rule_for("se.example.com", **locality(**setting)), leading_to(to_host()), locality="R1")
    assert served.priorities(ENTRY) == {"1.1.1.1": 0, "2.2.2.2": 1}


# 2.5


def asked(endpoints: list[Manifest], setting: dict[str, Any], **asking: Any) -> dict[str, int]:
    """Priorities of a ServiceEntry's inline endpoints under a localityLbSetting."""
    made = [entry(endpoints=endpoints), rule_for("se.example.com", **locality(**setting)), *leading_to(to_host())]
    return view(*made, **asking).priorities(ENTRY)


FOUR = [at("1.1.1.1", HERE), at("2.2.2.2", "r1/z1/s2"), at("3.3.3.3", "r1/z2/s1"), at("4.4.4.4", "r2/z1/s1")]


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ({"enabled": True}, [0, 1, 2, 3]),
        ({"enabled": False}, [0, 0, 0, 0]),
        ({"enabled": False, "failoverPriority": PLACES}, [0, 0, 0, 0]),
        ({"failoverPriority": [ZONE]}, [0, 0, 1, 0]),
        ({"failoverPriority": [SUBZONE, ZONE]}, [0, 2, 1, 0]),
        # No entry whose `from` is the proxy's region: the other regions stay at 3.
        ({"failover": [{"from": "r9", "to": "r2"}]}, [0, 1, 2, 3]),
        ({"failover": [{"from": "r1", "to": "r2"}]}, [0, 1, 2, 3]),
        ({"failover": [{"from": "r1", "to": "r9"}]}, [0, 1, 2, 3]),
        ({"failoverPriority": [f"{REGION}=r2"]}, [1, 1, 1, 0]),
        # Not exactly two parts: the first part is a label, and nothing overrides the proxy's value.
        ({"failoverPriority": [f"{REGION}=r2=x"]}, [0, 0, 0, 1]),
    ],
)
def test_localities(setting: dict[str, Any], expected: list[int]) -> None:
    assert list(asked(FOUR, setting, locality=HERE).values()) == expected


def test_the_first_failover_from_the_proxy_s_region_is_meant() -> None:
    endpoints = [at("1.1.1.1", HERE), at("2.2.2.2", "r2"), at("3.3.3.3", "r3"), at("4.4.4.4")]
    entries = [{"from": "r5", "to": "r6"}, {"from": "r1", "to": "r3"}, {"from": "r1", "to": "r2"}]
    found = asked(endpoints, {"failover": entries}, locality=HERE)
    assert found == {"1.1.1.1": 0, "3.3.3.3": 1, "2.2.2.2": 2, "4.4.4.4": 2}


def test_a_label_that_both_lack_is_equal() -> None:
    endpoints = [at("1.1.1.1"), at("2.2.2.2", labels={"tier": "gold"})]
    assert asked(endpoints, {"failoverPriority": ["tier"]}) == {"1.1.1.1": 0, "2.2.2.2": 1}
    assert asked(endpoints, {"failoverPriority": ["tier"]}, labels={"tier": "gold"}) == {"1.1.1.1": 1, "2.2.2.2": 0}


def test_priorities_have_no_gaps_whatever_is_missing() -> None:
    """First list, 1."""
    found = asked([FOUR[1], FOUR[3]], {"failoverPriority": PLACES}, locality=HERE)
    assert found == {"2.2.2.2": 0, "4.4.4.4": 1}


def test_a_locality_is_split_by_priority_and_weighs_what_its_endpoints_do() -> None:
    endpoints = [
        at("1.1.1.1", "r2", weight=5, labels={"version": "v1"}),
        at("2.2.2.2", "r2", labels={"version": "v1"}),
        at("3.3.3.3", "r2", weight=3, labels={"version": "v2"}),
        at("4.4.4.4", "r1", labels={"version": "v2"}),
    ]
    made = [entry(endpoints=endpoints), *leading_to(to_host())]
    rule = rule_for("se.example.com", **locality(failoverPriority=["version"]))
    served = view(*made, rule, locality=HERE, labels={"version": "v1"})
    assert sorted(served.grouped(ENTRY)) == [
        ("r1", 1, 1, ("4.4.4.4",)),
        ("r2", 0, 6, ("1.1.1.1", "2.2.2.2")),
        ("r2", 1, 3, ("3.3.3.3",)),
    ]


def test_without_a_rule_a_locality_weighs_what_its_endpoints_do() -> None:
    """2.5, 2."""
    endpoints = [at("1.1.1.1", "r2", weight=5), at("2.2.2.2", "r2"), at("3.3.3.3", "r2", weight=3), at("4.4.4.4", "r1")]
    plain = view(entry(endpoints=endpoints), leading_to(to_host()), locality=HERE)
    assert plain.grouped(ENTRY) == [("r1", 0, 1, ("4.4.4.4",)), ("r2", 0, 9, ("1.1.1.1", "2.2.2.2", "3.3.3.3"))]


def test_localities_are_in_order() -> None:
    places = ["r2/z1/s1", "r1/z2/s1", "r1/z1/s2", "r1/z1/s1", ""]
    made = entry(endpoints=[at(f"1.1.1.{number}", place) for number, place in enumerate(places)])
    assert [place for place, *_ in view(made, leading_to(to_host())).grouped(ENTRY)] == sorted(places)


def test_what_is_asked_by_nobody_known_has_no_locality() -> None:
    """A proxy of which nothing is known: every endpoint with a region differs from it."""
    assert asked([*FOUR, at("5.5.5.5")], {"enabled": True}) == {e["address"]: 1 for e in FOUR} | {"5.5.5.5": 0}


@pytest.mark.parametrize("with_detection", [True, False])
def test_priorities_need_no_outlier_detection(with_detection: bool) -> None:
    """2.4, recommendation: apply always."""
    policy = locality(failoverPriority=PLACES)
    if not with_detection:
        del policy["outlierDetection"]
    served = view(entry(endpoints=FOUR), rule_for("se.example.com", **policy), leading_to(to_host()), locality=HERE)
    assert list(served.priorities(ENTRY).values()) == [0, 1, 2, 3]


def test_selected_workloads_of_both_kinds_are_told_apart_by_labels() -> None:
    """1.5: a WorkloadEntry's own labels go over its metadata's; a Pod's are those of its metadata."""
    app = {"app": "reviews"}
    made = [
        entry(workloadSelector={"labels": app}),
        pod("p", "10.0.0.1", labels={**app, "tier": "gold"}),
        workload("w", "10.0.0.2", {**app, "tier": "gold"}, spec_labels={"tier": "tin"}),
        workload("x", "10.0.0.3", {**app, "tier": "tin"}, spec_labels={"tier": "gold", NETWORK: "n1"}),
        rule_for("se.example.com", **locality(failoverPriority=["tier=gold", NETWORK])),
        *leading_to(to_host()),
    ]
    assert view(*made).priorities(ENTRY) == {"10.0.0.1": 0, "10.0.0.2": 2, "10.0.0.3": 1}
