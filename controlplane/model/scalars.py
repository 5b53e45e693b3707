r"""The constrained scalars that the APIs' fields share, named as Gateway API's Go types name them.

Each is a plain ``str`` or ``int`` that msgspec checks while it decodes; the patterns are the CRDs' own, with ``\Z`` where
those say ``$``, because Python's ``$`` also accepts a newline at the end.

This module must not know any object: what spans two fields is a rule (``controlplane.model.rules``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Final, TypeAlias

from msgspec import Meta

_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = rf"{_LABEL}(\.{_LABEL})*"

DNS_LABEL: Final = rf"^{_LABEL}\Z"
"""DNS-1123 label: at most 63 characters go with it."""
DNS_SUBDOMAIN: Final = rf"^{_SUBDOMAIN}\Z"
"""DNS-1123 subdomain: at most 253 characters go with it."""
GROUP: Final = rf"^\Z|^{_SUBDOMAIN}\Z"
"""An API group; the core group is empty."""
KIND: Final = r"^[a-zA-Z]([-a-zA-Z0-9]*[a-zA-Z0-9])?\Z"
HOSTNAME: Final = rf"^(\*\.)?{_SUBDOMAIN}\Z"
"""Lower-case DNS name, at most one leading ``*.``."""
HEADER_NAME: Final = r"^[A-Za-z0-9!#$%&'*+\-.^_\x60|~]+\Z"
"""A token of RFC 7230."""
DURATION: Final = r"^([0-9]{1,5}(h|m|s|ms)){1,4}\Z"
"""GEP-2257."""
ISTIO_DURATION: Final = r"^\+?(0|(([0-9]{1,19}(\.[0-9]{0,19})?|\.[0-9]{1,19})(h|ms?|s|us|\xb5s|\u03bcs|ns)){1,16})\Z"
"""Go's ``time.ParseDuration``, but for the minus sign; a rule says what is too long."""
DOMAIN_PREFIXED: Final = rf"^{_SUBDOMAIN}\/[A-Za-z0-9\/\-._~%!$&'()*+,;=:]+\Z"
"""``domain/path``, as a controller's name has it."""
PROTOCOL: Final = (
    rf"^[a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?\Z|[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.{_LABEL})*\/[A-Za-z0-9]+\Z"
)
ADDRESS_TYPE: Final = rf"^Hostname|IPAddress|NamedAddress|{_SUBDOMAIN}\/[A-Za-z0-9\/\-._~%!$&'()*+,;=:]+\Z"
LABEL_VALUE: Final = r"^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?\Z"
METADATA_KEY: Final = rf"^({_SUBDOMAIN}/)?([A-Za-z0-9][-A-Za-z0-9_.]{{0,61}})?[A-Za-z0-9]\Z"
"""A label's or an annotation's name: an optional domain, and at most 63 characters."""
TIMESTAMP: Final = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z\Z"
"""RFC 3339 as Kubernetes writes it: of seconds, in UTC; so that the text's order is the time's."""
NORMAL_PATH: Final = r"^(?:/(?!/|\.{1,2}(?:/|\Z))(?:[-A-Za-z0-9._~!$&'()*+,;=:@]|%(?!2[fF])[0-9a-fA-F]{2})*)+\Z"
"""A path to compare with: absolute, no empty segments and none of dots, the characters of a URL's path, no ``%2F``."""

PATTERN_WORDS: Final[Mapping[str, str]] = {
    DNS_LABEL: "lower-case letters, digits and '-', with a letter or digit first and last",
    DNS_SUBDOMAIN: "lower-case letters, digits, '-' and '.', with a letter or digit at both ends of each part",
    GROUP: "an API group such as gateway.networking.k8s.io, or nothing for the core group",
    KIND: "letters, digits and '-', with a letter first and no '-' last",
    HOSTNAME: "a lower-case DNS name such as www.example.com, at most one leading '*.', no port and no IP brackets",
    HEADER_NAME: "a header name of RFC 7230: letters, digits and !#$%&'*+-.^_`|~, without ':' or blanks",
    DURATION: "one to four numbers with a unit of h, m, s or ms, such as 10s, 500ms or 1h30m, without fractions",
    ISTIO_DURATION: "numbers with a unit of h, m, s, ms, us or ns, such as 10s, 0.5s or 1h30m",
    DOMAIN_PREFIXED: "a domain and a path, such as example.com/gateway-controller",
    PROTOCOL: "HTTP, HTTPS, TLS, TCP, UDP or a domain-prefixed name such as example.com/bar",
    ADDRESS_TYPE: "IPAddress, Hostname, NamedAddress or a domain-prefixed name such as example.com/bar",
    TIMESTAMP: "a time in UTC such as 2024-05-31T12:00:00Z",
    LABEL_VALUE: "letters, digits, '-', '_' and '.', with a letter or digit first and last",
}
"""Each pattern that a field of ours has, as a person would say it."""

