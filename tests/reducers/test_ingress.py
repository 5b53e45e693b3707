"""Which services gateways reach at the services' own addresses, and at which. Source: istio-semantics, 5, and 5 of its first list."""

from __future__ import annotations

import pytest

from controlplane.reducers.ingress import sort_virtual_addresses
from tests.reducers.mesh import Mesh, entry, namespace, service, use, waypoint

V4, V4_TOO, V6, V6_TOO = "10.0.0.1", "10.0.0.2", "2001:db8::1", "2001:db8::2"


@pytest.mark.parametrize(
    ("family", "given", "expected"),
    [
        ("", [V6, V4], [V4, V6]),
        ("unheard of", [V6, V4], [V4, V6]),
        ("ALL", [V6, V4, V4_TOO], [V6, V4, V4_TOO]),
        ("V4_PREFERRED", [V6, V4, V6_TOO, V4_TOO], [V4, V4_TOO, V6, V6_TOO]),
        ("AUTO", [V4, V6, V4_TOO, V6_TOO], [V6, V6_TOO, V4, V4_TOO]),
        ("V4_ONLY", [V6, V4, V6_TOO], [V4]),
        ("V6_ONLY", [V6, V4, V6_TOO], [V6, V6_TOO]),
        ("V4_ONLY", [V6, V6_TOO], []),
        ("V6_ONLY", [V4], []),
        ("V4_PREFERRED", [V4, "invalid-address", V6, "not-an-ip"], [V4, V6]),
        ("ALL", ["junk", "10.0.0.0/24", V6], [V6]),
        ("V4_PREFERRED", [V4_TOO, V4, V4_TOO], [V4_TOO, V4]),
        ("AUTO", [], []),
    ],
)
def test_the_order_of_addresses(family: str, given: list[str], expected: list[str]) -> None:
    assert sort_virtual_addresses(given, family) == tuple(expected)


@pytest.mark.parametrize("family", ["V4_PREFERRED", "AUTO", "V4_ONLY", "V6_ONLY", "ALL"])
def test_the_setting_says_the_order(family: str) -> None:
    made = service(vips=[V6, V4], labels=use(ingress="true"))
    mesh = Mesh(waypoint(), made, dns_lookup_family=family)
    assert mesh.ingress() == {"kube_shop_web_80": sort_virtual_addresses([V6, V4], family)}


@pytest.mark.parametrize("text", ["1", "t", "T", "TRUE", "true", "True"])
def test_what_is_true(text: str) -> None:
    mesh = Mesh(waypoint(), service(labels=use(ingress=text)))
    assert mesh.ingress() == {"kube_shop_web_80": ("10.0.0.1",)}
    found = mesh.bound()
    assert found is not None
    assert "Ingress traffic will traverse the waypoint" in found[2]


@pytest.mark.parametrize("text", ["0", "f", "F", "FALSE", "false", "False"])
def test_what_is_false(text: str) -> None:
    mesh = Mesh(waypoint(), service(labels=use(ingress=text)))
    assert mesh.ingress() == {}
    found = mesh.bound()
    assert found is not None
    assert "Ingress traffic is not using the waypoint" in found[2]


@pytest.mark.parametrize("text", ["", "yes", "tRUE", "2"])
def test_what_is_neither_is_false_and_told(text: str) -> None:
    mesh = Mesh(waypoint(), service(labels=use(ingress=text)))
    assert mesh.ingress() == {}
    found = mesh.bound()
    assert found is not None
    assert f"Label istio.io/ingress-use-waypoint: {text!r} is taken for false; write true or false" in found[2]
    mesh = Mesh(waypoint(), namespace("shop", use(ingress=text)), service())
    found = mesh.bound()
    assert found is not None
    assert "of the Namespace" in found[2]


@pytest.mark.parametrize(
    ("own", "inherited", "expected"),
    [
        (None, None, False),
        ("true", None, True),
        (None, "true", True),
        ("true", "false", True),
        ("false", "true", False),
        ("nonsense", "true", False),
    ],
)
@pytest.mark.parametrize("kind", ["Service", "ServiceEntry"])
def test_the_object_s_label_comes_before_its_namespace_s(
    kind: str, own: str | None, inherited: str | None, expected: bool
) -> None:
    label = "istio.io/ingress-use-waypoint"
    labels = {label: own} if own is not None else {}
    made = service(labels=labels) if kind == "Service" else entry("web", "web.com", labels=labels)
    of_namespace = use() | ({label: inherited} if inherited is not None else {})
    mesh = Mesh(waypoint(), namespace("shop", of_namespace), made)
    cluster = "kube_shop_web_80" if kind == "Service" else "istio-se_shop_web_web.com_80"
    assert list(mesh.ingress()) == ([cluster] if expected else [])


def test_the_setting_turns_it_off() -> None:
    mesh = Mesh(waypoint(), service(labels=use(ingress="true")), ingress_use_waypoints=False)
    assert mesh.ingress() == {}
    found = mesh.bound()
    assert found is not None
    assert "INGRESS_USE_WAYPOINTS is off" in found[2]


def test_only_what_is_captured() -> None:
    mesh = Mesh(service(labels=use(ingress="true")))
    assert mesh.ingress() == {}
    mesh.apply(waypoint())
    assert mesh.ingress() == {"kube_shop_web_80": ("10.0.0.1",)}
    mesh.apply(waypoint(labels={"istio.io/waypoint-for": "none"}))
    assert mesh.ingress() == {}


def test_every_port_and_host() -> None:
    ports = ({"name": "http", "port": 80}, {"name": "db", "port": 5432})
    mesh = Mesh(
        waypoint(),
        service("web", *ports, labels=use(ingress="true")),
        entry("ext", "a.com", "b.com", labels=use(ingress="true")),
    )
    assert mesh.ingress() == {
        "istio-se_shop_ext_a.com_80": ("10.9.0.1",),
        "istio-se_shop_ext_b.com_80": ("10.9.0.1",),
        "kube_shop_web_5432": ("10.0.0.1",),
        "kube_shop_web_80": ("10.0.0.1",),
    }
    assert {row.port for row in mesh.rows.waypoints.ingress.rows()} == {80, 5432}


def test_without_an_address_to_connect_to_there_is_none() -> None:
    labels = use(ingress="true")
    mesh = Mesh(
        waypoint(),
        service(vips=[], labels=labels),
        entry("block", "a.com", vips=["10.9.0.0/24"], labels=labels),
        entry("none", "b.com", spec={"resolution": "NONE", "endpoints": []}, labels=labels),
    )
    assert mesh.ingress() == {"kube_shop_web_80": (), "istio-se_shop_block_a.com_80": ()}


def test_labels_and_addresses_that_move() -> None:
    mesh = Mesh(waypoint(), service(labels=use()))
    assert mesh.ingress() == {}
    mesh.apply(namespace("shop", {"istio.io/ingress-use-waypoint": "true"}))
    assert mesh.ingress() == {"kube_shop_web_80": ("10.0.0.1",)}
    mesh.apply(service(vips=["10.0.0.7"], labels=use()))
    assert mesh.ingress() == {"kube_shop_web_80": ("10.0.0.7",)}
    mesh.delete("Namespace", "shop")
    assert mesh.ingress() == {}
