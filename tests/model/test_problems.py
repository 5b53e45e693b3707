"""The words of messages: values, types and alternatives as a person reads them."""

from datetime import UTC, date, datetime

import pytest

from controlplane.model.problems import closest, either, explain, hidden, kind_of, quoted, words
from controlplane.model.shapes import Choice, Either, Entries, Flag, Items, Parts, Shape, Text, Whole


@pytest.mark.parametrize(
    ("value", "text", "kind"),
    [
        ("a", '"a"', "text"),
        ("a" * 99, f'"{"a" * 57}..."', "text"),
        ("a\n\x1b[31m", r'"a\n\x1b[31m"', "text"),
        ("grün", '"grün"', "text"),
        (True, "true", "a boolean"),
        (5, "5", "a number"),
        (0.5, "0.5", "a number with a fraction"),
        (None, "null", "nothing"),
        (date(2024, 5, 31), "2024-05-31", "a date"),
        (datetime(2024, 5, 31, tzinfo=UTC), "2024-05-31 00:00:00+00:00", "a date"),
        (b"a", "b'a'", "a bytes"),
        ({}, "{}", "an object"),
        ([], "[]", "a list"),
    ],
)
def test_values(value: object, text: str, kind: str) -> None:
    assert (quoted(value), kind_of(value)) == (text, kind)
    assert hidden(value) == "the value"


@pytest.mark.parametrize(
    ("shape", "text"),
    [
        (Parts("A", {"b": Flag(), "a": Flag()}, ()), "an object with a or b"),
        (Parts("A", {}, ()), "an object"),
        (Items(Flag()), "a list"),
        (Entries(Text()), "a map of names to texts"),
        (Flag(), "true or false"),
        (Choice(("a", "b", "c")), "a, b or c"),
        (Either((Whole(1, 2), Text())), "a whole number from 1 to 2 or text"),
        (Whole(), "a whole number"),
        (Whole(minimum=1), "a whole number"),
        (Whole(1, 2), "a whole number from 1 to 2"),
        (Text(1, 2), "text of 1 to 2 characters"),
        (Text(), "text"),
    ],
)
def test_what_fits(shape: Shape, text: str) -> None:
    assert words(shape) == text


def test_alternatives() -> None:
    assert [either(["a"]), either(["a", "b"]), either([1, 2, 3])] == ["a", "a or b", "1, 2 or 3"]


@pytest.mark.parametrize(
    ("name", "meant"),
    [("hostname", "hostnames"), ("HostNames", "hostnames"), ("parentRef", "parentRefs"), ("weight", None), ("", None)],
)
def test_near_misses(name: str, meant: str | None) -> None:
    assert closest(name, ["hostnames", "parentRefs", "rules"]) == meant


def test_hidden_values_do_not_come_back_in_the_remedy() -> None:
    (problem,) = explain(31337, Text(), "data", hidden)
    assert "31337" not in str(problem)
