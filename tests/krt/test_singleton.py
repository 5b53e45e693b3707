"""Singletons: one row or none, from whatever it reads."""

from __future__ import annotations

from krt_rows import Driver, Text, keys

from controlplane.krt import Fetch, Graph


def test_it_runs_in_the_first_transaction_whatever_that_writes() -> None:
    graph = Graph()
    one = graph.singleton("settings", Text, lambda _: Text("one"))
    commit = Driver(graph).write()
    assert keys(commit, "settings") == {"one": "+"}
    assert commit.runs == {"settings": 1}
    assert commit.newly_synced == ("settings",)
    assert one.synced
    assert Driver(graph).write().runs == {}


def test_another_key_is_a_removal_and_an_addition() -> None:
    """31"""
    graph = Graph()
    inputs = graph.source("inputs", Text)

    def name(fetch: Fetch) -> Text | None:
        row = fetch(inputs, "name")
        return None if row is None else Text(row.text)

    graph.singleton("named", Text, name, reads=(inputs,))
    driver = Driver(graph)
    assert "named" not in driver.write().deltas
    assert keys(driver.write((inputs, Text("name", "b"))), "named") == {"b": "+"}
    assert keys(driver.write((inputs, Text("name", "a"))), "named") == {"a": "+", "b": "-"}
    assert keys(driver.write((inputs, "name")), "named") == {"a": "-"}


def test_it_runs_once_for_many_changes() -> None:
    """krt runs 1,527 times for 2,000 updates; here a burst is one transaction and one run."""
    graph = Graph()
    inputs = graph.source("inputs", Text)
    total = graph.singleton("total", Text, lambda fetch: Text("n", str(len(fetch.all(inputs)))), reads=(inputs,))
    commit = Driver(graph).write(*((inputs, Text(f"k{i}")) for i in range(2000)))
    assert commit.runs["total"] == 1
    assert total.rows() == (Text("n", "2000"),)


def test_a_failing_singleton_is_named_by_its_own_name_and_keeps_its_row() -> None:
    graph = Graph()
    inputs = graph.source("inputs", Text)

    def check(fetch: Fetch) -> Text:
        row = fetch(inputs, "a")
        if row is not None and row.text == "bad":
            raise ValueError("bad")
        return Text("one", "" if row is None else row.text)

    one = graph.singleton("checked", Text, check, reads=(inputs,))
    driver = Driver(graph)
    driver.write((inputs, Text("a", "good")))
    commit = driver.write((inputs, Text("a", "bad")))
    assert [(failure.node, failure.key) for failure in commit.failures] == [("checked", "checked")]
    assert one.rows() == (Text("one", "good"),)
    explanation = graph.explain("checked", "one")
    assert explanation.failure == "ValueError: bad"
    assert explanation.changed_seq == 1
    assert [(entry.key, entry.changed_seq) for entry in explanation.inputs] == [("a", 2)]
    driver.write((inputs, Text("a", "better")))
    assert graph.failures() == ()


def test_several_rows_are_a_failure() -> None:
    graph = Graph()
    graph.singleton("one", Text, lambda _: [Text("a")])  # type: ignore[arg-type, return-value]
    (failure,) = Driver(graph).write().failures
    assert failure.message == "returned list, not a Text or None"
