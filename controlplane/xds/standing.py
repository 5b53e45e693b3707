"""What one stream's proxy holds of one type, and what it is to hold.

A proxy in step costs nothing: only names whose state may differ from the table are remembered. A name that is tracked, and in
none of ``held`` and the lanes, is held by the proxy in exactly the table's version. ``changed`` is told what stood in the
table before, so this stays true without copying the table for each proxy.

The rules of subscription are in ``interest``, those of waiting in ``lane``; here they meet the table. What is sent, and what
its answers mean, is in ``delivery``.
"""

from collections.abc import Iterable, Mapping
from typing import Protocol

from controlplane.xds.held import UNKNOWN, Held, Uncertain
from controlplane.xds.interest import Interest, Update
from controlplane.xds.lane import MAX_UNANSWERED, Lane, Lanes
from controlplane.xds.rejection import Rejection
from controlplane.xds.tables import Entry, Table
from controlplane.xds.types import Removal, TypeRule


class Gatekeeper(Protocol):
    """Decides what has to wait; see ``gate``."""

    def admits(self, delivery: "Standing", entry: Entry, *, is_answer: bool) -> bool:
        """Whether the proxy may be sent this resource now; it asked for it, or for all at its start, where it is an answer."""

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

    def admits(self, delivery: "Standing", entry: Entry, *, is_answer: bool) -> bool:
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


class Standing:
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
        self.superseded: dict[str, set[str]] = {}
        """By listener, clusters that versions before the acknowledged one name: Envoy goes on with those until all that the new
        one needs is there (trap 6)."""
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
        """What the proxy should hold of this name now; None for nothing.

        What nobody can be sent any more is for those alone that have it.
        """
        entry = self.overrides[name] if name in self.overrides else self.offered(name)
        if entry is None or entry.is_known or name not in self.held:
            return entry
        return entry if self.held[name] in (entry.version, Uncertain(entry.version)) else None

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
        self.compare_all(self.table.names(), claims)
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
        if name not in self.held:
            self.held[name] = held
            self._note_claim(name, held)
        key = self.rule.lane(name)
        self.lanes.get(key).owed.add(name)
        self.lanes.wake(key)

    def changed(self, before: Mapping[str, Entry | None]) -> None:
        """The table has changed in these names. Cost: O(names).

        Whatever was rejected of them is over: the new version is offered at once.
        """
        for name, entry in before.items():
            if self.overrides.get(name, entry) is not None or self.offered(name) is not None:
                self.overrides.pop(name, None)  # else it was rejected, is to be removed at once, and nobody has it now
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
        self._note_claim(name, held)
        self._touch(name)

    def _note_claim(self, name: str, held: Held) -> None:
        """The proxy says that it holds this: nobody knows what it names, unless it is what the tables have."""
        if self.rule.gated and isinstance(held, str):
            entry = self.desired(name)
            is_current = entry is not None and entry.version == held and entry.is_known
            self.named.setdefault(name, {})[held] = entry.clusters if entry is not None and is_current else None

    def compare_all(self, names: Iterable[str], claims: Mapping[str, str]) -> None:
        """Compares what a proxy that is back claims with all that there is; what is equal costs no more than a look."""
        busy = {name for lane in self.lanes for name in lane.owed}
        busy.update(name for lane in self.lanes for response in lane.outstanding.values() for name in response.items)
        found = 0
        for name in names:
            entry = self.desired(name)
            version = claims.get(name)
            found += version is not None
            is_equal = entry is not None and entry.version == version and entry.is_known
            if is_equal and version is not None and name not in busy and name not in self.overrides:
                self._in_step(name)
                self.table.take(name, version)
            else:
                self.compare(name, version)
        if found < len(claims):
            for name, version in claims.items():
                if self.table.get(name) is None:
                    self.compare(name, version)

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
            if desired is None and self.offered(name) is None:
                self.overrides.pop(name, None)
            if desired is not None and not desired.is_known:
                self.named[name] = {desired.version: None}  # remembered: nobody knows which clusters it names
            elif name not in lane.owed and name not in self.overrides:
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
