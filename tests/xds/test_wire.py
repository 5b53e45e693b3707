"""The hand-written wire format against betterproto2's, both ways, and against bytes that are no message."""

from __future__ import annotations

from datetime import timedelta

import pytest
from grpclib.const import Status
from hypothesis import example, given
from hypothesis import strategies as st

from controlplane._proto.envoy.config.cluster.v3 import Cluster, ClusterEdsClusterConfig
from controlplane._proto.envoy.config.core.v3 import AggregatedConfigSource, ConfigSource, Node
from controlplane._proto.envoy.service.discovery.v3 import DeltaDiscoveryRequest, DeltaDiscoveryResponse
from controlplane._proto.google.rpc import Status as RpcStatus
from controlplane.xds import XdsError
from controlplane.xds.protobuf import field, fields, read_varint, varint
from controlplane.xds.types import CLUSTER
from controlplane.xds.wire import (
    ErrorDetail,
    Request,
    compose_response,
    find_node,
    load_assignment_of,
    resource_head,
    scan_request,
)

names = st.text(max_size=200)
versions = st.dictionaries(names, names, max_size=8)
messages = st.builds(
    DeltaDiscoveryRequest,
    node=st.none() | st.builds(Node, id=names, cluster=names),
    type_url=names,
    resource_names_subscribe=st.lists(names, max_size=5),
    resource_names_unsubscribe=st.lists(names, max_size=5),
    initial_resource_versions=versions,
    response_nonce=names,
    error_detail=st.none() | st.builds(RpcStatus, code=st.integers(0, 2**31 - 1), message=names),
)


def expected(message: DeltaDiscoveryRequest) -> Request:
    detail = message.error_detail
    return Request(
        type_url=message.type_url,
        subscribe=tuple(message.resource_names_subscribe),
        unsubscribe=tuple(message.resource_names_unsubscribe),
        versions=dict(message.initial_resource_versions),
        nonce=message.response_nonce,
        error=None if detail is None else ErrorDetail(detail.code, detail.message),
    )


@given(messages)
def test_a_request_is_scanned_as_betterproto2_encodes_it(message):
    assert scan_request(bytes(message)) == expected(message)
    assert find_node(bytes(message)) == (None if message.node is None else bytes(message.node))


unknown = st.one_of(
    st.builds(
        lambda number, value: varint(number << 3) + varint(value), st.integers(10, 2**20), st.integers(0, 2**64 - 1)
    ),
    st.builds(
        lambda number, value: varint(number << 3 | 1) + value, st.integers(10, 99), st.binary(min_size=8, max_size=8)
    ),
    st.builds(
        lambda number, value: varint(number << 3 | 5) + value, st.integers(10, 99), st.binary(min_size=4, max_size=4)
    ),
    st.builds(lambda number, value: field(number, value), st.integers(8, 2**20), st.binary(max_size=300)),
    st.builds(lambda value: varint(15 << 3 | 3) + field(20, value) + varint(15 << 3 | 4), st.binary(max_size=20)),
    st.builds(lambda value: varint(5 << 3) + varint(value), st.integers(0, 2**64 - 1)),  # a known field of another kind
)


@given(
    data=st.data(),
    subscribe=st.lists(names, max_size=4),
    claims=versions,
    nonces=st.lists(names, min_size=1, max_size=3),
)
def test_fields_may_come_in_any_order_repeated_and_among_unknown_ones(data, subscribe, claims, nonces):
    parts = [field(3, name.encode()) for name in subscribe]
    entries = data.draw(
        st.lists(st.sampled_from(["plain", "swapped", "noisy"]), min_size=len(claims), max_size=len(claims))
    )
    for (key, value), form in zip(claims.items(), entries, strict=True):
        pair = [field(1, key.encode()), field(2, value.encode())]
        if form == "swapped":
            pair.reverse()
        elif form == "noisy":
            pair = [field(1, b"overwritten"), field(9, b"unknown"), *pair]
        parts.append(field(5, b"".join(pair)))
    order = data.draw(st.permutations(range(len(parts))))
    noise = data.draw(st.lists(unknown, max_size=4))
    last = [field(6, nonce.encode()) for nonce in nonces]
    request = scan_request(b"".join([*noise[:2], *(parts[place] for place in order), *noise[2:], *last]))
    assert sorted(request.subscribe) == sorted(subscribe)
    assert request.versions == claims
    assert request.nonce == nonces[-1]


