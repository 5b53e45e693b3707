"""Which listeners cannot have their port, told as events.

An Envoy that cannot bind says so once, in a rejection, and never tries again by itself. So we look first, name who is in the
way, and look again every two seconds until the port is free.

One listener is one (gateway, address, port). Its life here::

    fine ──taken, or Envoy says so──> failed (ListenerFailed) ──free──> fine (ListenerRecovered)

Never foreign is what an Envoy of the same gateway holds. What an Envoy of another gateway of ours holds is on its way over (a
port that moved between two Gateways; that two want it at once is a conflict that was settled before), so it counts as taken
only from the second look on.
"""

from __future__ import annotations

import errno
import ipaddress
import math
import re
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from enum import Enum, auto
from typing import Final, NamedTuple

import anyio
import anyio.to_thread
import structlog

from controlplane.infra.output import redact
from controlplane.infra.ports import IPAddress, display, explain, find_owner, listening_sockets, sockets_of, try_to_bind
from controlplane.model.events import ListenerFailed, ListenerRecovered

INTERVAL_S: Final = 2.0
"""Seconds between two looks at a port that is taken."""

_LONGEST_S: Final = 60.0
_TEXT_LIMIT: Final = 500


class ListenerKey(NamedTuple):
    """One listener of one proxy."""

    gateway: str
    address: str
    port: int


class _Found(Enum):
    FREE = auto()
    OURS = auto()
    """The gateway's own Envoy has it, or may have: it does not let itself be looked at."""
    SIBLING = auto()
    """An Envoy of another gateway of ours has it."""
    TAKEN = auto()


class _Listener:
    """What we know of one listener."""

    def __init__(self, now: float) -> None:
        self.due = now
        """When to look next; infinite: when something happens."""
        self.failed = False
        self.contended = False
        self.refusal = ""
        """What its Envoy said, if that has not been told yet."""
        self.patience_s = 0.0
        self.recovered = -math.inf


class ListenerWatch:
    """Watches ports, and tells of those that cannot be had.

    Args:
        report: Takes the events, in order.
        envoys: Gives the process ids of the Envoys that live, and the gateway of each.
        may_bind_any_port: Whether the Envoys have a right to low ports that this process may lack.
        log: Where else it is told.
        interval_s: Seconds between two looks at a port that is taken.
    """

    def __init__(
        self,
        report: Callable[[ListenerFailed | ListenerRecovered], Awaitable[None]],
        envoys: Callable[[], Mapping[int, str]],
        log: structlog.typing.FilteringBoundLogger,
        *,
        may_bind_any_port: bool = False,
        interval_s: float = INTERVAL_S,
    ) -> None:
        self._report = report
        self._envoys = envoys
        self._log = log
        self._may_bind_any_port = may_bind_any_port
        self._interval_s = interval_s
        self._wanted: frozenset[ListenerKey] = frozenset()
        self._refusals: dict[ListenerKey, str] = {}
        self._listeners: dict[ListenerKey, _Listener] = {}
        self._changed = anyio.Event()

    def want(self, wanted: Iterable[ListenerKey]) -> None:
        """Watch exactly these. One that has failed and is no longer among them recovers: nothing is in its way any more."""
        self._wanted = frozenset(wanted)
        self._changed.set()

    def refused(self, key: ListenerKey, message: str) -> None:
        """An Envoy could not open a listener, and will not try again unless it is offered anew."""
        self._refusals[key] = message
        self._changed.set()

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            due = min((listener.due for listener in self._listeners.values()), default=math.inf)
            with anyio.CancelScope(deadline=due):
                await self._changed.wait()
            self._changed = anyio.Event()
            await self._take_over()
            await self._look()

    async def _take_over(self) -> None:
        """What was asked since the last look."""
        now = anyio.current_time()
        wanted, refusals = self._wanted, self._refusals
        self._refusals = {}
        for key in sorted(self._listeners.keys() - wanted):
            if self._listeners.pop(key).failed:
                await self._report(ListenerRecovered(*key))
        for key in sorted(wanted - self._listeners.keys()):
            self._listeners[key] = _Listener(now)
        for key, message in sorted(refusals.items()):
            listener = self._listeners.get(key)
            if listener is not None and not listener.failed:
                listener.refusal = message
                listener.due = now

    async def _look(self) -> None:
        now = anyio.current_time()
        due = [key for key, listener in sorted(self._listeners.items()) if listener.due <= now]
        if not due:
            return
        questions = [(key, not self._listeners[key].failed) for key in due]
        try:
            found = await anyio.to_thread.run_sync(_examine, questions, dict(self._envoys()), self._may_bind_any_port)
        except OSError as error:  # out of file descriptors, most likely
            self._log.error("ports_not_examined", reason=str(error), again_in_s=self._interval_s)
            for key in due:
                self._listeners[key].due = now + self._interval_s
            return
        for key, (state, reason) in zip(due, found, strict=True):
            await self._settle(key, self._listeners[key], state, reason)

    async def _settle(self, key: ListenerKey, listener: _Listener, state: _Found, reason: str) -> None:
        now = anyio.current_time()
        lost = state is _Found.TAKEN or (state is _Found.SIBLING and listener.contended)
        listener.contended = state is _Found.SIBLING
        listener.due = now + self._interval_s if lost or listener.contended else math.inf
        if listener.failed and not lost and not listener.contended:
            listener.failed, listener.recovered = False, now
            self._log.info("listener_recovered", gateway=key.gateway, listener=display(*key[1:]))
            await self._report(ListenerRecovered(*key))
        elif not listener.failed and (lost or listener.refusal):
            if not lost:
                # The port looks free and Envoy refuses it: offered again ever more rarely, or this would go round for ever.
                again = now - listener.recovered < _LONGEST_S
                listener.patience_s = (
                    min(max(listener.patience_s * 2, self._interval_s), _LONGEST_S) if again else self._interval_s
                )
                listener.due = now + listener.patience_s
            listener.failed = True
            reason = reason or _refusal(key, listener.refusal)
            self._log.error("listener_failed", gateway=key.gateway, listener=display(*key[1:]), reason=reason)
            await self._report(ListenerFailed(*key, reason))
        listener.refusal = ""


