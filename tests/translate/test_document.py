"""Documents are protobuf's JSON of what betterproto2 encoded."""

import datetime as dt
import json
import subprocess
import sys

import betterproto2
import pytest

from controlplane._proto.envoy.config.cluster.v3 import (
    Cluster,
    ClusterDiscoveryType,
    ClusterEdsClusterConfig,
    OutlierDetection,
)
from controlplane._proto.envoy.config.core.v3 import (
    Address,
    AggregatedConfigSource,
    ApiVersion,
    ConfigSource,
    DataSource,
    HealthStatus,
    Locality,
    Metadata,
    RuntimeFractionalPercent,
    SocketAddress,
)
from controlplane._proto.envoy.config.endpoint.v3 import (
    ClusterLoadAssignment,
    Endpoint,
    LbEndpoint,
    LocalityLbEndpoints,
)
from controlplane._proto.envoy.config.listener.v3 import Filter, FilterChain, Listener
from controlplane._proto.envoy.config.route.v3 import (
    Route,
    RouteAction,
    RouteActionRequestMirrorPolicy,
    RouteConfiguration,
    RouteMatch,
    Vhds,
    VirtualHost,
)
from controlplane._proto.envoy.extensions.filters.http.cors.v3 import CorsPolicy
from controlplane._proto.envoy.extensions.filters.http.router.v3 import Router
from controlplane._proto.envoy.extensions.filters.network.http_connection_manager.v3 import (
    HttpConnectionManager,
    HttpConnectionManagerCodecType,
    HttpFilter,
)
from controlplane._proto.envoy.extensions.transport_sockets.tls.v3 import Secret, TlsCertificate
from controlplane._proto.envoy.extensions.upstreams.http.v3 import HttpProtocolOptions
from controlplane._proto.envoy.type.matcher.v3 import StringMatcher
from controlplane._proto.envoy.type.v3 import FractionalPercent, FractionalPercentDenominatorType
from controlplane._proto.google.protobuf import Any, Duration, Struct, Value
from controlplane._proto.message_pool import default_message_pool
from controlplane.translate.document import to_document

ADS = ConfigSource(ads=AggregatedConfigSource(), resource_api_version=ApiVersion.V3)
ADS_DOCUMENT = {"ads": {}, "resourceApiVersion": "V3"}

