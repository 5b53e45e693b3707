"""Our structs against the published CustomResourceDefinitions of Gateway API.

The folder in ``GATEWAY_API_CRDS`` holds ``gateway-api/`` (the standard channel) and, if the experimental channel's fields are to
be accounted for too, ``gateway-api-experimental/``. Nothing of them is copied here but the messages of their CEL rules.
"""

import os
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
import yaml

from controlplane.model import gateway as gateway_rows
from controlplane.model import http_route as http_route_rows
from controlplane.model.known_fields import PRESENCE_ONLY, PROJECTED, SUPPORTED_VALUES, UNSUPPORTED
from controlplane.model.objects import KINDS
from controlplane.model.rules import RULES, gateway, http_route
from controlplane.model.scalars import INT32_MAX
from controlplane.model.shapes import Choice, Entries, Flag, Items, Parts, Shape, Text, Whole, shape_of
from tests.model.published import cel_messages, compare_verdicts, paths_of, schema_in, unknown_fields

FOLDER = os.environ.get("GATEWAY_API_CRDS")
pytestmark = pytest.mark.skipif(not FOLDER, reason="GATEWAY_API_CRDS names no folder with the published CRDs")

GROUP = "gateway.networking.k8s.io"
VERSIONS = [(kind, version) for kind, info in KINDS.items() if info.group == GROUP for version in info.versions]
GATEWAY_KINDS = sorted({kind for kind, _ in VERSIONS})

STRICTER: dict[tuple[str, str], str] = {
    (
        "Gateway",
        "matchExpressions[].operator",
    ): "a string in the CRD; its description names four, others select nothing",
    ("HTTPRoute", "filters[].type"): "ExternalAuth is of the experimental channel, which servers may have",
}
"""Fields, by the end of their path, whose values differ from the standard CRD's on purpose."""


@cache
def crd(kind: str, channel: str = "gateway-api") -> Any:
    path = Path(FOLDER or "") / channel / f"{GROUP}_{KINDS[kind].plural}.yaml"
    return yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)


def schema_of(kind: str, version: str, channel: str = "gateway-api") -> Any:
    return schema_in(crd(kind, channel), version)


def is_left_out(kind: str, path: str) -> bool:
    """Whether our tables say that a field, or what it stands beneath, is none of our structs'."""
    known = PROJECTED | UNSUPPORTED.get(kind, {}).keys()
    known |= {f"{place}.*" for place in PRESENCE_ONLY.get(kind, ())}
    ways = [path] + [f"{path[: found.start()]}.*" for found in re.finditer(r"\.", path)]
    ways += [path[: found.start()] for found in re.finditer(r"\.|\[\]", path)]
    return not known.isdisjoint(ways)


def leads_to_what_is_left_out(kind: str, path: str) -> bool:
    return any(place.startswith(f"{path}.") for place in UNSUPPORTED.get(kind, {}))


def python_pattern(pattern: str) -> str:
    """RE2's ``$`` is the end of the text; Python's accepts a newline before it."""
    return pattern.replace("$", r"\Z").replace(r"%!\Z&", "%!$&").replace(r"!#\Z%", "!#$%")


def fields_of(struct: type[msgspec.Struct]) -> dict[str, msgspec.structs.FieldInfo]:
    return {field.encode_name: field for field in msgspec.structs.fields(struct)}


