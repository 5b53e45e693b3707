"""Facts about proxies into events, in order, without ever holding up the xDS server."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import anyio

from controlplane.model.events import (
    AnyEvent,
    ProxyAcknowledged,
    ProxyConnected,
    ProxyDisconnected,
    ProxyRejected,
)
from controlplane.runtime.core import Core
from controlplane.xds import events as xds

_LIMIT = 10_000


def to_event(fact: xds.Event) -> AnyEvent:
    """The log's event for a fact of the server."""
    match fact:
        case xds.ProxyConnected():
            place = fact.locality
            return ProxyConnected(
                proxy=fact.proxy,
                node=fact.node,
                gateway=fact.scope,
                locality=f"{place.region}/{place.zone}/{place.sub_zone}".rstrip("/"),
                peer=fact.address,
            )
        case xds.ProxyAcknowledged():
            return ProxyAcknowledged(proxy=fact.proxy, seq=fact.seq)
        case xds.ProxyRejected():
            names = tuple(name for name, _ in fact.resources)
            return ProxyRejected(
                proxy=fact.proxy, gateway=fact.scope, type_url=fact.type_url, names=names, message=fact.message
            )
        case xds.ProxyDisconnected():
            return ProxyDisconnected(proxy=fact.proxy, reason=fact.reason)


def unbindable(fact: xds.ProxyRejected) -> Iterator[tuple[str, str, int]]:
    """The (gateway, address, port) of listeners that an Envoy could not bind, as its rejection says."""
    for name, _ in fact.resources:
        _, _, place = name.partition("~")
        address, _, port = place.rpartition("~")
        # Source: envoy-observed, "Rejections": ``<name>: cannot bind '<address>:<port>': Address already in use``.
        if port.isdecimal() and f"{name}: cannot bind" in fact.message:
            yield fact.scope, address, int(port)


class ProxyJournal:
    """Takes facts at once and appends them as soon as the log has its turn; what came together is one transaction.

    Acknowledgements coalesce: of one proxy only the newest waits. Beyond ``_LIMIT`` waiting facts the oldest rejection is
    dropped, and counted, rather than a connection or its end, without which the rows of proxies would be wrong.
    """

    def __init__(self, core: Core) -> None:
        self._core = core
        self._waiting: deque[AnyEvent] = deque()
        self._acknowledged: dict[str, ProxyAcknowledged] = {}
        self._some = anyio.Event()
        self._taken = 0
        self.dropped = 0

    def put(self, fact: xds.Event) -> None:
        """Take a fact; never waits."""
        event = to_event(fact)
        if isinstance(event, ProxyAcknowledged):
            self._acknowledged[event.proxy] = event
        else:
            if isinstance(event, ProxyDisconnected):
                self._acknowledged.pop(event.proxy, None)
            self._waiting.append(event)
            if len(self._waiting) > _LIMIT:
                self._drop_one()
        self._some.set()

    def _drop_one(self) -> None:
        # What is being appended just now stays where it is.
        for index, event in enumerate(self._waiting):
            if index >= self._taken and isinstance(event, ProxyRejected):
                del self._waiting[index]
                self.dropped += 1
                return

    async def run(self) -> None:
        """Append until cancelled.

        Raises:
            LogError: As ``flush``.
        """
        while True:
            if not (self._waiting or self._acknowledged):
                self._some = anyio.Event()
                await self._some.wait()
            await self.flush()

    async def flush(self) -> None:
        """Append what waits now.

        Raises:
            LogError: It cannot be appended; it waits on.
        """
        self._taken = waiting = len(self._waiting)
        acknowledged = dict(sorted(self._acknowledged.items()))
        try:
            await self._core.append("xds", (*self._waiting, *acknowledged.values()))
        finally:
            self._taken = 0
        # Only now: what the log did not take must not be forgotten, or the rows of proxies would be wrong for good.
        for _ in range(waiting):
            self._waiting.popleft()
        for proxy, event in acknowledged.items():
            if self._acknowledged.get(proxy) is event:
                del self._acknowledged[proxy]
