"""The tables of istio-semantics 2.5 to 2.7 and 1.8, and what holds for any endpoints, policy and client."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.model.services import (
    NETWORK,
    NODE,
    REGION,
    SUBZONE,
    ZONE,
    ClientClass,
    Endpoint,
    Locality,
    LocalityGroup,
    LocalityPolicy,
)
from controlplane.reducers.destination_rules import client_labels_of, locality_policy, perspective
from controlplane.reducers.priorities import prioritize

CLUSTER = "topology.istio.io/cluster"
Labels = Mapping[str, str]


def labels_of(locality: Locality) -> dict[str, str]:
    parts = {REGION: locality.region, ZONE: locality.zone, SUBZONE: locality.subzone}
    return {key: value for key, value in parts.items() if value}


def at(number: int, locality: str, labels: Labels | None = None, weight: int = 0) -> tuple[Endpoint, Labels]:
    where = Locality.parse(locality)
    return Endpoint(where, f"10.0.0.{number}", 80, weight), {**(labels or {}), **labels_of(where)}


def priorities(groups: Sequence[LocalityGroup], count: int) -> list[int]:
    """Of the endpoints 10.0.0.1, 10.0.0.2 ..., in that order."""
    found = {endpoint.address: group.priority for group in groups for endpoint in group.endpoints}
    return [found[f"10.0.0.{number}"] for number in range(1, count + 1)]


GATEWAY = {"version": "v1", NETWORK: "n1", NODE: "worker", **labels_of(Locality("r1", "r1z2", "r1z2s3"))}
REVIEWS = [
    at(1, "r1/r1z2/r1z2s3", {"version": "v1", NETWORK: "n1", NODE: "worker"}),
    at(2, "r1/r1z2/r1z2s4", {"version": "v2", NETWORK: "n1", NODE: "worker2"}),
    at(3, "r1/r1z3/r1z3s4", {NODE: "worker3"}),
    at(4, "r2/r2z1/r2z1s1", {"version": "v1", NETWORK: "n2", NODE: "worker4"}),
]


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ((REGION, ZONE, SUBZONE), [0, 1, 2, 3]),
        ((), [0, 1, 2, 3]),
        (("version=v1", f"{NETWORK}=n1"), [0, 2, 2, 1]),
        (("version", NETWORK), [0, 2, 2, 1]),
        ((REGION,), [0, 0, 0, 1]),
        ((NETWORK, REGION, ZONE), [0, 0, 1, 2]),
        ((NETWORK, REGION, ZONE, SUBZONE, NODE), [0, 1, 2, 3]),
        ((NETWORK,), [0, 0, 1, 1]),
    ],
)
def test_kgateway_s_table(entries: tuple[str, ...], expected: list[int]) -> None:
    """2.6, 1.8, 1.9 (svc-prefer-same-node); priorities compacted, the network first."""
    groups = prioritize(REVIEWS, LocalityPolicy(failover_priority=entries), GATEWAY)
    assert priorities(groups, 4) == expected


def test_without_a_policy_there_is_one_group_a_locality() -> None:
    groups = prioritize([at(2, "r2"), at(1, "r1"), at(3, "r1"), at(4, "")], None, GATEWAY)
    assert [(str(g.locality), g.priority, g.weight, len(g.endpoints)) for g in groups] == [
        ("", 0, 1, 1),
        ("r1", 0, 2, 2),
        ("r2", 0, 1, 1),
    ]


def test_serviceentry_examples() -> None:
    """1.9: se-dns-endpoints, se-hostname-ref and se-backendref, compacted."""
    policy = LocalityPolicy(failover_priority=(REGION, ZONE, SUBZONE))
    assert priorities(prioritize([at(1, "r1/r1z2/r1z2s4"), at(2, "r2")], policy, GATEWAY), 2) == [0, 1]
    three = [at(1, "r1/r1z2/r1z2s4"), at(2, "r1/r1z3/r1z3s4"), at(3, "r2/r2z1/r2z1s1")]
    assert priorities(prioritize(three, policy, GATEWAY), 3) == [0, 1, 2]
    groups = prioritize([*REVIEWS, at(5, "")], policy, GATEWAY)
    assert priorities(groups, 5) == [0, 1, 2, 3, 3]
    assert groups[0].locality == Locality()


def test_the_weight_of_a_group_is_the_sum_of_its_endpoints_an_unset_one_counts_as_one() -> None:
    policy = LocalityPolicy(failover_priority=("version",))
    endpoints = [at(1, "r1", {"version": "v1"}, 5), at(2, "r1", {"version": "v1"}), at(3, "r1", weight=7)]
    groups = prioritize(endpoints, policy, {"version": "v1"})
    assert [(g.priority, g.weight) for g in groups] == [(0, 6), (1, 7)]


def test_weights_of_a_priority_never_add_up_to_more_than_envoy_takes() -> None:
    greatest = 2**32 - 1
    endpoints = [at(1, "r1", weight=greatest), at(2, "r2", weight=greatest), at(3, "r3")]
    groups = prioritize(endpoints, LocalityPolicy(failover_priority=("version",)), {})
    assert [g.priority for g in groups] == [0, 0, 0]
    assert sum(g.weight for g in groups) <= greatest
    assert groups[2].weight == 1


HERE = labels_of(Locality("region1", "zone1", "subzone1"))


@pytest.mark.parametrize(
    ("localities", "expected"),
    [
        (
            ["region1/zone1/subzone1", "region1/zone1/subzone2", "region1/zone2", "region2", "region3"],
            [0, 1, 2, 3, 4],
        ),
        (["region1/zone1/subzone2", "region2"], [0, 1]),
        (["region1/zone1/subzone2", "region2", ""], [0, 1, 2]),
    ],
)
def test_failover_by_region(localities: list[str], expected: list[int]) -> None:
    """2.7, the three tables of failover region1 -> region2."""
    endpoints = [at(number, locality) for number, locality in enumerate(localities, 1)]
    groups = prioritize(endpoints, LocalityPolicy(failover=(("region1", "region2"),)), HERE)
    assert priorities(groups, len(localities)) == expected


def test_only_the_first_failover_of_the_clients_region_counts_and_that_of_another_region_does_not() -> None:
    endpoints = [at(1, "region2"), at(2, "region3")]
    twice = LocalityPolicy(failover=(("region1", "region2"), ("region1", "region3")))
    assert priorities(prioritize(endpoints, twice, HERE), 2) == [0, 1]
    other = LocalityPolicy(failover=(("region9", "region2"),))
    assert priorities(prioritize(endpoints, other, HERE), 2) == [0, 0]


SIX = [
    at(1, "region1", {NETWORK: "n1", CLUSTER: "c1"}),
    at(2, "region1", {"key": "value", NETWORK: "n2", CLUSTER: "c2"}),
    at(3, "region2", {"key": "value", NETWORK: "n1", CLUSTER: "c3"}),
    at(4, "region2", {"key": "value", NETWORK: "n2", CLUSTER: "c4"}),
    at(5, "region3", {"key": "value", NETWORK: "n1", CLUSTER: "c1"}),
    at(6, "region3", {"key": "value", NETWORK: "n2", CLUSTER: "c2"}),
]


@pytest.mark.parametrize(
    ("entries", "client", "expected"),
    [
        ((NETWORK, CLUSTER), {NETWORK: "test", CLUSTER: "test"}, [0, 0, 0, 0, 0, 0]),
        ((NETWORK, CLUSTER), {NETWORK: "n1", CLUSTER: "test"}, [0, 1, 0, 1, 0, 1]),
        ((NETWORK, CLUSTER), {NETWORK: "test", CLUSTER: "c1"}, [0, 1, 1, 1, 0, 1]),
        (("key", NETWORK, CLUSTER), {"key": "value", NETWORK: "n2", CLUSTER: "c2"}, [3, 0, 2, 1, 2, 0]),
        ((f"{NETWORK}=n1",), {NETWORK: "n2", CLUSTER: "test"}, [0, 1, 0, 1, 0, 1]),
        ((f"{NETWORK}=n3",), {NETWORK: "n1"}, [0, 0, 0, 0, 0, 0]),
    ],
)
def test_istio_s_table_of_failover_priority(entries: tuple[str, ...], client: Labels, expected: list[int]) -> None:
    """2.7, the first fixture."""
    assert priorities(prioritize(SIX, LocalityPolicy(failover_priority=entries), client), 6) == expected


SPREAD = [
    at(1, "region1/zone1", {NETWORK: "n1", CLUSTER: "c1"}),
    at(2, "region1/zone2", {NETWORK: "n2", CLUSTER: "c2"}),
    at(3, "region2/zone2", {NETWORK: "n1", CLUSTER: "c3"}),
    at(4, "region3/zone3", {NETWORK: "n2", CLUSTER: "c4"}),
    at(5, "region2/zone2", {NETWORK: "n2", CLUSTER: "c2"}),
    at(6, "region3/zone3", {NETWORK: "n1", CLUSTER: "c6"}),
]


def test_istio_s_table_of_localities_and_labels_together() -> None:
    """2.7, the second fixture: labels with localities among them, and failover on top of labels."""
    policy = LocalityPolicy(failover_priority=(NETWORK, REGION, ZONE))
    client = {NETWORK: "n1", REGION: "region2", ZONE: "zone2"}
    assert priorities(prioritize(SPREAD, policy, client), 6) == [1, 3, 0, 3, 2, 1]
    composed = LocalityPolicy(failover_priority=(NETWORK, CLUSTER), failover=(("region1", "region2"),))
    groups = prioritize(SPREAD, composed, {NETWORK: "n2", CLUSTER: "c2", **HERE})
    assert priorities(groups, 6) == [3, 0, 4, 2, 1, 5]


def test_a_label_with_a_value_ignores_the_clients_and_one_with_two_equals_signs_has_none() -> None:
    endpoints = [at(1, "", {"a": "1"}), at(2, "", {"a": "2"})]
    assert priorities(prioritize(endpoints, LocalityPolicy(failover_priority=("a=2",)), {"a": "1"}), 2) == [1, 0]
    assert priorities(prioritize(endpoints, LocalityPolicy(failover_priority=("a=2=3",)), {"a": "1"}), 2) == [0, 1]


def test_what_both_lack_matches() -> None:
    endpoints = [at(1, ""), at(2, "", {"a": "1"})]
    assert priorities(prioritize(endpoints, LocalityPolicy(failover_priority=("a",)), {}), 2) == [0, 1]


TO = (("region1/zone1/subzone1", 80), ("region1/zone1/subzone2", 15), ("region1/zone1/subzone3", 5))


def test_istio_s_table_of_distribute() -> None:
    """2.7; Istio's fixture has the first locality twice, which here is one group."""
    localities = [
        "region1/zone1/subzone1", "region1/zone1/subzone1", "region1/zone1/subzone2", "region1/zone1/subzone3",
        "region1/zone2", "region2", "region3",
    ]  # fmt: skip
    endpoints = [at(number, locality) for number, locality in enumerate(localities, 1)]
    policy = LocalityPolicy(distribute=(("region1/zone1/subzone1", TO),))
    groups = prioritize(endpoints, policy, HERE)
    assert [(str(g.locality), g.weight, len(g.endpoints)) for g in groups] == [
        ("region1/zone1/subzone1", 80, 2),
        ("region1/zone1/subzone2", 15, 1),
        ("region1/zone1/subzone3", 5, 1),
        ("region1/zone2", 0, 0),
        ("region2", 0, 0),
        ("region3", 0, 0),
    ]
    assert {g.priority for g in groups} == {0}


