"""URLRewrite: the path as a whole, a prefix of it, the hostname."""

from __future__ import annotations

import re
from typing import Any

import pytest

from .manifests import Manifest, exact, filter_, http_route, named, prefix, regex, rule, serve

SLASHES = [
    ("/foo/bar", "/foo", "/xyz", "/xyz/bar"),
    ("/foo/bar", "/foo", "/xyz/", "/xyz/bar"),
    ("/foo/bar", "/foo/", "/xyz", "/xyz/bar"),
    ("/foo/bar", "/foo/", "/xyz/", "/xyz/bar"),
    ("/foo", "/foo", "/xyz", "/xyz"),
    ("/foo/", "/foo", "/xyz", "/xyz/"),
    ("/foo/bar", "/foo", "", "/bar"),
    ("/foo/", "/foo", "", "/"),
    ("/foo", "/foo", "", "/"),
    ("/foo/", "/foo", "/", "/"),
    ("/foo", "/foo", "/", "/"),
    # Beyond the API's own table, by the same rules.
    ("/foo/bar", "/foo", "/", "/bar"),
    ("/foo/bar", "/foo/", "", "/bar"),
    ("/foo", "/foo/", "/xyz", "/xyz"),
    ("/bar", "/", "/xyz", "/xyz/bar"),
    ("/bar", "/", "/xyz/", "/xyz/bar"),
    ("/bar/baz", "/", "/", "/bar/baz"),
    ("/bar/baz", "/", "", "/bar/baz"),
    ("/foo/foo/foo", "/foo", "/xyz", "/xyz/foo/foo"),
    ("/foo/bar/", "/foo", "/xyz", "/xyz/bar/"),
    ("/foo/a%20b", "/foo", "/x%20z", "/x%20z/a%20b"),
    ("/a.b/c", "/a.b", "/xyz", "/xyz/c"),
    ("/a(b)/c", "/a(b)", "/x$1", "/x$1/c"),
    ("/foo/bar?q=/foo/bar", "/foo", "/xyz", "/xyz/bar?q=/foo/bar"),
    ("/foo?q", "/foo", "", "/?q"),
]
"""Request path, prefix match, replacement, modified path: HTTPPathModifier's table."""


def rewritten(request_path: str, match: Manifest | None, **rewrite: Any) -> str:
    served = serve(http_route("a", rule(*([match] if match else []), filters=[filter_("URLRewrite", **rewrite)])))
    assert not served.errors
    return served.ask(request_path).forward.path


@pytest.mark.parametrize(("path", "matched", "replacement", "expected"), SLASHES)
def test_a_prefix_is_replaced_by_element(path: str, matched: str, replacement: str, expected: str) -> None:
    modifier = {"type": "ReplacePrefixMatch", "replacePrefixMatch": replacement}
    assert rewritten(path, prefix(matched), path=modifier) == expected


@pytest.mark.parametrize("replacement", [r"/x\1y", r"/x\0y", r"/x\\y", r"/x\y", "/x&y", "/x$0"])
def test_a_replacement_is_literal(replacement: str) -> None:
    by_prefix = {"type": "ReplacePrefixMatch", "replacePrefixMatch": replacement}
    assert rewritten("/foo/bar", prefix("/foo"), path=by_prefix) == f"{replacement}/bar"
    assert rewritten("/bar", prefix("/"), path=by_prefix) == f"{replacement}/bar"
    fully = {"type": "ReplaceFullPath", "replaceFullPath": replacement}
    assert rewritten("/foo/bar", prefix("/foo"), path=fully) == replacement


@pytest.mark.parametrize(
    ("path", "match"),
    [
        ("/foo", prefix("/foo")),
        ("/foo/bar", prefix("/foo")),
        ("/foo", exact("/foo")),
        ("/fooo", regex("/fo+")),
        ("/", None),
    ],
)
def test_the_full_path_is_replaced(path: str, match: Manifest | None) -> None:
    modifier = {"type": "ReplaceFullPath", "replaceFullPath": "/one"}
    assert rewritten(path, match, path=modifier) == "/one"
    assert rewritten(f"{path}?q=1", match, path=modifier) == "/one?q=1"


def test_an_empty_full_path_is_the_root() -> None:
    """A request has a path, so the shortest that "" can mean is "/"; it must not mean that nothing is replaced."""
    assert rewritten("/foo", prefix("/foo"), path={"type": "ReplaceFullPath", "replaceFullPath": ""}) == "/"


