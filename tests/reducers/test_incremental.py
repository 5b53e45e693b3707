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
    DeliveryResumed,
    DeliveryWithheld,
    ListenerFailed,
    ListenerRecovered,
    ObjectApplied,
    ObjectDeleted,
    ObjectRejected,
    ProxyAcknowledged,
    ProxyConnected,
    ProxyDisconnected,
    RejectedPart,
    RejectionEnded,
    ResourceRejected,
    Settings,
    SourceSynced,
)
from controlplane.model.kubernetes import Secret
from controlplane.model.objects import KINDS, KubernetesObject
from controlplane.model.references import FieldProblem, ObjectReference
from controlplane.reducers.proxies import RejectedResource
from controlplane.runtime.core import State
from controlplane.runtime.document import snapshot
from controlplane.runtime.rejections import end
from controlplane.translate import TypeUrl, clusters_of_route
from controlplane.translate.held import EndedRejection
from controlplane.translate.resource import content_version
from tests.reducers.istio_manifests import LOCALITIES, VERSIONS, mesh_manifests, mesh_working_set
from tests.reducers.manifests import NAMESPACES, SECRETS
from tests.reducers.rejecting import routes_of

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


def started(infra: str, *, observe: bool = False) -> ControlPlaneStarted:
    address = "127.0.0.1" if infra == "host" else "0.0.0.0"
    made = Settings(infra=infra, listen_address=address, observe_proxies=observe)  # type: ignore[arg-type]
    return ControlPlaneStarted(version="test", settings=made, sources={"files": tuple(KINDS)})


def visible(state: State) -> dict[str, Any]:
    """Every row of every collection, but for those that are history."""
    return {c.name: [_timeless(r) for r in c.rows()] for c in state.graph.collections if c.name not in _HISTORY}


def _timeless(row: Any) -> Any:
    """A row without the seq of the event that it came from."""
    return msgspec.structs.replace(row, seq=0) if isinstance(row, RejectedResource | EndedRejection) else row


