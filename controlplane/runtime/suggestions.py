"""Requests worth trying: one for each rule that a plain HTTP listener serves, with what to expect."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from controlplane.model.http_route import HTTPRouteMatch
from controlplane.model.ir import RouteRule
from controlplane.runtime.core import State

_LIMIT = 12
_EVERYWHERE = "0.0.0.0"  # noqa: S104 (compared with, not bound)


class Suggestion(msgspec.Struct, frozen=True):
    """A request, and what should come of it."""

    url: str
    method: str
    headers: tuple[tuple[str, str], ...]
    expectation: str
    redirects: bool


def suggest_requests(state: State) -> tuple[Suggestion, ...]:
    """At most a screenful."""
    found = []
    for suggestion in _all(state):
        found.append(suggestion)
        if len(found) == _LIMIT:
            break
    return tuple(found)


def _all(state: State) -> Iterator[Suggestion]:
    for attachment in state.rows.attachments.routes.rows():
        route = state.rows.routes.get(attachment.key)
        for parent in attachment.parents:
            gateway = state.rows.gateways.owned.get(parent.gateway)
            address = gateway.addresses[0] if gateway is not None and gateway.addresses else _EVERYWHERE
            address = "127.0.0.1" if address == _EVERYWHERE else address
            for listener in parent.listeners:
                if listener.protocol != "HTTP" or not listener.hostnames or route is None:
                    continue
                hostname = listener.hostnames[0].replace("*.", "any.").replace("*", "")
                for rule in route.rules:
                    yield _suggest(rule, rule.matches[0], hostname, address, listener.port)


def _suggest(rule: RouteRule, match: HTTPRouteMatch, hostname: str, address: str, port: int) -> Suggestion:
    headers = [("Host", hostname)] if hostname else []
    headers += [(header.name, header.value) for header in match.headers if header.type == "Exact"]
    query = "&".join(f"{p.name}={p.value}" for p in match.query_params if p.type == "Exact")
    path = match.path.value if match.path.type != "RegularExpression" else "/"
    return Suggestion(
        url=f"http://{address}:{port}{path}" + (f"?{query}" if query else ""),
        method=match.method or "GET",
        headers=tuple(headers),
        expectation=_expect(rule),
        redirects=rule.redirect is not None,
    )


def _expect(rule: RouteRule) -> str:
    if rule.failure:
        return "500: the rule cannot be served, see the route's status"
    if rule.redirect is not None:
        return f"{rule.redirect.status_code} redirect"
    total = sum(target.weight for target in rule.backends)
    shares = [
        (target.cluster or "500", round(100 * target.weight / total)) for target in rule.backends if target.weight
    ]
    if not shares:
        return "500: no backend"
    return ", ".join(name if share == 100 else f"{name} {share} %" for name, share in shares)
