"""``recompute-edges.md``, B.5, for waypoints and the ways to them: each edge is moved, and back."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conformance.manifests import Manifest

from .edges import REVIEWS, Seen, behind, check, sockets
from .mesh import NS, View, istio_labels, leading_to, namespace, route, service, to_service
from .waypoints import CAPTURED, chains, lands, proxying, service_ref, waypoint

OTHER, SERVICE = "elsewhere", "kube_gwtest_reviews_80"
ADMITTING = waypoint(
    proxying(allowedRoutes={"namespaces": {"from": "Selector", "selector": {"matchLabels": {"istio.io/team": "a"}}}})
)
AWAY = service("reviews", namespace=OTHER, labels=istio_labels(use_waypoint="wp", use_waypoint_namespace=NS))


def names(found: View) -> list[str]:
    return list(chains(found))


def first_lands(found: View) -> str:
    return lands(found, next(iter(chains(found))))


CHAIN = "fc_http_80_reviews_gwtest"
MINE = service(labels=CAPTURED)
WAYPOINTS = [
    pytest.param([MINE], [waypoint()], [], names, [], [CHAIN], id="the waypoint appears"),
    pytest.param([MINE, waypoint()], [], [waypoint()], names, [CHAIN], [], id="the waypoint goes"),
    pytest.param([service(), waypoint()], [MINE], [], names, [], [CHAIN], id="a Service's labels"),
    pytest.param(
        [service(), waypoint()], [namespace(use_waypoint="wp")], [], names, [], [CHAIN], id="a Namespace's labels"
    ),
    pytest.param([MINE, waypoint()], [service(labels=CAPTURED, vips=[])], [], names, [CHAIN], [], id="a VIP goes"),
    pytest.param(
        [AWAY, ADMITTING],
        [namespace(OTHER, team="a")],
        [],
        names,
        [],
        ["fc_http_80_reviews_elsewhere"],
        id="a Namespace is admitted by its labels",
    ),
    pytest.param(
        [AWAY, ADMITTING, namespace(OTHER, team="a")],
        [namespace(OTHER, team="b")],
        [],
        names,
        ["fc_http_80_reviews_elsewhere"],
        [],
        id="and no more",
    ),
    pytest.param(
        [MINE, waypoint(), service("a")],
        [route("r", to_service("a"), parents=[service_ref()])],
        [],
        first_lands,
        SERVICE,
        "kube_gwtest_a_80",
        id="a route is attached",
    ),
    pytest.param(
        [MINE, waypoint(), route("r", to_service("a"), parents=[service_ref()])],
        [service("a")],
        [],
        first_lands,
        "500",
        "kube_gwtest_a_80",
        id="a route's backend appears",
    ),
    pytest.param(
        [MINE, waypoint(), service("a"), route("r", to_service("a"), parents=[service_ref()])],
        [],
        [route("r", to_service("a"), parents=[service_ref()])],
        first_lands,
        "kube_gwtest_a_80",
        SERVICE,
        id="a route goes",
    ),
]

BASE = [*leading_to(to_service()), *REVIEWS]
SWITCHED = istio_labels(use_waypoint="wp", ingress_use_waypoint="true")
TO_SWITCHED = [*leading_to(to_service()), service(labels=SWITCHED), behind("reviews", "10.0.0.1")]
POD_WAY, VIP_WAY = ["10.0.0.1:8080"], ["10.96.0.1:80"]
INGRESS = [
    pytest.param(TO_SWITCHED, [waypoint()], [], sockets, POD_WAY, VIP_WAY, id="the waypoint appears"),
    pytest.param([*TO_SWITCHED, waypoint()], [], [waypoint()], sockets, VIP_WAY, POD_WAY, id="the waypoint goes"),
    pytest.param(
        [*TO_SWITCHED, waypoint()], [service(labels=CAPTURED)], [], sockets, VIP_WAY, POD_WAY, id="the label goes"
    ),
    pytest.param(
        [*BASE, waypoint()],
        [namespace(use_waypoint="wp", ingress_use_waypoint="true")],
        [],
        sockets,
        POD_WAY,
        VIP_WAY,
        id="the Namespace's labels",
    ),
    pytest.param(
        [*TO_SWITCHED, waypoint()],
        [waypoint(labels=istio_labels(waypoint_for="none"))],
        [],
        sockets,
        VIP_WAY,
        POD_WAY,
        id="the waypoint is for services no more",
    ),
]


@pytest.mark.parametrize(("start", "put", "take", "seen", "before", "after"), WAYPOINTS)
def test_a_waypoint_s_edge(
    start: list[Manifest], put: list[Manifest], take: list[Manifest], seen: Seen, before: Any, after: Any
) -> None:
    check(start, put, take, seen, before, after, "wp")


@pytest.mark.parametrize(("start", "put", "take", "seen", "before", "after"), INGRESS)
def test_an_edge_of_the_way_to_a_waypoint(
    start: list[Manifest], put: list[Manifest], take: list[Manifest], seen: Seen, before: Any, after: Any
) -> None:
    check(start, put, take, seen, before, after)
