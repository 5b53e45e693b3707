"""Which routes have a part in which chain, and what each parentRef is told. Source: istio-semantics, 4.5; GEP-1294."""

from __future__ import annotations

from typing import Any

import pytest

from tests.reducers.mesh import (
    NAMESPACE,
    Mesh,
    certificate,
    entry,
    gateway_class,
    hbone,
    listener,
    namespace,
    parent,
    route,
    service,
    use,
    waypoint,
)

WEB = "fc_http_80_web_shop"
EXT = "fc_http_80_ext_shop_ext.example.com"
ACCEPTED = {"Accepted": ("True", "Accepted"), "ResolvedRefs": ("True", "ResolvedRefs")}
TWO_PORTS = ({"name": "http", "port": 80}, {"name": "http-admin", "port": 81}, {"name": "db", "port": 5432})


def refused(reason: str) -> dict[str, tuple[str, str]]:
    return ACCEPTED | {"Accepted": ("False", reason)}


def mesh_of(*objects: dict[str, Any]) -> Mesh:
    """The waypoint ``wp``, the Service ``web`` and the ServiceEntry ``ext`` that it takes, and more."""
    return Mesh(waypoint(), service(labels=use()), entry(labels=use()), *objects)


def test_without_routes_a_chain_has_none() -> None:
    mesh = mesh_of()
    assert set(mesh.chains()) == {WEB, EXT}
    assert mesh.routes() == {}


@pytest.mark.parametrize(
    ("ref", "chain"),
    [
        (parent("Service", "web"), WEB),
        (parent("Service", "web", group="core"), WEB),
        (parent("Service", "web", namespace="shop"), WEB),
        (parent("ServiceEntry", "ext"), EXT),
        (parent("Hostname", "ext.example.com"), EXT),
        (parent("Hostname", "EXT.example.com"), EXT),
        (parent("Hostname", "web.shop.svc.cluster.local"), WEB),
    ],
)
def test_a_route_names_a_service(ref: dict[str, Any], chain: str) -> None:
    mesh = mesh_of(route("r", ref, hostnames=["ignored.example.com"]))
    assert mesh.routes() == {chain: [(0, "shop/r", ())]}
    assert mesh.parents("r") == [ACCEPTED]
    (status,) = mesh.status("HTTPRoute shop/r")["parents"]
    assert status["parentRef"] == ref
    assert status["controllerName"] == "controlplane.dev/gateway-controller"
    assert mesh.rows.routes.get("shop/r") is not None, "its references are resolved"
    assert mesh.listener_status()["attachedRoutes"] == 0


@pytest.mark.parametrize(
    ("fields", "chains"),
    [
        ({}, [WEB, "fc_http_81_web_shop"]),
        ({"port": 80}, [WEB]),
        ({"port": 81}, ["fc_http_81_web_shop"]),
        ({"sectionName": "http"}, [WEB]),
        ({"sectionName": "http-admin", "port": 81}, ["fc_http_81_web_shop"]),
    ],
)
def test_a_parent_ref_s_port_and_section_name(fields: dict[str, Any], chains: list[str]) -> None:
    mesh = mesh_of(service("web", *TWO_PORTS, labels=use()), route("r", parent("Service", "web", **fields)))
    assert sorted(mesh.routes()) == sorted(chains)
    assert mesh.parents("r") == [ACCEPTED]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"port": 82}, "no port with port 82"),
        ({"sectionName": "nope"}, "no port with sectionName 'nope'"),
        ({"sectionName": "http", "port": 81}, "no port with sectionName 'http' and port 81"),
        ({"port": 5432}, "does not speak HTTP at port 5432"),
    ],
)
def test_a_port_that_no_route_can_have(fields: dict[str, Any], words: str) -> None:
    mesh = mesh_of(service("web", *TWO_PORTS, labels=use()), route("r", parent("Service", "web", **fields)))
    assert mesh.routes() == {}
    assert mesh.parents("r") == [refused("NoMatchingParent")]
    assert words in mesh.status("HTTPRoute shop/r")["parents"][0]["conditions"][0]["message"]


def test_a_headless_service_has_no_routes() -> None:
    mesh = mesh_of(service(vips=[], labels=use()), route("r", parent("Service", "web")))
    assert mesh.parents("r") == [refused("NoMatchingParent")]
    assert "no address of its own" in mesh.status("HTTPRoute shop/r")["parents"][0]["conditions"][0]["message"]


