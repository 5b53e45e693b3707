"""The statuses of objects, as they would be written, except for clocks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from controlplane.krt import Collection, Count, Fetch, Graph, Index
from controlplane.model.conditions import Condition, ConditionType, Reason
from controlplane.model.gateway import Gateway, GatewayClass
from controlplane.model.http_route import HTTPRoute, ParentReference
from controlplane.model.ir import (
    Listener,
    ListenerRoute,
    ObjectReport,
    ObjectStatus,
    OwnedGateway,
    ResolvedRoute,
    RouteAttachment,
)
from controlplane.reducers.attachment import Attachments
from controlplane.reducers.base import Base, current_settings, stale_since
from controlplane.reducers.gateways import Gateways
from controlplane.reducers.observed import Observed
from controlplane.reducers.ports import port_owner
from controlplane.reducers.rejections import declare_findings, rejected_listener
from controlplane.reducers.status_conditions import (
    conditions_status,
    gateway_conditions,
    listener_conditions,
    overlapping,
    report_conditions,
    route_conditions,
    stale_conditions,
    visible_report,
)

_WITH_STATUS_OF_THEIR_OWN = ("GatewayClass", "Gateway", "HTTPRoute")


def declare_statuses(
    graph: Graph,
    base: Base,
    gateways: Gateways,
    attachments: Attachments,
    resolved: Collection[ResolvedRoute],
    observed: Observed,
    others: Sequence[Collection[ObjectStatus]] = (),
) -> Collection[ObjectStatus]:
    """Declare the statuses of every object that has one.

    Args:
        graph: Where.
        base: The sources.
        gateways: Of ours.
        attachments: Of routes.
        resolved: Routes.
        observed: What proxies were seen to have.
        others: Statuses of further kinds, each with what the object's report says.
    """
    counts = _declare_attached_routes(graph, attachments, resolved)
    parts = (
        _declare_gateway_classes(graph, base),
        _declare_gateways(graph, base, gateways, counts, observed),
        _declare_http_routes(graph, base, attachments, resolved),
        *others,
        graph.map("plain_statuses", ObjectStatus, base.reports, plain_status),
    )
    return graph.union("statuses", ObjectStatus, parts)


def _document(key: str, document: Mapping[str, Any]) -> ObjectStatus:
    return ObjectStatus(key, msgspec.json.encode(document, order="deterministic"))


def _conditions(conditions: list[Condition], generation: int | None) -> list[dict[str, object]]:
    return [condition.document(generation) for condition in conditions]


def _own_conditions(fetch: Fetch, base: Base, key: str) -> list[Condition]:
    """Our own conditions of an object; where and when an event came in does not run a status again."""
    return report_conditions(fetch(base.reports, key, view=visible_report))


def plain_status(report: ObjectReport, fetch: Fetch) -> ObjectStatus | None:
    """Kinds without a status of their own, and objects that never had a good form, say at least what is wrong."""
    if report.present and report.key.partition(" ")[0] in _WITH_STATUS_OF_THEIR_OWN:
        return None
    conditions = report_conditions(report)
    if not conditions:
        return None
    return conditions_status(report.key, conditions, report.generation)


def count_for_listeners(attachment: RouteAttachment) -> Iterator[ListenerRoute]:
    """The listeners that a route counts for, each once, however many parentRefs lead there."""
    keys = {(p.gateway, listener.name) for p in attachment.parents for listener in p.listeners}
    for gateway, name in sorted(keys):
        yield ListenerRoute((gateway, name, attachment.key))


def is_refused(route: ResolvedRoute) -> bool:
    """Whether no rule of a route can be served, so that it is not accepted anywhere."""
    return all(rule.failure for rule in route.rules)


def _declare_attached_routes(
    graph: Graph, attachments: Attachments, resolved: Collection[ResolvedRoute]
) -> Collection[Count]:
    """Routes that count for a listener, by (gateway, listener name)."""

    def make(row: RouteAttachment, fetch: Fetch) -> Iterator[ListenerRoute]:
        refused = fetch(resolved, row.key, view=is_refused)
        return iter(()) if refused else count_for_listeners(row)

    routes = graph.map("listener_routes", ListenerRoute, attachments.routes, make, reads=(resolved,))
    return graph.count("attached_routes", routes, by=lambda row: row.key[:2])


def _declare_gateway_classes(graph: Graph, base: Base) -> Collection[ObjectStatus]:
    def make(row: GatewayClass, fetch: Fetch) -> ObjectStatus | None:
        if row.spec.controller_name != current_settings(fetch, base).controller_name:
            return None
        key = f"GatewayClass {row.key}"
        accepted = Condition(ConditionType.ACCEPTED, True, Reason.ACCEPTED)
        if row.spec.parameters_ref is not None:
            message = "spec.parametersRef is not supported; remove it"
            accepted = Condition(ConditionType.ACCEPTED, False, Reason.INVALID_PARAMETERS, message)
        conditions = [accepted, *_own_conditions(fetch, base, key)]
        return _document(key, {"conditions": _conditions(conditions, row.metadata.generation)})

    reads = (base.settings, base.reports)
    return graph.map("gateway_class_statuses", ObjectStatus, base.gateway_classes, make, reads=reads)


def _unavailable(
    fetch: Fetch, base: Base, gateways: Gateways, listener: Listener, owned: OwnedGateway
) -> Iterator[Condition]:
    """Why a listener cannot have its port: another Gateway has it, or its Envoy cannot bind it."""
    for address in listener.addresses:
        failure = fetch(base.listener_failures, (listener.gateway, address, listener.port))
        if failure is not None:
            yield Condition(ConditionType.PROGRAMMED, False, Reason.PORT_UNAVAILABLE, failure.reason)
        owner = port_owner(fetch, base, gateways.owned, gateways.ports.claims, address, listener.port, owned.key)
        if owner != owned.key:
            message = (
                f"{address}:{listener.port} is taken by Gateway {owner}, which is older or, where "
                "no creation time tells, first by name; use another port or address"
            )
            yield Condition(ConditionType.ACCEPTED, False, Reason.PORT_UNAVAILABLE, message)


def _declare_gateways(
    graph: Graph, base: Base, gateways: Gateways, counts: Collection[Count], observed: Observed
) -> Collection[ObjectStatus]:
    def conditions_of(fetch: Fetch, listener: Listener, owned: OwnedGateway) -> list[Condition]:
        certificate = fetch(gateways.certificates, listener.key)
        problems = certificate.problems if certificate is not None else ()
        usable = certificate is None or bool(certificate.usable)
        unavailable = tuple(_unavailable(fetch, base, gateways, listener, owned))
        words = rejected_listener(fetch, base, owned.key, listener.addresses, listener.port)
        rejected = Condition(ConditionType.PROGRAMMED, False, Reason.INVALID, words) if words else None
        unseen = rejected or observed.pending(fetch, base, listener, owned)
        found = listener_conditions(listener, owned, problems, usable, unavailable, unseen)
        return found + overlapping(listener, fetch.by(gateways.by_gateway, owned.key))

    def make(row: Gateway, fetch: Fetch) -> ObjectStatus | None:
        owned = fetch(gateways.owned, row.key)
        if owned is None:
            return None
        generation = row.metadata.generation
        conditions, documents = {}, []
        for listener in fetch.by(gateways.by_gateway, row.key):
            conditions[listener.name] = conditions_of(fetch, listener, owned)
            count = fetch(counts, listener.key)
            documents.append(
                {
                    "name": listener.name,
                    "supportedKinds": [{"group": k.group, "kind": k.kind} for k in listener.kinds],
                    "attachedRoutes": count.count if count is not None else 0,
                    "conditions": _conditions(conditions[listener.name], generation),
                }
            )
        key = f"Gateway {row.key}"
        own = [*_own_conditions(fetch, base, key), *stale_conditions(stale_since(fetch, base))]
        whole = [*gateway_conditions(owned, conditions), *own]
        document: dict[str, Any] = {"conditions": _conditions(whole, generation), "listeners": documents}
        if addresses := _addresses(row, owned, in_host_mode=current_settings(fetch, base).infra == "host"):
            document["addresses"] = addresses
        return _document(key, document)

    reads: tuple[Collection[Any] | Index[Any], ...] = (
        base.settings, base.incarnation, base.reports, base.listener_failures, base.rejections, gateways.owned,
        gateways.by_gateway, gateways.certificates, gateways.ports.claims, counts, *observed.reads,
    )  # fmt: skip
    return graph.map("gateway_statuses", ObjectStatus, base.gateways, make, reads=reads)


def _addresses(row: Gateway, owned: OwnedGateway, *, in_host_mode: bool) -> list[dict[str, str]]:
    """Where a gateway is reached: in host mode where we bind, elsewhere what it asked whoever runs its Envoys for."""
    given = owned.addresses if in_host_mode else [a.value for a in row.spec.addresses if a.type == "IPAddress"]
    return [{"type": "IPAddress", "value": value} for value in given if value]


def _parent_status(
    reference: ParentReference, controller: str, conditions: list[Condition], generation: int | None
) -> dict[str, Any]:
    return {
        "parentRef": _parent_document(reference),
        "controllerName": controller,
        "conditions": _conditions(conditions, generation),
    }


def _parent_document(reference: ParentReference) -> dict[str, Any]:
    document: dict[str, Any] = {"group": reference.group, "kind": reference.kind, "name": reference.name}
    optional = {"namespace": reference.namespace, "sectionName": reference.section_name, "port": reference.port}
    return document | {name: value for name, value in optional.items() if value is not None}


def _declare_http_routes(
    graph: Graph, base: Base, attachments: Attachments, resolved: Collection[ResolvedRoute]
) -> Collection[ObjectStatus]:
    findings = declare_findings(graph, base)

    def make(row: HTTPRoute, fetch: Fetch) -> ObjectStatus | None:
        attachment = fetch(attachments.routes, row.key)
        if attachment is None:
            return None
        route = fetch(resolved, row.key)
        found = fetch.by(findings, row.key)
        key = f"HTTPRoute {row.key}"
        own = _own_conditions(fetch, base, key)
        controller = current_settings(fetch, base).controller_name
        parents = [
            _parent_status(
                parent.reference,
                controller,
                [*route_conditions(parent, route, found), *own],
                row.metadata.generation,
            )
            for parent in attachment.parents
        ]
        return _document(key, {"parents": parents})

    reads = (base.settings, base.reports, attachments.routes, resolved, findings)
    return graph.map("http_route_statuses", ObjectStatus, base.http_routes, make, reads=reads)
