"""What proxies do and say, folded into base rows: who is connected, what they hold, reject and wait for.

Who is connected is of one incarnation, and so is what is withheld from them. What was rejected is not: a control plane that
starts again must not offer the bad version again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, TypeAlias, assert_never

import msgspec

from controlplane.krt import Graph, Source, Transaction
from controlplane.model.events import (
    DeliveryResumed,
    DeliveryWithheld,
    ProxyAcknowledged,
    ProxyConnected,
    ProxyDisconnected,
    ProxyRejected,
    RejectionEnded,
    ResourceRejected,
)

MOST_FORMS: Final = 256
"""Rejected versions of one name that are remembered: each class of clients can have one of its own."""
MOST_PARTS: Final = 20_000
"""Rejected routes of one virtual host that are remembered."""

ProxyEvent: TypeAlias = (
    ProxyConnected
    | ProxyAcknowledged
    | ProxyRejected
    | ResourceRejected
    | RejectionEnded
    | DeliveryWithheld
    | DeliveryResumed
    | ProxyDisconnected
)
ResourceKey: TypeAlias = tuple[str, str, str]
"""Gateway, type URL, name."""


class Proxy(msgspec.Struct, frozen=True):
    """An Envoy with a stream open."""

    key: str
    node: str
    gateway: str
    locality: str
    peer: str
    labels: tuple[tuple[str, str], ...] = ()
    """What its node says of itself, sorted; its Pod knows better."""
    acknowledged: int = 0
    """Everything that it was sent for the log up to this seq is acknowledged."""
    listeners: tuple[str, ...] = ()
    """Names of the listeners that it has in use, sorted."""


class Rejection(msgspec.Struct, frozen=True):
    """The last rejection of a type by a proxy."""

    type_url: str
    names: tuple[str, ...]
    message: str


class ProxyRejections(msgspec.Struct, frozen=True):
    """What a connected proxy has rejected."""

    key: str
    """The proxy."""
    gateway: str
    rejections: tuple[Rejection, ...]
    """The last one of each type, sorted by type."""


class RejectedForm(msgspec.Struct, frozen=True):
    """A version of a resource that proxies reject, and what is served in its place."""

    version: str
    message: str
    fallback_version: str
    """Empty where there was nothing: the resource is not served."""
    fallback: bytes
    """Empty where it is no longer known: who has it keeps it."""
    fallback_clusters: tuple[str, ...]


class RejectedRoute(msgspec.Struct, frozen=True):
    """A route that is kept out of a virtual host, and the form of it that stands in its place."""

    name: str
    digest: str
    message: str
    fallback: bytes
    """Empty where there was none: the route is left out."""
    fallback_clusters: tuple[str, ...]
    cluster: str = ""
    """Where it is not at fault itself: the cluster that it names, with whose rejection it ends."""


class RejectedResource(msgspec.Struct, frozen=True):
    """What proxies of a gateway reject of one name."""

    key: ResourceKey
    proxy: str
    """Who said so last."""
    forms: tuple[RejectedForm, ...] = ()
    """Versions that are rejected as a whole, the newest last. Classes of clients can have one each."""
    parts: tuple[RejectedRoute, ...] = ()
    """Of a virtual host: routes at fault, by digest."""
    origins: tuple[str, ...] = ()
    """Objects that it was made of, ``Kind namespace/name``, sorted."""
    version: str = ""
    """The last one that was rejected."""
    seq: int = 0
    """The event that last spoke of it. History: nothing that is served or said may depend on it."""

    def form(self, version: str | None) -> RejectedForm | None:
        """The form of this version, if it is rejected as a whole."""
        return next((form for form in self.forms if form.version == version), None)


class WithheldDelivery(msgspec.Struct, frozen=True):
    """A proxy stays at its last version of a resource, because it has not proven clusters that the newest one names."""

    key: tuple[str, str, str]
    """Proxy, type URL, name."""
    gateway: str
    clusters: tuple[str, ...]
    origins: tuple[str, ...]


@dataclass(frozen=True)
class ProxyRows:
    """The collections that proxies' events go to."""

    proxies: Source[Proxy]
    proxy_rejections: Source[ProxyRejections]
    rejections: Source[RejectedResource]
    withheld: Source[WithheldDelivery]

    @property
    def of_one_incarnation(self) -> tuple[Source[Any], ...]:
        """Those that are empty when a control plane starts."""
        return self.proxies, self.proxy_rejections, self.withheld