@pytest.mark.parametrize(
    "objects",
    [
        [service()],
        [service(labels=use("none"))],
        [service(labels=use("gone"))],
        [service(labels=use()), waypoint(labels={"istio.io/waypoint-for": "workload"})],
        [service(labels=use()), gateway_class("other", "example.com/other"), waypoint(of="other")],
    ],
)
def test_a_service_that_no_waypoint_of_ours_takes_is_not_ours_to_judge(objects: list[dict[str, Any]]) -> None:
    mesh = mesh_of(*objects, route("r", parent("Service", "web")))
    assert mesh.status("HTTPRoute shop/r") == {}
    assert mesh.routes() == {}
    assert mesh.rows.routes.get("shop/r") is None


@pytest.mark.parametrize(
    "ref", [parent("Service", "gone"), parent("ServiceEntry", "gone"), parent("Hostname", "gone.example.com")]
)
def test_a_service_that_does_not_exist(ref: dict[str, Any]) -> None:
    mesh = mesh_of(route("r", ref))
    assert mesh.status("HTTPRoute shop/r") == {}


def test_routes_come_from_the_service_s_namespace_or_the_waypoint_s() -> None:
    mesh = Mesh(
        waypoint(listener(routes="All"), namespace="mesh"),
        service(labels=use("wp", "mesh")),
        route("producer", parent("Service", "web")),
        route("owner", parent("Service", "web", namespace="shop"), namespace="mesh"),
        route("consumer", parent("Service", "web", namespace="shop"), namespace="far"),
    )
    assert mesh.routes("mesh/wp") == {WEB: [(0, "mesh/owner", ()), (0, "shop/producer", ())]}
    assert mesh.parents("producer") == [ACCEPTED]
    assert mesh.parents("owner", "mesh")[0]["Accepted"] == ("True", "Accepted")
    assert mesh.parents("consumer", "far")[0]["Accepted"] == ("False", "NotAllowedByListeners")


def test_a_hostname_goes_by_export_to_and_prefers_the_route_s_own_namespace() -> None:
    host = "api.example.com"
    here = entry("here", host, labels=use("wp", "mesh"), vips=["10.9.0.1"])
    there = entry("there", host, labels=use("wp", "mesh"), vips=["10.9.0.2"], namespace="mesh")
    routes = (route("r", parent("Hostname", host)), route("r", parent("Hostname", host), namespace="mesh"))
    mesh = Mesh(waypoint(listener(routes="All"), namespace="mesh"), here, there, *routes)
    ours, theirs = f"fc_http_80_here_shop_{host}", f"fc_http_80_there_mesh_{host}"
    assert mesh.routes("mesh/wp") == {ours: [(0, "shop/r", ())], theirs: [(0, "mesh/r", ())]}
    mesh.delete("ServiceEntry", "there", "mesh")
    assert mesh.routes("mesh/wp") == {ours: [(0, "mesh/r", ()), (0, "shop/r", ())]}
    mesh.apply(entry("here", host, labels=use("wp", "mesh"), spec={"exportTo": ["."]}))
    assert mesh.routes("mesh/wp") == {ours: [(0, "shop/r", ())]}
    assert mesh.status("HTTPRoute mesh/r") == {}


def test_of_an_entry_s_hosts_the_named_one_alone() -> None:
    status = {"addresses": [{"value": "240.0.0.1", "host": "a.com"}, {"value": "240.0.0.2", "host": "b.com"}]}
    many = entry("many", "a.com", "b.com", vips=[], labels=use(), status=status)
    mesh = mesh_of(many, route("one", parent("Hostname", "b.com")), route("all", parent("ServiceEntry", "many")))
    assert mesh.routes() == {
        "fc_http_80_many_shop_a.com": [(0, "shop/all", ())],
        "fc_http_80_many_shop_b.com": [(0, "shop/all", ()), (0, "shop/one", ())],
    }


@pytest.mark.parametrize(
    ("hostnames", "served"),
    [([], ()), (["a.com"], ("a.com",)), (["b.com", "*.a.com"], ("*.a.com", "b.com"))],
)
def test_a_route_of_the_waypoint_is_in_every_http_chain(hostnames: list[str], served: tuple[str, ...]) -> None:
    mesh = mesh_of(service("web", *TWO_PORTS, labels=use()), route("r", parent("Gateway", "wp"), hostnames=hostnames))
    assert mesh.routes() == {name: [(1, "shop/r", served)] for name in sorted((WEB, "fc_http_81_web_shop", EXT))}
    assert mesh.parents("r") == [ACCEPTED]
    assert mesh.listener_status()["attachedRoutes"] == 1


