"""Backends as rows: what each says of its service, who is behind it, and what runs again when something changes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.krt import Commit, Fetch, Graph
from controlplane.model.decode import Decoded, decode_object
from controlplane.model.events import (
    AnyEvent,
    ControlPlaneStarted,
    ObjectApplied,
    ObjectDeleted,
    Settings,
    SourceSynced,
)
from controlplane.model.objects import KINDS
from controlplane.model.references import ObjectReference
from controlplane.model.services import Backend, Endpoint, Locality
from controlplane.reducers import Fold, declare_state
from controlplane.reducers.endpoints import endpoint_labels
from controlplane.reducers.services import exporting_to

Manifest = dict[str, Any]
GATEWAY_API = "gateway.networking.k8s.io/v1"
REGION, ZONE, SUBZONE = "topology.kubernetes.io/region", "topology.kubernetes.io/zone", "topology.istio.io/subzone"
CLASS = {"kind": "GatewayClass", "metadata": {"name": "c"}, "spec": {"controllerName": Settings().controller_name}}


class Labels(msgspec.Struct, frozen=True):
    """Labels of a backend's endpoints, by address."""

    key: tuple[str, str, str, int]
    labels: tuple[tuple[str, tuple[tuple[str, str], ...]], ...]


class World:
    """A graph that goes on: the reducers', a reader of endpoints' labels, and one who looks a hostname up."""

    def __init__(self, *objects: Manifest, **settings: Any) -> None:
        self.graph = Graph()
        self.rows = declare_state(self.graph)
        base, endpoints = self.rows.base, self.rows.backends.endpoints

        def read(row: Any, fetch: Fetch) -> Labels:
            found = ((e.address, tuple(sorted(endpoint_labels(fetch, base, e).items()))) for e in row.endpoints)
            return Labels(row.key, tuple(found))

        self.labels = self.graph.map("endpoint_labels", Labels, endpoints, read, reads=(base.pods,))
        self.found: dict[tuple[str, int], str | None] = {}
        """The ServiceEntry that ``x.mesh`` means, by namespace and port."""
        backends = self.rows.backends

        def look(row: Any, fetch: Fetch) -> None:
            for namespace in ("shop", "other"):
                for port in (80, 81):
                    found = backends.find_hostname(fetch, "X.mesh", port, namespace)
                    self.found[namespace, port] = found.key[1] if found is not None else None

        self.graph.map("looked_up", Labels, base.settings, look, reads=(backends.by_host,))
        self._fold = Fold(base)
        self._seq = 0
        started = ControlPlaneStarted(version="t", settings=Settings(**settings), sources={"files": tuple(KINDS)})
        self._append([started, SourceSynced(tuple(KINDS))])
        self.apply(*objects)

    def apply(self, *objects: Manifest) -> Commit:
        return self._append([ObjectApplied(decode(made)) for made in objects])

    def delete(self, *objects: Manifest) -> Commit:
        """Objects go, by their kind and name."""
        decoded = map(decode, objects)
        return self._append(
            [ObjectDeleted(ObjectReference(o.kind, o.metadata.namespace, o.metadata.name)) for o in decoded]
        )

    def backend(self, cluster: str) -> Backend:
        (found,) = self.rows.backends.by_cluster.get(cluster)
        return found

    def endpoints(self, cluster: str) -> tuple[Endpoint, ...]:
        (found,) = self.rows.backends.endpoints_by_cluster.get(cluster)
        return found.endpoints

    def labels_of(self, cluster: str) -> dict[str, dict[str, str]]:
        """Labels of each endpoint, by address."""
        row = self.labels.get(self.backend(cluster).key)
        assert row is not None
        return {address: dict(labels) for address, labels in row.labels}

    def visible(self) -> dict[str, Any]:
        """All derived rows."""
        sources = {c.name for c in self.graph.collections if c.kind == "source"}
        return {c.name: c.rows() for c in self.graph.collections if c.name not in sources}

    def _append(self, events: Iterable[AnyEvent]) -> Commit:
        made = tuple(events)
        tx = self.graph.begin(self._seq + max(1, len(made)))
        self._fold.apply(tx, "files", self._seq + 1, made)
        commit = tx.commit()
        self._seq += max(1, len(made))
        assert not commit.failures, commit.failures
        return commit