CASES = {
    "Cluster": (
        Cluster(
            name="kube_default_web_80",
            type=ClusterDiscoveryType.EDS,
            eds_cluster_config=ClusterEdsClusterConfig(eds_config=ADS),
            connect_timeout=dt.timedelta(milliseconds=2500),
            per_connection_buffer_limit_bytes=0,
            outlier_detection=OutlierDetection(consecutive_5xx=3, enforcing_consecutive_5xx=0),
            wait_for_warm_on_init=False,
            typed_extension_protocol_options={"options": Any.pack(HttpProtocolOptions())},
        ),
        {
            "connectTimeout": "2.500s",
            "edsClusterConfig": {"edsConfig": ADS_DOCUMENT},
            "name": "kube_default_web_80",
            "outlierDetection": {"consecutive5xx": 3, "enforcingConsecutive5xx": 0},
            "perConnectionBufferLimitBytes": 0,
            "type": "EDS",
            "typedExtensionProtocolOptions": {
                "options": {"@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions"}
            },
            "waitForWarmOnInit": False,
        },
    ),
    "ClusterLoadAssignment": (
        ClusterLoadAssignment(
            cluster_name="kube_default_web_80",
            endpoints=[
                LocalityLbEndpoints(
                    locality=Locality(zone="a"),
                    load_balancing_weight=1,
                    lb_endpoints=[
                        LbEndpoint(
                            endpoint=Endpoint(
                                address=Address(socket_address=SocketAddress(address="10.0.0.1", port_value=8080))
                            ),
                            health_status=HealthStatus.DRAINING,
                        )
                    ],
                )
            ],
        ),
        {
            "clusterName": "kube_default_web_80",
            "endpoints": [
                {
                    "lbEndpoints": [
                        {
                            "endpoint": {"address": {"socketAddress": {"address": "10.0.0.1", "portValue": 8080}}},
                            "healthStatus": "DRAINING",
                        }
                    ],
                    "loadBalancingWeight": 1,
                    "locality": {"zone": "a"},
                }
            ],
        },
    ),
    "Listener": (
        Listener(
            name="default/web/80",
            filter_chains=[
                FilterChain(
                    filters=[
                        Filter(
                            name="hcm",
                            typed_config=Any.pack(
                                HttpConnectionManager(
                                    codec_type=HttpConnectionManagerCodecType.HTTP2,
                                    stat_prefix="http",
                                    http_filters=[
                                        HttpFilter(name="router", typed_config=Any.pack(Router(dynamic_stats=False)))
                                    ],
                                )
                            ),
                        )
                    ]
                )
            ],
        ),
        {
            "filterChains": [
                {
                    "filters": [
                        {
                            "name": "hcm",
                            "typedConfig": {
                                "@type": "type.googleapis.com/envoy.extensions.filters.network."
                                "http_connection_manager.v3.HttpConnectionManager",
                                "codecType": "HTTP2",
                                "httpFilters": [
                                    {
                                        "name": "router",
                                        "typedConfig": {
                                            "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router",
                                            "dynamicStats": False,
                                        },
                                    }
                                ],
                                "statPrefix": "http",
                            },
                        }
                    ]
                }
            ],
            "name": "default/web/80",
        },
    ),
    "RouteConfiguration": (
        RouteConfiguration(
            name="80/example.com", ignore_port_in_host_matching=True, vhds=Vhds(config_source=ADS), virtual_hosts=[]
        ),
        {"ignorePortInHostMatching": True, "name": "80/example.com", "vhds": {"configSource": ADS_DOCUMENT}},
    ),
    "VirtualHost": (
        VirtualHost(
            name="80/example.com/example.com",
            domains=["example.com"],
            routes=[
                Route(
                    match=RouteMatch(prefix="/"),
                    route=RouteAction(
                        cluster="kube_default_web_80",
                        timeout=dt.timedelta(0),
                        request_mirror_policies=[
                            RouteActionRequestMirrorPolicy(
                                cluster="shadow",
                                runtime_fraction=RuntimeFractionalPercent(
                                    default_value=FractionalPercent(
                                        numerator=5, denominator=FractionalPercentDenominatorType.MILLION
                                    )
                                ),
                            )
                        ],
                    ),
                    typed_per_filter_config={
                        "cors": Any.pack(CorsPolicy(allow_origin_string_match=[StringMatcher(exact="a")]))
                    },
                )
            ],
        ),
        {
            "domains": ["example.com"],
            "name": "80/example.com/example.com",
            "routes": [
                {
                    "match": {"prefix": "/"},
                    "route": {
                        "cluster": "kube_default_web_80",
                        "requestMirrorPolicies": [
                            {
                                "cluster": "shadow",
                                "runtimeFraction": {"defaultValue": {"denominator": "MILLION", "numerator": 5}},
                            }
                        ],
                        "timeout": "0s",
                    },
                    "typedPerFilterConfig": {
                        "cors": {
                            "@type": "type.googleapis.com/envoy.extensions.filters.http.cors.v3.CorsPolicy",
                            "allowOriginStringMatch": [{"exact": "a"}],
                        }
                    },
                }
            ],
        },
    ),
    "Secret": (
        Secret(name="web", tls_certificate=TlsCertificate(certificate_chain=DataSource(inline_bytes=b"\x00\xff"))),
        {"name": "web", "tlsCertificate": {"certificateChain": {"inlineBytes": "AP8="}}},
    ),
    "a message whose JSON is no object": (Duration(seconds=90), {"value": "90s"}),
}


def url(message: betterproto2.Message) -> str:
    return default_message_pool.type_to_url[type(message)]


@pytest.mark.parametrize("case", CASES)
def test_document_of(case):
    message, fields = CASES[case]
    document = to_document(url(message), bytes(message))
    # The text, so that the order of the keys is compared too.
    assert json.dumps(document) == json.dumps({"@type": url(message), **fields})


def test_order_of_fields_and_map_entries_does_not_show():
    def metadata(keys: str) -> bytes:
        fields = {key: Value(string_value=key) for key in keys}
        return bytes(Metadata(filter_metadata={key: Struct(fields=dict(fields)) for key in keys}))

    one, other = metadata("ab"), metadata("ba")
    assert one != other
    metadata_url = url(Metadata())
    assert json.dumps(to_document(metadata_url, one)) == json.dumps(to_document(metadata_url, other))


def test_a_type_that_is_not_generated_is_named():
    with pytest.raises(ValueError, match=r"acme\.Unheard"):
        to_document("type.googleapis.com/acme.Unheard", b"")


def test_an_inner_type_that_is_not_generated_is_named():
    outer = Filter(name="wasm", typed_config=Any(type_url="type.googleapis.com/acme.Unheard"))
    with pytest.raises(ValueError, match=r"v3\.Filter .*acme\.Unheard"):
        to_document(url(outer), bytes(outer))


@pytest.mark.parametrize("body", [b"\x0a\xff", b"\xff", b"\x0a\x01\xff"], ids=["cut off", "no tag", "no UTF-8"])
def test_bytes_that_are_no_encoding_of_the_type(body):
    with pytest.raises(ValueError, match=r"v3\.Cluster cannot be shown"):
        to_document(url(Cluster()), body)


def test_a_value_that_json_cannot_say():
    duration = Duration(seconds=1, nanos=-1)
    with pytest.raises(ValueError, match=r"Duration cannot be shown"):
        to_document(url(duration), bytes(duration))


def test_protobuf_is_loaded_by_the_first_document_only():
    script = (
        "import sys, controlplane.translate.document as d\n"
        "loaded = lambda: 'google.protobuf' in sys.modules\n"
        "print(loaded()); d.to_document('type.googleapis.com/google.protobuf.Duration', b''); print(loaded())"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]
