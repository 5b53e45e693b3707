"""Whatever happens, and in whatever order: the state is what a fresh control plane would make of the same objects."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import msgspec
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from controlplane.log import MemoryLog, Transaction
from controlplane.model.base import ObjectMeta
from controlplane.model.codec import EventCodec
from controlplane.model.decode import Decoded, Rejected, decode_object
from controlplane.model.events import (
    AnyEvent,
    ControlPlaneStarted,
    ListenerFailed,
    ListenerRecovered,
    ObjectApplied,
    ObjectDeleted,
    ObjectRejected,
    ProxyConnected,
    ProxyDisconnected,
    Settings,
    SourceSynced,
)
from controlplane.model.kubernetes import Secret
from controlplane.model.objects import KINDS, KubernetesObject
from controlplane.model.references import FieldProblem, ObjectReference
from controlplane.runtime.core import State
from controlplane.runtime.document import snapshot
from controlplane.translate import TypeUrl
from tests.reducers.istio_manifests import LOCALITIES, VERSIONS, mesh_manifests, mesh_working_set
from tests.reducers.manifests import NAMESPACES, SECRETS

_HISTORY = ("settings", "source_kinds", "source_parts", "reports", "proxies", "proxy_rejections")
"""Collections whose rows say when something was, which differs between two histories of one state."""


def certificate(name: str, namespace: str, digest: str) -> Secret:
    return Secret(
        metadata=ObjectMeta(name=name, namespace=namespace),
        type="kubernetes.io/tls",
        certificate_chain="certificate",
        key_digest=f"sha256:{digest}",
        pair_digest=f"sha256:{digest}" if digest else None,
    )


secrets = st.builds(
    certificate,
    st.sampled_from(SECRETS),
    st.sampled_from(NAMESPACES),
    st.sampled_from(["", "aa", "bb"]),
)


def reference_to(obj: KubernetesObject) -> ObjectReference:
    return ObjectReference(obj.kind, obj.metadata.namespace, obj.metadata.name)


def started(infra: str) -> ControlPlaneStarted:
    address = "127.0.0.1" if infra == "host" else "0.0.0.0"
    made = Settings(infra=infra, listen_address=address)  # type: ignore[arg-type]
    return ControlPlaneStarted(version="test", settings=made, sources={"files": tuple(KINDS)})


def visible(state: State) -> dict[str, Any]:
    """Every row of every collection, but for those that are history."""
    return {c.name: c.rows() for c in state.graph.collections if c.name not in _HISTORY}


def served(document: dict[str, Any]) -> tuple[str, bytes]:
    """What everybody is served, and what each class of clients is."""
    return document["version"], msgspec.json.encode(document.get("clients"), order="deterministic")


class Incremental(RuleBasedStateMachine):
    """Random transactions; after each, everything equals the same objects folded from nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.log: MemoryLog[AnyEvent] = MemoryLog(EventCodec())
        self.state = State()
        self.objects: dict[ObjectReference, KubernetesObject] = {}
        self.rejected: dict[ObjectReference, tuple[FieldProblem, ...]] = {}
        self.failed: set[tuple[str, str, int]] = set()
        self.proxies: dict[str, ProxyConnected] = {}
        self.infra = "none"
        self.versions: dict[int, tuple[str, bytes]] = {}

    def append(self, *events: AnyEvent) -> None:
        self.state.apply(self.log.append(events, source="files"))
        for event in events:
            match event:
                case ObjectApplied(obj):
                    self.objects[reference_to(obj)] = obj
                    self.rejected.pop(reference_to(obj), None)
                case ObjectDeleted(reference):
                    self.objects.pop(reference, None)
                    self.rejected.pop(reference, None)
                case ObjectRejected(reference, errors):
                    self.rejected[reference] = errors

    @initialize(infra=st.sampled_from(["none", "host"]))
    def start(self, infra: str) -> None:
        self.infra = infra
        self.append(started(infra), SourceSynced(tuple(KINDS)))
        self.apply(mesh_working_set())
        self.append(ObjectApplied(certificate("cert1", "alpha", "aa")))
        types = {row.key[1] for row in self.state.translation.resources.rows()}
        assert types == set(TypeUrl), "the working set has every type of resource"
        rows = self.state.rows
        assert self.state.translation.client_resources.rows(), "and some that depend on who asks"
        assert {len(c.rows()) > 0 for c in (rows.waypoints.chains, rows.waypoints.routes, rows.waypoints.ingress)} == {
            True
        }

    @rule(raws=st.lists(mesh_manifests, min_size=1, max_size=4))
    def apply(self, raws: list[dict[str, Any]]) -> None:
        events: dict[ObjectReference, AnyEvent] = {}
        for raw in raws:
            match decode_object(raw):
                case Decoded(object=obj, warnings=warnings, unsupported=unsupported):
                    events[reference_to(obj)] = ObjectApplied(obj, warnings=warnings, unsupported=unsupported)
                case Rejected(reference=reference, errors=errors):
                    events[reference] = ObjectRejected(reference, errors)
        if events:
            self.append(*events.values())

    @rule(made=st.lists(secrets, min_size=1, max_size=2, unique_by=reference_to))
    def apply_secrets(self, made: list[Secret]) -> None:
        self.append(*map(ObjectApplied, made))

    @precondition(lambda self: self.objects or self.rejected)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        known = sorted(self.objects.keys() | self.rejected.keys())
        gone = data.draw(st.lists(st.sampled_from(known), min_size=1, max_size=3, unique=True))
        self.append(*map(ObjectDeleted, gone))

    @precondition(lambda self: self.objects)
    @rule(data=st.data())
    def reject(self, data: st.DataObject) -> None:
        reference = data.draw(st.sampled_from(sorted(self.objects)))
        self.append(ObjectRejected(reference, (FieldProblem("spec", "is wrong", "mend it"),)))

    @rule(
        port=st.sampled_from([8080, 8443]), gateway=st.sampled_from(["alpha/edge", "beta/inner"]), fails=st.booleans()
    )
    def fail_listener(self, port: int, gateway: str, fails: bool) -> None:
        key = (gateway, "127.0.0.1" if self.infra == "host" else "0.0.0.0", port)
        if fails:
            self.append(ListenerFailed(*key, "taken"))
            self.failed.add(key)
        else:
            self.append(ListenerRecovered(*key))
            self.failed.discard(key)

    @rule(
        number=st.integers(1, 3),
        node=st.sampled_from(["proxy1.alpha", "pod1.beta", "unknown.beta", "machine"]),
        gateway=st.sampled_from(["alpha/edge", "alpha/edge", "alpha/wp", "beta/inner"]),
        locality=st.sampled_from(LOCALITIES),
        version=st.sampled_from(VERSIONS),
    )
    def connect(self, number: int, node: str, gateway: str, locality: str, version: str) -> None:
        labels = (("version", version),)
        event = ProxyConnected(proxy=f"{node}#{number}", node=node, gateway=gateway, locality=locality, labels=labels)
        self.append(event)
        self.proxies[event.proxy] = event

    @precondition(lambda self: self.proxies)
    @rule(data=st.data())
    def disconnect(self, data: st.DataObject) -> None:
        proxy = data.draw(st.sampled_from(sorted(self.proxies)))
        self.append(ProxyDisconnected(proxy))
        del self.proxies[proxy]

    @rule()
    def restart(self) -> None:
        self.append(started(self.infra))
        assert not self.state.translation.resources.synced
        self.append(SourceSynced(tuple(KINDS)))
        self.failed.clear()
        self.proxies.clear()

    @rule()
    def continue_from_checkpoint(self) -> None:
        """A reader that begins with the checkpoint of a segment goes on exactly as the writer does."""
        taken = State()
        taken.restore(self.state.checkpoint())
        assert visible(taken) == visible(self.state)
        assert taken.checkpoint() == self.state.checkpoint()
        self.state = taken

    @invariant()
    def equals_from_scratch(self) -> None:
        if not self.state.seq:
            return
        assert self.state.graph.failures() == ()
        log: MemoryLog[AnyEvent] = MemoryLog(EventCodec())
        fresh = State()
        applied = [ObjectApplied(obj) for obj in reversed(self.objects.values())]
        # Remarks are part of the state as well; take them from where they were recorded.
        reports = {row.key: row for row in self.state.rows.base.reports.rows()}
        events: list[AnyEvent] = [started(self.infra)]
        for event in applied:
            report = reports[f"{event.object.kind} {event.object.key}"]
            events.append(msgspec.structs.replace(event, warnings=report.warnings, unsupported=report.unsupported))
        events += [ObjectRejected(reference, errors) for reference, errors in self.rejected.items()]
        events += [ListenerFailed(*key, "taken") for key in sorted(self.failed)]
        events += reversed(self.proxies.values())
        fresh.apply(log.append([*events, SourceSynced(tuple(KINDS))], source="files"))
        mine, theirs = visible(self.state), visible(fresh)
        for name, rows in mine.items():
            assert rows == theirs[name], name
        document = snapshot(self.state)
        scratch = snapshot(fresh)
        assert served(document) == served(scratch)
        self.versions[self.state.seq] = served(document)

    def teardown(self) -> None:
        """The log gives every version again, at the seq at which it was."""
        state = State()
        for item in self.log.read():
            if isinstance(item, Transaction):
                state.apply(item)
                if state.seq in self.versions:
                    assert served(snapshot(state)) == self.versions[state.seq]


