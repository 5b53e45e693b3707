"""What a client sends, mutated: each parser gives a value or an ``XdsError``, soon, and agrees with protobuf's own decoder.

The corpus holds requests that a real Envoy 1.40 sent (``corpus/README.md``).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError
from google.protobuf.unknown_fields import UnknownFieldSet
from grpclib.const import Status
from hypothesis import strategies as st

from controlplane.xds import Node, XdsError
from controlplane.xds.csds import _parse as parse_question
from controlplane.xds.health import _service as parse_health
from controlplane.xds.node import parse_node
from controlplane.xds.node_matcher import any_of
from controlplane.xds.protobuf import fields, varint
from controlplane.xds.redact import MAX_MESSAGE, redact
from controlplane.xds.wire import Request, find_node, holds_virtual_hosts, load_assignment_of, scan_request
from tests.xds.conftest import World
from tests.xds.fuzzing import fuzz, fuzzer

HERE = Path(__file__).parent
CORPUS = {path.stem: path.read_bytes() for path in sorted((HERE / "corpus").glob("*.bin"))}
DESCRIPTORS = HERE.parents[1] / "controlplane" / "_proto" / "descriptors.binpb"
TYPES = sorted({scan_request(data).type_url for data in CORPUS.values()})
MAX_SECONDS = 2.0
"""Of CPU, for one parser and at most 100 kB; a hundred times what any takes."""


def official(name: str) -> Any:
    """Protobuf's own class of a message."""
    pool = descriptor_pool.DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString(DESCRIPTORS.read_bytes()).file:
        pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(name))


OfficialRequest = official("envoy.service.discovery.v3.DeltaDiscoveryRequest")
OfficialNode = type(OfficialRequest().node)


# Mutations.

PLACES = st.integers(0, 2**16)
NASTY = [
    b"",
    b"\x00",
    b"\xff",
    b"\x80" * 11,
    b"\xff" * 9 + b"\x01",
    varint(2**31 - 1),
    varint(2**32),
    varint(2**63),
    b"\x0b\x0c",
    b"\x0b" * 150 + b"\x0c" * 150,
    b"\x0b" * 20_000,
    b"\x2a\x06\x0a\x01a\x12\x01b",
    b"\x2a\x00",
    b"\x3a\x00",
    b"\x12\x02\xc3\x28",
    b"\x12\x03\xed\xa0\x80",
    b"\x0a\x04\x1a\x02\x0a\x00",
]


def nasty(number: int) -> bytes:
    """A piece; a function of our own, so that Hypothesis does not print all of them."""
    return NASTY[number]


def recorded(name: str) -> bytes:
    """A file of the corpus."""
    return CORPUS[name]


PIECES = st.integers(0, len(NASTY) - 1).map(nasty) | st.binary(max_size=12)


def flip(data: bytes, at: int, bit: int) -> bytes:
    """One bit the other way."""
    if not data:
        return data
    at %= len(data)
    return data[:at] + bytes((data[at] ^ 1 << bit,)) + data[at + 1 :]


def put(data: bytes, at: int, piece: bytes) -> bytes:
    """Something more."""
    at %= len(data) + 1
    return data[:at] + piece + data[at:]


def drop(data: bytes, at: int, count: int) -> bytes:
    """Something less."""
    at %= len(data) + 1
    return data[:at] + data[at + count :]


def repeat(data: bytes, at: int, count: int, times: int) -> bytes:
    """A part several times."""
    at %= len(data) + 1
    return data[:at] + data[at : at + count] * times + data[at + count :]


def mix(data: bytes, at: int, other: str) -> bytes:
    """The head of one and the tail of another."""
    return data[: at % (len(data) + 1)] + CORPUS[other][at % (len(CORPUS[other]) + 1) :]


MUTATIONS = st.one_of(
    st.tuples(st.just(flip), PLACES, st.integers(0, 7)),
    st.tuples(st.just(put), PLACES, PIECES),
    st.tuples(st.just(drop), PLACES, st.integers(1, 40)),
    st.tuples(st.just(repeat), PLACES, st.integers(1, 60), st.integers(0, 50)),
    st.tuples(st.just(mix), PLACES, st.sampled_from(sorted(CORPUS))),
)


def mutate(data: bytes, mutations: list[tuple[Any, ...]]) -> bytes:
    """The bytes after all mutations, at most 100 kB."""
    for function, *arguments in mutations:
        data = function(data, *arguments)[:100_000]
    return data


MUTATED = st.builds(mutate, st.sampled_from(sorted(CORPUS)).map(recorded), st.lists(MUTATIONS, max_size=6))
DATA = MUTATED | st.binary(max_size=200)


# Checks.


def parse(parser: Callable[[bytes], Any], data: bytes) -> Any:
    """What a parser gives, or the ``XdsError`` that it raises; anything else is a failure, and so is to think for long."""
    begun = time.process_time()
    try:
        return parser(data)
    except XdsError as error:
        assert error.code in (Status.INVALID_ARGUMENT, Status.RESOURCE_EXHAUSTED)  # noqa: PT017
        assert len(error.message) < 6000  # noqa: PT017
        return error
    finally:
        assert time.process_time() - begun < MAX_SECONDS


def decode(kind: Any, data: bytes) -> Any:
    """What protobuf's own decoder gives; None when it does not take the bytes."""
    try:
        return kind.FromString(data)
    except DecodeError:
        return None


