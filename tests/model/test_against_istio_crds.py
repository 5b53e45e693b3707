"""Our structs against the published CustomResourceDefinitions of Istio.

The folder in ``ISTIO_CRDS`` holds ``crd-all.gen.yaml``. Nothing of it is copied here but the messages of its CEL rules.
"""

import os
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from controlplane.model.known_fields import PROJECTED, SUPPORTED_VALUES, UNSUPPORTED
from controlplane.model.objects import KINDS
from controlplane.model.rules import RULES, WARNINGS, authorization_policy, destination_rule, istio, service_entry
from controlplane.model.scalars import INT32_MAX, ISTIO_DURATION
from controlplane.model.shapes import Choice, Entries, Flag, Items, Parts, Shape, Text, Whole, shape_of
from tests.model.published import cel_messages, compare_verdicts, paths_of, schema_in, unknown_fields

FOLDER = os.environ.get("ISTIO_CRDS")
pytestmark = pytest.mark.skipif(not FOLDER, reason="ISTIO_CRDS names no folder with the published CRDs")

ISTIO_KINDS = sorted(kind for kind, info in KINDS.items() if info.group.endswith("istio.io"))
VERSIONS = [(kind, version) for kind in ISTIO_KINDS for version in KINDS[kind].versions]

CLOSER = {
    ("ServiceEntry", "number"): "1 to 65535, which the CRD says in CEL",
    ("ServiceEntry", "targetPort"): "0 to 65535, of which the CRD excludes 0 in CEL",
    ("DestinationRule", "port.number"): "0 to 65535, as Istio's validation has it",
    ("DestinationRule", "maxEjectionPercent"): "percent, as Istio's validation has it",
    ("DestinationRule", "minHealthPercent"): "percent, as Istio's validation has it",
    ("DestinationRule", "spec.host"): "not empty, as Istio's validation has it",
    ("DestinationRule", "ttl"): "a duration, which Istio's decoder wants of it",
    ("AuthorizationPolicy", "group"): "of Gateway API's form, with the same pattern",
}
"""Fields, by the end of their path, whose values differ from the CRD's on purpose."""
OURS_TO_REQUIRE = {"spec"}
"""Objects that the CRD can do without and Istio's validation cannot."""


@cache
def crds() -> dict[str, Any]:
    text = (Path(FOLDER or "") / "crd-all.gen.yaml").read_text(encoding="utf-8")
    found = [document for document in yaml.load_all(text, Loader=yaml.CSafeLoader) if document]
    return {f"{crd['spec']['group']}/{crd['spec']['names']['kind']}": crd for crd in found}


def schema_of(kind: str, version: str) -> Any:
    return schema_in(crds()[f"{KINDS[kind].group}/{kind}"], version)


def is_left_out(kind: str, path: str) -> bool:
    """Whether our tables say that a field, or what it stands beneath, is none of our structs'."""
    known = (PROJECTED - {"status"}) | UNSUPPORTED.get(kind, {}).keys()
    ways = [path, *(path[: found.start()] for found in re.finditer(r"\.|\[\]", path))]
    return not known.isdisjoint(ways) or path.partition(".")[0].partition("[")[0] == "status"


def compare(kind: str, path: str, schema: Any, shape: Shape, found: list[str]) -> None:
    """Appends to ``found`` every difference beneath one field."""

    def differ(what: str, theirs: object, own: object) -> None:
        if theirs != own:
            found.append(f"{path}: {what}: {theirs!r} in the CRD, {own!r} here")

    if any(kind == of and path.endswith(end) for of, end in CLOSER):
        return
    match shape, schema["type"]:
        case Parts(), "object":
            compare_parts(kind, path, schema, shape, found)
        case Items(item=item), "array":
            differ("minItems", schema.get("minItems", 0), shape.min_length)
            differ("maxItems", schema.get("maxItems"), shape.max_length)
            compare(kind, f"{path}[]", schema["items"], item, found)
        case Entries(value=value), "object":
            differ("maxProperties", schema.get("maxProperties"), shape.max_length)
            compare(kind, f"{path}{{}}", schema["additionalProperties"], value, found)
        case Choice(values=values), "string":
            differ("enum", sorted(schema.get("enum", ())), list(values))
        case Text(pattern=pattern), "string" if pattern == ISTIO_DURATION:
            messages = {rule["message"] for rule in schema.get("x-kubernetes-validations", ())}
            assert messages <= {"must be a valid duration greater than 1ms"}, path
        case Text(), "string":
            differ("minLength", schema.get("minLength", 0), shape.min_length)
            differ("maxLength", schema.get("maxLength"), shape.max_length)
            differ("enum", schema.get("enum"), None)
            pattern = schema.get("pattern")
            differ("pattern", pattern and pattern.replace("$", r"\Z"), shape.pattern)
        case Whole(), "integer":
            int32 = schema.get("format") == "int32"
            differ("minimum", schema.get("minimum", -INT32_MAX - 1 if int32 else None), shape.minimum)
            differ("maximum", schema.get("maximum", INT32_MAX if int32 else None), shape.maximum)
        case Flag(), "boolean":
            pass
        case _:
            found.append(f"{path}: {schema['type']} in the CRD, {shape} here")


