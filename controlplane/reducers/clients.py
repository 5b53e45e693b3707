"""Who asks: each connected proxy as rules see it, and the classes of proxies that rules do not tell apart.

Which endpoints a proxy prefers, and which DestinationRule it goes by, depends on its namespace, its labels and its locality.
Locality is a matter of labels too (``topology.kubernetes.io/zone`` and the like). The rules of one cluster look at a set of labels,
nearly always the same few; a class is a gateway, a namespace, and the values of one such set. A proxy is of one class for each
set, so a cluster whose rules look at what only this Pod has (its Node's name) makes no more of all the others.

What a proxy says of itself is believed only where its Pod and its Node are not known. Source: kgateway's unique clients
(istio-semantics, 3).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, unquote

import msgspec

from controlplane.krt import Collection, Count, Fetch, Graph
from controlplane.model.ir import OwnedGateway
from controlplane.model.kubernetes import Pod
from controlplane.model.services import (
    NODE,
    REGION,
    SUBZONE,
    ZONE,
    Backend,
    BackendRules,
    Client,
    ClientClass,
    Locality,
)
from controlplane.reducers.backends import Backends
from controlplane.reducers.base import Base
from controlplane.reducers.destination_rules import DestinationRules, distribution_labels, rule_labels
from controlplane.reducers.gateways import Gateways
from controlplane.reducers.proxies import Proxy
from controlplane.reducers.workloads import locality_of_node

Labels = tuple[tuple[str, str], ...]

_LABEL_SAFE: Final = "/-._~"
_VALUE_SAFE: Final = "/-._~:"
_PLACES: Final = frozenset({REGION, ZONE, SUBZONE})


class ClientIdentity(msgspec.Struct, frozen=True):
    """A connected proxy with all its labels."""

    key: str
    """The proxy."""
    gateway: str
    namespace: str
    labels: Labels
    """Sorted; those of its locality among them."""


class RuledBackend(msgspec.Struct, frozen=True):
    """A backend for which two clients of a gateway can choose differently."""

    key: str
    """The cluster."""
    looked_at: str
    """The labels of clients that its rules look at, in one text (``label_set``)."""


class LabelSets(msgspec.Struct, frozen=True):
    """The sets of labels that the rules of some backend look at; one row."""

    key: str
    sets: tuple[str, ...]
    """Sorted; the empty set is always there."""


@dataclass(frozen=True)
class Clients:
    """Proxies and their classes."""

    clients: Collection[Client]
    """By proxy."""
    classes: Collection[ClientClass]
    """Of a gateway without a proxy there are those of a stand-in: the gateway's namespace and no labels."""
    ruled: Collection[RuledBackend]
    """By cluster."""
    label_keys: Collection[Count]
    """How many connected proxies carry a label, by its key."""


def label_set(labels: Iterable[str]) -> str:
    """A set of labels in one text."""
    return " ".join(quote(label, safe=_LABEL_SAFE) for label in sorted(labels))


def class_name(namespace: str, looked_at: str, labels: Mapping[str, str]) -> str:
    """A class's name: its namespace, and what it has of a set of labels, in one text that stands for them and nothing else."""
    parts = [quote(namespace)]
    for word in looked_at.split():
        value = labels.get(unquote(word))
        parts.append(word if value is None else f"{word}={quote(value, safe=_VALUE_SAFE)}")
    return " ".join(parts)


def parse_class(gateway: str, name: str) -> ClientClass:
    """The class that ``class_name`` named."""
    namespace, *words = name.split(" ")
    parsed = [word.partition("=") for word in words]
    labels = tuple((unquote(key), unquote(value)) for key, has, value in parsed if has)
    return ClientClass((gateway, name), unquote(namespace), labels, " ".join(key for key, _, _ in parsed))


def default_class(gateway: str, looked_at: str = "") -> ClientClass:
    """A client of which nothing is known but its gateway."""
    return parse_class(gateway, class_name(gateway.partition("/")[0], looked_at, {}))


def _of_pod(pod: Pod) -> tuple[Labels, str]:
    return tuple(sorted(pod.metadata.labels.items())), pod.spec.node_name


