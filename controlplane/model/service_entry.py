"""Istio's ServiceEntry and WorkloadEntry: hosts and workloads that Kubernetes has no objects for.

Field names, defaults and meanings are those of networking.istio.io; what Istio has and we do not act on is listed in
``controlplane.model.known_fields``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Final, Literal, TypeAlias

import msgspec
from msgspec import Meta

from controlplane.model.base import NamespacedObject, Row
from controlplane.model.scalars import PortNumber, UInt32

Resolution: TypeAlias = Literal["NONE", "STATIC", "DNS", "DNS_ROUND_ROBIN", "DYNAMIC_DNS"]
Location: TypeAlias = Literal["MESH_EXTERNAL", "MESH_INTERNAL"]

SERVED_RESOLUTION: Final = "use DNS, DNS_ROUND_ROBIN or STATIC"
"""The remedy for a resolution that is not served, wherever it is told."""
SERVED_PORT: Final = "remove the port, or use one that takes TCP"
"""The remedy for a port of UDP."""


class ServicePort(Row, frozen=True, kw_only=True, gc=False):
    """A port of a ServiceEntry."""

    number: PortNumber
    name: Annotated[str, Meta(max_length=256)] = ""
    """Never empty in an object that was accepted."""
    protocol: Annotated[str, Meta(max_length=256)] = ""
    """HTTP, HTTPS, GRPC, HTTP2, TCP, TLS ... in any case."""
    target_port: Annotated[int, Meta(ge=0, le=65535)] = 0
    """0 means ``number``."""


class WorkloadEntrySpec(Row, frozen=True, kw_only=True, gc=False):
    """One workload outside of Kubernetes; also an inline endpoint of a ServiceEntry."""

    address: Annotated[str, Meta(max_length=256)] = ""
    """An IP address or a DNS name. Where it is empty or begins with ``unix://``, the endpoint is not served."""
    ports: Annotated[Mapping[str, UInt32], Meta(max_length=128)] = msgspec.field(default_factory=dict)
    """Port of the workload by the name of the ServiceEntry's port."""
    labels: Annotated[Mapping[str, str], Meta(max_length=256)] = msgspec.field(default_factory=dict)
    network: Annotated[str, Meta(max_length=2048)] = ""
    locality: Annotated[str, Meta(max_length=2048)] = ""
    """``region/zone/subzone``."""
    weight: UInt32 = 0
    """0 means *not said*."""
    service_account: Annotated[str, Meta(max_length=253)] = ""


class WorkloadSelector(Row, frozen=True, kw_only=True, gc=False):
    """Workloads of the same namespace that carry all these labels; empty selects *nothing*."""

    labels: Annotated[Mapping[str, Annotated[str, Meta(max_length=63)]], Meta(max_length=256)] = msgspec.field(
        default_factory=dict
    )


class ServiceEntrySpec(Row, frozen=True, kw_only=True, gc=False):
    """Hosts, their ports, and where they are."""

    hosts: Annotated[tuple[str, ...], Meta(min_length=1, max_length=256)]
    """DNS names, or wildcards such as ``*.example.com``. Normalised: in lower case, each once."""
    addresses: Annotated[tuple[Annotated[str, Meta(max_length=64)], ...], Meta(max_length=256)] = ()
    """IP addresses or CIDR blocks."""
    ports: Annotated[tuple[ServicePort, ...], Meta(max_length=256)] = ()
    location: Location = "MESH_EXTERNAL"
    resolution: Resolution = "NONE"
    endpoints: Annotated[tuple[WorkloadEntrySpec, ...], Meta(max_length=4096)] = ()
    workload_selector: WorkloadSelector | None = None
    export_to: tuple[str, ...] = ()
    """Namespaces; ``.`` is the object's own, ``*`` all; empty means all."""
    subject_alt_names: tuple[str, ...] = ()


class ServiceEntryAddress(Row, frozen=True, kw_only=True, gc=False):
    """An address that Istio allocated."""

    value: str = ""
    """An IP address; decoding drops what is none."""
    host: str = ""
    """The host that it is for; empty means all hosts."""


class ServiceEntryStatus(Row, frozen=True, kw_only=True, gc=False):
    """What we read of the status: the addresses that somebody else allocated."""

    addresses: tuple[ServiceEntryAddress, ...] = ()


class ServiceEntry(NamespacedObject, frozen=True, kw_only=True, gc=False):
    """Hosts that are no Kubernetes Service."""

    kind: ClassVar[str] = "ServiceEntry"
    api_version: str = "networking.istio.io/v1"
    spec: ServiceEntrySpec
    status: ServiceEntryStatus = ServiceEntryStatus()


class WorkloadCondition(Row, frozen=True, kw_only=True, gc=False):
    """A condition of a WorkloadEntry's status; only ``Healthy`` is kept."""

    type: str = ""
    status: str = ""


class WorkloadEntryStatus(Row, frozen=True, kw_only=True, gc=False):
    """What we read of the status: the condition ``Healthy``."""

    conditions: tuple[WorkloadCondition, ...] = ()


class WorkloadEntry(NamespacedObject, frozen=True, kw_only=True, gc=False):
    """One workload that ServiceEntries can select."""

    kind: ClassVar[str] = "WorkloadEntry"
    api_version: str = "networking.istio.io/v1"
    spec: WorkloadEntrySpec
    status: WorkloadEntryStatus = WorkloadEntryStatus()
