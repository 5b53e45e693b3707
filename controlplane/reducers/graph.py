"""The whole of the derived state, up to what a translation needs."""

from __future__ import annotations

from dataclasses import dataclass

from controlplane.krt import Collection, Count, Graph
from controlplane.model.ir import ObjectStatus, ResolvedRoute
from controlplane.reducers.attachment import Attachments, declare_attachments
from controlplane.reducers.authorization import Authorization, declare_authorization, declare_authorization_statuses
from controlplane.reducers.backends import Backends, declare_backends
from controlplane.reducers.base import Base, declare_base
from controlplane.reducers.capture import declare_captures
from controlplane.reducers.clients import Clients, declare_clients
from controlplane.reducers.destination_rules import DestinationRules, declare_destination_rules
from controlplane.reducers.gateways import Gateways, declare_gateways
from controlplane.reducers.grants import Grants, declare_grants
from controlplane.reducers.observed import declare_observed
from controlplane.reducers.routes import declare_routes
from controlplane.reducers.rule_reports import declare_rule_statuses
from controlplane.reducers.service_entry_statuses import declare_service_entry_statuses
from controlplane.reducers.statuses import declare_statuses
from controlplane.reducers.waypoint_ports import declare_waypoint_ports
from controlplane.reducers.waypoints import Waypoints, declare_waypoints


@dataclass(frozen=True)
class State:
    """Every collection that something outside of the reducers reads."""

    base: Base
    grants: Grants
    authorization: Authorization
    gateways: Gateways
    backends: Backends
    destination_rules: DestinationRules
    waypoints: Waypoints
    attachments: Attachments
    routes: Collection[ResolvedRoute]
    clients: Clients
    statuses: Collection[ObjectStatus]
    errors: Collection[Count]
    """Objects that are wrong now, by source."""


def declare_state(graph: Graph) -> State:
    """Declare the graph, in the order in which it runs."""
    base = declare_base(graph)
    grants = declare_grants(graph, base)
    authorization = declare_authorization(graph, base)
    gateways = declare_gateways(graph, base, grants)
    backends = declare_backends(graph, base)
    destination_rules = declare_destination_rules(graph, base, backends)
    captures = declare_captures(graph, base, gateways)
    ports = declare_waypoint_ports(graph, base, captures, backends)
    attachments = declare_attachments(graph, base, gateways, captures, ports)
    waypoints = declare_waypoints(
        graph, base, gateways, backends, captures, ports, attachments=attachments, authorization=authorization
    )
    routes = declare_routes(graph, base, attachments, backends, grants)
    clients = declare_clients(graph, base, gateways, backends, destination_rules)
    entries = declare_service_entry_statuses(graph, base, backends, waypoints)
    rules = declare_rule_statuses(graph, base, backends, destination_rules, clients)
    policies = declare_authorization_statuses(graph, base, gateways, waypoints.chains)
    others = (waypoints.service_statuses, entries, rules, policies)
    observed = declare_observed(graph, base, waypoints.chains)
    statuses = declare_statuses(graph, base, gateways, attachments, routes, observed, others=others)
    errors = graph.count("errors", base.reports, by=lambda report: report.source if report.errors else None)
    return State(
        base, grants, authorization, gateways, backends, destination_rules, waypoints, attachments, routes, clients,
        statuses, errors,
    )  # fmt: skip
