"""What proxies reject and wait for, as the routes that it came from are told of it.

A rejection names the objects that the resource was made of, and a route in Envoy the rule and match that it stands for; so
each HTTPRoute has its findings, and reads nothing else of what proxies say.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from controlplane.krt import Fetch, Graph, Group, Index
from controlplane.model.conditions import numbered
from controlplane.model.served_names import TypeUrl, listener_name, short_type
from controlplane.reducers.base import Base
from controlplane.reducers.proxies import RejectedResource, RejectedRoute, WithheldDelivery

_KIND: Final = "HTTPRoute "
_SHOWN: Final = 3
"""Proxies that a message names."""


class RouteFinding(msgspec.Struct, frozen=True):
    """What proxies of a gateway say of something that an HTTPRoute is a part of."""

    key: tuple[str, str, str, str, str]
    """Route, gateway, type URL, name, and whether it is ``rejected`` or ``withheld``."""
    kept: tuple[str, ...] = ()
    """What of it stays in the form that they took last, and why."""
    dropped: tuple[str, ...] = ()
    """What of it is not served, and why."""
    kept_matches: tuple[str, ...] = ()
    """Names of the Envoy routes that stay in their last form."""
    dropped_matches: tuple[str, ...] = ()
    """Names of those that are left out."""
    withheld: str = ""
    """Who waits for what."""

    @property
    def gateway(self) -> str:
        """``namespace/name`` of the gateway."""
        return self.key[1]


def route_of(name: str) -> tuple[str, str, str] | None:
    """The HTTPRoute, rule and match that an Envoy route's name tells; None for one that is no HTTPRoute's."""
    parts = name.split("/")
    return (f"{parts[0]}/{parts[1]}", parts[2], parts[3]) if len(parts) == 4 else None


def find_rejected(row: RejectedResource, fetch: Fetch) -> Iterator[RouteFinding]:
    """The findings of the routes that a rejection is about: those at fault, or all that the resource was made of."""
    gateway, type_url, name = row.key
    by_route: dict[str, list[RejectedRoute]] = {}
    for part in row.parts:
        if (found := route_of(part.name)) is not None:
            by_route.setdefault(found[0], []).append(part)
    whole = [origin.removeprefix(_KIND) for origin in row.origins if origin.startswith(_KIND)] if row.forms else []
    what = f"{short_type(type_url)} {name}"
    for route in sorted({*by_route, *whole}):
        parts = by_route.get(route, [])
        kept, dropped = [p for p in parts if p.fallback], [p for p in parts if not p.fallback]
        forms = row.forms if route in whole else ()
        yield RouteFinding(
            key=(route, gateway, type_url, name, "rejected"),
            kept=(*map(_text, kept), *(f"{what}: {form.message}" for form in forms if form.fallback_version)),
            dropped=(*map(_text, dropped), *(f"{what}: {form.message}" for form in forms if not form.fallback_version)),
            kept_matches=tuple(sorted(part.name for part in kept)),
            dropped_matches=tuple(sorted(part.name for part in dropped)),
        )


def _text(part: RejectedRoute) -> str:
    found = route_of(part.name)
    where = f"spec.rules[{found[1]}].matches[{found[2]}]" if found is not None else part.name
    return f"{where}: {part.message}"


def find_withheld(group: Group[WithheldDelivery], fetch: Fetch) -> Iterator[RouteFinding]:
    """The findings of the routes that a resource was made of which proxies wait with."""
    gateway, type_url, name = group.key
    clusters = sorted({cluster for row in group.rows for cluster in row.clusters})
    text = (
        f"{short_type(type_url)} {name} waits for clusters {_bounded(clusters)}, which are not ready on proxies "
        f"{_bounded([row.key[0] for row in group.rows])}; what they had before is served"
    )
    routes = {origin.removeprefix(_KIND) for row in group.rows for origin in row.origins if origin.startswith(_KIND)}
    for route in sorted(routes):
        yield RouteFinding((route, gateway, type_url, name, "withheld"), withheld=text)


def _bounded(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def declare_findings(graph: Graph, base: Base) -> Index[RouteFinding]:
    """Declare the findings, by route."""
    withheld = graph.group("withheld_by_resource", base.withheld, by=lambda row: (row.gateway, *row.key[1:]))
    parts = (
        graph.map("rejections_of_routes", RouteFinding, base.rejections, find_rejected),
        graph.map("withheld_of_routes", RouteFinding, withheld, find_withheld),
    )
    return graph.union("route_findings", RouteFinding, parts).index("findings_by_route", lambda row: row.key[0])


def rejected_listener(fetch: Fetch, base: Base, gateway: str, addresses: Iterable[str], port: int) -> str:
    """Why proxies do not take the listener of a port; empty where they do. The caller reads ``base.rejections``."""
    keys = [(gateway, str(TypeUrl.LISTENER), listener_name(address, port)) for address in addresses]
    return next((words for key in keys if (words := fetch(base.rejections, key, view=_words))), "")


def _words(row: RejectedResource) -> str:
    kept = any(form.fallback_version for form in row.forms)
    served = "the form that it took last is served" if kept else "nothing is served there"
    return f"Envoy does not take it, {served}: {numbered(form.message for form in row.forms)}"
