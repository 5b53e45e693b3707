"""Facts about proxies on their way into the log, also while the log takes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from controlplane.log import LogError, MemoryLog, Transaction
from controlplane.model.codec import EventCodec
from controlplane.model.events import AnyEvent, ControlPlaneStarted, Settings
from controlplane.runtime.core import Core, State
from controlplane.runtime.proxies import ProxyJournal, next_number
from controlplane.xds import (
    DeliveryResumed,
    DeliveryWithheld,
    Locality,
    ProxyAcknowledged,
    ProxyConnected,
    ProxyDisconnected,
    ProxyRejected,
    ResourceRejected,
)


class FullLog(MemoryLog[AnyEvent]):
    """A log whose disk can be full."""

    full = False

    def append(self, events: Sequence[AnyEvent], *, source: str, time: str | None = None) -> Transaction[AnyEvent]:  # type: ignore[override]
        if self.full:
            raise LogError("no space left on device")
        return super().append(events, source=source, time=time)


def connected(proxy: str) -> ProxyConnected:
    return ProxyConnected(
        proxy=proxy,
        node="n",
        cluster="c",
        scope="demo/web",
        locality=Locality("r", "z", ""),
        labels=(),
        user_agent="envoy",
        address="127.0.0.1:1",
    )


def gone(proxy: str) -> ProxyDisconnected:
    return ProxyDisconnected(proxy=proxy, scope="demo/web", reason="")


def acknowledged(proxy: str, seq: int) -> ProxyAcknowledged:
    return ProxyAcknowledged(proxy=proxy, scope="demo/web", seq=seq, rejected=0)


@pytest.fixture
def log() -> FullLog:
    return FullLog(EventCodec())


@pytest.fixture
def core(log: FullLog) -> Core:
    state = State()
    state.apply(log.append([ControlPlaneStarted(version="t", settings=Settings(), sources={})], source="t"))
    return Core(log, state)


def names(log: FullLog) -> list[list[str]]:
    found = [item for item in log.read() if isinstance(item, Transaction)]
    return [[type(event).__name__ for event in item.events] for item in found[1:]]


@pytest.mark.asyncio
async def test_what_comes_together_is_one_transaction_and_acknowledgements_coalesce(core: Core, log: FullLog) -> None:
    journal = ProxyJournal(core)
    for fact in (connected("a"), connected("b"), acknowledged("a", 1), acknowledged("a", 2)):
        journal.put(fact)
    await journal.flush()
    assert names(log) == [["ProxyConnected", "ProxyConnected", "ProxyAcknowledged"]]
    row = core.state.rows.base.proxies.get("a")
    assert row is not None
    assert (row.acknowledged, row.locality) == (2, "r/z")


@pytest.mark.asyncio
async def test_a_full_disk_loses_nothing(core: Core, log: FullLog) -> None:
    journal = ProxyJournal(core)
    log.full = True
    journal.put(connected("a"))
    journal.put(acknowledged("a", 7))
    with pytest.raises(LogError):
        await journal.flush()
    assert "no space" in core.refusal
    log.full = False
    await journal.flush()
    assert names(log) == [["ProxyConnected", "ProxyAcknowledged"]]
    assert core.refusal == ""
    await journal.flush()
    assert len(names(log)) == 1


@pytest.mark.asyncio
async def test_who_comes_and_goes_while_the_disk_is_full_costs_nothing(core: Core, log: FullLog) -> None:
    journal = ProxyJournal(core)
    log.full = True
    journal.put(connected("stays"))
    for number in range(1_000):
        journal.put(connected(f"p{number}"))
        journal.put(gone(f"p{number}"))
    with pytest.raises(LogError):
        await journal.flush()
    log.full = False
    await journal.flush()
    assert names(log) == [["ProxyConnected"]]


@pytest.mark.asyncio
async def test_two_flushes_at_once_append_each_fact_once(core: Core, log: FullLog) -> None:
    journal = ProxyJournal(core)
    journal.put(connected("a"))
    await asyncio.gather(journal.flush(), journal.flush())
    assert names(log) == [["ProxyConnected"]]


@pytest.mark.asyncio
async def test_rejections_are_dropped_before_anything_else(core: Core, log: FullLog) -> None:
    journal = ProxyJournal(core)
    journal.put(connected("a"))
    for number in range(20_000):
        journal.put(
            ProxyRejected(
                proxy="a", scope="demo/web", type_url="t", nonce=str(number), resources=(), code=13, message="bad"
            )
        )
    assert journal.dropped == 10_001
    await journal.flush()
    [transaction] = names(log)
    assert (len(transaction), transaction[0]) == (10_000, "ProxyConnected")


@pytest.mark.asyncio
async def test_of_what_is_withheld_and_rejected_one_event_waits(core: Core, log: FullLog) -> None:
    """A slow cluster that many hosts name, on many proxies, while nothing can be appended."""
    journal = ProxyJournal(core)
    journal.put(connected("a"))
    about = {"proxy": "a", "scope": "demo/web", "type_url": "t"}
    rejected = ResourceRejected(
        name="h", version="2", message="no", fallback_version="", fallback=b"", fallback_clusters=(), routes=(), **about
    )
    for _ in range(1_000):
        for host in ("h", "i"):
            journal.put(DeliveryWithheld(name=host, clusters=("c",), **about))
            journal.put(DeliveryResumed(name=host, **about))
        journal.put(rejected)
    await journal.flush()
    [events] = names(log)
    assert sorted(events) == ["DeliveryResumed", "DeliveryResumed", "ProxyConnected", "ResourceRejected"]
    assert await journal.retry() == 1
    assert names(log)[1] == ["RejectionEnded"]
    assert await journal.retry() == 0


@pytest.mark.asyncio
async def test_an_event_of_a_rejected_response_names_some_of_it(core: Core, log: FullLog) -> None:
    journal = ProxyJournal(core)
    journal.put(connected("a"))
    resources = tuple((f"c{number:03}", "1") for number in range(100))
    journal.put(
        ProxyRejected(proxy="a", scope="demo/web", type_url="t", nonce="1", resources=resources, code=13, message="bad")
    )
    await journal.flush()
    row = core.state.rows.base.proxy_rejections.get("a")
    assert row is not None
    assert row.rejections[0].names[-2:] == ("c015", "and 84 more")


def test_stream_numbers_go_on_after_those_that_are_known() -> None:
    assert next_number([]) == 1
    assert next_number(["pod.demo#9", "a#b#12", "nameless", "odd#x"]) == 13
