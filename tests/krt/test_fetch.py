"""Reads: what each of them gives, and what makes the reader run again. Numbers are those of krt.md, 1.13."""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import Any

import pytest
from krt_rows import Driver, Pod, Service, Text

from controlplane.krt import Collection, Fetch, Graph, GraphError, Index, Source


class Readers:
    """Readers, one a key, each with the read that a test gives it; and pods to read."""

    def __init__(self, read: Callable[[Readers, Service, Fetch], Any]) -> None:
        self.graph = Graph()
        self.pods: Source[Pod] = self.graph.source("pods", Pod)
        self.by_node: Index[Pod] = self.pods.index(
            "by_node", lambda pod: pod.node.split(",") if "," in pod.node else pod.node
        )
        self.by_ip: Index[Pod] = self.pods.index("by_ip", lambda pod: pod.ip)
        self.readers: Source[Service] = self.graph.source("readers", Service)
        self.runs: list[str] = []
        self.seen: dict[str, Any] = {}

        def run(reader: Service, fetch: Fetch) -> Text:
            self.runs.append(reader.key)
            self.seen[reader.key] = read(self, reader, fetch)
            return Text(reader.key, repr(self.seen[reader.key]))

        self.found: Collection[Text] = self.graph.map(
            "found", Text, self.readers, run, reads=(self.pods, self.by_node, self.by_ip)
        )
        self.driver = Driver(self.graph)

    def write(self, *writes: Any) -> list[str]:
        """Pods are put, readers (``r=what``) are put, other strings are pods to delete; who has run."""
        self.runs.clear()
        edits: list[tuple[Source[Any], Any]] = []
        for write in writes:
            if isinstance(write, str) and "=" in write:
                key, _, wants = write.partition("=")
                edits.append((self.readers, Service(key, wants)))
            else:
                edits.append((self.pods, write))
        self.driver.write(*edits)
        return list(self.runs)


def test_a_read_by_key_runs_again_when_that_row_comes_changes_or_goes() -> None:
    """17, 21"""
    r = Readers(lambda r, reader, fetch: fetch(r.pods, reader.wants))
    assert r.write("x=a", "y=b") == ["x", "y"]
    assert r.seen == {"x": None, "y": None}
    assert r.write(Pod("a")) == ["x"]
    assert r.seen["x"] == Pod("a")
    assert r.write(Pod("a", ip="2")) == ["x"]
    assert r.write(Pod("b"), Pod("c")) == ["y"]
    assert r.write("a") == ["x"]
    assert r.seen["x"] is None
    assert r.write("x=c") == ["x"]
    assert r.write(Pod("a")) == []  # what it does not read any more
    assert r.write(Pod("c", ip="3")) == ["x"]


def test_reads_of_several_keys_in_any_order() -> None:
    """17"""
    for order in ("ab", "ba"):
        r = Readers(lambda r, reader, fetch: tuple(fetch(r.pods, key) for key in reader.wants))
        r.write("x=ab")
        for key in order:
            assert r.write(Pod(key)) == ["x"]
        assert r.seen["x"] == (Pod("a"), Pod("b"))
        assert r.write(*order) == ["x"]


def test_existence_is_not_the_row() -> None:
    r = Readers(lambda r, reader, fetch: fetch.exists(r.pods, reader.wants))
    r.write("x=a")
    assert r.seen["x"] is False
    assert r.write(Pod("a")) == ["x"]
    assert r.seen["x"] is True
    assert r.write(Pod("a", ip="2")) == []
    assert r.write("a") == ["x"]
    assert r.write("b") == []


def test_a_view_of_a_row_runs_again_only_when_the_view_changes() -> None:
    """18"""
    r = Readers(lambda r, reader, fetch: fetch(r.pods, reader.wants, view=attrgetter("ip")))
    r.write("x=a")
    assert r.seen["x"] is None
    assert r.write(Pod("a", ip="1")) == ["x"]
    assert r.seen["x"] == "1"
    assert r.write(Pod("a", "elsewhere", ip="1")) == []
    assert r.write(Pod("a", "elsewhere", ip="2")) == ["x"]
    assert r.write("a") == ["x"]


