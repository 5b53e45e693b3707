"""CSDS: what each connected proxy holds, in the form that other programs ask for.

``/debug/proxies`` tells people; this tells tools that speak ``envoy.service.status.v3``. An answer is composed from bytes that
are there already, type by type, so that a question about many proxies does not stop the proxies; and it is bounded. It shows
proxies to whoever may ask, so who may is a question of its own (``Access``).

Source: envoy/service/status/v3/csds.proto; envoy/admin/v3/config_dump_shared.proto, ClientResourceStatus.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from ipaddress import IPv6Address, ip_address
from typing import Protocol

import msgspec
from grpclib.const import Cardinality, Handler, Status

from controlplane._proto.envoy.admin.v3 import ClientResourceStatus
from controlplane._proto.envoy.config.core.v3 import Locality as LocalityMessage
from controlplane._proto.envoy.config.core.v3 import Node as NodeMessage
from controlplane._proto.envoy.service.status.v3 import ConfigStatus
from controlplane._proto.google.protobuf import Struct, Value
from controlplane.xds.calls import MAX_REQUEST, Calls, answer, receive_only
from controlplane.xds.errors import XdsError, exhausted
from controlplane.xds.node import Node, role_of
from controlplane.xds.node_matcher import NodeTest, any_of
from controlplane.xds.protobuf import LENGTH, VARINT, field, fields, varint
from controlplane.xds.rejection import Rejection
from controlplane.xds.resource_state import ResourceState
from controlplane.xds.tables import Entry
from controlplane.xds.transport import Rpc, receive_message
from controlplane.xds.types import SECRET

MAX_CALLS = 16
MAX_ANSWER = 16 * 2**20
"""Octets of one answer. Clients take 4 MiB where they are not told otherwise."""

WITHDRAWN = "an Envoy of this Gateway rejected the newest version; the status of what it was made of has its words"

_SERVICE = "/envoy.service.status.v3.ClientStatusDiscoveryService/"
_CONFIG_STATUS, _CLIENT_STATUS = b"\x30", b"\x38"


class Client(Protocol):
    """A proxy's stream, as far as it is told of."""

    @property
    def node(self) -> Node | None:
        """Who it is; None until it has said so."""

    def resource_states(self) -> Iterator[list[ResourceState]]:
        """Its resources, type by type."""


Access = Callable[[Rpc], None]
"""Who may ask at all. Raises ``XdsError`` with ``PERMISSION_DENIED`` for others."""


def everyone(rpc: Rpc) -> None:
    """Access for whoever can connect."""


def this_machine(rpc: Rpc) -> None:
    """Access for callers on this machine: to others the port shows a proxy its own resources and nothing else.

    Raises:
        XdsError: The caller is somewhere else.
    """
    peer = rpc.peer.addr()
    if not is_loopback(peer[0] if isinstance(peer, tuple) else ""):
        raise XdsError(
            Status.PERMISSION_DENIED,
            "client status shows all proxies and is told to this machine only: use kubectl port-forward, "
            "or start with --client-status-from-anywhere",
        )