def test_a_share_of_several_localities_is_divided_by_their_weights_and_rounded_up() -> None:
    endpoints = [at(1, "r1/z1"), at(2, "r1/z1"), at(3, "r1/z2"), at(4, "r2", weight=3)]
    policy = LocalityPolicy(distribute=(("*", (("r1/*", 80), ("r2/*", 20))),))
    assert [g.weight for g in prioritize(endpoints, policy, {})] == [54, 27, 20]


def test_of_overlapping_patterns_the_most_specific_has_its_localities() -> None:
    endpoints = [at(1, "r1/z1/s1"), at(2, "r1/z1/s2"), at(3, "r1/z2"), at(4, "r2")]
    to = (("*", 10), ("r1/*", 20), ("r1/z1", 30), ("r1/z1/s1", 40))
    groups = prioritize(endpoints, LocalityPolicy(distribute=(("r1", to),)), {REGION: "r1"})
    assert [g.weight for g in groups] == [40, 30, 20, 10]


def test_the_first_source_that_matches_counts_and_without_one_nothing_changes() -> None:
    endpoints = [at(1, "r1"), at(2, "r2")]
    policy = LocalityPolicy(
        distribute=(("r1/z1/*", (("r1", 1), ("r2", 99))), ("r1", (("r1", 60), ("r2", 40))), ("r1/z9", (("r2", 100),)))
    )
    weights = {
        client: [g.weight for g in prioritize(endpoints, policy, labels_of(Locality.parse(client)))]
        for client in ("r1/z1/s1", "r1/z9", "r2")
    }
    assert weights == {"r1/z1/s1": [1, 99], "r1/z9": [60, 40], "r2": [1, 1]}


