"""HBONE: connections inside of CONNECT requests over mutual TLS, unwrapped and handed to a listener inside of the process.

    client's proxy ── TLS, HTTP/2 ──> listener~{address}~15008 ── CONNECT ──> cluster main_internal
                                                                                     │ (same process)
                      a chain for each service's port <── listener main_internal <───┘

What the outer listener has learned of the client goes along as filter state: where it wanted to go, where it comes from, who it
is. The inner one takes the first two for its connection's own addresses.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from controlplane._proto.envoy.config.cluster.v3 import Cluster, ClusterDiscoveryType
from controlplane._proto.envoy.config.core.v3 import (
    Address,
    EnvoyInternalAddress,
    Http2ProtocolOptions,
    KeepaliveSettings,
    SocketAddress,
    TransportSocket,
)
from controlplane._proto.envoy.config.endpoint.v3 import (
    ClusterLoadAssignment,
    Endpoint,
    LbEndpoint,
    LocalityLbEndpoints,
)
from controlplane._proto.envoy.config.listener.v3 import (
    FilterChain,
    Listener,
    ListenerFilter,
    ListenerInternalListenerConfig,
)
from controlplane._proto.envoy.config.route.v3 import (
    Route,
    RouteAction,
    RouteActionUpgradeConfig,
    RouteActionUpgradeConfigConnectConfig,
    RouteConfiguration,
    RouteMatch,
    RouteMatchConnectMatcher,
    VirtualHost,
)
from controlplane._proto.envoy.extensions.filters.http.set_filter_state.v3 import Config as SetFilterState
from controlplane._proto.envoy.extensions.filters.listener.original_dst.v3 import OriginalDst
from controlplane._proto.envoy.extensions.filters.network.http_connection_manager.v3 import (
    HttpConnectionManager,
    HttpConnectionManagerCodecType,
    HttpConnectionManagerUpgradeConfig,
    HttpFilter,
)
from controlplane._proto.envoy.extensions.transport_sockets.internal_upstream.v3 import InternalUpstreamTransport
from controlplane._proto.envoy.extensions.transport_sockets.raw_buffer.v3 import RawBuffer
from controlplane._proto.envoy.extensions.transport_sockets.tls.v3 import (
    CommonTlsContext,
    DownstreamTlsContext,
    SdsSecretConfig,
)
from controlplane._proto.google.protobuf import Any
from controlplane.model.events import Settings
from controlplane.model.served_names import listener_name
from controlplane.model.waypoints import WaypointListener
from controlplane.translate.authorization_matchers import PEER_PRINCIPAL
from controlplane.translate.config_source import ads
from controlplane.translate.connection_pool import translate_limits
from controlplane.translate.listener import BUFFER_LIMIT, TLS, manager_filter, reuse_port, router
from controlplane.translate.secret import ca_name
from controlplane.translate.waypoint import state_value, with_chains

MAIN_INTERNAL: Final = "main_internal"
"""Name of the inner listener, and of the cluster that leads there. No service's cluster is called so: they have prefixes."""

_CONNECT: Final = "CONNECT"
_ORIGINAL_DESTINATION: Final = "envoy.filters.listener.original_dst"
_WITHOUT_LIMIT: Final = timedelta(0)
_KEEPALIVE: Final = KeepaliveSettings(interval=timedelta(seconds=10), timeout=timedelta(seconds=20))
"""Connections of nodes that are gone would else keep their tunnels open for good. As ztunnel's own."""


def _client_filter() -> HttpFilter:
    """What is known of the client, for the inner listener.

    The principal must be *hashable*: Envoy keeps inner connections apart by what of their filter state is, and hands one
    client's connection, with its principal, to another client where nothing tells the two apart. That was seen with
    ``envoy.string``: of two clients who asked for one address at a time, all were taken for one.

    The address that the connection comes from is taken as it is; what a client says of itself in x-forwarded-for is not looked at.
    """
    values = [
        state_value(f"{_ORIGINAL_DESTINATION}.local_ip", "%REQ(:AUTHORITY)%"),
        state_value(f"{_ORIGINAL_DESTINATION}.remote_ip", "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS%"),
        state_value(PEER_PRINCIPAL, "%DOWNSTREAM_PEER_URI_SAN%", "envoy.hashable_string"),
    ]
    return HttpFilter(name="connect_authority", typed_config=Any.pack(SetFilterState(on_request_headers=values)))


