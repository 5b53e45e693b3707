"""The kinds that the control plane reads: one line each, and everything that goes by kind goes by this table."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, TypeAlias

import msgspec

from controlplane.model.base import ClusterObject, NamespacedObject
from controlplane.model.gateway import Gateway, GatewayClass, ReferenceGrant
from controlplane.model.http_route import HTTPRoute
from controlplane.model.istio import AuthorizationPolicy, DestinationRule, ServiceEntry, WorkloadEntry
from controlplane.model.kubernetes import EndpointSlice, Namespace, Node, Pod, Secret, Service

KubernetesObject: TypeAlias = (
    AuthorizationPolicy
    | DestinationRule
    | EndpointSlice
    | Gateway
    | GatewayClass
    | HTTPRoute
    | Namespace
    | Node
    | Pod
    | ReferenceGrant
    | Secret
    | Service
    | ServiceEntry
    | WorkloadEntry
)
"""Any object; its JSON tells which by ``kind``."""


class KindInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What goes by the kind of an object."""

    struct: type[NamespacedObject | ClusterObject]
    group: str
    """Empty for Kubernetes' core."""
    versions: tuple[str, ...]
    """Accepted in ``apiVersion``, the preferred one first; the struct fits all."""
    plural: str
    """As in the server's paths."""
    label_name: bool = False
    """Whether names are DNS labels (no dot, at most 63 characters) rather than subdomains."""

    @property
    def kind(self) -> str:
        """The kind's name."""
        return self.struct.kind

    @property
    def namespaced(self) -> bool:
        """Whether objects live in namespaces."""
        return self.struct.namespaced

    @property
    def api_versions(self) -> tuple[str, ...]:
        """The accepted values of ``apiVersion``."""
        return tuple(f"{self.group}/{version}" if self.group else version for version in self.versions)


_GATEWAY_API = "gateway.networking.k8s.io"
_NETWORKING = "networking.istio.io"
_NETWORKING_VERSIONS = ("v1", "v1beta1", "v1alpha3")
_KINDS = (
    KindInfo(
        struct=AuthorizationPolicy,
        group="security.istio.io",
        versions=("v1", "v1beta1"),
        plural="authorizationpolicies",
    ),
    KindInfo(struct=DestinationRule, group=_NETWORKING, versions=_NETWORKING_VERSIONS, plural="destinationrules"),
    KindInfo(struct=EndpointSlice, group="discovery.k8s.io", versions=("v1",), plural="endpointslices"),
    KindInfo(struct=Gateway, group=_GATEWAY_API, versions=("v1", "v1beta1"), plural="gateways"),
    KindInfo(struct=GatewayClass, group=_GATEWAY_API, versions=("v1", "v1beta1"), plural="gatewayclasses"),
    KindInfo(struct=HTTPRoute, group=_GATEWAY_API, versions=("v1", "v1beta1"), plural="httproutes"),
    KindInfo(struct=Namespace, group="", versions=("v1",), plural="namespaces", label_name=True),
    KindInfo(struct=Node, group="", versions=("v1",), plural="nodes"),
    KindInfo(struct=Pod, group="", versions=("v1",), plural="pods"),
    KindInfo(struct=ReferenceGrant, group=_GATEWAY_API, versions=("v1", "v1beta1"), plural="referencegrants"),
    KindInfo(struct=Secret, group="", versions=("v1",), plural="secrets"),
    KindInfo(struct=Service, group="", versions=("v1",), plural="services", label_name=True),
    KindInfo(struct=ServiceEntry, group=_NETWORKING, versions=_NETWORKING_VERSIONS, plural="serviceentries"),
    KindInfo(struct=WorkloadEntry, group=_NETWORKING, versions=_NETWORKING_VERSIONS, plural="workloadentries"),
)

KINDS: Final[Mapping[str, KindInfo]] = MappingProxyType({info.kind: info for info in _KINDS})
"""Every kind of ours by name, sorted."""