def compare_parts(kind: str, path: str, schema: Any, shape: Parts, found: list[str]) -> None:
    properties = schema.get("properties", {})
    for name, theirs in properties.items():
        here = f"{path}.{name}" if path else name
        if name in shape.fields and here not in {"metadata", "status"}:
            compare(kind, here, theirs, shape.fields[name], found)
        elif not is_left_out(kind, here):
            found.append(f"{here}: neither in {shape.name} nor in the tables of what it leaves out")
    if path:
        found += [f"{path}.{name}: not in the CRD" for name in shape.fields.keys() - properties.keys()]
        required = set(shape.required) | ({"name"} if shape.name == "ServicePort" else set())
        if set(schema.get("required", ())) != required:
            found.append(f"{path}: required: {schema.get('required', [])} in the CRD, {shape.required} here")


@pytest.mark.parametrize(("kind", "version"), VERSIONS)
def test_every_field_is_the_published_one(kind: str, version: str) -> None:
    """Name, type, enum, pattern, range, lengths, and whether it is required."""
    found: list[str] = []
    compare(kind, "", schema_of(kind, version), shape_of(KINDS[kind].struct), found)
    assert found == []


def test_the_comparison_finds_differences() -> None:
    """The test above can fail."""
    schema = {
        "type": "object",
        "required": ["labels"],
        "properties": {"labels": {"type": "object", "additionalProperties": {"type": "string"}}, "other": {}},
    }
    found: list[str] = []
    selector = shape_of(KINDS["ServiceEntry"].struct).fields["spec"]
    assert isinstance(selector, Parts)
    compare("ServiceEntry", "spec.workloadSelector", schema, selector.fields["workloadSelector"], found)
    assert [line.split(" in the CRD")[0] for line in found] == [
        "spec.workloadSelector.labels: maxProperties: None",
        "spec.workloadSelector.labels{}: maxLength: None",
        "spec.workloadSelector.other: neither in WorkloadSelector nor in the tables of what it leaves out",
        "spec.workloadSelector: required: ['labels']",
    ]


@pytest.mark.parametrize("kind", ISTIO_KINDS)
def test_the_accepted_versions_are_the_published_ones(kind: str) -> None:
    served = crds()[f"{KINDS[kind].group}/{kind}"]["spec"]["versions"]
    assert sorted(entry["name"] for entry in served if entry["served"]) == sorted(KINDS[kind].versions)
    assert crds()[f"{KINDS[kind].group}/{kind}"]["spec"]["names"]["plural"] == KINDS[kind].plural


@pytest.mark.parametrize("kind", ISTIO_KINDS)
def test_the_tables_name_nothing_that_the_api_has_not(kind: str) -> None:
    named = {*UNSUPPORTED.get(kind, ()), *SUPPORTED_VALUES.get(kind, ())}
    assert named <= set(paths_of(schema_of(kind, KINDS[kind].versions[0])))


@pytest.mark.parametrize("kind", ISTIO_KINDS)
def test_no_published_field_is_unknown(kind: str) -> None:
    """A document of published fields alone gives no warning."""
    assert unknown_fields(kind, schema_of(kind, KINDS[kind].versions[0])) == ()


_SOCKETS = "sockets are not supported, and said to be"
CEL: dict[str, object] = {
    "Address is required": service_entry.workload_has_an_address,
    "CIDR addresses are allowed only for NONE/STATIC": service_entry.addresses_are_some,
    "Cannot set serviceAccounts with namespaces or": authorization_policy.service_accounts_stand_alone,
    "DNS_ROUND_ROBIN mode cannot have multiple endpoints": service_entry.endpoints_come_from_one_place,
    "NONE mode cannot set endpoints": service_entry.endpoints_come_from_one_place,
    "UDS may not be a dir": _SOCKETS,
    "UDS may not include ports": _SOCKETS,
    "UDS must be an absolute path": _SOCKETS,
    "cross namespace referencing is not": authorization_policy.target_is_one,
    "hostname cannot be wildcard": service_entry.hosts_are_names,
    "key must not be empty": destination_rule.selector_has_labels,
    "must be a valid duration greater than 1ms": istio.durations,
    "only one of WorkloadSelector or Endpoints can be set": service_entry.endpoints_come_from_one_place,
    "only one of targetRefs or selector can be set": "selector and targetRef are not supported",
    "port must be between 1-65535": service_entry.workload_ports_are_named,
    "port name must be valid": service_entry.workload_ports_are_named,
    "port number cannot be duplicated": service_entry.ports_are_distinct,
    "wildcard is not supported in selector": service_entry.selector_has_labels,
    "wildcard not allowed in label key match": destination_rule.selector_has_labels,
    "wildcard not allowed in label value match": destination_rule.selector_has_labels,
}
"""The CEL rules, by their message, and where each is kept here."""


