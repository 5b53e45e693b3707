"""Whatever is translated, a real Envoy takes it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane._proto.envoy.config.cluster.v3 import Cluster
from controlplane.model.events import Settings
from controlplane.model.istio import SimpleLB, TLSMode
from controlplane.model.services import LocalityGroup
from controlplane.translate.cluster import hash_policies
from controlplane.translate.load_assignment import translate_endpoints, translate_virtual_addresses
from tests.conftest import free_port
from tests.translate.loading import Given, load, route
from tests.translate.policies import HOST, UINT32_MAX, a_group, a_policy, an_endpoint, named_cluster
from tests.translate.written import DISCOVERIES, HOSTS, POLICIES, PROTOCOLS

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio]

FAMILIES = ("V4_PREFERRED", "V4_ONLY", "V6_ONLY", "AUTO", "ALL")
HASHES: list[dict[str, Any]] = [
    {"httpHeaderName": "x"},
    {"httpCookie": {"name": "c", "ttl": "0s", "path": "/"}},
    {"httpCookie": {"name": "c"}},
    {"useSourceIp": True},
    {"httpQueryParameterName": "q"},
]
BALANCERS: list[dict[str, Any]] = [
    *({"simple": kind} for kind in get_args(SimpleLB)),
    *({"consistentHash": keys} for keys in HASHES),
    *({"consistentHash": {"minimumRingSize": size}} for size in (1, 8_388_608, 10**15)),
    *({"consistentHash": {"ringHash": {"minimumRingSize": size}}} for size in (0, 1025, 2**64)),
    *({"consistentHash": {"maglev": {"tableSize": size}}} for size in (0, 1, 2, 10, 65537, 5_000_011, 5_000_077)),
]
EVEN = (
    a_group(an_endpoint("127.0.0.1", weight=3), an_endpoint("localhost"), weight=4),
    a_group(an_endpoint("::1"), locality="r/z/s", weight=1),
)
"""Weights that do not ask for a ring of millions."""
HEAVY = (
    a_group(
        an_endpoint("127.0.0.1", weight=UINT32_MAX), an_endpoint("localhost", weight=UINT32_MAX), weight=UINT32_MAX
    ),
    a_group(an_endpoint("::1"), locality="r/z/s", weight=UINT32_MAX),
    a_group(locality="r2", priority=7),
)
ONE = (a_group(an_endpoint("127.0.0.1")),)
SECOND = (a_group(an_endpoint("localhost"), priority=1, weight=1),)
GROUPS: list[tuple[LocalityGroup, ...]] = [(), (a_group(),), ONE, SECOND, HEAVY]


def variants() -> Iterator[tuple[str, bytes]]:
    """Every kind of cluster that we know to make."""
    for has_localities, balancer in product((False, True), BALANCERS):
        policy = a_policy(loadBalancer=balancer)
        yield named_cluster(policy, has_localities=has_localities)
        if not is_large(balancer):
            yield named_cluster(policy, discovery="dns", groups=EVEN, has_localities=has_localities)
    for family, discovery, groups in product(FAMILIES, ("dns", "dns_round_robin"), GROUPS):
        yield named_cluster(
            discovery=discovery, groups=groups, has_localities=True, settings=Settings(dns_lookup_family=family)
        )
    names = ((), ("x.test", "spiffe://a/b", "10.0.0.1", "me@x.test"))
    hosts = (HOST, "*.example.com", "*", "10.0.0.1")
    for mode, credential, sni, said, skips, host in product(
        get_args(TLSMode), ("", "cred"), ("", "a.test", "x" * 256), names, (None, True), hosts
    ):
        tls = {
            "mode": mode,
            "credentialName": credential,
            "sni": sni,
            "subjectAltNames": said,
            "insecureSkipVerify": skips,
        }
        yield named_cluster(a_policy(tls=tls), host=host)
    for protocol, upgrade in product(("http", "h2c", "ws"), ("DEFAULT", "UPGRADE", "DO_NOT_UPGRADE")):
        for tls, streams in product(("DISABLE", "SIMPLE"), (0, 1, 2**31 - 1)):
            http = {"h2UpgradePolicy": upgrade, "maxConcurrentStreams": streams}
            yield named_cluster(a_policy(tls={"mode": tls}, connectionPool={"http": http}), protocol=protocol)
    for outliers in (
        {},
        {"interval": "0s", "baseEjectionTime": "0s"},
        {"interval": "9999999h", "baseEjectionTime": "9999999h"},
    ):
        for errors, percent, split in product((0, 1, UINT32_MAX), (0, 100), (False, True)):
            counts = dict.fromkeys(
                ("consecutiveLocalOriginFailures", "consecutiveGatewayErrors", "consecutive5xxErrors"), errors
            )
            more = {"maxEjectionPercent": percent, "minHealthPercent": percent, "splitExternalLocalOriginErrors": split}
            yield named_cluster(a_policy(outlierDetection={**outliers, **counts, **more}))  # fmt: skip
    for duration, count in product(("0s", "1ns", "9999999h"), (-1, 0, 1, 2**31 - 1)):
        keepalive = {"time": duration, "interval": duration, "probes": max(count, 0)}
        timeouts = dict.fromkeys(("connectTimeout", "idleTimeout", "maxConnectionDuration"), duration)
        limits = dict.fromkeys(
            ("http1MaxPendingRequests", "http2MaxRequests", "maxRetries", "maxRequestsPerConnection"), count
        )
        tcp = {"maxConnections": count, "tcpKeepalive": keepalive, **timeouts}
        yield named_cluster(a_policy(connectionPool={"tcp": tcp, "http": {**limits, "idleTimeout": duration}}))


def is_large(balancer: dict[str, Any]) -> bool:
    """Whether the ring is so large that an Envoy builds it for seconds, if it has endpoints."""
    hashing = balancer.get("consistentHash", {})
    return max(hashing.get("minimumRingSize", 0), hashing.get("ringHash", {}).get("minimumRingSize", 0)) > 100_000


async def test_no_kind_of_cluster_is_rejected(tmp_path):
    clusters = dict(variants())
    async with load(Given(clusters), tmp_path / "files", free_port()) as loaded:
        assert await loaded.rejected() == {}
        assert len(await loaded.active()) == len(clusters) > 500


async def test_the_loader_tells_what_is_rejected(tmp_path):
    """A ring that is larger than its largest size: what we never emit, and what this module is there to find."""
    name, body = named_cluster(a_policy(loadBalancer={"consistentHash": {"minimumRingSize": 2000}}))
    cluster = Cluster.parse(body)
    assert cluster.ring_hash_lb_config is not None
    cluster.ring_hash_lb_config.maximum_ring_size = 10
    other, good = named_cluster()
    given = Given({name: bytes(cluster), other: good})
    async with load(given, tmp_path / "files", free_port(), 1.0) as loaded:
        assert list(await loaded.rejected()) == [name]


async def test_no_kind_of_load_assignment_is_rejected(tmp_path):
    weighted = (
        a_group(
            an_endpoint("10.0.0.1", weight=UINT32_MAX),
            an_endpoint("::1", weight=UINT32_MAX, mesh_tls=True),
            weight=UINT32_MAX,
        ),
        a_group(an_endpoint("10.0.0.2"), locality="r/z/s", weight=UINT32_MAX),
        a_group(locality="r2", priority=500, weight=1),
    )
    bodies = [lambda name: translate_endpoints(name, weighted), lambda name: translate_endpoints(name, ())]
    for addresses, port in product(((), ("10.0.0.1",), ("fd00::1", "10.0.0.1", "10.0.0.2")), (0, 80)):
        bodies.append(lambda name, *given: translate_virtual_addresses(name, addresses, port))  # noqa: B023
    clusters, assignments = {}, {}
    for make, balancer in product(bodies, ({}, {"consistentHash": {}}, {"consistentHash": {"maglev": {}}})):
        name, body = named_cluster(a_policy(loadBalancer=balancer), has_localities=True)
        clusters[name], assignments[name] = body, make(name)
    async with load(Given(clusters, assignments), tmp_path / "files", free_port()) as loaded:
        assert await loaded.rejected() == {}
        stats = await loaded.envoy.stats(r"cluster\..*\.(update_rejected|update_failure|update_success)")
        assert sum(value for name, value in stats.items() if not name.endswith("update_success")) == 0
        assert sum(value for name, value in stats.items() if name.endswith("update_success")) == len(clusters)


async def test_no_policy_that_can_be_written_is_rejected(tmp_path):
    """Wider than what is accepted: the rules that span fields are not looked at, and nothing may depend on them."""
    clusters, routes, policies = {}, [], {}

    @settings(max_examples=250, deadline=None, database=None)
    @given(POLICIES, DISCOVERIES, PROTOCOLS, HOSTS, st.sampled_from([(), ONE, SECOND, EVEN]), st.booleans())
    def write(fields, discovery, protocol, host, groups, has_localities):
        policy = a_policy(**fields)
        if is_large(fields.get("loadBalancer", {})):
            discovery = "endpoints"
        backend = {"discovery": discovery, "protocol": protocol, "host": host}
        name, body = named_cluster(policy, groups=groups, has_localities=has_localities, **backend)
        clusters[name], policies[name] = body, fields
        routes.append(route(name, hash_policies(policy)))

    write()
    async with load(Given(clusters, routes=routes), tmp_path / "files", free_port()) as loaded:
        rejected = await loaded.rejected()
        assert {name: (reason, policies[name]) for name, reason in rejected.items()} == {}
