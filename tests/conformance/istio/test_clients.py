"""3, which proxies are one client; first list, 11: by the labels that rules look at, and moved when a Pod or a Node changes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from tests.conformance.manifests import Manifest, gateway

from .history import History
from .mesh import (
    NETWORK,
    NS,
    REGION,
    SUBZONE,
    ZONE,
    addresses,
    at,
    entry,
    leading_to,
    locality,
    node,
    pod,
    route,
    rule_for,
    to_host,
    view,
)

ENTRY = "istio-se_gwtest_se_se.example.com_80"
PLAIN = "istio-se_gwtest_plain_plain.example.com_80"
URL = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
NEAR, FAR = at("1.1.1.1", "r1/z1/s1", labels={"a": "b"}), at("2.2.2.2", "r2/z2/s2", labels={"a": "c"})


def world(*names: str) -> list[Manifest]:
    """A ServiceEntry with a rule that looks at these labels, and one without a rule."""
    others = entry("plain", "plain.example.com", endpoints=[NEAR, FAR])
    rule = [rule_for("se.example.com", **locality(failoverPriority=list(names)))] if names else []
    return [entry(endpoints=[NEAR, FAR]), others, *rule, *leading_to(to_host(), to_host("plain.example.com"))]


def near(history: History) -> list[str]:
    """What each class of clients prefers, sorted: one address, or ``1.1.1.1 2.2.2.2``, which is neither."""
    found = []
    for own in history.classes().values():
        groups = own[URL][ENTRY]["endpoints"]
        first = [group for group in groups if not group.get("priority", 0)]
        found.append(" ".join(address for group in first for address in addresses(group)))
    return sorted(found)


PLACES = [node("n1", "r1/z1/s1"), node("n2", "r2/z2/s2"), node("n3", "r1/z1/s1")]


# uniqueclients_test.go


def test_a_pod_s_labels_and_its_node_s() -> None:
    """*Pod a=b on a node with region/zone*."""
    history = History(world("a", REGION, ZONE, SUBZONE), pod("p", "10.9.0.1", "n1", {"a": "b"}), PLACES)
    history.connect("1", "p.gwtest")
    assert near(history) == ["1.1.1.1"]
    (key,) = history.classes()
    for part in ("a=b", f"{REGION}=r1", f"{ZONE}=z1", f"{SUBZONE}=s1"):
        assert part in key


def test_two_pods_in_two_zones_are_two_clients() -> None:
    history = History(world(ZONE), pod("p", "", "n1"), pod("q", "", "n2"), PLACES)
    history.connect("1", "p.gwtest")
    history.connect("2", "q.gwtest")
    assert near(history) == ["1.1.1.1", "2.2.2.2"]


def test_two_pods_with_the_same_labels_are_one_client() -> None:
    history = History(world(ZONE), pod("p", "", "n1"), pod("q", "", "n3"), PLACES)
    history.connect("1", "p.gwtest")
    history.connect("2", "q.gwtest")
    assert near(history) == ["1.1.1.1"]


def test_labels_that_no_rule_looks_at_tell_nobody_apart() -> None:
    """``pod-template-hash`` and the like."""
    pods = [pod(f"p{i}", "", "n1", {"pod-template-hash": f"{i}", "a": f"{i}"}) for i in range(3)]
    history = History(world(ZONE), pods, PLACES)
    for i in range(3):
        history.connect(f"{i}", f"p{i}.gwtest")
    assert len(history.classes()) == 1
    history.put(rule_for("plain.example.com", "two", **locality(failoverPriority=["a"])))
    assert len(history.classes()) == 1 + 3, "the zone's, and of the other host one for each value"


def test_without_a_pod_the_xds_node_tells() -> None:
    """*Its Pod and Node where they are known, else its xDS Node's locality and metadata.*"""
    history = History(world("a", REGION), PLACES)
    history.connect("1", "unknown.gwtest", "r2/z2/s2", {"a": "c"})
    assert near(history) == ["2.2.2.2"]
    history.put(pod("unknown", "", "n1", {"a": "b"}))
    assert near(history) == ["1.1.1.1"]
    history.take(pod("unknown", "", "n1", {"a": "b"}))
    assert near(history) == ["2.2.2.2"]


def test_ten_streams_are_one_client_until_the_tenth_ends() -> None:
    history = History(world(REGION), PLACES, pod("p", "", "n2"))
    assert near(history) == ["1.1.1.1 2.2.2.2"], "one of which nothing is known"
    for number in range(10):
        history.connect(f"{number}", "p.gwtest")
        assert near(history) == ["2.2.2.2"]
    for number in range(9):
        history.disconnect(f"{number}")
        assert near(history) == ["2.2.2.2"]
    history.disconnect("9")
    assert near(history) == ["1.1.1.1 2.2.2.2"], "one of which nothing is known"


# Labels


@pytest.mark.parametrize(
    ("labels", "on", "looked_at", "preferred"),
    [
        ({"a": "b"}, "", ["a"], "1.1.1.1"),
        ({"a": "c"}, "", ["a"], "2.2.2.2"),
        # The Node's overwrite the Pod's own.
        ({REGION: "r2"}, "n1", [REGION], "1.1.1.1"),
        ({REGION: "r2"}, "", [REGION], "2.2.2.2"),
        ({SUBZONE: "s1"}, "n2", [SUBZONE], "2.2.2.2"),
        # Each only where it is not empty.
        ({SUBZONE: "s1"}, "half", [SUBZONE], "1.1.1.1"),
        ({ZONE: "z2"}, "half", [REGION], "1.1.1.1"),
    ],
)
def test_labels_of_a_pod(labels: Mapping[str, str], on: str, looked_at: list[str], preferred: str) -> None:
    history = History(world(*looked_at), PLACES, node("half", "r1"), pod("p", "", on, labels))
    history.connect("1", "p.gwtest", "r9/z9/s9")
    assert near(history) == [preferred]


