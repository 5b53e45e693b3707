"""The statuses of objects, as they would be written, except for clocks.

Conditions and reasons are those that Gateway API names; two of our own say what the API has no word for: that the newest form
of an object cannot be decoded, and that it sets fields that are not acted on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from controlplane.krt import Collection, Fetch, Graph
from controlplane.model.conditions import Condition, ConditionType, Reason, combine
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
    RouteParent,
)
from controlplane.model.references import FieldProblem
from controlplane.reducers.attachment import Attachments
from controlplane.reducers.base import Base
from controlplane.reducers.gateways import Gateways, current_settings, port_owner
from controlplane.reducers.hostnames import covers

_WITH_STATUS_OF_THEIR_OWN = ("GatewayClass", "Gateway", "HTTPRoute")


def _document(key: str, document: Mapping[str, Any]) -> ObjectStatus:
    return ObjectStatus(key, msgspec.json.encode(document, order="deterministic"))


def _join(problems: Iterable[FieldProblem]) -> str:
    return "; ".join(map(str, problems))


def report_conditions(report: ObjectReport | None) -> list[Condition]:
    """Our own conditions of an object; none where there is nothing to say."""
    if report is None:
        return []
    conditions = []
    if report.errors:
        kept = "; the last good form is served" if report.present else ""
        conditions.append(Condition(ConditionType.INPUT_VALID, False, Reason.INVALID, f"{_join(report.errors)}{kept}"))
    if report.unsupported or report.warnings:
        text = _join((*report.unsupported, *report.warnings))
        conditions.append(Condition(ConditionType.FULLY_SUPPORTED, False, Reason.UNSUPPORTED_FIELD, text))
    return conditions


def _say(report: ObjectReport) -> ObjectReport:
    """The part of a report that a status shows; where and when an event came in is no part of it."""
    return msgspec.structs.replace(report, source="", seq=0, origin="", resource_version="", generation=None)


def listener_conditions(
    listener: Listener,
    owned: OwnedGateway,
    certificates: tuple[Condition, ...],
    usable: bool,
    unavailable: tuple[Condition, ...],
) -> list[Condition]:
    """The conditions of one listener.

    Args:
        listener: It.
        owned: Its gateway.
        certificates: What is wrong with its certificateRefs.
        usable: Whether it has a certificate, or needs none.
        unavailable: Why its port cannot be had.
    """
    accepted = listener.accepted
    conflict = next((c for c in unavailable if c.type == ConditionType.ACCEPTED), None)
    if accepted.status and listener.conflicted.status:
        accepted = Condition(ConditionType.ACCEPTED, False, listener.conflicted.reason, listener.conflicted.message)
    elif accepted.status and conflict is not None:
        accepted = conflict
    resolved_problems = tuple(c for c in (listener.kinds_resolved,) if not c.status) + certificates
    resolved = combine(ConditionType.RESOLVED_REFS, Reason.RESOLVED_REFS, resolved_problems)
    failed = [c for c in unavailable if c.type == ConditionType.PROGRAMMED]
    if not accepted.status:
        programmed = Condition(ConditionType.PROGRAMMED, False, Reason.INVALID, accepted.message)
    elif owned.problems:
        programmed = Condition(ConditionType.PROGRAMMED, False, Reason.INVALID, owned.problems[0].message)
    elif failed:
        programmed = failed[0]
    elif not usable:
        programmed = Condition(ConditionType.PROGRAMMED, False, Reason.INVALID, resolved.message)
    else:
        programmed = Condition(ConditionType.PROGRAMMED, True, Reason.PROGRAMMED)
    return [accepted, listener.conflicted, resolved, programmed]


def gateway_conditions(owned: OwnedGateway, listeners: Mapping[str, list[Condition]]) -> list[Condition]:
    """The conditions of a gateway, from its own problems and its listeners' conditions."""
    bad = [name for name, conditions in listeners.items() if not _is(conditions, ConditionType.ACCEPTED)]
    programmed = [name for name, conditions in listeners.items() if _is(conditions, ConditionType.PROGRAMMED)]
    dead = [name for name in listeners if name not in programmed]
    if owned.problems:
        accepted = combine(ConditionType.ACCEPTED, Reason.ACCEPTED, owned.problems)
    elif bad:
        message = f"listeners that are not valid: {', '.join(bad)}; see their conditions"
        accepted = Condition(ConditionType.ACCEPTED, len(bad) < len(listeners), Reason.LISTENERS_NOT_VALID, message)
    else:
        accepted = Condition(ConditionType.ACCEPTED, True, Reason.ACCEPTED)
    if programmed:
        message = f"listeners that are not programmed: {', '.join(dead)}; see their conditions" if dead else ""
        return [accepted, Condition(ConditionType.PROGRAMMED, True, Reason.PROGRAMMED, message)]
    message = accepted.message if not accepted.status else "no listener is programmed; see their conditions"
    return [accepted, Condition(ConditionType.PROGRAMMED, False, Reason.INVALID, message)]


