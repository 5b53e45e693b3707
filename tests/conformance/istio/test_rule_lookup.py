"""2.1 to 2.4, which DestinationRule holds for whom, and what it does to a cluster; first list, 4."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from tests.conformance.manifests import Manifest

from .mesh import (
    NS,
    View,
    at,
    entry,
    leading_to,
    locality,
    port,
    rule_for,
    service,
    slice_of,
    to_host,
    to_service,
    view,
)

OTHER, ROOT = "elsewhere", "istio-system"
SERVICE, ENTRY = "kube_gwtest_reviews_80", "istio-se_gwtest_se_se.example.com_80"
FULL = "reviews.gwtest.svc.cluster.local"
BEFORE, LATER = "2020-01-01T00:00:00Z", "2021-01-01T00:00:00Z"


def limited(host: str, number: int, name: str = "dr", **fields: Any) -> Manifest:
    """A rule that is recognised by its number."""
    return rule_for(host, name, connectionPool={"tcp": {"maxConnections": number}}, **fields)


def limit(served: View, cluster: str) -> int | None:
    """The number of the rule that holds; None for no rule."""
    (threshold,) = served.cluster(cluster)["circuitBreakers"]["thresholds"]
    number = threshold.get("maxConnections", 4294967295)
    return None if number == 4294967295 else int(number)


def of_service(*rules: Manifest, **asking: Any) -> int | None:
    made = [service(), slice_of("reviews", [{"addresses": ["10.0.0.1"]}]), *leading_to(to_service())]
    return limit(view(made, rules, **asking), SERVICE)


def of_entry(*rules: Manifest, hosts: Sequence[str] = ("se.example.com",), **asking: Any) -> int | None:
    made = [entry("se", *hosts, endpoints=[at("1.1.1.1")]), *leading_to(to_host(hosts[0]))]
    return limit(view(made, rules, **asking), f"istio-se_gwtest_se_{hosts[0]}_80")


@pytest.mark.parametrize(
    ("host", "namespace", "is_meant"),
    [
        (FULL, NS, True),
        ("reviews", NS, True),
        # Istio: a short name is one without a dot.
        ("reviews.gwtest", NS, False),
        ("reviews.gwtest.svc", NS, False),
        ("reviews", ROOT, False),
        ("reviews.gwtest.svc.cluster.local", ROOT, True),
        ("*.gwtest.svc.cluster.local", NS, True),
        ("*.svc.cluster.local", NS, True),
        ("*.local", NS, True),
        ("*", NS, True),
        ("*.elsewhere.svc.cluster.local", NS, False),
        ("ratings", NS, False),
        ("REVIEWS.gwtest.svc.cluster.local", NS, True),
    ],
)
def test_hosts_of_services(host: str, namespace: str, is_meant: bool) -> None:
    assert of_service(limited(host, 7, namespace=namespace)) == (7 if is_meant else None)


@pytest.mark.parametrize(
    ("host", "is_meant"),
    [
        ("se.example.com", True),
        ("*.example.com", True),
        ("*.com", True),
        ("*", True),
        ("example.com", False),
        ("*.se.example.com", False),
        ("other.example.com", False),
    ],
)
def test_hosts_of_service_entries(host: str, is_meant: bool) -> None:
    assert of_entry(limited(host, 7)) == (7 if is_meant else None)


@pytest.mark.parametrize("order", [1, -1])
def test_the_most_specific_host_is_meant(order: int) -> None:
    hosts = ["*", "*.com", "*.example.com", "se.example.com"]
    for count in range(1, len(hosts) + 1):
        rules = [limited(host, number, f"dr-{9 - order * number}") for number, host in enumerate(hosts[:count], 1)]
        assert of_entry(*rules) == count


@pytest.mark.parametrize(
    ("of_client", "of_owner", "of_root", "expected"),
    [(1, 2, 3, 1), (None, 2, 3, 2), (None, None, 3, 3), (1, None, 3, 1), (1, 2, None, 1), (None, None, None, None)],
)
def test_namespaces(of_client: int | None, of_owner: int | None, of_root: int | None, expected: int | None) -> None:
    """The client's, the service's, the root's."""
    places = {OTHER: of_client, NS: of_owner, ROOT: of_root}
    rules = [limited("se.example.com", number, namespace=at_) for at_, number in places.items() if number]
    assert of_entry(*rules, namespace=OTHER) == expected


def test_a_namespace_counts_more_than_a_host() -> None:
    rules = [limited("*", 1, namespace=OTHER), limited("se.example.com", 2)]
    assert of_entry(*rules, namespace=OTHER) == 1


@pytest.mark.parametrize(
    ("namespace", "exports", "is_meant"),
    [
        (NS, None, True),
        (NS, ["*"], True),
        (NS, ["."], False),
        (NS, [OTHER], True),
        (NS, ["third"], False),
        (OTHER, ["."], True),
        (OTHER, [OTHER], True),
        (ROOT, ["."], False),
        (ROOT, [OTHER], True),
    ],
)
def test_exports(namespace: str, exports: list[str] | None, is_meant: bool) -> None:
    given: dict[str, Any] = {"exportTo": exports} if exports else {}
    rule = limited("se.example.com", 7, namespace=namespace, **given)
    assert of_entry(rule, namespace=OTHER) == (7 if is_meant else None)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [({"app": "gw"}, 1), ({"app": "gw", "version": "v1"}, 1), ({"app": "other"}, 2), ({}, 2)],
)
@pytest.mark.parametrize("created", [(BEFORE, LATER), (LATER, BEFORE)])
def test_one_that_selects_the_proxy_wins(labels: dict[str, str], expected: int, created: tuple[str, str]) -> None:
    selecting = {"workloadSelector": {"matchLabels": {"app": "gw"}}}
    rules = [
        limited("se.example.com", 1, "a", created=created[0], **selecting),
        limited("se.example.com", 2, "b", created=created[1]),
    ]
    assert of_entry(*rules, labels=labels) == expected


