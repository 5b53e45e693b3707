"""Facts about proxies into events, in order, without ever holding up the xDS server."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

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
            return ProxyConnected(
                proxy=fact.proxy,
                node=fact.node,
                gateway=fact.scope,
                locality=str(fact.locality),
                peer=fact.address,
                labels=fact.labels,
            )
        case xds.ProxyAcknowledged():
            return ProxyAcknowledged(proxy=fact.proxy, seq=fact.seq)
        case xds.ProxyRejected():
            names = tuple(name for name, _ in fact.resources)
            return ProxyRejected(
                proxy=fact.proxy, gateway=fact.scope, type_url=fact.type_url, names=names, message=fact.message
            )
        case xds.ResourceRejected() | xds.DeliveryWithheld() | xds.DeliveryResumed():
            raise NotImplementedError
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


def next_number(proxies: Iterable[str]) -> int:
    """The first stream number that none of these proxies has."""
    numbers = (proxy.rpartition("#")[2] for proxy in proxies)
    return 1 + max((int(number) for number in numbers if number.isdecimal()), default=0)


class ProxyJournal:
    """Takes facts at once and appends them as soon as the log has its turn; what came together is one transaction.

    Acknowledgements coalesce: of one proxy only the newest waits. Beyond ``_LIMIT`` waiting facts the oldest rejection is
    dropped, and counted, rather than a connection or its end, without which the rows of proxies would be wrong.
    """

    def __init__(self, core: Core) -> None:
        self._core = core
        self._turn = anyio.Lock()
        self._number = 0
        self._waiting: dict[int, AnyEvent] = {}
        """By a number that grows: in the order in which they came."""
        self._appending: Collection[int] = frozenset()
        self._acknowledged: dict[str, ProxyAcknowledged] = {}
        self._some = anyio.Event()
        self.dropped = 0

    def put(self, fact: xds.Event) -> None:
        """Take a fact; never waits."""
        event = to_event(fact)
        if isinstance(event, ProxyAcknowledged):
            self._acknowledged[event.proxy] = event
        else:
            self._waiting[self._number] = event
            self._number += 1
            if isinstance(event, ProxyDisconnected):
                self._acknowledged.pop(event.proxy, None)
                self._forget(event.proxy)
            if len(self._waiting) > _LIMIT:
                self._drop_one()
        self._some.set()

    def _forget(self, proxy: str) -> None:
        """A proxy that came and went while nothing could be appended was never here, as far as the log goes."""
        came = [
            number
            for number, event in self._waiting.items()
            if isinstance(event, ProxyConnected) and event.proxy == proxy and number not in self._appending
        ]
        if came:
            for number in [n for n, e in self._waiting.items() if n >= came[0] and getattr(e, "proxy", "") == proxy]:
                del self._waiting[number]

    def _drop_one(self) -> None:
        for number, event in self._waiting.items():
            if number not in self._appending and isinstance(event, ProxyRejected):
                del self._waiting[number]
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
        async with self._turn:
            facts = dict(self._waiting)
            acknowledged = dict(sorted(self._acknowledged.items()))
            self._appending = facts.keys()
            try:
                await self._core.append("xds", (*facts.values(), *acknowledged.values()))
            finally:
                self._appending = frozenset()
            # Only now: what the log did not take must not be forgotten, or the rows of proxies would be wrong for good.
            for number in facts:
                del self._waiting[number]
            for proxy, event in acknowledged.items():
                if self._acknowledged.get(proxy) is event:
                    del self._acknowledged[proxy]
