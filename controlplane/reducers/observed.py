"""What connected proxies were seen to have, as far as a status tells of it.

An acknowledgement changes the row of its proxy and, most of the time, nothing here: what a status reads is whether there is any
proxy at all, not how many.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from controlplane.krt import Collection, Count, Fetch, Graph
from controlplane.model.conditions import Condition, ConditionType, Reason
from controlplane.model.ir import Listener, OwnedGateway
from controlplane.model.served_names import listener_name
from controlplane.model.waypoints import WaypointChain
from controlplane.reducers.base import Base, current_settings
from controlplane.reducers.proxies import Proxy


class ListenerInUse(msgspec.Struct, frozen=True):
    """A proxy was seen to have a listener in use."""

    key: tuple[str, str, str]
    """Gateway, the Envoy listener's name, proxy."""


@dataclass(frozen=True)
class Observed:
    """Who is connected, and what is in use."""

    connected: Collection[Count]
    """Proxies, by gateway."""
    in_use: Collection[Count]
    """Proxies that have a listener in use, by (gateway, name)."""
    chains: Collection[Count]
    """Chains of a waypoint, by gateway: without one there is nothing that a proxy could have."""

    @property
    def reads(self) -> tuple[Collection[Count], ...]:
        """What whoever asks ``pending`` reads, beside the settings."""
        return self.connected, self.in_use, self.chains

    def pending(self, fetch: Fetch, base: Base, listener: Listener, owned: OwnedGateway) -> Condition | None:
        """Why a listener is not programmed yet; None where a proxy has it, or where nobody looks."""
        if not current_settings(fetch, base).observe_proxies:
            return None
        if not fetch.exists(self.connected, owned.key):
            return _pending(f"no proxy of Gateway {owned.key} is connected")
        if owned.waypoint_for and not fetch.exists(self.chains, owned.key):
            return None
        for address in listener.addresses:
            if not fetch.exists(self.in_use, (owned.key, listener_name(address, listener.port))):
                return _pending(f"no connected proxy has {address}:{listener.port} in use yet")
        return None


def _pending(message: str) -> Condition:
    return Condition(ConditionType.PROGRAMMED, False, Reason.PENDING, message)


def declare_observed(graph: Graph, base: Base, chains: Collection[WaypointChain]) -> Observed:
    """Declare what is seen of proxies."""

    def listeners_of(proxy: Proxy, fetch: Fetch) -> Iterator[ListenerInUse]:
        for name in proxy.listeners:
            yield ListenerInUse((proxy.gateway, name, proxy.key))

    in_use = graph.map("listeners_in_use", ListenerInUse, base.proxies, listeners_of)
    return Observed(
        graph.count("proxies_of_gateways", base.proxies, by=lambda proxy: proxy.gateway),
        graph.count("proxies_of_listeners", in_use, by=lambda row: row.key[:2]),
        graph.count("chains_of_waypoints", chains, by=lambda chain: chain.key[0]),
    )
