"""What one changed object costs in the log and the engine, among few and among many.

``python -m bench.engine``: CPU time from the append to the published commit, of one HTTPRoute and of one EndpointSlice changed.
The ratio says whether work follows the change. Exits with 1 if it is above the limit.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median

from bench.measure import describe, interleaved_ms
from bench.workload import endpoints, load, route
from controlplane.log import SegmentedLog
from controlplane.model.codec import EventCodec
from controlplane.model.events import AnyEvent, ObjectApplied

SMALL, LARGE = 100, 5_000
LIMIT = 1.5


def _change(log: SegmentedLog[AnyEvent], size: int, make: Callable[[int], ObjectApplied]) -> Callable[[int], None]:
    state = load(log, size)

    def change(i: int) -> None:
        state.apply(log.append([make(i)], source="bench"))

    return change


def main() -> int:
    """Measure and print."""
    makers: dict[str, Callable[[int], ObjectApplied]] = {
        "HTTPRoute": lambda i: route(50, f"/v{i}"),
        "EndpointSlice": lambda i: endpoints(50, f"10.1.{i % 250}.{(i * 7) % 250}"),
    }
    worst = 0.0
    print(f"one object changed, append to commit, CPU time; among {SMALL} and {LARGE} routes")
    with tempfile.TemporaryDirectory() as folder:
        for kind, make in makers.items():
            logs = [
                SegmentedLog.open(Path(folder) / f"{kind}-{size}", EventCodec(), fsync="never")
                for size in (SMALL, LARGE)
            ]
            few, many = interleaved_ms(
                [_change(log, size, make) for log, size in zip(logs, (SMALL, LARGE), strict=True)]
            )
            ratio = median(many) / median(few)
            worst = max(worst, ratio)
            print(f"  {kind:<14} {SMALL:>6}: {describe(few)}")
            print(f"  {'':<14} {LARGE:>6}: {describe(many)}   ratio {ratio:.2f}")
            for log in logs:
                log.close()
    print(f"worst ratio {worst:.2f}, limit {LIMIT}")
    return 0 if worst <= LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
