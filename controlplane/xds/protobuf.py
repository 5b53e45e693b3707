"""Protobuf's wire format: numbers, lengths, fields. It knows no message.

A reader has to accept fields that it does not know, in any order; it need not accept any number of them.

Source: protobuf.dev/programming-guides/encoding.
"""

from collections.abc import Iterator

from controlplane.xds.errors import XdsError, exhausted, invalid

VARINT, FIXED64, LENGTH, GROUP, GROUP_END, FIXED32 = range(6)

MAX_FIELDS = 250_000
"""Of one message: 100,000 names with their versions, and room. A message of nothing but fields would cost seconds."""

_MAX_GROUP = 200
"""Fields of a group, those of groups within it included; so groups cannot nest deeper than Python's stack, either."""


def fields(
    data: bytes, start: int = 0, end: int | None = None, *, max_fields: int = MAX_FIELDS
) -> Iterator[tuple[int, int, bytes | int]]:
    """The fields of a message in their order: number, wire type, content.

    Content is bytes for ``LENGTH``, an unsigned integer for ``VARINT``; fixed numbers and groups are skipped.

    Raises:
        XdsError: ``INVALID_ARGUMENT`` when the bytes are not protobuf; ``RESOURCE_EXHAUSTED`` past ``max_fields``.
    """
    position, left = start, max_fields
    end = len(data) if end is None else end
    while position < end:
        left -= 1
        if left < 0:
            raise too_many(max_fields)
        tag, position = read_varint(data, position, end)
        number, wire_type = tag >> 3, tag & 7
        if number == 0:
            raise invalid("the request is not protobuf: a field has number 0")
        if wire_type == LENGTH:
            length, position = read_varint(data, position, end)
            if position + length > end:
                raise truncated()
            yield number, wire_type, data[position : position + length]
            position += length
        elif wire_type == VARINT:
            value, position = read_varint(data, position, end)
            yield number, wire_type, value
        else:
            position = skip(data, position, end, tag)


def text(content: bytes | int) -> str:
    """The string that a ``LENGTH`` field holds.

    Raises:
        XdsError: ``INVALID_ARGUMENT`` when it is not UTF-8.
    """
    assert isinstance(content, bytes)
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise invalid("the request is not protobuf: a string is not UTF-8") from None


def read_varint(data: bytes, position: int, end: int) -> tuple[int, int]:
    """An unsigned integer of at most 64 bits, and the position after it.

    Raises:
        XdsError: ``INVALID_ARGUMENT`` when it is cut off or longer than 10 octets.
    """
    result = 0
    for shift in range(0, 70, 7):
        if position >= end:
            raise truncated()
        octet = data[position]
        position += 1
        result |= (octet & 0x7F) << shift
        if octet < 0x80:
            return result & 0xFFFFFFFFFFFFFFFF, position
    raise invalid("the request is not protobuf: a number is longer than 64 bits")


def skip(data: bytes, position: int, end: int, tag: int, group: Iterator[int] | None = None) -> int:
    """The position after the content of a field that nobody asked for."""
    if tag >> 3 == 0:
        raise invalid("the request is not protobuf: a field has number 0")
    match tag & 7:
        case 0:
            _, position = read_varint(data, position, end)
        case 1:
            position += 8
        case 2:
            length, position = read_varint(data, position, end)
            position += length
        case 5:
            position += 4
        case 3:
            position = _skip_group(data, position, end, tag, iter(range(_MAX_GROUP)) if group is None else group)
        case _:
            raise invalid(f"the request is not protobuf: wire type {tag & 7} in field {tag >> 3}")
    if position > end:
        raise truncated()
    return position


def _skip_group(data: bytes, position: int, end: int, tag: int, left: Iterator[int]) -> int:
    for _ in left:
        inner, position = read_varint(data, position, end)
        if inner & 7 != GROUP_END:
            position = skip(data, position, end, inner, left)
        elif inner >> 3 == tag >> 3:
            return position
        else:
            raise invalid("the request is not protobuf: a group is closed by another's end")
    raise exhausted(f"the request has a group of more than {_MAX_GROUP} fields")


def too_many(max_fields: int) -> XdsError:
    """The message has more fields than anyone needs."""
    return exhausted(f"the request has more than {max_fields} fields, each name and each version being one")


def truncated() -> XdsError:
    """The message ends before it should."""
    return invalid("the request is not protobuf: it is cut off")


def varint(value: int) -> bytes:
    """An unsigned integer on the wire."""
    if value < 0x80:
        return bytes((value,))
    octets = bytearray()
    while value >= 0x80:
        octets.append(value & 0x7F | 0x80)
        value >>= 7
    octets.append(value)
    return bytes(octets)


def field(number: int, content: bytes) -> bytes:
    """A field that holds bytes, a string or a message."""
    return b"".join((varint(number << 3 | LENGTH), varint(len(content)), content))
