"""2.7, Istio's tables of failover, failoverPriority and distribute."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from tests.conformance.manifests import Manifest

from .mesh import (
    ISTIO_CLUSTER,
    NETWORK,
    REGION,
    SUBZONE,
    ZONE,
    View,
    at,
    entry,
    leading_to,
    locality,
    rule_for,
    service,
    slice_of,
    to_host,
    to_service,
    view,
)
from .places import ENTRY, SERVICE, place_labels

HERE = "region1/zone1/subzone1"


def tagged(**labels: str) -> dict[str, str]:
    """``n`` is the network's label, ``c`` the cluster's."""
    short = {"n": NETWORK, "c": ISTIO_CLUSTER}
    return {short.get(key, key): value for key, value in labels.items()}


def asked(endpoints: list[Manifest], setting: Mapping[str, Any], **asking: Any) -> View:
    made = [entry(endpoints=endpoints), rule_for("se.example.com", **locality(**setting)), *leading_to(to_host())]
    return view(*made, **asking)


def numbered(places: list[str], labels: list[dict[str, str]] | None = None) -> list[Manifest]:
    """Endpoints 10.0.0.1, 10.0.0.2 ... in these places."""
    tags = labels or [{} for _ in places]
    return [at(f"10.0.0.{i}", place, labels=tag) for i, (place, tag) in enumerate(zip(places, tags, strict=True), 1)]


def priorities(served: View) -> list[int]:
    """Of 10.0.0.1, 10.0.0.2 ..., in this order."""
    found = served.priorities(ENTRY)
    return [found[f"10.0.0.{i}"] for i in range(1, len(found) + 1)]


# failover

TO_REGION2 = {"failover": [{"from": "region1", "to": "region2"}]}


@pytest.mark.parametrize(
    ("places", "expected"),
    [
        ([HERE, "region1/zone1/other", "region1/zone2", "region2", "region3"], [0, 1, 2, 3, 4]),
        (["region1/zone1/subzone2", "region2"], [0, 1]),
        (["region1/zone1/subzone2", "region2", ""], [0, 1, 2]),
    ],
    ids=["failover region1->region2", "gaps", "nil locality"],
)
def test_failover(places: list[str], expected: list[int]) -> None:
    assert priorities(asked(numbered(places), TO_REGION2, locality=HERE)) == expected


# failoverPriority

SIX = numbered(
    ["region1", "region1", "region2", "region2", "region3", "region3"],
    [
        tagged(n="n1", c="c1"),
        tagged(n="n2", c="c2", key="value"),
        tagged(n="n1", c="c3", key="value"),
        tagged(n="n2", c="c4", key="value"),
        tagged(n="n1", c="c1", key="value"),
        tagged(n="n2", c="c2", key="value"),
    ],
)


@pytest.mark.parametrize(
    ("names", "proxy", "expected"),
    [
        ([NETWORK, ISTIO_CLUSTER], tagged(n="test", c="test"), [0, 0, 0, 0, 0, 0]),
        ([NETWORK, ISTIO_CLUSTER], tagged(n="n1", c="test"), [0, 1, 0, 1, 0, 1]),
        ([NETWORK, ISTIO_CLUSTER], tagged(n="test", c="c1"), [0, 1, 1, 1, 0, 1]),
        (["key", NETWORK, ISTIO_CLUSTER], tagged(n="n2", c="c2", key="value"), [3, 0, 2, 1, 2, 0]),
        ([f"{NETWORK}=n1"], tagged(n="n2", c="test"), [0, 1, 0, 1, 0, 1]),
        ([f"{NETWORK}=n3"], tagged(n="n1"), [0, 0, 0, 0, 0, 0]),
    ],
)
def test_failover_priority(names: list[str], proxy: dict[str, str], expected: list[int]) -> None:
    assert priorities(asked(SIX, {"failoverPriority": names}, labels=proxy)) == expected


def test_a_proxy_without_labels_is_like_any_other() -> None:
    """Istio looks at no label then, so that even ``key=value`` means nothing; here an absent label is an empty one, for all."""
    endpoints = numbered(["", "", ""], [{}, tagged(n="n1", c="c1"), tagged(n="n1")])
    found = asked(endpoints, {"failoverPriority": [NETWORK, ISTIO_CLUSTER]})
    assert priorities(found) == [0, 2, 1]


def test_the_network_comes_first_only_where_it_is_named_first() -> None:
    """The walk ends at the first difference elsewhere: 10.0.0.2 and 10.0.0.3 differ in their clusters alone."""
    endpoints = numbered(["", "", ""], [tagged(n="n1", c="c1"), tagged(n="n2", c="c2"), tagged(n="n2", c="c3")])
    found = asked(endpoints, {"failoverPriority": ["key", NETWORK, ISTIO_CLUSTER]}, labels=tagged(n="n1", c="c2"))
    assert priorities(found) == [0, 1, 1]


SECOND = numbered(
    ["region1/zone1", "region1/zone2", "region2/zone2", "region3/zone3", "region2/zone2", "region3/zone3"],
    [
        tagged(n="n1", c="c1"),
        tagged(n="n2", c="c2"),
        tagged(n="n1", c="c3"),
        tagged(n="n2", c="c4"),
        tagged(n="n2", c="c2"),
        tagged(n="n1", c="c6"),
    ],
)


@pytest.mark.parametrize(
    ("setting", "where", "proxy", "expected"),
    [
        ({"failoverPriority": [NETWORK, REGION, ZONE]}, "region2/zone2", tagged(n="n1"), [1, 3, 0, 3, 2, 1]),
        (
            {"failoverPriority": [NETWORK, ISTIO_CLUSTER], **TO_REGION2},
            HERE,
            tagged(n="n2", c="c2"),
            [3, 0, 4, 2, 1, 5],
        ),
        # With no failover, the same without what the localities add.
        ({"failoverPriority": [NETWORK, ISTIO_CLUSTER]}, HERE, tagged(n="n2", c="c2"), [2, 0, 2, 1, 0, 2]),
    ],
)
def test_failover_priority_and_failover(
    setting: dict[str, Any], where: str, proxy: dict[str, str], expected: list[int]
) -> None:
    assert priorities(asked(SECOND, setting, locality=where, labels=proxy)) == expected


@pytest.mark.parametrize("resolution", ["DNS", "STATIC"])
def test_labels_of_endpoints(resolution: str) -> None:
    """``loadbalancer_simulation_test.go``."""
    endpoints = [at("1.1.1.1", labels={"priority": "1"}), at("2.2.2.2", labels={"priority": "2"})]
    made = [entry(endpoints=endpoints, resolution=resolution), *leading_to(to_host())]
    rule = rule_for("se.example.com", **locality(failoverPriority=["priority"]))
    found = view(made, rule, labels={"priority": "1"}).priorities(ENTRY)
    assert found == {"1.1.1.1": 0, "2.2.2.2": 1}


# distribute

R1Z1 = "region1/zone1"
SEVEN = [HERE, HERE, f"{R1Z1}/subzone2", f"{R1Z1}/subzone3", "region1/zone2", "region2", "region3"]


def weights(served: View) -> dict[str, int | None]:
    """Weight by locality, of those that have endpoints; all are of one priority."""
    found: dict[str, int | None] = {}
    for place, priority, weight, there in served.grouped(ENTRY):
        assert priority == 0
        if there:
            found[place] = weight
    return found


def test_distribute() -> None:
    """Istio's table: 40, 40, 15, 5; endpoints of one place are one entry here, of 80."""
    to = {HERE: 80, f"{R1Z1}/subzone2": 15, f"{R1Z1}/subzone3": 5}
    served = asked(numbered(SEVEN), {"distribute": [{"from": HERE, "to": to}]}, locality=HERE)
    assert weights(served) == to
    assert served.cluster(ENTRY)["commonLbConfig"]["localityWeightedLbConfig"] == {}


