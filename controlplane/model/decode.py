"""From a manifest, as YAML or JSON gave it, to a typed object, or to what is wrong with it in words.

The only door into the model: whatever comes through has the API's defaults, keeps the API's rules, holds nothing that changes
without meaning (``managedFields``, most of the status), and nothing secret. What is wrong with a manifest is a value, never an exception.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final, TypeAlias

import msgspec

from controlplane.model.addresses import normalise_addresses
from controlplane.model.base import ObjectMeta
from controlplane.model.destination_rule import DestinationRule
from controlplane.model.hosts import normalise_entry, normalise_rule
from controlplane.model.known_fields import survey
from controlplane.model.kubernetes import EndpointSlice, Secret
from controlplane.model.objects import KINDS, KindInfo, KubernetesObject
from controlplane.model.problems import closest, either, explain, hidden, printable, quoted
from controlplane.model.projection import project, project_metadata
from controlplane.model.references import FieldProblem, ObjectReference
from controlplane.model.rules import RULES, UNSUPPORTED, WARNINGS
from controlplane.model.scalars import DNS_LABEL, DNS_SUBDOMAIN
from controlplane.model.secret_data import read_secret, with_safe_names
from controlplane.model.service_entry import ServiceEntry
from controlplane.model.shapes import Text, shape_of, without_nulls
from controlplane.model.tls_pair import NO_KEYS, PrivateKeys

_MOST_PROBLEMS: Final = 10
_LABEL: Final = Text(min_length=1, max_length=63, pattern=DNS_LABEL)
_SUBDOMAIN: Final = Text(min_length=1, max_length=253, pattern=DNS_SUBDOMAIN)
_PLAIN_NAME: Final = re.compile(r"(?=.{1,63}\Z)[a-z0-9](?:[-a-z0-9]*[a-z0-9])?\Z")
"""A name that fits all kinds."""
_PLACE: Final = re.compile(r" - at (?:`key` in )?`\$\.?(?P<path>.*)`\Z")
"""Where msgspec says that an error is."""
_STAND_IN: Final = "unnamed"


class Decoded(msgspec.Struct, frozen=True):
    """A manifest that is right."""

    object: KubernetesObject
    warnings: tuple[FieldProblem, ...] = ()
    """Unknown fields, which are not in the object, and what else its author should know; ten and a remark at most."""
    unsupported: tuple[FieldProblem, ...] = ()
    """Fields and values that the API has and we do not act on yet; ten and a remark at most."""
    private_keys: PrivateKeys = NO_KEYS
    """By the digest that the object (a Secret) holds; for the store, and for nothing that is printed."""


class Rejected(msgspec.Struct, frozen=True):
    """A manifest that is wrong."""

    reference: ObjectReference
    """As far as it could be read: the kind is empty in a document without one, the name in one without one."""
    errors: tuple[FieldProblem, ...]
    """At least one, ten and a remark at most."""

    @property
    def messages(self) -> tuple[str, ...]:
        """Each error as a whole: the object, the field, what is wrong, and what to do."""
        return tuple(f"{describe(self.reference)}: {error}" for error in self.errors)


class Ignored(msgspec.Struct, frozen=True):
    """A manifest of a kind that is none of ours."""

    kind: str
    api_version: str
    """Empty where the manifest has none."""


Outcome: TypeAlias = Decoded | Rejected | Ignored


def describe(reference: ObjectReference) -> str:
    """``Kind namespace/name``, also where parts of it are missing."""
    if not reference.kind:
        return "a document without a kind"
    if not reference.name:
        return f"{reference.kind} without a name"
    return str(reference)


def decode_object(raw: Mapping[str, object]) -> Outcome:
    """The object that a manifest describes, or why it describes none.

    Args:
        raw: One document, of dicts, lists and scalars. Not changed.

    Returns:
        Always something, whatever the document. Cost: 15 microseconds for a small HTTPRoute, 50 for one with two rules of
        everything; a millisecond and more for a key pair.
    """
    kind = raw.get("kind")
    if not isinstance(kind, str) or not kind:
        return _without_kind(kind)
    if kind not in KINDS:
        return _of_another_kind(kind, raw)
    info = KINDS[kind]
    metadata, reference, problems = _read_metadata(raw.get("metadata"), info)
    if raw.get("apiVersion") not in _API_VERSIONS[kind]:
        return _of_another_version(raw.get("apiVersion"), info, reference)
    if info.struct is Secret:
        return _decode_secret(raw, metadata, reference, problems)
    document, ignored = project(raw, metadata, info)
    row = _fit(document, info)
    if isinstance(row, list) or problems:
        return _rejected(reference, problems + (row if isinstance(row, list) else []))
    if broken := RULES.findings(row):
        return _rejected(reference, broken)
    unknown, unsupported = survey(raw, kind)
    warnings = (*unknown, *ignored, *WARNINGS.findings(row))
    return _decoded(_normalised(row), warnings, (*unsupported, *UNSUPPORTED.findings(row)))


def _normalised(row: KubernetesObject) -> KubernetesObject:
    """The row in the one spelling of what can be spelled in several ways."""
    match row:
        case EndpointSlice():
            return normalise_addresses(row)
        case ServiceEntry():
            return normalise_entry(row)
        case DestinationRule():
            return normalise_rule(row)
    return row


_KIND_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9.-]{0,62}")
_API_VERSIONS: Final = {kind: info.api_versions for kind, info in KINDS.items()}


def _without_kind(kind: object) -> Rejected:
    problems: Iterable[FieldProblem]
    if kind is None or kind == "":
        problems = [FieldProblem("kind", "required, but missing", f"add it, such as {either([*KINDS])}")]
    else:
        problems = explain(kind, Text(), "kind", quoted)
    return _rejected(ObjectReference("", "", ""), problems)


def _of_another_kind(kind: str, raw: Mapping[str, object]) -> Rejected | Ignored:
    """None of our business, unless it is one of our kinds written in another way."""
    if not _KIND_NAME.fullmatch(kind):
        # Not quoted: what stands where a kind should be may be anything, a key that lost its place included.
        return _rejected(
            ObjectReference("", "", ""), [FieldProblem("kind", "this is no kind's name", "write it as one word")]
        )
    api_version = raw.get("apiVersion")
    if not isinstance(api_version, str):
        return Ignored(printable(kind), "")
    group = api_version.rpartition("/")[0]
    for known, info in KINDS.items():
        if info.group == group and kind.lower() in {known.lower(), info.plural}:
            _, reference, _ = _read_metadata(raw.get("metadata"), info)
            problem = FieldProblem("kind", f"{quoted(kind)} is no kind of {group or 'the core group'}", f"use {known}")
            return _rejected(reference, [problem])
    return Ignored(printable(kind), printable(api_version))


def _of_another_version(api_version: object, info: KindInfo, reference: ObjectReference) -> Rejected | Ignored:
    """A mistake, unless another group has a kind of this name: Knative has a Service, Istio a Gateway."""
    accepted = either(info.api_versions)
    if api_version is None:
        return _rejected(reference, [FieldProblem("apiVersion", "required, but missing", f"add it: {accepted}")])
    if not isinstance(api_version, str):
        return _rejected(reference, explain(api_version, Text(), "apiVersion", quoted))
    group = api_version.rpartition("/")[0]
    if "." in group and group != info.group and closest(group, [info.group]) is None:
        return Ignored(info.kind, printable(api_version))
    problem = f"{quoted(api_version)} is not accepted for kind {info.kind}"
    return _rejected(reference, [FieldProblem("apiVersion", problem, f"use {accepted}")])


def _read_metadata(raw: object, info: KindInfo) -> tuple[dict[str, object], ObjectReference, list[FieldProblem]]:
    """Metadata as the struct has it, whom it names, and what is wrong with these names. The rest of it is not judged."""
    default = "default" if info.namespaced else ""
    if not isinstance(raw, Mapping):
        problem = FieldProblem("metadata", "required, but missing", "add it: an object with name")
        problems = [problem] if raw is None else list(explain(raw, shape_of(ObjectMeta), "metadata", quoted))
        return {"name": _STAND_IN, "namespace": default}, ObjectReference(info.kind, default, ""), problems
    name, namespace = raw.get("name"), raw.get("namespace")
    is_secret = info.struct is Secret
    show = hidden if is_secret else quoted
    problems = []
    if name is None or name == "":
        problems.append(FieldProblem("metadata.name", "required, but missing", "add it: the object's name"))
    elif not (isinstance(name, str) and _PLAIN_NAME.match(name)):
        problems += explain(name, _LABEL if info.label_name else _SUBDOMAIN, "metadata.name", show)
        name = "" if is_secret else name
    if not info.namespaced or namespace is None or namespace == "":
        namespace = default
    elif not (isinstance(namespace, str) and _PLAIN_NAME.match(namespace)):
        problems += explain(namespace, _LABEL, "metadata.namespace", show)
        namespace = default if is_secret else namespace
    reference = ObjectReference(info.kind, _as_text(namespace), _as_text(name))
    metadata: dict[str, object] = {**raw, "name": name, "namespace": namespace}
    if problems:
        metadata |= {"name": _STAND_IN, "namespace": default}
    project_metadata(metadata, info.kind)
    return metadata, reference, problems


def _as_text(value: object) -> str:
    return printable(value) if isinstance(value, str) else "" if value is None else quoted(value)


def _fit(document: Mapping[str, object], info: KindInfo) -> KubernetesObject | list[FieldProblem]:
    """The document as its struct, or everything that keeps it from being one."""
    try:
        return _convert(document, info)
    except (msgspec.ValidationError, UnicodeEncodeError):
        shape = shape_of(info.struct)
        pruned = without_nulls(document, shape)
    try:
        return _convert(pruned, info)
    except (msgspec.ValidationError, UnicodeEncodeError) as error:
        return list(explain(pruned, shape, "", quoted)) or [in_its_own_words(error)]


def _convert(document: object, info: KindInfo) -> KubernetesObject:
    """The document as its struct.

    Raises:
        msgspec.ValidationError: It does not fit.
        UnicodeEncodeError: There is text in it that UTF-8 has no bytes for, so that the log could not hold it.
    """
    row = msgspec.convert(document, info.struct)
    msgspec.json.encode(row)
    return row  # type: ignore[return-value]  # KINDS and KubernetesObject list the same structs


def in_its_own_words(error: msgspec.ValidationError | UnicodeEncodeError) -> FieldProblem:
    """An error's message and path as they are, for what ``problems.explain`` has no words for."""
    problem, place = str(error), _PLACE.search(str(error))
    if place:
        problem = problem[: place.start()]
    path = place["path"] if place else ""
    return FieldProblem(path, printable(problem), "see the API's reference for this field")


