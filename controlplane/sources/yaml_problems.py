"""What a person is told about a text that is not YAML.

The parser's own words are for those who know its grammar, and its snippets quote the text, which may be a private key. So its
problems, which are constants of libyaml, are looked up here and said anew, with lines and columns and no content.
"""

from __future__ import annotations

from typing import Final

import msgspec
import yaml
from yaml.reader import ReaderError


class Unparsable(msgspec.Struct, frozen=True):
    """Why a text as a whole gives no documents."""

    line: int
    """From 1, as ``column``."""
    column: int
    problem: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.line}:{self.column}: {self.problem}; {self.remedy}"


_INDENTATION: Final = "check the indentation of this line and of those before it"
_BLANKS: Final = "indent with blanks"
_PROBLEMS: Final[dict[str, tuple[str, str]]] = {
    "mapping values are not allowed in this context": (
        "a ':' stands where no value can begin",
        f"quote the value before it if the ':' is part of it, or {_INDENTATION}",
    ),
    "found character that cannot start any token": (
        "a value cannot begin with this character (a tab, @, %, ` and a few others)",
        "indent with blanks, and quote a value that begins with such a character",
    ),
    "did not find expected key": ("this line does not fit into the mapping{began}", _INDENTATION),
    "did not find expected '-' indicator": ("this line does not fit into the list{began}", _INDENTATION),
    "did not find expected ',' or ']'": (
        "the list{began} is not closed here",
        "close it with ], or put a comma between items",
    ),
    "did not find expected ',' or '}'": (
        "the mapping{began} is not closed here",
        "close it with }, or put a comma between entries",
    ),
    "found unexpected end of stream": ("the quoted text{began} is not closed", "add the closing quote"),
    "found unexpected document indicator": ("the quoted text{began} is not closed", "add the closing quote"),
    "did not find expected alphabetic or numeric character": (
        "an anchor (&) or alias (*) without a name",
        "quote a value that begins with * or &, such as a hostname with a wildcard",
    ),
    "found unknown escape character": (
        "a backslash in double quotes stands before a character that it cannot escape",
        "double the backslash, or use single quotes",
    ),
    "found invalid Unicode character escape code": ("this escape names no character", "write the character itself"),
    "did not find expected hexdecimal number": (
        "this escape lacks hexadecimal digits",
        "complete it, or double the backslash",
    ),
    "did not find expected <document start>": (
        "the document has ended, and something follows that belongs to none",
        "put a line --- between documents; several JSON objects go into one List",
    ),
    "found undefined tag handle": ("a value cannot begin with this tag (!)", "quote a value that begins with !"),
    "found incompatible YAML document": ("a %YAML directive asks for another version", "remove the directive"),
    "could not find expected ':'": (
        "a line without a ':' among the keys of a mapping",
        f"complete it, or {_INDENTATION}",
    ),
    "did not find expected node content": ("a value is missing here", "add it, or remove what announces it"),
    "found a tab character that violates indentation": ("a tab indents this line", _BLANKS),
    "found a tab character where an indentation space is expected": ("a tab indents this line", _BLANKS),
    "found a tab character where an intendation space is expected": ("a tab indents this line", _BLANKS),
    "block sequence entries are not allowed in this context": ("a list item (-) stands where none can", _INDENTATION),
    "did not find expected comment or line break": (
        "text follows | or > on its line",
        "begin the text on the next line",
    ),
}


def describe_yaml_error(error: yaml.YAMLError, data: bytes) -> Unparsable:
    """What ``error``, raised while ``data`` was parsed, says; never with a byte of ``data``."""
    if isinstance(error, ReaderError):
        return Unparsable(
            *_position(data, error.position),
            problem="a control character, which YAML does not allow",
            remedy="remove it; binary data belongs into a Secret, as base64",
        )
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return Unparsable(1, 1, problem="this is not YAML", remedy="check the file")
    problem, remedy = _PROBLEMS.get(error.problem or "", (f"this is not YAML ({error.problem})", _INDENTATION))
    began = f" that began in line {error.context_mark.line + 1}" if error.context_mark else ""
    # At the end of the text libyaml names the line after the last, which no editor shows.
    last = data.count(b"\n") + (0 if data.endswith(b"\n") else 1)
    line, column = error.problem_mark.line + 1, error.problem_mark.column + 1
    if line > last:
        line, column = last, len(data.rstrip(b"\n").rpartition(b"\n")[2].decode(errors="replace")) + 1
    return Unparsable(line, column, problem.format(began=began), remedy)


def describe_encoding_error(error: UnicodeDecodeError, data: bytes) -> Unparsable:
    """Where ``data`` stops being UTF-8."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return Unparsable(1, 1, problem="this is UTF-16, not UTF-8", remedy="save the file as UTF-8")
    return Unparsable(*_position(data, error.start), problem="this byte is not UTF-8", remedy="save the file as UTF-8")


def _position(data: bytes, offset: int) -> tuple[int, int]:
    """Line and column, from 1, of an offset in octets."""
    before = data[:offset]
    return before.count(b"\n") + 1, len(before.rpartition(b"\n")[2].decode(errors="replace")) + 1
