"""From a command to a running event loop: logs set up, uvloop where it is installed, errors in one line."""

from __future__ import annotations

import gc
import logging
import resource
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, TextIO, cast

import anyio
import structlog

from controlplane.runtime.errors import known_errors
from controlplane.runtime.options import RunOptions

_OTHER_FILES = 1024
"""Beside connections: the log, the admin server, Envoys that we run."""


class _Output:
    """A stream that may be gone: nobody who stops reading our words must be able to stop us."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with suppress(OSError, ValueError):
            return self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            self._stream.flush()


def configure_logs(*, output: TextIO | None = None, level: int = logging.INFO) -> None:
    """Structured logs on standard error, or wherever told: JSON lines, or columns on a terminal."""
    stream = output if output is not None else sys.stderr
    terminal = stream.isatty()
    renderer: Any = structlog.dev.ConsoleRenderer() if terminal else structlog.processors.JSONRenderer()
    processors: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        renderer if terminal else structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=processors if terminal else [*processors, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(cast("TextIO", _Output(stream))),
        cache_logger_on_first_use=True,
    )


def run_loop(main: Callable[..., Awaitable[None]], *arguments: object) -> None:
    """Run an event loop until ``main`` ends.

    Raises:
        Exception: What ended it; alone, if it is one of ours with a message to a person.
    """
    # What is loaded at the start lives as long as the process: the collector need not look at it again and again.
    gc.freeze()
    try:
        anyio.run(main, *arguments, backend_options={"use_uvloop": _has_uvloop()})
    except BaseExceptionGroup as group:
        if group.subgroup(KeyboardInterrupt) is not None:
            sys.exit(130)
        messages, others = group.split(known_errors())
        if messages is not None and others is None:
            raise _first(messages) from group
        raise
    except KeyboardInterrupt:
        sys.exit(130)


def _first(group: BaseExceptionGroup[Exception]) -> Exception:
    error = group.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error


def _raise_open_files(wanted: int) -> None:
    """A connection is a file, and systems give a process 1,024 of them unless it asks for more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _has_uvloop() -> bool:
    try:
        import uvloop  # noqa: F401
    except ImportError:
        return False
    return True


def launch(options: RunOptions) -> None:
    """The command ``run``."""
    from controlplane.runtime.serve import serve

    options.check()
    configure_logs()
    _raise_open_files(options.security.settings.max_connections + _OTHER_FILES)
    run_loop(serve, options)
