"""Which DestinationRules are candidates, which one a client goes by, and what is read off it."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest

from controlplane.model.istio import DestinationRule
from controlplane.model.services import (
    NETWORK,
    REGION,
    SUBZONE,
    ZONE,
    BackendRules,
    ClientClass,
    LocalityPolicy,
    RuleCandidate,
)
from controlplane.reducers.destination_rules import (
    choose_rule,
    client_labels_of,
    distribution_labels,
    effective_policy,
    locality_policy,
    lookups,
    perspective,
    rule_labels,
    to_rule_host,
)
from tests.reducers.rules import rule_of


def client(namespace: str = "shop", **labels: str) -> ClientClass:
    return ClientClass((f"{namespace}/gateway", ""), namespace, tuple(sorted(labels.items())))


def candidate(rule: DestinationRule) -> RuleCandidate:
    return to_rule_host(rule, "cluster.local").candidate


def choose(*rules: DestinationRule, backend: str = "backend", by: ClientClass | None = None) -> str:
    """The choice, which no order of the candidates may change."""
    found = {
        choose_rule(BackendRules("c", tuple(map(candidate, order))), backend, by or client(), "istio-system")
        for order in permutations(rules)
    }
    assert len(found) == 1
    return found.pop()


@pytest.mark.parametrize(
    ("host", "resolved"),
    [
        ("reviews", "reviews.shop.svc.cluster.local"),
        ("Reviews", "reviews.shop.svc.cluster.local"),
        ("reviews.other", "reviews.other"),
        ("SE.example.com", "se.example.com"),
        ("*", "*"),
        ("*.Example.com", "*.example.com"),
        ("::1", "::1"),
    ],
)
def test_a_name_without_a_dot_is_a_service_of_the_rules_namespace(host: str, resolved: str) -> None:
    assert to_rule_host(rule_of("shop/r", host=host), "cluster.local").host == resolved


@pytest.mark.parametrize(
    ("pattern", "host", "expected"),
    [
        ("a.example.com", "a.example.com", True),
        ("a.example.com", "b.a.example.com", False),
        ("*.example.com", "a.example.com", True),
        ("*.example.com", "b.a.example.com", True),
        ("*.example.com", "example.com", False),
        ("*.example.com", "*.example.com", True),
        ("*.com", "*.example.com", True),
        ("*.a.example.com", "*.example.com", False),
        ("a.example.com", "*.example.com", False),
        ("*-api.example.com", "my-api.example.com", True),
        ("*-api.example.com", "x.my-api.example.com", True),
        ("*-api.example.com", "my-web.example.com", False),
        ("*-api.example.com", "*.example.com", False),
        ("*", "a.example.com", True),
        ("*", "se", True),
        ("*", "*", True),
        ("*.com", "*", False),
    ],
)
def test_hosts_match_by_suffix_and_are_found_by_it(pattern: str, host: str, expected: bool) -> None:
    found = to_rule_host(rule_of("shop/r", host=pattern), "cluster.local")
    assert found.matches(host) == expected
    if expected:
        assert found.lookup in lookups(host)


def test_a_backend_looks_up_as_many_names_as_it_has_labels() -> None:
    assert list(lookups("reviews.shop.svc.cluster.local")) == [
        "reviews.shop.svc.cluster.local", "*.shop.svc.cluster.local", "*.svc.cluster.local", "*.cluster.local", "*.local",
        "*",
    ]  # fmt: skip


def test_namespaces_come_in_order_the_clients_the_backends_the_root_any_other() -> None:
    own, service, root, other = (rule_of(f"{ns}/r") for ns in ("shop", "backend", "istio-system", "other"))
    assert choose(own, service, root, other) == "shop/r"
    assert choose(service, root, other) == "backend/r"
    assert choose(root, other) == "istio-system/r"
    assert choose(other) == "other/r"


def test_a_nearer_namespace_beats_a_more_specific_host() -> None:
    assert choose(rule_of("shop/wide", host="*"), rule_of("backend/exact", host="a.example.com")) == "shop/wide"


def test_a_client_of_the_root_namespace_skips_its_own_rules_but_for_those_for_it_alone() -> None:
    root, service = rule_of("istio-system/r"), rule_of("backend/r")
    assert choose(root, service, by=client("istio-system")) == "backend/r"
    assert choose(root, by=client("istio-system")) == "istio-system/r"
    private = rule_of("istio-system/r", exportTo=["."])
    assert choose(private, service, by=client("istio-system")) == "istio-system/r"
    selecting = rule_of("istio-system/r", workloadSelector={"matchLabels": {"app": "a"}})
    assert choose(selecting, service, by=client("istio-system", app="a")) == "istio-system/r"


@pytest.mark.parametrize(
    ("export_to", "visible"),
    [
        ([], True), (["*"], True), (["."], False), (["shop"], True), (["x", "shop"], True), (["x"], False), (["~"], False),
        ([".", "*"], True),
    ],
)  # fmt: skip
def test_a_rule_counts_for_whom_it_is_exported_to(export_to: list[str], visible: bool) -> None:
    """2.6, failover-default-diffns: a rule of a third namespace, exported to the client's."""
    assert choose(rule_of("default/r", exportTo=export_to)) == ("default/r" if visible else "")


