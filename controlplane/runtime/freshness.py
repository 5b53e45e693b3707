"""Whether the log's last complete state may be served before the sources have been read again.

Complete is a state in which every kind that was to be read had been read. That is all that the log can say of itself, and it is
enough: nothing takes an object away but its source or the barrier after which everything has been read again, so what was
complete once still stands, however often the process has been restarted in the middle of reading since. Hence:

- A log that ends in the middle of its first load is not complete: there is no such moment in it.
- Settings count from the start on. They are known, and nobody waits for them; a state made of everything stays one under others.
- What a source that is configured no more has given is served until the others have been read, and goes with that.
- A kind that is to be read now and that nobody had read then makes the log's state half a configuration for this version or these
  sources: endpoints, say, where the log has none. Then the gate stays shut until everything is read, as without a log; the Envoys
  keep what they have.
- The time is that of the last complete state, not of the start before this one: what is stale does not become younger by
  being served again.
"""

from __future__ import annotations

from collections.abc import Iterable

import structlog

from controlplane.runtime.core import State

_log = structlog.get_logger(__name__)


def servable_since(state: State, awaited: Iterable[str]) -> str:
    """The time of the complete state that this one stands for, as the log has it; empty if it is not to be served.

    Args:
        state: Folded from the log, before the incarnation begins.
        awaited: Kinds that its sources are going to read.
    """
    complete = state.complete
    never_read = sorted({*awaited} - {*complete.kinds})
    if complete.time and never_read:
        _log.warning("log_not_served", reason="nobody had read these kinds when the log was complete", kinds=never_read)
        return ""
    return complete.time
