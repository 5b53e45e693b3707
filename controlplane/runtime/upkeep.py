"""What a log on a disk needs beside appends: syncs, mending when the disk has failed, and an end for what is old.

Nothing here changes what is served. All of it is tried again and again: a disk that has room again needs nobody to tell us.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any

import anyio
import anyio.to_thread
import structlog

from controlplane.log import Log, LogError, Segment, SegmentedLog, digests_in
from controlplane.model.events import AnyEvent
from controlplane.runtime.core import Core
from controlplane.runtime.private_keys import PrivateKeys
from controlplane.runtime.readiness import Check, Layer, Standing

_FIRST_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 5.0
_LOOK_SECONDS = 5.0
_log = structlog.get_logger(__name__)


class Upkeep:
    """Mends the log, and drops what is old.

    Args:
        core: Whose log it is.
        log: It.
        keys: Of private keys, those that no kept segment names are dropped.
        max_bytes: Size of the log from which on its oldest segment goes; None keeps it.
        max_age: Seconds after which a segment goes; None keeps it.
        clock: Seconds since the epoch.
    """

    def __init__(
        self,
        core: Core,
        log: SegmentedLog[AnyEvent],
        keys: PrivateKeys,
        *,
        max_bytes: int | None,
        max_age: float | None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.keys = keys
        self._core = core
        self._disk = log
        self._max_bytes = max_bytes
        self._max_age = max_age
        self._clock = clock
        self._failure = ""
        """Why nothing can be dropped."""
        self._named: dict[Path, frozenset[str]] = {}
        """By segment that is written no more: the private keys that it names."""
        self._unswept = True

    async def run(self) -> None:
        """Look every few seconds, until cancelled."""
        while True:
            await anyio.sleep(_LOOK_SECONDS)
            await self.look()

    async def look(self) -> None:
        """See to everything once. Cost: next to nothing, unless something has failed or become old."""
        if self._core.refusal or self._disk.statistics().failure:
            try:
                await self._core.mend()
                _log.info("log_writable_again")
            except LogError as error:
                _log.error("log_not_writable", error=str(error), again_in_seconds=_LOOK_SECONDS)
        try:
            if self.keys.refusal:
                await anyio.to_thread.run_sync(self.keys.check)
            await self._drop_segments()
            self._failure = ""
        except LogError as error:
            if self._failure != str(error):
                _log.error("log_upkeep_failed", error=str(error))
            self._failure = str(error)

    def checks(self) -> Iterator[Check]:
        """What readiness says of it: the secret store where it fails, and what else stops nothing."""
        if self.keys.refusal:
            yield Check(Layer.PROCESS, "secrets", Standing.FAILED, self.keys.refusal)
        put_off = self._disk.statistics().segment_failure
        if put_off:
            reason = f"{put_off}; events go on into the segment that is there"
            yield Check(Layer.PROCESS, "log-segment", Standing.DEGRADED, reason)
        if self._failure and not self.keys.refusal:
            yield Check(Layer.PROCESS, "log-retention", Standing.DEGRADED, self._failure)

    def document(self) -> dict[str, Any]:
        """What ``/debug/log`` shows."""
        complete = self._core.state.complete
        return {
            "path": str(self._disk.path),
            "statistics": self._disk.statistics(),
            "segments": [
                {"file": s.path.name, "first_seq": s.first_seq, "begun": s.header.time, "octets": s.octets}
                for s in self._disk.segments
            ],
            "retention": {"max_bytes": self._max_bytes, "max_age_seconds": self._max_age, "failure": self._failure},
            "private_keys_dropped": self.keys.dropped,
            "last_complete": {"seq": complete.seq, "time": complete.time},
            "stale_since": self._core.state.stale_since,
            "refusal": self._core.refusal,
        }

    async def _drop_segments(self) -> None:
        # Where nothing was ever complete there is nothing to be replayed either.
        keep_seq = self._core.state.complete.seq or self._disk.last_seq
        drop = partial(
            self._disk.drop_old,
            max_bytes=self._max_bytes,
            max_age=self._max_age,
            keep_seq=keep_seq,
            now=self._clock(),
        )
        before = self._disk.segments
        try:
            dropped = await anyio.to_thread.run_sync(drop)
        finally:
            self._unswept = self._unswept or len(self._disk.segments) < len(before)
        if dropped:
            first_seq = self._disk.segments[0].first_seq
            _log.info("log_segments_dropped", files=[segment.path.name for segment in dropped], first_seq=first_seq)
        if self._unswept:
            self._unswept = not await self._drop_keys()

    async def _drop_keys(self) -> bool:
        """Drop private keys that nothing names; False if a segment was begun meanwhile, so that it has to be done again."""
        segments = self._disk.segments
        *older, newest = segments
        self._named = {segment.path: await self._names(segment) for segment in older}
        named, end = await anyio.to_thread.run_sync(partial(digests_in, newest.path))
        async with self._core.settled():
            if self._disk.segments[-1].path != newest.path:
                return False
            latest, _ = await anyio.to_thread.run_sync(partial(digests_in, newest.path, start=end))
            every = named.union(latest, *self._named.values())
            dropped = await anyio.to_thread.run_sync(self.keys.drop_except, every)
        if dropped:
            _log.info("private_keys_dropped", count=dropped)
        return True

    async def _names(self, segment: Segment) -> frozenset[str]:
        known = self._named.get(segment.path)
        return known if known is not None else (await anyio.to_thread.run_sync(digests_in, segment.path))[0]


async def persist(name: str, run: Callable[[], Awaitable[object]]) -> None:
    """Run a task that appends; while the log cannot be written, try again, and go on serving what there is."""
    pause = _FIRST_PAUSE_SECONDS
    while True:
        begun = monotonic()
        try:
            await run()
        except LogError as error:
            if monotonic() - begun > _LONGEST_PAUSE_SECONDS:
                pause = _FIRST_PAUSE_SECONDS
            _log.error("log_not_writable", source=name, error=str(error), again_in_seconds=pause)
            await anyio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
        else:
            return


async def sync_log(log: Log[AnyEvent]) -> None:
    """Sync the log when it is due, until cancelled."""
    while True:
        try:
            # A sync takes milliseconds of the disk's time, which are not the loop's to wait for.
            pause = await anyio.to_thread.run_sync(log.sync_if_due, monotonic())
        except LogError as error:
            _log.error("log_not_synced", error=str(error))
            pause = _LONGEST_PAUSE_SECONDS
        await anyio.sleep(pause)