def test_one_that_selects_is_private_to_its_namespace() -> None:
    rule = limited("se.example.com", 1, namespace=NS, workloadSelector={"matchLabels": {"app": "gw"}})
    assert of_entry(rule, labels={"app": "gw"}) == 1
    assert of_entry(rule, labels={"app": "gw"}, namespace=OTHER) is None


@pytest.mark.parametrize(("first", "second", "expected"), [(LATER, BEFORE, 2), (BEFORE, LATER, 1), (None, None, 1)])
def test_the_oldest_wins(first: str | None, second: str | None, expected: int) -> None:
    rules = [limited("se.example.com", 2, "b", created=second), limited("se.example.com", 1, "a", created=first)]
    assert of_entry(*rules) == expected


@pytest.mark.parametrize("version", ["v1", "v1beta1", "v1alpha3"])
def test_versions(version: str) -> None:
    assert of_entry(limited("se.example.com", 7, version=version)) == 7


# 2.2


def test_the_settings_of_a_port_replace_the_whole_policy() -> None:
    detection = {"consecutive5xxErrors": 3}
    own = [{"port": {"number": 81}, "connectionPool": {"tcp": {"maxConnections": 8}}}]
    made = [
        entry(ports=[port(), port(81, "b")], endpoints=[at("1.1.1.1")]),
        rule_for(
            "se.example.com",
            portLevelSettings=own,
            outlierDetection=detection,
            connectionPool={"tcp": {"maxConnections": 7}},
        ),
        *leading_to(to_host(), to_host(number=81)),
    ]
    served = view(made)
    other = "istio-se_gwtest_se_se.example.com_81"
    assert (limit(served, ENTRY), limit(served, other)) == (7, 8)
    assert "outlierDetection" in served.cluster(ENTRY)
    assert "outlierDetection" not in served.cluster(other)


def test_the_port_is_the_service_s_not_the_target_s() -> None:
    own = [{"port": {"number": 8080}, **locality(failoverPriority=["x"])}]
    made = [entry(ports=[port(targetPort=8080)], endpoints=[at("1.1.1.1")]), *leading_to(to_host())]
    assert "outlierDetection" not in view(made, rule_for("se.example.com", portLevelSettings=own)).cluster(ENTRY)


# 2.3


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"consecutive5xxErrors": 7}, {"consecutive5xx": 7}),
        ({"interval": "5m", "baseEjectionTime": "15m"}, {"interval": "300s", "baseEjectionTime": "900s"}),
        (
            {"consecutiveGatewayErrors": 3},
            {"consecutiveGatewayFailure": 3, "enforcingConsecutiveGatewayFailure": 100},
        ),
        ({"consecutiveGatewayErrors": 0}, {"enforcingConsecutiveGatewayFailure": 0}),
        ({"maxEjectionPercent": 50}, {"maxEjectionPercent": 50}),
        (
            {"splitExternalLocalOriginErrors": True, "consecutiveLocalOriginFailures": 4},
            {
                "splitExternalLocalOriginErrors": True,
                "consecutiveLocalOriginFailure": 4,
                "enforcingConsecutiveLocalOriginFailure": 100,
                "enforcingLocalOriginSuccessRate": 0,
            },
        ),
    ],
)
def test_outlier_detection(given: dict[str, Any], expected: dict[str, Any]) -> None:
    made = [entry(endpoints=[at("1.1.1.1")]), *leading_to(to_host())]
    found = view(made, rule_for("se.example.com", outlierDetection=given)).cluster(ENTRY)["outlierDetection"]
    assert found.items() >= expected.items()
    said = {"consecutive5xx", "interval", "baseEjectionTime", "consecutiveGatewayFailure", "maxEjectionPercent"}
    assert not (said - expected.keys()) & {key for key, value in found.items() if value}, "what is unset stays unset"


@pytest.mark.parametrize(("given", "expected"), [({}, 0), ({"minHealthPercent": 0}, 0), ({"minHealthPercent": 30}, 30)])
def test_the_panic_threshold(given: dict[str, int], expected: int) -> None:
    policy: dict[str, Any] = {"outlierDetection": {"consecutive5xxErrors": 7, **given}}
    made = [entry(endpoints=[at("1.1.1.1")]), *leading_to(to_host())]
    cluster = view(made, rule_for("se.example.com", **policy)).cluster(ENTRY)
    assert cluster["commonLbConfig"]["healthyPanicThreshold"].get("value", 0) == expected


def test_keepalive() -> None:
    pool = {"tcp": {"tcpKeepalive": {"time": "60s", "interval": "5s", "probes": 3}}}
    made = [entry(endpoints=[at("1.1.1.1")]), *leading_to(to_host())]
    cluster = view(made, rule_for("se.example.com", connectionPool=pool)).cluster(ENTRY)
    found = cluster["upstreamConnectionOptions"]["tcpKeepalive"]
    assert found == {"keepaliveProbes": 3, "keepaliveTime": 60, "keepaliveInterval": 5}