def served(document: dict[str, Any]) -> tuple[str, bytes]:
    """What everybody is served, what each class of clients is, and what is said."""
    more = [document.get("clients"), document["statuses"]]
    return document["version"], msgspec.json.encode(more, order="deterministic")


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
        self.rejections: dict[tuple[str, str, str], list[ResourceRejected]] = {}
        self.withheld: dict[tuple[str, str, str], DeliveryWithheld] = {}
        self.acknowledged: dict[str, ProxyAcknowledged] = {}
        self.infra = "none"
        self.observe = False
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
                case ResourceRejected(gateway, type_url, name):
                    self.rejections.setdefault((gateway, type_url, name), []).append(event)
                case RejectionEnded(gateway, type_url, name):
                    self.rejections.pop((gateway, type_url, name), None)

    @initialize(infra=st.sampled_from(["none", "host"]), observe=st.booleans())
    def start(self, infra: str, observe: bool) -> None:
        self.infra, self.observe = infra, observe
        self.append(started(infra, observe=observe), SourceSynced(tuple(KINDS)))
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
        self.acknowledged.pop(event.proxy, None)

    @precondition(lambda self: self.proxies)
    @rule(data=st.data())
    def disconnect(self, data: st.DataObject) -> None:
        proxy = data.draw(st.sampled_from(sorted(self.proxies)))
        self.append(ProxyDisconnected(proxy))
        del self.proxies[proxy]
        self.acknowledged.pop(proxy, None)
        self.withheld = {key: event for key, event in self.withheld.items() if key[0] != proxy}

    @precondition(lambda self: self.proxies)
    @rule(data=st.data(), port=st.sampled_from([8080, 8443]))
    def acknowledge(self, data: st.DataObject, port: int) -> None:
        proxy = data.draw(st.sampled_from(sorted(self.proxies)))
        address = "127.0.0.1" if self.infra == "host" else "0.0.0.0"
        event = ProxyAcknowledged(proxy, self.state.seq, (f"listener~{address}~{port}",))
        self.append(event)
        self.acknowledged[proxy] = event

    @precondition(lambda self: self.state.translation.resources.rows())
    @rule(data=st.data(), kept=st.sampled_from(["bytes", "version", "nothing"]), of_client=st.booleans())
    def reject_resource(self, data: st.DataObject, kept: str, of_client: bool) -> None:
        """Proxies reject what is served just now, for the sake of some of its routes or as a whole."""
        rows = (self.of_clients() if of_client else []) or self.of_gateways()
        gateway, type_url, name, version, body = data.draw(st.sampled_from(rows))
        others = [row for row in rows if row[1] == type_url and row[4]]
        fallback = data.draw(st.sampled_from(others)) if kept == "bytes" and others else ("", "", "", "", b"")
        parts: tuple[RejectedPart, ...] = ()
        if type_url == TypeUrl.VIRTUAL_HOST and body and data.draw(st.booleans()):
            routes = routes_of(body)
            old = routes_of(fallback[4]) if fallback[4] else {}
            guilty = data.draw(st.lists(st.sampled_from(sorted(routes)), max_size=2, unique=True)) if routes else []
            parts = tuple(
                RejectedPart(key, content_version(routes[key]), old.get(key, b""), clusters_of_route(old.get(key, b"")))
                for key in guilty
            )
        self.append(
            ResourceRejected(
                gateway=gateway,
                type_url=type_url,
                name=name,
                version=version,
                proxy="p",
                message="words",
                fallback_version="" if kept == "nothing" or parts else "before",
                fallback=b"" if parts or type_url == TypeUrl.SECRET else fallback[4],
                fallback_clusters=data.draw(st.sampled_from([(), ("kube_alpha_s1_80",), ("kube_alpha_s2_80",)])),
                parts=parts,
                origins=("HTTPRoute alpha/r1",),
            )
        )

    def of_gateways(self) -> list[tuple[str, str, str, str, bytes]]:
        rows = self.state.translation.resources.rows()
        return [(*row.key, row.version, row.body) for row in rows if row.is_served]

    def of_clients(self) -> list[tuple[str, str, str, str, bytes]]:
        rows = self.state.translation.client_resources.rows()
        return [(row.key[0], *row.key[2:], row.version, row.body) for row in rows if row.is_served]

    @precondition(lambda self: self.state.translation.ended_rejections.rows())
    @rule()
    def end_rejections(self) -> None:
        """As the runtime does after a commit; then nothing is left to end."""
        for over in self.state.translation.ended_rejections.rows():
            row = self.state.rows.base.rejections.get(over.key)
            assert row is not None
            self.append(*end(row, over))
        assert self.state.translation.ended_rejections.rows() == ()

    @precondition(lambda self: self.proxies)
    @rule(data=st.data(), resumes=st.booleans())
    def withhold(self, data: st.DataObject, resumes: bool) -> None:
        proxy = data.draw(st.sampled_from(sorted(self.proxies)))
        key = (proxy, str(TypeUrl.VIRTUAL_HOST), "http~8080/a.example.com")
        if resumes:
            self.append(DeliveryResumed(*key))
            self.withheld.pop(key, None)
        else:
            gateway = self.proxies[proxy].gateway
            event = DeliveryWithheld(proxy, gateway, *key[1:], ("kube_alpha_s1_80",), ("HTTPRoute alpha/r1",))
            self.append(event)
            self.withheld[key] = event

    @rule()
    def restart(self) -> None:
        self.append(started(self.infra, observe=self.observe))
        assert not self.state.translation.resources.synced
        self.append(SourceSynced(tuple(KINDS)))
        self.failed.clear()
        self.proxies.clear()
        self.acknowledged.clear()
        self.withheld.clear()

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
        events: list[AnyEvent] = [started(self.infra, observe=self.observe)]
        for event in applied:
            report = reports[f"{event.object.kind} {event.object.key}"]
            events.append(msgspec.structs.replace(event, warnings=report.warnings, unsupported=report.unsupported))
        events += [ObjectRejected(reference, errors) for reference, errors in self.rejected.items()]
        events += [ListenerFailed(*key, "taken") for key in sorted(self.failed)]
        events += reversed(self.proxies.values())
        events += [*self.acknowledged.values(), *self.withheld.values()]
        events += [event for key in sorted(self.rejections) for event in self.rejections[key]]
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
    time = "2026-01-02T03:04:05.000006Z"
    state.apply(log.append([started("none"), SourceSynced(tuple(KINDS))], source="files", time=time))
    for raw in [*mesh_working_set(), *raws]:
        outcome = decode_object(raw)
        if isinstance(outcome, Decoded):
            commit = state.apply(log.append([ObjectApplied(outcome.object)], source="files", time=time))
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
