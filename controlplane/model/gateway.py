"""GatewayClass, Gateway and ReferenceGrant of Gateway API v1.

Each field, enum, range, pattern and default is the CRD's (standard channel, v1.6), which a test holds. What the API has and we
do not act on stands in ``controlplane.model.known_fields``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, TypeAlias

import msgspec
from msgspec import Meta

from controlplane.model.base import ClusterObject, NamespacedObject, Row
from controlplane.model.kubernetes import LabelSelector
from controlplane.model.scalars import (
    AddressType,
    AnnotationValue,
    GatewayController,
    Group,
    Hostname,
    Kind,
    LabelValue,
    NamespaceName,
    ObjectName,
    PortNumber,
    ProtocolType,
    SectionName,
)

FromNamespaces: TypeAlias = Literal["All", "Selector", "Same"]
TLSModeType: TypeAlias = Literal["Terminate", "Passthrough"]


class ParametersReference(Row, frozen=True, kw_only=True, gc=False):
    """Names an object with parameters of a GatewayClass."""

    group: Group
    kind: Kind
    name: ObjectName
    namespace: NamespaceName | None = None


class GatewayClassSpec(Row, frozen=True, kw_only=True, gc=False):
    """Which controller has the Gateways of this class."""

    controller_name: GatewayController
    parameters_ref: ParametersReference | None = None
    description: Annotated[str, Meta(max_length=64)] | None = None


class GatewayClass(ClusterObject, frozen=True, kw_only=True, gc=False):
    """A kind of Gateways, all of one controller."""

    kind: ClassVar[str] = "GatewayClass"
    api_version: str = "gateway.networking.k8s.io/v1"
    spec: GatewayClassSpec


class SecretObjectReference(Row, frozen=True, kw_only=True, gc=False):
    """Names a Secret, or what stands in for one."""

    name: ObjectName
    group: Group = ""
    kind: Kind = "Secret"
    namespace: NamespaceName | None = None
    """None means the referrer's own; another needs a ReferenceGrant."""


class ListenerTLSConfig(Row, frozen=True, kw_only=True, gc=False):
    """How a listener ends TLS."""

    mode: TLSModeType = "Terminate"
    certificate_refs: Annotated[tuple[SecretObjectReference, ...], Meta(max_length=64)] = ()
    options: Annotated[Mapping[str, AnnotationValue], Meta(max_length=16)] = msgspec.field(default_factory=dict)


class RouteNamespaces(Row, frozen=True, kw_only=True, gc=False):
    """Namespaces whose routes may attach."""

    from_: FromNamespaces = msgspec.field(name="from", default="Same")
    selector: LabelSelector | None = None
    """Of namespaces; looked at only when ``from_`` is ``Selector``."""


class RouteGroupKind(Row, frozen=True, kw_only=True, gc=False):
    """A kind of routes."""

    kind: Kind
    group: Group = "gateway.networking.k8s.io"


class AllowedRoutes(Row, frozen=True, kw_only=True, gc=False):
    """Routes that may attach to a listener."""

    namespaces: RouteNamespaces = RouteNamespaces()
    kinds: Annotated[tuple[RouteGroupKind, ...], Meta(max_length=8)] = ()
    """Empty means the kinds that go with the listener's protocol."""


class Listener(Row, frozen=True, kw_only=True, gc=False):
    """An endpoint where a Gateway accepts connections."""

    name: SectionName
    port: PortNumber
    protocol: ProtocolType
    hostname: Hostname | None = None
    """None accepts all."""
    tls: ListenerTLSConfig | None = None
    allowed_routes: AllowedRoutes = AllowedRoutes()


class GatewaySpecAddress(Row, frozen=True, kw_only=True, gc=False):
    """An address asked for."""

    type: AddressType = "IPAddress"
    value: Annotated[str, Meta(max_length=253)] | None = None
    """None or empty leaves the choice to the controller."""


class LocalParametersReference(Row, frozen=True, kw_only=True, gc=False):
    """Names an object with parameters in the Gateway's own namespace."""

    group: Group
    kind: Kind
    name: ObjectName


class GatewayInfrastructure(Row, frozen=True, kw_only=True, gc=False):
    """What is asked of the resources that are made for a Gateway."""

    labels: Annotated[Mapping[str, LabelValue], Meta(max_length=8)] = msgspec.field(default_factory=dict)
    annotations: Annotated[Mapping[str, AnnotationValue], Meta(max_length=16)] = msgspec.field(default_factory=dict)
    parameters_ref: LocalParametersReference | None = None


class GatewaySpec(Row, frozen=True, kw_only=True, gc=False):
    """Listeners, and where they are reached."""

    gateway_class_name: ObjectName
    listeners: Annotated[tuple[Listener, ...], Meta(min_length=1, max_length=64)]
    """Names are unique."""
    addresses: Annotated[tuple[GatewaySpecAddress, ...], Meta(max_length=16)] = ()
    infrastructure: GatewayInfrastructure | None = None


class Gateway(NamespacedObject, frozen=True, kw_only=True, gc=False):
    """Where traffic comes in."""

    kind: ClassVar[str] = "Gateway"
    api_version: str = "gateway.networking.k8s.io/v1"
    spec: GatewaySpec


class ReferenceGrantFrom(Row, frozen=True, kw_only=True, gc=False):
    """Who may refer."""

    group: Group
    kind: Kind
    namespace: NamespaceName


class ReferenceGrantTo(Row, frozen=True, kw_only=True, gc=False):
    """To what, in the grant's own namespace."""

    group: Group
    kind: Kind
    name: ObjectName | None = None
    """None means every object of the kind."""


class ReferenceGrantSpec(Row, frozen=True, kw_only=True, gc=False):
    """Every ``from_`` may refer to every ``to``."""

    from_: Annotated[tuple[ReferenceGrantFrom, ...], Meta(min_length=1, max_length=16)] = msgspec.field(name="from")
    to: Annotated[tuple[ReferenceGrantTo, ...], Meta(min_length=1, max_length=16)]


class ReferenceGrant(NamespacedObject, frozen=True, kw_only=True, gc=False):
    """Allows references into its namespace."""

    kind: ClassVar[str] = "ReferenceGrant"
    api_version: str = "gateway.networking.k8s.io/v1"
    spec: ReferenceGrantSpec
