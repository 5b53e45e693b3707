"""The row that a translation ends in: one xDS resource, encoded once."""

from __future__ import annotations

from enum import StrEnum
from hashlib import blake2b
from typing import Any

import msgspec


class TypeUrl(StrEnum):
    """The types of resources that we serve."""

    CLUSTER = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
    LOAD_ASSIGNMENT = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
    SECRET = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"  # noqa: S105 (a type URL)
    LISTENER = "type.googleapis.com/envoy.config.listener.v3.Listener"
    ROUTE_CONFIGURATION = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
    VIRTUAL_HOST = "type.googleapis.com/envoy.config.route.v3.VirtualHost"


def content_version(body: bytes) -> str:
    """The version of a resource: a hash of its content, 16 hexadecimal digits, equal on every replica and after any restart.

    Half as long as Envoy would need to be safe against somebody who looks for collisions, and nobody gains by one: a proxy
    repeats the versions of all its resources when it reconnects, so their length is paid for thousands of times.
    """
    return blake2b(body, digest_size=8).hexdigest()


class Encoded(msgspec.Struct, frozen=True):
    """A resource that gateways and clients share: a form of a cluster or of a load assignment, a secret."""

    key: Any
    """Its name, or what it was made from: a string or a tuple of strings."""
    version: str
    body: bytes


class Resource(msgspec.Struct, frozen=True):
    """A resource as one gateway is served it."""

    key: tuple[str, str, str]
    """Gateway, type URL, name."""
    version: str
    body: bytes
    """The encoded message, without the Any around it. Of a Secret: with the key's digest in the key's place."""
    clusters: tuple[str, ...] = ()
    """Clusters that it names itself: it is sent to a proxy when that has proven them."""
    route_configurations: tuple[str, ...] = ()
    """RouteConfigurations that a Listener names."""

    @property
    def name(self) -> str:
        """The resource's name."""
        return self.key[2]


class ClientResource(msgspec.Struct, frozen=True):
    """A resource as one class of a gateway's clients is served it."""

    key: tuple[str, str, str, str]
    """Gateway, class, type URL, name."""
    version: str
    body: bytes
    clusters: tuple[str, ...] = ()
    """As ``Resource.clusters``."""
    route_configurations: tuple[str, ...] = ()
    """As ``Resource.route_configurations``."""

    @property
    def name(self) -> str:
        """The resource's name."""
        return self.key[3]


def encoded(key: object, body: bytes) -> Encoded:
    """A shared resource from its bytes."""
    return Encoded(key, content_version(body), body)


def resource(gateway: str, type_url: TypeUrl, name: str, body: bytes) -> Resource:
    """A gateway's resource from its bytes."""
    return Resource((gateway, str(type_url), name), content_version(body), body)
