"""Messages laid together from fields that are encoded already.

Protobuf's wire format lets a message be the concatenation of its fields, so a message that holds thousands of others (a virtual
host and its routes) is built without encoding any of them again. Source: protobuf.dev, "Encoding".
"""

from __future__ import annotations


def varint(value: int) -> bytes:
    """A non-negative integer as a varint."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def embed(field: int, body: bytes) -> bytes:
    """A length-delimited field: a message, a string or bytes."""
    return varint(field << 3 | 2) + varint(len(body)) + body