def decode(made: Manifest) -> Any:
    api = {"Service": "v1", "Pod": "v1", "Node": "v1", "EndpointSlice": "discovery.k8s.io/v1"}
    istio = {"ServiceEntry", "WorkloadEntry", "DestinationRule"}
    version = "networking.istio.io/v1" if made["kind"] in istio else api.get(made["kind"], GATEWAY_API)
    decoded = decode_object({"apiVersion": version, **made})
    assert isinstance(decoded, Decoded), decoded
    return decoded.object


def service(name: str = "web", *ports: Manifest, metadata: Manifest | None = None, **spec: Any) -> Manifest:
    made = {"ports": list(ports) or [{"port": 80}], **spec}
    return {"kind": "Service", "metadata": {"name": name, "namespace": "shop", **(metadata or {})}, "spec": made}


def slice_(*endpoints: Manifest, name: str = "web", suffix: str = "1", **fields: Any) -> Manifest:
    labels = {"kubernetes.io/service-name": name}
    metadata = {"name": f"{name}-{suffix}", "namespace": "shop", "labels": labels}
    made = {"addressType": "IPv4", "ports": [{"port": 8080}], "endpoints": list(endpoints), **fields}
    return {"kind": "EndpointSlice", "metadata": metadata, **made}


def at(address: str, pod: str = "", **fields: Any) -> Manifest:
    reference = {"targetRef": {"kind": "Pod", "namespace": "shop", "name": pod}} if pod else {}
    return {"addresses": [address], **reference, **fields}


def pod(name: str = "p", node: str = "", ip: str = "10.0.0.1", ready: str = "True", **metadata: Any) -> Manifest:
    own = {"name": name, "namespace": "shop", "labels": {"app": "x"}, **metadata}
    status = {"podIP": ip, "conditions": [{"type": "Ready", "status": ready}]}
    return {"kind": "Pod", "metadata": own, "spec": {"nodeName": node}, "status": status}


def node(name: str = "n", region: str = "r1", zone: str = "z1", subzone: str = "s1", **labels: str) -> Manifest:
    found = {REGION: region, ZONE: zone, SUBZONE: subzone, **labels}
    return {"kind": "Node", "metadata": {"name": name, "labels": {k: v for k, v in found.items() if v}}}


def entry(name: str = "se", *hosts: str, metadata: Manifest | None = None, **spec: Any) -> Manifest:
    ports = [{"number": 80, "name": "http", "protocol": "HTTP"}]
    made = {"hosts": list(hosts) or [f"{name}.example.com"], "ports": ports, "resolution": "STATIC", **spec}
    status = made.pop("status", {})
    own = {"name": name, "namespace": "shop", **(metadata or {})}
    return {"kind": "ServiceEntry", "metadata": own, "spec": made, "status": status}


def workload(name: str = "w", address: str = "10.1.0.1", labels: Any = None, **spec: Any) -> Manifest:
    """A WorkloadEntry with labels in its metadata; those of its spec are ``overlay``."""
    spec |= {"labels": spec.pop("overlay")} if "overlay" in spec else {}
    own = {"name": name, "namespace": "shop", "labels": {"app": "x"} if labels is None else labels}
    return {"kind": "WorkloadEntry", "metadata": own, "spec": {"address": address, **spec}}


SELECTING: dict[str, Any] = {"workloadSelector": {"labels": {"app": "x"}}}
WEB, SE = "kube_shop_web_80", "istio-se_shop_se_se.example.com_80"


# What a backend says of its service


