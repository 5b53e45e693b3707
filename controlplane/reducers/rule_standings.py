"""Which DestinationRules somebody goes by, and which are overruled, and by which.

Said without looking at who is connected: a rule stands for a backend if there could be a client that goes by it. That a nearer
namespace or a more specific host comes first is how the mesh's defaults are meant, so it is told of a rule only if nobody goes
by it at all; that two rules of one namespace are for one host is a mistake, and always told.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from controlplane.krt import Collection, Count, Fetch, Graph, Index
from controlplane.model.services import Backend, BackendRules, ClientClass, RuleCandidate
from controlplane.reducers.backends import Backends
from controlplane.reducers.base import Base, current_settings
from controlplane.reducers.destination_rules import ALL, DestinationRules, choose_rule

OTHERS = ""
"""In the place of a namespace: any that no rule names, and that has none."""


class Standing(msgspec.Struct, frozen=True):
    """How a rule stands for a backend that its host matches."""

    key: tuple[str, str]
    """Rule, cluster."""
    stands: bool
    """Whether a client could go by it."""
    conflicts: tuple[tuple[str, str], ...]
    """Namespace of clients, and the rule of the same namespace and host that they go by instead; sorted."""
    overruled_by: tuple[str, ...]
    """If it does not stand: the rules that clients go by instead, sorted."""

    @property
    def rule(self) -> str:
        """``namespace/name``."""
        return self.key[0]


@dataclass(frozen=True)
class Standings:
    """How rules stand, each also summed up by rule, so that a rule for every host is not gone through backend by backend."""

    by_rule: Index[Standing]
    matches: Collection[Count]
    """Backends that a rule's host matches."""
    stands: Collection[Count]
    """Backends for which somebody could go by it."""
    conflicts: Index[Count]
    """By rule: counts by (rule, namespace of clients, the rule that they go by instead)."""


def _namespace(candidate: RuleCandidate) -> str:
    return candidate.rule.partition("/")[0]


def judge(rules: BackendRules, backend_namespace: str, root_namespace: str) -> Iterator[Standing]:
    """How each candidate stands. Cost: O(n) looks at the candidates; O(n²) where n of one host have workloadSelectors of their own."""
    by_namespace: dict[str, list[RuleCandidate]] = {}
    for candidate in rules.candidates:
        by_namespace.setdefault(_namespace(candidate), []).append(candidate)
    chosen: dict[tuple[str, tuple[tuple[str, str], ...]], str] = {}

    def choose(candidate: RuleCandidate, namespace: str) -> str:
        """The rule of a client that has just the labels that the candidate asks for."""
        question = namespace, candidate.selector
        if question not in chosen:
            # Clients have a rule of their own namespace, if there is one for them; only the root's look further.
            is_own = namespace == _namespace(candidate) and namespace != root_namespace
            among = BackendRules(rules.key, tuple(by_namespace[namespace])) if is_own else rules
            client = ClientClass(("", ""), namespace, candidate.selector)
            chosen[question] = choose_rule(among, backend_namespace, client, root_namespace)
        return chosen[question]

    for candidate in rules.candidates:
        own = _namespace(candidate)
        seen_by = (own, backend_namespace, root_namespace, OTHERS)
        clients = seen_by if candidate.exported_to == (ALL,) else candidate.exported_to
        choices = {namespace: choose(candidate, namespace) for namespace in clients}
        stands = candidate.rule in choices.values()
        same_host = {c.rule for c in by_namespace[own] if c.specificity == candidate.specificity} - {candidate.rule}
        conflicts = sorted((namespace, rule) for namespace, rule in choices.items() if rule in same_host)
        others = () if stands else tuple(sorted({rule for rule in choices.values() if rule}))
        yield Standing((candidate.rule, rules.key), stands, tuple(conflicts), others)


def _namespace_of(backend: Backend) -> str:
    return backend.namespace


def declare_standings(graph: Graph, base: Base, backends: Backends, destination_rules: DestinationRules) -> Standings:
    """Declare how rules stand."""

    def make(row: BackendRules, fetch: Fetch) -> Iterator[Standing]:
        namespaces = fetch.by(backends.by_cluster, row.key, view=_namespace_of)
        root = current_settings(fetch, base).root_namespace
        return judge(row, namespaces[0], root) if namespaces else iter(())

    standings = graph.map(
        "rule_standings",
        Standing,
        destination_rules.of_clusters,
        make,
        reads=(base.settings, backends.by_cluster),
    )
    conflicts = graph.count(
        "rule_conflicts", standings, by=lambda row: [(row.rule, namespace, rule) for namespace, rule in row.conflicts]
    )
    return Standings(
        standings.index("rule_standings_by_rule", lambda row: row.rule),
        matches=graph.count("rule_matches", standings, by=lambda row: row.rule),
        stands=graph.count("rules_in_effect", standings, by=lambda row: row.rule if row.stands else None),
        conflicts=conflicts.index("rule_conflicts_by_rule", lambda count: count.key[0]),
    )
