"""Hostnames: of listeners, of routes, their intersection, listener isolation."""

from __future__ import annotations

import pytest

from .manifests import gateway, http_route, listener, prefix, rule, serve

INTERSECTIONS = [
    # listener, route, hosts that are served, hosts that are not
    ("www.example.com", "www.example.com", ["www.example.com"], ["example.com", "a.www.example.com"]),
    ("*.example.com", "www.example.com", ["www.example.com"], ["foo.example.com", "example.com"]),
    ("*.example.com", "sub.domain.example.com", ["sub.domain.example.com"], ["domain.example.com"]),
    ("www.example.com", "*.example.com", ["www.example.com"], ["foo.example.com"]),
    ("sub.domain.example.com", "*.example.com", ["sub.domain.example.com"], ["domain.example.com"]),
    ("*.example.com", "*.example.com", ["a.example.com", "a.b.example.com"], ["example.com"]),
    ("*.com", "*.example.com", ["a.example.com"], ["example.com", "a.test.com"]),
    ("*.example.com", "*.com", ["a.example.com", "a.b.example.com"], ["example.com", "a.test.com"]),
    (None, "www.example.com", ["www.example.com"], ["foo.example.com"]),
    (None, "*.example.com", ["a.example.com"], ["example.com", "a.test.com"]),
    ("www.example.com", None, ["www.example.com"], ["foo.example.com"]),
    ("*.example.com", None, ["a.example.com", "a.b.example.com"], ["example.com"]),
    (None, None, ["anything.test", "localhost", "10.0.0.1"], []),
]
"""The table of Gateway API's page on hostnames, and its mirror image."""


@pytest.mark.parametrize(("of_listener", "of_route", "hosts", "strangers"), INTERSECTIONS)
def test_a_route_serves_the_intersection(
    of_listener: str | None, of_route: str | None, hosts: list[str], strangers: list[str]
) -> None:
    served = serve(
        gateway(listener(hostname=of_listener)), http_route("a", rule(), hostnames=[of_route] if of_route else [])
    )
    assert [served.to(host=host) for host in hosts] == ["v1"] * len(hosts)
    assert [served.to(host=host) for host in strangers] == ["404"] * len(strangers)
    assert served.parent("a")["Accepted"] == ("True", "Accepted")
    assert served.attached() == 1


@pytest.mark.parametrize(
    ("of_listener", "of_route"),
    [
        ("test.example.com", "test.example.net"),
        ("*.example.com", "example.com"),
        ("*.example.com", "test.example.net"),
        ("example.com", "*.example.com"),
        ("*.a.example.com", "b.example.com"),
        ("*.a.example.com", "*.b.example.com"),
        ("*.ample.com", "www.example.com"),
    ],
)
def test_a_route_without_a_common_hostname_does_not_attach(of_listener: str, of_route: str) -> None:
    """HTTPRouteSpec.hostnames: not accepted; the reason is RouteReasonNoMatchingListenerHostname."""
    served = serve(gateway(listener(hostname=of_listener)), http_route("a", rule(), hostnames=[of_route]))
    assert served.parent("a")["Accepted"] == ("False", "NoMatchingListenerHostname")
    assert served.parent("a")["ResolvedRefs"] == ("True", "ResolvedRefs")
    assert served.attached() == 0
    assert served.to(host=of_route.replace("*", "w")) == "404"


def test_hostnames_that_do_not_match_the_listener_are_ignored() -> None:
    """The example of HTTPRouteSpec.hostnames."""
    route = http_route("a", rule(), hostnames=["test.example.com", "test.example.net"])
    served = serve(gateway(listener(hostname="*.example.com")), route)
    assert (served.to(host="test.example.com"), served.to(host="test.example.net")) == ("v1", "404")


def test_the_port_and_the_case_of_a_host_header_do_not_count() -> None:
    """HTTPRouteSpec.hostnames: implementations MUST ignore any port value in the Host header, and forward it unmodified."""
    served = serve(http_route("a", rule(), hostnames=["www.example.com"]))
    assert served.to(host="www.example.com:1234") == "v1"
    assert served.to(host="WWW.Example.COM") == "v1"
    assert served.ask(host="www.example.com:1234").forward.host == "www.example.com:1234"


def test_the_more_specific_hostname_wins_over_the_better_path() -> None:
    """HTTPRouteSpec.hostnames: most characters of a precise hostname, then of any, then the matches."""
    served = serve(
        http_route("a", rule(prefix("/long/path"), to="v1")),
        http_route("b", rule(prefix("/long"), to="v2"), hostnames=["*.example.com"]),
        http_route("c", rule(prefix("/"), to="v3"), hostnames=["www.example.com"]),
    )
    assert served.to("/long/path", "www.example.com") == "v3"
    assert served.to("/long/path", "foo.example.com") == "v2"
    assert served.to("/long/path", "other.test") == "v1"


def test_the_longer_wildcard_wins() -> None:
    served = serve(
        http_route("a", rule(prefix("/x/y"), to="v1"), hostnames=["*.example.com"]),
        http_route("b", rule(prefix("/"), to="v2"), hostnames=["*.foo.example.com"]),
    )
    assert served.to("/x/y", "a.foo.example.com") == "v2"
    assert served.to("/x/y", "a.example.com") == "v1"


def test_what_the_more_specific_hostname_does_not_match_goes_to_the_less_specific() -> None:
    """HTTPRouteSpec.hostnames ranks *rules*; a rule of an attached route that matches must not give way to a 404.

    HTTPRouteRule.matches: 404 "when no rules matching a request have been successfully attached to the parent".
    """
    served = serve(
        http_route("a", rule(to="v1")),
        http_route("b", rule(prefix("/b"), to="v2"), hostnames=["*.example.com"]),
        http_route("c", rule(prefix("/c"), to="v3"), hostnames=["www.example.com"]),
    )
    assert [served.to(path, "www.example.com") for path in ("/c", "/b", "/")] == ["v3", "v2", "v1"]
    assert [served.to(path, "foo.example.com") for path in ("/c", "/b", "/")] == ["v1", "v2", "v1"]