PLACES = [HERE, f"{R1Z1}/subzone2", "region1/zone2", "region2/zone1", "region2/zone2"]
PLAIN = dict.fromkeys(PLACES, 1)


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ([{"from": "region1/*", "to": {"region1/*": 70, "region2/*": 30}}], [24, 24, 24, 15, 15]),
        ([{"from": "*", "to": {"region1/zone1/*": 50, "region2/zone2": 50}}], [25, 25, None, None, 50]),
        ([{"from": "region1/zone1/*", "to": {"*": 100}}], [20, 20, 20, 20, 20]),
        # The first whose `from` is the proxy's place.
        (
            [
                {"from": "region2/*", "to": {"region1/*": 100}},
                {"from": "region1/zone1/*", "to": {"region2/*": 100}},
                {"from": "region1/*", "to": {"region1/*": 100}},
            ],
            [None, None, None, 50, 50],
        ),
        # Overlapping: the most specific first (ours).
        ([{"from": HERE, "to": {"region1/*": 20, HERE: 80}}], [80, 10, 10, None, None]),
        # None fits: nothing changes.
        ([{"from": "region9/*", "to": {"region1/*": 100}}], [1, 1, 1, 1, 1]),
    ],
)
def test_distribute_by_pattern(entries: list[Manifest], expected: list[int | None]) -> None:
    found = weights(asked(numbered(PLACES), {"distribute": entries}, locality=HERE))
    assert found == {place: weight for place, weight in zip(PLACES, expected, strict=True) if weight is not None}


