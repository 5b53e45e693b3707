"""``recompute-edges.md``, B.5, for DestinationRules, Pods, WorkloadEntries and Nodes: each edge is moved, and back."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conformance.manifests import Manifest

from .edges import REVIEWS, Seen, check, endpoint, sockets
from .history import History
from .mesh import (
    REGION,
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
    service,
    slice_of,
    to_host,
    to_service,
    workload,
)

ENTRY = "istio-se_gwtest_se_se.example.com_80"
SE = entry(endpoints=[at("1.1.1.1")])
POLICY: dict[str, Any] = {"connectionPool": {"tcp": {"maxConnections": 7}}}
OLDER: dict[str, Any] = {"connectionPool": {"tcp": {"maxConnections": 5}}}
BASE = [*leading_to(to_service()), *REVIEWS]
BY_HOST = [*leading_to(to_host()), SE]


def limit(found: View) -> int:
    (cluster,) = found.clusters.values()
    (threshold,) = cluster["circuitBreakers"]["thresholds"]
    number: int = threshold["maxConnections"]
    return 0 if number == 4294967295 else number


DR = rule_for("reviews", "b", created="2021-01-01T00:00:00Z", **POLICY)
OLD = rule_for("reviews", "a", created="2020-01-01T00:00:00Z", **OLDER)
RULES = [
    pytest.param(BASE, [DR], [], limit, 0, 7, id="a rule is added"),
    pytest.param([*BASE, DR], [], [DR], limit, 7, 0, id="a rule is removed"),
    pytest.param([*BASE, DR], [OLD], [], limit, 7, 5, id="an older one is added"),
    pytest.param([*BASE, DR, OLD], [], [OLD], limit, 5, 7, id="an older one is removed"),
    pytest.param([*BASE, DR], [rule_for("ratings", "b", **POLICY)], [], limit, 7, 0, id="its host is another"),
    pytest.param(BY_HOST, [rule_for("*.example.com", **POLICY)], [], limit, 0, 7, id="a wildcard is added"),
    pytest.param(
        [*BY_HOST, rule_for("*.example.com", "w", **POLICY)],
        [rule_for("se.example.com", "x", **OLDER)],
        [],
        limit,
        7,
        5,
        id="a more specific one is added",
    ),
    pytest.param(
        [*BASE, DR],
        [rule_for("reviews", "b", exportTo=["third"], **POLICY)],
        [],
        limit,
        7,
        0,
        id="it is exported no more",
    ),
    pytest.param(
        [*BASE, rule_for("reviews", "s", workloadSelector={"matchLabels": {"app": "gw"}}, **POLICY)],
        [rule_for("reviews", "s", **POLICY)],
        [],
        limit,
        0,
        7,
        id="it selects all instead of some",
    ),
]


def place(found: View) -> list[str]:
    (cluster,) = found.clusters
    return [where for where, *_ in found.grouped(cluster)]


APP = {"app": "x"}
SELECTED = [*leading_to(to_host()), entry(workloadSelector={"labels": APP})]
READY = pod("p", "10.0.0.1", "n1", APP)
TAGGED = [service(trafficDistribution="PreferClose"), slice_of("reviews", [endpoint("10.0.0.1", nodeName="n1")])]
WORKLOADS = [
    pytest.param(SELECTED, [READY], [], sockets, [], ["10.0.0.1:80"], id="a Pod appears"),
    pytest.param([*SELECTED, READY], [], [READY], sockets, ["10.0.0.1:80"], [], id="a Pod goes"),
    pytest.param(
        [*SELECTED, READY],
        [pod("p", "10.0.0.1", "n1", APP, ready=False)],
        [],
        sockets,
        ["10.0.0.1:80"],
        [],
        id="a Pod is ready no more",
    ),
    pytest.param(
        [*SELECTED, READY],
        [pod("p", "10.0.0.1", "n1", {"app": "y"})],
        [],
        sockets,
        ["10.0.0.1:80"],
        [],
        id="a Pod's labels",
    ),
    pytest.param(
        [*SELECTED, READY],
        [pod("p", "10.0.0.2", "n1", APP)],
        [],
        sockets,
        ["10.0.0.1:80"],
        ["10.0.0.2:80"],
        id="a Pod's address",
    ),
    pytest.param([*SELECTED, READY], [node("n1", "r1/z1")], [], place, [""], ["r1/z1"], id="a Pod's Node appears"),
    pytest.param(
        [*SELECTED, READY, node("n1", "r1/z1")],
        [node("n1", "r2/z2")],
        [],
        place,
        ["r1/z1"],
        ["r2/z2"],
        id="a Node's labels",
    ),
    pytest.param(
        SELECTED, [workload("w", "1.1.1.1", APP)], [], sockets, [], ["1.1.1.1:80"], id="a WorkloadEntry appears"
    ),
    pytest.param(
        [*SELECTED, workload("w", "1.1.1.1", APP)],
        [workload("w", "1.1.1.1", {"app": "y"})],
        [],
        sockets,
        ["1.1.1.1:80"],
        [],
        id="a WorkloadEntry's labels",
    ),
    pytest.param(
        [*leading_to(to_service()), *TAGGED, node("n1", "r1/z1")],
        [node("n1", "r2/z2")],
        [],
        place,
        ["r1/z1"],
        ["r2/z2"],
        id="the Node of a Service's endpoint",
    ),
    pytest.param(
        BY_HOST,
        [entry(endpoints=[at("1.1.1.1")], ports=[port(targetPort=8080)])],
        [],
        sockets,
        ["1.1.1.1:80"],
        ["1.1.1.1:8080"],
        id="a port's target",
    ),
]


@pytest.mark.parametrize(("start", "put", "take", "seen", "before", "after"), RULES)
def test_a_rule_s_edge(
    start: list[Manifest], put: list[Manifest], take: list[Manifest], seen: Seen, before: Any, after: Any
) -> None:
    check(start, put, take, seen, before, after)


@pytest.mark.parametrize(("start", "put", "take", "seen", "before", "after"), WORKLOADS)
def test_a_workload_s_edge(
    start: list[Manifest], put: list[Manifest], take: list[Manifest], seen: Seen, before: Any, after: Any
) -> None:
    check(start, put, take, seen, before, after)


def test_priorities_follow_a_node() -> None:
    history = History(
        *leading_to(to_host()),
        entry(workloadSelector={"labels": APP}),
        rule_for("se.example.com", **locality(failoverPriority=[REGION, ZONE])),
        READY,
        pod("q", "10.0.0.2", "n2", APP),
        node("n1", "r1/z1"),
        node("n2", "r2/z2"),
    )
    history.connect("s1", "nobody.gwtest", "r1/z1")
    assert history.view().priorities(ENTRY) == {"10.0.0.1": 0, "10.0.0.2": 1}
    history.put(node("n1", "r3/z3"), node("n2", "r1/z1"))
    assert history.view().priorities(ENTRY) == {"10.0.0.1": 1, "10.0.0.2": 0}
