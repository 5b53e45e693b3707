"""For what an AuthorizationPolicy holds: which waypoints, which services behind them.

A waypoint goes by ``targetRefs`` alone; a policy with a selector is for the workloads' own proxies, and nothing here acts on it.
What its rules say is the business of ``authorization_rules``. Sources: Istio's API, security.istio.io/v1, and its waypoints
(reference: istio-semantics, 4.7).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from controlplane.krt import Collection, Fetch, Graph, Index
from controlplane.model.conditions import Condition, ConditionType, Reason, numbered
from controlplane.model.events import Settings
from controlplane.model.gateway import GatewayClass
from controlplane.model.ir import ObjectReport, ObjectStatus, OwnedGateway
from controlplane.model.istio import AuthorizationPolicy, PolicyTargetReference
from controlplane.model.waypoints import WaypointChain
from controlplane.reducers.authorization_rules import is_dry_run, rule_problems
from controlplane.reducers.base import Base, current_settings
from controlplane.reducers.gateways import Gateways
from controlplane.reducers.grants import GATEWAY_GROUP
from controlplane.reducers.status_conditions import report_conditions, visible_report

_TARGETS: Final = {
    (GATEWAY_GROUP, "Gateway"),
    (GATEWAY_GROUP, "GatewayClass"),
    ("", "Service"),
    ("core", "Service"),
    ("networking.istio.io", "ServiceEntry"),
}
_TCP: Final = "tcp"


class AuthorizationTarget(msgspec.Struct, frozen=True):
    """A policy holds for something, if that exists and is what the policy takes it for."""

    key: tuple[str, str]
    """Policy, target: ``Gateway ns/name``, ``GatewayClass name``, ``Service ns/name`` or ``ServiceEntry ns/name``."""

    @property
    def policy(self) -> str:
        """``namespace/name`` of the policy."""
        return self.key[0]

    @property
    def target(self) -> str:
        """What it is for."""
        return self.key[1]


@dataclass(frozen=True)
class Authorization:
    """The targets of policies and the index that answers."""

    targets: Collection[AuthorizationTarget]
    by_target: Index[AuthorizationTarget]

    @property
    def reads(self) -> tuple[Index[AuthorizationTarget], ...]:
        """What a collection declares that asks ``policies_for``."""
        return (self.by_target,)

    def policies_for(self, fetch: Fetch, *, waypoint: str, waypoint_class: str, owner: str) -> tuple[str, ...]:
        """The policies that hold for a service behind a waypoint.

        Args:
            fetch: Of a collection that declares ``reads``.
            waypoint: ``namespace/name`` of the Gateway.
            waypoint_class: Name of its GatewayClass.
            owner: ``Service namespace/name`` or ``ServiceEntry namespace/name``.

        Returns:
            Keys of AuthorizationPolicies, sorted, without duplicates; never one with the action CUSTOM. Empty means that
            nothing is forbidden.
        """
        namespace = waypoint.partition("/")[0]
        named = [*fetch.by(self.by_target, f"Gateway {waypoint}"), *fetch.by(self.by_target, owner)]
        found = {row.policy for row in named}
        for row in fetch.by(self.by_target, f"GatewayClass {waypoint_class}"):
            # Such a policy is of the root namespace, whose own waypoints it spares.
            if row.policy.partition("/")[0] != namespace:
                found.add(row.policy)
        return tuple(sorted(found))


def find_target(
    policy: AuthorizationPolicy, reference: PolicyTargetReference, settings: Settings
) -> tuple[str, Condition | None]:
    """What a targetRef names, and why it may not; whether that exists is not looked at."""
    if (reference.group, reference.kind) not in _TARGETS:
        group = f"{reference.group}/" if reference.group else ""
        message = f"{group}{reference.kind} is no target; use a Gateway, GatewayClass, Service or ServiceEntry"
        return "", Condition(ConditionType.ACCEPTED, False, Reason.INVALID_KIND, message)
    namespace = policy.metadata.namespace
    if reference.namespace not in ("", namespace):
        message = f"namespace: {reference.namespace} is not the policy's own ({namespace}); put the policy there"
        return "", Condition(ConditionType.ACCEPTED, False, Reason.REF_NOT_PERMITTED, message)
    if reference.kind == "GatewayClass":
        if namespace == settings.root_namespace:
            return f"GatewayClass {reference.name}", None
        message = (
            f"only policies of namespace {settings.root_namespace} may be for a GatewayClass; put the policy there"
        )
        return "", Condition(ConditionType.ACCEPTED, False, Reason.REF_NOT_PERMITTED, message)
    return f"{reference.kind} {namespace}/{reference.name}", None


def declare_authorization(graph: Graph, base: Base) -> Authorization:
    """Declare the targets."""

    def make(policy: AuthorizationPolicy, fetch: Fetch) -> Iterator[AuthorizationTarget]:
        if policy.spec.action == "CUSTOM" or not policy.spec.target_refs:
            return
        settings = current_settings(fetch, base)
        found = {find_target(policy, reference, settings)[0] for reference in policy.spec.target_refs}
        for target in sorted(found - {""}):
            yield AuthorizationTarget((policy.key, target))

    targets = graph.map(
        "authorization_targets", AuthorizationTarget, base.authorization_policies, make, reads=(base.settings,)
    )
    return Authorization(targets, targets.index("authorization_by_target", lambda row: row.target))


def declare_authorization_statuses(
    graph: Graph, base: Base, gateways: Gateways, chains: Collection[WaypointChain]
) -> Collection[ObjectStatus]:
    """Declare the statuses of AuthorizationPolicies.

    At the top stand the conditions of the policy as a whole, as Istio's own status has them; ``ancestors`` tells of each
    targetRef, as Gateway API's policies do. A targetRef that leads to another controller's Gateway is left to that one.
    """
    uses = graph.count("authorization_uses", chains, by=_uses_of)

    def make(policy: AuthorizationPolicy, fetch: Fetch) -> ObjectStatus | None:
        settings = current_settings(fetch, base)
        key = f"AuthorizationPolicy {policy.key}"
        judged = list(_judge_references(policy, _Judge(fetch, base, gateways, settings)))
        applications = [a for a in ("http", _TCP) if fetch.exists(uses, (policy.key, a))]
        report = fetch(base.reports, key, view=visible_report)
        conditions = [*_whole(policy, [condition for _, condition in judged], applications, report)]
        if not conditions:
            return None
        document = _document(policy, conditions, judged, settings.controller_name)
        return ObjectStatus(key, msgspec.json.encode(document, order="deterministic"))

    reads = (
        base.settings, base.reports, base.gateways, base.gateway_classes, base.services, base.service_entries,
        gateways.owned, uses,
    )  # fmt: skip
    return graph.map("authorization_statuses", ObjectStatus, base.authorization_policies, make, reads=reads)


_Judged = tuple[PolicyTargetReference, Condition]

_CUSTOM: Final = (
    "spec.action: CUSTOM is not supported, as no external authorizer is asked: the policy does nothing, and whatever it was "
    "meant to stop gets through; use ALLOW or DENY"
)
_NO_TARGETS: Final = (
    "spec.targetRefs: there are none, so no waypoint enforces the policy; a selector, and a namespace as a whole, are for "
    "the workloads' own proxies"
)
_NOT_USED: Final = "no waypoint stands before what the policy is for, so nothing is enforced"


@dataclass(frozen=True)
class _Judge:
    """Says whether a target is what a policy takes it for."""

    fetch: Fetch
    base: Base
    gateways: Gateways
    settings: Settings

    def judge(self, target: str) -> Condition | None:
        """None if that is not ours to say."""
        kind, _, key = target.partition(" ")
        is_found, is_waypoint, is_foreign = self._look(kind, key)
        if is_foreign:
            return None
        if not is_found:
            return Condition(ConditionType.ACCEPTED, False, Reason.NO_MATCHING_PARENT, f"{target} does not exist")
        if not is_waypoint:
            classes = ", ".join(self.settings.waypoint_classes)
            message = f"{target} is no waypoint, and only waypoints enforce policies; a waypoint's class is {classes}"
            return Condition(ConditionType.ACCEPTED, False, Reason.INVALID_KIND, message)
        return Condition(ConditionType.ACCEPTED, True, Reason.ACCEPTED)

    def _look(self, kind: str, key: str) -> tuple[bool, bool, bool]:
        """Whether a target exists, whether it is one that waypoints stand for, and whether it is another controller's."""
        fetch, base, settings = self.fetch, self.base, self.settings
        if kind == "GatewayClass":
            controller = fetch(base.gateway_classes, key, view=_controller_of)
            is_foreign = controller is not None and controller != settings.controller_name
            return controller is not None, key in settings.waypoint_classes, is_foreign
        if kind == "Gateway":
            class_name = fetch(self.gateways.owned, key, view=_class_of)
            is_found = fetch.exists(base.gateways, key)
            return is_found, class_name in settings.waypoint_classes, is_found and class_name is None
        collection: Collection[Any] = base.services if kind == "Service" else base.service_entries
        return fetch.exists(collection, key), True, False


