"""Policies as somebody could write them, in the form that a DestinationRule has.

Wider than what is accepted: the rules that span fields are not looked at.
"""

from __future__ import annotations

from typing import get_args

from hypothesis import strategies as st

from controlplane.model.istio import SimpleLB, TLSMode
from tests.translate.policies import HOST, UINT32_MAX

DURATIONS = st.one_of(
    st.just("0"),
    st.builds("{}{}".format, st.integers(0, 10**9), st.sampled_from(["h", "m", "s", "ms", "us", "ns"])),
    st.builds("{}.{}s{}ms".format, st.integers(0, 99), st.integers(0, 999), st.integers(0, 10**6)),
)
INT32 = st.one_of(st.integers(0, 3), st.integers(-(2**31), 2**31 - 1))
UINT32 = st.one_of(st.integers(0, 3), st.integers(0, UINT32_MAX))
TEXT = st.one_of(
    st.just(""), st.sampled_from(["a.test", "spiffe://a/b", "*.test"]), st.just("x" * 300), st.text(max_size=9)
)
POOLS = st.fixed_dictionaries(
    {},
    optional={
        "tcp": st.fixed_dictionaries(
            {},
            optional={
                "maxConnections": INT32,
                "connectTimeout": DURATIONS,
                "idleTimeout": DURATIONS,
                "maxConnectionDuration": DURATIONS,
                "tcpKeepalive": st.fixed_dictionaries({}, optional={"probes": UINT32, "time": DURATIONS, "interval": DURATIONS}),
            },
        ),
        "http": st.fixed_dictionaries(
            {},
            optional={
                "http1MaxPendingRequests": INT32,
                "http2MaxRequests": INT32,
                "maxRequestsPerConnection": INT32,
                "maxRetries": INT32,
                "idleTimeout": DURATIONS,
                "h2UpgradePolicy": st.sampled_from(["DEFAULT", "UPGRADE", "DO_NOT_UPGRADE"]),
                "maxConcurrentStreams": INT32,
            },
        ),
    },
)  # fmt: skip
SIZES = st.one_of(st.integers(0, 70_000), st.integers(0, 2**64))
POLICIES = st.fixed_dictionaries(
    {},
    optional={
        "connectionPool": POOLS,
        "outlierDetection": st.fixed_dictionaries(
            {},
            optional={
                "splitExternalLocalOriginErrors": st.booleans(),
                "consecutiveLocalOriginFailures": UINT32,
                "consecutiveGatewayErrors": UINT32,
                "consecutive5xxErrors": UINT32,
                "interval": DURATIONS,
                "baseEjectionTime": DURATIONS,
                "maxEjectionPercent": st.integers(0, 100),
                "minHealthPercent": st.integers(0, 100),
            },
        ),
        "loadBalancer": st.fixed_dictionaries(
            {},
            optional={
                "simple": st.sampled_from(get_args(SimpleLB)),
                "consistentHash": st.fixed_dictionaries(
                    {},
                    optional={
                        "httpHeaderName": TEXT,
                        "httpCookie": st.fixed_dictionaries({"name": TEXT}, optional={"path": TEXT, "ttl": DURATIONS}),
                        "useSourceIp": st.booleans(),
                        "httpQueryParameterName": TEXT,
                        "ringHash": st.fixed_dictionaries({}, optional={"minimumRingSize": SIZES}),
                        "maglev": st.fixed_dictionaries({}, optional={"tableSize": SIZES}),
                        "minimumRingSize": SIZES,
                    },
                ),
            },
        ),
        "tls": st.fixed_dictionaries(
            {},
            optional={
                "mode": st.sampled_from(get_args(TLSMode)),
                "credentialName": st.sampled_from(["", "cred", "a/b", "kubernetes://x"]),
                "sni": TEXT,
                "subjectAltNames": st.lists(TEXT, max_size=3),
                "insecureSkipVerify": st.booleans(),
            },
        ),
    },
)  # fmt: skip
DISCOVERIES = st.sampled_from(["endpoints", "dns", "dns_round_robin"])
PROTOCOLS = st.sampled_from(["http", "h2c", "ws"])
HOSTS = st.sampled_from([HOST, "*.example.com"])
