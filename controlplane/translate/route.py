"""Rules of HTTPRoutes into Envoy's routes, each encoded once.

Sources: Gateway API v1, HTTPRouteRule and HTTPRouteFilter; Envoy, route_components.proto.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Final, TypeAlias

import msgspec

from controlplane._proto.envoy.config.core.v3 import (
    DataSource,
    RuntimeFractionalPercent,
)
from controlplane._proto.envoy.config.route.v3 import (
    DirectResponseAction,
    HeaderMatcher,
    QueryParameterMatcher,
    Route,
    RouteAction,
    RouteActionClusterNotFoundResponseCode,
    RouteActionHashPolicy,
    RouteActionRequestMirrorPolicy,
    RouteMatch,
    WeightedCluster,
    WeightedClusterClusterWeight,
)
from controlplane._proto.envoy.type.matcher.v3 import RegexMatchAndSubstitute, RegexMatcher, StringMatcher
from controlplane._proto.envoy.type.v3 import FractionalPercent, FractionalPercentDenominatorType
from controlplane.model.http_route import (
    HTTPHeaderMatch,
    HTTPPathMatch,
    HTTPQueryParamMatch,
    HTTPRouteMatch,
)
from controlplane.model.ir import BackendTarget, MirrorTarget, ResolvedRoute, RouteRule
from controlplane.translate.route_filters import (
    PathRewrite,
    plain_prefix,
    translate_headers,
    translate_path,
    translate_redirect,
)

UNRESOLVED_CLUSTER: Final = "unresolved"
"""Never served: a share that leads here is answered with 500."""

_PATH_RANK: Final = {"Exact": 0, "RegularExpression": 1, "PathPrefix": 2}
_WITHOUT_LIMIT: Final = timedelta(0)
_STREAM_IDLE_MS: Final = 300_000
"""Envoy's default of ``HttpConnectionManager.stream_idle_timeout``."""

MISDIRECTED: Final = bytes(
    Route(
        name="misdirected",
        match=RouteMatch(prefix="/"),
        direct_response=DirectResponseAction(status=421),
    )
)
"""The encoded route that answers everything with 421."""

Precedence: TypeAlias = tuple[int, int, int, int, int, bool, str, str, int, int]
"""Sorts routes of one host by Gateway API's rules, first match first."""


Hashing: TypeAlias = Callable[[str], Sequence[RouteActionHashPolicy]]
"""What of a request decides which endpoint of a cluster it goes to, by the cluster's name."""


def no_hashing(cluster: str) -> Sequence[RouteActionHashPolicy]:
    """No cluster hashes."""
    return ()


class RouteEntry(msgspec.Struct, frozen=True):
    """One Envoy route of a virtual host."""

    precedence: Precedence
    body: bytes
    clusters: tuple[str, ...]
    """Every cluster that it names, mirrors included, sorted."""


def precedence(route: ResolvedRoute, rule: RouteRule, number: int, match: HTTPRouteMatch) -> Precedence:
    """Where a match stands among all matches of its host.

    Source: Gateway API v1, HTTPRouteRule.Matches. Regular expressions, whose place is left to implementations, stand between
    exact paths and prefixes, the longer first. Routes without a creation time come after those that have one.
    """
    return (
        _PATH_RANK[match.path.type],
        -len(match.path.value),
        0 if match.method else 1,
        -len(match.headers),
        -len(match.query_params),
        not route.created,
        route.created,
        route.key,
        rule.index,
        number,
    )


def _string_matcher(type: str, value: str) -> StringMatcher:  # noqa: A002 (the API's word)
    if type == "RegularExpression":
        return StringMatcher(safe_regex=RegexMatcher(regex=value))
    return StringMatcher(exact=value)


def _header_matcher(header: HTTPHeaderMatch) -> HeaderMatcher:
    name = header.name.lower()
    return HeaderMatcher(
        name=":authority" if name == "host" else name, string_match=_string_matcher(header.type, header.value)
    )


def _query_matcher(param: HTTPQueryParamMatch) -> QueryParameterMatcher:
    return QueryParameterMatcher(name=param.name, string_match=_string_matcher(param.type, param.value))


def translate_match(match: HTTPRouteMatch) -> RouteMatch:
    """Envoy's match. A prefix goes by path element: ``/foo`` matches ``/foo/bar``, never ``/foobar``."""
    first_of_name = {header.name.lower(): header for header in reversed(match.headers)}
    headers = [_header_matcher(first_of_name[name]) for name in sorted(first_of_name)]
    if match.method:
        headers.append(HeaderMatcher(name=":method", string_match=StringMatcher(exact=match.method)))
    first_param = {param.name: param for param in reversed(match.query_params)}
    out = RouteMatch(
        headers=headers, query_parameters=[_query_matcher(first_param[name]) for name in sorted(first_param)]
    )
    match match.path.type:
        case "Exact":
            out.path = match.path.value
        case "RegularExpression":
            out.safe_regex = RegexMatcher(regex=match.path.value)
        case _:
            prefix = plain_prefix(match.path.value)
            if prefix == "/":
                out.prefix = "/"
            else:
                out.path_separated_prefix = prefix
    return out