def compare(kind: str, path: str, schema: Any, shape: Shape, ours: Any, found: list[str]) -> None:
    """Appends to ``found`` every difference beneath one field; ``ours`` is the struct's field, for its default."""

    def differ(what: str, theirs: object, own: object) -> None:
        if theirs != own:
            found.append(f"{path}: {what}: {theirs!r} in the CRD, {own!r} here")

    if any(kind == of and path.endswith(end) for of, end in STRICTER):
        return
    match shape, schema["type"]:
        case Parts(), "object":
            compare_parts(kind, path, schema, shape, found)
        case Items(item=item), "array":
            differ("minItems", schema.get("minItems", 0), shape.min_length)
            differ("maxItems", schema.get("maxItems"), shape.max_length)
            compare(kind, f"{path}[]", schema["items"], item, None, found)
        case Entries(value=value), "object":
            differ("maxProperties", schema.get("maxProperties"), shape.max_length)
            compare(kind, f"{path}{{}}", schema["additionalProperties"], value, None, found)
        case Choice(values=values), "string" | "integer":
            differ("enum", sorted(schema.get("enum", ())), list(values))
        case Text(), "string":
            differ("minLength", schema.get("minLength", 0), shape.min_length)
            differ("maxLength", schema.get("maxLength"), shape.max_length)
            differ("pattern", schema.get("pattern") and python_pattern(schema["pattern"]), shape.pattern)
            differ("enum", schema.get("enum"), None)
        case Whole(), "integer":
            differ("minimum", schema.get("minimum"), shape.minimum)
            differ(
                "maximum", schema.get("maximum", INT32_MAX if schema.get("format") == "int32" else None), shape.maximum
            )
        case Flag(), "boolean":
            pass
        case _:
            found.append(f"{path}: {schema['type']} in the CRD, {shape} here")
    if ours is not None:
        differ("default", default_of(schema, ours), None if ours.default is msgspec.NODEFAULT else ours.default)


def default_of(schema: Any, ours: msgspec.structs.FieldInfo) -> object:
    """The CRD's default as our type; without one, what stands for *absent* here."""
    if "default" in schema:
        return msgspec.convert(schema["default"], ours.type)
    if ours.required or ours.default is msgspec.NODEFAULT or ours.default is None:
        return None
    if ours.default == ():
        return ()
    # An absent object with defaults inside is the object with nothing but them.
    return msgspec.convert({}, ours.type) if schema["type"] == "object" else f"no default, but {ours.default!r}"


def compare_parts(kind: str, path: str, schema: Any, shape: Parts, found: list[str]) -> None:
    structs: dict[str, Any] = vars(gateway_rows) | vars(http_route_rows) | {"LabelSelector": None}
    struct = next((info.struct for info in KINDS.values() if info.kind == shape.name), structs.get(shape.name))
    fields = fields_of(struct) if struct is not None else {}
    properties = schema.get("properties", {})
    for name, theirs in properties.items():
        here = f"{path}.{name}" if path else name
        if here in {"metadata", "kind"} or (here == "apiVersion" and name in shape.fields):
            continue
        if name in shape.fields and (not is_left_out(kind, here) or here in UNSUPPORTED.get(kind, {})):
            compare(kind, here, theirs, shape.fields[name], fields.get(name), found)
        elif not is_left_out(kind, here) and not leads_to_what_is_left_out(kind, here):
            found.append(f"{here}: neither in {shape.name} nor in the tables of what it leaves out")
    if path:
        found += [f"{path}.{name}: not in the CRD" for name in shape.fields.keys() - properties.keys() - EXPERIMENTAL]
        if set(schema.get("required", ())) != set(shape.required):
            found.append(f"{path}: required: {schema.get('required', [])} in the CRD, {shape.required} here")


EXPERIMENTAL = {"externalAuth"}
"""Fields of ours that only the experimental channel has."""


@pytest.mark.parametrize(("kind", "version"), VERSIONS)
def test_every_field_is_the_published_one(kind: str, version: str) -> None:
    """Name, type, enum, pattern, range, lengths, default, and whether it is required."""
    found: list[str] = []
    compare(kind, "", schema_of(kind, version), shape_of(KINDS[kind].struct), None, found)
    assert found == []


