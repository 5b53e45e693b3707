"""A published CustomResourceDefinition's schema: what its fields and rules are, and what it accepts."""

from collections.abc import Callable, Iterator
from typing import Any

import jsonschema
from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.model.decode import Decoded, Rejected, decode_object
from controlplane.model.known_fields import survey
from controlplane.model.objects import KINDS
from controlplane.model.problems import explain, quoted
from controlplane.model.shapes import shape_of, without_nulls


def schema_in(crd: Any, version: str) -> Any:
    (found,) = [entry for entry in crd["spec"]["versions"] if entry["name"] == version]
    return found["schema"]["openAPIV3Schema"]


def paths_of(schema: Any, path: str = "") -> Iterator[str]:
    for name, beneath in schema.get("properties", {}).items():
        here = f"{path}.{name}" if path else name
        yield here
        yield from paths_of(beneath, here)
    if "items" in schema:
        yield from paths_of(schema["items"], f"{path}[]")


def cel_messages(schema: Any) -> Iterator[str]:
    """The messages of the CEL rules, those of the status left out."""
    for validation in schema.get("x-kubernetes-validations", ()):
        yield validation["message"]
    for name, beneath in schema.get("properties", {}).items():
        if name != "status":
            yield from cel_messages(beneath)
    for beneath in (schema.get("items"), schema.get("additionalProperties")):
        if isinstance(beneath, dict):
            yield from cel_messages(beneath)


def unknown_fields(kind: str, schema: Any) -> tuple[object, ...]:
    """What we warn of in a document that has every published field and no other."""

    def whole(beneath: Any) -> Any:
        if "properties" in beneath:
            return {name: whole(part) for name, part in beneath["properties"].items()}
        return [whole(beneath["items"])] if "items" in beneath else "a"

    return tuple(survey(whole(schema) | {"metadata": {}}, kind)[0])


def is_comparable(value: Any) -> bool:
    """Whether JSON could hold the document: names are strings, and all text has bytes in UTF-8."""
    match value:
        case dict():
            return all(isinstance(name, str) and is_comparable(name) and is_comparable(value[name]) for name in value)
        case list():
            return all(is_comparable(item) for item in value)
        case str():
            return value == value.encode("utf-8", "replace").decode()
    return True


def compare_verdicts(
    kind: str,
    judge: jsonschema.Draft4Validator,
    documents: Callable[[int], Any],
    left_out: frozenset[str] = frozenset(),
) -> dict[bool, int]:
    """Has random documents, whole and damaged, judged by us and by the published schema, and asserts that both agree.

    Args:
        kind: Of the documents.
        judge: The schema, as far as our structs have its fields.
        documents: Makes documents from a number.
        left_out: What no document has at its top.

    Returns:
        How many were accepted, and how many were not.
    """
    info, verdicts = KINDS[kind], {True: 0, False: 0}
    shape = shape_of(info.struct)

    @settings(max_examples=400, deadline=None)
    @given(st.integers(0, 2**32))
    def compare(seed: int) -> None:
        document = documents(seed).damaged(shape)
        document["apiVersion"] = info.api_versions[0]
        document["metadata"] = {"name": "a", "namespace": "b"} if info.namespaced else {"name": "a"}
        document = {name: document[name] for name in document if name not in left_out}
        document = dict(without_nulls(document, shape))  # type: ignore[call-overload]
        if not is_comparable(document):
            return
        theirs = judge.is_valid(document)
        verdicts[theirs] += 1
        assert (list(explain(document, shape, "", quoted)) == []) == theirs, document
        outcome = decode_object({**document, "kind": kind})
        assert isinstance(outcome, Decoded | Rejected if theirs else Rejected), document

    compare()
    return verdicts
