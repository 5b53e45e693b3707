"""Waypoints in manifests, and what their Envoys do with a connection."""

from __future__ import annotations

from typing import Any, Final

from tests.conformance.manifests import Manifest, gateway, listener
from tests.conformance.matching import route_matches
from tests.conformance.messages import Json, Request

from .mesh import NETWORKING, NS, Objects, View, istio_labels, view

CLASS: Final = "controlplane-waypoint"
CAPTURED: Final = istio_labels(use_waypoint="wp")
HCM: Final = "envoy.filters.network.http_connection_manager"
TCP_PROXY: Final = "envoy.filters.network.tcp_proxy"
GATEWAY: Final = {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "wp"}
"""A parentRef to the waypoint itself."""


def proxying(name: str = "proxy", port: int = 15088, **fields: Any) -> Manifest:
    """A listener of protocol istio.io/PROXY; ``routes`` is short for ``allowedRoutes.namespaces.from``."""
    return listener(name, port, protocol="istio.io/PROXY", **fields)


def hbone(*secrets: str, name: str = "hbone", port: int = 15008, **fields: Any) -> Manifest:
    """A listener of protocol HBONE."""
    refs = [{"name": secret} for secret in secrets]
    tls: Manifest = {"tls": {"certificateRefs": refs}} if refs else {}
    return listener(name, port, protocol="HBONE", **tls, **fields)


def waypoint(*listeners: Manifest, name: str = "wp", namespace: str = NS, **fields: Any) -> Manifest:
    """A waypoint; without listeners, one for the PROXY protocol. Labels are ``labels``."""
    labels = fields.pop("labels", {})
    spec = {"gatewayClassName": CLASS} | fields
    return gateway(
        *(listeners or [proxying()]),
        name=name,
        namespace=namespace,
        metadata={"labels": labels} if labels else {},
        **spec,
    )


def service_ref(name: str = "reviews", **fields: Any) -> Manifest:
    """A parentRef to a Service."""
    return {"group": "", "kind": "Service", "name": name, **fields}


def entry_ref(name: str = "se", **fields: Any) -> Manifest:
    """A parentRef to a ServiceEntry."""
    return {"group": NETWORKING, "kind": "ServiceEntry", "name": name, **fields}


def host_ref(host: str = "se.example.com", **fields: Any) -> Manifest:
    """A parentRef to a host."""
    return {"group": NETWORKING, "kind": "Hostname", "name": host, **fields}


def at_waypoint(*objects: Objects, key: str = f"{NS}/wp", **asking: Any) -> View:
    """What the waypoint ``wp`` is served."""
    return view(*objects, gateway_key=key, **asking)


def chains(served: View, port: int = 15088) -> dict[str, Json]:
    """Filter chains of the listener on a port by name; nothing where there is no listener."""
    sockets = ((each, each.get("address", {}).get("socketAddress", {})) for each in served.listeners.values())
    found = [each for each, address in sockets if address.get("portValue") == port]
    assert len(found) <= 1
    made = [chain for each in found for chain in each["filterChains"]]
    named = {chain["name"]: chain for chain in made}
    assert len(named) == len(made), "a name twice"
    return named


def match(chain: Json) -> tuple[int, tuple[str, ...]]:
    """Destination port and ``address/bits`` of a chain."""
    found = chain["filterChainMatch"]
    assert found.keys() == {"destinationPort", "prefixRanges"}, found
    ranges = tuple(f"{each['addressPrefix']}/{each.get('prefixLen', 0)}" for each in found["prefixRanges"])
    return found["destinationPort"], ranges


def last(chain: Json) -> Json:
    """What ends a chain: the connection manager or the TCP proxy."""
    filter_: Json = chain["filters"][-1]
    assert filter_["name"] in {HCM, TCP_PROXY}
    return filter_


def routes(served: View, chain: str, host: str = "any.example.com") -> list[Json]:
    """Routes of an HTTP chain for a host: of the virtual host with the most specific domain."""
    found = last(chains(served)[chain])
    name = found["typedConfig"]["rds"]["routeConfigName"]
    assert name in served.route_configurations
    mine = (each for key, each in served.virtual_hosts.items() if key.startswith(f"{name}/"))
    pairs = [(domain, each) for each in mine for domain in each["domains"]]
    by_domain = dict(pairs)
    assert len(by_domain) == len(pairs), "a domain twice: Envoy would not take it"
    fitting = [domain for domain in by_domain if domain == host or (domain[0] == "*" and host.endswith(domain[1:]))]
    listed: list[Json] = []
    if fitting:
        listed = by_domain[max(fitting, key=lambda domain: ("*" not in domain, len(domain)))].get("routes", [])
    return listed


def lands(served: View, chain: str, path: str = "/", host: str = "any.example.com", **fields: Any) -> str:
    """The cluster that a connection or a request goes to; a status code where it is answered."""
    end = last(chains(served)[chain])
    if end["name"] == TCP_PROXY:
        cluster: str = end["typedConfig"]["cluster"]
        return cluster
    request = Request(path, host, **fields)
    for route in routes(served, chain, host):
        if route_matches(route["match"], request):
            action = route.get("route")
            return action["cluster"] if action else str(route["directResponse"]["status"])
    return "404"
