"""What one stream may cost, and how long it is waited for."""

import msgspec


class Limits(msgspec.Struct, frozen=True):
    """What one stream may cost, and how long an answer may take."""

    names: int = 100_000
    """Explicitly subscribed names of one type."""
    types: int = 32
    """Types beside those that we serve."""
    acknowledge_seconds: float = 5.0
    """After this long without an answer a lane goes on without it; and clusters whose load assignments were acknowledged long
    since are taken for rejected."""
    gate_seconds: float = 5.0
    """For this long a resource is waited for that names clusters which the proxy has not proven."""
    grace_seconds: float = 10.0
    """For this long a cluster stays after nothing names it any more: for retries under way."""
    resolve_seconds: float = 1.0
    """For this long after it took a cluster whose endpoints it finds by itself, the proxy is left to resolve its names before it
    is sent routes there: until then it has no endpoint, and such clusters do not withhold an acknowledgement."""
