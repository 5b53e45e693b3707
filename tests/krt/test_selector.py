"""Label selectors: what they match, and reads by them in both directions. Numbers are those of krt.md, 1.13."""

from __future__ import annotations

from typing import Any

import pytest
from krt_rows import Driver, Pod, Service, Text

from controlplane.krt import Fetch, Graph, Operator, Requirement, Selector


def where(key: str, operator: str, *values: str) -> Selector:
    return Selector(match_expressions=(Requirement(key, Operator(operator), values),))


@pytest.mark.parametrize(
    ("selector", "matched", "unmatched"),
    [
        (Selector(), [{}, {"a": "1"}], []),
        (Selector.from_labels({}), [{}, {"a": "1"}], []),
        (Selector.from_labels({"a": "1"}), [{"a": "1"}, {"a": "1", "b": "2"}], [{}, {"a": "2"}, {"b": "1"}]),
        (Selector.from_labels({"b": "2", "a": "1"}), [{"a": "1", "b": "2"}], [{"a": "1"}, {"b": "2"}, {}]),
        (where("a", "In", "1", "2"), [{"a": "1"}, {"a": "2"}], [{}, {"a": "3"}, {"b": "1"}]),
        (where("a", "In"), [], [{}, {"a": "1"}]),
        (where("a", "NotIn", "1"), [{}, {"a": "2"}, {"b": "1"}], [{"a": "1"}]),
        (where("a", "Exists"), [{"a": ""}, {"a": "1"}], [{}, {"b": "1"}]),
        (where("a", "DoesNotExist"), [{}, {"b": "1"}], [{"a": ""}]),
        (
            Selector((("a", "1"),), (Requirement("b", Operator.EXISTS), Requirement("c", Operator.NOT_IN, ("3",)))),
            [{"a": "1", "b": "2"}, {"a": "1", "b": "2", "c": "4"}],
            [{"a": "1"}, {"b": "2"}, {"a": "1", "b": "2", "c": "3"}],
        ),
    ],
)
def test_match(selector: Selector, matched: list[dict[str, str]], unmatched: list[dict[str, str]]) -> None:
    for labels in matched:
        assert selector.match(labels)
        if selector.anchors():
            assert set(selector.anchors()) & set(labels.items())
    for labels in unmatched:
        assert not selector.match(labels)


def test_equal_selectors_are_equal_whatever_the_order_of_labels() -> None:
    one, other = Selector.from_labels({"a": "1", "b": "2"}), Selector.from_labels({"b": "2", "a": "1"})
    assert one == other
    assert hash(one) == hash(other)


class World:
    """Pods with labels, services with selectors, and both directions between them."""

    def __init__(self) -> None:
        self.graph = Graph()
        self.pods = self.graph.source("pods", Pod, labels=lambda p: p.labels, namespace=lambda p: p.namespace)
        self.services = self.graph.source(
            "services", Service, selector=lambda s: s.selector, namespace=lambda s: s.namespace
        )
        self.runs: list[str] = []

        def endpoints(service: Service, fetch: Fetch) -> Text:
            self.runs.append(service.key)
            if service.selector is None:
                return Text(service.key, "-")
            scope = None if service.wants == "everywhere" else service.namespace
            return Text(service.key, " ".join(p.key for p in fetch.select(self.pods, service.selector, scope)))

        def owners(pod: Pod, fetch: Fetch) -> Text:
            self.runs.append(pod.key)
            scope = None if pod.node == "everywhere" else pod.namespace
            return Text(pod.key, " ".join(s.key for s in fetch.selecting(self.services, pod.labels, scope)))

        self.endpoints = self.graph.map("endpoints", Text, self.services, endpoints, reads=(self.pods,))
        self.owners = self.graph.map("owners", Text, self.pods, owners, reads=(self.services,))
        self.driver = Driver(self.graph)

    def write(self, *rows: Any) -> list[str]:
        """Rows are put, strings delete pods; who has run."""
        self.runs.clear()
        self.driver.write(*((self.services if isinstance(row, Service) else self.pods, row) for row in rows))
        return list(self.runs)

    def endpoints_of(self, key: str) -> str:
        row = self.endpoints.get(key)
        assert row is not None
        return row.text

    def owners_of(self, key: str) -> str:
        row = self.owners.get(key)
        assert row is not None
        return row.text


