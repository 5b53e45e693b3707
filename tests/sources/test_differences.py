"""The differences, folded into what was, give what is: for any two states, and for any two folders."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from controlplane.model.base import ObjectMeta
from controlplane.model.events import ObjectApplied, ObjectDeleted, ObjectRejected, SourceAvailable, SourceUnavailable
from controlplane.model.kubernetes import Namespace
from controlplane.model.references import FieldProblem, ObjectReference
from controlplane.sources.claims import Reading, after_earlier, resolve
from controlplane.sources.differences import State, diff
from controlplane.sources.manifest_text import read_text

NAMES = "abc"
PROBLEM = FieldProblem("spec", "wrong", "mend it")


def reference(name: str) -> ObjectReference:
    return ObjectReference("Namespace", "", name)


def applied(name: str, label: str = "", origin: str = "", warnings: tuple[FieldProblem, ...] = ()) -> ObjectApplied:
    labels = {"label": label} if label else {}
    return ObjectApplied(Namespace(metadata=ObjectMeta(name=name, labels=labels)), origin=origin, warnings=warnings)


def rejected(name: str, origin: str = "a.yaml:1") -> ObjectRejected:
    return ObjectRejected(reference(name), (PROBLEM,), origin)


@st.composite
def states(draw: st.DrawFn) -> State:
    names = st.sampled_from(NAMES)
    objects = draw(
        st.dictionaries(
            names, st.tuples(st.sampled_from("xy"), st.sampled_from(["f:1", "g:2"]), st.sampled_from([(), (PROBLEM,)]))
        )
    )
    rejections = draw(st.dictionaries(names, st.sampled_from(["f:1", "g:2"])))
    parts = draw(st.dictionaries(st.sampled_from("pq"), st.sampled_from(["broken", "torn"])))
    return State(
        {reference(name): applied(name, *row) for name, row in objects.items()},
        {reference(name): rejected(name, origin) for name, origin in rejections.items()},
        parts,
    )


class TestStates:
    @given(before=states(), after=states())
    def test_folding_the_differences_gives_the_other(self, fold, before, after):
        folded = fold(before)
        folded.apply(diff(before, after))
        assert folded == fold(after)

    @given(state=states())
    def test_there_is_no_difference_from_itself(self, state):
        assert diff(state, state) == ()

    @given(before=states(), after=states())
    def test_at_most_two_events_an_object_in_a_fixed_order(self, before, after):
        events = diff(before, after)
        objects = [event for event in events if not isinstance(event, SourceAvailable | SourceUnavailable)]
        assert list(events[: len(objects)]) == objects
        named = [
            reference(event.object.metadata.name) if isinstance(event, ObjectApplied) else event.reference
            for event in objects
        ]
        assert named == sorted(named)
        assert all(named.count(name) <= 2 for name in named)

    def test_an_origin_is_no_difference_but_a_warning_is(self):
        before = State({reference("a"): applied("a", origin="a.yaml:1")})
        assert diff(before, State({reference("a"): applied("a", origin="b.yaml:9")})) == ()
        after = State({reference("a"): applied("a", warnings=(PROBLEM,))})
        assert diff(before, after) == (after.objects[reference("a")],)

    def test_where_an_error_stands_is_a_difference(self):
        before = State(rejections={reference("a"): rejected("a", "a.yaml:1")})
        after = State(rejections={reference("a"): rejected("a", "a.yaml:2")})
        assert diff(before, after) == (rejected("a", "a.yaml:2"),)

    def test_what_is_applied_anew_is_rejected_anew(self):
        before = State({reference("a"): applied("a")}, {reference("a"): rejected("a")})
        after = State({reference("a"): applied("a", "x")}, {reference("a"): rejected("a")})
        assert diff(before, after) == (applied("a", "x"), rejected("a"))

    def test_what_was_only_rejected_is_deleted(self):
        assert diff(State(rejections={reference("a"): rejected("a")}), State()) == (ObjectDeleted(reference("a")),)


DOCUMENTS = [
    *(f"apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {name}\n" for name in NAMES),
    *(f"apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {name}\n  labels: {{version: two}}\n" for name in NAMES),
]
ILL_TYPED = [f"apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {name}\n  labels: 5\n" for name in NAMES]
NAMELESS = ["apiVersion: v1\nkind: Namespace\nmetadata: {}\n", "just text\n"]
BROKEN = ["a: [\n"]
FILES = st.sampled_from(["a.yaml", "b.yaml", "c/d.yaml"])


def folders(documents: list[str], most: int = 3) -> st.SearchStrategy[dict[str, str]]:
    text = st.lists(st.sampled_from(documents), max_size=most).map("---\n".join)
    return st.dictionaries(FILES, text, max_size=3)


def read(folder: dict[str, str], earlier: dict[str, Reading]) -> dict[str, Reading]:
    return {path: after_earlier(read_text(path, text.encode()), earlier.get(path)) for path, text in folder.items()}


ANY = folders(DOCUMENTS + ILL_TYPED + NAMELESS + BROKEN)


class TestFolders:
    @given(history=st.lists(ANY, min_size=1, max_size=5))
    def test_folding_the_differences_gives_what_the_folder_says(self, fold, history):
        state, readings, folded = State(), {}, fold()
        for folder in history:
            readings = read(folder, readings)
            before, state = state, resolve(state, readings, {})
            folded.apply(diff(before, state))
            assert folded == fold(state)

    @given(history=st.lists(ANY, max_size=4), last=folders(DOCUMENTS))
    def test_a_folder_without_errors_says_the_same_whatever_was_before(self, fold, history, last):
        state, readings = State(), {}
        for folder in (*history, last):
            readings = read(folder, readings)
            state = resolve(state, readings, {})
        assert fold(state) == fold(resolve(State(), read(last, {}), {}))

    @given(before=folders(DOCUMENTS), after=ANY)
    def test_what_is_still_claimed_or_may_be_is_still_served(self, before, after):
        earlier = read(before, {})
        state = resolve(State(), earlier, {})
        readings = read(after, earlier)
        now = resolve(state, readings, {})
        claimed = {claim.reference for reading in readings.values() for claim in reading.claims}
        torn = {path for path, reading in readings.items() if not reading.complete}
        in_torn = {claim.reference for path in torn & earlier.keys() for claim in earlier[path].claims}
        assert state.objects.keys() & (claimed | in_torn) <= now.objects.keys()
        assert now.objects.keys() <= claimed | in_torn

    @given(folder=ANY, order=st.randoms())
    def test_the_order_in_which_files_are_read_says_nothing(self, folder, order):
        paths = list(folder)
        order.shuffle(paths)
        shuffled = {path: folder[path] for path in paths}
        assert diff(State(), resolve(State(), read(folder, {}), {})) == diff(
            State(), resolve(State(), read(shuffled, {}), {})
        )
