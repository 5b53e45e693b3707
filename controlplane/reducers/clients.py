"""Who asks: each connected proxy as rules see it, and the classes of proxies that no rule tells apart.

Which endpoints a proxy prefers, and which DestinationRule it goes by, depends on its namespace, its labels and its locality.
Locality is a matter of labels too (``topology.kubernetes.io/zone`` and the like), so a class is a gateway, a namespace, and
those labels that some rule looks at: a label of one Pod alone tells nobody apart unless a rule asks for it.

What a proxy says of itself is believed only where its Pod and its Node are not known. Source: kgateway's unique clients
(istio-semantics, 3).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, unquote

import msgspec

from controlplane.krt import Collection, Count, Fetch, Graph
from controlplane.model.ir import OwnedGateway
from controlplane.model.istio import DestinationRule
from controlplane.model.kubernetes import Node, Pod
from controlplane.model.services import NODE, REGION, SUBZONE, ZONE, Backend, Client, ClientClass, Locality
from controlplane.reducers.backends import Backends
from controlplane.reducers.base import Base, Proxy
from controlplane.reducers.destination_rules import distribution_labels, rule_labels
from controlplane.reducers.gateways import Gateways

Labels = tuple[tuple[str, str], ...]

_PLACES: Final = frozenset({REGION, ZONE, SUBZONE})


class ClientIdentity(msgspec.Struct, frozen=True):
    """A connected proxy with all its labels."""

    key: str
    """The proxy."""
    gateway: str
    namespace: str
    labels: Labels
    """Sorted; those of its locality among them."""


class LabelUse(msgspec.Struct, frozen=True):
    """Something looks at a label of clients."""

    key: tuple[str, str]
    """The label, and who looks at it."""


class ClientLabels(msgspec.Struct, frozen=True):
    """The labels of clients that some rule looks at; one row."""

    key: str
    labels: tuple[str, ...]


@dataclass(frozen=True)
class Clients:
    """Proxies and their classes."""

    clients: Collection[Client]
    """By proxy."""
    classes: Collection[ClientClass]
    """Of a gateway without a proxy there is one: the gateway's namespace and no labels."""
    label_keys: Collection[Count]
    """How many connected proxies carry a label, by its key."""


def class_name(namespace: str, labels: Labels) -> str:
    """A class's name: its namespace and labels in one text that stands for them and nothing else."""
    parts = [quote(namespace)]
    parts += [f"{quote(key, safe='/-._~')}={quote(value, safe='/-._~:')}" for key, value in labels]
    return " ".join(parts)


def parse_class(gateway: str, name: str) -> ClientClass:
    """The class that ``class_name`` named."""
    namespace, *labels = name.split(" ")
    pairs = (label.partition("=") for label in labels)
    return ClientClass(
        (gateway, name), unquote(namespace), tuple((unquote(key), unquote(value)) for key, _, value in pairs)
    )


def default_class(gateway: str) -> ClientClass:
    """A client of which nothing is known but its gateway."""
    return parse_class(gateway, class_name(gateway.partition("/")[0], ()))


def _of_pod(pod: Pod) -> tuple[Labels, str]:
    return tuple(sorted(pod.metadata.labels.items())), pod.spec.node_name


def _of_node(node: Node) -> Locality:
    labels = node.metadata.labels
    return Locality(labels.get(REGION, ""), labels.get(ZONE, ""), labels.get(SUBZONE, ""))


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
        known = (fetch(base.nodes, node_name, view=_of_node) if node_name else None) or Locality()
        place = known if known != Locality() else Locality() if labels.keys() & _PLACES else place
    parts = {REGION: place.region, ZONE: place.zone, SUBZONE: place.subzone}
    labels |= {key: value for key, value in parts.items() if value}
    return ClientIdentity(proxy.key, proxy.gateway, namespace, tuple(sorted(labels.items())))


def _uses_of_rule(rule: DestinationRule, fetch: Fetch) -> Iterator[LabelUse]:
    for label in sorted(rule_labels(rule)):
        yield LabelUse((label, f"DestinationRule {rule.key}"))


def _uses_of_backend(backend: Backend, fetch: Fetch) -> Iterator[LabelUse]:
    for label in sorted(distribution_labels(backend.traffic_distribution)):
        yield LabelUse((label, backend.cluster))


def declare_clients(graph: Graph, base: Base, gateways: Gateways, backends: Backends) -> Clients:
    """Declare proxies and their classes."""
    rule_uses = graph.map("rule_labels", LabelUse, base.destination_rules, _uses_of_rule)
    backend_uses = graph.map("distribution_labels", LabelUse, backends.backends, _uses_of_backend)
    uses = graph.union("label_uses", LabelUse, (rule_uses, backend_uses))
    used = graph.count("used_labels", uses, by=lambda use: use.key[0])
    looked_at = graph.singleton(
        "client_labels",
        ClientLabels,
        lambda fetch: ClientLabels("labels", tuple(str(count.key) for count in fetch.all(used))),
        reads=(used,),
    )
    identities = graph.map(
        "client_identities",
        ClientIdentity,
        base.proxies,
        lambda proxy, fetch: identify(proxy, fetch, base),
        reads=(base.pods, base.nodes),
    )
    label_keys = graph.count("client_label_keys", identities, by=lambda row: [key for key, _ in row.labels])

    def classify(identity: ClientIdentity, fetch: Fetch) -> Client:
        row = fetch(looked_at, "labels")
        keys = row.labels if row is not None else ()
        labels = tuple((key, value) for key, value in identity.labels if key in keys)
        return Client(identity.key, identity.gateway, class_name(identity.namespace, labels))

    clients = graph.map("clients", Client, identities, classify, reads=(looked_at,))
    present = graph.count("client_class_sizes", clients, by=lambda client: (client.gateway, client.class_name))
    served = graph.count("clients_of_gateways", clients, by=lambda client: client.gateway)

    def stand_in(owned: OwnedGateway, fetch: Fetch) -> ClientClass | None:
        return None if fetch.exists(served, owned.key) else default_class(owned.key)

    of_clients = graph.map("present_classes", ClientClass, present, lambda count, fetch: parse_class(*count.key))
    defaults = graph.map("default_classes", ClientClass, gateways.owned, stand_in, reads=(served,))
    classes = graph.union("client_classes", ClientClass, (of_clients, defaults))
    return Clients(clients, classes, label_keys)
