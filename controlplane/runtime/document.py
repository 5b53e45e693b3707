"""The one document of what is served: live, replayed and translated, the same bytes for the same state.

``{"seq": N, "version": hex, "gateways": {"ns/name": {type URL: {resource name: {"version": hex, "resource": {...}}}}},
"clients": {"ns/name": {class: {type URL: {resource name: {...}}}}}, "statuses": {"Kind ns/name": {...}}, "rejections": {...},
"proxies": {...}}``, keys sorted, resources in protobuf's JSON form.

``gateways`` has what all clients of a gateway share, ``clients`` what each class of them gets beside it; ``rejections`` what is
not among them because proxies do not take it, ``proxies`` how far each of them is. Of these three, what is empty is left out.
``version`` hashes ``gateways`` and nothing else. It holds no clock, and does not depend on which proxies are connected, as a
status may (a listener is programmed once a proxy has it); so two control planes of the same objects have one version, whoever
is connected to them. What classes of clients are served is compared resource by resource: each has a version of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from hashlib import blake2b
from typing import Any, Literal

import orjson
import yaml

from controlplane.runtime.core import State
from controlplane.runtime.held import describe_proxies, describe_rejections
from controlplane.translate.document import to_document
from controlplane.translate.resource import ClientResource, Resource

Document = dict[str, Any]
Format = Literal["json", "yaml"]


@lru_cache(maxsize=8_192)
def _resource(type_url: str, body: bytes) -> dict[str, Any]:
    return to_document(type_url, body)


def snapshot(state: State) -> Document:
    """The document of a state, for whoever is connected in it. Cost: O(everything served).

    A gateway without a proxy has one class all the same, of a client of which nothing is known. ``for_only_client`` makes of
    this what such a client sees.
    """
    gateways: Document = {}
    for shared in state.translation.resources.rows():
        gateway, type_url, name = shared.key
        if shared.is_served:
            gateways.setdefault(gateway, {}).setdefault(type_url, {})[name] = _entry(type_url, shared)
    clients: Document = {}
    for own in state.translation.client_resources.rows():
        gateway, client, type_url, name = own.key
        if not own.is_served:
            continue
        types = clients.setdefault(gateway, {}).setdefault(client, {})
        types.setdefault(type_url, {})[name] = _entry(type_url, own)
    statuses = {row.key: orjson.loads(row.document) for row in state.rows.statuses.rows()}
    document = {"seq": state.seq, "version": version_of(gateways), "gateways": gateways, "statuses": statuses}
    more = {"clients": clients, "rejections": describe_rejections(state), "proxies": describe_proxies(state)}
    return document | {name: part for name, part in more.items() if part}


def _entry(type_url: str, row: Resource | ClientResource) -> Document:
    return {"version": row.version, "resource": _resource(type_url, row.body)}


def for_only_client(document: Document) -> Document:
    """What the clients of each gateway see of a document in which they are all of one class: its resources under ``gateways``.

    The version stays that of the document: a translation for another client has the same. A gateway whose clients are of
    several classes stays as it is.
    """
    gateways = dict(document["gateways"])
    several = {}
    for gateway, classes in document.get("clients", {}).items():
        if len(classes) > 1:
            several[gateway] = classes
            continue
        for own in classes.values():
            types = dict(gateways.get(gateway, {}))
            for type_url, resources in own.items():
                types[type_url] = types.get(type_url, {}) | resources
            gateways[gateway] = types
    rest = {key: value for key, value in document.items() if key != "clients"} | {"gateways": gateways}
    return rest | {"clients": several} if several else rest


def version_of(gateways: Document) -> str:
    """The hash of what is served to all: 32 hexadecimal digits."""
    content = orjson.dumps(gateways, option=orjson.OPT_SORT_KEYS)
    return blake2b(content, digest_size=16).hexdigest()


class _Dumper(yaml.CSafeDumper):
    """Writes what stands twice twice: a person reads this."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def render(document: Document, form: Format) -> str:
    """The document as text, keys sorted, with a newline at the end."""
    if form == "yaml":
        return yaml.dump(document, Dumper=_Dumper, sort_keys=True, allow_unicode=True, width=120)
    return orjson.dumps(
        document, option=orjson.OPT_SORT_KEYS | orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
    ).decode()


def only_gateway(document: Document, gateway: str) -> Document:
    """The part of a document that one gateway and its clients are served; statuses stay as they are, and so does the version.

    Raises:
        LookupError: It is served nothing.
    """
    parts = {
        key: {gateway: document[key][gateway]} for key in ("gateways", "clients") if gateway in document.get(key, {})
    }
    if not parts:
        raise LookupError(gateway)
    rest = {key: value for key, value in document.items() if key != "clients"}
    return {**rest, "gateways": {}, **parts}


def _leaves(document: Document) -> Document:
    found = {f"status {key}": value for key, value in document["statuses"].items()}
    for gateway, types in document["gateways"].items():
        found.update(_resources(gateway, types))
    for gateway, classes in document.get("clients", {}).items():
        for client, types in classes.items():
            found.update(_resources(f"{gateway} [{client}]", types))
    return found


def _resources(owner: str, types: Document) -> Iterator[tuple[str, Any]]:
    for type_url, resources in types.items():
        for name, entry in resources.items():
            yield f"{owner} {type_url.rpartition('.')[2]} {name}", entry["resource"]


def compare(before: Document, after: Document) -> Iterable[tuple[str, Any, Any]]:
    """What differs between two documents: (name, before, after), sorted by name; None stands for absent.

    A name is ``gateway type name``, ``gateway [class] type name`` for what a class of clients gets, or ``status object``.
    """
    old, new = _leaves(before), _leaves(after)
    for name in sorted(old.keys() | new.keys()):
        if old.get(name) != new.get(name):
            yield name, old.get(name), new.get(name)