def test_a_weight_of_zero_takes_the_locality_out() -> None:
    policy = LocalityPolicy(distribute=(("*", (("*", 100), ("r1", 0))),))
    groups = prioritize([at(1, "r1"), at(2, "r2")], policy, {})
    assert [(g.weight, len(g.endpoints)) for g in groups] == [(0, 0), (100, 1)]


# What holds for any input.

_words = st.sampled_from(["", "a", "b"])
_localities = st.builds(Locality, _words, _words, _words)
_label_values = st.dictionaries(st.sampled_from([NETWORK, "version", "tier"]), st.sampled_from(["", "1", "2"]))
_patterns = st.sampled_from(["*", "a", "b", "a/*", "a/b", "a/b/a", "*/b", "b/*/a"])
_policies = st.one_of(
    st.builds(
        LocalityPolicy,
        failover_priority=st.lists(
            st.sampled_from([NETWORK, "version", "version=1", "tier", f"{NETWORK}=1", REGION, ZONE]), max_size=4
        ).map(tuple),
        failover=st.lists(st.tuples(_words, _words), max_size=2).map(tuple),
    ),
    st.builds(
        lambda entries: LocalityPolicy(distribute=tuple(entries)),
        st.lists(
            st.tuples(
                _patterns,
                st.dictionaries(_patterns, st.integers(0, 100), min_size=1).map(lambda d: (*sorted(d.items()),)),
            ),
            min_size=1,
            max_size=3,
        ),
    ),
)


