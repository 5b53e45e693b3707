"""What a struct of ours accepts, as data: derived from the structs' annotations, so that no table repeats them.

msgspec decides whether a document fits, fast and with one error at most. Everything that looks at a document more slowly and
more closely (which fields are wrong, which are unknown, what stands there as ``null``) walks these shapes beside it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Final, TypeAlias

import msgspec
from msgspec import inspect


class Text(msgspec.Struct, frozen=True):
    """A string; lengths in characters."""

    min_length: int = 0
    max_length: int | None = None
    pattern: str | None = None
    """A regular expression of Python's, to be searched for."""

    def accepts(self, text: str) -> bool:
        """Whether a text fits, but for characters that UTF-8 has no bytes for."""
        if len(text) < self.min_length or (self.max_length is not None and len(text) > self.max_length):
            return False
        return self.pattern is None or re.search(self.pattern, text) is not None


class Whole(msgspec.Struct, frozen=True):
    """An integer; booleans and floats are none."""

    minimum: int | None = None
    maximum: int | None = None


class Flag(msgspec.Struct, frozen=True):
    """A boolean."""


class Choice(msgspec.Struct, frozen=True):
    """One of some values, all of one type."""

    values: tuple[str, ...] | tuple[int, ...]
    """Sorted."""


class Either(msgspec.Struct, frozen=True):
    """A value of one of several types, no two of which are both strings or both integers."""

    options: tuple[Text | Whole, ...]


class Items(msgspec.Struct, frozen=True):
    """A list."""

    item: Shape
    min_length: int = 0
    max_length: int | None = None


class Entries(msgspec.Struct, frozen=True):
    """A map from any string to strings, or to integers."""

    value: Text | Whole
    max_length: int | None = None


class Parts(msgspec.Struct, frozen=True):
    """An object with named fields."""

    name: str
    """The struct's."""
    fields: Mapping[str, Shape]
    """By the name that the API has."""
    required: tuple[str, ...]


Shape: TypeAlias = Text | Whole | Flag | Choice | Either | Items | Entries | Parts


@cache
def shape_of(struct: type[msgspec.Struct]) -> Parts:
    """What documents of ``struct`` look like. A struct's tag (``kind``) is no field of it."""
    shape = _shape(inspect.type_info(struct))
    assert isinstance(shape, Parts)
    return shape


def _shape(info: inspect.Type) -> Shape:
    match info:
        case inspect.StructType(cls=cls, fields=fields):
            return Parts(
                name=cls.__name__,
                fields={field.encode_name: _shape(field.type) for field in fields},
                required=tuple(field.encode_name for field in fields if field.required),
            )
        case inspect.VarTupleType(item_type=item, min_length=low, max_length=high):
            return Items(item=_shape(item), min_length=low or 0, max_length=high)
        case inspect.DictType(value_type=value, max_length=high):
            (scalar,) = _scalars((_shape(value),))
            return Entries(value=scalar, max_length=high)
        case inspect.UnionType(types=types):
            options = tuple(_shape(option) for option in types if not isinstance(option, inspect.NoneType))
            return options[0] if len(options) == 1 else Either(options=_scalars(options))
        case inspect.StrType(min_length=low, max_length=high, pattern=pattern):
            return Text(min_length=low or 0, max_length=high, pattern=pattern)
        case inspect.IntType(ge=low, le=high):
            return Whole(minimum=low, maximum=high)
        case inspect.LiteralType(values=values):
            return Choice(values=values)  # type: ignore[arg-type]  # ours are all strings or all integers
        case inspect.BoolType():
            return Flag()
    raise TypeError(f"{info!r}: no struct of the model may have this type; add its shape here first")


def _scalars(options: tuple[Shape, ...]) -> tuple[Text | Whole, ...]:
    scalars = tuple(option for option in options if isinstance(option, Text | Whole))
    assert len(scalars) == len(options), "a field or an entry is text, a number or either; other unions have no shape"
    return scalars


_UNCHANGED: Final = object()


def without_nulls(value: object, shape: Shape) -> object:
    """The document as the API server reads it where ``null`` stands: an absent field, in a map the empty string or 0.

    An item of a list that is ``null`` stays, and is an error. Returns ``value`` itself where nothing is to be done.

    Source: Kubernetes, "Custom resources", defaulting and nullable; ``encoding/json`` for its own kinds.
    """
    changed = _without_nulls(value, shape)
    return value if changed is _UNCHANGED else changed


def _without_nulls(value: object, shape: Shape) -> object:
    match shape, value:
        case Parts(fields=fields), Mapping():
            changes = {
                name: _UNCHANGED if item is None else _without_nulls(item, fields[name])
                for name, item in value.items()
                if name in fields
            }
            if all(change is _UNCHANGED and value[name] is not None for name, change in changes.items()):
                return _UNCHANGED
            return {
                name: item if changes.get(name, _UNCHANGED) is _UNCHANGED else changes[name]
                for name, item in value.items()
                if item is not None or name not in fields
            }
        case Items(item=item_shape), list() | tuple():
            items = [_without_nulls(item, item_shape) for item in value]
            if all(item is _UNCHANGED for item in items):
                return _UNCHANGED
            return [old if new is _UNCHANGED else new for old, new in zip(value, items, strict=True)]
        case Entries(value=scalar), Mapping() if None in value.values():
            nothing = "" if isinstance(scalar, Text) else 0
            return {name: nothing if item is None else item for name, item in value.items()}
    return _UNCHANGED
