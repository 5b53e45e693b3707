"""What a waypoint's rows become, as documents, and whether a real Envoy takes them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest

from controlplane.infra import bootstrap, find_envoy
from controlplane.model.events import Settings
from controlplane.model.http_route import HTTPPathMatch, HTTPRouteMatch
from controlplane.model.ir import BackendTarget, ResolvedRoute, RouteRule
from controlplane.model.waypoints import WaypointChain, WaypointListener
from controlplane.translate import TypeUrl
from controlplane.translate.document import to_document
from controlplane.translate.route import translate_rule
from controlplane.translate.virtual_host import EncodedRoutes
from controlplane.translate.waypoint import translate_chain, translate_proxy_listener
from controlplane.translate.waypoint_routes import RoutePart, compose_virtual_hosts, default_route
from controlplane.translate.waypoint_tunnel import (
    MAIN_INTERNAL,
    translate_hbone_listener,
    translate_internal_cluster,
    translate_internal_listener,
)

GATEWAY, CHAIN = "demo/wp", "fc_http_80_web_demo"
WEB = WaypointChain((GATEWAY, CHAIN), 80, ("10.1.0.1", "fd00::1", "10.2.0.0/16"), "http", "kube_demo_web_80")
DATABASE = WaypointChain((GATEWAY, "fc_tcp_5432_db_demo"), 5432, ("10.1.0.1",), "tcp", "kube_demo_db_5432")
PROXY = WaypointListener((GATEWAY, "127.0.0.1", 15088), "PROXY")
HBONE = WaypointListener((GATEWAY, "127.0.0.1", 15008), "HBONE", ("demo/a", "demo/b"))
SETTINGS = Settings()


def shown(type_url: TypeUrl, body: bytes) -> Any:
    return to_document(type_url, body)


def proxy_listener(*chains: WaypointChain, settings: Settings = SETTINGS) -> Any:
    made = translate_proxy_listener(PROXY, [translate_chain(chain, "PROXY") for chain in chains], settings)
    assert made is not None
    return shown(TypeUrl.LISTENER, made[1])


def inner_listener(*chains: WaypointChain) -> Any:
    return shown(TypeUrl.LISTENER, translate_internal_listener([translate_chain(chain, "HBONE") for chain in chains]))


def filters_of(chain: Any) -> list[str]:
    return [entry["name"].rpartition(".")[2] for entry in chain["filters"]]


def test_chains_match_port_and_addresses_and_are_named_as_their_rows() -> None:
    web, database = proxy_listener(WEB, DATABASE)["filterChains"]
    assert (web["name"], database["name"]) == (CHAIN, "fc_tcp_5432_db_demo")
    ranges = [("10.1.0.1", 32), ("fd00::1", 128), ("10.2.0.0", 16)]
    expected = [{"addressPrefix": address, "prefixLen": length} for address, length in ranges]
    assert web["filterChainMatch"] == {"destinationPort": 80, "prefixRanges": expected}
    assert database["filterChainMatch"]["prefixRanges"] == expected[:1]
    assert inner_listener(WEB)["filterChains"][0]["filterChainMatch"] == web["filterChainMatch"]


def test_a_chain_that_would_match_every_address_is_not_made() -> None:
    for addresses in ((), ("nonsense",)):
        with pytest.raises((AssertionError, ValueError)):
            translate_chain(msgspec.structs.replace(WEB, addresses=addresses), "PROXY")


def test_filters_of_both_ways_in_differ_by_where_the_principal_is_learned() -> None:
    of_proxy = [filters_of(chain) for chain in proxy_listener(WEB, DATABASE)["filterChains"]]
    assert of_proxy == [
        ["proxy_protocol_authority", "http_connection_manager"],
        ["proxy_protocol_authority", "tcp_proxy"],
    ]
    assert [filters_of(chain) for chain in inner_listener(WEB, DATABASE)["filterChains"]] == [
        ["http_connection_manager"],
        ["tcp_proxy"],
    ]


def test_an_unknown_principal_is_absent_and_not_a_dash() -> None:
    (chain,) = proxy_listener(WEB)["filterChains"]
    (value,) = chain["filters"][0]["typedConfig"]["onNewConnection"]
    assert value["skipIfEmpty"] is True
    assert value["formatString"]["omitEmptyValues"] is True
    assert (value["objectKey"], value["factoryKey"]) == ("io.istio.peer_principal", "envoy.string")


def test_the_listener_is_named_by_its_address_and_asks_for_the_proxy_protocol() -> None:
    document = proxy_listener(WEB)
    assert document["name"] == "listener~127.0.0.1~15088"
    (protocol,) = document["listenerFilters"]
    assert protocol["typedConfig"]["rules"] == [{"tlvType": 208, "onTlvPresent": {"key": "peer_principal"}}]
    assert "allowRequestsWithoutProxyProtocol" not in protocol["typedConfig"]
    assert "enableReusePort" not in document
    assert proxy_listener(WEB, settings=Settings(infra="host"))["enableReusePort"] is False


def test_nothing_captured_is_no_listener() -> None:
    assert translate_proxy_listener(PROXY, [], SETTINGS) is None


def test_routes_come_from_the_chains_own_route_configuration() -> None:
    (chain,) = proxy_listener(WEB)["filterChains"]
    manager = chain["filters"][-1]["typedConfig"]
    assert manager["rds"]["routeConfigName"] == CHAIN
    assert manager["useRemoteAddress"] is True
    assert manager["xffNumTrustedHops"] == 1


def test_the_tunnel_is_unwrapped_for_clients_of_the_authority_alone() -> None:
    name, body = translate_hbone_listener(HBONE, "demo/b", SETTINGS)
    document = shown(TypeUrl.LISTENER, body)
    assert document["name"] == name == "listener~127.0.0.1~15008"
    (chain,) = document["filterChains"]
    context = chain["transportSocket"]["typedConfig"]
    common = context["commonTlsContext"]
    assert context["requireClientCertificate"] is True
    assert [secret["name"] for secret in common["tlsCertificateSdsSecretConfigs"]] == ["demo/a", "demo/b"]
    assert common["validationContextSdsSecretConfig"]["name"] == "demo/b~ca"
    assert common["alpnProtocols"] == ["h2"]
    manager = chain["filters"][0]["typedConfig"]
    (host,) = manager["routeConfig"]["virtualHosts"]
    (route,) = host["routes"]
    assert route["match"] == {"connectMatcher": {}}
    assert route["route"]["cluster"] == MAIN_INTERNAL
    assert "useRemoteAddress" not in manager


def test_what_is_known_of_the_client_goes_along_and_keeps_clients_apart() -> None:
    """``envoy.string`` would not: Envoy then hands one client's connection to another (seen)."""
    document = shown(TypeUrl.LISTENER, translate_hbone_listener(HBONE, "demo/a", SETTINGS)[1])
    manager = document["filterChains"][0]["filters"][0]["typedConfig"]
    values = {value["objectKey"]: value for value in manager["httpFilters"][0]["typedConfig"]["onRequestHeaders"]}
    texts = {key: value["formatString"]["textFormatSource"]["inlineString"] for key, value in values.items()}
    assert texts == {
        "envoy.filters.listener.original_dst.local_ip": "%REQ(:AUTHORITY)%",
        "envoy.filters.listener.original_dst.remote_ip": "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS%",
        "io.istio.peer_principal": "%DOWNSTREAM_PEER_URI_SAN%",
    }
    assert {value["sharedWithUpstream"] for value in values.values()} == {"ONCE"}
    assert values["io.istio.peer_principal"]["factoryKey"] == "envoy.hashable_string"


