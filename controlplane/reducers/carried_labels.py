"""Whether anybody carries the labels that a DestinationRule's failoverPriority asks for: endpoints of its hosts, and proxies.

What nobody carries tells nobody apart: most likely a slip of the pen, or a Node without its region. Only rules that have a
failoverPriority read endpoints, and only until each label is seen once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import msgspec

from controlplane.krt import Collection, Count, Fetch, Graph
from controlplane.model.istio import DestinationRule
from controlplane.model.problems import quoted
from controlplane.model.references import FieldProblem
from controlplane.model.services import REGION, SUBZONE, ZONE, Backend, BackendRules, Endpoint
from controlplane.reducers.backends import Backends
from controlplane.reducers.base import Base
from controlplane.reducers.clients import Clients
from controlplane.reducers.destination_rules import DestinationRules
from controlplane.reducers.endpoints import endpoint_labels
from controlplane.reducers.priorities import PriorityLabel
from controlplane.reducers.rule_localities import is_label, policies_of, setting_of

_ANY: Final = ""
"""In the place of an entry of failoverPriority: there is an endpoint at all."""
_PROXIES: Final = "proxies"
_OF_LOCALITIES: Final = frozenset({REGION, ZONE, SUBZONE})


class _CarriedLabel(msgspec.Struct, frozen=True):
    """An endpoint carries what an entry of failoverPriority asks for."""

    key: tuple[str, int, str, str]
    """Rule, port that the policy is for (0: the rule's), entry, cluster."""


@dataclass(frozen=True)
class CarriedLabels:
    """Who carries which label."""

    by_endpoints: Collection[Count]
    """By (rule, port, entry): clusters with an endpoint that carries it."""
    by_proxies: Collection[Count]
    """By label: connected proxies that carry it."""
    proxies: Collection[Count]
    """One row, while a proxy is connected."""


def asked_labels(rule: DestinationRule) -> tuple[tuple[int, tuple[str, ...]], ...]:
    """A view: the entries of failoverPriority by port, those ports included that have none; empty if there is none at all."""
    found = []
    for _, port, policy in policies_of(rule):
        setting = setting_of(policy)
        found.append((port, setting.failover_priority if setting is not None and not setting.distribute else ()))
    return tuple(found) if any(entries for _, entries in found) else ()


def _port(backend: Backend) -> int:
    return backend.port


def _carried(fetch: Fetch, base: Base, entries: Iterable[str], endpoints: Iterable[Endpoint]) -> Iterator[str]:
    """Those entries that an endpoint carries. No more endpoints are looked at than it takes to find each once."""
    missing = {entry: PriorityLabel.parse(entry) for entry in sorted(entries)}
    for endpoint in endpoints:
        if not missing:
            return
        labels = endpoint_labels(fetch, base, endpoint)
        for entry, (key, value) in tuple(missing.items()):
            if entry == _ANY or (bool(labels.get(key)) if value is None else labels.get(key, "") == value):
                del missing[entry]
                yield entry


def declare_carried_labels(
    graph: Graph, base: Base, backends: Backends, destination_rules: DestinationRules, clients: Clients
) -> CarriedLabels:
    """Declare who carries which label."""

    def find(row: BackendRules, fetch: Fetch) -> Iterator[_CarriedLabel]:
        wanted: dict[str, list[tuple[str, int]]] = {}
        for rule in (candidate.rule for candidate in row.candidates):
            asked = dict(fetch(base.destination_rules, rule, view=asked_labels) or ())
            ports = fetch.by(backends.by_cluster, row.key, view=_port) if asked else ()
            for number in ports[:1]:
                port = number if number in asked else 0
                for entry in {*asked[port], _ANY}:
                    wanted.setdefault(entry, []).append((rule, port))
        if not wanted:
            return
        endpoints = (e for found in fetch.by(backends.endpoints_by_cluster, row.key) for e in found.endpoints)
        for entry in _carried(fetch, base, wanted, endpoints):
            for rule, port in wanted[entry]:
                yield _CarriedLabel((rule, port, entry, row.key))

    reads = (
        base.destination_rules, base.pods, backends.by_cluster, backends.endpoints_by_cluster,
    )  # fmt: skip
    carried = graph.map("carried_labels", _CarriedLabel, destination_rules.of_clusters, find, reads=reads)
    return CarriedLabels(
        by_endpoints=graph.count("carried_label_clusters", carried, by=lambda row: row.key[:3]),
        by_proxies=clients.label_keys,
        proxies=graph.count("connected_proxies", clients.clients, by=lambda row: _PROXIES),
    )


def label_problems(rule: DestinationRule, fetch: Fetch, carried: CarriedLabels) -> Iterator[FieldProblem]:
    """Entries of failoverPriority that nobody carries; of a host without endpoints, and without proxies, nobody can know.

    Malformed ones are not told here: what they were meant to be, somebody may carry.
    """
    for path, port, policy in policies_of(rule):
        setting = setting_of(policy)
        if setting is None or setting.distribute or not setting.failover_priority:
            continue
        has_endpoints = fetch.exists(carried.by_endpoints, (rule.key, port, _ANY))
        for position, entry in enumerate(setting.failover_priority):
            key, value = PriorityLabel.parse(entry)
            nobody: list[str] = []
            if not is_label(entry):
                continue
            if has_endpoints and not fetch.exists(carried.by_endpoints, (rule.key, port, entry)):
                nobody.append("endpoint of its host")
            if value is None and fetch.exists(carried.proxies, _PROXIES) and not fetch.exists(carried.by_proxies, key):
                nobody.append("connected proxy")
            if nobody:
                here = f"{path}.loadBalancer.localityLbSetting.failoverPriority[{position}]"
                what = "give them a locality" if key in _OF_LOCALITIES else "label them"
                yield FieldProblem(
                    here, f"no {' and no '.join(nobody)} carries {quoted(entry)}", f"{what}, or remove it"
                )