def test_a_split_message_field_is_one_message():
    node = field(1, field(1, b"id")) + field(1, field(2, b"cluster"))
    assert find_node(node) == bytes(Node(id="id", cluster="cluster"))
    error = field(7, b"\x08\x0d") + field(7, field(2, b"text"))
    assert scan_request(error).error == ErrorDetail(13, "text")


def test_a_later_map_entry_replaces_an_earlier_one_and_missing_halves_are_empty():
    data = field(5, field(1, b"a") + field(2, b"1")) + field(5, field(1, b"a") + field(2, b"2"))
    assert scan_request(data).versions == {"a": "2"}
    assert scan_request(field(5, field(1, b"a"))).versions == {"a": ""}
    assert scan_request(field(5, field(2, b"1"))).versions == {"": "1"}
    assert scan_request(field(5, b"")).versions == {"": ""}


def test_s7_an_empty_error_is_an_error():
    assert scan_request(field(7, b"")).error == ErrorDetail(0, "")
    assert scan_request(field(6, b"n")).error is None


def test_s2_a_node_that_is_known_is_skipped_whatever_it_holds():
    data = field(2, b"type") + field(1, b"\xff not protobuf \xff") + field(6, b"n")
    assert scan_request(data) == Request(type_url="type", nonce="n")


def node_by_fields(data: bytes) -> bytes | Status | None:
    """What stands in field 1, read field by field; or with which status the bytes are refused."""
    try:
        parts = [content for number, wire_type, content in fields(data) if (number, wire_type) == (1, 2)]
    except XdsError as error:
        return error.code
    return b"".join(parts) if parts else None  # type: ignore[arg-type]


def found_node(data: bytes) -> bytes | Status | None:
    """The same of ``find_node``."""
    try:
        return find_node(data)
    except XdsError as error:
        return error.code


@given(st.lists(unknown | messages.map(bytes) | st.binary(max_size=8), max_size=5).map(b"".join), st.integers(0, 50))
@example(b"\x1a", 0)
@example(b"\x2a\x05abc", 0)
@example(b"\x0a\x02abc", 0)
def test_s2_the_node_is_found_whatever_stands_around_it(data, cut):
    for part in (data, data[: len(data) - cut]):
        assert found_node(part) == node_by_fields(part)


def refusal(data: bytes) -> XdsError | None:
    """Why the bytes are refused; None when they are read."""
    try:
        scan_request(data)
    except XdsError as error:
        return error
    return None


@given(st.binary(max_size=200))
@example(b"\x00\x00")
@example(b"\x2a\x05\x0a\xff\xff\xff\xff")
def test_bytes_that_are_no_message_are_an_invalid_argument(data):
    error = refusal(data)
    assert error is None or "not protobuf" in error.message or "group" in error.message


@given(messages.map(bytes), st.data())
def test_a_message_that_is_cut_off_is_read_in_part_or_refused(data, draw):
    cut = data[: draw.draw(st.integers(0, len(data)))]
    error = refusal(cut)
    assert error is None or error.code is Status.INVALID_ARGUMENT


