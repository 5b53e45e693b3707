"""What one changed HTTPRoute costs from the append to the encoded response, among few routes and among many.

``python -m bench.route_change``: one proxy is connected (the machine of its stream, without a socket); each change goes to the
log on disk, through the engine and the views, and out as the bytes of a response, which is then acknowledged. Exits with 1 if
the ratio of CPU times is above the limit.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median

from bench.measure import describe, interleaved_ms
from bench.workload import GATEWAY, ROUTE_CONFIGURATION, load, route
from controlplane.log import SegmentedLog
from controlplane.model.codec import EventCodec
from controlplane.model.events import AnyEvent
from controlplane.translate import TypeUrl
from controlplane.xds import Machine, Views
from controlplane.xds.response import Response
from controlplane.xds.wire import Request

SMALL, LARGE = 100, 5_000
LIMIT = 1.5


class Proxy:
    """The proxy's side of a stream: subscribes as an Envoy does, and acknowledges everything."""

    def __init__(self, views: Views) -> None:
        self.machine = Machine(views.view(GATEWAY))
        views.view(GATEWAY).listen(self.machine.changed)
        self.octets = 0
        self.responses = 0
        for type_url in (TypeUrl.CLUSTER, TypeUrl.LISTENER):
            self.machine.receive(Request(type_url=type_url))
            self.drain()
        self.machine.receive(Request(type_url=TypeUrl.ROUTE_CONFIGURATION, subscribe=(ROUTE_CONFIGURATION,)))
        self.drain()
        self.machine.receive(Request(type_url=TypeUrl.VIRTUAL_HOST))
        self.drain()

    def drain(self) -> list[Response]:
        """Take and acknowledge what there is to take."""
        taken = []
        while (response := self.machine.next_response()) is not None:
            self.octets += len(response.encode())
            self.responses += 1
            taken.append(response)
            self.machine.receive(Request(type_url=response.type_url, nonce=response.nonce))
        return taken


def _change(log: SegmentedLog[AnyEvent], size: int) -> tuple[Callable[[int], None], Proxy]:
    state = load(log, size)
    resources = state.translation.resources
    views = Views()
    views.apply((*row.key, row) for row in resources.rows())
    views.open()
    proxy = Proxy(views)

    def change(i: int) -> None:
        commit = state.apply(log.append([route(50, f"/v{i}")], source="bench"))
        before = proxy.responses
        views.apply(((*key, new) for key, (_, new) in commit.deltas[resources.name].items()), seq=commit.seq)
        proxy.drain()
        assert proxy.responses == before + 1, "one changed route is one response"

    return change, proxy


def main() -> int:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        logs = [SegmentedLog.open(Path(folder) / str(size), EventCodec(), fsync="never") for size in (SMALL, LARGE)]
        (few_change, _), (many_change, proxy) = (
            _change(log, size) for log, size in zip(logs, (SMALL, LARGE), strict=True)
        )
        sent, count = proxy.octets, proxy.responses
        few, many = interleaved_ms([few_change, many_change])
        octets = (proxy.octets - sent) / (proxy.responses - count)
        for log in logs:
            log.close()
    ratio = median(many) / median(few)
    print("one HTTPRoute changed, append to encoded response, CPU time")
    print(f"  among {SMALL:>6}: {describe(few)}")
    print(f"  among {LARGE:>6}: {describe(many)}   {octets:.0f} bytes on the wire a change")
    print(f"ratio {ratio:.2f}, limit {LIMIT}")
    return 0 if ratio <= LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
