"""4.3, which services a waypoint captures; first list, 6: it must exist, and admit the service's namespace."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conformance.manifests import Manifest, gateway

from .mesh import NS, View, at, entry, istio_labels, made, namespace, service
from .waypoints import CAPTURED, at_waypoint, chains, proxying, waypoint

OTHER = "elsewhere"


def service_or_entry(kind: str, **fields: Any) -> Manifest:
    """One that would have a chain if it were captured."""
    if kind == "Service":
        return service(**fields)
    return entry(endpoints=[at("1.1.1.1")], addresses=["10.96.0.1"], **fields)


def captured(*objects: Manifest, key: str = f"{NS}/wp") -> bool:
    return len(chains(at_waypoint(*objects, key=key))) == 1


KINDS = pytest.mark.parametrize("kind", ["Service", "ServiceEntry"])


@KINDS
@pytest.mark.parametrize(
    ("own", "of_namespace", "expected"),
    [
        ({}, {}, False),
        ({"use_waypoint": "wp"}, {}, True),
        ({"use_waypoint": "none"}, {}, False),
        ({"use_waypoint": "gone"}, {}, False),
        ({}, {"use_waypoint": "wp"}, True),
        ({}, {"use_waypoint": "none"}, False),
        ({}, {"use_waypoint": "gone"}, False),
        # The object's label beats the Namespace's, whatever it says.
        ({"use_waypoint": "none"}, {"use_waypoint": "wp"}, False),
        ({"use_waypoint": "gone"}, {"use_waypoint": "wp"}, False),
        ({"use_waypoint": "wp"}, {"use_waypoint": "none"}, True),
        ({"use_waypoint": "wp"}, {"use_waypoint": "gone"}, True),
        ({"use_waypoint": "wp", "use_waypoint_namespace": NS}, {}, True),
        ({"use_waypoint": "wp", "use_waypoint_namespace": OTHER}, {}, False),
        # `use-waypoint-namespace` is of the label set of its `use-waypoint` alone.
        ({"use_waypoint_namespace": OTHER}, {"use_waypoint": "wp"}, True),
        ({"use_waypoint": "wp"}, {"use_waypoint": "wp", "use_waypoint_namespace": OTHER}, True),
        ({"use_waypoint_namespace": NS}, {}, False),
        ({}, {"use_waypoint_namespace": NS}, False),
    ],
)
def test_by_labels(kind: str, own: dict[str, str], of_namespace: dict[str, str], expected: bool) -> None:
    made = service_or_entry(kind, labels=istio_labels(**own))
    assert captured(waypoint(), namespace(**of_namespace), made) is expected


@KINDS
@pytest.mark.parametrize("where", ["object", "namespace"])
@pytest.mark.parametrize(
    ("routes", "expected"),
    [
        (None, False),
        ({"from": "Same"}, False),
        ({"from": "All"}, True),
        ({"from": "Selector", "selector": {"matchLabels": {"istio.io/team": "a"}}}, True),
        ({"from": "Selector", "selector": {"matchLabels": {"istio.io/team": "b"}}}, False),
    ],
)
def test_of_another_namespace(kind: str, where: str, routes: Manifest | None, expected: bool) -> None:
    """``allowedRoutes.namespaces``, Same where nothing is said."""
    there = {"use_waypoint": "wp", "use_waypoint_namespace": NS}
    on_object, on_namespace = (there, {}) if where == "object" else ({}, there)
    made = service_or_entry(kind, namespace=OTHER, labels=istio_labels(**on_object))
    allowed: dict[str, Any] = {"allowedRoutes": {"namespaces": routes}} if routes else {}
    assert captured(waypoint(proxying(**allowed)), namespace(OTHER, team="a", **on_namespace), made) is expected


def test_without_a_namespace_said_the_waypoint_is_of_the_service_s_own() -> None:
    made = [waypoint(proxying(routes="All")), service(namespace=OTHER, labels=CAPTURED)]
    assert not captured(*made)
    assert captured(*made, waypoint(namespace=OTHER), key=f"{OTHER}/wp")


@pytest.mark.parametrize(
    ("value", "expected"),
    [(None, True), ("service", True), ("all", True), ("workload", False), ("none", False), ("something", False)],
)
def test_a_waypoint_is_for_services_by_its_label(value: str | None, expected: bool) -> None:
    """4.1, ``istio.io/waypoint-for``."""
    labels = istio_labels(waypoint_for=value) if value else {}
    assert captured(waypoint(labels=labels), service(labels=CAPTURED)) is expected


def test_a_gateway_that_is_no_waypoint_captures_nothing() -> None:
    served = at_waypoint(gateway(name="wp", namespace=NS), service(labels=CAPTURED))
    assert all(
        not chain["name"].startswith("fc_") for each in served.listeners.values() for chain in each["filterChains"]
    )
    assert bound(served)[0] == "False"


def test_the_waypoint_named_is_meant_among_several() -> None:
    made = [
        waypoint(),
        waypoint(name="wp2"),
        service("a", labels=CAPTURED),
        service("b", labels=istio_labels(use_waypoint="wp2")),
    ]
    assert list(chains(at_waypoint(*made))) == ["fc_http_80_a_gwtest"]
    assert list(chains(at_waypoint(*made, key=f"{NS}/wp2"))) == ["fc_http_80_b_gwtest"]


def bound(served: View, kind: str = "Service", name: str = "reviews", namespace: str = NS) -> tuple[str, str]:
    """Status of ``istio.io/WaypointBound``, and all that it says; empty where it is not there."""
    for condition in served.status(kind, name, namespace).get("conditions", ()):
        if condition["type"] == "istio.io/WaypointBound":
            return condition["status"], condition["message"]
    return "", ""


@KINDS
@pytest.mark.parametrize(
    ("label", "expected", "says"),
    [("wp", "True", "gwtest/wp"), ("gone", "False", "gwtest/gone"), ("none", "", ""), (None, "", "")],
)
def test_whether_it_is_bound_is_told(kind: str, label: str | None, expected: str, says: str) -> None:
    labels = istio_labels(use_waypoint=label) if label else {}
    name = "reviews" if kind == "Service" else "se"
    status, message = bound(at_waypoint(waypoint(), service_or_entry(kind, labels=labels)), kind, name)
    assert status == expected
    assert says in message


def test_one_that_is_not_admitted_is_told() -> None:
    labels = istio_labels(use_waypoint="wp", use_waypoint_namespace=NS)
    served = at_waypoint(waypoint(), namespace(OTHER), service(namespace=OTHER, labels=labels))
    status, message = bound(served, namespace=OTHER)
    assert status == "False"
    assert "gwtest/wp" in message


def test_a_waypoint_s_own_service_is_never_captured() -> None:
    """[I] of 4.3; by the label that names a Service's Gateway."""
    labels = CAPTURED | {"gateway.networking.k8s.io/gateway-name": "wp"}
    assert not captured(waypoint(), service("wp", labels=labels))
    of_namespace = made("Namespace", "v1", NS, None, labels=CAPTURED)
    assert not captured(
        waypoint(), of_namespace, service("wp", labels={"gateway.networking.k8s.io/gateway-name": "wp"})
    )
