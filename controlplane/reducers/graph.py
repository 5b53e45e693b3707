"""The whole of the derived state, up to what a translation needs."""

from __future__ import annotations

from dataclasses import dataclass

from controlplane.krt import Collection, Count, Graph
from controlplane.model.ir import ObjectStatus, ResolvedRoute
from controlplane.reducers.attachment import Attachments, declare_attachments
from controlplane.reducers.backends import Backends, declare_backends
from controlplane.reducers.base import Base, declare_base
from controlplane.reducers.gateways import Gateways, declare_gateways
from controlplane.reducers.grants import Grants, declare_grants
from controlplane.reducers.routes import declare_routes
from controlplane.reducers.statuses import declare_statuses


@dataclass(frozen=True)
class State:
    """Every collection that something outside of the reducers reads."""

    base: Base
    grants: Grants
    gateways: Gateways
    attachments: Attachments
    backends: Backends
    routes: Collection[ResolvedRoute]
    statuses: Collection[ObjectStatus]
    errors: Collection[Count]
    """Objects that are wrong now, by source."""


def declare_state(graph: Graph) -> State:
    """Declare the graph, in the order in which it runs."""
    base = declare_base(graph)
    grants = declare_grants(graph, base)
    gateways = declare_gateways(graph, base, grants)
    attachments = declare_attachments(graph, base, gateways)
    backends = declare_backends(graph, base)
    routes = declare_routes(graph, base, attachments, backends, grants)
    statuses = declare_statuses(graph, base, gateways, attachments, routes)
    errors = graph.count("errors", base.reports, by=lambda report: report.source if report.errors else None)
    return State(base, grants, gateways, attachments, backends, routes, statuses, errors)
