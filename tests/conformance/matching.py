"""Whether a request satisfies the match of an Envoy route."""

from __future__ import annotations

import re
from typing import Final

from .messages import Json, Rejected, Request, known

_NOT_RE2: Final = re.compile(r"\(\?(?![:imsUP-])|\(\?P[=>]|\\[1-9Zkg]|[*+?}]\+")
"""What Python's regular expressions have and RE2 has not: look-around, references, possessive and atomic groups."""


def route_matches(match: Json, request: Request) -> bool:
    known(match, {"path", "prefix", "pathSeparatedPrefix", "safeRegex", "headers", "queryParameters"}, "route match")
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
        return expression(match["safeRegex"]).fullmatch(path) is not None
    return path.startswith(match["prefix"])


def _header_matches(header: Json, request: Request) -> bool:
    known(header, {"name", "stringMatch"}, "header match")
    headers = {name.lower(): value for name, value in request.headers.items()} | {":method": request.method}
    value = headers.get(header["name"].lower())
    return _string_matches(header["stringMatch"], value or "") and value is not None


def _query_matches(parameter: Json, query: str) -> bool:
    known(parameter, {"name", "stringMatch"}, "query parameter match")
    pairs = (pair.partition("=") for pair in query.split("&"))
    value = next((value for name, _, value in pairs if name == parameter["name"]), None)
    return _string_matches(parameter["stringMatch"], value or "") and value is not None


def _string_matches(match: Json, value: str) -> bool:
    if "safeRegex" in match:
        known(match, {"safeRegex"}, "string match")
        return expression(match["safeRegex"]).fullmatch(value) is not None
    known(match, {"exact"}, "string match")
    return bool(match["exact"] == value)


def expression(matcher: Json) -> re.Pattern[str]:
    known(matcher, {"regex"}, "regular expression")
    try:
        if not _NOT_RE2.search(matcher["regex"]):
            return re.compile(matcher["regex"])
    except re.error:
        pass
    raise Rejected(f"regular expression {matcher['regex']!r}")
