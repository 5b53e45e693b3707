"""What is remembered, and told, of what a proxy rejects."""

import msgspec

from controlplane.xds.tables import Entry


class RejectedRoute(msgspec.Struct, frozen=True):
    """A route that the proxy rejects, whatever stands beside it."""

    name: str
    body: bytes
    """The encoded ``Route``."""
    fallback: bytes
    """The route of that name in the virtual host that was taken last; empty where there was none."""
    message: str = ""
    """The proxy's words about it."""
    cluster: str = ""
    """Where it is not at fault itself: the cluster that it names and that the proxy rejects."""


class Rejection(msgspec.Struct, frozen=True):
    """A resource that stood in a rejected response."""

    version: str | None
    nonce: str
    code: int
    message: str


class Guilty(msgspec.Struct, frozen=True):
    """A resource that was rejected alone."""

    entry: Entry
    """What was rejected."""
    last: Entry | None
    """What proxies took last; None where that is nothing, or no longer known."""
    held: str
    """The version that this proxy held before; empty where it held none, or that is not known."""
    message: str
    routes: tuple[RejectedRoute, ...] = ()
    """Of a virtual host, where some of its routes are at fault and the rest is not."""
    is_local: bool = False
    """Whether it is no more than this proxy's: others have taken it, and it never held any form of it."""
