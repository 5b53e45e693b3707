"""Encoded resources as JSON documents, for people: ``translate``, ``replay``, ``/debug/snapshot``, golden tests.

The documents are protobuf's own JSON, which Envoy's reference and its ``/config_dump`` show too; betterproto2 spells some
names otherwise (``consecutive5Xx``). So the official library makes them, from the descriptors that generation left
beside the messages, in a pool of their own. It is imported by the first call: serving never needs it.
"""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, TypeAlias, cast

if TYPE_CHECKING:
    from google.protobuf.any_pb2 import Any
    from google.protobuf.descriptor_pool import DescriptorPool

JSON: TypeAlias = "dict[str, JSON] | list[JSON] | str | int | float | bool | None"


def to_document(type_url: str, body: bytes) -> dict[str, JSON]:
    """The protobuf JSON form of an encoded message, ``@type`` on top and in every Any, keys sorted at every level.

    Fields at their default are absent. Encodings that differ in the order of fields or map entries alone give one
    document. It hides nothing: what a Secret holds stands in it, so only one that holds a digest may come here.

    Args:
        type_url: ``type.googleapis.com/`` and the message's full name.
        body: The encoded message itself, without an Any around it.

    Raises:
        ValueError: The type, or that of an Any inside, is not among the generated ones, the body is no encoding of
            it, or JSON cannot say what it holds (a Duration whose parts differ in sign).

    Cost: O(len(body)), about 0.1 ms for a cluster; the first call loads the library and the descriptors, 0.1 s.
    """
    from google.protobuf.json_format import Error, MessageToDict
    from google.protobuf.message import DecodeError

    message = _new_any()
    message.type_url, message.value = type_url, body
    try:
        document = MessageToDict(message, descriptor_pool=_pool())
    except (DecodeError, Error, TypeError, ValueError) as error:
        raise ValueError(f"{type_url} cannot be shown as JSON: {error}") from error
    return _sort_object(document)


@cache
def _pool() -> DescriptorPool:
    """The generated messages' descriptors, apart from any that other libraries of the process register."""
    from google.protobuf.descriptor_pb2 import FileDescriptorSet
    from google.protobuf.descriptor_pool import DescriptorPool

    pool = DescriptorPool()
    for file in FileDescriptorSet.FromString(
        (resources.files("controlplane._proto") / "descriptors.binpb").read_bytes()
    ).file:
        pool.Add(file)
    return pool


def _new_any() -> Any:
    """An empty Any: the form in which protobuf's JSON carries ``@type``, messages with a form of their own included."""
    from google.protobuf.message_factory import GetMessageClass

    return cast("Any", GetMessageClass(_pool().FindMessageTypeByName("google.protobuf.Any"))())


def _sort(value: JSON) -> JSON:
    if isinstance(value, dict):
        return _sort_object(value)
    if isinstance(value, list):
        return [_sort(item) for item in value]
    return value


def _sort_object(value: dict[str, JSON]) -> dict[str, JSON]:
    return {key: _sort(value[key]) for key in sorted(value)}
