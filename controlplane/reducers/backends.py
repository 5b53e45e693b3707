"""One model of a service: backends, the endpoints behind each, and how they are looked up.

A ``Backend`` row hides what kind of object it came from: routes, waypoints and policies know the row only.
Source: istio-semantics, 1.7.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from controlplane.krt import Collection, Fetch, Graph, Index
from controlplane.model.services import Backend, BackendEndpoints, BackendKey
from controlplane.reducers.base import Base
from controlplane.reducers.endpoints import declare_endpoints
from controlplane.reducers.service_entries import make_service_entry_backends
from controlplane.reducers.services import make_service_backends
from controlplane.reducers.workloads import Workloads, declare_workloads


class Target(NamedTuple):
    """What a reference needs to know of a backend: nothing else of it makes who names it run again."""

    is_unserved: bool
    age: str
    """Time of creation; what has none is younger than anything."""
    key: BackendKey
    cluster: str
    unserved: str
    unsupported_protocol: str
    exported_to: tuple[str, ...]

    def is_exported_to(self, namespace: str) -> bool:
        """Whether objects of a namespace may name the host."""
        return not self.exported_to or namespace in self.exported_to


def target_of(backend: Backend) -> Target:
    """A view. Of several targets the least one is meant: one that is served, the oldest, the smallest key."""
    return Target(
        bool(backend.unserved),
        backend.created or "~",
        backend.key,
        backend.cluster,
        backend.unserved,
        backend.unsupported_protocol,
        backend.exported_to,
    )


@dataclass(frozen=True)
class Backends:
    """Backends, their endpoints and the ways to find them."""

    backends: Collection[Backend]
    """By key; those that are not served (``unserved``) included."""
    endpoints: Collection[BackendEndpoints]
    """By backend key; of each that is served."""
    workloads: Workloads
    by_cluster: Index[Backend]
    by_owner: Index[Backend]
    """By ``Kind namespace/name``."""
    by_host: Index[Backend]
    """By (host, port)."""
    by_hostname: Index[Backend]
    """By host alone."""
    endpoints_by_cluster: Index[BackendEndpoints]

    def find_hostname(self, fetch: Fetch, host: str, port: int, namespace: str) -> Target | None:
        """The backend of a host and port, for whoever asks in a namespace.

        Only a backend's own host counts: no wildcard of another stands for it. The caller declares ``reads=(by_host,)``.
        """
        found = fetch.by(self.by_host, (host.lower(), port), view=target_of)
        return min((target for target in found if target.is_exported_to(namespace)), default=None)


def declare_backends(graph: Graph, base: Base) -> Backends:
    """Declare backends and endpoints."""
    workloads = declare_workloads(graph, base)
    of_services = graph.map(
        "service_backends",
        Backend,
        base.services,
        lambda service, fetch: make_service_backends(service, fetch, base),
        reads=(base.settings,),
    )
    of_entries = graph.map("service_entry_backends", Backend, base.service_entries, make_service_entry_backends)
    backends = graph.union("backends", Backend, (of_services, of_entries))
    endpoints = declare_endpoints(graph, base, backends, workloads)
    return Backends(
        backends,
        endpoints,
        workloads,
        by_cluster=backends.index("backends_by_cluster", lambda backend: backend.cluster),
        by_owner=backends.index("backends_by_owner", lambda backend: backend.owner),
        by_host=backends.index("backends_by_host", lambda backend: (backend.host, backend.port)),
        by_hostname=backends.index("backends_by_hostname", lambda backend: backend.host),
        endpoints_by_cluster=endpoints.index("endpoints_by_cluster", lambda row: row.cluster),
    )
