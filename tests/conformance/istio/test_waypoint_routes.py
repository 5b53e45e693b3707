"""4.5, HTTPRoutes at a waypoint; first list, 7: the service's before the Gateway's, each by Gateway API's precedence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from tests.conformance.manifests import Manifest

from .mesh import NS, View, at, entry, port, route, service, slice_of, to_host, to_service
from .waypoints import (
    CAPTURED,
    GATEWAY,
    at_waypoint,
    chains,
    entry_ref,
    host_ref,
    lands,
    proxying,
    service_ref,
    waypoint,
)

CHAIN = "fc_http_80_reviews_gwtest"
OWN = "kube_gwtest_reviews_80"
ENTRY = "istio-se_gwtest_se_se.example.com_80"


def backends(*names: str) -> list[Manifest]:
    """Services that are not captured."""
    return [item for name in names for item in (service(name), slice_of(name, [{"addresses": ["10.0.0.9"]}]))]


BACKENDS = backends("a", "b", "c", "d")


def captured(*ports: Manifest, **fields: Any) -> list[Manifest]:
    return [service("reviews", *ports, labels=CAPTURED, **fields), slice_of("reviews", [{"addresses": ["10.0.0.1"]}])]


def to(name: str, *paths: str, kind: str = "PathPrefix") -> Manifest:
    """A rule for these paths to a Service."""
    matches = [{"path": {"type": kind, "value": path}} for path in paths]
    return {"backendRefs": [to_service(name)], **({"matches": matches} if matches else {})}


def attached(name: str, parents: Sequence[Manifest], *rules: Manifest, **fields: Any) -> Manifest:
    return route(name, parents=parents, rules=list(rules), **fields)


def served(*objects: Any) -> View:
    return at_waypoint(waypoint(), BACKENDS, *objects)


def where(found: View, *paths: str, chain: str = CHAIN) -> list[str]:
    """The backend of each path: ``a`` for the Service ``a``, ``own`` for the service itself, or a status."""
    clusters = [lands(found, chain, path) for path in paths]
    return ["own" if c == OWN else c.removeprefix("kube_gwtest_").removesuffix("_80") for c in clusters]


# Default routes


@pytest.mark.parametrize("path", ["/", "/anything?x=1"])
def test_without_routes_all_goes_to_the_service(path: str) -> None:
    assert where(served(captured()), path) == ["own"]


def test_each_port_has_its_own_default() -> None:
    ports = [{"name": "http", "port": 80}, {"name": "http-b", "port": 81}]
    found = served(captured(*ports))
    assert lands(found, CHAIN) == OWN
    assert lands(found, "fc_http_81_reviews_gwtest") == "kube_gwtest_reviews_81"


def test_routes_of_others_change_nothing() -> None:
    others = [
        attached("r1", [service_ref("a")], to("b")),
        attached("r2", [service_ref("reviews", namespace="elsewhere")], to("b")),
        attached("r3", [{"name": "web"}], to("b")),
        attached("r4", [service_ref("nobody")], to("b")),
    ]
    assert where(served(captured(), others), "/") == ["own"]


# Attached to the service, to the Gateway, to both


def test_attached_to_the_service_there_is_no_way_back() -> None:
    """A service with routes of which none matches answers 404, as GAMMA has it."""
    found = served(captured(), attached("r", [service_ref()], to("a", "/a")))
    assert where(found, "/a", "/a/b", "/ab", "/") == ["a", "a", "404", "404"]


def test_attached_to_the_gateway() -> None:
    """Of the service GAMMA speaks, and not of the waypoint: what the waypoint's routes do not match goes on to the service."""
    found = served(captured(), attached("r", [GATEWAY], to("a", "/a")))
    assert where(found, "/a", "/b") == ["a", "own"]


def test_attached_to_the_gateway_is_for_every_service_captured() -> None:
    other = service("ratings", labels=CAPTURED, vips=["10.96.0.7"])
    found = served(captured(), other, attached("r", [GATEWAY], to("a")))
    assert where(found, "/") == where(found, "/", chain="fc_http_80_ratings_gwtest") == ["a"]


