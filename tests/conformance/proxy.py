"""What an Envoy with one gateway's resources would do with a request: enough of Envoy to say *request X goes to backend Y*.

It reads the JSON document alone, by Envoy's published rules (filter chain by SNI, virtual host by domain, first route that
matches, weighted clusters, header mutations, rewrites, redirects), and shares no code with the translation. A field that it
does not know fails the test, so that nothing passes by being overlooked; so does what Envoy itself would reject.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from fractions import Fraction
from typing import Final

from .actions import MUTATIONS, forwarded, fraction, location, mutated, seconds, timeout, without_port
from .matching import route_matches
from .messages import Answer, Forward, Json, Rejected, Request, known

_TYPE: Final = "type.googleapis.com/envoy.config."
LISTENER: Final = f"{_TYPE}listener.v3.Listener"
ROUTE_CONFIGURATION: Final = f"{_TYPE}route.v3.RouteConfiguration"
VIRTUAL_HOST: Final = f"{_TYPE}route.v3.VirtualHost"
CLUSTER: Final = f"{_TYPE}cluster.v3.Cluster"
LOAD_ASSIGNMENT: Final = f"{_TYPE}endpoint.v3.ClusterLoadAssignment"
SECRET: Final = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"

_REDIRECT_CODES: Final = {
    "MOVED_PERMANENTLY": 301,
    "FOUND": 302,
    "SEE_OTHER": 303,
    "TEMPORARY_REDIRECT": 307,
    "PERMANENT_REDIRECT": 308,
}
_NOT_FOUND_CODES: Final = {"SERVICE_UNAVAILABLE": 503, "NOT_FOUND": 404, "INTERNAL_SERVER_ERROR": 500}
_DEFAULT_IDLE_TIMEOUT_S: Final = 300.0
"""Envoy's ``stream_idle_timeout``: it ends a request in which nothing was sent either way for so long."""


