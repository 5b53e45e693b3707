"""What is found about an object, as the conditions of its status. Pure functions of rows; nothing here reads a collection.

Conditions and reasons are those that Gateway API names; two of our own say what the API has no word for: that the newest form
of an object cannot be decoded, and that it sets fields that are not acted on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from controlplane.model.conditions import Condition, ConditionType, Reason, combine, numbered
from controlplane.model.ir import Listener, ObjectReport, ObjectStatus, OwnedGateway, ResolvedRoute, RouteParent
from controlplane.model.references import FieldProblem
from controlplane.reducers.hostnames import covers
from controlplane.reducers.rejections import RouteFinding


def conditions_status(key: str, conditions: Iterable[Condition], generation: int | None) -> ObjectStatus:
    """The status of an object that has conditions and nothing else."""
    document = {"conditions": [condition.document(generation) for condition in conditions]}
    return ObjectStatus(key, msgspec.json.encode(document, order="deterministic"))


def report_conditions(report: ObjectReport | None, further: Iterable[FieldProblem] = ()) -> list[Condition]:
    """Our own conditions of an object; none where there is nothing to say.

    Args:
        report: What its decoding told.
        further: What is not acted on either, as only others of its kind or who uses it could tell.
    """
    conditions = []
    if report is not None and report.errors:
        kept = ". The last good form is served" if report.present else ""
        text = f"{numbered(map(str, report.errors))}{kept}"
        conditions.append(Condition(ConditionType.INPUT_VALID, False, Reason.INVALID, text))
    decoded = (*report.unsupported, *report.warnings) if report is not None else ()
    if text := numbered(map(str, (*decoded, *further))):
        conditions.append(Condition(ConditionType.FULLY_SUPPORTED, False, Reason.UNSUPPORTED_FIELD, text))
    return conditions


def stale_conditions(since: str) -> list[Condition]:
    """What a Gateway says while it is served from the log; nothing where ``since`` is empty."""
    if not since:
        return []
    text = f"served as the log has it of {since}, until every source has been read again; see /readyz?verbose"
    return [Condition(ConditionType.FRESH, False, Reason.SERVED_FROM_LOG, text)]


def visible_report(report: ObjectReport) -> ObjectReport:
    """The part of a report that a status shows; where and when an event came in is no part of it."""
    return msgspec.structs.replace(report, source="", seq=0, origin="", resource_version="", generation=None)


def listener_conditions(
    listener: Listener,
    owned: OwnedGateway,
    certificates: tuple[Condition, ...],
    usable: bool,
    unavailable: tuple[Condition, ...],
    unseen: Condition | None = None,
) -> list[Condition]:
    """The conditions of one listener.

    Args:
        listener: It.
        owned: Its gateway.
        certificates: What is wrong with its certificateRefs.
        usable: Whether it has a certificate, or needs none.
        unavailable: Why its port cannot be had.
        unseen: Why it is not programmed as far as its proxies go: they reject it, or none has it yet.
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
        programmed = unseen or Condition(ConditionType.PROGRAMMED, True, Reason.PROGRAMMED)
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
    waits = any(c.reason == Reason.PENDING for conditions in listeners.values() for c in conditions)
    reason = Reason.PENDING if waits and accepted.status else Reason.INVALID
    return [accepted, Condition(ConditionType.PROGRAMMED, False, reason, message)]


def _is(conditions: Iterable[Condition], type: ConditionType) -> bool:  # noqa: A002 (a condition's word)
    return any(c.type == type and c.status for c in conditions)


def route_conditions(
    parent: RouteParent, route: ResolvedRoute | None, findings: Iterable[RouteFinding] = ()
) -> list[Condition]:
    """The conditions of a route at one parent.

    Args:
        parent: The parent, with its acceptance as far as attachment goes.
        route: It, with its references resolved; None while that has failed.
        findings: What proxies say of it.

    Source: Gateway API v1, RouteConditionPartiallyInvalid: its message begins with "Fall Back" where the last good form stands,
    with "Dropped Rule" where there is none.
    """
    found = [finding for finding in findings if finding.gateway == parent.gateway]
    accepted = parent.accepted
    unresolved, invalid = (route.unresolved, route.invalid) if route is not None else ((), ())
    rejected = tuple(
        Condition(ConditionType.ACCEPTED, False, Reason.UNSUPPORTED_VALUE, f"Envoy does not take {text}")
        for text in dict.fromkeys(text for finding in found for text in finding.dropped)
    )
    problems = (*invalid, *rejected)
    conditions = []
    if problems and accepted.status and not _has_rules(route, found):
        accepted = combine(ConditionType.ACCEPTED, Reason.ACCEPTED, problems)
        problems = ()
    kept = numbered(text for finding in found for text in finding.kept)
    texts = [f"Fall Back: Envoy does not take {kept}"] if kept else []
    if problems:
        texts.append(f"Dropped Rule(s): {combine(ConditionType.ACCEPTED, Reason.ACCEPTED, problems).message}")
    if texts:
        reason = Reason.UNSUPPORTED_VALUE if kept or rejected else problems[0].reason
        conditions.append(Condition(ConditionType.PARTIALLY_INVALID, True, reason, "; ".join(texts)))
    if waiting := numbered(finding.withheld for finding in found if finding.withheld):
        conditions.append(Condition(ConditionType.DELIVERED, False, Reason.CLUSTER_NOT_READY, waiting))
    return [accepted, combine(ConditionType.RESOLVED_REFS, Reason.RESOLVED_REFS, unresolved), *conditions]


def _has_rules(route: ResolvedRoute | None, findings: Iterable[RouteFinding]) -> bool:
    """Whether any rule of a route is served: neither wrong in itself, nor left out in each of its matches."""
    kept = {name for finding in findings for name in finding.kept_matches}
    dropped = {name for finding in findings for name in finding.dropped_matches} - kept
    if route is None:
        return True
    for rule in route.rules:
        names = {f"{route.key}/{rule.index}/{n}" for n in range(len(rule.matches)) if n not in rule.unmatchable}
        if not rule.failure and not (names and names <= dropped):
            return True
    return False


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
