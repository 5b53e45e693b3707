"""Sets of names that streams share: a thousand proxies of a gateway subscribe the same five thousand load assignments.

A set is a *base*, which all sets of just these names have in common, and what this one has beside it and without it. A changed
name costs one name; when the difference has grown to a part of the base, the set is put on a base of its own content, which
others that went the same way have made already. So it costs memory once, not once a stream, and a copy once in many changes.
"""

from collections.abc import Iterable, Iterator
from weakref import WeakValueDictionary

_SMALL = 32
"""Names that a set may differ in from its base, whatever the base's size."""
_PART = 16
"""Beyond that it may differ in one of so many."""

_bases: WeakValueDictionary[int, frozenset[str]] = WeakValueDictionary()
"""By the hash of their content, for as long as a set is put on them."""
_EMPTY: frozenset[str] = frozenset()


class SharedNames:
    """A mutable set of names. Two of the same content cost little more than one."""

    __slots__ = ("_base", "_beside", "_without")

    def __init__(self) -> None:
        self._base = _EMPTY
        self._beside: set[str] = set()
        """Not in the base."""
        self._without: set[str] = set()
        """In the base, and not in this set."""

    def __contains__(self, name: str) -> bool:
        return (name in self._base and name not in self._without) or name in self._beside

    def __len__(self) -> int:
        return len(self._base) + len(self._beside) - len(self._without)

    def __iter__(self) -> Iterator[str]:
        """In no order that means anything."""
        yield from (name for name in self._base if name not in self._without)
        yield from self._beside

    def update(self, names: Iterable[str]) -> None:
        """Adds names. Cost: O(names), and O(all) once in O(all) names."""
        for name in names:
            if name in self._base:
                self._without.discard(name)
            else:
                self._beside.add(name)
        self._settle()

    def difference_update(self, names: Iterable[str]) -> None:
        """Removes names; those that are not here are passed over. Cost: as ``update``."""
        for name in names:
            if name in self._base:
                self._without.add(name)
            else:
                self._beside.discard(name)
        self._settle()

    def _settle(self) -> None:
        """Takes another base when the set is too different from the one that it has."""
        if len(self._beside) + len(self._without) <= max(_SMALL, len(self._base) // _PART):
            return
        self._base = _shared(self._base.difference(self._without).union(self._beside))
        self._beside, self._without = set(), set()


def _shared(names: frozenset[str]) -> frozenset[str]:
    """The base of this content: the one that another set is put on already, or this one from now on."""
    known = _bases.setdefault(hash(names), names)
    return known if known == names else names
