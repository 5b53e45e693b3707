"""Limits and timeouts of connections to a backend, and the protocol that is spoken on them."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from controlplane._proto.envoy.config.cluster.v3 import (
    CircuitBreakers,
    CircuitBreakersThresholds,
    UpstreamConnectionOptions,
)
from controlplane._proto.envoy.config.core.v3 import (
    Http1ProtocolOptions,
    Http2ProtocolOptions,
    TcpKeepalive,
    UpstreamHttpProtocolOptions,
)
from controlplane._proto.envoy.config.core.v3 import HttpProtocolOptions as CommonHttpProtocolOptions
from controlplane._proto.envoy.extensions.upstreams.http.v3 import (
    HttpProtocolOptions,
    HttpProtocolOptionsExplicitHttpConfig,
)
from controlplane._proto.google.protobuf import Any
from controlplane.model.events import Settings
from controlplane.model.istio import ConnectionPoolSettings, HTTPSettings, TCPSettings
from controlplane.model.services import Backend
from controlplane.translate.durations import translate_duration, translate_period, whole_seconds

_UNLIMITED: Final = 2**32 - 1
_HTTP_OPTIONS: Final = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_LONGEST_KEEPALIVE_S: Final = 32_767
_MOST_PROBES: Final = 127
"""What Linux takes for TCP_KEEPIDLE, TCP_KEEPINTVL and TCP_KEEPCNT; with more the connection could not be opened."""


def connect_timeout(pool: ConnectionPoolSettings | None, settings: Settings) -> timedelta:
    """How long a connection may take to open; never 0, which Envoy rejects."""
    said = translate_period(_tcp(pool).connect_timeout)
    return said or timedelta(milliseconds=settings.connect_timeout_ms)


def translate_limits(pool: ConnectionPoolSettings | None) -> CircuitBreakers:
    """The circuit breakers. Envoy's own (1,024 requests) are lifted: nobody asked for them, and they answer 503."""
    tcp, http = _tcp(pool), _http(pool)
    return CircuitBreakers(
        thresholds=[
            CircuitBreakersThresholds(
                max_connections=_said(tcp.max_connections) or _UNLIMITED,
                max_pending_requests=_said(http.http1_max_pending_requests) or _UNLIMITED,
                max_requests=_said(http.http2_max_requests) or _UNLIMITED,
                max_retries=_said(http.max_retries) or _UNLIMITED,
            )
        ]
    )


def translate_keepalive(pool: ConnectionPoolSettings | None) -> UpstreamConnectionOptions | None:
    """SO_KEEPALIVE; what of it is not said is the operating system's."""
    keepalive = _tcp(pool).tcp_keepalive
    if keepalive is None:
        return None
    return UpstreamConnectionOptions(
        tcp_keepalive=TcpKeepalive(
            keepalive_probes=min(keepalive.probes, _MOST_PROBES) or None,
            keepalive_time=whole_seconds(keepalive.time, _LONGEST_KEEPALIVE_S),
            keepalive_interval=whole_seconds(keepalive.interval, _LONGEST_KEEPALIVE_S),
        )
    )


def speaks_http2(backend: Backend, pool: ConnectionPoolSettings | None) -> bool:
    """Whether the backend is spoken to in HTTP/2. WebSockets need HTTP/1.1, so nothing upgrades them."""
    is_upgraded = backend.protocol == "http" and _http(pool).h2_upgrade_policy == "UPGRADE"
    return backend.protocol == "h2c" or is_upgraded


def translate_http_options(
    backend: Backend, pool: ConnectionPoolSettings | None, *, names_request_host: bool
) -> dict[str, Any]:
    """The cluster's extension options; empty where Envoy's defaults are right.

    Args:
        backend: What is spoken to.
        pool: Its policy's.
        names_request_host: Whether the name for TLS, and the one its certificate must have, is the one in the request.
    """
    common = _common_options(pool)
    is_http2 = speaks_http2(backend, pool)
    if not is_http2 and common is None and not names_request_host:
        return {}
    if is_http2:
        streams = _said(_http(pool).max_concurrent_streams)
        explicit = HttpProtocolOptionsExplicitHttpConfig(
            http2_protocol_options=Http2ProtocolOptions(max_concurrent_streams=streams)
        )
    else:
        explicit = HttpProtocolOptionsExplicitHttpConfig(http_protocol_options=Http1ProtocolOptions())
    options = HttpProtocolOptions(common_http_protocol_options=common, explicit_http_config=explicit)
    if names_request_host:
        options.upstream_http_protocol_options = UpstreamHttpProtocolOptions(auto_sni=True, auto_san_validation=True)
    return {_HTTP_OPTIONS: Any.pack(options)}


def _common_options(pool: ConnectionPoolSettings | None) -> CommonHttpProtocolOptions | None:
    """A TCP idle timeout counts where HTTP says none, as in Istio; 0 turns it off."""
    tcp, http = _tcp(pool), _http(pool)
    idle = translate_duration(http.idle_timeout)
    if idle is None:
        idle = translate_duration(tcp.idle_timeout)
    longest = translate_period(tcp.max_connection_duration)
    requests = _said(http.max_requests_per_connection)
    if idle is None and longest is None and requests is None:
        return None
    return CommonHttpProtocolOptions(
        idle_timeout=idle, max_connection_duration=longest, max_requests_per_connection=requests
    )


def _tcp(pool: ConnectionPoolSettings | None) -> TCPSettings:
    return (pool.tcp if pool is not None else None) or TCPSettings()


def _http(pool: ConnectionPoolSettings | None) -> HTTPSettings:
    return (pool.http if pool is not None else None) or HTTPSettings()


def _said(limit: int) -> int | None:
    """A limit; 0 means *not said* in the API, and less than that nothing at all."""
    return limit if limit > 0 else None
