"""HTTPRouteMatch.path: exact, prefix by path element, regular expression."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from .manifests import Manifest, exact, http_route, prefix, regex, rule, serve


@pytest.mark.parametrize(
    ("path", "backend"),
    [
        ("/foo", "v1"),
        ("/foo/", "v1"),
        ("/foo/bar", "v1"),
        ("/foo/bar?next=/foobar", "v1"),
        ("/foo?x=1", "v1"),
        ("/foobar", "404"),
        ("/foo%20", "404"),
        ("/FOO", "404"),
        ("/bar/foo", "404"),
        ("/", "404"),
    ],
)
@pytest.mark.parametrize("value", ["/foo", "/foo/"])
def test_a_prefix_matches_by_path_element(value: str, path: str, backend: str) -> None:
    """HTTPPathModifier on PathPrefix: full path elements, a trailing slash is ignored."""
    assert serve(http_route("a", rule(prefix(value)))).to(path) == backend


@pytest.mark.parametrize(
    ("path", "backend"), [("/foo", "v1"), ("/foo?x=1", "v1"), ("/foo/", "404"), ("/foo/bar", "404"), ("/Foo", "404")]
)
def test_an_exact_path_matches_itself(path: str, backend: str) -> None:
    assert serve(http_route("a", rule(exact("/foo")))).to(path) == backend


def test_an_exact_path_keeps_its_trailing_slash() -> None:
    served = serve(http_route("a", rule(exact("/foo/"))))
    assert (served.to("/foo/"), served.to("/foo")) == ("v1", "404")


@pytest.mark.parametrize(
    ("path", "backend"),
    [("/v1/items", "v1"), ("/v22/items", "v1"), ("/v/items", "404"), ("/v1/items/3", "404"), ("/a/v1/items", "404")],
)
def test_a_regular_expression_matches_the_whole_path(path: str, backend: str) -> None:
    """RegularExpression is implementation-specific; Envoy's is RE2 on the whole path without its query."""
    assert serve(http_route("a", rule(regex("/v[0-9]+/items")))).to(path) == backend


@pytest.mark.parametrize("path", ["/", "/anything", "/a/b?c"])
@pytest.mark.parametrize(
    "matches", [[], [{}], [prefix("/")], [{"path": {}}]], ids=["none", "empty", "slash", "defaults"]
)
def test_a_rule_without_a_path_matches_every_path(matches: list[dict[str, object]], path: str) -> None:
    """HTTPRouteRule.matches: the default is a prefix match on "/"."""
    assert serve(http_route("a", rule(*matches))).to(path) == "v1"


def test_a_rule_with_an_empty_list_of_matches_matches_every_path() -> None:
    assert serve(http_route("a", rule() | {"matches": []})).to("/x") == "v1"


def test_a_route_without_rules_matches_every_path_and_forwards_nothing() -> None:
    """HTTPRouteSpec.rules has a default rule, which has no backends."""
    route = http_route("a")
    del route["spec"]["rules"]
    assert serve(route).to("/x") == "500"


def test_what_no_rule_matches_is_not_found() -> None:
    """HTTPRouteRule.matches: 404 when no attached rule matches."""
    assert serve(http_route("a", rule(exact("/foo")))).to("/bar") == "404"


@pytest.mark.parametrize(
    ("value", "other"),
    [("/a.b", "/axb"), ("/a(b)", "/ab"), ("/a+b*", "/aab"), ("/a%20b", "/a b"), ("/$&'()*+,;=:@!~", "/")],
)
@pytest.mark.parametrize("kind", [prefix, exact])
def test_a_path_is_literal(kind: Callable[[str], Manifest], value: str, other: str) -> None:
    served = serve(http_route("a", rule(kind(value))))
    assert (served.to(value), served.to(other)) == ("v1", "404")
