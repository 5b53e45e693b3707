"""What depends on who asks is built once for all who are alike, and no more of it than there are who differ."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.log import MemoryLog
from controlplane.model.base import ObjectMeta
from controlplane.model.codec import EventCodec
from controlplane.model.decode import Decoded, decode_object
from controlplane.model.events import (
    ControlPlaneStarted,
    ObjectApplied,
    ProxyConnected,
    ProxyDisconnected,
    SourceSynced,
)
from controlplane.model.kubernetes import Secret
from controlplane.model.objects import KINDS
from controlplane.runtime.core import State
from controlplane.runtime.offline import fold_events
from controlplane.runtime.options import RunOptions
from controlplane.translate import TypeUrl
from controlplane.translate.cluster import translate_cluster
from tests.conformance.manifests import Manifest, endpoint_slice, gateway, gateway_class, http_route, manifest, rule

ZONES = ("r1/z1", "r1/z2", "r2/z3")
PROXIES, BACKENDS, RULED = 1_000, 2_000, 100
REGION, ZONE = "topology.kubernetes.io/region", "topology.kubernetes.io/zone"


def events_of(*objects: Manifest) -> list[Any]:
    """The events of a source that has read these."""
    found = [decode_object(raw) for raw in objects]
    assert all(isinstance(one, Decoded) for one in found), found
    return [ObjectApplied(one.object) for one in found if isinstance(one, Decoded)]


def nodes_and_pods(proxies: int) -> list[Manifest]:
    """A Node in each zone, and proxies on them in turn, each with a label that no other has."""
    nodes = [
        manifest(
            "Node",
            "v1",
            f"node-{i}",
            None,
            metadata={"labels": dict(zip((REGION, ZONE), zone.split("/"), strict=True))},
        )
        for i, zone in enumerate(ZONES)
    ]
    pods = [
        manifest(
            "Pod",
            "v1",
            f"web-{i}",
            metadata={"labels": {"pod-template-hash": f"h{i}"}},
            spec={"nodeName": f"node-{i % 3}"},
        )
        for i in range(proxies)
    ]
    return [*nodes, *pods]


def endpoints(number: int) -> list[dict[str, Any]]:
    """One in each of the first two zones."""
    prefix = f"10.{number // 250}.{number % 250}"
    return [
        {"addresses": [f"{prefix}.{i}"], "zone": zone.partition("/")[2], "nodeName": f"node-{i}"}
        for i, zone in enumerate(ZONES[:2])
    ]


def world(backends: int, ruled: int, setting: dict[str, Any]) -> list[Manifest]:
    """Services behind one Gateway, of which some have a locality rule."""
    made: list[Manifest] = [gateway_class(), gateway()]
    for i in range(backends):
        name = f"s{i}"
        made.append(manifest("Service", "v1", name, spec={"ports": [{"port": 8080}]}))
        made.append(endpoint_slice(name, endpoints(i)))
        made.append(http_route(f"r{i}", rule(to=name), hostnames=[f"h{i}.example.com"]))
        if i < ruled:
            policy = {"loadBalancer": {"localityLbSetting": setting}, "outlierDetection": {"consecutive5xxErrors": 7}}
            made.append(
                manifest(
                    "DestinationRule", "networking.istio.io/v1", f"d{i}", spec={"host": name, "trafficPolicy": policy}
                )
            )
    return made


def connected(proxies: int) -> list[ProxyConnected]:
    """Their streams."""
    return [ProxyConnected(proxy=f"web-{i}.demo#{i}", node=f"web-{i}.demo", gateway="demo/web") for i in range(proxies)]


def runs(state: State, name: str) -> int:
    """How often a collection's function ran."""
    (collection,) = (c for c in state.graph.collections if c.name == name)
    return collection.statistics().runs


def of_client(state: State, name: str, type_url: TypeUrl = TypeUrl.LOAD_ASSIGNMENT) -> dict[str, str]:
    """Versions of a resource, by class."""
    rows = state.translation.client_resources.rows()
    return {row.key[1]: row.version for row in rows if row.key[2:] == (str(type_url), name)}


def test_a_thousand_proxies_in_three_zones_cost_what_three_cost() -> None:
    """3 x 100 load assignments for those with a rule, one for each of the others: counted as they are built."""
    setting = {"failoverPriority": [REGION, ZONE]}
    events = [*events_of(*world(BACKENDS, RULED, setting), *nodes_and_pods(PROXIES)), *connected(PROXIES)]
    state = fold_events(events, RunOptions()).state
    assert state.graph.failures() == ()
    assert runs(state, "load_assignments") <= 3 * RULED + (BACKENDS - RULED)
    assert len(state.rows.clients.classes.rows()) == len(ZONES) + 1, "and one for what looks at no label"
    rows = state.translation.client_resources.rows()
    assert sum(row.key[2] == str(TypeUrl.LOAD_ASSIGNMENT) for row in rows) == 3 * RULED
    assert len(set(of_client(state, "kube_demo_s0_8080").values())) == 3, "each of its own"
    shared = [row for row in state.translation.resources.rows() if row.key[1] == str(TypeUrl.LOAD_ASSIGNMENT)]
    assert len(shared) == BACKENDS - RULED


def test_what_no_rule_looks_at_tells_nobody_apart() -> None:
    """Without rules of locality there is one class, whatever labels the proxies have."""
    events = [*events_of(*world(3, 2, {"enabled": False}), *nodes_and_pods(20)), *connected(20)]
    state = fold_events(events, RunOptions()).state
    assert [row.key for row in state.rows.clients.classes.rows()] == [("demo/web", "demo")]