def _is(conditions: Iterable[Condition], type: ConditionType) -> bool:  # noqa: A002 (a condition's word)
    return any(c.type == type and c.status for c in conditions)


def _parent_document(reference: ParentReference) -> dict[str, Any]:
    document: dict[str, Any] = {"group": reference.group, "kind": reference.kind, "name": reference.name}
    optional = {"namespace": reference.namespace, "sectionName": reference.section_name, "port": reference.port}
    return document | {name: value for name, value in optional.items() if value is not None}


def route_conditions(
    parent: RouteParent, rules: int, unresolved: tuple[Condition, ...], invalid: tuple[Condition, ...], failed: int
) -> list[Condition]:
    """The conditions of a route at one parent.

    Args:
        parent: The parent, with its acceptance as far as attachment goes.
        rules: How many rules the route has.
        unresolved: What is wrong with its references.
        invalid: What is wrong with rules that cannot be served.
        failed: How many rules cannot be served.
    """
    accepted = parent.accepted
    conditions = []
    if invalid and failed == rules and accepted.status:
        accepted = combine(ConditionType.ACCEPTED, Reason.ACCEPTED, invalid)
    elif invalid:
        whole = combine(ConditionType.ACCEPTED, Reason.ACCEPTED, invalid)
        message = f"Dropped Rule(s): {whole.message}"
        conditions.append(Condition(ConditionType.PARTIALLY_INVALID, True, whole.reason, message))
    return [accepted, combine(ConditionType.RESOLVED_REFS, Reason.RESOLVED_REFS, unresolved), *conditions]


def count_for_listeners(attachment: RouteAttachment) -> Iterator[ListenerRoute]:
    """The listeners that a route counts for, each once, however many parentRefs lead there."""
    keys = {(p.gateway, listener.name) for p in attachment.parents for listener in p.listeners}
    for gateway, name in sorted(keys):
        yield ListenerRoute((gateway, name, attachment.key))


def is_refused(route: ResolvedRoute) -> bool:
    """Whether no rule of a route can be served, so that it is not accepted anywhere."""
    return all(rule.failure for rule in route.rules)


def overlapping(listener: Listener, siblings: Iterable[Listener]) -> list[Condition]:
    """The condition of an HTTPS listener whose hostname overlaps with another's of its port; none where it does not.

    Source: Gateway API v1, ListenerConditionOverlappingTLSConfig.
    """
    if listener.protocol != "HTTPS":
        return []
    others = [
        other.name
        for other in siblings
        if other.key != listener.key
        and (other.port, other.protocol) == (listener.port, listener.protocol)
        and (covers(other.hostname, listener.hostname) or covers(listener.hostname, other.hostname))
    ]
    if not others:
        return []
    message = f"hostname: {listener.hostname} overlaps with that of listeners {', '.join(others)}"
    return [Condition(ConditionType.OVERLAPPING_TLS_CONFIG, True, Reason.OVERLAPPING_HOSTNAMES, message)]


