"""Checkpoints: a graph restored from one is the graph it was taken of, and goes on as that one does."""

from __future__ import annotations

from typing import Any

import pytest
from krt_rows import Driver, Service, Text

from controlplane.krt import Checkpoint, Fetch, Graph, GraphError


class World:
    """A map whose rows fail as their text says, and readers of what it keeps."""

    def __init__(self, *, mended: bool = False) -> None:
        self.graph = graph = Graph()
        self.inputs = graph.source("inputs", Text)
        self.others = graph.source("others", Text)

        def check(row: Text, fetch: Fetch) -> list[Text]:
            other = fetch(self.others, row.key)
            if row.text == "bad" and other is None and not mended:
                raise ValueError(str(row.key))
            return [Text(row.key, row.text), Text((row.key, "extra"), row.text)]

        self.checked = graph.map("checked", Text, self.inputs, check, reads=(self.others,))
        self.texts = graph.group("texts", self.checked, by=lambda row: row.text)
        self.driver = Driver(graph)

    def write(self, *writes: str) -> Any:
        edits: list[Any] = []
        for write in writes:
            source = self.others if write.startswith("@") else self.inputs
            key, _, text = write.removeprefix("@").partition("=")
            edits.append((source, Text(key, text)) if text else (source, key))
        return self.driver.write(*edits)


@pytest.fixture
def world() -> World:
    world = World()
    world.write("a=good", "b=good")
    world.write("a=bad", "c=bad")
    world.driver.write((world.inputs, True))
    return world


def test_it_holds_sources_kept_rows_and_sync_and_nothing_else(world: World) -> None:
    assert world.graph.checkpoint() == Checkpoint(
        seq=3,
        sources={
            "inputs": {"a": (Text("a", "bad"), 2), "b": (Text("b", "good"), 1), "c": (Text("c", "bad"), 2)},
            "others": {},
        },
        kept={"checked": {"a": (Text("a", "good"), Text(("a", "extra"), "good"))}},
        synced=("inputs",),
    )
    assert world.checked.kept_type is Text


def test_a_restored_graph_has_the_kept_rows_and_the_failures(world: World) -> None:
    other = World()
    commit = other.graph.restore(world.graph.checkpoint())
    assert commit.seq == other.graph.seq == 3
    assert [(f.node, f.key) for f in commit.failures] == [("checked", "a"), ("checked", "c")]
    assert commit.newly_synced == ("inputs",)
    assert other.checked.rows() == world.checked.rows()
    assert other.checked.get("a") == Text("a", "good")
    assert other.texts.rows() == world.texts.rows()
    assert other.graph.failures() == world.graph.failures()
    assert other.graph.checkpoint() == world.graph.checkpoint()


@pytest.mark.parametrize("edit", ["a=good", "a=bad", "@a=help", "a", "b=bad", "c=good", "@c=help"])
def test_a_restored_graph_goes_on_as_the_original_does(world: World, edit: str) -> None:
    """44"""
    other = World()
    other.graph.restore(world.graph.checkpoint())
    assert other.write(edit) == world.write(edit)
    assert other.write("b=better", "-") == world.write("b=better", "-")
    assert other.graph.checkpoint() == world.graph.checkpoint()


def test_source_rows_keep_the_seq_of_their_last_change(world: World) -> None:
    other = World()
    other.graph.restore(world.graph.checkpoint())
    for key in "abc":
        assert other.graph.explain("inputs", key) == world.graph.explain("inputs", key)
    assert other.graph.explain("checked", "b").changed_seq == 3
    world.write("b=better")
    other.write("b=better")
    assert other.graph.explain("checked", "b") == world.graph.explain("checked", "b")


def test_a_function_that_was_mended_since_gives_its_new_rows(world: World) -> None:
    other = World(mended=True)
    other.graph.restore(world.graph.checkpoint())
    assert other.checked.get("a") == Text("a", "bad")
    assert other.graph.failures() == ()
    assert other.graph.checkpoint().kept == {}


def test_a_checkpoint_of_a_graph_that_has_not_started_starts_nothing() -> None:
    graph, other = Graph(), Graph()
    for each in (graph, other):
        each.singleton("one", Text, lambda _: Text("a"))
    commit = other.restore(graph.checkpoint())
    assert (commit.seq, commit.deltas) == (0, {})
    assert Driver(other).write() == Driver(graph).write()


def test_what_does_not_fit_is_refused(world: World) -> None:
    checkpoint = world.graph.checkpoint()
    with pytest.raises(GraphError, match="restored into a fresh graph"):
        world.graph.restore(checkpoint)

    bare = Graph()
    bare.source("inputs", Text)
    with pytest.raises(GraphError, match="there is no collection others"):
        bare.restore(checkpoint)

    other = Graph()
    inputs = other.source("inputs", Text)
    other.map("others", Text, inputs, lambda row, _: row)
    with pytest.raises(GraphError, match="the checkpoint has a source others, which is a map here"):
        other.restore(checkpoint)

    changed = Graph()
    changed.source("inputs", Text)
    changed.source("others", Text)
    changed.union("checked", Text, ())
    with pytest.raises(GraphError, match="checked is a union, which keeps no rows"):
        changed.restore(checkpoint)

    typed = Graph()
    typed.source("inputs", Service)
    typed.source("others", Text)
    typed.source("checked", Text)
    with pytest.raises(GraphError, match="checked is a source"):
        typed.restore(checkpoint)


def test_a_checkpoint_of_no_collection_that_is_new_since(world: World) -> None:
    """A later version may declare more: what the checkpoint does not know is empty and unsynced."""
    other = World()
    new = other.graph.source("new_ones", Text)
    other.graph.restore(world.graph.checkpoint())
    assert new.rows() == ()
    assert not new.synced
    assert other.checked.rows() == world.checked.rows()
