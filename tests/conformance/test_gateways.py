"""Gateways and GatewayClasses: which are ours, which listeners are served, what their statuses say."""

from __future__ import annotations

import pytest

from controlplane.runtime.options import Infra

from .manifests import GROUP, Manifest, gateway, gateway_class, http_route, listener, prefix, rule, serve
from .messages import Request
from .proxy import LISTENER

ACCEPTED = ("True", "Accepted")
PROGRAMMED = ("True", "Programmed")
HTTP_ROUTES = [{"group": GROUP, "kind": "HTTPRoute"}]


def test_a_good_gateway_is_accepted_and_programmed() -> None:
    served = serve(gateway(metadata={"generation": 4}), http_route("a", rule()))
    assert served.gateway() == {"Accepted": ACCEPTED, "Programmed": PROGRAMMED}
    found = served.listener()
    assert found.pop("Conflicted", ("False", "NoConflicts")) == ("False", "NoConflicts")
    assert found == {"Accepted": ACCEPTED, "Programmed": PROGRAMMED, "ResolvedRefs": ("True", "ResolvedRefs")}
    assert served.listener_status()["supportedKinds"] == HTTP_ROUTES
    status = served.status("Gateway", "web")
    generations = [c["observedGeneration"] for c in (*status["conditions"], *status["listeners"][0]["conditions"])]
    assert set(generations) == {4}


def test_a_listener_without_routes_is_accepted_and_answers_404() -> None:
    """ListenerConditionAccepted: a Listener without Routes will be able to generate data plane configuration."""
    served = serve(gateway())
    assert served.listener()["Accepted"] == ACCEPTED
    assert served.listener()["Programmed"] == PROGRAMMED
    assert served.attached() == 0
    assert served.to() == "404"


def test_classes_are_ours_by_their_controller() -> None:
    theirs = gateway_class("theirs", "example.com/gateway-controller")
    foreign = gateway(name="foreign", gatewayClassName="theirs")
    orphan = gateway(name="orphan", gatewayClassName="nobody")
    served = serve(gateway(), theirs, foreign, orphan)
    assert served.status("GatewayClass", "controlplane", None)["conditions"][0]["type"] == "Accepted"
    assert served.status("GatewayClass", "theirs", None) == {}
    assert served.status("Gateway", "foreign") == {}
    assert served.status("Gateway", "orphan") == {}
    assert set(served.document["gateways"]) == {"demo/web"}


def test_a_class_of_ours_may_have_any_name() -> None:
    served = serve(
        gateway_class("mine") | {"metadata": {"name": "mine", "generation": 2}},
        gateway(gatewayClassName="mine"),
        http_route("a", rule()),
    )
    assert served.to() == "v1"
    (condition,) = served.status("GatewayClass", "mine", None)["conditions"]
    assert (condition["type"], condition["status"], condition["reason"]) == ("Accepted", "True", "Accepted")
    assert condition["observedGeneration"] == 2


@pytest.mark.parametrize("protocol", ["TCP", "UDP", "INVALID", "example.com/custom"])
def test_a_protocol_that_we_do_not_have_breaks_its_listener_alone(protocol: str) -> None:
    """gateway-invalid-listeners-unsupported-protocol."""
    odd = listener("odd", 1111, protocol=protocol)
    served = serve(gateway(listener(), odd), http_route("a", rule()))
    assert served.gateway()["Accepted"] == ("True", "ListenersNotValid")
    assert served.listener("odd")["Accepted"] == ("False", "UnsupportedProtocol")
    assert served.listener("odd")["Programmed"][0] == "False"
    assert served.listener_status("odd").get("supportedKinds", []) == []
    assert served.attached("odd") == 0
    assert served.listener()["Accepted"] == ACCEPTED
    assert served.proxy().ports == [80]
    assert served.to() == "v1"


def test_a_gateway_without_a_good_listener_is_not_accepted() -> None:
    served = serve(gateway(listener("odd", 1111, protocol="INVALID")))
    assert served.gateway()["Accepted"] == ("False", "ListenersNotValid")
    assert served.gateway()["Programmed"][0] == "False"
    assert served.proxy().ports == []