def test_two_views_of_one_row() -> None:
    r = Readers(
        lambda r, reader, fetch: (fetch(r.pods, "a", view=len_of_ip), fetch(r.pods, "a", view=lambda p: p.node))
    )
    r.write("x=", Pod("a", "n", ip="1"))
    assert r.write(Pod("a", "n", ip="2")) == []
    assert r.write(Pod("a", "m", ip="2")) == ["x"]
    assert r.write(Pod("a", "m", ip="22")) == ["x"]
    assert r.seen["x"] == (2, "m")


class Unhashable:
    __hash__ = None  # type: ignore[assignment]

    def __call__(self, pod: Pod) -> str:
        return pod.ip


def len_of_ip(pod: Pod) -> int:
    return len(pod.ip)


def test_a_lambda_in_place_is_the_same_view_each_time() -> None:
    r = Readers(lambda r, reader, fetch: fetch(r.pods, "a", view=lambda pod: pod.ip))
    r.write("x=1", "y=2", "z=3", Pod("a"))
    (table,) = r.found._fetch._tables  # type: ignore[attr-defined]
    assert len(table.readers) == 1
    assert r.write("x=4", Pod("a", ip="2")) == ["x", "y", "z"]
    assert len(table.readers) == 1


def test_a_view_that_closes_over_something_is_right_all_the_same() -> None:
    r = Readers(lambda r, reader, fetch: fetch(r.pods, "a", view=lambda pod: getattr(pod, reader.wants)))
    r.write("x=ip", "y=node", Pod("a"))
    assert r.write(Pod("a", ip="2")) == ["x"]
    assert r.write(Pod("a", "n2", ip="2")) == ["y"]
    assert r.write("x=node") == ["x"]
    assert r.write(Pod("a", "n3", ip="3")) == ["x", "y"]
    assert r.found.statistics().tokens == 2


def test_a_view_that_raises_fails_its_reader_until_it_can() -> None:
    r = Readers(lambda r, reader, fetch: fetch(r.pods, "a", view=lambda pod: int(pod.ip)))
    r.write("x=", Pod("a", ip="1"))
    assert r.write(Pod("a", ip="one")) == ["x"]
    assert [failure.exception for failure in r.graph.failures()] == ["ValueError"]
    assert r.found.get("x") == Text("x", "1")
    assert r.write(Pod("a", ip="two")) == ["x"]
    assert r.write(Pod("a", ip="2")) == ["x"]
    assert r.graph.failures() == ()
    assert r.found.get("x") == Text("x", "2")


def test_an_index_read_runs_again_when_the_value_s_rows_change() -> None:
    """26"""
    r = Readers(lambda r, reader, fetch: [pod.key for pod in fetch.by(r.by_node, reader.wants)])
    assert r.write("x=n1", "y=n2") == ["x", "y"]
    assert r.seen == {"x": [], "y": []}
    assert r.write(Pod("b", "n1"), Pod("a", "n1")) == ["x"]
    assert r.seen["x"] == ["a", "b"]
    assert r.write(Pod("a", "n2")) == ["x", "y"]
    assert r.seen == {"x": ["b"], "y": ["a"]}
    assert r.write(Pod("a", "n2", ip="new")) == ["y"]
    assert r.write(Pod("c", "n3")) == []
    assert r.write(Pod("c", "n1,n2")) == ["x", "y"]
    assert r.write(Pod("c", "n2,n3")) == ["x", "y"]
    assert r.write("c") == ["y"]
    assert r.seen == {"x": ["b"], "y": ["a"]}


