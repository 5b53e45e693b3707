"""5.1, an ingress proxy's way to a waypoint: the service's VIP instead of its endpoints; first list, 5."""

from __future__ import annotations

import re
from typing import Any

import pytest

from controlplane.model.events import Settings
from tests.conformance.manifests import Manifest

from .mesh import (
    NS,
    SUBZONE,
    View,
    at,
    entry,
    istio_labels,
    leading_to,
    locality,
    namespace,
    port,
    rule_for,
    service,
    slice_of,
    to_host,
    to_service,
    view,
)
from .waypoints import proxying, waypoint

SERVICE = "kube_gwtest_reviews_80"
ENTRY = "istio-se_gwtest_se_se.example.com_80"
SWITCH = istio_labels(use_waypoint="wp", ingress_use_waypoint="true")


def reviews(labels: dict[str, str] | None = None, *ports: Manifest, **fields: Any) -> list[Manifest]:
    made = service("reviews", *ports, labels=SWITCH if labels is None else labels, **fields)
    return [made, slice_of("reviews", [{"addresses": ["10.0.0.1"]}])]


def external(addresses: list[str], **fields: Any) -> Manifest:
    given = {"addresses": addresses, "labels": SWITCH, "endpoints": [at("1.1.1.1", "r1")]} | fields
    return entry("se", **given)


def ingress(*objects: Any, **asking: Any) -> View:
    return view(waypoint(), *objects, **asking)


def ways(served: View, cluster: str = SERVICE) -> list[str]:
    """Where a cluster leads: ``address:port`` of each endpoint, in order, the additional addresses of one after it."""
    found = []
    for group in served.groups(cluster):
        assert group.get("priority", 0) == 0
        for item in group.get("lbEndpoints", ()):
            endpoint = item["endpoint"]
            for one in [endpoint, *endpoint.get("additionalAddresses", ())]:
                inner = one["address"]["socketAddress"]
                found.append(f"{inner['address']}:{inner['portValue']}")
    return found


VIP, POD = ["10.96.0.1:80"], ["10.0.0.1:8080"]

# The switch


@pytest.mark.parametrize(
    ("own", "of_namespace", "expected"),
    [
        (None, None, POD),
        ("true", None, VIP),
        ("false", None, POD),
        (None, "true", VIP),
        (None, "false", POD),
        # First list, 5: the service before its Namespace, false too.
        ("false", "true", POD),
        ("true", "false", VIP),
        # What Go's ParseBool takes; all else is false, also before a Namespace that says true.
        *((value, None, VIP) for value in ("1", "t", "T", "TRUE", "True")),
        *((value, "true", POD) for value in ("0", "f", "F", "FALSE", "False")),
        *((value, "true", POD) for value in ("yes", "tRUE", "enabled", "")),
        (None, "1", VIP),
        (None, "yes", POD),
    ],
)
@pytest.mark.parametrize("kind", ["Service", "ServiceEntry"])
def test_labels(kind: str, own: str | None, of_namespace: str | None, expected: list[str]) -> None:
    labels = istio_labels(use_waypoint="wp", **({} if own is None else {"ingress_use_waypoint": own}))
    there = namespace(**({} if of_namespace is None else {"ingress_use_waypoint": of_namespace}))
    if kind == "Service":
        assert ways(ingress(there, reviews(labels), leading_to(to_service()))) == expected
    else:
        made = external(["10.96.0.1"], labels=labels, endpoints=[at("10.0.0.1", ports={"http": 8080})])
        assert ways(ingress(there, made, leading_to(to_host())), ENTRY) == expected


def test_a_value_that_means_nothing_is_told() -> None:
    """Istio: false, with a warning."""
    labels = istio_labels(use_waypoint="wp", ingress_use_waypoint="perhaps")
    served = ingress(reviews(labels), leading_to(to_service()))
    assert "perhaps" in served.told("Service", "reviews") + "".join(served.warnings)


