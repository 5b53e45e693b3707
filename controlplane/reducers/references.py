"""What a reference to a backend leads to, or why it leads nowhere: one answer for backendRefs and for mirrors.

Three kinds can be named. A Service and a ServiceEntry by namespace and name, across namespaces with a ReferenceGrant. And
``Hostname`` of ``networking.istio.io``, which is no object but a name: it belongs to no namespace, asks for no ReferenceGrant,
goes by what ``exportTo`` of whoever has that host says, and means a host as it is written, never one that a wildcard covers.

All that is looked for is read, so what is missing is noticed when it appears. Sources: Gateway API v1, BackendObjectReference,
ReferenceGrant; istio-semantics, 1.7, and 8 and 9 of its first list.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple, TypeAlias

from controlplane.krt import Collection, Fetch, Index
from controlplane.model.conditions import Reason
from controlplane.model.http_route import BackendObjectReference
from controlplane.model.ir import ObjectReport, Permission
from controlplane.model.istio import ServiceEntry
from controlplane.model.kubernetes import Service, ServicePort
from controlplane.model.services import Backend
from controlplane.reducers.backends import Backends, Target, target_of
from controlplane.reducers.base import Base
from controlplane.reducers.grants import GATEWAY_GROUP, Grants
from controlplane.reducers.service_entries import NETWORKING

HTTP_ROUTE: Final = f"{GATEWAY_GROUP}/HTTPRoute"


class Unresolved(NamedTuple):
    """Why a reference leads nowhere, with the remedy."""

    reason: Reason
    message: str


Read: TypeAlias = (
    Collection[Service]
    | Collection[ServiceEntry]
    | Collection[ObjectReport]
    | Collection[Backend]
    | Index[Backend]
    | Index[Permission]
)


def reads_of_references(base: Base, backends: Backends, grants: Grants) -> tuple[Read, ...]:
    """What a function that calls ``resolve`` declares to read."""
    return (
        base.services,
        base.service_entries,
        base.reports,
        backends.backends,
        backends.by_host,
        backends.by_hostname,
        grants.by_pair,
    )


def _is_rejected(report: ObjectReport) -> bool:
    return not report.present


def _service_ports(service: Service) -> tuple[str, tuple[ServicePort, ...]]:
    return service.spec.type, service.spec.ports


def _entry_hosts(entry: ServiceEntry) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Hosts in the order in which they are preferred, and ports."""
    return tuple(sorted(entry.spec.hosts)), tuple(sorted({port.number for port in entry.spec.ports}))


def _ports(numbers: Iterable[int]) -> str:
    return ", ".join(map(str, sorted(set(numbers)))) or "none"


