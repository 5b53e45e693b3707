"""A mesh in manifests, short, and what one proxy of it is served."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from controlplane.model.events import Settings
from controlplane.runtime.document import snapshot
from controlplane.runtime.offline import translate_paths
from controlplane.runtime.options import AskedClient
from tests.conformance.manifests import Manifest, conditions, gateway, gateway_class, manifest
from tests.conformance.messages import Json
from tests.conformance.proxy import CLUSTER, LISTENER, LOAD_ASSIGNMENT, ROUTE_CONFIGURATION, VIRTUAL_HOST

NS: Final = "gwtest"
NETWORKING: Final = "networking.istio.io"
API: Final = f"{NETWORKING}/v1"
REGION: Final = "topology.kubernetes.io/region"
ZONE: Final = "topology.kubernetes.io/zone"
SUBZONE: Final = "topology.istio.io/subzone"
NETWORK: Final = "topology.istio.io/network"
ISTIO_CLUSTER: Final = "topology.istio.io/cluster"
HOSTNAME: Final = "kubernetes.io/hostname"
PLACE: Final = (REGION, ZONE, SUBZONE)

Objects = Manifest | Sequence["Objects"]


def flat(objects: Objects) -> list[Manifest]:
    """Manifests, and lists of them, as one list."""
    return [objects] if isinstance(objects, dict) else [made for item in objects for made in flat(item)]


def made(kind: str, api: str, name: str, namespace: str | None = NS, **fields: Any) -> Manifest:
    """An object; ``labels``, ``annotations`` and ``created`` among the fields are its metadata's."""
    found = {key: fields.pop(key, None) for key in ("labels", "annotations")}
    found["creationTimestamp"] = fields.pop("created", None)
    metadata = {key: value for key, value in found.items() if value}
    return manifest(kind, api, name, namespace, metadata=metadata, **fields)


def port(number: int = 80, name: str = "http", protocol: str = "HTTP", **fields: Any) -> Manifest:
    """A port of a ServiceEntry."""
    return {"number": number, "name": name, "protocol": protocol, **fields}


def at(address: str, locality: str = "", **fields: Any) -> Manifest:
    """An inline endpoint."""
    return {"address": address, **({"locality": locality} if locality else {}), **fields}


def entry(name: str = "se", *hosts: str, endpoints: Iterable[Manifest] | None = None, **fields: Any) -> Manifest:
    """A ServiceEntry, STATIC and with port 80; ``metadata`` as in ``made``, ``status``; the rest is its spec."""
    outside = {key: fields.pop(key) for key in ("labels", "annotations", "created", "status") if key in fields}
    namespace = fields.pop("namespace", NS)
    spec = {"hosts": list(hosts) or ["se.example.com"], "ports": [port()], "resolution": "STATIC", **fields}
    if endpoints is not None:
        spec["endpoints"] = list(endpoints)
    return made("ServiceEntry", API, name, namespace, spec=spec, **outside)


def workload(name: str, address: str, labels: Mapping[str, str] | None = None, **fields: Any) -> Manifest:
    """A WorkloadEntry; ``spec_labels`` are those of its spec."""
    spec = {"address": address} if address else {}
    if "spec_labels" in fields:
        spec["labels"] = fields.pop("spec_labels")
    namespace = fields.pop("namespace", NS)
    return made("WorkloadEntry", API, name, namespace, labels=dict(labels or {}), spec=spec | fields)


def pod(name: str, ip: str = "", node: str = "", labels: Mapping[str, str] | None = None, **fields: Any) -> Manifest:
    """A Pod; ``ready`` says whether it is."""
    ready = "True" if fields.pop("ready", True) else "False"
    status = {"podIP": ip, "podIPs": [{"ip": ip}]} if ip else {}
    status["conditions"] = [{"type": "Ready", "status": ready}]
    spec = {"nodeName": node} if node else {}
    namespace = fields.pop("namespace", NS)
    return made("Pod", "v1", name, namespace, labels=dict(labels or {}), spec=spec, status=status, **fields)


def node(name: str, locality: str) -> Manifest:
    """A Node at ``region/zone/subzone``."""
    return made("Node", "v1", name, None, labels=dict(zip(PLACE, locality.split("/"), strict=False)))


def namespace(name: str = NS, **labels: str) -> Manifest:
    """A Namespace; ``use_waypoint="wp"`` is the label ``istio.io/use-waypoint``."""
    return made("Namespace", "v1", name, None, labels=istio_labels(**labels))


def istio_labels(**labels: str) -> dict[str, str]:
    """``use_waypoint="wp"`` is the label ``istio.io/use-waypoint``."""
    return {f"istio.io/{key.replace('_', '-')}": value for key, value in labels.items()}