def test_tls_listeners_are_not_supported_yet() -> None:
    passthrough = listener("tls", 443, protocol="TLS", tls={"mode": "Passthrough"})
    served = serve(gateway(listener(), passthrough))
    assert served.listener("tls")["Accepted"] == ("False", "UnsupportedProtocol")
    assert served.listener_status("tls").get("supportedKinds", []) == []


@pytest.mark.parametrize("protocol", ["TCP", "UDP"])
def test_a_listener_that_we_cannot_serve_does_not_conflict(protocol: str) -> None:
    """GatewaySpec.listeners: without support for TCP, the rule that it conflicts with HTTP on its port does not apply."""
    served = serve(gateway(listener("http", 80), listener("odd", 80, protocol=protocol)), http_route("a", rule()))
    assert served.listener("odd")["Accepted"] == ("False", "UnsupportedProtocol")
    assert served.listener("http").get("Conflicted", ("False", ""))[0] == "False"
    assert served.to() == "v1"


def test_http_and_https_on_one_port_conflict_and_none_wins() -> None:
    """GatewaySpec.listeners: the implementation MUST NOT pick one conflicting Listener as the winner."""
    secure = listener("secure", 80, "b.test", protocol="HTTPS", tls={"certificateRefs": [{"name": "cert"}]})
    served = serve(gateway(listener("plain", 80), secure, listener("other", 81)), http_route("a", rule()))
    for name in ("plain", "secure"):
        assert served.listener(name)["Conflicted"] == ("True", "ProtocolConflict")
        assert served.listener(name)["Accepted"][0] == "False"
        assert served.listener(name)["Programmed"][0] == "False"
    assert served.listener("other")["Accepted"] == ACCEPTED
    assert served.gateway()["Accepted"] == ("True", "ListenersNotValid")
    assert served.proxy().ports == [81]


def test_a_gateway_of_conflicts_alone_is_not_accepted() -> None:
    """At least one distinct Listener MUST be present."""
    secure = listener("secure", 80, protocol="HTTPS", tls={"certificateRefs": [{"name": "cert"}]})
    served = serve(gateway(listener("plain", 80), secure))
    assert served.gateway()["Accepted"] == ("False", "ListenersNotValid")
    assert served.gateway()["Programmed"][0] == "False"


@pytest.mark.parametrize(
    "twin",
    [listener("b", 80), listener("b", 80, "a.test"), listener("a", 81)],
    ids=["port", "port and hostname", "name"],
)
def test_listeners_that_are_not_distinct_are_refused_by_the_crd(twin: Manifest) -> None:
    first = listener("a", 80, twin.get("hostname"))
    served = serve(gateway(first, twin))
    assert len(served.errors) == 1
    assert "Gateway demo/web" in served.errors[0]


@pytest.mark.parametrize(
    ("kinds", "supported", "resolved"),
    [
        ([{"kind": "InvalidRoute"}], [], ("False", "InvalidRouteKinds")),
        ([{"kind": "InvalidRoute"}, {"kind": "HTTPRoute"}], HTTP_ROUTES, ("False", "InvalidRouteKinds")),
        ([{"kind": "HTTPRoute"}], HTTP_ROUTES, ("True", "ResolvedRefs")),
        ([{"kind": "HTTPRoute", "group": "example.com"}], [], ("False", "InvalidRouteKinds")),
        ([{"kind": "HTTPRoute", "group": ""}], [], ("False", "InvalidRouteKinds")),
        ([], HTTP_ROUTES, ("True", "ResolvedRefs")),
    ],
)
def test_supported_kinds_are_those_that_are_asked_for_and_exist(
    kinds: list[Manifest], supported: list[Manifest], resolved: tuple[str, str]
) -> None:
    """gateway-invalid-route-kind."""
    served = serve(gateway(listener(allowedRoutes={"kinds": kinds})), http_route("a", rule()))
    assert served.listener_status()["supportedKinds"] == supported
    assert served.listener()["ResolvedRefs"] == resolved
    assert served.to() == ("v1" if supported else "404")
    assert served.attached() == (1 if supported else 0)