def _refusal(key: ListenerKey, message: str) -> str:
    # A rejection speaks of all listeners that were sent with this one, and may hold the whole of them.
    cause = re.search(r"cannot bind [^\n]*", message)
    text = redact(cause[0] if cause is not None else message)[:_TEXT_LIMIT]
    return f"Envoy could not open {display(key.address, key.port)}: {text}; it will be offered again"


def _examine(
    questions: Collection[tuple[ListenerKey, bool]], envoys: Mapping[int, str], may_bind_any_port: bool
) -> list[tuple[_Found, str]]:
    """What is the matter with each of these ports. Runs in a thread: the kernel's tables can be long.

    Args:
        questions: Listeners, and whether the reason is asked for, which costs a look at every process of the machine.
        envoys: Process id of each Envoy of ours -> its gateway.
        may_bind_any_port: Whether the Envoys may bind where we may not.
    """
    tables: _Tables | None = None
    found = []
    for key, why in questions:
        try:
            address = ipaddress.ip_address(key.address)
        except ValueError:
            found.append((_Found.TAKEN, f"{key.address!r} is no IP address: change spec.addresses"))
            continue
        error = try_to_bind(address, key.port)
        if error is not None and error.errno == errno.EADDRINUSE:
            tables = tables or _Tables(envoys)
            found.append(tables.attribute(error, key.gateway, address, key.port, why=why))
        elif error is None or (error.errno == errno.EACCES and may_bind_any_port):
            found.append((_Found.FREE, ""))
        else:
            found.append((_Found.TAKEN, explain(error, address, key.port, (), None)))
    return found


class _Tables:
    """Who listens where, at one moment."""

    def __init__(self, envoys: Mapping[int, str]) -> None:
        self._sockets = listening_sockets()
        self._gateway_of: dict[int, str] = {}
        self._hidden: set[str] = set()
        for pid, gateway in envoys.items():
            try:
                self._gateway_of.update(dict.fromkeys(sockets_of(pid), gateway))
            except PermissionError:  # a binary with file capabilities hides its descriptors
                self._hidden.add(gateway)

    def attribute(
        self, error: OSError, gateway: str, address: IPAddress, port: int, *, why: bool
    ) -> tuple[_Found, str]:
        in_the_way = [socket for socket in self._sockets if socket.conflicts(address, port)]
        # Who has exactly this address has it; a wildcard beside, of the other IP version, may be in the way and need not.
        exact = [socket for socket in in_the_way if socket.address == address]
        owners = {self._gateway_of.get(socket.inode) for socket in exact or in_the_way}
        if gateway in owners or (None in owners and gateway in self._hidden):
            return _Found.OURS, ""
        siblings = sorted(owner for owner in owners if owner is not None)
        if siblings and None not in owners:
            holder = f"the Envoy of Gateway {siblings[0]}"
            return _Found.SIBLING, f"{display(address, port)} is held by {holder}: use another address or port"
        if not in_the_way and try_to_bind(address, port) is None:
            return _Found.FREE, ""  # let go of between our two looks
        owner = find_owner({socket.inode for socket in in_the_way}) if why else None
        return _Found.TAKEN, explain(error, address, port, in_the_way, owner)
