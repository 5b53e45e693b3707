"""Maps: what a function may return, who owns an output key, and what failures do. Numbers are those of krt.md, 1.13."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from krt_rows import Driver, Pod, Text, keys

from controlplane.krt import Collection, Failure, Fetch, Graph, Source


class Words:
    """Inputs whose text lists the keys of the rows that they give; what else a text says is in the tests."""

    def __init__(self) -> None:
        self.graph = Graph()
        self.inputs: Source[Text] = self.graph.source("inputs", Text)
        self.others: Source[Text] = self.graph.source("others", Text)
        self.runs: list[str] = []
        self.words: Collection[Text] = self.graph.map("words", Text, self.inputs, self.split, reads=(self.others,))
        self.driver = Driver(self.graph)

    def split(self, row: Text, fetch: Fetch) -> Any:
        assert isinstance(row.key, str)
        self.runs.append(row.key)
        match row.text:
            case "raise":
                raise ValueError("as asked")
            case "raise after reading":
                other = fetch(self.others, "o")
                if other is None or other.text == "raise":
                    raise KeyError("nothing there")
                return Text(row.key, other.text)
            case _:
                return [Text(word, row.key) for word in row.text.split()]

    def write(self, *writes: str) -> Any:
        """``a=x y`` puts input a, ``-a`` deletes it, ``@o=x`` puts into the others."""
        edits: list[tuple[Source[Any], Any]] = []
        for edit in writes:
            source = self.others if edit.startswith("@") else self.inputs
            key, _, text = edit.removeprefix("@").partition("=")
            edits.append((source, key[1:] if key.startswith("-") else Text(key, text)))
        return self.driver.write(*edits)

    def owners(self) -> dict[Any, str]:
        return {row.key: row.text for row in self.words.rows()}

    def failing(self) -> dict[Any, str]:
        return {failure.key: failure.exception for failure in self.graph.failures()}


@pytest.fixture
def words() -> Words:
    return Words()


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (lambda: None, []),
        (lambda: Text("x"), ["x"]),
        (list, []),
        (lambda: [Text("y"), Text("x")], ["x", "y"]),
        (lambda: (Text("x"),), ["x"]),
        (lambda: (Text(key) for key in "xyz"), ["x", "y", "z"]),
        (lambda: {Text("x").key: Text("x")}.values(), ["x"]),
    ],
)
def test_a_function_gives_a_row_or_none_or_several(result: Callable[[], Any], expected: list[str]) -> None:
    graph = Graph()
    inputs = graph.source("inputs", Text)
    outputs = graph.map("outputs", Text, inputs, lambda _, __: result())
    Driver(graph).write((inputs, Text("a")))
    assert [row.key for row in outputs.rows()] == expected
    assert graph.failures() == ()


@pytest.mark.parametrize(
    ("result", "exception", "message"),
    [
        (lambda: "x", "RowTypeError", "returned str, not a Text, several, or None"),
        (lambda: b"x", "RowTypeError", "returned bytes, not a Text"),
        (lambda: 1, "RowTypeError", "returned int, not a Text"),
        (lambda: {"x": Text("x")}, "RowTypeError", "returned dict, not a Text"),
        (lambda: Pod("x"), "RowTypeError", "returned Pod, not a Text"),
        (lambda: [Text("x"), Pod("y")], "RowTypeError", "returned Pod among its rows, not a Text"),
        (lambda: [Text("x"), None], "RowTypeError", "returned NoneType among its rows"),
        (lambda: [Text("x"), Text("x")], "DuplicateKeyError", "returned two rows with the key 'x'"),
        (lambda: Text(7), "RowTypeError", "the key of a row is int, not a string or a tuple"),  # type: ignore[arg-type]
        (lambda: Text(("x", [])), "TypeError", "unhashable type: 'list'"),
        (lambda: (1 / 0 for _ in "x"), "ZeroDivisionError", "division by zero"),
    ],
)
def test_what_is_no_row_is_a_failure_of_that_input(result: Callable[[], Any], exception: str, message: str) -> None:
    graph = Graph()
    inputs = graph.source("inputs", Text)
    outputs = graph.map("outputs", Text, inputs, lambda row, _: result() if row.key == "bad" else row)
    commit = Driver(graph).write((inputs, Text("bad")), (inputs, Text("good")))
    assert [row.key for row in outputs.rows()] == ["good"]
    (failure,) = graph.failures()
    assert commit.failures == (failure,)
    assert (failure.node, failure.key, failure.exception) == ("outputs", "bad", exception)
    assert message in failure.message


def test_none_is_absent_and_can_become_a_row_later() -> None:
    """9"""
    graph = Graph()
    pods = graph.source("pods", Pod)
    named = graph.map("named", Pod, pods, lambda pod, _: pod if pod.ip else None)
    driver = Driver(graph)
    driver.write((pods, Pod("a", ip="")))
    assert named.rows() == ()
    assert keys(driver.write((pods, Pod("a", ip="1"))), "named") == {"a": "+"}
    assert keys(driver.write((pods, Pod("a", ip=""))), "named") == {"a": "-"}


def test_outputs_follow_their_input(words: Words) -> None:
    assert keys(words.write("a=x y"), "words") == {"x": "+", "y": "+"}
    assert keys(words.write("a=y z"), "words") == {"x": "-", "z": "+"}
    assert keys(words.write("a="), "words") == {"y": "-", "z": "-"}
    assert keys(words.write("a=x"), "words") == {"x": "+"}
    assert keys(words.write("-a"), "words") == {"x": "-"}


def test_what_an_input_gives_is_sorted_like_everything_else(words: Words) -> None:
    """39"""
    assert list(words.write("a=z c", "b=y b").deltas["words"]) == ["b", "c", "y", "z"]
    assert list(words.write("a=z2 a", "b=b").deltas["words"]) == ["a", "c", "y", "z", "z2"]
    assert [row.key for row in words.words.rows()] == ["a", "b", "z2"]
    words.write("a=z2 b", "b=a")  # two keys change hands
    assert [row.key for row in words.words.rows()] == ["a", "b", "z2"]


def test_only_what_changed_runs_and_once(words: Words) -> None:
    """37"""
    words.write("c=x", "a=y", "b=z")
    assert words.runs == ["a", "b", "c"]
    words.runs.clear()
    words.write("b=w")
    words.write("b=w")
    words.write("-a")
    assert words.runs == ["b"]


def test_a_key_that_moves_from_one_input_to_another_is_one_change(words: Words) -> None:
    words.write("a=x", "b=y")
    commit = words.write("a=y", "b=x")
    assert keys(commit, "words") == {"x": "~", "y": "~"}
    assert words.failing() == {}
    assert words.owners() == {"x": "b", "y": "a"}


def test_of_two_inputs_that_claim_a_key_the_smaller_has_it_and_the_other_fails(words: Words) -> None:
    """41"""
    for order in (("a=x", "b=x y"), ("b=x y", "a=x")):
        words = Words()
        for edit in order:
            commit = words.write(edit)
        assert words.owners() == {"x": "a", "y": "b"}
        (failure,) = words.graph.failures()
        assert commit.failures == (failure,)
        assert failure == Failure(
            "words", "b", "'a' and 'b' both give the row 'x'; 'a' comes first and has it", "DuplicateKeyError"
        )


def test_when_the_owner_lets_go_the_other_takes_over_without_a_run(words: Words) -> None:
    """41"""
    words.write("a=x", "b=x", "c=x")
    assert words.failing() == {"b": "DuplicateKeyError", "c": "DuplicateKeyError"}
    words.runs.clear()
    commit = words.write("a=")
    assert words.runs == ["a"]
    assert keys(commit, "words") == {"x": "~"}
    assert words.owners() == {"x": "b"}
    assert [failure.key for failure in commit.cleared] == ["b"]
    assert [failure.message for failure in commit.failures] == [
        "'b' and 'c' both give the row 'x'; 'b' comes first and has it"
    ]
    commit = words.write("-b")
    assert words.owners() == {"x": "c"}
    assert words.failing() == {}
    assert keys(words.write("-c"), "words") == {"x": "-"}


def test_an_input_that_stops_claiming_what_it_never_had_changes_nothing(words: Words) -> None:
    words.write("a=x", "b=x y")
    commit = words.write("b=y")
    assert commit.deltas.keys() == {"inputs"}
    assert [failure.key for failure in commit.cleared] == ["b"]
    words.write("b=x y")
    assert keys(words.write("-b"), "words") == {"y": "-"}
    assert words.owners() == {"x": "a"}


def test_the_own_key_can_be_lost_to_a_smaller_input_and_come_back(words: Words) -> None:
    words.write("b=b")
    assert words.owners() == {"b": "b"}
    assert keys(words.write("a=b"), "words") == {"b": "~"}
    assert words.owners() == {"b": "a"}
    assert words.failing() == {"b": "DuplicateKeyError"}
    words.write("a=")
    assert words.owners() == {"b": "b"}
    assert words.failing() == {}


def test_the_own_key_belongs_to_a_smaller_input_that_was_there_first(words: Words) -> None:
    words.write("a=b")
    words.write("b=b")
    assert words.owners() == {"b": "a"}
    words.write("-a")
    assert words.owners() == {"b": "b"}
    words.write("-b")
    assert words.owners() == {}


def test_what_takes_over_is_what_the_other_gave_last() -> None:
    graph = Graph()
    inputs = graph.source("inputs", Text)
    outputs = graph.map("outputs", Text, inputs, lambda row, _: Text("x", row.text))
    driver = Driver(graph)
    driver.write((inputs, Text("a", "1")), (inputs, Text("b", "2")))
    assert "outputs" not in driver.write((inputs, Text("b", "3"))).deltas
    driver.write((inputs, "a"))
    assert outputs.rows() == (Text("x", "3"),)


def test_taking_over_with_an_equal_row_is_no_change() -> None:
    graph = Graph()
    inputs = graph.source("inputs", Text)
    graph.map("outputs", Text, inputs, lambda _, __: Text("x", "same"))
    driver = Driver(graph)
    driver.write((inputs, Text("a")), (inputs, Text("b")))
    assert "outputs" not in driver.write((inputs, "a")).deltas
    assert "outputs" not in driver.write((inputs, Text("a"))).deltas


def test_several_lost_keys_are_one_failure(words: Words) -> None:
    words.write("a=x y z", "b=z y x")
    (failure,) = words.graph.failures()
    assert failure.message == "'a' and 'b' both give the row 'x'; 'a' comes first and has it (and 2 more such rows)"


def test_a_function_that_raises_keeps_the_rows_of_that_input_and_stops_nothing_else(words: Words) -> None:
    words.write("a=x y", "b=z")
    commit = words.write("a=raise", "b=w")
    assert words.owners() == {"x": "a", "y": "a", "w": "b"}
    (failure,) = commit.failures
    assert failure == words.graph.failures()[0]
    assert (failure.node, failure.key, failure.message, failure.exception) == ("words", "a", "as asked", "ValueError")
    assert failure.where.startswith(f"{__name__}:")
    assert words.words.failures() == (failure,)
    assert words.words.statistics().failures == 1


def test_a_failure_is_told_once_and_cleared_once(words: Words) -> None:
    assert len(words.write("a=raise").failures) == 1
    commit = words.write("@o=x")
    assert (commit.failures, commit.cleared) == ((), ())
    commit = words.write("a=x")
    assert commit.failures == ()
    assert [failure.message for failure in commit.cleared] == ["as asked"]
    assert words.graph.failures() == ()


def test_a_failure_that_says_something_else_is_told_again(words: Words) -> None:
    words.write("a=raise")
    commit = words.write("a=raise after reading")
    assert [failure.exception for failure in commit.failures] == ["KeyError"]
    assert commit.cleared == ()


def test_a_failed_input_that_goes_takes_its_kept_rows_and_its_failure_with_it(words: Words) -> None:
    words.write("a=x y")
    words.write("a=raise")
    commit = words.write("-a")
    assert keys(commit, "words") == {"x": "-", "y": "-"}
    assert [failure.key for failure in commit.cleared] == ["a"]


def test_what_a_failed_run_has_read_makes_it_run_again(words: Words) -> None:
    """42"""
    words.write("a=raise after reading")
    assert words.failing() == {"a": "KeyError"}
    words.runs.clear()
    commit = words.write("@o=raise")
    assert words.runs == ["a"]
    commit = words.write("@o=fine")
    assert words.owners() == {"a": "fine"}
    assert [failure.exception for failure in commit.cleared] == ["KeyError"]
    words.write("@o=raise")
    assert words.owners() == {"a": "fine"}
    assert words.failing() == {"a": "KeyError"}
    words.runs.clear()
    words.write("@p=unrelated")
    assert words.runs == []


def test_kept_rows_can_be_lost_to_a_smaller_input_and_come_back(words: Words) -> None:
    words.write("b=x y")
    words.write("b=raise")
    words.write("a=x")
    assert words.owners() == {"x": "a", "y": "b"}
    assert words.failing() == {"b": "ValueError"}
    words.write("-a")
    assert words.owners() == {"x": "b", "y": "b"}
    words.write("a=x")
    words.write("b=x")
    assert words.failing() == {"b": "DuplicateKeyError"}


def test_an_exception_without_a_text_is_told_all_the_same() -> None:
    class Silent(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    def fail(_: Text, __: Fetch) -> Text:
        raise Silent

    graph = Graph()
    inputs = graph.source("inputs", Text)
    graph.map("outputs", Text, inputs, fail)
    (failure,) = Driver(graph).write((inputs, Text("a"))).failures
    assert (failure.exception, failure.message) == ("Silent", "(the exception has no text)")


def test_a_key_of_another_attribute() -> None:
    graph = Graph()
    pods = graph.source("pods", Pod, key=lambda pod: (pod.node, pod.key))
    ips = graph.map("ips", Pod, pods, lambda pod, _: pod, key=lambda pod: pod.ip)
    driver = Driver(graph)
    driver.write((pods, Pod("a", ip="2")), (pods, Pod("b", ip="1")))
    assert [row.key for row in ips.rows()] == ["b", "a"]
    assert pods.get(("n1", "a")) is ips.get("2")
    driver.write((pods, ("n1", "a")))
    assert [row.key for row in ips.rows()] == ["b"]


def test_keys_of_mixed_shapes_have_one_order() -> None:
    shapes: list[Any] = ["b", ("a", 1), ("a", "x"), "a", ("a",), ("a", ("b", 2)), ()]
    orders = []
    for seeds in (shapes, shapes[::-1]):
        graph = Graph()
        inputs = graph.source("inputs", Text)
        outputs = graph.map("outputs", Text, inputs, lambda row, _: row)
        driver = Driver(graph)
        for key in seeds:
            driver.write((inputs, Text(key)))
        assert outputs.rows() == inputs.rows()
        orders.append([row.key for row in outputs.rows()])
    assert orders[0] == orders[1] == ["a", "b", (), ("a",), ("a", 1), ("a", "x"), ("a", ("b", 2))]
