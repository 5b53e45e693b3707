"""Which exceptions are messages to the person at the terminal."""

from __future__ import annotations


def known_errors() -> tuple[type[Exception], ...]:
    """Errors whose text says what to do; anything else is a fault of ours and keeps its traceback."""
    from controlplane.infra import InfraError
    from controlplane.log import LogError

    return (LogError, InfraError)
