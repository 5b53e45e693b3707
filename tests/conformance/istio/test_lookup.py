"""1.7, how a route names a ServiceEntry and what it finds; 1.2, names; by backendRefs and by mirrors alike."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conformance.manifests import Manifest, filter_, reference_grant

from .mesh import NS, View, at, entry, leading_to, port, route, service, slice_of, to_entry, to_host, to_service, view

OTHER = "elsewhere"
BEFORE, LATER = "2020-01-01T00:00:00Z", "2021-01-01T00:00:00Z"


def se(name: str = "se", *hosts: str, **fields: Any) -> Manifest:
    return entry(name, *hosts, endpoints=[at("1.1.1.1")], **fields)


def cluster_of(served: View) -> str | None:
    """What the one rule leads to; None for a direct answer of 500."""
    (host,) = served.virtual_hosts.values()
    (only,) = host["routes"]
    if "directResponse" in only:
        assert only["directResponse"]["status"] == 500
        return None
    cluster: str = only["route"]["cluster"]
    return cluster


def leads(ref: Manifest, *objects: Any) -> str | None:
    served = view(objects, leading_to(ref))
    found = cluster_of(served)
    assert set(served.clusters) == ({found} if found else set())
    (parent,) = served.parents("r")
    assert parent["ResolvedRefs"][0] == ("True" if found else "False")
    return found


def reason(ref: Manifest, *objects: Any) -> str:
    (parent,) = view(objects, leading_to(ref)).parents("r")
    return parent["ResolvedRefs"][1]


SE = "istio-se_gwtest_se_se.example.com_80"
MULTI = se("se", "b.example.com", "a.example.com")


@pytest.mark.parametrize(
    ("ref", "made", "expected"),
    [
        (to_host(), se(), SE),
        (to_entry(), se(), SE),
        (to_host(number=81), se(), None),
        (to_entry(number=81), se(), None),
        (to_host("no.example.com"), se(), None),
        (to_entry("no"), se(), None),
        # A ServiceEntry is no Service, and its own name is no host.
        (to_service("se"), se(), None),
        (to_host("se"), se(), None),
        (to_host(), se(namespace=OTHER), "istio-se_elsewhere_se_se.example.com_80"),
        # First list, 8: a host is that host's cluster alone.
        (to_host("a.example.com"), MULTI, "istio-se_gwtest_se_a.example.com_80"),
        (to_host("b.example.com"), MULTI, "istio-se_gwtest_se_b.example.com_80"),
        # By its own name: the first host of the alphabet.
        (to_entry(), MULTI, "istio-se_gwtest_se_a.example.com_80"),
        (to_host(number=443), se(ports=[port(), port(443, "tls", "TLS")]), "istio-se_gwtest_se_se.example.com_443"),
    ],
)
def test_what_is_found(ref: Manifest, made: Manifest, expected: str | None) -> None:
    assert leads(ref, made) == expected


@pytest.mark.parametrize(
    ("ref", "expected"),
    [
        ({"group": "nobody.example.com", "kind": "Thing", "name": "x", "port": 80}, "InvalidKind"),
        (to_host("no.example.com"), "BackendNotFound"),
        (to_entry("no"), "BackendNotFound"),
        (to_entry(namespace=OTHER), "RefNotPermitted"),
        (to_service("no"), "BackendNotFound"),
    ],
)
def test_why_nothing_is_found(ref: Manifest, expected: str) -> None:
    assert reason(ref, se(), se(namespace=OTHER)) == expected


def test_a_host_with_a_namespace_is_an_invalid_destination() -> None:
    """[I] of 1.7. Gateway API has no such reason; whatever it is called, the reference resolves to nothing."""
    assert leads(to_host(namespace=NS), se()) is None


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ({"created": LATER}, {"created": BEFORE}, "se2"),
        ({"created": BEFORE}, {"created": LATER}, "se1"),
        ({"created": BEFORE}, {"created": BEFORE}, "se1"),
        ({}, {}, "se1"),
    ],
)
def test_of_several_the_oldest_then_the_smallest_key(first: Manifest, second: Manifest, expected: str) -> None:
    made = [se("se2", **second), se("se1", **first)]
    assert leads(to_host(), made) == f"istio-se_gwtest_{expected}_se.example.com_80"


def test_the_port_is_part_of_the_key() -> None:
    """kgateway's #14212: the oldest has not that port."""
    made = [se("old", created=BEFORE), se("new", ports=[port(81)], created=LATER)]
    assert leads(to_host(number=81), made) == "istio-se_gwtest_new_se.example.com_81"


