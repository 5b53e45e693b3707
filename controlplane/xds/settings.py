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
    max_streams: int = 2000
    """Open streams of all proxies together."""
    send_seconds: float = 30.0
    """A response that the proxy does not read for this long ends its connection."""
    report_seconds: float = 1.0
    """At most one ``ProxyAcknowledged`` of a proxy in this time."""
    keepalive_seconds: float = 30.0
    """Between HTTP/2 pings, also on an idle connection."""
    keepalive_timeout_seconds: float = 20.0
    """A ping without an answer for this long ends the connection."""
    limits: Limits = Limits()
    """Of each stream."""

    def grpc_configuration(self) -> Configuration:
        """Keepalive as grpclib is told of it; its defaults are two hours, and two pings for an idle connection."""
        return Configuration(
            _keepalive_time=self.keepalive_seconds,
            _keepalive_timeout=self.keepalive_timeout_seconds,
            _keepalive_permit_without_calls=True,
            _http2_max_pings_without_data=0,
            _http2_min_sent_ping_interval_without_data=self.keepalive_seconds / 3,
        )