def test_parameters_that_we_cannot_read_refuse_the_gateway() -> None:
    """gateway-invalid-parameters-ref; GatewayInfrastructure.parametersRef."""
    ref = {"group": "example.com", "kind": "Parameters", "name": "x"}
    served = serve(gateway(infrastructure={"parametersRef": ref}), http_route("a", rule()))
    assert served.gateway()["Accepted"] == ("False", "InvalidParameters")


def test_parameters_that_we_cannot_read_refuse_the_class() -> None:
    """GatewayClassSpec.parametersRef: SHOULD be rejected with InvalidParameters."""
    ref = {"group": "example.com", "kind": "Parameters", "name": "x"}
    served = serve(gateway_class("parametrised", parametersRef=ref))
    (condition,) = (
        c for c in served.status("GatewayClass", "parametrised", None)["conditions"] if c["type"] == "Accepted"
    )
    assert (condition["status"], condition["reason"]) == ("False", "InvalidParameters")


@pytest.mark.parametrize("value", ["127.0.0.1", "192.0.2.7", "2001:db8::7"])
def test_a_gateway_binds_the_addresses_that_it_asks_for(value: str) -> None:
    """GatewaySpec.addresses: all Listeners on every address, and an entry in the status. (Of the Envoys that we run.)"""
    asked = gateway(listener("a", 80), listener("b", 81), addresses=[{"type": "IPAddress", "value": value}])
    served = serve(asked, http_route("r", rule()), infra="host")
    addresses = [made["address"]["socketAddress"] for made in served.proxy().table(LISTENER).values()]
    assert {(address["address"], address["portValue"]) for address in addresses} == {(value, 80), (value, 81)}
    assert served.status("Gateway", "web")["addresses"] == [{"type": "IPAddress", "value": value}]
    assert served.gateway() == {"Accepted": ACCEPTED, "Programmed": PROGRAMMED}


def test_several_addresses_are_all_bound() -> None:
    addresses = [{"value": "192.0.2.1"}, {"value": "192.0.2.2"}]
    served = serve(gateway(addresses=addresses), http_route("r", rule()), infra="host")
    bound = sorted(made["address"]["socketAddress"]["address"] for made in served.proxy().table(LISTENER).values())
    assert bound == ["192.0.2.1", "192.0.2.2"]
    assert [entry["value"] for entry in served.status("Gateway", "web")["addresses"]] == bound


@pytest.mark.parametrize("kind", ["Hostname", "NamedAddress", "example.com/custom"])
def test_a_type_of_address_that_we_do_not_have_is_told(kind: str) -> None:
    """GatewayReasonUnsupportedAddress."""
    served = serve(gateway(addresses=[{"type": kind, "value": "gateway.example.com"}]), infra="host")
    assert served.gateway()["Accepted"] == ("False", "UnsupportedAddress")
    assert served.gateway()["Programmed"][0] == "False"
    assert not served.status("Gateway", "web").get("addresses")


@pytest.mark.parametrize("infra", ["none", "host"])
def test_an_address_without_a_value_is_assigned_or_told(infra: Infra) -> None:
    """GatewaySpecAddress.value: without support for it, Programmed MUST be False with AddressNotAssigned."""
    served = serve(gateway(addresses=[{"type": "IPAddress"}]), http_route("a", rule()), infra=infra)
    assert not served.errors
    if served.gateway()["Programmed"] == PROGRAMMED:
        assert served.to() == "v1"
    else:
        assert served.gateway()["Programmed"] == ("False", "AddressNotAssigned")


def test_gateways_of_one_name_in_two_namespaces_are_two() -> None:
    other = gateway(listener(routes="All"), namespace="other")
    served = serve(
        gateway(),
        other,
        http_route("a", rule()),
        http_route("b", rule(to="v2"), parents=[{"name": "web", "namespace": "other"}]),
    )
    assert served.to() == "v1"
    assert served.proxy("other/web").ask(Request()).backend == "demo/v2:8080"


def test_status_lists_every_listener() -> None:
    served = serve(
        gateway(listener("a", 80), listener("b", 81), listener("c", 81, "c.test")), http_route("r", rule(prefix("/x")))
    )
    assert {entry["name"] for entry in served.status("Gateway", "web")["listeners"]} == {"a", "b", "c"}
    assert [served.attached(name) for name in "abc"] == [1, 1, 1]
