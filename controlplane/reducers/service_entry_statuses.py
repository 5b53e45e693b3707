"""What is to be said of a ServiceEntry: hosts, ports and endpoints that are not served, and selectors that find nobody.

Nothing is said of one with which all is well. Conditions and reasons are Gateway API's, as for every other object of ours; Istio
has none for this.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from controlplane.krt import Collection, Fetch, Graph
from controlplane.model.conditions import Condition, ConditionType, Reason, numbered
from controlplane.model.ir import ObjectStatus
from controlplane.model.istio import ServiceEntry, ServiceEntrySpec
from controlplane.reducers.backends import Backends
from controlplane.reducers.base import Base
from controlplane.reducers.service_entries import address_problem, why_unserved
from controlplane.reducers.status_conditions import conditions_status, report_conditions, visible_report
from controlplane.reducers.waypoints import Waypoints
from controlplane.reducers.workloads import Workload, selector_of

_MOST_REMARKS: Final = 10


def _join(remarks: Iterable[str]) -> str:
    """Each remark once; of many the first."""
    found = list(dict.fromkeys(remarks))
    more = len(found) - _MOST_REMARKS
    return numbered([*found[:_MOST_REMARKS], *([f"and {more} more of the kind"] if more > 0 else [])])


def unserved_parts(spec: ServiceEntrySpec) -> tuple[list[str], bool]:
    """Why hosts and ports are not served, and whether any is."""
    reasons = [why_unserved(spec, host, port) for host in spec.hosts for port in spec.ports]
    if not reasons:
        return ["ports: there are none; add one"], False
    return [reason for reason in reasons if reason], "" in reasons


def _left_out(spec: ServiceEntrySpec, selected: Iterable[Workload]) -> Iterator[str]:
    """What of a ServiceEntry does not count, with the remedy; but for what its own report tells."""
    chosen = spec.workload_selector
    if chosen is not None and chosen.labels and selector_of(spec) is None:
        yield f"workloadSelector: it does not count with resolution {spec.resolution}; use STATIC"
    for i, endpoint in enumerate(spec.endpoints):
        if endpoint.locality.count("/") > 2:
            yield f"endpoints[{i}].locality: {endpoint.locality!r} has more than three parts; write region/zone/subzone"
    for workload in selected:
        if workload.key[1] == "WorkloadEntry" and (problem := address_problem(workload.address, spec.resolution)):
            yield f"WorkloadEntry {workload.key[2]}: {problem}"


def _nobody(spec: ServiceEntrySpec, selected: tuple[Workload, ...], namespace: str) -> str:
    """Why there is nobody behind a ServiceEntry; empty if there is somebody."""
    if spec.resolution != "STATIC":
        return ""
    if selector_of(spec) is not None:
        if not selected:
            return f"workloadSelector: no Pod and no WorkloadEntry of namespace {namespace} has its labels; see theirs"
        if not any(workload.is_ready for workload in selected):
            return f"workloadSelector: none of the {len(selected)} workloads that it selects is ready"
        return ""
    if spec.endpoints:
        return ""
    if spec.workload_selector is not None:
        return "workloadSelector: without labels it selects nothing; add labels, or list endpoints"
    return "endpoints: there are none, and requests get 503; list some, or add a workloadSelector"


def service_entry_conditions(entry: ServiceEntry, selected: tuple[Workload, ...]) -> list[Condition]:
    """What is wrong with a ServiceEntry.

    Returns:
        Accepted: only if nothing of it is served. PartiallyInvalid: some of it is left out. ResolvedRefs: there is nobody behind
        it. Of these, the ones that tell of something bad; empty if all is well.
    """
    spec, conditions = entry.spec, []
    unserved, is_served = unserved_parts(spec)
    if not is_served:
        conditions.append(Condition(ConditionType.ACCEPTED, False, Reason.UNSUPPORTED_VALUE, _join(unserved)))
        return conditions
    remarks = [*unserved, *_left_out(spec, selected)]
    if remarks:
        conditions.append(Condition(ConditionType.PARTIALLY_INVALID, True, Reason.UNSUPPORTED_VALUE, _join(remarks)))
    if nobody := _nobody(spec, selected, entry.metadata.namespace):
        conditions.append(Condition(ConditionType.RESOLVED_REFS, False, Reason.BACKEND_NOT_FOUND, nobody))
    return conditions


def _seen(workload: Workload) -> Workload:
    """A view: what a status looks at."""
    return Workload(workload.key, workload.address, is_ready=workload.is_ready)


def declare_service_entry_statuses(
    graph: Graph, base: Base, backends: Backends, waypoints: Waypoints
) -> Collection[ObjectStatus]:
    """Declare the statuses of ServiceEntries of which there is something to say, by ``ServiceEntry namespace/name``.

    They hold what the object's report and its waypoint say too, so they stand before the plain statuses in a union.
    """

    def make(entry: ServiceEntry, fetch: Fetch) -> ObjectStatus | None:
        key = f"ServiceEntry {entry.key}"
        conditions = service_entry_conditions(entry, fetch.by(backends.workloads.by_entry, entry.key, view=_seen))
        if bound := waypoints.bound_condition(fetch, base, key):
            conditions.append(bound)
        conditions += report_conditions(fetch(base.reports, key, view=visible_report))
        return conditions_status(key, conditions, entry.metadata.generation) if conditions else None

    reads = (
        base.settings,
        base.reports,
        backends.workloads.by_entry,
        waypoints.captures.rows,
        waypoints.ports.by_owner,
    )
    return graph.map("service_entry_statuses", ObjectStatus, base.service_entries, make, reads=reads)
