"""Resources of real bytes that say what an Envoy thinks of them.

The first letter of a version is what an Envoy does with it: a digit is good; ``b`` is rejected; ``p`` fails the validation that
comes before anything of a response is looked at; ``w`` (clusters) passes that, is taken into warming, and fails then (trap 1);
``s`` (clusters found by DNS) is good and slow. The first letter of a cluster's name is its kind: ``c`` with endpoints by EDS,
``e`` by a load assignment of another name, ``t`` by EDS, with a secret, ``d`` by DNS.

What a simulated proxy does follows from the bytes that it was sent and from nothing else.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import msgspec

from controlplane._proto.envoy.config.cluster.v3 import Cluster, ClusterDiscoveryType, ClusterEdsClusterConfig
from controlplane._proto.envoy.config.core.v3 import AggregatedConfigSource, ConfigSource, TransportSocket
from controlplane._proto.envoy.config.route.v3 import (
    Route,
    RouteAction,
    RouteConfiguration,
    RouteMatch,
    Vhds,
    VirtualHost,
)
from controlplane._proto.envoy.extensions.transport_sockets.tls.v3 import (
    CommonTlsContext,
    SdsSecretConfig,
    UpstreamTlsContext,
)
from controlplane._proto.google.protobuf import Any as Packed
from controlplane.xds.protobuf import field, fields

_VERSION, _ROUTE_CONFIGURATION, _CLUSTER, _SECRET = 2000, 2001, 2002, 2003
"""Fields that no message has: where the real ones would take many messages to say the same."""


class Row(msgspec.Struct, frozen=True, weakref=True):
    """A resource as the tables take it."""

    name: str
    version: str
    body: bytes
    clusters: tuple[str, ...] = ()
    route_configurations: tuple[str, ...] = ()


def is_bad(version: str) -> bool:
    """Whether an Envoy rejects it, at once or later."""
    return version[:1] in ("b", "p", "w")


# Clusters, and what belongs to them.


class ClusterForm(NamedTuple):
    """What a proxy reads in a cluster."""

    name: str
    version: str
    assignment: str
    """Name of its load assignment; empty for one found by DNS."""
    secret: str


def assignment_of(cluster: str) -> str:
    """The load assignment of a cluster; empty where it has none."""
    return {"d": "", "e": f"of-{cluster}"}.get(cluster[0], cluster)


def secret_of(cluster: str) -> str:
    """The secret of a cluster; empty where it has none."""
    return f"secret-{cluster}" if cluster[0] == "t" else ""


def cluster_row(name: str, version: str) -> Row:
    """A cluster."""
    return Row(name, version, _cluster(name, version))


@cache
def _cluster(name: str, version: str) -> bytes:
    ads = ConfigSource(ads=AggregatedConfigSource())
    cluster = Cluster(name=name, alt_stat_name=version, type=ClusterDiscoveryType.STRICT_DNS)
    if assignment_of(name):
        cluster.type = ClusterDiscoveryType.EDS
        service_name = "" if assignment_of(name) == name else assignment_of(name)
        cluster.eds_cluster_config = ClusterEdsClusterConfig(eds_config=ads, service_name=service_name)
    if secret_of(name):
        secret = SdsSecretConfig(name=secret_of(name), sds_config=ads)
        context = UpstreamTlsContext(common_tls_context=CommonTlsContext(tls_certificate_sds_secret_configs=[secret]))
        cluster.transport_socket = TransportSocket(name="tls", typed_config=Packed.pack(context))
    return bytes(cluster)


@cache
def read_cluster(body: bytes) -> ClusterForm:
    """As an Envoy does."""
    cluster = Cluster.parse(body)
    return ClusterForm(cluster.name, cluster.alt_stat_name, assignment_of(cluster.name), secret_of(cluster.name))


def plain_row(name: str, version: str) -> Row:
    """A load assignment or a secret."""
    return Row(name, version, field(1, name.encode()) + field(_VERSION, version.encode()))


def read_version(body: bytes) -> str:
    """The version that stands in the bytes of what is not a cluster and not a virtual host."""
    return _texts(body, _VERSION)[0]


def _texts(body: bytes, number: int) -> tuple[str, ...]:
    return tuple(
        content.decode() for found, _, content in fields(body) if found == number and isinstance(content, bytes)
    )


# Listeners.


class ListenerForm(msgspec.Struct, frozen=True):
    """What a proxy reads in a listener, or a user wants of one."""

    version: str
    route_configurations: tuple[str, ...] = ()
    clusters: tuple[str, ...] = ()
    """Of its TCP chains."""
    secrets: tuple[str, ...] = ()


def listener_row(name: str, form: ListenerForm) -> Row:
    """A listener; its version tells its content."""
    version = f"{form.version}|{','.join(form.route_configurations)}|{','.join(form.clusters)}|{','.join(form.secrets)}"
    body = field(1, name.encode()) + field(_VERSION, version.encode())
    numbers = ((_ROUTE_CONFIGURATION, form.route_configurations), (_CLUSTER, form.clusters), (_SECRET, form.secrets))
    for number, texts in numbers:
        body += b"".join(field(number, text.encode()) for text in texts)
    return Row(name, version, body, form.clusters, form.route_configurations)


def read_listener(body: bytes) -> ListenerForm:
    """As an Envoy does."""
    found = (_texts(body, number) for number in (_ROUTE_CONFIGURATION, _CLUSTER, _SECRET))
    return ListenerForm(read_version(body), *found)


# Routes, virtual hosts and RouteConfigurations.


class RouteForm(msgspec.Struct, frozen=True):
    """A route; ``cluster`` is empty for one that goes nowhere."""

    name: str
    version: str
    cluster: str

    def __str__(self) -> str:
        return f"{self.name}.{self.version}>{self.cluster}"


class HostForm(msgspec.Struct, frozen=True):
    """What a proxy reads in a virtual host, or a user wants of one."""

    version: str
    """Of what it has beside its routes."""
    routes: tuple[RouteForm, ...] = ()
    domain: str = ""

    @property
    def clusters(self) -> tuple[str, ...]:
        return tuple(sorted({route.cluster for route in self.routes if route.cluster}))

    @property
    def is_rejected(self) -> bool:
        return is_bad(self.version) or any(is_bad(route.version) for route in self.routes)

    def __str__(self) -> str:
        return f"{self.version}|{' '.join(map(str, self.routes))}"


@cache
def encode_route(form: RouteForm) -> bytes:
    """A route; its version stands in its path, as a bad regular expression would."""
    action = RouteAction(cluster=form.cluster) if form.cluster else None
    return bytes(Route(name=form.name, match=RouteMatch(prefix=f"/{form.version}"), route=action))


@cache
def read_route(body: bytes) -> RouteForm:
    """As an Envoy does."""
    route = Route.parse(body)
    assert route.match is not None
    assert route.match.prefix is not None
    cluster = route.route.cluster if route.route is not None else ""
    return RouteForm(route.name, route.match.prefix[1:], cluster or "")


@cache
def encode_host(name: str, form: HostForm) -> bytes:
    """A virtual host."""
    host = VirtualHost(
        name=name,
        domains=[form.domain or name.rpartition("/")[2]],
        request_headers_to_remove=[form.version],
    )
    return bytes(host) + b"".join(field(3, encode_route(route)) for route in form.routes)


@cache
def read_host(body: bytes) -> HostForm:
    """As an Envoy does. One without a version of its own has only routes."""
    host = VirtualHost.parse(body)
    routes = tuple(read_route(bytes(route)) for route in host.routes)
    [domain] = host.domains
    return HostForm(host.request_headers_to_remove[0] if host.request_headers_to_remove else "", routes, domain)


def host_row(name: str, form: HostForm) -> Row:
    """A virtual host; its version tells its content."""
    return Row(name, str(form), encode_host(name, form), form.clusters)


class RoutesForm(msgspec.Struct, frozen=True):
    """What a proxy reads in a RouteConfiguration, or a user wants of one."""

    version: str
    host: HostForm | None = None
    """The one that it holds itself; None where its virtual hosts come by VHDS."""

    @property
    def is_rejected(self) -> bool:
        return is_bad(self.version) or (self.host is not None and self.host.is_rejected)


def routes_row(name: str, form: RoutesForm) -> Row:
    """A RouteConfiguration; its version tells its content."""
    if form.host is None:
        return Row(name, form.version, _routes(name, form))
    return Row(name, f"{form.version}|{form.host}", _routes(name, form), form.host.clusters)


@cache
def _routes(name: str, form: RoutesForm) -> bytes:
    routes = RouteConfiguration(name=name, request_headers_to_remove=[form.version])
    if form.host is None:
        routes.vhds = Vhds(config_source=ConfigSource(ads=AggregatedConfigSource()))
        return bytes(routes)
    return bytes(routes) + field(2, encode_host(f"{name}/inline", form.host))


@cache
def read_routes(body: bytes) -> RoutesForm:
    """As an Envoy does."""
    routes = RouteConfiguration.parse(body)
    host = read_host(bytes(routes.virtual_hosts[0])) if routes.virtual_hosts else None
    return RoutesForm(routes.request_headers_to_remove[0], host)
