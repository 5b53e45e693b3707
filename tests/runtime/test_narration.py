"""What the quickstart says about edits: each mistake once, where it is, and when it is over."""

from __future__ import annotations

from controlplane.log import MemoryLog
from controlplane.model.base import ObjectMeta
from controlplane.model.codec import EventCodec
from controlplane.model.decode import Decoded, decode_object
from controlplane.model.events import (
    AnyEvent,
    ControlPlaneStarted,
    ListenerFailed,
    ListenerRecovered,
    ObjectAccepted,
    ObjectApplied,
    ObjectRejected,
    ProxyConnected,
    ProxyRejected,
    Settings,
    SourceAvailable,
    SourceSynced,
    SourceUnavailable,
)
from controlplane.model.kubernetes import Namespace
from controlplane.model.objects import KINDS
from controlplane.model.references import FieldProblem, ObjectReference
from controlplane.runtime.core import State
from controlplane.runtime.narration import narrate
from tests.reducers.manifests import working_set


def test_each_change_is_told_once_in_words() -> None:
    log: MemoryLog[AnyEvent] = MemoryLog(EventCodec())
    state = State()

    def say(*events: AnyEvent) -> list[tuple[str, str]]:
        commit = state.apply(log.append(events, source="files"))
        return [(line.kind, line.text) for line in narrate(state, commit)]

    outcomes = [decode_object(raw) for raw in working_set()]
    objects = [
        ObjectApplied(outcome.object, origin="all.yaml:1") for outcome in outcomes if isinstance(outcome, Decoded)
    ]
    started = ControlPlaneStarted(version="t", settings=Settings(), sources={"files": tuple(KINDS)})
    first = say(started, *objects, SourceSynced(tuple(KINDS)))
    assert [kind for kind, _ in first] == ["wrong", "served"]
    assert "Gateway alpha/edge: listener three: Secret alpha/cert1 does not exist" in first[0][1]
    assert "2 Cluster, 2 ClusterLoadAssignment, 2 Listener" in first[1][1]

    reference = ObjectReference("HTTPRoute", "alpha", "r1")
    wrong = FieldProblem("spec.rules", "wrong", "mend it")
    expected = "all.yaml:9: HTTPRoute alpha/r1: spec.rules: wrong; mend it; its last good form is served"
    assert say(ObjectRejected(reference, (wrong,), "all.yaml:9")) == [("wrong", expected)]
    assert say(ObjectAccepted(reference)) == [("mended", "HTTPRoute alpha/r1 is good again")]

    assert say(SourceUnavailable("b.yaml", "b.yaml:1:1: no")) == [
        ("wrong", "b.yaml:1:1: no; what it held before is served")
    ]
    assert say(SourceAvailable("b.yaml")) == [("mended", "b.yaml can be read again")]

    unknown = FieldProblem("metadata.lables", "unknown field", "did you mean labels?")
    applied = ObjectApplied(Namespace(metadata=ObjectMeta(name="x")), origin="c.yaml:2", warnings=(unknown,))
    assert say(applied) == [("note", "c.yaml:2: Namespace x: metadata.lables: unknown field; did you mean labels?")]
    assert say(applied) == []

    failed = say(ListenerFailed("alpha/edge", "0.0.0.0", 8080, "taken by nginx"))
    assert ("wrong", "Gateway alpha/edge: listener one: taken by nginx") in failed
    recovered = say(ListenerRecovered("alpha/edge", "0.0.0.0", 8080))
    assert ("mended", "Gateway alpha/edge: listener one is programmed") in recovered

    connected = ProxyConnected(proxy="p", node="n", gateway="alpha/edge")
    rejected = ProxyRejected("p", "alpha/edge", "t", ("http~8080/a",), "no such thing")
    assert say(connected, rejected) == [("wrong", "an Envoy of alpha/edge rejected http~8080/a: no such thing")]