TestIncremental = Incremental.TestCase
TestIncremental.settings = settings(
    max_examples=int(os.environ.get("CONTROLPLANE_EXAMPLES", "60")),
    stateful_step_count=12,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)

_SCENARIO = """
import random
from hypothesis import settings, HealthCheck, given, seed, Phase
from hypothesis import strategies as st
from controlplane.log import MemoryLog
from controlplane.model.codec import EventCodec
from controlplane.model.decode import Decoded, decode_object
from controlplane.model.events import ObjectApplied, SourceSynced
from controlplane.model.objects import KINDS
from controlplane.runtime.core import State
from controlplane.runtime.document import render, snapshot
from tests.reducers.istio_manifests import mesh_manifests, mesh_working_set
from tests.reducers.test_incremental import started
import hashlib
digest = hashlib.sha256()
@seed(7)
@settings(max_examples=40, database=None, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
@given(st.lists(mesh_manifests, min_size=5, max_size=15))
def run(raws):
    log, state = MemoryLog(EventCodec()), State()
    state.apply(log.append([started("none"), SourceSynced(tuple(KINDS))], source="files"))
    for raw in [*mesh_working_set(), *raws]:
        outcome = decode_object(raw)
        if isinstance(outcome, Decoded):
            commit = state.apply(log.append([ObjectApplied(outcome.object)], source="files"))
            digest.update(repr([(name, list(delta.items())) for name, delta in commit.deltas.items()]).encode())
    digest.update(state.checkpoint())
    digest.update(render(snapshot(state), "json").encode())
run()
print(digest.hexdigest())
"""


def test_the_same_log_gives_the_same_bytes_under_any_hash_seed() -> None:
    """Rows, their order, deltas, checkpoints and documents do not depend on how Python hashes."""
    digests = []
    for hash_seed in ("1", "2"):
        found = subprocess.run(
            [sys.executable, "-c", _SCENARIO],
            env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.pathsep.join(["."])},
            capture_output=True,
            text=True,
            check=False,
        )
        assert found.returncode == 0, found.stderr
        digests.append(found.stdout.strip())
    assert digests[0] == digests[1]
    assert len(digests[0]) == 64
