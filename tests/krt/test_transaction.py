"""Transactions, sources, steps and sync. Numbers are those of krt.md, 1.13."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from krt_rows import Driver, Pod, Service, Text

from controlplane.krt import Collection, Fetch, Graph, GraphError, Source


@pytest.fixture
def graph() -> Graph:
    return Graph()


@pytest.fixture
def pods(graph: Graph) -> Source[Pod]:
    return graph.source("pods", Pod)


def test_a_transaction_sees_its_own_writes_and_nobody_else_does(graph: Graph, pods: Source[Pod]) -> None:
    Driver(graph).write((pods, Pod("a")), (pods, Pod("c")))
    tx = graph.begin(2)
    assert tx.rows(pods) == (Pod("a"), Pod("c"))
    tx.put(pods, Pod("b"))
    tx.put(pods, Pod("a", ip="new"))
    tx.delete(pods, "c")
    assert tx.get(pods, "a") == Pod("a", ip="new")
    assert tx.get(pods, "b") == Pod("b")
    assert tx.get(pods, "c") is None
    assert tx.get(pods, "d") is None
    assert tx.rows(pods) == (Pod("a", ip="new"), Pod("b"))
    assert pods.rows() == (Pod("a"), Pod("c"))
    tx.commit()
    assert pods.rows() == (Pod("a", ip="new"), Pod("b"))


def test_the_last_write_of_a_key_counts(graph: Graph, pods: Source[Pod]) -> None:
    tx = graph.begin(1)
    for ip in "123":
        tx.put(pods, Pod("a", ip=ip))
    commit = tx.commit()
    assert dict(commit.delta(pods)) == {"a": (None, Pod("a", ip="3"))}
    assert commit.runs == {"pods": 1}


def test_seqs_grow_and_may_leap(graph: Graph) -> None:
    graph.begin(5).commit()
    assert graph.seq == 5
    for seq in (5, 4, 0):
        with pytest.raises(GraphError, match=f"transaction {seq} does not come after 5"):
            graph.begin(seq)
    assert graph.begin(9).commit().seq == 9


def test_one_transaction_at_a_time(graph: Graph) -> None:
    tx = graph.begin(1)
    with pytest.raises(GraphError, match="transaction 1 is open; commit or abort it before 2"):
        graph.begin(2)
    tx.abort()
    graph.begin(1).commit()


def test_a_transaction_that_is_over_takes_nothing(graph: Graph, pods: Source[Pod]) -> None:
    calls: list[Callable[[Any], Any]] = [
        lambda tx: tx.put(pods, Pod("a")),
        lambda tx: tx.delete(pods, "a"),
        lambda tx: tx.get(pods, "a"),
        lambda tx: tx.rows(pods),
        lambda tx: tx.mark_synced(pods),
        lambda tx: tx.mark_unsynced(pods),
        lambda tx: tx.abort(),
    ]
    aborted = graph.begin(1)
    aborted.abort()
    committed = graph.begin(1)
    committed.commit()
    half_way = graph.begin(2)
    half_way.put(pods, Pod("x"))
    next(half_way.steps(0, lambda: 0.0))
    for call in calls:
        with pytest.raises(GraphError, match="transaction 1 was aborted"):
            call(aborted)
        with pytest.raises(GraphError, match="transaction 1 is committed already"):
            call(committed)
        with pytest.raises(GraphError, match="transaction 2 is being committed already"):
            call(half_way)
    with pytest.raises(GraphError, match="was aborted"):
        aborted.commit()
    with pytest.raises(GraphError, match="transaction 2 is not committed"):
        _ = half_way.result
    half_way.commit()
    assert half_way.commit() is half_way.result


def test_only_sources_of_this_graph_are_written(graph: Graph, pods: Source[Pod]) -> None:
    derived: Any = graph.map("copies", Pod, pods, lambda pod, _: pod)
    foreign = Graph().source("pods", Pod)
    tx = graph.begin(1)
    with pytest.raises(GraphError, match="copies is a map; a transaction writes sources only"):
        tx.put(derived, Pod("a"))
    with pytest.raises(GraphError, match="pods belongs to another graph"):
        tx.put(foreign, Pod("a"))


def test_a_row_of_another_type_or_without_a_key_is_refused_at_the_door(graph: Graph, pods: Source[Pod]) -> None:
    numbered = graph.source("numbered", Pod, key=lambda pod: len(pod.key))  # type: ignore[arg-type, return-value]
    tx = graph.begin(1)
    wrong: Any = Service("a")
    with pytest.raises(GraphError, match="pods holds Pod, not Service"):
        tx.put(pods, wrong)
    with pytest.raises(GraphError, match="numbered: the key of a row is int, not a string or a tuple"):
        tx.put(numbered, Pod("a"))


class Melting(msgspec.Struct):
    key: str


class Keyless(msgspec.Struct, frozen=True):
    name: str


@pytest.mark.parametrize(
    ("declare", "message"),
    [
        (lambda g, s: g.source("pods", Pod), "there is a collection pods already"),
        (lambda g, s: g.source("Pods", Pod), "'Pods' is not a name in snake_case"),
        (lambda g, s: g.source("x y", Pod), "'x y' is not a name in snake_case"),
        (lambda g, s: s.index("by node", lambda pod: pod.node), "'by node' is not a name in snake_case"),
        (lambda g, s: g.source("melting", Melting), "melting: Melting is not frozen"),
        (lambda g, s: g.source("words", str), "words: rows are frozen msgspec.Structs, and <class 'str'> is none"),
        (lambda g, s: g.source("keyless", Keyless), "keyless: Keyless has no key; give key="),
        (lambda g, s: g.group("groups", Graph().source("others", Pod), by=str), "groups reads others, which is not of"),
        (lambda g, s: g.map("maps", Pod, s, lambda r, f: r, reads=(Graph().source("pods", Pod),)), "not of this graph"),
    ],
)
def test_a_mistake_in_a_declaration_is_told_at_once(
    graph: Graph, pods: Source[Pod], declare: Callable[[Graph, Source[Pod]], Any], message: str
) -> None:
    with pytest.raises(GraphError) as error:
        declare(graph, pods)
    assert message in str(error.value)
    assert graph.collections == (pods,)


def test_a_collection_that_does_not_exist(graph: Graph, pods: Source[Pod]) -> None:
    with pytest.raises(GraphError, match="there is no collection nodes; there are pods"):
        graph.collection("nodes")


def chain(graph: Graph, length: int) -> tuple[Source[Text], Collection[Text]]:
    source = node = graph.source("level_0", Text)
    for level in range(1, length):
        node = graph.map(f"level_{level}", Text, node, lambda row, _: row)  # type: ignore[assignment]
    return source, node


def test_a_step_lasts_as_long_as_its_budget(graph: Graph) -> None:
    source, last = chain(graph, 3)
    now = 0.0

    def clock() -> float:
        nonlocal now
        now += 0.001
        return now

    tx = graph.begin(1)
    for i in range(200):
        tx.put(source, Text(f"{i:03}"))
    pauses = 0
    for _ in tx.steps(0.02, clock):
        pauses += 1
        assert last.rows() == ()
    assert len(last) == 200
    assert 400 / 20 <= pauses <= 450 / 20
    assert tx.result.runs == {"level_0": 200, "level_1": 200, "level_2": 200}


def test_steps_with_time_enough_never_yield(graph: Graph) -> None:
    source, last = chain(graph, 3)
    tx = graph.begin(1)
    tx.put(source, Text("a"))
    assert list(tx.steps(1.0, lambda: 0.0)) == []
    assert tx.result.seq == 1
    assert len(last) == 1


def test_large_changes_are_cut_into_steps_everywhere(graph: Graph) -> None:
    """No kind of collection takes in thousands of rows without a pause."""
    source = graph.source("inputs", Text, labels=lambda _: {"a": "1"})
    source.index("by_text", lambda row: row.text)
    graph.group("groups", source, by=lambda row: row.key)
    graph.count("counts", source, by=lambda row: row.key)
    graph.union("all", Text, (source,))
    tx = graph.begin(1)
    for i in range(5000):
        tx.put(source, Text(f"{i}"))
    assert sum(1 for _ in tx.steps(0, lambda: 0.0)) > 5000 / 512 * (3 + 3 + 3 + 2)


def test_some_questions_wait_for_the_commit_s_end(graph: Graph) -> None:
    source, _ = chain(graph, 2)
    tx = graph.begin(1)
    tx.put(source, Text("a"))
    assert not graph.is_committing
    graph.checkpoint()
    for _ in tx.steps(0, lambda: 0.0):
        assert graph.is_committing
        with pytest.raises(GraphError, match="being committed"):
            graph.explain("level_0", "a")
        with pytest.raises(GraphError, match="being committed"):
            graph.checkpoint()
    assert not graph.is_committing
    assert graph.explain("level_0", "a").changed_seq == 1


def test_failures_are_those_of_the_last_commit_while_one_is_under_way(graph: Graph) -> None:
    source = graph.source("inputs", Text)

    def check(row: Text, _: Fetch) -> None:
        if row.text == "bad":
            raise ValueError(row.key)

    graph.map("checked", Text, source, check)
    driver = Driver(graph)
    driver.write((source, Text("a", "bad")))
    before = graph.failures()
    tx = graph.begin(2)
    tx.put(source, Text("a", "good"))
    tx.put(source, Text("b", "bad"))
    for _ in tx.steps(0, lambda: 0.0):
        assert graph.failures() == before
    assert [failure.key for failure in tx.result.failures] == ["b"]
    assert tx.result.cleared == before
    assert [failure.key for failure in graph.failures()] == ["b"]


def test_an_error_of_the_engine_itself_ends_the_use_of_the_graph(graph: Graph) -> None:
    """Better no answer than a wrong one: half a commit is never published, and the log can rebuild it all."""
    source = graph.source("inputs", Text)

    class Stop(BaseException):
        pass

    def stop(_: Text, __: Fetch) -> None:
        raise Stop

    graph.map("stopped", Text, source, stop)
    tx = graph.begin(1)
    tx.put(source, Text("a"))
    with pytest.raises(Stop):
        tx.commit()
    assert source.rows() == ()
    assert graph.seq == 0
    with pytest.raises(GraphError, match="the commit of transaction 1 was interrupted; rebuild the graph from the log"):
        graph.begin(2)


def test_sync_is_part_of_the_commit(graph: Graph, pods: Source[Pod]) -> None:
    """11, 12, 23; krt: one-way latches, awaited by blocking inside a transform"""
    nodes = graph.source("nodes", Text)
    by_text = nodes.index("by_text", lambda row: row.text)
    placed = graph.map("placed", Text, pods, lambda pod, fetch: fetch.by(by_text, pod.node), reads=(by_text,))
    alone = graph.group("alone", pods, by=lambda pod: pod.node)
    driver = Driver(graph)
    assert driver.write((pods, Pod("a"))).newly_synced == ()
    assert graph.unsynced() == ("pods", "nodes", "placed", "alone")
    assert driver.write((pods, True)).newly_synced == ("pods", "alone")
    assert graph.unsynced() == ("nodes", "placed")
    assert not placed.synced
    commit = driver.write((nodes, True), (nodes, Text("n", "n1")))
    assert commit.newly_synced == ("nodes", "placed")
    assert len(placed.rows()) == 1
    assert graph.synced
    assert driver.write((nodes, True)).newly_synced == ()
    commit = driver.write((pods, False))
    assert commit.newly_unsynced == ("pods", "placed", "alone")
    assert not alone.synced
    assert driver.write((pods, False), (pods, True)).newly_synced == ("pods", "placed", "alone")


def test_the_last_mark_of_a_transaction_counts(graph: Graph, pods: Source[Pod]) -> None:
    assert Driver(graph).write((pods, True), (pods, False)).newly_synced == ()
    assert not pods.synced
