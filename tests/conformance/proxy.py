"""What an Envoy with one gateway's resources would do with a request: enough of Envoy to say *request X goes to backend Y*.

It reads the JSON document alone, by Envoy's published rules (filter chain by SNI, virtual host by domain, first route that
matches, weighted clusters, header mutations, rewrites, redirects), and shares no code with the translation. A field that it
does not know fails the test, so that nothing passes by being overlooked; so does what Envoy itself would reject.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any, Final

Json = Mapping[str, Any]

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
_DEFAULT_TIMEOUT_S: Final = 15.0
"""Envoy's, for a route that says nothing."""
_DEFAULT_IDLE_TIMEOUT_S: Final = 300.0
"""Envoy's ``stream_idle_timeout``: it ends a request in which nothing was sent either way for so long."""

_NOT_RE2: Final = re.compile(r"\(\?(?![:imsUP-])|\(\?P[=>]|\\[1-9Zkg]|[*+?}]\+")
"""What Python's regular expressions have and RE2 has not: look-around, references, possessive and atomic groups."""

_MUTATIONS: Final = frozenset(
    {"requestHeadersToAdd", "requestHeadersToRemove", "responseHeadersToAdd", "responseHeadersToRemove"}
)


class Rejected(AssertionError):
    """Envoy would not take this configuration."""


@dataclass(frozen=True)
class Request:
    """A request, as a client sends it."""

    path: str = "/"
    """With its query."""
    host: str = "example.com"
    """The Host header: with a port where the client sends one."""
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict)
    port: int = 80
    """Of the Gateway."""
    sni: str | None = None
    """None for plain HTTP."""


@dataclass(frozen=True)
class Forward:
    """A request as its backend sees it, and what becomes of the answer."""

    path: str
    host: str
    headers: Mapping[str, str]
    response: Mapping[str, str]
    """Headers of an answer that had those of ``Proxy.ask``'s ``answered``."""


