"""What a pass over the log can find wrong: damage, or an unfinished end."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import msgspec

from controlplane.log.errors import LogError


class Damage(msgspec.Struct, frozen=True):
    """Something in the log that no crash of ours leaves behind."""

    file: str
    line: int
    """From 1."""
    offset: int
    """Octets in the file before that line."""
    seq: int
    """The seq that should stand there."""
    reason: str

    def error(self) -> LogError:
        """The same to be raised."""
        reason = f"{self.reason}; what stands before is whole, `controlplane log verify` lists all damage"
        return LogError(reason, file=self.file, line=self.line, seq=self.seq)


class Torn(msgspec.Struct, frozen=True):
    """An unfinished transaction at the very end: a crash while writing, or a writer that is at it just now."""

    file: str
    line: int
    """The first line that is not part of a whole transaction."""
    offset: int
    """Where it begins: octets in the file that are whole."""
    octets: int
    """How much there is of it."""
    seq: int
    """The seq that its first event has or would have."""


OnDamage: TypeAlias = Callable[[Damage], None]


def refuse(damage: Damage) -> None:
    """Raises the damage as `LogError`: the reaction of everyone but `verify`."""
    raise damage.error()
