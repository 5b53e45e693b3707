"""Who gets a request, by the words of the specification alone: no Envoy, no virtual hosts, no order but the written one.

Written from the CRDs' descriptions of ``GatewaySpec.listeners`` (which listener), ``HTTPRouteSpec.parentRefs`` and
``hostnames`` (which routes), ``HTTPRouteRule.matches`` (which rule). RegularExpression is left out: its precedence is
implementation-specific. Where the CRD counts the characters of "a matching hostname", the hostname that the route and the
listener have in common is counted, as Gateway API's page on hostnames has it ("only the intersected hostname is relevant").
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Listener:
    name: str
    port: int
    hostname: str | None


@dataclass(frozen=True)
class Match:
    exact: bool
    path: str
    """Without a trailing slash, but for the root."""
    method: str | None
    headers: frozenset[tuple[str, str]]
    query: frozenset[tuple[str, str]]


@dataclass(frozen=True)
class Rule:
    name: str
    """Unique among all rules of all routes."""
    matches: tuple[Match, ...]


@dataclass(frozen=True)
class Route:
    namespace: str
    name: str
    created: str
    """RFC 3339, all in UTC and of one form; the same text for routes that have none."""
    section: str | None
    port: int | None
    hostnames: tuple[str, ...]
    rules: tuple[Rule, ...]


@dataclass(frozen=True)
class Asked:
    host: str
    port: int
    path: str
    method: str
    headers: frozenset[tuple[str, str]]
    query: frozenset[tuple[str, str]]


def winner(listeners: Sequence[Listener], routes: Sequence[Route], asked: Asked) -> str | None:
    """The name of the rule that gets the request; None for a 404."""
    serving = listener_of(listeners, asked)
    if serving is None:
        return None
    candidates = [
        (rank, rule.name)
        for route in routes
        if attaches(route, serving)
        for specificity in hostname_specificity(route, serving, asked.host)
        for position, rule in enumerate(route.rules)
        for match in rule.matches
        if holds(match, asked)
        for rank in [(*specificity, *match_rank(match), route.created, f"{route.namespace}/{route.name}", position)]
    ]
    return min(candidates)[1] if candidates else None


def listener_of(listeners: Sequence[Listener], asked: Asked) -> Listener | None:
    """Exact before wildcard before none; of wildcards the one with more labels."""
    fitting = [each for each in listeners if each.port == asked.port and covers(each.hostname, asked.host)]
    return max(fitting, key=lambda each: _labels(each.hostname), default=None)


def _labels(hostname: str | None) -> tuple[int, int]:
    if hostname is None:
        return (0, 0)
    return (1, hostname.count(".")) if hostname.startswith("*.") else (2, 0)


def covers(hostname: str | None, host: str) -> bool:
    """A wildcard stands for one label or more; ``*.a.com`` covers ``*.b.a.com`` too."""
    if hostname is None:
        return True
    return host.removeprefix("*").endswith(hostname[1:]) if hostname.startswith("*.") else host == hostname


def attaches(route: Route, listener: Listener) -> bool:
    """The parentRef names the listener, and some hostname is common to both."""
    return (
        route.section in {None, listener.name} and route.port in {None, listener.port} and bool(common(route, listener))
    )


def common(route: Route, listener: Listener) -> list[str]:
    """The hostnames of the route on the listener; "" stands for any."""
    if listener.hostname is None:
        return list(route.hostnames) or [""]
    found = []
    for hostname in route.hostnames or [listener.hostname]:
        for broader, narrower in ((listener.hostname, hostname), (hostname, listener.hostname)):
            if covers(broader, narrower) or broader == narrower:
                found.append(narrower)
    return found


def hostname_specificity(route: Route, listener: Listener, host: str) -> Iterator[tuple[int, int]]:
    """At most one: negative characters of the longest precise hostname that matches, and of the longest of any kind."""
    matching = [hostname for hostname in common(route, listener) if covers(hostname or None, host)]
    if matching:
        precise = max((len(hostname) for hostname in matching if not hostname.startswith("*")), default=0)
        yield (-precise, -max(map(len, matching)))


def match_rank(match: Match) -> tuple[int, int, int, int, int]:
    """Exact, longest prefix, method, most headers, most query parameters: the smaller the better."""
    return (
        0 if match.exact else 1,
        -len(match.path) if not match.exact else 0,
        0 if match.method else 1,
        -len(match.headers),
        -len(match.query),
    )


def holds(match: Match, asked: Asked) -> bool:
    if match.exact:
        path = asked.path == match.path
    else:
        elements, wanted = asked.path.split("/")[1:], [part for part in match.path.split("/")[1:] if part]
        path = elements[: len(wanted)] == wanted
    return (
        path and match.method in {None, asked.method} and match.headers <= asked.headers and match.query <= asked.query
    )
