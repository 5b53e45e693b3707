"""The source that watches a folder of YAML: every save becomes one transaction that holds what the save changed.

The source knows what the log says (the fold of its own events) and what the folder says, and appends the difference. It never
trusts a notification to tell what changed, only that it is time to look; so a rename, an editor's write-and-replace and a
ConfigMap's swap of links need no care of their own.

A file is read once it has been still: two listings that lie ``settle`` seconds apart show it the same. So a file that is
written in pieces is read when it is whole, and several files that are saved together become one transaction.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Final, TypeAlias

import anyio
import anyio.to_thread
import msgspec
import structlog
from structlog.typing import FilteringBoundLogger

from controlplane.model.events import (
    AnyEvent,
    ObjectApplied,
    ObjectDeleted,
    ObjectRejected,
    SourceSynced,
    SourceUnavailable,
)
from controlplane.model.objects import KINDS, KubernetesObject
from controlplane.model.references import FieldProblem, ObjectReference
from controlplane.sources.appender import Appender
from controlplane.sources.claims import private_keys, resolve
from controlplane.sources.differences import State, diff
from controlplane.sources.folder import Listing, list_folder
from controlplane.sources.snapshots import EMPTY, Snapshot, emptied_files, moving_files, take_snapshot
from controlplane.sources.watching import FolderWatch

EMPTY_SECONDS: Final = 2.0
"""For which a file that had objects may be empty before they count as deleted: a shell empties what it is about to write."""
PATIENCE: Final = 20
"""Settling times after which the files that are still are read although others are not."""
IDLE_SHARE: Final = 0.01
"""Share of a processor that looking without being told may cost."""

Remarks: TypeAlias = tuple[tuple[FieldProblem, ...], tuple[FieldProblem, ...]]
"""An object's warnings and its unsupported fields."""


class Statistics(msgspec.Struct, frozen=True):
    """What a source has seen and done."""

    files: int = 0
    """With a suffix of manifests, the unreadable ones included."""
    objects: int = 0
    """Of our kinds, as they are served."""
    rejected: int = 0
    """Objects of which a definition is wrong, or that are defined more than once."""
    unavailable: int = 0
    """Files, folders and documents that are wrong and belong to no object."""
    ignored: Mapping[str, int] = {}
    """Kind that is none of ours, with its group (``Deployment.apps``) -> number of objects; sorted."""
    looks: int = 0
    """Times that the folder was listed."""
    transactions: int = 0
    synced: bool = False
    last_change: float | None = None
    """When the last transaction was appended, in seconds since the epoch."""

    @property
    def errors(self) -> int:
        """How many things a person has to mend."""
        return self.rejected + self.unavailable