@pytest.mark.parametrize(
    ("port", "application"),
    [
        ({"port": 80}, "tcp"),
        ({"port": 80, "name": "http"}, "http"),
        ({"port": 80, "name": "http-web"}, "http"),
        ({"port": 80, "name": "http2-x"}, "http"),
        ({"port": 80, "name": "grpc-web"}, "http"),
        ({"port": 80, "name": "web-http"}, "tcp"),
        ({"port": 80, "name": "https"}, "tcp"),
        ({"port": 80, "name": "tcp", "appProtocol": "HTTP"}, "http"),
        ({"port": 80, "name": "http", "appProtocol": "redis"}, "tcp"),
        ({"port": 80, "appProtocol": "http_proxy"}, "http"),
        ({"port": 80, "appProtocol": "kubernetes.io/h2c"}, "http"),
        ({"port": 80, "appProtocol": "kubernetes.io/ws"}, "http"),
        ({"port": 80, "appProtocol": "kubernetes.io/wss"}, "tcp"),
    ],
)
def test_a_service_s_application(port: Manifest, application: str) -> None:
    """4.4: appProtocol, else the port's name, else its protocol; the part before the first ``-``."""
    assert World(service("web", port)).backend(WEB).application == application


@pytest.mark.parametrize(
    ("protocol", "application", "spoken"),
    [
        ("HTTP", "http", "http"),
        ("HTTP2", "http", "h2c"),
        ("GRPC", "http", "h2c"),
        ("GRPC-Web", "http", "h2c"),
        ("HTTP_PROXY", "http", "http"),
        ("kubernetes.io/ws", "http", "ws"),
        ("HTTPS", "tcp", "http"),
        ("TLS", "tcp", "http"),
        ("MONGO", "tcp", "http"),
        ("", "tcp", "http"),
    ],
)
def test_a_service_entry_s_application(protocol: str, application: str, spoken: str) -> None:
    world = World(entry(ports=[{"number": 80, "name": "p", "protocol": protocol}]))
    assert (world.backend(SE).application, world.backend(SE).protocol) == (application, spoken)


@pytest.mark.parametrize(
    ("spec", "addresses"),
    [
        ({"clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1", "fd00::1"]}, ("10.0.0.1", "fd00::1")),
        ({"clusterIP": "10.0.0.1"}, ("10.0.0.1",)),
        ({"clusterIP": "None", "clusterIPs": ["None"]}, ()),
        ({"clusterIP": "None"}, ()),
        ({}, ()),
    ],
)
def test_a_service_s_addresses(spec: Manifest, addresses: tuple[str, ...]) -> None:
    """1.6."""
    assert World(service(**spec)).backend(WEB).addresses == addresses


def test_a_service_entry_s_addresses_are_the_object_s_and_those_allocated_to_its_host() -> None:
    """1.6, with our decision on status.addresses[].host."""
    allocated = [
        {"value": "240.0.0.1", "host": "A.mesh"},
        {"value": "240.0.0.2", "host": "b.mesh"},
        {"value": "240.0.0.3"},
    ]
    world = World(entry("se", "a.mesh", "b.mesh", addresses=["10.9.0.0/24"], status={"addresses": allocated}))
    found = {host: world.backend(f"istio-se_shop_se_{host}_80").addresses for host in ("a.mesh", "b.mesh")}
    assert found == {
        "a.mesh": ("10.9.0.0/24", "240.0.0.1", "240.0.0.3"),
        "b.mesh": ("10.9.0.0/24", "240.0.0.2", "240.0.0.3"),
    }


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (service(trafficDistribution="PreferClose"), "PreferClose"),
        (
            service(metadata={"annotations": {"networking.istio.io/traffic-distribution": "PreferNetwork"}}),
            "PreferNetwork",
        ),
        (
            service(
                trafficDistribution="PreferSameZone",
                metadata={"annotations": {"networking.istio.io/traffic-distribution": "PreferNetwork"}},
            ),
            "PreferSameZone",
        ),
        (service(), ""),
    ],
)
def test_a_service_s_traffic_distribution(made: Manifest, expected: str) -> None:
    """1.8: the field, else the annotation."""
    assert World(made).backend(WEB).traffic_distribution == expected


def test_a_service_entry_s_traffic_distribution_is_its_annotation() -> None:
    annotations = {"networking.istio.io/traffic-distribution": "PreferClose"}
    assert World(entry(metadata={"annotations": annotations})).backend(SE).traffic_distribution == "PreferClose"


def test_a_service_s_host_ends_in_the_cluster_s_domain() -> None:
    assert World(service()).backend(WEB).host == "web.shop.svc.cluster.local"
    assert World(service(), cluster_domain="corp.internal").backend(WEB).host == "web.shop.svc.corp.internal"


