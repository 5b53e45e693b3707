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
from controlplane.model.tls_pair import (
    CERTIFICATE,
    KEY,
    NO_KEYS,
    Authorities,
    PrivateKeys,
    is_pem_pair,
    parse_authorities,
    parse_pair,
)

_TLS: Final = "kubernetes.io/tls"
_OPAQUE: Final = "Opaque"
_PAIR: Final = (CERTIFICATE, KEY)
_GENERIC_PAIR: Final = ("cert", "key")
"""The names that Istio knows in Opaque Secrets; others have them for things that are none."""
_AUTHORITIES: Final = ("ca.crt", "cacert")
"""The first that is there, and not empty, counts."""
_NAMES: Final = frozenset({*_PAIR, *_GENERIC_PAIR, *_AUTHORITIES})
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

    A pair is what a Secret of type ``kubernetes.io/tls`` holds, and an ``Opaque`` one that has both of its entries (as
    ``tls.crt`` and ``tls.key``, else as ``cert`` and ``key``). Both may hold certificates of authorities too. Of any other Secret
    nothing but metadata and type is kept.

    Broken certificates of authorities are a warning beside a pair: listeners are served by the pair, whatever stands beside it.
    Alone they are an error, so that the last good ones stay.

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
    authorities = _read_authorities(entries)
    names = _PAIR if type_ == _TLS else _names_of_pair(entries)
    reading = SecretReading(secret) if names is None else _read_pair(secret, entries, names)
    if isinstance(reading, tuple) or authorities is None:
        return reading
    if isinstance(authorities, Authorities):
        return _with_authorities(reading, authorities)
    if names is None:
        return (authorities,)
    warning = FieldProblem(authorities.path, f"{authorities.problem}; ignored", authorities.remedy)
    return msgspec.structs.replace(reading, warnings=(*reading.warnings, warning))


def _with_authorities(reading: SecretReading, authorities: Authorities) -> SecretReading:
    row = msgspec.structs.replace(
        reading.secret, ca_certificates=authorities.certificates, ca_digest=authorities.digest
    )
    return SecretReading(row, reading.private_keys, reading.warnings + authorities.warnings)


def _names_of_pair(entries: Mapping[str, tuple[str, object]]) -> tuple[str, str] | None:
    """The names of an Opaque Secret's pair, if it has one."""
    if entries.keys() >= {*_PAIR}:
        return _PAIR
    if not entries.keys() >= {*_GENERIC_PAIR}:
        return None
    certificate, key = (_content(name, *entries[name]) for name in _GENERIC_PAIR)
    if isinstance(certificate, FieldProblem) or isinstance(key, FieldProblem) or not is_pem_pair(certificate, key):
        return None
    return _GENERIC_PAIR


def _read_authorities(entries: Mapping[str, tuple[str, object]]) -> Authorities | FieldProblem | None:
    for name in _AUTHORITIES:
        if name not in entries:
            continue
        content = _content(name, *entries[name])
        if isinstance(content, FieldProblem):
            return content
        if content.strip():
            return parse_authorities(content, f'{entries[name][0]}["{name}"]')
    return None


def _entries(raw: Mapping[str, object]) -> dict[str, tuple[str, object]] | FieldProblem:
    """By name, where an entry stands and what it is; ``stringData`` wins, as it does in the API server."""
    entries: dict[str, tuple[str, object]] = {}
    for field in ("data", "stringData"):
        values = raw.get(field, {})
        if not isinstance(values, Mapping):
            return next(explain(values, Entries(value=Text()), field, hidden))
        for name in values.keys() & _NAMES:
            entries[name] = (field, values[name])
    return entries


def _read_pair(
    secret: Secret, entries: Mapping[str, tuple[str, object]], names: tuple[str, str]
) -> SecretReading | tuple[FieldProblem, ...]:
    found: list[bytes] = []
    problems: list[FieldProblem] = []
    for name in names:
        if name not in entries:
            remedy = f"add it: {'the certificate chain' if name == CERTIFICATE else 'its private key'}, as PEM"
            problems.append(FieldProblem(f'data["{name}"]', f"required with type {_TLS}, but missing", remedy))
            continue
        content = _content(name, *entries[name])
        if isinstance(content, FieldProblem):
            problems.append(content)
        else:
            found.append(content)
    if problems:
        return tuple(problems)
    pair = parse_pair(found[0], found[1])
    if isinstance(pair, tuple):
        return tuple(_at_its_field(problem, entries, names) for problem in pair)
    row = msgspec.structs.replace(
        secret,
        certificate_chain=pair.certificate_chain,
        key_digest=pair.key_digest,
        pair_digest=pair.pair_digest,
    )
    return SecretReading(row, pair.keys, tuple(_at_its_field(warning, entries, names) for warning in pair.warnings))


def _at_its_field(
    problem: FieldProblem, entries: Mapping[str, tuple[str, object]], names: tuple[str, str]
) -> FieldProblem:
    """The problem of a pair with the names that the entries have here."""

    def renamed(text: str) -> str:
        return text.replace(CERTIFICATE, names[0]).replace(KEY, names[1])

    name = renamed(problem.path)
    return FieldProblem(f'{entries[name][0]}["{name}"]', renamed(problem.problem), renamed(problem.remedy))


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
