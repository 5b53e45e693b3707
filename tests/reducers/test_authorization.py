"""For what policies hold, what their statuses say, and that both follow every change of what they name."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest

from controlplane.krt import Collection, Commit, Fetch, Graph, Source, Transaction
from controlplane.model.base import ObjectMeta
from controlplane.model.events import Settings
from controlplane.model.gateway import Gateway, GatewayClass
from controlplane.model.ir import ObjectReport, ObjectStatus
from controlplane.model.istio import AuthorizationPolicy, ServiceEntry
from controlplane.model.kubernetes import Service
from controlplane.model.references import FieldProblem
from controlplane.model.waypoints import WaypointChain
from controlplane.reducers.authorization import Authorization, declare_authorization, declare_authorization_statuses
from controlplane.reducers.base import Base, CurrentSettings, declare_base
from controlplane.reducers.gateways import declare_gateways
from controlplane.reducers.grants import declare_grants

GATEWAY_API = "gateway.networking.k8s.io"
OURS = "controlplane.dev/gateway-controller"


class Asked(msgspec.Struct, frozen=True):
    """A service behind a waypoint."""

    key: str
    waypoint: str
    waypoint_class: str
    owner: str


class Answer(msgspec.Struct, frozen=True):
    key: str
    policies: tuple[str, ...]


@dataclass
class World:
    graph: Graph
    base: Base
    authorization: Authorization
    asked: Source[Asked]
    answers: Collection[Answer]
    chains: Source[WaypointChain]
    statuses: Collection[ObjectStatus]
    seq: int = 0

    def change(self, *objects: Any, without: tuple[tuple[Source[Any], Any], ...] = ()) -> Commit:
        self.seq += 1
        tx: Transaction = self.graph.begin(self.seq)
        for found in objects:
            if isinstance(found, Asked):
                tx.put(self.asked, found)
            elif isinstance(found, WaypointChain):
                tx.put(self.chains, found)
            elif isinstance(found, CurrentSettings):
                tx.put(self.base.settings, found)
            elif isinstance(found, ObjectReport):
                tx.put(self.base.reports, found)
            else:
                tx.put(self.base.of_kind(type(found).__name__), found)
        for collection, key in without:
            tx.delete(collection, key)
        commit = tx.commit()
        assert not commit.failures, commit.failures
        return commit

    def policies(self) -> dict[str, tuple[str, ...]]:
        return {row.key: row.policies for row in self.answers.rows()}

    def status(self, key: str = "shop/p") -> dict[str, Any] | None:
        row = self.statuses.get(f"AuthorizationPolicy {key}")
        return None if row is None else json.loads(row.document)

    def conditions(self, key: str = "shop/p") -> dict[str, tuple[str, str, str]]:
        document = self.status(key)
        return {c["type"]: (c["status"], c["reason"], c["message"]) for c in (document or {}).get("conditions", ())}


@pytest.fixture
def world() -> World:
    graph = Graph()
    base = declare_base(graph)
    grants = declare_grants(graph, base)
    authorization = declare_authorization(graph, base)
    gateways = declare_gateways(graph, base, grants)
    asked = graph.source("asked", Asked)

    def answer(row: Asked, fetch: Fetch) -> Answer:
        found = authorization.policies_for(
            fetch, waypoint=row.waypoint, waypoint_class=row.waypoint_class, owner=row.owner
        )
        return Answer(row.key, found)

    answers = graph.map("answers", Answer, asked, answer, reads=authorization.reads)
    chains = graph.source("chains", WaypointChain)
    statuses = declare_authorization_statuses(graph, base, gateways, chains)
    made = World(graph, base, authorization, asked, answers, chains, statuses)
    made.change(CurrentSettings("settings", Settings(), "test"))
    return made


def policy(*targets: dict[str, str], key: str = "shop/p", **spec: Any) -> AuthorizationPolicy:
    namespace, name = key.split("/")
    document = {
        "apiVersion": "security.istio.io/v1",
        "kind": "AuthorizationPolicy",
        "metadata": {"name": name, "namespace": namespace, "annotations": spec.pop("annotations", {})},
        "spec": {"targetRefs": list(targets), "rules": [{}], **spec},
    }
    return msgspec.convert(document, AuthorizationPolicy)


def target(kind: str, name: str, group: str = "", namespace: str = "") -> dict[str, str]:
    return {"kind": kind, "name": name, "group": group, "namespace": namespace}


def service(key: str) -> Service:
    namespace, name = key.split("/")
    document = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": namespace}, "spec": {}}
    return msgspec.convert(document, Service)


def gateway(key: str, class_name: str) -> Gateway:
    namespace, name = key.split("/")
    spec = {"gatewayClassName": class_name, "listeners": [{"name": "x", "protocol": "HTTP", "port": 80}]}
    metadata = {"name": name, "namespace": namespace}
    document = {"apiVersion": f"{GATEWAY_API}/v1", "kind": "Gateway", "metadata": metadata, "spec": spec}
    return msgspec.convert(document, Gateway)


def gateway_class(name: str, controller: str = OURS) -> GatewayClass:
    document = {
        "apiVersion": f"{GATEWAY_API}/v1",
        "kind": "GatewayClass",
        "metadata": {"name": name},
        "spec": {"controllerName": controller},
    }
    return msgspec.convert(document, GatewayClass)


def chain(*policies: str, application: str = "http") -> WaypointChain:
    return WaypointChain(
        key=("shop/waypoint", f"fc_{application}"),
        port=80,
        addresses=("10.0.0.1",),
        application=application,  # type: ignore[arg-type]
        cluster="c",
        policies=policies,
    )


SERVICE = target("Service", "web")
WAYPOINT = target("Gateway", "waypoint", GATEWAY_API)
CLASS = target("GatewayClass", "controlplane-waypoint", GATEWAY_API)
ASKED = Asked("a", "shop/waypoint", "controlplane-waypoint", "Service shop/web")


def test_policies_hold_for_what_their_target_refs_name(world: World) -> None:
    entry = Asked("e", "shop/waypoint", "controlplane-waypoint", "ServiceEntry shop/web")
    elsewhere = Asked("x", "bank/waypoint", "controlplane-waypoint", "Service bank/web")
    root = Asked("r", "istio-system/waypoint", "controlplane-waypoint", "Service shop/other")
    other_class = Asked("o", "shop/other", "other-waypoint", "Service shop/other")
    world.change(ASKED, entry, elsewhere, root, other_class)
    assert set(world.policies().values()) == {()}
    world.change(
        policy(SERVICE, SERVICE, key="shop/service"),
        policy(target("Service", "web", "core"), key="shop/core"),
        policy(target("ServiceEntry", "web", "networking.istio.io"), key="shop/entry"),
        policy(WAYPOINT, SERVICE, key="shop/both"),
        policy(CLASS, key="istio-system/class"),
        policy(CLASS, key="shop/class-of-another-namespace"),
        policy(target("Service", "web", namespace="shop"), key="bank/reaches-over"),
        policy(target("Service", "web", namespace="shop"), key="shop/says-its-own"),
        policy(target("Service", "web", "example.com"), key="shop/wrong-group"),
        policy(target("Deployment", "web", "apps"), key="shop/wrong-kind"),
        policy(SERVICE, key="shop/custom", action="CUSTOM"),
        policy(key="shop/selects"),
    )
    assert world.policies() == {
        "a": ("istio-system/class", "shop/both", "shop/core", "shop/says-its-own", "shop/service"),
        "e": ("istio-system/class", "shop/both", "shop/entry"),
        "o": (),
        "r": (),
        "x": ("istio-system/class",),
    }


def test_a_policy_that_moves_and_goes_is_followed(world: World) -> None:
    world.change(ASKED, policy(SERVICE))
    assert world.policies() == {"a": ("shop/p",)}
    world.change(policy(target("Service", "other")))
    assert world.policies() == {"a": ()}
    world.change(policy(WAYPOINT))
    assert world.policies() == {"a": ("shop/p",)}
    world.change(policy(WAYPOINT, action="CUSTOM"))
    assert world.policies() == {"a": ()}
    world.change(policy(WAYPOINT, action="AUDIT"))
    world.change(without=((world.base.authorization_policies, "shop/p"),))
    assert world.policies() == {"a": ()}


def test_the_root_namespace_is_a_setting(world: World) -> None:
    world.change(ASKED, policy(CLASS, key="mesh/p"))
    assert world.policies() == {"a": ()}
    world.change(CurrentSettings("settings", Settings(root_namespace="mesh"), "test"))
    assert world.policies() == {"a": ("mesh/p",)}


def test_a_change_of_rules_asks_nobody_again(world: World) -> None:
    world.change(ASKED, policy(SERVICE))
    commit = world.change(policy(SERVICE, action="DENY"))
    assert world.answers.name not in commit.runs


def test_a_service_that_comes_goes_and_is_captured(world: World) -> None:
    world.change(policy(SERVICE))
    missing = ("False", "NoMatchingParent", "spec.targetRefs[0]: Service shop/web does not exist")
    assert world.conditions() == {"Accepted": missing}
    world.change(service("shop/web"))
    assert world.conditions()["Accepted"] == ("True", "Accepted", "")
    assert world.conditions()["Programmed"][:2] == ("False", "NoMatchingParent")
    world.change(chain("shop/p"))
    assert world.conditions() == {"Accepted": ("True", "Accepted", ""), "Programmed": ("True", "Programmed", "")}
    world.change(without=((world.chains, ("shop/waypoint", "fc_http")),))
    assert world.conditions()["Programmed"][0] == "False"
    world.change(without=((world.base.services, "shop/web"),))
    assert world.conditions() == {"Accepted": missing}


def test_a_gateway_must_be_a_waypoint_of_ours(world: World) -> None:
    world.change(policy(WAYPOINT))
    assert world.conditions()["Accepted"][1:] == (
        "NoMatchingParent",
        "spec.targetRefs[0]: Gateway shop/waypoint does not exist",
    )
    world.change(
        gateway("shop/waypoint", "istio-waypoint"), gateway_class("istio-waypoint", "istio.io/mesh-controller")
    )
    assert world.status() is None, "another controller's"
    world.change(gateway("shop/waypoint", "ours"), gateway_class("ours"))
    assert world.conditions()["Accepted"][:2] == ("False", "InvalidKind")
    assert "Gateway shop/waypoint is no waypoint" in world.conditions()["Accepted"][2]
    world.change(gateway("shop/waypoint", "controlplane-waypoint"), gateway_class("controlplane-waypoint"))
    assert world.conditions()["Accepted"] == ("True", "Accepted", "")


def test_a_gateway_class_must_be_of_waypoints_of_ours(world: World) -> None:
    world.change(policy(CLASS, key="istio-system/p"))
    assert world.conditions("istio-system/p")["Accepted"][1] == "NoMatchingParent"
    world.change(gateway_class("controlplane-waypoint", "example.com/other"))
    assert world.status("istio-system/p") is None
    world.change(gateway_class("controlplane-waypoint"))
    assert world.conditions("istio-system/p")["Accepted"] == ("True", "Accepted", "")
    world.change(CurrentSettings("settings", Settings(waypoint_classes=("other",)), "test"))
    assert world.conditions("istio-system/p")["Accepted"][:2] == ("False", "InvalidKind")


def test_each_target_ref_has_its_own_condition(world: World) -> None:
    wrong = target("Deployment", "web", "apps")
    far = target("Service", "web", namespace="bank")
    world.change(policy(SERVICE, wrong, far, CLASS), service("shop/web"), chain("shop/p"))
    document = world.status()
    assert document is not None
    accepted = [
        (a["ancestorRef"], a["conditions"][0]["status"], a["conditions"][0]["reason"]) for a in document["ancestors"]
    ]
    assert accepted == [
        ({"group": "", "kind": "Service", "name": "web", "namespace": "shop"}, "True", "Accepted"),
        ({"group": "apps", "kind": "Deployment", "name": "web", "namespace": "shop"}, "False", "InvalidKind"),
        ({"group": "", "kind": "Service", "name": "web", "namespace": "bank"}, "False", "RefNotPermitted"),
        ({"group": GATEWAY_API, "kind": "GatewayClass", "name": "controlplane-waypoint"}, "False", "RefNotPermitted"),
    ]
    assert {a["controllerName"] for a in document["ancestors"]} == {OURS}
    status, reason, message = world.conditions()["Accepted"]
    assert (status, reason) == ("True", "Accepted")
    assert message.count("spec.targetRefs[") == 3


def test_a_service_entry_is_a_target(world: World) -> None:
    spec = {"hosts": ["x.example"], "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}]}
    metadata = {"name": "web", "namespace": "shop"}
    document = {"apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry", "metadata": metadata, "spec": spec}
    world.change(policy(target("ServiceEntry", "web", "networking.istio.io")), msgspec.convert(document, ServiceEntry))
    assert world.conditions()["Accepted"] == ("True", "Accepted", "")


def test_custom_policies_and_those_without_targets_say_that_they_do_nothing(world: World) -> None:
    world.change(policy(SERVICE, action="CUSTOM"), policy(key="shop/q"), service("shop/web"))
    status, reason, message = world.conditions()["Accepted"]
    assert (status, reason) == ("False", "UnsupportedValue")
    assert "CUSTOM is not supported" in message
    assert "does nothing" in message
    status, reason, message = world.conditions("shop/q")["Accepted"]
    assert (status, reason) == ("False", "UnsupportedValue")
    assert message.startswith("spec.targetRefs: there are none")
    assert "Programmed" not in world.conditions() | world.conditions("shop/q")


def test_a_dry_run_is_told(world: World) -> None:
    world.change(policy(SERVICE, annotations={"istio.io/dry-run": "true"}), service("shop/web"), chain("shop/p"))
    assert "not enforced" in world.conditions()["Programmed"][2]


@pytest.mark.parametrize(
    ("action", "consequence"),
    [
        ("ALLOW", "the whole rule allows nothing"),
        ("DENY", "the rule denies as if this were not set"),
        ("AUDIT", "the rule matches as if this were not set"),
    ],
)
def test_what_cannot_be_enforced_is_told(world: World, action: str, consequence: str) -> None:
    rules = [
        {},
        {"from": [{"source": {"namespaces": ["a"]}}, {"source": {"notRequestPrincipals": ["*"]}}]},
        {"when": [{"key": "connection.sni", "values": ["x"]}], "to": [{"operation": {"methods": ["GET"]}}]},
    ]
    world.change(policy(SERVICE, action=action, rules=rules), service("shop/web"), chain("shop/p"))
    status, reason, message = world.conditions()["controlplane.dev/FullySupported"]
    assert (status, reason) == ("False", "UnsupportedField")
    first, second = message.split("; (2) ")
    assert first.startswith("(1) spec.rules[1].from[1].source.notRequestPrincipals: ")
    assert second.startswith("spec.rules[2].when[0].values: ")
    assert consequence in first
    world.change(chain("shop/p", application="tcp"))
    message = world.conditions()["controlplane.dev/FullySupported"][2]
    assert f"spec.rules[2].to[0].operation.methods: on ports that do not speak HTTP {consequence}" in message


def test_what_decoding_found_is_told_too(world: World) -> None:
    report = ObjectReport(
        "AuthorizationPolicy shop/p",
        "files",
        3,
        errors=(FieldProblem("spec.action", "wrong"),),
        warnings=(FieldProblem("spec.x", "unknown field, ignored"),),
    )
    world.change(policy(SERVICE), service("shop/web"), chain("shop/p"), report)
    conditions = world.conditions()
    assert conditions["controlplane.dev/InputValid"][2] == "spec.action: wrong. The last good form is served"
    assert conditions["controlplane.dev/FullySupported"][2] == "spec.x: unknown field, ignored"


def test_conditions_name_the_generation(world: World) -> None:
    found = policy(SERVICE)
    metadata = ObjectMeta(name="p", namespace="shop", generation=7)
    world.change(msgspec.structs.replace(found, metadata=metadata), service("shop/web"))
    document = world.status()
    assert document is not None
    found_conditions = [*document["conditions"], *document["ancestors"][0]["conditions"]]
    assert {c["observedGeneration"] for c in found_conditions} == {7}
