"""What it costs to record how far each proxy is, so that a replay can say what each of them held at any seq.

``python -m bench.acknowledgements``: 500 proxies are connected and one object changes every second, so each second brings an
acknowledgement of each; ``--small`` is 10 proxies. They go the way of a running control plane: through the journal into the log
on disk, and through the engine. Prints CPU time and octets of the log, for each event and for a day. Exits with 1 above a limit.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path
from statistics import median
from time import process_time

from bench.workload import GATEWAY, load
from controlplane.log import SegmentedLog
from controlplane.model.codec import EventCodec
from controlplane.model.events import AnyEvent
from controlplane.runtime.core import Core
from controlplane.runtime.proxies import ProxyJournal
from controlplane.xds import ProxyAcknowledged, ProxyConnected
from controlplane.xds.node import Locality

PROXIES, SMALL = 500, 10
ROUTES = 100
SECONDS = 60
"""Of the time that is played, as fast as it goes."""
LIMIT_MICROSECONDS = 50.0
LIMIT_OCTETS = 250.0
LISTENERS = ("http~8080",)


def _octets(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("*.jsonl"))


async def _measure(folder: Path, proxies: int) -> tuple[float, float]:
    """CPU seconds and octets of an event."""
    log: SegmentedLog[AnyEvent] = SegmentedLog.open(folder, EventCodec(), fsync="never")
    state = load(log, ROUTES)
    journal = ProxyJournal(Core(log, state))
    names = [f"envoy-{number}#{number}" for number in range(proxies)]
    for name in names:
        node = name.partition("#")[0]
        journal.put(
            ProxyConnected(
                proxy=name,
                node=node,
                cluster="",
                scope=GATEWAY,
                locality=Locality("r1", "z1", ""),
                labels=(),
                user_agent="envoy 1.40.0",
                address="10.0.0.1:40000",
            )
        )
    await journal.flush()
    before, times = _octets(folder), []
    for second in range(SECONDS):
        begun = process_time()
        for name in names:
            fact = ProxyAcknowledged(proxy=name, scope=GATEWAY, seq=1000 + second, rejected=0, listeners=LISTENERS)
            journal.put(fact)
        await journal.flush()
        times.append((process_time() - begun) / proxies)
    octets = (_octets(folder) - before) / proxies / SECONDS
    log.close()
    return median(times), octets


def main() -> int:
    """Measure and print."""
    proxies = SMALL if "--small" in sys.argv[1:] else PROXIES
    with tempfile.TemporaryDirectory() as folder:
        seconds, octets = asyncio.run(_measure(Path(folder), proxies))
    a_second, a_day = seconds * proxies, octets * proxies * 86_400
    print(f"{proxies} proxies acknowledge one change a second, and the log says so")
    print(f"  CPU time   {seconds * 1e6:.0f} us an event, limit {LIMIT_MICROSECONDS:.0f}; {a_second:.1%} of one core")
    print(f"  the log    {octets:.0f} octets an event, limit {LIMIT_OCTETS:.0f}; {a_day / 1e9:.2f} GB a day")
    return 0 if seconds * 1e6 <= LIMIT_MICROSECONDS and octets <= LIMIT_OCTETS else 1


if __name__ == "__main__":
    sys.exit(main())
