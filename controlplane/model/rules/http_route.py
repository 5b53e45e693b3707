"""HTTPRoute's rules: the CRD's ``x-kubernetes-validations`` and list keys, and what Envoy would reject.

Of the CRD's two channels the wider one counts (parentRefs may differ by port alone, as in the experimental channel).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from controlplane.model.base import Row
from controlplane.model.http_route import (
    BackendObjectReference,
    Fraction,
    HTTPBackendRef,
    HTTPHeader,
    HTTPHeaderFilter,
    HTTPPathMatch,
    HTTPPathModifier,
    HTTPRequestMirrorFilter,
    HTTPRouteFilter,
    HTTPRouteMatch,
    HTTPRouteRule,
    HTTPRouteSpec,
    HTTPRouteTimeouts,
    ParentReference,
)
from controlplane.model.problems import quoted, words
from controlplane.model.references import FieldProblem
from controlplane.model.rules.rule import Rule, repetitions
from controlplane.model.scalars import NORMAL_PATH, parse_duration
from controlplane.model.shapes import shape_of

_MOST_MATCHES: Final = 128
_REPEATABLE: Final = frozenset({"RequestMirror", "ExtensionRef", "ExternalAuth"})

_FIELD_OF_FILTER: Final[Mapping[str, tuple[str, str]]] = {
    "CORS": ("cors", "cors"),
    "ExtensionRef": ("extension_ref", "extensionRef"),
    "ExternalAuth": ("external_auth", "externalAuth"),
    "RequestHeaderModifier": ("request_header_modifier", "requestHeaderModifier"),
    "RequestMirror": ("request_mirror", "requestMirror"),
    "RequestRedirect": ("request_redirect", "requestRedirect"),
    "ResponseHeaderModifier": ("response_header_modifier", "responseHeaderModifier"),
    "URLRewrite": ("url_rewrite", "urlRewrite"),
}
"""By a filter's type: its field, as we and as the API spell it."""

_NORMAL_PATH: Final = re.compile(NORMAL_PATH)
_UNSAFE_VALUE: Final = re.compile(r"[\0\r\n]")


def parents_are_distinct(spec: HTTPRouteSpec) -> Iterator[FieldProblem]:
    """Several references to one parent must each name a section, or each a port, and no two the same."""
    refs = spec.parent_refs
    if len(refs) < 2:
        return
    by_target: dict[tuple[str, ...], tuple[int, ParentReference]] = {}
    for position, ref in enumerate(refs):
        target = (ref.group, ref.kind, ref.namespace or "", ref.name)
        first, other = by_target.setdefault(target, (position, ref))
        for field, mine, others in (
            ("sectionName", ref.section_name, other.section_name),
            ("port", ref.port, other.port),
        ):
            if (mine is None) != (others is None):
                problem = f"only one of this and parentRefs[{first}], which refer to the same {ref.kind}, has {field}"
                yield FieldProblem(f"parentRefs[{position}].{field}", problem, f"give {field} to both or to neither")
    keys = ((ref.group, ref.kind, ref.namespace, ref.name, ref.section_name, ref.port) for ref in refs)
    for position, first in repetitions(keys):
        problem = f"the same reference as parentRefs[{first}]"
        yield FieldProblem(f"parentRefs[{position}]", problem, "remove it, or name another sectionName or port")


def matches_are_few(spec: HTTPRouteSpec) -> Iterator[FieldProblem]:
    """All rules together have at most 128 matches."""
    if len(spec.rules) > 1 and (total := sum(len(rule.matches) for rule in spec.rules)) > _MOST_MATCHES:
        yield FieldProblem("rules", f"{total} matches in all rules together", f"use at most {_MOST_MATCHES}")


def rule_names_are_unique(spec: HTTPRouteSpec) -> Iterator[FieldProblem]:
    """A name names one rule."""
    if len(spec.rules) < 2:
        return
    for position, first in repetitions(rule.name for rule in spec.rules):
        yield FieldProblem(f"rules[{position}].name", f"the name of rules[{first}] too", "use another name")


def redirect_has_no_backends(rule: HTTPRouteRule) -> Iterator[FieldProblem]:
    """A redirect answers by itself."""
    if rule.backend_refs:
        for position, filter_ in enumerate(rule.filters):
            if filter_.request_redirect is not None:
                problem = f"do not go with the RequestRedirect of filters[{position}], which answers the request itself"
                yield FieldProblem("backendRefs", problem, "remove the backendRefs or the filter")


