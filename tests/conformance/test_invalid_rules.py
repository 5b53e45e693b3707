"""Rules that are well formed and cannot be served: the rest is, and the statuses say why."""

from __future__ import annotations

import pytest

from .manifests import (
    GROUP,
    Manifest,
    Served,
    backend,
    exact,
    filter_,
    http_route,
    manifest,
    named,
    prefix,
    regex,
    rule,
    serve,
)

UNSUPPORTED = [
    filter_("CORS", allowOrigins=["https://example.com"]),
    filter_("ExtensionRef", group="example.com", kind="Plugin", name="x"),
]


def message(served: Served, kind: str, route: str = "a") -> str:
    (found,) = (
        c["message"] for c in served.status("HTTPRoute", route)["parents"][0]["conditions"] if c["type"] == kind
    )
    return str(found)


@pytest.mark.parametrize("bad", UNSUPPORTED, ids=["CORS", "ExtensionRef"])
def test_a_filter_that_we_do_not_have_is_never_skipped(bad: Manifest) -> None:
    """HTTPRouteFilter.type: requests that the filter would have processed MUST receive an HTTP error response."""
    served = serve(http_route("a", rule(prefix("/bad"), filters=[bad]), rule(prefix("/good"), to="v2")))
    assert served.to("/bad") in {"500", "404"}
    assert served.to("/good") == "v2"


@pytest.mark.parametrize("bad", UNSUPPORTED, ids=["CORS", "ExtensionRef"])
def test_a_filter_of_a_backend_that_we_do_not_have_is_never_skipped(bad: Manifest) -> None:
    served = serve(
        http_route("a", rule(prefix("/bad"), to=["v2", backend("v1", filters=[bad])]), rule(prefix("/good"), to="v2"))
    )
    assert "demo/v1:8080" not in served.ask("/bad").shares
    assert served.to("/good") == "v2"


@pytest.mark.parametrize(
    "bad",
    [
        filter_("RequestRedirect", hostname="example.org"),
        filter_("URLRewrite", path={"type": "ReplaceFullPath", "replaceFullPath": "/full"}),
        filter_("RequestMirror", backendRef=backend("v3")),
    ],
)
def test_a_filter_of_a_backend_acts_or_its_share_fails_and_the_status_says_so(bad: Manifest) -> None:
    """HTTPBackendRef.filters is implementation-specific; what is not done must not look done."""
    served = serve(http_route("a", rule(to=[backend("v1", filters=[bad]), "v2"])))
    answer = served.ask("/path")
    if "demo/v1:8080" in answer.shares:
        forward = answer.forwards["demo/v1:8080"]
        assert forward.path == "/full" or answer.mirrors
    else:
        told = served.parent("a")
        assert "PartiallyInvalid" in told or "False" in {status for status, _ in told.values()} or served.warnings


def test_some_invalid_rules_make_a_route_partially_invalid() -> None:
    """RouteConditionPartiallyInvalid: Accepted True, the message starts with "Dropped Rule", only ever True."""
    served = serve(http_route("a", rule(prefix("/bad"), filters=[UNSUPPORTED[0]]), rule(prefix("/good")), generation=3))
    assert served.parent("a")["Accepted"] == ("True", "Accepted")
    assert served.parent("a")["PartiallyInvalid"][0] == "True"
    assert message(served, "PartiallyInvalid").startswith("Dropped Rule")
    assert served.attached() == 1


def test_only_invalid_rules_make_a_route_not_accepted() -> None:
    """PartiallyInvalid MUST NOT be set if a Route is fully valid, fully invalid, or not accepted."""
    served = serve(http_route("a", rule(filters=[UNSUPPORTED[0]]), rule(exact("/x"), filters=[UNSUPPORTED[1]])))
    assert served.parent("a")["Accepted"][0] == "False"
    assert "PartiallyInvalid" not in served.parent("a")
    assert served.attached() == 0
    assert served.to() in {"404", "500"}


def test_a_valid_route_is_not_partially_invalid() -> None:
    assert "PartiallyInvalid" not in serve(http_route("a", rule())).parent("a")


EXPRESSIONS = [
    "[",
    "a(",
    "a{2,1}",
    "*a",
    "(?=a)",
    "(?!a)",
    "(?<=a)b",
    r"(a)\1",
    "(?P<x>a)(?P=x)",
    "(?>a)",
    r"a\Z",
    "a{1,1001}",
]
"""That Envoy cannot compile: RE2 has no look-around and no references."""


@pytest.mark.parametrize("expression", EXPRESSIONS)
@pytest.mark.parametrize("where", ["path", "header", "query parameter"])
def test_a_regular_expression_that_envoy_cannot_compile_breaks_its_rule_alone(expression: str, where: str) -> None:
    condition = [{"name": "x", "value": expression, "type": "RegularExpression"}]
    match = {
        "path": regex(f"/({expression})"),
        "header": prefix("/bad", headers=condition),
        "query parameter": prefix("/bad", queryParams=condition),
    }[where]
    served = serve(
        http_route("a", rule(match), rule(prefix("/fine"), to="v3")), http_route("b", rule(prefix("/good"), to="v2"))
    )
    assert served.to("/good") == "v2"
    if not served.errors:
        assert served.to("/fine") == "v3"
        assert served.parent("a")["PartiallyInvalid"][0] == "True"
        assert served.parent("b") == {"Accepted": ("True", "Accepted"), "ResolvedRefs": ("True", "ResolvedRefs")}


