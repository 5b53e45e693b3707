"""The events: every fact that the log can hold.

An event is one typed fact. State is a fold of these and of nothing else, so whatever a reducer or a translation may see has
its event here; what has none may not change a byte of what is served. Events hold no clock: the log's record has the time.

This module must not know how events are stored (``controlplane.log``) nor how they are folded (``controlplane.reducers``).
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

import msgspec

from controlplane.model.objects import KubernetesObject
from controlplane.model.references import FieldProblem, ObjectReference

SCHEMA_VERSION: Final = 2
"""Version of the event schema; a log that names a newer one is refused, never skipped over."""


class Settings(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """Every setting that a reducer or a translation sees; part of the log, so that a replay uses the same."""

    controller_name: str = "controlplane.dev/gateway-controller"
    """Gateways of a GatewayClass with this ``spec.controllerName`` are ours."""
    infra: Literal["none", "host"] = "none"
    """Who runs the Envoys: somebody else, or we do, on this machine."""
    listen_address: str = "0.0.0.0"  # noqa: S104 (what an Envoy in a container binds; host mode sets loopback)
    """Address that listeners bind, where the Gateway's ``spec.addresses`` does not say (host mode only)."""
    connect_timeout_ms: int = 5000
    """Time that an Envoy gives a connection to an endpoint, in milliseconds."""
    waypoint_classes: tuple[str, ...] = ("controlplane-waypoint",)
    """Names of GatewayClasses of ours whose Gateways are waypoints."""
    ingress_use_waypoints: bool = True
    """Whether ``istio.io/ingress-use-waypoint`` is looked at."""
    root_namespace: str = "istio-system"
    """Whose DestinationRules and AuthorizationPolicies hold for every namespace."""
    cluster_domain: str = "cluster.local"
    """What the names of Services end in."""
    trust_domain: str = "cluster.local"
    """Of the identities that AuthorizationPolicies name without one."""
    dns_lookup_family: Literal["V4_PREFERRED", "V4_ONLY", "V6_ONLY", "AUTO", "ALL"] = "V4_PREFERRED"
    """Which addresses of a name are used, and which of a service's own addresses comes first."""


class Event(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """What all events share: nothing but being one."""


class ControlPlaneStarted(Event, frozen=True):
    """Opens an incarnation: no source is synced, no proxy is connected, these settings hold."""

    version: str
    settings: Settings
    sources: dict[str, tuple[str, ...]]
    """Source name -> kinds that it will sync. A kind that no source names is synced and empty."""


class ObjectApplied(Event, frozen=True):
    """An object exists in this form, whatever it was before."""

    object: KubernetesObject
    resource_version: str = ""
    origin: str = ""
    """Where a person finds it: ``file:line``, or empty for a server's objects."""
    warnings: tuple[FieldProblem, ...] = ()
    """Unknown fields, which were dropped."""
    unsupported: tuple[FieldProblem, ...] = ()
    """Fields of the API that we know and do not act on yet."""


class ObjectDeleted(Event, frozen=True):
    """An object is gone."""

    reference: ObjectReference


class ObjectRejected(Event, frozen=True):
    """An object could not be decoded; the last good version of it stays, and its status must say why."""

    reference: ObjectReference
    errors: tuple[FieldProblem, ...]
    origin: str = ""


class ObjectAccepted(Event, frozen=True):
    """What was rejected is mended and equals the last good version, or is no longer claimed; the errors are over."""

    reference: ObjectReference


class SourceSynced(Event, frozen=True):
    """Barrier: everything of these kinds, up to here, is in."""

    kinds: tuple[str, ...]


class SourceUnavailable(Event, frozen=True):
    """A source is lost or is wrong in a part that belongs to no object; what it gave stays."""

    part: str
    """What of the source: a kind, a file, or empty for all of it."""
    reason: str


class SourceAvailable(Event, frozen=True):
    """The part is back."""

    part: str


class ListenerFailed(Event, frozen=True):
    """A proxy could not open a listener of its gateway."""

    gateway: str
    """``namespace/name``."""
    address: str
    port: int
    reason: str


class ListenerRecovered(Event, frozen=True):
    """What kept the listener from opening is over; it is offered again."""

    gateway: str
    address: str
    port: int


class ProxyConnected(Event, frozen=True):
    """An Envoy opened a stream."""

    proxy: str
    """Name of this connection: unique in one incarnation."""
    node: str
    gateway: str
    locality: str = ""
    """``region/zone/sub_zone``."""
    peer: str = ""
    labels: tuple[tuple[str, str], ...] = ()
    """What its node's metadata says, sorted."""


class ProxyAcknowledged(Event, frozen=True):
    """How far a proxy is: the versions of all it was sent up to ``seq`` are acknowledged. Coalesced, not one per ACK."""

    proxy: str
    seq: int


class ProxyRejected(Event, frozen=True):
    """A proxy rejected a response."""

    proxy: str
    gateway: str
    type_url: str
    names: tuple[str, ...]
    message: str


class ProxyDisconnected(Event, frozen=True):
    """A stream ended."""

    proxy: str
    reason: str = ""


AnyEvent: TypeAlias = (
    ControlPlaneStarted
    | ObjectApplied
    | ObjectDeleted
    | ObjectRejected
    | ObjectAccepted
    | SourceSynced
    | SourceUnavailable
    | SourceAvailable
    | ListenerFailed
    | ListenerRecovered
    | ProxyConnected
    | ProxyAcknowledged
    | ProxyRejected
    | ProxyDisconnected
)
"""Every event that this version reads and writes."""