@pytest.mark.parametrize("group", ["", "core"])
def test_services(group: str) -> None:
    assert leads({"group": group, **to_service()}, service(), slice_of("reviews", [])) == "kube_gwtest_reviews_80"


def test_a_service_by_its_host() -> None:
    assert leads(to_host("reviews.gwtest.svc.cluster.local"), service()) == "kube_gwtest_reviews_80"


# ReferenceGrants


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [(["ServiceEntry"], "istio-se_elsewhere_se_se.example.com_80"), (["Service"], None), ([], None)],
)
def test_a_service_entry_elsewhere_needs_a_grant(kinds: list[str], expected: str | None) -> None:
    grants = [
        reference_grant(
            "g",
            OTHER,
            [{"kind": "HTTPRoute", "namespace": NS}],
            [{"kind": kind, "group": "networking.istio.io" if kind == "ServiceEntry" else ""}],
        )
        for kind in kinds
    ]
    assert leads(to_entry(namespace=OTHER), se(namespace=OTHER), grants) == expected


# First list, 8: exportTo for hosts


@pytest.mark.parametrize(
    ("exports", "is_found"),
    [
        (None, True),
        (["*"], True),
        ([NS], True),
        (["."], False),
        (["third"], False),
        (["third", NS], True),
        ([OTHER], False),
    ],
)
def test_exports(exports: list[str] | None, is_found: bool) -> None:
    given: dict[str, Any] = {"exportTo": exports} if exports else {}
    made = se(namespace=OTHER, **given)
    assert leads(to_host(), made) == ("istio-se_elsewhere_se_se.example.com_80" if is_found else None)


def test_its_own_namespace_by_a_dot() -> None:
    assert leads(to_host(), se(exportTo=["."])) == SE


def test_one_that_is_not_exported_gives_way() -> None:
    made = [se("hidden", namespace=OTHER, exportTo=["."], created=BEFORE), se("shown", created=LATER)]
    assert leads(to_host(), made) == "istio-se_gwtest_shown_se.example.com_80"


# Mirrors find what backends find


@pytest.mark.parametrize(
    ("ref", "expected"),
    [
        (to_host(), SE),
        (to_entry(), SE),
        (to_service("copies"), "kube_gwtest_copies_80"),
        (to_host("no.example.com"), None),
        (to_entry(namespace=OTHER), None),
        (to_host(number=81), None),
    ],
)
def test_mirrors(ref: Manifest, expected: str | None) -> None:
    rule = {"backendRefs": [to_service()], "filters": [filter_("RequestMirror", backendRef=ref)]}
    there = se("se", "there.example.com", namespace=OTHER)
    made = [se(), there, service(), service("copies"), leading_to()[0], route("r", rules=[rule])]
    served = view(made)
    assert cluster_of(served) == "kube_gwtest_reviews_80"
    (host,) = served.virtual_hosts.values()
    mirrors = [each["cluster"] for each in host["routes"][0]["route"].get("requestMirrorPolicies", ())]
    assert mirrors == ([expected] if expected else [])
    (parent,) = served.parents("r")
    assert parent["ResolvedRefs"][0] == ("True" if expected else "False")


# 1.2, AppProtocol


@pytest.mark.parametrize(
    ("protocol", "is_http2"),
    [
        ("HTTP2", True),
        ("http2", True),
        ("GRPC", True),
        ("grpc-web", True),
        ("HTTP", False),
        ("TCP", False),
        ("HTTPS", False),
    ],
)
def test_the_protocol_of_a_port(protocol: str, is_http2: bool) -> None:
    cluster = view(se(ports=[port(protocol=protocol)]), leading_to(to_host())).cluster(SE)
    options = cluster.get("typedExtensionProtocolOptions", {})
    found = options.get("envoy.extensions.upstreams.http.v3.HttpProtocolOptions", {})
    assert ("http2ProtocolOptions" in found.get("explicitHttpConfig", {})) is is_http2
