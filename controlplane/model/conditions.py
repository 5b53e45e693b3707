"""Conditions and their reasons, spelled as Gateway API spells them.

A user's mistake in configuration is one of these values, never an exception. The names are those of ``apis/v1`` of Gateway
API v1.6 (``GatewayConditionAccepted``, ``ListenerReasonHostnameConflict`` ...), except where a docstring says that it is ours.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec


class ConditionType(StrEnum):
    """Types of conditions that we set."""

    ACCEPTED = "Accepted"
    PROGRAMMED = "Programmed"
    CONFLICTED = "Conflicted"
    RESOLVED_REFS = "ResolvedRefs"
    PARTIALLY_INVALID = "PartiallyInvalid"
    OVERLAPPING_TLS_CONFIG = "OverlappingTLSConfig"
    """Set only where it is True, as the API asks."""
    INPUT_VALID = "controlplane.dev/InputValid"
    """Ours: False while the newest form of the object cannot be decoded and its last good form, if any, is served."""
    FULLY_SUPPORTED = "controlplane.dev/FullySupported"
    """Ours: False when the object sets fields that Gateway API has and we do not act on yet, or fields that nobody knows."""
    WAYPOINT_BOUND = "istio.io/WaypointBound"
    """Istio's, of Services and ServiceEntries that name a waypoint: whether it takes their traffic."""
    IN_EFFECT = "controlplane.dev/InEffect"
    """Ours, of DestinationRules: False when nobody goes by it. Set only where there is something to say."""
    CONSISTENT = "controlplane.dev/Consistent"
    """Ours, of DestinationRules: False when its labels and localities fit neither endpoints nor proxies, or are malformed."""


class Reason(StrEnum):
    """Reasons that stand in our conditions."""

    ACCEPTED = "Accepted"
    PROGRAMMED = "Programmed"
    NO_CONFLICTS = "NoConflicts"
    RESOLVED_REFS = "ResolvedRefs"
    INVALID = "Invalid"
    INVALID_PARAMETERS = "InvalidParameters"
    UNSUPPORTED_ADDRESS = "UnsupportedAddress"
    UNSUPPORTED_PROTOCOL = "UnsupportedProtocol"
    UNSUPPORTED_VALUE = "UnsupportedValue"
    LISTENERS_NOT_VALID = "ListenersNotValid"
    PORT_UNAVAILABLE = "PortUnavailable"
    PROTOCOL_CONFLICT = "ProtocolConflict"
    OVERLAPPING_HOSTNAMES = "OverlappingHostnames"
    HOSTNAME_CONFLICT = "HostnameConflict"
    INVALID_ROUTE_KINDS = "InvalidRouteKinds"
    INVALID_CERTIFICATE_REF = "InvalidCertificateRef"
    REF_NOT_PERMITTED = "RefNotPermitted"
    NOT_ALLOWED_BY_LISTENERS = "NotAllowedByListeners"
    NO_MATCHING_LISTENER_HOSTNAME = "NoMatchingListenerHostname"
    NO_MATCHING_PARENT = "NoMatchingParent"
    BACKEND_NOT_FOUND = "BackendNotFound"
    INVALID_KIND = "InvalidKind"
    INCOMPATIBLE_FILTERS = "IncompatibleFilters"
    WAYPOINT_ACCEPTED = "WaypointAccepted"
    """Istio's, with WAYPOINT_BOUND, as the three that follow."""
    WAYPOINT_IS_NOT_READY = "WaypointIsNotReady"
    ATTACHMENT_DENIED = "AttachmentDenied"
    UNSUPPORTED_TRAFFIC_TYPE = "UnsupportedTrafficType"
    UNSUPPORTED_FIELD = "UnsupportedField"
    """Ours, with FULLY_SUPPORTED."""
    HOST_NOT_FOUND = "HostNotFound"
    """Ours, with IN_EFFECT: no Service or ServiceEntry has the host."""
    OVERRULED = "Overruled"
    """Ours, with IN_EFFECT: by other rules, for every client (False) or for some (True)."""
    MALFORMED_LOCALITY = "MalformedLocality"
    """Ours, with CONSISTENT: a locality of the rule or of an endpoint of its host cannot be meant as it stands."""
    LABEL_NOT_FOUND = "LabelNotFound"
    """Ours, with CONSISTENT: a failoverPriority that no endpoint or no proxy carries."""
    NO_OUTLIER_DETECTION = "NoOutlierDetection"
    """Ours, with CONSISTENT, which stays True: failover waits until an endpoint is gone."""


class Condition(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """One condition. No clock: the transition time is added when a status is written to a server."""

    type: ConditionType
    status: bool
    reason: Reason
    message: str = ""

    def document(self, generation: int | None) -> dict[str, object]:
        """The condition as it stands in a status, keys as Kubernetes has them."""
        document: dict[str, object] = {
            "type": str(self.type),
            "status": "True" if self.status else "False",
            "reason": str(self.reason),
            "message": self.message,
        }
        if generation is not None:
            document["observedGeneration"] = generation
        return document


def combine(type: ConditionType, good: Reason, problems: tuple[Condition, ...]) -> Condition:  # noqa: A002
    """One condition of several findings: the first problem's reason, all messages; without problems, True and ``good``."""
    if not problems:
        return Condition(type, True, good)
    return Condition(type, False, problems[0].reason, "; ".join(dict.fromkeys(p.message for p in problems)))
