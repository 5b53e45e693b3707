"""The resources that are current now, by gateway and by class of its clients, and the gate before them.

A scope is one gateway, ``namespace/name``. Its ``View`` holds a table for each resource type, of what all its clients are
served; and for each class of clients a layer of what they are served beside or instead of it. A stream reads through a
``ClientView``: the scope's tables with its classes' layers over them. Classes are names here; who belongs to which is said from
outside, and may change while a stream is open.

``Views.apply`` takes what one commit changed, all of it in one go: shared tables, layers, and who belongs to which class. Only
when all is in place each listener is told, once, of what *it* sees differently. All of it happens on one event loop without a
pause, so nobody ever reads half a commit.
"""

import asyncio
from collections.abc import Iterable, Mapping
from weakref import WeakValueDictionary

from controlplane.xds.differences import Before, Changed, difference
from controlplane.xds.scope import ClassLayer, ClientView, Listener, View
from controlplane.xds.tables import Entry, Layer, Resolve, Resource, SecretEntry, UnknownEntry
from controlplane.xds.types import SECRET

Change = tuple[str, str, str, Resource | None]
"""Scope, type URL, name, and the resource; None removes it."""
ClientChange = tuple[str, str, str, str, Resource | None]
"""Scope, class, type URL, name, and the resource; None removes it."""
Place = tuple[str, tuple[str, ...]]
"""Scope and classes of a proxy."""
Assignment = tuple[str, Place | None]
"""A proxy, and its place; None when it is no longer known."""

Rejection = tuple[str, str, str, bool]
"""Scope, type URL, name, and whether proxies of the scope reject what there is, or the last that there was."""