def prefix_replacement_has_a_prefix(rule: HTTPRouteRule) -> Iterator[FieldProblem]:
    """``replacePrefixMatch`` needs to know the one prefix that it replaces."""
    if len(rule.matches) == 1 and rule.matches[0].path.type == "PathPrefix":
        return
    lists = [("filters", rule.filters)] if rule.filters else []
    lists += [
        (f"backendRefs[{place}].filters", ref.filters) for place, ref in enumerate(rule.backend_refs) if ref.filters
    ]
    for path, filters in lists:
        for position, filter_ in enumerate(filters):
            for field, changed in (("requestRedirect", filter_.request_redirect), ("urlRewrite", filter_.url_rewrite)):
                if changed and changed.path and changed.path.replace_prefix_match is not None:
                    matches = rule.matches
                    has = f"{len(matches)} matches" if len(matches) > 1 else f"one of type {matches[0].path.type}"
                    yield FieldProblem(
                        f"{path}[{position}].{field}.path.replacePrefixMatch",
                        f"needs a rule with exactly one match, of path type PathPrefix; this rule has {has}",
                        "split the rule, or use ReplaceFullPath",
                    )


def filters_go_together(owner: HTTPRouteRule | HTTPBackendRef) -> Iterator[FieldProblem]:
    """Most filters stand once; a redirect and a rewrite exclude each other."""
    if len(owner.filters) < 2:
        return
    types = [filter_.type for filter_ in owner.filters]
    for position, first in repetitions(None if type_ in _REPEATABLE else type_ for type_ in types):
        problem = f"a second {types[position]}, beside filters[{first}]"
        yield FieldProblem(f"filters[{position}].type", problem, "put both into one")
    if "RequestRedirect" in types and "URLRewrite" in types:
        redirect, rewrite = types.index("RequestRedirect"), types.index("URLRewrite")
        problem = f"URLRewrite does not go with the RequestRedirect of filters[{redirect}]"
        yield FieldProblem(f"filters[{rewrite}].type", problem, "keep one of the two")


def filter_has_its_field(filter_: HTTPRouteFilter) -> Iterator[FieldProblem]:
    """The field that the type names is there, and no other's."""
    for type_, (attribute, field) in _FIELD_OF_FILTER.items():
        present = getattr(filter_, attribute) is not None
        if type_ == filter_.type and not present:
            remedy = f"add it: {words(shape_of(HTTPRouteFilter).fields[field])}"
            yield FieldProblem(field, f"required with type {type_}, but missing", remedy)
        elif type_ != filter_.type and present:
            yield FieldProblem(field, f"does not go with type {filter_.type}", f"remove it, or set type to {type_}")


def service_has_a_port(ref: BackendObjectReference) -> Iterator[FieldProblem]:
    """A Service offers ports, so one must be named."""
    if ref.port is None and ref.kind == "Service" and not ref.group:
        yield FieldProblem("port", "required for a Service, but missing", "add it: the Service's port, from 1 to 65535")


def share_is_said_once(mirror: HTTPRequestMirrorFilter) -> Iterator[FieldProblem]:
    """``percent`` or ``fraction``."""
    if mirror.percent is not None and mirror.fraction is not None:
        yield FieldProblem("fraction", "does not go with percent", "keep one of the two")


def fraction_is_a_share(fraction: Fraction) -> Iterator[FieldProblem]:
    """At most all."""
    if fraction.numerator > fraction.denominator:
        problem = f"{fraction.numerator} is more than the denominator, {fraction.denominator}"
        yield FieldProblem("numerator", problem, "use a numerator of at most the denominator")


def modifier_has_its_field(modifier: HTTPPathModifier) -> Iterator[FieldProblem]:
    """The field that the type names is there, and the other is not."""
    for type_, field, value in (
        ("ReplaceFullPath", "replaceFullPath", modifier.replace_full_path),
        ("ReplacePrefixMatch", "replacePrefixMatch", modifier.replace_prefix_match),
    ):
        if type_ == modifier.type and value is None:
            yield FieldProblem(field, f"required with type {type_}, but missing", "add it: the path to put there")
        elif type_ != modifier.type and value is not None:
            yield FieldProblem(field, f"does not go with type {modifier.type}", f"remove it, or set type to {type_}")


