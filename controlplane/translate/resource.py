"""The row that a translation ends in: one xDS resource, encoded once."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from typing import Any

import msgspec

from controlplane.model.served_names import TypeUrl as TypeUrl


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
    """Empty where nothing is served: ``is_served``."""
    body: bytes
    """The encoded message, without the Any around it. Of a Secret: with the key's digest in the key's place.

    Empty with a version: the form that proxies took last, whose bytes nobody knows any more. Who has it keeps it.
    """
    clusters: tuple[str, ...] = ()
    """Clusters that it names itself: it is sent to a proxy when that has proven them."""
    route_configurations: tuple[str, ...] = ()
    """RouteConfigurations that a Listener names."""

    @property
    def is_served(self) -> bool:
        """Whether there is anything to serve: not, where proxies reject the only form that there is."""
        return bool(self.version)

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
    def is_served(self) -> bool:
        """As ``Resource.is_served``."""
        return bool(self.version)

    @property
    def name(self) -> str:
        """The resource's name."""
        return self.key[3]


def encoded(key: object, body: bytes) -> Encoded:
    """A shared resource from its bytes."""
    return Encoded(key, content_version(body), body)


def resource(
    gateway: str,
    type_url: TypeUrl,
    name: str,
    body: bytes,
    clusters: Iterable[str] = (),
    route_configurations: Iterable[str] = (),
) -> Resource:
    """A gateway's resource from its bytes, and what it names."""
    names = tuple(sorted(set(clusters))), tuple(sorted(set(route_configurations)))
    return Resource((gateway, str(type_url), name), content_version(body), body, *names)
