"""A small world whose proxies reject things: what it takes to say so, and to see what is served and said."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from controlplane._proto.envoy.config.route.v3 import VirtualHost
from controlplane.log import MemoryLog, Transaction
from controlplane.model.codec import EventCodec
from controlplane.model.decode import Decoded, decode_object
from controlplane.model.events import (
    AnyEvent,
    ControlPlaneStarted,
    ObjectApplied,
    ObjectDeleted,
    RejectedPart,
    ResourceRejected,
    Settings,
    SourceSynced,
)
from controlplane.model.objects import KINDS, KubernetesObject
from controlplane.model.references import ObjectReference
from controlplane.runtime.core import State
from controlplane.translate import TypeUrl, clusters_of_route
from controlplane.translate.resource import Resource, content_version
from tests.conformance.manifests import (
    Manifest,
    endpoint_slice,
    gateway,
    gateway_class,
    http_route,
    manifest,
    prefix,
    rule,
)

GATEWAY: Final = "demo/web"
HOST: Final = "a.example.com"
VIRTUAL_HOST: Final = f"http~80/{HOST}"
WORDS: Final = "unknown regex feature"


def cluster(service: str) -> str:
    """The name of a service's cluster."""
    return f"kube_demo_{service}_8080"


def service(name: str) -> list[Manifest]:
    """A Service with an endpoint."""
    return [
        manifest("Service", "v1", name, spec={"ports": [{"port": 8080}]}),
        endpoint_slice(name, [{"addresses": ["10.0.0.1"]}]),
    ]


def route(name: str, *paths: str, to: str = "one", hostname: str = HOST) -> Manifest:
    """An HTTPRoute with a rule for each of these prefixes."""
    return http_route(name, *(rule(prefix(path), to=to) for path in paths), hostnames=[hostname])


class World:
    """A state with a log before it."""

    def __init__(self, *objects: Manifest, settings: Settings | None = None) -> None:
        self.log: MemoryLog[AnyEvent] = MemoryLog(EventCodec())
        self.state = State()
        self.settings = settings or Settings()
        self.start()
        self.objects = decoded(gateway_class(), gateway(), *service("one"), *service("two"), *objects)
        self.append(*map(ObjectApplied, self.objects))
        self.append(SourceSynced(tuple(KINDS)))

    def start(self) -> None:
        """A new incarnation."""
        started = ControlPlaneStarted(version="t", settings=self.settings, sources={"files": tuple(KINDS)})
        self.append(started)

    def append(self, *events: AnyEvent) -> None:
        self.state.apply(self.log.append(events, source="files"))

    def apply(self, *objects: Manifest) -> None:
        self.append(*map(ObjectApplied, decoded(*objects)))

    def delete(self, kind: str, name: str) -> None:
        self.append(ObjectDeleted(ObjectReference(kind, "demo", name)))

    def row(self, type_url: TypeUrl, name: str) -> Resource | None:
        return self.state.translation.resources.get((GATEWAY, str(type_url), name))

    def served(self, type_url: TypeUrl, name: str) -> Resource:
        found = self.row(type_url, name)
        assert found is not None, f"{type_url} {name} is not served"
        return found

    def names(self, type_url: TypeUrl) -> set[str]:
        rows = self.state.translation.resources.rows()
        return {row.name for row in rows if row.key[:2] == (GATEWAY, str(type_url)) and row.is_served}

    def routes(self, name: str = VIRTUAL_HOST) -> dict[str, bytes]:
        """The encoded routes of a virtual host as it is served, by name."""
        return routes_of(self.served(TypeUrl.VIRTUAL_HOST, name).body)

    def reject(self, type_url: TypeUrl, name: str, fallback: Resource | None = None, **fields: Any) -> None:
        """Proxies reject the version of a resource that is served now; the fallback is what they took before."""
        event = ResourceRejected(
            gateway=GATEWAY,
            type_url=str(type_url),
            name=name,
            version=self.served(type_url, name).version,
            proxy="p",
            message=WORDS,
            fallback_version=fallback.version if fallback is not None else "",
            fallback=fallback.body if fallback is not None else b"",
            fallback_clusters=fallback.clusters if fallback is not None else (),
        )
        self.append(msgspec.structs.replace(event, **fields))

    def reject_routes(self, *names: str, before: dict[str, bytes], message: str = WORDS) -> None:
        """Proxies reject routes of the virtual host; ``before`` is what they took."""
        served = self.routes()
        parts = tuple(
            RejectedPart(
                name,
                content_version(served[name]),
                before.get(name, b""),
                clusters_of_route(before.get(name, b"")),
            )
            for name in names
        )
        self.reject(TypeUrl.VIRTUAL_HOST, VIRTUAL_HOST, parts=parts, message=message)

    def conditions(self, key: str) -> dict[str, tuple[str, str, str]]:
        """Conditions of an HTTPRoute (at its first parent) or of a Gateway."""
        row = self.state.rows.statuses.get(key)
        assert row is not None
        document = msgspec.json.decode(row.document)
        holder = document["parents"][0] if "parents" in document else document
        return told(holder["conditions"])

    def listener(self, gateway_key: str = GATEWAY, number: int = 0) -> dict[str, tuple[str, str, str]]:
        """Conditions of a listener."""
        row = self.state.rows.statuses.get(f"Gateway {gateway_key}")
        assert row is not None
        return told(msgspec.json.decode(row.document)["listeners"][number]["conditions"])

    def ended(self) -> list[tuple[str, str, str]]:
        """What a commit says that is over."""
        return [row.key for row in self.state.translation.ended_rejections.rows()]

    def replayed(self) -> State:
        """The state that the log gives."""
        state = State()
        for item in self.log.read():
            if isinstance(item, Transaction):
                state.apply(item)
        return state


def decoded(*objects: Manifest) -> list[KubernetesObject]:
    """Manifests as objects."""
    found = [decode_object(raw) for raw in objects]
    assert all(isinstance(one, Decoded) for one in found), found
    return [one.object for one in found if isinstance(one, Decoded)]


def told(conditions: list[dict[str, str]]) -> dict[str, tuple[str, str, str]]:
    """Conditions by type: status, reason, message."""
    return {c["type"]: (c["status"], c["reason"], c["message"]) for c in conditions}


def routes_of(body: bytes) -> dict[str, bytes]:
    """The encoded routes of an encoded virtual host, by name."""
    return {found.name: bytes(found) for found in VirtualHost.parse(body).routes}
