"""Kubernetes' own objects, as far as a control plane looks at them.

Field names, defaults and meanings are those of the Kubernetes API reference (core/v1 and discovery.k8s.io/v1). What kube-proxy
or a cloud's load balancer alone reads is left out (``controlplane.model.known_fields`` lists it).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, TypeAlias

import msgspec
from msgspec import Meta

from controlplane.model.base import ClusterObject, NamespacedObject, Row
from controlplane.model.scalars import DNS_LABEL, PortNumber

LabelSelectorOperator: TypeAlias = Literal["In", "NotIn", "Exists", "DoesNotExist"]
Protocol: TypeAlias = Literal["TCP", "UDP", "SCTP"]
ServiceType: TypeAlias = Literal["ClusterIP", "NodePort", "LoadBalancer", "ExternalName"]
IPFamily: TypeAlias = Literal["IPv4", "IPv6"]
TrafficDistribution: TypeAlias = Literal["PreferClose", "PreferSameZone", "PreferSameNode"]
EndpointAddressType: TypeAlias = Literal["IPv4", "IPv6", "FQDN"]
"""Go calls it ``AddressType``, as Gateway API calls another thing."""


class LabelSelectorRequirement(Row, frozen=True, kw_only=True, gc=False):
    """One condition on one label."""

    key: str
    operator: LabelSelectorOperator
    values: tuple[str, ...] = ()
    """At least one for ``In`` and ``NotIn``; none for the others."""


class LabelSelector(Row, frozen=True, kw_only=True, gc=False):
    """Selects objects by their labels; all conditions must hold. Empty selects *everything*, an absent selector nothing."""

    match_labels: Mapping[str, str] = msgspec.field(default_factory=dict)
    match_expressions: tuple[LabelSelectorRequirement, ...] = ()


class Namespace(ClusterObject, frozen=True, kw_only=True, gc=False):
    """A namespace: its name and its labels."""

    kind: ClassVar[str] = "Namespace"
    api_version: str = "v1"


class ServicePort(Row, frozen=True, kw_only=True, gc=False):
    """A port that a Service offers."""

    port: PortNumber
    name: Annotated[str, Meta(max_length=63)] = ""
    """An EndpointSlice's port of the same name carries it. Empty only where the Service has one port."""
    protocol: Protocol = "TCP"
    target_port: PortNumber | Annotated[str, Meta(min_length=1, max_length=15)] | None = None
    """Number or name of the pods' port; None means ``port``."""
    app_protocol: Annotated[str, Meta(min_length=1, max_length=317)] | None = None
    """``kubernetes.io/h2c``, ``kubernetes.io/ws`` or others."""


class ServiceSpec(Row, frozen=True, kw_only=True, gc=False):
    """What a Service offers, and of which pods."""

    type: ServiceType = "ClusterIP"
    cluster_ip: str = msgspec.field(name="clusterIP", default="")
    """The first of ``cluster_ips``; ``None`` (the word) for a headless Service; empty where nobody assigned one."""
    cluster_ips: Annotated[tuple[str, ...], Meta(max_length=2)] = msgspec.field(name="clusterIPs", default=())
    ports: tuple[ServicePort, ...] = ()
    selector: Mapping[str, str] = msgspec.field(default_factory=dict)
    external_name: str = ""
    ip_families: Annotated[tuple[IPFamily, ...], Meta(max_length=2)] = ()
    traffic_distribution: TrafficDistribution | None = None
    publish_not_ready_addresses: bool = False


class Service(NamespacedObject, frozen=True, kw_only=True, gc=False):
    """A name for a set of endpoints."""

    kind: ClassVar[str] = "Service"
    api_version: str = "v1"
    spec: ServiceSpec = ServiceSpec()

    @property
    def is_headless(self) -> bool:
        """Whether ``spec.clusterIP`` says ``None``."""
        return self.spec.cluster_ip == "None"


class EndpointConditions(Row, frozen=True, kw_only=True, gc=False):
    """The state of an endpoint; None means *unknown*."""

    ready: bool | None = None
    """Unknown is to be read as ready."""
    serving: bool | None = None
    """As ``ready``, but kept while the pod terminates; unknown defers to ``ready``."""
    terminating: bool | None = None
    """Unknown is to be read as not terminating."""


class TargetReference(Row, frozen=True, kw_only=True, gc=False):
    """The object (most often a Pod) that an endpoint represents. Go calls it ``ObjectReference``."""

    kind: str = ""
    namespace: str = ""
    name: str = ""


