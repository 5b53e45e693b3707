"""What is served in the place of what proxies reject.

What is *offered* is computed as if nobody had ever rejected anything. Over it lie the rows of this module, with the same keys,
one for each rejection whose version or routes stand in the offer just now; a union in which they come first makes of both what
is served. So a rejection costs where there is one, and nothing anywhere else, and it ends by itself when the offer changes.

A held row says what is served instead: the form that proxies took last, or, with an empty version, that there is nothing.
Secrets are never held: an Envoy keeps its old one by itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from controlplane._proto.envoy.config.listener.v3 import Listener
from controlplane._proto.envoy.config.route.v3 import Route
from controlplane._proto.envoy.extensions.filters.network.http_connection_manager.v3 import HttpConnectionManager
from controlplane.krt import Collection, Fetch, Graph, Index
from controlplane.model.services import ClientClass
from controlplane.reducers import State
from controlplane.reducers.proxies import RejectedForm, RejectedResource, RejectedRoute, ResourceKey
from controlplane.translate.resource import ClientResource, Resource, TypeUrl, content_version
from controlplane.translate.route import UNRESOLVED_CLUSTER, RouteEntry
from controlplane.translate.virtual_host import VirtualHosts, lay_together

_OF_PORTS: Final = ("http~", "https~")
"""What the names of RouteConfigurations begin with that are a function of port and hostname; a waypoint's hold their hosts."""


class HeldHost(msgspec.Struct, frozen=True):
    """A virtual host of which something is rejected that stands in its offer."""

    key: ResourceKey
    served: Resource
    """What is served in its place."""
    forms: tuple[str, ...]
    """Rejected versions that would be served otherwise."""
    parts: tuple[str, ...]
    """Digests of the rejected routes that stand in it, sorted."""


class EndedRejection(msgspec.Struct, frozen=True):
    """A rejection of which a part, or all, is no longer offered."""

    key: ResourceKey
    forms: tuple[str, ...]
    """Versions that are offered still."""
    parts: tuple[str, ...]
    """Digests of routes that are offered still; if both are empty, it is over."""
    seq: int
    """Of the rejection: one that is told again ends again."""


@dataclass(frozen=True)
class ClientOffer:
    """What is offered to classes of clients."""

    classes: Index[ClientClass]
    """By gateway."""
    by_type: Mapping[str, Collection[ClientResource]]
    """By type URL."""

    @property
    def reads(self) -> tuple[Index[ClientClass] | Collection[ClientResource], ...]:
        """What whoever asks ``versions`` reads."""
        return self.classes, *self.by_type.values()

    def versions(self, fetch: Fetch, key: ResourceKey) -> Iterator[tuple[tuple[str, str, str, str], str]]:
        """The rows of a name, and their versions. Cost: O(classes of the gateway)."""
        gateway, type_url, name = key
        offered = self.by_type.get(type_url)
        for client in fetch.by(self.classes, gateway) if offered is not None else ():
            own = (gateway, client.key[1], type_url, name)
            if offered is not None and (version := fetch(offered, own, view=version_of)) is not None:
                yield own, version


def version_of(row: Resource | ClientResource) -> str:
    """A view: whatever else changes is no reason to look again."""
    return row.version


def declare_held(
    graph: Graph, name: str, state: State, types: Sequence[TypeUrl], offered: Sequence[Collection[Resource]]
) -> Collection[Resource]:
    """What is served in the place of rejected resources of these types."""

    def hold(row: RejectedResource, fetch: Fetch) -> Resource | None:
        if row.key[1] not in types:
            return None
        forms = (row.form(fetch(collection, row.key, view=version_of)) for collection in offered)
        found = next((form for form in forms if form is not None), None)
        return held_resource(row.key, found) if found is not None else None

    return graph.map(name, Resource, state.base.rejections, hold, reads=tuple(offered))


def held_resource(key: ResourceKey, form: RejectedForm) -> Resource:
    """What is served in the place of a rejected version."""
    names = route_configurations_of(form.fallback) if key[1] == TypeUrl.LISTENER else ()
    return Resource(key, form.fallback_version, form.fallback, form.fallback_clusters, names)


def route_configurations_of(listener: bytes) -> tuple[str, ...]:
    """The RouteConfigurations that an encoded Listener names, sorted."""
    found: set[str] = set()
    for chain in Listener.parse(listener).filter_chains:
        for filter_ in chain.filters:
            config = filter_.typed_config
            if config is not None and config.type_url.endswith("HttpConnectionManager"):
                rds = HttpConnectionManager.parse(config.value).rds
                found.update([rds.route_config_name] if rds is not None else ())
    return tuple(sorted(found))


