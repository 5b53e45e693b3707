"""What there is to say of a DestinationRule: that it does nothing or is overruled, names no Secret, or has parts that do not fit.

Istio says nothing of these; a rule that is never applied looks like one that is. Nothing here changes what is served.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from controlplane.krt import Collection, Count, Fetch, Graph
from controlplane.model.conditions import Condition, ConditionType, Reason, numbered
from controlplane.model.ir import ObjectStatus
from controlplane.model.istio import DestinationRule
from controlplane.model.problems import quoted
from controlplane.model.references import FieldProblem
from controlplane.reducers.backends import Backends
from controlplane.reducers.base import Base, current_settings
from controlplane.reducers.carried_labels import declare_carried_labels, label_problems
from controlplane.reducers.clients import Clients
from controlplane.reducers.destination_rules import DestinationRules, resolve_host
from controlplane.reducers.rule_credentials import credential_problems, declare_client_places
from controlplane.reducers.rule_localities import (
    declare_malformed_localities,
    malformed_parts,
    policies_of,
    setting_of,
)
from controlplane.reducers.rule_standings import OTHERS, Standing, Standings, declare_standings
from controlplane.reducers.status_conditions import conditions_status, report_conditions, visible_report

_MOST_NAMED: Final = 5
_MERGE: Final = "rules are not merged: make them one, or delete one"


def declare_rule_statuses(
    graph: Graph, base: Base, backends: Backends, destination_rules: DestinationRules, clients: Clients
) -> Collection[ObjectStatus]:
    """Declare the statuses of DestinationRules that there is something to say of, with what their reports say."""
    standings = declare_standings(graph, base, backends, destination_rules)
    localities = declare_malformed_localities(graph, base, backends, destination_rules)
    carried = declare_carried_labels(graph, base, backends, destination_rules, clients)
    places = declare_client_places(graph, clients)

    def make(rule: DestinationRule, fetch: Fetch) -> ObjectStatus | None:
        key = f"DestinationRule {rule.key}"
        host = resolve_host(rule.spec.host, rule.metadata.namespace, current_settings(fetch, base).cluster_domain)
        malformed = [*map(str, malformed_parts(rule)), *_texts(fetch.by(localities, rule.key, view=_text_of))]
        unknown = [*map(str, label_problems(rule, fetch, carried))]
        stands = fetch.exists(standings.stands, rule.key)
        conditions = [
            *_in_effect(rule, host, fetch, standings),
            *_resolved(credential_problems(rule, fetch, base, places) if stands else ()),
            *_consistent(malformed, unknown, [*map(str, without_ejection(rule))]),
            *report_conditions(fetch(base.reports, key, view=visible_report)),
        ]
        return conditions_status(key, conditions, rule.metadata.generation) if conditions else None

    reads = (
        base.settings, base.reports, standings.by_rule, standings.matches, standings.stands, standings.conflicts,
        localities, carried.by_endpoints, carried.by_proxies, carried.proxies, base.secrets, places.all, places.by_client,
    )  # fmt: skip
    return graph.map("destination_rule_statuses", ObjectStatus, base.destination_rules, make, reads=reads)


def without_ejection(rule: DestinationRule) -> Iterator[FieldProblem]:
    """Policies that ask for failover and not for outlier detection: a remark, since what is gone is failed over from."""
    for path, _, policy in policies_of(rule):
        setting = setting_of(policy)
        if setting is not None and not setting.distribute and policy.outlier_detection is None:
            problem = "missing: requests go on to an endpoint that fails, and to the next ones only when it is gone"
            yield FieldProblem(f"{path}.outlierDetection", problem, "add it")


def _text_of(count: Count) -> str:
    text: str = count.key[1]
    return text


def _conflict_of(count: Count) -> tuple[str, str]:
    _, namespace, rule = count.key
    return namespace, rule


def _overruled_by(standing: Standing) -> tuple[str, ...]:
    return standing.overruled_by


def _texts(texts: Sequence[str]) -> list[str]:
    rest = len(texts) - _MOST_NAMED
    return [*texts[:_MOST_NAMED], *([f"and {rest} more of this kind"] if rest > 0 else [])]


def _in_effect(rule: DestinationRule, host: str, fetch: Fetch, standings: Standings) -> Iterator[Condition]:
    """Whether anybody goes by a rule; nothing if all do that it is for."""
    if not fetch.exists(standings.matches, rule.key):
        remedy = "create one, or use the host of one"
        message = f"spec.host: no Service or ServiceEntry has the host {quoted(host)}; {remedy}"
        yield Condition(ConditionType.IN_EFFECT, False, Reason.HOST_NOT_FOUND, message)
        return
    conflicts = fetch.by(standings.conflicts, rule.key, view=_conflict_of)
    if not fetch.exists(standings.stands, rule.key):
        rivals = {rival for found in fetch.by(standings.by_rule, rule.key, view=_overruled_by) for rival in found}
        yield Condition(ConditionType.IN_EFFECT, False, Reason.OVERRULED, _for_every_client(rivals, conflicts))
    elif conflicts:
        yield Condition(ConditionType.IN_EFFECT, True, Reason.OVERRULED, _for_some_clients(conflicts))


def _for_every_client(rivals: set[str], conflicts: Iterable[tuple[str, str]]) -> str:
    if not rivals:
        return "spec.exportTo: exported to no namespace; remove it, or name one"
    same = {rival for _, rival in conflicts}
    told = [f"overruled for every client by {_named(rivals)}"]
    if same:
        told.append(f"of one namespace and host the oldest holds, without a creation time the first by name; {_MERGE}")
    if rivals - same:
        told.append("nearer namespaces and more specific hosts come first")
    return "; ".join(told)


def _for_some_clients(conflicts: Iterable[tuple[str, str]]) -> str:
    namespaces: dict[str, set[str]] = {}
    for namespace, rival in conflicts:
        namespaces.setdefault(rival, set()).add(namespace)
    told = [
        f"overruled by DestinationRule {rival} for clients of {_places(found)}"
        for rival, found in sorted(namespaces.items())
    ]
    return "; ".join([*_texts(told), f"of one namespace and host the oldest holds; {_MERGE}"])


def _named(rules: Iterable[str]) -> str:
    names = sorted(rules)
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return f"DestinationRule {', '.join(names[:_MOST_NAMED])}{more}"


def _places(namespaces: Iterable[str]) -> str:
    places = [namespace or "all others" for namespace in sorted(namespaces, key=lambda name: (name == OTHERS, name))]
    return (
        f"namespaces {', '.join(places)}" if places != ["all others"] else "namespaces that have no rule of their own"
    )


def _resolved(problems: Iterable[FieldProblem]) -> Iterator[Condition]:
    """Whether the Secrets that a rule names can be used; nothing if there is nothing to say."""
    if message := numbered(map(str, problems)):
        yield Condition(ConditionType.RESOLVED_REFS, False, Reason.INVALID_CERTIFICATE_REF, message)


def _consistent(malformed: list[str], unknown: list[str], remarks: list[str]) -> Iterator[Condition]:
    """Whether a rule's parts fit together, and fit the endpoints and proxies; nothing if there is nothing to say."""
    message = numbered((*malformed, *unknown, *remarks))
    if malformed or unknown:
        reason = Reason.MALFORMED_LOCALITY if malformed else Reason.LABEL_NOT_FOUND
        yield Condition(ConditionType.CONSISTENT, False, reason, message)
    elif remarks:
        yield Condition(ConditionType.CONSISTENT, True, Reason.NO_OUTLIER_DETECTION, message)
