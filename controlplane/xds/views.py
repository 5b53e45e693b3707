"""The resources that are current now, by gateway, and the gate before them.

A scope is one gateway, ``namespace/name``; its ``View`` holds a table for each resource type. ``Views.apply`` takes what one
commit changed and wakes the streams of the scopes that it touched, and no others. All of it happens on one event loop without
a pause, so nobody ever reads half a commit.

A table keeps, beside each resource, the bytes that stand before its body in a response; two scopes and all their proxies
share them. The body stays the row's own. A secret's bytes are fetched at the moment they are sent and kept nowhere.
"""

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Protocol
from weakref import WeakValueDictionary

from controlplane.xds.types import SECRET, VIRTUAL_HOST, route_configuration_of
from controlplane.xds.wire import resource_head


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
        """The encoded message, without the ``Any`` around it. Empty for a secret: ``Resolve`` gives the bytes."""


Resolve = Callable[[Resource], bytes | None]
"""The encoded ``Secret`` of a row, key included; None when the bytes are gone, which serves the secret as removed."""

Change = tuple[str, str, str, Resource | None]
"""Scope, type URL, name, and the resource; None removes it."""


class Entry:
    """A resource in a table, ready to be sent."""

    __slots__ = ("__weakref__", "_head", "name", "resource", "version")

    def __init__(self, type_url: str, resource: Resource) -> None:
        self.name = resource.name
        self.version = resource.version
        self.resource = resource
        self._head = resource_head(type_url, resource.name, resource.version, len(resource.body))

    def parts(self) -> tuple[bytes, bytes] | None:
        """The two pieces of its entry in a response; None when it has to be served as removed."""
        return self._head, self.resource.body


class _SecretEntry(Entry):
    __slots__ = ("_resolve",)

    def __init__(self, resource: Resource, resolve: Resolve) -> None:
        super().__init__(SECRET, resource)
        self._resolve = resolve

    def parts(self) -> tuple[bytes, bytes] | None:
        body = self._resolve(self.resource)
        return None if body is None else (resource_head(SECRET, self.name, self.version, len(body)), body)


Before = Mapping[str, Mapping[str, Entry | None]]
"""What one commit changed in a scope: by type URL and name, the entry that stood there before."""


class Table:
    """The current resources of one type in one scope."""

    __slots__ = ("_entries", "_groups")

    def __init__(self, group_of: Callable[[str], str] | None = None) -> None:
        self._entries: dict[str, Entry] = {}
        self._groups: tuple[Callable[[str], str], dict[str, dict[str, None]]] | None = (
            None if group_of is None else (group_of, {})
        )

    def get(self, name: str) -> Entry | None:
        """The entry of this name."""
        return self._entries.get(name)

    def names(self) -> Collection[str]:
        """All names, in no order that means anything."""
        return self._entries.keys()

    def group(self, key: str) -> Collection[str]:
        """Names of the virtual hosts of one RouteConfiguration."""
        assert self._groups is not None
        return self._groups[1].get(key, {}).keys()

    def __len__(self) -> int:
        return len(self._entries)

    def put(self, name: str, entry: Entry | None) -> Entry | None:
        """Replaces an entry, or removes it; the one that stood there before. Cost: O(1)."""
        before = self._entries.pop(name, None) if entry is None else self._entries.get(name)
        if entry is not None:
            self._entries[name] = entry
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


class View:
    """The tables of one scope, and who listens to them."""

    def __init__(self) -> None:
        self._tables: dict[str, Table] = {}
        self._listeners: dict[Callable[[Before], None], None] = {}

    def table(self, type_url: str) -> Table:
        """The table of a type; an empty one when nothing of it exists."""
        table = self._tables.get(type_url)
        if table is None:
            table = self._tables[type_url] = Table(route_configuration_of if type_url == VIRTUAL_HOST else None)
        return table

    def tables(self) -> Mapping[str, Table]:
        """All tables by type URL."""
        return self._tables

    def listen(self, listener: Callable[[Before], None]) -> None:
        """Calls the listener after every commit that changed something here."""
        self._listeners[listener] = None

    def unlisten(self, listener: Callable[[Before], None]) -> None:
        """Ends ``listen``."""
        self._listeners.pop(listener, None)

    @property
    def is_idle(self) -> bool:
        """Holds nothing, and nobody listens."""
        return not self._listeners and not any(len(table) for table in self._tables.values())

    def notify(self, before: Before) -> None:
        """Tells all listeners."""
        for listener in tuple(self._listeners):
            listener(before)


class Views:
    """The current resources of all scopes.

    Args:
        resolve: Gives a secret's bytes at the moment they are sent. Without it every secret is served as removed.
    """

    def __init__(self, resolve: Resolve | None = None) -> None:
        self.seq = 0
        """The log's position up to which the tables are."""
        self._resolve: Resolve = resolve or (lambda _: None)
        self._views: dict[str, View] = {}
        self._entries: WeakValueDictionary[tuple[str, str, str], Entry] = WeakValueDictionary()
        self._opened = asyncio.Event()

    def apply(self, changes: Iterable[Change], seq: int | None = None) -> None:
        """Takes what one commit changed, and wakes the streams of the scopes in which something did.

        A resource whose version did not change is no change. Cost: O(changes) plus, for each stream of a touched scope,
        O(changes of that scope).
        """
        touched: dict[str, dict[str, dict[str, Entry | None]]] = {}
        for scope, type_url, name, resource in changes:
            if resource is None and scope not in self._views:
                continue
            table = self.view(scope).table(type_url)
            current = table.get(name)
            if (None if current is None else current.version) == (None if resource is None else resource.version):
                continue
            before = table.put(name, None if resource is None else self._entry(type_url, resource))
            touched.setdefault(scope, {}).setdefault(type_url, {}).setdefault(name, before)
        if seq is not None:
            self.seq = seq
        for scope, before_by_type in touched.items():
            self.view(scope).notify(before_by_type)
            self.release(scope)

    def _entry(self, type_url: str, resource: Resource) -> Entry:
        if type_url == SECRET:
            return _SecretEntry(resource, self._resolve)
        key = (type_url, resource.name, resource.version)
        entry = self._entries.get(key)
        if entry is None:
            entry = self._entries[key] = Entry(type_url, resource)
        return entry

    def view(self, scope: str) -> View:
        """The view of a scope; an empty one when nothing of it exists (yet)."""
        view = self._views.get(scope)
        if view is None:
            view = self._views[scope] = View()
        return view

    def release(self, scope: str) -> None:
        """Forgets a scope that holds nothing and to which nobody listens."""
        view = self._views.get(scope)
        if view is not None and view.is_idle:
            del self._views[scope]

    def open(self) -> None:
        """Opens the gate: from now on streams are answered. It never closes again."""
        self._opened.set()

    @property
    def is_open(self) -> bool:
        """Whether streams are answered."""
        return self._opened.is_set()

    async def wait_open(self) -> None:
        """Returns once the gate is open. There is no deadline: half a configuration is worse than none."""
        await self._opened.wait()

    def statistics(self) -> dict[str, dict[str, int]]:
        """Resources by scope and type URL, sorted."""
        return {
            scope: {url: len(table) for url, table in sorted(view.tables().items()) if len(table)}
            for scope, view in sorted(self._views.items())
        }
