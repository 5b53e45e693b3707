"""Where a policy counts: its port, the route that hashes, the way to a waypoint, the names that Envoy resolves."""

from __future__ import annotations

from typing import Any

import pytest

from tests.e2e.identities import Authority

from .mesh import (
    NS,
    at,
    entry,
    istio_labels,
    leading_to,
    node,
    pod,
    route,
    rule_for,
    service,
    slice_of,
    to_host,
    to_service,
    view,
)
from .waypoints import CAPTURED, at_waypoint, routes, service_ref, waypoint

HASH = {"loadBalancer": {"consistentHash": {"httpHeaderName": "x-user"}}}
OTHER = {"loadBalancer": {"consistentHash": {"httpHeaderName": "x-other"}}}
SERVICE = "kube_gwtest_reviews_80"


def of_port(policy: dict[str, Any], number: int = 80) -> dict[str, Any]:
    """The same, for one port."""
    return {"portLevelSettings": [{"port": {"number": number}, **policy}]}


def hashed(served: Any) -> list[str]:
    """Headers that the only route of the Gateway hashes."""
    (host,) = served.virtual_hosts.values()
    (found,) = host["routes"]
    return [policy["header"]["headerName"] for policy in found["route"].get("hashPolicy", ())]


REVIEWS = [service("reviews"), slice_of("reviews", [{"addresses": ["10.0.0.1"]}])]


@pytest.mark.parametrize(("policy", "header"), [(HASH, "x-user"), (of_port(HASH), "x-user"), (of_port(HASH, 81), "")])
def test_a_route_hashes_as_the_policy_of_its_port_says(policy: dict[str, Any], header: str) -> None:
    served = view(*REVIEWS, rule_for("reviews", **policy), leading_to(to_service()))
    assert hashed(served) == [header] * bool(header)
    assert served.cluster(SERVICE).get("lbPolicy", "ROUND_ROBIN") == ("RING_HASH" if header else "ROUND_ROBIN")


def test_a_route_hashes_as_the_rule_that_its_cluster_goes_by_says() -> None:
    """A Service of another namespace has a rule of its own; the Gateway's namespace has none: the Service's counts."""
    there = [service("reviews", namespace="other"), rule_for("reviews", namespace="other", **HASH)]
    named = to_host("reviews.other.svc.cluster.local")
    grant = {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "ReferenceGrant",
        "metadata": {"name": "g", "namespace": "other"},
        "spec": {
            "from": [{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "namespace": NS}],
            "to": [{"group": "", "kind": "Service"}],
        },
    }
    third = rule_for("reviews.other.svc.cluster.local", "third", namespace="third", **OTHER)
    assert hashed(view(*there, third, grant, leading_to(named))) == ["x-user"]


@pytest.mark.parametrize("attached", [False, True])
def test_routes_of_a_waypoint_hash_too(attached: bool) -> None:
    """The default route, and one that is attached to the service."""
    own = [route("own", to_service(), parents=[service_ref()])] if attached else []
    made = [service("reviews", labels=CAPTURED), rule_for("reviews", **HASH), *own]
    (found,) = routes(at_waypoint(waypoint(), *made), "fc_http_80_reviews_gwtest")
    assert [policy["header"]["headerName"] for policy in found["route"]["hashPolicy"]] == ["x-user"]


def test_secrets_of_a_port_s_policy_are_served_of_the_gateway_s_namespace() -> None:
    """The Gateway's, and not the service's nor what a proxy says."""
    tls = of_port({"tls": {"mode": "SIMPLE", "credentialName": "ca"}})
    ca = {"apiVersion": "v1", "kind": "Secret", "type": "Opaque"}
    pem = authority()
    secrets = [
        {**ca, "metadata": {"name": "ca", "namespace": ns}, "stringData": {"ca.crt": pem}} for ns in (NS, "other")
    ]
    made = [service("reviews", namespace="other"), rule_for("reviews", namespace="other", **tls), *secrets]
    grant = {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "ReferenceGrant",
        "metadata": {"name": "g", "namespace": "other"},
        "spec": {
            "from": [{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "namespace": NS}],
            "to": [{"group": "", "kind": "Service"}],
        },
    }
    route_to = leading_to({"name": "reviews", "namespace": "other", "port": 80})
    served = view(*made, grant, route_to, namespace="other")
    secret = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"
    assert list(served.table(secret)) == [f"{NS}/ca~ca"]


def authority() -> str:
    """A certificate of an authority, as PEM."""
    return Authority().certificate


def test_limits_of_connections_hold_on_the_way_to_a_waypoint() -> None:
    """They are the client's own; all else is the waypoint's to do."""
    labels = CAPTURED | istio_labels(ingress_use_waypoint="true")
    policy = {"connectionPool": {"tcp": {"maxConnections": 7}}, "outlierDetection": {"consecutive5xxErrors": 3}}
    made = [service("reviews", labels=labels), waypoint(), rule_for("reviews", **policy)]
    cluster = view(*made, leading_to(to_service())).cluster(SERVICE)
    assert cluster["circuitBreakers"]["thresholds"][0]["maxConnections"] == 7
    assert "outlierDetection" not in cluster


def test_a_traffic_distribution_orders_names_that_envoy_resolves() -> None:
    distribution = {"networking.istio.io/traffic-distribution": "PreferClose"}
    names = [at("far.example.com", "r2/z2"), at("near.example.com", "r1/z1")]
    made = entry("se", endpoints=names, resolution="DNS", annotations=distribution)
    served = view(made, leading_to(to_host()), locality="r1/z1")
    groups = served.groups("istio-se_gwtest_se_se.example.com_80")
    assert [(group["locality"]["region"], group.get("priority", 0)) for group in groups] == [("r1", 0), ("r2", 1)]


def test_a_node_without_a_place_leaves_the_pod_s_and_the_proxy_s_word() -> None:
    """An Envoy's own locality counts where its Node says nothing."""
    endpoints = [at("10.0.0.1", "r1"), at("10.0.0.2", "r2")]
    rule = rule_for(
        "se.example.com", loadBalancer={"localityLbSetting": {"failoverPriority": ["topology.kubernetes.io/region"]}}
    )
    made = [entry("se", endpoints=endpoints), rule, node("n", ""), pod("translate", node="n")]
    served = view(*made, leading_to(to_host()), locality="r2")
    groups = served.groups("istio-se_gwtest_se_se.example.com_80")
    assert {group["locality"]["region"]: group.get("priority", 0) for group in groups} == {"r2": 0, "r1": 1}
