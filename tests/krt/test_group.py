"""Groups and counts. Numbers are those of krt.md, 1.13."""

from __future__ import annotations

from typing import Any

import pytest
from krt_rows import Driver, Pod, keys

from controlplane.krt import Collection, Count, Graph, Group, Source


def nodes_of(pod: Pod) -> Any:
    """``a,b`` is two nodes, ``-`` none, ``?`` an error, ``7`` and ``[]`` no keys."""
    match pod.node:
        case "?":
            raise ValueError("where is it?")
        case "-":
            return None
        case "7":
            return 7
        case "[]":
            return ("x", [])
        case node if "," in node:
            return node.split(",")
        case node:
            return node


class Cluster:
    def __init__(self) -> None:
        self.graph = Graph()
        self.pods: Source[Pod] = self.graph.source("pods", Pod)
        self.nodes: Collection[Group[Pod]] = self.graph.group("nodes", self.pods, by=nodes_of)
        self.counts: Collection[Count] = self.graph.count("counts", self.pods, by=nodes_of)
        self.driver = Driver(self.graph)

    def write(self, *writes: str) -> Any:
        """``p=n`` puts pod p on node n, ``p`` deletes it."""
        edits: list[tuple[Source[Any], Any]] = []
        for edit in writes:
            key, is_put, node = edit.partition("=")
            edits.append((self.pods, Pod(key, node) if is_put else key))
        return self.driver.write(*edits)

    def layout(self) -> dict[Any, list[Any]]:
        layout = {group.key: [row.key for row in group.rows] for group in self.nodes.rows()}
        assert {key: len(rows) for key, rows in layout.items()} == {c.key: c.count for c in self.counts.rows()}
        return layout


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


def test_members_move_between_groups_and_an_empty_group_is_gone(cluster: Cluster) -> None:
    """28, 29"""
    assert keys(cluster.write("b=x", "a=x", "c=y"), "nodes") == {"x": "+", "y": "+"}
    assert cluster.layout() == {"x": ["a", "b"], "y": ["c"]}
    commit = cluster.write("a=y")
    assert keys(commit, "nodes") == {"x": "~", "y": "~"}
    assert keys(commit, "counts") == {"x": "~", "y": "~"}
    assert cluster.layout() == {"x": ["b"], "y": ["a", "c"]}
    assert keys(cluster.write("b"), "nodes") == {"x": "-"}
    assert cluster.nodes.get("x") is None
    assert cluster.layout() == {"y": ["a", "c"]}


def test_a_changed_member_changes_its_group_but_not_the_count(cluster: Cluster) -> None:
    cluster.write("a=x", "b=x")
    commit = cluster.driver.write((cluster.pods, Pod("a", "x", ip="other")))
    assert keys(commit, "nodes") == {"x": "~"}
    assert "counts" not in commit.deltas
    (group,) = cluster.nodes.rows()
    assert [pod.ip for pod in group.rows] == ["other", "10.0.0.1"]


def test_a_swap_changes_groups_but_not_counts(cluster: Cluster) -> None:
    cluster.write("a=x", "b=y")
    commit = cluster.write("a=y", "b=x")
    assert keys(commit, "nodes") == {"x": "~", "y": "~"}
    assert "counts" not in commit.deltas


def test_a_row_can_be_in_several_groups_or_in_none(cluster: Cluster) -> None:
    cluster.write("a=x,y,x", "b=y,z", "c=-")
    assert cluster.layout() == {"x": ["a"], "y": ["a", "b"], "z": ["b"]}
    cluster.write("a=-", "c=z,x")
    assert cluster.layout() == {"x": ["c"], "y": ["b"], "z": ["b", "c"]}


