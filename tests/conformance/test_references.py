"""backendRefs: what they resolve to, what ReferenceGrants allow, how weights share requests out."""

from __future__ import annotations

from fractions import Fraction

import pytest

from .manifests import (
    GROUP,
    Manifest,
    backend,
    exact,
    filter_,
    http_route,
    manifest,
    named,
    prefix,
    reference_grant,
    rule,
    serve,
    service,
)

RESOLVED = ("True", "ResolvedRefs")
FROM_ROUTES = [{"kind": "HTTPRoute", "namespace": "demo"}]
TO_SERVICES = [{"kind": "Service"}]


@pytest.mark.parametrize(
    ("ref", "reason"),
    [
        (backend("nobody"), "BackendNotFound"),
        (backend("v1", port=9999), "BackendNotFound"),
        (backend("v1", kind="Unknown"), "InvalidKind"),
        (backend("v1", group="example.com"), "InvalidKind"),
        (backend("v1", namespace="other"), "RefNotPermitted"),
        (backend("nobody", namespace="other"), "RefNotPermitted"),
    ],
)
def test_a_reference_that_does_not_resolve_gets_500_and_a_reason(ref: Manifest, reason: str) -> None:
    """HTTPBackendRef: all entries invalid and no filters, so all traffic of the rule MUST get 500."""
    served = serve(
        http_route("a", rule(prefix("/bad"), to=ref), rule(prefix("/good"))), service("v1", namespace="other")
    )
    assert served.parent("a") == {"Accepted": ("True", "Accepted"), "ResolvedRefs": ("False", reason)}
    assert (served.to("/bad"), served.to("/good")) == ("500", "v1")


def test_the_message_names_what_is_wrong() -> None:
    served = serve(http_route("a", rule(to=backend("nobody", port=81))))
    (parent,) = served.status("HTTPRoute", "a")["parents"]
    (message,) = [condition["message"] for condition in parent["conditions"] if condition["type"] == "ResolvedRefs"]
    assert "nobody" in message


@pytest.mark.parametrize("refs", [None, []], ids=["omitted", "empty"])
def test_a_rule_without_backends_gets_500_and_nothing_is_unresolved(refs: list[str] | None) -> None:
    """httproute-omitted-backendrefs."""
    served = serve(http_route("a", rule(prefix("/none"), to=refs), rule(prefix("/"))))
    assert served.parent("a") == {"Accepted": ("True", "Accepted"), "ResolvedRefs": RESOLVED}
    assert (served.to("/none"), served.to("/none/x"), served.to("/forward")) == ("500", "500", "v1")


def test_weights_share_requests_out() -> None:
    """httproute-weight: 70, 30 and none."""
    refs = [backend("v1", weight=70), backend("v2", weight=30), backend("v3", weight=0)]
    served = serve(http_route("a", rule(to=refs)))
    assert served.ask().shares == {"demo/v1:8080": Fraction(7, 10), "demo/v2:8080": Fraction(3, 10)}
    assert served.parent("a")["ResolvedRefs"] == RESOLVED


@pytest.mark.parametrize("weight", [1, 7, 1_000_000])
def test_one_backend_gets_all_whatever_its_weight(weight: int) -> None:
    assert serve(http_route("a", rule(to=backend("v1", weight=weight)))).to() == "v1"


def test_backends_weigh_one_by_default() -> None:
    served = serve(http_route("a", rule(to=["v1", "v2", backend("v3", weight=2)])))
    assert served.ask().shares == {
        "demo/v1:8080": Fraction(1, 4),
        "demo/v2:8080": Fraction(1, 4),
        "demo/v3:8080": Fraction(1, 2),
    }


def test_the_largest_weights_together_are_still_taken() -> None:
    """16 backends of weight 1,000,000 each: Envoy's limit on the sum is that of an uint32."""
    refs = [backend("v1", weight=1_000_000) for _ in range(16)]
    assert serve(http_route("a", rule(to=refs))).ask().shares == {"demo/v1:8080": 1}


