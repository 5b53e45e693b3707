"""Ports of captured services into filter chains of their waypoint, and the listener that takes the PROXY protocol.

Whatever brings a connection says where it was going: the PROXY protocol, or the CONNECT that HBONE wraps it in
(``waypoint_tunnel``). Envoy takes that for the connection's own destination, so one listener has a chain for each port of
each captured service, by port and addresses, and closes what none of them matches: a waypoint is no open relay.

Both ways lead to equal chains but for who the client is, which each has learned where it ends: here from a TLV of the PROXY
protocol, there from the client's certificate.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_network
from typing import Final, Literal

from controlplane._proto.envoy.config.core.v3 import (
    Address,
    CidrRange,
    DataSource,
    SocketAddress,
    SubstitutionFormatString,
)
from controlplane._proto.envoy.config.listener.v3 import (
    Filter,
    FilterChain,
    FilterChainMatch,
    Listener,
    ListenerFilter,
)
from controlplane._proto.envoy.extensions.filters.common.set_filter_state.v3 import (
    FilterStateValue,
    FilterStateValueSharedWithUpstream,
)
from controlplane._proto.envoy.extensions.filters.listener.proxy_protocol.v3 import (
    ProxyProtocol,
    ProxyProtocolKeyValuePair,
    ProxyProtocolRule,
)
from controlplane._proto.envoy.extensions.filters.network.http_connection_manager.v3 import HttpFilter
from controlplane._proto.envoy.extensions.filters.network.set_filter_state.v3 import Config as SetFilterState
from controlplane._proto.envoy.extensions.filters.network.tcp_proxy.v3 import TcpProxy
from controlplane._proto.google.protobuf import Any
from controlplane.model.events import Settings
from controlplane.model.served_names import listener_name
from controlplane.model.waypoints import WaypointChain, WaypointListener
from controlplane.translate.authorization_matchers import PEER_PRINCIPAL
from controlplane.translate.listener import (
    BUFFER_LIMIT,
    connection_manager,
    manager_filter,
    reuse_port,
)
from controlplane.translate.wire import embed

_PRINCIPAL_TLV: Final = 0xD0
_PROXY_PROTOCOL: Final = "envoy.filters.listener.proxy_protocol"
_TCP_PROXY: Final = "envoy.filters.network.tcp_proxy"
_METADATA_KEY: Final = "peer_principal"
_FILTER_CHAINS: Final = 3
"""Field of Listener. Source: listener.proto."""


def state_value(key: str, text: str, factory: str = "") -> FilterStateValue:
    """An object of the filter state.

    Where the text has nothing to say there is no object. Envoy would write ``-``, which is a value: a policy that asks for any
    principal at all would be content with it.
    """
    return FilterStateValue(
        object_key=key,
        factory_key=factory,
        format_string=SubstitutionFormatString(
            text_format_source=DataSource(inline_string=text), omit_empty_values=True
        ),
        shared_with_upstream=FilterStateValueSharedWithUpstream.ONCE,
        skip_if_empty=True,
    )


def _principal_of_proxy_protocol() -> Filter:
    text = f"%DYNAMIC_METADATA({_PROXY_PROTOCOL}:{_METADATA_KEY})%"
    value = state_value(PEER_PRINCIPAL, text, "envoy.string")
    return Filter(name="proxy_protocol_authority", typed_config=Any.pack(SetFilterState(on_new_connection=[value])))


def translate_chain(
    chain: WaypointChain,
    protocol: Literal["PROXY", "HBONE"],
    http_filters: Sequence[HttpFilter] = (),
    network_filters: Sequence[Filter] = (),
) -> bytes:
    """The filter chain of a service's port.

    Args:
        chain: It.
        protocol: Of the listener that it is for.
        http_filters: Of its policies, if it speaks HTTP.
        network_filters: Of its policies, if it does not.
    """
    assert chain.addresses, f"{chain.key}: a chain without addresses would match all"
    networks = [ip_network(address) for address in chain.addresses]
    ranges = [CidrRange(address_prefix=str(n.network_address), prefix_len=n.prefixlen) for n in networks]
    filters = [_principal_of_proxy_protocol()] if protocol == "PROXY" else []
    if chain.application == "http":
        manager = connection_manager(chain.route_configuration, http_filters)
        # What another proxy has said of the request holds: a gateway before us ended the TLS that the backend must know of, and
        # began the trace. Without a word of it the client is whom the connection comes from.
        manager.xff_num_trusted_hops = 1
        manager.preserve_external_request_id = True
        filters.append(manager_filter(manager))
    else:
        proxy = TcpProxy(stat_prefix=chain.key[1], cluster=chain.cluster)
        filters += [*network_filters, Filter(name=_TCP_PROXY, typed_config=Any.pack(proxy))]
    return bytes(
        FilterChain(
            name=chain.key[1],
            filter_chain_match=FilterChainMatch(destination_port=chain.port, prefix_ranges=ranges),
            filters=filters,
        )
    )


def with_chains(listener: Listener, chains: Sequence[bytes]) -> bytes:
    """A listener with chains that are encoded already. Cost: O(octets), none of them is encoded again."""
    return bytes(listener) + b"".join(embed(_FILTER_CHAINS, chain) for chain in chains)


def translate_proxy_listener(
    row: WaypointListener, chains: Sequence[bytes], settings: Settings
) -> tuple[str, bytes] | None:
    """Name and bytes of the listener for connections that a node's proxy has unwrapped already.

    It believes what the PROXY protocol says, so nobody but the node's proxy may reach its port: that is for the network to see
    to, as for every waypoint of this kind.

    Its name is that of every other listener, its address and port: infrastructure finds the port that cannot be bound by it
    (kgateway's ``proxy_protocol_inbound`` would say of which waypoint, not where).

    Args:
        row: The listener.
        chains: What ``translate_chain`` made, sorted by name.
        settings: The control plane's.

    Returns:
        None without chains, which Envoy takes no listener without: nothing is captured, so nobody has a reason to come.
    """
    if not chains:
        return None
    _, address, port = row.key
    name = listener_name(address, port)
    principal = ProxyProtocolRule(tlv_type=_PRINCIPAL_TLV, on_tlv_present=ProxyProtocolKeyValuePair(key=_METADATA_KEY))
    protocol = ProxyProtocol(rules=[principal])
    listener = Listener(
        name=name,
        address=Address(socket_address=SocketAddress(address=address, port_value=port)),
        listener_filters=[ListenerFilter(name=_PROXY_PROTOCOL, typed_config=Any.pack(protocol))],
        per_connection_buffer_limit_bytes=BUFFER_LIMIT,
        enable_reuse_port=reuse_port(settings),
    )
    return name, with_chains(listener, chains)
