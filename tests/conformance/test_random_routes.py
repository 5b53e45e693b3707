"""Random listeners, routes and requests: what Envoy is told agrees with the precedence that the specification writes down."""

from __future__ import annotations

import os

from hypothesis import given, settings
from hypothesis import strategies as st

from . import oracle
from .manifests import Manifest, Served, filter_, gateway, http_route, listener, named, serve
from .messages import Request

LONG = os.environ.get("CONTROLPLANE_LONG") == "1"

HOSTS = ["www.example.com", "foo.example.com", "b.foo.example.com", "test.org"]
HOSTNAMES = ["www.example.com", "*.example.com", "*.foo.example.com", "*.com", "b.foo.example.com"]
PATHS = ["/", "/a", "/a/b"]
STAMPS = ["2024-01-01T00:00:00Z", "2024-01-02T00:00:00Z", "2023-12-31T23:59:59Z"]
LISTENERS = [
    oracle.Listener("all", 80, None),
    oracle.Listener("wild", 80, "*.example.com"),
    oracle.Listener("wild-foo", 80, "*.foo.example.com"),
    oracle.Listener("www", 80, "www.example.com"),
    oracle.Listener("other", 8080, None),
    oracle.Listener("other-com", 8080, "*.com"),
]
ALL = frozenset({("k", "1"), ("l", "1"), ("m", "1")})
NONE: frozenset[tuple[str, str]] = frozenset()

ASKED = [
    oracle.Asked(host, port, path, method, headers, query)
    for host in HOSTS
    for port in (80, 8080)
    for path, method, headers, query in (
        ("/a/b", "GET", ALL, ALL),
        ("/a/b/", "GET", ALL, ALL),
        ("/a/b", "POST", ALL, NONE),
        ("/a", "GET", NONE, ALL),
        ("/a/bc", "GET", ALL, frozenset({("k", "1")})),
        ("/ab", "GET", frozenset({("k", "2"), ("l", "1")}), ALL),
        ("/", "POST", NONE, NONE),
    )
]
"""Most of them satisfy nearly every match, so that precedence decides, and not what matches."""

pairs = st.frozensets(st.sampled_from(sorted(ALL)), max_size=2)
plain = st.builds(oracle.Match, st.just(False), st.sampled_from(["/", "/a"]), st.none(), st.just(NONE), st.just(NONE))
"""So few that ties are common."""
matches = plain | st.builds(
    oracle.Match,
    st.sampled_from([False, False, True]),
    st.sampled_from(PATHS),
    st.sampled_from([None, None, "GET", "POST"]),
    pairs,
    pairs,
)


@st.composite
def worlds(draw: st.DrawFn) -> tuple[list[oracle.Listener], list[oracle.Route]]:
    """Listeners, and routes of which all or none have timestamps."""
    listeners = draw(st.lists(st.sampled_from(LISTENERS), min_size=1, max_size=4, unique=True))
    stamps = draw(st.sampled_from([STAMPS, [""]]))
    names = st.sampled_from([("demo", "a"), ("alpha", "b"), ("alpha", "c"), ("demo", "b"), ("beta", "a")])
    routes = []
    for namespace, name in draw(st.lists(names, min_size=2, max_size=5, unique=True)):
        rules = [
            oracle.Rule(f"{namespace}-{name}-{position}", tuple(draw(st.lists(matches, min_size=1, max_size=3))))
            for position in range(draw(st.integers(1, 3)))
        ]
        section = draw(st.sampled_from([None, None, None, *(each.name for each in listeners)]))
        port = draw(st.sampled_from([None, None, None, 80, 8080]))
        hostnames = tuple(draw(st.lists(st.sampled_from(HOSTNAMES), max_size=2, unique=True)))
        routes.append(
            oracle.Route(namespace, name, draw(st.sampled_from(stamps)), section, port, hostnames, tuple(rules))
        )
    return listeners, routes


def manifest_of(route: oracle.Route) -> Manifest:
    """The route; each rule answers with a redirect to its own name."""
    parent: Manifest = {"name": "web", "namespace": "demo"}
    parent |= {"sectionName": route.section} if route.section else {}
    parent |= {"port": route.port} if route.port else {}
    rules = [
        {
            "matches": [
                {
                    "path": {"type": "Exact" if match.exact else "PathPrefix", "value": match.path},
                    **({"method": match.method} if match.method else {}),
                    "headers": named(**dict(sorted(match.headers))),
                    "queryParams": named(**dict(sorted(match.query))),
                }
                for match in rule.matches
            ],
            "filters": [filter_("RequestRedirect", hostname=f"{rule.name}.test", port=1)],
        }
        for rule in route.rules
    ]
    created = {"creationTimestamp": route.created} if route.created else {}
    return http_route(
        route.name, *rules, hostnames=route.hostnames, parents=[parent], namespace=route.namespace, **created
    )


def served_by(served: Served, asked: oracle.Asked) -> str | None:
    query = "&".join(f"{name}={value}" for name, value in sorted(asked.query))
    path = f"{asked.path}?{query}" if query else asked.path
    answer = served.proxy().ask(Request(path, asked.host, asked.method, dict(asked.headers), asked.port))
    if answer.status in {0, 404}:
        return None
    assert answer.status == 302
    return answer.location.removeprefix("http://").partition(".test")[0]


@settings(max_examples=1500 if LONG else 150, deadline=None, derandomize=not LONG)
@given(worlds())
def test_the_specifications_precedence_decides(world: tuple[list[oracle.Listener], list[oracle.Route]]) -> None:
    listeners, routes = world
    served = serve(
        gateway(*(listener(each.name, each.port, each.hostname, routes="All") for each in listeners)),
        [manifest_of(route) for route in routes],
    )
    assert not served.errors
    found = {asked: served_by(served, asked) for asked in ASKED}
    assert found == {asked: oracle.winner(listeners, routes, asked) for asked in ASKED}
