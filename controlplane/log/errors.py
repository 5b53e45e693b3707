"""What can go wrong with a log, each with the place."""

from __future__ import annotations

from pathlib import Path


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