def _judge_references(policy: AuthorizationPolicy, judge: _Judge) -> Iterator[_Judged]:
    """Each targetRef, without those that are another's."""
    for i, reference in enumerate(policy.spec.target_refs):
        target, problem = find_target(policy, reference, judge.settings)
        condition = problem or judge.judge(target)
        if condition is None:
            continue
        if policy.spec.action == "CUSTOM":
            condition = Condition(ConditionType.ACCEPTED, False, Reason.UNSUPPORTED_VALUE, _CUSTOM)
        elif not condition.status:
            condition = msgspec.structs.replace(condition, message=f"spec.targetRefs[{i}]: {condition.message}")
        yield reference, condition


def _document(
    policy: AuthorizationPolicy, conditions: list[Condition], judged: list[_Judged], controller_name: str
) -> dict[str, object]:
    generation = policy.metadata.generation
    document: dict[str, object] = {"conditions": [condition.document(generation) for condition in conditions]}
    if judged:
        document["ancestors"] = [
            {
                "ancestorRef": _reference_document(reference, policy.metadata.namespace),
                "controllerName": controller_name,
                "conditions": [condition.document(generation)],
            }
            for reference, condition in judged
        ]
    return document


def _uses_of(chain: WaypointChain) -> list[tuple[str, str]]:
    return [(policy, chain.application) for policy in chain.policies]


