"""A file system that forgets what was not synced, for faults that a real one does not give on demand.

It promises as little as POSIX does. A file's content is durable after ``sync``, its name after ``sync_folder``; of what was
done since, a crash leaves any beginning, of each file and each folder by itself. A failed ``sync`` loses what it was to write,
as Linux does: the cache still shows it and the next ``sync`` succeeds, but the disk never gets it.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, TypeAlias

import orjson

from controlplane.log.files import Held


class Crash(BaseException):
    """The process dies here: raised by a test's `Fault`, and no concern of the code under test."""


Fault: TypeAlias = Callable[[str, Path], int | None]
"""Called before each operation that changes something, with its name in `Files` or `File` and the path. May raise OSError or
`Crash`; for ``write``, may return how many octets are to be taken."""


class DictCodec:
    """A codec for events that are plain dicts: their ``type`` is the type."""

    def encode(self, event: dict[str, object]) -> tuple[str, bytes]:
        """The event but for its type, which is ``Note`` if it says none."""
        return str(event.get("type", "Note")), orjson.dumps({k: v for k, v in event.items() if k != "type"})

    def decode(self, type: str, data: bytes) -> dict[str, object]:  # noqa: A002 (the protocol's word)
        """The event; knows every type but ``FromTheFuture``."""
        if type == "FromTheFuture":
            raise LookupError(type)
        event: dict[str, object] = orjson.loads(data)
        return event if type == "Note" else {"type": type, **event}


class _Inode:
    """A file's content in the cache, on the disk, and the changes that are on the way from one to the other."""

    def __init__(self) -> None:
        self.cache = bytearray()
        self.disk = bytearray()
        self.dirty: list[tuple[int, bytes | None]] = []
        """Offset and what was written there; None where the file was truncated to the offset."""

    def write(self, data: bytes) -> None:
        self.dirty.append((len(self.cache), data))
        self.cache += data

    def truncate(self, size: int) -> None:
        self.dirty.append((size, None))
        del self.cache[size:]

    def flush(self, choose: Callable[[int], int] | None = None) -> None:
        """All that is dirty reaches the disk, or a beginning of it that ``choose`` gives the length of."""
        survivors = len(self.dirty) if choose is None else choose(len(self.dirty))
        for offset, data in self.dirty[:survivors]:
            self._apply(offset, data)
        if survivors < len(self.dirty) and choose is not None:
            offset, data = self.dirty[survivors]
            if data is not None:
                self._apply(offset, data[: choose(len(data))])
        self.dirty.clear()

    def _apply(self, offset: int, data: bytes | None) -> None:
        self.disk.extend(bytes(max(0, offset - len(self.disk))))  # what was never written reads as zeros
        if data is None:
            del self.disk[offset:]
        else:
            self.disk[offset : offset + len(data)] = data


class _OpenFile:
    def __init__(self, files: ForgetfulFiles, path: Path, inode: _Inode) -> None:
        self._files = files
        self._path = path
        self._inode: _Inode | None = inode
        self._life = files.life

    def _opened(self) -> _Inode:
        if self._inode is None or self._life != self._files.life:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        return self._inode

    def write(self, data: bytes) -> int:
        taken = self._files.attempt("write", self._path)
        data = data[:taken]
        self._opened().write(data)
        return len(data)

    def sync(self) -> None:
        try:
            self._files.attempt("sync", self._path)
        except OSError:
            self._opened().dirty.clear()
            raise
        self._opened().flush()

    def truncate(self, size: int) -> None:
        self._files.attempt("truncate", self._path)
        self._opened().truncate(size)

    def is_linked(self) -> bool:
        return any(inode is self._inode for inode in self._files.inodes())

    def close(self) -> None:
        self._inode = None


class _Lock:
    def __init__(self, locks: set[Path], path: Path) -> None:
        self._locks = locks
        self._path = path

    def release(self) -> None:
        self._locks.discard(self._path)


