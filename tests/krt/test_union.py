"""Unions: several collections as one, by priority. Numbers are those of krt.md, 1.13."""

from __future__ import annotations

import pytest
from krt_rows import Driver, Text, keys

from controlplane.krt import Graph, GraphError


class Layers:
    def __init__(self) -> None:
        self.graph = Graph()
        self.parts = tuple(self.graph.source(name, Text) for name in ("first", "second", "third"))
        self.all = self.graph.union("layers", Text, self.parts)
        self.by_text = self.all.index("by_text", lambda row: row.text)
        self.driver = Driver(self.graph)

    def write(self, *writes: tuple[int, str]) -> dict[str, str]:
        """``(part, "k=text")`` puts, ``(part, "k")`` deletes; what happened to the union."""
        edits = []
        for part, edit in writes:
            key, is_put, text = edit.partition("=")
            edits.append((self.parts[part], Text(key, text) if is_put else key))
        return keys(self.driver.write(*edits), "layers")


@pytest.fixture
def layers() -> Layers:
    return Layers()


def test_the_earlier_input_has_the_key_and_the_next_one_is_fallen_back_to(layers: Layers) -> None:
    """24"""
    assert layers.write((1, "k=second")) == {"k": "+"}
    assert layers.write((0, "k=first")) == {"k": "~"}
    assert layers.write((1, "k=changed")) == {}
    assert layers.write((2, "k=third")) == {}
    assert layers.write((1, "k")) == {}
    assert layers.all.rows() == (Text("k", "first"),)
    assert layers.write((0, "k")) == {"k": "~"}
    assert layers.all.rows() == (Text("k", "third"),)
    assert layers.write((2, "k")) == {"k": "-"}


def test_the_order_of_writing_does_not_matter() -> None:
    """22, 23"""
    writes = [(0, "k=first"), (1, "k=second"), (2, "k=third"), (2, "l=third")]
    together = Layers()
    together.write(*writes)
    for order in (writes, writes[::-1]):
        apart = Layers()
        for write in order:
            apart.write(write)
        assert apart.all.rows() == together.all.rows() == (Text("k", "first"), Text("l", "third"))


def test_old_and_new_are_what_was_seen_when_parts_change_together(layers: Layers) -> None:
    """40: krt's joins emit an Update of an absent key here, or an Old that nobody saw"""
    layers.write((0, "k=1"), (1, "k=2"))
    commit = layers.driver.write((layers.parts[0], "k"), (layers.parts[1], Text("k", "3")))
    assert dict(commit.delta(layers.all)) == {"k": (Text("k", "1"), Text("k", "3"))}
    commit = layers.driver.write((layers.parts[0], Text("k", "3")), (layers.parts[1], "k"))
    assert commit.delta(layers.all) == {}


def test_an_index_holds_the_visible_row_only(layers: Layers) -> None:
    """krt's checked join returns both versions of a key"""
    layers.write((0, "k=shown"), (1, "k=hidden"), (1, "l=hidden"))
    assert layers.by_text.get("hidden") == (Text("l", "hidden"),)
    layers.write((0, "k"))
    assert layers.by_text.get("hidden") == (Text("k", "hidden"), Text("l", "hidden"))
    assert layers.by_text.get("shown") == ()


def test_a_removed_object_is_removed_once(layers: Layers) -> None:
    """krt's JoinWithMergeCollection deletes twice; 25 otherwise: a merge is a map over a group"""
    layers.write((0, "k=1"))
    commit = layers.driver.write((layers.parts[0], "k"))
    assert dict(commit.delta(layers.all)) == {"k": (Text("k", "1"), None)}
    assert layers.write((0, "k")) == {}


def test_a_merge_is_a_map_over_a_group() -> None:
    """25"""
    graph = Graph()
    parts = [graph.source(name, Text) for name in ("ours", "theirs")]
    tagged = [
        graph.map(f"tagged_{i}", Text, part, lambda row, _, i=i: Text((row.key, i), row.text))  # type: ignore[misc]
        for i, part in enumerate(parts)
    ]
    versions = graph.group("versions", graph.union("all_versions", Text, tagged), by=lambda row: row.key[0])
    merged = graph.map("merged", Text, versions, lambda group, _: Text(group.key, "+".join(r.text for r in group.rows)))
    driver = Driver(graph)
    assert keys(driver.write((parts[0], Text("k", "a")), (parts[1], Text("k", "b"))), "merged") == {"k": "+"}
    assert merged.get("k") == Text("k", "a+b")
    assert keys(driver.write((parts[0], "k")), "merged") == {"k": "~"}
    assert keys(driver.write((parts[1], "k")), "merged") == {"k": "-"}
    assert keys(driver.write((parts[1], Text("k", "c"))), "merged") == {"k": "+"}


def test_a_union_of_nothing_is_empty_and_one_part_twice_is_a_mistake() -> None:
    graph = Graph()
    source = graph.source("things", Text)
    assert graph.union("nothing", Text, ()).rows() == ()
    with pytest.raises(GraphError, match="names a collection twice"):
        graph.union("twice", Text, (source, source))
    with pytest.raises(GraphError, match="drop key="):
        graph.union("keyed", Text, (source,), key=lambda row: row.key)
