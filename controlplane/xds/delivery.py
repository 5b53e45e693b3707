"""What one stream has been sent of one type, and what it is still to be sent.

A proxy in step costs nothing: only names whose state may differ from the table are remembered. A name that is tracked, and in
none of ``held`` and the lanes, is held by the proxy in exactly the table's version. ``changed`` is told what stood in the
table before, so this stays true without copying the table for each proxy.

The rules of subscription are in ``interest``, those of waiting in ``lane``; here they meet the table.
"""

import enum
from collections.abc import Iterable, Mapping

import msgspec

from controlplane.xds.interest import Interest, Update
from controlplane.xds.lane import Items, Lane, Lanes, Outstanding
from controlplane.xds.tables import Entry, Table
from controlplane.xds.types import Removal, TypeRule
from controlplane.xds.wire import ErrorDetail


class Unknown(enum.Enum):
    """The proxy's state of a resource after a rejection: some parts of a rejected response are applied, some not."""

    UNKNOWN = "unknown"


UNKNOWN = Unknown.UNKNOWN
Held = str | None | Unknown
"""The version that a proxy holds; None when it has none of that name."""


class Phase(enum.Enum):
    """Which part of a push is asked for."""

    CHANGES = "changes"
    """Changes and answers; removals where they need not go last."""
    ANSWERS = "answers"
    """Only what the proxy asked for; changes are held back."""
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
        self.interest = Interest(legacy_wildcard=rule.legacy_wildcard, max_names=max_names)
        self.lanes = Lanes()
        self.asked = False
        """Whether a request for this type has come on this stream."""
        self.resumed = False
        """Whether that request told of versions from an earlier stream."""
        self.held: dict[str, Held] = {}
        """What the proxy holds of names where that may differ from the table."""
        self.rejections: dict[str, Rejection] = {}
        self.counters = {"responses": 0, "resources": 0, "removals": 0, "acknowledged": 0, "rejected": 0, "overdue": 0}

    # What is wanted. Types with a lifecycle of their own override these.

    def wants(self, name: str) -> bool:
        """Whether the subscription covers this name."""
        return self.interest.wants(name) or (self.rule.unasked and not self.asked)

    def tracks(self, name: str) -> bool:
        """Whether the proxy holds this name in the table's version, unless something else is remembered of it."""
        return self.wants(name)

    def desired(self, name: str) -> Entry | None:
        """What the proxy should hold of this name; None for nothing."""
        return self.table.get(name)

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
        claims = claims if trust else {}
        update = self.interest.first(self.shared(subscribe), unsubscribe)
        if self.interest.wildcard:
            self._compare_all(claims)
        elif self.rule.unasked:
            self._forget_unwanted()
        for name in update.answer:
            entry = self.desired(name)
            if entry is not None and claims.get(name) == entry.version:
                self.held.pop(name, None)
            else:
                self.owe(name, claims.get(name) if trust else UNKNOWN)
        return update

    def _compare_all(self, claims: Mapping[str, str]) -> None:
        for lane in self.lanes:
            lane.pending.clear()
            lane.suspects.clear()
        self.held.clear()
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
        self.held.pop(name, None)
        self.rejections.pop(name, None)
        lane = self.lanes.find(self.rule.lane(name))
        if lane is not None:
            lane.pending.discard(name)
            lane.owed.discard(name)
            lane.suspects.pop(name, None)
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

        What leaves the table takes its rejection with it: if it comes back, whoever removed it wants it tried again (a listener
        whose port has become free).
        """
        for name, entry in before.items():
            if self.table.get(name) is None:
                self.rejections.pop(name, None)
            if name not in self.held:
                if not self.tracks(name):
                    continue
                self.held[name] = None if entry is None else entry.version
            self._touch(name)

    def compare(self, name: str, held: Held) -> None:
        """Takes what the proxy holds of a name as known, and marks it when it differs."""
        self.held[name] = held
        self._touch(name)

    def _touch(self, name: str) -> None:
        """Marks a name of ``held`` as pending; or as in step, when it is again what the proxy holds."""
        lane = self.lanes.get(self.rule.lane(name))
        lane.suspects.pop(name, None)
        self._mark(lane, name)
        self.lanes.tidy(lane)

    def _mark(self, lane: Lane, name: str) -> None:
        desired = self.desired_version(name)
        if self.held[name] == desired and not lane.holds(name):
            lane.pending.discard(name)
            if name not in lane.owed:
                del self.held[name]
        elif desired is None and self.rule.removal is Removal.NEVER:
            lane.pending.discard(name)
        else:
            lane.pending.add(name)
            self.lanes.wake(lane.key)

    def is_in_step(self, name: str) -> bool:
        """Whether the proxy, which wants the name, holds it in the table's version."""
        lane = self.lanes.find(self.rule.lane(name))
        return name not in self.held and not (lane is not None and name in lane.owed)

    def has_additions_pending(self) -> bool:
        """Whether something that has never been offered waits to be added or changed."""
        return any(self.desired(name) is not None for lane in self.lanes for name in lane.pending)

    @property
    def is_settled(self) -> bool:
        """Whether there is nothing that can be sent, and no answer to wait for."""
        return all(not lane.outstanding and (lane.is_settled or not self.is_sendable(lane)) for lane in self.lanes)

    # Responses.

    def draft(self, phase: Phase) -> Draft | None:
        """The next response of this type; None when there is nothing that may be sent now."""
        if phase is Phase.ANSWERS and self.rule.answers_wait:
            return None
        for key in self.lanes.ready():
            lane = self.lanes.find(key)
            if lane is not None and self.is_sendable(lane):
                draft = self._draft_lane(lane, phase)
                if draft is not None:
                    return draft
            goes_last = self.rule.removal is Removal.LAST and lane is not None and not lane.is_blocked
            if phase is Phase.CHANGES and not goes_last:
                self.lanes.rest(key)
        return None

    def _draft_lane(self, lane: Lane, phase: Phase) -> Draft | None:
        if phase is Phase.REMOVALS:
            return self._fill(lane, (name for name in lane.pending if self.desired(name) is None), removals=True)
        blocked = lane.is_blocked
        names = set() if blocked and self.rule.answers_wait else set(lane.owed)
        if phase is Phase.ANSWERS or blocked:
            return self._fill(lane, names, removals=False)
        names |= self._worth_sending(lane)
        draft = self._fill(lane, names, removals=self.rule.removal is Removal.AT_ONCE)
        if draft is None:
            draft = self._fill(lane, lane.offer(), removals=True)
        if draft is None and lane.reply:
            draft = Draft(lane, [], self.empty_answer(lane))
        return draft

    def _worth_sending(self, lane: Lane) -> set[str]:
        """The pending names, without those that have come back to a version that was just rejected."""
        for name in [name for name in lane.pending if name in self.rejections]:
            version = self.rejections[name].version
            if version == self.desired_version(name):
                lane.pending.discard(name)
                lane.suspects[name] = version
        return lane.pending

    def _fill(self, lane: Lane, names: Iterable[str], *, removals: bool) -> Draft | None:
        """A response with these names; without removals that nobody asked for, unless ``removals`` says so."""
        additions: list[Entry] = []
        removed: list[str] = []
        for name in sorted(names):
            entry = self.desired(name)
            if entry is not None:
                additions.append(entry)
            elif removals or name in lane.owed:
                removed.append(name)
        if additions and self.rule.apart:
            removed = []
        return Draft(lane, additions, removed) if additions or removed else None

    def sent(self, draft: Draft, nonce: str, now: float) -> None:
        """The draft goes out under this nonce."""
        items: Items = {entry.name: entry.version for entry in draft.additions}
        items.update(dict.fromkeys(draft.removals))
        blocking = self.asked and not draft.lane.stalled  # a proxy may drop what comes before it asked
        self.lanes.send(draft.lane, Outstanding(nonce, items, now, blocking))
        self.counters["responses"] += 1
        self.counters["resources"] += len(draft.additions)
        self.counters["removals"] += len(draft.removals)

    # Answers.

    def acknowledge(self, nonce: str) -> Items | None:
        """The proxy took the response (S7); what was in it, or None when the nonce is none of ours (S6)."""
        taken = self.lanes.answered(nonce)
        if taken is None:
            return None
        lane, items = taken
        self.counters["acknowledged"] += 1
        for name, version in items.items():
            if lane.suspects.get(name, UNKNOWN) == version:
                del lane.suspects[name]
            self.rejections.pop(name, None)
            self._confirm(lane, name, version)
        self.lanes.tidy(lane)
        return items

    def _confirm(self, lane: Lane, name: str, version: str | None) -> None:
        """The proxy holds this version of the name now."""
        self.held[name] = version
        if name in lane.owed or name in lane.suspects or lane.holds(name):
            return
        if self.wants(name):
            self._mark(lane, name)
        else:
            del self.held[name]
            lane.pending.discard(name)

    def reject(self, nonce: str, error: ErrorDetail) -> Items | None:
        """The proxy rejected the response; what was in it, or None when the nonce is none of ours.

        Of each resource in it we now know nothing; it is suspect until it changes, or until a later offer is accepted.
        """
        taken = self.lanes.answered(nonce)
        if taken is None:
            return None
        lane, items = taken
        lane.tried = items
        self.counters["rejected"] += 1
        for name, version in items.items():
            if version is None and self.rule.removal is Removal.LAST:
                self._confirm(lane, name, None)  # Envoy carries removals out, also those of a rejected response
            elif self.wants(name) or name in self.held:
                self.rejections[name] = Rejection(version, nonce, error.code, error.message)
                self._suspect(lane, name, version)
        self.lanes.tidy(lane)
        return items

    def _suspect(self, lane: Lane, name: str, version: str | None) -> None:
        self.held[name] = UNKNOWN
        if name in lane.pending or name in lane.owed or lane.holds(name):
            return
        if self.desired_version(name) == version:
            lane.suspects[name] = version
        else:
            self._mark(lane, name)

    def expire(self, nonce: str) -> Items:
        """The answer to this response is overdue; what was in it."""
        self.counters["overdue"] += 1
        return self.lanes.expire(nonce)