@pytest.fixture
def world() -> World:
    return World()


APP_X = Selector.from_labels({"app": "x"})
APP_Y = Selector.from_labels({"app": "y"})


def test_services_and_pods_follow_each_other(world: World) -> None:
    """13"""
    world.write(Service("s", selector=APP_X))
    assert world.endpoints_of("s") == ""
    assert world.write(Pod("b", labels={"app": "x"}), Pod("a", labels={"app": "x"})) == ["s", "a", "b"]
    assert world.endpoints_of("s") == "a b"
    assert world.owners_of("a") == "s"
    assert world.write(Pod("a", ip="new", labels={"app": "x"})) == ["s", "a"]
    assert world.write(Pod("c", labels={"app": "y"})) == ["c"]
    assert world.write(Service("s", selector=APP_Y)) == ["s", "a", "b", "c"]
    assert (world.endpoints_of("s"), world.owners_of("c"), world.owners_of("a")) == ("c", "s", "")
    world.write("c")
    assert world.endpoints_of("s") == ""


def test_an_object_that_switches_label_moves_once(world: World) -> None:
    """15"""
    world.write(Service("x", selector=APP_X), Service("y", selector=APP_Y), Pod("p", labels={"app": "x"}))
    assert (world.endpoints_of("x"), world.endpoints_of("y")) == ("p", "")
    assert world.write(Pod("p", labels={"app": "y"})) == ["x", "y", "p"]
    assert (world.endpoints_of("x"), world.endpoints_of("y")) == ("", "p")


def test_two_selectors_in_one_run() -> None:
    """15"""
    graph = Graph()
    pods = graph.source("pods", Pod, labels=lambda p: p.labels)
    runs = []

    def read(fetch: Fetch) -> Text:
        runs.append(1)
        return Text("both", " ".join(str(len(fetch.select(pods, selector))) for selector in (APP_X, APP_Y)))

    both = graph.singleton("both", Text, read, reads=(pods,))
    driver = Driver(graph)
    for labels, expected in (({"app": "x"}, "1 0"), ({"app": "y"}, "0 1"), ({}, "0 0")):
        runs.clear()
        driver.write((pods, Pod("p", labels=labels)))
        assert both.rows() == (Text("both", expected),)
        assert runs == [1]
    runs.clear()
    driver.write((pods, Pod("p", ip="2")))
    assert runs == []


def test_a_namespace_bounds_both_directions(world: World) -> None:
    world.write(
        Service("here", namespace="a", selector=APP_X),
        Service("there", namespace="b", selector=APP_X),
        Service("both", "everywhere", namespace="b", selector=APP_X),
        Pod("p", namespace="a", labels={"app": "x"}),
        Pod("q", "everywhere", namespace="c", labels={"app": "x"}),
    )
    assert world.endpoints_of("here") == "p"
    assert world.endpoints_of("there") == ""
    assert world.endpoints_of("both") == "p q"
    assert world.owners_of("p") == "here"
    assert world.owners_of("q") == "both here there"
    assert world.write(Pod("p", namespace="b", labels={"app": "x"})) == ["both", "here", "there", "p"]
    assert (world.endpoints_of("here"), world.endpoints_of("there")) == ("", "p")


@pytest.mark.parametrize(
    "selector",
    [
        Selector(),
        where("app", "In", "x", "z"),
        where("app", "NotIn", "y"),
        where("app", "Exists"),
        where("tier", "DoesNotExist"),
        Selector((("app", "x"),), (Requirement("tier", Operator.DOES_NOT_EXIST),)),
    ],
)
def test_every_kind_of_selector_is_followed(world: World, selector: Selector) -> None:
    world.write(Service("s", selector=selector))
    for labels in (
        {"app": "x"},
        {"app": "y", "tier": "1"},
        {"app": "z"},
        {},
        {"app": "y"},
        {"tier": "1"},
        {"app": "x"},
    ):
        before = world.endpoints_of("s")
        ran = world.write(Pod("p", labels=labels))
        assert world.endpoints_of("s") == ("p" if selector.match(labels) else "")
        assert world.owners_of("p") == ("s" if selector.match(labels) else "")
        assert ("s" in ran) == (selector.match(labels) or before == "p")


