"""How endpoints are chosen, in clusters and in routes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from controlplane.model.http_route import HTTPPathMatch, HTTPRouteMatch
from controlplane.model.ir import BackendTarget, MirrorTarget, ResolvedRoute, RouteRule
from controlplane.model.rules import RULES, WARNINGS
from controlplane.translate.cluster import hash_policies
from controlplane.translate.document import to_document
from controlplane.translate.load_balancer import is_table_size
from controlplane.translate.route import translate_rule
from tests.translate.policies import a_policy, cluster_document

ROUTE = "type.googleapis.com/envoy.config.route.v3.Route"
HEADER = {"httpHeaderName": "x-user"}


@pytest.mark.parametrize(
    ("balancer", "expected"),
    [
        ({}, {}),
        ({"simple": "UNSPECIFIED"}, {}),
        ({"simple": "ROUND_ROBIN"}, {}),
        ({"simple": "PASSTHROUGH"}, {}),
        ({"simple": "LEAST_CONN"}, {"lbPolicy": "LEAST_REQUEST"}),
        ({"simple": "LEAST_REQUEST"}, {"lbPolicy": "LEAST_REQUEST"}),
        ({"simple": "RANDOM"}, {"lbPolicy": "RANDOM"}),
        ({"consistentHash": HEADER}, {"lbPolicy": "RING_HASH"}),
        ({"consistentHash": {}}, {"lbPolicy": "RING_HASH"}),
        ({"consistentHash": {**HEADER, "ringHash": {}}}, {"lbPolicy": "RING_HASH"}),
        ({"consistentHash": {**HEADER, "minimumRingSize": 9}}, {"lbPolicy": "RING_HASH", "ringHashLbConfig": {"minimumRingSize": "9"}}),
        ({"consistentHash": {**HEADER, "ringHash": {"minimumRingSize": 9}}}, {"lbPolicy": "RING_HASH", "ringHashLbConfig": {"minimumRingSize": "9"}}),
        ({"consistentHash": {**HEADER, "ringHash": {"minimumRingSize": 10**12}}}, {"lbPolicy": "RING_HASH", "ringHashLbConfig": {"minimumRingSize": "8388608"}}),
        ({"consistentHash": {**HEADER, "maglev": {}}}, {"lbPolicy": "MAGLEV"}),
        ({"consistentHash": {**HEADER, "maglev": {"tableSize": 5000011}}}, {"lbPolicy": "MAGLEV", "maglevLbConfig": {"tableSize": "5000011"}}),
        ({"consistentHash": {**HEADER, "maglev": {"tableSize": 10}}}, {"lbPolicy": "MAGLEV"}),
        ({"consistentHash": {**HEADER, "maglev": {"tableSize": 5000077}}}, {"lbPolicy": "MAGLEV"}),
    ],
)  # fmt: skip
def test_load_balancer(balancer, expected):
    document = cluster_document(loadBalancer=balancer)
    assert {
        key: document[key] for key in ("lbPolicy", "ringHashLbConfig", "maglevLbConfig") if key in document
    } == expected


def test_table_sizes_are_prime_numbers_that_are_not_too_large():
    assert [size for size in range(-1, 30) if is_table_size(size)] == [2, 3, 5, 7, 11, 13, 17, 19, 23, 29]
    assert [size for size in (65536, 65537, 5000010, 5000011, 5000077) if is_table_size(size)] == [65537, 5000011]


def hashed(*policies: Any) -> list[Any]:
    """What routes hash for clusters of these policies, as a route's document shows it."""
    targets = tuple(BackendTarget(cluster=f"c{number}", weight=1) for number in range(len(policies)))
    return action(targets, dict(zip((target.cluster for target in targets), policies, strict=True)))


def action(targets: tuple[BackendTarget, ...], policies: dict[str, Any], mirrors: tuple[MirrorTarget, ...] = ()) -> Any:
    rule = RouteRule(
        index=0, matches=(HTTPRouteMatch(path=HTTPPathMatch()),), backends=targets, mirrors=mirrors
    )  # fmt: skip
    route = ResolvedRoute(key="ns/r", created="", rules=(rule,), unresolved=(), invalid=())
    found = {name: hash_policies(a_policy(**fields)) for name, fields in policies.items()}
    [entry] = translate_rule(route, rule, "http", 80, lambda cluster: found.get(cluster, ()))
    return to_document(ROUTE, entry.body)["route"].get("hashPolicy", [])


def hashing(**fields: Any) -> dict[str, Any]:
    return {"loadBalancer": {"consistentHash": fields}}


HASHED: list[tuple[dict[str, Any], Any]] = [
    ({}, None),
    ({"useSourceIp": False}, None),
    (HEADER, {"header": {"headerName": "x-user"}}),
    ({"httpHeaderName": ":authority"}, {"header": {"headerName": ":authority"}}),
    ({"httpHeaderName": "no header"}, None),
    ({"httpHeaderName": "x\r\ny"}, None),
    ({"useSourceIp": True}, {"connectionProperties": {"sourceIp": True}}),
    ({"httpQueryParameterName": "q"}, {"queryParameter": {"name": "q"}}),
    ({"httpCookie": {"name": "c"}}, {"cookie": {"name": "c"}}),
    ({"httpCookie": {"name": "c", "ttl": "0s", "path": "/p"}}, {"cookie": {"name": "c", "ttl": "0s", "path": "/p"}}),
    ({"httpCookie": {"name": "c", "ttl": "1h"}, "maglev": {}}, {"cookie": {"name": "c", "ttl": "3600s"}}),
    ({"httpCookie": {"name": ""}}, None),
    ({"httpCookie": {"name": "c; Domain=x"}}, None),
    ({"httpCookie": {"name": "c", "path": "/; Domain=x"}}, None),
    ({"httpCookie": {"name": "c", "path": "/\r\nset-cookie: a=b"}}, None),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "expected"), HASHED)
def test_what_routes_hash(fields, expected):
    assert hashed(hashing(**fields)) == ([expected] if expected else [])


@pytest.mark.parametrize(("fields", "expected"), HASHED)
def test_where_nothing_is_hashed_the_rule_is_refused_or_says_so(fields, expected):
    policy = a_policy(**hashing(**fields))
    warned = any("endpoints are chosen at random" in warning.problem for warning in WARNINGS.findings(policy))
    assert (warned or bool(RULES.findings(policy))) == (expected is None)


def test_a_route_hashes_for_all_its_clusters_once():
    header, cookie = hashing(**HEADER), hashing(httpCookie={"name": "c"})
    assert hashed({"loadBalancer": {"simple": "RANDOM"}}, {}) == []
    assert [list(policy) for policy in hashed(header, cookie, header)] == [["header"], ["cookie"]]
    targets = [BackendTarget(cluster=name, weight=1) for name in ("b", "a", "")]
    shown = [action(tuple(order), {"a": cookie, "b": header}) for order in (targets, targets[::-1])]
    assert json.dumps(shown[0]) == json.dumps(shown[1])
    assert [list(policy) for policy in shown[0]] == [["cookie"], ["header"]]


def test_mirrors_and_targets_without_weight_have_no_say():
    targets = (BackendTarget(cluster="a", weight=1), BackendTarget(cluster="b", weight=0))
    mirrors = (MirrorTarget(cluster="m", parts_per_million=1_000_000),)
    header = hashing(**HEADER)
    assert action(targets, {"b": header, "m": header}, mirrors) == []