def test_a_rule_that_is_not_exported_to_its_own_namespace_does_not_count_there() -> None:
    assert choose(rule_of("shop/r", exportTo=["x"])) == ""


def test_what_is_not_exported_hides_nothing() -> None:
    hidden = rule_of("backend/exact", host="a.example.com", exportTo=["."])
    assert choose(hidden, rule_of("backend/wide", host="*.example.com")) == "backend/wide"


def test_in_a_namespace_the_most_specific_host_wins_then_a_selector_then_age_then_name() -> None:
    wide, wider = rule_of("shop/wide", host="*.example.com"), rule_of("shop/wider", host="*.com")
    exact = rule_of("shop/z", host="a.example.com")
    assert choose(wide, wider, exact, rule_of("shop/all", host="*")) == "shop/z"
    assert choose(wide, wider) == "shop/wide"
    old = rule_of("shop/y", created="2024-01-01T00:00:00Z")
    new = rule_of("shop/x", created="2025-01-01T00:00:00Z")
    undated = rule_of("shop/a")
    assert choose(old, new, undated) == "shop/y"
    assert choose(new, undated) == "shop/x"
    assert choose(undated, rule_of("shop/b")) == "shop/a"


def test_a_selecting_rule_is_for_the_clients_of_its_namespace_that_carry_its_labels_and_wins_there() -> None:
    selecting = rule_of("shop/s", workloadSelector={"matchLabels": {"app": "a", "tier": "b"}}, exportTo=["*"])
    old = rule_of("shop/old", created="2020-01-01T00:00:00Z")
    assert choose(selecting, old, by=client(app="a", tier="b", more="c")) == "shop/s"
    assert choose(selecting, old, by=client(app="a")) == "shop/old"
    assert choose(selecting, by=client("backend", app="a", tier="b"), backend="shop") == ""
    narrow, wide = rule_of("shop/narrow"), rule_of("shop/w", host="*", workloadSelector={"matchLabels": {"app": "a"}})
    assert choose(narrow, wide, by=client(app="a")) == "shop/narrow"


def _policy(name: str = "r", **spec: Any) -> DestinationRule:
    return rule_of(f"shop/{name}", **spec)


def test_the_settings_of_a_port_replace_the_others_and_inherit_nothing() -> None:
    rule = _policy(
        trafficPolicy={
            "outlierDetection": {"consecutive5xxErrors": 7},
            "tls": {"mode": "SIMPLE"},
            "portLevelSettings": [
                {"port": {"number": 80}, "loadBalancer": {"simple": "RANDOM"}},
                {"port": {"number": 80}, "tls": {"mode": "DISABLE"}},
            ],
        }
    )
    own, other = (effective_policy(rule.spec.traffic_policy, port) for port in (80, 81))
    assert own is not None
    assert own.load_balancer is not None
    assert (own.load_balancer.simple, own.outlier_detection, own.tls) == ("RANDOM", None, None)
    assert other is not None
    assert other.outlier_detection is not None
    assert (own.port_level_settings, other.port_level_settings) == ((), ())
    assert effective_policy(_policy().spec.traffic_policy, 80) is None