def service(name: str = "reviews", *ports: Manifest, **fields: Any) -> Manifest:
    """A Service with a ClusterIP; without ports, one that speaks HTTP on 80."""
    outside = {key: fields.pop(key) for key in ("labels", "annotations", "created") if key in fields}
    namespace = fields.pop("namespace", NS)
    vips = list(fields.pop("vips", ("10.96.0.1",)))
    spec = {"ports": list(ports) or [{"name": "http", "port": 80}], "clusterIP": (vips or ["None"])[0]}
    if len(vips) > 1:
        spec["clusterIPs"] = vips
    return made("Service", "v1", name, namespace, spec=spec | fields, **outside)


def slice_of(service_name: str, endpoints: Iterable[Manifest], **fields: Any) -> Manifest:
    """An EndpointSlice with these endpoints at port 8080 of the name ``http``."""
    where = {"addressType": fields.pop("family", "IPv4"), "endpoints": list(endpoints)}
    ports = fields.pop("ports", [{"name": "http", "port": 8080}])
    labels = {"kubernetes.io/service-name": service_name}
    namespace = fields.pop("namespace", NS)
    return made("EndpointSlice", "discovery.k8s.io/v1", service_name, namespace, labels=labels, ports=ports, **where)


def rule_for(host: str, name: str = "dr", **fields: Any) -> Manifest:
    """A DestinationRule; what is not metadata, exportTo or workloadSelector is its trafficPolicy."""
    outside = {key: fields.pop(key) for key in ("labels", "annotations", "created") if key in fields}
    own: Manifest = {key: fields.pop(key) for key in ("exportTo", "workloadSelector", "subsets") if key in fields}
    namespace, version = fields.pop("namespace", NS), fields.pop("version", "v1")
    spec: Manifest = {"host": host, "trafficPolicy": fields, **own}
    return made("DestinationRule", f"{NETWORKING}/{version}", name, namespace, spec=spec, **outside)


def locality(**setting: Any) -> dict[str, Any]:
    """A trafficPolicy with this localityLbSetting, and outlier detection, without which Envoy never fails over."""
    detection = {"consecutive5xxErrors": 7, "interval": "5m", "baseEjectionTime": "15m"}
    return {"loadBalancer": {"localityLbSetting": setting}, "outlierDetection": detection}


def to_host(host: str = "se.example.com", number: int = 80, **fields: Any) -> Manifest:
    """A backendRef of kind Hostname."""
    return {"group": NETWORKING, "kind": "Hostname", "name": host, "port": number, **fields}


def to_entry(name: str = "se", number: int = 80, **fields: Any) -> Manifest:
    """A backendRef of kind ServiceEntry."""
    return {"group": NETWORKING, "kind": "ServiceEntry", "name": name, "port": number, **fields}


def to_service(name: str = "reviews", number: int = 80, **fields: Any) -> Manifest:
    """A backendRef of kind Service."""
    return {"name": name, "port": number, **fields}


def route(name: str, *refs: Manifest, parents: Sequence[Manifest | str] = ("web",), **fields: Any) -> Manifest:
    """An HTTPRoute of one rule to all these; ``rules`` among the fields are its rules instead, ``hostnames`` its hosts."""
    named = [{"name": parent} if isinstance(parent, str) else parent for parent in parents]
    outside = {key: fields.pop(key) for key in ("labels", "created") if key in fields}
    namespace = fields.pop("namespace", NS)
    rules = fields.pop("rules", [{"backendRefs": list(refs)}])
    spec = {"parentRefs": named, "rules": rules, **fields}
    return made("HTTPRoute", "gateway.networking.k8s.io/v1", name, namespace, spec=spec, **outside)


def leading_to(*refs: Manifest) -> list[Manifest]:
    """The Gateway ``web`` and a route of one rule to all these."""
    return [gateway(name="web", namespace=NS), route("r", *refs)]


Grouped = list[tuple[str, int, int | None, tuple[str, ...]]]