class FilesSource:
    """Appends what a folder's manifests define, and every change of it, until it is cancelled."""

    name: Final = "files"

    def __init__(
        self,
        folder: Path,
        append: Appender,
        known: Mapping[ObjectReference, KubernetesObject],
        rejected: Collection[ObjectReference],
        *,
        put_private_key: Callable[[bytes], str],
        unavailable: Collection[str] = (),
        remarks: Mapping[ObjectReference, Remarks] = MappingProxyType({}),
        settle: float = 0.05,
        interval: float = 1.0,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
        log: FilteringBoundLogger | None = None,
    ) -> None:
        """Nothing is read before ``run``.

        Args:
            folder: Need not exist yet. Until it does, nothing is synced.
            append: The way into the log.
            known: What the log says exists, of an earlier life of this source; no event repeats it.
            rejected: What the log says is rejected; each is told anew or accepted.
            put_private_key: Keeps a private key and returns its digest. Called in a worker thread, one key at a time, with
                each key of a Secret before the Secret is appended, and once for all Secrets when the source is synced.
            unavailable: Parts of this source that the log says are unavailable; each is told anew or is available.
            remarks: What the log has beside ``known`` objects; one that has remarks in the folder and others, or none, here
                is applied anew.
            settle: Seconds for which a file must be still before it is read.
            interval: Seconds after which the folder is looked at though nothing was told.
            sleep: Waits for a number of seconds; the time of tests.
            log: For what is wrong and for what was appended.
        """
        self._folder = folder
        self._append = append
        self._put_private_key = put_private_key
        self._settle = settle
        self._interval = interval
        self._sleep = sleep
        self._log: FilteringBoundLogger = log if log is not None else structlog.get_logger(source=self.name)
        self._state = State(
            {key: ObjectApplied(known[key], "", "", *remarks.get(key, ((), ()))) for key in known},
            {key: ObjectRejected(key, ()) for key in rejected},
            dict.fromkeys(unavailable, ""),
        )
        """What the log says."""
        self._snapshot = EMPTY
        """What ``_state`` was made of."""
        self._inherited = frozenset(known) | frozenset(rejected)
        """Objects of an earlier life that no file has named in this one. They are gone once every file has been read."""
        self._synced = False
        self._looks = 0
        self._transactions = 0
        self._last_change: float | None = None
        self._next_look = 0.0

    async def run(self) -> None:
        """Appends all differences with ``SourceSynced`` in one transaction, then each change in one, until cancelled.

        Raises:
            Exception: What ``append`` or ``put_private_key`` raises; what was not appended counts as not seen.
        """
        async with FolderWatch(self._folder, interval=self._interval, log=self._log) as watch:
            await self._look()
            while True:
                if await watch.stirred() or time.monotonic() >= self._next_look:
                    await self._look()

    def statistics(self) -> Statistics:
        """What the source has seen and done so far. Cost: O(files)."""
        listing = self._snapshot.listing
        return Statistics(
            files=len(listing.files.keys() | self._snapshot.unread),
            objects=len(self._state.objects),
            rejected=len(self._state.rejections),
            unavailable=len(self._state.parts),
            ignored=self._snapshot.ignored,
            looks=self._looks,
            transactions=self._transactions,
            synced=self._synced,
            last_change=self._last_change,
        )

    async def _look(self) -> None:
        snapshot = await self._settled_snapshot()
        if snapshot is None or (self._synced and snapshot == self._snapshot):
            return
        inherited = self._still_inherited(snapshot)
        state, events = await _in_thread(self._compare, snapshot, inherited)
        synced = self._synced or "" not in snapshot.listing.faults
        if synced and not self._synced:
            await self._keep_private_keys(snapshot, state.objects.values())
            events = (*events, SourceSynced(tuple(sorted(KINDS))))
        elif events:
            await self._keep_private_keys(snapshot, events)
        if events:
            await self._append(events)
            self._transactions += 1
            self._last_change = time.time()
        self._snapshot, self._state, self._inherited, self._synced = snapshot, state, inherited, synced
        self._report(events, snapshot)

    async def _settled_snapshot(self) -> Snapshot | None:
        """What the folder says now that it is still; None if it is what was said before."""
        listing = await self._list()
        if self._synced and listing == self._snapshot.listing and not self._snapshot.unread:
            return None
        for look in range(1, PATIENCE + 1):
            await self._sleep(self._settle)
            later = await self._list()
            moving = moving_files(listing, later)
            listing = later
            patient = look < PATIENCE
            if moving and patient:
                continue
            emptied = emptied_files(listing, self._snapshot, time.time() - EMPTY_SECONDS)
            take = partial(take_snapshot, listing, self._snapshot, moving=moving, emptied=emptied, patient=patient)
            if snapshot := await _in_thread(take):
                return snapshot
        raise AssertionError("an impatient snapshot is always taken")

    async def _list(self) -> Listing:
        began = time.monotonic()
        listing = await _in_thread(list_folder, self._folder)
        ended = time.monotonic()
        self._looks += 1
        self._next_look = ended + (ended - began) / IDLE_SHARE
        return listing

    def _still_inherited(self, snapshot: Snapshot) -> frozenset[ObjectReference]:
        if not self._inherited or not snapshot.is_doubtful:
            return frozenset()
        return self._inherited.difference(
            claim.reference for reading in snapshot.readings.values() for claim in (*reading.claims, *reading.kept)
        )

    def _compare(
        self, snapshot: Snapshot, inherited: Collection[ObjectReference]
    ) -> tuple[State, tuple[AnyEvent, ...]]:
        state = resolve(self._state, snapshot.readings, snapshot.reasons, inherited)
        return state, diff(self._state, state)

    async def _keep_private_keys(self, snapshot: Snapshot, applied: Iterable[object]) -> None:
        for key in list(private_keys(snapshot.readings, applied)):
            await anyio.to_thread.run_sync(self._put_private_key, key)

    def _report(self, events: Sequence[AnyEvent], snapshot: Snapshot) -> None:
        applied = deleted = 0
        for event in events:
            match event:
                case ObjectApplied():
                    applied += 1
                case ObjectDeleted():
                    deleted += 1
                case ObjectRejected():
                    for error in event.errors:
                        self._log.warning(
                            "object rejected", object=str(event.reference), origin=event.origin, error=str(error)
                        )
                case SourceUnavailable():
                    self._log.warning("source unavailable", part=event.part, reason=event.reason)
        if events:
            self._log.info(
                "folder read",
                applied=applied,
                deleted=deleted,
                errors=self._state.errors,
                **({"ignored": dict(snapshot.ignored)} if snapshot.ignored else {}),
            )


_in_thread: Final = partial(anyio.to_thread.run_sync, abandon_on_cancel=True)
"""For what only reads: who is cancelled need not wait for a disk or a long text."""