def check_request(data: bytes) -> None:
    """``scan_request`` against protobuf's."""
    ours, theirs = parse(scan_request, data), decode(OfficialRequest, data)
    if theirs is None or is_limit(ours):
        return
    assert isinstance(ours, Request), ours
    assert ours.type_url == theirs.type_url
    assert ours.subscribe == tuple(theirs.resource_names_subscribe)
    assert ours.unsubscribe == tuple(theirs.resource_names_unsubscribe)
    assert ours.versions == dict(theirs.initial_resource_versions) or has_strange_entries(theirs, 5)
    assert ours.nonce == theirs.response_nonce
    assert (ours.error is not None) == theirs.HasField("error_detail")
    if ours.error is not None:
        assert ours.error.message == theirs.error_detail.message
        assert ours.error.code == theirs.error_detail.code % 2**32


def has_strange_entries(message: Any, number: int) -> bool:
    """Whether an entry of a map has a third field: upb passes over such an entry, protobuf in C++ and we over that field."""
    return any(found.field_number == number and found.wire_type == 2 for found in UnknownFieldSet(message))


def is_limit(result: Any) -> bool:
    """Whether one of our limits was met, which protobuf does not have."""
    return isinstance(result, XdsError) and result.code is Status.RESOURCE_EXHAUSTED


def check_node(data: bytes) -> None:
    """``find_node`` and ``parse_node`` against protobuf's."""
    theirs = decode(OfficialRequest, data)
    found = parse(find_node, data)
    if isinstance(found, XdsError):
        assert theirs is None or is_limit(found)
        return
    ours = parse(parse_node, found) if found is not None else None
    if theirs is None or is_limit(ours):
        return
    assert (found is not None) == theirs.HasField("node")
    if has_strange_entries(theirs.node.metadata, 1):
        return
    if isinstance(ours, Node):
        assert_same_node(ours, theirs.node)
    elif ours is not None:  # then it lacks what we need
        role = theirs.node.metadata.fields["role"].string_value
        assert not theirs.node.id or not role.startswith("controlplane~") or role.count("~") != 2 or "not" in str(ours)


def assert_same_node(ours: Node, theirs: Any) -> None:
    """What we keep of a node."""
    metadata = theirs.metadata.fields
    assert ours.id == theirs.id[:512]
    assert ours.cluster == theirs.cluster[:512]
    assert "controlplane~" + ours.scope.replace("/", "~") == metadata["role"].string_value[:512]
    place = ours.locality
    assert [place.region, place.zone, place.sub_zone] == [
        text[:512] for text in (theirs.locality.region, theirs.locality.zone, theirs.locality.sub_zone)
    ]
    if has_strange_entries(metadata["labels"].struct_value, 1):
        return
    labels = metadata["labels"].struct_value.fields
    strings = {name[:512]: value.string_value[:512] for name, value in labels.items() if value.HasField("string_value")}
    assert len(strings) > 64 or dict(ours.labels) == strings


def check_all(data: bytes) -> None:
    """Every parser that is handed bytes of a stranger."""
    check_request(data)
    check_node(data)
    parse(lambda data: list(fields(data)), data)
    for parser in (parse_node, parse_question, parse_health, load_assignment_of, holds_virtual_hosts):
        parse(parser, data)
    parse(lambda data: any_of([data]), data)
    for encoding in ("utf-8", "latin-1"):
        assert len(parse(redact, data.decode(encoding, "replace"))) <= MAX_MESSAGE + 10


@fuzzer
def test_any_bytes_give_a_value_or_an_error():
    fuzz(check_all, DATA, examples=400, known=CORPUS.values())


@fuzzer
def test_any_requests_leave_the_machine_at_work():
    def check(requests: list[bytes]) -> None:
        world = World()
        world.commit({type_url: {"a": "1", "b": "1"} for type_url in TYPES})
        client = world.connect()
        for data in requests:
            request = parse(scan_request, data)
            if isinstance(request, Request):
                parse(client.machine.receive, request)
                client.responses()
        world.commit({type_url: {"a": "2", "b": None, "c": "1"} for type_url in TYPES})
        client.responses()
        client.machine.statistics()
        assert all(state.name for states in client.machine.resource_states() for state in states if state.entry)

    fuzz(check, st.lists(MUTATED, max_size=8), examples=100)


@pytest.mark.parametrize("name", sorted(CORPUS))
def test_the_corpus_is_what_an_envoy_sends(name):
    """Whole and well-formed: a mutation begins at something that is right."""
    request = scan_request(CORPUS[name])
    assert request.type_url
    if find_node(CORPUS[name]) is not None:
        assert parse_node(find_node(CORPUS[name])).scope == "ns/gw"
    check_all(CORPUS[name])


TEXTS = st.lists(
    st.sampled_from(
        [
            "-----BEGIN PRIVATE KEY-----",
            "-----END PRIVATE KEY-----",
            "-----BEGIN ",
            "inline_string: ",
            "inlineBytes",
            '"',
            "'",
            "\\",
            "\\n",
            "\n",
            "A" * 63,
            "+/=" * 30,
        ]
    )
    | st.text(max_size=20),
    max_size=40,
).map("".join)


@fuzzer
def test_any_text_is_redacted_soon():
    def check(text: str) -> None:
        begun = time.process_time()
        said = redact(text)
        assert time.process_time() - begun < MAX_SECONDS
        assert len(said) <= MAX_MESSAGE + 10
        assert "-----BEGIN PRIVATE KEY-----" not in said

    fuzz(check, TEXTS | st.tuples(TEXTS, st.integers(1, 3000)).map(lambda part: part[0] * part[1]), examples=200)
