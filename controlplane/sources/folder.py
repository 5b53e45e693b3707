"""What lies in a folder, without its content, and the content of one file: the only module here that touches the disk.

A look at the folder is a listing with each file's signature; who compares two listings knows which files to read. Hidden files
and folders are no manifests, but links into them are followed, so that a ConfigMap's volume (``x.yaml -> ..data/x.yaml``,
``..data -> ..2024_01_01``) shows the files that it means to show. What cannot be looked at is named with the reason, so that
nobody takes it for deleted.

Paths are relative to the folder and have ``/`` on every system; a name that cannot be printed is written with escapes.
"""

from __future__ import annotations

import heapq
import os
import stat
from pathlib import Path, PurePath
from typing import Final, TypeAlias

import msgspec

SUFFIXES: Final = (".yaml", ".yml", ".json")
"""In lower or upper case."""
MAX_FILE_OCTETS: Final = 64 * 2**20
MAX_FOLDERS: Final = 20_000
"""A link to a place outside may bring in any number."""

_OPEN_FLAGS: Final = (
    os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
)
"""Without O_NONBLOCK, a pipe that took the file's place would block for ever."""


class Signature(msgspec.Struct, frozen=True):
    """What changes when a file's content does; also with a rename or a new mode."""

    device: int
    inode: int
    size: int
    """In octets."""
    modified: int
    """In nanoseconds, as ``changed``."""
    changed: int
    """The inode's: sees also content that was replaced under an old modification time, and a mode that was mended."""

    @property
    def content(self) -> tuple[int, int, int, int]:
        """What stays when a file is moved."""
        return self.device, self.inode, self.size, self.modified


class FoundFile(msgspec.Struct, frozen=True):
    """A file that may hold manifests."""

    location: Path
    """For the operating system."""
    signature: Signature


class Listing(msgspec.Struct, frozen=True):
    """One look at a folder."""

    files: dict[str, FoundFile]
    """By relative path."""
    faults: dict[str, str]
    """Relative path of a file or folder that could not be looked at (empty: the whole folder) -> reason and remedy."""

    def fault_above(self, path: str) -> str | None:
        """The relative path whose fault makes this listing say nothing about ``path``; None if it is sound."""
        return next(
            (fault for fault in self.faults if not fault or path == fault or path.startswith(f"{fault}/")), None
        )


Content: TypeAlias = bytes | str | None
"""The octets; or, as text, why the file cannot be read and what to do; or None where it changed since it was listed."""


def list_folder(folder: Path) -> Listing:
    """Every file below ``folder`` that may hold manifests; each real file and folder once, links after what is no link.

    Cost: O(files and folders), some 10 microseconds each.
    """
    faults: dict[str, str] = {}
    candidates: list[tuple[bool, str, Path]] = []
    seen: set[tuple[int, int]] = set()
    # Is it reached through a link, the relative path, the location: so links come last, and loops end at what was seen.
    pending = [(False, "", folder)]
    while pending:
        linked, relative, location = heapq.heappop(pending)
        try:
            status = location.stat()
            if (identity := (status.st_dev, status.st_ino)) in seen:
                continue
            if len(seen) == MAX_FOLDERS:
                faults[""] = (
                    f"the folder {folder} has more than {MAX_FOLDERS} folders in it; remove some, or a link to many"
                )
                break
            seen.add(identity)
            with os.scandir(location) as entries:
                for entry in entries:
                    if not entry.name.startswith("."):
                        path = f"{relative}/{_printable(entry.name)}" if relative else _printable(entry.name)
                        _sort_in(entry, path, linked, pending, candidates, faults)
        except FileNotFoundError:
            if not relative:
                faults[""] = f"the folder {folder} does not exist; create it"
        except OSError as error:
            name = "the folder" if relative else f"the folder {folder}"
            faults[relative] = f"{name} cannot be read: {_words(error)}"
    return Listing(_found_files(candidates, faults), faults)


