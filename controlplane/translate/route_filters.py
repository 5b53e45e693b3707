"""What HTTPRoutes change of requests and answers: headers, paths, redirections.

Sources: Gateway API v1, HTTPRouteFilter; Envoy, route_components.proto.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from controlplane._proto.envoy.config.core.v3 import (
    HeaderValue,
    HeaderValueOption,
    HeaderValueOptionHeaderAppendAction,
)
from controlplane._proto.envoy.config.route.v3 import RedirectAction, RedirectActionRedirectResponseCode
from controlplane._proto.envoy.type.matcher.v3 import RegexMatchAndSubstitute, RegexMatcher
from controlplane.model.http_route import (
    HTTPHeaderFilter,
    HTTPPathMatch,
    HTTPPathModifier,
    HTTPRequestRedirectFilter,
)

_WELL_KNOWN_PORT: Final = {"http": 80, "https": 443}
_REDIRECT_CODE: Final = {
    301: RedirectActionRedirectResponseCode.MOVED_PERMANENTLY,
    302: RedirectActionRedirectResponseCode.FOUND,
    303: RedirectActionRedirectResponseCode.SEE_OTHER,
    307: RedirectActionRedirectResponseCode.TEMPORARY_REDIRECT,
    308: RedirectActionRedirectResponseCode.PERMANENT_REDIRECT,
}


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


def plain_prefix(path: str) -> str:
    """A path prefix without the slash at its end, which Gateway API ignores; the root stays ``/``."""
    return path.rstrip("/") or "/"


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
    matched = plain_prefix(path.value)
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