def test_a_view_of_an_index_read_runs_again_only_when_a_view_changes() -> None:
    r = Readers(lambda r, reader, fetch: fetch.by(r.by_node, reader.wants, view=attrgetter("ip")))
    r.write("x=n1", "y=n2", Pod("b", "n1", "2"), Pod("a", "n1", "1"))
    assert r.seen["x"] == ("1", "2")
    assert r.write(Pod("a", "n1", "1", labels={"new": "label"})) == []
    assert r.write(Pod("a", "n1", "3")) == ["x"]
    assert r.write(Pod("c", "n1", "3")) == ["x"]
    assert r.write(Pod("c", "n2", "3")) == ["x", "y"]
    assert r.seen == {"x": ("3", "2"), "y": ("3",)}


def test_several_indexes_and_a_key_in_one_run() -> None:
    """16, 27: krt has missed updates here (#55515, #56037, #59164)"""
    r = Readers(
        lambda r, reader, fetch: (
            len(fetch.by(r.by_node, "n1")),
            len(fetch.by(r.by_ip, "1")),
            len(fetch.by(r.by_node, "n2")),
            fetch(r.pods, "k"),
            len(fetch.all(r.pods)) if reader.wants else None,
        )
    )
    r.write("x=")
    assert r.write(Pod("a", "n1", "9")) == ["x"]
    assert r.write(Pod("b", "n9", "1")) == ["x"]
    assert r.write(Pod("c", "n2", "9")) == ["x"]
    assert r.write(Pod("k", "n9", "9")) == ["x"]
    assert r.write(Pod("z", "n9", "9")) == []
    assert r.write("x=all") == ["x"]
    assert r.write(Pod("y", "n9", "9")) == ["x"]
    assert r.seen["x"] == (1, 1, 1, Pod("k", "n9", "9"), 6)


def test_equal_values_of_two_indexes_are_two_dependencies() -> None:
    """krt's tokens have no index in them: equal values of two indexes collide there"""
    r = Readers(lambda r, reader, fetch: fetch.by(r.by_node, "same"))
    r.write("x=")
    assert r.write(Pod("a", "n", ip="same")) == []
    assert r.write(Pod("a", "same", ip="same")) == ["x"]


def test_all_runs_again_at_any_change() -> None:
    r = Readers(lambda r, reader, fetch: [pod.key for pod in fetch.all(r.pods)])
    r.write("x=", Pod("b"), Pod("a"))
    assert r.seen["x"] == ["a", "b"]
    assert r.write(Pod("c")) == ["x"]
    assert r.write(Pod("c")) == []
    assert r.write("a") == ["x"]
    assert r.seen["x"] == ["b", "c"]


def test_one_unindexed_reader_slows_only_itself_and_leaves_nothing_behind() -> None:
    """43: in krt one such read makes every reader of the collection be scanned, for ever"""
    r = Readers(lambda r, reader, fetch: len(fetch.all(r.pods)) if reader.wants == "*" else fetch(r.pods, reader.wants))
    r.write(*(f"r{i}=k{i}" for i in range(100)), Pod("k7"))

    def lookups() -> int:
        before = r.found.statistics().lookups
        r.write(Pod("k7", ip=str(before)))
        return r.found.statistics().lookups - before

    cost = lookups()
    assert cost == 1
    r.write("r0=*")
    assert lookups() == cost + 1
    r.write("r0=k0")
    assert lookups() == cost


def test_tokens_go_with_their_reader() -> None:
    """21"""
    r = Readers(
        lambda r, reader, fetch: (fetch(r.pods, reader.wants), fetch.by(r.by_node, "n"), fetch.exists(r.pods, "k"))
    )
    r.write("x=a", "y=a")
    assert r.found.statistics().tokens == 3
    r.write("x=b")
    assert r.found.statistics().tokens == 4
    r.driver.write((r.readers, "x"))
    assert r.found.statistics().tokens == 3
    r.driver.write((r.readers, "y"))
    assert r.found.statistics().tokens == 0


def test_a_run_that_goes_back_to_its_old_reads() -> None:
    r = Readers(lambda r, reader, fetch: tuple(fetch(r.pods, key) for key in reader.wants))
    for wants in ("ab", "a", "", "b", "ba", "abab"):
        r.write(f"x={wants}")
        for key in "ab":
            assert r.write(Pod(key, ip=wants)) == (["x"] if key in wants else []), (wants, key)


