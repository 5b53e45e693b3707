"""What is remembered, and told, of what a proxy rejects."""

import msgspec

from controlplane.xds.probe import RejectedRoute
from controlplane.xds.tables import Entry


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
