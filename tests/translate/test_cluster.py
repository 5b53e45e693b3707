"""Clusters by the tables of istio-semantics 1.3 and 2.3, and what else a policy's fields become."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.model.events import Settings
from controlplane.translate.cluster import translate_cluster
from controlplane.translate.resource import content_version
from tests.translate.policies import SETTINGS, a_backend, a_group, an_endpoint, cluster_document, http_options

UNLIMITED = 2**32 - 1
ENFORCED: dict[str, Any] = {"enforcingSuccessRate": 0}


@pytest.mark.parametrize(
    ("protocol", "version"),
    [("http", "a899757b7fc60955"), ("ws", "a899757b7fc60955"), ("h2c", "e3775fe534735f6e")],
)
def test_a_cluster_without_a_policy_is_what_it_always_was(protocol, version):
    backend = a_backend(protocol=protocol)
    assert content_version(translate_cluster(backend, None, SETTINGS)) == version


def test_an_empty_policy_changes_nothing():
    empty = [{}, {"loadBalancer": {}}, {"connectionPool": {"tcp": {}, "http": {}}}, {"tls": {"mode": "DISABLE"}}]
    assert all(cluster_document(**fields) == cluster_document() for fields in empty)


@pytest.mark.parametrize(
    ("outliers", "expected"),
    [
        ({}, {}),
        ({"consecutive5xxErrors": 7}, {"consecutive5xx": 7, "enforcingConsecutive5xx": 100}),
        ({"consecutive5xxErrors": 0}, {"consecutive5xx": 0, "enforcingConsecutive5xx": 0}),
        ({"interval": "5m", "baseEjectionTime": "0.5s"}, {"interval": "300s", "baseEjectionTime": "0.500s"}),
        ({"interval": "0s", "baseEjectionTime": "0"}, {}),
        (
            {"consecutiveGatewayErrors": 3},
            {"consecutiveGatewayFailure": 3, "enforcingConsecutiveGatewayFailure": 100},
        ),
        ({"consecutiveGatewayErrors": 0}, {"consecutiveGatewayFailure": 0, "enforcingConsecutiveGatewayFailure": 0}),
        ({"maxEjectionPercent": 10}, {"maxEjectionPercent": 10, "alwaysEjectOneHost": None}),
        ({"maxEjectionPercent": 0}, {}),
        ({"consecutiveLocalOriginFailures": 4}, {}),
        (
            {"splitExternalLocalOriginErrors": True},
            {"splitExternalLocalOriginErrors": True, "enforcingLocalOriginSuccessRate": 0},
        ),
        (
            {"splitExternalLocalOriginErrors": True, "consecutiveLocalOriginFailures": 4},
            {
                "splitExternalLocalOriginErrors": True,
                "enforcingLocalOriginSuccessRate": 0,
                "consecutiveLocalOriginFailure": 4,
                "enforcingConsecutiveLocalOriginFailure": 100,
            },
        ),
        (
            {"splitExternalLocalOriginErrors": True, "consecutiveLocalOriginFailures": 0},
            {"splitExternalLocalOriginErrors": True, "enforcingLocalOriginSuccessRate": 0},
        ),
    ],
)
def test_outlier_detection(outliers, expected):
    document = cluster_document(outlierDetection=outliers)
    wanted = {**ENFORCED, "alwaysEjectOneHost": True, **expected}
    assert document["outlierDetection"] == {key: value for key, value in wanted.items() if value is not None}


@pytest.mark.parametrize(
    ("fields", "has_localities", "expected"),
    [
        ({}, False, None),
        ({}, True, {"localityWeightedLbConfig": {}}),
        ({"outlierDetection": {}}, False, {"healthyPanicThreshold": {}}),
        ({"outlierDetection": {"minHealthPercent": 0}}, True, {"healthyPanicThreshold": {}, "localityWeightedLbConfig": {}}),
        ({"outlierDetection": {"minHealthPercent": 40}}, False, {"healthyPanicThreshold": {"value": 40.0}}),
        (
            {"loadBalancer": {"consistentHash": {"httpHeaderName": "x"}}},
            True,
            {"localityWeightedLbConfig": {}},
        ),
    ],
)  # fmt: skip
def test_panic_threshold_and_localities(fields, has_localities, expected):
    document = cluster_document(has_localities=has_localities, **fields)
    assert document.get("commonLbConfig") == expected


@pytest.mark.parametrize(
    ("pool", "expected"),
    [
        ({"tcp": {"maxConnections": 5}}, {"maxConnections": 5}),
        ({"http": {"http1MaxPendingRequests": 5}}, {"maxPendingRequests": 5}),
        ({"http": {"http2MaxRequests": 5}}, {"maxRequests": 5}),
        ({"http": {"maxRetries": 5}}, {"maxRetries": 5}),
        ({"tcp": {"maxConnections": -1}, "http": {"http2MaxRequests": 0}}, {}),
        (
            {"tcp": {"maxConnections": 1}, "http": {"http1MaxPendingRequests": 2, "http2MaxRequests": 3, "maxRetries": 4}},
            {"maxConnections": 1, "maxPendingRequests": 2, "maxRequests": 3, "maxRetries": 4},
        ),
    ],
)  # fmt: skip
def test_what_nobody_limits_has_no_limit(pool, expected):
    lifted = dict.fromkeys(("maxConnections", "maxPendingRequests", "maxRequests", "maxRetries"), UNLIMITED)
    document = cluster_document(connectionPool=pool)
    assert document["circuitBreakers"] == {"thresholds": [{**lifted, **expected}]}


@pytest.mark.parametrize(
    ("said", "expected"),
    [("1.5s", "1.500s"), ("0s", "2s"), (None, "2s"), ("999999h", "315360000s"), ("1ns", "0.001s")],
)
def test_connect_timeout(said, expected):
    pool = {"tcp": {} if said is None else {"connectTimeout": said}}
    document = cluster_document(connectionPool=pool, settings=Settings(connect_timeout_ms=2000))
    assert document["connectTimeout"] == expected


@pytest.mark.parametrize(
    ("keepalive", "expected"),
    [
        ({}, {}),
        ({"time": "10s", "interval": "1m", "probes": 3}, {"keepaliveTime": 10, "keepaliveInterval": 60, "keepaliveProbes": 3}),
        ({"time": "1ms", "interval": "1.5s"}, {"keepaliveTime": 1, "keepaliveInterval": 2}),
        ({"time": "0s", "probes": 0}, {}),
        ({"time": "24h", "interval": "24h", "probes": 999}, {"keepaliveTime": 32767, "keepaliveInterval": 32767, "keepaliveProbes": 127}),
    ],
)  # fmt: skip
def test_keepalive_within_what_the_system_takes(keepalive, expected):
    document = cluster_document(connectionPool={"tcp": {"tcpKeepalive": keepalive}})
    assert document["upstreamConnectionOptions"] == {"tcpKeepalive": expected}


@pytest.mark.parametrize(
    ("pool", "expected"),
    [
        ({"http": {"idleTimeout": "30s"}}, {"idleTimeout": "30s"}),
        ({"http": {"idleTimeout": "0s"}, "tcp": {"idleTimeout": "5s"}}, {"idleTimeout": "0s"}),
        ({"tcp": {"idleTimeout": "5s"}}, {"idleTimeout": "5s"}),
        ({"tcp": {"maxConnectionDuration": "1h"}}, {"maxConnectionDuration": "3600s"}),
        ({"tcp": {"maxConnectionDuration": "0s"}}, None),
        ({"http": {"maxRequestsPerConnection": 1}}, {"maxRequestsPerConnection": 1}),
        ({"http": {"maxConcurrentStreams": 9}}, None),
    ],
)
def test_timeouts_of_http_connections(pool, expected):
    options = http_options(cluster_document(connectionPool=pool))
    if expected is None:
        assert options == {}
    else:
        assert options == {"commonHttpProtocolOptions": expected, "explicitHttpConfig": {"httpProtocolOptions": {}}}


@pytest.mark.parametrize(
    ("protocol", "http", "expected"),
    [
        ("http", {"h2UpgradePolicy": "UPGRADE"}, {"http2ProtocolOptions": {}}),
        ("http", {"h2UpgradePolicy": "UPGRADE", "maxConcurrentStreams": 9}, {"http2ProtocolOptions": {"maxConcurrentStreams": 9}}),
        ("http", {"h2UpgradePolicy": "DO_NOT_UPGRADE"}, None),
        ("http", {"h2UpgradePolicy": "DEFAULT"}, None),
        ("ws", {"h2UpgradePolicy": "UPGRADE"}, None),
        ("ws", {"h2UpgradePolicy": "UPGRADE", "maxRequestsPerConnection": 1}, {"httpProtocolOptions": {}}),
        ("h2c", {"h2UpgradePolicy": "DO_NOT_UPGRADE"}, {"http2ProtocolOptions": {}}),
        ("h2c", {"maxConcurrentStreams": 9}, {"http2ProtocolOptions": {"maxConcurrentStreams": 9}}),
    ],
)  # fmt: skip
def test_protocol_of_a_backend(protocol, http, expected):
    document = cluster_document(a_backend(protocol=protocol), connectionPool={"http": http})
    assert http_options(document).get("explicitHttpConfig") == expected


def test_a_name_is_resolved_by_envoy_and_holds_nothing_up():
    group = a_group(an_endpoint("a.example.com", 443, weight=3), locality="r/z/s", priority=1, weight=5)
    document = cluster_document(a_backend("c", discovery="dns"), groups=(group,), has_localities=True)
    assert document["waitForWarmOnInit"] is False
    assert "type" not in document
    assert document["clusterType"] == {
        "name": "envoy.clusters.dns",
        "typedConfig": {
            "@type": "type.googleapis.com/envoy.extensions.clusters.dns.v3.DnsCluster",
            "dnsFailureRefreshRate": {"baseInterval": "1s", "maxInterval": "10s"},
            "dnsLookupFamily": "V4_PREFERRED",
            "dnsRefreshRate": "60s",
            "respectDnsTtl": True,
        },
    }
    address = {"socketAddress": {"address": "a.example.com", "portValue": 443}}
    assert document["loadAssignment"] == {
        "clusterName": "c",
        "endpoints": [
            {
                "lbEndpoints": [{"endpoint": {"address": address}, "loadBalancingWeight": 3}],
                "loadBalancingWeight": 5,
                "locality": {"region": "r", "zone": "z", "subZone": "s"},
                "priority": 1,
            }
        ],
    }


@pytest.mark.parametrize("family", ["V4_PREFERRED", "V4_ONLY", "V6_ONLY", "AUTO", "ALL"])
def test_dns_lookup_family(family):
    document = cluster_document(a_backend(discovery="dns"), settings=Settings(dns_lookup_family=family))
    assert document["clusterType"]["typedConfig"]["dnsLookupFamily"] == family


@pytest.mark.parametrize(
    ("discovery", "groups", "is_single"),
    [
        ("dns_round_robin", (a_group(an_endpoint("a.example.com")),), True),
        ("dns_round_robin", (a_group(an_endpoint("a.example.com")), a_group(locality="r")), True),
        ("dns_round_robin", (a_group(an_endpoint("a.example.com"), an_endpoint("b.example.com")),), False),
        ("dns_round_robin", (a_group(an_endpoint("a.example.com")), a_group(an_endpoint("b.example.com"))), False),
        ("dns_round_robin", (), False),
        ("dns", (a_group(an_endpoint("a.example.com")),), False),
    ],
)
def test_one_address_at_a_time_is_for_one_name(discovery, groups, is_single):
    document = cluster_document(a_backend(discovery=discovery), groups=groups)
    assert document["clusterType"]["typedConfig"].get("allAddressesInSingleEndpoint", False) is is_single
    served = [endpoint for group in groups for endpoint in group.endpoints]
    shown = document["loadAssignment"].get("endpoints", [])
    assert sum(len(locality["lbEndpoints"]) for locality in shown) == len(served)
