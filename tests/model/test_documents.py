"""Random documents of every kind: what we explain is what msgspec rejects, and what we accept survives the log."""

from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.model.base import ObjectMeta, Row
from controlplane.model.decode import Decoded, Rejected, decode_object, in_its_own_words
from controlplane.model.objects import KINDS, KubernetesObject
from controlplane.model.problems import explain, quoted
from controlplane.model.scalars import PATTERN_WORDS
from controlplane.model.shapes import Either, Entries, Items, Parts, Shape, Text, shape_of, without_nulls

KINDS_BUT_SECRET = sorted(set(KINDS) - {"Secret"})
seeds = st.integers(0, 2**32)


def verdict_of_msgspec(document: object, struct: type[Any]) -> str | None:
    """Where msgspec stops (empty: at the top, or it does not say), or None for a document that decodes and encodes."""
    try:
        msgspec.json.encode(msgspec.convert(document, struct))
    except msgspec.ValidationError as error:
        return in_its_own_words(error).path
    except UnicodeEncodeError:
        return ""
    return None


@pytest.mark.parametrize("kind", KINDS)
def test_we_explain_what_msgspec_rejects(kind: str, documents: Callable[[int], Any]) -> None:
    """Both ways, and of the same fields: so a change of msgspec's is noticed."""
    struct = KINDS[kind].struct
    shape = shape_of(struct)
    verdicts = set()

    @settings(max_examples=400, deadline=None)
    @given(seeds)
    def judge(seed: int) -> None:
        document = without_nulls(documents(seed).damaged(shape), shape)
        problems = list(explain(document, shape, "", quoted))
        where = verdict_of_msgspec(document, struct)
        assert (where is None) == (problems == [])
        verdicts.add(where is None)
        if where:
            # msgspec names the object that a field is missing in, and of a map not the entry.
            assert any(problem.path.startswith(where.partition("[...]")[0]) for problem in problems)

    judge()
    assert verdicts == {True, False}


@pytest.mark.parametrize("struct", [ObjectMeta, *(info.struct for info in KINDS.values())])
def test_what_fits_is_not_explained(struct: type[msgspec.Struct], documents: Callable[[int], Any]) -> None:
    shape = shape_of(struct)

    @settings(max_examples=100, deadline=None)
    @given(seeds)
    def judge(seed: int) -> None:
        document = documents(seed).fitting(shape)
        assert list(explain(document, shape, "", quoted)) == []
        assert verdict_of_msgspec(document, struct) is None

    judge()


@pytest.mark.parametrize("kind", KINDS)
def test_an_object_survives_the_log(kind: str, documents: Callable[[int], Any]) -> None:
    struct = KINDS[kind].struct

    @settings(max_examples=200, deadline=None)
    @given(seeds)
    def judge(seed: int) -> None:
        row = msgspec.convert(documents(seed).fitting(shape_of(struct)), struct)
        written = msgspec.json.encode(row, order="deterministic")
        read = msgspec.json.decode(written, type=KubernetesObject)
        assert read == row
        assert type(read) is struct
        assert msgspec.json.encode(read, order="deterministic") == written

    judge()


@pytest.mark.parametrize("kind", KINDS_BUT_SECRET)
def test_decoding_always_comes_to_something(kind: str, documents: Callable[[int], Any]) -> None:
    """Whatever stands in a manifest of ours; and an object written as a manifest is decoded to itself."""
    info = KINDS[kind]
    outcomes = set()

    @settings(max_examples=400, deadline=None)
    @given(seeds)
    def judge(seed: int) -> None:
        raw = documents(seed).damaged(shape_of(info.struct)) | {"kind": kind, "apiVersion": info.api_versions[0]}
        if seed % 2 and isinstance(raw.get("metadata"), dict):
            raw["metadata"] |= {"name": "a", "namespace": "b"}
        if seed % 4 == 3:
            raw.pop("spec", None)
            raw |= {"spec": SIMPLE[kind]} if kind in SIMPLE else {}
        outcome = decode_object(raw)
        outcomes.add(type(outcome))
        if isinstance(outcome, Decoded):
            again = decode_object(as_manifest(outcome.object))
            assert isinstance(again, Decoded)
            assert again.object == outcome.object
            assert not [warning for warning in again.warnings if "unknown field" in warning.problem]
            assert not [warning for warning in again.warnings if "status" in warning.path]
            assert msgspec.json.encode((outcome.warnings, outcome.unsupported))
        else:
            assert isinstance(outcome, Rejected)
            assert outcome.errors
            assert all(error.problem and error.remedy for error in outcome.errors)
            assert all(message.isprintable() for message in outcome.messages)
            assert msgspec.json.encode((outcome.reference, outcome.errors))

    judge()
    assert outcomes == {Decoded, Rejected}


def as_manifest(row: KubernetesObject) -> dict[str, Any]:
    manifest: dict[str, Any] = msgspec.to_builtins(row) | {"apiVersion": row.api_version}
    if manifest.pop("terminating", False):
        manifest["metadata"]["deletionTimestamp"] = "2024-05-31T12:00:00Z"
    return manifest


SIMPLE = {
    "AuthorizationPolicy": {"action": "DENY", "targetRefs": [{"kind": "Service", "name": "a"}]},
    "Gateway": {"gatewayClassName": "a", "listeners": [{"name": "a", "port": 1, "protocol": "HTTP"}]},
    "HTTPRoute": {"hostnames": ["a"]},
    "Service": {"ports": [{"port": 1}]},
    "ServiceEntry": {"hosts": ["a.example.com"], "resolution": "STATIC", "endpoints": [{"address": "192.0.2.1"}]},
    "WorkloadEntry": {"address": "192.0.2.1"},
}
"""Specifications that keep the rules, which few random ones do."""


def shapes_beneath(shape: Shape) -> Iterator[Shape]:
    yield shape
    match shape:
        case Parts(fields=fields):
            for part in fields.values():
                yield from shapes_beneath(part)
        case Items(item=beneath) | Entries(value=beneath):
            yield from shapes_beneath(beneath)
        case Either(options=options):
            yield from options


def test_every_pattern_has_words() -> None:
    used = {
        shape.pattern
        for info in KINDS.values()
        for shape in shapes_beneath(shape_of(info.struct))
        if isinstance(shape, Text) and shape.pattern is not None
    }
    assert used == set(PATTERN_WORDS)


def test_no_row_can_be_changed_or_makes_a_cycle() -> None:
    """What lets rows be shared, and go untracked by the garbage collector."""

    def descendants(struct: type[Any]) -> Iterator[type[Any]]:
        for child in struct.__subclasses__():
            yield child
            yield from descendants(child)

    for struct in descendants(Row):
        configuration = struct.__struct_config__
        assert (configuration.frozen, configuration.omit_defaults, configuration.gc) == (True, True, False), struct


def test_a_type_without_a_shape_is_refused() -> None:
    class Strange(msgspec.Struct):
        field: float

    with pytest.raises(TypeError, match="no struct of the model may have this type"):
        shape_of(Strange)
