"""What proxies hold, reject and wait for, as documents for people; live and from a log the same."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from controlplane.krt import Commit
from controlplane.log import read_log
from controlplane.model.codec import EventCodec
from controlplane.model.events import SCHEMA_VERSION
from controlplane.model.served_names import short_type
from controlplane.reducers.proxies import Proxy, RejectedResource
from controlplane.runtime.core import State
from controlplane.runtime.offline import read_state

Document = dict[str, Any]
_DROPPED: Final = "nothing"


def describe_rejections(state: State) -> Document:
    """``{gateway: {type URL: {name: {...}}}}``: what is not offered because proxies reject it, and what is served instead."""
    found: Document = {}
    for row in state.rows.base.rejections.rows():
        gateway, type_url, name = row.key
        found.setdefault(gateway, {}).setdefault(type_url, {})[name] = describe_rejection(row)
    return found


def describe_rejection(row: RejectedResource) -> Document:
    """One of them: by version, or by route of a virtual host."""
    document: Document = {"seq": row.seq, "proxy": row.proxy, "origins": list(row.origins)}
    if row.forms:
        document["versions"] = {
            form.version: {"message": form.message, "served": form.fallback_version or _DROPPED} for form in row.forms
        }
    if row.parts:
        document["routes"] = {
            f"{part.name} {part.digest}": {
                "message": part.message,
                "served": "the form before" if part.fallback else _DROPPED,
            }
            for part in row.parts
        }
    return document


def describe_proxies(state: State) -> Document:
    """Each connected proxy: how far it is, which listeners it has in use, and what is withheld from it."""
    found: Document = {
        row.key: {
            "gateway": row.gateway,
            "acknowledged": row.acknowledged,
            "listeners": list(row.listeners),
        }
        for row in state.rows.base.proxies.rows()
    }
    for withheld in state.rows.base.withheld.rows():
        proxy, type_url, name = withheld.key
        if proxy in found:
            waiting = found[proxy].setdefault("withheld", {}).setdefault(type_url, {})
            waiting[name] = list(withheld.clusters)
    return found


def describe_streams(state: State, streams: Iterable[Document]) -> list[Document]:
    """What the server says of its streams, each with what its gateway is not offered because proxies reject it."""
    rejections = describe_rejections(state)
    return [
        {**stream, "rejected": rejections[stream["gateway"]]} if stream["gateway"] in rejections else stream
        for stream in streams
    ]


def held_by(log_dir: Path, seq: int) -> Document:
    """What each proxy held that was connected at a seq: names and versions, by type.

    A proxy holds what was served at the seq that it has acknowledged; what it rejects, and what is withheld from it, it holds
    in an earlier version, which is told as ``rejected`` and ``withheld``.

    Raises:
        LogError: There is no log, it is damaged, or it does not reach back that far.
        ControlPlaneError: No transaction ends at or before this seq.
    """
    state = read_state(log_dir, seq)
    proxies = {row.key: row for row in state.rows.base.proxies.rows()}
    served = _served_at(log_dir, proxies)
    rejected = {(*row.key, form.version) for row in state.rows.base.rejections.rows() for form in row.forms}
    document = describe_proxies(state)
    for key, proxy in proxies.items():
        resources, excluded = served.get(key), []
        if resources is None:
            document[key]["resources"] = {}
            continue
        waiting = document[key].get("withheld", {})
        types: Document = {}
        for (type_url, name), version in sorted(resources.items()):
            if (proxy.gateway, type_url, name, version) in rejected:
                excluded.append(f"{short_type(type_url)} {name}")
            elif name not in waiting.get(type_url, ()):
                types.setdefault(type_url, {})[name] = version
        document[key]["resources"] = types
        if excluded:
            document[key]["rejected"] = excluded
    return {"seq": state.seq, "proxies": document}


def _served_at(log_dir: Path, proxies: dict[str, Proxy]) -> dict[str, dict[tuple[str, str], str]]:
    """What each proxy was served at the seq that it has acknowledged, by type and name. Reads the log once."""
    waiting: dict[int, list[Proxy]] = {}
    for proxy in proxies.values():
        waiting.setdefault(proxy.acknowledged, []).append(proxy)
    found: dict[str, dict[tuple[str, str], str]] = {}
    state = State()

    def look(commit: Commit) -> None:
        for proxy in waiting.get(commit.seq, ()):
            found[proxy.key] = dict(_served_to(state, proxy))

    last = max(waiting, default=0)
    if last:
        items = read_log(log_dir, EventCodec(), from_segment="oldest", until=last, schema_version=SCHEMA_VERSION)
        state.take(items, look)
    return found


def _served_to(state: State, proxy: Proxy) -> Iterator[tuple[tuple[str, str], str]]:
    client = state.rows.clients.clients.get(proxy.key)
    for row in state.translation.resources.rows():
        if row.key[0] == proxy.gateway and row.is_served:
            yield row.key[1:], row.version
    for own in state.translation.client_resources.rows():
        if client is not None and own.key[0] == proxy.gateway and own.key[1] in client.class_names and own.is_served:
            yield own.key[2:], own.version