def test_a_label_of_one_proxy_alone_multiplies_only_what_looks_at_it() -> None:
    """PreferSameNode on one Service makes a class for each node, of that Service alone: the others are shared as before."""
    nodes = [
        manifest(
            "Node",
            "v1",
            f"own-{i}",
            None,
            metadata={"labels": dict(zip((REGION, ZONE), ZONES[i % 3].split("/"), strict=True))},
        )
        for i in range(60)
    ]
    pods = [manifest("Pod", "v1", f"web-{i}", spec={"nodeName": f"own-{i}"}) for i in range(60)]
    same_node = manifest(
        "Service", "v1", "s9", spec={"ports": [{"port": 8080}], "trafficDistribution": "PreferSameNode"}
    )
    objects = [*world(10, 4, {"failoverPriority": [REGION, ZONE]}), *nodes, *pods, same_node]
    state = fold_events([*events_of(*objects), *connected(60)], RunOptions()).state
    rows = state.translation.client_resources.rows()
    of_zones = [row for row in rows if row.key[2] == str(TypeUrl.LOAD_ASSIGNMENT) and row.name != "kube_demo_s9_8080"]
    assert len(of_zones) == 3 * 4
    assert len([row for row in rows if row.key[2:] == (str(TypeUrl.LOAD_ASSIGNMENT), "kube_demo_s9_8080")]) == 60
    assert all(len(client.class_names) == 3 for client in state.rows.clients.clients.rows())


def test_a_class_goes_with_its_last_proxy() -> None:
    """Ten streams are one client; the class is gone after the tenth, and the stand-in of no client is there instead."""
    events = [*events_of(*world(2, 1, {}), *nodes_and_pods(0)), *connected(10)]
    before = fold_events(events, RunOptions()).state
    gone = [ProxyDisconnected(event.proxy) for event in connected(10)]
    located = [ProxyConnected(proxy=f"p{i}", node="p", gateway="demo/web", locality="r1/z1") for i in range(10)]
    assert len(before.rows.clients.classes.rows()) == 2
    there = fold_events([*events, *gone, *located], RunOptions()).state
    assert [row.locality.zone for row in there.rows.clients.classes.rows()] == ["", "z1"]
    left = fold_events([*events, *gone, *located, *(ProxyDisconnected(p.proxy) for p in located)], RunOptions()).state
    assert {row.labels for row in left.rows.clients.classes.rows()} == {()}
    assert left.translation.client_resources.rows(), "what would be served to whoever comes"


def test_a_proxy_does_not_say_whose_secrets_it_is_served() -> None:
    """A node id names a namespace, and whoever connects writes it: Secrets are those of the Gateway's own namespace."""
    tls = {"tls": {"mode": "MUTUAL", "credentialName": "cred"}}
    rules = [
        manifest(
            "DestinationRule",
            "networking.istio.io/v1",
            "tls",
            spec={"host": "s0", "trafficPolicy": {**tls, "loadBalancer": {"localityLbSetting": {}}}},
        )
    ]
    secrets = [secret("cred", "demo"), secret("cred", "victim")]
    stranger = ProxyConnected(proxy="x.victim#1", node="x.victim", gateway="demo/web", locality="r1/z1")
    before = fold_events([*events_of(*world(1, 0, {}), *rules), *secrets], RunOptions()).state
    after = fold_events([*events_of(*world(1, 0, {}), *rules), *secrets, stranger], RunOptions()).state
    for state in (before, after):
        names = {row.name for row in state.translation.resources.rows() if row.key[1] == str(TypeUrl.SECRET)}
        assert names == {"demo/cred", "demo/cred~ca"}
    assert "victim/cred" not in repr(after.translation.client_resources.rows())


def secret(name: str, namespace: str) -> ObjectApplied:
    """A pair and authorities."""
    return ObjectApplied(
        Secret(
            metadata=ObjectMeta(name=name, namespace=namespace),
            type="kubernetes.io/tls",
            certificate_chain="certificate",
            key_digest=f"sha256:{namespace}",
            pair_digest=f"sha256:{namespace}",
            ca_certificates="authorities",
            ca_digest=f"sha256:{namespace}",
        )
    )


def test_a_form_that_cannot_be_made_leaves_what_was_served(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new rule whose translation fails: the failure is told, and every proxy keeps its cluster as it was."""
    log: MemoryLog[Any] = MemoryLog(EventCodec())
    state = State()
    started = ControlPlaneStarted(version="t", settings=RunOptions().settings(), sources={"t": tuple(KINDS)})
    state.apply(log.append([started, *events_of(*world(2, 0, {})), SourceSynced(tuple(KINDS))], source="t"))
    before = {row.key: row for row in state.translation.resources.rows()}

    def fail(backend: Any, policy: Any, *arguments: Any, **named: Any) -> bytes:
        if policy is not None:
            raise ValueError("no such luck")
        return translate_cluster(backend, policy, *arguments, **named)

    monkeypatch.setattr("controlplane.translate.clusters.translate_cluster", fail)
    rule_ = manifest(
        "DestinationRule",
        "networking.istio.io/v1",
        "d",
        spec={"host": "s0", "trafficPolicy": {"outlierDetection": {"consecutive5xxErrors": 3}}},
    )
    state.apply(log.append(events_of(rule_), source="t"))
    assert {failure.node for failure in state.graph.failures()} == {"clusters", "cluster_resources"}
    assert {row.key: row for row in state.translation.resources.rows()} == before
