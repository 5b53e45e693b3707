"""The documents of a YAML or JSON text, as plain values: what kubectl would read, or where and why it cannot be read.

A text with a syntax error has no documents, because nobody can tell what follows the error. A document with a flaw has a
value beside, so that the object is known which is to keep its last good version. No message holds a value of the text: it may
be a private key. Lines and columns count from 1.

This module must not know what a document means; ``controlplane.sources.manifest_text`` does.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec
import yaml
from yaml.events import DocumentStartEvent, StreamEndEvent

from controlplane.sources.yaml_builder import DocumentBuilder, Flaw, TooDeepError
from controlplane.sources.yaml_problems import Unparsable, describe_encoding_error, describe_yaml_error


class Document(msgspec.Struct, frozen=True):
    """One document of a text."""

    index: int
    """From 1, the empty documents counted."""
    line: int
    """Where its content begins."""
    value: Any
    """Dicts with text as keys, lists, str, int, finite float, bool and None. Shared where the text has aliases: not to be changed."""
    flaws: tuple[Flaw, ...] = ()


def read_documents(data: bytes) -> tuple[Document, ...] | Unparsable:
    """The documents of a text, empty ones included. Cost: O(len(data)), about 4 MB a second."""
    return _read(data, lines=None)


def read_field_lines(data: bytes) -> dict[int, dict[str, int]]:
    """Where the fields of each document stand: its index -> path -> line, for a text that ``read_documents`` reads.

    An entry of a map has both spellings, ``labels.app`` and ``labels["app"]``. Cost: about twice that of reading; so it is for
    those texts alone in which something is wrong.
    """
    lines: dict[int, dict[str, int]] = {}
    _read(data, lines=lines)
    return lines


def line_of(path: str, lines: Mapping[str, int]) -> int | None:
    """The line of a field, or of the nearest that holds it: a field that is missing has no line of its own."""
    while path not in lines:
        shorter = _LAST_STEP.sub("", path)
        if shorter == path:
            return None
        path = shorter
    return lines[path]


_LAST_STEP: Final = re.compile(r'(\["[^"]*"\]|\[\d+\]|\.?[^.\[\]]+)\Z')
_SURROGATES: Final = re.compile(r"\\(?:u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})|.)", re.DOTALL)


def join_surrogates(data: bytes) -> bytes:
    r"""A JSON text with each escaped pair of surrogates (``\ud83d\ude00``) as YAML spells it (``\U0001f600``).

    With that, and for what manifests hold, JSON is YAML. Anything else is returned as it is.
    """
    if b"\\ud" not in data and b"\\uD" not in data:
        return data

    def join(match: re.Match[str]) -> str:
        high, low = match.groups()
        return f"\\U{0x10000 + ((int(high, 16) - 0xD800) << 10) + int(low, 16) - 0xDC00:08x}" if high else match.group()

    return _SURROGATES.sub(join, data.decode(errors="surrogateescape")).encode(errors="surrogateescape")


def _read(data: bytes, lines: dict[int, dict[str, int]] | None) -> tuple[Document, ...] | Unparsable:
    try:
        data.decode()
        return tuple(_documents(yaml.CSafeLoader(data), lines))
    except UnicodeDecodeError as error:
        return describe_encoding_error(error, data)
    except yaml.YAMLError as error:
        return describe_yaml_error(error, data)
    except TooDeepError as error:
        return error.unparsable


def _documents(parser: yaml.CSafeLoader, lines: dict[int, dict[str, int]] | None) -> Iterator[Document]:
    index = 0
    while not isinstance(event := parser.get_event(), StreamEndEvent):
        if isinstance(event, DocumentStartEvent):
            index += 1
            field_lines = None if lines is None else lines.setdefault(index, {})
            built = DocumentBuilder(parser, field_lines).build()
            yield Document(index, built.line, built.value, built.flaws)