def clusters_of_route(body: bytes) -> tuple[str, ...]:
    """The clusters that an encoded Route names, mirrors included, sorted."""
    action = Route.parse(body).route
    if action is None:
        return ()
    found = {action.cluster or "", *(mirror.cluster for mirror in action.request_mirror_policies)}
    if action.weighted_clusters is not None:
        found |= {share.name for share in action.weighted_clusters.clusters}
    return tuple(sorted(found - {"", UNRESOLVED_CLUSTER}))


def route_configuration_uses(row: Resource) -> Iterator[tuple[str, ...]]:
    """Uses by a held listener."""
    gateway, type_url, name = row.key
    for wanted in row.route_configurations:
        if wanted.startswith(_OF_PORTS):
            yield gateway, wanted, type_url, name


def cluster_uses(row: Resource) -> Iterator[tuple[str, ...]]:
    """Uses by whatever is held: the clusters of a fallback stay served."""
    gateway, type_url, name = row.key
    for cluster in row.clusters:
        yield gateway, cluster, type_url, name


def declare_held_hosts(graph: Graph, state: State, hosts: VirtualHosts) -> Collection[HeldHost]:
    """What is served in the place of rejected virtual hosts. Cost of one: O(its routes) at each change of it."""

    def is_rejected(fetch: Fetch, gateway: str, cluster: str) -> bool:
        return fetch.exists(state.base.rejections, (gateway, str(TypeUrl.CLUSTER), cluster))

    def hold(row: RejectedResource, fetch: Fetch) -> HeldHost | None:
        gateway, type_url, name = row.key
        route_configuration, _, hostname = name.partition("/")
        key = (gateway, route_configuration, hostname)
        if type_url != TypeUrl.VIRTUAL_HOST or (offered := fetch(hosts.rows, key)) is None:
            return None
        rejected = [part for part in row.parts if not part.cluster or is_rejected(fetch, gateway, part.cluster)]
        mended, parts = without_parts(hosts.entries(fetch, key), rejected) if rejected else ([], ())
        if parts:
            offered = lay_together(key, mended)
        form = row.form(offered.version)
        if form is not None:
            return HeldHost(row.key, held_resource(row.key, form), (form.version,), parts)
        if not parts:
            return None
        return HeldHost(row.key, Resource(row.key, offered.version, offered.body, offered.clusters), (), parts)

    reads = (state.base.rejections, hosts.rows, *hosts.reads)
    return graph.map("held_hosts", HeldHost, state.base.rejections, hold, reads=reads)


def without_parts(
    entries: Sequence[RouteEntry], rejected: Sequence[RejectedRoute]
) -> tuple[list[RouteEntry], tuple[str, ...]]:
    """The routes of a virtual host with the fallbacks of those that are rejected; and the digests of these, sorted."""
    parts = {part.digest: part for part in rejected}
    kept, found = [], set()
    for entry in entries:
        digest = content_version(entry.body)
        part = parts.get(digest)
        if part is None:
            kept.append(entry)
            continue
        found.add(digest)
        if part.fallback:
            kept.append(RouteEntry(entry.precedence, part.fallback, part.fallback_clusters))
    return kept, tuple(sorted(found))


def declare_held_clients(graph: Graph, state: State, offer: ClientOffer) -> Collection[ClientResource]:
    """What classes of clients are served in the place of a rejected form."""

    def hold(row: RejectedResource, fetch: Fetch) -> Iterator[ClientResource]:
        for key, version in offer.versions(fetch, row.key):
            form = row.form(version)
            if form is not None:
                yield ClientResource(key, form.fallback_version, form.fallback, form.fallback_clusters)

    return graph.map("held_client_resources", ClientResource, state.base.rejections, hold, reads=offer.reads)


def declare_ended(
    graph: Graph,
    state: State,
    hosts: Collection[HeldHost],
    offered: Sequence[Collection[Resource]],
    offered_clients: ClientOffer,
) -> Collection[EndedRejection]:
    """Rejections that are over, as a whole or in part: who keeps the log is to say so in it."""

    def end(row: RejectedResource, fetch: Fetch) -> EndedRejection | None:
        parts: tuple[str, ...] = ()
        if row.key[1] == TypeUrl.VIRTUAL_HOST:
            host = fetch(hosts, row.key)
            standing, parts = (set(host.forms), host.parts) if host is not None else (set(), ())
        else:
            shared = (fetch(collection, row.key, view=version_of) for collection in offered)
            own = (version for _, version in offered_clients.versions(fetch, row.key))
            standing = {version for version in (*shared, *own) if version is not None}
        forms = tuple(form.version for form in row.forms if form.version in standing)
        if (len(forms), len(parts)) == (len(row.forms), len(row.parts)):
            return None
        return EndedRejection(row.key, forms, parts, row.seq)

    reads = (hosts, *offered, *offered_clients.reads)
    return graph.map("ended_rejections", EndedRejection, state.base.rejections, end, reads=reads)
