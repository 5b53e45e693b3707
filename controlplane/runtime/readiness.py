"""Readiness in three layers: the process, the sources, the collections.

``/readyz`` is their conjunction. What was complete once and has lost a source since is *degraded*, not unready: it serves what
it has, and taking it out of service would leave new proxies with nothing at all. So is what serves the log's last complete state.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from enum import StrEnum
from time import monotonic

import msgspec

from controlplane.runtime.core import Core


class Layer(StrEnum):
    """What a check is about."""

    PROCESS = "process"
    SOURCES = "sources"
    COLLECTIONS = "collections"


class Standing(StrEnum):
    """How a check stands."""

    OK = "ok"
    DEGRADED = "degraded"
    FAILED = "failed"


class Check(msgspec.Struct, frozen=True):
    """One check."""

    layer: Layer
    name: str
    standing: Standing
    reason: str = ""
    age_seconds: float = 0.0
    """How long it stands like this."""


class Readiness:
    """All checks of one process.

    Args:
        core: Whose log and state are looked at.
        recorded: A recorded log is served: there are no sources to wait for.
        clock: In seconds, monotonic.
    """

    def __init__(self, core: Core, *, recorded: bool = False, clock: Callable[[], float] = monotonic) -> None:
        self._core = core
        self._recorded = recorded
        self._state = core.state
        self._clock = clock
        self._begun = clock()
        self._process: dict[str, str] = {}
        self._observed: dict[str, Callable[[], str]] = {}
        self._since: dict[str, tuple[Standing, float]] = {}
        self._reached: dict[Layer, float] = {}
        self._stopping = False
        self._others: list[Callable[[], Iterable[Check]]] = []

    def add(self, checks: Callable[[], Iterable[Check]]) -> None:
        """Ask for these checks of the process, too."""
        self._others.append(checks)

    def expect(self, name: str, reason: str) -> None:
        """The process is not ready before ``fulfil`` is called with the same name."""
        self._process[name] = reason

    def fulfil(self, name: str) -> None:
        """What was expected is there."""
        self._process[name] = ""
        self.checks()

    def observe(self, name: str, look: Callable[[], str]) -> None:
        """The process is degraded, not unready, while ``look`` gives a reason."""
        self._observed[name] = look

    def stop(self) -> None:
        """Unready for the rest of this life."""
        self._stopping = True

    def checks(self) -> tuple[Check, ...]:
        """Every check, in order of layers and names, with how long each stands so."""
        now = self._clock()
        found = []
        known, self._since = self._since, {}
        for check in self._all():
            name = f"{check.layer}/{check.name}"
            standing, since = known.get(name, (None, now))
            self._since[name] = (check.standing, since if standing == check.standing else now)
            found.append(msgspec.structs.replace(check, age_seconds=now - self._since[name][1]))
        for layer in Layer:
            if layer not in self._reached and all(c.standing != Standing.FAILED for c in found if c.layer == layer):
                self._reached[layer] = now - self._begun
        return tuple(found)

    def ready(self) -> bool:
        """Whether nothing has failed."""
        return all(check.standing != Standing.FAILED for check in self.checks())

    def reached(self) -> dict[Layer, float]:
        """Seconds from the start until a layer was ready for the first time; absent while it never was."""
        self.checks()
        return dict(self._reached)

    def _all(self) -> Iterator[Check]:
        if self._stopping:
            yield Check(Layer.PROCESS, "shutdown", Standing.FAILED, "the process is shutting down")
        for name in sorted(self._process):
            reason = self._process[name]
            yield Check(Layer.PROCESS, name, Standing.FAILED if reason else Standing.OK, reason)
        for name, look in sorted(self._observed.items()):
            reason = look()
            yield Check(Layer.PROCESS, name, Standing.DEGRADED if reason else Standing.OK, reason)
        yield self._log()
        for checks in self._others:
            yield from checks()
        if self._recorded:
            return
        base = self._state.rows.base
        missing_is = Standing.DEGRADED if self._state.stale_since else Standing.FAILED
        for row in base.source_kinds.rows():
            kind, source = row.key
            reason = "" if row.synced else f"the first list of {kind} from source {source} is not in yet"
            yield Check(Layer.SOURCES, f"{source}/{kind}", Standing.OK if row.synced else missing_is, reason)
        for part in base.source_parts.rows():
            source, name = part.key
            yield Check(Layer.SOURCES, f"{source}/{name or 'connection'}", Standing.DEGRADED, part.reason)
        if since := self._state.stale_since:
            awaited = ", ".join(sorted({row.key[1] for row in base.source_kinds.rows() if not row.synced}))
            reason = f"served as the log has it of {since}, until these sources have been read: {awaited}"
            yield Check(Layer.COLLECTIONS, "fresh", Standing.DEGRADED, reason)
        unsynced = self._state.graph.unsynced()
        missing = ", ".join(unsynced)
        standing = missing_is if unsynced or not self._state.seq else Standing.OK
        yield Check(Layer.COLLECTIONS, "synced", standing, f"not synced yet: {missing}" if unsynced else "")
        for failure in self._state.graph.failures():
            name = f"{failure.node}/{failure.key}"
            yield Check(Layer.COLLECTIONS, name, Standing.DEGRADED, f"kept at its last good row: {failure.message}")

    def _log(self) -> Check:
        statistics = self._core.log.statistics()
        refusal = statistics.failure or self._core.refusal
        remedy = "restart the control plane" if statistics.is_final else "it goes on by itself as soon as it can"
        reason = f"{refusal}; {remedy}" if refusal else ""
        return Check(Layer.PROCESS, "log", Standing.FAILED if refusal else Standing.OK, reason)


def render(checks: tuple[Check, ...]) -> str:
    """The checks as text, one a line, as Kubernetes' own ``?verbose`` looks."""
    marks = {Standing.OK: "+", Standing.DEGRADED: "!", Standing.FAILED: "-"}
    lines = [
        f"[{marks[c.standing]}] {c.layer}/{c.name} {c.standing}"
        + (f" for {c.age_seconds:.1f} s: {c.reason}" if c.standing != Standing.OK else "")
        for c in checks
    ]
    ready = all(c.standing != Standing.FAILED for c in checks)
    return "\n".join([*lines, "ready" if ready else "not ready", ""])
