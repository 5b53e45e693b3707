"""4.4, filter chains of a waypoint; 4.1, 4.2 and 4.6, what stands around them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conformance.manifests import Manifest, listener

from .mesh import View, at, entry, port, service
from .waypoints import CAPTURED, HCM, TCP_PROXY, at_waypoint, chains, lands, last, match, proxying, waypoint


def found(*objects: Manifest) -> dict[str, tuple[int, tuple[str, ...]]]:
    """Matches of the chains by name."""
    return {name: match(chain) for name, chain in chains(at_waypoint(waypoint(), *objects)).items()}


def captured_service(*ports: Manifest, **fields: Any) -> Manifest:
    return service("reviews", *ports, labels=CAPTURED, **fields)


def captured_entry(*hosts: str, **fields: Any) -> Manifest:
    made: dict[str, Any] = {"endpoints": [at("1.1.1.1")], "addresses": ["10.7.0.1"], "labels": CAPTURED} | fields
    return entry("se", *hosts, **made)


# Matches: the port of the service, all of its addresses.


@pytest.mark.parametrize(
    ("vips", "ranges"),
    [
        (["10.96.0.1"], ("10.96.0.1/32",)),
        (["10.96.0.1", "fd00::1"], ("10.96.0.1/32", "fd00::1/128")),
        (["fd00::1", "10.96.0.1"], ("fd00::1/128", "10.96.0.1/32")),
        (["fd00::1"], ("fd00::1/128",)),
    ],
)
def test_addresses_of_a_service(vips: list[str], ranges: tuple[str, ...]) -> None:
    matches = found(captured_service(vips=vips))
    assert list(matches) == ["fc_http_80_reviews_gwtest"]
    assert {(number, tuple(sorted(given))) for number, given in matches.values()} == {(80, tuple(sorted(ranges)))}


@pytest.mark.parametrize(
    ("addresses", "status", "ranges"),
    [
        (["10.7.0.1"], [], {"10.7.0.1/32"}),
        (["10.7.0.0/16", "fd00::/64"], [], {"10.7.0.0/16", "fd00::/64"}),
        ([], [{"value": "240.240.0.1", "host": "se.example.com"}], {"240.240.0.1/32"}),
        ([], [{"value": "240.240.0.1"}, {"value": "2001:2::1"}], {"240.240.0.1/32", "2001:2::1/128"}),
        (["10.7.0.1"], [{"value": "240.240.0.1"}], {"10.7.0.1/32", "240.240.0.1/32"}),
        # One that does not parse is left out.
        ([], [{"value": "240.240.0.1"}, {"value": "junk"}], {"240.240.0.1/32"}),
    ],
)
def test_addresses_of_a_service_entry(addresses: list[str], status: list[Manifest], ranges: set[str]) -> None:
    """1.6: those of the spec, and those of the status."""
    made = captured_entry(addresses=addresses, status={"addresses": status})
    ((number, given),) = found(made).values()
    assert (number, set(given)) == (80, ranges)


@pytest.mark.parametrize(
    "made",
    [
        captured_service(vips=[]),
        captured_service(clusterIP=""),
        captured_entry(addresses=[]),
        captured_entry(addresses=[], status={"addresses": [{"value": "junk"}]}),
    ],
    ids=["headless", "no address yet", "no address", "none that parses"],
)
def test_without_an_address_there_is_no_chain_and_no_listener(made: Manifest) -> None:
    served = at_waypoint(waypoint(), made)
    assert served.listeners == {}
    assert "address" in served.told(made["kind"], made["metadata"]["name"]), "and it is told"


def test_the_others_stay() -> None:
    assert list(found(captured_service(vips=[]), service("ratings", labels=CAPTURED))) == ["fc_http_80_ratings_gwtest"]


def test_each_port_has_a_chain_and_they_are_in_order() -> None:
    ports = [
        {"name": "tcp-b", "port": 9000},
        {"name": "http", "port": 80},
        {"name": "grpc", "port": 90, "targetPort": 5},
    ]
    made = [captured_service(*ports), service("details", labels=CAPTURED, vips=["10.96.0.2"])]
    assert found(*made) == {
        "fc_http_80_details_gwtest": (80, ("10.96.0.2/32",)),
        "fc_http_80_reviews_gwtest": (80, ("10.96.0.1/32",)),
        "fc_http_90_reviews_gwtest": (90, ("10.96.0.1/32",)),
        "fc_tcp_9000_reviews_gwtest": (9000, ("10.96.0.1/32",)),
    }
    assert list(found(*made)) == sorted(found(*made))


# HTTP or TCP

HTTP = ["http", "http2", "http_proxy", "grpc", "grpc-web", "HTTP", "GRPC", "Http2", "http-metrics", "grpc-a-b"]
TCP = ["tcp", "https", "tls", "mongo", "redis", "TCP", "httpx", "-http", "something-http"]


def is_http(*objects: Manifest) -> bool:
    ((name, chain),) = chains(at_waypoint(waypoint(), *objects)).items()
    kind = last(chain)["name"]
    assert name.startswith("fc_http_" if kind == HCM else "fc_tcp_")
    return bool(kind == HCM)


PROTOCOLS = [*((value, True) for value in HTTP), *((value, False) for value in TCP)]


@pytest.mark.parametrize(("value", "expected"), PROTOCOLS)
def test_by_app_protocol(value: str, expected: bool) -> None:
    assert (
        is_http(captured_service({"name": "tcp" if expected else "http", "port": 80, "appProtocol": value})) is expected
    )


@pytest.mark.parametrize(
    ("value", "expected"), [item for item in PROTOCOLS if item[0].islower() and "_" not in item[0]]
)
def test_by_port_name(value: str, expected: bool) -> None:
    assert is_http(captured_service({"name": value, "port": 80})) is expected


def test_by_protocol_where_nothing_else_is_said() -> None:
    assert not is_http(captured_service({"port": 80}))
    assert not is_http(captured_service({"port": 80, "protocol": "TCP"}))


@pytest.mark.parametrize(
    ("value", "expected"),
    [("HTTP", True), ("http", True), ("HTTP2", True), ("HTTP_PROXY", True), ("GRPC", True), ("GRPC-Web", True)]
    + [(value, False) for value in ("TCP", "HTTPS", "TLS", "MONGO")],
)
def test_of_a_service_entry_by_the_port_s_protocol(value: str, expected: bool) -> None:
    name = "tcp" if expected else "http"
    assert is_http(captured_entry(ports=[port(80, name, value)])) is expected


# Where they lead


def test_http_leads_to_the_service_by_a_route_configuration_of_the_chain_s_name() -> None:
    served = at_waypoint(waypoint(), captured_service())
    ((name, chain),) = chains(served).items()
    assert last(chain)["typedConfig"]["rds"]["routeConfigName"] == name
    assert list(served.route_configurations) == [name]
    # ADR 2: virtual hosts travel alone.
    assert list(served.virtual_hosts) == [f"{name}/*"]
    assert served.virtual_hosts[f"{name}/*"]["domains"] == ["*"]
    assert lands(served, name) == "kube_gwtest_reviews_80"


@pytest.mark.parametrize(
    ("made", "chain", "cluster"),
    [
        (captured_service({"name": "tcp", "port": 5432}), "fc_tcp_5432_reviews_gwtest", "kube_gwtest_reviews_5432"),
        (captured_entry(ports=[port(5432, "db", "TCP")]), None, "istio-se_gwtest_se_se.example.com_5432"),
        (captured_entry(), None, "istio-se_gwtest_se_se.example.com_80"),
        # The first of its hosts, as they are listed.
        (captured_entry("b.example.com", "a.example.com"), None, "istio-se_gwtest_se_b.example.com_80"),
        (
            captured_entry("b.example.com", "a.example.com", ports=[port(5432, "db", "TCP")]),
            None,
            "istio-se_gwtest_se_b.example.com_5432",
        ),
    ],
)
def test_where_a_chain_leads(made: Manifest, chain: str | None, cluster: str) -> None:
    # Beside the table: names of a ServiceEntry's chains may end in a host, since each host can have an address of its own.
    served = at_waypoint(waypoint(), made)
    (name,) = chains(served)
    assert chain in (None, name)
    kind = "http" if last(chains(served)[name])["name"] == HCM else "tcp"
    assert name.startswith(f"fc_{kind}_{cluster.rpartition('_')[2]}_{made['metadata']['name']}_gwtest")
    assert lands(served, name) == cluster
    assert cluster in served.clusters


def test_an_address_of_one_host_leads_to_that_host() -> None:
    """First list, 8: ``status.addresses[].host``."""
    status = [{"value": "240.240.0.1", "host": "b.example.com"}, {"value": "240.240.0.2", "host": "a.example.com"}]
    made = captured_entry("b.example.com", "a.example.com", addresses=[], status={"addresses": status})
    served = at_waypoint(waypoint(), made)
    assert {match(chain)[1]: lands(served, name) for name, chain in chains(served).items()} == {
        ("240.240.0.1/32",): "istio-se_gwtest_se_b.example.com_80",
        ("240.240.0.2/32",): "istio-se_gwtest_se_a.example.com_80",
    }


# 4.2 and 4.6: the listener


def listener_condition(served: View, name: str, type_: str = "Accepted") -> tuple[str, str]:
    for each in served.status("Gateway", "wp")["listeners"]:
        if each["name"] == name:
            (condition,) = (c for c in each["conditions"] if c["type"] == type_)
            return condition["status"], condition["reason"]
    raise AssertionError(name)


def gateway_condition(served: View, type_: str) -> tuple[str, str]:
    (condition,) = (c for c in served.status("Gateway", "wp")["conditions"] if c["type"] == type_)
    return condition["status"], condition["reason"]


def test_the_first_listener_of_the_protocol_is_used() -> None:
    served = at_waypoint(waypoint(proxying("a", 15088), proxying("b", 15089)), captured_service())
    (made,) = served.listeners.values()
    assert made["address"]["socketAddress"]["portValue"] == 15088
    assert listener_condition(served, "a") == ("True", "Accepted")
    assert listener_condition(served, "b") == ("False", "Invalid")


@pytest.mark.parametrize("protocol", ["HTTP", "TCP"])
def test_any_other_is_not_accepted(protocol: str) -> None:
    served = at_waypoint(waypoint(listener("other", 80, protocol=protocol), proxying()), captured_service())
    assert len(chains(served)) == 1
    assert len(served.listeners) == 1
    assert listener_condition(served, "other")[0] == "False"
    (other,) = (each for each in served.status("Gateway", "wp")["listeners"] if each["name"] == "other")
    assert other["supportedKinds"] == []


def test_without_any_the_gateway_is_not_accepted() -> None:
    served = at_waypoint(waypoint(listener("other", 80)), captured_service())
    assert served.listeners == {}
    assert gateway_condition(served, "Accepted") == ("False", "ListenersNotValid")


def test_one_of_which_all_is_well_says_nothing_else() -> None:
    served = at_waypoint(waypoint(), captured_service())
    assert gateway_condition(served, "Accepted") == ("True", "Accepted")
    assert gateway_condition(served, "Programmed") == ("True", "Programmed")
    (listed,) = served.status("Gateway", "wp")["listeners"]
    assert listed["supportedKinds"] == [{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute"}]
    types = {condition["type"] for condition in served.status("Gateway", "wp")["conditions"]}
    assert types == {"Accepted", "Programmed"}
    assert served.warnings == ()


def test_the_proxy_protocol_tells_where_it_was_going_and_who_sent_it() -> None:
    made = [captured_service(), service("db", {"name": "tcp", "port": 5432}, labels=CAPTURED, vips=["10.96.0.2"])]
    served = at_waypoint(waypoint(), *made)
    (only,) = served.listeners.values()
    (filter_,) = only["listenerFilters"]
    assert filter_["name"] == "envoy.filters.listener.proxy_protocol"
    config = filter_["typedConfig"]
    assert [(rule["tlvType"], rule["onTlvPresent"]["key"]) for rule in config["rules"]] == [(0xD0, "peer_principal")]
    assert not config.get("allowRequestsWithoutProxyProtocol", False)
    for chain in only["filterChains"]:
        first, *_, end = chain["filters"]
        assert end["name"] in {HCM, TCP_PROXY}
        assert first["name"] == "proxy_protocol_authority"
        (value,) = first["typedConfig"]["onNewConnection"]
        assert value["objectKey"] == "io.istio.peer_principal"
        assert value["factoryKey"] == "envoy.string"
        assert value["sharedWithUpstream"] == "ONCE"
        said = value["formatString"]["textFormatSource"]["inlineString"]
        assert said == "%DYNAMIC_METADATA(envoy.filters.listener.proxy_protocol:peer_principal)%"
