"""What no proxy was seen to take when the process before ended: read from the log while it is folded.

A control plane that starts again has to know what to fall back to if a proxy rejects what was offered last, and what may keep a
proxy from speaking (``xds.patience``). The log says how far each proxy was; so what has changed since then is not known to be
taken, and the form before it is.
"""

from __future__ import annotations

from typing import Generic, TypeVar

from controlplane.krt import Collection, Commit
from controlplane.translate.resource import ClientResource, Resource

R = TypeVar("R", Resource, ClientResource)


class Untaken(Generic[R]):
    """Listens to the commits of a log that is folded.

    Args:
        resources: What is served to all clients of a gateway, or to classes of them.
    """

    def __init__(self, resources: Collection[R]) -> None:
        self._resources: Collection[R] = resources
        self._changes: dict[tuple[str, ...], tuple[int, R | None]] = {}
        """Of what has changed since a proxy of its gateway told how far it was: the seq, and the form before."""

    def listen(self, commit: Commit) -> None:
        """Take one commit in. Cost: O(its changes)."""
        for old, new in commit.delta(self._resources).values():
            row = old if new is None else new
            assert row is not None
            _, before = self._changes.pop(row.key, (0, old))
            if new is not None:
                # Where nothing was told to be taken, the one before may well have been: proxies tell once a second.
                self._changes[row.key] = commit.seq, before or old

    def take(self, gateway: str, seq: int) -> None:
        """A proxy of this gateway has told that it holds everything up to here. Cost: O(what is untaken)."""
        for key in [key for key, (changed, _) in self._changes.items() if key[0] == gateway and changed <= seq]:
            del self._changes[key]

    def before(self) -> dict[tuple[str, ...], R | None]:
        """By key, the form that was taken last of what is untaken; None where there was none."""
        return {key: row for key, (_, row) in self._changes.items()}
