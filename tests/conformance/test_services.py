"""Services and EndpointSlices: which addresses and ports serve a backendRef, and by which protocol."""

from __future__ import annotations

from typing import Any

import pytest

from .manifests import Manifest, backend, endpoint_slice, http_route, manifest, rule, serve, service
from .proxy import CLUSTER, LISTENER


def a_service(ports: list[Manifest], name: str = "app", **spec: Any) -> Manifest:
    return manifest("Service", "v1", name, spec={"ports": ports, **spec})


def endpoints(*objects: Manifest, port: int = 8080, name: str = "app") -> list[str]:
    """Where requests to ``app`` go."""
    served = serve(http_route("a", rule(to=backend(name, port=port))), *objects)
    assert not served.errors
    assert served.parent("a")["ResolvedRefs"] == ("True", "ResolvedRefs")
    return served.proxy().endpoints(f"kube_demo_{name}_{port}")


def ready(*addresses: str, **conditions: bool) -> list[Manifest]:
    return [{"addresses": [address], **({"conditions": conditions} if conditions else {})} for address in addresses]


def test_the_port_is_the_services_and_the_target_the_slices() -> None:
    """BackendRef.port: the Service's port, not the target port."""
    app = a_service([{"port": 8080, "targetPort": 3000}])
    assert endpoints(app, endpoint_slice("app", ready("10.0.0.1", "10.0.0.2"))) == ["10.0.0.1:3000", "10.0.0.2:3000"]


def test_a_named_port_is_the_slices_port_of_that_name() -> None:
    """An EndpointSlice's port has the name of the Service's port; its number is the pods' own."""
    app = a_service(
        [{"name": "http", "port": 8080, "targetPort": "web"}, {"name": "admin", "port": 9090, "targetPort": "adm"}]
    )
    slices = [
        endpoint_slice("app", ready("10.0.0.1"), [{"name": "http", "port": 3000}, {"name": "admin", "port": 4000}]),
        endpoint_slice(
            "app", ready("10.0.0.2"), [{"name": "admin", "port": 4001}, {"name": "http", "port": 3001}], suffix="2"
        ),
    ]
    assert endpoints(app, *slices) == ["10.0.0.1:3000", "10.0.0.2:3001"]
    assert endpoints(app, *slices, port=9090) == ["10.0.0.1:4000", "10.0.0.2:4001"]


def test_a_slice_without_the_ports_name_does_not_serve_it() -> None:
    app = a_service(
        [{"name": "http", "port": 8080, "targetPort": "web"}, {"name": "admin", "port": 9090, "targetPort": "adm"}]
    )
    assert endpoints(app, endpoint_slice("app", ready("10.0.0.1"), [{"name": "admin", "port": 4000}])) == []


def test_ports_with_one_number_and_two_targets() -> None:
    app = a_service([{"name": "a", "port": 8080, "targetPort": 1}, {"name": "b", "port": 8081, "targetPort": 2}])
    slices = endpoint_slice("app", ready("10.0.0.1"), [{"name": "a", "port": 1}, {"name": "b", "port": 2}])
    assert endpoints(app, slices) == ["10.0.0.1:1"]
    assert endpoints(app, slices, port=8081) == ["10.0.0.1:2"]


def test_a_tcp_port_is_not_mistaken_for_the_udp_port_of_its_number() -> None:
    app = a_service(
        [
            {"name": "u", "port": 8080, "protocol": "UDP", "targetPort": 1},
            {"name": "t", "port": 8080, "protocol": "TCP", "targetPort": 2},
        ]
    )
    slices = endpoint_slice(
        "app",
        ready("10.0.0.1"),
        [{"name": "u", "port": 1, "protocol": "UDP"}, {"name": "t", "port": 2, "protocol": "TCP"}],
    )
    assert endpoints(app, slices) == ["10.0.0.1:2"]


@pytest.mark.parametrize(
    "spec", [{"clusterIP": "None"}, {"clusterIP": "10.96.0.7"}, {"type": "NodePort"}, {"type": "LoadBalancer"}]
)
def test_every_kind_of_service_is_served_from_its_slices(spec: Manifest) -> None:
    """httproute-service-types: manual slices, headless, both."""
    app = a_service([{"name": "first-port", "port": 8080, "targetPort": 3000}], **spec)
    slices = endpoint_slice("app", ready("10.0.0.1"), [{"name": "first-port", "port": 3000, "protocol": "TCP"}])
    assert endpoints(app, slices) == ["10.0.0.1:3000"]