@st.composite
def _endpoints(draw: st.DrawFn) -> list[tuple[Endpoint, Labels]]:
    numbers = range(draw(st.integers(0, 8)))
    found = []
    for number in numbers:
        locality = draw(_localities)
        endpoint = Endpoint(locality, f"10.0.0.{number}", 80, draw(st.integers(0, 3)))
        found.append((endpoint, {**draw(_label_values), **labels_of(locality)}))
    return found


def _clients() -> st.SearchStrategy[ClientClass]:
    def make(labels: Labels, locality: Locality) -> ClientClass:
        return ClientClass(("ns/g", ""), "ns", tuple(sorted({**labels, **labels_of(locality)}.items())))

    return st.builds(make, _label_values, _localities)


@given(_endpoints(), st.one_of(st.none(), _policies), _clients(), st.randoms(use_true_random=False))
def test_groups_are_complete_compact_and_independent_of_order(endpoints, policy, client, random) -> None:  # type: ignore[no-untyped-def]
    groups = prioritize(endpoints, policy, dict(client.labels))
    shuffled = random.sample(endpoints, len(endpoints))
    assert prioritize(shuffled, policy, dict(client.labels)) == groups
    assert [(g.locality, g.priority) for g in groups] == sorted({(g.locality, g.priority) for g in groups})
    assert {g.priority for g in groups} == set(range(len({g.priority for g in groups})))
    assert all(endpoint.locality == group.locality for group in groups for endpoint in group.endpoints)
    served = [endpoint for group in groups for endpoint in group.endpoints]
    assert len(served) == len(set(served))
    if policy is None or not policy.distribute:
        assert set(served) == {endpoint for endpoint, _ in endpoints}
    assert all((group.weight > 0) == bool(group.endpoints) for group in groups)


