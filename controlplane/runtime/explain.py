"""From a resource that is served to the events that it came from."""

from __future__ import annotations

from typing import Any

from controlplane.model.objects import KINDS
from controlplane.runtime.core import State
from controlplane.runtime.held import describe_rejection
from controlplane.runtime.rejections import walk
from controlplane.translate import Resource, TypeUrl
from controlplane.translate.resource import ClientResource


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


def explain(state: State, gateway: str, type_text: str, name: str, client: str | None = None) -> dict[str, Any]:
    """How a resource came about.

    Args:
        state: Where it is served.
        gateway: To whom.
        type_text: As ``find_type`` takes it.
        name: The resource's.
        client: The class of the gateway's clients to whom it is served; need not be said where there is one.

    Returns:
        ``{"resource": {...}, "events": [...], "derivation": {...}}``: the events, each once, by seq, as far as objects go;
        the derivation is the whole tree of rows. ``resource`` names the class of clients if it is not of all. ``rejection``
        says why it is not the newest form, where proxies do not take that.

    Raises:
        LookupError: The type or the resource does not exist, or is another one for each class of clients.
    """
    row = _find(state, gateway, type_text, name, client)
    if row is None:
        raise LookupError(_not_served(state, gateway, type_text, name))
    served = state.translation.resources if isinstance(row, Resource) else state.translation.client_resources
    tree = state.graph.explain(served.name, row.key)
    events = {}
    kinds = {state.rows.base.of_kind(kind).name: kind for kind in KINDS}
    for node in walk(tree):
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
    rejection = state.rows.base.rejections.get((gateway, str(find_type(type_text)), name))
    return {
        "resource": _describe(row),
        **({"rejection": describe_rejection(rejection)} if rejection is not None else {}),
        "events": sorted(events.values(), key=lambda event: (event["seq"], event["object"])),
        "derivation": tree.as_dict(),
    }


def _find(
    state: State, gateway: str, type_text: str, name: str, client: str | None
) -> Resource | ClientResource | None:
    type_url = str(find_type(type_text))
    shared = state.translation.resources.get((gateway, type_url, name))
    own = state.translation.client_resources
    row = shared if client is None else own.get((gateway, client, type_url, name)) or shared
    if row is not None:
        return row
    classes = [row.key[1] for row in state.rows.clients.classes.rows() if row.key[0] == gateway]
    found = [row for row in (own.get((gateway, known, type_url, name)) for known in classes) if row is not None]
    if len(found) > 1 or (found and client is not None):
        named = ", ".join(repr(row.key[1]) for row in found[:10])
        raise LookupError(
            f"gateway {gateway!r} is served {type_text} {name!r} in a form of its own for each class of clients; say which "
            f"with client=, one of {named}"
        )
    return found[0] if found else None


def _not_served(state: State, gateway: str, type_text: str, name: str) -> str:
    type_url = str(find_type(type_text))
    shared = [row.name for row in state.translation.resources.rows() if row.key[:2] == (gateway, type_url)]
    own = (row for row in state.translation.client_resources.rows() if (row.key[0], row.key[2]) == (gateway, type_url))
    names = list(dict.fromkeys([*shared, *(row.name for row in own)]))
    shown = ", ".join(names[:10]) or "nothing of that type"
    return f"gateway {gateway!r} is not served {type_text} {name!r}; it is served {shown}"


def _describe(row: Resource | ClientResource) -> dict[str, str]:
    if isinstance(row, Resource):
        gateway, type_url, name = row.key
        return {"gateway": gateway, "type": type_url, "name": name, "version": row.version}
    gateway, client, type_url, name = row.key
    return {"gateway": gateway, "client": client, "type": type_url, "name": name, "version": row.version}
