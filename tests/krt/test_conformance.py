"""What every kind of collection does alike. Numbers are those of reference/krt.md, 1.13."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest
from krt_kinds import KINDS, Kind

from controlplane.krt import Commit, Graph, GraphError

every_kind = pytest.mark.parametrize("kind", KINDS, indirect=True)
kinds_of_many = pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.many], indirect=True)


@pytest.fixture
def kind(request: pytest.FixtureRequest) -> Kind:
    return request.param()  # type: ignore[no-any-return]


def write(kind: Kind, *puts: tuple[str, str], delete: tuple[str, ...] = ()) -> Commit:
    tx = kind.graph.begin(kind.graph.seq + 1)
    for name in delete:
        kind.delete(tx, name)
    for name, text in puts:
        kind.put(tx, name, text)
    return tx.commit()


def delta(kind: Kind, commit: Commit) -> dict[Any, tuple[str | None, str | None]]:
    """The collection's part of a commit, rows as their texts."""
    return {
        key: tuple(None if row is None else kind.text(row) for row in change)
        for key, change in commit.delta(kind.collection).items()
    }


@every_kind
def test_starts_empty_and_unsynced(kind: Kind) -> None:
    """1"""
    collection = kind.collection
    assert collection.rows() == ()
    assert len(collection) == 0
    assert collection.get(kind.key("a")) is None
    assert not collection.synced
    assert collection.name == "things"
    assert kind.graph.collection("things") is collection
    assert kind.graph.explain("things", kind.key("a")).absent


@every_kind
def test_an_added_row_is_in_the_commit_and_readable_at_once(kind: Kind) -> None:
    """2, 11"""
    commit = write(kind, ("a", "1"))
    assert delta(kind, commit) == {kind.key("a"): (None, "1")}
    (row,) = kind.collection.rows()
    assert kind.collection.get(kind.key("a")) is row
    assert kind.by_text.get("1") == (row,)
    assert len(kind.collection) == 1


@every_kind
def test_a_late_reader_has_the_whole_state_and_then_the_changes(kind: Kind) -> None:
    """3, 7: state at a seq, and the commits after it; there is no moment in between at which something could be missed."""
    write(kind, ("a", "1"))
    state = {row.key: row for row in kind.collection.rows()}
    for text in ("2", "3"):
        for key, (old, new) in write(kind, ("a", text)).delta(kind.collection).items():
            assert state[key] == old
            assert new is not None
            state[key] = new
    assert tuple(state.values()) == kind.collection.rows()


@every_kind
def test_replacing_one_row_by_another_is_a_removal_and_an_addition(kind: Kind) -> None:
    """8, 31"""
    write(kind, ("b", "1"))
    commit = write(kind, ("c", "2"), delete=("b",))
    assert delta(kind, commit) == {kind.key("b"): ("1", None), kind.key("c"): (None, "2")}
    assert [kind.text(row) for row in kind.collection.rows()] == ["2"]
    assert kind.by_text.get("1") == ()


@every_kind
def test_changes_and_removals_flow_through(kind: Kind) -> None:
    """10"""
    write(kind, ("a", "1"))
    assert delta(kind, write(kind, ("a", "2"))) == {kind.key("a"): ("1", "2")}
    assert delta(kind, write(kind, delete=("a",))) == {kind.key("a"): ("2", None)}
    assert kind.collection.rows() == ()
    assert delta(kind, write(kind, ("a", "2"))) == {kind.key("a"): (None, "2")}


@every_kind
def test_an_equal_row_is_no_change(kind: Kind) -> None:
    """14, 32"""
    write(kind, ("a", "1"))
    before = kind.collection.get(kind.key("a"))
    commit = write(kind, ("a", "1"))
    assert commit.deltas == {}
    assert kind.collection.get(kind.key("a")) is before


@every_kind
def test_what_changes_and_changes_back_within_a_transaction_is_no_change(kind: Kind) -> None:
    write(kind, ("a", "1"))
    tx = kind.graph.begin(2)
    kind.put(tx, "a", "2")
    kind.delete(tx, "a")
    kind.put(tx, "a", "1")
    assert delta(kind, tx.commit()) == {}