@pytest.mark.parametrize("refs", [[backend("v1", weight=0)], [backend("v1", weight=0), backend("v2", weight=0)]])
def test_without_any_weight_nothing_is_forwarded(refs: list[Manifest]) -> None:
    """BackendRef.weight: with 0, no traffic should be forwarded for this entry."""
    served = serve(http_route("a", rule(prefix("/none"), to=refs), rule(prefix("/other"))))
    assert served.to("/none") == "500"
    assert served.to("/other") == "v1"


@pytest.mark.parametrize("bad", [backend("nobody"), backend("v1", kind="Unknown"), backend("v1", namespace="other")])
def test_the_share_of_an_invalid_backend_gets_500(bad: Manifest) -> None:
    """HTTPRouteRule.backendRefs: with two of equal weight of which one is invalid, half MUST get 500."""
    served = serve(http_route("a", rule(to=["v1", bad])))
    assert served.ask().shares == {"demo/v1:8080": Fraction(1, 2), "500": Fraction(1, 2)}
    weighted = serve(http_route("a", rule(to=[backend("v1", weight=3), bad | {"weight": 1}])))
    assert weighted.ask().shares == {"demo/v1:8080": Fraction(3, 4), "500": Fraction(1, 4)}


def test_an_invalid_backend_of_weight_zero_takes_nothing_and_is_told() -> None:
    served = serve(http_route("a", rule(to=["v1", backend("nobody", weight=0)])))
    assert served.ask().shares == {"demo/v1:8080": 1}
    assert served.parent("a")["ResolvedRefs"] == ("False", "BackendNotFound")


def test_all_backends_invalid_gets_500_also_with_several() -> None:
    assert serve(http_route("a", rule(to=["nobody", "noone"]))).to() == "500"


def test_a_service_without_endpoints_gets_503() -> None:
    """HTTPRouteRule.backendRefs: no ready endpoints SHOULD be 503, in proportion like 500."""
    served = serve(
        http_route("a", rule(prefix("/none"), to="idle"), rule(to=["v1", "idle"])), service("idle", addresses=())
    )
    assert served.to("/none") == "503"
    assert served.ask("/").shares == {"demo/v1:8080": Fraction(1, 2), "503": Fraction(1, 2)}
    assert served.parent("a")["ResolvedRefs"] == RESOLVED


def test_a_service_without_endpoint_slices_gets_503() -> None:
    bare, _ = service("bare")
    assert serve(http_route("a", rule(to="bare")), bare).to() == "503"


def test_the_same_backend_twice_adds_up() -> None:
    assert serve(
        http_route("a", rule(to=[backend("v1", weight=1), backend("v1", weight=2), backend("v2", weight=3)]))
    ).ask().shares == {
        "demo/v1:8080": Fraction(1, 2),
        "demo/v2:8080": Fraction(1, 2),
    }


def cross_namespace(*grants: Manifest) -> tuple[str, tuple[str, str]]:
    """Where a route of ``demo`` to ``other/v1`` leads, and its ResolvedRefs."""
    route = http_route("a", rule(to=backend("v1", namespace="other")))
    served = serve(route, service("v1", namespace="other"), service("v2", namespace="other"), *grants)
    return served.to(), served.parent("a")["ResolvedRefs"]


REFUSED = ("500", ("False", "RefNotPermitted"))
ALLOWED = ("other/v1", RESOLVED)


@pytest.mark.parametrize("version", ["v1", "v1beta1"])
def test_a_grant_of_the_backends_namespace_allows_the_reference(version: str) -> None:
    assert cross_namespace() == REFUSED
    assert cross_namespace(reference_grant("g", "other", FROM_ROUTES, TO_SERVICES, version)) == ALLOWED


