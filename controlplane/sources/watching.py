"""When to look at a folder again: soon after the operating system tells of a change, and in any case now and then.

Notifications make a source fast, never right. They get lost when a queue overflows, on network file systems, for what a link
points to outside of the folder, and when the folder itself is replaced. So all that this says is *look*, and the source looks
at everything; and it says so every second, whatever becomes of the notifications.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import anyio
from structlog.typing import FilteringBoundLogger
from watchfiles import Change, awatch

STEP: Final = 20
"""Milliseconds for which notifications are collected. Few: the source itself waits until files are still."""
DEBOUNCE: Final = 100
"""Milliseconds after which they are told though more keep coming."""
LONGEST_PAUSE: Final = 60.0
"""Seconds between attempts to be notified, where the system refuses (its limit of watches is reached, say)."""


class FolderWatch:
    """Tells of changes in a folder while it is entered; the folder may vanish, return or be replaced."""

    def __init__(self, folder: Path, *, interval: float, log: FilteringBoundLogger) -> None:
        self._folder = folder
        self._interval = interval
        """Seconds after which it is time to look though nothing was told."""
        self._log = log
        self._told = asyncio.Event()
        self._failures = 0
        """In a row."""

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._listen(), name=f"watch of {self._folder}")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._task.cancel()
        with anyio.CancelScope(shield=True):
            await asyncio.wait({self._task})

    async def stirred(self) -> bool:
        """Returns when there is reason to look: whether something was told; if not, it is just time."""
        with anyio.move_on_after(self._interval):
            await self._told.wait()
        told = self._told.is_set()
        self._told.clear()
        return told

    async def _listen(self) -> None:
        while True:
            identity = self._identity()
            pause = self._interval
            try:
                if identity is not None:
                    await self._listen_to(identity)
                    pause = 0
            except Exception as error:  # noqa: BLE001 (a watch is a task boundary; looking goes on without it)
                self._failures += 1
                pause = min(self._interval * 2**self._failures, LONGEST_PAUSE)
                if self._failures == 1:
                    self._log.warning(
                        "no notifications of changes; the folder is looked at regularly instead",
                        folder=str(self._folder),
                        interval=self._interval,
                        reason=str(error),
                    )
            await anyio.sleep(pause)

    async def _listen_to(self, identity: tuple[int, int]) -> None:
        """Until the folder's path leads to another folder or to none."""
        changes = awatch(
            self._folder,
            watch_filter=self._matters,
            step=STEP,
            debounce=DEBOUNCE,
            rust_timeout=max(1, round(self._interval * 1000)),
            yield_on_timeout=True,
            ignore_permission_denied=True,
        )
        async with aclosing(changes):
            async for told in changes:
                self._failures = 0
                if told:
                    self._told.set()
                if self._identity() != identity:
                    break
        self._told.set()

    def _identity(self) -> tuple[int, int] | None:
        try:
            status = self._folder.stat()
        except OSError:
            return None
        return status.st_dev, status.st_ino

    def _matters(self, _: Change, path: str) -> bool:
        """Whether a path can be worth a look: not what Git or an editor hides, but a ConfigMap's ``..data``."""
        try:
            parts = Path(path).relative_to(self._folder).parts
        except ValueError:
            return True
        return not any(part.startswith(".") and not part.startswith("..") for part in parts)