names = st.sampled_from(["shop", "other", ".", "*", "~", " shop ", ""])


@given(st.lists(names, max_size=4), st.sampled_from(["shop", "other", "third"]))
def test_exports(values: list[str], asking: str) -> None:
    """All unless something is said; whom it is said to; the own namespace by a dot."""
    said = {value.strip() for value in values} - {""}
    found = exporting_to(values, "shop")
    may = not found or asking in found
    assert may == (not said or "*" in said or asking in said or ("." in said and asking == "shop"))
    assert list(found) == sorted(set(found))


hosts = st.lists(st.sampled_from(["a.mesh", "b.mesh", "*.mesh", "a-b.mesh", "A.mesh"]), min_size=1, unique_by=str.lower)
numbers = st.lists(st.sampled_from([80, 8080, 443]), min_size=1, unique=True)


@given(
    st.lists(st.tuples(st.sampled_from(["se", "se-1", "1-se"]), hosts, numbers), max_size=4, unique_by=lambda t: t[0])
)
def test_every_host_and_port_is_one_backend_with_a_cluster_of_its_own(
    made: list[tuple[str, list[str], list[int]]],
) -> None:
    world = World()
    entries = [
        entry(name, *found, ports=[{"number": n, "name": f"p{n}", "protocol": "HTTP"} for n in ports])
        for name, found, ports in made
    ]
    world.apply(*entries)
    rows = world.rows.backends.backends.rows()
    expected = {
        ("ServiceEntry", f"shop/{name}", h.lower(), n) for name, found, ports in made for h in found for n in ports
    }
    assert {row.key for row in rows} == expected
    assert len({row.cluster for row in rows}) == len(rows)
    assert {row.key for row in world.rows.backends.endpoints.rows()} == expected


def test_a_hostname_is_looked_up_for_a_namespace() -> None:
    """For others than routes: the oldest that is served and exported there."""
    old = {"creationTimestamp": "2024-01-01T00:00:00Z"}
    world = World(
        entry("a", "x.mesh", resolution="NONE", metadata=old),
        entry("b", "x.mesh", exportTo=["."], metadata=old),
        entry("c", "x.mesh"),
    )
    assert world.found == {
        ("shop", 80): "shop/b",
        ("shop", 81): None,
        ("other", 80): "shop/c",
        ("other", 81): None,
    }
    world.delete(entry("c"))
    assert world.found["other", 80] == "shop/a"


# Endpoints of Services


def test_an_endpoint_is_where_its_slice_and_its_node_say() -> None:
    """The zone is the slice's, the rest the Node's."""
    world = World(
        service(),
        slice_(
            at("10.0.0.1", nodeName="n"),
            at("10.0.0.2", nodeName="n", zone="z9"),
            at("10.0.0.3", zone="z9"),
            at("10.0.0.4", nodeName="gone", zone="z9"),
            at("10.0.0.5"),
        ),
        node(),
    )
    assert {e.address: str(e.locality) for e in world.endpoints(WEB)} == {
        "10.0.0.1": "r1/z1/s1",
        "10.0.0.2": "r1/z9/s1",
        "10.0.0.3": "/z9",
        "10.0.0.4": "/z9",
        "10.0.0.5": "",
    }


def test_an_endpoint_in_two_slices_is_one_with_all_that_is_known() -> None:
    one, two = at("10.0.0.1"), at("10.0.0.1", "p", nodeName="n")
    for first, second in ((one, two), (two, one)):
        world = World(service(), slice_(first), slice_(second, suffix="2"), node())
        assert world.endpoints(WEB) == (Endpoint(Locality("r1", "z1", "s1"), "10.0.0.1", 8080, pod="shop/p"),)


