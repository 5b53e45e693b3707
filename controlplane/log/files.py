"""The file system as the log needs it: few operations, each with a durability that is spelled out.

The log writes through `Files`, so that tests can lose what was not synced and fail what a real disk fails once in years.
What is not listed here the log does not do: there is no seek, no overwriting, no memory map.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Final, Protocol


class File(Protocol):
    """A file open for appending."""

    def write(self, data: bytes) -> int:
        """Appends what it can in one system call; how many octets that was."""

    def sync(self) -> None:
        """Returns when the content and the size are on the disk. May run in another thread than ``write``."""

    def truncate(self, size: int) -> None:
        """Cuts the file off at ``size`` octets; durable after the next ``sync``."""

    def is_linked(self) -> bool:
        """Whether some name still leads to it. One that was removed takes what is written, and loses it."""

    def close(self) -> None:
        """Frees the file; nothing is synced by it."""


class Lock(Protocol):
    """A lock that ends with its process, however that ends."""

    def release(self) -> None:
        """Gives it up; a second call does nothing."""


class Held(Exception):
    """Someone else holds the lock.

    Attributes:
        pid: Who, as the lock file says; None if it does not.
    """

    def __init__(self, pid: int | None) -> None:
        super().__init__(pid)
        self.pid = pid


class Files(Protocol):
    """The operations on names. All raise OSError as the system does."""

    def make_folder(self, path: Path, mode: int) -> None:
        """The folder exists, with its parents, and the entry that names it is durable."""

    def names(self, path: Path) -> list[str]:
        """What is in a folder, sorted."""

    def size(self, path: Path) -> int:
        """Octets in a file."""

    def read(self, path: Path) -> BinaryIO:
        """The file, from its start, to be iterated line by line and closed."""

    def create(self, path: Path, mode: int) -> File:
        """A new, empty file, in the place of an old one; its name is durable after ``sync_folder``."""

    def append(self, path: Path) -> File:
        """An existing file, positioned at its end."""

    def rename(self, old: Path, new: Path) -> None:
        """Atomic; replaces ``new``. Durable after ``sync_folder``."""

    def remove(self, path: Path) -> None:
        """The name is gone; durable after ``sync_folder``."""

    def sync_folder(self, path: Path) -> None:
        """Returns when all names in the folder are on the disk as they are now."""

    def drop_cache(self, path: Path) -> None:
        """Asks that the next read comes from the disk. Only what was synced before may be dropped."""

    def lock(self, path: Path) -> Lock:
        """Takes a lock for this process, and leaves the process id in the file.

        Raises:
            Held: Someone else has it.
        """


class OSFile:
    """A real file, appended to without a buffer of ours."""

    def __init__(self, path: Path, flags: int, mode: int = 0o644) -> None:
        self._descriptor = os.open(path, flags | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC, mode)

    def write(self, data: bytes) -> int:  # noqa: D102 (File has it)
        return os.write(self._descriptor, data)

    def sync(self) -> None:  # noqa: D102
        os.fsync(self._descriptor)

    def truncate(self, size: int) -> None:  # noqa: D102
        os.ftruncate(self._descriptor, size)

    def is_linked(self) -> bool:  # noqa: D102
        return os.fstat(self._descriptor).st_nlink > 0

    def close(self) -> None:  # noqa: D102
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class OSLock:
    """flock(2) on a file that stays: removing it would let two processes lock two files of one name."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, b"%d\n" % os.getpid(), 0)
        except BlockingIOError:
            text = os.pread(self._descriptor, 32, 0).strip()
            os.close(self._descriptor)
            raise Held(int(text) if text.isdigit() else None) from None
        except OSError:
            os.close(self._descriptor)
            raise

    def release(self) -> None:  # noqa: D102 (Lock has it)
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


_READ_BUFFER: Final = 1 << 18


class OSFiles:
    """The file system of this machine (POSIX)."""

    def make_folder(self, path: Path, mode: int) -> None:  # noqa: D102 (Files has it)
        if path.is_dir():
            return
        self.make_folder(path.parent, 0o777)
        with suppress(FileExistsError):
            path.mkdir(mode)
        self.sync_folder(path.parent)

    def names(self, path: Path) -> list[str]:  # noqa: D102
        return sorted(os.listdir(path))  # noqa: PTH208 (names, not paths)

    def size(self, path: Path) -> int:  # noqa: D102
        return path.stat().st_size

    def read(self, path: Path) -> BinaryIO:  # noqa: D102
        return path.open("rb", buffering=_READ_BUFFER)

    def create(self, path: Path, mode: int) -> OSFile:  # noqa: D102
        return OSFile(path, os.O_CREAT | os.O_TRUNC, mode)

    def append(self, path: Path) -> OSFile:  # noqa: D102
        return OSFile(path, 0)

    def rename(self, old: Path, new: Path) -> None:  # noqa: D102
        old.replace(new)

    def remove(self, path: Path) -> None:  # noqa: D102
        path.unlink()

    def sync_folder(self, path: Path) -> None:  # noqa: D102
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def drop_cache(self, path: Path) -> None:  # noqa: D102
        if not hasattr(
            os, "posix_fadvise"
        ):  # pragma: no cover (macOS has none; it is advice, nothing rests on it there)
            return
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)

    def lock(self, path: Path) -> OSLock:  # noqa: D102
        return OSLock(path)