@pytest.mark.parametrize(
    "data",
    [
        b"\x1a\x05abc",  # a name cut off
        b"\x1a",  # its length cut off
        b"\x1a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",  # a number of more than 64 bits
        b"\x1a\x80",  # a number cut off
        b"\x1a\x01\xff",  # no UTF-8
        b"\x2a\x04\x0a\x02\xff\xff",  # no UTF-8 in a map
        b"\x2a\x03\x0a\x05a",  # a key longer than its entry
        b"\x02\x00",  # field number 0
        b"\x0e",  # wire type 6
        b"\x0c",  # the end of a group that never began
        b"\x53\x5c",  # a group closed by another's end
        b"\x53" * 40,  # groups that do not end
        b"\x51\x00",  # a fixed number cut off
        b"\x3a\x02\x12\x05",  # an error cut off
    ],
)
def test_broken_bytes_are_refused(data):
    with pytest.raises(XdsError) as caught:
        scan_request(data)
    assert caught.value.code is Status.INVALID_ARGUMENT


@pytest.mark.parametrize("inner", [varint(98 << 3) + b"\x00", b"\x53"])
def test_s15_a_group_is_bounded(inner):
    with pytest.raises(XdsError, match="a group of more than 200 fields") as caught:
        scan_request(b"\x53" + inner * 1000)
    assert caught.value.code is Status.RESOURCE_EXHAUSTED


@pytest.mark.parametrize("one", [field(3, b"x"), field(5, b""), field(99, b""), varint(98 << 3) + b"\x00"])
def test_s15_the_number_of_fields_is_limited(one):
    scan_request(one * 11, max_fields=11)
    find_node(one * 11, max_fields=11)
    for read in (
        lambda: scan_request(one * 11, max_fields=10),
        lambda: find_node(one * 11, max_fields=10),
        lambda: list(fields(one * 11, max_fields=10)),
    ):
        with pytest.raises(XdsError, match="more than 10 fields") as caught:
            read()
        assert caught.value.code is Status.RESOURCE_EXHAUSTED


@given(st.integers(0, 2**64 - 1))
def test_a_number_is_read_as_it_is_written(value):
    data = varint(value)
    assert read_varint(data, 0, len(data)) == (value, len(data))


@given(
    resources=st.lists(st.tuples(names, names, st.binary(max_size=300)), max_size=5),
    removed=st.lists(names, max_size=5),
    type_url=names,
    nonce=names,
    system=names,
    control=names,
)
def test_a_response_is_composed_as_betterproto2_reads_it(resources, removed, type_url, nonce, system, control):
    parts = [
        part for name, version, body in resources for part in (resource_head(type_url, name, version, len(body)), body)
    ]
    data = compose_response(
        type_url=type_url,
        nonce=nonce,
        resources=parts,
        removed=removed,
        system_version=system,
        control_plane=control,
    )
    message = DeltaDiscoveryResponse.parse(data)
    assert message.type_url == type_url
    assert message.nonce == nonce
    assert message.removed_resources == removed
    assert message.system_version_info == system
    assert (message.control_plane.identifier if message.control_plane else "") == control
    found = [(resource.name, resource.version, resource.resource) for resource in message.resources]
    assert [(name, version) for name, version, _ in found] == [(name, version) for name, version, _ in resources]
    for (_, _, packed), (_, _, body) in zip(found, resources, strict=True):
        assert packed is not None
        assert (packed.type_url, packed.value) == (type_url, body)


def test_p2_a_resource_carries_the_type_of_its_response():
    body = bytes(Cluster(name="a"))
    data = compose_response(type_url=CLUSTER, nonce="1", resources=(resource_head(CLUSTER, "a", "v", len(body)), body))
    [resource] = DeltaDiscoveryResponse.parse(data).resources
    assert resource.resource is not None
    assert resource.resource.type_url == CLUSTER
    assert resource.resource.unpack() == Cluster(name="a")


@pytest.mark.parametrize("service_name", ["", "apart", "a~address"])
def test_p17_the_name_of_a_cluster_s_load_assignment(service_name):
    config = ClusterEdsClusterConfig(eds_config=ConfigSource(ads=AggregatedConfigSource()), service_name=service_name)
    cluster = Cluster(name="c", eds_cluster_config=config, connect_timeout=timedelta(seconds=5))
    assert load_assignment_of(bytes(cluster)) == service_name
    assert load_assignment_of(bytes(Cluster(name="c"))) == load_assignment_of(b"no cluster") == ""