def test_labels_are_the_pod_s_its_node_s_name_and_its_locality() -> None:
    world = World(
        service(),
        slice_(
            at("10.0.0.1", "p", nodeName="n"),
            at("10.0.0.2", "gone", nodeName="n"),
            at("10.0.0.3", nodeName="n"),
            at("10.0.0.4"),
        ),
        pod(node="n", labels={"app": "x", "topology.istio.io/network": "net", ZONE: "old"}),
        node(),
    )
    where = {REGION: "r1", ZONE: "z1", SUBZONE: "s1"}
    assert world.labels_of(WEB) == {
        "10.0.0.1": {"app": "x", "topology.istio.io/network": "net", "kubernetes.io/hostname": "n", **where},
        "10.0.0.2": where,
        "10.0.0.3": {"kubernetes.io/hostname": "n", **where},
        "10.0.0.4": {},
    }


def test_labels_of_workloads() -> None:
    """1.5: metadata's labels overlaid with the spec's, network and locality written over them."""
    network = "topology.istio.io/network"
    world = World(
        entry(**SELECTING),
        workload("w1", "10.1.0.1", {"app": "x", "v": "1"}, overlay={"v": "2"}),
        workload("w2", "10.1.0.2", {"app": "x", network: "own"}, network="net", locality="r/z"),
        workload("w3", "10.1.0.3", {"app": "x", network: "own", REGION: "r3"}),
        pod("p", "n", "10.0.0.1"),
        node(),
    )
    assert world.labels_of(SE) == {
        "10.0.0.1": {"app": "x", "kubernetes.io/hostname": "n", REGION: "r1", ZONE: "z1", SUBZONE: "s1"},
        "10.1.0.1": {"app": "x", "v": "2"},
        "10.1.0.2": {"app": "x", network: "net", REGION: "r", ZONE: "z"},
        "10.1.0.3": {"app": "x", network: "own", REGION: "r3"},
    }


# What comes and goes

ROUTE: Manifest = {
    "kind": "HTTPRoute",
    "metadata": {"name": "r", "namespace": "shop"},
    "spec": {
        "parentRefs": [{"name": "gw"}],
        "rules": [
            {
                "backendRefs": [
                    {"group": "networking.istio.io", "kind": "Hostname", "name": "se.example.com", "port": 80},
                    {"group": "networking.istio.io", "kind": "ServiceEntry", "name": "se", "port": 80},
                    {
                        "group": "networking.istio.io",
                        "kind": "ServiceEntry",
                        "name": "far",
                        "namespace": "far",
                        "port": 80,
                    },
                ],
                "filters": [
                    {
                        "type": "RequestMirror",
                        "requestMirror": {
                            "backendRef": {
                                "group": "networking.istio.io",
                                "kind": "Hostname",
                                "name": "m.mesh",
                                "port": 80,
                            }
                        },
                    }
                ],
            }
        ],
    },
}
GATEWAY: Manifest = {
    "kind": "Gateway",
    "metadata": {"name": "gw", "namespace": "shop"},
    "spec": {"gatewayClassName": "c", "listeners": [{"name": "http", "port": 80, "protocol": "HTTP"}]},
}
FAR = entry("far", metadata={"namespace": "far"})
GRANT: Manifest = {
    "kind": "ReferenceGrant",
    "metadata": {"name": "g", "namespace": "far"},
    "spec": {
        "from": [{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "namespace": "shop"}],
        "to": [{"group": "networking.istio.io", "kind": "ServiceEntry"}],
    },
}


def targets(world: World) -> list[str]:
    """Clusters that the route leads to, the mirror last."""
    row = world.rows.routes.get("shop/r")
    assert row is not None
    (made,) = row.rules
    return [target.cluster for target in made.backends] + [mirror.cluster for mirror in made.mirrors]


def addresses(cluster: str) -> Callable[[World], list[str]]:
    return lambda world: [f"{e.locality} {e.address}".strip() for e in world.endpoints(cluster)]


def labels(cluster: str) -> Callable[[World], Any]:
    return lambda world: world.labels_of(cluster)


