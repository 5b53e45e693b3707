"""Requests and responses by hand: the two messages that every proxy exchanges with us all day.

A proxy that reconnects sends the versions of all that it holds, thousands of map entries, in one message; decoding that into
objects costs eight times what the scan below does (envoy-observed.md, trap 11). A response is composed from bytes that were
encoded when the resource changed, so a thousand proxies cost a thousand joins, not a thousand encodings. This module knows
the field numbers; it must not know what a subscription is.

A decoder of protobuf has to accept fields in any order, repeated, split and unknown; so does this one.

Source: envoy/service/discovery/v3/discovery.proto.
"""

from collections.abc import Iterable

import msgspec

from controlplane.xds.errors import XdsError, invalid
from controlplane.xds.protobuf import (
    LENGTH,
    MAX_FIELDS,
    VARINT,
    field,
    fields,
    read_varint,
    skip,
    text,
    too_many,
    truncated,
    varint,
)

_EDS_CLUSTER_CONFIG, _SERVICE_NAME = 3, 2
_VIRTUAL_HOSTS, _VHDS = 2, 9
_VERSIONS = 5 << 3 | LENGTH
_SUBSCRIBE = 3 << 3 | LENGTH
_UNSUBSCRIBE = 4 << 3 | LENGTH
_NODE = 1 << 3 | LENGTH
_LISTS = frozenset({_VERSIONS, _SUBSCRIBE, _UNSUBSCRIBE})
"""What a request can hold thousands of."""


class ErrorDetail(msgspec.Struct, frozen=True):
    """Why a proxy rejected a response: ``google.rpc.Status`` without its details."""

    code: int
    message: str


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """A ``DeltaDiscoveryRequest`` as scanned."""

    type_url: str = ""
    subscribe: tuple[str, ...] = ()
    unsubscribe: tuple[str, ...] = ()
    versions: dict[str, str] = {}
    """``initial_resource_versions``: name to version."""
    nonce: str = ""
    error: ErrorDetail | None = None
    """Present in a rejection, also when it is empty."""


def scan_request(data: bytes, *, max_fields: int = MAX_FIELDS) -> Request:
    """The parts of a ``DeltaDiscoveryRequest`` that a server acts on.

    The node is passed over without a look: 61 kB in every message of some proxies, and known since the first (S2).

    Args:
        data: One whole message.
        max_fields: Limit of its fields, each name and each claimed version being one.

    Raises:
        XdsError: ``INVALID_ARGUMENT`` when the bytes are no such message; ``RESOURCE_EXHAUSTED`` past ``max_fields``.

    Cost: O(len(data)), about 0.5 microseconds a field. To share what was scanned among proxies that claim the same does not pay:
    the order of Envoy's maps is another in each process, and a memory of single entries saves a tenth of a reconnect.
    """
    type_url = nonce = ""
    subscribe: list[str] = []
    unsubscribe: list[str] = []
    versions: dict[str, str] = {}
    error: bytes | None = None
    position, end, left = 0, len(data), max_fields
    try:
        while position < end:
            left -= 1
            if left < 0:
                raise too_many(max_fields)
            tag = data[position]
            position += 1
            if tag >= 0x80:
                tag, position = read_varint(data, position - 1, end)
            if tag & 7 != LENGTH:
                position = skip(data, position, end, tag)
                continue
            length = data[position]
            position += 1
            if length >= 0x80:
                length, position = read_varint(data, position - 1, end)
            start, position = position, position + length
            if position > end:
                raise truncated()
            if tag == _VERSIONS:
                _scan_version(data, start, position, versions)
            elif tag == _SUBSCRIBE:
                subscribe.append(data[start:position].decode())
            elif tag == _UNSUBSCRIBE:
                unsubscribe.append(data[start:position].decode())
            else:
                match tag >> 3:
                    case 2:
                        type_url = data[start:position].decode()
                    case 6:
                        nonce = data[start:position].decode()
                    case 7:
                        error = (error or b"") + data[start:position]
                    case 0:
                        raise invalid("the request is not protobuf: a field has number 0")
                    case _:
                        pass
    except IndexError:
        raise truncated() from None
    except UnicodeDecodeError:
        raise invalid("the request is not protobuf: a string is not UTF-8") from None
    return Request(
        type_url=type_url,
        subscribe=tuple(subscribe),
        unsubscribe=tuple(unsubscribe),
        versions=versions,
        nonce=nonce,
        error=None if error is None else _scan_error(error),
    )


