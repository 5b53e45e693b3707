"""The intermediate rows: what the reducers make of objects and the translation makes into Envoy's resources.

They speak Gateway API's words, hold nothing of Envoy, and are values: frozen, compared by content, tuples inside. A row's key
is never a position in a list.
"""

from __future__ import annotations

import msgspec

from controlplane.model.conditions import Condition
from controlplane.model.gateway import AllowedRoutes, Gateway, RouteGroupKind
from controlplane.model.http_route import (
    HTTPHeaderFilter,
    HTTPRequestRedirectFilter,
    HTTPRouteMatch,
    HTTPURLRewriteFilter,
    ParentReference,
)
from controlplane.model.references import FieldProblem


class ObjectReport(msgspec.Struct, frozen=True):
    """What is known of an object beside its content: where it came from and what is wrong with it."""

    key: str
    """``Kind namespace/name``."""
    source: str
    seq: int
    """The event that last spoke of it."""
    origin: str = ""
    resource_version: str = ""
    present: bool = True
    """False while no good version of it was ever seen."""
    generation: int | None = None
    errors: tuple[FieldProblem, ...] = ()
    warnings: tuple[FieldProblem, ...] = ()
    unsupported: tuple[FieldProblem, ...] = ()


class OwnedGateway(msgspec.Struct, frozen=True):
    """A Gateway whose class is ours."""

    key: str
    gateway: Gateway
    addresses: tuple[str, ...]
    """Addresses that its listeners bind; empty means that none that it asks for can be had."""
    problems: tuple[Condition, ...]
    """Of the Gateway as a whole; with one of them nothing of it is served."""
    waypoint_for: str = ""
    """What a waypoint captures: ``service``, ``all``, or another word, which is nothing; empty for what is no waypoint."""


class Listener(msgspec.Struct, frozen=True):
    """A listener of an owned Gateway."""

    key: tuple[str, str]
    """Gateway key, listener name."""
    port: int
    protocol: str
    hostname: str
    """Lower case; ``*`` for all."""
    addresses: tuple[str, ...]
    allowed: AllowedRoutes
    kinds: tuple[RouteGroupKind, ...]
    """Supported kinds that may attach; empty means none."""
    accepted: Condition
    conflicted: Condition
    kinds_resolved: Condition

    @property
    def gateway(self) -> str:
        """``namespace/name`` of its Gateway."""
        return self.key[0]

    @property
    def name(self) -> str:
        """Its name in the Gateway."""
        return self.key[1]

    @property
    def valid(self) -> bool:
        """Whether it can be served, certificates aside."""
        return self.accepted.status and not self.conflicted.status

    @property
    def route_configuration(self) -> str:
        """Name of the RouteConfiguration that serves it: a function of port and hostname alone, for all time.

        Empty for a listener of a waypoint, whose chains have one each.
        """
        if self.protocol not in ("HTTP", "HTTPS"):
            return ""
        return f"http~{self.port}" if self.protocol == "HTTP" else f"https~{self.port}~{self.hostname}"


class ListenerCertificates(msgspec.Struct, frozen=True):
    """What the certificateRefs of an HTTPS listener resolve to."""

    key: tuple[str, str]
    secrets: tuple[str, ...]
    """Keys of the Secrets that it may use, in the order of the references; those that are missing or broken included."""
    usable: tuple[str, ...]
    """Those of them that hold a certificate."""
    problems: tuple[Condition, ...]


class ListenerPort(msgspec.Struct, frozen=True):
    """One address and port of a Gateway: what becomes one Envoy listener."""

    key: tuple[str, str, int]
    """Gateway, address, port."""
    chains: tuple[ListenerChain, ...]
    """Sorted by hostname. Plain HTTP has one, for all hostnames; a waypoint's port has none here."""


class ListenerChain(msgspec.Struct, frozen=True):
    """One filter chain: a hostname by SNI, or all plain HTTP."""

    hostname: str
    protocol: str
    route_configuration: str
    secrets: tuple[str, ...] = ()


