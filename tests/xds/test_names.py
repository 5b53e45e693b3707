"""Sets of names that streams share: exactly sets, and cheap in thousands."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from controlplane.xds.interest import WILDCARD, Interest, Update
from controlplane.xds.names import SharedNames

MANY = [f"kube_demo_app-{number}_80" for number in range(5_000)]
some = st.lists(st.sampled_from([f"n{number}" for number in range(120)]), max_size=60)
requests = st.lists(st.tuples(*[st.lists(st.sampled_from([WILDCARD, "a", "b", "c", "d"]), max_size=4)] * 2), max_size=8)


def octets(make: Callable[[], object]) -> int:
    """What the result of a call takes of memory."""
    gc.collect()
    tracemalloc.start()
    try:
        kept = make()
        gc.collect()
        return tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
        del kept


@given(st.lists(st.tuples(st.integers(0, 2), st.booleans(), some), max_size=20))
def test_names_are_a_set_whoever_shares_them(steps):
    shared, plain = [SharedNames() for _ in range(3)], [set[str]() for _ in range(3)]
    for which, adds, names in steps:
        if adds:
            shared[which].update(names)
            plain[which].update(names)
        else:
            shared[which].difference_update(names)
            plain[which].difference_update(names)
        for mine, expected in zip(shared, plain, strict=True):
            assert sorted(mine) == sorted(expected)
            assert len(mine) == len(expected)
            assert {f"n{number}" for number in range(120) if f"n{number}" in mine} == expected


def one_set(*more: str) -> SharedNames:
    names = SharedNames()
    names.update(MANY)
    for name in more:
        names.update([name])
    return names


def test_a_thousand_streams_with_the_same_names_cost_little_more_than_one():
    def make() -> list[SharedNames]:
        return [one_set(f"new-{number}", f"other-{number}") for number in range(1_000)]

    assert octets(make) < octets(one_set) + 1_000 * 2_000


def test_a_name_more_or_less_is_no_copy_of_all_names():
    names = one_set()
    tracemalloc.start()
    try:
        for number in range(20):
            names.update([f"new-{number}"])
            names.difference_update([MANY[number]])
            assert tracemalloc.get_traced_memory()[1] < 20_000
    finally:
        tracemalloc.stop()
    assert len(names) == len(MANY)


def test_streams_that_went_the_same_way_share_again():
    def make() -> list[SharedNames]:
        return [one_set(*(f"new-{number}" for number in range(400))) for _ in range(50)]

    make()
    assert octets(make) < 2 * octets(one_set) + 50 * 20_000


class Plain:
    """The rules W1 to W8 word for word, with a set."""

    def __init__(self, legacy: bool) -> None:
        self.legacy, self.wildcard, self.names = legacy, False, set[str]()

    def first(self, subscribe: tuple[str, ...], unsubscribe: tuple[str, ...]) -> Update:
        self.wildcard = self.legacy and not subscribe
        return self.update(subscribe, unsubscribe)

    def update(self, subscribe: tuple[str, ...], unsubscribe: tuple[str, ...]) -> Update:
        answer, dropped = set(subscribe) - {WILDCARD}, set()
        self.names |= answer
        gained = WILDCARD in subscribe
        lost = WILDCARD in unsubscribe and (self.wildcard or gained)
        self.wildcard = (self.wildcard or gained) and not lost
        for name in unsubscribe:
            if name in self.names:
                self.names.remove(name)
                if self.wildcard:
                    answer.add(name)
                else:
                    answer.discard(name)
                    dropped.add(name)
        return Update(tuple(sorted(answer)), tuple(sorted(dropped)), gained and not lost, lost)


@given(st.booleans(), requests)
def test_w1_to_w8_any_requests_change_what_they_would_change_in_a_plain_set(legacy, messages):
    interest, plain = Interest(legacy_wildcard=legacy), Plain(legacy)
    for number, (subscribe, unsubscribe) in enumerate(messages):
        said = tuple(subscribe), tuple(unsubscribe)
        if number:
            assert interest.update(*said) == plain.update(*said)
        else:
            assert interest.first(*said) == plain.first(*said)
        assert (interest.wildcard, sorted(interest.names)) == (plain.wildcard, sorted(plain.names))
        for name in "abcde":
            assert interest.wants(name) == (plain.wildcard or name in plain.names)