def test_the_default_match_is_a_prefix_that_can_be_replaced() -> None:
    modifier = {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/v1"}
    assert rewritten("/users", None, path=modifier) == "/v1/users"


def test_the_hostname_is_replaced() -> None:
    served = serve(http_route("a", rule(filters=[filter_("URLRewrite", hostname="one.example.org")])))
    forward = served.ask("/one?x", "rewrite.example").forward
    assert (forward.host, forward.path) == ("one.example.org", "/one?x")


def test_without_a_rewrite_the_request_stays() -> None:
    """HTTPRouteSpec.hostnames: the Host header MUST be forwarded unmodified."""
    forward = serve(http_route("a", rule())).ask("/a//b%2Fc/?x=%20", "Example.com:80").forward
    assert (forward.path, forward.host) == ("/a//b%2Fc/?x=%20", "Example.com:80")


def test_path_host_and_headers_change_together() -> None:
    """httproute-rewrite-host and -path with a header modifier."""
    rewrite = filter_(
        "URLRewrite", hostname="test.example.org", path={"type": "ReplacePrefixMatch", "replacePrefixMatch": "/prefix"}
    )
    modifier = filter_(
        "RequestHeaderModifier",
        set=named(**{"X-Header-Set": "set-overwrites-values"}),
        add=named(**{"X-Header-Add": "header-val-1", "X-Header-Add-Append": "header-val-2"}),
        remove=["X-Header-Remove"],
    )
    served = serve(http_route("a", rule(prefix("/old"), filters=[rewrite, modifier])))
    sent = {"X-Header-Remove": "x", "X-Header-Add-Append": "append-val-1", "X-Header-Set": "set-val"}
    forward = served.ask("/old/one", headers=sent).forward
    assert (forward.path, forward.host) == ("/prefix/one", "test.example.org")
    assert forward.headers == {
        "x-header-set": "set-overwrites-values",
        "x-header-add": "header-val-1",
        "x-header-add-append": "append-val-1,header-val-2",
    }


def test_the_share_without_a_backend_is_not_rewritten_away() -> None:
    rewrite = filter_("URLRewrite", path={"type": "ReplaceFullPath", "replaceFullPath": "/x"})
    served = serve(http_route("a", rule(to=["v1", "nobody"], filters=[rewrite])))
    assert set(served.ask().shares) == {"demo/v1:8080", "500"}


@pytest.mark.parametrize(
    "matches",
    [[exact("/foo")], [regex("/foo")], [prefix("/a"), prefix("/b")]],
    ids=["exact", "regular expression", "two"],
)
def test_a_prefix_can_only_be_replaced_where_one_is_matched(matches: list[Manifest]) -> None:
    """HTTPPathModifier.replacePrefixMatch is only compatible with one PathPrefix match; the CRD refuses the object."""
    rewrite = filter_("URLRewrite", path={"type": "ReplacePrefixMatch", "replacePrefixMatch": "/x"})
    served = serve(http_route("bad", rule(*matches, filters=[rewrite])), http_route("good", rule(prefix("/good"))))
    assert len(served.errors) == 1
    assert re.search("HTTPRoute demo/bad.*replacePrefixMatch", served.errors[0])
    assert (served.to("/foo"), served.to("/good")) == ("404", "v1")


@pytest.mark.parametrize("kind", ["URLRewrite", "RequestRedirect"])
@pytest.mark.parametrize("type_", ["ReplaceFullPath", "ReplacePrefixMatch"])
@pytest.mark.parametrize("character", ["\0", "\r", "\n"])
def test_a_path_with_a_lines_end_never_reaches_envoy(kind: str, type_: str, character: str) -> None:
    """The CRD lets it pass; Envoy refuses it, and with it every route of the hostname."""
    field = type_[0].lower() + type_[1:]
    filters = [filter_(kind, path={"type": type_, field: f"/a{character}b"})]
    bad = rule(prefix("/bad"), to=None if kind == "RequestRedirect" else "v1", filters=filters)
    served = serve(http_route("a", bad), http_route("b", rule(prefix("/good"), to="v2")))
    assert served.to("/good") == "v2"


def test_a_replacement_without_its_slash_is_a_path_all_the_same() -> None:
    """A request line needs an absolute path."""
    assert rewritten("/foo", prefix("/foo"), path={"type": "ReplaceFullPath", "replaceFullPath": "one"}) == "/one"
    assert (
        rewritten("/foo/bar", prefix("/foo"), path={"type": "ReplacePrefixMatch", "replacePrefixMatch": "one"})
        == "/one/bar"
    )
