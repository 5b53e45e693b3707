"""Load assignments: order, weights, localities; addresses of services that are reached through their waypoints."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.translate.document import to_document
from controlplane.translate.load_assignment import translate_endpoints, translate_virtual_addresses
from controlplane.translate.resource import TypeUrl, content_version
from tests.translate.policies import a_group, an_endpoint

MAX = 2**32 - 1


def document(body: bytes) -> Any:
    return to_document(TypeUrl.LOAD_ASSIGNMENT, body)


def test_endpoints_without_priorities_are_what_they_always_were():
    addresses = ("10.0.0.1", "fd00::1")
    groups = tuple(
        a_group(*(an_endpoint(address, locality=place) for address in addresses), locality=place)
        for place in ("", "/z1", "/z2")
    )
    assert content_version(translate_endpoints("c", groups)) == "65cb65c90210e2da"
    assert document(translate_endpoints("c", ()))["clusterName"] == "c"


def test_groups_keep_their_order_priority_weight_and_locality():
    groups = (
        a_group(an_endpoint("10.0.0.1", weight=2), an_endpoint("10.0.0.2"), locality="r1/z1/s1", weight=3),
        a_group(an_endpoint("10.0.0.3"), locality="r1", priority=1, weight=1),
        a_group(an_endpoint("10.0.0.4"), priority=1),
        a_group(locality="r2", priority=2),
    )
    shown = document(translate_endpoints("c", groups))["endpoints"]
    assert [group.get("locality") for group in shown] == [
        {"region": "r1", "zone": "z1", "subZone": "s1"},
        {"region": "r1"},
        None,
        {"region": "r2"},
    ]
    assert [group.get("priority", 0) for group in shown] == [0, 1, 1, 2]
    assert [group.get("loadBalancingWeight") for group in shown] == [3, 1, None, None]
    assert [endpoint.get("loadBalancingWeight") for endpoint in shown[0]["lbEndpoints"]] == [2, None]
    assert "lbEndpoints" not in shown[3]


def test_an_endpoint_of_the_mesh_says_that_it_takes_mutual_tls():
    groups = (a_group(an_endpoint("10.0.0.1", mesh_tls=True), an_endpoint("10.0.0.2")),)
    first, second = document(translate_endpoints("c", groups))["endpoints"][0]["lbEndpoints"]
    assert first["metadata"] == {"filterMetadata": {"envoy.transport_socket_match": {"tlsMode": "istio"}}}
    assert "metadata" not in second


@pytest.mark.parametrize("weights", [(MAX,), (MAX, MAX), (MAX, 1, 0), (MAX - 2, 1, 1), (1, 2**31, 2**31)])
def test_weights_add_up_to_what_envoy_takes(weights):
    endpoints = [an_endpoint(f"10.0.0.{number}", weight=weight) for number, weight in enumerate(weights)]
    [group] = document(translate_endpoints("c", (a_group(*endpoints),)))["endpoints"]
    localities = tuple(a_group(locality=f"r{number}", weight=weight) for number, weight in enumerate(weights))
    groups = document(translate_endpoints("c", localities))["endpoints"]
    for weighted in (group["lbEndpoints"], groups):
        shown = [one.get("loadBalancingWeight", 0) for one in weighted]
        assert sum(weight or 1 for weight in shown) <= MAX
        assert [weight > 0 for weight in shown] == [weight > 0 for weight in weights]
        assert [weight for _, weight in sorted(zip(shown, weights, strict=True))] == sorted(weights)
        if sum(weight or 1 for weight in weights) <= MAX:
            assert shown == list(weights)


def test_priorities_end_where_envoys_do():
    shown = document(translate_endpoints("c", (a_group(priority=128), a_group(priority=500))))["endpoints"]
    assert [group["priority"] for group in shown] == [128, 128]


def address(address: str, port: int) -> dict[str, Any]:
    return {"address": {"socketAddress": {"address": address, "portValue": port}}}


@pytest.mark.parametrize(
    ("addresses", "port", "expected"),
    [
        ((), 80, None),
        (("10.0.0.1",), 80, address("10.0.0.1", 80)),
        (
            ("10.0.0.1", "fd00::1", "10.0.0.2"),
            80,
            {**address("10.0.0.1", 80), "additionalAddresses": [address("fd00::1", 80), address("10.0.0.2", 80)]},
        ),
        (("10.0.0.1",), 0, address("10.0.0.1", 0)),
    ],
)
def test_the_addresses_of_a_service_are_one_endpoint(addresses, port, expected):
    shown = document(translate_virtual_addresses("c", addresses, port))
    assert shown["clusterName"] == "c"
    endpoints = None if expected is None else [{"lbEndpoints": [{"endpoint": expected}]}]
    assert shown.get("endpoints") == endpoints