def _mirror(mirror: MirrorTarget) -> RouteActionRequestMirrorPolicy:
    share = FractionalPercent(numerator=mirror.parts_per_million, denominator=FractionalPercentDenominatorType.MILLION)
    return RouteActionRequestMirrorPolicy(
        cluster=mirror.cluster,
        runtime_fraction=RuntimeFractionalPercent(default_value=share),
        # The copy is to be what the original was; Envoy would append "-shadow" to its host.
        disable_shadow_host_suffix_append=True,
    )


def _weighted(target: BackendTarget) -> WeightedClusterClusterWeight:
    request, response = translate_headers(target.request_headers), translate_headers(target.response_headers)
    return WeightedClusterClusterWeight(
        name=target.cluster or UNRESOLVED_CLUSTER,
        weight=target.weight,
        request_headers_to_add=request.add,
        request_headers_to_remove=request.remove,
        response_headers_to_add=response.add,
        response_headers_to_remove=response.remove,
        host_rewrite_literal=target.rewrite_hostname or None,
    )


def _hash_policies(targets: Sequence[BackendTarget], hashing: Hashing) -> list[RouteActionHashPolicy]:
    """What is hashed for any of the targets, each once, in the order of their clusters' names.

    Mirrors have no say: a route hashes for all its clusters at once, and the copies are not to decide where a request goes.
    """
    found: dict[bytes, RouteActionHashPolicy] = {}
    for cluster in sorted({target.cluster for target in targets if target.cluster}):
        for policy in hashing(cluster):
            found.setdefault(bytes(policy), policy)
    return list(found.values())


def translate_action(rule: RouteRule, path: HTTPPathMatch, hashing: Hashing = no_hashing) -> RouteAction | None:
    """Where requests go; None if there is nowhere and the answer is 500."""
    targets = [target for target in rule.backends if target.weight]
    if not any(target.cluster for target in targets):
        return None
    rewrite = translate_path(rule.rewrite.path, path) if rule.rewrite is not None else PathRewrite()
    regex = rewrite.regex
    if rewrite.full is not None:
        literal = rewrite.full.replace("\\", "\\\\")
        regex = RegexMatchAndSubstitute(pattern=RegexMatcher(regex="^/.*$"), substitution=literal)
    hostname = (rule.rewrite.hostname if rule.rewrite is not None else None) or rule.rewrite_hostname
    action = RouteAction(
        prefix_rewrite=rewrite.prefix or "",
        regex_rewrite=regex,
        host_rewrite_literal=hostname or None,
        # Envoy's own limit is 15 s, which nobody asked for and which breaks long answers.
        timeout=timedelta(milliseconds=rule.timeout_ms) if rule.timeout_ms else _WITHOUT_LIMIT,
        request_mirror_policies=[_mirror(mirror) for mirror in rule.mirrors],
        hash_policy=_hash_policies(targets, hashing),
    )
    if rule.timeout_ms is not None and not 0 < rule.timeout_ms <= _STREAM_IDLE_MS:
        # A connection manager ends streams that are silent for five minutes, unless the route says otherwise.
        action.idle_timeout = _WITHOUT_LIMIT
    only = targets[0]
    plain = only.request_headers is None and only.response_headers is None and not only.rewrite_hostname
    if len(targets) == 1 and plain:
        action.cluster = only.cluster
    else:
        action.weighted_clusters = WeightedCluster(clusters=[_weighted(target) for target in targets])
        if not all(target.cluster for target in targets):
            action.cluster_not_found_response_code = RouteActionClusterNotFoundResponseCode.INTERNAL_SERVER_ERROR
    return action


def translate_rule(
    route: ResolvedRoute, rule: RouteRule, scheme: str, port: int, hashing: Hashing = no_hashing
) -> Iterator[RouteEntry]:
    """One Envoy route a match.

    Args:
        route: The rule's.
        rule: It.
        scheme: Of the listener, ``http`` or ``https``: redirections name it.
        port: Of the listener.
        hashing: What the rule's clusters hash.
    """
    request, response = translate_headers(rule.request_headers), translate_headers(rule.response_headers)
    for number, match in enumerate(rule.matches):
        if number in rule.unmatchable:
            continue
        out = Route(
            name=f"{route.key}/{rule.index}/{number}",
            match=translate_match(match),
        )
        clusters: set[str] = set()
        if not rule.failure:
            # What is wrong with a rule may be just these, and then they must not reach an Envoy.
            out.response_headers_to_add = response.add
            out.response_headers_to_remove = response.remove
        if rule.failure:
            text = f"invalid route configuration: HTTPRoute {route.key}\n"
            out.direct_response = DirectResponseAction(status=500, body=DataSource(inline_string=text))
        elif rule.redirect is not None:
            out.redirect = translate_redirect(rule.redirect, match.path, scheme, port)
        elif (action := translate_action(rule, match.path, hashing)) is not None:
            out.route = action
            out.request_headers_to_add = request.add
            out.request_headers_to_remove = request.remove
            clusters = {t.cluster for t in rule.backends if t.weight and t.cluster} | {m.cluster for m in rule.mirrors}
        else:
            out.direct_response = DirectResponseAction(status=500)
        yield RouteEntry(precedence(route, rule, number, match), bytes(out), tuple(sorted(clusters)))
