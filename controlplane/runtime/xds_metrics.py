"""Metrics of the xDS server: its counters, what is open and what waits, and its certificates."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from controlplane.xds import XdsServer

_ENDED = "ended_"
_HELP = {
    "aborted": "Streams that were ended because a response was not read or not answered in time.",
    "acknowledged": "Responses that proxies took.",
    "connections": "Connections that were accepted.",
    "connections_broken": "Connections that were ended because what came was not HTTP/2.",
    "connections_idle": "Connections that were closed because they had no stream.",
    "connections_refused": "Connections that were closed at once because too many are open.",
    "connections_silent": "Connections that were ended because a ping was not answered.",
    "handshakes_failed": "TLS handshakes that failed.",
    "pings": "Pings that were sent.",
    "received_octets": "Octets of requests.",
    "rejected": "Responses that proxies rejected.",
    "requests": "Requests.",
    "responses": "Responses that were sent.",
    "sent_octets": "Octets of responses.",
    "sent_resources": "Resources that were sent.",
    "streams": "Streams that were opened.",
}


class XdsCollector(Collector):
    """Every metric of a server.

    Args:
        server: Whose.
    """

    def __init__(self, server: XdsServer) -> None:
        self._server = server

    def collect(self) -> Iterable[Metric]:
        """The metrics as of now."""
        counters = self._server.counters
        for name, text in _HELP.items():
            yield CounterMetricFamily(f"controlplane_xds_{name}", text, value=counters.get(name, 0))
        ended = CounterMetricFamily(
            "controlplane_xds_streams_refused", "Streams that were ended with an error, by status.", labels=["status"]
        )
        for name, count in sorted(counters.items()):
            if name.startswith(_ENDED):
                ended.add_metric([name.removeprefix(_ENDED)], count)
        yield ended
        server = self._server
        yield GaugeMetricFamily("controlplane_xds_streams_open", "Open streams.", value=server.stream_count)
        yield GaugeMetricFamily(
            "controlplane_xds_streams_waiting", "Streams that wait for their turn to begin.", value=server.waiting_count
        )
        yield GaugeMetricFamily("controlplane_xds_connections_open", "Open connections.", value=server.connection_count)
        yield from self._certificates()

    def _certificates(self) -> Iterator[Metric]:
        certificates = self._server.certificates
        if certificates is None:
            return
        yield GaugeMetricFamily(
            "controlplane_xds_certificate_expires_timestamp_seconds",
            "When the server's certificate expires.",
            value=certificates.expires.timestamp(),
        )
        yield GaugeMetricFamily(
            "controlplane_xds_certificate_failing",
            "Whether the certificate files as they are now cannot be used; the ones before are served.",
            value=float(certificates.failure is not None),
        )
        yield CounterMetricFamily(
            "controlplane_xds_certificate_reloads", "Changes of certificate files taken up.", value=certificates.reloads
        )
        yield CounterMetricFamily(
            "controlplane_xds_certificate_failures",
            "Changes of certificate files that could not be.",
            value=certificates.failures,
        )
