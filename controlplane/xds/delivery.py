"""What one stream is sent of one type, and what its answers mean.

What the proxy holds and is to hold is in ``standing``, the rules of rejections in ``apart``, those of what must wait for
clusters in ``gate``.
"""

import enum
import re
from collections.abc import Iterable, Mapping

import msgspec

from controlplane.xds.apart import Apart
from controlplane.xds.held import UNKNOWN, Uncertain, after_rejection
from controlplane.xds.interest import Update
from controlplane.xds.lane import Items, Lane, Outstanding
from controlplane.xds.rejection import Guilty, Rejection
from controlplane.xds.standing import Standing
from controlplane.xds.tables import Entry
from controlplane.xds.types import Removal
from controlplane.xds.wire import ErrorDetail

WHOLE_MESSAGE = 1_000
"""Characters from which on a rejection's words may have been cut off, and need not name all that they are about."""
_WORD = re.compile(r"[^\s:;,'\"()\[\]{}]+")


class Phase(enum.Enum):
    """Which part of a push is asked for."""

    CHANGES = "changes"
    """Changes and answers; removals where they need not go last."""
    REMOVALS = "removals"
    """What goes last."""
    RETRACTIONS = "retractions"
    """Of that, what was taken back: it is in nobody's use, and something may wait for its removal."""


class Draft(msgspec.Struct):
    """A response before it has a nonce."""

    lane: Lane
    additions: list[Entry]
    """Sorted by name."""
    removals: list[str]
    """Sorted."""
    is_trial: bool = False
    """Whether it offers a group of suspects, which stand in it and nothing else."""


def _named_in(message: str, names: Iterable[str]) -> list[str]:
    """The names that stand in a message as whole words, sorted."""
    words = set(_WORD.findall(message))
    return sorted(name for name in names if name in words)