@dataclass(frozen=True)
class Answer:
    """What happens to a request."""

    status: int | None = None
    """When Envoy answers itself; 0 when the connection fails; None when the request is forwarded, some of it at least."""
    location: str = ""
    """Of a redirect."""
    response: Mapping[str, str] = field(default_factory=dict)
    """Headers that the route adds to an answer of Envoy's own."""
    shares: Mapping[str, Fraction] = field(default_factory=dict)
    """By ``namespace/service:port``, or by the status that this share gets, ``500``."""
    forwards: Mapping[str, Forward] = field(default_factory=dict)
    """By backend."""
    mirrors: Mapping[str, Fraction] = field(default_factory=dict)
    """Share of the requests that is copied, by backend."""
    timeout_s: float = 0
    """0 for none."""
    idle_timeout_s: float = 0
    """Time without a byte either way after which Envoy gives up; 0 for none."""
    rule: str = ""
    """The name of the route that matched."""

    @property
    def backend(self) -> str:
        """The one backend that gets all of it; else the status, as text."""
        if self.status is not None:
            return str(self.status)
        assert len(self.shares) == 1, f"several: {self.shares}"
        return next(iter(self.shares))

    @property
    def forward(self) -> Forward:
        """The request as its one backend sees it."""
        return self.forwards[self.backend]


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
        _known(host, {"name", "domains", "routes"}, "virtual host")
        # All routes are looked at, also behind the one that matches: what Envoy would reject there, it rejects with the host.
        answers = [
            (_route_matches(route["match"], request), self._act(route, manager, request, answered or {}))
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
        host = _without_port(authority).lower()
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
        _known(route, {"name", "match", "route", "redirect", "directResponse"} | _MUTATIONS, "route")
        name = route.get("name", "")
        added = _mutated({}, route.get("responseHeadersToAdd", ()), route.get("responseHeadersToRemove", ()))
        if "directResponse" in route:
            _known(route["directResponse"], {"status", "body"}, "direct response")
            return Answer(route["directResponse"]["status"], response=added, rule=name)
        if "redirect" in route:
            code = _REDIRECT_CODES[route["redirect"].get("responseCode", "MOVED_PERMANENTLY")]
            return Answer(code, _location(route, request), added, rule=name)
        idle = route["route"].get("idleTimeout", manager.get("streamIdleTimeout", f"{_DEFAULT_IDLE_TIMEOUT_S}s"))
        return replace(self._forward(route, request, answered), rule=name, idle_timeout_s=_seconds(idle))

    def _forward(self, route: Json, request: Request, answered: Mapping[str, str]) -> Answer:
        action = route["route"]
        _known(
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
            _known(target, {"name", "weight", "hostRewriteLiteral"} | _MUTATIONS, "weighted cluster")
            share = Fraction(target.get("weight", 1 if "cluster" in action else 0), total)
            if not share:
                continue
            outcome = self._outcome(target["name"], action)
            shares[outcome] = shares.get(outcome, Fraction(0)) + share
            if not outcome.isdigit():
                forwards[outcome] = _forwarded(route, target, request, answered)
        return Answer(
            status=int(next(iter(shares))) if len(shares) == 1 and next(iter(shares)).isdigit() else None,
            shares=shares,
            forwards=forwards,
            mirrors=self._mirrors(action),
            timeout_s=_timeout(action),
        )

    def _outcome(self, cluster: str, action: Json) -> str:
        if cluster not in self.table(CLUSTER):
            return str(_NOT_FOUND_CODES[action.get("clusterNotFoundResponseCode", "SERVICE_UNAVAILABLE")])
        return backend_of(cluster) if self.endpoints(cluster) else "503"

    def _mirrors(self, action: Json) -> dict[str, Fraction]:
        mirrors: dict[str, Fraction] = {}
        for policy in action.get("requestMirrorPolicies", ()):
            _known(policy, {"cluster", "runtimeFraction", "disableShadowHostSuffixAppend"}, "mirror policy")
            assert policy["cluster"] in self.table(CLUSTER), f"a mirror to no cluster: {policy['cluster']}"
            mirrors[backend_of(policy["cluster"])] = _fraction(policy.get("runtimeFraction"))
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


def _without_port(authority: str) -> str:
    return re.sub(r":\d+$", "", authority)


def _wildcards(host: str) -> Iterator[str]:
    """``*.b.c``, ``*.c`` for ``a.b.c``: longest first."""
    labels = host.split(".")
    for count in range(1, len(labels)):
        yield ".".join(("*", *labels[count:]))


def filter_chain(listener: Json, sni: str | None) -> Json | None:
    by_name: dict[str, Json] = {}
    for chain in listener["filterChains"]:
        match = chain.get("filterChainMatch", {})
        _known(match, {"serverNames", "transportProtocol"}, "filter chain match")
        for name in match.get("serverNames", [""]):
            if name in by_name:
                raise Rejected(f"filter chains with the same matching rules: {name}")
            by_name[name] = chain
            if name:
                inspectors = [inspector["name"] for inspector in listener.get("listenerFilters", ())]
                assert "envoy.filters.listener.tls_inspector" in inspectors, "nothing reads the SNI"
    name = (sni or "").lower()
    return next((by_name[n] for n in (name, *_wildcards(name), "") if n in by_name), None)


def _known(message: Json, names: Iterable[str], what: str) -> None:
    unknown = set(message) - set(names) - {"@type"}
    assert not unknown, f"{what} with fields that this test does not know: {sorted(unknown)}"


def _route_matches(match: Json, request: Request) -> bool:
    _known(match, {"path", "prefix", "pathSeparatedPrefix", "safeRegex", "headers", "queryParameters"}, "route match")
    path, _, query = request.path.partition("?")
    holds = [
        _path_matches(match, path),
        *(_header_matches(header, request) for header in match.get("headers", ())),
        *(_query_matches(parameter, query) for parameter in match.get("queryParameters", ())),
    ]
    return all(holds)


def _path_matches(match: Json, path: str) -> bool:
    if "path" in match:
        return bool(path == match["path"])
    if "pathSeparatedPrefix" in match:
        prefix = match["pathSeparatedPrefix"]
        if not re.fullmatch(r"[^?#]+[^?#/]", prefix):
            raise Rejected(f"path_separated_prefix {prefix!r}")
        return path == prefix or path.startswith(prefix + "/")
    if "safeRegex" in match:
        return _expression(match["safeRegex"]).fullmatch(path) is not None
    return path.startswith(match["prefix"])


def _header_matches(header: Json, request: Request) -> bool:
    _known(header, {"name", "stringMatch"}, "header match")
    headers = {name.lower(): value for name, value in request.headers.items()} | {":method": request.method}
    value = headers.get(header["name"].lower())
    return _string_matches(header["stringMatch"], value or "") and value is not None


def _query_matches(parameter: Json, query: str) -> bool:
    _known(parameter, {"name", "stringMatch"}, "query parameter match")
    pairs = (pair.partition("=") for pair in query.split("&"))
    value = next((value for name, _, value in pairs if name == parameter["name"]), None)
    return _string_matches(parameter["stringMatch"], value or "") and value is not None


def _string_matches(match: Json, value: str) -> bool:
    if "safeRegex" in match:
        _known(match, {"safeRegex"}, "string match")
        return _expression(match["safeRegex"]).fullmatch(value) is not None
    _known(match, {"exact"}, "string match")
    return bool(match["exact"] == value)


def _one_line(value: str) -> str:
    if set(value) & set("\0\r\n"):
        raise Rejected(f"value does not match regex pattern: {value!r}")
    return value


def _expression(matcher: Json) -> re.Pattern[str]:
    _known(matcher, {"regex"}, "regular expression")
    try:
        if not _NOT_RE2.search(matcher["regex"]):
            return re.compile(matcher["regex"])
    except re.error:
        pass
    raise Rejected(f"regular expression {matcher['regex']!r}")


def _rewritten(action: Json, match: Json, path: str) -> str:
    """The path after a prefix or regex rewrite; its query stays."""
    bare, question_mark, query = path.partition("?")
    if "regexRewrite" in action:
        rewrite = action["regexRewrite"]
        pattern = _expression(rewrite["pattern"])
        substitution = _one_line(rewrite.get("substitution", ""))
        bare = pattern.sub(lambda found: _substituted(substitution, found), bare)
    elif action.get("prefixRewrite"):
        matched = next((match[kind] for kind in ("path", "pathSeparatedPrefix", "prefix") if kind in match), bare)
        bare = _one_line(action["prefixRewrite"]) + bare[len(matched) :]
    return bare + question_mark + query


def _substituted(substitution: str, found: re.Match[str]) -> str:
    """RE2's replacement: ``\\0`` to ``\\9`` are groups, ``\\\\`` is a backslash."""

    def one(escape: re.Match[str]) -> str:
        character = escape[1]
        if character == "\\":
            return "\\"
        if not character.isdigit():
            raise Rejected(f"substitution {substitution!r}")
        return found[int(character)] or ""

    return re.sub(r"\\(.|$)", one, substitution)


def _location(route: Json, request: Request) -> str:
    redirect = route["redirect"]
    _known(
        redirect,
        {"responseCode", "schemeRedirect", "httpsRedirect", "hostRedirect", "portRedirect", "pathRedirect"}
        | {"prefixRewrite", "regexRewrite"},
        "redirect",
    )
    own_scheme = "http" if request.sni is None else "https"
    scheme = redirect.get("schemeRedirect") or ("https" if redirect.get("httpsRedirect") else own_scheme)
    port = f":{redirect['portRedirect']}" if redirect.get("portRedirect") else ""
    host = redirect.get("hostRedirect", "")
    if not host:
        host = request.host
        own_port = {"http": ":80", "https": ":443"}[own_scheme]
        if port or (scheme != own_scheme and host.endswith(own_port)):
            host = _without_port(host)
    path = request.path
    if redirect.get("pathRedirect"):
        query = path.partition("?")[2]
        path = _one_line(redirect["pathRedirect"]) + (
            f"?{query}" if query and "?" not in redirect["pathRedirect"] else ""
        )
    else:
        path = _rewritten(redirect, route["match"], path)
    return f"{scheme}://{host}{port}{path}"


def _forwarded(route: Json, target: Json, request: Request, answered: Mapping[str, str]) -> Forward:
    """Envoy applies the weighted cluster's mutations first, then the route's."""
    action = route["route"]
    headers = {name.lower(): value for name, value in request.headers.items()}
    response = {name.lower(): value for name, value in answered.items()}
    for level in (target, route):
        headers = _mutated(headers, level.get("requestHeadersToAdd", ()), level.get("requestHeadersToRemove", ()))
        response = _mutated(response, level.get("responseHeadersToAdd", ()), level.get("responseHeadersToRemove", ()))
    host = target.get("hostRewriteLiteral") or action.get("hostRewriteLiteral") or request.host
    host = _one_line(host)
    return Forward(_rewritten(action, route["match"], request.path), host, headers, response)


def _mutated(headers: Mapping[str, str], added: Iterable[Json], removed: Iterable[str]) -> dict[str, str]:
    mutated = dict(headers)
    for name in removed:
        if not _one_line(name):
            raise Rejected("RequestHeadersToRemove: value length must be at least 1 characters")
        if name.startswith(":") or name.lower() == "host":
            raise Rejected(f":-prefixed or host headers may not be removed: {name}")
        mutated.pop(name.lower(), None)
    for option in added:
        _known(option, {"header", "appendAction", "keepEmptyValue"}, "header value option")
        name, value = option["header"]["key"].lower(), _formatted(_one_line(option["header"].get("value", "")))
        if name.startswith(":") or name == "host":
            raise Rejected(f":-prefixed or host headers may not be modified: {name}")
        match option.get("appendAction", "APPEND_IF_EXISTS_OR_ADD"):
            case "APPEND_IF_EXISTS_OR_ADD":
                mutated[name] = f"{mutated[name]},{value}" if name in mutated else value
            case "OVERWRITE_IF_EXISTS_OR_ADD":
                mutated[name] = value
            case other:
                raise AssertionError(f"append action that this test does not know: {other}")
    return mutated


def _formatted(value: str) -> str:
    """A header value after Envoy's substitution, of which only the escaped percent sign has a place here."""
    if "%" in value.replace("%%", ""):
        raise Rejected(f"a format in a header value: {value!r}")
    return value.replace("%%", "%")


def _fraction(runtime: Json | None) -> Fraction:
    if runtime is None:
        return Fraction(1)
    share = runtime["defaultValue"]
    denominator = {"HUNDRED": 100, "TEN_THOUSAND": 10_000, "MILLION": 1_000_000}[share.get("denominator", "HUNDRED")]
    return Fraction(share.get("numerator", 0), denominator)


def _timeout(action: Json) -> float:
    whole = _seconds(action["timeout"]) if "timeout" in action else _DEFAULT_TIMEOUT_S
    attempt = _seconds(action.get("retryPolicy", {}).get("perTryTimeout", "0s"))
    return min((limit for limit in (whole, attempt) if limit), default=0.0)


def _seconds(duration: str) -> float:
    return float(duration.removesuffix("s"))