def test_a_reader_of_its_own_input_collection() -> None:
    graph = Graph()
    pods = graph.source("pods", Pod)
    runs = []

    def follow(pod: Pod, fetch: Fetch) -> Text:
        runs.append(pod.key)
        other = fetch(pods, pod.node)
        return Text(pod.key, "" if other is None else other.ip)

    graph.map("followed", Text, pods, follow, reads=(pods,))
    driver = Driver(graph)
    driver.write((pods, Pod("a", "b")), (pods, Pod("b", "a")), (pods, Pod("c", "c")))
    runs.clear()
    driver.write((pods, Pod("a", "b", ip="new")))
    assert runs == ["a", "b"]
    runs.clear()
    driver.write((pods, Pod("c", "c", ip="new")))
    assert runs == ["c"]


def test_one_source_that_feeds_both_sides_is_seen_whole() -> None:
    """14, 36: the diamond in which krt emits torn rows for a quarter of all updates"""
    graph = Graph()
    a = graph.source("a", Text)
    b = a_to_b = graph.map("b0", Text, a, lambda row, _: row)
    for depth in range(1, 9):
        b = graph.map(f"b{depth}", Text, b, lambda row, _: row)
    pairs = []

    def join(row: Text, fetch: Fetch) -> Text:
        other = fetch(b, row.key)
        pairs.append((row.text, None if other is None else other.text))
        return Text(row.key, row.text)

    graph.map("c", Text, a, join, reads=(b,))
    driver = Driver(graph)
    for n in range(50):
        driver.write((a, Text("k", str(n))), (a, Text(f"new{n}", str(n))))
    assert len(pairs) == 100
    assert all(one == other for one, other in pairs)
    assert a_to_b.kind == "map"


@pytest.mark.parametrize(
    "read",
    [
        lambda fetch, other, index: fetch(other, "a"),
        lambda fetch, other, index: fetch(other, "a", view=attrgetter("text")),
        lambda fetch, other, index: fetch.exists(other, "a"),
        lambda fetch, other, index: fetch.all(other),
        lambda fetch, other, index: fetch.by(index, "a"),
        lambda fetch, other, index: fetch.by(index, "a", view=attrgetter("text")),
        lambda fetch, other, index: other.get("a"),
        lambda fetch, other, index: other.rows(),
        lambda fetch, other, index: len(other),
        lambda fetch, other, index: other.synced,
        lambda fetch, other, index: index.get("a"),
    ],
)
def test_what_is_not_declared_cannot_be_read(read: Callable[..., Any]) -> None:
    graph = Graph()
    inputs = graph.source("inputs", Text)
    other = graph.source("others", Text)
    index = other.index("by_text", lambda row: row.text)
    graph.map("outputs", Text, inputs, lambda row, fetch: [row, read(fetch, other, index)])
    (failure,) = Driver(graph).write((inputs, Text("a"))).failures
    assert failure.exception == "GraphError"
    assert "which is not in its reads=" in failure.message or "without fetch" in failure.message


def test_functions_that_have_no_fetch_look_at_nothing_but_their_row() -> None:
    graph = Graph()
    others = graph.source("others", Text)
    inputs = graph.source("inputs", Text)
    inputs.index("by_other", lambda row: len(others))
    graph.group("groups", inputs, by=lambda row: others.rows()[0].key)
    commit = Driver(graph).write((others, Text("o")), (inputs, Text("a")))
    assert [(f.node, f.exception) for f in commit.failures] == [("inputs", "GraphError"), ("groups", "GraphError")]


