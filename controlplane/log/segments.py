"""The segments of an open log: when the next one begins, how the newest is mended after a failure, which of the oldest go."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, TypeAlias

from controlplane.log.damage import refuse
from controlplane.log.errors import LogError, describe
from controlplane.log.files import Files, Lock
from controlplane.log.folder import list_folder
from controlplane.log.lines import require_object
from controlplane.log.opening import Opened, recover, take_lock
from controlplane.log.scan import SegmentScan
from controlplane.log.syncing import Durability
from controlplane.log.writing import Fault, Segment, create_segment, header_after, name_again, take_octets

CheckpointFunction: TypeAlias = Callable[[], bytes | None]
"""Gives the state after everything appended so far as a JSON object, or None if it cannot just now."""

_PAUSE_SECONDS: Final = 30.0
"""After a segment that could not be made: its checkpoint may be large, and there is one to go on in."""
_PROBE_OCTETS: Final = 4096


class Segments:
    """The segments of a log that is open for writing, and its lock.

    Attributes:
        opened: What opening found.
        older: Oldest first.
        newest: The one that is appended to.
        durability: What is on the disk.
        failure: Why the next segment could not be begun, though it was due; None if it could, or was not.
        dropped: How many were dropped, and their octets.
        refused_octets: How much the disk did not take the last time; 0 if it took it.
    """

    def __init__(
        self,
        path: Path,
        *,
        checkpoint: CheckpointFunction | None,
        segment_octets: int,
        schema_version: int,
        keeps: bool,
        files: Files,
        clock: Callable[[], float],
    ) -> None:
        self._path = path
        self._checkpoint = checkpoint
        self._segment_octets = segment_octets
        self._schema_version = schema_version
        self._keeps = keeps
        self._files = files
        self._clock = clock
        self._lock: Lock = take_lock(path, files)
        self.older: list[Segment]
        self.opened: Opened
        try:
            self.opened, self.older, self.newest = recover(path, files, schema_version)
        except BaseException:
            self._lock.release()
            raise
        self.newest.keeps = keeps
        self.durability = Durability(self.newest.last_seq, clock)
        self.failure: str | None = None
        self.dropped = (0, 0)
        self.refused_octets = 0
        self._again_at = float("-inf")

    def all(self) -> tuple[Segment, ...]:
        """Oldest first, with their sizes now."""
        newest = self.newest
        return (*self.older, Segment(newest.path, newest.header, newest.octets))

    def begin_if_due(self) -> None:
        """Begins the next segment if the newest is full, or holds events of an older schema.

        One that cannot be made is put off: the newest goes on, and ``failure`` tells.

        Raises:
            LogError: It cannot be made and is needed, since the newest holds events of an older schema; or the newest cannot
                be made durable; or the new one's name.
        """
        newest = self.newest
        outdated = newest.header.schema < self._schema_version
        if not outdated and not (newest.has_reached(self._segment_octets) and self._clock() >= self._again_at):
            return
        state = b"" if newest.last_seq == 0 else self._state()
        if state is None:
            if outdated:
                raise newest.error(
                    f"events of schema {self._schema_version} need a segment of their own, "
                    "and there is no checkpoint just now to begin it with"
                )
            return
        with self.durability.lock:
            # A segment that has a successor is whole and on the disk, in every mode.
            self.durability.sync(newest)
            try:
                self._begin(state)
                self.failure = None
            except LogError as error:
                if outdated:
                    raise
                self.failure = str(error)
                self._again_at = self._clock() + _PAUSE_SECONDS
        if self.newest.failure:
            raise self.newest.error(self.newest.failure)

    def mend(self) -> None:
        """Sees to it that the log can be appended to, after a failure and without one.

        Raises:
            LogError: Not now, or, where it says so, not before the log is opened again.
        """
        with self.durability.lock:
            newest = self.newest
            try:
                if newest.fault is None and not newest.is_linked:
                    newest.note_gone()
                match newest.fault:
                    case None:
                        octets = max(self.refused_octets, _PROBE_OCTETS)
                        take_octets(self._path, newest.last_seq + 1, octets, self._files)
                    case Fault.TORN:
                        newest.cut()
                    case Fault.UNSYNCED if newest.keeps:
                        newest.rewrite()
                        self.durability.synced_seq = newest.last_seq
                    case Fault.UNSYNCED:
                        self._read_again()
                    case Fault.UNNAMED:
                        name_again(newest, self._path, self._files)
                    case Fault.GONE:
                        self._begin_anew()
                    case Fault.FINAL:
                        raise newest.error(f"{newest.failure}: open the log again")
            except OSError as error:
                raise newest.error(f"{newest.failure or 'nothing can be written'}; now: {describe(error)}") from error
            newest.mended()

    def drop(self, *, max_octets: int | None, max_age: float | None, keep_seq: int, now: float) -> tuple[Segment, ...]:
        """Drops the oldest segments, as `SegmentedLog.drop_old` says."""
        dropped = []
        while self.older:
            oldest, following = self.older[0], self.all()[1]
            too_many = max_octets is not None and sum(segment.octets for segment in self.all()) > max_octets
            # What it holds is younger than the segment after it is.
            too_old = max_age is not None and now - _seconds(following.header.time) > max_age
            if not (too_many or too_old) or following.first_seq > keep_seq + 1:
                break
            try:
                self._files.remove(oldest.path)
                # One by one: names that go together may come back one without the other.
                self._files.sync_folder(self._path)
            except FileNotFoundError:
                pass
            except OSError as error:
                raise LogError(f"the segment cannot be dropped: {describe(error)}", file=oldest.path) from error
            del self.older[0]
            dropped.append(oldest)
            self.dropped = (self.dropped[0] + 1, self.dropped[1] + oldest.octets)
        return tuple(dropped)

    def close(self) -> None:
        """Syncs, and lets others open the log."""
        with self.durability.lock:
            try:
                if self.newest.failure is None:
                    self.durability.sync(self.newest)
            finally:
                self.newest.close()
                self._lock.release()

    def _state(self) -> bytes | None:
        state = self._checkpoint() if self._checkpoint else None
        return None if state is None else require_object(state, "the checkpoint")

    def _begin(self, state: bytes) -> None:
        before = self.newest
        try:
            newest = create_segment(self._path, header_after(before, self._schema_version), state, self._files)
            newest.keeps = self._keeps
            if before.path != newest.path:
                self.older.append(Segment(before.path, before.header, before.octets))
            self.newest = newest
        except LogError:
            raise  # nothing of the new segment is left
        except BaseException as error:
            # If the new segment is there, nothing may be appended to this one.
            before.fail(Fault.FINAL, f"beginning a segment was interrupted ({type(error).__name__})")
            raise
        before.close()

    def _read_again(self) -> None:
        """Whether the disk has all of the newest segment, of which nothing was kept."""
        newest = self.newest
        self._files.drop_cache(newest.path)
        with SegmentScan(newest.path, self._files, newest=True, on_damage=refuse) as scan:
            scan.checkpoint()
            for _ in scan.events():
                pass
        if scan.last_seq != newest.last_seq:
            lost = f"{newest.failure}; the disk has lost seq {scan.last_seq + 1} to {newest.last_seq}"
            newest.fail(Fault.FINAL, lost)
            raise newest.error(f"{lost}: open the log again")
        newest.cut()
        newest.sync()
        self.durability.synced_seq = newest.last_seq

    def _begin_anew(self) -> None:
        """The folder was removed: a new one, which begins with the state as it is. The history is who removed it to mourn."""
        newest = self.newest
        self._files.make_folder(self._path, 0o777)
        if list_folder(self._path, self._files).segments:
            newest.fail(Fault.FINAL, f"{newest.failure}; other segments are still there")
            raise newest.error(f"{newest.failure}: open the log again")
        state = b"" if newest.last_seq == 0 else self._state()
        if state is None:
            raise newest.error(f"{newest.failure}; there is no checkpoint just now to begin another with")
        lock = take_lock(self._path, self._files)
        self._lock.release()
        self._lock = lock
        self.older.clear()
        self._begin(state)
        self.older.clear()
        self.durability.synced_seq = self.newest.last_seq


def _seconds(time: str) -> float:
    return datetime.fromisoformat(time).astimezone(UTC).timestamp()
