"""What Services and ServiceEntries that name a waypoint are told: Istio's condition ``istio.io/WaypointBound``."""

from __future__ import annotations

import msgspec

from controlplane.krt import Collection, Fetch, Graph
from controlplane.model.conditions import Condition, numbered
from controlplane.model.ir import ObjectStatus
from controlplane.model.kubernetes import Service
from controlplane.reducers.base import Base, current_settings
from controlplane.reducers.capture import Capture, Captures
from controlplane.reducers.ingress import sort_virtual_addresses
from controlplane.reducers.status_conditions import conditions_status, report_conditions, visible_report
from controlplane.reducers.waypoint_ports import WaypointPort, WaypointPorts


def bound_condition(fetch: Fetch, base: Base, captures: Captures, ports: WaypointPorts, owner: str) -> Condition | None:
    """Whether a waypoint takes a service's traffic, and which of it not; None for a service that names none of ours.

    Args:
        fetch: Reads ``base.settings``, ``captures.rows`` and ``ports.by_owner``.
        base: The settings.
        captures: Who names a waypoint.
        ports: The captured services' ports.
        owner: ``Kind namespace/name``.
    """
    capture = fetch(captures.rows, owner)
    if capture is None or not capture.bound.status:
        return capture.bound if capture is not None else None
    found = fetch.by(ports.by_owner, owner, view=_taken)
    problems = dict.fromkeys(problem for problem, _ in found if problem)
    if not found:
        problems = {"it has no TCP port that a waypoint could take": None}
    sentences = [capture.bound.message]
    if found and capture.through_ingress:
        family = current_settings(fetch, base).dns_lookup_family
        if any(sort_virtual_addresses(addresses, family) for _, addresses in found):
            sentences.append("Ingress traffic will traverse the waypoint")
        else:
            nowhere = f"it has no address of its own that a gateway could connect to ({family}); give it one"
            sentences.append(f"Ingress traffic is answered with 503: {nowhere}")
    return msgspec.structs.replace(
        capture.bound, message=". ".join((*sentences, numbered(problems))).removesuffix(". ")
    )


def _taken(row: WaypointPort) -> tuple[str, tuple[str, ...]]:
    return row.problem, row.addresses


def _generation(service: Service) -> int | None:
    return service.metadata.generation


def declare_service_statuses(
    graph: Graph, base: Base, captures: Captures, ports: WaypointPorts
) -> Collection[ObjectStatus]:
    """Declare the statuses of Services that name a waypoint; what else there is to say of one is in them."""

    def make(capture: Capture, fetch: Fetch) -> ObjectStatus | None:
        bound = bound_condition(fetch, base, captures, ports, capture.key)
        report = fetch(base.reports, capture.key, view=visible_report)
        generation = fetch(base.services, capture.key.partition(" ")[2], view=_generation)
        return conditions_status(capture.key, [*([bound] if bound else []), *report_conditions(report)], generation)

    reads = (base.settings, base.reports, base.services, captures.rows, ports.by_owner)
    return graph.map("service_statuses", ObjectStatus, captures.of_services, make, reads=reads)
