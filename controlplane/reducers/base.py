"""The base collections and the fold: the only place where events become rows.

Every other collection is derived. Nothing here decides anything about gateways; an event is laid down as what it says.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, assert_never

import msgspec

from controlplane.krt import Fetch, Graph, Source, Transaction
from controlplane.model.events import (
    AnyEvent,
    ControlPlaneStarted,
    DeliveryResumed,
    DeliveryWithheld,
    ListenerFailed,
    ListenerRecovered,
    ObjectAccepted,
    ObjectApplied,
    ObjectDeleted,
    ObjectRejected,
    ProxyAcknowledged,
    ProxyConnected,
    ProxyDisconnected,
    ProxyRejected,
    RejectionEnded,
    ResourceRejected,
    Settings,
    SourceAvailable,
    SourceSynced,
    SourceUnavailable,
)
from controlplane.model.gateway import Gateway, GatewayClass, ReferenceGrant
from controlplane.model.http_route import HTTPRoute
from controlplane.model.ir import ObjectReport
from controlplane.model.istio import AuthorizationPolicy, DestinationRule, ServiceEntry, WorkloadEntry
from controlplane.model.kubernetes import EndpointSlice, Namespace, Node, Pod, Secret, Service
from controlplane.model.objects import KINDS, KubernetesObject
from controlplane.reducers.proxies import (
    Proxy,
    ProxyRejections,
    ProxyRows,
    RejectedResource,
    WithheldDelivery,
    declare_proxies,
    fold_proxy_event,
)


class CurrentSettings(msgspec.Struct, frozen=True):
    """The settings of this incarnation; one row."""

    key: str
    settings: Settings
    version: str


class Incarnation(msgspec.Struct, frozen=True):
    """This life of the process; one row."""

    key: str
    sources: tuple[str, ...]
    """Those that it has, sorted. What others have given goes with the barrier that makes everything read again."""
    is_complete: bool = False
    """Whether everything has been read in it."""
    stale_since: str = ""
    """As ``ControlPlaneStarted``; empty as soon as everything has been read."""


class SourceKind(msgspec.Struct, frozen=True):
    """A kind that a source has promised, and whether its first list is in."""

    key: tuple[str, str]
    """Kind, source."""
    synced: bool


class SourcePart(msgspec.Struct, frozen=True):
    """A part of a source that is lost or wrong."""

    key: tuple[str, str]
    """Source, part."""
    reason: str


class ListenerFailure(msgspec.Struct, frozen=True):
    """An address and port that the proxy of a gateway cannot bind."""

    key: tuple[str, str, int]
    """Gateway, address, port."""
    reason: str


@dataclass(frozen=True)
class Base:
    """Every source of the graph."""

    settings: Source[CurrentSettings]
    incarnation: Source[Incarnation]
    reports: Source[ObjectReport]
    source_kinds: Source[SourceKind]
    source_parts: Source[SourcePart]
    listener_failures: Source[ListenerFailure]
    of_proxies: ProxyRows
    gateway_classes: Source[GatewayClass]
    gateways: Source[Gateway]
    http_routes: Source[HTTPRoute]
    reference_grants: Source[ReferenceGrant]
    services: Source[Service]
    endpoint_slices: Source[EndpointSlice]
    secrets: Source[Secret]
    namespaces: Source[Namespace]
    pods: Source[Pod]
    nodes: Source[Node]
    service_entries: Source[ServiceEntry]
    workload_entries: Source[WorkloadEntry]
    destination_rules: Source[DestinationRule]
    authorization_policies: Source[AuthorizationPolicy]

    @property
    def proxies(self) -> Source[Proxy]:
        """Who is connected."""
        return self.of_proxies.proxies

    @property
    def proxy_rejections(self) -> Source[ProxyRejections]:
        """What each of them has rejected last."""
        return self.of_proxies.proxy_rejections

    @property
    def rejections(self) -> Source[RejectedResource]:
        """What is not offered, because proxies reject it."""
        return self.of_proxies.rejections

    @property
    def withheld(self) -> Source[WithheldDelivery]:
        """What proxies wait for clusters with."""
        return self.of_proxies.withheld

    def of_kind(self, kind: str) -> Source[Any]:
        """The collection that objects of a kind lie in."""
        source: Source[Any] = getattr(self, _COLLECTION_OF_KIND[kind])
        return source


_COLLECTION_OF_KIND: Mapping[str, str] = {
    "GatewayClass": "gateway_classes",
    "Gateway": "gateways",
    "HTTPRoute": "http_routes",
    "ReferenceGrant": "reference_grants",
    "Service": "services",
    "EndpointSlice": "endpoint_slices",
    "Secret": "secrets",
    "Namespace": "namespaces",
    "Pod": "pods",
    "Node": "nodes",
    "ServiceEntry": "service_entries",
    "WorkloadEntry": "workload_entries",
    "DestinationRule": "destination_rules",
    "AuthorizationPolicy": "authorization_policies",
}


def declare_base(graph: Graph) -> Base:
    """Declare every source."""
    base = Base(
        settings=graph.source("settings", CurrentSettings),
        incarnation=graph.source("incarnation", Incarnation),
        reports=graph.source("reports", ObjectReport),
        source_kinds=graph.source("source_kinds", SourceKind),
        source_parts=graph.source("source_parts", SourcePart),
        listener_failures=graph.source("listener_failures", ListenerFailure),
        of_proxies=declare_proxies(graph),
        gateway_classes=graph.source("gateway_classes", GatewayClass),
        gateways=graph.source("gateways", Gateway),
        http_routes=graph.source("http_routes", HTTPRoute),
        reference_grants=graph.source("reference_grants", ReferenceGrant),
        services=graph.source("services", Service),
        endpoint_slices=graph.source("endpoint_slices", EndpointSlice),
        secrets=graph.source("secrets", Secret),
        namespaces=graph.source("namespaces", Namespace),
        pods=graph.source(
            "pods", Pod, labels=lambda pod: pod.metadata.labels, namespace=lambda pod: pod.metadata.namespace
        ),
        nodes=graph.source("nodes", Node),
        service_entries=graph.source("service_entries", ServiceEntry),
        workload_entries=graph.source(
            "workload_entries",
            WorkloadEntry,
            labels=lambda entry: entry.metadata.labels,
            namespace=lambda entry: entry.metadata.namespace,
        ),
        destination_rules=graph.source("destination_rules", DestinationRule),
        authorization_policies=graph.source("authorization_policies", AuthorizationPolicy),
    )
    assert set(_COLLECTION_OF_KIND) == set(KINDS)
    return base


def current_settings(fetch: Fetch, base: Base) -> Settings:
    """The settings of this incarnation; the defaults before it has begun."""
    row = fetch(base.settings, "settings")
    return row.settings if row is not None else Settings()


def stale_since(fetch: Fetch, base: Base) -> str:
    """The time of the state that is served from the log until everything has been read; empty where nothing is."""
    row = fetch(base.incarnation, "incarnation", view=lambda found: found.stale_since)
    return row or ""


class Fold:
    """Events into base rows.

    Rows that are history (a rejected object's last good form, what a source that is gone has left) are history here: they are
    what the log says, and checkpoints carry them.
    """

    def __init__(self, base: Base) -> None:
        self._base = base

    def apply(self, tx: Transaction, source: str, first_seq: int, events: Iterable[AnyEvent]) -> None:
        """Lay the events of one transaction into ``tx``, in order."""
        for seq, event in enumerate(events, first_seq):
            self._apply_one(tx, source, seq, event)

    def _apply_one(self, tx: Transaction, source: str, seq: int, event: AnyEvent) -> None:
        base = self._base
        match event:
            case ObjectApplied():
                self._apply_object(tx, source, seq, event)
            case ObjectDeleted(reference):
                tx.delete(base.of_kind(reference.kind), reference.key)
                tx.delete(base.reports, str(reference))
            case ObjectRejected(reference, errors, origin):
                old = tx.get(base.reports, str(reference)) or ObjectReport(str(reference), source, seq, present=False)
                tx.put(base.reports, msgspec.structs.replace(old, source=source, seq=seq, errors=errors, origin=origin))
            case ObjectAccepted(reference):
                report = tx.get(base.reports, str(reference))
                if report is not None:
                    tx.put(base.reports, msgspec.structs.replace(report, seq=seq, errors=()))
            case ControlPlaneStarted():
                self._start(tx, event)
            case SourceSynced(kinds):
                for kind in kinds:
                    tx.put(base.source_kinds, SourceKind((kind, source), synced=True))
                self._mark_synced(tx)
            case SourceUnavailable(part, reason):
                tx.put(base.source_parts, SourcePart((source, part), reason))
            case SourceAvailable(part):
                tx.delete(base.source_parts, (source, part))
            case ListenerFailed(gateway, address, port, reason):
                tx.put(base.listener_failures, ListenerFailure((gateway, address, port), reason))
            case ListenerRecovered(gateway, address, port):
                tx.delete(base.listener_failures, (gateway, address, port))
            case (
                ProxyConnected()
                | ProxyAcknowledged()
                | ProxyRejected()
                | ResourceRejected()
                | RejectionEnded()
                | DeliveryWithheld()
                | DeliveryResumed()
                | ProxyDisconnected()
            ):
                fold_proxy_event(tx, base.of_proxies, seq, event)
            case _:
                assert_never(event)

    def _apply_object(self, tx: Transaction, source: str, seq: int, event: ObjectApplied) -> None:
        obj: KubernetesObject = event.object
        tx.put(self._base.of_kind(obj.kind), obj)
        tx.put(
            self._base.reports,
            ObjectReport(
                key=f"{obj.kind} {obj.key}",
                source=source,
                seq=seq,
                origin=event.origin,
                resource_version=event.resource_version,
                generation=obj.metadata.generation,
                warnings=event.warnings,
                unsupported=event.unsupported,
            ),
        )

    def _start(self, tx: Transaction, event: ControlPlaneStarted) -> None:
        """A new incarnation: nothing synced, nobody connected, nothing failed.

        Objects stay, those of sources that are no more too: who serves this state must not serve less of it while what takes
        their place is still being read.
        """
        base = self._base
        tx.put(base.settings, CurrentSettings("settings", event.settings, event.version))
        of_one_incarnation: tuple[Source[Any], ...] = (
            base.source_kinds,
            base.source_parts,
            base.listener_failures,
            *base.of_proxies.of_one_incarnation,
        )
        for collection in of_one_incarnation:
            for row in tx.rows(collection):
                tx.delete(collection, row.key)
        tx.put(
            base.incarnation, Incarnation("incarnation", tuple(sorted(event.sources)), stale_since=event.stale_since)
        )
        for source, kinds in event.sources.items():
            for kind in kinds:
                tx.put(base.source_kinds, SourceKind((kind, source), synced=False))
        tx.mark_synced(base.settings)
        tx.mark_synced(base.incarnation)
        tx.mark_synced(base.reports)
        tx.mark_synced(base.rejections)  # they outlast it: what was bad is not to be offered again
        for collection in of_one_incarnation:
            tx.mark_synced(collection)
        for kind in KINDS:
            tx.mark_unsynced(base.of_kind(kind))
        self._mark_synced(tx)

    def _mark_synced(self, tx: Transaction) -> None:
        waiting = {row.key[0] for row in tx.rows(self._base.source_kinds) if not row.synced}
        for kind in KINDS:
            if kind not in waiting:
                tx.mark_synced(self._base.of_kind(kind))
        incarnation = tx.get(self._base.incarnation, "incarnation")
        if not waiting and incarnation is not None and not incarnation.is_complete:
            tx.put(self._base.incarnation, msgspec.structs.replace(incarnation, is_complete=True, stale_since=""))
            self._drop_orphans(tx, incarnation.sources)

    def _drop_orphans(self, tx: Transaction, sources: Collection[str]) -> None:
        """Objects of sources that are configured no more. Cost: O(objects), once an incarnation."""
        base = self._base
        for report in tx.rows(base.reports):
            if report.source not in sources:
                kind, _, key = report.key.partition(" ")
                tx.delete(base.of_kind(kind), key)
                tx.delete(base.reports, report.key)