def test_the_service_s_route_comes_before_the_waypoint_s_and_one_that_is_both_is_the_service_s() -> None:
    mesh = mesh_of(
        route("both", parent("Gateway", "wp"), parent("Service", "web"), hostnames=["a.com"]),
        route("gateway", parent("Gateway", "wp")),
        route("service", parent("Service", "web")),
    )
    assert mesh.routes() == {
        EXT: [(1, "shop/both", ("a.com",)), (1, "shop/gateway", ())],
        WEB: [(0, "shop/both", ()), (1, "shop/gateway", ()), (0, "shop/service", ())],
    }
    assert mesh.parents("both") == [ACCEPTED, ACCEPTED]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"sectionName": "proxy"}, "Accepted"),
        ({"sectionName": "hbone"}, "Accepted"),
        ({"port": 15088}, "Accepted"),
        ({"sectionName": "gone"}, "NoMatchingParent"),
        ({"port": 80}, "NoMatchingParent"),
    ],
)
def test_a_waypoint_s_listener_by_name_and_port(fields: dict[str, Any], expected: str) -> None:
    mesh = mesh_of(
        certificate(),  # type: ignore[arg-type]
        waypoint(listener(), hbone("cert")),
        route("r", parent("Gateway", "wp", **fields)),
    )
    assert mesh.parents("r")[0]["Accepted"] == ("True" if expected == "Accepted" else "False", expected)
    assert bool(mesh.routes()) == (expected == "Accepted")


def test_the_listener_s_allowed_routes_hold_for_routes_of_the_waypoint_alone() -> None:
    none = listener(allowedRoutes={"kinds": [{"kind": "GRPCRoute"}]})
    mesh = mesh_of(
        waypoint(none),
        route("gateway", parent("Gateway", "wp")),
        route("service", parent("Service", "web")),
        route("far", parent("Gateway", "wp", namespace="shop"), namespace="far"),
    )
    assert mesh.routes() == {WEB: [(0, "shop/service", ())]}
    assert mesh.parents("gateway")[0]["Accepted"] == ("False", "NotAllowedByListeners")
    assert mesh.parents("far", "far")[0]["Accepted"] == ("False", "NotAllowedByListeners")
    mesh.apply(waypoint(listener(routes="All")))
    assert mesh.routes()[WEB] == [(1, "far/far", ()), (1, "shop/gateway", ()), (0, "shop/service", ())]


def test_a_listener_s_hostname_narrows_the_routes_of_the_waypoint() -> None:
    mesh = mesh_of(
        waypoint(listener(hostname="*.a.com")),
        route("any", parent("Gateway", "wp")),
        route("in", parent("Gateway", "wp"), hostnames=["x.a.com", "b.com"]),
        route("out", parent("Gateway", "wp"), hostnames=["b.com"]),
    )
    assert mesh.routes()[WEB] == [(1, "shop/any", ("*.a.com",)), (1, "shop/in", ("x.a.com",))]
    assert mesh.parents("out")[0]["Accepted"] == ("False", "NoMatchingListenerHostname")


def test_a_tcp_chain_has_no_routes() -> None:
    mesh = mesh_of(
        service("web", {"name": "db", "port": 5432}, labels=use()),
        route("g", parent("Gateway", "wp")),
        route("s", parent("Service", "web")),
    )
    assert "fc_tcp_5432_web_shop" in mesh.chains()
    assert list(mesh.routes()) == [EXT]


def test_parents_keep_the_order_of_the_route() -> None:
    refs = [parent("Service", "web"), parent("Gateway", "wp"), parent("ServiceEntry", "ext"), parent("Service", "gone")]
    mesh = mesh_of(route("r", *refs))
    assert [found["parentRef"] for found in mesh.status("HTTPRoute shop/r")["parents"]] == refs[:3]


def test_everything_follows_whatever_appears_later() -> None:
    mesh = Mesh(route("s", parent("Service", "web")), route("h", parent("Hostname", "ext.example.com")))
    assert mesh.status("HTTPRoute shop/s") == {}
    mesh.apply(service(), namespace(NAMESPACE, use()))
    assert mesh.status("HTTPRoute shop/s") == {}
    mesh.apply(waypoint())
    assert mesh.routes() == {WEB: [(0, "shop/s", ())]}
    mesh.apply(entry())
    assert mesh.routes() == {EXT: [(0, "shop/h", ())], WEB: [(0, "shop/s", ())]}
    mesh.apply(route("g", parent("Gateway", "wp")))
    assert mesh.routes()[EXT] == [(1, "shop/g", ()), (0, "shop/h", ())]
    mesh.apply(service("web", {"name": "tcp", "port": 80}))
    assert mesh.parents("s") == [refused("NoMatchingParent")]
    mesh.apply(service("web", {"name": "other", "port": 90, "appProtocol": "http"}))
    assert mesh.routes()["fc_http_90_web_shop"] == [(1, "shop/g", ()), (0, "shop/s", ())]
    mesh.apply(service(labels=use("none")))
    assert mesh.status("HTTPRoute shop/s") == {}
    mesh.apply(namespace(NAMESPACE, {}))
    assert mesh.routes() == {}
    assert mesh.status("HTTPRoute shop/h") == {}