def _sort_in(
    entry: os.DirEntry[str],
    path: str,
    linked: bool,
    pending: list[tuple[bool, str, Path]],
    candidates: list[tuple[bool, str, Path]],
    faults: dict[str, str],
) -> None:
    """Puts a folder among ``pending``, a file that may hold manifests among ``candidates``."""
    suffix = PurePath(entry.name).suffix.lower()
    if not entry.is_symlink():
        if entry.is_dir(follow_symlinks=False):
            heapq.heappush(pending, (linked, path, Path(entry.path)))
        elif suffix in SUFFIXES:
            candidates.append((linked, path, Path(entry.path)))
        return
    try:
        is_folder = stat.S_ISDIR(Path(entry.path).stat().st_mode)
    except OSError as error:
        # Without a suffix it may have led to a folder, whose files are not to be taken for deleted.
        if not suffix or suffix in SUFFIXES:
            faults[path] = _link_fault(error)
        return
    if is_folder:
        heapq.heappush(pending, (True, path, Path(entry.path)))
    elif suffix in SUFFIXES:
        candidates.append((True, path, Path(entry.path)))


def _found_files(candidates: list[tuple[bool, str, Path]], faults: dict[str, str]) -> dict[str, FoundFile]:
    files: dict[str, FoundFile] = {}
    seen: set[tuple[int, int]] = set()
    for _, path, location in sorted(candidates):
        try:
            status = location.stat()
        except FileNotFoundError:
            continue
        except OSError as error:
            faults[path] = f"the file cannot be read: {_words(error)}"
            continue
        if not stat.S_ISREG(status.st_mode):
            faults[path] = "this is not a regular file; remove it or give it another suffix"
        elif (identity := (status.st_dev, status.st_ino)) not in seen:
            seen.add(identity)
            files[path] = FoundFile(location, _signature(status))
    return files


def read_file(file: FoundFile) -> Content:
    """The content that the file had when it was listed: never a mixture, never that of another time."""
    try:
        descriptor = os.open(file.location, _OPEN_FLAGS)
    except FileNotFoundError:
        return None
    except OSError as error:
        return f"the file cannot be read: {_words(error)}"
    with os.fdopen(descriptor, "rb") as stream:
        try:
            if _signature(os.fstat(descriptor)) != file.signature:
                return None
            if file.signature.size > MAX_FILE_OCTETS:
                return f"the file is larger than {MAX_FILE_OCTETS // 2**20} MiB; split it"
            content = stream.read(MAX_FILE_OCTETS + 1)
            return content if _signature(os.fstat(descriptor)) == file.signature else None
        except OSError as error:
            return f"the file cannot be read: {_words(error)}"


def find_file(location: Path) -> FoundFile | str:
    """One file, whatever its name is; or why it cannot be read and what to do."""
    try:
        status = location.stat()
    except FileNotFoundError:
        return "there is no such file or folder; check the path"
    except OSError as error:
        return f"the file cannot be read: {_words(error)}"
    if not stat.S_ISREG(status.st_mode):
        return "this is neither a regular file nor a folder; name one"
    return FoundFile(location, _signature(status))


def _signature(status: os.stat_result) -> Signature:
    return Signature(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _words(error: OSError) -> str:
    match error:
        case PermissionError():
            return "permission is denied; let the control plane's user read it"
        case NotADirectoryError():
            return "it is not a folder; name the folder that holds the file"
        case _:
            return f"{error.strerror or type(error).__name__}; look after the disk or the mount"


def _link_fault(error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return "the link points to nothing; mend or remove it"
    if isinstance(error, PermissionError):
        return f"the link cannot be followed: {_words(error)}"
    return f"the link cannot be followed: {error.strerror or type(error).__name__}; mend or remove it"


def _printable(name: str) -> str:
    return name if name.isprintable() else name.encode("unicode_escape").decode()