def identify(proxy: Proxy, fetch: Fetch, base: Base) -> ClientIdentity:
    """A proxy's namespace and labels: its Pod's and its Node's where they are known, else its own word.

    Where a Pod's Node is not known, the Pod's own labels tell where it is, and if they do not, what the proxy says.

    A node id is ``{pod}.{namespace}``. One that is no Pod's and has more dots is taken for a machine's name, which tells no
    namespace: the gateway's stands in.
    """
    name, dot, namespace = proxy.node.rpartition(".")
    pod = fetch(base.pods, f"{namespace}/{name}", view=_of_pod) if dot else None
    if pod is None and (not dot or "." in name or not name):
        namespace = proxy.gateway.partition("/")[0]
    labels, place = dict(proxy.labels), Locality.parse(proxy.locality)
    if pod is not None:
        labels, node_name = dict(pod[0]), pod[1]
        if node_name:
            labels[NODE] = node_name
        known = (fetch(base.nodes, node_name, view=locality_of_node) if node_name else None) or Locality()
        place = known if known != Locality() else Locality() if labels.keys() & _PLACES else place
    parts = {REGION: place.region, ZONE: place.zone, SUBZONE: place.subzone}
    labels |= {key: value for key, value in parts.items() if value}
    return ClientIdentity(proxy.key, proxy.gateway, namespace, tuple(sorted(labels.items())))


def tells_namespaces_apart(rules: BackendRules) -> bool:
    """Whether clients of two namespaces can go by different rules."""
    namespaces = {candidate.rule.partition("/")[0] for candidate in rules.candidates}
    return len(namespaces) > 1 or any(candidate.exported_to != ("*",) for candidate in rules.candidates)


def declare_ruled(
    graph: Graph, base: Base, backends: Backends, destination_rules: DestinationRules
) -> Collection[RuledBackend]:
    """Declare the backends for which clients choose. A rule that tells nobody apart is everybody's."""
    rules = destination_rules.of_clusters

    def make(backend: Backend, fetch: Fetch) -> RuledBackend | None:
        found = fetch(rules, backend.cluster)
        labels = set(distribution_labels(backend.traffic_distribution))
        for candidate in found.candidates if found is not None else ():
            labels |= fetch(base.destination_rules, candidate.rule, view=rule_labels) or frozenset()
        if labels or (found is not None and tells_namespaces_apart(found)):
            return RuledBackend(backend.cluster, label_set(labels))
        return None

    return graph.map("ruled_backends", RuledBackend, backends.backends, make, reads=(rules, base.destination_rules))


def declare_clients(
    graph: Graph, base: Base, gateways: Gateways, backends: Backends, destination_rules: DestinationRules
) -> Clients:
    """Declare proxies and their classes."""
    ruled = declare_ruled(graph, base, backends, destination_rules)
    used = graph.count("label_set_uses", ruled, by=lambda row: row.looked_at)
    sets = graph.singleton(
        "label_sets",
        LabelSets,
        lambda fetch: LabelSets("sets", tuple(sorted({"", *(str(count.key) for count in fetch.all(used))}))),
        reads=(used,),
    )

    def all_sets(fetch: Fetch) -> tuple[str, ...]:
        row = fetch(sets, "sets")
        return row.sets if row is not None else ("",)

    identities = graph.map(
        "client_identities",
        ClientIdentity,
        base.proxies,
        lambda proxy, fetch: identify(proxy, fetch, base),
        reads=(base.pods, base.nodes),
    )
    label_keys = graph.count("client_label_keys", identities, by=lambda row: [key for key, _ in row.labels])

    def classify(identity: ClientIdentity, fetch: Fetch) -> Client:
        labels = dict(identity.labels)
        names = (class_name(identity.namespace, looked_at, labels) for looked_at in all_sets(fetch))
        return Client(identity.key, identity.gateway, tuple(names))

    clients = graph.map("clients", Client, identities, classify, reads=(sets,))
    present = graph.count(
        "client_class_sizes", clients, by=lambda client: [(client.gateway, name) for name in client.class_names]
    )
    served = graph.count("clients_of_gateways", clients, by=lambda client: client.gateway)

    def stand_in(owned: OwnedGateway, fetch: Fetch) -> Iterator[ClientClass]:
        if not fetch.exists(served, owned.key):
            for looked_at in all_sets(fetch):
                yield default_class(owned.key, looked_at)

    of_clients = graph.map("present_classes", ClientClass, present, lambda count, fetch: parse_class(*count.key))
    defaults = graph.map("default_classes", ClientClass, gateways.owned, stand_in, reads=(served, sets))
    classes = graph.union("client_classes", ClientClass, (of_clients, defaults))
    return Clients(clients, classes, ruled, label_keys)