def is_loopback(address: str) -> bool:
    """Whether an IP address is this machine's own, also as IPv6 writes an IPv4 one."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    mapped = parsed.ipv4_mapped if isinstance(parsed, IPv6Address) else None
    return (mapped or parsed).is_loopback


class Host(Protocol):
    """Whose clients are told of: the ``XdsServer``."""

    @property
    def streams(self) -> Iterable[Client]:
        """The open streams."""

    def permits(self, rpc: Rpc, scope: str) -> bool:
        """Whether a caller may read what a scope is served, and so may be shown who holds it."""


class ClientStatus:
    """``ClientStatusDiscoveryService``, a service for ``XdsServer(services=...)``.

    Args:
        host: The server, which does not exist yet when its services are made.
        access: Who may ask.
        max_answer: Octets of one answer.
    """

    def __init__(
        self,
        host: Callable[[], Host],
        *,
        access: Access = this_machine,
        max_answer: int = MAX_ANSWER,
    ) -> None:
        self._host = host
        self._access = access
        self._max_answer = max_answer
        self._calls = Calls(MAX_CALLS)

    def __mapping__(self) -> dict[str, Handler]:
        """The methods, as grpclib asks for them."""
        return {
            _SERVICE + "FetchClientStatus": self._calls.handler(self._fetch, Cardinality.UNARY_UNARY),
            _SERVICE + "StreamClientStatus": self._calls.handler(self._stream, Cardinality.STREAM_STREAM),
        }

    async def _fetch(self, rpc: Rpc) -> None:
        self._access(rpc)
        await answer(rpc, await self._respond(rpc, await receive_only(rpc)))

    async def _stream(self, rpc: Rpc) -> None:
        """An answer to each request; the client decides when it wants the next."""
        self._access(rpc)
        while (data := await receive_message(rpc, MAX_REQUEST)) is not None:
            await answer(rpc, await self._respond(rpc, data))

    def _matching(self, rpc: Rpc, question: "_Question") -> list[tuple[Node, Client]]:
        host = self._host()
        permitted = cache(lambda scope: host.permits(rpc, scope))
        return [
            (node, client)
            for client in host.streams
            if (node := client.node) is not None and permitted(node.scope) and question.matches(node)
        ]

    async def _respond(self, rpc: Rpc, data: bytes) -> bytes:
        question = _parse(data)
        matching = self._matching(rpc, question)
        configs: list[bytes] = []
        left = self._max_answer
        for number, (node, client) in enumerate(matching):
            parts = [field(1, _encode_node(node))]
            for states in client.resource_states():
                parts += [field(3, encode_state(state, contents=question.contents)) for state in states]
                await asyncio.sleep(0)  # thousands of resources: others want their turn
                if sum(map(len, parts)) > left:
                    raise self._too_large(number, len(matching), question)
            parts.append(field(4, node.scope.encode()))
            configs.append(field(1, b"".join(parts)))
            left -= len(configs[-1])
        return b"".join(configs)

    def _too_large(self, fitting: int, matching: int, question: "_Question") -> XdsError:
        remedy = (
            "match fewer with node_matchers: a node_id, or a gateway by metadata role 'controlplane~NAMESPACE~NAME'"
        )
        if question.contents:
            remedy += "; or set exclude_resource_contents"
        return exhausted(
            f"the answer is longer than {self._max_answer} octets: {fitting} of the {matching} proxies that match fit in; {remedy}"
        )


class _Question(msgspec.Struct, frozen=True):
    """A ``ClientStatusRequest``."""

    matches: NodeTest
    contents: bool


def _parse(data: bytes) -> _Question:
    matchers: list[bytes] = []
    contents = True
    for number, wire_type, content in fields(data):
        if number == 1 and wire_type == LENGTH and isinstance(content, bytes):
            matchers.append(content)
        elif number == 3 and wire_type == VARINT:
            contents = not content
    return _Question(any_of(matchers), contents)


def _encode_node(node: Node) -> bytes:
    """What is remembered of a node; the rest of what the proxy said is not kept."""
    labels = Struct(fields={name: Value(string_value=value) for name, value in node.labels})
    metadata = {"role": Value(string_value=role_of(node.scope))}
    if node.labels:
        metadata = {"labels": Value(struct_value=labels)} | metadata
    place = node.locality
    return bytes(
        NodeMessage(
            id=node.id,
            cluster=node.cluster,
            metadata=Struct(fields=metadata),
            locality=LocalityMessage(region=place.region, zone=place.zone, sub_zone=place.sub_zone),
            user_agent_name=node.user_agent,
        )
    )


def statuses_of(state: ResourceState) -> tuple[ConfigStatus, ClientResourceStatus]:
    """How a resource stands, seen from here and seen from the proxy.

    ``STALE`` is sent and not answered yet, ``ERROR`` is rejected, ``NOT_SENT`` has to wait or is about to be sent; the proxy
    goes on with the version that it holds in all three.
    """
    if state.rejection is not None:
        return ConfigStatus.ERROR, ClientResourceStatus.NACKED
    if state.is_offered:
        status = ConfigStatus.STALE
    elif state.held != state.wanted:
        status = ConfigStatus.NOT_SENT
    else:
        status = ConfigStatus.ERROR if state.is_withdrawn else ConfigStatus.SYNCED
    if state.held is not None:
        return status, ClientResourceStatus.ACKED
    if state.entry is not None:
        return status, ClientResourceStatus.REQUESTED
    return status, ClientResourceStatus.DOES_NOT_EXIST


def encode_state(state: ResourceState, *, contents: bool) -> bytes:
    """One ``GenericXdsConfig``.

    The version is that which the proxy holds. Contents are given where they are of just that version, never for a Secret.
    """
    url = state.type_url.encode()
    parts = [field(1, url), field(2, state.name.encode())]
    if state.held is not None:
        parts.append(field(3, state.held.encode()))
        if contents and state.held == state.wanted:
            parts.append(_encode_body(4, state.type_url, state.entry))
    config, client = statuses_of(state)
    parts += [_CONFIG_STATUS, varint(config.value), _CLIENT_STATUS, varint(client.value)]
    if state.rejection is not None:
        parts.append(field(8, _encode_failure(state, state.rejection, contents=contents)))
    elif state.is_withdrawn:
        parts.append(field(8, field(3, WITHDRAWN.encode())))
    return b"".join(parts)


def _encode_failure(state: ResourceState, rejection: Rejection, *, contents: bool) -> bytes:
    """An ``UpdateFailureState``: what was rejected, and why."""
    is_newest = state.newest is not None and state.newest.version == rejection.version
    failed = _encode_body(1, state.type_url, state.newest) if contents and is_newest else b""
    return failed + field(3, rejection.message.encode()) + field(4, (rejection.version or "").encode())


def _encode_body(number: int, type_url: str, entry: Entry | None) -> bytes:
    """The resource in an ``Any``; nothing where its bytes are secret, or not at hand."""
    if type_url == SECRET or entry is None or not entry.resource.body:
        return b""
    return field(number, field(1, type_url.encode()) + field(2, entry.resource.body))
