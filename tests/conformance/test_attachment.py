"""Which routes attach to which listeners, and what their statuses say of it."""

from __future__ import annotations

from typing import Any

import pytest

from .manifests import (
    CONTROLLER,
    GROUP,
    Manifest,
    gateway,
    gateway_class,
    http_route,
    listener,
    manifest,
    prefix,
    rule,
    serve,
    service,
)
from .messages import Request
from .proxy import CLUSTER

ACCEPTED = ("True", "Accepted")
NOT_ALLOWED = ("False", "NotAllowedByListeners")
NO_PARENT = ("False", "NoMatchingParent")


def namespace(name: str, **labels: str) -> Manifest:
    return manifest("Namespace", "v1", name, None, metadata={"labels": labels} if labels else {})


def foreign_route(namespace: str = "other", **fields: Any) -> Manifest:
    """A route of another namespace, to the Gateway ``demo/web`` and the service ``other/v1``."""
    return http_route("r", rule(), namespace=namespace, parents=[{"name": "web", "namespace": "demo", **fields}])


def test_an_accepted_route_says_so_of_its_parent() -> None:
    served = serve(http_route("a", rule(), generation=7))
    (parent,) = served.status("HTTPRoute", "a")["parents"]
    assert parent["controllerName"] == CONTROLLER
    assert parent["parentRef"]["name"] == "web"
    assert parent["parentRef"].get("kind", "Gateway") == "Gateway"
    assert parent["parentRef"].get("group", GROUP) == GROUP
    assert served.parent("a") == {"Accepted": ACCEPTED, "ResolvedRefs": ("True", "ResolvedRefs")}
    assert [condition["observedGeneration"] for condition in parent["conditions"]] == [7, 7]


@pytest.mark.parametrize("source", [None, "Same"])
def test_by_default_routes_of_the_gateways_namespace_alone_attach(source: str | None) -> None:
    """AllowedRoutes.namespaces: the default is Same."""
    fields: dict[str, Any] = {"routes": source} if source else {}
    served = serve(gateway(listener(**fields)), foreign_route(), http_route("own", rule(prefix("/own"))))
    assert served.status("HTTPRoute", "r", "other")["parents"][0]["conditions"][0]["reason"] == "NotAllowedByListeners"
    assert served.parent("own")["Accepted"] == ACCEPTED
    assert served.attached() == 1
    assert (served.to("/own"), served.to("/")) == ("v1", "404")


def test_a_route_that_is_not_allowed_still_tells_of_its_references() -> None:
    """httproute-invalid-cross-namespace-parent-ref: Accepted False, ResolvedRefs as they resolve."""
    served = serve(foreign_route(), service("v1", namespace="other"))
    (parent,) = served.status("HTTPRoute", "r", "other")["parents"]
    found = {condition["type"]: (condition["status"], condition["reason"]) for condition in parent["conditions"]}
    assert found == {"Accepted": NOT_ALLOWED, "ResolvedRefs": ("True", "ResolvedRefs")}


def test_routes_of_all_namespaces_attach_where_all_may() -> None:
    served = serve(gateway(listener(routes="All")), foreign_route(), service("v1", namespace="other"))
    assert served.to() == "other/v1"
    assert served.attached() == 1


