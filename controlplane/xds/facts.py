"""What a machine finds out about its proxy."""

import msgspec

from controlplane.xds.gate import Resumed, Withheld
from controlplane.xds.rejection import Guilty
from controlplane.xds.wire import ErrorDetail


class Acknowledged(msgspec.Struct, frozen=True):
    """The proxy took a response."""

    type_url: str
    nonce: str
    resources: int


class Rejected(msgspec.Struct, frozen=True):
    """The proxy rejected a response."""

    type_url: str
    nonce: str
    items: dict[str, str | None]
    """What stood in it: name to version, None for a removal. Empty when the nonce is unknown."""
    error: ErrorDetail
    """The message is redacted and bounded."""


class RejectedResource(msgspec.Struct, frozen=True):
    """A resource that the proxy rejects, whatever stands beside it. What it is to hold instead is on its way."""

    type_url: str
    resource: Guilty


Fact = Acknowledged | Rejected | RejectedResource | Withheld | Resumed