class Views:
    """The current resources of all scopes and classes.

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
        self._assigned: dict[str, Place] = {}
        """Of each known proxy, whether or not it has a view."""
        self._clients: dict[str, ClientView] = {}
        """Of the proxies that are being served."""
        self._taken = False
        """Whether what is being applied counts as taken."""
        self._waiting: dict[str, asyncio.Event] = {}
        """Of the proxies that are not known yet."""

    # Commits.

    def apply(
        self,
        changes: Iterable[Change],
        client_changes: Iterable[ClientChange] = (),
        assignments: Iterable[Assignment] = (),
        seq: int | None = None,
        rejections: Iterable[Rejection] = (),
        *,
        taken: bool = False,
    ) -> None:
        """Takes what one commit changed, and wakes those who see something differently.

        A resource whose version did not change is no change; nor is a shared one that a class's own covers, for that class. A
        proxy that changes its class sees the difference of the two layers.

        Args:
            changes: To what all clients of a scope share.
            client_changes: To what classes are served of their own.
            assignments: Proxies that have come, gone, or changed their class.
            seq: The log's position after this commit.
            rejections: Names of which proxies have rejected something, or no longer do.
            taken: Whether proxies took all of it in an earlier life of the process, so that one of them cannot take it from all.

        Cost: O(changes), plus O(changes of its scope and class) for each class and stream that is touched, plus O(both layers)
        for each pair of classes between which proxies move.
        """
        shared: dict[str, Changed] = {}
        self._taken = taken
        for scope, type_url, name, is_rejected in rejections:
            self.view(scope).reject(type_url, name, is_rejected=is_rejected)
            shared.setdefault(scope, {})
        layers: dict[tuple[str, str], Changed] = {}
        for scope, type_url, name, resource in changes:
            if resource is not None or scope in self._views:
                self._put(self.view(scope).shared, shared.setdefault(scope, {}), type_url, name, resource)
        for scope, class_name, type_url, name, resource in client_changes:
            if resource is not None or (scope in self._views and class_name in self._views[scope].layers):
                layer, key = self.view(scope).layer(class_name), (scope, class_name)
                self._put(layer, layers.setdefault(key, {}), type_url, name, resource)
        moved: dict[ClientView, tuple[ClassLayer, ...]] = {}
        for proxy, place in assignments:
            self._assign(proxy, place, moved)
        if seq is not None:
            self.seq = seq
        notices = list(self._notices(shared, layers, moved))
        for listeners, before in notices:
            for listener in tuple(listeners):
                listener(before)
        left = ((client.scope, layer.class_name) for client, earlier in moved.items() for layer in earlier)
        for scope, class_name in (*layers, *left):
            self._release_layer(scope, class_name)
        for scope in shared:
            self.release(scope)

    def _put(self, layer: Layer, changed: Changed, type_url: str, name: str, resource: Resource | None) -> None:
        current = layer.get(type_url, name)
        if (None if current is None else current.version) == (None if resource is None else resource.version):
            return
        table = layer.table(type_url)
        before = table.put(name, None if resource is None else self._entry(type_url, resource))
        if resource is not None and self._taken:
            table.take(name, resource.version)
        changed.setdefault(type_url, {}).setdefault(name, before)

    def _entry(self, type_url: str, resource: Resource) -> Entry:
        if type_url == SECRET:
            return SecretEntry(resource, self._resolve)
        if not resource.body:
            return UnknownEntry(type_url, resource)
        key = (type_url, resource.name, resource.version)
        entry = self._entries.get(key)
        if entry is None:
            entry = self._entries[key] = Entry(type_url, resource)
        return entry

    def _assign(self, proxy: str, place: Place | None, moved: dict[ClientView, tuple[ClassLayer, ...]]) -> None:
        if place is None:
            # Its stream has ended, or is about to: what it sees until then stays.
            self._assigned.pop(proxy, None)
            return
        self._assigned[proxy] = place
        waiting = self._waiting.pop(proxy, None)
        if waiting is not None:
            waiting.set()
        client = self._clients.get(proxy)
        if client is not None and client.class_names != place[1]:
            assert client.scope == place[0], f"{proxy} is served {client.scope} and cannot be moved to {place[0]}"
            moved.setdefault(client, client.layers)
            for layer in client.layers:
                del layer.members[client]
            client.layers = self._join(client, place)

    def _join(self, client: ClientView, place: Place) -> tuple[ClassLayer, ...]:
        view = self.view(place[0])
        layers = tuple(view.layer(class_name) for class_name in place[1])
        for layer in layers:
            layer.members[client] = None
        return layers

    def _notices(
        self,
        shared: Mapping[str, Changed],
        layers: Mapping[tuple[str, str], Changed],
        moved: Mapping[ClientView, tuple[ClassLayer, ...]],
    ) -> Iterable[tuple[Iterable[Listener], Before]]:
        """Who is to be told what. Clients that see the same difference are given the same mapping."""
        groups: dict[tuple[str, tuple[ClassLayer, ...], tuple[ClassLayer, ...]], list[ClientView]] = {}
        for scope, changed in shared.items():
            if changed:
                view = self._views[scope]
                if view.listeners and (before := difference(view.shared, changed)):
                    yield view.listeners, before
        for client in self._touched(shared, layers, moved):
            earlier = moved.get(client, client.layers)
            groups.setdefault((client.scope, earlier, client.layers), []).append(client)
        for (scope, earlier, now), clients in groups.items():
            own = [layers.get((scope, layer.class_name), {}) for layer in earlier]
            of_all = self._views[scope].shared
            before = difference(of_all, shared.get(scope, {}), earlier, own, now if now != earlier else None)
            if before:
                yield from ((client.listeners, before) for client in clients)

    def _touched(
        self,
        shared: Mapping[str, Changed],
        layers: Mapping[tuple[str, str], Changed],
        moved: Mapping[ClientView, tuple[ClassLayer, ...]],
    ) -> Iterable[ClientView]:
        """Clients that may see something differently, each once."""
        found = dict.fromkeys(moved)
        for scope in (scope for scope, changed in shared.items() if changed):
            for layer in self._views[scope].layers.values():
                found.update(dict.fromkeys(layer.members))
        for (scope, class_name), changed in layers.items():
            if changed:
                found.update(dict.fromkeys(self._views[scope].layers[class_name].members))
        return found

    # Who sees what.

    def view(self, scope: str) -> View:
        """The view of a scope; an empty one when nothing of it exists (yet)."""
        view = self._views.get(scope)
        if view is None:
            view = self._views[scope] = View()
        return view

    async def wait_assigned(self, proxy: str) -> ClientView:
        """The view of a proxy, as soon as a commit has said what class it is of; ``leave`` ends it.

        There is no deadline: until then nobody can say what it is to be served. Cancelling leaves nothing.
        """
        while proxy not in self._assigned:
            waiting = self._waiting.setdefault(proxy, asyncio.Event())
            try:
                await waiting.wait()
            finally:
                self._waiting.pop(proxy, None)
        place = self._assigned[proxy]
        client = self._clients.get(proxy)
        if client is None:
            client = self._clients[proxy] = ClientView(place[0], self.view(place[0]), ())
            client.layers = self._join(client, place)
        return client

    def leave(self, proxy: str) -> None:
        """The proxy's stream has ended: forgets its view. What class it is of is forgotten when a commit says so."""
        client = self._clients.pop(proxy, None)
        if client is not None:
            client.listeners.clear()
            for layer in client.layers:
                layer.members.pop(client, None)
                self._release_layer(client.scope, layer.class_name)
            self.release(client.scope)

    def _release_layer(self, scope: str, class_name: str) -> None:
        view = self._views.get(scope)
        layer = None if view is None else view.layers.get(class_name)
        if view is not None and layer is not None and layer.is_idle:
            del view.layers[class_name]
            self.release(scope)

    def release(self, scope: str) -> None:
        """Forgets a scope that holds nothing and to which nobody listens."""
        view = self._views.get(scope)
        if view is not None and view.is_idle:
            del self._views[scope]

    # The gate.

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
        """Resources that all clients share, by scope and type URL, sorted."""
        return {
            scope: {url: len(table) for url, table in sorted(view.shared.tables.items()) if len(table)}
            for scope, view in sorted(self._views.items())
        }
