"""Ports of gateways into listeners and route configurations.

What stands outside of the filter chains never changes while a port is served, and the chains are in order of their hostname, so
that Envoy updates a listener in place and disturbs no connection of another hostname (reference: envoy-observed, "Listeners").
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Final

from controlplane._proto.envoy.config.core.v3 import (
    Address,
    HttpProtocolOptions,
    SocketAddress,
    TransportSocket,
)
from controlplane._proto.envoy.config.listener.v3 import (
    Filter,
    FilterChain,
    FilterChainMatch,
    Listener,
    ListenerFilter,
)
from controlplane._proto.envoy.config.route.v3 import RouteConfiguration, Vhds
from controlplane._proto.envoy.extensions.filters.http.router.v3 import Router
from controlplane._proto.envoy.extensions.filters.listener.tls_inspector.v3 import TlsInspector
from controlplane._proto.envoy.extensions.filters.network.http_connection_manager.v3 import (
    HttpConnectionManager,
    HttpConnectionManagerServerHeaderTransformation,
    HttpConnectionManagerUpgradeConfig,
    HttpFilter,
    Rds,
)
from controlplane._proto.envoy.extensions.transport_sockets.tls.v3 import (
    CommonTlsContext,
    DownstreamTlsContext,
    SdsSecretConfig,
)
from controlplane._proto.google.protobuf import Any
from controlplane.model.events import Settings
from controlplane.model.ir import ListenerChain, ListenerPort
from controlplane.model.served_names import listener_name
from controlplane.translate.config_source import ads
from controlplane.translate.wire import embed

BUFFER_LIMIT: Final = 32_768
TLS: Final = "envoy.transport_sockets.tls"
_VIRTUAL_HOSTS: Final = 2
"""Field of RouteConfiguration. Source: route.proto."""
_ROUTER: Final = "envoy.filters.http.router"
_MANAGER: Final = "envoy.filters.network.http_connection_manager"
_TLS_INSPECTOR: Final = "envoy.filters.listener.tls_inspector"


def router() -> HttpFilter:
    """The last of all HTTP filters."""
    return HttpFilter(name=_ROUTER, typed_config=Any.pack(Router()))


def manager_filter(manager: HttpConnectionManager) -> Filter:
    """The network filter that speaks HTTP."""
    return Filter(name=_MANAGER, typed_config=Any.pack(manager))


def connection_manager(route_configuration: str, filters: Sequence[HttpFilter] = ()) -> HttpConnectionManager:
    """How HTTP is taken, wherever it comes from: these filters, then the routes of a route configuration."""
    return HttpConnectionManager(
        stat_prefix=route_configuration,
        rds=Rds(config_source=ads(), route_config_name=route_configuration),
        http_filters=[*filters, router()],
        upgrade_configs=[HttpConnectionManagerUpgradeConfig(upgrade_type="websocket")],
        use_remote_address=True,
        # The backend's own Server header, and what a route makes of it; Envoy would overwrite both.
        server_header_transformation=HttpConnectionManagerServerHeaderTransformation.PASS_THROUGH,
        normalize_path=True,
        common_http_protocol_options=HttpProtocolOptions(idle_timeout=timedelta(hours=1)),
    )


def reuse_port(settings: Settings) -> bool | None:
    """Whether a port can be shared: by two Envoys of one machine it would be in silence."""
    return False if settings.infra == "host" else None


def _transport_socket(chain: ListenerChain) -> TransportSocket | None:
    if chain.protocol != "HTTPS":
        return None
    secrets = [SdsSecretConfig(name=name, sds_config=ads()) for name in chain.secrets]
    common = CommonTlsContext(tls_certificate_sds_secret_configs=secrets, alpn_protocols=["h2", "http/1.1"])
    return TransportSocket(name=TLS, typed_config=Any.pack(DownstreamTlsContext(common_tls_context=common)))


def _filter_chain(chain: ListenerChain) -> FilterChain:
    by_name = chain.protocol == "HTTPS" and chain.hostname != "*"
    return FilterChain(
        name=chain.route_configuration,
        filter_chain_match=FilterChainMatch(server_names=[chain.hostname]) if by_name else None,
        filters=[manager_filter(connection_manager(chain.route_configuration))],
        transport_socket=_transport_socket(chain),
    )


def translate_listener(row: ListenerPort, settings: Settings) -> tuple[str, bytes]:
    """Name and bytes of the listener of a port."""
    _, address, port = row.key
    name = listener_name(address, port)
    tls = row.chains[0].protocol == "HTTPS"
    inspector = ListenerFilter(name=_TLS_INSPECTOR, typed_config=Any.pack(TlsInspector()))
    listener = Listener(
        name=name,
        address=Address(socket_address=SocketAddress(address=address, port_value=port)),
        filter_chains=[_filter_chain(chain) for chain in row.chains],
        listener_filters=[inspector] if tls else [],
        per_connection_buffer_limit_bytes=BUFFER_LIMIT,
        enable_reuse_port=reuse_port(settings),
    )
    return name, bytes(listener)


def translate_route_configuration(name: str) -> bytes:
    """A route configuration: a name and the way to its virtual hosts, the same for all time (ADR 0002)."""
    return bytes(RouteConfiguration(name=name, vhds=Vhds(config_source=ads()), ignore_port_in_host_matching=True))


def compose_route_configuration(name: str, virtual_hosts: Iterable[bytes]) -> bytes:
    """A route configuration that holds its virtual hosts, which are encoded already. For the few of a chain of a waypoint."""
    frame = bytes(RouteConfiguration(name=name, ignore_port_in_host_matching=True))
    return b"".join((frame, *(embed(_VIRTUAL_HOSTS, body) for body in virtual_hosts)))