def path_is_normal(match: HTTPPathMatch) -> Iterator[FieldProblem]:
    """A path to compare with is absolute, normalised and well encoded."""
    value = match.value
    if _NORMAL_PATH.search(value):
        return
    if match.type == "RegularExpression":
        if not value:
            yield FieldProblem("value", "empty", "give a regular expression")
        return
    normal = "write the path as Envoy sees it after normalisation"
    if not value.startswith("/"):
        yield FieldProblem(
            "value", f"{quoted(value)} is not absolute", f'start it with "/", as type {match.type} needs'
        )
    elif fault := next((part for part in ("//", "/./", "/../") if part in value), None):
        yield FieldProblem("value", f"{quoted(value)} has {fault} in it", normal)
    elif fault := next((part for part in ("/.", "/..") if value.endswith(part)), None):
        yield FieldProblem("value", f"{quoted(value)} ends with {fault}", normal)
    elif "%2f" in value.lower():
        yield FieldProblem("value", f"{quoted(value)} has an encoded slash in it", 'use "/", or type RegularExpression')
    else:
        problem = f"{quoted(value)} has characters that no path has"
        remedy = "use letters, digits and -/._~!$&'()*+,;=:@, others percent-encoded; no query and no fragment"
        yield FieldProblem("value", problem, remedy)


def conditions_are_distinct(match: HTTPRouteMatch) -> Iterator[FieldProblem]:
    """One condition for each header and each query parameter."""
    for field, conditions in (("headers", match.headers), ("queryParams", match.query_params)):
        if len(conditions) > 1:
            for position, first in repetitions(condition.name for condition in conditions):
                name = quoted(conditions[position].name)
                problem = f"{name} has a condition in {field}[{first}] already"
                yield FieldProblem(f"{field}[{position}].name", problem, "keep one of the two")


def headers_are_distinct(modifier: HTTPHeaderFilter) -> Iterator[FieldProblem]:
    """Each list names a header once."""
    for field, headers in (("set", modifier.set), ("add", modifier.add)):
        if len(headers) > 1:
            for position, first in repetitions(header.name for header in headers):
                problem = f"{quoted(headers[position].name)} stands in {field}[{first}] already"
                yield FieldProblem(f"{field}[{position}].name", problem, "keep one of the two")
    for position, first in repetitions(modifier.remove):
        problem = f"{quoted(modifier.remove[position])} stands in remove[{first}] already"
        yield FieldProblem(f"remove[{position}]", problem, "keep one of the two")


def header_value_is_one_line(header: HTTPHeader) -> Iterator[FieldProblem]:
    """Envoy rejects a header with a line's end or NUL in its value, and all that came with it. Not in the CRD."""
    if _UNSAFE_VALUE.search(header.value):
        yield FieldProblem("value", f"{quoted(header.value)} has a line's end or NUL in it", "write it in one line")


def timeouts_nest(timeouts: HTTPRouteTimeouts) -> Iterator[FieldProblem]:
    """An attempt ends before the request does, unless the request has no end."""
    if timeouts.request and timeouts.backend_request:
        whole = parse_duration(timeouts.request)
        if whole and parse_duration(timeouts.backend_request) > whole:
            problem = f"{quoted(timeouts.backend_request)} is longer than timeouts.request, {quoted(timeouts.request)}"
            yield FieldProblem("backendRequest", problem, "make it at most as long")


RULES: Final[dict[type[Row], tuple[Rule[Any], ...]]] = {
    BackendObjectReference: (service_has_a_port,),
    Fraction: (fraction_is_a_share,),
    HTTPBackendRef: (service_has_a_port, filters_go_together),
    HTTPHeader: (header_value_is_one_line,),
    HTTPHeaderFilter: (headers_are_distinct,),
    HTTPPathMatch: (path_is_normal,),
    HTTPPathModifier: (modifier_has_its_field,),
    HTTPRequestMirrorFilter: (share_is_said_once,),
    HTTPRouteFilter: (filter_has_its_field,),
    HTTPRouteMatch: (conditions_are_distinct,),
    HTTPRouteRule: (redirect_has_no_backends, prefix_replacement_has_a_prefix, filters_go_together),
    HTTPRouteSpec: (parents_are_distinct, matches_are_few, rule_names_are_unique),
    HTTPRouteTimeouts: (timeouts_nest,),
}