FAR_CLUSTER = "istio-se_far_far_far.example.com_80"
ROUTED = [CLASS, GATEWAY, ROUTE]
COMING: dict[str, tuple[list[Manifest], Manifest, Callable[[World], Any], Any, Any]] = {
    # objects of the start, one that comes and goes, what is looked at, without it, with it
    "a ServiceEntry": (ROUTED, entry(), targets, ["", "", ""], [SE, SE, ""]),
    "another's host": (
        [*ROUTED, entry()],
        entry("old", "se.example.com", metadata={"creationTimestamp": "2020-01-01T00:00:00Z"}),
        targets,
        [SE, SE, ""],
        ["istio-se_shop_old_se.example.com_80", SE, ""],
    ),
    "a mirror's host": (
        [*ROUTED, entry()],
        entry("m", "m.mesh"),
        targets,
        [SE, SE, ""],
        [SE, SE, "", "istio-se_shop_m_m.mesh_80"],
    ),
    "a grant": ([*ROUTED, FAR], GRANT, targets, ["", "", ""], ["", "", FAR_CLUSTER]),
    "what a grant allows": ([*ROUTED, GRANT], FAR, targets, ["", "", ""], ["", "", FAR_CLUSTER]),
    "a Pod": ([entry(**SELECTING)], pod(), addresses(SE), [], ["10.0.0.1"]),
    "a WorkloadEntry": ([entry(**SELECTING)], workload(), addresses(SE), [], ["10.1.0.1"]),
    "a Pod's Node": ([entry(**SELECTING), pod(node="n")], node(), addresses(SE), ["10.0.0.1"], ["r1/z1/s1 10.0.0.1"]),
    "a slice's Node": (
        [service(), slice_(at("10.0.0.1", nodeName="n"))],
        node(),
        addresses(WEB),
        ["10.0.0.1"],
        ["r1/z1/s1 10.0.0.1"],
    ),
    "a slice's Pod": (
        [service(), slice_(at("10.0.0.1", "p"))],
        pod(),
        labels(WEB),
        {"10.0.0.1": {}},
        {"10.0.0.1": {"app": "x"}},
    ),
    "a Service's slice": ([service()], slice_(at("10.0.0.1")), addresses(WEB), [], ["10.0.0.1"]),
}


@pytest.mark.parametrize("case", COMING)
def test_what_comes_is_seen_and_what_goes_is_gone(case: str) -> None:
    start, made, look, without, with_it = COMING[case]
    world = World(*start)
    assert look(world) == without
    world.apply(made)
    assert look(world) == with_it
    fresh = World(*start, made).visible()
    assert {name: rows == fresh[name] for name, rows in world.visible().items()} == dict.fromkeys(fresh, True)
    world.delete(made)
    assert look(world) == without
    fresh = World(*start).visible()
    assert {name: rows == fresh[name] for name, rows in world.visible().items()} == dict.fromkeys(fresh, True)


CHANGING: dict[str, tuple[list[Manifest], Manifest, Callable[[World], Any], Any]] = {
    # objects of the start, one of them changed, what is looked at, what it is then
    "a Pod becomes unready": ([entry(**SELECTING), pod()], pod(ready="False"), addresses(SE), []),
    "a Pod terminates": (
        [entry(**SELECTING), pod()],
        pod(deletionTimestamp="2024-05-31T12:00:00Z"),
        addresses(SE),
        [],
    ),
    "a Pod's labels": ([entry(**SELECTING), pod()], pod(labels={"app": "y"}), addresses(SE), []),
    "a Pod's address": ([entry(**SELECTING), pod()], pod(ip="10.0.0.2"), addresses(SE), ["10.0.0.2"]),
    "a selector": (
        [entry(**SELECTING), pod(), pod("q", ip="10.0.0.2", labels={"app": "y"})],
        entry(workloadSelector={"labels": {"app": "y"}}),
        addresses(SE),
        ["10.0.0.2"],
    ),
    "a Node's zone": (
        [entry(**SELECTING), pod(node="n"), node()],
        node(zone="z2"),
        addresses(SE),
        ["r1/z2/s1 10.0.0.1"],
    ),
    "a ServiceEntry's export": ([*ROUTED, entry()], entry(exportTo=["far"]), targets, ["", SE, ""]),
    "a ServiceEntry's resolution": ([*ROUTED, entry()], entry(resolution="NONE"), targets, ["", "", ""]),
    "a ServiceEntry's host": (
        [*ROUTED, entry()],
        entry("se", "b.mesh"),
        targets,
        ["", "istio-se_shop_se_b.mesh_80", ""],
    ),
}


