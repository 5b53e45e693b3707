"""``recompute-edges.md``, B.5, for a backend's Service and what lies between it and the route: each edge is moved, and back."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conformance.manifests import Manifest, gateway, listener, reference_grant

from .edges import REVIEWS, Seen, behind, check
from .history import History
from .mesh import NS, View, at, entry, leading_to, namespace, route, service, to_entry, to_host, to_service

OTHER, SERVICE = "elsewhere", "kube_gwtest_reviews_80"
START = [*leading_to(to_service()), *REVIEWS]


def clusters(found: View) -> list[str]:
    return list(found.clusters)


def sockets(found: View) -> list[str]:
    return [each for name in found.clusters for each in found.sockets(name)]


def is_http2(found: View) -> bool:
    (cluster,) = found.clusters.values()
    return "http2ProtocolOptions" in str(cluster)


def attached(found: View) -> list[str]:
    return [parent["Accepted"][0] for parent in found.parents("r")]


def reason(found: View) -> str:
    return found.parents("r")[0]["ResolvedRefs"][1]


SELECTING = gateway(
    listener(allowedRoutes={"namespaces": {"from": "Selector", "selector": {"matchLabels": {"istio.io/team": "a"}}}}),
    name="web",
    namespace=OTHER,
)
FAR = route("r", to_service(), parents=[{"name": "web", "namespace": OTHER}])
GRANTS = [
    reference_grant("g", OTHER, [{"kind": "HTTPRoute", "namespace": NS}], [{"kind": kind, "group": group}])
    for kind, group in (("ServiceEntry", "networking.istio.io"), ("Service", ""))
]
ENTRY_THERE = entry(namespace=OTHER, endpoints=[at("1.1.1.1")])
H2C: Manifest = {"name": "http", "port": 80, "appProtocol": "kubernetes.io/h2c"}
TWO: list[Manifest] = [{"name": "http", "port": 80}, {"name": "second", "port": 81}]

EDGES = [
    pytest.param(leading_to(to_service()), [service()], [], clusters, [], [SERVICE], id="it appears"),
    pytest.param(START, [], [REVIEWS[0]], reason, "ResolvedRefs", "BackendNotFound", id="it goes, and is told"),
    pytest.param(START, [service("reviews", H2C)], [], is_http2, False, True, id="its appProtocol"),
    pytest.param(
        [*leading_to(to_service()), service("reviews", *TWO), REVIEWS[1]],
        [service("reviews", {"name": "other", "port": 80}, TWO[1])],
        [],
        sockets,
        ["10.0.0.1:8080"],
        [],
        id="its port's name",
    ),
    pytest.param(START, [service("reviews", {"port": 81})], [], clusters, [SERVICE], [], id="its port's number"),
    pytest.param(
        START,
        [service(type="ExternalName", externalName="x.example.com", clusterIP="")],
        [],
        clusters,
        [SERVICE],
        [],
        id="its type",
    ),
    pytest.param(START, [service(vips=[])], [], sockets, ["10.0.0.1:8080"], ["10.0.0.1:8080"], id="it is headless"),
    pytest.param(
        START, [behind("reviews", "10.0.0.2")], [], sockets, ["10.0.0.1:8080"], ["10.0.0.2:8080"], id="endpoints"
    ),
    pytest.param(START, [], [REVIEWS[1]], sockets, ["10.0.0.1:8080"], [], id="its EndpointSlice goes"),
    pytest.param(
        [*leading_to(to_entry(namespace=OTHER)), ENTRY_THERE],
        [GRANTS[0]],
        [],
        reason,
        "RefNotPermitted",
        "ResolvedRefs",
        id="a ServiceEntry's grant",
    ),
    pytest.param(
        [*leading_to(to_entry(namespace=OTHER)), ENTRY_THERE, GRANTS[0]],
        [GRANTS[1]],
        [],
        reason,
        "ResolvedRefs",
        "RefNotPermitted",
        id="the grant is for another kind",
    ),
    pytest.param(
        [*leading_to(to_host("reviews.gwtest.svc.cluster.local")), *REVIEWS],
        [],
        [REVIEWS[0]],
        clusters,
        [SERVICE],
        [],
        id="a host's Service goes",
    ),
    pytest.param(
        leading_to(to_host()), [entry(endpoints=[at("1.1.1.1")])], [], sockets, [], ["1.1.1.1:80"], id="a host appears"
    ),
    pytest.param(
        [*leading_to(to_host()), entry(resolution="NONE")],
        [entry(endpoints=[at("1.1.1.1")])],
        [],
        sockets,
        [],
        ["1.1.1.1:80"],
        id="a host's resolution",
    ),
    pytest.param(
        [SELECTING, FAR, *REVIEWS], [namespace(team="a")], [], attached, ["False"], ["True"], id="a Namespace's labels"
    ),
    pytest.param(
        [FAR, *REVIEWS, namespace(team="a")], [SELECTING], [], attached, [], ["True"], id="its Gateway appears"
    ),
    pytest.param(START, [], [START[0]], clusters, [SERVICE], [], id="its Gateway goes"),
]


@pytest.mark.parametrize(("start", "put", "take", "seen", "before", "after"), EDGES)
def test_a_service_s_edge(
    start: list[Manifest], put: list[Manifest], take: list[Manifest], seen: Seen, before: Any, after: Any
) -> None:
    check(start, put, take, seen, before, after)


def test_a_service_entry_takes_the_place_of_a_service_and_gives_it_back() -> None:
    """Of several with one host, the oldest."""
    host = "reviews.gwtest.svc.cluster.local"
    history = History(*leading_to(to_host(host)), entry("se", host, endpoints=[at("1.1.1.1")]))
    own = f"istio-se_gwtest_se_{host}_80"
    assert clusters(history.view()) == [own]
    history.put(
        service(created="2020-01-01T00:00:00Z"),
        entry("se", host, endpoints=[at("1.1.1.1")], created="2021-01-01T00:00:00Z"),
    )
    assert clusters(history.view()) == [SERVICE]
    history.take(service())
    assert clusters(history.view()) == [own]
