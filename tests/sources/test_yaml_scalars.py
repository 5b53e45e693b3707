"""Unquoted scalars mean what kubectl reads in them: the table is goyaml.v2's ``resolve`` with what JSON makes of it."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.sources.yaml_scalars import resolve_plain


@pytest.mark.parametrize("text", ["y", "Y", "yes", "Yes", "YES", "on", "On", "ON", "true", "True", "TRUE"])
def test_true(text):
    assert resolve_plain(text) is True


@pytest.mark.parametrize("text", ["n", "N", "no", "No", "NO", "off", "Off", "OFF", "false", "False", "FALSE"])
def test_false(text):
    assert resolve_plain(text) is False


@pytest.mark.parametrize("text", ["", "~", "null", "Null", "NULL"])
def test_null(text):
    assert resolve_plain(text) is None


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        ("80", 80),
        ("-1", -1),
        ("+5", 5),
        ("1_000", 1000),
        ("0x1F", 31),
        ("-0x1f", -31),
        ("0b11", 3),
        ("-0b11", -3),
        ("0o17", 15),
        ("017", 15),
        ("08", 8),
        ("99999999999999999999", 99999999999999999999),
        ("1e3", 1000),
        ("80.0", 80),
        ("3.", 3),
    ],
)
def test_integers(text, value):
    result = resolve_plain(text)
    assert (result, type(result)) == (value, int)


@pytest.mark.parametrize(
    ("text", "value"), [("0.5", 0.5), (".5", 0.5), ("-.5", -0.5), ("1.5e3", 1500), ("1e300", 1e300)]
)
def test_floats(text, value):
    assert resolve_plain(text) == value


@pytest.mark.parametrize("text", [".inf", "+.Inf", "-.INF", ".nan", ".NaN"])
def test_infinity_and_nan_are_left_to_the_caller(text):
    value = resolve_plain(text)
    assert isinstance(value, float)
    assert not math.isfinite(value)


@pytest.mark.parametrize(
    "text",
    [
        "web",
        "yES",
        "tRUE",
        "nil",
        "2024-01-01",
        "2024-01-01T10:00:00Z",
        "1:30",
        "10.0.0.1",
        "1.2.3",
        "80/tcp",
        "0xyz",
        "0b12",
        "1e",
        "e3",
        "+",
        "-",
        ".",
        "..",
        "_1",
        "inf",
        "1e999",
        "9" * 5000,
        "=",
        "::1",
    ],
)
def test_everything_else_is_text(text):
    assert resolve_plain(text) == text


@given(st.text(max_size=20) | st.text("0123456789+-._eExXbBoO", max_size=12))
def test_nothing_raises(text):
    value = resolve_plain(text)
    assert value is None or isinstance(value, str | bool | int | float)


@given(st.integers(min_value=-(2**63), max_value=2**64))
def test_every_integer_is_itself(number):
    assert resolve_plain(str(number)) == number
