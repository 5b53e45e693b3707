"""What a commit means to the person who made the change, in lines for a terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Literal

import msgspec

from controlplane.krt import Commit
from controlplane.runtime.core import Core, State
from controlplane.translate import TypeUrl


class Line(msgspec.Struct, frozen=True):
    """One line."""

    kind: Literal["wrong", "mended", "served"]
    text: str


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
    for lost, part in commit.delta(base.source_parts).values():
        if part is not None:
            yield Line("wrong", f"{part.reason}; what it held before is served")
        elif lost is not None:
            yield Line("mended", f"{lost.key[1]} can be read again")
    for lost_port, port in commit.delta(base.listener_failures).values():
        if port is not None:
            yield Line("wrong", f"Gateway {port.key[0]}: {port.reason}")
        elif lost_port is not None:
            yield Line("mended", f"Gateway {lost_port.key[0]}: port {lost_port.key[2]} is free")
    for _, rejection in commit.delta(base.proxy_rejections).values():
        if rejection is not None:
            yield Line(
                "wrong", f"an Envoy of {rejection.gateway} rejected {', '.join(rejection.names)}: {rejection.message}"
            )
    changed = Counter(
        TypeUrl(str(key[1])) for key in commit.delta(state.translation.resources) if isinstance(key, tuple)
    )
    if changed:
        parts = [f"{changed[t]} {t.rpartition('.')[2]}" for t in TypeUrl if changed[t]]
        yield Line("served", f"seq {commit.seq}: changed {', '.join(parts)}")


def follow(core: Core, tell: Callable[[Line], None]) -> None:
    """Call ``tell`` with every line from now on."""

    def take(commit: Commit) -> None:
        for line in narrate(core.state, commit):
            tell(line)

    core.subscribe(take)
