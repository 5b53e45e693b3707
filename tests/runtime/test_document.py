"""The document where clients are told apart."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.runtime.document import compare, for_only_client, only_gateway

CLUSTER, ENDPOINTS = "type.googleapis.com/a.Cluster", "type.googleapis.com/a.ClusterLoadAssignment"


def entry(text: str) -> dict[str, Any]:
    return {"version": text, "resource": {"name": text}}


def document(*classes: str, gateway: str = "ns/one") -> dict[str, Any]:
    clients = {gateway: {name: {CLUSTER: {"own": entry(name)}, ENDPOINTS: {"own": entry(name)}} for name in classes}}
    shared = {gateway: {CLUSTER: {"shared": entry("all")}}, "ns/two": {CLUSTER: {"shared": entry("all")}}}
    found = {"seq": 1, "version": "v", "gateways": shared, "statuses": {"Gateway ns/one": {"a": 1}}}
    return found | ({"clients": clients} if classes else {})


def test_the_only_client_of_a_gateway_sees_its_own_among_the_shared() -> None:
    given = document("x")
    merged = for_only_client(given)
    assert merged == {
        "seq": 1,
        "version": "v",
        "gateways": {
            "ns/one": {CLUSTER: {"shared": entry("all"), "own": entry("x")}, ENDPOINTS: {"own": entry("x")}},
            "ns/two": {CLUSTER: {"shared": entry("all")}},
        },
        "statuses": given["statuses"],
    }
    assert given == document("x"), "the document that was given has been changed"
    assert for_only_client(document()) == document()
    assert for_only_client(document("x", "y")) == document("x", "y")


def test_a_gateway_that_shares_nothing_has_its_clients() -> None:
    given = document("x", gateway="ns/three") | {"gateways": {}}
    assert for_only_client(given)["gateways"]["ns/three"].keys() == {CLUSTER, ENDPOINTS}
    assert only_gateway(given, "ns/three")["gateways"] == {}
    assert only_gateway(given, "ns/three")["clients"].keys() == {"ns/three"}


def test_the_part_of_one_gateway_has_its_clients() -> None:
    given = document("x", "y")
    assert only_gateway(given, "ns/one") == {**given, "gateways": {"ns/one": given["gateways"]["ns/one"]}}
    assert "clients" not in only_gateway(given, "ns/two")
    with pytest.raises(LookupError):
        only_gateway(given, "ns/three")


def test_what_clients_are_served_is_compared() -> None:
    """Each class by its name; what is shared as before."""
    assert list(compare(document("x"), document("x"))) == []
    changed = list(compare(document("x"), document("y")))
    assert changed == [
        ("ns/one [x] Cluster own", {"name": "x"}, None),
        ("ns/one [x] ClusterLoadAssignment own", {"name": "x"}, None),
        ("ns/one [y] Cluster own", None, {"name": "y"}),
        ("ns/one [y] ClusterLoadAssignment own", None, {"name": "y"}),
    ]
    assert next(iter(compare(document(), document("x"))))[0] == "ns/one [x] Cluster own"