def test_every_cel_rule_is_kept_or_accounted_for() -> None:
    published = {message for kind, version in VERSIONS for message in cel_messages(schema_of(kind, version))}
    assert {message for message in published if not any(message.startswith(start) for start in CEL)} == set()
    assert {start for start in CEL if not any(message.startswith(start) for message in published)} == set()


def test_every_rule_that_keeps_cel_is_in_force() -> None:
    tables = (
        RULES.table,
        WARNINGS.table,
    )  # a workload without an address is warned of: the others of its object are served
    in_force = {rule for table in tables for rules in table.values() for rule in rules}
    assert {kept for kept in CEL.values() if callable(kept)} <= in_force | {istio.durations}


def timed_structs() -> Iterator[str]:
    for kind in ISTIO_KINDS:
        pending: list[Shape] = [shape_of(KINDS[kind].struct)]
        while pending:
            shape = pending.pop()
            match shape:
                case Parts(name=name, fields=fields):
                    pending += fields.values()
                    if any(isinstance(part, Text) and part.pattern == ISTIO_DURATION for part in fields.values()):
                        yield name
                case Items(item=item):
                    pending.append(item)


def test_every_struct_with_times_has_the_rule_of_times() -> None:
    ruled = {
        struct.__name__
        for struct, rules in RULES.table.items()
        if any("times_are_in_range" in rule.__qualname__ for rule in rules)
    }
    assert ruled == set(timed_structs())


def judge_of(kind: str, version: str) -> jsonschema.Draft4Validator:
    """The published schema as a JSON Schema, without what our structs leave out, and with CLOSER's differences."""

    def translate(schema: Any, path: str, shape: Shape) -> Any:
        closer = any(kind == of and path.endswith(end) for of, end in CLOSER)
        result = {key: schema[key] for key in schema.keys() & {"type", "enum", "required", "minItems", "maxItems"}}
        match shape:
            case Text():
                result |= {"minLength": shape.min_length}
                result |= {} if shape.max_length is None else {"maxLength": shape.max_length}
                result |= {} if shape.pattern is None else {"pattern": shape.pattern}
            case Whole():
                bounds = (shape.minimum, shape.maximum) if closer else (schema.get("minimum"), schema.get("maximum"))
                if schema.get("format") == "int32" and not closer:
                    bounds = (-INT32_MAX - 1, INT32_MAX)
                result |= {
                    key: bound for key, bound in zip(("minimum", "maximum"), bounds, strict=True) if bound is not None
                }
            case Items(item=item):
                result["items"] = translate(schema["items"], f"{path}[]", item)
            case Entries(value=value):
                result["maxProperties"] = schema.get("maxProperties", 10**6)
                result["additionalProperties"] = translate(schema["additionalProperties"], f"{path}{{}}", value)
            case Parts(name=name, fields=fields):
                required = set(schema.get("required", ())) - ({"name"} if name == "ServicePort" else set())
                required |= (OURS_TO_REQUIRE & set(shape.required)) if not path else set()
                result |= {"required": sorted(required)} if required else {}
                result["properties"] = {
                    field: translate(schema["properties"][field], f"{path}.{field}" if path else field, part)
                    for field, part in fields.items()
                    if field in schema["properties"] and (path or field == "spec")
                }
        if not result.get("required", True):
            del result["required"]
        return result

    return jsonschema.Draft4Validator(translate(schema_of(kind, version), "", shape_of(KINDS[kind].struct)))


@pytest.mark.parametrize("kind", ISTIO_KINDS)
def test_we_accept_what_the_published_schema_accepts(kind: str, documents: Callable[[int], Any]) -> None:
    """Random documents, whole and damaged, judged by us and by ``jsonschema`` over the CRD."""
    judge = judge_of(kind, KINDS[kind].versions[0])
    verdicts = compare_verdicts(kind, judge, documents, left_out=frozenset({"status"}))
    assert min(verdicts.values()) > 40, verdicts