class AttachedListener(msgspec.Struct, frozen=True):
    """A listener that a route is attached to, and the hostnames that it serves there."""

    name: str
    port: int
    protocol: str
    hostname: str
    """The listener's own; ``*`` for all."""
    route_configuration: str
    hostnames: tuple[str, ...]
    """The route's, as far as requests for them belong to this listener."""


class RouteParent(msgspec.Struct, frozen=True):
    """One parentRef of a route that names a Gateway of ours, or a service that a waypoint of ours captures."""

    reference: ParentReference
    gateway: str
    """The Gateway, or the service's waypoint."""
    listeners: tuple[AttachedListener, ...]
    accepted: Condition
    chains: tuple[tuple[str, str], ...] = ()
    """Of a service: the keys of the ``WaypointChain`` rows that the route is for; sorted."""


class RouteAttachment(msgspec.Struct, frozen=True):
    """An HTTPRoute and its parents of ours, in the order of its parentRefs."""

    key: str
    parents: tuple[RouteParent, ...]


class ListenerRoute(msgspec.Struct, frozen=True):
    """A route counts for a listener."""

    key: tuple[str, str, str]
    """Gateway, listener name, route."""


class HostRoute(msgspec.Struct, frozen=True):
    """A route serves a hostname of a RouteConfiguration; or, with an empty route, a listener says whose the hostname is."""

    key: tuple[str, str, str, str]
    """Gateway, route configuration, hostname, route."""
    listener: str
    """Hostname of the listener that the requests belong to; one and the same for all that share the first three."""
    misdirected: bool = False
    """The hostname is another listener's of the port: who asks for it on this connection is answered with 421."""


class BackendTarget(msgspec.Struct, frozen=True):
    """Where a share of a rule's requests goes."""

    cluster: str
    """Empty when the reference does not resolve: this share is answered with 500."""
    weight: int
    request_headers: HTTPHeaderFilter | None = None
    response_headers: HTTPHeaderFilter | None = None
    rewrite_hostname: str = ""


class MirrorTarget(msgspec.Struct, frozen=True):
    """Where copies of a rule's requests go."""

    cluster: str
    parts_per_million: int


class RouteRule(msgspec.Struct, frozen=True):
    """A rule of an HTTPRoute with its references resolved."""

    index: int
    matches: tuple[HTTPRouteMatch, ...]
    backends: tuple[BackendTarget, ...] = ()
    mirrors: tuple[MirrorTarget, ...] = ()
    request_headers: HTTPHeaderFilter | None = None
    response_headers: HTTPHeaderFilter | None = None
    redirect: HTTPRequestRedirectFilter | None = None
    rewrite: HTTPURLRewriteFilter | None = None
    rewrite_hostname: str = ""
    """From a Host header that is set; the rewrite has precedence."""
    timeout_ms: int | None = None
    """Milliseconds; 0 disables it; None where the route does not say."""
    failure: str = ""
    """Why the rule as a whole cannot be served; its requests get 500."""
    unmatchable: tuple[int, ...] = ()
    """Positions of matches that cannot be compared with; nobody can tell which requests they mean, so they get none."""


class ResolvedRoute(msgspec.Struct, frozen=True):
    """An HTTPRoute ready for translation."""

    key: str
    created: str
    """RFC 3339, as the object has it; empty sorts last."""
    rules: tuple[RouteRule, ...]
    unresolved: tuple[Condition, ...]
    """Of ResolvedRefs, in the order of the rules."""
    invalid: tuple[Condition, ...]
    """Of Accepted or PartiallyInvalid: rules that cannot be served."""


class Permission(msgspec.Struct, frozen=True):
    """One pair of a ReferenceGrant."""

    key: tuple[str, int, int]
    """Grant, index of from, index of to."""
    from_kind: str
    from_namespace: str
    to_kind: str
    to_namespace: str
    to_name: str
    """Empty for all."""


class ObjectStatus(msgspec.Struct, frozen=True):
    """The status of one object, as it would be written."""

    key: str
    """``Kind namespace/name``."""
    document: bytes
    """Canonical JSON: bytes compare and hash as the value does."""