def test_the_comparison_finds_differences() -> None:
    """The test above can fail."""
    schema = {
        "type": "object",
        "required": ["type"],
        "properties": {
            "type": {"type": "string", "enum": ["Exact", "Regex"], "default": "Exact"},
            "value": {"type": "string", "maxLength": 5, "default": "/"},
            "caseSensitive": {"type": "boolean"},
        },
    }
    found: list[str] = []
    compare("HTTPRoute", "spec.path", schema, shape_of(http_route_rows.HTTPPathMatch), None, found)
    assert [line.split(" in the CRD")[0] for line in found] == [
        "spec.path.type: enum: ['Exact', 'Regex']",
        "spec.path.type: default: 'Exact'",
        "spec.path.value: maxLength: 5",
        "spec.path.caseSensitive: neither in HTTPPathMatch nor in the tables of what it leaves out",
        "spec.path: required: ['type']",
    ]


def shape_at(kind: str, path: str) -> Shape | None:
    shape: Shape = shape_of(KINDS[kind].struct)
    for part in path.replace("[]", ".[]").split("."):
        match shape:
            case Parts(fields=fields) if part in fields:
                shape = fields[part]
            case Items(item=item) if part == "[]":
                shape = item
            case _:
                return None
    return shape


@pytest.mark.parametrize("kind", GATEWAY_KINDS)
def test_every_field_of_the_experimental_channel_is_known(kind: str) -> None:
    if not (Path(FOLDER or "") / "gateway-api-experimental").is_dir():
        pytest.skip("no experimental channel in GATEWAY_API_CRDS")
    paths = set(paths_of(schema_of(kind, KINDS[kind].versions[0], "gateway-api-experimental")))
    unknown = [
        path
        for path in sorted(paths)
        if not path.startswith("metadata")
        and not is_left_out(kind, path)
        and not leads_to_what_is_left_out(kind, path)
        and shape_at(kind, path) is None
    ]
    assert unknown == []


@pytest.mark.parametrize("kind", GATEWAY_KINDS)
def test_the_tables_name_nothing_that_the_api_has_not(kind: str) -> None:
    paths: set[str] = set()
    for channel in ("gateway-api", "gateway-api-experimental"):
        if (Path(FOLDER or "") / channel).is_dir():
            paths |= set(paths_of(schema_of(kind, KINDS[kind].versions[0], channel)))
    named = {*UNSUPPORTED.get(kind, ()), *PRESENCE_ONLY.get(kind, ()), *SUPPORTED_VALUES.get(kind, ())}
    if (Path(FOLDER or "") / "gateway-api-experimental").is_dir():
        assert named <= paths