def _controller_of(row: GatewayClass) -> str:
    return row.spec.controller_name


def _class_of(row: OwnedGateway) -> str:
    return row.gateway.spec.gateway_class_name


def _reference_document(reference: PolicyTargetReference, namespace: str) -> dict[str, str]:
    document = {"group": reference.group, "kind": reference.kind, "name": reference.name}
    return document if reference.kind == "GatewayClass" else document | {"namespace": reference.namespace or namespace}


def _whole(
    policy: AuthorizationPolicy, judged: list[Condition], applications: list[str], report: ObjectReport | None
) -> Iterator[Condition]:
    """The conditions of a policy as a whole.

    Args:
        policy: It.
        judged: Those of its targetRefs, without those that are another's.
        applications: What the ports speak for which it is enforced.
        report: What is known from its decoding.
    """
    problems = [condition for condition in judged if not condition.status]
    if not policy.spec.target_refs:
        problems = [Condition(ConditionType.ACCEPTED, False, Reason.UNSUPPORTED_VALUE, _NO_TARGETS)]
    is_accepted = len(problems) < len(judged)
    if problems or is_accepted:
        reason = Reason.ACCEPTED if is_accepted else problems[0].reason
        message = numbered(problem.message for problem in problems)
        yield Condition(ConditionType.ACCEPTED, is_accepted, reason, message)
    if is_accepted:
        message = "istio.io/dry-run: the policy is evaluated and not enforced" if is_dry_run(policy) else ""
        if applications:
            yield Condition(ConditionType.PROGRAMMED, True, Reason.PROGRAMMED, message)
        else:
            yield Condition(ConditionType.PROGRAMMED, False, Reason.NO_MATCHING_PARENT, _NOT_USED)
    yield from report_conditions(report, rule_problems(policy, on_tcp=_TCP in applications) if is_accepted else ())
