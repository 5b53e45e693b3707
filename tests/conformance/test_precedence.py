"""Which of several matching rules gets a request, across all routes of a listener."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest

from .manifests import Manifest, exact, http_route, named, prefix, rule, serve

LADDER = [
    exact("/a/b"),
    prefix("/a/b"),
    prefix("/a", method="GET", headers=named(x="1", y="1")),
    prefix("/a", method="GET", headers=named(x="1")),
    prefix("/a", method="GET", queryParams=named(q="1")),
    prefix("/a", method="GET"),
    prefix("/a", headers=named(x="1", y="1"), queryParams=named(q="1")),
    prefix("/a", headers=named(x="1", y="1")),
    prefix("/a", headers=named(x="1"), queryParams=named(q="1", r="1")),
    prefix("/a", headers=named(x="1"), queryParams=named(q="1")),
    prefix("/a", headers=named(x="1")),
    prefix("/a", queryParams=named(q="1", r="1")),
    prefix("/a", queryParams=named(q="1")),
    prefix("/a"),
    prefix("/", method="GET", headers=named(x="1", y="1"), queryParams=named(q="1", r="1")),
    prefix("/"),
]
"""From the first to the last, by HTTPRouteRule.matches: exact, longest prefix, method, headers, query parameters."""

REQUEST: dict[str, Any] = {"path": "/a/b?q=1&r=1", "headers": {"x": "1", "y": "1"}}
"""Matches every rung."""


@pytest.mark.parametrize("rung", range(len(LADDER) - 1))
@pytest.mark.parametrize("reverse", [False, True], ids=["better first", "better last"])
def test_each_rung_of_the_ladder_beats_the_next(rung: int, reverse: bool) -> None:
    better, worse = rule(LADDER[rung], to="v1"), rule(LADDER[rung + 1], to="v2")
    one_route = serve(http_route("a", *([worse, better] if reverse else [better, worse])))
    assert one_route.to(**REQUEST) == "v1"
    older, younger = (worse, better) if reverse else (better, worse)
    two_routes = serve(http_route("a", older), http_route("b", younger))
    assert two_routes.to(**REQUEST) == "v1"


def test_the_older_route_wins_a_tie_whatever_its_name() -> None:
    """HTTPRouteRule.matches: the oldest Route based on creation timestamp."""
    young = http_route("a", rule(prefix("/x"), to="v1"), creationTimestamp="2024-05-02T10:00:00Z")
    old = http_route("b", rule(prefix("/x"), to="v2"), creationTimestamp="2024-05-01T10:00:00Z")
    assert serve(young, old).to("/x") == "v2"
    assert serve(old, young).to("/x") == "v2"


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_namespace_and_name_decide_between_routes_of_one_age(order: tuple[int, ...]) -> None:
    """HTTPRouteRule.matches: alphabetical order by "{namespace}/{name}"."""
    routes: list[Manifest] = [
        http_route("z", rule(to="v1"), creationTimestamp="2024-05-01T10:00:00Z"),
        http_route("a", rule(to="v2"), creationTimestamp="2024-05-02T10:00:00Z"),
        http_route("b", rule(to="v3"), creationTimestamp="2024-05-02T10:00:00Z"),
    ]
    served = serve(*(routes[position] for position in order))
    assert served.to() == "v1"
    assert serve(*(routes[position] for position in order if position)).to() == "v2"


def test_without_timestamps_namespace_and_name_decide() -> None:
    assert serve(http_route("b", rule(to="v2")), http_route("a", rule(to="v1"))).to() == "v1"


def test_the_first_rule_of_a_route_wins_a_tie() -> None:
    """HTTPRouteRule.matches: the FIRST matching rule in list order."""
    first = rule(prefix("/x", headers=named(a="1")), to="v1")
    second = rule(prefix("/x", headers=named(b="1")), to="v2")
    served = serve(http_route("a", first, second))
    assert served.to("/x", headers={"a": "1", "b": "1"}) == "v1"
    assert served.to("/x", headers={"b": "1"}) == "v2"


def test_an_older_route_does_not_beat_a_better_match() -> None:
    old = http_route("a", rule(prefix("/")), creationTimestamp="2020-01-01T00:00:00Z")
    young = http_route("b", rule(prefix("/x"), to="v2"), creationTimestamp="2024-01-01T00:00:00Z")
    served = serve(old, young)
    assert (served.to("/x"), served.to("/y")) == ("v2", "v1")


def test_matches_of_one_rule_rank_each_for_itself() -> None:
    """Precedence goes to the match, not to the rule that holds it."""
    mixed = rule(prefix("/"), exact("/only"), to="v1")
    other = rule(prefix("/only"), to="v2")
    served = serve(http_route("a", mixed, other))
    assert (served.to("/only"), served.to("/only/more"), served.to("/else")) == ("v1", "v2", "v1")


def test_the_conformance_suites_order_of_paths() -> None:
    """httproute-path-match-order."""
    served = serve(
        http_route(
            "a",
            rule(prefix("/match"), to="v1"),
            rule(exact("/match/exact"), to="v2"),
            rule(exact("/match/exact/one"), to="v3"),
            rule(prefix("/match/"), to="v3"),
            rule(prefix("/match/prefix/"), to="v1"),
            rule(prefix("/match/prefix/one"), to="v2"),
        )
    )
    paths = ("/match/exact/one", "/match/exact", "/match/prefix/one/any", "/match/prefix/any", "/match/any")
    assert [served.to(path) for path in paths] == ["v3", "v2", "v2", "v1", "v3"]
