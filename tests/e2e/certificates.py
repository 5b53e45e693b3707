"""Certificates for tests, and the shapes in which a private key could be found again."""

from __future__ import annotations

import base64
import datetime
import re
import ssl
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from tests.conformance.manifests import Manifest, manifest

_BEGIN = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
_END = datetime.datetime(2120, 1, 1, tzinfo=datetime.UTC)
_OCTETS, _CHARACTERS = 12, 24
"""Of a trace: so many are no accident."""


@dataclass(frozen=True)
class Pair:
    """A self-signed certificate and its private key."""

    certificate: str
    """PEM."""
    key: str = field(repr=False)
    """PEM, PKCS #8."""
    der: bytes = field(repr=False)
    """The certificate as a client sees it."""
    numbers: tuple[int, ...] = field(repr=False)
    """What of the key is private; the rest of it stands in the certificate, too."""

    def traces(self) -> set[bytes]:
        """What must be found nowhere: pieces of the private numbers as octets, hex and base64, and of the base64 of the PEM."""
        der = ssl.PEM_cert_to_DER_cert(self.key.replace("PRIVATE KEY", "CERTIFICATE"))
        found: set[bytes] = set()
        for number in self.numbers:
            octets = number.to_bytes((number.bit_length() + 7) // 8, "big")
            for start in range(0, len(octets) - _OCTETS, _OCTETS):
                piece = octets[start : start + _OCTETS]
                found |= {piece, piece.hex().encode(), piece.hex().upper().encode()}
            for start in range(0, len(octets) - _CHARACTERS, _CHARACTERS):
                found |= _in_base64(octets[start : start + 2 * _CHARACTERS])
            # A Secret's data is base64 over the PEM text, line ends included.
            found |= _in_base64(_pem_of(self.key, der.index(octets), len(octets)))
        return found


def _in_base64(octets: bytes) -> set[bytes]:
    """A piece of any base64 that has these octets in it, wherever in it they begin."""
    return {base64.b64encode(octets[start:])[4 : 4 + _CHARACTERS] for start in range(3)}


def _pem_of(pem: str, offset: int, length: int) -> bytes:
    """The part of a PEM text that encodes nothing but these octets of its content."""
    body = pem.index("\n") + 1
    first, last = (-(-offset // 3)) * 4, (offset + length) // 3 * 4
    return pem[body + first + first // 64 : body + last + last // 64].encode()


def leaks(haystack: bytes, pairs: Iterable[Pair]) -> list[int]:
    """Which of the pairs have left a trace, by position; however lines are broken, quoted or escaped."""
    joined = re.sub(rb"\s|\\n", b"", haystack)
    return [
        number
        for number, pair in enumerate(pairs)
        if any(trace in haystack or trace in joined for trace in pair.traces())
    ]


def make_pair(name: str, *, kind: str = "ec") -> Pair:
    """A certificate for a DNS name.

    Args:
        name: The subject's only alternative name.
        kind: Of its key: ``ec`` or ``rsa``.
    """
    key: Any = ec.generate_private_key(ec.SECP256R1()) if kind == "ec" else rsa.generate_private_key(65537, 2048)
    serial = x509.random_serial_number()
    # A subject of its own: of several with one subject, a client looks at the first only.
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{serial:x}")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(_BEGIN)
        .not_valid_after(_END)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    return Pair(
        certificate=certificate.public_bytes(Encoding.PEM).decode(),
        key=key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(),
        der=certificate.public_bytes(Encoding.DER),
        numbers=_private_numbers(key.private_numbers()),
    )


def _private_numbers(numbers: Any) -> tuple[int, ...]:
    if isinstance(numbers, ec.EllipticCurvePrivateNumbers):
        return (numbers.private_value,)
    return numbers.d, numbers.p, numbers.q, numbers.dmp1, numbers.dmq1, numbers.iqmp


def trusting(*pairs: Pair) -> ssl.SSLContext:
    """What a client checks certificates with that trusts these and no others."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for pair in pairs:
        context.load_verify_locations(cadata=pair.certificate)
    return context


def tls_secret(name: str, certificate: Pair, key: Pair | None = None, namespace: str = "demo") -> Manifest:
    """A Secret as ``kubectl create secret tls`` makes it; with ``key``, the key of another pair."""
    data = {
        "tls.crt": base64.b64encode(certificate.certificate.encode()).decode(),
        "tls.key": base64.b64encode((key or certificate).key.encode()).decode(),
    }
    return manifest("Secret", "v1", name, namespace, type="kubernetes.io/tls", data=data)