@pytest.mark.parametrize(
    ("of_service", "of_gateway", "expected"),
    [
        # Whatever the Gateway's say, and however exactly, the service's come before.
        ([to("a")], [to("b", "/x", kind="Exact")], {"/x": "a", "/y": "a"}),
        ([to("a", "/x")], [to("b", "/x/y")], {"/x/y": "a", "/x": "a", "/z": "404"}),
        ([to("a", "/x")], [to("b")], {"/x": "a", "/y": "b"}),
        ([to("a", "/x", kind="Exact")], [to("b", "/x")], {"/x": "a", "/x/y": "b", "/z": "404"}),
    ],
)
@pytest.mark.parametrize("names", [("r1", "r2"), ("r2", "r1")])
def test_the_service_s_before_the_gateway_s(
    of_service: list[Manifest], of_gateway: list[Manifest], expected: dict[str, str], names: tuple[str, str]
) -> None:
    made = [attached(names[0], [service_ref()], *of_service), attached(names[1], [GATEWAY], *of_gateway)]
    assert dict(zip(expected, where(served(captured(), made), *expected), strict=True)) == expected


@pytest.mark.parametrize("parent", [service_ref(), GATEWAY], ids=["service", "gateway"])
def test_by_precedence_within(parent: Manifest) -> None:
    """The most specific match, whichever route has it and wherever among its rules; then the oldest; then the name."""
    made = [
        attached("old", [parent], to("a"), to("b", "/x"), created="2020-01-01T00:00:00Z"),
        attached("new", [parent], to("c", "/x"), to("d", "/x/y"), created="2021-01-01T00:00:00Z"),
        attached("exact", [parent], to("c", "/z", kind="Exact"), created="2022-01-01T00:00:00Z"),
    ]
    found = served(captured(), made)
    assert where(found, "/", "/x", "/x/y", "/z", "/z/z") == ["a", "b", "d", "c", "a"]


def test_of_two_of_one_age_the_first_by_name() -> None:
    made = [attached(name, [service_ref()], to(to_)) for name, to_ in (("r2", "b"), ("r1", "a"))]
    assert where(served(captured(), made), "/") == ["a"]


def test_attached_twice_it_is_once() -> None:
    found = served(captured(), attached("r", [service_ref(), GATEWAY], to("a", "/a")))
    assert where(found, "/a", "/b") == ["a", "404"]
    (host,) = found.virtual_hosts.values()
    assert len({item["name"] for item in host["routes"]}) == len(host["routes"])
    assert len(found.parents("r")) == 2


# parentRef.port


@pytest.mark.parametrize(
    ("number", "expected"),
    [(None, ["a", "a"]), (80, ["a", "reviews_81"]), (81, ["own", "a"]), (82, ["own", "reviews_81"])],
)
def test_the_port_of_a_parent_counts(number: int | None, expected: list[str]) -> None:
    ports = [{"name": "http", "port": 80}, {"name": "http-b", "port": 81}]
    port_: dict[str, Any] = {"port": number} if number else {}
    ref = service_ref(**port_)
    found = served(captured(*ports), attached("r", [ref], to("a")))
    second = lands(found, "fc_http_81_reviews_gwtest").removeprefix("kube_gwtest_").removesuffix("_80")
    assert [*where(found, "/"), second] == expected


def test_a_port_that_the_service_has_not_is_told() -> None:
    found = served(captured(), attached("r", [service_ref(port=82)], to("a")))
    (parent,) = found.parents("r")
    assert parent["Accepted"] == ("False", "NoMatchingParent")


def test_tcp_ports_know_no_routes() -> None:
    ports = [{"name": "http", "port": 80}, {"name": "tcp", "port": 5432}]
    found = served(captured(*ports), attached("r", [service_ref()], to("a")))
    assert lands(found, "fc_tcp_5432_reviews_gwtest") == "kube_gwtest_reviews_5432"


# Kinds of parents


@pytest.mark.parametrize("group", ["", "core"])
def test_a_service_by_both_names_of_its_group(group: str) -> None:
    found = served(captured(), attached("r", [service_ref() | {"group": group}], to("a")))
    assert where(found, "/") == ["a"]


def captured_entry(*hosts: str, **fields: Any) -> Manifest:
    return entry("se", *hosts, endpoints=[at("1.1.1.1")], addresses=["10.7.0.1"], labels=CAPTURED, **fields)


def only(found: View) -> str:
    (name,) = chains(found)
    return name


@pytest.mark.parametrize("ref", [entry_ref(), host_ref(), entry_ref(port=80), host_ref(port=80)])
def test_a_service_entry_by_its_name_and_by_its_host(ref: Manifest) -> None:
    found = served(captured_entry(), attached("r", [ref], to("a", "/a")))
    assert where(found, "/a", "/", chain=only(found)) == ["a", "404"]
    assert found.parents("r") == [{"Accepted": ("True", "Accepted"), "ResolvedRefs": ("True", "ResolvedRefs")}]


