"""What one stream has been sent of one type, and what it is still to be sent.

A proxy in step costs nothing: only names whose state may differ from the table are remembered. A name that is tracked, and in
none of ``held`` and the lanes, is held by the proxy in exactly the table's version. ``changed`` is told what stood in the
table before, so this stays true without copying the table for each proxy.

The rules of subscription are in ``interest``, those of waiting in ``lane``, those of rejections in ``apart``, those of what
must wait for clusters in ``gate``; here they meet the table.
"""

import enum
import re
from collections.abc import Iterable, Mapping
from typing import Protocol

import msgspec

from controlplane.xds.apart import Apart
from controlplane.xds.held import UNKNOWN, Held, Uncertain, after_rejection
from controlplane.xds.interest import Interest, Update
from controlplane.xds.lane import MAX_UNANSWERED, Items, Lane, Lanes, Outstanding
from controlplane.xds.probe import RejectedRoute
from controlplane.xds.tables import Entry, Table
from controlplane.xds.types import Removal, TypeRule
from controlplane.xds.wire import ErrorDetail

_WORD = re.compile(r"[^\s:;,'\"()\[\]{}]+")


class Phase(enum.Enum):
    """Which part of a push is asked for."""

    CHANGES = "changes"
    """Changes and answers; removals where they need not go last."""
    REMOVALS = "removals"
    """What goes last."""


class Rejection(msgspec.Struct, frozen=True):
    """A resource that stood in a rejected response."""

    version: str | None
    nonce: str
    code: int
    message: str


class Draft(msgspec.Struct):
    """A response before it has a nonce."""

    lane: Lane
    additions: list[Entry]
    """Sorted by name."""
    removals: list[str]
    """Sorted."""
    is_trial: bool = False
    """Whether it offers a group of suspects, which stand in it and nothing else."""


class Guilty(msgspec.Struct, frozen=True):
    """A resource that was rejected alone."""

    entry: Entry
    """What was rejected."""
    last: Entry | None
    """What proxies took last; None where that is nothing, or no longer known."""
    held: str
    """The version that this proxy held before; empty where it held none, or that is not known."""
    message: str
    routes: tuple[RejectedRoute, ...] = ()
    """Of a virtual host, where some of its routes are at fault and the rest is not."""


class Gatekeeper(Protocol):
    """Decides what has to wait; see ``gate``."""

    def admits(self, delivery: "Delivery", entry: Entry) -> bool:
        """Whether the proxy may be sent this resource now."""

    def dismiss(self, type_url: str, name: str) -> None:
        """The name need not wait any more: it is gone, or not wanted."""

    def is_overdue(self, type_url: str, name: str) -> bool:
        """Whether the name has waited for so long that nothing else waits for it any more."""

    def has(self, cluster: str) -> bool:
        """Whether the proxy has proven this cluster."""

    def may_remove(self, name: str) -> bool:
        """Whether a cluster can be removed without harm."""


class OpenGate:
    """Nothing waits: of types that name no clusters."""

    def admits(self, delivery: "Delivery", entry: Entry) -> bool:
        """As ``Gatekeeper``."""
        return True

    def is_overdue(self, type_url: str, name: str) -> bool:
        """As ``Gatekeeper``."""
        return False

    def dismiss(self, type_url: str, name: str) -> None:
        """As ``Gatekeeper``."""

    def has(self, cluster: str) -> bool:
        """As ``Gatekeeper``."""
        return True

    def may_remove(self, name: str) -> bool:
        """As ``Gatekeeper``."""
        return True


def _named_in(message: str, names: Iterable[str]) -> list[str]:
    """The names that stand in a message as whole words, sorted."""
    words = set(_WORD.findall(message))
    return sorted(name for name in names if name in words)


