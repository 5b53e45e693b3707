"""Facts about proxies into events, in order, without ever holding up the xDS server."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence

import anyio

from controlplane.krt import Commit
from controlplane.model.events import (
    AnyEvent,
    DeliveryResumed,
    DeliveryWithheld,
    ProxyAcknowledged,
    ProxyConnected,
    ProxyDisconnected,
    ProxyRejected,
    RejectionEnded,
    ResourceRejected,
)
from controlplane.reducers.proxies import ResourceKey
from controlplane.runtime.core import Core
from controlplane.runtime.rejections import complete, is_bind_failure, rejection_event, withheld_event
from controlplane.xds import events as xds

_LIMIT = 10_000
_NAMES = 16
"""Names of a rejected response that an event holds: taking it apart finds which of them matter."""


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
            return ProxyAcknowledged(proxy=fact.proxy, seq=fact.seq, listeners=fact.listeners)
        case xds.ProxyRejected():
            names = tuple(name for name, _ in fact.resources[:_NAMES])
            if more := len(fact.resources) - len(names):
                names = (*names, f"and {more} more")
            return ProxyRejected(
                proxy=fact.proxy, gateway=fact.scope, type_url=fact.type_url, names=names, message=fact.message
            )
        case xds.ResourceRejected():
            return rejection_event(fact)
        case xds.DeliveryWithheld():
            return withheld_event(fact)
        case xds.DeliveryResumed():
            return DeliveryResumed(proxy=fact.proxy, type_url=fact.type_url, name=fact.name)
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


def _subject(event: AnyEvent) -> tuple[object, ...] | None:
    """What an event is about, where one of them is enough; None for one that stands for itself."""
    match event:
        case DeliveryWithheld(proxy, _, type_url, name) | DeliveryResumed(proxy, type_url, name):
            return proxy, type_url, name
        case ResourceRejected(gateway, type_url, name, version):
            return gateway, type_url, name, version, *(part.digest for part in event.parts)
        case _:
            return None


class ProxyJournal:
    """Takes facts at once and appends them as soon as the log has its turn; what came together is one transaction.

    Acknowledgements coalesce: of one proxy only the newest waits. Beyond ``_LIMIT`` waiting facts the oldest rejection is
    dropped, and counted, rather than a connection or its end, without which the rows of proxies would be wrong. Of what is
    withheld from a proxy only the newest waits as well, and of a rejected version the first that says so. What proxies
    say of a resource is completed when it is written: then there is a state at rest to ask for the objects that it came from.
    """

    def __init__(self, core: Core) -> None:
        self._core = core
        self._turn = anyio.Lock()
        self._number = 0
        self._waiting: dict[int, AnyEvent] = {}
        """By a number that grows: in the order in which they came."""
        self._spare: dict[int, None] = {}
        """Of those that wait what can be done without: rejected responses, and what is withheld."""
        self._latest: dict[tuple[object, ...], int] = {}
        """What waits of something of which one event is enough."""
        self._appending: Collection[int] = frozenset()
        self._acknowledged: dict[str, ProxyAcknowledged] = {}
        self._ended: set[ResourceKey] = set()
        self._some = anyio.Event()
        self.dropped = 0

    def put(self, fact: xds.Event) -> None:
        """Take a fact; never waits."""
        if is_bind_failure(fact):
            return
        event = to_event(fact)
        if isinstance(event, ProxyAcknowledged):
            self._acknowledged[event.proxy] = event
        else:
            self._keep(event)
            if isinstance(event, ProxyDisconnected):
                self._acknowledged.pop(event.proxy, None)
                self._forget(event.proxy)
            if len(self._waiting) > _LIMIT:
                self._drop_one()
        self._some.set()

    def _keep(self, event: AnyEvent) -> None:
        subject = _subject(event)
        earlier = self._latest.get(subject) if subject is not None else None
        if earlier is not None and earlier in self._waiting and earlier not in self._appending:
            if isinstance(event, ResourceRejected):
                return
            del self._waiting[earlier]
            self._spare.pop(earlier, None)
        number = self._number
        self._number += 1
        self._waiting[number] = event
        if subject is not None:
            self._latest[subject] = number
        if isinstance(event, ProxyRejected | DeliveryWithheld):
            self._spare[number] = None

    def end(self, key: ResourceKey) -> None:
        """Say at the next turn what has ended of a rejection; never waits."""
        self._ended.add(key)
        self._some.set()

    async def retry(self) -> int:
        """Ends all rejections, so that what was rejected is offered again; how many there were.

        Raises:
            LogError: It cannot be written.
        """
        async with self._core.settled() as state:
            keys = [row.key for row in state.rows.base.rejections.rows()]
        await self._core.append("xds", [RejectionEnded(*key) for key in keys])
        return len(keys)

    def end_all(self) -> None:
        """Say so of all that have ended by now: the process before may not have come to it."""
        for row in self._core.state.translation.ended_rejections.rows():
            self.end(row.key)

    def _forget(self, proxy: str) -> None:
        """A proxy that came and went while nothing could be appended was never here, as far as the log goes."""
        came = [
            number
            for number, event in self._waiting.items()
            if isinstance(event, ProxyConnected) and event.proxy == proxy and number not in self._appending
        ]
        if came:
            its = {n: e for n, e in self._waiting.items() if n >= came[0] and getattr(e, "proxy", "") == proxy}
            for number, event in its.items():
                if not isinstance(event, ResourceRejected):  # which holds for others of its gateway
                    del self._waiting[number]
                    self._spare.pop(number, None)

    def _drop_one(self) -> None:
        number = next((number for number in self._spare if number not in self._appending), None)
        if number is not None:
            del self._spare[number]
            self.dropped += self._waiting.pop(number, None) is not None

    async def run(self) -> None:
        """Append until cancelled.

        Raises:
            LogError: As ``flush``.
        """
        while True:
            if not (self._waiting or self._acknowledged or self._ended):
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
            ended, self._ended = self._ended, set()
            try:
                events = await self._complete(ended, facts.values())
                await self._core.append("xds", (*events, *acknowledged.values()))
            except BaseException:
                self._ended |= ended
                raise
            finally:
                self._appending = frozenset()
            # Only now: what the log did not take must not be forgotten, or the rows of proxies would be wrong for good.
            for number in facts:
                del self._waiting[number]
                self._spare.pop(number, None)
            self._latest = {subject: number for subject, number in self._latest.items() if number in self._waiting}
            for proxy, event in acknowledged.items():
                if self._acknowledged.get(proxy) is event:
                    del self._acknowledged[proxy]

    async def _complete(self, ended: Collection[ResourceKey], events: Collection[AnyEvent]) -> Sequence[AnyEvent]:
        if not ended and not any(isinstance(event, ResourceRejected | DeliveryWithheld) for event in events):
            return tuple(events)
        async with self._core.settled() as state:
            return complete(state, ended, events)


def follow_rejections(core: Core, journal: ProxyJournal) -> None:
    """Have every rejection end when what was rejected is no longer offered. Cost: O(rejections that a commit ends)."""

    def take(commit: Commit) -> None:
        for _, over in commit.delta(core.state.translation.ended_rejections).values():
            if over is not None:
                journal.end(over.key)

    core.subscribe(take)