@pytest.mark.parametrize(
    "ref", [host_ref("other.example.com"), entry_ref("other"), entry_ref(port=81), service_ref("se")]
)
def test_another_is_not_meant(ref: Manifest) -> None:
    found = served(captured_entry(), attached("r", [ref], to("a")))
    assert lands(found, only(found)) == ENTRY
    (parent,) = found.parents("r") or [{"Accepted": ("False", "")}]
    assert parent["Accepted"][0] == "False"


def test_a_host_is_named_in_the_service_entry_s_namespace() -> None:
    found = served(captured_entry(), attached("r", [host_ref()], to("a"), namespace="elsewhere"))
    assert lands(found, only(found)) == ENTRY


def test_a_host_of_several() -> None:
    """First list, 8: routes of a host are of that host."""
    status = [{"value": "240.240.0.1", "host": "b.example.com"}, {"value": "240.240.0.2", "host": "a.example.com"}]
    made = entry("se", "b.example.com", "a.example.com", endpoints=[at("1.1.1.1")], labels=CAPTURED)
    made["status"] = {"addresses": status}
    found = served(made, attached("r", [host_ref("a.example.com")], to("a")))
    assert sorted(lands(found, name) for name in chains(found)) == [
        "istio-se_gwtest_se_b.example.com_80",
        "kube_gwtest_a_80",
    ]


def test_a_route_leads_to_a_host() -> None:
    external = entry("ext", "ext.example.com", endpoints=[at("2.2.2.2")])
    found = served(captured(), external, route("r", to_host("ext.example.com"), parents=[service_ref()]))
    assert lands(found, CHAIN) == "istio-se_gwtest_ext_ext.example.com_80"
    assert found.sockets("istio-se_gwtest_ext_ext.example.com_80") == ["2.2.2.2:80"]


def test_a_service_by_its_hostname() -> None:
    """1.7: a Service has the alias of its own host."""
    ref = host_ref("reviews.gwtest.svc.cluster.local")
    found = served(captured(), attached("r", [ref], to("a")))
    assert where(found, "/") == ["a"]


# Status


@pytest.mark.parametrize("parent", [service_ref(), service_ref(port=80), GATEWAY])
def test_the_route_is_told(parent: Manifest) -> None:
    found = served(captured(), attached("r", [parent], to("a")))
    (status,) = found.status("HTTPRoute", "r")["parents"]
    assert status["parentRef"].items() >= parent.items()
    assert found.parents("r") == [{"Accepted": ("True", "Accepted"), "ResolvedRefs": ("True", "ResolvedRefs")}]


def test_a_backend_that_is_not_there_is_told_and_answers_500() -> None:
    found = served(captured(), attached("r", [service_ref()], to("gone")))
    assert found.parents("r")[0]["ResolvedRefs"] == ("False", "BackendNotFound")
    assert lands(found, CHAIN) == "500"


def test_routes_of_services_are_not_counted_at_the_listener() -> None:
    found = served(captured(), attached("r", [service_ref()], to("a")))
    assert [each["attachedRoutes"] for each in found.status("Gateway", "wp")["listeners"]] == [0]


def test_the_gateway_admits_routes_of_its_own_namespace() -> None:
    """Gateway API's rules of attachment."""
    parent = GATEWAY | {"namespace": NS}
    ref = {"name": "a", "namespace": "elsewhere", "port": 80}
    made = route("r", ref, parents=[parent], namespace="elsewhere")
    there = [service("a", namespace="elsewhere"), *captured()]
    assert where(served(there, made), "/") == ["own"]
    found = at_waypoint(waypoint(proxying(routes="All")), there, made)
    assert lands(found, CHAIN) == "kube_elsewhere_a_80"


@pytest.mark.parametrize("hostnames", [["a.example.com"], []])
def test_a_virtual_host_is_for_all_names(hostnames: list[str]) -> None:
    made = attached("r", [service_ref()], to("a"), **({"hostnames": hostnames} if hostnames else {}))
    found = served(captured(), made)
    assert lands(found, CHAIN, host="a.example.com") == "kube_gwtest_a_80"


def test_ports_by_protocol_of_a_service_entry() -> None:
    ports = [port(80), port(5432, "db", "TCP")]
    found = served(captured_entry(ports=ports), attached("r", [entry_ref()], to("a")))
    assert sorted(lands(found, name) for name in chains(found)) == [
        "istio-se_gwtest_se_se.example.com_5432",
        "kube_gwtest_a_80",
    ]
