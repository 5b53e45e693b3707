"""Gateway's rules: the CRD's ``x-kubernetes-validations``, list keys and formats."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from controlplane.model.addresses import parse_address
from controlplane.model.base import Row
from controlplane.model.gateway import (
    GatewayInfrastructure,
    GatewaySpec,
    GatewaySpecAddress,
    Listener,
    ListenerTLSConfig,
)
from controlplane.model.problems import entry, quoted
from controlplane.model.references import FieldProblem
from controlplane.model.rules.rule import Rule, repetitions
from controlplane.model.scalars import HOSTNAME, METADATA_KEY, PATTERN_WORDS

_METADATA_KEY: Final = re.compile(METADATA_KEY)
_HOSTNAME: Final = re.compile(HOSTNAME)
_LONGEST_PREFIX: Final = 252
_CERTIFICATES: Final = "name a Secret of type kubernetes.io/tls in certificateRefs"


def listener_names_are_unique(spec: GatewaySpec) -> Iterator[FieldProblem]:
    """A name names one listener."""
    for position, first in repetitions(listener.name for listener in spec.listeners):
        problem = f"{quoted(spec.listeners[position].name)} is the name of listeners[{first}] too"
        yield FieldProblem(f"listeners[{position}].name", problem, "use another name")


def listeners_are_distinct(spec: GatewaySpec) -> Iterator[FieldProblem]:
    """Port, protocol and hostname tell listeners apart."""
    keys = ((listener.port, listener.protocol, listener.hostname) for listener in spec.listeners)
    for position, first in repetitions(keys):
        problem = f"the port, protocol and hostname of listeners[{first}]"
        yield FieldProblem(f"listeners[{position}]", problem, "change one of the three, or remove the listener")


def addresses_are_distinct(spec: GatewaySpec) -> Iterator[FieldProblem]:
    """Each IP address and each hostname is asked for once."""
    keys = (
        (address.type, address.value) if address.type in {"IPAddress", "Hostname"} and address.value else None
        for address in spec.addresses
    )
    for position, first in repetitions(keys):
        yield FieldProblem(f"addresses[{position}].value", f"the value of addresses[{first}] too", "remove it")


def tls_goes_with_the_protocol(listener: Listener) -> Iterator[FieldProblem]:
    """The plain protocols have no ``tls``, TLS must have it.

    HTTPS may be without in the API; such a listener alone is not served, and its status says so.
    """
    match listener.protocol, listener.tls:
        case "HTTP" | "TCP" | "UDP", ListenerTLSConfig():
            remedy = "remove it, or set protocol to HTTPS" if listener.protocol == "HTTP" else "remove it"
            yield FieldProblem("tls", f"does not go with protocol {listener.protocol}", remedy)
        case "HTTPS", ListenerTLSConfig(mode="Passthrough"):
            remedy = "set it to Terminate, or set protocol to TLS"
            yield FieldProblem("tls.mode", "Passthrough does not go with protocol HTTPS", remedy)
        case "TLS", None:
            yield FieldProblem("tls", "required with protocol TLS, but missing", "add it, with its mode")


def hostname_goes_with_the_protocol(listener: Listener) -> Iterator[FieldProblem]:
    """TCP and UDP know no hostnames."""
    if listener.hostname and listener.protocol in {"TCP", "UDP"}:
        yield FieldProblem("hostname", f"does not go with protocol {listener.protocol}", "remove it")


def termination_has_certificates(tls: ListenerTLSConfig) -> Iterator[FieldProblem]:
    """To end TLS takes a certificate, or options that say where else one comes from."""
    if tls.mode == "Terminate" and not tls.certificate_refs and not tls.options:
        yield FieldProblem("certificateRefs", "required with mode Terminate, but missing", _CERTIFICATES)


def address_is_of_its_type(address: GatewaySpecAddress) -> Iterator[FieldProblem]:
    """An ``IPAddress`` is one, a ``Hostname`` is one or empty."""
    value = address.value
    if value is None:
        return
    if address.type == "IPAddress" and parse_address(value) is None:
        problem = f"{quoted(value)} is no IP address"
        yield FieldProblem("value", problem, "use an address such as 192.0.2.1 or 2001:db8::1, or remove the field")
    if address.type == "Hostname" and value and not _HOSTNAME.search(value):
        yield FieldProblem("value", f"{quoted(value)} is no hostname", f"use {PATTERN_WORDS[HOSTNAME]}")


def infrastructure_keys_are_qualified(infrastructure: GatewayInfrastructure) -> Iterator[FieldProblem]:
    """Labels and annotations have qualified names."""
    for field, keys in (("labels", infrastructure.labels), ("annotations", infrastructure.annotations)):
        for key in keys:
            if not _METADATA_KEY.search(key) or len(key.split("/")[0]) > _LONGEST_PREFIX:
                remedy = "use a name of at most 63 letters, digits, '-', '_' and '.', after a domain and '/' or without"
                yield FieldProblem(entry(field, key), f"{quoted(key)} is no name for {field}", remedy)


RULES: Final[dict[type[Row], tuple[Rule[Any], ...]]] = {
    GatewayInfrastructure: (infrastructure_keys_are_qualified,),
    GatewaySpec: (listener_names_are_unique, listeners_are_distinct, addresses_are_distinct),
    GatewaySpecAddress: (address_is_of_its_type,),
    Listener: (tls_goes_with_the_protocol, hostname_goes_with_the_protocol),
    ListenerTLSConfig: (termination_has_certificates,),
}
