"""``recompute-edges.md``, B.5, for a mirror: each edge is moved, and back, with what was not there before.

Shown twice: by what it changes, and (in ``History``) by its equality with a fresh translation of the edited set.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.conformance.manifests import Manifest, filter_, gateway, reference_grant

from .edges import REVIEWS, Seen, behind, check
from .history import History
from .mesh import NS, View, at, entry, route, service, to_entry, to_host, to_service

OTHER = "elsewhere"
ENTRY, COPIES = "istio-se_gwtest_se_se.example.com_80", "kube_gwtest_copies_80"
GRANT = reference_grant("g", OTHER, [{"kind": "HTTPRoute", "namespace": NS}], [{"kind": "Service"}])


def mirroring(ref: Manifest, *more: Manifest) -> list[Manifest]:
    """The Gateway, and a route to ``reviews`` that copies to these."""
    filters = [filter_("RequestMirror", backendRef=each) for each in (ref, *more)]
    rule = {"backendRefs": [to_service()], "filters": filters}
    return [gateway(name="web", namespace=NS), route("r", rules=[rule]), *REVIEWS]


def mirrors(found: View) -> list[str]:
    (host,) = found.virtual_hosts.values()
    return [each["cluster"] for each in host["routes"][0]["route"].get("requestMirrorPolicies", ())]


def to_copies(found: View) -> list[str]:
    return found.sockets(COPIES) if COPIES in found.clusters else []


def resolved(found: View) -> str:
    (parent,) = found.parents("r")
    return parent["ResolvedRefs"][1]


COPY = to_service("copies")
PORTS: list[Manifest] = [{"name": "http", "port": 80}, {"name": "second", "port": 81}]
"""A Service of one port has what its EndpointSlice has, whatever that is called; so there are two."""
THERE = to_service("copies", namespace=OTHER)
HOST_COPY = to_host()
SE = entry(endpoints=[at("1.1.1.1")])
THERE_CLUSTER = "kube_elsewhere_copies_80"


def mirror_of(ref: Manifest, *objects: Manifest) -> list[Manifest]:
    return [*mirroring(ref), *objects]


MIRRORS = [
    pytest.param(mirror_of(COPY), [service("copies")], [], mirrors, [], [COPIES], id="its Service appears"),
    pytest.param(
        mirror_of(COPY), [service("copies")], [], resolved, "BackendNotFound", "ResolvedRefs", id="and is told"
    ),
    pytest.param(
        mirror_of(COPY, service("copies"), behind("copies", "10.0.0.2")),
        [behind("copies", "10.0.0.3")],
        [],
        to_copies,
        ["10.0.0.2:8080"],
        ["10.0.0.3:8080"],
        id="its endpoints are replaced",
    ),
    pytest.param(
        mirror_of(COPY, service("copies")),
        [behind("copies", "10.0.0.2")],
        [],
        to_copies,
        [],
        ["10.0.0.2:8080"],
        id="its first endpoints",
    ),
    pytest.param(
        mirror_of(COPY, service("copies")),
        [service("copies", {"name": "http", "port": 81})],
        [],
        mirrors,
        [COPIES],
        [],
        id="its port is another",
    ),
    pytest.param(
        mirror_of(COPY, service("copies", {"name": "http", "port": 81})),
        [service("copies")],
        [],
        mirrors,
        [],
        [COPIES],
        id="its port comes back",
    ),
    pytest.param(
        mirror_of(COPY, service("copies", *PORTS), behind("copies", "10.0.0.2")),
        [service("copies", {"name": "other", "port": 80}, PORTS[1])],
        [],
        to_copies,
        ["10.0.0.2:8080"],
        [],
        id="its port has another name",
    ),
    pytest.param(
        mirror_of(THERE, service("copies", namespace=OTHER)),
        [GRANT],
        [],
        mirrors,
        [],
        [THERE_CLUSTER],
        id="its grant appears",
    ),
    pytest.param(
        mirror_of(THERE, service("copies", namespace=OTHER), GRANT),
        [],
        [GRANT],
        mirrors,
        [THERE_CLUSTER],
        [],
        id="its grant goes",
    ),
    pytest.param(mirror_of(HOST_COPY), [SE], [], mirrors, [], [ENTRY], id="its host appears"),
    pytest.param(mirror_of(HOST_COPY, SE), [], [SE], mirrors, [ENTRY], [], id="its host goes"),
    pytest.param(
        mirror_of(HOST_COPY, SE),
        [entry(endpoints=[at("2.2.2.2")])],
        [],
        lambda found: found.sockets(ENTRY),
        ["1.1.1.1:80"],
        ["2.2.2.2:80"],
        id="its host's endpoints are replaced",
    ),
    pytest.param(
        mirror_of(HOST_COPY, SE),
        [entry(endpoints=[at("1.1.1.1")], exportTo=["third"])],
        [],
        mirrors,
        [ENTRY],
        [],
        id="its host is exported no more",
    ),
    pytest.param(mirror_of(to_entry()), [SE], [], mirrors, [], [ENTRY], id="its ServiceEntry appears"),
    pytest.param(
        mirror_of(HOST_COPY, entry("later", endpoints=[at("1.1.1.1")], created="2021-01-01T00:00:00Z")),
        [entry("older", endpoints=[at("1.1.1.1")], created="2020-01-01T00:00:00Z")],
        [],
        mirrors,
        ["istio-se_gwtest_later_se.example.com_80"],
        ["istio-se_gwtest_older_se.example.com_80"],
        id="an older one of its host appears",
    ),
]


@pytest.mark.parametrize(("start", "put", "take", "seen", "before", "after"), MIRRORS)
def test_a_mirror_s_edge(
    start: list[Manifest], put: list[Manifest], take: list[Manifest], seen: Seen, before: Any, after: Any
) -> None:
    check(start, put, take, seen, before, after)


def test_each_of_several_mirrors_is_looked_at() -> None:
    history = History(mirroring(to_service("copies"), to_host()))
    assert mirrors(history.view()) == []
    history.put(service("copies"), behind("copies", "10.0.0.2"))
    assert mirrors(history.view()) == [COPIES]
    history.put(SE)
    assert mirrors(history.view()) == [COPIES, ENTRY]
    history.take(service("copies"))
    assert mirrors(history.view()) == [ENTRY]


def test_a_mirror_s_endpoints_are_replaced_twenty_times() -> None:
    """The mirror bug of Envoy Gateway, #5495."""
    history = History(mirroring(COPY), service("copies"))
    for number in range(20):
        history.put(behind("copies", f"10.0.1.{number}"))
        assert to_copies(history.view()) == [f"10.0.1.{number}:8080"]