def declare_proxies(graph: Graph) -> ProxyRows:
    """Declare the collections."""
    return ProxyRows(
        graph.source("proxies", Proxy),
        graph.source("proxy_rejections", ProxyRejections),
        graph.source("rejections", RejectedResource),
        graph.source("withheld", WithheldDelivery),
    )


def fold_proxy_event(tx: Transaction, rows: ProxyRows, seq: int, event: ProxyEvent) -> None:
    """Lay one event down."""
    match event:
        case ProxyConnected(proxy, node, gateway, locality, peer, labels):
            tx.put(rows.proxies, Proxy(proxy, node, gateway, locality, peer, labels))
        case ProxyAcknowledged(proxy, acknowledged, listeners):
            known = tx.get(rows.proxies, proxy)
            if known is not None:
                now = msgspec.structs.replace(known, acknowledged=acknowledged, listeners=listeners)
                tx.put(rows.proxies, now)
        case ProxyRejected(proxy, gateway, type_url, names, message):
            known_rejections = tx.get(rows.proxy_rejections, proxy)
            others = known_rejections.rejections if known_rejections is not None else ()
            kept = [r for r in others if r.type_url != type_url]
            latest = sorted([*kept, Rejection(type_url, names, message)], key=lambda r: r.type_url)
            tx.put(rows.proxy_rejections, ProxyRejections(proxy, gateway, tuple(latest)))
        case ResourceRejected(gateway, type_url, name):
            before = tx.get(rows.rejections, (gateway, type_url, name))
            tx.put(rows.rejections, add_rejection(before, event, seq))
        case RejectionEnded(gateway, type_url, name):
            tx.delete(rows.rejections, (gateway, type_url, name))
        case DeliveryWithheld(proxy, gateway, type_url, name, clusters, origins):
            if tx.get(rows.proxies, proxy) is not None:
                tx.put(rows.withheld, WithheldDelivery((proxy, type_url, name), gateway, clusters, origins))
        case DeliveryResumed(proxy, type_url, name):
            tx.delete(rows.withheld, (proxy, type_url, name))
        case ProxyDisconnected(proxy):
            tx.delete(rows.proxies, proxy)
            tx.delete(rows.proxy_rejections, proxy)
            for row in tx.rows(rows.withheld):
                if row.key[0] == proxy:
                    tx.delete(rows.withheld, row.key)
        case _:
            assert_never(event)


def add_rejection(before: RejectedResource | None, event: ResourceRejected, seq: int) -> RejectedResource:
    """A rejection beside what is known of the name already.

    Versions that are rejected as a whole are kept beside each other, since classes of clients can be served one each; were only
    the last one kept, two classes would have each other's bad form offered again for ever. Routes that were found at fault
    stay so whatever is found next. What is no longer offered ends by ``RejectionEnded``.
    """
    forms = {form.version: form for form in before.forms} if before is not None else {}
    parts = {part.digest: part for part in before.parts} if before is not None else {}
    forms.pop(event.version, None)
    if not event.parts:
        forms[event.version] = RejectedForm(
            event.version, event.message, event.fallback_version, event.fallback, event.fallback_clusters
        )
    for part in event.parts:
        parts.pop(part.digest, None)
        parts[part.digest] = RejectedRoute(
            part.name,
            part.digest,
            part.message or event.message,
            part.fallback,
            part.fallback_clusters,
            part.cluster,
        )
    kept = sorted([*parts.values()][-MOST_PARTS:], key=lambda part: part.digest)
    origins = {*event.origins, *(before.origins if before is not None else ())}
    return RejectedResource(
        key=(event.gateway, event.type_url, event.name),
        proxy=event.proxy,
        forms=tuple(forms.values())[-MOST_FORMS:],
        parts=tuple(kept),
        origins=tuple(sorted(origins)),
        version=event.version,
        seq=seq,
    )