@given(_endpoints(), _policies, _clients())
def test_the_perspective_holds_all_that_is_looked_at(endpoints, policy, client) -> None:  # type: ignore[no-untyped-def]
    seen = client_labels_of(perspective(policy, client))
    assert prioritize(endpoints, policy, seen) == prioritize(endpoints, policy, dict(client.labels))


@given(_policies, _clients(), _clients(), _endpoints())
def test_clients_with_one_perspective_see_the_same(policy, one, other, endpoints) -> None:  # type: ignore[no-untyped-def]
    if perspective(policy, one) == perspective(policy, other):
        labels, others = dict(one.labels), dict(other.labels)
        assert prioritize(endpoints, policy, labels) == prioritize(endpoints, policy, others)


@given(_endpoints(), _clients(), st.lists(st.sampled_from(["version", "tier", REGION]), max_size=3))
def test_if_the_network_comes_first_any_match_of_it_beats_any_mismatch(endpoints, client, more) -> None:  # type: ignore[no-untyped-def]
    labels = dict(client.labels)
    groups = prioritize(endpoints, LocalityPolicy(failover_priority=(NETWORK, *more)), labels)
    networks = {endpoint: found.get(NETWORK, "") == labels.get(NETWORK, "") for endpoint, found in endpoints}
    matching = [g.priority for g in groups for endpoint in g.endpoints if networks[endpoint]]
    others = [g.priority for g in groups for endpoint in g.endpoints if not networks[endpoint]]
    assert not matching or not others or max(matching) < min(others)


@given(_endpoints(), _policies.filter(lambda policy: bool(policy.distribute)), _clients())
def test_distributed_weights_are_at_least_what_was_asked_for(endpoints, policy, client) -> None:  # type: ignore[no-untyped-def]
    seen = perspective(policy, client).partition("=")[2]
    groups = prioritize(endpoints, policy, dict(client.labels))
    if seen:
        asked = sum(weight for _, weight in policy.distribute[int(seen)][1])
        assert sum(group.weight for group in groups) <= asked + len(groups)
    else:
        assert all(group.endpoints for group in groups)


def test_traffic_distribution() -> None:
    """1.8."""
    same_zone = (NETWORK, REGION, ZONE)
    entries = {
        "PreferClose": same_zone,
        "PreferSameZone": same_zone,
        "preferclose": same_zone,
        "PreferSameNode": (*same_zone, SUBZONE, NODE),
        "PreferNetwork": (NETWORK,),
    }
    for text, expected in entries.items():
        assert locality_policy(None, text) == LocalityPolicy(failover_priority=expected)
    for text in ("", "Any", "Else"):
        assert locality_policy(None, text) is None