def test_none_selects_nothing_and_an_empty_selector_everything(world: World) -> None:
    world.write(Service("none"), Service("all", selector=Selector()), Pod("p", labels={"a": "1"}), Pod("q"))
    assert world.owners_of("p") == world.owners_of("q") == "all"
    assert world.endpoints_of("all") == "p q"


def test_only_pods_that_a_changed_selector_selects_run(world: World) -> None:
    world.write(*(Pod(f"p{i}", labels={"app": f"a{i}"}) for i in range(50)), Service("s", selector=APP_X))
    assert world.write(Service("s", selector=Selector.from_labels({"app": "a7"}))) == ["s", "p7"]
    assert world.write(Service("s", selector=Selector.from_labels({"app": "a9"}))) == ["s", "p7", "p9"]
    assert world.write(Service("t", selector=where("app", "In", "a1", "a2"))) == ["t", "p1", "p2"]


def test_labels_that_cannot_be_read_select_and_are_selected_by_nothing() -> None:
    def labels(pod: Pod) -> dict[str, str]:
        if pod.ip == "bad":
            raise ValueError("no labels")
        return pod.labels

    def selector(service: Service) -> Selector | None:
        if service.wants == "bad":
            raise ValueError("no selector")
        return service.selector

    graph = Graph()
    pods = graph.source("pods", Pod, labels=labels)
    services = graph.source("services", Service, selector=selector)
    all_pods = graph.map(
        "found", Text, services, lambda s, fetch: Text(s.key, str(len(fetch.select(pods, Selector())))), reads=(pods,)
    )
    owners = graph.map(
        "owners", Text, pods, lambda p, fetch: Text(p.key, str(len(fetch.selecting(services, {})))), reads=(services,)
    )
    driver = Driver(graph)
    driver.write((pods, Pod("p")), (services, Service("s", selector=Selector())))
    assert (all_pods.rows(), owners.rows()) == ((Text("s", "1"),), (Text("p", "1"),))
    commit = driver.write((pods, Pod("p", ip="bad")), (services, Service("s", "bad", selector=Selector())))
    assert [(f.node, f.key, f.message) for f in commit.failures] == [
        ("pods", "p", "labels: no labels"),
        ("services", "s", "selector: no selector"),
    ]
    assert (all_pods.rows(), owners.rows()) == ((Text("s", "0"),), (Text("p", "0"),))
    commit = driver.write((pods, Pod("p")), (services, "s"))
    assert len(commit.cleared) == 2
    assert owners.rows() == (Text("p", "0"),)


@pytest.mark.parametrize(
    ("read", "message"),
    [
        (
            lambda fetch, bare, labelled: fetch.select(bare, APP_X),
            "outputs selects from bare, which declares no labels=",
        ),
        (
            lambda fetch, bare, labelled: fetch.selecting(bare, {}),
            "outputs asks who selects in bare, which declares no selector=",
        ),
        (
            lambda fetch, bare, labelled: fetch.select(labelled, APP_X, "default"),
            "labelled declares no namespace=, so labels cannot be read by namespace",
        ),
        (
            lambda fetch, bare, labelled: fetch.selecting(labelled, {}, "default"),
            "labelled declares no namespace=, so selector cannot be read by namespace",
        ),
    ],
)
def test_what_a_collection_does_not_declare_cannot_be_selected(read: Any, message: str) -> None:
    graph = Graph()
    bare = graph.source("bare", Pod)
    labelled = graph.source("labelled", Pod, labels=lambda p: p.labels, selector=lambda _: None)
    graph.map("outputs", Text, bare, lambda row, fetch: read(fetch, bare, labelled), reads=(bare, labelled))
    (failure,) = Driver(graph).write((bare, Pod("a"))).failures
    assert (failure.exception, failure.message) == ("GraphError", message)
