"""Conditions and their reasons, spelled as Gateway API spells them.

A user's mistake in configuration is one of these values, never an exception. The names are those of ``apis/v1`` of Gateway
API v1.6 (``GatewayConditionAccepted``, ``ListenerReasonHostnameConflict`` ...), except where a docstring says that it is ours.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Final

import msgspec

_ROOM: Final = 32_000
"""Characters for all findings of a condition: the API's 32,768, less what stands before and after them."""
_LONGEST: Final = 4_000
"""Characters of one."""


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
    DELIVERED = "controlplane.dev/Delivered"
    """Ours, of routes: False while proxies wait with a form of it. Set only where there is something to say."""
    CONSISTENT = "controlplane.dev/Consistent"
    """Ours, of DestinationRules: False when its labels and localities fit neither endpoints nor proxies, or are malformed."""

    FRESH = "controlplane.dev/Fresh"
    """Ours, of Gateways: False while what is served is what the log says, because sources have not been read again. Set only
    where it is False."""


class Reason(StrEnum):
    """Reasons that stand in our conditions."""

    ACCEPTED = "Accepted"
    PROGRAMMED = "Programmed"
    NO_CONFLICTS = "NoConflicts"
    RESOLVED_REFS = "ResolvedRefs"
    INVALID = "Invalid"
    PENDING = "Pending"
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
    CLUSTER_NOT_READY = "ClusterNotReady"
    """Ours, with DELIVERED: proxies have not proven clusters that the newest form leads to."""
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
    SERVED_FROM_LOG = "ServedFromLog"
    """Ours, with FRESH."""


_MOST: Final = 32_768
"""Characters that Kubernetes takes of a message; a longer one would have the whole status refused."""


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
            "message": self.message if len(self.message) <= _MOST else f"{self.message[: _MOST - 3]}...",
        }
        if generation is not None:
            document["observedGeneration"] = generation
        return document


def numbered(findings: Iterable[str]) -> str:
    """Several findings in one message: each once, in their order, and where there are several with its number.

    A finding has semicolons of its own, before its remedy, so they alone would not tell where one ends. What there is no room
    for is counted.
    """
    found = list(dict.fromkeys(text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..." for text in findings))
    if len(found) < 2:
        return "".join(found)
    told: list[str] = []
    room = _ROOM
    for number, finding in enumerate(found, 1):
        text = f"({number}) {finding}"
        room -= len(text) + len("; ")
        if room < 0:
            told.append(f"and {len(found) - number + 1} more")
            break
        told.append(text)
    return "; ".join(told)


def combine(type: ConditionType, good: Reason, problems: tuple[Condition, ...]) -> Condition:  # noqa: A002
    """One condition of several findings: the first problem's reason, all messages; without problems, True and ``good``."""
    if not problems:
        return Condition(type, True, good)
    return Condition(type, False, problems[0].reason, numbered(problem.message for problem in problems))
