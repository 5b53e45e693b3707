"""Several findings in one condition: told apart, each once, and no more than the API has room for."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from controlplane.model.conditions import Condition, ConditionType, Reason, combine, numbered


def test_one_finding_stands_as_it_is() -> None:
    assert numbered([]) == ""
    assert numbered(["a: b; c"]) == "a: b; c"
    assert numbered(["a: b; c", "a: b; c"]) == "a: b; c"


def test_several_have_their_numbers() -> None:
    assert numbered(["b: x; y", "a: x; y", "b: x; y"]) == "(1) b: x; y; (2) a: x; y"


def test_a_condition_of_several_has_the_first_one_s_reason() -> None:
    findings = [("b", Reason.BACKEND_NOT_FOUND), ("a", Reason.INVALID_KIND)]
    problems = tuple(Condition(ConditionType.RESOLVED_REFS, False, reason, text) for text, reason in findings)
    combined = combine(ConditionType.RESOLVED_REFS, Reason.RESOLVED_REFS, problems)
    assert combined == Condition(ConditionType.RESOLVED_REFS, False, Reason.BACKEND_NOT_FOUND, "(1) b; (2) a")


def test_what_there_is_no_room_for_is_counted() -> None:
    message = numbered(f"{n} {'x' * 100}" for n in range(1000))
    told, _, rest = message.rpartition("; and ")
    assert rest == f"{1000 - told.count('; ') - 1} more"
    assert told.endswith("x" * 100), "the last one is whole"
    assert len(message) > 31_000


@given(st.lists(st.integers(0, 40_000), max_size=20))
def test_there_is_always_room(lengths: list[int]) -> None:
    message = numbered("x" * length for length in lengths)
    assert len(message) < 32_100
    assert not message.startswith("and "), "something is told"
