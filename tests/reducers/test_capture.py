"""Which services a waypoint takes, by what labels, and what each service is told. Source: istio-semantics, 4.1 and 4.3."""

from __future__ import annotations

from typing import Any

import pytest

from tests.reducers.mesh import (
    Mesh,
    entry,
    gateway_class,
    hbone,
    listener,
    manifest,
    namespace,
    parent,
    route,
    service,
    use,
    waypoint,
)

ACCEPTED = ("True", "WaypointAccepted")


def bound(mesh: Mesh, key: str = "Service shop/web") -> tuple[str, str] | None:
    found = mesh.bound(key)
    return found[:2] if found is not None else None


@pytest.mark.parametrize(
    ("own", "inherited", "taken_by"),
    [
        ({}, {}, None),
        (use("wp"), {}, "shop/wp"),
        ({}, use("wp"), "shop/wp"),
        (use("wp"), use("other"), "shop/wp"),
        (use("other"), use("wp"), "shop/other"),
        (use("none"), use("wp"), None),
        ({}, use("none"), None),
        (use("wp", "mesh"), {}, "mesh/wp"),
        ({}, use("wp", "mesh"), "mesh/wp"),
        (use("wp"), use("wp", "mesh"), "shop/wp"),
        ({"istio.io/use-waypoint-namespace": "mesh"}, use("wp"), "shop/wp"),
        ({"istio.io/use-waypoint-namespace": "mesh"}, {}, None),
        ({}, {"istio.io/use-waypoint-namespace": "mesh"}, None),
    ],
)
@pytest.mark.parametrize("kind", ["Service", "ServiceEntry"])
def test_the_object_s_labels_come_before_its_namespace_s(
    kind: str, own: dict[str, str], inherited: dict[str, str], taken_by: str | None
) -> None:
    made = service(labels=own) if kind == "Service" else entry("web", labels=own)
    mesh = Mesh(
        waypoint(),
        waypoint(name="other"),
        waypoint(listener(routes="All"), namespace="mesh"),
        namespace("shop", inherited),
        made,
    )
    assert {chain.gateway for chain in mesh.rows.waypoints.chains.rows()} == ({taken_by} if taken_by else set())
    assert bound(mesh, f"{kind} shop/web") == (ACCEPTED if taken_by else None)


@pytest.mark.parametrize(
    ("allowed", "of", "expected"),
    [
        ({}, "shop", ACCEPTED),
        ({}, "far", ("False", "AttachmentDenied")),
        ({"namespaces": {"from": "Same"}}, "far", ("False", "AttachmentDenied")),
        ({"namespaces": {"from": "All"}}, "far", ACCEPTED),
        ({"namespaces": {"from": "Selector", "selector": {"matchLabels": {"team": "x"}}}}, "far", ACCEPTED),
        (
            {"namespaces": {"from": "Selector", "selector": {"matchLabels": {"team": "y"}}}},
            "far",
            ("False", "AttachmentDenied"),
        ),
        (
            {"namespaces": {"from": "Selector", "selector": {"matchLabels": {"kubernetes.io/metadata.name": "far"}}}},
            "far",
            ACCEPTED,
        ),
    ],
)
def test_the_waypoint_s_listener_says_from_which_namespaces(
    allowed: dict[str, Any], of: str, expected: tuple[str, str]
) -> None:
    mesh = Mesh(
        waypoint(listener(allowedRoutes=allowed)),
        namespace("far", {"team": "x"}),
        service(namespace=of, labels=use("wp", "shop")),
    )
    assert bound(mesh, f"Service {of}/web") == expected
    assert bool(mesh.chains()) == (expected == ACCEPTED)


def test_of_two_listeners_the_one_for_the_proxy_protocol_counts() -> None:
    far = service(namespace="far", labels=use("wp", "shop"))
    mesh = Mesh(waypoint(hbone("cert", routes="All"), listener()), far)
    assert bound(mesh, "Service far/web") == ("False", "AttachmentDenied")
    mesh.apply(waypoint(hbone("cert", routes="All")))
    assert bound(mesh, "Service far/web") == ACCEPTED


@pytest.mark.parametrize(
    ("of_gateway", "of_class", "expected"),
    [
        (None, None, ACCEPTED),
        ("service", None, ACCEPTED),
        ("all", None, ACCEPTED),
        ("workload", None, ("False", "UnsupportedTrafficType")),
        ("none", None, ("False", "UnsupportedTrafficType")),
        ("", None, ("False", "UnsupportedTrafficType")),
        (None, "workload", ("False", "UnsupportedTrafficType")),
        ("service", "workload", ACCEPTED),
        ("none", "all", ("False", "UnsupportedTrafficType")),
    ],
)
def test_what_a_waypoint_is_for(of_gateway: str | None, of_class: str | None, expected: tuple[str, str]) -> None:
    def labels(value: str | None) -> dict[str, str] | None:
        return None if value is None else {"istio.io/waypoint-for": value}

    mesh = Mesh(gateway_class(labels=labels(of_class)), waypoint(labels=labels(of_gateway)), service(labels=use()))
    assert bound(mesh) == expected
    assert bool(mesh.chains()) == (expected == ACCEPTED)


@pytest.mark.parametrize(
    ("gateways", "expected"),
    [
        ([], "waypoint shop/wp does not exist"),
        ([waypoint(of="plain")], "Gateway shop/wp is no waypoint"),
        ([waypoint(listener("http", "HTTP", 80))], "has no listener that is accepted"),
        (
            [waypoint(spec={"infrastructure": {"parametersRef": {"group": "x.y", "kind": "Z", "name": "z"}}})],
            "has no listener that is accepted",
        ),
    ],
)
def test_a_service_is_told_why_its_waypoint_does_not_take_it(gateways: list[dict[str, Any]], expected: str) -> None:
    mesh = Mesh(gateway_class("plain"), service(labels=use()), *gateways)
    found = mesh.bound()
    assert found is not None
    assert found[:2] == ("False", "WaypointIsNotReady")
    assert expected in found[2]
    assert not mesh.rows.waypoints.chains.rows()


