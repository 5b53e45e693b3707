"""From a resource that is served to the events that it came from."""

from __future__ import annotations

from typing import Any

from controlplane.krt import Explanation
from controlplane.model.objects import KINDS
from controlplane.runtime.core import State
from controlplane.translate import TypeUrl


def find_type(text: str) -> TypeUrl:
    """A type URL by itself or by its last part (``Cluster``, ``VirtualHost``), whatever the case.

    Raises:
        LookupError: There is none; the message names all.
    """
    for type_url in TypeUrl:
        if text.lower() in (type_url.lower(), type_url.rpartition(".")[2].lower()):
            return type_url
    names = ", ".join(t.rpartition(".")[2] for t in TypeUrl)
    raise LookupError(f"type {text!r} is none of {names}; name one of them, or its type URL")


def explain(state: State, gateway: str, type_text: str, name: str) -> dict[str, Any]:
    """How a resource came about.

    Returns:
        ``{"resource": {...}, "events": [...], "derivation": {...}}``: the events, each once, by seq, as far as objects go;
        the derivation is the whole tree of rows.

    Raises:
        LookupError: The type or the resource does not exist.
    """
    type_url = find_type(type_text)
    key = (gateway, str(type_url), name)
    row = state.translation.resources.get(key)
    if row is None:
        served = [r.name for r in state.translation.resources.rows() if r.key[:2] == key[:2]]
        shown = ", ".join(served[:10]) or "nothing of that type"
        raise LookupError(f"gateway {gateway!r} is not served {type_text} {name!r}; it is served {shown}")
    tree = state.graph.explain("resources", key)
    events = {}
    kinds = {state.rows.base.of_kind(kind).name: kind for kind in KINDS}
    for node in _walk(tree):
        report = (
            state.rows.base.reports.get(f"{kinds[node.collection]} {node.key}") if node.collection in kinds else None
        )
        if report is not None:
            events[report.key] = {
                "seq": report.seq,
                "object": report.key,
                "source": report.source,
                "origin": report.origin,
                "resourceVersion": report.resource_version,
            }
    return {
        "resource": {"gateway": gateway, "type": str(type_url), "name": name, "version": row.version},
        "events": sorted(events.values(), key=lambda event: (event["seq"], event["object"])),
        "derivation": tree.as_dict(),
    }


def _walk(tree: Explanation) -> list[Explanation]:
    found = [tree]
    for node in found:
        found.extend(node.inputs)
    return found