class Endpoint(Row, frozen=True, kw_only=True, gc=False):
    """One backend, reachable at any of its addresses."""

    addresses: Annotated[tuple[str, ...], Meta(min_length=1, max_length=100)]
    """Interchangeable; consumers use the first. Normalised: one spelling for each address."""
    conditions: EndpointConditions = EndpointConditions()
    hostname: Annotated[str, Meta(max_length=63, pattern=DNS_LABEL)] | None = None
    node_name: str | None = None
    zone: str | None = None
    target_ref: TargetReference | None = None


class EndpointPort(Row, frozen=True, kw_only=True, gc=False):
    """A port of every endpoint of a slice."""

    name: Annotated[str, Meta(max_length=63)] = ""
    """The ServicePort's name."""
    port: PortNumber | None = None
    """None means *all ports*, which only consumers outside of Services use."""
    protocol: Protocol = "TCP"
    app_protocol: Annotated[str, Meta(min_length=1, max_length=317)] | None = None


class EndpointSlice(NamespacedObject, frozen=True, kw_only=True, gc=False):
    """Some of a Service's endpoints; the label ``kubernetes.io/service-name`` names the Service."""

    kind: ClassVar[str] = "EndpointSlice"
    api_version: str = "discovery.k8s.io/v1"
    address_type: EndpointAddressType
    endpoints: Annotated[tuple[Endpoint, ...], Meta(max_length=1000)] = ()
    ports: Annotated[tuple[EndpointPort, ...], Meta(max_length=20000)] = ()

    @property
    def service_key(self) -> str | None:
        """``namespace/name`` of the Service, or None for a slice that names none."""
        name = self.metadata.labels.get("kubernetes.io/service-name")
        return f"{self.metadata.namespace}/{name}" if name else None


class Secret(NamespacedObject, frozen=True, kw_only=True, gc=False):
    """A Secret without anything secret.

    The private key itself leaves decoding apart from the row (``Decoded.private_keys``), by its digest. Where the Secret holds
    no certificate and key, the three fields are None, whatever else it holds.
    """

    kind: ClassVar[str] = "Secret"
    api_version: str = "v1"
    type: str = "Opaque"
    certificate_chain: str | None = None
    """PEM, the leaf first; certificates only."""
    key_digest: str | None = None
    """``sha256:`` and the hexadecimal SHA-256 of the key as PKCS #8 PEM."""
    pair_digest: str | None = None
    """Names chain and key together: what a version of the served secret is made of."""
    ca_certificates: str | None = None
    """PEM, certificates only: whom a client trusts (``ca.crt``, else ``cacert``)."""
    ca_digest: str | None = None
    """``sha256:`` and the hexadecimal SHA-256 of ``ca_certificates``."""


class PodCondition(Row, frozen=True, kw_only=True, gc=False):
    """A condition of a Pod; only ``Ready`` is kept."""

    type: str = ""
    status: str = ""


class PodIP(Row, frozen=True, kw_only=True, gc=False):
    """An address of a Pod."""

    ip: str = ""


class PodSpec(Row, frozen=True, kw_only=True, gc=False):
    """Where a Pod runs."""

    node_name: str = ""


class PodStatus(Row, frozen=True, kw_only=True, gc=False):
    """Whether and where a Pod is reached."""

    phase: str = ""
    pod_ip: str = msgspec.field(name="podIP", default="")
    pod_ips: tuple[PodIP, ...] = msgspec.field(name="podIPs", default=())
    conditions: tuple[PodCondition, ...] = ()


class Pod(NamespacedObject, frozen=True, kw_only=True, gc=False):
    """A workload: its labels, its node, its addresses. Annotations and ``generation`` are not kept."""

    kind: ClassVar[str] = "Pod"
    api_version: str = "v1"
    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()
    terminating: bool = False
    """Whether ``metadata.deletionTimestamp`` is set; when it is due is not kept."""

    @property
    def is_ready(self) -> bool:
        """Whether the condition ``Ready`` is ``True`` and nobody has deleted the Pod."""
        return not self.terminating and any(condition.status == "True" for condition in self.status.conditions)


class Node(ClusterObject, frozen=True, kw_only=True, gc=False):
    """A machine: its labels, which say where it is. Annotations and ``generation`` are not kept."""

    kind: ClassVar[str] = "Node"
    api_version: str = "v1"
