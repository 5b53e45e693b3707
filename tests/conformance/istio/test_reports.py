"""What is not done is told on the object that asks for it, never dropped silently; and keys and localities that mean nothing."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conformance.manifests import Manifest

from .mesh import REGION, View, at, entry, leading_to, locality, rule_for, to_host, view

SE = entry(endpoints=[at("1.1.1.1", "r1/z1/s1", labels={"tier": "gold"})])
HERE: dict[str, Any] = {"locality": "r1/z1/s1"}


def ruled(*, labels: dict[str, str] | None = None, **policy: Any) -> View:
    return view(SE, rule_for("se.example.com", **policy), *leading_to(to_host()), labels=labels, **HERE)


def told(found: View) -> str:
    return found.told("DestinationRule", "dr")


@pytest.mark.parametrize(
    ("policy", "word"),
    [
        ({"tls": {"mode": "ISTIO_MUTUAL"}}, "ISTIO_MUTUAL"),
        ({"loadBalancer": {"simple": "ROUND_ROBIN", "warmup": {"duration": "10s"}}}, "warmup"),
        ({"tunnel": {"targetHost": "x.example.com", "targetPort": 80}}, "tunnel"),
        ({"proxyProtocol": {"version": "V2"}}, "proxyProtocol"),
        ({"loadBalancer": {"localityLbSetting": {"failoverPriority": [REGION, "nobody"]}}}, "nobody"),
        ({"loadBalancer": {"localityLbSetting": {"distribute": [{"from": "a/b/c/d", "to": {"*": 100}}]}}}, "a/b/c/d"),
    ],
)
def test_what_a_rule_asks_for_in_vain_is_told(policy: dict[str, Any], word: str) -> None:
    assert word in told(ruled(**policy))


def test_subsets_are_told() -> None:
    made = rule_for("se.example.com", subsets=[{"name": "v1", "labels": {"version": "v1"}}])
    assert "subsets" in told(view(SE, made, *leading_to(to_host())))


@pytest.mark.parametrize("key", [REGION, "tier", "tier=gold"])
def test_a_key_that_both_sides_carry_is_not_told(key: str) -> None:
    found = ruled(labels={"tier": "tin"}, **locality(failoverPriority=[key]))
    assert told(found) == "{}"


def test_a_rule_that_is_done_whole_says_nothing() -> None:
    policy = locality(failoverPriority=[REGION]) | {
        "connectionPool": {
            "tcp": {"maxConnections": 5, "connectTimeout": "3s", "tcpKeepalive": {"time": "60s"}},
            "http": {"http1MaxPendingRequests": 3, "http2MaxRequests": 4, "maxRetries": 2, "idleTimeout": "5s"},
        },
        "tls": {"mode": "DISABLE"},
    }
    assert told(ruled(**policy)) == "{}"


@pytest.mark.parametrize(
    ("made", "word"),
    [
        (entry(resolution="NONE"), "NONE"),
        (entry("se", "*.example.com", resolution="DYNAMIC_DNS"), "DYNAMIC_DNS"),
        (entry(endpoints=[at("1.1.1.1", "r1/z1/s1/x")]), "r1/z1/s1/x"),
        (entry(endpoints=[at("1.1.1.1", network="n1"), {"network": "n2"}]), "endpoints[1]"),
    ],
)
def test_what_a_service_entry_asks_for_in_vain_is_told(made: Manifest, word: str) -> None:
    assert word in view(made, *leading_to(to_host())).told("ServiceEntry", "se")


def test_one_that_is_done_whole_says_nothing() -> None:
    assert view(SE, *leading_to(to_host())).told("ServiceEntry", "se") == "{}"
