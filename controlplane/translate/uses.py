"""Who names what: the reasons to serve a resource.

A use is a row, so what nothing uses any more is gone by itself, and nobody keeps a list of who refers to whom.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import msgspec

from controlplane.krt import Collection, Fetch, Graph
from controlplane.translate.resource import Encoded, Resource, TypeUrl


class Use(msgspec.Struct, frozen=True):
    """Something of a gateway names something else by name: a reason to serve it."""

    key: tuple[str, str, str, str]
    """Gateway, the name, and two words for who names it."""


class Demand(msgspec.Struct, frozen=True):
    """Something is wanted, by however many: their number is no reason to make it anew."""

    key: Any
    """What ``demand`` was given: a string or a tuple of strings."""


def demand(graph: Graph, name: str, wanting: Collection[Any], by: Callable[[Any], Any]) -> Collection[Demand]:
    """What the rows of a collection want, each once; None wants nothing."""
    counts = graph.count(f"{name}_counts", wanting, by=by)
    return graph.map(name, Demand, counts, lambda count, fetch: Demand(count.key))


def declare_uses(
    graph: Graph, name: str, rows: Collection[Any], uses_of: Callable[[Any], Iterable[tuple[str, ...]]]
) -> Collection[Use]:
    """Uses by the rows of a collection, of which nothing else is read."""

    def use(row: Any, fetch: Fetch) -> Iterator[Use]:
        for key in uses_of(row):
            yield Use(key)  # type: ignore[arg-type]

    return graph.map(name, Use, rows, use)


def find_used(graph: Graph, what: str, uses: Sequence[Collection[Use]]) -> Collection[Demand]:
    """What each gateway names, by (gateway, name)."""
    together = uses[0] if len(uses) == 1 else graph.union(f"{what}_uses", Use, tuple(uses))
    return demand(graph, f"used_{what}s", together, by=lambda use: use.key[:2])


def serve_shared(
    graph: Graph, name: str, used: Collection[Demand], shared: Collection[Encoded], type_url: TypeUrl
) -> Collection[Resource]:
    """What each gateway uses of the shared resources of a type."""

    def make(row: Demand, fetch: Fetch) -> Resource | None:
        gateway, key = row.key
        found = fetch(shared, key)
        return Resource((gateway, str(type_url), key), found.version, found.body) if found is not None else None

    return graph.map(name, Resource, used, make, reads=(shared,))
