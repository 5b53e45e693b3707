"""What Envoy would reject, found before it is sent: one bad rule must not take its hostname with it.

Each check returns what is wrong, in words for the status, or None.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Final

import re2

from controlplane.model.http_route import HTTPHeaderFilter, HTTPPathModifier, HTTPRouteMatch

_QUIET: Final = re2.Options()
_QUIET.log_errors = False
_REMOVABLE: Final = re.compile(r"[A-Za-z0-9!#$%&'*+\-.^_`|~]+")


_NOT_IN_A_LINE: Final = re.compile(r"[\0\r\n]")


@lru_cache(maxsize=10_000)
def check_regular_expression(pattern: str) -> str | None:
    """Whether RE2, which Envoy matches with, can compile a pattern. It knows no look-around and no back-references."""
    try:
        re2.compile(pattern, _QUIET)
    except re2.error as error:
        reason = error.args[0]
        text = reason.decode() if isinstance(reason, bytes) else str(reason)
        return f"{pattern!r} is no regular expression of RE2 ({text}); write it in RE2's syntax"
    return None


def check_path_modifier(modifier: HTTPPathModifier | None, path: str) -> Iterator[str]:
    """Characters that no request line can have. Source: Envoy's validation of header values, seen with Envoy 1.40."""
    if modifier is None:
        return
    for name, value in (
        ("replaceFullPath", modifier.replace_full_path),
        ("replacePrefixMatch", modifier.replace_prefix_match),
    ):
        if value is not None and _NOT_IN_A_LINE.search(value):
            yield f"{path}.{name}: {value!r} holds a line's end or NUL; remove it"


def check_match(match: HTTPRouteMatch, path: str) -> Iterator[str]:
    """The regular expressions of a match, and its method."""
    if match.method == "CONNECT":
        yield f"{path}.method: CONNECT has no path to match and is not supported; remove it"
    expressions = [(f"{path}.path.value", match.path.value)] if match.path.type == "RegularExpression" else []
    expressions += [
        (f"{path}.headers[{i}].value", header.value)
        for i, header in enumerate(match.headers)
        if header.type == "RegularExpression"
    ]
    expressions += [
        (f"{path}.queryParams[{i}].value", param.value)
        for i, param in enumerate(match.query_params)
        if param.type == "RegularExpression"
    ]
    for where, pattern in expressions:
        problem = check_regular_expression(pattern)
        if problem is not None:
            yield f"{where}: {problem}"


def _is_host(name: str) -> bool:
    return name.lower() == "host"


def check_headers(headers: HTTPHeaderFilter, path: str, *, of_response: bool) -> Iterator[str]:
    """Header operations that Envoy refuses: on what is no header's name, and on ``Host`` but for setting a request's.

    Source: Envoy, HeaderParser; seen with Envoy 1.40.
    """
    for i, name in enumerate(headers.remove):
        if not _REMOVABLE.fullmatch(name):
            yield f"{path}.remove[{i}]: {name!r} is no header name; write letters, digits and '-'"
        elif _is_host(name):
            yield f"{path}.remove[{i}]: Host cannot be removed; leave it out"
    if of_response and any(_is_host(header.name) for header in (*headers.set, *headers.add)):
        yield f"{path}: Host is no header of a response; leave it out"
    if not of_response and any(_is_host(header.name) for header in headers.add):
        yield f"{path}.add: Host can be set, not added; use set, or a URLRewrite with hostname"


def without_equivalents(names: Iterable[str]) -> set[int]:
    """Positions of the first of each header name, whatever the case. Source: Gateway API v1, HTTPHeader.Name."""
    first: dict[str, int] = {}
    for position, name in enumerate(names):
        first.setdefault(name.lower(), position)
    return set(first.values())