@pytest.mark.parametrize(
    ("selector", "labels", "attaches"),
    [
        ({"matchLabels": {"team": "red"}}, {"team": "red"}, True),
        ({"matchLabels": {"team": "red"}}, {"team": "blue"}, False),
        ({"matchLabels": {"team": "red"}}, {}, False),
        ({"matchLabels": {"team": "red", "env": "dev"}}, {"team": "red"}, False),
        ({"matchExpressions": [{"key": "team", "operator": "In", "values": ["red", "blue"]}]}, {"team": "blue"}, True),
        ({"matchExpressions": [{"key": "team", "operator": "In", "values": ["red"]}]}, {"team": "blue"}, False),
        ({"matchExpressions": [{"key": "team", "operator": "NotIn", "values": ["red"]}]}, {"team": "blue"}, True),
        ({"matchExpressions": [{"key": "team", "operator": "NotIn", "values": ["red"]}]}, {}, True),
        ({"matchExpressions": [{"key": "team", "operator": "NotIn", "values": ["red"]}]}, {"team": "red"}, False),
        ({"matchExpressions": [{"key": "team", "operator": "Exists"}]}, {"team": ""}, True),
        ({"matchExpressions": [{"key": "team", "operator": "Exists"}]}, {}, False),
        ({"matchExpressions": [{"key": "team", "operator": "DoesNotExist"}]}, {}, True),
        ({"matchExpressions": [{"key": "team", "operator": "DoesNotExist"}]}, {"team": "red"}, False),
        (
            {"matchLabels": {"team": "red"}, "matchExpressions": [{"key": "env", "operator": "Exists"}]},
            {"team": "red"},
            False,
        ),
        (
            {"matchLabels": {"team": "red"}, "matchExpressions": [{"key": "env", "operator": "Exists"}]},
            {"team": "red", "env": "x"},
            True,
        ),
        ({}, {}, True),
    ],
)
def test_a_selector_chooses_namespaces_by_their_labels(
    selector: Manifest, labels: dict[str, str], attaches: bool
) -> None:
    allowed = {"namespaces": {"from": "Selector", "selector": selector}}
    served = serve(
        gateway(listener(allowedRoutes=allowed)),
        namespace("other", **labels),
        foreign_route(),
        service("v1", namespace="other"),
    )
    assert served.to() == ("other/v1" if attaches else "404")
    assert served.attached() == attaches


def test_a_namespace_has_its_name_as_a_label() -> None:
    """Every Namespace has ``kubernetes.io/metadata.name``: the API server sets it, so a manifest need not."""
    allowed = {
        "namespaces": {"from": "Selector", "selector": {"matchLabels": {"kubernetes.io/metadata.name": "other"}}}
    }
    served = serve(
        gateway(listener(allowedRoutes=allowed)), namespace("other"), foreign_route(), service("v1", namespace="other")
    )
    assert served.to() == "other/v1"


def test_the_selector_is_ignored_with_another_from() -> None:
    """RouteNamespaces.selector: ignored for other values of From."""
    allowed = {"namespaces": {"from": "Same", "selector": {"matchLabels": {"team": "red"}}}}
    served = serve(gateway(listener(allowedRoutes=allowed)), http_route("a", rule()))
    assert served.to() == "v1"


TWO = (listener("one", 80), listener("two", 8080))


@pytest.mark.parametrize(
    ("parent", "ports"),
    [
        ({}, [80, 8080]),
        ({"sectionName": "one"}, [80]),
        ({"sectionName": "two"}, [8080]),
        ({"port": 80}, [80]),
        ({"port": 8080}, [8080]),
        ({"port": 8080, "sectionName": "two"}, [8080]),
    ],
)
def test_a_parent_ref_names_listeners_by_section_and_port(parent: Manifest, ports: list[int]) -> None:
    served = serve(gateway(*TWO), http_route("a", rule(), parents=[{"name": "web", **parent}]))
    assert [port for port in (80, 8080) if served.to(port=port) == "v1"] == ports
    assert [served.attached("one"), served.attached("two")] == [int(80 in ports), int(8080 in ports)]
    (status,) = served.status("HTTPRoute", "a")["parents"]
    assert {key: status["parentRef"].get(key) for key in ("sectionName", "port")} == {
        key: parent.get(key) for key in ("sectionName", "port")
    }


@pytest.mark.parametrize(
    "parent",
    [{"sectionName": "three"}, {"port": 81}, {"sectionName": "one", "port": 8080}, {"sectionName": "one", "port": 81}],
)
def test_a_parent_ref_that_no_listener_fits_is_not_accepted(parent: Manifest) -> None:
    """RouteReasonNoMatchingParent, and the references resolve as before."""
    served = serve(gateway(*TWO), http_route("a", rule(), parents=[{"name": "web", **parent}]))
    assert served.parent("a") == {"Accepted": NO_PARENT, "ResolvedRefs": ("True", "ResolvedRefs")}
    assert [served.attached("one"), served.attached("two")] == [0, 0]
    assert (served.to(), served.to(port=8080)) == ("404", "404")


