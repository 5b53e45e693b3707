"""What an unquoted YAML scalar means: what kubectl reads in it.

kubectl (sigs.k8s.io/yaml, a fork of go-yaml v2) reads YAML 1.1 with deviations, and a manifest must mean the same here as
there. PyYAML's resolver deviates differently (``y`` is text, ``1:30`` is 90, ``2024-01-01`` a date), so ours stands instead:

- ``y``, ``yes``, ``on``, ``true`` and ``n``, ``no``, ``off``, ``false`` are booleans, in lower case, capitalised or upper case;
- ``0x1f``, ``0b11``, ``0o17`` and ``017`` (octal!) are integers; ``_`` between digits is ignored; ``08`` is 8;
- ``1e3`` is 1000: a float without a fraction is the integer that kubectl's JSON would say;
- timestamps and base 60 (``1:30``) are text.

Source: goyaml.v2/resolve.go and yaml.go of sigs.k8s.io/yaml.
"""

from __future__ import annotations

import math
import re
from typing import Final

_WORDS: Final[dict[str, bool | float | None]] = {
    **{word: True for text in ("y", "yes", "true", "on") for word in (text, text.capitalize(), text.upper())},
    **{word: False for text in ("n", "no", "false", "off") for word in (text, text.capitalize(), text.upper())},
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
    **{sign + word: float(sign + "inf") for sign in ("", "+", "-") for word in (".inf", ".Inf", ".INF")},
}
_FIRST: Final = frozenset("yYnNtTfFoO~+-.0123456789")
"""The characters that anything but text begins with."""
_NUMERIC: Final = frozenset("+-.0123456789")
_DECIMAL: Final = re.compile(r"[-+]?(0|[1-9][0-9]*)\Z")
_PREFIXED: Final = re.compile(r"([-+]?)0(?:[xX]([0-9a-fA-F]+)|[bB]([01]+)|[oO]?([0-7]+))\Z")
_FLOAT: Final = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?\Z")
_LONGEST: Final = 400
"""No number of a manifest is longer; what is, is text (and ``int`` refuses thousands of digits)."""
_WHOLE: Final = 1e21
"""From here on Go's JSON writes a float with an exponent, whole or not."""


def resolve_plain(text: str) -> str | int | float | bool | None:
    """The value of an unquoted scalar without a tag.

    Returns:
        A float only with a fraction, beyond 1e21, or as infinity and NaN, which the caller has to refuse: JSON has neither.
    """
    if text and text[0] not in _FIRST:
        return text
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in _NUMERIC or len(text) > _LONGEST:
        return text
    digits = text if text[0] == "." else text.replace("_", "")
    if _DECIMAL.match(digits):
        return int(digits)
    if prefixed := _PREFIXED.match(digits):
        sign, hexadecimal, binary, octal = prefixed.groups()
        number = int(hexadecimal, 16) if hexadecimal else int(binary, 2) if binary else int(octal, 8)
        return -number if sign == "-" else number
    if _FLOAT.match(digits):
        value = float(digits)
        if math.isinf(value):
            return text
        return int(value) if value.is_integer() and abs(value) < _WHOLE else value
    return text
