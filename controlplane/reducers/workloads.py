"""Who serves a ServiceEntry: the Pods and WorkloadEntries that it selects, and the endpoints that it lists itself.

Pods and WorkloadEntries are looked at only where a ServiceEntry selects them, so a hundred thousand Pods beside one cost
nothing. Sources: Istio, ServiceEntry and WorkloadEntry (istio-semantics, 1.4 and 1.5).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

import msgspec

from controlplane.krt import Collection, Fetch, Graph, Index, Selector
from controlplane.model.istio import ServiceEntry, ServiceEntrySpec, WorkloadEntry, WorkloadEntrySpec
from controlplane.model.kubernetes import Node, Pod
from controlplane.model.scalars import parse_bool
from controlplane.model.services import NETWORK, REGION, SUBZONE, ZONE, Locality
from controlplane.reducers.base import Base

Labels: TypeAlias = tuple[tuple[str, str], ...]

_TLS_MODE: Final = "security.istio.io/tlsMode"
_HEALTH_CHECKED: Final = "proxy.istio.io/health-checks-enabled"
_PLACES: Final = (REGION, ZONE, SUBZONE)
_TOPOLOGY: Final = frozenset(_PLACES)


class Selected(msgspec.Struct, frozen=True):
    """A ServiceEntry selects a workload."""

    key: tuple[str, str, str]
    """ServiceEntry, kind, ``namespace/name``."""


class Workload(msgspec.Struct, frozen=True):
    """What may serve a ServiceEntry, before any port is chosen."""

    key: tuple[str, str, str]
    """ServiceEntry, kind, ``namespace/name``; of an endpoint that it lists itself, its path and an empty name."""
    address: str
    """As it is given: possibly a name, a path, or empty."""
    locality: Locality = Locality()
    is_ready: bool = True
    ports: tuple[tuple[str, int], ...] = ()
    """Its own port by the name of the ServiceEntry's, sorted. A Pod has none."""
    weight: int = 0
    pod: str = ""
    """``namespace/name`` of the Pod that has its labels; then ``labels`` is empty."""
    labels: Labels = ()
    """Sorted, the network's among them; without those of its locality."""
    takes_mesh_tls: bool = False


@dataclass(frozen=True)
class Workloads:
    """What ServiceEntries select."""

    selected: Collection[Workload]
    by_entry: Index[Workload]
    """By ``namespace/name`` of the ServiceEntry."""


def locality_of_node(node: Node) -> Locality:
    """A view: where a Node says it is. Nothing else of a Node makes a reader run again."""
    return Locality.of_labels(node.metadata.labels)


def is_entry_ready(entry: WorkloadEntry) -> bool:
    """Whether a WorkloadEntry takes requests: unless its health is known to be bad, or is checked and not known yet.

    Source: Istio, WorkloadEntry's condition ``Healthy`` and the annotation that has it checked.
    """
    healthy = next((c.status for c in entry.status.conditions if c.type == "Healthy"), "")
    is_checked = parse_bool(entry.metadata.annotations.get(_HEALTH_CHECKED, "").lower())
    return healthy == "True" if is_checked else healthy != "False"


def describe(
    key: tuple[str, str, str], spec: WorkloadEntrySpec, own: Mapping[str, str], *, is_ready: bool = True
) -> Workload:
    """A WorkloadEntry, or an endpoint that a ServiceEntry lists.

    Args:
        key: Of the row.
        spec: What it says of itself.
        own: Labels of its metadata; those of ``spec`` are laid over them.
        is_ready: Whether it takes requests.

    Its network and locality are ``spec``'s, and where that does not say, its labels'. A locality is taken as a whole: what
    ``spec.locality`` leaves out is unknown, whatever the labels say.
    """
    labels = {**own, **spec.labels}
    locality = Locality.parse(spec.locality) if spec.locality else Locality.of_labels(labels)
    if spec.network:
        labels[NETWORK] = spec.network
    return Workload(
        key,
        spec.address,
        locality,
        is_ready,
        ports=tuple(sorted(spec.ports.items())),
        weight=spec.weight,
        labels=tuple(sorted((name, value) for name, value in labels.items() if name not in _TOPOLOGY)),
        takes_mesh_tls=labels.get(_TLS_MODE) == "istio",
    )


def _describe_pod(key: tuple[str, str, str], pod: Pod, fetch: Fetch, base: Base) -> Workload:
    own = Locality.of_labels(pod.metadata.labels)
    node = fetch(base.nodes, pod.spec.node_name, view=locality_of_node) or Locality()
    addresses = (pod.status.pod_ip, *(item.ip for item in pod.status.pod_ips))
    return Workload(
        key,
        next(filter(None, addresses), ""),
        Locality(node.region or own.region, node.zone or own.zone, node.subzone or own.subzone),
        pod.is_ready,
        pod=pod.key,
        takes_mesh_tls=pod.metadata.labels.get(_TLS_MODE) == "istio",
    )


def selector_of(spec: ServiceEntrySpec) -> Selector | None:
    """Whom a ServiceEntry selects, and then what it lists does not count.

    None for nobody: with a resolution that asks for no workloads, or without labels, which select nothing and not everything.
    """
    chosen = spec.workload_selector
    if spec.resolution != "STATIC" or chosen is None or not chosen.labels:
        return None
    return Selector.from_labels(chosen.labels)


def is_selected_by_place(pod: Pod, labels: Mapping[str, str], fetch: Fetch, base: Base) -> bool:
    """Whether a Pod has these labels, those of its Node's locality among its own."""
    node = fetch(base.nodes, pod.spec.node_name, view=locality_of_node) or Locality()
    places = {key: value for key, value in zip(_PLACES, (node.region, node.zone, node.subzone), strict=True) if value}
    return labels.items() <= {**pod.metadata.labels, **places}.items()


def declare_workloads(graph: Graph, base: Base) -> Workloads:
    """Declare who is selected.

    Who it is and what it is are told apart: a change of one workload costs a look through the selection that it is in, and one
    new description. A change of one that nobody selects costs nothing.
    """

    def select(entry: ServiceEntry, fetch: Fetch) -> Iterator[Selected]:
        selector, namespace = selector_of(entry.spec), entry.metadata.namespace
        if selector is None or entry.spec.workload_selector is None:
            return
        labels = entry.spec.workload_selector.labels
        own = {key: value for key, value in labels.items() if key not in _TOPOLOGY}
        for pod in fetch.select(base.pods, Selector.from_labels(own), namespace):
            # A Node's labels are its Pods' too, as far as they say where they run.
            if len(own) == len(labels) or is_selected_by_place(pod, labels, fetch, base):
                yield Selected((entry.key, "Pod", pod.key))
        for found in fetch.select(base.workload_entries, selector, namespace):
            yield Selected((entry.key, "WorkloadEntry", found.key))

    def describe_selected(row: Selected, fetch: Fetch) -> Workload | None:
        _, kind, name = row.key
        if kind == "Pod":
            pod = fetch(base.pods, name)
            return _describe_pod(row.key, pod, fetch, base) if pod is not None else None
        found = fetch(base.workload_entries, name)
        if found is None:
            return None
        return describe(row.key, found.spec, found.metadata.labels, is_ready=is_entry_ready(found))

    reads = (base.pods, base.workload_entries)
    selected = graph.map("selected_workloads", Selected, base.service_entries, select, reads=(*reads, base.nodes))
    workloads = graph.map("workloads", Workload, selected, describe_selected, reads=(*reads, base.nodes))
    return Workloads(workloads, workloads.index("workloads_by_entry", lambda row: row.key[0]))
