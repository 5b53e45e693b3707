"""What proxies reject and wait for, between the server's facts and the log's events.

A fact names a resource. The event names the objects that it came from as well, which the engine's provenance knows, and is
written once, however many proxies say the same. When the offer changes, what is no longer rejected is said to have ended.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby, islice
from typing import Any, Final

import msgspec

from controlplane.krt import Collection, Explanation
from controlplane.model.events import (
    AnyEvent,
    DeliveryWithheld,
    RejectedPart,
    RejectionEnded,
    ResourceRejected,
)
from controlplane.model.ir import ResolvedRoute
from controlplane.model.served_names import TypeUrl
from controlplane.reducers.proxies import RejectedResource, ResourceKey
from controlplane.reducers.rejections import route_of
from controlplane.runtime.core import State
from controlplane.translate import clusters_of_route
from controlplane.translate.choices import BY_ADDRESS
from controlplane.translate.held import EndedRejection
from controlplane.translate.resource import content_version
from controlplane.xds import events as xds

MOST_ORIGINS: Final = 64
"""Objects that an event names."""
_MOST_OTHERS: Final = 16
"""Those of them that are no HTTPRoutes."""
_ENTRIES: Final = 1_000
"""Rows and reads that are looked at to find them, the nearest first, and below each row no more of one collection than objects
are named: some milliseconds, whatever the size of the world."""
_ORIGINS: Final = (
    "Gateway", "HTTPRoute", "ServiceEntry", "WorkloadEntry", "DestinationRule", "AuthorizationPolicy",
)  # fmt: skip
"""Kinds that people write and that a rejection can be the fault of."""
_ROUTE: Final = "HTTPRoute "
_HOSTS: Final = "virtual_hosts"
_OF_CLUSTERS: Final = frozenset({str(TypeUrl.CLUSTER), str(TypeUrl.LOAD_ASSIGNMENT)})
_BODILESS: Final = frozenset({str(TypeUrl.SECRET)})


def is_bind_failure(fact: xds.Event) -> bool:
    """Whether a fact says of a listener that its port cannot be had, which infrastructure tells by ``ListenerFailed``."""
    return (
        isinstance(fact, xds.ResourceRejected) and fact.type_url == TypeUrl.LISTENER and "cannot bind" in fact.message
    )


def rejection_event(fact: xds.ResourceRejected) -> ResourceRejected:
    """The event of a rejection, without origins. A secret has no fallback: an Envoy keeps its old one itself."""
    parts = tuple(
        RejectedPart(
            name=route.name,
            digest=content_version(route.body),
            fallback=route.fallback,
            fallback_clusters=clusters_of_route(route.fallback),
            message=route.message if route.message != fact.message else "",
            cluster=route.cluster,
        )
        for route in fact.routes
    )
    return ResourceRejected(
        gateway=fact.scope,
        type_url=fact.type_url,
        name=fact.name,
        version=fact.version,
        proxy=fact.proxy,
        message=fact.message,
        fallback_version=fact.fallback_version,
        fallback=b"" if parts or fact.type_url in _BODILESS else fact.fallback,
        fallback_clusters=() if parts else fact.fallback_clusters,
        parts=parts,
    )


def withheld_event(fact: xds.DeliveryWithheld) -> DeliveryWithheld:
    """The event of a withheld delivery, without origins."""
    return DeliveryWithheld(
        proxy=fact.proxy, gateway=fact.scope, type_url=fact.type_url, name=fact.name, clusters=fact.clusters
    )


def find_origins(state: State, key: ResourceKey, parts: Iterable[RejectedPart] = ()) -> tuple[str, ...]:
    """Objects that a resource was made of, ``Kind namespace/name``, sorted: at most ``MOST_ORIGINS``, the nearest.

    Of a virtual host with routes at fault: the HTTPRoutes of these alone, which their names tell. Of a cluster: the HTTPRoutes
    that lead there, not whatever stands beside them in a virtual host.
    """
    if guilty := _routes_of(parts):
        return guilty
    kinds = {state.rows.base.of_kind(kind).name: kind for kind in _ORIGINS}
    found: dict[str, None] = {}
    tree = _explanation(state, key)
    for node in walk(tree) if tree is not None else ():
        if node.collection in kinds and not node.absent:
            found[f"{kinds[node.collection]} {node.key}"] = None
    others = [origin for origin in found if not origin.startswith(_ROUTE)][:_MOST_OTHERS]
    routes = [origin.removeprefix(_ROUTE) for origin in found if origin.startswith(_ROUTE)]
    if tree is not None and key[1] in _OF_CLUSTERS:
        routes = _using(state, tree, key[2].removesuffix(BY_ADDRESS), routes)
    return tuple(sorted([*others, *(f"{_ROUTE}{route}" for route in routes)][:MOST_ORIGINS]))


def _using(state: State, tree: Explanation, cluster: str, candidates: Iterable[str]) -> list[str]:
    """Routes that lead to a cluster, of these and of the virtual hosts that name it. Cost: O(the routes of these hosts)."""
    hosts = [
        state.rows.attachments.hosts.get(n.key) for n in walk(tree) if n.collection == _HOSTS and n.key is not None
    ]
    of_hosts = (row.key[3] for group in hosts if group is not None for row in group.rows)
    using = (
        name for name in dict.fromkeys((*candidates, *of_hosts)) if _leads_to(state.rows.routes.get(name), cluster)
    )
    return [*islice(using, MOST_ORIGINS)]


def _leads_to(route: ResolvedRoute | None, cluster: str) -> bool:
    rules = route.rules if route is not None else ()
    return any(
        cluster in (*(target.cluster for target in rule.backends), *(mirror.cluster for mirror in rule.mirrors))
        for rule in rules
    )


def _routes_of(parts: Iterable[RejectedPart]) -> tuple[str, ...]:
    places = (route_of(part.name) for part in parts)
    return tuple(sorted({f"{_ROUTE}{place[0]}" for place in places if place is not None})[:MOST_ORIGINS])


def _explanation(state: State, key: ResourceKey) -> Explanation | None:
    served: Collection[Any] = state.translation.resources
    found: Any = key
    if served.get(key) is None:
        served = state.translation.client_resources
        classes = (row.key for row in state.rows.clients.classes.rows() if row.key[0] == key[0])
        keys = ((*of_class, *key[1:]) for of_class in classes)
        found = next((own for own in keys if served.get(own) is not None), None)
    if found is None:
        return None
    return state.graph.explain(served.name, found, entries=_ENTRIES, width=MOST_ORIGINS)


def walk(tree: Explanation) -> list[Explanation]:
    """Every entry of an explanation, the nearest first."""
    found = [tree]
    for node in found:
        found.extend(node.inputs)
    return found


def complete(state: State, ended: Iterable[ResourceKey], events: Iterable[AnyEvent]) -> list[AnyEvent]:
    """The events that are to be written: with what has ended before them, with origins, each rejection once.

    What has ended goes first, so that what was found since is not ended with it.

    Args:
        state: At rest.
        ended: Names of which some commit has said that their rejection is over, in part or as a whole.
        events: As they came.
    """
    written: list[AnyEvent] = []
    known: dict[ResourceKey, set[str]] = {}
    for key in sorted(set(ended)):
        row, over = state.rows.base.rejections.get(key), state.translation.ended_rejections.get(key)
        if row is not None and over is not None:
            written += end(row, over)
            known[key] = {*over.forms, *over.parts}
    origins: dict[ResourceKey, tuple[str, ...]] = {}
    for event in events:
        match event:
            case ResourceRejected(gateway, type_url, name):
                key = (gateway, type_url, name)
                said = _says(event)
                if key not in known:
                    known[key] = _known(state.rows.base.rejections.get(key))
                if said <= known[key]:
                    continue
                known[key] |= said
                written.append(msgspec.structs.replace(event, origins=find_origins(state, key, event.parts)))
            case DeliveryWithheld(_, gateway, type_url, name):
                key = (gateway, type_url, name)
                if key not in origins:
                    origins[key] = find_origins(state, key)
                written.append(msgspec.structs.replace(event, origins=origins[key]))
            case _:
                written.append(event)
    return written


def _says(event: ResourceRejected) -> set[str]:
    """The version that an event rejects as a whole, or the digests of its routes."""
    return {part.digest for part in event.parts} or {event.version}


def _known(row: RejectedResource | None) -> set[str]:
    return {*(form.version for form in row.forms), *(part.digest for part in row.parts)} if row is not None else set()


def end(row: RejectedResource, over: EndedRejection) -> Iterator[AnyEvent]:
    """The end of a rejection; and where only a part of it is over, the rest of it anew."""
    gateway, type_url, name = row.key
    yield RejectionEnded(gateway, type_url, name)
    whole = ResourceRejected(gateway, type_url, name, row.version, row.proxy, "", origins=row.origins)
    standing = sorted((p for p in row.parts if p.digest in over.parts), key=lambda part: part.message)
    for message, group in groupby(standing, key=lambda part: part.message):
        parts = tuple(RejectedPart(p.name, p.digest, p.fallback, p.fallback_clusters, cluster=p.cluster) for p in group)
        yield msgspec.structs.replace(whole, message=message, parts=parts, origins=_routes_of(parts) or row.origins)
    for form in row.forms:
        if form.version in over.forms:
            yield msgspec.structs.replace(
                whole,
                version=form.version,
                message=form.message,
                fallback_version=form.fallback_version,
                fallback=form.fallback,
                fallback_clusters=form.fallback_clusters,
            )