@pytest.mark.parametrize("case", CHANGING)
def test_what_changes_is_as_if_it_had_always_been_so(case: str) -> None:
    start, changed, look, expected = CHANGING[case]
    world = World(*start)
    assert look(world) != expected
    world.apply(changed)
    assert look(world) == expected
    reference = (changed["kind"], changed["metadata"]["name"])
    others = [made for made in start if (made["kind"], made["metadata"]["name"]) != reference]
    fresh = World(*others, changed).visible()
    assert {name: rows == fresh[name] for name, rows in world.visible().items()} == dict.fromkeys(fresh, True)


# What runs again


def runs(commit: Commit) -> dict[str, int]:
    """Of the collections that backends and routes are made in."""
    ours = {"service_backends", "service_entry_backends", "backend_endpoints", "selected_workloads", "workloads"}
    ours |= {"resolved_routes", "endpoint_labels"}
    return {name: count for name, count in commit.runs.items() if name in ours}


@pytest.fixture
def busy() -> World:
    """Ten Services, ten ServiceEntries of two hosts, and Pods of each."""
    world = World(*ROUTED, *(node(f"n{i}") for i in range(10)))
    for i in range(10):
        selecting = entry(f"e{i}", f"a{i}.mesh", f"b{i}.mesh", workloadSelector={"labels": {"app": f"e{i}"}})
        world.apply(
            service(f"s{i}"),
            slice_(at(f"10.0.{i}.1", f"p{i}", nodeName=f"n{i}"), name=f"s{i}"),
            pod(f"p{i}", f"n{i}", f"10.0.{i}.1", labels={"app": f"s{i}"}),
            selecting,
            pod(f"q{i}", f"n{i}", f"10.0.{i}.2", labels={"app": f"e{i}"}),
        )
    return world


def test_a_pod_that_nobody_selects_costs_nothing(busy: World) -> None:
    assert runs(busy.apply(pod("lone", "n1", "10.9.9.9", labels={"app": "lone"}))) == {}


def test_a_label_of_a_service_s_pod_costs_only_who_looks_at_labels(busy: World) -> None:
    assert runs(busy.apply(pod("p3", "n3", "10.0.3.1", labels={"app": "s3", "version": "v2"}))) == {
        "endpoint_labels": 1
    }


def test_readiness_of_a_selected_pod_costs_its_own_entry(busy: World) -> None:
    commit = busy.apply(pod("q3", "n3", "10.0.3.2", ready="False", labels={"app": "e3"}))
    assert runs(commit) == {"selected_workloads": 1, "workloads": 1, "backend_endpoints": 2, "endpoint_labels": 2}


def test_a_label_that_selects_nothing_else_stops_at_the_selection(busy: World) -> None:
    commit = busy.apply(pod("q3", "n3", "10.0.3.2", labels={"app": "e3", "version": "v2"}))
    assert runs(commit) == {"selected_workloads": 1, "workloads": 1, "endpoint_labels": 2}


def test_a_node_s_zone_costs_what_runs_on_it_and_its_other_labels_nothing(busy: World) -> None:
    assert runs(busy.apply(node("n3", other="label"))) == {}
    found = runs(busy.apply(node("n3", zone="z2")))
    assert found == {"workloads": 1, "backend_endpoints": 3, "endpoint_labels": 3}


def test_an_endpoint_that_is_listed_leaves_its_backend_alone(busy: World) -> None:
    busy.apply(entry(endpoints=[{"address": "1.1.1.1"}]))
    commit = busy.apply(entry(endpoints=[{"address": "1.1.1.2"}]))
    assert "backends" not in commit.deltas
    assert runs(commit) == {
        "selected_workloads": 1,
        "service_entry_backends": 1,
        "backend_endpoints": 1,
        "endpoint_labels": 1,
    }


def test_an_address_of_a_service_entry_does_not_run_routes_that_name_it(busy: World) -> None:
    busy.apply(entry())
    commit = busy.apply(entry(addresses=["10.9.0.1"]))
    assert "resolved_routes" not in runs(commit)
    assert "backends" in commit.deltas
