"""What is refused, told once a minute for each reason: who is refused comes back several times a second."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Final

import structlog

REFUSAL_SECONDS: Final = 60.0
MAX_REFUSALS: Final = 100
"""Reasons that are remembered: they hold what clients say, who might say something else each time."""
log = structlog.get_logger(__name__)


class Refusals:
    """Logs refusals.

    Args:
        clock: In seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._told: dict[tuple[str, str], float] = {}
        self._unsaid = 0

    def tell(self, event: str, message: str, **more: object) -> None:
        """Logs this event, unless the same was logged within the last minute, or too many others were."""
        now = self._clock()
        if now - self._told.get((event, message), -REFUSAL_SECONDS) < REFUSAL_SECONDS:
            return
        if len(self._told) >= MAX_REFUSALS:
            self._told = {key: at for key, at in self._told.items() if now - at < REFUSAL_SECONDS}
        if len(self._told) >= MAX_REFUSALS:
            self._unsaid += 1
            return
        self._told[event, message] = now
        if self._unsaid:
            more["unsaid"], self._unsaid = self._unsaid, 0
        log.warning(event, message=message, **more)
