"""Random listeners, routes and requests: what Envoy is told agrees with the precedence that the specification writes down."""

from __future__ import annotations

import json
import os
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from . import oracle
from .manifests import Manifest, Served, filter_, gateway, http_route, listener, named, serve
from .proxy import Request

LONG = os.environ.get("CONTROLPLANE_LONG") == "1"

HOSTS = ["www.example.com", "foo.example.com", "bar.foo.example.com", "example.com", "test.org", "a.www.example.com"]
HOSTNAMES = [
    "www.example.com",
    "foo.example.com",
    "example.com",
    "*.example.com",
    "*.foo.example.com",
    "*.com",
    "test.org",
]
PATHS = ["/", "/a", "/a/b", "/a/b/c", "/ab"]
ASKED_PATHS = [*PATHS, "/a/", "/a/bc", "/a/b/", "/z"]
STAMPS = ["2024-01-01T00:00:00Z", "2024-01-02T00:00:00Z", "2023-12-31T23:59:59Z"]
LISTENERS = [
    oracle.Listener("all", 80, None),
    oracle.Listener("wild", 80, "*.example.com"),
    oracle.Listener("wild-foo", 80, "*.foo.example.com"),
    oracle.Listener("www", 80, "www.example.com"),
    oracle.Listener("other", 8080, None),
    oracle.Listener("other-com", 8080, "*.com"),
]

pairs = st.frozensets(st.sampled_from([("k", "1"), ("l", "1"), ("m", "1")]), max_size=2)
matches = st.builds(
    oracle.Match, st.booleans(), st.sampled_from(PATHS), st.sampled_from([None, None, "GET", "POST"]), pairs, pairs
)
requests = st.builds(
    oracle.Asked,
    st.sampled_from(HOSTS),
    st.sampled_from([80, 80, 8080]),
    st.sampled_from(ASKED_PATHS),
    st.sampled_from(["GET", "POST"]),
    st.frozensets(st.sampled_from([("k", "1"), ("l", "1"), ("m", "1"), ("k", "2")]), max_size=4),
    pairs,
)


@st.composite
def worlds(draw: st.DrawFn) -> tuple[list[oracle.Listener], list[oracle.Route]]:
    """Listeners, and routes of which all or none have timestamps."""
    listeners = draw(st.lists(st.sampled_from(LISTENERS), min_size=1, max_size=4, unique=True))
    stamps = draw(st.sampled_from([STAMPS, [""]]))
    names = draw(
        st.lists(
            st.tuples(st.sampled_from(["demo", "alpha"]), st.sampled_from("abc")), min_size=1, max_size=4, unique=True
        )
    )
    routes = []
    for namespace, name in names:
        rules = [
            oracle.Rule(f"{namespace}-{name}-{position}", tuple(draw(st.lists(matches, min_size=1, max_size=3))))
            for position in range(draw(st.integers(1, 3)))
        ]
        section = draw(st.sampled_from([None, None, *(each.name for each in listeners)]))
        port = draw(st.sampled_from([None, None, 80, 8080]))
        hostnames = tuple(draw(st.lists(st.sampled_from(HOSTNAMES), max_size=3, unique=True)))
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
    # A header that is sent twice is one value with a comma, so of two values the last is sent.
    request = Request(
        f"{asked.path}?{query}" if query else asked.path,
        asked.host,
        asked.method,
        dict(sorted(asked.headers)),
        asked.port,
    )
    answer = served.proxy().ask(request)
    if answer.status in {0, 404}:
        return None
    assert answer.status == 302
    return answer.location.removeprefix("http://").partition(".test")[0]


@settings(
    max_examples=1000 if LONG else 120,
    deadline=None,
    derandomize=not LONG,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(worlds(), st.lists(requests, min_size=20, max_size=40))
def test_the_specifications_precedence_decides(
    world: tuple[list[oracle.Listener], list[oracle.Route]], asked: list[oracle.Asked]
) -> None:
    listeners, routes = world
    served = serve(
        gateway(*(listener(each.name, each.port, each.hostname, routes="All") for each in listeners)),
        [manifest_of(route) for route in routes],
    )
    assert not served.errors
    for request in asked:
        request = one_value(request)
        expected = oracle.winner(listeners, routes, request)
        assert served_by(served, request) == expected, json.dumps(_shown(request))


def one_value(asked: oracle.Asked) -> oracle.Asked:
    """Of a header's values the greatest: a request sends each header once."""
    return oracle.Asked(
        asked.host, asked.port, asked.path, asked.method, frozenset(dict(sorted(asked.headers)).items()), asked.query
    )


def _shown(asked: oracle.Asked) -> dict[str, Any]:
    return {name: sorted(value) if isinstance(value, frozenset) else value for name, value in vars(asked).items()}