class Resolver:
    """Resolves the references of one object, in one run."""

    def __init__(
        self, fetch: Fetch, base: Base, backends: Backends, grants: Grants, namespace: str, kind: str = HTTP_ROUTE
    ) -> None:
        """As one object of ``kind`` (``group/Kind``, as a ReferenceGrant names it) in ``namespace``."""
        self._fetch = fetch
        self._base = base
        self._backends = backends
        self._grants = grants
        self._namespace = namespace
        self._kind = kind

    def resolve(self, reference: BackendObjectReference) -> str | Unresolved:
        """The cluster that a reference names, or why it names none.

        The reason of what exists and is not served is UnsupportedValue, since Gateway API has none of its own for that: neither
        BackendNotFound nor InvalidKind would be true. It is also the nearest for a Hostname with a namespace, which Istio calls
        InvalidDestination.
        """
        match reference.group, reference.kind:
            case "" | "core", "Service":
                return self._resolve_service(reference)
            case "networking.istio.io", "ServiceEntry":
                return self._resolve_service_entry(reference)
            case "networking.istio.io", "Hostname":
                return self._resolve_hostname(reference)
            case group, kind:
                known = "a Service, a ServiceEntry or a Hostname" if group == NETWORKING else "a Service"
                text = f"{group or 'core'}/{kind} is not supported as a backend; use {known}"
                return Unresolved(Reason.INVALID_KIND, text)

    def _forbid(self, group: str, kind: str, namespace: str, name: str) -> Unresolved | None:
        permitted = self._grants.permit(
            self._fetch,
            kind=self._kind,
            namespace=self._namespace,
            to_kind=f"{group}/{kind}",
            to_namespace=namespace,
            to_name=name,
        )
        if permitted:
            return None
        named = f"{kind} {namespace}/{name}"
        text = f"{named} may not be used from namespace {self._namespace}; add a ReferenceGrant in {namespace}"
        return Unresolved(Reason.REF_NOT_PERMITTED, text)

    def _absent(self, named: str) -> Unresolved:
        """What has no row: nobody has written it, or what they wrote cannot be read."""
        if self._fetch(self._base.reports, named, view=_is_rejected):
            text = f"{named} was rejected and never had a good form; its status says why"
        else:
            text = f"{named} does not exist; create it or name another"
        return Unresolved(Reason.BACKEND_NOT_FOUND, text)

    def _resolve_service(self, reference: BackendObjectReference) -> str | Unresolved:
        namespace = reference.namespace or self._namespace
        key, port = f"{namespace}/{reference.name}", reference.port
        if forbidden := self._forbid("", "Service", namespace, reference.name):
            return forbidden
        named = f"Service {key}"
        if port is not None:
            target = self._fetch(self._backends.backends, ("Service", key, "", port), view=target_of)
            if target is not None:
                return _serve(target, f"{named} port {port}")
        found = self._fetch(self._base.services, key, view=_service_ports)
        if found is None:
            return self._absent(named)
        service_type, ports = found
        if service_type == "ExternalName":
            text = f"{named} is of type ExternalName, which no route may lead to; use one with endpoints"
            return Unresolved(Reason.INVALID_KIND, text)
        numbers = _ports(item.port for item in ports if item.protocol == "TCP")
        exists = any(item.port == port for item in ports)
        text = f"{named} has no TCP port {port}; its ports are {numbers}"
        return Unresolved(Reason.UNSUPPORTED_PROTOCOL if exists else Reason.BACKEND_NOT_FOUND, text)

    def _resolve_service_entry(self, reference: BackendObjectReference) -> str | Unresolved:
        """Of several hosts the alphabetically first that is served."""
        namespace = reference.namespace or self._namespace
        key, port = f"{namespace}/{reference.name}", reference.port
        if forbidden := self._forbid(NETWORKING, "ServiceEntry", namespace, reference.name):
            return forbidden
        named = f"ServiceEntry {key}"
        found = self._fetch(self._base.service_entries, key, view=_entry_hosts)
        if found is None:
            return self._absent(named)
        hosts, ports = found
        if port is None or port not in ports:
            return Unresolved(Reason.BACKEND_NOT_FOUND, _without_port(named, port, ports))
        unserved: Target | None = None
        for host in hosts:
            target = self._fetch(self._backends.backends, ("ServiceEntry", key, host, port), view=target_of)
            if target is not None and not target.unserved:
                return _serve(target, f"{named} port {port}")
            unserved = unserved or target
        if unserved is None:  # every host and port of an entry has its row
            return Unresolved(Reason.BACKEND_NOT_FOUND, f"{named} has no host; add one")
        return _serve(unserved, f"{named} port {port}")

    def _resolve_hostname(self, reference: BackendObjectReference) -> str | Unresolved:
        """A ServiceEntry's host needs no ReferenceGrant: exportTo is its own way to say who may name it.

        A Service's host does: by another spelling of its name nobody is to get round the grant that a reference to it needs.
        """
        host, port = reference.name.lower(), reference.port
        named = f"Hostname {host}"
        if reference.namespace is not None:
            text = f"{named} has no namespace; remove {reference.namespace!r}, or name the ServiceEntry"
            return Unresolved(Reason.UNSUPPORTED_VALUE, text)
        if port is not None:
            target = self._backends.find_hostname(self._fetch, host, port, self._namespace)
            if target is not None:
                kind, owner, *_ = target.key
                namespace, _, name = owner.partition("/")
                forbidden = self._forbid("", kind, namespace, name) if kind == "Service" else None
                return forbidden or _serve(target, f"{named} port {port}")
        everywhere = self._fetch.by(self._backends.by_hostname, host, view=target_of)
        here = [target for target in everywhere if target.is_exported_to(self._namespace)]
        if here:
            return Unresolved(Reason.BACKEND_NOT_FOUND, _without_port(named, port, [t.key[3] for t in here]))
        if everywhere:
            kind, owner, *_ = min(everywhere).key
            text = (
                f"{named} is {kind} {owner}'s, which is not exported to namespace {self._namespace}; add it to exportTo"
            )
            return Unresolved(Reason.BACKEND_NOT_FOUND, text)
        text = f"{named} is no ServiceEntry's or Service's host; create a ServiceEntry for it or name another"
        return Unresolved(Reason.BACKEND_NOT_FOUND, text)


def _without_port(named: str, port: int | None, ports: Iterable[int]) -> str:
    wanted = "a reference to it needs a port" if port is None else f"it has no port {port}"
    return f"{named}: {wanted}; its ports are {_ports(ports)}"


def _serve(target: Target, named: str) -> str | Unresolved:
    if target.unserved:
        return Unresolved(Reason.UNSUPPORTED_VALUE, f"{named} is not served: {target.unserved}")
    if target.unsupported_protocol:
        text = f"{named} has appProtocol {target.unsupported_protocol!r}, which an HTTPRoute cannot speak; "
        return Unresolved(Reason.UNSUPPORTED_PROTOCOL, text + "use kubernetes.io/h2c, kubernetes.io/ws or none")
    return target.cluster