def _localities(setting: dict[str, Any] | None, distribution: str = "") -> LocalityPolicy | None:
    balancer = {"localityLbSetting": setting} if setting is not None else {"simple": "RANDOM"}
    rule = _policy(trafficPolicy={"loadBalancer": balancer})
    return locality_policy(effective_policy(rule.spec.traffic_policy, 80), distribution)


def test_the_locality_policy_is_the_rules_else_the_services() -> None:
    assert _localities({}) == LocalityPolicy()
    assert _localities({"enabled": True}, "PreferClose") == LocalityPolicy()
    assert _localities({"failoverPriority": ["a", "b=c"]}) == LocalityPolicy(("a", "b=c"))
    assert _localities({"failover": [{"from": "r1", "to": "r2"}]}) == LocalityPolicy(failover=(("r1", "r2"),))
    assert _localities({"enabled": False, "failoverPriority": ["a"]}) is None
    assert _localities({"enabled": False}, "PreferClose") is None
    assert _localities(None) is None
    assert _localities(None, "PreferClose") == LocalityPolicy((NETWORK, REGION, ZONE))
    shares = {"distribute": [{"from": "r1", "to": {"r2": 1, "r1": 99}}], "failover": [{"from": "r1", "to": "r2"}]}
    assert _localities(shares) == LocalityPolicy(distribute=(("r1", (("r1", 99), ("r2", 1))),))


def test_a_rule_looks_at_the_labels_that_it_needs_and_no_others() -> None:
    def labels(setting: dict[str, Any], **spec: Any) -> frozenset[str]:
        return rule_labels(_policy(trafficPolicy={"loadBalancer": {"localityLbSetting": setting}}, **spec))

    assert labels({"failoverPriority": ["a", "b=c", NETWORK]}) == {"a", NETWORK}
    assert labels({}) == {REGION, ZONE, SUBZONE}
    assert labels({"failoverPriority": ["a"], "failover": [{"from": "x", "to": "y"}]}) == {"a", REGION, ZONE, SUBZONE}
    assert labels({"distribute": [{"from": "*", "to": {"r1": 100}}]}) == frozenset()
    assert labels({"distribute": [{"from": "r1/*", "to": {"r1": 100}}]}) == {REGION}
    assert labels({"distribute": [{"from": "r1/*/s", "to": {"r1": 100}}]}) == {REGION, SUBZONE}
    assert labels({"enabled": False, "failoverPriority": ["a"]}) == frozenset()
    assert labels({"enabled": False}, workloadSelector={"matchLabels": {"app": "a"}}) == {"app"}
    assert rule_labels(_policy()) == frozenset()
    port = {"port": {"number": 80}, "loadBalancer": {"localityLbSetting": {"failoverPriority": ["z"]}}}
    assert rule_labels(_policy(trafficPolicy={"portLevelSettings": [port]})) == {"z"}


def test_a_distribution_looks_at_its_labels() -> None:
    assert distribution_labels("PreferClose") == {NETWORK, REGION, ZONE}
    assert distribution_labels("") == frozenset()


def test_a_perspective_leaves_out_what_is_not_looked_at() -> None:
    one = ClientClass(("g", ""), "shop", (("a", "1"), ("b", "x y=%"), (REGION, "r1"), (ZONE, "z1")))
    assert perspective(LocalityPolicy(("a=1", "c")), one) == ""
    assert perspective(LocalityPolicy(("a", "b")), one) == "a=1 b=x%20y%3D%25"
    assert client_labels_of("a=1 b=x%20y%3D%25") == {"a": "1", "b": "x y=%"}
    assert perspective(LocalityPolicy(), one) == f"{REGION}=r1 {ZONE}=z1"
    shares = LocalityPolicy(distribute=(("r2", (("r1", 100),)), ("r1/z1", (("r1", 100),))))
    assert perspective(shares, one) == "~from=1"
    assert perspective(LocalityPolicy(distribute=shares.distribute[:1]), one) == "~from="


def test_perspectives_of_different_labels_differ() -> None:
    values = ["", "1", "1 b=2", "1%20b=2", "b", "a=b"]
    policy = LocalityPolicy(("a", "b"))
    texts = [
        perspective(policy, ClientClass(("g", ""), "shop", (("a", one), ("b", two))))
        for one in values
        for two in values
    ]
    assert len(set(texts)) == len(texts)