class ForgetfulFiles:
    """`Files` in memory.

    Attributes:
        fault: Called before each operation, see `Fault`.
        operations: How many were attempted.
        life: Grows with each crash; files opened before are of no use after it.
    """

    def __init__(self) -> None:
        self.fault: Fault | None = None
        self.operations = 0
        self.life = 0
        self._names: dict[Path, _Inode] = {}
        self._disk_names: dict[Path, _Inode] = {}
        self._dirty_names: list[tuple[Path, Path | None, _Inode | None]] = []
        """Name that goes, name that comes, and its file: what happened to names since the last ``sync_folder``."""
        self._folders: set[Path] = set()
        self._locks: set[Path] = set()

    def crash(self, choose: Callable[[int], int] = lambda most: 0) -> None:
        """Power fails. ``choose`` says how many, of at most so many, unsynced changes or octets of one survive."""
        for inode in [*self._names.values(), *self._disk_names.values()]:
            inode.flush(choose)
            inode.cache = bytearray(inode.disk)
        self._apply_names(choose(len(self._dirty_names)))
        self._names = dict(self._disk_names)
        self.restart()

    def restart(self) -> None:
        """The process dies; what the system has in its cache lives on."""
        self.fault = None
        self.life += 1
        self._locks.clear()

    def content(self, path: Path) -> bytes:
        """What a reader would see now."""
        return bytes(self._existing(path).cache)

    def inodes(self) -> tuple[object, ...]:
        """What names lead to."""
        return tuple(self._names.values())

    def remove_folder(self, path: Path) -> None:
        """Somebody removes a folder with all that is in it, behind the log's back."""
        for name in [name for name in self._names if name.parent == path]:
            del self._names[name]
            self._disk_names.pop(name, None)
        self._dirty_names.clear()
        self._folders.discard(path)
        self._locks = {lock for lock in self._locks if lock.parent != path}

    def overwrite(self, path: Path, content: bytes) -> None:
        """Changes a file behind the log's back, durably."""
        inode = self._names.setdefault(path, _Inode())
        inode.cache, inode.disk, inode.dirty = bytearray(content), bytearray(content), []
        self._disk_names[path] = inode

    def attempt(self, operation: str, path: Path) -> int | None:
        """Counts an operation and lets the test's fault have its way."""
        self.operations += 1
        return self.fault(operation, path) if self.fault else None

    def make_folder(self, path: Path, mode: int) -> None:  # noqa: D102 (Files has it)
        self.attempt("make_folder", path)
        self._folders.add(path)

    def names(self, path: Path) -> list[str]:  # noqa: D102
        if path not in self._folders:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        return sorted(file.name for file in self._names if file.parent == path)

    def size(self, path: Path) -> int:  # noqa: D102
        return len(self._existing(path).cache)

    def read(self, path: Path) -> BinaryIO:  # noqa: D102
        return BytesIO(self._existing(path).cache)

    def create(self, path: Path, mode: int) -> _OpenFile:  # noqa: D102
        self.attempt("create", path)
        if path.parent not in self._folders:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        inode = self._names[path] = _Inode()
        self._dirty_names.append((path, path, inode))
        return _OpenFile(self, path, inode)

    def append(self, path: Path) -> _OpenFile:  # noqa: D102
        self.attempt("append", path)
        return _OpenFile(self, path, self._existing(path))

    def rename(self, old: Path, new: Path) -> None:  # noqa: D102
        self.attempt("rename", old)
        inode = self._names[new] = self._existing(old)
        del self._names[old]
        self._dirty_names.append((old, new, inode))

    def remove(self, path: Path) -> None:  # noqa: D102
        self.attempt("remove", path)
        self._existing(path)
        del self._names[path]
        self._dirty_names.append((path, None, None))

    def sync_folder(self, path: Path) -> None:  # noqa: D102
        self.attempt("sync_folder", path)
        self._apply_names(len(self._dirty_names))

    def drop_cache(self, path: Path) -> None:  # noqa: D102
        inode = self._existing(path)
        if not inode.dirty:
            inode.cache = bytearray(inode.disk)

    def lock(self, path: Path) -> _Lock:  # noqa: D102
        self.attempt("lock", path)
        if path in self._locks:
            raise Held(None)
        self._locks.add(path)
        return _Lock(self._locks, path)

    def _existing(self, path: Path) -> _Inode:
        if path not in self._names:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        return self._names[path]

    def _apply_names(self, survivors: int) -> None:
        for gone, come, inode in self._dirty_names[:survivors]:
            self._disk_names.pop(gone, None)
            if come is not None and inode is not None:
                self._disk_names[come] = inode
        self._dirty_names.clear()
