"""What proxies reject and wait for, between the server's facts and the log's events.

A fact names a resource. The event names the objects that it came from as well, which the engine's provenance knows, and is
written once, however many proxies say the same. When the offer changes, what is no longer rejected is said to have ended.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Final

import msgspec

from controlplane.krt import Explanation
from controlplane.model.events import (
    AnyEvent,
    DeliveryWithheld,
    RejectedPart,
    RejectionEnded,
    ResourceRejected,
)
from controlplane.model.served_names import TypeUrl
from controlplane.reducers.proxies import RejectedResource, ResourceKey
from controlplane.reducers.rejections import route_of
from controlplane.runtime.core import State
from controlplane.translate import clusters_of_route
from controlplane.translate.held import EndedRejection
from controlplane.translate.resource import content_version
from controlplane.xds import events as xds

MOST_ORIGINS: Final = 64
"""Objects that an event names."""
_ENTRIES: Final = 400
"""Rows and reads that are looked at to find them, the nearest first: a few milliseconds, whatever the size of the world."""
_ORIGINS: Final = (
    "Gateway", "HTTPRoute", "ServiceEntry", "WorkloadEntry", "DestinationRule", "AuthorizationPolicy",
)  # fmt: skip
"""Kinds that people write and that a rejection can be the fault of."""
_BODILESS: Final = frozenset({str(TypeUrl.SECRET)})


def is_bind_failure(fact: xds.Event) -> bool:
    """Whether a fact says of a listener that its port cannot be had, which infrastructure tells by ``ListenerFailed``."""
    return (
        isinstance(fact, xds.ResourceRejected) and fact.type_url == TypeUrl.LISTENER and "cannot bind" in fact.message
    )


def rejection_event(fact: xds.ResourceRejected) -> ResourceRejected:
    """The event of a rejection, without origins. A secret has no fallback: an Envoy keeps its old one itself."""
    parts = tuple(
        RejectedPart(route.name, content_version(route.body), route.fallback, clusters_of_route(route.fallback))
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

    Of a virtual host with routes at fault: the HTTPRoutes of these alone, which their names tell.
    """
    if guilty := _routes_of(parts):
        return guilty
    kinds = {state.rows.base.of_kind(kind).name: kind for kind in _ORIGINS}
    found: dict[str, None] = {}
    for tree in _explanations(state, key):
        for node in walk(tree):
            if node.collection in kinds and not node.absent and len(found) < MOST_ORIGINS:
                found[f"{kinds[node.collection]} {node.key}"] = None
    return tuple(sorted(found))


def _routes_of(parts: Iterable[RejectedPart]) -> tuple[str, ...]:
    places = (route_of(part.name) for part in parts)
    return tuple(sorted({f"HTTPRoute {place[0]}" for place in places if place is not None})[:MOST_ORIGINS])


def _explanations(state: State, key: ResourceKey) -> Iterator[Explanation]:
    served = state.translation.resources
    if served.get(key) is not None:
        yield state.graph.explain(served.name, key, entries=_ENTRIES)
        return
    own = state.translation.client_resources
    for client in state.rows.clients.classes.rows():
        row = own.get((client.key[0], client.key[1], *key[1:])) if client.key[0] == key[0] else None
        if row is not None:
            yield state.graph.explain(own.name, row.key, entries=_ENTRIES)
            return


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
        parts = tuple(RejectedPart(p.name, p.digest, p.fallback, p.fallback_clusters) for p in group)
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
