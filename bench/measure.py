"""Measuring on a machine that others use too: CPU time of this process, medians, and ratios taken in one run."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from statistics import median
from time import process_time_ns

REPEATS = 200


def cpu_ms(action: Callable[[int], None], repeats: int = REPEATS) -> list[float]:
    """CPU milliseconds of each call of ``action(i)``, after a few that do not count.

    What was loaded before is taken out of the collector's sight, as the control plane itself does once it is loaded.
    """
    for i in range(max(10, repeats // 20)):
        action(-1 - i)
    gc.collect()
    gc.freeze()
    times = []
    for i in range(repeats):
        begun = process_time_ns()
        action(i)
        times.append((process_time_ns() - begun) / 1e6)
    gc.unfreeze()
    return times


def interleaved_ms(actions: Sequence[Callable[[int], None]], rounds: int = 10, repeats: int = 20) -> list[list[float]]:
    """As ``cpu_ms`` for several actions in turns, so that what else the machine does falls on all of them alike."""
    times: list[list[float]] = [[] for _ in actions]
    for _ in range(rounds):
        for action, mine in zip(actions, times, strict=True):
            mine.extend(cpu_ms(action, repeats))
    return times


def describe(times: Sequence[float]) -> str:
    """Median and spread, in milliseconds."""
    ordered = sorted(times)
    tenth = len(ordered) // 10
    return f"median {median(ordered):7.3f} ms  (p10 {ordered[tenth]:.3f}, p90 {ordered[-tenth - 1]:.3f})"
