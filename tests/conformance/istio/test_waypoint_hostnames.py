"""4.5 with hostnames: a route of the Gateway is for its hostnames, one of a service for every name; the service's come first."""

from __future__ import annotations

import pytest

from tests.conformance.manifests import Manifest

from .mesh import route, service, to_service
from .waypoints import CAPTURED, GATEWAY, at_waypoint, lands, service_ref, waypoint

CHAIN = "fc_http_80_reviews_gwtest"
MADE = [service(labels=CAPTURED), *(service(name) for name in ("a", "b", "c"))]


def where(routes: list[Manifest], host: str, path: str = "/") -> str:
    found = lands(at_waypoint(waypoint(), MADE, routes), CHAIN, path, host)
    return found.removeprefix("kube_gwtest_").removesuffix("_80")


def of_gateway(to: str, *hostnames: str, name: str = "g") -> Manifest:
    return route(name, to_service(to), parents=[GATEWAY], **({"hostnames": list(hostnames)} if hostnames else {}))


def of_service(to: str, *paths: str, hostnames: tuple[str, ...] = ()) -> Manifest:
    matches = [{"path": {"type": "PathPrefix", "value": path}} for path in paths]
    rule = {"backendRefs": [to_service(to)], **({"matches": matches} if matches else {})}
    more = {"hostnames": list(hostnames)} if hostnames else {}
    return route("s", parents=[service_ref()], rules=[rule], **more)


@pytest.mark.parametrize(
    ("host", "expected"),
    [("x.example.com", "a"), ("y.example.com", "b"), ("other.example.org", "c")],
)
def test_routes_of_the_gateway_are_for_their_hostnames(host: str, expected: str) -> None:
    routes = [of_gateway("a", "x.example.com"), of_gateway("b", "*.example.com", name="h"), of_gateway("c", name="i")]
    assert where(routes, host) == expected


@pytest.mark.parametrize("host", ["x.example.com", "y.example.com"])
def test_a_route_of_the_service_comes_before_the_gateway_s_of_any_hostname(host: str) -> None:
    assert where([of_gateway("a", "x.example.com"), of_service("b")], host) == "b"
    assert where([of_gateway("a", "x.example.com"), of_service("b", "/b")], host, "/b") == "b"


def test_what_the_service_s_do_not_match_is_the_gateway_s() -> None:
    routes = [of_gateway("a", "x.example.com"), of_service("b", "/b")]
    assert where(routes, "x.example.com", "/") == "a"
    assert where(routes, "y.example.com", "/") == "404"


def test_a_route_of_a_service_is_for_every_name() -> None:
    """GAMMA: hostnames are ignored there."""
    assert where([of_service("b", hostnames=("x.example.com",))], "y.example.com") == "b"
