"""What the server has to tell: facts about proxies, in a form that the runtime turns into events of the log.

The server calls ``on_event`` with one of these, on the event loop, never while it changes its own state. Nothing here holds a
resource's body; a rejection's text has passed ``redact``.
"""

from collections.abc import Callable

import msgspec

from controlplane.xds.node import Locality
from controlplane.xds.rejection import RejectedRoute


class ProxyConnected(msgspec.Struct, frozen=True, kw_only=True):
    """A proxy opened a stream and said who it is. It may still be held at the gate."""

    proxy: str
    """Unique in this life of the process: ``{node id}#{stream number}``."""
    node: str
    cluster: str
    scope: str
    locality: Locality
    labels: tuple[tuple[str, str], ...]
    user_agent: str
    address: str
    """``host:port`` of its end of the connection."""


class ProxyAcknowledged(msgspec.Struct, frozen=True, kw_only=True):
    """A proxy holds everything of its scope up to this position, except what it rejected. Coalesced: not every position comes."""

    proxy: str
    scope: str
    seq: int
    rejected: int
    """Resources that it holds in another version, because it rejected the newest."""
    listeners: tuple[str, ...] = ()
    """Names of the listeners that it has in use, sorted: their RouteConfigurations, virtual hosts and secrets are there."""


class ProxyRejected(msgspec.Struct, frozen=True, kw_only=True):
    """A proxy rejected a response: at least one of these resources is bad, the others are unknown."""

    proxy: str
    scope: str
    type_url: str
    nonce: str
    resources: tuple[tuple[str, str], ...]
    """Name and version of each resource of the response, sorted; the version is empty for a removal."""
    code: int
    message: str
    """The proxy's words, redacted and bounded."""


class ResourceRejected(msgspec.Struct, frozen=True, kw_only=True):
    """A resource that the proxy rejects by itself, whatever stands beside it; or that it never answered."""

    proxy: str
    scope: str
    type_url: str
    name: str
    version: str
    message: str
    fallback_version: str
    """Of what proxies of this scope took last; empty where there was nothing."""
    fallback: bytes
    """Its body; empty where it is no longer known."""
    fallback_clusters: tuple[str, ...]
    routes: tuple[RejectedRoute, ...]
    """Of a virtual host, where some of its routes are at fault and the rest is not."""


class DeliveryWithheld(msgspec.Struct, frozen=True, kw_only=True):
    """The proxy stays at its last version of a resource, because it has not proven clusters that the newest one names."""

    proxy: str
    scope: str
    type_url: str
    name: str
    clusters: tuple[str, ...]
    """Those that it has not proven, sorted."""


class DeliveryResumed(msgspec.Struct, frozen=True, kw_only=True):
    """What was withheld has been sent, or is no longer to be."""

    proxy: str
    scope: str
    type_url: str
    name: str


class ProxyDisconnected(msgspec.Struct, frozen=True, kw_only=True):
    """The stream of a proxy ended."""

    proxy: str
    scope: str
    reason: str


Event = (
    ProxyConnected
    | ProxyAcknowledged
    | ProxyRejected
    | ResourceRejected
    | DeliveryWithheld
    | DeliveryResumed
    | ProxyDisconnected
)
OnEvent = Callable[[Event], None]
