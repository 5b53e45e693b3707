"""Who may ask for what: the certificate of a client against the gateway that it asks for.

What a client says of itself (its node) is a wish; with mutual TLS its certificate has to grant it. The rule, for gateway
``name`` in ``namespace``:

1. A certificate with URI names is a SPIFFE one and must have exactly one of them:
   ``spiffe://{trust domain}/ns/{namespace}/sa/{name}``. Its DNS names are not looked at.
2. A certificate without any must have a DNS name ``{name}.{namespace}.gateway.{trust domain}``; it may have several, and then
   serves for each of these gateways.

Names are compared whole, octet by octet, but for the case of DNS names. There are no wildcards, and the subject's common name
says nothing. A DNS name has ``gateway`` in it so that no certificate that was made for a host of that name grants anything.

This module must not know whether the certificate is genuine: TLS has verified it before.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec
from cryptography import x509
from grpclib.const import Status

from controlplane.xds.errors import XdsError

_LABEL: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_NAME: Final = re.compile(rf"{_LABEL.pattern}(\.{_LABEL.pattern})*")
_SHOWN_NAMES: Final = 4
_SHOWN_OCTETS: Final = 200


class Presented(msgspec.Struct, frozen=True):
    """The names of a certificate, in its order."""

    uris: tuple[str, ...] = ()
    dns: tuple[str, ...] = ()

    def __str__(self) -> str:
        names = [f"URI {_shown(name)}" for name in self.uris] + [f"DNS {_shown(name)}" for name in self.dns]
        if len(names) > _SHOWN_NAMES:
            names[_SHOWN_NAMES:] = [f"{len(names) - _SHOWN_NAMES} more"]
        return ", ".join(names) or "no URI or DNS name"


def _shown(name: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in name[:_SHOWN_OCTETS])


def presented_by(certificate: bytes) -> Presented:
    """The names in a certificate (DER); none where it has none, or where they cannot be read."""
    try:
        extensions = x509.load_der_x509_certificate(certificate).extensions
        names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        uris = names.get_values_for_type(x509.UniformResourceIdentifier)
        return Presented(tuple(uris), tuple(names.get_values_for_type(x509.DNSName)))
    except (ValueError, x509.ExtensionNotFound, x509.DuplicateExtension, x509.UnsupportedGeneralNameType):
        return Presented()


class IdentityRule(msgspec.Struct, frozen=True):
    """The rule above, for one trust domain."""

    trust_domain: str

    def needed(self, scope: str) -> tuple[str, str] | None:
        """The SPIFFE ID and the DNS name that a scope asks for; None where no gateway can have this name."""
        namespace, _, name = scope.partition("/")
        if not (_LABEL.fullmatch(namespace) and _NAME.fullmatch(name)):
            return None
        domain = self.trust_domain.lower()
        return f"spiffe://{domain}/ns/{namespace}/sa/{name}", f"{name}.{namespace}.gateway.{domain}"

    def permits(self, scope: str, certificate: bytes | None) -> bool:
        """Whether a client with this certificate (DER; None is none at all) may read what this scope is served."""
        needed = self.needed(scope)
        if needed is None or certificate is None:
            return False
        return _grants(presented_by(certificate), *needed)

    def check(self, scope: str, certificate: bytes | None) -> None:
        """Refuses who may not.

        Raises:
            XdsError: ``PERMISSION_DENIED``; the message says what was presented and what is needed.
        """
        if self.permits(scope, certificate):
            return
        shown = "client has no certificate"
        if certificate is not None:
            shown = f"client's certificate has {presented_by(certificate)}"
        needed = self.needed(scope)
        if needed is None:
            asked = f"{_shown(scope)!r} is no gateway's namespace and name"
        else:
            asked = f"gateway {scope} is served to URI {needed[0]}, or without any URI to DNS {needed[1]}"
        raise XdsError(Status.PERMISSION_DENIED, f"{asked}; the {shown}")


def _grants(presented: Presented, spiffe: str, dns: str) -> bool:
    if presented.uris:
        return presented.uris == (spiffe,)
    return dns in (name.lower() for name in presented.dns)
