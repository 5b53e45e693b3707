"""Failures: what a function could not do, as a value that goes out with the commit."""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType

import msgspec

from controlplane.krt.keys import Key, ordered


class Failure(msgspec.Struct, frozen=True):
    """One key of one collection that could not be computed. The rows that it had before stand until it can."""

    node: str
    """The collection whose function failed."""
    key: Key
    """The row that the function was given: of the primary input, or of the collection itself where an index, a label or a
    selector could not be read from it. A singleton, which has no input, is named by its own name."""
    message: str
    exception: str
    """The exception's type, such as ``ValueError``."""
    where: str = ""
    """``module:line`` that raised; empty where no user's code did."""


def describe(node: str, key: Key, error: Exception, about: str = "") -> Failure:
    """The failure that an exception stands for."""
    try:
        text = str(error)
    except Exception:  # noqa: BLE001  # the exception is a user's class: its text may fail as well
        text = "(the exception has no text)"
    return Failure(node, key, f"{about}: {text}" if about else text, type(error).__name__, _place(error.__traceback__))


def _place(traceback: TracebackType | None) -> str:
    place = ""
    while traceback is not None:
        module = str(traceback.tb_frame.f_globals.get("__name__", ""))
        if not module.startswith("controlplane.krt"):
            place = f"{module}:{traceback.tb_lineno}"
        traceback = traceback.tb_next
    return place


class FailureBook:
    """The failures of one collection, now and as last published."""

    __slots__ = ("_before", "_now")

    def __init__(self) -> None:
        self._now: dict[Key, Failure] = {}
        self._before: dict[Key, Failure | None] = {}

    def __contains__(self, key: Key) -> bool:
        return key in self._now

    def __len__(self) -> int:
        return len(self._now)

    def get(self, key: Key) -> Failure | None:
        """The failure of a key, as of now."""
        return self._now.get(key)

    def put(self, failure: Failure) -> None:
        """Record a failure in place of the key's last one."""
        old = self._now.get(failure.key)
        if old != failure:
            self._before.setdefault(failure.key, old)
            self._now[failure.key] = failure

    def clear(self, key: Key) -> None:
        """Forget the key's failure, if it has one."""
        old = self._now.pop(key, None)
        if old is not None:
            self._before.setdefault(key, old)

    def clear_all(self, keys: Iterable[Key]) -> None:
        """Forget the failures of keys."""
        if self._now:
            for key in keys:
                self.clear(key)

    def published(self) -> tuple[Failure, ...]:
        """Failures as of the last commit, sorted by key."""
        shown: dict[Key, Failure | None] = {**self._now, **self._before}
        return tuple(failure for key in ordered(shown) if (failure := shown[key]) is not None)

    def publish(self) -> tuple[tuple[Failure, ...], tuple[Failure, ...]]:
        """Make the present the published state; what is new or different, and what is over, sorted by key."""
        if not self._before:
            return (), ()
        before, self._before = self._before, {}
        began: list[Failure] = []
        ended: list[Failure] = []
        for key in ordered(before):
            old, new = before[key], self._now.get(key)
            if new is None:
                if old is not None:
                    ended.append(old)
            elif new != old:
                began.append(new)
        return tuple(began), tuple(ended)
