"""HTTPRoutes that name a service: routes of the service's waypoint.

Only the service's own namespace (GAMMA's producer) and the waypoint's may give a waypoint routes for a service: a waypoint sees
the traffic of every client, so a consumer's route from elsewhere would change what others get. Istio's waypoints do the same.

Source: GEP-1294; Istio, parentRefs of kinds Service, ServiceEntry and Hostname.
"""

from __future__ import annotations

from controlplane.krt import Fetch
from controlplane.model.conditions import Condition, ConditionType, Reason
from controlplane.model.http_route import ParentReference
from controlplane.model.ir import RouteParent
from controlplane.reducers.capture import Captures, bound_waypoint
from controlplane.reducers.waypoint_ports import WaypointPort, WaypointPorts

_KINDS = {
    ("", "Service"): "Service",
    ("core", "Service"): "Service",
    ("networking.istio.io", "ServiceEntry"): "ServiceEntry",
    ("networking.istio.io", "Hostname"): "Hostname",
}


def names_service(ref: ParentReference) -> bool:
    """Whether a parentRef is of a kind that a waypoint serves."""
    return (ref.group, ref.kind) in _KINDS


def attach_to_service(
    fetch: Fetch, captures: Captures, ports: WaypointPorts, ref: ParentReference, namespace: str
) -> RouteParent | None:
    """One parentRef that names a service; None if no waypoint of ours takes its traffic, so that it is not ours to judge.

    Args:
        fetch: Reads ``captures.rows`` and both indexes of ``ports``.
        captures: Who names a waypoint.
        ports: The captured services' ports.
        ref: Of a kind that ``names_service`` takes.
        namespace: The route's.
    """
    kind = _KINDS[ref.group, ref.kind]
    if kind == "Hostname":
        found = _by_host(fetch, ports, ref, namespace)
        if not found:
            return None
        named, waypoint = f"Hostname {ref.name}", found[0].waypoint.key
    else:
        named = f"{kind} {ref.namespace or namespace}/{ref.name}"
        bound = fetch(captures.rows, named, view=bound_waypoint)
        if bound is None:
            return None
        found, waypoint = fetch.by(ports.by_owner, named), bound.key
    owners = {ref.namespace or namespace} if kind != "Hostname" else {row.namespace for row in found}
    if namespace not in owners | {waypoint.partition("/")[0]}:
        text = (
            f"{named} belongs to namespace {' or '.join(sorted(owners))}: its waypoint {waypoint} takes routes for it from there "
            f"and from its own namespace, not from {namespace}; move the route there"
        )
        return RouteParent(ref, waypoint, (), _refusal(Reason.NOT_ALLOWED_BY_LISTENERS, text))
    matching = [row for row in found if _matches(ref, row)]
    chains = tuple(sorted((r.waypoint.key, r.chain) for r in matching if r.application == "http" and r.addresses))
    if chains:
        return RouteParent(ref, waypoint, (), Condition(ConditionType.ACCEPTED, True, Reason.ACCEPTED), chains)
    return RouteParent(ref, waypoint, (), _refusal(Reason.NO_MATCHING_PARENT, _explain(ref, named, matching)))


def _by_host(fetch: Fetch, ports: WaypointPorts, ref: ParentReference, namespace: str) -> tuple[WaypointPort, ...]:
    """The ports of a host that a namespace may name: its own namespace's, else those of waypoints that live in it, else any."""
    visible = [
        row
        for row in fetch.by(ports.by_host, ref.name.lower())
        if ref.namespace in (None, row.namespace) and (not row.exported_to or namespace in row.exported_to)
    ]
    own = [row for row in visible if row.namespace == namespace]
    near = [row for row in visible if row.waypoint.key.partition("/")[0] == namespace]
    return tuple(own or near or visible)


def _matches(ref: ParentReference, row: WaypointPort) -> bool:
    return (not ref.port or row.port == ref.port) and (not ref.section_name or row.port_name == ref.section_name)


def _refusal(reason: Reason, message: str) -> Condition:
    return Condition(ConditionType.ACCEPTED, False, reason, message)


def _explain(ref: ParentReference, named: str, matching: list[WaypointPort]) -> str:
    if not matching:
        wanted = [f"sectionName {ref.section_name!r}"] * bool(ref.section_name) + [f"port {ref.port}"] * bool(ref.port)
        return f"parentRefs: {named} has no port with {' and '.join(wanted) or 'any number'}; name one that it has"
    if not any(row.application == "http" for row in matching):
        numbers = ", ".join(str(row.port) for row in matching)
        return f"parentRefs: {named} does not speak HTTP at port {numbers}; say so in the port's appProtocol, name or protocol"
    problems = "; ".join(dict.fromkeys(row.problem for row in matching if row.problem))
    return f"parentRefs: {named} is taken nowhere: {problems}"
