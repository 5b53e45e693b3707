"""HTTPRouteMatch beside the path: headers, query parameters, method, and how they combine."""

from __future__ import annotations

import pytest

from .manifests import http_route, named, prefix, rule, serve


def test_all_conditions_of_a_match_must_hold() -> None:
    match = prefix("/foo", headers=named(version="2"), queryParams=named(user="x"), method="POST")
    served = serve(http_route("a", rule(match)))
    assert served.to("/foo?user=x", method="POST", headers={"version": "2"}) == "v1"
    assert served.to("/foo?user=x", method="GET", headers={"version": "2"}) == "404"
    assert served.to("/foo?user=y", method="POST", headers={"version": "2"}) == "404"
    assert served.to("/foo?user=x", method="POST", headers={"version": "1"}) == "404"
    assert served.to("/foo?user=x", method="POST") == "404"
    assert served.to("/bar?user=x", method="POST", headers={"version": "2"}) == "404"


def test_any_match_of_a_rule_will_do() -> None:
    """The example of HTTPRouteRule.matches."""
    served = serve(http_route("a", rule(prefix("/foo", headers=named(version="v2")), prefix("/v2/foo"))))
    assert served.to("/foo", headers={"version": "v2"}) == "v1"
    assert served.to("/v2/foo") == "v1"
    assert served.to("/foo") == "404"


def test_the_specifications_example_of_path_and_header_across_rules() -> None:
    first = rule(prefix("/"), {"headers": named(version="one")}, to="v1")
    second = rule(prefix("/v2"), {"headers": named(version="two")}, to="v2")
    served = serve(http_route("a", first, second))
    assert [served.to(path) for path in ("/", "/example", "/v2", "/v2/", "/v2/example", "/v2example", "/foo/v2")] == [
        *("v1", "v1", "v2", "v2", "v2", "v1", "v1")
    ]
    assert served.to("/", headers={"Version": "one"}) == "v1"
    assert served.to("/", headers={"Version": "two"}) == "v2"


def test_header_names_ignore_case_and_values_do_not() -> None:
    served = serve(http_route("a", rule({"headers": named(**{"X-Color": "Blue"})})))
    assert served.to(headers={"x-color": "Blue"}) == "v1"
    assert served.to(headers={"x-color": "blue"}) == "404"
    assert served.to(headers={"x-color": "Blue "}) == "404"


def test_of_headers_that_differ_in_case_alone_the_first_counts() -> None:
    """HTTPHeaderMatch.name: subsequent entries with an equivalent header name MUST be ignored."""
    served = serve(http_route("a", rule({"headers": named(**{"X-Color": "blue", "x-color": "red"})})))
    assert served.to(headers={"x-color": "blue"}) == "v1"
    assert served.to(headers={"x-color": "red"}) == "404"


def test_query_parameter_names_do_not_ignore_case() -> None:
    """HTTPQueryParamMatch.name: an exact string match."""
    served = serve(
        http_route("a", rule({"queryParams": named(User="x")}), rule({"queryParams": named(user="x")}, to="v2"))
    )
    assert (served.to("/?User=x"), served.to("/?user=x")) == ("v1", "v2")


def test_of_repeated_query_parameters_the_first_is_matched() -> None:
    """Recommended by HTTPQueryParamMatch.name."""
    served = serve(http_route("a", rule({"queryParams": named(animal="whale")})))
    assert (served.to("/?animal=whale&animal=dog"), served.to("/?animal=dog&animal=whale")) == ("v1", "404")


def test_regular_expressions_match_whole_values() -> None:
    header = [{"name": "version", "value": "v[0-9]", "type": "RegularExpression"}]
    query = [{"name": "id", "value": "[a-c]+", "type": "RegularExpression"}]
    served = serve(http_route("a", rule(prefix("/h", headers=header)), rule(prefix("/q", queryParams=query), to="v2")))
    assert served.to("/h", headers={"version": "v1"}) == "v1"
    assert served.to("/h", headers={"version": "v10"}) == "404"
    assert (served.to("/q?id=abc"), served.to("/q?id=abd")) == ("v2", "404")


@pytest.mark.parametrize("value", ["a.b", "^a$", "a|b", "a,b", "a%b", r"a\b"])
def test_exact_values_are_literal(value: str) -> None:
    served = serve(http_route("a", rule({"headers": named(x=value)}), rule({"queryParams": named(x=value)}, to="v2")))
    assert served.to(headers={"x": value}) == "v1"
    assert served.to(headers={"x": "a"}) == "404"


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH"])
def test_a_method_is_matched(method: str) -> None:
    served = serve(http_route("a", rule({"method": method}), rule(to="v2")))
    assert served.to(method=method) == "v1"
    assert served.to(method="PUT" if method == "GET" else "GET") == "v2"


def test_several_headers_of_the_conformance_suite() -> None:
    """httproute-header-matching: more header matches win over fewer."""
    matches = [
        ("v1", {"version": "one"}),
        ("v2", {"version": "two"}),
        ("v1", {"version": "two", "color": "orange"}),
        ("v2", {"color": "blue"}),
    ]
    served = serve(http_route("a", *(rule({"headers": named(**headers)}, to=to) for to, headers in matches)))
    assert served.to(headers={"version": "one"}) == "v1"
    assert served.to(headers={"version": "two"}) == "v2"
    assert served.to(headers={"version": "two", "color": "orange"}) == "v1"
    assert served.to(headers={"color": "blue"}) == "v2"
    assert served.to(headers={"version": "two", "color": "blue"}) == "v2"
    assert served.to(headers={"color": "orange"}) == "404"