@pytest.mark.parametrize(
    "expression",
    [r"\d+", r"[a-z]+(/[a-z]+)*", r"(?i)abc", r"\w{3,63}", "(?:a|b)c?", r"\pL+", "a*?", r"\Qa.b\E", r"x\z"],
)
def test_a_regular_expression_that_envoy_knows_is_served(expression: str) -> None:
    served = serve(http_route("a", rule(regex(f"/{expression}"))))
    assert served.parent("a") == {"Accepted": ("True", "Accepted"), "ResolvedRefs": ("True", "ResolvedRefs")}
    assert not served.errors


def test_an_unknown_field_is_a_warning() -> None:
    route = http_route("a", rule(prefix("/x", regexp="y")))
    route["spec"]["hostname"] = "example.com"
    served = serve(route)
    assert not served.errors
    assert len(served.warnings) == 2
    assert any("spec.hostname" in warning and "hostnames" in warning for warning in served.warnings)
    assert served.to("/x") == "v1"


NOT_YET: Manifest = {"retry": {"attempts": 3}, "sessionPersistence": {"sessionName": "x"}}


@pytest.mark.parametrize("field", NOT_YET)
def test_a_field_that_we_do_not_act_on_yet_is_told(field: str) -> None:
    served = serve(http_route("a", rule() | {field: NOT_YET[field]}))
    assert served.to() == "v1"
    assert any(f"spec.rules[0].{field}" in warning for warning in served.warnings)
    told = [c for c in served.status("HTTPRoute", "a")["parents"][0]["conditions"] if field in c["message"]]
    assert [condition["status"] for condition in told] == ["False"]


BROKEN: dict[str, Manifest] = {
    "an enum": http_route("bad", rule({"path": {"type": "Glob", "value": "/"}})),
    "a range": http_route("bad", rule(to=backend("v1", port=70000))),
    "a pattern": http_route("bad", rule(), hostnames=["UPPER.example.com"]),
    "an IP address with a port": http_route("bad", rule(), hostnames=["example.com:80"]),
    "a type": http_route("bad", rule(to=backend("v1", weight="heavy"))),
    "a weight": http_route("bad", rule(to=backend("v1", weight=1_000_001))),
    "a relative path": http_route("bad", rule(prefix("foo"))),
    "a double slash": http_route("bad", rule(prefix("/a//b"))),
    "a dotted path": http_route("bad", rule(prefix("/a/../b"))),
    "an encoded slash": http_route("bad", rule(exact("/a%2Fb"))),
    "a fragment": http_route("bad", rule(exact("/a#b"))),
    "redirect and backends": http_route("bad", rule(filters=[filter_("RequestRedirect", hostname="x.test")])),
    "redirect and rewrite": http_route(
        "bad", rule(to=None, filters=[filter_("RequestRedirect", port=1), filter_("URLRewrite", hostname="x.test")])
    ),
    "two rewrites": http_route("bad", rule(filters=[filter_("URLRewrite", hostname="x.test")] * 2)),
    "no port for a Service": http_route("bad", rule(to={"name": "v1"})),
    "percent and fraction": http_route(
        "bad", rule(filters=[filter_("RequestMirror", backendRef=backend("v2"), percent=1, fraction={"numerator": 1})])
    ),
    "a fraction above one": http_route(
        "bad",
        rule(filters=[filter_("RequestMirror", backendRef=backend("v2"), fraction={"numerator": 2, "denominator": 1})]),
    ),
    "17 rules": http_route("bad", *[rule()] * 17),
    "a status code": http_route("bad", rule(to=None, filters=[filter_("RequestRedirect", statusCode=304)])),
    "a filter without its field": http_route("bad", rule(filters=[{"type": "URLRewrite"}])),
    "another filter's field": http_route(
        "bad",
        rule(filters=[filter_("URLRewrite", hostname="x.test") | {"requestMirror": {"backendRef": backend("v2")}}]),
    ),
    "a header name": http_route("bad", rule({"headers": [{"name": "a b", "value": "x"}]})),
    "the same parent twice": http_route("bad", rule(), parents=["web", "web"]),
    "two names for one rule": http_route("bad", rule(name="x"), rule(name="x")),
}


@pytest.mark.parametrize("what", BROKEN)
def test_what_the_crd_refuses_is_refused_and_the_rest_served(what: str) -> None:
    """An object that the API server would not take is as if it were not there, but for its status and the error."""
    served = serve(BROKEN[what], http_route("good", rule(prefix("/good"), to="v2")))
    assert len(served.errors) == 1
    assert "HTTPRoute demo/bad" in served.errors[0]
    assert (served.to("/good"), served.to("/else")) == ("v2", "404")
    assert served.attached() == 1


def test_kinds_of_others_are_no_errors() -> None:
    served = serve(
        http_route("a", rule()),
        manifest("Deployment", "apps/v1", "x", spec={}),
        manifest("TLSRoute", f"{GROUP}/v1", "x", spec={}),
    )
    assert not served.errors
    assert served.to() == "v1"


def test_both_versions_of_the_api_are_read() -> None:
    """The CRDs serve v1 and v1beta1, with the same fields."""
    route = http_route("a", rule(prefix("/x", headers=named(h="1")))) | {"apiVersion": f"{GROUP}/v1beta1"}
    served = serve(route)
    assert not served.errors
    assert served.to("/x", headers={"h": "1"}) == "v1"
