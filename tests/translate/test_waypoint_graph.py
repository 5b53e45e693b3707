"""What waypoints cost: a chain once a way in, a route once a port, and after a change no more than the change."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.log import MemoryLog
from controlplane.model.codec import EventCodec
from controlplane.model.decode import Decoded, decode_object
from controlplane.model.events import AnyEvent, ControlPlaneStarted, ObjectApplied, ObjectDeleted, SourceSynced
from controlplane.model.objects import KINDS
from controlplane.model.references import ObjectReference
from controlplane.runtime.core import State
from controlplane.runtime.options import RunOptions
from controlplane.translate import TypeUrl
from controlplane.translate.document import to_document
from tests.conformance.manifests import Manifest, backend, gateway, gateway_class, http_route, listener, manifest, rule

CAPTURED = 300
ENTRANCE = "listener~0.0.0.0~15088"


class World:
    """A state, and its log."""

    def __init__(self, *objects: Manifest) -> None:
        self.state = State()
        self.log: MemoryLog[AnyEvent] = MemoryLog(EventCodec())
        started = ControlPlaneStarted("test", RunOptions().settings(), {"test": tuple(KINDS)})
        self.state.apply(self.log.append([started], source="controlplane"))
        self.events(*map(self.applied, objects), SourceSynced(tuple(KINDS)))

    @staticmethod
    def applied(raw: Manifest) -> ObjectApplied:
        found = decode_object(raw)
        assert isinstance(found, Decoded), found
        return ObjectApplied(found.object)

    def events(self, *events: AnyEvent) -> dict[str, int]:
        """One transaction; how often each collection's function ran for it."""
        before = self.runs()
        self.state.apply(self.log.append(list(events), source="test"))
        assert self.state.graph.failures() == ()
        return {name: runs - before[name] for name, runs in self.runs().items()}

    def runs(self) -> dict[str, int]:
        return {collection.name: collection.statistics().runs for collection in self.state.graph.collections}

    def served(self, type_url: TypeUrl) -> dict[str, Any]:
        """Resources of a type, by name."""
        return {row.name: row for row in self.state.translation.resources.rows() if row.key[1] == str(type_url)}


def captured(number: int, **labels: str) -> Manifest:
    address = f"10.1.{number // 250}.{number % 250 + 1}"
    spec = {"clusterIP": address, "ports": [{"name": "http", "port": 80}, {"name": "tcp", "port": 81}]}
    metadata = {"labels": {"istio.io/use-waypoint": "wp"} | labels}
    return manifest("Service", "v1", f"s{number}", metadata=metadata, spec=spec)


def waypoint() -> list[Manifest]:
    entrance = listener("proxy", 15088, protocol="istio.io/PROXY")
    spec = {"gatewayClassName": "controlplane-waypoint"}
    return [gateway_class("controlplane-waypoint"), gateway(entrance, name="wp", **spec)]


def wide(path: str) -> Manifest:
    match = {"path": {"type": "PathPrefix", "value": path}}
    return http_route("wide", rule(match, to={"name": "s0", "port": 80}), parents=["wp"])


def test_a_change_costs_itself() -> None:
    services = [captured(number) for number in range(CAPTURED)]
    world = World(*waypoint(), *services, wide("/a"))
    assert world.runs()["waypoint_filter_chains"] == 2 * CAPTURED
    assert world.runs()["waypoint_port_entries"] == 1, "one route, one port"
    assert len(world.served(TypeUrl.ROUTE_CONFIGURATION)) == CAPTURED
    assert not world.served(TypeUrl.VIRTUAL_HOST), "each stands in its route configuration"
    first = world.served(TypeUrl.LISTENER)[ENTRANCE]

    runs = world.events(world.applied(captured(CAPTURED)))
    assert (runs["waypoint_filter_chains"], runs["waypoint_port_entries"]) == (2, 0)
    assert runs["waypoint_virtual_hosts"] == 1

    runs = world.events(world.applied(wide("/b")))
    assert (runs["waypoint_filter_chains"], runs["waypoint_port_entries"]) == (0, 1)

    runs = world.events(ObjectDeleted(ObjectReference("Service", "demo", f"s{CAPTURED}")))
    assert world.served(TypeUrl.LISTENER)[ENTRANCE] == first, "equal bytes, whatever was there between"
    assert runs["waypoint_virtual_hosts"] <= 1


def test_what_nothing_names_is_not_served() -> None:
    """Clusters of TCP chains, of default routes, of routes: each as long as it is named; the listener as long as it has chains."""
    world = World(*waypoint(), captured(0), captured(1))
    names = {"kube_demo_s0_80", "kube_demo_s0_81", "kube_demo_s1_80", "kube_demo_s1_81"}
    assert world.served(TypeUrl.CLUSTER).keys() == names
    own = http_route("own", rule(to=backend("s0", 80)), parents=[{"group": "", "kind": "Service", "name": "s1"}])
    world.events(world.applied(own))
    assert world.served(TypeUrl.CLUSTER).keys() == names - {"kube_demo_s1_80"}, "the route took the default's place"
    world.events(ObjectDeleted(ObjectReference("HTTPRoute", "demo", "own")))
    assert world.served(TypeUrl.CLUSTER).keys() == names
    world.events(*(ObjectDeleted(ObjectReference("Service", "demo", f"s{number}")) for number in range(2)))
    assert world.state.translation.resources.rows() == ()


def test_without_a_way_in_nothing_is_served() -> None:
    hbone = listener("hbone", 15008, protocol="HBONE", tls={"certificateRefs": [{"name": "gone"}]})
    spec = {"gatewayClassName": "controlplane-waypoint"}
    world = World(gateway_class("controlplane-waypoint"), gateway(hbone, name="wp", **spec), captured(0))
    assert world.state.translation.resources.rows() == ()


def test_a_route_that_cannot_be_encoded_keeps_the_default_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the route forbids must not come to pass by its failure; the failure is told, and other services go on."""

    def fail(*_: Any) -> None:
        raise ValueError("no such luck")

    monkeypatch.setattr("controlplane.translate.waypoint_graph.translate_rule", fail)
    world = World(*waypoint(), captured(0), captured(1))
    own = http_route("own", rule(to=backend("s0", 80)), parents=[{"group": "", "kind": "Service", "name": "s0"}])
    world.state.apply(world.log.append([world.applied(own)], source="test"))
    assert [failure.node for failure in world.state.graph.failures()] == ["waypoint_port_entries"]
    configurations = world.served(TypeUrl.ROUTE_CONFIGURATION)
    hosts = {
        name: to_document(TypeUrl.ROUTE_CONFIGURATION, row.body)["virtualHosts"] for name, row in configurations.items()
    }
    assert [host.get("routes", []) for host in hosts["fc_http_80_s0_demo"]] == [[]]
    assert [len(host["routes"]) for host in hosts["fc_http_80_s1_demo"]] == [1]
