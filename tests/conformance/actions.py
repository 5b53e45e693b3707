"""What an Envoy route does with a request: rewrites, redirects, header mutations, timeouts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import Final

from .matching import expression
from .messages import Forward, Json, Rejected, Request, known, one_line

MUTATIONS: Final = frozenset(
    {"requestHeadersToAdd", "requestHeadersToRemove", "responseHeadersToAdd", "responseHeadersToRemove"}
)
_DEFAULT_TIMEOUT_S: Final = 15.0
"""Envoy's, for a route that says nothing."""


def without_port(authority: str) -> str:
    return re.sub(r":\d+$", "", authority)


def rewritten(action: Json, match: Json, path: str) -> str:
    """The path after a prefix or regex rewrite; its query stays."""
    bare, question_mark, query = path.partition("?")
    if "regexRewrite" in action:
        rewrite = action["regexRewrite"]
        pattern = expression(rewrite["pattern"])
        substitution = one_line(rewrite.get("substitution", ""))
        bare = pattern.sub(lambda found: _substituted(substitution, found), bare)
    elif action.get("prefixRewrite"):
        matched = next((match[kind] for kind in ("path", "pathSeparatedPrefix", "prefix") if kind in match), bare)
        bare = one_line(action["prefixRewrite"]) + bare[len(matched) :]
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


def location(route: Json, request: Request) -> str:
    redirect = route["redirect"]
    known(
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
            host = without_port(host)
    path = request.path
    if redirect.get("pathRedirect"):
        query = path.partition("?")[2]
        path = one_line(redirect["pathRedirect"]) + (
            f"?{query}" if query and "?" not in redirect["pathRedirect"] else ""
        )
    else:
        path = rewritten(redirect, route["match"], path)
    return f"{scheme}://{host}{port}{path}"


def forwarded(route: Json, target: Json, request: Request, answered: Mapping[str, str]) -> Forward:
    """Envoy applies the weighted cluster's mutations first, then the route's."""
    action = route["route"]
    headers = {name.lower(): value for name, value in request.headers.items()}
    response = {name.lower(): value for name, value in answered.items()}
    for level in (target, route):
        headers = mutated(headers, level.get("requestHeadersToAdd", ()), level.get("requestHeadersToRemove", ()))
        response = mutated(response, level.get("responseHeadersToAdd", ()), level.get("responseHeadersToRemove", ()))
    host = target.get("hostRewriteLiteral") or action.get("hostRewriteLiteral") or request.host
    host = one_line(host)
    return Forward(rewritten(action, route["match"], request.path), host, headers, response)


def mutated(headers: Mapping[str, str], added: Iterable[Json], removed: Iterable[str]) -> dict[str, str]:
    mutated = dict(headers)
    for name in removed:
        if not one_line(name):
            raise Rejected("RequestHeadersToRemove: value length must be at least 1 characters")
        if name.startswith(":") or name.lower() == "host":
            raise Rejected(f":-prefixed or host headers may not be removed: {name}")
        mutated.pop(name.lower(), None)
    for option in added:
        known(option, {"header", "appendAction", "keepEmptyValue"}, "header value option")
        name, value = option["header"]["key"].lower(), _formatted(one_line(option["header"].get("value", "")))
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


def fraction(runtime: Json | None) -> Fraction:
    if runtime is None:
        return Fraction(1)
    share = runtime["defaultValue"]
    denominator = {"HUNDRED": 100, "TEN_THOUSAND": 10_000, "MILLION": 1_000_000}[share.get("denominator", "HUNDRED")]
    return Fraction(share.get("numerator", 0), denominator)


def timeout(action: Json) -> float:
    whole = seconds(action["timeout"]) if "timeout" in action else _DEFAULT_TIMEOUT_S
    attempt = seconds(action.get("retryPolicy", {}).get("perTryTimeout", "0s"))
    return min((limit for limit in (whole, attempt) if limit), default=0.0)


def seconds(duration: str) -> float:
    return float(duration.removesuffix("s"))