def test_the_inner_listener_has_a_way_to_it_without_a_limit() -> None:
    document = inner_listener(WEB)
    assert document["name"] == MAIN_INTERNAL
    assert document["internalListener"] == {}
    cluster = shown(TypeUrl.CLUSTER, translate_internal_cluster(SETTINGS))
    assert (cluster["name"], cluster.get("type", "STATIC")) == (MAIN_INTERNAL, "STATIC")
    (endpoint,) = cluster["loadAssignment"]["endpoints"][0]["lbEndpoints"]
    assert endpoint["endpoint"]["address"] == {"envoyInternalAddress": {"serverListenerName": MAIN_INTERNAL}}
    (limits,) = cluster["circuitBreakers"]["thresholds"]
    assert limits["maxConnections"] == 2**32 - 1


def part(name: str, *paths: str, rank: int = 0, hostnames: tuple[str, ...] = (), created: str = "") -> RoutePart:
    """The part of a route that leads each of these paths to a cluster of its own name."""
    matches = tuple(HTTPRouteMatch(path=HTTPPathMatch(type="PathPrefix", value=path)) for path in paths)
    route_rule = RouteRule(0, matches, (BackendTarget(name, 1),))
    route = ResolvedRoute(f"demo/{name}", created, (route_rule,), (), ())
    entries = tuple(translate_rule(route, route_rule, "http", 80))
    return RoutePart(rank, hostnames, EncodedRoutes((GATEWAY, CHAIN, route.key), entries))