@every_kind
def test_what_comes_and_goes_within_a_transaction_was_never_there(kind: Kind) -> None:
    write(kind)
    tx = kind.graph.begin(2)
    kind.put(tx, "a", "1")
    kind.delete(tx, "a")
    assert delta(kind, tx.commit()) == {}
    assert kind.collection.rows() == ()


@every_kind
def test_removing_what_is_not_there_is_no_change(kind: Kind) -> None:
    write(kind)
    assert write(kind, delete=("a",)).deltas == {}


@every_kind
def test_an_aborted_transaction_leaves_nothing(kind: Kind) -> None:
    write(kind, ("a", "1"))
    tx = kind.graph.begin(2)
    kind.put(tx, "a", "2")
    tx.abort()
    assert kind.graph.seq == 1
    assert delta(kind, write(kind, ("a", "3"))) == {kind.key("a"): ("1", "3")}


@every_kind
def test_readers_follow(kind: Kind) -> None:
    """13, 18: a reader runs when what it read changes, appears or goes, and at no other time."""
    tx = kind.graph.begin(1)
    tx.put(kind.readers, kind.readers.row_type("a"))
    tx.commit()
    texts = []
    for puts, deletes in (((("a", "1"),), ()), ((("a", "2"),), ()), ((("a", "2"),), ()), ((), ("a",))):
        write(kind, *puts, delete=deletes)
        reader = kind.followers.get("a")
        assert reader is not None
        texts.append(reader.text)
    assert texts == ["1", "2", "2", "absent"]
    assert kind.runs == ["a"] * 4  # once each for absent, 1, 2, absent again


@kinds_of_many
def test_rows_are_in_the_order_of_their_keys_whatever_the_order_of_writing(kind: Kind) -> None:
    """39"""
    for order in permutations("abc"):
        other = type(kind)()
        commits = [write(other, *((name, "1") for name in order))]
        assert list(commits[0].deltas["things"]) == [other.key(name) for name in "abc"]
        assert [row.key for row in other.collection.rows()] == [other.key(name) for name in "abc"]
        assert [row.key for row in other.by_text.get("1")] == [other.key(name) for name in "abc"]
        apart = type(kind)()
        for name in order:
            write(apart, (name, "1"))
        assert apart.collection.rows() == other.collection.rows()
        assert apart.by_text.get("1") == other.by_text.get("1")


@kinds_of_many
def test_rows_stay_in_order_through_changes(kind: Kind) -> None:
    write(kind, ("b", "1"), ("d", "1"))
    write(kind, ("c", "1"), ("a", "1"), delete=("d",))
    write(kind, ("b", "2"))
    write(kind, ("b", "1"), ("d", "1"), delete=("b",))
    expected = [kind.key(name) for name in "abcd"]
    assert [row.key for row in kind.collection.rows()] == expected
    assert [row.key for row in kind.by_text.get("1")] == expected


@kinds_of_many
def test_a_change_touches_its_own_row_only(kind: Kind) -> None:
    write(kind, ("a", "1"), ("b", "1"), ("c", "1"))
    rows = {row.key: row for row in kind.collection.rows()}
    assert delta(kind, write(kind, ("b", "2"))) == {kind.key("b"): ("1", "2")}
    assert kind.collection.get(kind.key("a")) is rows[kind.key("a")]
    assert kind.collection.get(kind.key("c")) is rows[kind.key("c")]


@every_kind
def test_synced_follows_the_sources(kind: Kind) -> None:
    """12 and the sync rules: in the commit in which the last source is, every collection is."""
    sources = kind.sources
    for source in sources[:-1]:
        tx = kind.graph.begin(kind.graph.seq + 1)
        tx.mark_synced(source)
        commit = tx.commit()
        assert not kind.graph.synced
        assert "followers" not in commit.newly_synced
    tx = kind.graph.begin(kind.graph.seq + 1)
    tx.mark_synced(sources[-1])
    kind.put(tx, "a", "1")
    commit = tx.commit()
    assert "followers" in commit.newly_synced
    assert kind.graph.synced
    assert kind.collection.synced
    assert delta(kind, commit) == {kind.key("a"): (None, "1")}
    tx = kind.graph.begin(kind.graph.seq + 1)
    tx.mark_unsynced(sources[0])
    commit = tx.commit()
    assert not kind.graph.synced
    assert commit.newly_unsynced[0] == sources[0].name
    assert "followers" in commit.newly_unsynced
    assert kind.collection.rows() != ()


