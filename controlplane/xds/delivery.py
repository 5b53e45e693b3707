"""What one stream has been sent of one type, and what it is still to be sent.

A proxy in step costs nothing: only names whose state may differ from the table are remembered. A name that is wanted, and in
none of ``held`` and the lanes, is held by the proxy in exactly the table's version. ``changed`` is told what stood in the
table before, so this stays true without copying the table for each proxy.

The rules of subscription are in ``interest``, those of waiting in ``lane``; here they meet the table.
"""

import enum
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from controlplane.xds.interest import Interest, Update
from controlplane.xds.lane import Lane, Outstanding
from controlplane.xds.redact import redact
from controlplane.xds.types import Removal, TypeRule
from controlplane.xds.views import Entry, Table
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
    removals: list[str]
    """Sorted, as the additions are."""
    answered: frozenset[str] = frozenset()
    """Names in it that the proxy had asked for."""


class Delivery:
    """One type on one stream.

    Args:
        rule: Of the type.
        table: The scope's current resources.
        max_names: Limit of explicit subscriptions.
    """

    def __init__(self, rule: TypeRule, table: Table, max_names: int = 100_000) -> None:
        self.rule = rule
        self.table = table
        self.interest = Interest(legacy_wildcard=rule.legacy_wildcard, max_names=max_names)
        self.asked = False
        """Whether a request for this type has come on this stream."""
        self.resumed = False
        """Whether that request told of versions from an earlier stream."""
        self.held: dict[str, Held] = {}
        """What the proxy holds of names where that may differ from the table."""
        self.rejections: dict[str, Rejection] = {}
        self.waiting = 0
        """Responses whose lane waits for their answer."""
        self.counters = {"responses": 0, "resources": 0, "removals": 0, "acknowledged": 0, "rejected": 0, "overdue": 0}
        self._lanes: dict[str, Lane] = {}
        self._ready: dict[str, None] = {}
        self._lane_of_nonce: dict[str, Lane] = {}

    # What is wanted.

    def wants(self, name: str) -> bool:
        """Whether a change of this name concerns the stream."""
        return self.interest.wants(name) or (self.rule.unasked and not self.asked)

    def tracks(self, name: str) -> bool:
        """Whether the proxy holds this name in the table's version, unless something else is remembered of it."""
        return self.wants(name)

    def desired(self, name: str) -> Entry | None:
        """What the proxy should hold of this name; None for nothing."""
        return self.table.get(name)

    def is_sendable(self, lane: Lane) -> bool:
        """Whether the lane may send now, apart from answers that it waits for."""
        return True

    def _desired_version(self, name: str) -> str | None:
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
        for lane in self._lanes.values():
            for response in lane.outstanding.values():
                self._stop_waiting(response)  # the proxy may have dropped what came before it asked
            self.wake(lane.key)
        update = self.interest.first(subscribe, unsubscribe)
        if self.interest.wildcard:
            self._compare_all(claims if trust else {})
        elif self.rule.unasked:
            self._forget_unwanted()
        for name in update.answer:
            entry = self.desired(name)
            if trust and entry is not None and claims.get(name) == entry.version:
                self.held.pop(name, None)
            else:
                self.owe(name, claims.get(name) if trust else UNKNOWN)
        return update

    def _compare_all(self, claims: Mapping[str, str]) -> None:
        for lane in self._lanes.values():
            lane.pending.clear()
            lane.suspects.clear()
        self.held.clear()
        for name in self.table.names():
            self._compare(name, claims.get(name))
        for name in claims:
            if self.table.get(name) is None:
                self._compare(name, claims[name])
        if self.rule.answer_empty:
            self._lane("").reply = True
            self.wake("")

    def update(self, subscribe: tuple[str, ...], unsubscribe: tuple[str, ...]) -> Update:
        """A further request of the type."""
        update = self.interest.update(subscribe, unsubscribe)
        if update.lost_all:
            self._forget_unwanted()
        for name in update.dropped:
            self._forget(name)
        for name in update.answer:
            self.owe(name)
        if update.gained_all:
            for name in self.table.names():
                self.owe(name)
            if self.rule.answer_empty:
                self._lane("").reply = True
                self.wake("")
        return update

    def _forget_unwanted(self) -> None:
        names = set(self.held)
        for lane in self._lanes.values():
            names |= lane.pending | lane.owed | lane.suspects.keys()
        for name in names:
            if not self.interest.wants(name):
                self._forget(name)

    # What has to be sent.

    def owe(self, name: str, held: Held = UNKNOWN) -> None:
        """The name must be sent, whatever the proxy holds (W7); its removal where nothing exists (W9)."""
        self.held.setdefault(name, held)
        self._lane(self.rule.lane(name)).owed.add(name)
        self.wake(self.rule.lane(name))

    def changed(self, before: Mapping[str, Entry | None]) -> None:
        """The table has changed in these names. Cost: O(names)."""
        for name, entry in before.items():
            if name not in self.held:
                if not self.tracks(name):
                    continue
                self.held[name] = None if entry is None else entry.version
            self._touch(name)

    def _compare(self, name: str, held: Held) -> None:
        """Takes what the proxy holds of a name as known, and marks it when it differs."""
        self.held[name] = held
        self._touch(name)

    def _touch(self, name: str) -> None:
        """Marks a name of ``held`` as pending; or as in step, when it is again what the proxy holds."""
        key = self.rule.lane(name)
        lane = self._lanes.get(key)
        if self.held[name] == self._desired_version(name) and not (lane and lane.holds(name)):
            if not (lane and name in lane.owed):
                del self.held[name]
            if lane is not None:
                lane.pending.discard(name)
                lane.suspects.pop(name, None)
                self._tidy(lane)
            return
        lane = self._lane(key)
        lane.suspects.pop(name, None)
        if self.rule.removal is Removal.NEVER and self.desired(name) is None:
            lane.pending.discard(name)
            self._tidy(lane)
        else:
            lane.pending.add(name)
            self.wake(key)

    def _forget(self, name: str) -> None:
        """The proxy does not want the name any more."""
        self.held.pop(name, None)
        self.rejections.pop(name, None)
        lane = self._lanes.get(self.rule.lane(name))
        if lane is not None:
            lane.pending.discard(name)
            lane.owed.discard(name)
            lane.suspects.pop(name, None)
            self.wake(lane.key)
            self._tidy(lane)

    def is_in_step(self, name: str) -> bool:
        """Whether the proxy, which wants the name, holds it in the table's version."""
        lane = self._lanes.get(self.rule.lane(name))
        return name not in self.held and not (lane is not None and name in lane.owed)

    def has_additions_pending(self) -> bool:
        """Whether something that has never been offered waits to be added or changed."""
        return any(self.desired(name) is not None for lane in self._lanes.values() for name in lane.pending)

    # Responses.

    def draft(self, phase: Phase) -> Draft | None:
        """The next response of this type; None when there is nothing that may be sent now."""
        for key in tuple(self._ready):
            lane = self._lanes.get(key)
            draft = None
            if lane is not None and self.is_sendable(lane):
                draft = self._draft_lane(lane, phase)
            if draft is not None:
                return draft
            if phase is not Phase.ANSWERS and not self._goes_last(lane):
                self._ready.pop(key, None)
        return None

    def _goes_last(self, lane: Lane | None) -> bool:
        """Whether the lane has to be asked again for removals."""
        return self.rule.removal is Removal.LAST and lane is not None and not lane.is_blocked

    def _draft_lane(self, lane: Lane, phase: Phase) -> Draft | None:
        blocked = lane.is_blocked
        answers = lane.owed if not (blocked and self.rule.answers_wait) else set()
        if phase is Phase.REMOVALS:
            names = set() if blocked else {name for name in lane.pending if self.desired(name) is None}
            return self._fill(lane, names, removals=True) if names else None
        names = set(answers)
        if phase is Phase.CHANGES and not blocked:
            names |= self._worth_sending(lane)
        draft = self._fill(lane, names, removals=self.rule.removal is Removal.AT_ONCE)
        if draft is None and phase is Phase.CHANGES and not blocked:
            draft = self._fill(lane, lane.offer().keys(), removals=True)
        if draft is None and lane.reply and phase is Phase.CHANGES and not blocked:
            draft = Draft(lane, [], self.empty_answer(lane))
        return draft

    def empty_answer(self, lane: Lane) -> list[str]:
        """What an answer that has nothing to say removes."""
        return []

    def _worth_sending(self, lane: Lane) -> set[str]:
        """The pending names, without those that have come back to a version that was just rejected."""
        for name in [name for name in lane.pending if name in self.rejections]:
            version = self.rejections[name].version
            if version == self._desired_version(name):
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
        if not additions and not removed:
            return None
        return Draft(lane, additions, removed, frozenset(lane.owed))

    def sent(self, draft: Draft, nonce: str, now: float) -> None:
        """The draft goes out under this nonce."""
        lane = draft.lane
        items: dict[str, str | None] = {entry.name: entry.version for entry in draft.additions}
        items.update(dict.fromkeys(draft.removals))
        blocking = self.asked and not lane.stalled
        self.waiting += blocking
        lane.reply = False
        for forgotten in lane.send(Outstanding(nonce, items, now, blocking)):
            del self._lane_of_nonce[forgotten]
        self._lane_of_nonce[nonce] = lane
        self.counters["responses"] += 1
        self.counters["resources"] += len(draft.additions)
        self.counters["removals"] += len(draft.removals)

    # Answers.

    def acknowledge(self, nonce: str) -> dict[str, str | None] | None:
        """The proxy took the response (S7); what was in it, or None when the nonce is none of ours (S6)."""
        taken = self._answered(nonce)
        if taken is None:
            return None
        lane, items = taken
        self.counters["acknowledged"] += 1
        for name, version in items.items():
            if lane.suspects.get(name, UNKNOWN) == version:
                del lane.suspects[name]
            self.rejections.pop(name, None)
            self._confirm(lane, name, version)
        self._tidy(lane)
        return items

    def reject(self, nonce: str, error: ErrorDetail) -> dict[str, str | None] | None:
        """The proxy rejected the response; what was in it, or None when the nonce is none of ours.

        Of each resource in it we now know nothing; it is suspect until it changes, or until a later offer is accepted.
        """
        taken = self._answered(nonce)
        if taken is None:
            return None
        lane, items = taken
        self.counters["rejected"] += 1
        lane.tried = frozenset(items.items())
        for name, version in items.items():
            if version is None and self.rule.removal is Removal.LAST:
                self._confirm(lane, name, None)  # Envoy carries removals out, also those of a rejected response
                continue
            self.rejections[name] = Rejection(version, nonce, error.code, error.message)
            if not self.wants(name) and name not in self.held:
                continue
            self.held[name] = UNKNOWN
            if name in lane.pending or name in lane.owed or lane.holds(name):
                continue
            if self._desired_version(name) == version:
                lane.suspects[name] = version
            else:
                lane.pending.add(name)
        self._tidy(lane)
        return items

    def _answered(self, nonce: str) -> tuple[Lane, dict[str, str | None]] | None:
        lane = self._lane_of_nonce.pop(nonce, None)
        if lane is None:
            return None
        response = lane.outstanding.pop(nonce)
        self._stop_waiting(response)
        lane.stalled = False
        self.wake(lane.key)
        return lane, response.items

    def _confirm(self, lane: Lane, name: str, version: str | None) -> None:
        """The proxy holds this version of the name now."""
        if name in lane.owed or name in lane.suspects or lane.holds(name):
            self.held[name] = version
        elif self._desired_version(name) == version or not self.wants(name):
            self.held.pop(name, None)
            lane.pending.discard(name)
        else:
            self.held[name] = version
            lane.pending.add(name)

    def expire(self, nonce: str) -> bool:
        """The answer to this response is overdue: its lane goes on without it. False when it was answered."""
        lane = self._lane_of_nonce.get(nonce)
        if lane is None or not lane.outstanding[nonce].blocking:
            return False
        self.counters["overdue"] += 1
        for response in lane.outstanding.values():
            self._stop_waiting(response)
        lane.stalled = True
        self.wake(lane.key)
        return True

    def _stop_waiting(self, response: Outstanding) -> None:
        self.waiting -= response.blocking
        response.blocking = False

    # Lanes.

    def _lane(self, key: str) -> Lane:
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = Lane(key)
        return lane

    def wake(self, key: str) -> None:
        """Something that kept this lane from sending has changed."""
        self._ready[key] = None

    def _tidy(self, lane: Lane) -> None:
        if lane.is_idle and self._lanes.get(lane.key) is lane:
            del self._lanes[lane.key]
            self._ready.pop(lane.key, None)

    @property
    def is_settled(self) -> bool:
        """Whether there is nothing that can be sent, and no answer to wait for."""
        return all(
            not lane.outstanding and (lane.is_settled or not self.is_sendable(lane)) for lane in self._lanes.values()
        )

    # For people.

    def statistics(self, *, versions: bool) -> dict[str, Any]:
        """The ledger of the type, in JSON's types; with ``versions`` names are listed, else counted."""
        unanswered = self.unanswered()
        ledger: dict[str, Any] = {
            "type": self.rule.label,
            "wildcard": self.interest.wildcard,
            "subscribed": len(self.interest.names),
            **self.counters,
            "pending": sum(len(lane.pending | lane.owed) for lane in self._lanes.values()),
            "unanswered": [response.nonce for response in unanswered],
            "rejections": {
                name: {
                    "version": rejection.version,
                    "nonce": rejection.nonce,
                    "code": rejection.code,
                    "message": redact(rejection.message),
                }
                for name, rejection in sorted(self.rejections.items())
            },
        }
        if versions:
            acknowledged = self.acknowledged_versions()
            sent: dict[str, str | None] = dict(acknowledged)
            for response in unanswered:
                sent.update(response.items)
            ledger["names"] = sorted(self.interest.names)
            ledger["acknowledged_versions"] = acknowledged
            ledger["sent_versions"] = {name: version for name, version in sorted(sent.items()) if version is not None}
        return ledger

    def acknowledged_versions(self) -> dict[str, str]:
        """Name to the version that the proxy is known to hold, sorted by name. Cost: O(resources)."""
        names = set(self.table.names()) | self.held.keys()
        versions = {}
        for name in sorted(names):
            if name in self.held:
                held = self.held[name]
            else:
                held = self._desired_version(name) if self.asked and self.tracks(name) else None
            if isinstance(held, str):
                versions[name] = held
        return versions

    def unanswered(self) -> list[Outstanding]:
        """Responses without an answer, by the time they were sent."""
        found = [response for lane in self._lanes.values() for response in lane.outstanding.values()]
        return sorted(found, key=lambda response: response.sent_at)
