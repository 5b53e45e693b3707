"""What can go wrong with a log, each with the place."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from pathlib import Path
from typing import Final

_REMEDIES: Final[Mapping[int, str]] = {
    errno.ENOSPC: "make room on this file system",
    errno.EDQUOT: "raise the quota, or make room",
    errno.EFBIG: "raise the limit on the size of files (ulimit -f)",
    errno.EROFS: "mount this file system for writing",
    errno.EACCES: "let this user write here",
    errno.EPERM: "let this user write here",
    errno.ENOENT: "bring the folder back",
    errno.EIO: "look for the disk's errors in the system's log",
    errno.EMFILE: "raise the limit on open files (ulimit -n)",
    errno.ENFILE: "raise the system's limit on open files",
}


def describe(error: OSError) -> str:
    """What the system said, its name for it, and what to do: ``No space left on device (ENOSPC); make room ...``."""
    number = error.errno or 0
    text = error.strerror or type(error).__name__
    name = f" ({errno.errorcode[number]})" if number in errno.errorcode else ""
    remedy = f"; {_REMEDIES[number]}" if number in _REMEDIES else ""
    return f"{text}{name}{remedy}"


class LogError(Exception):
    """The log cannot be written, opened or read; the text says where and what to do.

    Attributes:
        reason: The sentence without the place.
        file: The file, None where it is not about one.
        line: Line in the file, from 1; None where it is not about one.
        seq: The seq that stands there, or would; None where it is not about one.
    """

    def __init__(
        self, reason: str, *, file: Path | str | None = None, line: int | None = None, seq: int | None = None
    ) -> None:
        self.reason = reason
        self.file = None if file is None else str(file)
        self.line = line
        self.seq = seq
        places = (
            self.file,
            None if line is None else f"line {line}",
            None if seq is None else f"seq {seq}",
        )
        place = ", ".join(part for part in places if part is not None)
        super().__init__(f"{place}: {reason}" if place else reason)


class LogLocked(LogError):
    """Another process has the log open for writing.

    Attributes:
        pid: Its process id, None if its lock file does not say.
    """

    def __init__(self, reason: str, *, file: Path | str, pid: int | None) -> None:
        super().__init__(reason, file=file)
        self.pid = pid


class UnknownEventType(LogError, LookupError):
    """The log holds an event of a type that the codec does not know: a newer version wrote it. Never skipped."""