class Proxy:
    """An Envoy that has been sent this.

    Args:
        resources: By type URL and name, as the document has a gateway's.
    """

    def __init__(self, resources: Mapping[str, Mapping[str, Json]]) -> None:
        self._resources = {
            type_url: {name: entry["resource"] for name, entry in named.items()}
            for type_url, named in resources.items()
        }

    def table(self, type_url: str) -> dict[str, Json]:
        """Resources of a type by name."""
        return self._resources.get(type_url, {})

    @property
    def ports(self) -> list[int]:
        """Those that it listens on."""
        return sorted({_port(listener) for listener in self.table(LISTENER).values()})

    @property
    def domains(self) -> list[str]:
        """Of all virtual hosts."""
        return sorted(domain for host in self.table(VIRTUAL_HOST).values() for domain in host["domains"])

    def endpoints(self, cluster: str) -> list[str]:
        """``address:port`` of a cluster, in order, each once for its every mention."""
        assignment = self.table(LOAD_ASSIGNMENT)[cluster]
        addresses = [
            endpoint["endpoint"]["address"]["socketAddress"]
            for locality in assignment.get("endpoints", ())
            for endpoint in locality.get("lbEndpoints", ())
        ]
        return sorted(
            f"[{a['address']}]:{a['portValue']}" if ":" in a["address"] else f"{a['address']}:{a['portValue']}"
            for a in addresses
        )

    def ask(self, request: Request, answered: Mapping[str, str] | None = None) -> Answer:
        """What it does with a request.

        Args:
            request: The request.
            answered: Headers that backends answer with.
        """
        manager = self._connection_manager(request)
        if manager is None:
            return Answer(status=0)
        configuration = self.table(ROUTE_CONFIGURATION).get(manager["rds"]["routeConfigName"])
        assert configuration is not None, f"no RouteConfiguration {manager['rds']['routeConfigName']}"
        host = self._virtual_host(configuration, request.host)
        if host is None:
            return Answer(status=404)
        known(host, {"name", "domains", "routes"}, "virtual host")
        # All routes are looked at, also behind the one that matches: what Envoy would reject there, it rejects with the host.
        answers = [
            (route_matches(route["match"], request), self._act(route, manager, request, answered or {}))
            for route in host.get("routes", ())
        ]
        return next((answer for matches, answer in answers if matches), Answer(status=404))

    def _connection_manager(self, request: Request) -> Json | None:
        listeners = [listener for listener in self.table(LISTENER).values() if _port(listener) == request.port]
        if not listeners:
            return None
        chain = filter_chain(listeners[0], request.sni)
        if chain is None or (request.sni is None) != ("transportSocket" not in chain):
            return None
        if "transportSocket" in chain and not any(name in self.table(SECRET) for name in certificates(chain)):
            return None
        (network_filter,) = chain["filters"]
        manager: Json = network_filter["typedConfig"]
        return manager

    def _virtual_host(self, configuration: Json, authority: str) -> Json | None:
        assert configuration.get("ignorePortInHostMatching"), "the port of a Host header must not count"
        host = without_port(authority).lower()
        found: dict[str, Json] = {}
        for name, virtual_host in self.table(VIRTUAL_HOST).items():
            if name.startswith(configuration["name"] + "/"):
                for domain in virtual_host["domains"]:
                    if domain.lower() in found:
                        raise Rejected(f"Only unique values for domains are permitted: {domain}")
                    found[domain.lower()] = virtual_host
        for domain in (host, *_wildcards(host), "*"):
            if domain in found:
                return found[domain]
        return None

    def _act(self, route: Json, manager: Json, request: Request, answered: Mapping[str, str]) -> Answer:
        known(route, {"name", "match", "route", "redirect", "directResponse"} | MUTATIONS, "route")
        name = route.get("name", "")
        added = mutated({}, route.get("responseHeadersToAdd", ()), route.get("responseHeadersToRemove", ()))
        if "directResponse" in route:
            known(route["directResponse"], {"status", "body"}, "direct response")
            return Answer(route["directResponse"]["status"], response=added, rule=name)
        if "redirect" in route:
            code = _REDIRECT_CODES[route["redirect"].get("responseCode", "MOVED_PERMANENTLY")]
            return Answer(code, location(route, request), added, rule=name)
        idle = route["route"].get("idleTimeout", manager.get("streamIdleTimeout", f"{_DEFAULT_IDLE_TIMEOUT_S}s"))
        return replace(self._forward(route, request, answered), rule=name, idle_timeout_s=seconds(idle))

    def _forward(self, route: Json, request: Request, answered: Mapping[str, str]) -> Answer:
        action = route["route"]
        known(
            action,
            {"cluster", "weightedClusters", "clusterNotFoundResponseCode", "prefixRewrite", "regexRewrite", "timeout"}
            | {"hostRewriteLiteral", "requestMirrorPolicies", "retryPolicy", "idleTimeout"},
            "route action",
        )
        shares: dict[str, Fraction] = {}
        forwards: dict[str, Forward] = {}
        targets = (
            action["weightedClusters"]["clusters"] if "weightedClusters" in action else [{"name": action["cluster"]}]
        )
        total = sum(target.get("weight", 1 if "cluster" in action else 0) for target in targets)
        if not total:
            raise Rejected("Sum of weights in the weighted_cluster must be greater than 0.")
        for target in targets:
            known(target, {"name", "weight", "hostRewriteLiteral"} | MUTATIONS, "weighted cluster")
            share = Fraction(target.get("weight", 1 if "cluster" in action else 0), total)
            if not share:
                continue
            outcome = self._outcome(target["name"], action)
            shares[outcome] = shares.get(outcome, Fraction(0)) + share
            if not outcome.isdigit():
                forwards[outcome] = forwarded(route, target, request, answered)
        return Answer(
            status=int(next(iter(shares))) if len(shares) == 1 and next(iter(shares)).isdigit() else None,
            shares=shares,
            forwards=forwards,
            mirrors=self._mirrors(action),
            timeout_s=timeout(action),
        )

    def _outcome(self, cluster: str, action: Json) -> str:
        if cluster not in self.table(CLUSTER):
            return str(_NOT_FOUND_CODES[action.get("clusterNotFoundResponseCode", "SERVICE_UNAVAILABLE")])
        return backend_of(cluster) if self.endpoints(cluster) else "503"

    def _mirrors(self, action: Json) -> dict[str, Fraction]:
        mirrors: dict[str, Fraction] = {}
        for policy in action.get("requestMirrorPolicies", ()):
            known(policy, {"cluster", "runtimeFraction", "disableShadowHostSuffixAppend"}, "mirror policy")
            assert policy["cluster"] in self.table(CLUSTER), f"a mirror to no cluster: {policy['cluster']}"
            mirrors[backend_of(policy["cluster"])] = fraction(policy.get("runtimeFraction"))
        return mirrors


def backend_of(cluster: str) -> str:
    """``namespace/name:port`` of a Service's cluster."""
    prefix, namespace, name, port = cluster.split("_")
    assert prefix == "kube", cluster
    return f"{namespace}/{name}:{port}"


def certificates(chain: Json) -> list[str]:
    """Names of the secrets of a filter chain."""
    context = chain["transportSocket"]["typedConfig"]["commonTlsContext"]
    return [secret["name"] for secret in context["tlsCertificateSdsSecretConfigs"]]


def _port(listener: Json) -> int:
    port: int = listener["address"]["socketAddress"]["portValue"]
    return port


def _wildcards(host: str) -> Iterator[str]:
    """``*.b.c``, ``*.c`` for ``a.b.c``: longest first."""
    labels = host.split(".")
    for count in range(1, len(labels)):
        yield ".".join(("*", *labels[count:]))


def filter_chain(listener: Json, sni: str | None) -> Json | None:
    by_name: dict[str, Json] = {}
    for chain in listener["filterChains"]:
        match = chain.get("filterChainMatch", {})
        known(match, {"serverNames", "transportProtocol"}, "filter chain match")
        for name in match.get("serverNames", [""]):
            if name in by_name:
                raise Rejected(f"filter chains with the same matching rules: {name}")
            by_name[name] = chain
            if name:
                inspectors = [inspector["name"] for inspector in listener.get("listenerFilters", ())]
                assert "envoy.filters.listener.tls_inspector" in inspectors, "nothing reads the SNI"
    name = (sni or "").lower()
    return next((by_name[n] for n in (name, *_wildcards(name), "") if n in by_name), None)
