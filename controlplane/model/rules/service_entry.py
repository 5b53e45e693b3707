"""The rules of ServiceEntry and WorkloadEntry: the CRD's and Istio's own."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from controlplane.model.addresses import parse_address, parse_block
from controlplane.model.base import Row
from controlplane.model.hosts import is_dns_name, is_host
from controlplane.model.problems import entry, quoted
from controlplane.model.references import FieldProblem
from controlplane.model.rules.istio import exports, selected_labels
from controlplane.model.rules.rule import Rule, repetitions
from controlplane.model.service_entry import (
    SERVED_PORT,
    SERVED_RESOLUTION,
    ServiceEntrySpec,
    ServicePort,
    WorkloadEntrySpec,
    WorkloadSelector,
)

UNIX: Final = "unix://"
"""How the address of a Unix domain socket begins."""

_PORT_NAME: Final = re.compile(r"(?=.{1,63}\Z)[a-zA-Z0-9](?:[-a-zA-Z0-9]*[a-zA-Z0-9])?\Z")
_PORT_NAME_WORDS: Final = "use letters, digits and '-', at most 63, with a letter or digit first and last"
_BY_NAME: Final = frozenset({"DNS", "DNS_ROUND_ROBIN"})
_PROTOCOLS: Final = frozenset(
    {"tcp", "grpc", "grpc-web", "http", "http_proxy", "http2", "https", "tls", "mongo", "redis", "mysql"}
)


def hosts_are_names(spec: ServiceEntrySpec) -> Iterator[FieldProblem]:
    """DNS names; wildcards too, but for the one that is everything, and where names are to be resolved."""
    resolved = spec.resolution in _BY_NAME and not spec.endpoints
    for position, host in enumerate(spec.hosts):
        path = f"hosts[{position}]"
        if host == "*":
            yield FieldProblem(path, '"*" would be every host', "name hosts, such as *.example.com")
        elif not is_host(host):
            yield FieldProblem(path, f"{quoted(host)} is no host", "use a DNS name, or one after *.")
        elif resolved and not is_dns_name(host):
            problem = f"{quoted(host)} cannot be resolved, and there are no endpoints"
            yield FieldProblem(path, problem, "use a DNS name without *, or add endpoints")


def addresses_are_some(spec: ServiceEntrySpec) -> Iterator[FieldProblem]:
    """IP addresses, or blocks of them where no one address is needed."""
    for position, address in enumerate(spec.addresses):
        path = f"addresses[{position}]"
        if parse_block(address) is None:
            problem = f"{quoted(address)} is neither an IP address nor a CIDR block"
            yield FieldProblem(path, problem, "use one such as 192.0.2.1, 2001:db8::1 or 192.0.2.0/24")
        elif "/" in address and spec.resolution not in {"NONE", "STATIC"}:
            problem = f"a CIDR block does not go with resolution {spec.resolution}"
            yield FieldProblem(path, problem, "use IP addresses, or set resolution to STATIC")


def ports_are_distinct(spec: ServiceEntrySpec) -> Iterator[FieldProblem]:
    """No two ports have one name, and none one number."""
    for position, first in repetitions(port.name or None for port in spec.ports):
        problem = f"{quoted(spec.ports[position].name)} is the name of ports[{first}] too"
        yield FieldProblem(f"ports[{position}].name", problem, "use another name")
    for position, first in repetitions(port.number for port in spec.ports):
        problem = f"{spec.ports[position].number} is the number of ports[{first}] too"
        yield FieldProblem(f"ports[{position}].number", problem, "remove one of the two")


def port_is_named(port: ServicePort) -> Iterator[FieldProblem]:
    """A port has a name: endpoints say by it what port of theirs it is."""
    if not port.name:
        yield FieldProblem("name", "required, but missing", "add it, such as http")
    elif not _PORT_NAME.match(port.name):
        yield FieldProblem("name", f"{quoted(port.name)} is no port's name", _PORT_NAME_WORDS)


def endpoints_come_from_one_place(spec: ServiceEntrySpec) -> Iterator[FieldProblem]:
    """They are listed, selected, or resolved, and as many as the resolution takes."""
    if spec.workload_selector is not None and spec.endpoints:
        yield FieldProblem("workloadSelector", "does not go with endpoints", "remove one of the two")
    if spec.resolution == "NONE" and spec.endpoints:
        remedy = "set resolution to STATIC, or to DNS if there are names among them"
        yield FieldProblem("endpoints", "do not go with resolution NONE, the default", remedy)
    if spec.resolution == "DNS_ROUND_ROBIN" and len(spec.endpoints) > 1:
        problem = f"resolution DNS_ROUND_ROBIN takes one endpoint, and there are {len(spec.endpoints)}"
        yield FieldProblem("endpoints", problem, "leave one, or set resolution to DNS")


def workload_has_an_address(workload: WorkloadEntrySpec) -> Iterator[FieldProblem]:
    """An IP address, a DNS name, a socket, or nothing where it is behind another network's gateway."""
    address = workload.address
    if not address:
        if not workload.network:
            yield FieldProblem("address", "missing: nothing is sent there", "add an IP address or a DNS name")
    elif not address.startswith(UNIX) and parse_address(address) is None and not is_dns_name(address):
        problem = f"{quoted(address)} is neither an IP address nor a DNS name: nothing is sent there"
        yield FieldProblem("address", problem, "use one such as 192.0.2.1, 2001:db8::1 or a.example.com")


