"""Who is asking: the part of Envoy's ``Node`` that decides what is served, and what an event tells of it.

A node is 61 kB, nearly all of it a list of extensions; only what is named here is read.

Source: envoy/config/core/v3/base.proto, Node; google/protobuf/struct.proto.
"""

import msgspec

from controlplane.xds.errors import invalid
from controlplane.xds.protobuf import LENGTH, VARINT, fields, text

ROLE_PREFIX = "controlplane"
_MAX_TEXT = 512
_MAX_LABELS = 64


class Locality(msgspec.Struct, frozen=True):
    """Where a proxy runs; empty parts are unknown."""

    region: str = ""
    zone: str = ""
    sub_zone: str = ""

    def __str__(self) -> str:
        return f"{self.region}/{self.zone}/{self.sub_zone}".rstrip("/")


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """A proxy as it introduced itself. Nothing here is proven."""

    id: str
    cluster: str = ""
    scope: str
    """``{gateway namespace}/{gateway name}``, from the role in its metadata."""
    locality: Locality = Locality()
    labels: tuple[tuple[str, str], ...] = ()
    """``metadata.labels``, strings only, sorted."""
    user_agent: str = ""
    """Name and version, ``envoy 1.40.0``."""


def scope_of(role: str) -> str | None:
    """The scope that a role asks for; None when it is not ``controlplane~{gateway namespace}~{gateway name}``."""
    parts = role.split("~")
    if len(parts) != 3 or parts[0] != ROLE_PREFIX:
        return None
    _, namespace, name = parts
    if not namespace or not name or "/" in role:
        return None
    return f"{namespace}/{name}"


def role_of(scope: str) -> str:
    """The role that asks for a scope."""
    return "~".join((ROLE_PREFIX, *scope.split("/", 1)))


def parse_node(data: bytes | None) -> Node:
    """The node of a stream's first request.

    Raises:
        XdsError: ``INVALID_ARGUMENT`` when there is none, or it has no id or no valid role; the message says what is expected.
    """
    if data is None:
        raise invalid("the first request of a stream must carry a node")
    values: dict[int, str] = {}
    build_version = ""
    locality: dict[int, str] = {}
    role, labels = "", {}
    for number, wire_type, content in fields(data):
        if wire_type != LENGTH or not isinstance(content, bytes):
            continue
        match number:
            case 1 | 2 | 6 | 7:
                values[number] = _bounded(text(content))
            case 3:
                found_role, found_labels = _parse_metadata(content)
                role = found_role or role
                labels.update(found_labels)
            case 4:
                locality.update(
                    (part, _bounded(text(value))) for part, kind, value in fields(content) if kind == LENGTH
                )
            case 8:
                build_version = _parse_build_version(content)
            case _:
                pass
    node_id = values.get(1, "")
    if not node_id:
        raise invalid("the node has no id; the bootstrap must set node.id")
    scope = scope_of(role)
    if scope is None:
        raise invalid(
            f"node {node_id}: metadata.role is {role!r}; expected "
            f"'{ROLE_PREFIX}~{{gateway namespace}}~{{gateway name}}' in the bootstrap's node.metadata"
        )
    return Node(
        id=node_id,
        cluster=values.get(2, ""),
        scope=scope,
        locality=Locality(locality.get(1, ""), locality.get(2, ""), locality.get(3, "")),
        labels=tuple(sorted(labels.items())),
        user_agent=" ".join(filter(None, (values.get(6, ""), build_version or values.get(7, "")))),
    )


def _bounded(value: str) -> str:
    return value[:_MAX_TEXT]


def _parse_metadata(data: bytes) -> tuple[str, dict[str, str]]:
    """The role and the labels in a ``google.protobuf.Struct``."""
    role = ""
    labels: dict[str, str] = {}
    for key, value in _struct_entries(data):
        if key == "role":
            role = _bounded(_string_value(value) or "")
        elif key == "labels":
            for number, wire_type, content in fields(value):
                if number == 5 and wire_type == LENGTH and isinstance(content, bytes):
                    for name, label in _struct_entries(content):
                        string = _string_value(label)
                        if string is not None and len(labels) < _MAX_LABELS:
                            labels[_bounded(name)] = _bounded(string)
    return role, labels


def _struct_entries(data: bytes) -> list[tuple[str, bytes]]:
    entries = []
    for number, wire_type, content in fields(data):
        if number != 1 or wire_type != LENGTH or not isinstance(content, bytes):
            continue
        key, value = "", b""
        for part, kind, inner in fields(content):
            if kind == LENGTH and isinstance(inner, bytes):
                if part == 1:
                    key = text(inner)
                elif part == 2:
                    value = inner
        entries.append((key, value))
    return entries


def _string_value(data: bytes) -> str | None:
    """The string in a ``google.protobuf.Value``; None when it holds something else."""
    found = None
    for number, wire_type, content in fields(data):
        if number == 3 and wire_type == LENGTH:
            found = text(content)
    return found


def _parse_build_version(data: bytes) -> str:
    """``1.40.0`` from an ``envoy.config.core.v3.BuildVersion``."""
    for number, wire_type, content in fields(data):
        if number == 1 and wire_type == LENGTH and isinstance(content, bytes):
            numbers = {part: value for part, kind, value in fields(content) if kind == VARINT}
            return ".".join(str(numbers.get(part, 0)) for part in (1, 2, 3))
    return ""
