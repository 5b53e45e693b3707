"""The rules of Kubernetes' own objects that its API server has in code, as far as we read the fields.

Looser in one place, for folders of manifests: endpoints may be loopback addresses.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from controlplane.model.addresses import is_ipv4, is_ipv6, parse_address
from controlplane.model.base import Row
from controlplane.model.kubernetes import EndpointSlice, LabelSelectorRequirement, ServiceSpec
from controlplane.model.problems import quoted
from controlplane.model.references import FieldProblem
from controlplane.model.rules.rule import Rule, repetitions

_EXAMPLES: Final = {"IPv4": "192.0.2.1", "IPv6": "2001:db8::1"}


def ports_are_named(spec: ServiceSpec) -> Iterator[FieldProblem]:
    """Several ports have names, and no two the same."""
    if len(spec.ports) < 2:
        return
    for position, port in enumerate(spec.ports):
        if not port.name:
            remedy = "add it: an EndpointSlice's port is found by it"
            yield FieldProblem(f"ports[{position}].name", "required where there are several ports, but missing", remedy)
    for position, first in repetitions(port.name or None for port in spec.ports):
        problem = f"{quoted(spec.ports[position].name)} is the name of ports[{first}] too"
        yield FieldProblem(f"ports[{position}].name", problem, "use another name")
    for position, first in repetitions((port.protocol, port.port) for port in spec.ports):
        yield FieldProblem(
            f"ports[{position}]", f"the port and protocol of ports[{first}] too", "remove one of the two"
        )


def service_has_what_its_type_needs(spec: ServiceSpec) -> Iterator[FieldProblem]:
    """An ``ExternalName`` has a name; others have ports, but for headless ones."""
    if spec.type == "ExternalName":
        if not spec.external_name:
            yield FieldProblem("externalName", "required with type ExternalName, but missing", "add it: a DNS name")
    elif not spec.ports and spec.cluster_ip != "None":
        yield FieldProblem("ports", "required, but missing", "add at least one port, or set clusterIP to None")


def cluster_ips_are_addresses(spec: ServiceSpec) -> Iterator[FieldProblem]:
    """IP addresses, or the word ``None``."""
    values = [("clusterIP", spec.cluster_ip)]
    values += [(f"clusterIPs[{position}]", value) for position, value in enumerate(spec.cluster_ips)]
    for path, value in values:
        if value and value != "None" and parse_address(value) is None:
            yield FieldProblem(
                path, f"{quoted(value)} is no IP address", "use an IP address or None, or remove the field"
            )


def endpoints_are_addresses(slice_: EndpointSlice) -> Iterator[FieldProblem]:
    """Every address is of the slice's type."""
    if slice_.address_type == "FQDN":
        return
    is_address = is_ipv4 if slice_.address_type == "IPv4" else is_ipv6
    for position, endpoint in enumerate(slice_.endpoints):
        for place, value in enumerate(endpoint.addresses):
            if not is_address(value):
                problem = f"{quoted(value)} is no {slice_.address_type} address"
                remedy = f"use one such as {_EXAMPLES[slice_.address_type]}, or change addressType"
                yield FieldProblem(f"endpoints[{position}].addresses[{place}]", problem, remedy)


def slice_ports_are_distinct(slice_: EndpointSlice) -> Iterator[FieldProblem]:
    """A name names one port, the empty one too."""
    for position, first in repetitions(port.name for port in slice_.ports):
        problem = f"{quoted(slice_.ports[position].name)} is the name of ports[{first}] too"
        yield FieldProblem(f"ports[{position}].name", problem, "use another name")


def values_go_with_the_operator(requirement: LabelSelectorRequirement) -> Iterator[FieldProblem]:
    """``In`` and ``NotIn`` have values, the others none."""
    if requirement.operator in {"In", "NotIn"}:
        if not requirement.values:
            problem = f"required with operator {requirement.operator}, but missing"
            yield FieldProblem("values", problem, "add at least one")
    elif requirement.values:
        yield FieldProblem("values", f"do not go with operator {requirement.operator}", "remove them")


RULES: Final[dict[type[Row], tuple[Rule[Any], ...]]] = {
    EndpointSlice: (endpoints_are_addresses, slice_ports_are_distinct),
    LabelSelectorRequirement: (values_go_with_the_operator,),
    ServiceSpec: (ports_are_named, service_has_what_its_type_needs, cluster_ips_are_addresses),
}
