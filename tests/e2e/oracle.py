"""What clients of a world must be answered, by the words of Gateway API's specification.

It reads the world itself and shares no code with what it judges: no virtual hosts, no order but the written one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from .backends import SLOW
from .client import Answer, Request
from .world import Match, Route, Rule, World

Outcome = tuple[int, str, str, str]
"""Status, backend, the mark in the answer, and the path that the backend saw or the Location."""

_REFUSED: Final[Outcome] = (0, "", "", "")
_RANK: Final = {"Exact": 0, "RegularExpression": 1, "PathPrefix": 2}
"""The specification leaves the place of regular expressions to implementations; this is ours."""


@dataclass(frozen=True)
class Probe:
    """A request, and the listener port that it goes to."""

    port: str
    """``first`` or ``second``."""
    request: Request

    @property
    def is_slow(self) -> bool:
        """Whether its backend never answers."""
        return self.request.path.endswith(SLOW)


def _probes() -> Iterator[Probe]:
    hosts = ("a.example.com", "b.example.com", "x.b.example.com", "c.example.com", "d.example.org")
    for host in hosts:
        for path in ("/", "/one", "/one/two?q=1", "/onetwo", "/two/x"):
            yield Probe("first", Request(host, path))
        yield Probe("first", Request(host, "/one", headers=(("x-env", "blue"),)))
        yield Probe("first", Request(host, "/deep/er", method="POST"))
    for host in hosts[:2]:
        yield Probe("first", Request(host, f"/one{SLOW}"))
        yield Probe("second", Request(host, "/one"))


PROBES: Final = tuple(_probes())


def outcome_of(answer: Answer) -> Outcome:
    """What a client can tell of an answer, in the oracle's form. Marks of errors are left open."""
    if answer.status == 200:
        return 200, answer.backend, answer.header("x-mark") or "", str(answer.seen["path"])
    if answer.status == 302:
        return 302, "", answer.header("x-mark") or "", answer.header("location") or ""
    return _error(answer.status)


def _error(status: int) -> Outcome:
    return status, "", "", ""


def expect(world: World, probe: Probe) -> frozenset[Outcome] | None:
    """What a probe may be answered with; None for no answer at all, for which nobody waits."""
    listeners = world.listeners(probe.port)
    if not listeners:
        return frozenset({_REFUSED})
    host = probe.request.host
    serving = [name for name, hostname in listeners.items() if covers(hostname, host)]
    if not serving:
        return frozenset({_error(404)})
    chosen = max(serving, key=lambda name: _specificity(listeners[name]))
    candidates = [
        (_precedence(common, match, name, route, position), rule, route, match)
        for name, route in world.routes.items()
        if route.section in ("", chosen) and world.lets_in(chosen, route.namespace)
        if (common := _common_hostname(route, listeners[chosen], host)) is not None
        for position, rule in enumerate(route.rules)
        for match in rule.matches
        if _selects(match, probe.request)
    ]
    if not candidates:
        return frozenset({_error(404)})
    _, rule, route, match = min(candidates, key=lambda candidate: candidate[0])
    return _outcomes(world, probe, rule, route, match)


def covers(pattern: str | None, hostname: str) -> bool:
    """Whether a hostname, with or without a wildcard, is among those of a pattern; None stands for all."""
    if pattern is None or pattern == hostname:
        return True
    return pattern.startswith("*.") and hostname.endswith(pattern[1:])


def _specificity(hostname: str | None) -> tuple[int, int]:
    """More characters without a wildcard, then more characters. Source: HTTPRouteSpec.Hostnames."""
    length = len(hostname or "")
    return (0 if (hostname or "*").startswith("*") else length, length)


def _common_hostname(route: Route, of_listener: str | None, host: str) -> str | None:
    """Of the hostnames that a route and a listener have in common the closest to a name; empty for any, None if none fits.

    "Only the intersected hostname is relevant". Source: Gateway API's page on hostnames.
    """
    if of_listener is None:
        common = list(route.hostnames) or [""]
    else:
        own = route.hostnames or (of_listener,)
        common = [name for name in own if covers(of_listener, name)]
        common += [of_listener for name in own if covers(name, of_listener)]
    return max((name for name in common if covers(name or None, host)), key=_specificity, default=None)


def _selects(match: Match, request: Request) -> bool:
    path = request.path.partition("?")[0]
    if match.method not in ("", request.method) or (match.env and ("x-env", match.env) not in request.headers):
        return False
    match match.type:
        case "Exact":
            return path == match.value
        case "RegularExpression":
            return re.fullmatch(match.value, path) is not None
        case _:
            return match.value == "/" or path == match.value or path.startswith(f"{match.value}/")


def _precedence(common: str, match: Match, name: str, route: Route, position: int) -> tuple[Any, ...]:
    """Smaller comes first. Source: HTTPRouteSpec.Hostnames, HTTPRouteRule.Matches."""
    by_hostname = (-length for length in _specificity(common))
    by_match = (_RANK[match.type], -len(match.value), not match.method, not match.env)
    by_age = (not route.created, route.created, f"{route.namespace}/{name}", position)
    return (*by_hostname, *by_match, *by_age)


def _outcomes(world: World, probe: Probe, rule: Rule, route: Route, match: Match) -> frozenset[Outcome] | None:
    path = probe.request.path
    if rule.redirect:
        location = f"http://moved.example.org:{world.ports[probe.port]}{path}"
        return frozenset({(302, "", rule.mark, location)})
    if rule.rewrite is not None:
        path = rule.rewrite + (path[len(match.value) :] if match.value != "/" else path)
    found: set[Outcome] = set()
    for service, weight in rule.targets:
        names = world.endpoints.get(service, ())
        if not weight:
            continue
        if service not in world.services or not world.permits(route.namespace, service):
            found.add(_error(500))
        elif not names:
            found.add(_error(503))
        elif not probe.is_slow:
            found |= {(200, name, rule.mark, path) for name in names}
        elif rule.times_out:
            found.add(_error(504))
        else:
            return None
    return frozenset(found or {_error(500)})