@pytest.mark.parametrize(
    ("where", "sources", "targets"),
    [
        ("demo", FROM_ROUTES, TO_SERVICES),
        ("third", FROM_ROUTES, TO_SERVICES),
        ("other", [{"kind": "HTTPRoute", "namespace": "third"}], TO_SERVICES),
        ("other", [{"kind": "HTTPRoute", "namespace": "other"}], TO_SERVICES),
        ("other", [{"kind": "GRPCRoute", "namespace": "demo", "group": GROUP}], TO_SERVICES),
        ("other", [{"kind": "HTTPRoute", "namespace": "demo", "group": ""}], TO_SERVICES),
        ("other", [{"kind": "HTTPRoute", "namespace": "demo", "group": "example.com"}], TO_SERVICES),
        ("other", [{"kind": "Gateway", "namespace": "demo"}], TO_SERVICES),
        ("other", FROM_ROUTES, [{"kind": "Service", "name": "v2"}]),
        ("other", FROM_ROUTES, [{"kind": "Secret"}]),
        ("other", FROM_ROUTES, [{"kind": "Service", "group": "example.com"}]),
    ],
)
def test_a_grant_that_says_something_else_does_not(
    where: str, sources: list[dict[str, str]], targets: list[dict[str, str]]
) -> None:
    """httproute-invalid-reference-grant: each field of the grant counts."""
    assert cross_namespace(reference_grant("g", where, sources, targets)) == REFUSED


def test_entries_of_a_grant_and_grants_are_combined_with_or() -> None:
    """ReferenceGrantSpec: each entry is an additional place."""
    sources = [{"kind": "HTTPRoute", "namespace": "third"}, *FROM_ROUTES]
    targets = [{"kind": "Service", "name": "v2"}, {"kind": "Service", "name": "v1"}]
    assert cross_namespace(reference_grant("g", "other", sources, targets)) == ALLOWED
    useless = reference_grant("a", "other", FROM_ROUTES, [{"kind": "Service", "name": "v2"}])
    assert cross_namespace(useless, reference_grant("b", "other", FROM_ROUTES, TO_SERVICES)) == ALLOWED


def test_a_namespace_that_is_ones_own_needs_no_grant() -> None:
    assert serve(http_route("a", rule(to=backend("v1", namespace="demo")))).to() == "v1"


def test_a_partial_grant_breaks_its_own_rule_alone() -> None:
    """httproute-partially-invalid-via-invalid-reference-grant."""
    route = http_route(
        "a", rule(prefix("/v2"), to=backend("v2", namespace="other")), rule(to=backend("v1", namespace="other"))
    )
    grant = reference_grant("g", "other", FROM_ROUTES, [{"kind": "Service", "name": "v1"}])
    served = serve(route, grant, service("v1", namespace="other"), service("v2", namespace="other"))
    assert (served.to("/v2"), served.to("/")) == ("500", "other/v1")
    assert served.parent("a") == {"Accepted": ("True", "Accepted"), "ResolvedRefs": ("False", "RefNotPermitted")}


def test_a_redirect_needs_no_backend() -> None:
    served = serve(
        http_route("a", rule(exact("/x"), to=None, filters=[filter_("RequestRedirect", hostname="example.org")]))
    )
    assert served.ask("/x").status == 302
    assert served.parent("a")["ResolvedRefs"] == RESOLVED


@pytest.mark.parametrize(
    ("fields", "protocols"),
    [
        ({"appProtocol": "kubernetes.io/wss"}, "kubernetes.io/wss without a BackendTLSPolicy"),
        ({"protocol": "UDP"}, "UDP"),
    ],
)
def test_a_protocol_that_we_cannot_speak_is_told(fields: Manifest, protocols: str) -> None:
    """GEP-1911: the backend is invalid and ResolvedRefs MUST be False with UnsupportedProtocol."""
    served = serve(http_route("a", rule(to="odd")), service("odd", **fields))
    assert served.parent("a")["ResolvedRefs"] == ("False", "UnsupportedProtocol"), protocols
    assert served.to() == "500"


def test_an_external_name_is_not_forwarded_to() -> None:
    """BackendRef.kind: implementations SHOULD NOT support ExternalName Services."""
    outside = manifest(
        "Service",
        "v1",
        "outside",
        spec={"type": "ExternalName", "externalName": "example.org", "ports": [{"port": 8080}]},
    )
    served = serve(http_route("a", rule(to="outside")), outside)
    assert served.to() == "500"
    assert served.parent("a")["ResolvedRefs"][0] == "False"


def test_filters_do_not_hide_that_all_backends_are_invalid() -> None:
    changed = filter_("RequestHeaderModifier", set=named(x="1"))
    assert serve(http_route("a", rule(to="nobody", filters=[changed]))).to() == "500"