class Delivery(Standing):
    """One type on one stream: its responses, and their answers."""

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
        if phase is not Phase.CHANGES:
            gone = () if blocked else (name for name in lane.pending if self.desired(name) is None)
            if phase is Phase.RETRACTIONS:
                gone = (name for name in gone if name in self.overrides)
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
        waiting = [entry for entry in entries if not self.gate.admits(self, entry, is_answer=True)]
        return all(self.gate.is_overdue(self.rule.url, entry.name) for entry in waiting)

    def _fill(self, lane: Lane, names: Iterable[str], *, removals: bool) -> Draft | None:
        """A response with these names; without removals that nobody asked for, unless ``removals`` says so."""
        additions: list[Entry] = []
        removed: list[str] = []
        for name in sorted(names):
            entry = self.desired(name)
            if entry is not None:
                if self.gate.admits(self, entry, is_answer=lane.reply or name in lane.owed):
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
        if any(not response.is_given_up for response in lane.outstanding.values()):
            return None  # its answer would not tell which of the two it is about
        group = lane.apart.next_group()
        if not group or any(self._is_on_its_way(lane, name) for name in group):
            return None
        for name in group:
            self.overrides.pop(name, None)
        lane.apart.offered()
        found = [(name, self.desired(name)) for name in group]
        additions = [entry for _, entry in found if entry is not None]
        return Draft(lane, additions, [name for name, entry in found if entry is None], is_trial=True)

    def _is_on_its_way(self, lane: Lane, name: str) -> bool:
        """Whether what was taken back of a name is still to be sent; not, where it waits for clusters that are gone."""
        entry = self.desired(name)
        return name in lane.pending and (entry is None or self.gate.admits(self, entry, is_answer=False))

    def sent(self, draft: Draft, nonce: str, now: float) -> list[str]:
        """The draft goes out under this nonce. Nonces of responses whose answer is not taken any more: too many have none.

        Of what stood in those nobody will ever know, so it is sent again.
        """
        items: Items = {entry.name: entry.version for entry in draft.additions}
        items.update(dict.fromkeys(draft.removals))
        for entry in draft.additions:
            self._note_named(entry)
        blocking = self.asked  # a proxy may drop what comes before it asked
        forgotten = self.lanes.send(draft.lane, Outstanding(nonce, items, now, blocking, draft.is_trial))
        for name in (name for response in forgotten for name in response.items):
            if not draft.lane.holds(name) and name in self.held:
                self.held[name] = after_rejection(self.held[name])
                self._mark(draft.lane, name)
        self.counters["responses"] += 1
        self.counters["resources"] += len(draft.additions)
        self.counters["removals"] += len(draft.removals)
        return [response.nonce for response in forgotten]

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
            offered = self.offered(name) if name in self.overrides else None
            if offered is not None and offered.version == version:
                # It was taken back while the proxy had not answered yet, and is taken after all.
                del self.overrides[name]
            if name not in self.overrides:
                self.rejections.pop(name, None)
            if version is not None:
                self.table.take(name, version)
            self._confirm(lane, name, version)
        if not self.held:
            # Python's dictionaries keep the room that they once needed, until they are cleared: 100 kB for 5,000 names.
            self.held.clear()
            self.named.clear()
        self.lanes.tidy(lane)
        return response.items

    def _confirm(self, lane: Lane, name: str, version: str | None) -> None:
        """The proxy holds this version of the name now."""
        self.held[name] = version
        if self.rule.lingers:
            older = {c for known, named in self.named.get(name, {}).items() if known != version for c in named or ()}
            if older:
                self.superseded.setdefault(name, set()).update(older)
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
                doubtful = named if named and len(error.message) < WHOLE_MESSAGE else self._unproven(suspects)
            for name in doubtful:
                self._take_back(lane, name)
            lane.clear_suspects(())
        self.lanes.tidy(lane)
        return response.items

    def _unproven(self, suspects: Iterable[str]) -> list[str]:
        """Those that can be taken back without harm: what is new and not proven, and what was there in another version."""
        return [name for name in suspects if self.exists(name) or not self.gate.has(name)]

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

    def begin(
        self, subscribe: tuple[str, ...], unsubscribe: tuple[str, ...], claims: Mapping[str, str], *, trust: bool = True
    ) -> Update:
        """As ``Standing``; what an earlier stream ended without an answer to is taken back before it is offered again."""
        update = super().begin(subscribe, unsubscribe, claims, trust=trust)
        if self.rule.is_sticky and self.resumed:
            for lane in self.lanes:
                doubtful = {
                    name: entry.version for name in lane.pending if (entry := self._unanswered(name)) is not None
                }
                for name in doubtful:
                    self.held[name] = after_rejection(self.held[name])
                    self._take_back(lane, name)
                if doubtful:
                    lane.apart = Apart()
                    lane.apart.reject(doubtful, was_alone=False)
        return update

    def _unanswered(self, name: str) -> Entry | None:
        return self.offered(name) if self.table.is_unanswered(name) else None

    def take_back(self, names: Iterable[str]) -> None:
        """Has the proxy hold what it took last of these, or nothing, until they are offered again by themselves."""
        for name in names:
            lane = self.lanes.get(self.rule.lane(name))
            self._take_back(lane, name)
            self.lanes.tidy(lane)

    def give_back(self, names: Iterable[str]) -> None:
        """Offers again what was taken back of these."""
        for name in names:
            if name in self.overrides:
                del self.overrides[name]
                self.held.setdefault(name, UNKNOWN)
                self._touch(name)

    def _take_back(self, lane: Lane, name: str) -> None:
        offered = self.offered(name)
        if offered is None or name in self.overrides or not self.rule.withdraws:
            return
        last = self._fallback(name, offered)
        if last is None and isinstance(self.held.get(name), (str, Uncertain)):
            return  # it has an earlier version, which nobody can send any more
        self.overrides[name] = last
        self.held.setdefault(name, UNKNOWN)
        self._mark(lane, name)

    def _fallback(self, name: str, offered: Entry) -> Entry | None:
        """What proxies took before what is offered; None where that is nothing, or no longer known."""
        last = self.table.last_taken(name)
        return self.table.taken_before(name) if last is not None and last.version == offered.version else last

    def judge(self) -> list[Guilty]:
        """Resources that have turned out to be guilty, each once.

        Also where another proxy of the gateway has taken them, if this one held an earlier form: then a change divides the
        proxies, and all are to be served alike. A proxy that comes and takes nothing is its own affair.
        """
        found = []
        for lane in tuple(self.lanes):
            if lane.apart is None or any(response.is_trial for response in lane.outstanding.values()):
                continue
            for name in lane.apart.judge():
                offered = self.offered(name)
                if offered is None:
                    continue
                last, taken = self._fallback(name, offered), self.table.last_taken(name)
                held = self.held.get(name)
                version = held.version if isinstance(held, Uncertain) else held if isinstance(held, str) else ""
                is_local = taken is not None and taken.version == offered.version and (last is None or not version)
                found.append(Guilty(offered, last, version, self.rejections[name].message, is_local=is_local))
            lane.clear_suspects(())
            self.lanes.tidy(lane)
        return found

    def expire(self, nonce: str) -> Items:
        """The answer to this response is overdue; what was in it."""
        self.counters["overdue"] += 1
        return self.lanes.expire(nonce)
