"""Certificates for tests, and the shapes in which a private key could be found again."""

from __future__ import annotations

import base64
import datetime
import ssl
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
_TRACE_OCTETS = 12
"""So many octets of a key are no accident."""


@dataclass(frozen=True)
class Pair:
    """A self-signed certificate and its private key."""

    certificate: str
    """PEM."""
    key: str = field(repr=False)
    """PEM."""
    der: bytes = field(repr=False)
    """The certificate as a client sees it."""
    key_der: bytes = field(repr=False)

    def traces(self) -> set[bytes]:
        """What must be found nowhere: lines of the key's PEM, pieces of its base64 (at any offset) and of its octets, in hex too."""
        lines = {line.encode() for line in self.key.splitlines() if not line.startswith("-----") and len(line) >= 16}
        # What a Secret's data has: base64 over the PEM text.
        twice = base64.b64encode(self.key.encode())
        middle = len(twice) // 2
        traces = lines | {twice[place : place + 24] for place in range(middle - 48, middle + 48, 4)}
        # Not from the beginning, which all keys of a kind share.
        inner = self.key_der[len(self.key_der) // 3 : len(self.key_der) * 2 // 3]
        for start in range(3):
            traces.add(base64.b64encode(inner[start:])[4:28])
        for start in range(0, len(inner) - _TRACE_OCTETS, _TRACE_OCTETS):
            piece = inner[start : start + _TRACE_OCTETS]
            traces |= {piece, piece.hex().encode(), piece.hex().upper().encode(), base64.b64encode(piece)}
        return traces


def make_pair(name: str, *, kind: str = "ec") -> Pair:
    """A certificate for a DNS name.

    Args:
        name: The subject's only alternative name.
        kind: Of its key: ``ec`` or ``rsa``.
    """
    key: Any = ec.generate_private_key(ec.SECP256R1()) if kind == "ec" else rsa.generate_private_key(65537, 2048)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
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
        key_der=key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()),
    )


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