def test_an_index_allows_reads_through_itself_only() -> None:
    r = Readers(lambda r, reader, fetch: fetch.by(r.by_node, "n"))
    graph = Graph()
    pods = graph.source("pods", Pod)
    by_node = pods.index("by_node", lambda pod: pod.node)
    by_ip = pods.index("by_ip", lambda pod: pod.ip)
    found: list[Any] = []

    def read(pod: Pod, fetch: Fetch) -> None:
        found.append(fetch.by(by_node, "n1"))
        for wrong in (lambda: fetch(pods, "a"), lambda: fetch.by(by_ip, "1"), lambda: fetch.all(pods)):
            with pytest.raises(GraphError, match="not in its reads="):
                wrong()

    graph.map("read", Text, pods, read, reads=(by_node,))
    assert Driver(graph).write((pods, Pod("a"))).failures == ()
    assert found == [(Pod("a"),)]
    assert r.write("x=") == ["x"]


def test_fetch_works_only_while_its_function_runs() -> None:
    graph = Graph()
    pods = graph.source("pods", Pod)
    by_node = pods.index("by_node", lambda pod: pod.node)
    kept: list[Fetch] = []

    def keep(_: Pod, fetch: Fetch) -> None:
        kept.append(fetch)

    graph.map("kept", Text, pods, keep, reads=(pods, by_node))
    Driver(graph).write((pods, Pod("a")))
    (fetch,) = kept
    for late in (
        lambda: fetch(pods, "a"),
        lambda: fetch.exists(pods, "a"),
        lambda: fetch.by(by_node, "a"),
        lambda: fetch.all(pods),
        lambda: fetch.selecting(pods, {}),
    ):
        with pytest.raises(GraphError, match="outside a run"):
            late()


@pytest.mark.parametrize(
    "read",
    [
        lambda r, fetch, key: fetch(r.pods, key),
        lambda r, fetch, key: fetch(r.pods, key, view=len_of_ip),
        lambda r, fetch, key: fetch.exists(r.pods, key),
        lambda r, fetch, key: fetch.by(r.by_node, key),
        lambda r, fetch, key: fetch(r.pods, "a", view=Unhashable() if key != "a" else len_of_ip),
        lambda r, fetch, key: fetch.by(r.by_node, "a", view=Unhashable() if key != "a" else len_of_ip),
    ],
)
def test_a_key_or_a_view_that_cannot_be_one_fails_its_reader_and_nothing_else(read: Callable[..., Any]) -> None:
    r = Readers(lambda r, reader, fetch: read(r, fetch, ["a", "list"] if reader.wants == "bad" else "a"))
    r.write("x=bad", "y=good")
    assert [(f.key, f.exception) for f in r.graph.failures()] == [("x", "TypeError")]
    assert [row.key for row in r.found.rows()] == ["y"]
    assert r.write("x=good", Pod("a", "a")) == ["x", "y"]
    assert r.graph.failures() == ()


def test_a_value_that_cannot_be_extracted_is_a_failure_of_the_row_and_of_no_reader() -> None:
    graph = Graph()
    pods = graph.source("pods", Pod)
    by_ip = pods.index("by_number", lambda pod: int(pod.ip))
    pods.index("by_list", lambda pod: [[pod.ip]] if pod.ip == "0" else pod.ip)
    driver = Driver(graph)
    driver.write((pods, Pod("a", ip="1")), (pods, Pod("b", ip="1")))
    commit = driver.write((pods, Pod("a", ip="one")))
    (failure,) = commit.failures
    assert (failure.node, failure.key, failure.exception) == ("pods", "a", "ValueError")
    assert failure.message.startswith("by_number: invalid literal")
    assert by_ip.get(1) == (Pod("b", ip="1"),)
    assert pods.get("a") == Pod("a", ip="one")
    assert graph.explain("pods", "a").failure.startswith("ValueError: by_number")
    assert driver.write((pods, Pod("c", ip="1"))).cleared == ()
    assert driver.write((pods, Pod("a", ip="2"))).cleared == (failure,)
    assert by_ip.get(2) == (Pod("a", ip="2"),)
    (failure,) = driver.write((pods, Pod("a", ip="0"))).failures
    assert failure.exception == "TypeError"
    assert driver.write((pods, "a")).cleared == (failure,)
