"""Explanations: what a row was made of, and the drawing of the graph."""

from __future__ import annotations

from typing import Any

import pytest
from krt_rows import Driver, Pod, Service, Text

from controlplane.krt import Explanation, Fetch, Graph, GraphError, Selector


def lines(explanation: Explanation, depth: int = 0) -> list[str]:
    """A line an entry, deeper ones indented."""
    entry = f"{'  ' * depth}{explanation.collection} {explanation.key} @{explanation.changed_seq}"
    if explanation.how:
        entry += f" ({explanation.how})"
    if explanation.repeated:
        entry += " again"
    if explanation.omitted:
        entry += f" -{explanation.omitted}"
    return [entry] + [line for part in explanation.inputs for line in lines(part, depth + 1)]


class World:
    def __init__(self) -> None:
        self.graph = graph = Graph()
        self.pods = graph.source("pods", Pod, labels=lambda p: p.labels)
        self.services = graph.source("services", Service, selector=lambda s: s.selector)
        self.nodes = graph.source("nodes", Text)
        by_node = self.pods.index("by_node", lambda p: p.node)

        def read_all(service: Service, fetch: Fetch) -> Text:
            found: list[Any] = [
                fetch(self.nodes, "n1"),
                fetch(self.nodes, "n1", view=lambda n: n.text),
                fetch.exists(self.nodes, "n2"),
                fetch.by(by_node, "n1"),
                fetch.by(by_node, "nowhere"),
                fetch.by(by_node, "n1", view=lambda p: p.ip),
                fetch.select(self.pods, Selector.from_labels({"app": "x"})),
                fetch.selecting(self.services, {"app": "x"}),
                fetch.all(self.nodes),
                fetch(self.nodes, "n1"),
            ]
            if service.wants == "fail":
                raise ValueError("as asked")
            return Text(service.key, str(len(found)))

        self.read = graph.map(
            "reads", Text, self.services, read_all, reads=(self.pods, self.services, self.nodes, by_node)
        )
        self.union = graph.union("joined", Text, (self.nodes, self.read))
        self.driver = Driver(graph)
        self.driver.write((self.nodes, Text("n1")), (self.pods, Pod("a", labels={"app": "x"})))
        self.driver.write((self.pods, Pod("b")))
        self.driver.write((self.services, Service("s", selector=Selector.from_labels({"app": "x"}))))


@pytest.fixture
def world() -> World:
    return World()


def test_every_kind_of_read_is_shown_with_what_it_found(world: World) -> None:
    world.driver.write((world.pods, Pod("a", ip="new", labels={"app": "x"})))
    assert lines(world.graph.explain("joined", "s")) == [
        "joined s @3",
        "  nodes None @None (does not have it)",
        "  reads s @3 (first to have it)",
        "    services s @3 (input)",
        "    nodes n1 @1 (key)",
        "    nodes n1 @1 (key, in part)",
        "    nodes n2 @None (existence)",
        "    pods a @4 (by_node = 'n1')",
        "    pods b @2 (by_node = 'n1')",
        "    pods None @None (by_node = 'nowhere')",
        "    pods a @4 (by_node = 'n1', in part)",
        "    pods b @2 (by_node = 'n1', in part)",
        "    pods a @4 (by labels)",
        "    services s @3 (by selector)",
        "    nodes n1 @1 (all)",
    ]


def test_a_row_that_is_not_there_is_absent(world: World) -> None:
    explanation = world.graph.explain("reads", "nobody")
    assert explanation == Explanation("reads", "nobody", None)
    assert explanation.absent
    assert explanation.as_dict() == {"collection": "reads", "key": "nobody", "absent": True}
    with pytest.raises(GraphError, match="there is no collection nothing"):
        world.graph.explain("nothing", "s")


def test_a_kept_row_is_explained_by_the_failed_run(world: World) -> None:
    world.driver.write((world.services, Service("s", "fail")))
    explanation = world.graph.explain("reads", "s")
    assert explanation.failure == "ValueError: as asked"
    assert explanation.changed_seq == 3
    assert explanation.inputs[0].changed_seq == 4
    assert explanation.as_dict()["failure"] == "ValueError: as asked"