INT32_MAX: Final = 2**31 - 1
INT64_MAX: Final = 2**63 - 1
UINT32_MAX: Final = 2**32 - 1

Int32: TypeAlias = Annotated[int, Meta(ge=-INT32_MAX - 1, le=INT32_MAX)]
UInt32: TypeAlias = Annotated[int, Meta(ge=0, le=UINT32_MAX)]

Group: TypeAlias = Annotated[str, Meta(max_length=253, pattern=GROUP)]
Kind: TypeAlias = Annotated[str, Meta(min_length=1, max_length=63, pattern=KIND)]
ObjectName: TypeAlias = Annotated[str, Meta(min_length=1, max_length=253)]
NamespaceName: TypeAlias = Annotated[str, Meta(min_length=1, max_length=63, pattern=DNS_LABEL)]
"""Go calls it ``Namespace``, which is an object here."""
SectionName: TypeAlias = Annotated[str, Meta(min_length=1, max_length=253, pattern=DNS_SUBDOMAIN)]
Hostname: TypeAlias = Annotated[str, Meta(min_length=1, max_length=253, pattern=HOSTNAME)]
PreciseHostname: TypeAlias = Annotated[str, Meta(min_length=1, max_length=253, pattern=DNS_SUBDOMAIN)]
"""A hostname without a wildcard."""
PortNumber: TypeAlias = Annotated[int, Meta(ge=1, le=65535)]
HTTPHeaderName: TypeAlias = Annotated[str, Meta(min_length=1, max_length=256, pattern=HEADER_NAME)]
HTTPHeaderValue: TypeAlias = Annotated[str, Meta(min_length=1, max_length=4096)]
Duration: TypeAlias = Annotated[str, Meta(pattern=DURATION)]
"""GEP-2257: ``10s``, ``1h30m``; ``parse_duration`` gives milliseconds."""
IstioDuration: TypeAlias = Annotated[str, Meta(pattern=ISTIO_DURATION)]
"""Go's, with fractions: ``5m``, ``0.5s``, ``1h30m``; ``parse_istio_duration`` gives milliseconds."""
GatewayController: TypeAlias = Annotated[str, Meta(min_length=1, max_length=253, pattern=DOMAIN_PREFIXED)]
ProtocolType: TypeAlias = Annotated[str, Meta(min_length=1, max_length=255, pattern=PROTOCOL)]
AddressType: TypeAlias = Annotated[str, Meta(min_length=1, max_length=253, pattern=ADDRESS_TYPE)]
LabelValue: TypeAlias = Annotated[str, Meta(max_length=63, pattern=LABEL_VALUE)]
AnnotationValue: TypeAlias = Annotated[str, Meta(max_length=4096)]
"""Go's name of it; ``tls.options`` has it too."""

Timestamp: TypeAlias = Annotated[str, Meta(pattern=TIMESTAMP)]

_TRUE: Final = frozenset({"1", "t", "T", "TRUE", "true", "True"})
_FALSE: Final = frozenset({"0", "f", "F", "FALSE", "false", "False"})


def parse_bool(text: str) -> bool | None:
    """What a label or an annotation says where yes or no is asked; None for what is neither.

    Source: Go's ``strconv.ParseBool``.
    """
    return True if text in _TRUE else False if text in _FALSE else None


_MILLISECONDS = {"h": 3_600_000, "m": 60_000, "s": 1000, "ms": 1}
_PART = re.compile(r"([0-9]{1,5})(ms|h|m|s)")


def parse_duration(duration: Duration) -> int:
    """Milliseconds that a decoded ``Duration`` stands for; its parts add up, in any order.

    Source: GEP-2257, Go's ``time.ParseDuration``.
    """
    return sum(int(number) * _MILLISECONDS[unit] for number, unit in _PART.findall(duration))


_NANOSECONDS = {"h": 3_600_000_000_000, "m": 60_000_000_000, "s": 1_000_000_000, "ms": 1_000_000, "ns": 1}
_NANOSECONDS |= dict.fromkeys(("us", "\xb5s", "\u03bcs"), 1_000)
_ISTIO_PART = re.compile(r"([0-9]*)(?:\.([0-9]*))?(ms|us|\xb5s|\u03bcs|ns|h|m|s)")


def parse_istio_duration(duration: IstioDuration) -> int:
    """Milliseconds, rounded up, that a decoded ``IstioDuration`` stands for."""
    return -(-nanoseconds_of(duration) // 1_000_000)


def nanoseconds_of(duration: IstioDuration) -> int:
    """Nanoseconds, rounded down, that a decoded ``IstioDuration`` stands for.

    Source: Go's ``time.ParseDuration``.
    """
    total = 0
    for whole, fraction, unit in _ISTIO_PART.findall(duration):
        total += int(whole or 0) * _NANOSECONDS[unit]
        if fraction:
            total += int(fraction) * _NANOSECONDS[unit] // 10 ** len(fraction)
    return total