def test_equal_hostnames_share_their_rules() -> None:
    """httproute-matching-across-routes."""
    one = http_route("a", rule(prefix("/")), hostnames=["example.com", "example.net"])
    two = http_route("b", rule(prefix("/v2"), to="v2"), hostnames=["example.com"])
    served = serve(one, two)
    assert served.to("/v2", "example.com") == "v2"
    assert served.to("/v2", "example.net") == "v1"
    assert served.to("/other", "example.com") == "v1"


ISOLATED = [
    listener("empty", 80, None),
    listener("wild", 80, "*.example.com"),
    listener("wild-foo", 80, "*.foo.example.com"),
    listener("abc-foo", 80, "abc.foo.example.com"),
]
EVERY_HOSTNAME = ["bar.com", "*.example.com", "*.foo.example.com", "abc.foo.example.com"]


@pytest.mark.parametrize("hostnames", [[], EVERY_HOSTNAME], ids=["of listeners alone", "of routes too"])
def test_a_request_reaches_the_routes_of_one_listener_alone(hostnames: list[str]) -> None:
    """gateway-http-listener-isolation: each host belongs to the most specific listener."""
    routes = [
        http_route(name, rule(prefix(f"/{name}")), hostnames=hostnames, parents=[{"name": "web", "sectionName": name}])
        for name in ("empty", "wild", "wild-foo", "abc-foo")
    ]
    served = serve(gateway(*ISOLATED), *routes)
    owners = {
        "bar.com": "empty",
        "bar.example.com": "wild",
        "bar.foo.example.com": "wild-foo",
        "abc.foo.example.com": "abc-foo",
    }
    for host, owner in owners.items():
        for name in owners.values():
            assert served.to(f"/{name}", host) == ("v1" if name == owner else "404"), (host, name)
    assert [served.attached(entry["name"]) for entry in ISOLATED] == [1, 1, 1, 1]


def test_a_listener_without_routes_still_owns_its_hostname() -> None:
    served = serve(
        gateway(listener("all"), listener("mine", hostname="a.example.com")),
        http_route("a", rule(), parents=[{"name": "web", "sectionName": "all"}]),
    )
    assert (served.to(host="a.example.com"), served.to(host="b.example.com")) == ("404", "v1")


def test_a_route_of_the_whole_gateway_serves_each_listener() -> None:
    """httproute-hostname-intersection: three listeners, one route for each, one for none of them."""
    listeners = [
        listener("one", hostname="very.specific.com"),
        listener("two", hostname="*.wildcard.io"),
        listener("three", hostname="*.anotherwildcard.io"),
    ]
    served = serve(
        gateway(*listeners),
        http_route(
            "a", rule(prefix("/s1")), hostnames=["non.matching.com", "*.nonmatchingwildcard.io", "very.specific.com"]
        ),
        http_route(
            "b",
            rule(prefix("/s2")),
            hostnames=["non.matching.com", "wildcard.io", "foo.wildcard.io", "foo.bar.wildcard.io"],
        ),
        http_route("c", rule(prefix("/s3")), hostnames=["non.matching.com", "*.specific.com"]),
        http_route("d", rule(prefix("/s4")), hostnames=["*.anotherwildcard.io"]),
        http_route("e", rule(prefix("/s5")), hostnames=["specific.but.wrong.com", "wildcard.io"]),
    )
    good = [
        ("very.specific.com", "/s1"),
        ("foo.wildcard.io", "/s2"),
        ("foo.bar.wildcard.io", "/s2"),
        ("very.specific.com", "/s3"),
    ]
    good += [("foo.anotherwildcard.io", "/s4"), ("foo.bar.anotherwildcard.io", "/s4")]
    bad = [
        ("non.matching.com", "/s1"),
        ("foo.nonmatchingwildcard.io", "/s1"),
        ("foo.wildcard.io", "/s1"),
        ("wildcard.io", "/s2"),
    ]
    bad += [
        ("bar.wildcard.io", "/s2"),
        ("foo.specific.com", "/s3"),
        ("anotherwildcard.io", "/s4"),
        ("wildcard.io", "/s5"),
    ]
    bad += [("specific.but.wrong.com", "/s5"), ("very.specific.com", "/s2"), ("very.specific.com", "/none")]
    assert {(host, path): served.to(path, host) for host, path in good} == dict.fromkeys(good, "v1")
    assert {(host, path): served.to(path, host) for host, path in bad} == dict.fromkeys(bad, "404")
    assert [served.attached(entry["name"]) for entry in listeners] == [2, 1, 1]
    assert served.parent("e")["Accepted"] == ("False", "NoMatchingListenerHostname")


def test_listeners_on_different_ports_do_not_isolate_each_other() -> None:
    served = serve(gateway(listener("a", 80), listener("b", 8080, "a.example.com")), http_route("r", rule()))
    assert served.to(host="a.example.com", port=80) == "v1"
    assert served.to(host="a.example.com", port=8080) == "v1"
    assert served.to(host="b.example.com", port=8080) == "404"


def test_one_route_with_two_overlapping_hostnames_serves_both() -> None:
    served = serve(http_route("a", rule(), hostnames=["*.example.com", "a.example.com", "a.example.com"]))
    assert [served.to(host=host) for host in ("a.example.com", "b.example.com")] == ["v1", "v1"]
    assert served.attached() == 1