def diamond(width: int, depth: int) -> Graph:
    """Levels of rows each of which reads every row of the level below: width ** depth paths."""
    graph = Graph()
    source = below = graph.source("level_0", Text)
    for level in range(1, depth + 1):
        lower = below

        def read(row: Text, fetch: Fetch, lower: Any = lower) -> Text:
            return Text(row.key, str(len(fetch.all(lower))))

        below = graph.map(f"level_{level}", Text, lower, read, reads=(lower,))  # type: ignore[assignment]
    Driver(graph).write(*((source, Text(f"k{i}")) for i in range(width)))
    return graph


def test_a_row_that_is_reached_on_many_ways_is_opened_once() -> None:
    graph = diamond(width=3, depth=20)
    explanation = graph.explain("level_20", "k0")
    found = lines(explanation)
    assert len(found) == 1 + 4 + 19 * 3 * 4
    # Opened are the root and three rows of each level below it; the rows of the source have nothing to open.
    assert sum("again" in line for line in found) == len(found) - (1 + 19 * 3) - 3 * 4
    assert explanation.omitted == 0


def test_an_explanation_is_bounded() -> None:
    graph = diamond(width=50, depth=3)
    explanation = graph.explain("level_3", "k0", entries=100)
    found = lines(explanation)
    assert len(found) == 100
    # Breadth first: the nearest are all there.
    assert len(explanation.inputs) == 51
    assert "omitted" not in explanation.as_dict()
    assert any(entry.omitted for entry in explanation.inputs)
    assert any("omitted" in entry.as_dict() for entry in explanation.inputs)
    shallow = graph.explain("level_3", "k0", depth=1)
    assert all(entry.inputs == () for entry in shallow.inputs)
    assert graph.explain("level_3", "k0", entries=1).omitted == 51


def test_the_dictionary_is_of_json_s_types() -> None:
    graph = Graph()
    pods = graph.source("pods", Pod, key=lambda p: (p.namespace, p.key))
    graph.group("groups", pods, by=lambda p: p.node)
    Driver(graph).write((pods, Pod("a")))
    assert graph.explain("groups", "n1").as_dict() == {
        "collection": "groups",
        "key": "n1",
        "changed_seq": 1,
        "inputs": [{"collection": "pods", "key": ["default", "a"], "how": "member", "changed_seq": 1}],
    }


def test_the_owner_of_a_contested_key_explains_it() -> None:
    graph = Graph()
    inputs = graph.source("inputs", Text)
    graph.map("outputs", Text, inputs, lambda row, _: Text("x", str(row.key)))
    driver = Driver(graph)
    driver.write((inputs, Text("a")), (inputs, Text("b")))
    assert lines(graph.explain("outputs", "x")) == ["outputs x @1", "  inputs a @1 (input)"]
    driver.write((inputs, "a"))
    assert lines(graph.explain("outputs", "x")) == ["outputs x @2", "  inputs b @1 (input)"]


def test_the_drawing_shows_what_is_declared_and_nothing_else(world: World) -> None:
    graph = world.graph
    expected = """\
flowchart LR
    pods[("pods<br/>source")]
    services[("services<br/>source")]
    nodes[("nodes<br/>source")]
    reads["reads<br/>map"]
    joined{{"joined<br/>union"}}
    services --> reads
    pods -.-> reads
    services -.-> reads
    nodes -.-> reads
    pods -. by_node .-> reads
    nodes --> joined
    reads --> joined
"""
    assert graph.mermaid() == expected
    world.driver.write((world.pods, Pod("z")))
    assert graph.mermaid() == expected


def test_every_kind_has_a_shape() -> None:
    graph = Graph()
    source = graph.source("inputs", Text)
    graph.group("groups", source, by=lambda row: row.key)
    graph.count("counts", source, by=lambda row: row.key)
    graph.singleton("one", Text, lambda _: None, reads=(source,))
    assert graph.mermaid().splitlines()[2:] == [
        '    groups[["groups<br/>group"]]',
        '    counts[["counts<br/>count"]]',
        '    one(["one<br/>singleton"])',
        "    inputs --> groups",
        "    inputs --> counts",
        "    inputs -.-> one",
    ]