def workload_ports_are_named(workload: WorkloadEntrySpec) -> Iterator[FieldProblem]:
    """Ports by the names that ports can have."""
    for name, number in workload.ports.items():
        if not _PORT_NAME.match(name):
            yield FieldProblem(entry("ports", name), f"{quoted(name)} is no port's name", _PORT_NAME_WORDS)
        if not 1 <= number <= 65535:
            problem = f"{number} is out of range"
            yield FieldProblem(entry("ports", name), problem, "use a whole number from 1 to 65535")


def selector_has_labels(selector: WorkloadSelector) -> Iterator[FieldProblem]:
    """Labels are compared as they stand."""
    return selected_labels(selector.labels, "labels")


def entry_is_exported(spec: ServiceEntrySpec) -> Iterator[FieldProblem]:
    """To namespaces, to all, or to none."""
    return exports(spec.export_to, (".", "*", "~"))


def hosts_are_distinct(spec: ServiceEntrySpec) -> Iterator[FieldProblem]:
    """A host stands once; case does not tell them apart."""
    for position, first in repetitions(host.lower() for host in spec.hosts):
        yield FieldProblem(f"hosts[{position}]", f"the host of hosts[{first}] too", "remove it")


def endpoint_ports_are_known(spec: ServiceEntrySpec) -> Iterator[FieldProblem]:
    """An endpoint's ports bear the names of the entry's."""
    names = {port.name for port in spec.ports}
    for position, endpoint in enumerate(spec.endpoints):
        for name in endpoint.ports:
            if name not in names:
                path = entry(f"endpoints[{position}].ports", name)
                yield FieldProblem(path, f"no port of this object has the name {quoted(name)}", "rename or remove it")


def selector_has_an_effect(spec: ServiceEntrySpec) -> Iterator[FieldProblem]:
    """Where names are resolved, nothing is selected."""
    if spec.workload_selector is not None and spec.resolution in _BY_NAME:
        problem = f"has no effect with resolution {spec.resolution}"
        yield FieldProblem("workloadSelector", problem, "remove it, or set resolution to STATIC")


def selector_selects(selector: WorkloadSelector) -> Iterator[FieldProblem]:
    """An empty selector has no endpoints."""
    if not selector.labels:
        yield FieldProblem("", "selects nothing without labels", "add labels, or list endpoints instead")


def workload_is_behind_a_gateway(workload: WorkloadEntrySpec) -> Iterator[FieldProblem]:
    """Without an address it is reached by nobody here."""
    if not workload.address and workload.network:
        yield FieldProblem("address", "empty: nothing is sent there", "add an IP address or a DNS name")


def protocol_is_known(port: ServicePort) -> Iterator[FieldProblem]:
    """A protocol of Istio's, or one that Kubernetes has for application protocols."""
    name = port.protocol.lower()
    if name and name not in _PROTOCOLS and name != "udp" and "/" not in name:
        yield FieldProblem(
            "protocol", f"{quoted(port.protocol)} is no known protocol", "use HTTP, HTTP2, GRPC, TLS or TCP"
        )


def resolution_is_served(spec: ServiceEntrySpec) -> Iterator[FieldProblem]:
    """Two resolutions need a proxy that keeps, or finds out, where a client wanted to go."""
    if spec.resolution in {"NONE", "DYNAMIC_DNS"}:
        default = ", the default," if spec.resolution == "NONE" else ""
        problem = f"{spec.resolution}{default} is not supported yet: nothing is sent to its hosts"
        yield FieldProblem("resolution", problem, SERVED_RESOLUTION)


def static_endpoints_are_addresses(spec: ServiceEntrySpec) -> Iterator[FieldProblem]:
    """A name is left out where nobody resolves names; Istio's own validation refuses the object, and so the good ones too."""
    for position, endpoint in enumerate(spec.endpoints if spec.resolution == "STATIC" else ()):
        if is_dns_name(endpoint.address):
            problem = (
                f"{quoted(endpoint.address)} is no IP address, which resolution STATIC takes: nothing is sent there"
            )
            yield FieldProblem(f"endpoints[{position}].address", problem, "use an IP address, or set resolution to DNS")


def workload_is_no_socket(workload: WorkloadEntrySpec) -> Iterator[FieldProblem]:
    """A socket of the proxy's own machine."""
    if workload.address.startswith(UNIX):
        problem = "Unix domain sockets are not supported yet: nothing is sent there"
        yield FieldProblem("address", problem, "use an IP address or a DNS name")


def protocol_is_served(port: ServicePort) -> Iterator[FieldProblem]:
    """There are no UDP listeners."""
    if port.protocol.lower() == "udp":
        yield FieldProblem("protocol", "UDP is not supported yet: the port gets no datagrams", SERVED_PORT)


RULES: Final[dict[type[Row], tuple[Rule[Any], ...]]] = {
    ServiceEntrySpec: (
        hosts_are_names,
        addresses_are_some,
        ports_are_distinct,
        endpoints_come_from_one_place,
        entry_is_exported,
    ),
    ServicePort: (port_is_named,),
    WorkloadEntrySpec: (workload_ports_are_named,),
    WorkloadSelector: (selector_has_labels,),
}
WARNINGS: Final[dict[type[Row], tuple[Rule[Any], ...]]] = {
    ServiceEntrySpec: (
        hosts_are_distinct,
        endpoint_ports_are_known,
        selector_has_an_effect,
        static_endpoints_are_addresses,
    ),
    ServicePort: (protocol_is_known,),
    WorkloadEntrySpec: (workload_has_an_address, workload_is_behind_a_gateway),
    WorkloadSelector: (selector_selects,),
}
UNSUPPORTED: Final[dict[type[Row], tuple[Rule[Any], ...]]] = {
    ServiceEntrySpec: (resolution_is_served,),
    ServicePort: (protocol_is_served,),
    WorkloadEntrySpec: (workload_is_no_socket,),
}
