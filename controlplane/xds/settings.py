"""What an operator may set, with the values that hold where nothing is set."""

import msgspec
from grpclib.config import Configuration

from controlplane.xds.limits import Limits


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of the server."""

    identifier: str = "controlplane"
    """Who we are, in every response; the replica's name where there are several."""
    max_message: int = 16 * 2**20
    """Octets of one request; it is refused before its body is read."""
    max_connections: int = 4000
    """Open connections of all clients together; a further one is closed at once."""
    max_streams: int = 2000
    """Open streams of all proxies together; a further one is answered ``RESOURCE_EXHAUSTED``."""
    max_connection_streams: int = 100
    """Open streams of one connection; a further one is answered ``RESOURCE_EXHAUSTED``."""
    streams_per_second: float = 100.0
    """How many streams may begin, on average; the others wait for their turn."""
    streams_burst: int = 200
    """How many may begin at once after a pause."""
    admission_seconds: float = 60.0
    """A stream that would have to wait longer than this to begin is answered ``UNAVAILABLE``."""
    streams_at_once: int = 16
    """How many streams are given their first answers at a time; the others wait for their turn."""
    turn_seconds: float = 1.0
    """How long such a turn lasts at most."""
    handshake_seconds: float = 10.0
    """For the TLS handshake; the connection is closed then."""
    introduction_seconds: float = 30.0
    """A stream without a first request for this long is answered ``RESOURCE_EXHAUSTED``."""
    idle_seconds: float = 60.0
    """A connection without a stream for this long, at most twice as long, is closed."""
    send_seconds: float = 30.0
    """A response that the proxy does not read for this long ends its connection."""
    answer_seconds: float = 120.0
    """A proxy that says nothing at all for this long, though a response is unanswered, loses its connection. Clusters do not
    count: while one warms, Envoy holds back its answer to them."""
    report_seconds: float = 1.0
    """At most one ``ProxyAcknowledged`` of a proxy in this time."""
    keepalive_seconds: float = 30.0
    """A connection on which nothing comes for this long is pinged, whether it has a stream or not."""
    keepalive_timeout_seconds: float = 20.0
    """If nothing comes for this long after that, it is aborted."""
    limits: Limits = Limits()
    """Of each stream."""

    def grpc_configuration(self) -> Configuration:
        """For grpclib, whose own keepalive is off: it cannot end a connection with unsent bytes. Ours is in ``connections``."""
        return Configuration(_keepalive_time=None)
