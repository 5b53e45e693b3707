"""A waypoint's listeners: which of them it uses, when they are served, and what a Gateway says. Source: istio-semantics, 4.2."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.model.events import ListenerFailed, ListenerRecovered
from tests.reducers.mesh import (
    Mesh,
    certificate,
    conditions,
    gateway_class,
    hbone,
    listener,
    manifest,
    parent,
    route,
    service,
    use,
    waypoint,
)

HTTP_ROUTE = [{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute"}]
PROXY_PLACE = ("shop/wp", "0.0.0.0", 15088)
HBONE_PLACE = ("shop/wp", "0.0.0.0", 15008)


def test_one_listener_of_each_protocol_is_served() -> None:
    mesh = Mesh(waypoint(listener(), hbone("cert")), certificate())
    assert mesh.listeners() == {HBONE_PLACE: ("HBONE", ("shop/cert",)), PROXY_PLACE: ("PROXY", ())}
    for name in ("proxy", "hbone"):
        assert mesh.listener_status(name)["supportedKinds"] == HTTP_ROUTE
        assert mesh.listener(name) == {
            "Accepted": ("True", "Accepted"),
            "Conflicted": ("False", "NoConflicts"),
            "ResolvedRefs": ("True", "ResolvedRefs"),
            "Programmed": ("True", "Programmed"),
        }
    assert not mesh.rows.gateways.ports.served.rows(), "none of them is a gateway's port"


@pytest.mark.parametrize(
    ("refused", "reason", "words"),
    [
        (listener("x", "HTTP", 80), "UnsupportedProtocol", "use istio.io/PROXY (port 15088) or HBONE (port 15008)"),
        (listener("x", "HTTPS", 443), "UnsupportedProtocol", "use istio.io/PROXY"),
        (listener("x", "TCP", 15088), "UnsupportedProtocol", "use istio.io/PROXY"),
        (listener("x", port=15089), "Invalid", "one listener of protocol istio.io/PROXY, which is 'proxy'; remove"),
        (hbone("cert", name="x", port=15009), "Invalid", "one listener of protocol HBONE, which is 'hbone'; remove"),
    ],
)
def test_any_other_listener_is_refused_and_disturbs_nothing(refused: dict[str, Any], reason: str, words: str) -> None:
    mesh = Mesh(waypoint(listener(), hbone("cert"), refused), certificate())
    status = mesh.listener_status("x")
    assert conditions(status)["Accepted"] == ("False", reason)
    assert conditions(status)["Programmed"] == ("False", "Invalid")
    assert words in status["conditions"][0]["message"]
    assert set(mesh.listeners()) == {HBONE_PLACE, PROXY_PLACE}
    found = conditions(mesh.status("Gateway shop/wp"))
    assert found["Accepted"] == ("True", "ListenersNotValid")
    assert found["Programmed"] == ("True", "Programmed")


@pytest.mark.parametrize(
    ("only", "reason"),
    [
        (listener("x", "HTTP", 80), "UnsupportedProtocol"),
        (listener("x", tls={"certificateRefs": [{"name": "cert"}]}), "Invalid"),
        (listener("x", "HBONE", 15008, tls={"mode": "Passthrough"}), "Invalid"),
    ],
)
def test_a_waypoint_without_a_usable_listener_is_not_accepted(only: dict[str, Any], reason: str) -> None:
    mesh = Mesh(waypoint(only), certificate())
    assert mesh.listener("x")["Accepted"] == ("False", reason)
    assert mesh.listeners() == {}
    found = conditions(mesh.status("Gateway shop/wp"))
    assert found["Accepted"] == ("False", "ListenersNotValid")
    assert found["Programmed"] == ("False", "Invalid")


def test_two_protocols_cannot_share_a_port() -> None:
    mesh = Mesh(waypoint(listener(), hbone("cert", port=15088)), certificate())
    for name in ("proxy", "hbone"):
        assert mesh.listener(name)["Conflicted"] == ("True", "ProtocolConflict")
    assert mesh.listeners() == {}


@pytest.mark.parametrize("protocol", ["istio.io/PROXY", "HBONE"])
def test_a_gateway_of_another_class_does_not_serve_them(protocol: str) -> None:
    mesh = Mesh(gateway_class("plain"), waypoint(listener(protocol=protocol), of="plain"))
    assert mesh.listener()["Accepted"] == ("False", "UnsupportedProtocol")
    assert mesh.listener_status()["supportedKinds"] == []
    assert mesh.listeners() == {}
    assert not mesh.rows.gateways.ports.wanted.rows()


@pytest.mark.parametrize(
    ("kinds", "supported", "resolved"),
    [
        ([{"kind": "HTTPRoute"}], HTTP_ROUTE, ("True", "ResolvedRefs")),
        ([{"kind": "HTTPRoute"}, {"kind": "TCPRoute"}], HTTP_ROUTE, ("False", "InvalidRouteKinds")),
        ([{"kind": "GRPCRoute"}], [], ("False", "InvalidRouteKinds")),
    ],
)
@pytest.mark.parametrize("protocol", ["istio.io/PROXY", "HBONE"])
def test_kinds_of_routes(protocol: str, kinds: list[Any], supported: list[Any], resolved: tuple[str, str]) -> None:
    tls = {"tls": {"certificateRefs": [{"name": "cert"}]}} if protocol == "HBONE" else {}
    mesh = Mesh(waypoint(listener(protocol=protocol, allowedRoutes={"kinds": kinds}, **tls)), certificate())
    assert mesh.listener_status()["supportedKinds"] == supported
    assert mesh.listener()["ResolvedRefs"] == resolved


def test_hbone_waits_for_its_certificate_and_for_whom_to_trust() -> None:
    mesh = Mesh(waypoint(listener(), hbone("cert")), service(labels=use()))

    def check(programmed: bool, words: str = "") -> None:
        found = mesh.listener("hbone")
        assert found["Programmed"] == (("True", "Programmed") if programmed else ("False", "Invalid"))
        resolved = ("True", "ResolvedRefs") if programmed else ("False", "InvalidCertificateRef")
        assert found["ResolvedRefs"] == resolved
        assert words in mesh.listener_status("hbone")["conditions"][2]["message"]
        assert (HBONE_PLACE in mesh.listeners()) == programmed
        assert PROXY_PLACE in mesh.listeners()
        assert mesh.chains(), "the other one goes on"

    check(False, "Secret shop/cert does not exist")
    mesh.apply(certificate(authority=False))
    check(False, "Secret shop/cert has no ca.crt")
    mesh.apply(certificate())
    check(True)
    mesh.apply(certificate(pair=False))
    check(False, "holds no certificate")
    mesh.apply(certificate())
    mesh.delete("Secret", "cert")
    check(False, "does not exist")
    mesh.apply(waypoint(listener(), hbone()))
    check(False, "tls.certificateRefs: empty")


def test_hbone_takes_a_secret_of_another_namespace_with_a_grant() -> None:
    tls = {"certificateRefs": [{"name": "cert", "namespace": "shop"}]}
    mesh = Mesh(waypoint(hbone(tls=tls), namespace="far"), certificate())
    assert mesh.listener("hbone", "far/wp")["ResolvedRefs"] == ("False", "RefNotPermitted")
    assert mesh.listeners() == {}
    grant = {
        "from": [{"group": "gateway.networking.k8s.io", "kind": "Gateway", "namespace": "far"}],
        "to": [{"group": "", "kind": "Secret"}],
    }
    mesh.apply(manifest("ReferenceGrant", "gateway.networking.k8s.io/v1beta1", "g", spec=grant))
    assert mesh.listeners() == {("far/wp", "0.0.0.0", 15008): ("HBONE", ("shop/cert",))}
    mesh.delete("ReferenceGrant", "g")
    assert mesh.listeners() == {}


HOST = {"infra": "host", "listen_address": "127.0.0.1"}


def test_on_one_machine_two_waypoints_cannot_have_one_port() -> None:
    mesh = Mesh(waypoint(name="a"), waypoint(name="b"), **HOST)
    assert set(mesh.listeners()) == {("shop/a", "127.0.0.1", 15088)}
    assert mesh.listener(gateway="shop/b")["Accepted"] == ("False", "PortUnavailable")
    wanted = {row.key for row in mesh.rows.gateways.ports.wanted.rows()}
    assert wanted == {("shop/a", "127.0.0.1", 15088)}
    mesh.delete("Gateway", "a")
    assert set(mesh.listeners()) == {("shop/b", "127.0.0.1", 15088)}


def test_on_one_machine_a_waypoint_and_a_gateway_cannot_have_one_port() -> None:
    mesh = Mesh(
        gateway_class("plain"), waypoint(listener("http", "HTTP", 15088), name="a", of="plain"), waypoint(), **HOST
    )
    assert mesh.listeners() == {}
    assert mesh.listener()["Accepted"] == ("False", "PortUnavailable")
    mesh.delete("Gateway", "a")
    assert set(mesh.listeners()) == {("shop/wp", "127.0.0.1", 15088)}


def test_an_address_of_the_gateway_s_own() -> None:
    addresses = {"addresses": [{"type": "IPAddress", "value": v} for v in ("127.0.0.2", "127.0.0.3")]}
    mesh = Mesh(waypoint(spec=addresses), **HOST)
    assert set(mesh.listeners()) == {("shop/wp", "127.0.0.2", 15088), ("shop/wp", "127.0.0.3", 15088)}


def test_a_port_that_cannot_be_bound_is_not_served_until_it_is_free() -> None:
    mesh = Mesh(waypoint(listener(), hbone("cert")), certificate(), **HOST)
    place = ("shop/wp", "127.0.0.1", 15008)
    mesh.append(ListenerFailed(*place, "taken by sshd"))
    assert mesh.listener("hbone")["Programmed"] == ("False", "PortUnavailable")
    assert set(mesh.listeners()) == {("shop/wp", "127.0.0.1", 15088)}
    assert place in {row.key for row in mesh.rows.gateways.ports.wanted.rows()}, "so that it is looked at again"
    mesh.append(ListenerRecovered(*place))
    assert place in mesh.listeners()


def test_routes_of_the_waypoint_are_counted_and_have_no_virtual_hosts_of_a_gateway() -> None:
    mesh = Mesh(
        waypoint(listener(), hbone("cert")),
        certificate(),
        service(labels=use()),
        route("both", parent("Gateway", "wp")),
        route("one", parent("Gateway", "wp", sectionName="hbone"), parent("Service", "web")),
        route("mesh", parent("Service", "web")),
    )
    assert mesh.listener_status("proxy")["attachedRoutes"] == 1
    assert mesh.listener_status("hbone")["attachedRoutes"] == 2
    assert not mesh.rows.attachments.hosts.rows()
