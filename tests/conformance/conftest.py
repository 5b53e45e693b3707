from __future__ import annotations

import base64
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from .manifests import NAMESPACE, Manifest, manifest

MakeSecret = Callable[..., Manifest]


@cache
def _pair(hostname: str) -> tuple[bytes, bytes]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hostname)])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key())
        .serial_number(1)
        .not_valid_before(datetime(2020, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2120, 1, 1, tzinfo=UTC))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(hostname)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return certificate.public_bytes(encoding), key.private_bytes(encoding, form, serialization.NoEncryption())


@pytest.fixture(scope="session")
def make_secret() -> MakeSecret:
    """Makes ``kubernetes.io/tls`` Secrets: ``make_secret("cert", "example.com")``.

    The certificate is for the hostname; ``key_of`` names another hostname, whose key it then holds. Other keywords replace
    fields of the Secret.
    """

    def make(
        name: str, hostname: str, namespace: str = NAMESPACE, key_of: str | None = None, **fields: Any
    ) -> Manifest:
        data = {"tls.crt": _pair(hostname)[0], "tls.key": _pair(key_of or hostname)[1]}
        encoded = {field: base64.b64encode(octets).decode() for field, octets in data.items()}
        return manifest("Secret", "v1", name, namespace, **({"type": "kubernetes.io/tls", "data": encoded} | fields))

    return make
