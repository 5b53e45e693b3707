"""Rows of services and of who uses them: backends, endpoints, clients, and the rules between them.

A ``Backend`` hides what kind of object a service was defined by; routes, waypoints and policies know the row alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, TypeAlias

import msgspec

REGION: Final = "topology.kubernetes.io/region"
ZONE: Final = "topology.kubernetes.io/zone"
SUBZONE: Final = "topology.istio.io/subzone"
NETWORK: Final = "topology.istio.io/network"
NODE: Final = "kubernetes.io/hostname"
"""Labels that say where something runs. They stand among a workload's and a proxy's labels, wherever they were learned."""


class Locality(msgspec.Struct, frozen=True, order=True):
    """Where something runs; empty parts are unknown."""

    region: str = ""
    zone: str = ""
    subzone: str = ""

    @classmethod
    def parse(cls, text: str) -> Locality:
        """From ``region/zone/subzone``; what is missing is unknown, what is too much is left out."""
        return cls(*[part.strip() for part in text.split("/")][:3])

    @classmethod
    def of_labels(cls, labels: Mapping[str, str]) -> Locality:
        """Where labels say that something runs: a workload's, a Node's or a client's."""
        return cls(labels.get(REGION, ""), labels.get(ZONE, ""), labels.get(SUBZONE, ""))

    def __str__(self) -> str:
        return f"{self.region}/{self.zone}/{self.subzone}".rstrip("/")


BackendKey: TypeAlias = tuple[str, str, str, int]
"""Kind, ``namespace/name``, host (empty for a Service), port."""


class Backend(msgspec.Struct, frozen=True):
    """One port of a service, wherever the service is defined: what becomes one cluster."""

    key: BackendKey
    cluster: str
    """Unique, and what routes, waypoints and policies name it by."""
    host: str
    """What DestinationRules and SNI call it: ``name.namespace.svc.cluster.local``, or a ServiceEntry's host; lower case."""
    port_name: str
    target_port: int | None
    """Numeric target port, if the service gives one."""
    single_port: bool
    protocol: str
    """``http``, ``h2c`` or ``ws``."""
    application: Literal["http", "tcp"] = "http"
    """How a waypoint takes it. An HTTPRoute that names it speaks HTTP to it whatever this says."""
    unsupported_protocol: str = ""
    """The port's appProtocol, if no HTTPRoute can speak it."""
    unserved: str = ""
    """Why there is no cluster although the object exists (a resolution that we do not do), with the remedy."""
    ip_families: tuple[str, ...] = ()
    discovery: Literal["endpoints", "dns", "dns_round_robin"] = "endpoints"
    """Where its endpoints come from: load assignments, or names that Envoy resolves."""
    addresses: tuple[str, ...] = ()
    """Its own addresses (VIPs; a ServiceEntry's can be CIDR blocks), as the object lists them; empty if it has none."""
    traffic_distribution: str = ""
    exported_to: tuple[str, ...] = ()
    """Namespaces that may name its host; empty means all."""
    created: str = ""

    @property
    def namespace(self) -> str:
        """Of its object."""
        return self.key[1].partition("/")[0]

    @property
    def owner(self) -> str:
        """``Kind namespace/name`` of its object."""
        return f"{self.key[0]} {self.key[1]}"

    @property
    def port(self) -> int:
        """The service's port, not its endpoints'."""
        return self.key[3]


class Endpoint(msgspec.Struct, frozen=True, order=True):
    """One address that serves."""

    locality: Locality
    address: str
    """IP address; for a backend that Envoy resolves, possibly a DNS name."""
    port: int
    weight: int = 0
    """0 means *not said*, which counts as 1."""
    pod: str = ""
    """``namespace/name`` of the Pod whose labels are its labels; empty where ``labels`` has them."""
    labels: tuple[tuple[str, str], ...] = ()
    """Sorted, the network's among them; without those of ``locality``."""
    mesh_tls: bool = False
    """It takes Istio's mutual TLS: ``envoy.transport_socket_match: {tlsMode: istio}``."""


class BackendEndpoints(msgspec.Struct, frozen=True):
    """The endpoints of a backend: sorted, without duplicates; empty means that requests get 503."""

    key: BackendKey
    cluster: str
    endpoints: tuple[Endpoint, ...]


class LocalityPolicy(msgspec.Struct, frozen=True):
    """Which endpoints a client prefers."""

    failover_priority: tuple[str, ...] = ()
    """``label`` or ``label=value``, the most important first."""
    failover: tuple[tuple[str, str], ...] = ()
    """Region, and the region that takes over, in order."""
    distribute: tuple[tuple[str, tuple[tuple[str, int], ...]], ...] = ()
    """From, and for each pattern its weight, sorted; excludes the two others."""


class LocalityGroup(msgspec.Struct, frozen=True):
    """Endpoints of one locality and priority: what becomes one ``LocalityLbEndpoints``."""

    locality: Locality
    priority: int
    weight: int
    """0 where nothing is to be said."""
    endpoints: tuple[Endpoint, ...]


class Client(msgspec.Struct, frozen=True):
    """A connected proxy as rules see it."""

    key: str
    """The proxy."""
    gateway: str
    class_names: tuple[str, ...]
    """Names of its classes (``ClientClass.key[1]``): one for each set of labels that the rules of some cluster look at together."""


class ClientClass(msgspec.Struct, frozen=True):
    """Proxies of a gateway that the rules of some clusters do not tell apart."""

    key: tuple[str, str]
    """Gateway, and the class's name: its namespace and labels in one text."""
    namespace: str
    labels: tuple[tuple[str, str], ...]
    """Of those that these rules look at, the ones that it has: sorted, the labels of its locality among them."""
    looked_at: str = ""
    """All that these rules look at, in one text."""

    @property
    def locality(self) -> Locality:
        """As far as those rules look at it."""
        return Locality.of_labels(dict(self.labels))


class RuleCandidate(msgspec.Struct, frozen=True):
    """A DestinationRule whose host matches a backend's, and what decides whether a client goes by it."""

    rule: str
    """``namespace/name``."""
    exported_to: tuple[str, ...]
    """Namespaces of clients, ``.`` resolved; ``*`` alone for all."""
    selector: tuple[tuple[str, str], ...]
    """Labels that a client must have, in the rule's own namespace; empty for all."""
    specificity: int
    """Of the host's pattern: greater is more specific; an exact host is greater than any wildcard."""
    created: str


class BackendRules(msgspec.Struct, frozen=True):
    """The DestinationRules that can apply to a backend; absent where there is none."""

    key: str
    """The cluster."""
    candidates: tuple[RuleCandidate, ...]
    """Sorted by rule."""