# The CEL rules, by their message, and where each is kept here.
_TYPES = "the enum of the field's type"
CEL: dict[str, object] = {
    # GatewayClass
    "Value is immutable": "the server's: we never see the old and the new value together",
    # Gateway
    "IPAddress values must be unique": gateway.addresses_are_distinct,
    "Hostname values must be unique": gateway.addresses_are_distinct,
    "Hostname value must be empty or contain only valid characters": gateway.address_is_of_its_type,
    "Annotation keys must be in the form of": gateway.infrastructure_keys_are_qualified,
    "If specified, the annotation key's prefix must be": gateway.infrastructure_keys_are_qualified,
    "Label keys must be in the form of": gateway.infrastructure_keys_are_qualified,
    "If specified, the label key's prefix must be": gateway.infrastructure_keys_are_qualified,
    "tls must not be specified for protocols": gateway.tls_goes_with_the_protocol,
    "tls mode must be Terminate for protocol HTTPS": gateway.tls_goes_with_the_protocol,
    "tls mode must be set for protocol TLS": gateway.tls_goes_with_the_protocol,
    "hostname must not be specified for protocols": gateway.hostname_goes_with_the_protocol,
    "Listener name must be unique within the Gateway": gateway.listener_names_are_unique,
    "Combination of port, protocol and hostname must be unique": gateway.listeners_are_distinct,
    "certificateRefs or options must be specified when mode is Terminate": gateway.termination_has_certificates,
    "Port for TLS configuration must be unique": "beneath spec.tls.frontend, which is not supported",
    # HTTPRoute
    "sectionName must be specified when parentRefs": http_route.parents_are_distinct,
    "sectionName must be unique when parentRefs": http_route.parents_are_distinct,
    "sectionName or port must be specified when parentRefs": http_route.parents_are_distinct,
    "sectionName or port must be unique when parentRefs": http_route.parents_are_distinct,
    "Rule name must be unique within the route": http_route.rule_names_are_unique,
    "While 16 rules and 64 matches per rule are allowed": http_route.matches_are_few,
    "RequestRedirect filter must not be used together with backendRefs": http_route.redirect_has_no_backends,
    "When using RequestRedirect filter with path.replacePrefixMatch": http_route.prefix_replacement_has_a_prefix,
    "When using URLRewrite filter with path.replacePrefixMatch": http_route.prefix_replacement_has_a_prefix,
    "Within backendRefs, when using RequestRedirect": http_route.prefix_replacement_has_a_prefix,
    "Within backendRefs, When using URLRewrite": http_route.prefix_replacement_has_a_prefix,
    "Must have port for Service reference": http_route.service_has_a_port,
    "May specify either httpRouteFilterRequestRedirect or": http_route.filters_go_together,
    "numerator must be less than or equal to denominator": http_route.fraction_is_a_share,
    "Only one of percent or fraction may be specified": http_route.share_is_said_once,
    "backendRequest timeout cannot be longer than request timeout": http_route.timeouts_nest,
    "type must be one of ['Exact', 'PathPrefix', 'RegularExpression']": _TYPES,
    "AbsoluteTimeout must be specified when": "beneath sessionPersistence, which is not supported",
    "cookieConfig can only be set with type Cookie": "beneath sessionPersistence, which is not supported",
    "grpc must be specified when protocol is set to": "beneath externalAuth, which is not supported",
    "protocol must be 'GRPC' when grpc is set": "beneath externalAuth, which is not supported",
    "http must be specified when protocol is set to": "beneath externalAuth, which is not supported",
    "protocol must be 'HTTP' when http is set": "beneath externalAuth, which is not supported",
}
for _type in ("CORS", "RequestHeaderModifier", "ResponseHeaderModifier", "RequestRedirect", "URLRewrite"):
    CEL[f"{_type} filter cannot be repeated"] = http_route.filters_go_together
for _field in (
    "cors", "requestHeaderModifier", "responseHeaderModifier", "requestMirror", "requestRedirect", "urlRewrite",
    "extensionRef", "externalAuth",
):  # fmt: skip
    CEL[f"filter.{_field} must be nil if"] = http_route.filter_has_its_field
    CEL[f"filter.{_field} must be specified for"] = http_route.filter_has_its_field
for _field, _type in (("replaceFullPath", "ReplaceFullPath"), ("replacePrefixMatch", "ReplacePrefixMatch")):
    CEL[f"{_field} must be specified when type is set to '{_type}'"] = http_route.modifier_has_its_field
    CEL[f"type must be '{_type}' when {_field} is set"] = http_route.modifier_has_its_field
for _message in (
    "value must be an absolute path and start with '/'", "must not contain '//'", "must not contain '/./'",
    "must not contain '/../'", "must not contain '%2f'", "must not contain '%2F'", "must not contain '#'",
    "must not end with '/..'", "must not end with '/.'", "must only contain valid characters",
):  # fmt: skip
    CEL[_message] = http_route.path_is_normal
for _field in ("AllowHeaders", "AllowMethods", "AllowOrigins"):
    CEL[f"{_field} cannot contain '*' alongside"] = "beneath cors, which is not supported"


def test_every_cel_rule_is_kept_or_accounted_for() -> None:
    channels = [name for name in ("gateway-api", "gateway-api-experimental") if (Path(FOLDER or "") / name).is_dir()]
    published = {
        message
        for kind, version in VERSIONS
        for channel in channels
        for message in cel_messages(schema_of(kind, version, channel))
    }
    assert published
    assert {message for message in published if not any(message.startswith(start) for start in CEL)} == set()
    if len(channels) == 2:
        assert {start for start in CEL if not any(message.startswith(start) for message in published)} == set()


