"""RequestRedirect: status, scheme, host, port and path of the Location."""

from __future__ import annotations

import re
from typing import Any

import pytest

from .conftest import MakeSecret
from .manifests import backend, exact, filter_, gateway, http_route, https, listener, named, prefix, regex, rule, serve
from .test_rewrites import SLASHES


def redirected(request: str = "http://example.com/path", **redirect: Any) -> str:
    """Location of a request's redirect; the listener is on the request's port (80 and 8080), whatever the Host header says."""
    return location(redirect, request)


def location(
    redirect: dict[str, Any], request: str, port: int = 80, secret: list[Any] | None = None, match: Any = None
) -> str:
    scheme, host, path = re.fullmatch(r"(https?)://([^/]+)(/.*)", request).groups()  # type: ignore[union-attr]
    served = serve(
        gateway(listener(port=port) if scheme == "http" else https("https", None, "cert", port=port)),
        http_route("a", rule(*([match] if match else []), to=None, filters=[filter_("RequestRedirect", **redirect)])),
        secret or [],
    )
    assert not served.errors
    answer = served.ask(path, host, port=port, sni=host.partition(":")[0] if scheme == "https" else None)
    assert 300 < (answer.status or 0) < 400, answer
    return answer.location


def without_own_port(url: str) -> str:
    """A URL in which a scheme's own port, which says nothing, is left out."""
    return re.sub(r"^(http://[^/]+):80(?=/)|^(https://[^/]+):443(?=/)", r"\1\2", url)


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_the_status_code_is_the_filters(code: int) -> None:
    served = serve(
        http_route("a", rule(to=None, filters=[filter_("RequestRedirect", statusCode=code, hostname="example.org")]))
    )
    assert served.ask().status == code


def test_the_status_code_is_302_by_default() -> None:
    served = serve(http_route("a", rule(to=None, filters=[filter_("RequestRedirect", hostname="example.org")])))
    assert served.ask().status == 302


EVERY_PORT = [
    # port of the listener, filter, Location of a request for http://example.com/path
    (80, {"hostname": "example.org"}, "http://example.org/path"),
    (80, {"hostname": "example.org", "port": 80}, "http://example.org/path"),
    (80, {"hostname": "example.org", "port": 8080}, "http://example.org:8080/path"),
    (80, {"hostname": "example.org", "scheme": "https"}, "https://example.org/path"),
    (80, {"hostname": "example.org", "scheme": "https", "port": 443}, "https://example.org/path"),
    (80, {"hostname": "example.org", "scheme": "https", "port": 8443}, "https://example.org:8443/path"),
    (80, {"hostname": "example.org", "scheme": "http", "port": 443}, "http://example.org:443/path"),
    (80, {"scheme": "https"}, "https://example.com/path"),
    (80, {"port": 8080}, "http://example.com:8080/path"),
    (8080, {"hostname": "example.org"}, "http://example.org:8080/path"),
    (8080, {"hostname": "example.org", "port": 80}, "http://example.org/path"),
    (8080, {"hostname": "example.org", "scheme": "http"}, "http://example.org/path"),
    (8080, {"hostname": "example.org", "scheme": "https"}, "https://example.org/path"),
    (8080, {"scheme": "https"}, "https://example.com/path"),
    (8080, {"statusCode": 301}, "http://example.com:8080/path"),
    (443, {"hostname": "example.org"}, "http://example.org:443/path"),
]
"""HTTPRequestRedirectFilter.port: the field, else the scheme's own port, else the listener's; well-known ones left out."""


@pytest.mark.parametrize(("port", "redirect", "expected"), EVERY_PORT)
def test_the_port_follows_from_filter_scheme_and_listener(port: int, redirect: dict[str, Any], expected: str) -> None:
    assert without_own_port(location(redirect, "http://example.com/path", port)) == expected


@pytest.mark.parametrize(
    ("port", "redirect", "expected"), [row for row in EVERY_PORT if row[:2] != (8080, {"scheme": "https"})]
)
def test_a_well_known_port_is_left_out(port: int, redirect: dict[str, Any], expected: str) -> None:
    """HTTPRequestRedirectFilter.port: SHOULD NOT be added to http on 80 and https on 443.

    One case is left out: with the request's host and another scheme, the port of the Host header MUST go, and Envoy lets go of
    it only for a port that it is told.
    """
    assert location(redirect, "http://example.com/path", port) == expected


@pytest.mark.parametrize(
    ("redirect", "expected"),
    [
        ({"scheme": "https"}, "https://example.com/path"),
        ({"hostname": "example.org"}, "http://example.org:8080/path"),
        ({"port": 9000}, "http://example.com:9000/path"),
        ({"statusCode": 307}, "http://example.com:8080/path"),
    ],
)
def test_the_port_of_the_host_header_is_not_the_redirects(redirect: dict[str, Any], expected: str) -> None:
    """A client on port 8080 names it in its Host header; the port MUST follow from the filter and the listener all the same."""
    assert without_own_port(location(redirect, "http://example.com:8080/path", 8080)) == expected


