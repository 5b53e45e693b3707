"""The one document of what is served: live, replayed and translated, the same bytes for the same state.

``{"seq": N, "version": hex, "gateways": {"ns/name": {type URL: {resource name: {"version": hex, "resource": {...}}}}},
"statuses": {"Kind ns/name": {...}}}``, keys sorted, resources in protobuf's JSON form. ``version`` hashes ``gateways`` and
``statuses`` and nothing else; neither holds a clock.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from hashlib import blake2b
from typing import Any, Literal

import orjson
import yaml

from controlplane.runtime.core import State
from controlplane.translate.document import to_document

Document = dict[str, Any]
Format = Literal["json", "yaml"]


@lru_cache(maxsize=8_192)
def _resource(type_url: str, body: bytes) -> dict[str, Any]:
    return to_document(type_url, body)


def snapshot(state: State) -> Document:
    """The document of a state. Cost: O(everything served)."""
    gateways: dict[str, dict[str, dict[str, Any]]] = {}
    for row in state.translation.resources.rows():
        gateway, type_url, name = row.key
        entry = {"version": row.version, "resource": _resource(type_url, row.body)}
        gateways.setdefault(gateway, {}).setdefault(type_url, {})[name] = entry
    statuses = {row.key: orjson.loads(row.document) for row in state.rows.statuses.rows()}
    return {"seq": state.seq, "version": version_of(gateways, statuses), "gateways": gateways, "statuses": statuses}


def version_of(gateways: Document, statuses: Document) -> str:
    """The hash of what is served and said: 32 hexadecimal digits."""
    content = orjson.dumps({"gateways": gateways, "statuses": statuses}, option=orjson.OPT_SORT_KEYS)
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
    """The part of a document that one gateway is served; statuses stay as they are, and so does the version.

    Raises:
        LookupError: It is served nothing.
    """
    return {**document, "gateways": {gateway: document["gateways"][gateway]}}


def _leaves(document: Document) -> dict[str, Any]:
    found = {
        f"{gateway} {type_url.rpartition('.')[2]} {name}": entry["resource"]
        for gateway, types in document["gateways"].items()
        for type_url, resources in types.items()
        for name, entry in resources.items()
    }
    found.update({f"status {key}": value for key, value in document["statuses"].items()})
    return found


def compare(before: Document, after: Document) -> Iterable[tuple[str, Any, Any]]:
    """What differs between two documents: (name, before, after), sorted by name; None stands for absent."""
    old, new = _leaves(before), _leaves(after)
    for name in sorted(old.keys() | new.keys()):
        if old.get(name) != new.get(name):
            yield name, old.get(name), new.get(name)