@pytest.mark.parametrize(
    ("conditions", "serves"),
    [
        ({}, True),
        ({"ready": True}, True),
        ({"ready": True, "serving": True, "terminating": False}, True),
        ({"ready": False}, False),
        ({"ready": False, "serving": False, "terminating": False}, False),
        ({"ready": False, "serving": True, "terminating": True}, False),
        ({"ready": False, "serving": False, "terminating": True}, False),
    ],
)
def test_an_endpoint_serves_when_it_is_ready(conditions: dict[str, bool], serves: bool) -> None:
    """EndpointConditions.ready: a nil value is true. Beside an endpoint that is ready, one that ends gets nothing."""
    app = a_service([{"port": 8080, "targetPort": 3000}])
    slices = endpoint_slice("app", [*ready("10.0.0.1"), *ready("10.0.0.2", **conditions)])
    assert ("10.0.0.2:3000" in endpoints(app, slices)) == serves


def test_without_a_ready_endpoint_those_that_end_but_serve_are_the_last_resort() -> None:
    """KEP-1669, as kube-proxy does: better a pod that is going than none."""
    app = a_service([{"port": 8080, "targetPort": 3000}])
    ending = ready("10.0.0.2", ready=False, serving=True, terminating=True)
    gone = ready("10.0.0.3", ready=False, serving=False, terminating=True)
    assert endpoints(app, endpoint_slice("app", ending + gone)) == ["10.0.0.2:3000"]


def test_an_address_in_two_slices_is_one_endpoint() -> None:
    app = a_service([{"port": 8080, "targetPort": 3000}])
    slices = [
        endpoint_slice("app", ready("10.0.0.1", "10.0.0.2")),
        endpoint_slice("app", ready("10.0.0.2", "10.0.0.3"), suffix="2"),
    ]
    assert endpoints(app, *slices) == ["10.0.0.1:3000", "10.0.0.2:3000", "10.0.0.3:3000"]


def test_slices_of_others_do_not_serve() -> None:
    app = a_service([{"port": 8080, "targetPort": 3000}])
    elsewhere = endpoint_slice("app", ready("10.0.0.8"), namespace="other")
    unlabelled = endpoint_slice("app", ready("10.0.0.9"), suffix="2")
    del unlabelled["metadata"]["labels"]
    assert endpoints(app, endpoint_slice("app", ready("10.0.0.1")), elsewhere, unlabelled) == ["10.0.0.1:3000"]


def test_ipv6_endpoints_serve() -> None:
    app = a_service([{"port": 8080, "targetPort": 3000}], ipFamilies=["IPv6"])
    assert endpoints(app, endpoint_slice("app", ready("2001:db8::1"), family="IPv6")) == ["[2001:db8::1]:3000"]


def test_a_dual_stack_pod_is_not_counted_twice() -> None:
    """A pod in an IPv4 slice and an IPv6 slice is one endpoint; the first of the Service's families is its own."""
    slices = [
        endpoint_slice("app", ready("10.0.0.1")),
        endpoint_slice("app", ready("2001:db8::1"), family="IPv6", suffix="2"),
    ]
    ports = [{"port": 8080, "targetPort": 3000}]
    assert endpoints(a_service(ports, ipFamilies=["IPv4", "IPv6"]), *slices) == ["10.0.0.1:3000"]
    assert endpoints(a_service(ports, ipFamilies=["IPv6", "IPv4"]), *slices) == ["[2001:db8::1]:3000"]


def protocol_options(**port: Any) -> tuple[dict[str, Any], str]:
    """Upstream HTTP options of a Service's cluster, and where its requests go."""
    served = serve(http_route("a", rule(to="app")), service("app", **port))
    cluster = served.proxy().table(CLUSTER)["kube_demo_app_8080"]
    options = cluster.get("typedExtensionProtocolOptions", {})
    return options.get("envoy.extensions.upstreams.http.v3.HttpProtocolOptions", {}), served.to()


def test_h2c_is_spoken_to_a_service_that_says_so() -> None:
    options, backend_ = protocol_options(appProtocol="kubernetes.io/h2c")
    assert "http2ProtocolOptions" in options["explicitHttpConfig"]
    assert backend_ == "app"


@pytest.mark.parametrize("port", [{}, {"appProtocol": "http"}, {"appProtocol": "kubernetes.io/ws"}])
def test_http_1_is_spoken_otherwise(port: Manifest) -> None:
    options, backend_ = protocol_options(**port)
    assert "http2ProtocolOptions" not in options.get("explicitHttpConfig", {})
    assert backend_ == "app"


@pytest.mark.parametrize("port", [{}, {"appProtocol": "kubernetes.io/ws"}])
def test_websockets_pass(port: Manifest) -> None:
    """GEP-1911: the absence of appProtocol does not imply that websocket upgrades are disabled."""
    served = serve(http_route("a", rule(to="app")), service("app", **port))
    for listener in served.proxy().table(LISTENER).values():
        for chain in listener["filterChains"]:
            upgrades = chain["filters"][0]["typedConfig"].get("upgradeConfigs", [])
            assert {"upgradeType": "websocket"} in upgrades


def test_a_service_in_use_twice_is_one_cluster() -> None:
    served = serve(http_route("a", rule(to="v1")), http_route("b", rule(to="v1"), hostnames=["b.test"]))
    assert list(served.proxy().table(CLUSTER)) == ["kube_demo_v1_8080"]