@dataclass(frozen=True)
class View:
    """What one Gateway's proxies are served, and the statuses."""

    document: Mapping[str, Any]
    gateway: str
    warnings: tuple[str, ...] = ()

    def table(self, type_url: str) -> dict[str, Json]:
        """Resources of a type by name."""
        served = self.document["gateways"].get(self.gateway, {})
        # What depends on who asks lies beside, by class; an asked client is the only one of its gateway.
        classes = self.document.get("clients", {}).get(self.gateway, {})
        assert len(classes) <= 1, sorted(classes)
        found = dict(served.get(type_url, {}))
        for own in classes.values():
            found |= own.get(type_url, {})
        return {name: item["resource"] for name, item in found.items()}

    @property
    def clusters(self) -> dict[str, Json]:
        return self.table(CLUSTER)

    @property
    def listeners(self) -> dict[str, Json]:
        return self.table(LISTENER)

    @property
    def virtual_hosts(self) -> dict[str, Json]:
        """By VHDS, or in their RouteConfiguration."""
        held = [host for each in self.route_configurations.values() for host in each.get("virtualHosts", ())]
        return {**self.table(VIRTUAL_HOST), **{host["name"]: host for host in held}}

    @property
    def route_configurations(self) -> dict[str, Json]:
        return self.table(ROUTE_CONFIGURATION)

    def cluster(self, name: str) -> Json:
        return self.clusters[name]

    def groups(self, cluster: str) -> list[Json]:
        """LocalityLbEndpoints: by EDS, or the cluster's own."""
        inline = self.clusters[cluster].get("loadAssignment")
        name = self.clusters[cluster].get("edsClusterConfig", {}).get("serviceName", cluster)
        assignment = inline or self.table(LOAD_ASSIGNMENT)[name]
        assert assignment["clusterName"] == name
        groups: list[Json] = assignment.get("endpoints", [])
        return groups

    def priorities(self, cluster: str) -> dict[str, int]:
        """Priority by endpoint address; fails where priorities have gaps or an address is there twice."""
        found: dict[str, int] = {}
        for group in self.groups(cluster):
            for address in addresses(group):
                assert address not in found, address
                found[address] = group.get("priority", 0)
        assert sorted(set(found.values())) == list(range(len(set(found.values())))), found
        return found

    def sockets(self, cluster: str) -> list[str]:
        """``address:port`` of every endpoint, sorted."""
        groups = self.groups(cluster)
        return sorted(socket(item["endpoint"]["address"]) for group in groups for item in group.get("lbEndpoints", ()))

    def grouped(self, cluster: str) -> Grouped:
        """Each LocalityLbEndpoints: ``(region/zone/subzone, priority, weight, addresses)``, in order."""
        found = []
        for group in self.groups(cluster):
            place, weight = locality_of(group), group.get("loadBalancingWeight")
            found.append((place, group.get("priority", 0), weight, tuple(addresses(group))))
        return found

    def status(self, kind: str, name: str, namespace: str | None = NS) -> Mapping[str, Any]:
        """The status of an object; empty where it has none."""
        key = f"{kind} {namespace}/{name}" if namespace else f"{kind} {name}"
        status: Mapping[str, Any] = self.document["statuses"].get(key, {})
        return status

    def told(self, kind: str, name: str, namespace: str | None = NS) -> str:
        """All that the conditions of an object say, for a human."""
        return json.dumps(self.status(kind, name, namespace))

    def parents(self, name: str, namespace: str = NS) -> list[dict[str, tuple[str, str]]]:
        """Conditions of each parent of a route: ``(status, reason)`` by type."""
        return [conditions(parent) for parent in self.status("HTTPRoute", name, namespace).get("parents", ())]


def socket(address: Json) -> str:
    """``address:port``."""
    inner = address["socketAddress"]
    return f"{inner['address']}:{inner.get('portValue', 0)}"


def addresses(group: Json) -> list[str]:
    """Of the endpoints of one locality, without ports."""
    return [item["endpoint"]["address"]["socketAddress"]["address"] for item in group.get("lbEndpoints", ())]


def locality_of(group: Json) -> str:
    """``region/zone/subzone``, without what is empty at its end."""
    place = group.get("locality", {})
    return "/".join(place.get(part, "") for part in ("region", "zone", "subZone")).rstrip("/")


def view(
    *objects: Objects,
    locality: str = "",
    labels: Mapping[str, str] | None = None,
    namespace: str = "",
    gateway_key: str = f"{NS}/web",
    settings: Settings | None = None,
) -> View:
    """What ``translate`` shows of manifests; our two classes are added.

    Args:
        objects: Manifests, and lists of them.
        locality: ``region/zone/subzone`` of the proxy that asks.
        labels: Its labels.
        namespace: Its namespace; empty is its Gateway's.
        gateway_key: The Gateway that it is of.
        settings: Istio's, instead of the defaults.
    """
    documents = [*flat(objects), gateway_class(), gateway_class("controlplane-waypoint")]
    client = AskedClient(locality, tuple(sorted((labels or {}).items())), namespace)
    with TemporaryDirectory() as folder:
        # JSON is YAML without its traps.
        Path(folder, "all.yaml").write_text("\n---\n".join(json.dumps(made, indent=2) for made in documents))
        translated = translate_paths([Path(folder)], mesh=settings, client=client)
    assert translated.errors == (), translated.errors
    assert translated.state.graph.failures() == ()
    return View(snapshot(translated.state), gateway_key, translated.warnings)