def test_every_rule_that_keeps_cel_is_in_force() -> None:
    in_force = {rule for rules in RULES.table.values() for rule in rules}
    assert {kept for kept in CEL.values() if callable(kept)} <= in_force


LISTS: dict[str, object] = {
    "spec.listeners": gateway.listener_names_are_unique,
    "headers": http_route.conditions_are_distinct,
    "queryParams": http_route.conditions_are_distinct,
    "set": http_route.headers_are_distinct,
    "add": http_route.headers_are_distinct,
    "remove": http_route.headers_are_distinct,
}
"""Lists whose items are distinct, by a key or as a whole: the end of the path, and the rule that keeps it."""


def keyed_lists(schema: Any, path: str = "") -> Iterator[str]:
    if schema.get("x-kubernetes-list-type") in {"map", "set"}:
        yield path
    for name, beneath in schema.get("properties", {}).items():
        yield from keyed_lists(beneath, f"{path}.{name}" if path else name)
    if "items" in schema:
        yield from keyed_lists(schema["items"], f"{path}[]")


@pytest.mark.parametrize(("kind", "version"), VERSIONS)
def test_every_list_of_distinct_items_has_its_rule(kind: str, version: str) -> None:
    published = {path for path in keyed_lists(schema_of(kind, version)) if not is_left_out(kind, path)}
    assert {path for path in published if path not in LISTS and path.rpartition(".")[2] not in LISTS} == set()


def judge_of(kind: str, version: str) -> jsonschema.Draft4Validator:
    """The published schema as a JSON Schema, without what our structs leave out, and with STRICTER's differences."""
    checker = jsonschema.FormatChecker(formats=["ipv4", "ipv6"])

    def translate(schema: Any, path: str) -> Any:
        result = {key: value for key, value in schema.items() if key not in {"default", "description", "format"}}
        if "pattern" in schema:
            result["pattern"] = python_pattern(schema["pattern"])
        if schema.get("format") == "int32":
            result.setdefault("maximum", INT32_MAX)
        for of, end in STRICTER:
            if kind == of and path.endswith(end):
                shape = shape_at(kind, path)
                assert isinstance(shape, Choice)
                result["enum"] = list(shape.values)
        if "properties" in schema:
            result["properties"] = {}
            for name, beneath in schema["properties"].items():
                here = f"{path}.{name}" if path else name
                if here == "metadata" or (is_left_out(kind, here) and shape_at(kind, here) is None):
                    continue
                result["properties"][name] = translate(beneath, here)
            for here in PRESENCE_ONLY.get(kind, ()):
                if here.rpartition(".")[0] == path.removesuffix("[]") + "[]":
                    result["properties"][here.rpartition(".")[2]] = {"type": "object"}
        if "items" in schema:
            result["items"] = translate(schema["items"], f"{path}[]")
        if "additionalProperties" in schema:
            result["additionalProperties"] = translate(schema["additionalProperties"], f"{path}{{}}")
        if "oneOf" in schema:
            del result["oneOf"]  # the address formats, which are a rule here
        return result

    return jsonschema.Draft4Validator(translate(schema_of(kind, version), ""), format_checker=checker)


@pytest.mark.parametrize("kind", GATEWAY_KINDS)
def test_we_accept_what_the_published_schema_accepts(kind: str, documents: Callable[[int], Any]) -> None:
    """Random documents, whole and damaged, judged by us and by ``jsonschema`` over the CRD."""
    verdicts = compare_verdicts(kind, judge_of(kind, KINDS[kind].versions[0]), documents)
    assert min(verdicts.values()) > 40, verdicts


@pytest.mark.parametrize("kind", GATEWAY_KINDS)
def test_no_published_field_is_unknown(kind: str) -> None:
    """A document of published fields alone gives no warning."""
    assert unknown_fields(kind, schema_of(kind, KINDS[kind].versions[0])) == ()
