"""What betterproto2 writes, protobuf reads, and back: every field of every generated message."""

import datetime as dt
import importlib
import pkgutil
from functools import cache
from importlib import resources

import betterproto2
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

import controlplane._proto as package
from controlplane._proto.envoy.config.route.v3 import Route, RouteAction, RouteMatch, VirtualHost
from controlplane._proto.message_pool import default_message_pool

SCALARS = {
    FieldDescriptor.CPPTYPE_STRING: "é",
    FieldDescriptor.CPPTYPE_BOOL: True,
    FieldDescriptor.CPPTYPE_INT32: -3,
    FieldDescriptor.CPPTYPE_INT64: -(2**40),
    FieldDescriptor.CPPTYPE_UINT32: 2**31,
    FieldDescriptor.CPPTYPE_UINT64: 2**63,
    FieldDescriptor.CPPTYPE_FLOAT: 1.5,
    FieldDescriptor.CPPTYPE_DOUBLE: 0.1,
}
UNWRAPPED = {
    "google.protobuf.BoolValue": False,
    "google.protobuf.BytesValue": b"",
    "google.protobuf.DoubleValue": 0.0,
    "google.protobuf.Duration": dt.timedelta(minutes=1, microseconds=1),
    "google.protobuf.FloatValue": 0.0,
    "google.protobuf.Int32Value": 0,
    "google.protobuf.Int64Value": 0,
    "google.protobuf.StringValue": "",
    "google.protobuf.Timestamp": dt.datetime(2026, 1, 2, microsecond=3, tzinfo=dt.UTC),
    "google.protobuf.UInt32Value": 0,
    "google.protobuf.UInt64Value": 0,
}


@cache
def descriptors() -> dict[str, Descriptor]:
    """Every message of the package but map entries, by full name."""
    pool = DescriptorPool()
    found: dict[str, Descriptor] = {}

    def visit(message: Descriptor) -> None:
        if not message.GetOptions().map_entry:
            found[message.full_name] = message
        for nested in message.nested_types:
            visit(nested)

    files = FileDescriptorSet.FromString((resources.files(package) / "descriptors.binpb").read_bytes())
    for file in files.file:
        pool.Add(file)
        for message in pool.FindFileByName(file.name).message_types_by_name.values():
            visit(message)
    return found


@cache
def classes() -> dict[str, type[betterproto2.Message]]:
    """Every generated class, by the full name of its message."""
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        importlib.import_module(module.name)
    return {url.rpartition("/")[2]: generated for url, generated in default_message_pool.url_to_type.items()}


def sample(field: FieldDescriptor) -> object:
    """A value that is not left out of the encoding: unequal to the default, or a message, which has none."""
    if (message := field.message_type) is None:
        if (enum := field.enum_type) is not None:
            return enum.values[-1].number
        return b"\xff" if field.type == FieldDescriptor.TYPE_BYTES else SCALARS[field.cpp_type]
    if message.GetOptions().map_entry:
        return {sample(message.fields_by_name["key"]): sample(message.fields_by_name["value"])}
    return UNWRAPPED[message.full_name] if message.full_name in UNWRAPPED else classes()[message.full_name]()


def test_classes_and_descriptors_are_of_the_same_messages():
    assert classes().keys() == descriptors().keys()


def test_each_field_of_each_message_is_the_same_to_protobuf():
    for name, descriptor in descriptors().items():
        for field in descriptor.fields:
            value = sample(field)
            message = classes()[name](**{field.name: [value, value] if is_list(field) else value})

            read = GetMessageClass(descriptor).FromString(bytes(message))

            assert [found.name for found, _ in read.ListFields()] == [field.name], field.full_name
            assert read.SerializeToString() == bytes(message), field.full_name
            assert type(message).parse(bytes(message)) == message, field.full_name


def is_list(field: FieldDescriptor) -> bool:
    return field.is_repeated and not (field.message_type is not None and field.message_type.GetOptions().map_entry)


def test_a_message_is_its_encoded_fields_one_after_another():
    routes = [
        Route(name=f"r{number}", match=RouteMatch(prefix="/" + "x" * number), route=RouteAction(cluster="c"))
        for number in (1, 200, 20_000)
    ]
    head = VirtualHost(name="default/example.com", domains=["example.com"])
    whole = VirtualHost(name=head.name, domains=head.domains, routes=routes)

    composed = bytes(head) + b"".join(length_delimited(3, bytes(route)) for route in routes)

    assert composed == bytes(whole)
    assert VirtualHost.parse(composed) == whole


def length_delimited(number: int, value: bytes) -> bytes:
    return betterproto2.encode_varint(number << 3 | 2) + betterproto2.encode_varint(len(value)) + value