def _connect_manager() -> HttpConnectionManager:
    connect = Route(
        name="connect",
        match=RouteMatch(connect_matcher=RouteMatchConnectMatcher()),
        route=RouteAction(
            cluster=MAIN_INTERNAL,
            timeout=_WITHOUT_LIMIT,
            upgrade_configs=[
                RouteActionUpgradeConfig(upgrade_type=_CONNECT, connect_config=RouteActionUpgradeConfigConnectConfig())
            ],
        ),
    )
    host = VirtualHost(name="connect", domains=["*"], routes=[connect])
    return HttpConnectionManager(
        stat_prefix="hbone",
        codec_type=HttpConnectionManagerCodecType.HTTP2,
        route_config=RouteConfiguration(name="connect", virtual_hosts=[host]),
        http_filters=[_client_filter(), router()],
        http2_protocol_options=Http2ProtocolOptions(allow_connect=True, connection_keepalive=_KEEPALIVE),
        upgrade_configs=[HttpConnectionManagerUpgradeConfig(upgrade_type=_CONNECT)],
        # A tunnel may be silent for as long as what goes through it.
        stream_idle_timeout=_WITHOUT_LIMIT,
    )


def _mutual_tls(secrets: Sequence[str], authority: str) -> TransportSocket:
    common = CommonTlsContext(
        tls_certificate_sds_secret_configs=[SdsSecretConfig(name=name, sds_config=ads()) for name in secrets],
        validation_context_sds_secret_config=SdsSecretConfig(name=ca_name(authority), sds_config=ads()),
        alpn_protocols=["h2"],
    )
    context = DownstreamTlsContext(common_tls_context=common, require_client_certificate=True)
    return TransportSocket(name=TLS, typed_config=Any.pack(context))


def translate_hbone_listener(row: WaypointListener, authority: str, settings: Settings) -> tuple[str, bytes]:
    """Name and bytes of the listener that unwraps connections.

    It changes with its certificates alone, whatever is captured.

    Args:
        row: The listener, with at least one Secret.
        authority: The Secret whose certificates of authorities clients must be of. Without one every client would be believed,
            whoever it says that it is, so there is no listener without.
        settings: The control plane's.
    """
    _, address, port = row.key
    name = listener_name(address, port)
    chain = FilterChain(
        name="hbone",
        filters=[manager_filter(_connect_manager())],
        transport_socket=_mutual_tls(row.secrets, authority),
    )
    listener = Listener(
        name=name,
        address=Address(socket_address=SocketAddress(address=address, port_value=port)),
        filter_chains=[chain],
        per_connection_buffer_limit_bytes=BUFFER_LIMIT,
        enable_reuse_port=reuse_port(settings),
    )
    return name, bytes(listener)


def translate_internal_listener(chains: Sequence[bytes]) -> bytes:
    """The inner listener.

    Args:
        chains: What ``translate_chain`` made for HBONE, sorted by name; at least one.
    """
    addresses = ListenerFilter(name=_ORIGINAL_DESTINATION, typed_config=Any.pack(OriginalDst()))
    listener = Listener(
        name=MAIN_INTERNAL,
        internal_listener=ListenerInternalListenerConfig(),
        listener_filters=[addresses],
        per_connection_buffer_limit_bytes=BUFFER_LIMIT,
    )
    return with_chains(listener, chains)


def translate_internal_cluster(settings: Settings) -> bytes:
    """The way to the inner listener. Envoy's own limit of 1,024 connections would be one of 1,024 tunnels."""
    inner = TransportSocket(name="envoy.transport_sockets.raw_buffer", typed_config=Any.pack(RawBuffer()))
    outer = InternalUpstreamTransport(transport_socket=inner)
    address = Address(envoy_internal_address=EnvoyInternalAddress(server_listener_name=MAIN_INTERNAL))
    endpoint = LbEndpoint(endpoint=Endpoint(address=address))
    return bytes(
        Cluster(
            name=MAIN_INTERNAL,
            type=ClusterDiscoveryType.STATIC,
            connect_timeout=timedelta(milliseconds=settings.connect_timeout_ms),
            per_connection_buffer_limit_bytes=BUFFER_LIMIT,
            circuit_breakers=translate_limits(None),
            transport_socket=TransportSocket(
                name="envoy.transport_sockets.internal_upstream", typed_config=Any.pack(outer)
            ),
            load_assignment=ClusterLoadAssignment(
                cluster_name=MAIN_INTERNAL, endpoints=[LocalityLbEndpoints(lb_endpoints=[endpoint])]
            ),
        )
    )
