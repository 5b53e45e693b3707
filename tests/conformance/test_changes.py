"""What a rule depends on comes and goes: after each change the state is the one that its manifests give from scratch."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from controlplane.log import MemoryLog
from controlplane.model.codec import EventCodec
from controlplane.model.events import (
    AnyEvent,
    ControlPlaneStarted,
    ObjectApplied,
    ObjectDeleted,
    Settings,
    SourceSynced,
)
from controlplane.model.objects import KINDS
from controlplane.model.references import ObjectReference
from controlplane.runtime.core import State
from controlplane.runtime.document import snapshot
from controlplane.sources import read_manifests

from .conftest import MakeSecret
from .manifests import (
    BACKENDS,
    Manifest,
    Served,
    backend,
    gateway,
    gateway_class,
    http_route,
    https,
    listener,
    manifest,
    reference_grant,
    rule,
    serve,
    service,
)


class Live:
    """A control plane that goes on: objects are applied and deleted one by one.

    Args:
        folder: For the manifests that it reads.
        objects: Those of the start, beside what ``serve`` adds.
    """

    def __init__(self, folder: Path, objects: Sequence[Manifest]) -> None:
        self._file = folder / "all.yaml"
        self._state = State()
        self._log: MemoryLog[AnyEvent] = MemoryLog(EventCodec())
        self._append("controlplane", [ControlPlaneStarted("0", Settings(), {"files": tuple(KINDS)})])
        kinds = tuple(KINDS)
        self._append("files", [*self._events([*objects, gateway_class(), *BACKENDS]), SourceSynced(kinds)])

    def apply(self, *objects: Manifest) -> None:
        self._append("files", self._events(objects))

    def delete(self, made: Manifest) -> None:
        metadata = made["metadata"]
        reference = ObjectReference(made["kind"], metadata.get("namespace", ""), metadata["name"])
        self._append("files", [ObjectDeleted(reference)])

    @property
    def served(self) -> Served:
        return Served(snapshot(self._state), (), ())

    def _events(self, objects: Sequence[Manifest]) -> list[AnyEvent]:
        self._file.write_text("\n---\n".join(json.dumps(made) for made in objects))
        events = list(read_manifests([self._file]).events)
        assert all(isinstance(event, ObjectApplied) for event in events)
        return events

    def _append(self, source: str, events: Sequence[AnyEvent]) -> None:
        self._state.apply(self._log.append(events, source=source))


GRANT = reference_grant("g", "other", [{"kind": "HTTPRoute", "namespace": "demo"}], [{"kind": "Service"}])
SELECTING = gateway(
    listener(allowedRoutes={"namespaces": {"from": "Selector", "selector": {"matchLabels": {"team": "red"}}}})
)
FROM_OTHER = http_route("r", rule(), namespace="other", parents=[{"name": "web", "namespace": "demo"}])


def namespace(team: str) -> Manifest:
    return manifest("Namespace", "v1", "other", None, metadata={"labels": {"team": team}})


COMING: dict[str, tuple[list[Manifest], list[Manifest], str, str]] = {
    # objects of the start, objects that come and go, where "/" leads without and with them
    "a ReferenceGrant": (
        [gateway(), http_route("r", rule(to=backend("v1", namespace="other"))), *service("v1", namespace="other")],
        [GRANT],
        "500",
        "other/v1",
    ),
    "a Service": ([gateway(), http_route("r", rule(to="late"))], service("late")[:1], "500", "503"),
    "a Service with endpoints": ([gateway(), http_route("r", rule(to="late"))], service("late"), "500", "late"),
    "an HTTPRoute": ([gateway()], [http_route("r", rule())], "404", "v1"),
    "a better HTTPRoute": ([gateway(), http_route("r", rule())], [http_route("a", rule(to="v2"))], "v1", "v2"),
    "a Gateway": ([http_route("r", rule())], [gateway()], "0", "v1"),
    "a namespace": ([SELECTING, FROM_OTHER, *service("v1", namespace="other")], [namespace("red")], "404", "other/v1"),
}


@pytest.mark.parametrize("what", COMING)
def test_what_a_route_needs_comes_and_goes(what: str, tmp_path: Path) -> None:
    start, extra, without, with_it = COMING[what]
    live = Live(tmp_path, start)
    before = live.served.document
    assert live.served.to() == without
    live.apply(*extra)
    assert live.served.to() == with_it
    # ``serve`` would add the Gateway that is the one to come.
    assert parts(live.served) == parts(serve(*start, *extra))
    for made in extra:
        live.delete(made)
    assert live.served.to() == without
    assert parts(live.served) == {part: before[part] for part in ("gateways", "statuses")}


def test_a_label_of_a_namespace_lets_its_routes_in_and_out(tmp_path: Path) -> None:
    live = Live(tmp_path, [SELECTING, FROM_OTHER, *service("v1", namespace="other"), namespace("blue")])
    for team, expected in (("blue", "404"), ("red", "other/v1"), ("blue", "404")):
        live.apply(namespace(team))
        assert live.served.to() == expected


def test_a_certificate_comes_is_rotated_and_goes(tmp_path: Path, make_secret: MakeSecret) -> None:
    live = Live(tmp_path, [gateway(https("https", "www.example.com", "cert")), http_route("r", rule())])

    def asked() -> str:
        return live.served.to(host="www.example.com", port=443, sni="www.example.com")

    first, second = make_secret("cert", "www.example.com"), make_secret("cert", "*.example.com")
    assert asked() == "0"
    live.apply(first)
    assert asked() == "v1"
    served = live.served
    live.apply(second)
    assert asked() == "v1"
    assert live.served.document["version"] != served.document["version"]
    live.delete(second)
    assert asked() == "0"
    assert live.served.listener("https")["ResolvedRefs"] == ("False", "InvalidCertificateRef")


def test_changes_in_any_order_end_in_the_same_state(tmp_path: Path) -> None:
    objects = [
        gateway(),
        GRANT,
        *service("v1", namespace="other"),
        http_route("r", rule(to=backend("v1", namespace="other"))),
    ]
    states = []
    for position, order in enumerate((objects, objects[::-1])):
        folder = tmp_path / str(position)
        folder.mkdir()
        live = Live(folder, [])
        for made in order:
            live.apply(made)
        states.append(parts(live.served))
    assert states[0] == states[1] == parts(serve(*objects))


def parts(served: Served) -> dict[str, object]:
    return {part: served.document[part] for part in ("gateways", "statuses")}
