"""An Envoy's own log, in ours.

The Envoy writes to a file, which survives us both; we follow the file. A pipe would end the Envoy's output with our life, and
``--log-path`` would hold lines back for up to ten seconds and miss what a dying process says on standard error.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
from pathlib import Path
from typing import Final

import anyio
import anyio.lowlevel
import msgspec
import structlog

LOG_FORMAT: Final = '{"pid":%P,"level":"%l","logger":"%n","message":"%j"}'
"""Envoy's ``--log-format``: one JSON object a line, ``%j`` escaping the message."""

_LEVELS: Final = {
    "trace": logging.DEBUG,
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "critical": logging.CRITICAL,
}
_INVENTORY: Final = ("  ", "statically linked extensions", "HTTP header map info")
"""How the list of all that is linked in begins: a hundred lines at each start."""
_CHUNK: Final = 64 * 1024
_LINE_LIMIT: Final = 1024 * 1024
_MESSAGE_LIMIT: Final = 8 * 1024
_SECRETS: Final = re.compile(
    # A field of a DataSource, in protobuf's text or JSON form; then a key that stands anywhere else.
    r"""(?P<field>\binline_?(?:string|bytes)"?\s*:\s*)"(?:[^"\\]|\\.)*"?"""
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)",
    re.DOTALL | re.IGNORECASE,
)


class _Line(msgspec.Struct):
    level: str
    logger: str
    message: str
    pid: int | None = None


def redact(text: str) -> str:
    """The text without keys and certificates: an Envoy that rejects a secret may print the whole of it."""
    return _SECRETS.sub(lambda match: f'{match["field"]}"[redacted]"' if match["field"] else "[redacted]", text)


class OutputFollower:
    """Passes an Envoy's output on, line by line, each at its own level.

    The file is emptied once all of it is passed on and it is longer than ``limit`` octets, or held a secret: what is in our log
    need not stay. What is written in the instant before is lost; it is the price of a file that nobody has to rotate. An Envoy
    that writes faster than we read has its file emptied at twice the limit; then what was not read is lost, and we say so.

    Args:
        path: What the Envoy appends to; need not exist yet.
        seen: File that remembers, across our lives, how far ``path`` has been passed on.
        log: Where to, with the gateway bound.
        limit: Octets that ``path`` may hold.
        interval_s: Seconds between two looks.
    """

    def __init__(
        self,
        path: Path,
        seen: Path,
        log: structlog.typing.FilteringBoundLogger,
        *,
        limit: int = 16 * 1024 * 1024,
        interval_s: float = 0.25,
    ) -> None:
        self._path = path
        self._seen = seen
        self._log = log
        self._limit = limit
        self._interval_s = interval_s
        self._position = self._recall()
        self._rest = b""
        self._skipping = False
        self._tainted = False

    async def run(self) -> None:
        """Follow until cancelled."""
        while True:
            while self.advance():
                await anyio.lowlevel.checkpoint()
            await anyio.sleep(self._interval_s)

    def drain(self) -> None:
        """Pass on all that there is, an unfinished last line included: the Envoy has ended."""
        while self.advance():
            pass
        if self._rest:
            self._emit(self._rest)
            self._rest = b""

    def advance(self) -> bool:
        """Pass on at most 64 KiB. Returns whether there may be more."""
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            return self._advance(descriptor)
        finally:
            os.close(descriptor)

    def _advance(self, descriptor: int) -> bool:
        size = os.fstat(descriptor).st_size
        if size < self._position:  # somebody emptied it
            self._position, self._rest = 0, b""
        data = os.pread(descriptor, _CHUNK, self._position)
        if not data:
            return False
        self._position += len(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._emit(line)
        if len(self._rest) > _LINE_LIMIT:
            self._emit(self._rest)
            self._rest, self._skipping = b"", True
        if (self._position >= size and (self._tainted or size > self._limit)) or size > 2 * self._limit:
            self._empty(descriptor)
        with contextlib.suppress(OSError):  # a full disk: at worst, lines are passed on twice
            self._seen.write_text(str(max(0, self._position - len(self._rest))))
        return len(data) == _CHUNK

    def _empty(self, descriptor: int) -> None:
        unread = os.fstat(descriptor).st_size - self._position
        os.ftruncate(descriptor, 0)
        self._position, self._tainted = 0, False
        if unread > 0:
            self._rest = b""
            self._log.warning("envoy_log_dropped", octets=unread)

    def _emit(self, line: bytes) -> None:
        if self._skipping:  # the end of a line that was too long
            self._skipping = False
            return
        if not line.strip():
            return
        try:
            entry = msgspec.json.decode(line, type=_Line)
        except msgspec.MsgspecError:
            # The loader's, the allocator's or a crash's words, never good news; or the beginning of a line without end.
            entry = _Line("warning", "", line.decode("utf-8", "replace").replace('\\"', '"'))
        message = redact(entry.message)
        self._tainted |= message != entry.message
        if len(message) > _MESSAGE_LIMIT:
            message = f"{message[:_MESSAGE_LIMIT]}... ({len(message) - _MESSAGE_LIMIT} more characters)"
        level = _LEVELS.get(entry.level, logging.WARNING)
        if entry.logger == "main" and message.startswith(_INVENTORY):
            level = logging.DEBUG
        self._log.log(level, "envoy_log", message=message, pid=entry.pid, envoy_logger=entry.logger)

    def _recall(self) -> int:
        try:
            return int(self._seen.read_text())
        except (FileNotFoundError, ValueError):
            return 0