def test_a_place_s_share_is_by_what_it_weighed() -> None:
    endpoints = [at("1.1.1.1", HERE, weight=3), at("2.2.2.2", f"{R1Z1}/subzone2")]
    to = {f"{R1Z1}/*": 90, "region2/*": 10}
    served = asked([*endpoints, at("3.3.3.3", "region2")], {"distribute": [{"from": "*", "to": to}]}, locality=HERE)
    assert weights(served) == {HERE: 68, f"{R1Z1}/subzone2": 23, "region2": 10}


def test_distribute_stands_before_failover() -> None:
    setting = {"distribute": [{"from": "region1/*", "to": {"region2/*": 100}}], "failoverPriority": [REGION]}
    assert weights(asked(numbered(PLACES), setting, locality=HERE)) == {"region2/zone1": 50, "region2/zone2": 50}


@pytest.mark.parametrize("setting", [{"failoverPriority": [REGION]}, TO_REGION2, {"enabled": True}])
def test_localities_are_weighed_where_a_rule_is_about_them(setting: dict[str, Any]) -> None:
    """2.3 and 2.7, ``localityWeightedLbConfig``."""
    served = asked(numbered(PLACES), setting, locality=HERE)
    assert served.cluster(ENTRY)["commonLbConfig"]["localityWeightedLbConfig"] == {}


def test_a_rule_that_switches_it_off_leaves_one_priority() -> None:
    served = asked(numbered(PLACES), {"enabled": False, "failoverPriority": [SUBZONE]}, locality=HERE)
    assert set(priorities(served)) == {0}
    assert "localityWeightedLbConfig" not in served.cluster(ENTRY).get("commonLbConfig", {})


def test_a_service_s_own_distribution_is_forced() -> None:
    """Without any outlier detection, and for a proxy told apart by its place."""
    endpoints = [{"addresses": ["10.0.0.1"], "nodeName": "a"}, {"addresses": ["10.0.0.2"], "nodeName": "b"}]
    nodes = [
        {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": place_labels(place)}}
        for name, place in (("a", HERE), ("b", "region2/zone1"))
    ]
    made = [
        service(trafficDistribution="PreferClose"),
        slice_of("reviews", endpoints),
        *nodes,
        *leading_to(to_service()),
    ]
    for place, expected in ((HERE, [0, 1]), ("region2/zone1", [1, 0]), ("region3/zone1", [0, 0])):
        assert list(view(made, locality=place).priorities(SERVICE).values()) == expected, place
