"""Hosts as Istio's objects have them: which texts are some, and the one spelling that each has in a row."""

from __future__ import annotations

import re
from typing import Final

import msgspec

from controlplane.model.destination_rule import DestinationRule
from controlplane.model.service_entry import ServiceEntry

_LABEL: Final = r"[a-zA-Z0-9](?:[-a-zA-Z0-9]{0,61}[a-zA-Z0-9])?"
_NAME: Final = re.compile(rf"{_LABEL}(?:\.{_LABEL})*\.?\Z")
_FIRST_LABEL: Final = re.compile(rf"(?:\*|(?:\*-?)?{_LABEL})\Z")
_LONGEST: Final = 255


def is_dns_name(text: str) -> bool:
    """Whether it is a DNS name, in any case, with or without a dot at the end; an IPv4 address is none.

    Source: Istio, ``ValidateFQDN``.
    """
    return len(text) <= _LONGEST and _NAME.match(text) is not None and not text.rpartition(".")[2].isdigit()


def is_host(text: str) -> bool:
    """Whether it is a DNS name or a wildcard: ``*``, ``*.example.com``, ``*-a.example.com``, ``*a.example.com``.

    Source: Istio, ``ValidateWildcardDomain``.
    """
    first, _, rest = text.partition(".")
    return (
        len(text) <= _LONGEST
        and len(first) <= 63
        and _FIRST_LABEL.match(first) is not None
        and (not rest or is_dns_name(rest))
    )


def normalise_entry(entry: ServiceEntry) -> ServiceEntry:
    """The entry with its hosts in lower case, each where it first stood."""
    hosts = tuple(dict.fromkeys(host.lower() for host in entry.spec.hosts))
    if hosts == entry.spec.hosts:
        return entry
    return msgspec.structs.replace(entry, spec=msgspec.structs.replace(entry.spec, hosts=hosts))


def normalise_rule(rule: DestinationRule) -> DestinationRule:
    """The rule with its host in lower case."""
    host = rule.spec.host.lower()
    if host == rule.spec.host:
        return rule
    return msgspec.structs.replace(rule, spec=msgspec.structs.replace(rule.spec, host=host))
