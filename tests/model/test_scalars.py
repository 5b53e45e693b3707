"""Booleans, durations, and the patterns that are made here and not taken from a CRD."""

import re

import pytest

from controlplane.model.http_route import HTTPPathMatch
from controlplane.model.problems import explain, quoted
from controlplane.model.rules.http_route import path_is_normal
from controlplane.model.scalars import (
    DURATION,
    ISTIO_DURATION,
    NORMAL_PATH,
    nanoseconds_of,
    parse_bool,
    parse_duration,
    parse_istio_duration,
)
from controlplane.model.shapes import Text


@pytest.mark.parametrize(
    ("texts", "value"),
    [
        (("1", "t", "T", "true", "True", "TRUE"), True),
        (("0", "f", "F", "false", "False", "FALSE"), False),
        (("", "yes", "tRUE", " true", "01"), None),
    ],
)
def test_booleans(texts: tuple[str, ...], value: bool | None) -> None:
    assert {parse_bool(text) for text in texts} == {value}


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [("0s", 0), ("10s", 10_000), ("1h30m", 5_400_000), ("500ms", 500), ("1m1ms", 60_001), ("1s1h1s", 3_602_000)],
)
def test_durations(text: str, milliseconds: int) -> None:
    assert parse_duration(text) == milliseconds


@pytest.mark.parametrize("text", ["", "10", "s", "1.5s", "-1s", "100000s", "1d", "1s1s1s1s1s", "1s\n"])
def test_what_is_no_duration(text: str) -> None:
    assert list(explain(text, Text(pattern=DURATION), "", quoted))


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [("0", 0), ("0s", 0), ("+0", 0), ("10s", 10**10), ("+1s", 10**9), ("0.5s", 5 * 10**8), (".5s", 5 * 10**8), ("1.s", 10**9),
     ("1.5h", 5400 * 10**9), ("1h30m0.25s", 5_400_250_000_000), ("300ms", 3 * 10**8), ("2us", 2000), ("2\xb5s", 2000),
     ("2\u03bcs", 2000), ("7ns", 7), ("0.1ns", 0), ("1m1ms", 60_001_000_000), ("999999999h", 3600 * 10**9 * 999_999_999)],
)  # fmt: skip
def test_durations_of_istio(text: str, nanoseconds: int) -> None:
    assert list(explain(text, Text(pattern=ISTIO_DURATION), "", quoted)) == []
    assert nanoseconds_of(text) == nanoseconds
    assert parse_istio_duration(text) == (nanoseconds + 999_999) // 1_000_000


@pytest.mark.parametrize(
    "text", ["", "1", "00", "+", ".", ".s", "s", "-1s", "1d", "1 s", "1s ", "1s\n", "1,5s", "1e3s", "1s0", "0x1s", "1S", "\u0663s"]
)  # fmt: skip
def test_what_is_no_duration_of_istio(text: str) -> None:
    assert list(explain(text, Text(pattern=ISTIO_DURATION), "", quoted))


# The CRD's own rules for a path to compare with, one by one.
CHARACTERS = re.compile(r"^(?:[-A-Za-z0-9/._~!$&'()*+,;=:@]|[%][0-9a-fA-F]{2})+\Z")


def is_normal(path: str) -> bool:
    return (
        path.startswith("/")
        and not any(part in path for part in ("//", "/./", "/../", "%2f", "%2F", "#"))
        and not path.endswith(("/.", "/.."))
        and CHARACTERS.search(path) is not None
    )


PIECES = ["/", ".", "..", "a", "%2f", "%2F", "%41", "%", "#", "?", "~", "é", " ", "\n", "..."]


def test_the_pattern_of_a_normal_path_is_the_rules_of_the_crd() -> None:
    paths = [f"{a}{b}{c}{d}" for a in PIECES for b in PIECES for c in PIECES for d in ["", *PIECES]]
    assert [path for path in paths if (re.search(NORMAL_PATH, path) is not None) != is_normal(path)] == []
    assert any(is_normal(path) for path in paths)
    assert [path for path in paths if is_normal(path) == bool(list(path_is_normal(HTTPPathMatch(value=path))))] == []