def declare_statuses(
    graph: Graph, base: Base, gateways: Gateways, attachments: Attachments, resolved: Collection[ResolvedRoute]
) -> Collection[ObjectStatus]:
    """Declare the statuses of every object that has one."""

    def make_listener_routes(row: RouteAttachment, fetch: Fetch) -> Iterator[ListenerRoute]:
        refused = fetch(resolved, row.key, view=is_refused)
        return iter(()) if refused else count_for_listeners(row)

    listener_routes = graph.map(
        "listener_routes", ListenerRoute, attachments.routes, make_listener_routes, reads=(resolved,)
    )
    counts = graph.count("attached_routes", listener_routes, by=lambda row: row.key[:2])

    def own_conditions(fetch: Fetch, key: str) -> list[Condition]:
        return report_conditions(fetch(base.reports, key, view=_say))

    def class_status(row: GatewayClass, fetch: Fetch) -> ObjectStatus | None:
        if row.spec.controller_name != current_settings(fetch, base).controller_name:
            return None
        key = f"GatewayClass {row.key}"
        accepted = Condition(ConditionType.ACCEPTED, True, Reason.ACCEPTED)
        if row.spec.parameters_ref is not None:
            message = "spec.parametersRef is not supported; remove it"
            accepted = Condition(ConditionType.ACCEPTED, False, Reason.INVALID_PARAMETERS, message)
        conditions = [accepted, *own_conditions(fetch, key)]
        return _document(key, {"conditions": [c.document(row.metadata.generation) for c in conditions]})

    def unavailable(fetch: Fetch, listener: Listener, owned: OwnedGateway) -> tuple[Condition, ...]:
        found = []
        for address in listener.addresses:
            failure = fetch(base.listener_failures, (listener.gateway, address, listener.port))
            if failure is not None:
                found.append(Condition(ConditionType.PROGRAMMED, False, Reason.PORT_UNAVAILABLE, failure.reason))
            owner = port_owner(fetch, base, gateways.owned, gateways.port_claims, address, listener.port, owned.key)
            if owner != owned.key:
                message = (
                    f"{address}:{listener.port} is taken by Gateway {owner}, which is older or, where "
                    "no creation time tells, first by name; use another port or address"
                )
                found.append(Condition(ConditionType.ACCEPTED, False, Reason.PORT_UNAVAILABLE, message))
        return tuple(found)

    def gateway_status(row: Gateway, fetch: Fetch) -> ObjectStatus | None:
        owned = fetch(gateways.owned, row.key)
        if owned is None:
            return None
        generation = row.metadata.generation
        conditions, documents = {}, []
        listeners = fetch.by(gateways.by_gateway, row.key)
        for listener in listeners:
            certificate = fetch(gateways.certificates, listener.key)
            problems = certificate.problems if certificate is not None else ()
            usable = certificate is None or bool(certificate.usable)
            found = listener_conditions(listener, owned, problems, usable, unavailable(fetch, listener, owned))
            found += overlapping(listener, listeners)
            conditions[listener.name] = found
            count = fetch(counts, listener.key)
            documents.append(
                {
                    "name": listener.name,
                    "supportedKinds": [{"group": k.group, "kind": k.kind} for k in listener.kinds],
                    "attachedRoutes": count.count if count is not None else 0,
                    "conditions": [c.document(generation) for c in found],
                }
            )
        key = f"Gateway {row.key}"
        whole = [*gateway_conditions(owned, conditions), *own_conditions(fetch, key)]
        document: dict[str, Any] = {"conditions": [c.document(generation) for c in whole], "listeners": documents}
        settings = current_settings(fetch, base)
        if settings.infra == "host":
            document["addresses"] = [{"type": "IPAddress", "value": address} for address in owned.addresses]
        elif row.spec.addresses:
            given = [a for a in row.spec.addresses if a.value and a.type == "IPAddress"]
            document["addresses"] = [{"type": a.type, "value": a.value} for a in given]
        return _document(key, document)

    def route_status(row: HTTPRoute, fetch: Fetch) -> ObjectStatus | None:
        attachment = fetch(attachments.routes, row.key)
        if attachment is None:
            return None
        route = fetch(resolved, row.key)
        unresolved, invalid = (route.unresolved, route.invalid) if route is not None else ((), ())
        rules = route.rules if route is not None else ()
        failed = sum(bool(rule.failure) for rule in rules)
        key = f"HTTPRoute {row.key}"
        own = own_conditions(fetch, key)
        controller = current_settings(fetch, base).controller_name
        parents = []
        for parent in attachment.parents:
            conditions = [*route_conditions(parent, len(rules), unresolved, invalid, failed), *own]
            parents.append(
                {
                    "parentRef": _parent_document(parent.reference),
                    "controllerName": controller,
                    "conditions": [c.document(row.metadata.generation) for c in conditions],
                }
            )
        return _document(key, {"parents": parents})

    def plain_status(report: ObjectReport, fetch: Fetch) -> ObjectStatus | None:
        """Kinds without a status of their own, and objects that never had a good form, say at least what is wrong."""
        if report.present and report.key.partition(" ")[0] in _WITH_STATUS_OF_THEIR_OWN:
            return None
        conditions = report_conditions(report)
        return (
            _document(report.key, {"conditions": [c.document(report.generation) for c in conditions]})
            if conditions
            else None
        )

    classes = graph.map(
        "gateway_class_statuses", ObjectStatus, base.gateway_classes, class_status, reads=(base.settings, base.reports)
    )
    of_gateways = graph.map(
        "gateway_statuses",
        ObjectStatus,
        base.gateways,
        gateway_status,
        reads=(
            base.settings, base.reports, base.listener_failures, gateways.owned, gateways.by_gateway,
            gateways.certificates, gateways.port_claims, counts,
        ),
    )  # fmt: skip
    routes = graph.map(
        "http_route_statuses",
        ObjectStatus,
        base.http_routes,
        route_status,
        reads=(base.settings, base.reports, attachments.routes, resolved),
    )
    plain = graph.map("plain_statuses", ObjectStatus, base.reports, plain_status)
    return graph.union("statuses", ObjectStatus, (classes, of_gateways, routes, plain))