@pytest.mark.parametrize(("switched", "expected"), [(True, VIP), (False, POD)])
def test_the_setting(switched: bool, expected: list[str]) -> None:
    settings = Settings(ingress_use_waypoints=switched)
    assert ways(ingress(reviews(), leading_to(to_service()), settings=settings)) == expected


def test_it_is_on() -> None:
    assert Settings().ingress_use_waypoints


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (istio_labels(ingress_use_waypoint="true"), POD),
        (istio_labels(ingress_use_waypoint="true", use_waypoint="none"), POD),
        (istio_labels(ingress_use_waypoint="true", use_waypoint="gone"), POD),
        (istio_labels(ingress_use_waypoint="true", use_waypoint="web"), POD),
        (SWITCH, VIP),
    ],
)
def test_only_what_a_waypoint_captures(labels: dict[str, str], expected: list[str]) -> None:
    assert ways(ingress(reviews(labels), leading_to(to_service()))) == expected


def test_the_namespace_may_say_both() -> None:
    there = namespace(use_waypoint="wp", ingress_use_waypoint="true")
    assert ways(ingress(there, reviews({}), leading_to(to_service()))) == VIP


def test_one_that_the_waypoint_does_not_admit_keeps_its_endpoints() -> None:
    """First list, 6."""
    there = istio_labels(use_waypoint="wp", use_waypoint_namespace="mesh", ingress_use_waypoint="true")
    made = [*reviews(there), *leading_to(to_service())]
    assert ways(view(waypoint(namespace="mesh"), *made)) == POD
    assert ways(view(waypoint(proxying(routes="All"), namespace="mesh"), *made)) == VIP


def test_the_waypoint_itself_goes_to_the_endpoints() -> None:
    served = view(waypoint(), reviews(), gateway_key=f"{NS}/wp")
    assert ways(served) == POD


# Effect


def test_the_cluster_keeps_its_name_and_the_service_s_port() -> None:
    ports = [{"name": "http", "port": 80, "targetPort": 8080}, {"name": "http-b", "port": 9080, "targetPort": 8080}]
    served = ingress(reviews(None, *ports), leading_to(to_service(), to_service(number=9080)))
    assert ways(served) == ["10.96.0.1:80"]
    assert ways(served, "kube_gwtest_reviews_9080") == ["10.96.0.1:9080"]
    # ADR 6: by load assignment too, so that no cluster changes when the switch does.
    assert served.cluster(SERVICE)["type"] == "EDS"


def test_several_addresses_are_one_endpoint_without_a_locality() -> None:
    served = ingress(external(["10.96.0.1", "10.96.0.2", "fd00::1"], location="MESH_INTERNAL"), leading_to(to_host()))
    (group,) = served.groups(ENTRY)
    assert "locality" not in group
    (item,) = group["lbEndpoints"]
    assert "metadata" not in item
    assert len(item["endpoint"]["additionalAddresses"]) == 2
    assert "transportSocketMatches" not in served.cluster(ENTRY)


def test_one_address_has_no_additional_ones() -> None:
    ((item,),) = (group["lbEndpoints"] for group in ingress(reviews(), leading_to(to_service())).groups(SERVICE))
    assert "additionalAddresses" not in item["endpoint"]


@pytest.mark.parametrize("clusterip", ["None", ""])
def test_headless_is_empty(clusterip: str) -> None:
    """No VIP: an empty load assignment."""
    served = ingress(reviews(None, vips=[], clusterIP=clusterip), leading_to(to_service()))
    assert served.groups(SERVICE) == []


def test_a_service_entry_without_an_address_is_empty() -> None:
    served = ingress(external([]), leading_to(to_host()))
    assert served.groups(ENTRY) == []


@pytest.mark.parametrize("addresses", [["10.7.0.0/16"], []])
def test_nowhere_to_go_is_told(addresses: list[str]) -> None:
    """A block of addresses is nothing to connect to; and nothing is dropped silently."""
    served = ingress(external(addresses), leading_to(to_host()))
    assert served.groups(ENTRY) == []
    assert "address" in served.told("ServiceEntry", "se") + served.told("HTTPRoute", "r")


