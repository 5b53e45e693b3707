"""How many streams begin: at what rate, and how many at a time.

After an outage everybody comes back at once. To read what a proxy holds and to compare it is the one costly moment of a stream;
a hundred of them at the same time would all be done only when the last is, with all of their lists in memory. So streams wait
for their turn, in the order in which they came, rather than be refused: who is refused comes back, and costs more.

This module must not know what a stream is.
"""

from __future__ import annotations

import asyncio

from grpclib.const import Status

from controlplane.xds.errors import XdsError


class Rate:
    """So many a second, on average.

    Args:
        per_second: How many.
        burst: How many at once after a pause.
        longest_wait: Seconds; who would have to wait longer is refused.
    """

    def __init__(self, per_second: float, burst: int, longest_wait: float) -> None:
        self._per_second = per_second
        self._burst = burst
        self._longest_wait = longest_wait
        self._full_at = float("-inf")
        """When the burst is all there again."""
        self.waiting = 0

    async def enter(self) -> None:
        """Returns when it is the caller's turn; in the order of the calls.

        Raises:
            XdsError: ``UNAVAILABLE``: too many wait already.
        """
        now = asyncio.get_running_loop().time()
        full_at = max(self._full_at, now) + 1 / self._per_second
        wait = full_at - now - self._burst / self._per_second
        if wait > self._longest_wait:
            raise XdsError(
                Status.UNAVAILABLE,
                f"{self.waiting} streams wait to begin; the limit is {self._per_second:g} a second; connect again later",
            )
        self._full_at = full_at
        if wait > 0:
            self.waiting += 1
            try:
                await asyncio.sleep(wait)
            finally:
                self.waiting -= 1


class Turn:
    """Somebody's turn, until it is over."""

    def __init__(self, places: asyncio.Semaphore, seconds: float) -> None:
        self._places: asyncio.Semaphore | None = places
        self._timer = asyncio.get_running_loop().call_later(seconds, self.end)

    def end(self) -> None:
        """The next one's turn begins. May be called again, to no effect."""
        self._timer.cancel()
        if self._places is not None:
            self._places.release()
            self._places = None


class Turns:
    """So many at a time.

    Args:
        at_once: How many.
        seconds: How long a turn lasts at most: who is slow, or silent, does not keep the others waiting.
    """

    def __init__(self, at_once: int, seconds: float) -> None:
        self._places = asyncio.Semaphore(at_once)
        self._seconds = seconds
        self.waiting = 0

    async def take(self) -> Turn:
        """The caller's turn, in the order of the calls. It must be ended."""
        self.waiting += 1
        try:
            await self._places.acquire()
        finally:
            self.waiting -= 1
        return Turn(self._places, self._seconds)
