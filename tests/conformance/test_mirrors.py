"""RequestMirror: where copies go, and how many."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest

from .manifests import Manifest, backend, filter_, http_route, named, prefix, reference_grant, rule, serve, service
from .proxy import VIRTUAL_HOST


def mirror(name: str, **fields: Any) -> Manifest:
    share = {key: fields.pop(key) for key in ("percent", "fraction") if key in fields}
    return filter_("RequestMirror", backendRef=backend(name, **fields), **share)


@pytest.mark.parametrize(
    ("share", "expected"),
    [
        ({}, Fraction(1)),
        ({"percent": 100}, Fraction(1)),
        ({"percent": 42}, Fraction(42, 100)),
        ({"percent": 0}, Fraction(0)),
        ({"fraction": {"numerator": 50}}, Fraction(1, 2)),
        ({"fraction": {"numerator": 1, "denominator": 3}}, Fraction(1, 3)),
        ({"fraction": {"numerator": 1, "denominator": 1000}}, Fraction(1, 1000)),
        ({"fraction": {"numerator": 7, "denominator": 7}}, Fraction(1)),
        ({"fraction": {"numerator": 0, "denominator": 7}}, Fraction(0)),
        ({"fraction": {"numerator": 2147483647, "denominator": 2147483647}}, Fraction(1)),
        ({"fraction": {"numerator": 1073741823, "denominator": 2147483647}}, Fraction(1, 2)),
    ],
)
def test_a_share_of_the_requests_is_copied(share: Manifest, expected: Fraction) -> None:
    """HTTPRequestMirrorFilter: all, a percentage, or a fraction of which the denominator is 100 by default."""
    answer = serve(http_route("a", rule(filters=[mirror("v2", **share)]))).ask()
    assert answer.backend == "demo/v1:8080"
    assert abs(answer.mirrors.get("demo/v2:8080", Fraction(0)) - expected) <= Fraction(1, 1_000_000)


def test_several_mirrors_each_get_their_share() -> None:
    """httproute-request-multiple-mirrors."""
    filters = [mirror("v2"), mirror("v3", percent=10), filter_("RequestHeaderModifier", set=named(x="1"))]
    answer = serve(http_route("a", rule(filters=filters))).ask()
    assert answer.mirrors == {"demo/v2:8080": Fraction(1), "demo/v3:8080": Fraction(1, 10)}
    assert answer.forward.headers == {"x": "1"}


def test_only_requests_of_the_rule_are_copied() -> None:
    served = serve(http_route("a", rule(prefix("/copy"), filters=[mirror("v2")]), rule(prefix("/"))))
    assert served.ask("/copy").mirrors
    assert not served.ask("/else").mirrors


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (mirror("nobody"), "BackendNotFound"),
        (mirror("v1", namespace="other"), "RefNotPermitted"),
        (mirror("v1", kind="Unknown"), "InvalidKind"),
    ],
)
def test_a_mirror_that_does_not_resolve_is_dropped_and_told(bad: Manifest, reason: str) -> None:
    """HTTPRequestMirrorFilter.backendRef: not configured, ResolvedRefs False; the main request is not touched."""
    served = serve(http_route("a", rule(filters=[bad, mirror("v2")])), service("v1", namespace="other"))
    answer = served.ask()
    assert answer.backend == "demo/v1:8080"
    assert answer.mirrors == {"demo/v2:8080": Fraction(1)}
    assert served.parent("a") == {"Accepted": ("True", "Accepted"), "ResolvedRefs": ("False", reason)}


def test_a_grant_allows_a_mirror_in_another_namespace() -> None:
    grant = reference_grant("g", "other", [{"kind": "HTTPRoute", "namespace": "demo"}], [{"kind": "Service"}])
    served = serve(
        http_route("a", rule(filters=[mirror("v1", namespace="other")])), service("v1", namespace="other"), grant
    )
    assert served.ask().mirrors == {"other/v1:8080": Fraction(1)}
    assert served.parent("a")["ResolvedRefs"] == ("True", "ResolvedRefs")


def test_a_mirror_without_endpoints_changes_nothing() -> None:
    served = serve(http_route("a", rule(filters=[mirror("idle")])), service("idle", addresses=()))
    assert served.ask().backend == "demo/v1:8080"


def test_copies_go_with_weights_and_to_the_main_backend_too() -> None:
    served = serve(http_route("a", rule(to=["v1", "v2"], filters=[mirror("v1")])))
    assert served.ask().mirrors == {"demo/v1:8080": Fraction(1)}
    assert set(served.ask().shares) == {"demo/v1:8080", "demo/v2:8080"}


def test_a_copy_is_sent_to_the_host_that_was_asked_for() -> None:
    """A copied request is the request: Envoy would rename its host to ``example.com-shadow`` on its own account."""
    served = serve(http_route("a", rule(filters=[mirror("v2")])))
    hosts = served.proxy().table(VIRTUAL_HOST).values()
    policies = [p for host in hosts for route in host["routes"] for p in route["route"]["requestMirrorPolicies"]]
    assert all(policy.get("disableShadowHostSuffixAppend") for policy in policies)
