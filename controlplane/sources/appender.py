"""The way into the log, as a source sees it.

A source knows nothing of the log behind it: neither where it lies nor who else appends. What it hands over at once becomes one
transaction.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from controlplane.model.events import AnyEvent


class Appender(Protocol):
    """Appends events as one transaction; the log adds the time and the source's name."""

    async def __call__(self, events: Sequence[AnyEvent]) -> None:
        """Returns when the events are written; waits while the control plane is behind.

        Args:
            events: At least one, in the order in which they are to be folded.
        """
