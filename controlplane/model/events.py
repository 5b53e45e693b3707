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

SCHEMA_VERSION: Final = 3
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
    observe_proxies: bool = False
    """Whether ``Programmed`` waits until a proxy was seen to have a listener; a translation without proxies cannot."""


class Event(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """What all events share: nothing but being one."""


class ControlPlaneStarted(Event, frozen=True):
    """Opens an incarnation: no source is synced, no proxy is connected, these settings hold."""

    version: str
    settings: Settings
    sources: dict[str, tuple[str, ...]]
    """Source name -> kinds that it will sync. A kind that no source names is synced and empty."""
    stale_since: str = ""
    """Time of the last transaction before, as the log writes it, where that state is served until the sources have synced
    again; empty where nothing is served before that."""


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
    """How far a proxy is: it holds everything up to ``seq``, but for what is rejected or withheld. Coalesced, not one per ACK."""

    proxy: str
    seq: int
    listeners: tuple[str, ...] = ()
    """Names of the listeners that it was seen to have in use, sorted: routes, virtual hosts and secrets included."""


class ProxyRejected(Event, frozen=True):
    """A proxy rejected a response."""

    proxy: str
    gateway: str
    type_url: str
    names: tuple[str, ...]
    message: str


class RejectedPart(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """A route of a virtual host that proxies reject, and the form of it that they last took."""

    name: str
    """As Envoy has it, ``Route.name``: ``namespace/name/rule/match`` of an HTTPRoute."""
    digest: str
    """``content_version`` of the encoded route. It is kept out of the virtual host wherever it stands there again."""
    fallback: bytes = b""
    """The encoded route that stands in its place; empty where there was none."""
    fallback_clusters: tuple[str, ...] = ()
    """Clusters that the fallback names."""
    message: str = ""
    """The proxy's words about this route; empty where they are those of the whole."""
    cluster: str = ""
    """Where the route is not at fault itself: the cluster that it names, with whose rejection it ends."""


class ResourceRejected(Event, frozen=True):
    """Proxies of a gateway do not take this version of a resource, found by taking a rejected response apart.

    What they took last is served in its place, to all of them, until there is another version.
    """

    gateway: str
    type_url: str
    name: str
    version: str
    """Of the resource that was rejected; where ``parts`` says which routes are at fault, they alone are held back."""
    proxy: str
    """Who said so first."""
    message: str
    """The proxy's words, redacted and bounded; or that it never answered."""
    fallback_version: str = ""
    """Of what the proxies took last; empty where there was nothing, so that the resource is not served at all."""
    fallback: bytes = b""
    """The encoded resource of that version; empty where it is no longer known: who has it keeps it, nobody else is sent it."""
    fallback_clusters: tuple[str, ...] = ()
    """Clusters that the fallback names."""
    parts: tuple[RejectedPart, ...] = ()
    """Of a virtual host: the routes at fault."""
    origins: tuple[str, ...] = ()
    """Objects that the resource was made of, ``Kind namespace/name``, sorted."""


class RejectionEnded(Event, frozen=True):
    """What was rejected is no longer what is offered: there is another version, or none."""

    gateway: str
    type_url: str
    name: str


class DeliveryWithheld(Event, frozen=True):
    """A proxy stays at its last version of a resource, because it has not proven clusters that the newest one names."""

    proxy: str
    gateway: str
    type_url: str
    name: str
    clusters: tuple[str, ...]
    """Those that it has not proven, sorted."""
    origins: tuple[str, ...] = ()
    """As in ``ResourceRejected``."""


class DeliveryResumed(Event, frozen=True):
    """What was withheld from a proxy has been sent, or is no longer to be."""

    proxy: str
    type_url: str
    name: str


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
    | ResourceRejected
    | RejectionEnded
    | DeliveryWithheld
    | DeliveryResumed
    | ProxyDisconnected
)
"""Every event that this version reads and writes."""
