"""Who is asking, read from the bytes of a node."""

from __future__ import annotations

import pytest
from grpclib.const import Status

from controlplane._proto.envoy.config.core.v3 import BuildVersion
from controlplane._proto.envoy.config.core.v3 import Locality as ProtoLocality
from controlplane._proto.envoy.config.core.v3 import Node as ProtoNode
from controlplane._proto.envoy.type.v3 import SemanticVersion
from controlplane._proto.google.protobuf import ListValue, Struct, Value
from controlplane.xds import Locality, XdsError
from controlplane.xds.node import Node, parse_node, scope_of


def node(role: object = "controlplane~shop~edge", **extra: object) -> bytes:
    metadata = {"role": Value(string_value=role) if isinstance(role, str) else role}
    metadata.update(extra.pop("metadata", {}))
    return bytes(ProtoNode(**{"id": "edge-1.shop", "metadata": Struct(fields=metadata), **extra}))


def test_a_node_is_read_with_everything_that_an_event_tells():
    labels = Value(
        struct_value=Struct(
            fields={"b": Value(string_value="2"), "a": Value(string_value="1"), "n": Value(number_value=3)}
        )
    )
    data = node(
        cluster="edge",
        locality=ProtoLocality(region="r", zone="z", sub_zone="s"),
        user_agent_name="envoy",
        user_agent_build_version=BuildVersion(version=SemanticVersion(major_number=1, minor_number=40)),
        metadata={"labels": labels, "other": Value(list_value=ListValue(values=[Value(bool_value=True)]))},
        client_features=["x"] * 100,
    )
    assert parse_node(data) == Node(
        id="edge-1.shop",
        cluster="edge",
        scope="shop/edge",
        locality=Locality("r", "z", "s"),
        labels=(("a", "1"), ("b", "2")),
        user_agent="envoy 1.40.0",
    )


def test_a_bare_node_is_enough():
    assert parse_node(node()) == Node(id="edge-1.shop", scope="shop/edge")
    assert parse_node(node(user_agent_name="gRPC", user_agent_version="1.2")).user_agent == "gRPC 1.2"


@pytest.mark.parametrize(
    "role",
    [
        "",
        "controlplane",
        "controlplane~ns",
        "controlplane~~gw",
        "controlplane~ns~",
        "other~ns~gw",
        "controlplane~a~b~c",
        "controlplane~a/b~c",
    ],
)
def test_a_node_without_a_valid_role_is_told_what_is_expected(role):
    assert scope_of(role) is None
    with pytest.raises(XdsError, match=r"controlplane~\{gateway namespace\}~\{gateway name\}") as caught:
        parse_node(node(role))
    assert caught.value.code is Status.INVALID_ARGUMENT
    assert "edge-1.shop" in caught.value.message


def test_a_role_that_is_no_string_is_none():
    with pytest.raises(XdsError, match="expected 'controlplane~"):
        parse_node(node(Value(number_value=1)))


def test_s2_the_first_request_must_carry_a_node_with_an_id():
    with pytest.raises(XdsError, match="must carry a node"):
        parse_node(None)
    with pytest.raises(XdsError, match=r"node\.id"):
        parse_node(bytes(ProtoNode(cluster="x")))


def test_a_node_is_bounded():
    labels = Struct(fields={f"label-{number:03}": Value(string_value="x" * 9999) for number in range(1000)})
    parsed = parse_node(node(cluster="c" * 9999, metadata={"labels": Value(struct_value=labels)}))
    assert len(parsed.cluster) == 512
    assert len(parsed.labels) == 64
    assert all(len(value) == 512 for _, value in parsed.labels)


def test_broken_bytes_are_refused():
    with pytest.raises(XdsError, match="not protobuf"):
        parse_node(b"\x1a\x05ab")