def find_node(data: bytes, *, max_fields: int = MAX_FIELDS) -> bytes | None:
    """The encoded node of a ``DeltaDiscoveryRequest``, and nothing else of it; None when there is none.

    Raises:
        XdsError: ``INVALID_ARGUMENT`` when the bytes are not protobuf; ``RESOURCE_EXHAUSTED`` past ``max_fields``.

    Cost: O(len(data)), about 0.15 microseconds a name or version that is passed over.
    """
    parts = []
    position, end, left = 0, len(data), max_fields
    while position < end:
        left -= 1
        if left < 0:
            raise too_many(max_fields)
        if data[position] in _LISTS and position + 1 < end and data[position + 1] < 0x80:
            position += 2 + data[position + 1]
            continue
        tag, start = read_varint(data, position, end)
        position = skip(data, start, end, tag)
        if tag == _NODE:
            _, start = read_varint(data, start, end)
            parts.append(data[start:position])
    if position > end:
        raise truncated()
    return b"".join(parts) if parts else None


def _scan_version(data: bytes, start: int, end: int, versions: dict[str, str]) -> None:
    """One entry of ``initial_resource_versions``, first in the form in which everyone writes it."""
    try:
        key_length = data[start + 1]
        middle = start + 2 + key_length
        if (
            data[start] == 0x0A
            and key_length < 0x80
            and data[middle] == 0x12
            and data[middle + 1] == end - middle - 2 < 0x80
        ):
            versions[data[start + 2 : middle].decode()] = data[middle + 2 : end].decode()
            return
    except IndexError:
        pass  # an unusual form, read below; or cut off, told below
    key = value = ""
    for number, wire_type, content in fields(data, start, end):
        if wire_type == LENGTH and number == 1:
            key = text(content)
        elif wire_type == LENGTH and number == 2:
            value = text(content)
    versions[key] = value


def _scan_error(data: bytes) -> ErrorDetail:
    code, message = 0, ""
    for number, wire_type, content in fields(data):
        if number == 1 and wire_type == VARINT and isinstance(content, int):
            code = content & 0xFFFFFFFF
        elif number == 2 and wire_type == LENGTH:
            message = text(content)
    return ErrorDetail(code, message)


def load_assignment_of(cluster: bytes) -> str:
    """The name of an encoded cluster's load assignment; empty where it is the cluster's own. Cost: up to that field, which is early.

    Source: envoy/config/cluster/v3/cluster.proto, ``Cluster.eds_cluster_config.service_name``.
    """
    try:
        for number, _, content in fields(cluster):
            if number == _EDS_CLUSTER_CONFIG and isinstance(content, bytes):
                names = [name for part, _, name in fields(content) if part == _SERVICE_NAME]
                return text(names[-1]) if names else ""
    except XdsError:
        pass
    return ""


def holds_virtual_hosts(route_configuration: bytes) -> bool:
    """Whether an encoded RouteConfiguration holds virtual hosts itself, and none come by VHDS.

    Source: envoy/config/route/v3/route.proto, ``RouteConfiguration.virtual_hosts`` and ``vhds``.
    """
    try:
        numbers = {number for number, _, _ in fields(route_configuration)}
    except XdsError:
        return False
    return _VIRTUAL_HOSTS in numbers and _VHDS not in numbers


def resource_head(type_url: str, name: str, version: str, body_length: int) -> bytes:
    """All that stands before the body in a response's entry for a resource.

    The entry is ``DeltaDiscoveryResponse.resources``: a ``Resource`` whose last field is an ``Any`` whose last field is the
    body. So ``resource_head(...) + body`` is the whole entry, and nobody copies the body to build it.
    """
    any_head = field(1, type_url.encode()) + b"\x12" + varint(body_length)
    any_length = len(any_head) + body_length
    head = field(3, name.encode()) + field(1, version.encode()) + b"\x12" + varint(any_length)
    return b"\x12" + varint(len(head) + any_length) + head + any_head


def compose_response(
    *,
    type_url: str,
    nonce: str,
    resources: Iterable[bytes] = (),
    removed: Iterable[str] = (),
    system_version: str = "",
    control_plane: str = "",
) -> bytes:
    """A ``DeltaDiscoveryResponse``.

    Args:
        type_url: Of all its resources.
        nonce: What the acknowledgement will carry.
        resources: Heads and bodies, in turn.
        removed: Names that do not exist (any more).
        system_version: For people who debug; the log's position.
        control_plane: Who we are; for people, too.

    Cost: O(octets), one copy.
    """
    parts = [field(4, type_url.encode()), field(5, nonce.encode())]
    if system_version:
        parts.append(field(1, system_version.encode()))
    if control_plane:
        parts.append(field(7, field(1, control_plane.encode())))
    parts.extend(resources)
    parts.extend(field(6, name.encode()) for name in removed)
    return b"".join(parts)