class Delivery:
    """One type on one stream.

    Args:
        rule: Of the type.
        table: The current resources that the client may see.
        max_names: Limit of explicit subscriptions.
    """

    def __init__(self, rule: TypeRule, table: Table, max_names: int = 100_000) -> None:
        self.rule = rule
        self.table = table
        self.gate: Gatekeeper = OpenGate()
        self.interest = Interest(legacy_wildcard=rule.legacy_wildcard, max_names=max_names)
        self.lanes = Lanes()
        self.asked = False
        """Whether a request for this type has come on this stream."""
        self.resumed = False
        """Whether that request told of versions from an earlier stream."""
        self.held: dict[str, Held] = {}
        """What the proxy holds of names where that may differ from the table."""
        self.overrides: dict[str, Entry | None] = {}
        """What this proxy is to hold of a name instead of the table's entry, which it rejects; None for nothing."""
        self.named: dict[str, dict[str, tuple[str, ...] | None]] = {}
        """Names that are out of step, and by version the clusters that what the proxy may hold of them names; None where
        that version is not known."""
        self.rejections: dict[str, Rejection] = {}
        self.counters = {"responses": 0, "resources": 0, "removals": 0, "acknowledged": 0, "rejected": 0, "overdue": 0}

    # What is wanted. Types with a lifecycle of their own override these.

    def wants(self, name: str) -> bool:
        """Whether the subscription covers this name."""
        return self.interest.wants(name) or (self.rule.unasked and not self.asked)

    def tracks(self, name: str) -> bool:
        """Whether the proxy holds this name in the table's version, unless something else is remembered of it."""
        return self.wants(name)

    def offered(self, name: str) -> Entry | None:
        """What the tables have for the proxy of this name."""
        return self.table.get(name)

    def desired(self, name: str) -> Entry | None:
        """What the proxy should hold of this name now; None for nothing."""
        return self.overrides[name] if name in self.overrides else self.offered(name)

    def exists(self, name: str) -> bool:
        """Whether the proxy is known to hold some version of this name, and no removal of it is under way."""
        if name not in self.held:
            return self.asked and self.tracks(name) and self.offered(name) is not None
        lane = self.lanes.find(self.rule.lane(name))
        if lane is not None and any(response.items.get(name, "") is None for response in lane.outstanding.values()):
            return False
        return isinstance(self.held[name], (str, Uncertain))

    @property
    def is_unclear(self) -> bool:
        """Whether nobody can know yet what the proxy holds of this type: it has not asked for what it is going to ask for."""
        return self.rule.legacy_wildcard and not self.asked

    def is_sendable(self, lane: Lane) -> bool:
        """Whether the proxy can take something of this lane now."""
        return True

    def empty_answer(self, lane: Lane) -> list[str]:
        """What an answer that has nothing to say removes."""
        return []

    def desired_version(self, name: str) -> str | None:
        """The version of ``desired``."""
        entry = self.desired(name)
        return None if entry is None else entry.version

    # Requests.

    def begin(
        self, subscribe: tuple[str, ...], unsubscribe: tuple[str, ...], claims: Mapping[str, str], *, trust: bool = True
    ) -> Update:
        """The first request of the type on this stream.

        Args:
            subscribe: As in the request.
            unsubscribe: As in the request.
            claims: ``initial_resource_versions``: what the proxy says it holds from earlier streams (R1 to R4).
            trust: False answers every subscription with bytes, whatever is claimed.
        """
        self.asked = True
        self.resumed = bool(claims)
        self.overrides.clear()
        claims = claims if trust else {}
        update = self.interest.first(self.shared(subscribe), unsubscribe)
        if self.interest.wildcard:
            self._compare_all(claims)
        elif self.rule.unasked:
            self._forget_unwanted()
        for name in update.answer:
            entry = self.desired(name)
            if entry is not None and claims.get(name) == entry.version:
                self._in_step(name)
                self.table.take(name, entry.version)
            else:
                self.owe(name, claims.get(name) if trust else UNKNOWN)
        return update

    def _compare_all(self, claims: Mapping[str, str]) -> None:
        for lane in self.lanes:
            lane.pending.clear()
            lane.apart = None
        self.held.clear()
        self.named.clear()
        for name in self.table.names():
            self.compare(name, claims.get(name))
        for name, version in claims.items():
            if self.table.get(name) is None:
                self.compare(name, version)
        self._reply_to_wildcard()

    def _reply_to_wildcard(self) -> None:
        if self.rule.answer_empty:
            self.lanes.get("").reply = True
            self.lanes.wake("")

    def update(self, subscribe: tuple[str, ...], unsubscribe: tuple[str, ...]) -> Update:
        """A further request of the type."""
        update = self.interest.update(self.shared(subscribe), unsubscribe)
        if update.lost_all:
            self._forget_unwanted()
        for name in update.dropped:
            self._forget(name)
        for name in self.table.names() if update.gained_all else ():
            self.owe(name)
        for name in update.answer:
            self.owe(name)
        if update.gained_all:
            self._reply_to_wildcard()
        return update

    def shared(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """The same names as the table's own strings: thousands of them, in every stream, for as long as it lasts."""
        return tuple(name if (entry := self.table.get(name)) is None else entry.name for name in names)

    def _forget_unwanted(self) -> None:
        names = set(self.held)
        for lane in self.lanes:
            names |= lane.pending | lane.owed | lane.suspects.keys()
        for name in names:
            if not self.interest.wants(name):
                self._forget(name)

    def _forget(self, name: str) -> None:
        """The proxy does not want the name any more."""
        self._in_step(name)
        self.overrides.pop(name, None)
        self.rejections.pop(name, None)
        self.gate.dismiss(self.rule.url, name)
        lane = self.lanes.find(self.rule.lane(name))
        if lane is not None:
            lane.pending.discard(name)
            lane.owed.discard(name)
            lane.clear_suspects([name])
            self.lanes.wake(lane.key)
            self.lanes.tidy(lane)

    # What has to be sent.

    def owe(self, name: str, held: Held = UNKNOWN) -> None:
        """The name must be sent, whatever the proxy holds (W7); its removal where nothing exists (W9)."""
        self.held.setdefault(name, held)
        key = self.rule.lane(name)
        self.lanes.get(key).owed.add(name)
        self.lanes.wake(key)

    def changed(self, before: Mapping[str, Entry | None]) -> None:
        """The table has changed in these names. Cost: O(names).

        Whatever was rejected of them is over: the new version is offered at once.
        """
        for name, entry in before.items():
            self.overrides.pop(name, None)
            self.rejections.pop(name, None)
            if name not in self.held:
                if not self.tracks(name):
                    continue
                self.held[name] = None if entry is None else entry.version
            if entry is not None and name not in self.named:
                self._note_named(entry)
            self._touch(name)

    def compare(self, name: str, held: Held) -> None:
        """Takes what the proxy holds of a name as known, and marks it when it differs."""
        self.held[name] = held
        if self.rule.gated and isinstance(held, str):
            entry = self.desired(name)
            is_known = entry is not None and entry.version == held
            self.named.setdefault(name, {})[held] = entry.clusters if entry is not None and is_known else None
        self._touch(name)

    def _note_named(self, entry: Entry) -> None:
        """The proxy may hold this of a name that is out of step."""
        if self.rule.gated and entry.name in self.held:
            named = self.named.setdefault(entry.name, {})
            named[entry.version] = entry.clusters
            if len(named) > MAX_UNANSWERED:
                self.named[entry.name] = {"": None}

    def _in_step(self, name: str) -> None:
        """The proxy holds of a name what the table has; or nothing, and wants nothing."""
        self.held.pop(name, None)
        self.named.pop(name, None)

    def _touch(self, name: str) -> None:
        """Marks a name of ``held`` as pending; or as in step, when it is again what the proxy holds."""
        lane = self.lanes.get(self.rule.lane(name))
        lane.clear_suspects([name])
        self._mark(lane, name)
        self.lanes.tidy(lane)

    def _mark(self, lane: Lane, name: str) -> None:
        desired = self.desired(name)
        held = self.held[name]
        version = None if desired is None else desired.version
        if desired is not None and not desired.is_known and isinstance(held, Uncertain):
            held = held.version  # what it rejected is offered no longer, and what it held cannot be sent again
        if desired is None:
            self.gate.dismiss(self.rule.url, name)
        if held == version and not lane.holds(name):
            lane.pending.discard(name)
            self.gate.dismiss(self.rule.url, name)
            if name not in lane.owed and name not in self.overrides:
                self._in_step(name)
            if version is not None:
                self.table.take(name, version)
        elif desired is None and self.rule.removal is Removal.NEVER:
            lane.pending.discard(name)
        else:
            lane.pending.add(name)
            self.lanes.wake(lane.key)

    def is_in_step(self, name: str) -> bool:
        """Whether the proxy, which wants the name, holds it in the table's version."""
        lane = self.lanes.find(self.rule.lane(name))
        return name not in self.held and not (lane is not None and name in lane.owed)

    @property
    def is_settled(self) -> bool:
        """Whether there is nothing that can be sent now, and no answer to wait for."""
        return all(not lane.outstanding and self._is_at_rest(lane) for lane in self.lanes)

    def _is_at_rest(self, lane: Lane) -> bool:
        if not self.is_sendable(lane):
            return True
        if lane.reply or lane.apart is not None:
            return False
        removal_waits = self.rule.removal is Removal.LAST
        return all(
            self.gate.is_overdue(self.rule.url, name) or (removal_waits and self.desired(name) is None)
            for name in (*lane.pending, *lane.owed)
        )

    # Responses.

    def draft(self, phase: Phase) -> Draft | None:
        """The next response of this type; None when there is nothing that may be sent now."""
        for key in self.lanes.ready():
            lane = self.lanes.find(key)
            if lane is not None and self.is_sendable(lane):
                draft = self._draft_lane(lane, phase)
                if draft is not None:
                    return draft
            goes_last = self.rule.removal is Removal.LAST and lane is not None and bool(lane.pending)
            if phase is Phase.CHANGES and not goes_last:
                self.lanes.rest(key)
        return None

    def _draft_lane(self, lane: Lane, phase: Phase) -> Draft | None:
        blocked = lane.is_blocked
        if phase is Phase.REMOVALS:
            gone = () if blocked else (name for name in lane.pending if self.desired(name) is None)
            is_free = self.gate.may_remove if self.rule.is_named else bool
            return self._fill(lane, filter(is_free, gone), removals=True)
        names = set() if blocked and self.rule.answers_wait else set(lane.owed)
        if blocked:
            return self._fill(lane, names, removals=False)
        names |= lane.pending
        if lane.reply and not self._may_begin(lane, names):
            return None
        draft = self._fill(lane, names, removals=self.rule.removal is Removal.AT_ONCE)
        if draft is None:
            draft = self._next_trial(lane)
        if draft is None and lane.reply:
            draft = Draft(lane, [], self.empty_answer(lane))
        return draft

    def _may_begin(self, lane: Lane, names: Iterable[str]) -> bool:
        """Whether the first answer of a lane is whole: what it lacks would be missing, not as it was before."""
        entries = [entry for entry in map(self.desired, names) if entry is not None]
        waiting = [entry for entry in entries if not self.gate.admits(self, entry)]
        return all(self.gate.is_overdue(self.rule.url, entry.name) for entry in waiting)

    def _fill(self, lane: Lane, names: Iterable[str], *, removals: bool) -> Draft | None:
        """A response with these names; without removals that nobody asked for, unless ``removals`` says so."""
        additions: list[Entry] = []
        removed: list[str] = []
        for name in sorted(names):
            entry = self.desired(name)
            if entry is not None:
                if self.gate.admits(self, entry):
                    additions.append(entry)
            elif removals or name in lane.owed:
                removed.append(name)
        if additions and self.rule.apart:
            removed = []
        return Draft(lane, additions, removed) if additions or removed else None

    def _next_trial(self, lane: Lane) -> Draft | None:
        """The next group of suspects, alone in a response. What of it has been withdrawn is offered again."""
        if lane.apart is None:
            return None
        group = lane.apart.next_group()
        if not group or any(name in lane.pending or lane.holds(name) for name in group):
            return None
        for name in group:
            self.overrides.pop(name, None)
        lane.apart.offered()
        found = [(name, self.desired(name)) for name in group]
        additions = [entry for _, entry in found if entry is not None]
        return Draft(lane, additions, [name for name, entry in found if entry is None], is_trial=True)

    def sent(self, draft: Draft, nonce: str, now: float) -> None:
        """The draft goes out under this nonce."""
        items: Items = {entry.name: entry.version for entry in draft.additions}
        items.update(dict.fromkeys(draft.removals))
        for entry in draft.additions:
            self._note_named(entry)
        blocking = self.asked and not draft.lane.stalled  # a proxy may drop what comes before it asked
        self.lanes.send(draft.lane, Outstanding(nonce, items, now, blocking, draft.is_trial))
        self.counters["responses"] += 1
        self.counters["resources"] += len(draft.additions)
        self.counters["removals"] += len(draft.removals)

    # Answers.

    def acknowledge(self, nonce: str) -> Items | None:
        """The proxy took the response (S7); what was in it, or None when the nonce is none of ours (S6)."""
        taken = self.lanes.answered(nonce)
        if taken is None:
            return None
        lane, response = taken
        self.counters["acknowledged"] += 1
        current = [name for name, version in response.items.items() if lane.suspects.get(name, UNKNOWN) == version]
        lane.clear_suspects(current, taken=True)
        for name, version in response.items.items():
            if name not in self.overrides:
                self.rejections.pop(name, None)
            if version is not None:
                self.table.take(name, version)
            self._confirm(lane, name, version)
        self.lanes.tidy(lane)
        return response.items

    def _confirm(self, lane: Lane, name: str, version: str | None) -> None:
        """The proxy holds this version of the name now."""
        self.held[name] = version
        if name in self.named:
            self.named[name] = {known: clusters for known, clusters in self.named[name].items() if known == version}
        if name in lane.owed or name in lane.suspects or lane.holds(name):
            return
        if self.wants(name):
            self._mark(lane, name)
        else:
            self._in_step(name)
            lane.pending.discard(name)

    def reject(self, nonce: str, error: ErrorDetail) -> Items | None:
        """The proxy rejected the response; what was in it, or None when the nonce is none of ours.

        Of each resource in it we now know nothing; it is suspect until it changes, or until a later offer is accepted.
        """
        taken = self.lanes.answered(nonce)
        if taken is None:
            return None
        lane, response = taken
        self.counters["rejected"] += 1
        suspects: Items = {}
        for name, version in response.items.items():
            if version is None and self.rule.removal is Removal.LAST:
                self._confirm(lane, name, None)  # Envoy carries removals out, also those of a rejected response
            elif self.wants(name) or name in self.held:
                self.rejections[name] = Rejection(version, nonce, error.code, error.message)
                if self._suspect(lane, name, version):
                    suspects[name] = version
        if suspects or lane.apart is not None:
            lane.apart = lane.apart or Apart()
            named = _named_in(error.message, suspects)
            doubtful = lane.apart.reject(suspects, was_alone=len(response.items) == 1, named=named)
            if self.rule.is_sticky and not doubtful:
                doubtful = named or [name for name in suspects if not self.gate.has(name)]
            for name in doubtful:
                self._take_back(lane, name)
            lane.clear_suspects(())
        self.lanes.tidy(lane)
        return response.items

    def _suspect(self, lane: Lane, name: str, version: str | None) -> bool:
        """Whether a name of a rejected response is a suspect: it is what the tables have, and nothing else is to be sent."""
        self.held[name] = after_rejection(self.held.get(name, UNKNOWN))
        offered = self.offered(name)
        is_current = (None if offered is None else offered.version) == version
        if name in self.overrides:
            return is_current
        if name in lane.owed or lane.holds(name):
            return False
        if is_current:
            lane.pending.discard(name)  # it has changed and come back: not to be offered just as it was
        elif name not in lane.pending:
            self._mark(lane, name)
        return is_current

    def take_back(self, names: Iterable[str]) -> None:
        """Has the proxy hold what it took last of these, or nothing, until they are offered again by themselves."""
        for name in names:
            lane = self.lanes.get(self.rule.lane(name))
            self._take_back(lane, name)
            self.lanes.tidy(lane)

    def _take_back(self, lane: Lane, name: str) -> None:
        offered = self.offered(name)
        if offered is None or name in self.overrides or not self.rule.withdraws:
            return
        last = self.table.last_taken(name)
        if last is None and isinstance(self.held.get(name), (str, Uncertain)):
            return  # it has an earlier version, which nobody can send any more
        if last is None or last.version != offered.version:
            self.overrides[name] = last
            self.held.setdefault(name, UNKNOWN)
            self._mark(lane, name)

    def judge(self) -> list[Guilty]:
        """Resources that have turned out to be guilty, each once.

        What some proxy of the gateway has taken is not bad for all: no more is said of it than that this one rejects it.
        """
        found = []
        for lane in tuple(self.lanes):
            if lane.apart is None or any(response.is_trial for response in lane.outstanding.values()):
                continue
            for name in lane.apart.judge():
                offered = self.offered(name)
                last = self.table.last_taken(name)
                if offered is None or (last is not None and last.version == offered.version):
                    continue
                held = self.held.get(name)
                version = held.version if isinstance(held, Uncertain) else held if isinstance(held, str) else ""
                found.append(Guilty(offered, last, version, self.rejections[name].message))
            lane.clear_suspects(())
            self.lanes.tidy(lane)
        return found

    def expire(self, nonce: str) -> Items:
        """The answer to this response is overdue; what was in it."""
        self.counters["overdue"] += 1
        return self.lanes.expire(nonce)