def test_a_tuple_is_one_key() -> None:
    graph = Graph()
    pods = graph.source("pods", Pod)
    groups = graph.group("groups", pods, by=lambda pod: (pod.namespace, pod.node))
    many = graph.group("many", pods, by=lambda pod: frozenset(((pod.namespace,), (pod.node,))))
    Driver(graph).write((pods, Pod("a")))
    assert [group.key for group in groups.rows()] == [("default", "n1")]
    assert [group.key for group in many.rows()] == [("default",), ("n1",)]


def test_only_groups_that_were_touched_are_made_anew(cluster: Cluster) -> None:
    cluster.write("a=x", "b=y")
    y = cluster.nodes.get("y")
    commit = cluster.write("a=z")
    assert cluster.nodes.get("y") is y
    assert commit.runs["nodes"] == 1


@pytest.mark.parametrize(("node", "exception"), [("?", "ValueError"), ("7", "RowTypeError"), ("[]", "TypeError")])
def test_a_member_that_cannot_be_placed_stays_as_it_was(cluster: Cluster, node: str, exception: str) -> None:
    cluster.write("a=x", "b=x")
    commit = cluster.write(f"a={node}", "b=y")
    assert [(f.node, f.key, f.exception) for f in commit.failures] == [
        ("nodes", "a", exception),
        ("counts", "a", exception),
    ]
    assert cluster.layout() == {"x": ["a"], "y": ["b"]}
    (group, _) = cluster.nodes.rows()
    assert group.rows == (Pod("a", "x"),)  # as it was, not as it is
    commit = cluster.write("a=y")
    assert len(commit.cleared) == 2
    assert cluster.layout() == {"y": ["a", "b"]}


def test_a_member_that_never_could_be_placed_is_nowhere(cluster: Cluster) -> None:
    cluster.write("a=?")
    assert cluster.layout() == {}
    cluster.write("a=x")
    assert cluster.layout() == {"x": ["a"]}


def test_a_member_that_is_as_before_again_is_no_change_of_its_group(cluster: Cluster) -> None:
    cluster.write("a=x")
    cluster.write("a=?")
    commit = cluster.write("a=x")
    assert commit.deltas.keys() == {"pods"}
    assert len(commit.cleared) == 2


def test_a_member_that_goes_while_it_fails_is_gone(cluster: Cluster) -> None:
    cluster.write("a=x")
    cluster.write("a=?")
    commit = cluster.write("a")
    assert keys(commit, "nodes") == {"x": "-"}
    assert len(commit.cleared) == 2
    assert cluster.layout() == {}


def test_what_a_checkpoint_keeps_for_a_group_is_the_member(cluster: Cluster) -> None:
    cluster.write("a=x", "b=x")
    cluster.write("a=?", "c=?")
    checkpoint = cluster.graph.checkpoint()
    assert checkpoint.kept == {"nodes": {"a": (Pod("a", "x"),)}, "counts": {"a": (Pod("a", "x"),)}}
    assert cluster.nodes.kept_type is Pod
    assert cluster.counts.kept_type is Pod
    other = Cluster()
    other.graph.restore(checkpoint)
    assert other.layout() == cluster.layout() == {"x": ["a", "b"]}
    assert other.graph.failures() == cluster.graph.failures()
    for edit in ("b=y", "a=?", "a=x", "a=?", "a"):
        assert other.write(edit) == cluster.write(edit)


def test_a_kept_member_that_a_later_version_cannot_place_is_nowhere(cluster: Cluster) -> None:
    cluster.write("a=x")
    cluster.write("a=?")
    graph = Graph()
    graph.source("pods", Pod)
    pods: Any = graph.collection("pods")
    groups = graph.group("nodes", pods, by=lambda pod: int(pod.node))  # type: ignore[arg-type, return-value]
    graph.count("counts", pods, by=nodes_of)
    commit = graph.restore(cluster.graph.checkpoint())
    assert groups.rows() == ()
    assert [failure.node for failure in commit.failures] == ["nodes", "counts"]
    assert graph.collection("counts").rows() == (Count("x", 1),)