def _decode_secret(
    raw: Mapping[str, object], metadata: dict[str, object], reference: ObjectReference, problems: list[FieldProblem]
) -> Decoded | Rejected:
    """As for other objects, but no message has a value of the manifest in it, and no exception is left to have one."""
    shape = shape_of(ObjectMeta)
    pruned = without_nulls(metadata, shape)
    problems = problems + list(explain(pruned, shape, "metadata", hidden))
    if problems:
        return _rejected(reference, problems)
    present = {name: value for name, value in raw.items() if value is not None}
    reading = read_secret(present, msgspec.convert(pruned, ObjectMeta))
    if isinstance(reading, tuple):
        return _rejected(reference, reading)
    unknown, unsupported = survey(with_safe_names(raw), reference.kind)
    return _decoded(reading.secret, unknown + reading.warnings, unsupported, reading.private_keys)


def _decoded(
    row: KubernetesObject,
    warnings: tuple[FieldProblem, ...],
    unsupported: tuple[FieldProblem, ...],
    private_keys: PrivateKeys = NO_KEYS,
) -> Decoded:
    return Decoded(
        row, _first(warnings, "look at these first"), _first(unsupported, "look at these first"), private_keys
    )


def _rejected(reference: ObjectReference, problems: Iterable[FieldProblem]) -> Rejected:
    return Rejected(reference, _first(tuple(problems), "mend these first"))


def _first(problems: tuple[FieldProblem, ...], remedy: str) -> tuple[FieldProblem, ...]:
    """The first ten, and how many more there are: a manifest of a million mistakes is not to fill the log."""
    if len(problems) <= _MOST_PROBLEMS:
        return problems
    return (*problems[:_MOST_PROBLEMS], FieldProblem("", f"{len(problems) - _MOST_PROBLEMS} more of the kind", remedy))
