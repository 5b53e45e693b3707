"""The order of keys."""

from __future__ import annotations

import random
from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.krt.keys import is_key, ordered, precedes

PARTS = st.recursive(st.sampled_from(["", "a", "b", 0, 1, 10]), lambda parts: st.lists(parts, max_size=3).map(tuple))
KEYS = st.one_of(st.sampled_from(["", "a", "b", "ab"]), st.lists(PARTS, max_size=3).map(tuple))


@settings(deadline=None)
@given(st.lists(KEYS, unique=True), st.randoms())
def test_one_total_order_whatever_the_order_before(keys: list[Any], rng: random.Random) -> None:
    expected = ordered(keys)
    rng.shuffle(keys)
    assert ordered(keys) == expected
    for one, other in pairwise(expected):
        assert precedes(one, other)
        assert not precedes(other, one)


@settings(deadline=None)
@given(st.lists(st.tuples(st.text(), st.integers()), unique=True))
def test_it_is_python_s_where_python_has_one(keys: list[Any]) -> None:
    assert ordered(keys) == sorted(keys)


@settings(deadline=None)
@given(st.lists(KEYS, unique=True), st.data())
def test_a_part_of_the_keys_is_in_the_order_of_the_whole(keys: list[Any], data: st.DataObject) -> None:
    whole = ordered(keys)
    part = [key for key in keys if data.draw(st.booleans())]
    assert ordered(part) == [key for key in whole if key in part]


def test_strange_parts_have_an_order_too() -> None:
    assert ordered([(None,), ("a",), (b"x",), (1,)]) == [(1,), ("a",), (None,), (b"x",)]
    assert is_key("a")
    assert is_key(("a", 1))
    assert not is_key(1)