def test_a_waypoint_of_another_controller_is_its_own_business() -> None:
    mesh = Mesh(
        gateway_class("istio-waypoint", "istio.io/mesh-controller"),
        waypoint(of="istio-waypoint"),
        service(labels=use()),
    )
    assert mesh.status("Service shop/web") == {}
    assert not mesh.rows.waypoints.chains.rows()
    mesh.delete("Gateway", "wp")
    assert bound(mesh) == ("False", "WaypointIsNotReady")


def test_a_class_that_is_no_waypoint_s_by_its_name_is_one_by_the_setting() -> None:
    objects = (gateway_class("sidecarless"), waypoint(of="sidecarless"), service(labels=use()))
    assert bound(Mesh(*objects)) == ("False", "WaypointIsNotReady")
    assert bound(Mesh(*objects, waypoint_classes=("sidecarless",))) == ACCEPTED


GATEWAY_NAME = "gateway.networking.k8s.io/gateway-name"


@pytest.mark.parametrize(
    ("fields", "captured"),
    [
        ({"labels": use() | {GATEWAY_NAME: "wp"}}, False),
        ({"labels": use(), "spec": {"selector": {GATEWAY_NAME: "wp"}}}, False),
        ({"labels": use() | {"gateway.istio.io/managed": "istio.io-mesh-controller"}}, False),
        ({"labels": use() | {"gateway.istio.io/managed": "istio.io-eastwest-controller"}}, False),
        ({"labels": use() | {GATEWAY_NAME: "web"}}, True),
        ({"labels": use(), "spec": {"selector": {"app": "wp"}}}, True),
    ],
)
def test_a_waypoint_s_own_service_is_not_captured(fields: dict[str, Any], captured: bool) -> None:
    mesh = Mesh(waypoint(), service(**fields))
    assert bound(mesh) == (ACCEPTED if captured else None)
    assert bool(mesh.chains()) == captured


def test_everything_follows_whatever_appears_later() -> None:
    mesh = Mesh(service())
    assert mesh.bound() is None

    def is_taken() -> bool:
        assert bool(mesh.chains()) == (bound(mesh) == ACCEPTED)
        return bool(mesh.chains())

    mesh.apply(namespace("shop", use()))
    assert bound(mesh) == ("False", "WaypointIsNotReady")
    mesh.apply(waypoint())
    assert is_taken()
    mesh.apply(waypoint(listener("http", "HTTP", 80)))
    assert not is_taken()
    mesh.apply(waypoint(listener("late")))
    assert is_taken()
    mesh.delete("GatewayClass", "controlplane-waypoint")
    assert not mesh.chains()
    assert mesh.bound() is None
    mesh.apply(gateway_class())
    assert is_taken()
    mesh.apply(service(labels=use("none")))
    assert not is_taken()
    mesh.apply(service())
    assert is_taken()
    mesh.apply(namespace("shop", {}))
    assert not is_taken()
    assert mesh.status("Service shop/web") == {}
    mesh.apply(namespace("shop", use()))
    mesh.delete("Gateway", "wp")
    assert not is_taken()
    mesh.apply(waypoint())
    assert is_taken()
    mesh.delete("Namespace", "shop")
    assert not is_taken()
    mesh.apply(namespace("shop", use()))
    mesh.delete("Service", "web")
    assert not mesh.chains()


def test_a_selector_follows_the_namespace_s_labels() -> None:
    selector = {"namespaces": {"from": "Selector", "selector": {"matchLabels": {"team": "x"}}}}
    mesh = Mesh(waypoint(listener(allowedRoutes=selector)), service(namespace="far", labels=use("wp", "shop")))
    for team, expected in (("x", True), ("y", False), ("x", True)):
        mesh.apply(namespace("far", {"team": team}))
        assert bool(mesh.chains()) == expected


def test_a_label_that_nobody_looks_at_runs_nothing() -> None:
    mesh = Mesh(waypoint(), namespace("shop", use()), service())
    before = mesh.rows.waypoints.captures.of_services.statistics().runs
    mesh.apply(namespace("shop", use() | {"team": "x"}))
    assert mesh.rows.waypoints.captures.of_services.statistics().runs == before


def test_a_status_holds_what_the_object_s_report_says_too() -> None:
    made = service(labels=use())
    made["spec"]["unheardOf"] = 1
    mesh = Mesh(waypoint(), made)
    types = [found["type"] for found in mesh.status("Service shop/web")["conditions"]]
    assert types == ["istio.io/WaypointBound", "controlplane.dev/FullySupported"]
    mesh.apply(made | {"metadata": {"name": "web", "namespace": "shop"}})
    types = [found["type"] for found in mesh.status("Service shop/web")["conditions"]]
    assert types == ["controlplane.dev/FullySupported"]


def test_an_external_name_has_nothing_to_take() -> None:
    made = manifest(
        "Service",
        "v1",
        "web",
        labels=use(),
        spec={"type": "ExternalName", "externalName": "a.b", "ports": [{"port": 80}]},
    )
    mesh = Mesh(waypoint(), made, route("r", parent("Service", "web")))
    found = mesh.bound()
    assert found is not None
    assert "no TCP port" in found[2]
    assert not mesh.chains()