def test_no_priorities_are_applied() -> None:
    made = [external(["10.96.0.1"]), rule_for("se.example.com", **locality(failoverPriority=[SUBZONE]))]
    assert ways(ingress(made, leading_to(to_host()), locality="r2/z/s"), ENTRY) == ["10.96.0.1:80"]


def test_a_service_entry_resolved_by_name_too() -> None:
    made = external(["10.96.0.1"], resolution="DNS", endpoints=[at("a.example.com")])
    served = ingress(made, leading_to(to_host()))
    assert ways(served, ENTRY) == ["10.96.0.1:80"]


def test_a_tls_setting_of_a_rule_does_not_reach_the_waypoint() -> None:
    """*No transport socket*: what is captured on its way is not yet encrypted for the service."""
    made = [reviews(), rule_for("reviews", tls={"mode": "SIMPLE"})]
    assert "transportSocket" not in ingress(made, leading_to(to_service())).cluster(SERVICE)


# Order

V4, V6 = ["10.0.0.1", "10.0.0.2"], ["2001:db8::1", "2001:db8::2"]
ORDER = [
    pytest.param(None, [V6[0], V4[0]], [V4[0], V6[0]], id="no settings"),
    pytest.param("ALL", [V6[0], *V4], [V6[0], *V4], id="ALL"),
    pytest.param("V4_PREFERRED", [V6[0], V4[0], V6[1], V4[1]], [*V4, *V6], id="V4_PREFERRED"),
    pytest.param("AUTO", [V4[0], V6[0], V4[1], V6[1]], [*V6, *V4], id="AUTO"),
    pytest.param("V4_ONLY", V6, [], id="V4_ONLY, only v6 given"),
    pytest.param("V4_ONLY", [V6[0], *V4], V4, id="V4_ONLY"),
    pytest.param("V6_ONLY", [V4[0], V6[1], V6[0]], [V6[1], V6[0]], id="V6_ONLY"),
    pytest.param("V6_ONLY", V4, [], id="V6_ONLY, only v4 given"),
    pytest.param("V4_PREFERRED", [V4[0], "invalid-address", V6[0], "not-an-ip"], [V4[0], V6[0]], id="with junk"),
]


def sorting(family: Any) -> Settings | None:
    return Settings(dns_lookup_family=family) if family else None


@pytest.mark.parametrize(("family", "given", "expected"), ORDER)
@pytest.mark.parametrize("field", ["spec", "status"])
def test_order(field: str, family: str | None, given: list[str], expected: list[str]) -> None:
    if field == "spec":
        # The junk of Istio's table cannot come in here: it is refused with the object.
        made = external([each for each in given if re.fullmatch(r"[0-9a-f:.]+", each)])
    else:
        made = external([], status={"addresses": [{"value": each} for each in given]})
    served = ingress(made, leading_to(to_host()), settings=sorting(family))
    assert ways(served, ENTRY) == [f"{address}:80" for address in expected]


@pytest.mark.parametrize(("family", "expected"), [(None, [0, 1]), ("AUTO", [1, 0]), ("V4_ONLY", [0]), ("V6_ONLY", [1])])
def test_order_of_a_service_s_addresses(family: str | None, expected: list[int]) -> None:
    vips = ["10.96.0.1", "fd00::1"]
    served = ingress(reviews(None, vips=vips), leading_to(to_service()), settings=sorting(family))
    assert ways(served) == [f"{vips[each]}:80" for each in expected]


def test_all_leaves_the_order_as_it_is() -> None:
    vips = ["fd00::1", "10.96.0.1"]
    served = ingress(reviews(None, vips=vips), leading_to(to_service()), settings=sorting("ALL"))
    assert ways(served) == ["fd00::1:80", "10.96.0.1:80"]


def test_the_port_of_a_service_entry() -> None:
    made = external(["10.96.0.1"], ports=[port(8443, targetPort=443)])
    served = ingress(made, leading_to(to_host(number=8443)))
    assert ways(served, "istio-se_gwtest_se_se.example.com_8443") == ["10.96.0.1:8443"]
