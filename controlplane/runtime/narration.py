"""What a commit means to the person who made the change, in lines for a terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Literal

import msgspec
import orjson

from controlplane.krt import Commit
from controlplane.model.conditions import ConditionType, Reason
from controlplane.model.ir import ObjectStatus
from controlplane.model.served_names import short_type
from controlplane.reducers.proxies import RejectedResource
from controlplane.runtime.core import Core, State
from controlplane.translate import TypeUrl

_PROGRAMMED = (str(Reason.PROGRAMMED), "")


class Line(msgspec.Struct, frozen=True):
    """One line."""

    kind: Literal["wrong", "mended", "served", "note"]
    text: str
    about: Literal["input", "listener", "proxy", "resource", ""] = ""


def narrate(state: State, commit: Commit) -> Iterator[Line]:
    """The lines of a commit: what is wrong now, what is no longer, and what the Envoys are sent of it."""
    base = state.rows.base
    for old, new in commit.delta(base.reports).values():
        before = old.errors if old is not None else ()
        after = new.errors if new is not None else ()
        if after and new is not None and after != before:
            place = f"{new.origin}: " if new.origin else ""
            kept = "; its last good form is served" if new.present else ""
            yield Line("wrong", f"{place}{new.key}: {'; '.join(map(str, after))}{kept}")
        elif before and not after and old is not None:
            yield Line("mended", f"{old.key} {'is good again' if new is not None else 'is gone'}")
        remarks = (*new.unsupported, *new.warnings) if new is not None else ()
        if new is not None and remarks and remarks != ((*old.unsupported, *old.warnings) if old is not None else ()):
            yield Line("note", f"{new.origin}: {new.key}: {'; '.join(map(str, remarks))}")
    for lost, part in commit.delta(base.source_parts).values():
        if part is not None:
            yield Line("wrong", f"{part.reason}; what it held before is served")
        elif lost is not None:
            yield Line("mended", f"{lost.key[1]} can be read again")
    yield from _listeners(state, commit)
    for earlier, later in commit.delta(base.proxy_rejections).values():
        known = earlier.rejections if earlier is not None else ()
        for rejection in later.rejections if later is not None else ():
            if later is not None and rejection not in known:
                what = ", ".join(rejection.names)
                yield Line("wrong", f"an Envoy of {later.gateway} rejected {what}: {rejection.message}", "proxy")
    yield from _rejections(state, commit)
    served = {row.key: None for pair in commit.delta(state.translation.resources).values() for row in pair if row}
    for pair in commit.delta(state.translation.client_resources).values():
        # Once, however many classes of clients are served it.
        served.update(((row.key[0], row.key[2], row.key[3]), None) for row in pair if row)
    changed = Counter(TypeUrl(type_url) for _, type_url, _ in served)
    if changed:
        parts = [f"{changed[t]} {t.rpartition('.')[2]}" for t in TypeUrl if changed[t]]
        yield Line("served", f"seq {commit.seq}: changed {', '.join(parts)}")


def _rejections(state: State, commit: Commit) -> Iterator[Line]:
    """What is not offered any more because Envoys reject it, and what is served instead; and what is offered again."""
    for old, new in commit.delta(state.rows.base.rejections).values():
        if new is None:
            if old is not None:
                yield Line("mended", f"{_called(old)} is offered in another form", "resource")
            continue
        known = {part.digest for part in old.parts} | {form.version for form in old.forms} if old is not None else set()
        for part in (part for part in new.parts if part.digest not in known):
            served = "its last form is served" if part.fallback else "it is left out"
            yield Line("wrong", f"{_called(new)}: route {part.name}: {part.message}; {served}", "resource")
        for form in (form for form in new.forms if form.version not in known):
            served = "its last form is served" if form.fallback_version else "it is not served"
            yield Line("wrong", f"{_called(new)}: {form.message}; {served}", "resource")


def _called(row: RejectedResource) -> str:
    gateway, type_url, name = row.key
    return f"{short_type(type_url)} {name} of {gateway}"


def _listeners(state: State, commit: Commit) -> Iterator[Line]:
    """Listeners that are wrong now, and those that are no longer. One that only waits for its proxies is as it should be."""
    for old, new in commit.delta(state.rows.statuses).values():
        row = new or old
        if row is None or not row.key.startswith("Gateway "):
            continue
        before, after = _programmed(old), _programmed(new)
        for listener, (reason, message) in sorted(after.items()):
            what = f"{row.key}: listener {listener}"
            was, waits = before.get(listener, _PROGRAMMED), reason == Reason.PENDING
            was_wrong = was[0] not in (Reason.PENDING, Reason.PROGRAMMED)
            if reason == Reason.PROGRAMMED and was_wrong:
                yield Line("mended", f"{what} is programmed", "listener")
            elif waits and was_wrong:
                yield Line("note", f"{what}: {message}", "listener")
            elif not waits and reason != Reason.PROGRAMMED and was != (reason, message):
                yield Line("wrong", f"{what}: {message}", "listener")


def _programmed(status: ObjectStatus | None) -> dict[str, tuple[str, str]]:
    """Reason and message of each listener's Programmed condition."""
    document = orjson.loads(status.document) if status is not None else {}
    return {
        listener["name"]: (condition["reason"], condition["message"])
        for listener in document.get("listeners", ())
        for condition in listener["conditions"]
        if condition["type"] == ConditionType.PROGRAMMED
    }


def follow(core: Core, tell: Callable[[Line], None]) -> None:
    """Call ``tell`` with every line from now on."""

    def take(commit: Commit) -> None:
        for line in narrate(core.state, commit):
            tell(line)

    core.subscribe(take)
