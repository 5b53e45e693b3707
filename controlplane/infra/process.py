"""A process of this machine that outlives us, watched without being its parent.

Envoys must survive a SIGKILL of ours and be taken over by the next control plane, for which they are nobody's child. So all of
them, those that we start as well, are held by a pidfd: it names this one process for ever, whoever gets its number afterwards,
it can be signalled without a race, and it becomes readable at the end. Linux alone has it.

This module must not know what the processes do.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import anyio

_PROC = Path("/proc")


class Process:
    """One living process, or one that has ended and whose number nobody else can be mistaken for.

    Attributes:
        pid: Its number.
        start_time: When it began, in clock ticks since the machine's start: with ``pid`` it names one process of one boot.
        arguments: Its command line.
    """

    def __init__(
        self, pid: int, start_time: int, arguments: Sequence[str], pidfd: int, child: subprocess.Popen[bytes] | None
    ) -> None:
        self.pid = pid
        self.start_time = start_time
        self.arguments = tuple(arguments)
        self._pidfd = pidfd
        self._child = child

    @classmethod
    def spawn(cls, arguments: Sequence[str], *, directory: Path, output: Path) -> Process:
        """Start a process in a session of its own: neither a terminal's Ctrl-C nor our end reaches it.

        Args:
            arguments: The command line.
            directory: What it works in.
            output: File to which its standard output and error are appended. A file and not a pipe, which would break with us.

        Raises:
            OSError: It cannot be started.
        """
        descriptor = os.open(output, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            child = subprocess.Popen(  # noqa: S603 (the binary that we found, with arguments that we made)
                arguments,
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=descriptor,
                stderr=descriptor,
                start_new_session=True,
            )
        finally:
            os.close(descriptor)
        try:
            # Until we wait for it, it is there to be looked at, be it dead already.
            return cls(child.pid, _stat(child.pid)[1], arguments, os.pidfd_open(child.pid), child)
        except OSError:
            child.kill()
            child.wait()
            raise

    @classmethod
    def attach(cls, pid: int) -> Process | None:
        """The living process of this number; None for one that is not there, or is dead and not yet buried."""
        try:
            pidfd = os.pidfd_open(pid)
        except OSError:
            return None
        # The descriptor came first, so what is read now is this process' own.
        try:
            state, start_time = _stat(pid)
            if state not in "ZX":
                return cls(pid, start_time, command_line(pid), pidfd, None)
        except OSError:
            pass
        os.close(pidfd)
        return None

    async def wait(self) -> int | None:
        """Its exit status as ``subprocess`` gives it (negative: a signal's number); None where we are not its parent."""
        await anyio.wait_readable(self._pidfd)
        return None if self._child is None else self._child.wait()

    def send(self, signum: signal.Signals) -> None:
        """Signal it; nothing happens if it has ended.

        Raises:
            PermissionError: It belongs to somebody else.
        """
        try:
            signal.pidfd_send_signal(self._pidfd, signum)
        except ProcessLookupError:
            return

    async def stop(self, deadline_s: float) -> bool:
        """End it: SIGTERM, and SIGKILL once ``deadline_s`` seconds have passed.

        Returns:
            Whether it has ended: the kernel may keep a process that hangs in it.

        Raises:
            PermissionError: It belongs to somebody else.
        """
        for signum in (signal.SIGTERM, signal.SIGKILL):
            self.send(signum)
            with anyio.move_on_after(deadline_s):
                await self.wait()
                return True
        return False

    def close(self) -> None:
        """Let go of it; it lives on if it lives."""
        os.close(self._pidfd)


def is_supported() -> bool:
    """Whether this system has what ``Process`` needs: Linux 5.3 or later."""
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError):
        return False
    return True


def command_line(pid: int) -> tuple[str, ...]:
    """Arguments of a process; empty for one that is gone or dead, and for an instant while it becomes another program.

    Raises:
        PermissionError: They may not be read.
    """
    try:
        data = Path(_PROC, str(pid), "cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return ()
    return tuple(os.fsdecode(argument) for argument in data.removesuffix(b"\0").split(b"\0")) if data else ()


def processes() -> Iterator[int]:
    """Numbers of all processes that we may see."""
    return (int(entry.name) for entry in _PROC.iterdir() if entry.name.isdecimal())


def _stat(pid: int) -> tuple[str, int]:
    """State and start time, fields 3 and 22. Source: proc(5). The name before them may hold anything, parentheses too."""
    fields = Path(_PROC, str(pid), "stat").read_text(errors="replace").rpartition(")")[2].split()
    return fields[0], int(fields[19])
