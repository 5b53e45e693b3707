"""From a Secret's manifest to the row without anything secret, and the private key apart.

A Secret does not go the way of the other objects: msgspec's and our own messages quote values, and ``kubectl apply`` leaves a
copy of the whole manifest in an annotation. So its data is read by hand here, its annotations are dropped, and what is wrong is
told without any value.
"""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Mapping
from typing import Final

import msgspec

from controlplane.model.base import ObjectMeta
from controlplane.model.kubernetes import Secret
from controlplane.model.problems import explain, hidden
from controlplane.model.references import FieldProblem
from controlplane.model.shapes import Entries, Text
from controlplane.model.tls_pair import CERTIFICATE, KEY, NO_KEYS, PrivateKeys, parse_pair

_TLS: Final = "kubernetes.io/tls"
_OPAQUE: Final = "Opaque"
_TYPE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,252}")
"""What is printed wherever a Secret is; a key that was pasted into the wrong place does not look like it."""
_FIELD_NAME: Final = re.compile(r"[a-zA-Z]{1,30}\Z")


class SecretReading(msgspec.Struct, frozen=True):
    """What a Secret's manifest comes to."""

    secret: Secret
    private_keys: PrivateKeys = NO_KEYS
    warnings: tuple[FieldProblem, ...] = ()


def read_secret(raw: Mapping[str, object], metadata: ObjectMeta) -> SecretReading | tuple[FieldProblem, ...]:
    """The Secret, or what is wrong with it.

    A pair is what a Secret of type ``kubernetes.io/tls`` holds, and an ``Opaque`` one that has both of its entries. Of any other
    Secret nothing but metadata and type is kept.

    Args:
        raw: The manifest, without nulls.
        metadata: The manifest's, without annotations.
    """
    type_ = raw.get("type", _OPAQUE)
    if problems := tuple(explain(type_, Text(), "type", hidden)):
        return problems
    assert isinstance(type_, str)
    if not _TYPE.fullmatch(type_):
        return (FieldProblem("type", "this is no type of a Secret", f"use {_TLS}"),)
    secret = Secret(api_version=str(raw["apiVersion"]), metadata=metadata, type=type_)
    if type_ not in {_TLS, _OPAQUE}:
        return SecretReading(secret)
    entries = _entries(raw)
    if isinstance(entries, FieldProblem):
        return (entries,)
    if type_ == _OPAQUE and not {CERTIFICATE, KEY} <= entries.keys():
        return SecretReading(secret)
    return _read_pair(secret, entries)


def _entries(raw: Mapping[str, object]) -> dict[str, tuple[str, object]] | FieldProblem:
    """By name, where an entry stands and what it is; ``stringData`` wins, as it does in the API server."""
    entries: dict[str, tuple[str, object]] = {}
    for field in ("data", "stringData"):
        values = raw.get(field, {})
        if not isinstance(values, Mapping):
            return next(explain(values, Entries(value=Text()), field, hidden))
        for name in values.keys() & {CERTIFICATE, KEY}:
            entries[name] = (field, values[name])
    return entries


def _read_pair(secret: Secret, entries: Mapping[str, tuple[str, object]]) -> SecretReading | tuple[FieldProblem, ...]:
    found: dict[str, bytes] = {}
    problems: list[FieldProblem] = []
    for name in (CERTIFICATE, KEY):
        if name not in entries:
            remedy = f"add it: {'the certificate chain' if name == CERTIFICATE else 'its private key'}, as PEM"
            problems.append(FieldProblem(f'data["{name}"]', f"required with type {_TLS}, but missing", remedy))
            continue
        content = _content(name, *entries[name])
        if isinstance(content, FieldProblem):
            problems.append(content)
        else:
            found[name] = content
    if problems:
        return tuple(problems)
    pair = parse_pair(found[CERTIFICATE], found[KEY])
    if isinstance(pair, tuple):
        return tuple(_at_its_field(problem, entries) for problem in pair)
    row = msgspec.structs.replace(
        secret,
        certificate_chain=pair.certificate_chain,
        key_digest=pair.key_digest,
        pair_digest=pair.pair_digest,
    )
    return SecretReading(row, pair.keys, tuple(_at_its_field(warning, entries) for warning in pair.warnings))


def _at_its_field(problem: FieldProblem, entries: Mapping[str, tuple[str, object]]) -> FieldProblem:
    field, _ = entries[problem.path]
    return FieldProblem(f'{field}["{problem.path}"]', problem.problem, problem.remedy)


def _content(name: str, field: str, value: object) -> bytes | FieldProblem:
    path = f'{field}["{name}"]'
    if not isinstance(value, str):
        return next(explain(value, Text(), path, hidden))
    if field == "stringData":
        # An encoding error would carry the text; what has no bytes in UTF-8 is no PEM either.
        return value.encode("utf-8", "replace")
    try:
        return b64decode("".join(value.split()), validate=True)
    except ValueError:
        return FieldProblem(path, "not base64", "encode it, or put the PEM text itself into stringData")


def with_safe_names(raw: Mapping[str, object]) -> dict[str, object]:
    """The manifest with nothing beneath its fields but metadata's names, and no name in it that could be a piece of a key."""
    metadata = raw.get("metadata")
    return {
        _safe_name(name): {_safe_name(inner): None for inner in metadata}
        if name == "metadata" and isinstance(metadata, Mapping)
        else None
        for name in raw
    }


def _safe_name(name: object) -> str:
    return name if isinstance(name, str) and _FIELD_NAME.match(name) else "(a field whose name is not shown)"