@every_kind
def test_outside_readers_see_the_previous_commit_until_the_last_step(kind: Kind) -> None:
    write(kind, ("a", "1"))
    tx = kind.graph.begin(2)
    kind.delete(tx, "a")
    kind.put(tx, "b", "2")
    steps = 0
    for _ in tx.steps(0, lambda: 0.0):
        steps += 1
        assert [kind.text(row) for row in kind.collection.rows()] == ["1"]
        assert kind.collection.get(kind.key("a")) is not None
        assert kind.collection.get(kind.key("b")) is None
        assert len(kind.collection) == 1
        assert len(kind.by_text.get("1")) == 1
        assert kind.by_text.get("2") == ()
        assert kind.graph.seq == 1
        assert kind.graph.is_committing
    assert steps > 1
    assert delta(kind, tx.result) == {kind.key("a"): ("1", None), kind.key("b"): (None, "2")}
    assert [kind.text(row) for row in kind.collection.rows()] == ["2"]
    assert kind.by_text.get("1") == ()


@every_kind
def test_a_commit_left_half_way_can_be_completed(kind: Kind) -> None:
    whole = type(kind)()
    tx = kind.graph.begin(1)
    kind.put(tx, "a", "1")
    next(tx.steps(0, lambda: 0.0))
    commit = tx.commit()
    assert commit == write(whole, ("a", "1"))
    assert tx.result is commit


@every_kind
def test_it_is_explained_down_to_the_sources(kind: Kind) -> None:
    write(kind, ("a", "1"))
    write(kind, ("a", "2"))
    explanation = kind.graph.explain("things", kind.key("a"))
    assert explanation.changed_seq == 2
    leaves, waiting = [], [explanation]
    while waiting:
        entry = waiting.pop()
        waiting.extend(entry.inputs)
        if not entry.inputs and not entry.absent:
            leaves.append(entry)
    assert {leaf.collection for leaf in leaves} <= {source.name for source in kind.sources}
    assert max(leaf.changed_seq or 0 for leaf in leaves) == 2


@every_kind
def test_a_restored_graph_is_the_same_and_goes_on_the_same(kind: Kind) -> None:
    write(kind, ("a", "1"))
    tx = kind.graph.begin(2)
    tx.put(kind.readers, kind.readers.row_type("a"))
    for source in kind.sources:
        tx.mark_synced(source)
    tx.commit()
    other = type(kind)()
    other.graph.restore(kind.graph.checkpoint())
    assert other.graph.seq == 2
    assert other.graph.synced
    for mine, theirs in zip(kind.graph.collections, other.graph.collections, strict=True):
        assert mine.rows() == theirs.rows()
    assert other.graph.checkpoint() == kind.graph.checkpoint()
    assert write(other, ("b", "2"), delete=("a",)) == write(kind, ("b", "2"), delete=("a",))


@every_kind
def test_what_it_has_done_is_counted(kind: Kind) -> None:
    write(kind, ("a", "1"))
    write(kind, ("a", "2"))
    write(kind, ("a", "2"))
    write(kind, delete=("a",))
    statistics = kind.collection.statistics()
    assert statistics.rows == 0
    assert statistics.changes == 3
    assert statistics.failures == 0
    assert statistics.seconds == 0.0


@every_kind
def test_time_is_measured_with_the_clock_that_was_given_and_no_other(
    kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = iter(range(10_000))

    class Clocked(Graph):
        def __init__(self) -> None:
            super().__init__(clock=lambda: float(next(ticks)))

    monkeypatch.setattr("krt_kinds.Graph", Clocked)
    timed = type(kind)()
    write(timed, ("a", "1"))
    assert timed.collection.statistics().seconds > 0
    assert kind.collection.statistics().seconds == 0


@every_kind
def test_a_collection_refuses_what_would_go_wrong_later(kind: Kind) -> None:
    with pytest.raises(GraphError, match="there is a collection things already"):
        kind.graph.source("things", kind.readers.row_type)
    with pytest.raises(GraphError, match="has an index by_text already"):
        kind.collection.index("by_text", kind.text)
    write(kind)
    with pytest.raises(GraphError, match="declare all indexes before"):
        kind.collection.index("late", kind.text)
    with pytest.raises(GraphError, match="declare all collections before"):
        kind.graph.source("late", kind.readers.row_type)
