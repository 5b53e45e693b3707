"""What a proxy is known to hold of a name."""

import enum
from typing import TypeAlias

import msgspec


class Unknown(enum.Enum):
    """Nothing is known: some parts of a rejected response are applied, some not."""

    UNKNOWN = "unknown"


UNKNOWN = Unknown.UNKNOWN


class Uncertain(msgspec.Struct, frozen=True):
    """It held this version; since then it rejected a response with another one, and may hold either. It does hold one."""

    version: str


Held: TypeAlias = str | Unknown | Uncertain | None
"""The version that a proxy holds; None when it has none of that name."""


def after_rejection(held: Held) -> Held:
    """What is known of a name that stood in a rejected response."""
    return Uncertain(held) if isinstance(held, str) else held if isinstance(held, Uncertain) else UNKNOWN