@pytest.mark.parametrize(
    ("port", "redirect", "expected"),
    [
        (443, {"hostname": "example.org"}, "https://example.org/path"),
        (443, {"hostname": "example.org", "port": 443}, "https://example.org/path"),
        (443, {"hostname": "example.org", "port": 8443}, "https://example.org:8443/path"),
        (443, {"hostname": "example.org", "scheme": "http"}, "http://example.org/path"),
        (443, {"hostname": "example.org", "scheme": "http", "port": 80}, "http://example.org/path"),
        (443, {"hostname": "example.org", "scheme": "http", "port": 8080}, "http://example.org:8080/path"),
        (8443, {"hostname": "example.org"}, "https://example.org:8443/path"),
        (8443, {"hostname": "example.org", "scheme": "https"}, "https://example.org/path"),
        (8443, {"hostname": "example.org", "scheme": "http"}, "http://example.org/path"),
    ],
)
def test_an_https_listener_redirects_likewise(
    port: int, redirect: dict[str, Any], expected: str, make_secret: MakeSecret
) -> None:
    """httproute-redirect-port-and-scheme, its third part."""
    found = location(redirect, "https://example.com/path", port, [make_secret("cert", "example.com")])
    assert without_own_port(found) == expected


def test_each_listener_of_a_route_redirects_to_its_own_port() -> None:
    served = serve(
        gateway(listener("a", 80), listener("b", 8080), listener("c", 9090)),
        http_route("r", rule(to=None, filters=[filter_("RequestRedirect", hostname="example.org")])),
    )
    assert [without_own_port(served.ask("/x", port=port).location) for port in (80, 8080, 9090)] == [
        "http://example.org/x",
        "http://example.org:8080/x",
        "http://example.org:9090/x",
    ]


def test_without_a_path_the_requests_stays_as_it_is() -> None:
    """HTTPRequestRedirectFilter.path: when empty, the request path is used as-is."""
    assert (
        redirected("http://example.com/a/b%20c/?q=1&r=%2F", hostname="example.org")
        == "http://example.org/a/b%20c/?q=1&r=%2F"
    )


@pytest.mark.parametrize("match", [prefix("/full"), exact("/full"), regex("/f.*")])
def test_the_full_path_is_replaced(match: dict[str, Any]) -> None:
    redirect = {"path": {"type": "ReplaceFullPath", "replaceFullPath": "/new"}, "hostname": "example.org"}
    assert location(redirect, "http://example.com/full", match=match) == "http://example.org/new"


@pytest.mark.parametrize(("request_path", "matched", "replacement", "expected"), SLASHES)
def test_a_prefix_is_replaced_by_element(request_path: str, matched: str, replacement: str, expected: str) -> None:
    """The table of HTTPPathModifier.replacePrefixMatch holds for redirects too."""
    redirect = {"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": replacement}, "hostname": "example.org"}
    found = location(redirect, f"http://example.com{request_path}", match=prefix(matched))
    assert found == f"http://example.org{expected}"


def test_the_conformance_suites_paths() -> None:
    """httproute-redirect-path."""
    by_prefix = {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/replacement-prefix"}
    fully = {"type": "ReplaceFullPath", "replaceFullPath": "/full-path-replacement"}

    def to(matched: str, **redirect: Any) -> dict[str, Any]:
        return rule(prefix(matched), to=None, filters=[filter_("RequestRedirect", **redirect)])

    served = serve(
        http_route(
            "a",
            to("/original-prefix", path=by_prefix),
            to("/full", path=fully),
            to("/path-and-host", hostname="example.org", path=by_prefix),
            to("/path-and-status", path=by_prefix, statusCode=301),
            to("/full-path-and-host", hostname="example.org", path=fully),
            to("/full-path-and-status", path=fully, statusCode=301),
        )
    )
    found = {
        path: (answer.status, answer.location)
        for path in (
            *("/original-prefix/lemon", "/full/path/original", "/path-and-host"),
            *("/path-and-status", "/full-path-and-host", "/full-path-and-status"),
        )
        for answer in [served.ask(path)]
    }
    assert found == {
        "/original-prefix/lemon": (302, "http://example.com/replacement-prefix/lemon"),
        "/full/path/original": (302, "http://example.com/full-path-replacement"),
        "/path-and-host": (302, "http://example.org/replacement-prefix"),
        "/path-and-status": (301, "http://example.com/replacement-prefix"),
        "/full-path-and-host": (302, "http://example.org/full-path-replacement"),
        "/full-path-and-status": (301, "http://example.com/full-path-replacement"),
    }


def test_a_redirect_without_any_field_keeps_the_url() -> None:
    assert without_own_port(location({}, "http://example.com/x?y")) == "http://example.com/x?y"


def test_headers_are_added_to_a_redirect_too() -> None:
    """HTTPRouteRule.filters: all filters are compatible with each other but URLRewrite and RequestRedirect."""
    filters = [filter_("RequestRedirect", hostname="example.org"), filter_("ResponseHeaderModifier", set=named(x="1"))]
    answer = serve(http_route("a", rule(to=None, filters=filters))).ask()
    assert (answer.status, answer.response) == (302, {"x": "1"})


def test_a_mirror_beside_a_redirect_acts_or_is_told() -> None:
    """HTTPRouteRule.filters: a combination that cannot be supported makes the rule invalid (IncompatibleFilters)."""
    filters = [filter_("RequestRedirect", hostname="example.org"), filter_("RequestMirror", backendRef=backend("v2"))]
    served = serve(http_route("a", rule(prefix("/both"), to=None, filters=filters), rule(prefix("/fine"))))
    assert served.ask("/both").mirrors or served.parent("a").get("PartiallyInvalid") == ("True", "IncompatibleFilters")
    assert served.to("/fine") == "v1"
