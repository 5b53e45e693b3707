"""A mesh that is edited: after each edit, what is served is what a fresh control plane makes of the same manifests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from controlplane.log import MemoryLog
from controlplane.model.codec import EventCodec
from controlplane.model.decode import Decoded, decode_object
from controlplane.model.events import (
    AnyEvent,
    ControlPlaneStarted,
    ObjectApplied,
    ObjectDeleted,
    ProxyConnected,
    ProxyDisconnected,
    Settings,
    SourceSynced,
)
from controlplane.model.objects import KINDS
from controlplane.model.references import ObjectReference
from controlplane.runtime.core import State
from controlplane.runtime.document import snapshot
from tests.conformance.manifests import Manifest, gateway_class
from tests.conformance.messages import Json

from .mesh import NS, Objects, View, flat

_STARTED = ControlPlaneStarted(version="test", settings=Settings(), sources={"files": tuple(KINDS)})


class History:
    """A control plane's state under edits.

    Args:
        objects: Manifests that are there at first; our two classes are added.
    """

    def __init__(self, *objects: Objects) -> None:
        self._log: MemoryLog[AnyEvent] = MemoryLog(EventCodec())
        self._state = State()
        self._objects: dict[ObjectReference, ObjectApplied] = {}
        self._proxies: dict[str, ProxyConnected] = {}
        self._append(_STARTED, SourceSynced(tuple(KINDS)))
        self.put(gateway_class(), gateway_class("controlplane-waypoint"), objects)

    def put(self, *objects: Objects) -> None:
        """Creates or replaces these, in one transaction."""
        events = [_applied(each) for each in flat(objects)]
        self._objects |= {_reference(each): each for each in events}
        self._append(*events)
        self._compare()

    def take(self, *objects: Objects) -> None:
        """Deletes these, in one transaction."""
        gone = [_reference(_applied(each)) for each in flat(objects)]
        for each in gone:
            del self._objects[each]
        self._append(*map(ObjectDeleted, gone))
        self._compare()

    def connect(
        self, proxy: str, node: str, locality: str = "", labels: Mapping[str, str] | None = None, name: str = "web"
    ) -> None:
        """A stream of a proxy: of a Pod ``{name}.{namespace}``, of a Gateway of ``gwtest``, and what its xDS node says."""
        named = tuple(sorted((labels or {}).items()))
        event = ProxyConnected(proxy=proxy, node=node, gateway=f"{NS}/{name}", locality=locality, labels=named)
        self._proxies[proxy] = event
        self._append(event)
        self._compare()

    def disconnect(self, proxy: str) -> None:
        """The stream ends."""
        del self._proxies[proxy]
        self._append(ProxyDisconnected(proxy))
        self._compare()

    def view(self, name: str = "web") -> View:
        """What a Gateway is served that has no proxies, or whose proxies are of one class."""
        return View(snapshot(self._state), f"{NS}/{name}")

    def classes(self, name: str = "web") -> dict[str, dict[str, dict[str, Json]]]:
        """What each class of a Gateway's clients is served of its own, by type and name."""
        found = snapshot(self._state).get("clients", {}).get(f"{NS}/{name}", {})
        return {
            key: {url: {each: item["resource"] for each, item in named.items()} for url, named in own.items()}
            for key, own in found.items()
        }

    def _append(self, *events: AnyEvent) -> None:
        if not events:
            return
        self._state.apply(self._log.append(events, source="files"))
        assert self._state.graph.failures() == ()

    def _compare(self) -> None:
        fresh, log = State(), MemoryLog[AnyEvent](EventCodec())
        events: list[AnyEvent] = [_STARTED, *reversed(self._objects.values()), *reversed(self._proxies.values())]
        fresh.apply(log.append([*events, SourceSynced(tuple(KINDS))], source="files"))
        assert _served(self._state) == _served(fresh)


def _served(state: State) -> Mapping[str, Any]:
    return {key: value for key, value in snapshot(state).items() if key != "seq"}


def _applied(manifest: Manifest) -> ObjectApplied:
    outcome = decode_object(manifest)
    assert isinstance(outcome, Decoded), outcome
    return ObjectApplied(outcome.object, warnings=outcome.warnings, unsupported=outcome.unsupported)


def _reference(event: ObjectApplied) -> ObjectReference:
    made = event.object
    return ObjectReference(made.kind, made.metadata.namespace, made.metadata.name)
