"""Rules of HTTPRoutes into Envoy's routes, each encoded once.

Sources: Gateway API v1, HTTPRouteRule and HTTPRouteFilter; Envoy, route_components.proto.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Final, TypeAlias

import msgspec

from controlplane._proto.envoy.config.core.v3 import (
    DataSource,
    HeaderValue,
    HeaderValueOption,
    HeaderValueOptionHeaderAppendAction,
    RuntimeFractionalPercent,
)
from controlplane._proto.envoy.config.route.v3 import (
    DirectResponseAction,
    HeaderMatcher,
    QueryParameterMatcher,
    RedirectAction,
    RedirectActionRedirectResponseCode,
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
    HTTPHeaderFilter,
    HTTPHeaderMatch,
    HTTPPathMatch,
    HTTPPathModifier,
    HTTPQueryParamMatch,
    HTTPRequestRedirectFilter,
    HTTPRouteMatch,
)
from controlplane.model.ir import BackendTarget, MirrorTarget, ResolvedRoute, RouteRule

UNRESOLVED_CLUSTER: Final = "unresolved"
"""Never served: a share that leads here is answered with 500."""

_PATH_RANK: Final = {"Exact": 0, "RegularExpression": 1, "PathPrefix": 2}
_WELL_KNOWN_PORT: Final = {"http": 80, "https": 443}
_REDIRECT_CODE: Final = {
    301: RedirectActionRedirectResponseCode.MOVED_PERMANENTLY,
    302: RedirectActionRedirectResponseCode.FOUND,
    303: RedirectActionRedirectResponseCode.SEE_OTHER,
    307: RedirectActionRedirectResponseCode.TEMPORARY_REDIRECT,
    308: RedirectActionRedirectResponseCode.PERMANENT_REDIRECT,
}
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


def _prefix(path: str) -> str:
    """A path prefix without the slash at its end, which Gateway API ignores; the root stays ``/``."""
    return path.rstrip("/") or "/"


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
            prefix = _prefix(match.path.value)
            if prefix == "/":
                out.prefix = "/"
            else:
                out.path_separated_prefix = prefix
    return out


class HeaderChanges(msgspec.Struct):
    """A header filter as Envoy takes it."""

    add: list[HeaderValueOption]
    remove: list[str]


def translate_headers(headers: HTTPHeaderFilter | None) -> HeaderChanges:
    """Envoy's header operations. A percent sign would start one of its substitutions, so it is doubled."""
    if headers is None:
        return HeaderChanges([], [])
    overwrite = HeaderValueOptionHeaderAppendAction.OVERWRITE_IF_EXISTS_OR_ADD
    append = HeaderValueOptionHeaderAppendAction.APPEND_IF_EXISTS_OR_ADD
    changes = [(h, overwrite) for h in headers.set] + [(h, append) for h in headers.add]
    return HeaderChanges(
        add=[
            HeaderValueOption(
                header=HeaderValue(key=header.name, value=header.value.replace("%", "%%")),
                append_action=action,
                keep_empty_value=True,
            )
            for header, action in changes
        ],
        remove=list(headers.remove),
    )


def _regex_literal(text: str) -> str:
    """Text as RE2 takes it literally."""
    return re.sub(r"([\\.+*?()|\[\]{}^$])", r"\\\1", text)


def _rooted(path: str) -> str:
    """A path with the slash that a request line needs, which the API does not ask for."""
    return path if path.startswith("/") else f"/{path}"


class PathRewrite(msgspec.Struct):
    """How a path changes: at most one of the three."""

    full: str | None = None
    prefix: str | None = None
    regex: RegexMatchAndSubstitute | None = None


def translate_path(modifier: HTTPPathModifier | None, path: HTTPPathMatch) -> PathRewrite:
    """Envoy's rewriting of a path.

    Envoy replaces the matched characters, Gateway API the matched path elements; the table of HTTPPathModifier says what that
    means for slashes.
    """
    if modifier is None:
        return PathRewrite()
    if modifier.type == "ReplaceFullPath":
        return PathRewrite(full=_rooted(modifier.replace_full_path or ""))
    matched = _prefix(path.value)
    replacement = _rooted(modifier.replace_prefix_match or "").rstrip("/")
    if matched == "/":
        return PathRewrite(prefix=f"{replacement}/")
    if replacement:
        return PathRewrite(prefix=replacement)
    return PathRewrite(
        regex=RegexMatchAndSubstitute(pattern=RegexMatcher(regex=f"^{_regex_literal(matched)}/*"), substitution="/")
    )


def redirect_port(redirect: HTTPRequestRedirectFilter, scheme: str, port: int) -> int | None:
    """The port to name in a redirection; None to name none.

    Source: Gateway API v1, HTTPRequestRedirectFilter.Port: without one, the port goes with the new scheme, else it is the
    listener's; a scheme's own port should not be named. Envoy then keeps the port of the Host header, which is right only
    where the listener's own port is its scheme's as well, or the hostname is replaced.

    Args:
        redirect: The filter.
        scheme: The listener's, ``http`` or ``https``.
        port: The listener's.
    """
    target = redirect.port or (_WELL_KNOWN_PORT[redirect.scheme] if redirect.scheme else port)
    is_well_known = target == _WELL_KNOWN_PORT[redirect.scheme or scheme]
    if is_well_known and (redirect.hostname or port == _WELL_KNOWN_PORT[scheme]):
        return None
    return target


def translate_redirect(
    redirect: HTTPRequestRedirectFilter, path: HTTPPathMatch, scheme: str, port: int
) -> RedirectAction:
    """Envoy's redirection."""
    rewrite = translate_path(redirect.path, path)
    return RedirectAction(
        scheme_redirect=redirect.scheme,
        host_redirect=redirect.hostname or "",
        port_redirect=redirect_port(redirect, scheme, port) or 0,
        path_redirect=rewrite.full,
        prefix_rewrite=rewrite.prefix,
        regex_rewrite=rewrite.regex,
        response_code=_REDIRECT_CODE[redirect.status_code],
    )


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