def hosts_of(*parts: RoutePart) -> dict[str, list[str]]:
    """Names of the routes of each virtual host, in their order."""
    rows = compose_virtual_hosts(GATEWAY, CHAIN, parts, default_route(WEB.cluster))
    found = {}
    for row in rows:
        document = shown(TypeUrl.VIRTUAL_HOST, row.body)
        assert document["name"] == f"{CHAIN}/{row.key[2]}"
        assert document["domains"] == [row.key[2]]
        found[row.key[2]] = [route["name"] for route in document.get("routes", [])]
    return found


def test_without_routes_everything_goes_to_the_service() -> None:
    assert hosts_of() == {"*": ["default"]}
    (row,) = compose_virtual_hosts(GATEWAY, CHAIN, (), default_route(WEB.cluster))
    (route,) = shown(TypeUrl.VIRTUAL_HOST, row.body)["routes"]
    assert route == {
        "name": "default",
        "match": {"prefix": "/"},
        "route": {"cluster": WEB.cluster, "timeout": "0s"},
    }
    assert row.clusters == (WEB.cluster,)


def test_a_route_of_the_service_takes_the_defaults_place_whatever_it_matches() -> None:
    """The waypoint's own leave it where it is: they must not turn off all that the waypoint captures."""
    assert hosts_of(part("mine", "/a")) == {"*": ["demo/mine/0/0"]}
    assert hosts_of(part("wide", "/a", rank=1)) == {"*": ["demo/wide/0/0", "default"]}
    assert hosts_of(part("none")) == {"*": []}


def test_the_services_routes_stand_before_the_waypoints_each_by_precedence() -> None:
    mine = [part("young", "/a", created="2026-01-02T00:00:00Z"), part("old", "/a", created="2026-01-01T00:00:00Z")]
    wide = part("wide", "/a/much/longer", "/", rank=1)
    assert hosts_of(wide, *mine)["*"] == ["demo/old/0/0", "demo/young/0/0", "demo/wide/0/0", "demo/wide/0/1"]


def test_hostnames_of_the_waypoints_routes_are_virtual_hosts_of_their_own() -> None:
    found = hosts_of(
        part("mine", "/mine"),
        part("exact", "/", rank=1, hostnames=("a.example.com",)),
        part("wild", "/", rank=1, hostnames=("*.example.com",)),
        part("all", "/", rank=1),
    )
    assert found == {
        "*": ["demo/mine/0/0", "demo/all/0/0"],
        "*.example.com": ["demo/mine/0/0", "demo/wild/0/0", "demo/all/0/0"],
        "a.example.com": ["demo/mine/0/0", "demo/exact/0/0", "demo/wild/0/0", "demo/all/0/0"],
    }


def test_hosts_that_no_route_names_keep_the_default() -> None:
    found = hosts_of(part("exact", "/x", rank=1, hostnames=("a.example.com",)))
    assert found == {"*": ["default"], "a.example.com": ["demo/exact/0/0", "default"]}


@pytest.mark.envoy
def test_a_real_envoy_takes_all_of_it(tmp_path: Path) -> None:
    """What comes by xDS stands in a static bootstrap here; what they ask ADS for is asked when it runs."""
    document: dict[str, Any] = bootstrap(GATEWAY, xds_address="127.0.0.1", xds_port=18000)
    hbone = shown(TypeUrl.LISTENER, translate_hbone_listener(HBONE, "demo/a", SETTINGS)[1])
    listeners = [proxy_listener(WEB, DATABASE), hbone, inner_listener(WEB, DATABASE)]
    clusters = [shown(TypeUrl.CLUSTER, translate_internal_cluster(SETTINGS))]
    clusters.append({"name": DATABASE.cluster, "type": "STATIC", "loadAssignment": {"clusterName": DATABASE.cluster}})
    for made in (*listeners, *clusters):
        made.pop("@type", None)
    document["static_resources"]["clusters"] += clusters
    document["static_resources"]["listeners"] = listeners
    path = tmp_path / "bootstrap.json"
    path.write_text(json.dumps(document))
    command = [find_envoy(), "--mode", "validate", "--log-level", "warning", "--config-path", path]
    result = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert result.returncode == 0, result.stderr
    assert "deprecated" not in result.stdout + result.stderr
