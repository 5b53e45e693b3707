"""Work follows the change, not the size: counted in runs and look-ups, which no machine can make faster or slower."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from krt_rows import Driver, Pod, Service, Text

from controlplane.krt import Commit, Fetch, Graph, Operator, Requirement, Selector

SIZES = (10, 10_000)


class Town:
    """Pods and services in namespaces of five, and one of every kind of reader for each service."""

    def __init__(self, size: int) -> None:
        self.graph = graph = Graph()
        self.pods = graph.source("pods", Pod, labels=lambda p: p.labels, namespace=lambda p: p.namespace)
        self.services = graph.source(
            "services", Service, selector=lambda s: s.selector, namespace=lambda s: s.namespace
        )
        self.by_namespace = self.pods.index("by_namespace", lambda p: p.namespace)
        pods, services, by_namespace = self.pods, self.services, self.by_namespace

        def reader(name: str, read: Callable[[Service, Fetch], object]) -> None:
            graph.map(name, Text, services, lambda s, f: Text(s.key, repr(read(s, f))), reads=(pods, by_namespace))

        reader("keys", lambda s, fetch: fetch(pods, s.wants))
        reader("key_views", lambda s, fetch: fetch(pods, s.wants, view=lambda p: p.ip))
        reader("existences", lambda s, fetch: fetch.exists(pods, s.wants))
        reader("values", lambda s, fetch: len(fetch.by(by_namespace, s.namespace)))
        reader("value_views", lambda s, fetch: fetch.by(by_namespace, s.namespace, view=lambda p: p.ip))
        reader("selects", lambda s, fetch: len(fetch.select(pods, s.selector or Selector(), s.namespace)))
        graph.map(
            "selectings",
            Text,
            pods,
            lambda p, fetch: Text(p.key, str(len(fetch.selecting(services, p.labels, p.namespace)))),
            reads=(services,),
        )
        groups = graph.group("groups", pods, by=lambda p: p.namespace)
        graph.count("counts", pods, by=lambda p: p.namespace)
        graph.map("sizes", Text, groups, lambda g, _: Text(g.key, str(len(g.rows))))
        graph.union("together", Pod, (pods,))
        self.driver = Driver(graph)
        self.driver.write(
            *((self.pods, self.pod(i)) for i in range(size)), *((self.services, self.service(i)) for i in range(size))
        )

    @staticmethod
    def pod(i: int, ip: str = "1") -> Pod:
        return Pod(f"p{i:05}", ip=ip, namespace=f"ns{i // 5}", labels={"app": f"a{i}"})

    @staticmethod
    def service(i: int, app: int | None = None) -> Service:
        selector = Selector.from_labels({"app": f"a{i if app is None else app}"})
        return Service(f"s{i:05}", f"p{i:05}", f"ns{i // 5}", selector)

    def work(self, *writes: tuple[Any, Any]) -> tuple[Commit, dict[str, int], dict[str, int]]:
        """A commit, with the runs and the look-ups that it took, by collection."""
        before = {node.name: node.statistics().lookups for node in self.graph.collections}
        commit = self.driver.write(*writes)
        lookups = {node.name: node.statistics().lookups - before[node.name] for node in self.graph.collections}
        return commit, dict(commit.runs), {name: count for name, count in lookups.items() if count}


@pytest.fixture(scope="module")
def towns() -> tuple[Town, Town]:
    small, large = (Town(size) for size in SIZES)
    return small, large


EDITS: dict[str, Callable[[Town], tuple[Any, Any]]] = {
    "a pod's address": lambda t: (t.pods, Town.pod(3, "2")),
    "the same once more": lambda t: (t.pods, Town.pod(3, "2")),
    "a new pod": lambda t: (t.pods, msgspec.structs.replace(Town.pod(3), key="p00003x")),
    "a pod in another namespace": lambda t: (
        t.pods,
        msgspec.structs.replace(Town.pod(3), key="p00003x", namespace="new"),
    ),
    "a pod deleted": lambda t: (t.pods, "p00003x"),
    "a service's selector": lambda t: (t.services, Town.service(3, app=4)),
    "a service deleted": lambda t: (t.services, "s00003"),
    "a service again": lambda t: (t.services, Town.service(3)),
}


def test_the_same_edit_costs_the_same_among_ten_and_among_ten_thousand(towns: tuple[Town, Town]) -> None:
    """One test, since each edit stands on the one before."""
    for name, edit in EDITS.items():
        small, large = (town.work(edit(town)) for town in towns)
        assert small == large, name


def test_one_address_runs_what_shows_it_and_nothing_else() -> None:
    town = Town(50)
    _, runs, lookups = town.work((town.pods, Town.pod(3, "2")))
    assert runs == {
        "pods": 1,
        "keys": 1,  # who reads it by key
        "key_views": 1,
        "values": 5,  # the five who read its namespace
        "value_views": 5,
        "selects": 1,  # whose selector has it
        "selectings": 1,
        "groups": 1,
        "counts": 1,
        "sizes": 1,
        "together": 1,
    }
    assert lookups["keys"] == lookups["key_views"] == lookups["values"] == lookups["value_views"] == 1
    assert lookups["existences"] == 1
    # Two rows (before and after), in all namespaces and in one: the namespace and its one label.
    assert lookups["selects"] == 2 * 2 * 2


def test_results_that_are_equal_stop_there() -> None:
    town = Town(50)
    commit, runs, _ = town.work((town.pods, Town.pod(3, "2")))
    assert runs["values"] == 5
    assert runs["sizes"] == 1
    assert commit.deltas.keys() == {"pods", "keys", "key_views", "value_views", "groups", "together"}


def test_one_service_of_a_thousand_runs_what_its_selector_has() -> None:
    """krt checks the selector on the namespace's 500 candidates: 20 runs for a touch, 40 for a move. The matches are the same 20
    here; what is not looked at is everybody else."""
    graph = Graph()
    pods = graph.source("pods", Pod, namespace=lambda p: p.namespace)
    services = graph.source("services", Service, selector=lambda s: s.selector, namespace=lambda s: s.namespace)
    graph.map(
        "workloads",
        Text,
        pods,
        lambda p, fetch: Text(p.key, " ".join(s.wants for s in fetch.selecting(services, p.labels, p.namespace))),
        reads=(services,),
    )
    driver = Driver(graph)
    driver.write(
        *((pods, Pod(f"p{i}", namespace=f"ns{i % 2}", labels={"app": f"a{i % 25}"})) for i in range(1000)),
        *((services, Service(f"s{i}", "", f"ns{i % 2}", Selector((("app", f"a{i % 25}"),)))) for i in range(50)),
    )
    touched = driver.write((services, Service("s0", "new", "ns0", Selector((("app", "a0"),)))))
    assert touched.runs == {"services": 1, "workloads": 20}
    moved = driver.write((services, Service("s0", "new", "ns0", Selector((("app", "a1"),)))))
    assert moved.runs == {"services": 1, "workloads": 40}


@pytest.mark.parametrize(
    "selector",
    [
        Selector.from_labels({"app": "a1"}),
        Selector.from_labels({"app": "a1", "tier": "t"}),
        Selector(match_expressions=(Requirement("app", Operator.IN, ("a1", "a2")),)),
    ],
)
def test_finding_pods_by_selector_looks_at_none_but_its_own(selector: Selector) -> None:
    looked_at = []

    def labels(pod: Pod) -> dict[str, str]:
        looked_at.append(pod.key)
        return pod.labels

    graph = Graph()
    pods = graph.source("pods", Pod, labels=labels)
    services = graph.source("services", Service)
    graph.map("found", Text, services, lambda s, fetch: Text(s.key, str(fetch.select(pods, selector))), reads=(pods,))
    driver = Driver(graph)
    rows = [Pod(f"p{i}", labels={"app": f"a{i}", "tier": "t"}) for i in range(1000)]
    driver.write(*((pods, row) for row in rows), (services, Service("warm")))
    looked_at.clear()
    driver.write((services, Service("s")), (pods, "p999"))
    assert set(looked_at) <= {"p1", "p2", "p999"}


def test_a_burst_is_one_run_of_each_reader() -> None:
    """istio#60366: 500 policies and 10,000 pods, half an hour of one-by-one updates"""
    graph = Graph()
    pods = graph.source("pods", Pod)
    policies = graph.source("policies", Service)
    graph.map("counted", Text, policies, lambda s, fetch: Text(s.key, str(len(fetch.all(pods)))), reads=(pods,))
    driver = Driver(graph)
    driver.write(*((policies, Service(f"s{i}")) for i in range(50)), *((pods, Pod(f"p{i}")) for i in range(1000)))
    commit = driver.write(*((pods, Pod(f"p{i}", ip="new")) for i in range(200)))
    assert commit.runs == {"pods": 200, "counted": 50}
    assert commit.deltas.keys() == {"pods"}
