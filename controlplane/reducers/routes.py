"""HTTPRoutes with every reference resolved: what can be served, and why the rest cannot.

A reference is resolved by reading, wherever it hides (a rule's backends, its mirrors), so no change of a target is ever
missed. Sources: Gateway API v1, HTTPRouteRule, HTTPBackendRef, HTTPRouteFilter, ReferenceGrant.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

import msgspec

from controlplane.krt import Collection, Fetch, Graph
from controlplane.model.conditions import Condition, ConditionType, Reason
from controlplane.model.http_route import (
    BackendObjectReference,
    HTTPBackendRef,
    HTTPHeaderFilter,
    HTTPRequestMirrorFilter,
    HTTPRoute,
    HTTPRouteFilter,
    HTTPRouteRule,
)
from controlplane.model.ir import BackendTarget, MirrorTarget, ResolvedRoute, RouteRule
from controlplane.reducers.attachment import Attachments
from controlplane.reducers.backends import Backends
from controlplane.reducers.base import Base
from controlplane.reducers.checks import check_headers, check_match, check_path_modifier, without_equivalents
from controlplane.reducers.grants import Grants
from controlplane.reducers.references import Resolver, reads_of_references

_DURATION: Final = re.compile(r"(\d+)(h|ms|m|s)")
_UNIT_MS: Final = {"h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1}
_MILLION: Final = 1_000_000


def duration_ms(duration: str) -> int:
    """Milliseconds of a Gateway API duration (GEP-2257), which is at most four numbers with units."""
    return sum(int(number) * _UNIT_MS[unit] for number, unit in _DURATION.findall(duration))


def effective_timeout_ms(rule: HTTPRouteRule) -> int | None:
    """The time that a request may take, in milliseconds; 0 without limit; None where the rule does not say.

    There are no retries, so the one attempt at a backend and the request as a whole end with the shorter of the two.
    """
    if rule.timeouts is None:
        return None
    given = [duration_ms(d) for d in (rule.timeouts.request, rule.timeouts.backend_request) if d is not None]
    limited = [d for d in given if d]
    return min(limited) if limited else (0 if given else None)


def mirror_share(mirror: HTTPRequestMirrorFilter) -> int:
    """Requests out of a million that are copied."""
    if mirror.percent is not None:
        return mirror.percent * _MILLION // 100
    if mirror.fraction is not None:
        return mirror.fraction.numerator * _MILLION // mirror.fraction.denominator
    return _MILLION


def _normalise(headers: HTTPHeaderFilter) -> HTTPHeaderFilter:
    """A filter in which each header name stands once a list, whatever the case: the first counts."""
    kept_set = without_equivalents(header.name for header in headers.set)
    kept_add = without_equivalents(header.name for header in headers.add)
    return msgspec.structs.replace(
        headers,
        set=tuple(header for i, header in enumerate(headers.set) if i in kept_set),
        add=tuple(header for i, header in enumerate(headers.add) if i in kept_add),
    )


@dataclass
class _Findings:
    """What is wrong with a route, as it is found."""

    unresolved: list[Condition] = field(default_factory=list)
    invalid: list[Condition] = field(default_factory=list)

    def unresolve(self, reason: Reason, message: str) -> None:
        self.unresolved.append(Condition(ConditionType.RESOLVED_REFS, False, reason, message))

    def invalidate(self, reason: Reason, message: str) -> None:
        self.invalid.append(Condition(ConditionType.ACCEPTED, False, reason, message))


class _RuleResolver:
    """Resolves the rules of one route, in one run."""

    def __init__(self, references: Resolver) -> None:
        self._references = references
        self.findings = _Findings()

    def resolve_cluster(self, reference: BackendObjectReference, path: str) -> str:
        """The cluster that a reference names; empty, with a finding, if it does not resolve."""
        found = self._references.resolve(reference)
        if isinstance(found, str):
            return found
        self.findings.unresolve(found.reason, f"{path}: {found.message}")
        return ""

    def resolve_backend(self, reference: HTTPBackendRef, path: str) -> BackendTarget:
        """One share of a rule."""
        target = BackendTarget(self.resolve_cluster(reference, path), reference.weight)
        for i, item in enumerate(reference.filters):
            match item.type:
                case "RequestHeaderModifier":
                    hostname, headers = self._request_headers(item.request_header_modifier, f"{path}.filters[{i}]")
                    target = msgspec.structs.replace(
                        target, request_headers=headers, rewrite_hostname=hostname or target.rewrite_hostname
                    )
                case "ResponseHeaderModifier":
                    changes = self._response_headers(item.response_header_modifier, f"{path}.filters[{i}]")
                    target = msgspec.structs.replace(target, response_headers=changes)
                case "URLRewrite" if item.url_rewrite is not None and item.url_rewrite.path is None:
                    target = msgspec.structs.replace(target, rewrite_hostname=item.url_rewrite.hostname or "")
                case _:
                    self._unsupported(item, f"{path}.filters[{i}]", "move it to the rule's own filters")
                    target = msgspec.structs.replace(target, cluster="")
        return target

    def resolve_rule(self, rule: HTTPRouteRule, index: int) -> RouteRule:
        """One rule. With an unsupported filter it fails as a whole: a filter is never skipped."""
        path = f"rules[{index}]"
        invalid_before = len(self.findings.invalid)
        made = RouteRule(index=index, matches=rule.matches, timeout_ms=effective_timeout_ms(rule))
        mirrors: list[MirrorTarget] = []
        unmatchable = []
        for i, match in enumerate(rule.matches):
            problems = tuple(check_match(match, f"{path}.matches[{i}]"))
            self._refuse(problems)
            if problems:
                unmatchable.append(i)
        for i, item in enumerate(rule.filters):
            where = f"{path}.filters[{i}]"
            match item.type:
                case "RequestHeaderModifier":
                    hostname, headers = self._request_headers(item.request_header_modifier, where)
                    made = msgspec.structs.replace(made, request_headers=headers, rewrite_hostname=hostname)
                case "ResponseHeaderModifier":
                    changes = self._response_headers(item.response_header_modifier, where)
                    made = msgspec.structs.replace(made, response_headers=changes)
                case "RequestRedirect" if item.request_redirect is not None:
                    self._refuse(check_path_modifier(item.request_redirect.path, f"{where}.requestRedirect.path"))
                    made = msgspec.structs.replace(made, redirect=item.request_redirect)
                case "URLRewrite" if item.url_rewrite is not None:
                    self._refuse(check_path_modifier(item.url_rewrite.path, f"{where}.urlRewrite.path"))
                    made = msgspec.structs.replace(made, rewrite=item.url_rewrite)
                case "RequestMirror" if item.request_mirror is not None:
                    reference = item.request_mirror.backend_ref
                    cluster = self.resolve_cluster(reference, f"{where}.requestMirror.backendRef")
                    if cluster:
                        mirrors.append(MirrorTarget(cluster, mirror_share(item.request_mirror)))
                case _:
                    self._unsupported(item, where, "remove it")
        if made.redirect is not None and any(item.type == "RequestMirror" for item in rule.filters):
            text = f"{path}.filters: a request that is redirected cannot be mirrored; remove RequestMirror or RequestRedirect"
            self.findings.invalidate(Reason.INCOMPATIBLE_FILTERS, text)
        targets = tuple(
            self.resolve_backend(reference, f"{path}.backendRefs[{i}]") for i, reference in enumerate(rule.backend_refs)
        )
        failed = self.findings.invalid[invalid_before:]
        return msgspec.structs.replace(
            made,
            mirrors=tuple(mirrors),
            backends=targets,
            failure="; ".join(c.message for c in failed),
            unmatchable=tuple(unmatchable),
        )

    def _request_headers(self, headers: HTTPHeaderFilter | None, path: str) -> tuple[str, HTTPHeaderFilter | None]:
        """The hostname that a filter sets, and the rest of it: setting ``Host`` is rewriting the hostname to Envoy."""
        if headers is None:
            return "", None
        self._refuse(check_headers(headers, f"{path}.requestHeaderModifier", of_response=False))
        headers = _normalise(headers)
        hostname = next((h.value for h in headers.set if h.name.lower() == "host"), "")
        return hostname, msgspec.structs.replace(headers, set=tuple(h for h in headers.set if h.name.lower() != "host"))

    def _response_headers(self, headers: HTTPHeaderFilter | None, path: str) -> HTTPHeaderFilter | None:
        if headers is None:
            return None
        self._refuse(check_headers(headers, f"{path}.responseHeaderModifier", of_response=True))
        return _normalise(headers)

    def _refuse(self, problems: Iterable[str]) -> None:
        for problem in problems:
            self.findings.invalidate(Reason.UNSUPPORTED_VALUE, problem)

    def _unsupported(self, item: HTTPRouteFilter, path: str, remedy: str) -> None:
        text = f"{path}: filter {item.type} is not supported here; {remedy}"
        self.findings.invalidate(Reason.UNSUPPORTED_VALUE, text)


def declare_routes(
    graph: Graph, base: Base, attachments: Attachments, backends: Backends, grants: Grants
) -> Collection[ResolvedRoute]:
    """Declare the routes with their references resolved. Routes without a parent of ours cost nothing here."""

    def resolve_route(route: HTTPRoute, fetch: Fetch) -> ResolvedRoute | None:
        if not fetch.exists(attachments.routes, route.key):
            return None
        resolver = _RuleResolver(Resolver(fetch, base, backends, grants, route.metadata.namespace))
        rules = tuple(resolver.resolve_rule(rule, index) for index, rule in enumerate(route.spec.rules))
        return ResolvedRoute(
            key=route.key,
            created=route.metadata.creation_timestamp or "",
            rules=rules,
            unresolved=tuple(resolver.findings.unresolved),
            invalid=tuple(resolver.findings.invalid),
        )

    return graph.map(
        "resolved_routes",
        ResolvedRoute,
        base.http_routes,
        resolve_route,
        reads=(attachments.routes, *reads_of_references(base, backends, grants)),
    )
