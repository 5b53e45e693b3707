"""Tables: the current resources of one type, ready to be sent, and two of them laid over each other.

What all clients of a scope share lies in one table, what a class of them gets beside it in another, and a client reads both
through a ``LayeredTable`` that holds nothing but the way to them: a thousand clients of five thousand shared names cost no
copy of a name.

An entry keeps, beside its resource, the bytes that stand before the body in a response; all scopes, classes and proxies share
them. The body stays the row's own. A secret's bytes are fetched at the moment they are sent and kept nowhere.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Protocol

from controlplane.xds.types import SECRET, VIRTUAL_HOST, route_configuration_of
from controlplane.xds.wire import resource_head

MAX_REPLACED = 1_000
"""Entries of one table that are remembered after they were replaced and the new one was taken."""


class Resource(Protocol):
    """An encoded resource; usually a row of a collection."""

    @property
    def name(self) -> str:
        """Unique within its scope and type."""

    @property
    def version(self) -> str:
        """A hash of its content: equal versions mean equal bytes, on any replica, any day (R5)."""

    @property
    def body(self) -> bytes:
        """The encoded message, without the ``Any`` around it.

        Of a secret it is not sent: ``Resolve`` gives the bytes. Empty where they are no longer known: who holds this version
        keeps it, nobody else is sent it.
        """

    @property
    def clusters(self) -> tuple[str, ...]:
        """Clusters that it names itself: a proxy is sent it when it has proven them."""

    @property
    def route_configurations(self) -> tuple[str, ...]:
        """RouteConfigurations that a Listener names."""


Resolve = Callable[[Resource], bytes | None]
"""The encoded ``Secret`` of a row, key included; None when the bytes are gone, which serves the secret as removed."""


class Entry:
    """A resource in a table, ready to be sent."""

    __slots__ = ("__weakref__", "_head", "clusters", "name", "resource", "version")

    is_known = True
    """Whether its bytes can be sent to somebody who does not hold them."""

    def __init__(self, type_url: str, resource: Resource) -> None:
        self.name = resource.name
        self.version = resource.version
        self.clusters = resource.clusters
        self.resource = resource
        self._head = resource_head(type_url, resource.name, resource.version, len(resource.body))

    def parts(self) -> tuple[bytes, bytes] | None:
        """The two pieces of its entry in a response; None when it has to be served as removed."""
        return self._head, self.resource.body


class UnknownEntry(Entry):
    """What some proxies hold and nobody else can be given, because its bytes are no longer known."""

    __slots__ = ()

    is_known = False

    def parts(self) -> tuple[bytes, bytes] | None:
        """Nothing to send: served as removed."""
        return None


class SecretEntry(Entry):
    """A secret in a table; its bytes are not."""

    __slots__ = ("_resolve",)

    def __init__(self, resource: Resource, resolve: Resolve) -> None:
        super().__init__(SECRET, resource)
        self._resolve = resolve

    def parts(self) -> tuple[bytes, bytes] | None:
        """As ``Entry.parts``, from the bytes of this moment."""
        body = self._resolve(self.resource)
        return None if body is None else (resource_head(SECRET, self.name, self.version, len(body)), body)


class Table(Protocol):
    """The current resources of one type, as somebody sees them."""

    def get(self, name: str) -> Entry | None:
        """The entry of this name. Cost: O(1)."""

    def names(self) -> Iterable[str]:
        """All names, each once, in no order that means anything."""

    def group(self, key: str) -> Iterable[str]:
        """Names of the virtual hosts of one RouteConfiguration, each once; of virtual hosts only."""

    def take(self, name: str, version: str) -> None:
        """A proxy holds this version of the name. Cost: O(1)."""

    def last_taken(self, name: str) -> Entry | None:
        """The newest entry of this name that a proxy was seen to hold: the current one, or one before it."""

    def taken_before(self, name: str) -> Entry | None:
        """The entry that proxies held before they took the current one, while it is remembered."""

    def leave_unanswered(self, name: str, version: str) -> None:
        """A stream has ended before the proxy answered to this version of the name."""

    def is_unanswered(self, name: str) -> bool:
        """Whether some stream has ended before the proxy answered to the current entry, and no other proxy was seen to hold it."""

    def __len__(self) -> int:
        """How many names."""


class StoredTable:
    """A table that holds its entries, and of those that nobody was seen to hold yet the last that somebody was."""

    __slots__ = ("_entries", "_groups", "_passed", "_replaced", "_unanswered", "_untaken")

    def __init__(self, group_of: Callable[[str], str] | None = None) -> None:
        self._entries: dict[str, Entry] = {}
        self._untaken: dict[str, Entry | None] = {}
        """Names whose entry no proxy was seen to hold, and the last one that was."""
        self._passed: dict[str, Entry] = {}
        """Of those names, the entry before the current one, which no proxy was seen to hold either; its answer may yet come."""
        self._replaced: dict[str, Entry] = {}
        """Of names whose entry was taken not long ago, what was taken before: another proxy may yet reject it."""
        self._unanswered: set[str] = set()
        """Those among them to which a proxy had not answered when its stream ended."""
        self._groups: tuple[Callable[[str], str], dict[str, dict[str, None]]] | None = (
            None if group_of is None else (group_of, {})
        )

    def get(self, name: str) -> Entry | None:
        """As ``Table``."""
        return self._entries.get(name)

    def names(self) -> Iterable[str]:
        """As ``Table``."""
        return self._entries.keys()

    def group(self, key: str) -> Iterable[str]:
        """As ``Table``."""
        assert self._groups is not None
        return self._groups[1].get(key, {}).keys()

    def __len__(self) -> int:
        return len(self._entries)

    def take(self, name: str, version: str) -> None:
        """As ``Table``."""
        if name in self._untaken:
            entry = self._entries.get(name)
            if entry is not None and entry.version == version:
                before = self._untaken.pop(name)
                self._passed.pop(name, None)
                self._unanswered.discard(name)
                if before is not None:
                    self._replaced[name] = before
                    if len(self._replaced) > MAX_REPLACED:
                        del self._replaced[next(iter(self._replaced))]
            elif (passed := self._passed.get(name)) is not None and passed.version == version:
                self._untaken[name] = self._passed.pop(name)

    def taken_before(self, name: str) -> Entry | None:
        """As ``Table``."""
        return self._replaced.get(name)

    def leave_unanswered(self, name: str, version: str) -> None:
        """As ``Table``."""
        entry = self._entries.get(name)
        if name in self._untaken and entry is not None and entry.version == version:
            self._unanswered.add(name)

    def is_unanswered(self, name: str) -> bool:
        """As ``Table``."""
        return name in self._unanswered

    def last_taken(self, name: str) -> Entry | None:
        """As ``Table``."""
        return self._untaken[name] if name in self._untaken else self._entries.get(name)

    def put(self, name: str, entry: Entry | None) -> Entry | None:
        """Replaces an entry, or removes it; the one that stood there before. Cost: O(1)."""
        before = self._entries.pop(name, None) if entry is None else self._entries.get(name)
        was_taken = name not in self._untaken
        taken = self._untaken.pop(name, before)
        self._passed.pop(name, None)
        self._unanswered.discard(name)
        self._replaced.pop(name, None)
        if entry is not None:
            self._entries[name] = entry
            if taken is None or taken.version != entry.version:
                self._untaken[name] = taken
                if before is not None and not was_taken:
                    self._passed[name] = before
        if self._groups is not None and (entry is None) != (before is None):
            group_of, groups = self._groups
            key = group_of(name)
            if entry is not None:
                groups.setdefault(key, {})[name] = None
            else:
                groups[key].pop(name)
                if not groups[key]:
                    del groups[key]
        return before


class Layer:
    """The tables of one owner: of all clients of a scope, or of one class of them."""

    __slots__ = ("_tables",)

    def __init__(self) -> None:
        self._tables: dict[str, StoredTable] = {}

    def table(self, type_url: str) -> StoredTable:
        """The table of a type, made if need be."""
        table = self._tables.get(type_url)
        if table is None:
            table = self._tables[type_url] = StoredTable(route_configuration_of if type_url == VIRTUAL_HOST else None)
        return table

    def find(self, type_url: str) -> StoredTable | None:
        """The table of a type, if something of it was ever here."""
        return self._tables.get(type_url)

    def get(self, type_url: str, name: str) -> Entry | None:
        """The entry of a type and name."""
        table = self._tables.get(type_url)
        return None if table is None else table.get(name)

    @property
    def tables(self) -> Mapping[str, StoredTable]:
        """By type URL."""
        return self._tables

    @property
    def is_empty(self) -> bool:
        """Whether it holds no entry."""
        return not any(len(table) for table in self._tables.values())


class Layered(Protocol):
    """Who has layers of its own; they may change for others at any time."""

    @property
    def layers(self) -> Sequence[Layer]:
        """What lies over the shared tables now. The first that has a name counts."""


class LayeredTable:
    """What a client sees of one type: the entries of its own layers, and the shared ones that these do not cover."""

    __slots__ = ("_owner", "_shared", "_type_url")

    def __init__(self, owner: Layered, shared: StoredTable, type_url: str) -> None:
        self._owner = owner
        self._shared = shared
        self._type_url = type_url

    def _stack(self) -> list[StoredTable]:
        """The tables, the topmost first."""
        own = (layer.find(self._type_url) for layer in self._owner.layers)
        return [*(table for table in own if table is not None), self._shared]

    def get(self, name: str) -> Entry | None:
        """As ``Table``."""
        for layer in self._owner.layers:
            entry = layer.get(self._type_url, name)
            if entry is not None:
                return entry
        return self._shared.get(name)

    def names(self) -> Iterator[str]:
        """As ``Table``."""
        return self._merge(lambda table: table.names())

    def group(self, key: str) -> Iterator[str]:
        """As ``Table``."""
        return self._merge(lambda table: table.group(key))

    def take(self, name: str, version: str) -> None:
        """As ``Table``."""
        for layer in self._owner.layers:
            own = layer.find(self._type_url)
            if own is not None:
                own.take(name, version)
        self._shared.take(name, version)

    def last_taken(self, name: str) -> Entry | None:
        """As ``Table``: where its own layers never had one that was taken, what is under them."""
        found = (table.last_taken(name) for table in self._stack())
        return next((entry for entry in found if entry is not None), None)

    def taken_before(self, name: str) -> Entry | None:
        """As ``Table``."""
        found = (table.taken_before(name) for table in self._stack())
        return next((entry for entry in found if entry is not None), None)

    def leave_unanswered(self, name: str, version: str) -> None:
        """As ``Table``."""
        for table in self._stack():
            table.leave_unanswered(name, version)

    def is_unanswered(self, name: str) -> bool:
        """As ``Table``."""
        return any(table.is_unanswered(name) for table in self._stack())

    def _merge(self, names_of: Callable[[StoredTable], Iterable[str]]) -> Iterator[str]:
        first, *others = self._stack()
        yield from names_of(first)
        above = [first]
        for table in others:
            for name in names_of(table):
                if not any(other.get(name) is not None for other in above):
                    yield name
            above.append(table)

    def __len__(self) -> int:
        *own, shared = self._stack()
        if not own:
            return len(shared)
        covering = {name for table in own for name in table.names()}
        return len(shared) + sum(shared.get(name) is None for name in covering)