def test_the_name_of_its_node_is_a_label() -> None:
    """``kubernetes.io/hostname``, which PreferSameNode looks at."""
    annotations = {"networking.istio.io/traffic-distribution": "PreferSameNode"}
    app = {"app": "x"}
    made = [
        entry(workloadSelector={"labels": app}, annotations=annotations),
        pod("x1", "1.1.1.1", "n1", app),
        pod("x2", "2.2.2.2", "n3", app),
        pod("p", "", "n3"),
        *leading_to(to_host()),
    ]
    history = History(made, PLACES)
    history.connect("1", "p.gwtest")
    assert history.view().priorities(ENTRY) == {"1.1.1.1": 1, "2.2.2.2": 0}


def test_a_pod_of_another_name_or_namespace_is_another() -> None:
    """``{podName}.{podNamespace}``."""
    history = History(world(REGION), PLACES, pod("p", "", "n2", namespace="elsewhere"), pod("p", "", "n1"))
    history.connect("1", "p.elsewhere")
    assert near(history) == ["2.2.2.2"]


# Changes move a client


@pytest.mark.parametrize(
    "edit",
    [
        [pod("p", "", "n2")],
        [node("n1", "r2/z2/s2")],
        [pod("p", "", "n2"), node("n1", "r2/z2/s2")],
    ],
    ids=["its Pod's Node", "its Node's labels", "both"],
)
def test_a_client_is_moved(edit: list[Manifest]) -> None:
    history = History(world(REGION), pod("p", "", "n1"), PLACES)
    history.connect("1", "p.gwtest")
    assert near(history) == ["1.1.1.1"]
    history.put(edit)
    assert near(history) == ["2.2.2.2"]
    history.put(pod("p", "", "n1"), PLACES)
    assert near(history) == ["1.1.1.1"]


def test_a_client_is_moved_by_its_pod_s_labels() -> None:
    history = History(world("a"), pod("p", "", "n1", {"a": "b"}), pod("q", "", "n1", {"a": "b"}))
    history.connect("1", "p.gwtest")
    history.connect("2", "q.gwtest")
    assert near(history) == ["1.1.1.1"]
    history.put(pod("p", "", "n1", {"a": "c"}))
    assert near(history) == ["1.1.1.1", "2.2.2.2"]
    history.put(pod("q", "", "n1", {"a": "c"}))
    assert near(history) == ["2.2.2.2"]


def test_a_rule_s_selector_is_of_its_proxies_labels() -> None:
    selecting: dict[str, Any] = {"workloadSelector": {"matchLabels": {"a": "c"}}}
    rule = rule_for("se.example.com", **locality(failoverPriority=[f"{REGION}=r2"]), **selecting)
    history = History(world(), rule, pod("p", "", "n1", {"a": "b"}), PLACES)
    history.connect("1", "p.gwtest")
    assert set(history.view().priorities(ENTRY).values()) == {0}
    history.put(pod("p", "", "n1", {"a": "c"}))
    assert history.view().priorities(ENTRY) == {"1.1.1.1": 1, "2.2.2.2": 0}


def test_what_no_rule_is_about_is_of_the_gateway() -> None:
    """One row, and the same bytes, for all."""
    history = History(world(REGION), pod("p", "", "n1"), pod("q", "", "n2"), PLACES)
    history.connect("1", "p.gwtest")
    history.connect("2", "q.gwtest")
    assert len(history.classes()) == 2
    for own in history.classes().values():
        assert PLAIN not in own[URL]
        assert ENTRY in own[URL]
    shared = history.view().document["gateways"][f"{NS}/web"][URL]
    assert PLAIN in shared
    assert ENTRY not in shared


def test_clients_of_another_gateway_are_others() -> None:
    inner = [gateway(name="inner", namespace=NS), route("r2", to_host(), parents=["inner"])]
    history = History(world(REGION), inner, PLACES, pod("p", "", "n1"), pod("q", "", "n2"))
    history.connect("1", "p.gwtest")
    history.connect("2", "q.gwtest", name="inner")
    assert history.view().priorities(ENTRY)["1.1.1.1"] == 0
    assert history.view("inner").priorities(ENTRY)["2.2.2.2"] == 0


@pytest.mark.parametrize(("namespace", "expected"), [("", 0), (NS, 0), ("elsewhere", 1)])
def test_a_client_s_namespace_is_its_pod_s(namespace: str, expected: int) -> None:
    """``--proxy-namespace``; without it the Gateway's."""
    rule = rule_for("se.example.com", exportTo=["elsewhere"], **locality(failoverPriority=[f"{NETWORK}=n1"]))
    made = entry(endpoints=[at("1.1.1.1", network="n2"), at("2.2.2.2", network="n1")])
    found = view(made, rule, leading_to(to_host()), namespace=namespace).priorities(ENTRY)
    assert found == {"1.1.1.1": expected, "2.2.2.2": 0}
    history = History(made, rule, leading_to(to_host()))
    history.connect("1", f"p.{namespace or NS}")
    assert history.view().priorities(ENTRY) == found
