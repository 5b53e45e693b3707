"""Whether a DestinationRule's localities and labels are well formed, and the localities of the endpoints behind its host.

A malformed locality is no reason to drop a rule or an endpoint: it is served as ``Locality.parse`` and ``LocalityPattern.parse``
read it, and the rule's status says what was not meant. What Istio's validation rejects is not judged here.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from controlplane.krt import Collection, Count, Fetch, Graph, Index
from controlplane.model.istio import DestinationRule, LocalityLbSetting, ServiceEntry, TrafficPolicy, WorkloadEntry
from controlplane.model.problems import entry as field_of
from controlplane.model.problems import quoted
from controlplane.model.references import FieldProblem
from controlplane.model.services import Backend, BackendRules
from controlplane.reducers.backends import Backends
from controlplane.reducers.base import Base
from controlplane.reducers.destination_rules import DestinationRules, effective_policy
from controlplane.reducers.priorities import PriorityLabel
from controlplane.reducers.workloads import selector_of

_PARTS = ("region", "zone", "subzone")


def policies_of(rule: DestinationRule) -> Iterator[tuple[str, int, TrafficPolicy]]:
    """The policies of a rule: path, port (0 for all that have none of their own), and what it says there."""
    policy = rule.spec.traffic_policy
    if policy is None:
        return
    ports = {entry.port.number: position for position, entry in reversed([*enumerate(policy.port_level_settings)])}
    for port in (0, *sorted(ports)):
        path = f"spec.trafficPolicy.portLevelSettings[{ports[port]}]" if port else "spec.trafficPolicy"
        found = effective_policy(rule.spec.traffic_policy, port)
        if found is not None:
            yield path, port, found


def setting_of(policy: TrafficPolicy) -> LocalityLbSetting | None:
    """What a policy says of localities; None if it does not, or not any more (``enabled: false``)."""
    setting = policy.load_balancer.locality_lb_setting if policy.load_balancer is not None else None
    return setting if setting is not None and setting.enabled is not False else None


def has_localities(rule: DestinationRule) -> bool:
    """A view: whether the localities of endpoints mean anything to a rule."""
    return any(setting_of(policy) is not None for _, _, policy in policies_of(rule))


def locality_problem(text: str, *, is_pattern: bool) -> tuple[str, str]:
    """What is wrong with a locality, and the remedy; both empty if nothing is.

    Args:
        text: ``region/zone/subzone``, as somebody wrote it.
        is_pattern: Whether ``*`` may stand for its last part and all that follow.
    """
    parts = [part.strip() for part in text.split("/")]
    said = [position for position, part in enumerate(parts) if part]
    form = "write region, region/zone or region/zone/subzone"
    if len(parts) > len(_PARTS):
        return f"{quoted(text)} has more than three parts", form
    if any(not part for part in parts[: said[-1] if said else 0]):
        missing = " and ".join(_PARTS[position] for position in range(said[-1]) if position not in said)
        return f"{quoted(text)} says its {_PARTS[said[-1]]} and no {missing}", form
    if "*" in text and not is_pattern:
        return f"{quoted(text)} holds a wildcard, and an endpoint is in one place", form
    if any("*" in part and part != "*" for part in parts) or "*" in [parts[position] for position in said[:-1]]:
        return f"{quoted(text)} has a wildcard that is not its whole last part", f"{form}, the last of them possibly *"
    if is_pattern and not said:
        return f"{quoted(text)} is no locality", f"{form}, or * for all"
    return "", ""


def _of_locality(path: str, text: str, *, is_pattern: bool) -> Iterator[FieldProblem]:
    problem, remedy = locality_problem(text, is_pattern=is_pattern)
    if problem:
        yield FieldProblem(path, problem, remedy)


def is_label(entry: str) -> bool:
    """Whether an entry of failoverPriority is a label, or a label and its value."""
    return entry.count("=") <= 1 and bool(PriorityLabel.parse(entry).key)


def malformed_parts(rule: DestinationRule) -> Iterator[FieldProblem]:
    """Localities and labels in a rule that cannot mean what they were meant to."""
    for path, _, policy in policies_of(rule):
        setting = setting_of(policy)
        if setting is None:
            continue
        path = f"{path}.loadBalancer.localityLbSetting"
        for position, distribute in enumerate(setting.distribute):
            here = f"{path}.distribute[{position}]"
            yield from _of_locality(f"{here}.from", distribute.from_, is_pattern=True)
            for locality in sorted(distribute.to):
                yield from _of_locality(field_of(f"{here}.to", locality), locality, is_pattern=True)
        for position, failover in enumerate(setting.failover):
            here = f"{path}.failover[{position}]"
            for name, region in (("from", failover.from_), ("to", failover.to)):
                if not region:
                    yield FieldProblem(f"{here}.{name}", "empty", "use a region's name")
        for position, entry in enumerate(setting.failover_priority):
            if not is_label(entry):
                problem = f"{quoted(entry)} is neither a label nor label=value"
                yield FieldProblem(f"{path}.failoverPriority[{position}]", problem, "write one of them")


class _MalformedWorkload(msgspec.Struct, frozen=True):
    """A WorkloadEntry whose locality is malformed."""

    key: str
    namespace: str
    labels: tuple[tuple[str, str], ...]
    """Sorted."""
    problem: str


class _MalformedEntry(msgspec.Struct, frozen=True):
    """A ServiceEntry some of whose endpoints have a malformed locality."""

    key: str
    problems: tuple[str, ...]
    """Each names object and field; sorted."""


class _Remark(msgspec.Struct, frozen=True):
    """What a rule is to be told of the endpoints of a cluster."""

    key: tuple[str, str]
    """Rule, cluster."""
    problems: tuple[str, ...]


def _told(kind: str, key: str, path: str, text: str) -> Iterator[str]:
    for problem in _of_locality(path, text, is_pattern=False):
        yield f"{kind} {key}: {problem}"


def _of_workload(entry: WorkloadEntry, fetch: Fetch) -> _MalformedWorkload | None:
    labels = tuple(sorted(entry.metadata.labels.items()))
    for problem in _told("WorkloadEntry", entry.key, "spec.locality", entry.spec.locality):
        return _MalformedWorkload(entry.key, entry.metadata.namespace, labels, problem)
    return None


def _owner(backend: Backend) -> tuple[str, str]:
    return backend.key[:2]


def declare_malformed_localities(
    graph: Graph, base: Base, backends: Backends, destination_rules: DestinationRules
) -> Index[Count]:
    """Declare what is wrong with the localities of the endpoints that rules look at.

    Returns:
        By rule: counts by (rule, problem). Well-formed endpoints cost one look at their text.
    """
    workloads = graph.map(
        "malformed_workloads",
        _MalformedWorkload,
        base.workload_entries,
        _of_workload,
        labels=lambda row: dict(row.labels),
        namespace=lambda row: row.namespace,
    )

    def of_entry(entry: ServiceEntry, fetch: Fetch) -> _MalformedEntry | None:
        selector = selector_of(entry.spec)
        if selector is not None:
            problems = [row.problem for row in fetch.select(workloads, selector, entry.metadata.namespace)]
        else:
            problems = [
                problem
                for position, endpoint in enumerate(entry.spec.endpoints)
                for problem in _told(entry.kind, entry.key, f"spec.endpoints[{position}].locality", endpoint.locality)
            ]
        return _MalformedEntry(entry.key, tuple(sorted(problems))) if problems else None

    entries = graph.map("malformed_localities", _MalformedEntry, base.service_entries, of_entry, reads=(workloads,))

    def tell(row: BackendRules, fetch: Fetch) -> Iterator[_Remark]:
        for kind, key in fetch.by(backends.by_cluster, row.key, view=_owner):
            malformed = fetch(entries, key) if kind == "ServiceEntry" else None
            if malformed is None:
                continue
            for candidate in row.candidates:
                if fetch(base.destination_rules, candidate.rule, view=has_localities):
                    yield _Remark((candidate.rule, row.key), malformed.problems)

    reads = (base.destination_rules, backends.by_cluster, entries)
    remarks: Collection[_Remark] = graph.map(
        "locality_remarks", _Remark, destination_rules.of_clusters, tell, reads=reads
    )
    counts = graph.count("told_localities", remarks, by=lambda row: [(row.key[0], text) for text in row.problems])
    return counts.index("told_localities_by_rule", lambda count: count.key[0])
