"""An edge that is moved: there, and back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tests.conformance.manifests import Manifest

from .history import History
from .mesh import View, service, slice_of

Seen = Callable[[View], Any]


def endpoint(ip: str, **fields: Any) -> Manifest:
    """An endpoint of an EndpointSlice."""
    return {"addresses": [ip], **fields}


def behind(name: str, ip: str, **fields: Any) -> Manifest:
    """The EndpointSlice of a Service, of one endpoint."""
    return slice_of(name, [endpoint(ip)], **fields)


REVIEWS: Sequence[Manifest] = (service(), behind("reviews", "10.0.0.1"))


def sockets(found: View) -> list[str]:
    """Of the one cluster there is."""
    (cluster,) = found.clusters
    return found.sockets(cluster)


def check(
    start: list[Manifest],
    put: list[Manifest],
    take: list[Manifest],
    seen: Seen,
    before: Any,
    after: Any,
    of: str = "web",
) -> None:
    """What is seen of a Gateway changes with the edit, and changes back with its opposite.

    Args:
        start: What is there.
        put: What the edit creates or replaces.
        take: What it deletes.
        seen: What is looked at.
        before: What it is at first, and at last.
        after: What it is between.
        of: The Gateway.
    """
    there = {_key(each): each for each in start}
    history = History(start)
    assert seen(history.view(of)) == before
    history.put(put)
    history.take(take)
    assert seen(history.view(of)) == after
    history.put([there[_key(each)] for each in put if _key(each) in there], take)
    history.take([each for each in put if _key(each) not in there])
    assert seen(history.view(of)) == before


def _key(made: Manifest) -> tuple[str, str | None, str]:
    return made["kind"], made["metadata"].get("namespace"), made["metadata"]["name"]
