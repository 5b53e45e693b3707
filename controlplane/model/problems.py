"""What is wrong with a document that does not fit its struct, in words for the person who wrote it.

msgspec says *that* a document does not fit, and stops at the first error. This module looks again, beside the same shape, and
names every field that is wrong with what to do about it. It must accept what msgspec decodes and encodes and nothing
else (a test holds the two against each other).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date
from difflib import get_close_matches
from typing import Final, TypeAlias, assert_never

from controlplane.model.references import FieldProblem
from controlplane.model.scalars import PATTERN_WORDS
from controlplane.model.shapes import Choice, Either, Entries, Flag, Items, Parts, Shape, Text, Whole

Quote: TypeAlias = Callable[[object], str]
"""How a value of a document is shown in a message."""

_LONGEST_QUOTE: Final = 60


def explain(value: object, shape: Shape, path: str, quote: Quote) -> Iterator[FieldProblem]:
    """Everything that keeps ``value`` from fitting ``shape``, in the document's order; nothing if it fits.

    Args:
        value: Without nulls (``shapes.without_nulls``).
        shape: What it should be.
        path: Where it stands, as the API spells it.
        quote: ``quoted``, or ``hidden`` where no value may be shown.
    """
    match shape:
        case Parts():
            yield from _explain_parts(value, shape, path, quote)
        case Items():
            yield from _explain_items(value, shape, path, quote)
        case Entries():
            yield from _explain_entries(value, shape, path, quote)
        case Text():
            yield from _explain_text(value, shape, path, quote)
        case Whole():
            yield from _explain_whole(value, shape, path, quote)
        case Choice():
            yield from _explain_choice(value, shape, path, quote)
        case Flag():
            if not isinstance(value, bool):
                yield _mismatch(value, "true or false", path, quote)
        case Either(options=options):
            fitting = [option for option in options if isinstance(value, _PYTHON_TYPES[type(option)])]
            if fitting and not isinstance(value, bool):
                yield from explain(value, fitting[0], path, quote)
            else:
                yield _mismatch(value, words(shape), path, quote)
        case _:
            assert_never(shape)


_PYTHON_TYPES: Final[Mapping[type[Text | Whole], type]] = {Text: str, Whole: int}


def _mismatch(value: object, expected: str, path: str, quote: Quote, remedy: str = "") -> FieldProblem:
    found = (
        kind_of(value) if isinstance(value, Mapping | list | tuple | None) else f"{quote(value)} is {kind_of(value)}"
    )
    return FieldProblem(path, f"{found}, where {expected} belongs", remedy or f"use {expected}")


def _explain_parts(value: object, shape: Parts, path: str, quote: Quote) -> Iterator[FieldProblem]:
    if not isinstance(value, Mapping):
        yield _mismatch(value, "an object", path, quote, f"use {words(shape)}")
        return
    for name, item in value.items():
        if not isinstance(name, str) or not is_unicode(name):
            yield FieldProblem(path, f"{quoted(name)} is no field's name", "put it in quotes or remove it")
        elif name in shape.fields:
            yield from explain(item, shape.fields[name], join(path, name), quote)
    strangers = [name for name in value if isinstance(name, str) and name not in shape.fields]
    for name in shape.required:
        if name not in value:
            remedy = f"add it: {words(shape.fields[name])}"
            if near := closest(name, strangers):
                remedy += f" (is {quoted(near)} meant to be it?)"
            yield FieldProblem(join(path, name), "required, but missing", remedy)


def _explain_items(value: object, shape: Items, path: str, quote: Quote) -> Iterator[FieldProblem]:
    if not isinstance(value, list | tuple):
        yield _mismatch(value, "a list", path, quote)
        return
    if len(value) < shape.min_length:
        yield FieldProblem(path, "the list is empty", "give at least one item")
    if shape.max_length is not None and len(value) > shape.max_length:
        yield FieldProblem(path, f"the list has {len(value)} items", f"use at most {shape.max_length}")
    for position, item in enumerate(value):
        yield from explain(item, shape.item, f"{path}[{position}]", quote)


def _explain_entries(value: object, shape: Entries, path: str, quote: Quote) -> Iterator[FieldProblem]:
    if not isinstance(value, Mapping):
        yield _mismatch(value, words(shape), path, quote)
        return
    if shape.max_length is not None and len(value) > shape.max_length:
        yield FieldProblem(path, f"the map has {len(value)} entries", f"use at most {shape.max_length}")
    for name, item in value.items():
        if isinstance(name, str):
            yield from _explain_text(name, _NAME, entry(path, name), quote)
            yield from explain(item, shape.value, entry(path, name), quote)
        else:
            yield _mismatch(name, "a name", path, quoted, f'put it in quotes: "{_plain(name)}"')


_NAME: Final = Text()


def _explain_text(value: object, shape: Text, path: str, quote: Quote) -> Iterator[FieldProblem]:
    if not isinstance(value, str):
        quotable = isinstance(value, bool | int | float | date) and quote is not hidden
        yield _mismatch(value, "text", path, quote, f'put it in quotes: "{_plain(value)}"' if quotable else "")
    elif not is_unicode(value):
        yield FieldProblem(path, f"{quote(value)} has half a surrogate pair in it", "use characters that Unicode has")
    elif len(value) < shape.min_length:
        yield FieldProblem(path, "empty", f"use {words(shape)}")
    elif shape.max_length is not None and len(value) > shape.max_length:
        yield FieldProblem(path, f"{quote(value)} has {len(value)} characters", f"use at most {shape.max_length}")
    elif shape.pattern is not None and not shape.accepts(value):
        yield FieldProblem(path, f"{quote(value)} is not of this field's form", f"use {PATTERN_WORDS[shape.pattern]}")


def _explain_whole(value: object, shape: Whole, path: str, quote: Quote) -> Iterator[FieldProblem]:
    if not isinstance(value, int) or isinstance(value, bool):
        yield _mismatch(value, "a whole number", path, quote, f"use {words(shape)}")
    elif (shape.minimum is not None and value < shape.minimum) or (shape.maximum is not None and value > shape.maximum):
        yield FieldProblem(path, f"{quote(value)} is out of range", f"use {words(shape)}")


def _explain_choice(value: object, shape: Choice, path: str, quote: Quote) -> Iterator[FieldProblem]:
    if type(value) is not type(shape.values[0]):
        yield _mismatch(
            value, "text" if isinstance(shape.values[0], str) else "a number", path, quote, f"use {words(shape)}"
        )
    elif value not in shape.values:
        remedy = f"use {words(shape)}"
        if isinstance(value, str) and (near := closest(value, [str(choice) for choice in shape.values])):
            remedy += f" (did you mean {near}?)"
        yield FieldProblem(path, f"{quote(value)} is not a value of this field", remedy)


def words(shape: Shape) -> str:
    """What fits the shape, as a noun phrase."""
    match shape:
        case Parts(fields=fields):
            return f"an object with {either(sorted(fields))}" if fields else "an object"
        case Items():
            return "a list"
        case Entries(value=Whole()):
            return "a map of names to whole numbers"
        case Entries():
            return "a map of names to texts"
        case Flag():
            return "true or false"
        case Choice(values=values):
            return either(values)
        case Either(options=options):
            return " or ".join(words(option) for option in options)
        case Whole(minimum=None) | Whole(maximum=None):
            return "a whole number"
        case Whole(minimum=low, maximum=high):
            return f"a whole number from {low} to {high}"
        case Text(pattern=str(pattern)):
            return PATTERN_WORDS[pattern]
        case Text(max_length=int(high)):
            return f"text of {shape.min_length} to {high} characters"
        case Text():
            return "text"
        case _:
            assert_never(shape)


def quoted(value: object) -> str:
    """A value as a message shows it: text in quotes, shortened, with nothing in it that a terminal would act on."""
    match value:
        case str():
            return f'"{shortened(value)}"'
        case None:
            return "null"
        case _:
            return _plain(value)


def is_unicode(text: str) -> bool:
    """Whether UTF-8 has bytes for it. YAML's and JSON's escapes can spell text that has none."""
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)


def hidden(value: object) -> str:
    """What is shown of a value that nobody may see."""
    return "the value"


def printable(text: str) -> str:
    """The text, escaped where it has characters that a terminal would act on or UTF-8 cannot write."""
    return text if text.isprintable() else text.encode("unicode_escape").decode("ascii")


def shortened(text: str) -> str:
    """At most 60 characters of it, printable."""
    text = printable(text[: _LONGEST_QUOTE + 1])
    return text if len(text) <= _LONGEST_QUOTE else f"{text[: _LONGEST_QUOTE - 3]}..."


def kind_of(value: object) -> str:
    """The type of a document's value, as a noun phrase."""
    match value:
        case bool():
            return "a boolean"
        case int():
            return "a number"
        case float():
            return "a number with a fraction"
        case str():
            return "text"
        case None:
            return "nothing"
        case Mapping():
            return "an object"
        case list() | tuple():
            return "a list"
        case date():
            return "a date"
        case _:
            return f"a {type(value).__name__}"


def join(path: str, name: str) -> str:
    """The path of a field of what stands at ``path``."""
    return f"{path}.{shortened(name)}" if path else shortened(name)


def entry(path: str, name: str) -> str:
    """The path of an entry of the map at ``path``."""
    return f'{path}["{shortened(name)}"]'


def either(values: Sequence[object]) -> str:
    """``A, B or C``."""
    texts = [str(value) for value in values]
    return " or ".join([", ".join(texts[:-1]), texts[-1]] if len(texts) > 1 else texts)


def closest(name: str, names: Sequence[str]) -> str | None:
    """The one of ``names`` that a person who wrote ``name`` most likely meant; None if none comes near."""
    by_lower = {candidate.lower(): candidate for candidate in names}
    near = get_close_matches(name.lower(), by_lower, n=1, cutoff=0.7)
    return by_lower[near[0]] if near else None


def _plain(value: object) -> str:
    return {True: "true", False: "false"}[value] if isinstance(value, bool) else shortened(str(value))