def test_one_listener_that_accepts_is_enough() -> None:
    """ParentReference.sectionName: partial acceptance is attachment."""
    served = serve(
        gateway(listener("closed", 80, allowedRoutes={"kinds": [{"kind": "GRPCRoute"}]}), listener("open", 81)),
        http_route("a", rule()),
    )
    assert served.parent("a")["Accepted"] == ACCEPTED
    assert served.attached("open") == 1
    assert served.to(port=81) == "v1"


def test_a_listener_without_http_routes_among_its_kinds_takes_none() -> None:
    """httproute-disallowed-kind."""
    served = serve(gateway(listener(allowedRoutes={"kinds": [{"kind": "TLSRoute"}]})), http_route("a", rule()))
    assert served.parent("a") == {"Accepted": NOT_ALLOWED, "ResolvedRefs": ("True", "ResolvedRefs")}
    assert served.attached() == 0
    assert served.to() == "404"


def test_several_parents_have_a_status_each() -> None:
    other = gateway(listener(hostname="x.test"), name="other")
    served = serve(gateway(), other, http_route("a", rule(), hostnames=["example.com"], parents=["web", "other"]))
    assert served.parent("a", 0)["Accepted"] == ACCEPTED
    assert served.parent("a", 1)["Accepted"] == ("False", "NoMatchingListenerHostname")
    assert [entry["parentRef"]["name"] for entry in served.status("HTTPRoute", "a")["parents"]] == ["web", "other"]


def test_two_sections_of_one_gateway_have_a_status_each() -> None:
    parents = [{"name": "web", "sectionName": "one"}, {"name": "web", "sectionName": "three"}]
    served = serve(gateway(*TWO), http_route("a", rule(), parents=parents))
    assert served.parent("a", 0)["Accepted"] == ACCEPTED
    assert served.parent("a", 1)["Accepted"] == NO_PARENT
    assert served.attached("one") == 1


@pytest.mark.parametrize(
    "parent",
    [
        {"name": "nobody"},
        {"name": "web", "namespace": "elsewhere"},
        {"name": "foreign"},
        {"name": "web", "kind": "Service", "group": ""},
        {"name": "web", "group": "example.com"},
        {"name": "web", "kind": "Mesh"},
    ],
)
def test_parents_that_are_not_ours_have_no_status(parent: Manifest) -> None:
    """RouteStatus.parents: only Gateways that the implementation is responsible for."""
    foreign = gateway(name="foreign", gatewayClassName="theirs")
    served = serve(
        gateway(), foreign, gateway_class("theirs", "example.com/controller"), http_route("a", rule(), parents=[parent])
    )
    assert not served.status("HTTPRoute", "a").get("parents")
    assert served.attached() == 0
    assert served.to() == "404"
    assert served.document["gateways"].keys() <= {"demo/web"}


def test_a_route_to_ours_and_theirs_has_a_status_of_ours_alone() -> None:
    foreign = gateway(name="foreign", gatewayClassName="theirs")
    served = serve(
        gateway(),
        foreign,
        gateway_class("theirs", "example.com/controller"),
        http_route("a", rule(), parents=["foreign", "web"]),
    )
    assert [entry["parentRef"]["name"] for entry in served.status("HTTPRoute", "a")["parents"]] == ["web"]
    assert served.to() == "v1"


def test_routes_that_do_not_resolve_count_as_attached() -> None:
    """ListenerStatus.attachedRoutes counts routes that are Accepted; ResolvedRefs does not matter."""
    served = serve(http_route("a", rule(to="nobody")), http_route("b", rule(prefix("/b"))))
    assert served.parent("a") == {"Accepted": ACCEPTED, "ResolvedRefs": ("False", "BackendNotFound")}
    assert served.attached() == 2


def test_a_gateway_serves_its_own_routes_alone() -> None:
    served = serve(
        gateway(),
        gateway(name="second"),
        http_route("a", rule(to="v1")),
        http_route("b", rule(to="v2"), parents=["second"]),
    )
    assert served.to() == "v1"
    assert served.proxy("demo/second").ask(Request()).backend == "demo/v2:8080"
    clusters = {key: set(served.proxy(key).table(CLUSTER)) for key in ("demo/web", "demo/second")}
    assert clusters == {"demo/web": {"kube_demo_v1_8080"}, "demo/second": {"kube_demo_v2_8080"}}
