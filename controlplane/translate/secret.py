"""Certificates into Envoy's secrets: with the digest of a private key in rows, with the key itself on the wire only."""

from __future__ import annotations

from collections.abc import Callable

from controlplane._proto.envoy.config.core.v3 import DataSource
from controlplane._proto.envoy.extensions.transport_sockets.tls.v3 import (
    CertificateValidationContext,
    Secret,
    TlsCertificate,
)
from controlplane.model.kubernetes import Secret as KubernetesSecret
from controlplane.translate.resource import Encoded, content_version, encoded


def ca_name(secret: str) -> str:
    """Name of the resource with a Secret's certificates of authorities. No Secret is called so: ``~`` is in no name."""
    return f"{secret}~ca"


def translate_secret(secret: KubernetesSecret) -> Encoded | None:
    """The secret with its key's digest where the key belongs; None without a certificate.

    The version is a hash of the pair's digest: it does not change with how the bytes are kept.
    """
    if not secret.pair_digest or secret.certificate_chain is None or secret.key_digest is None:
        return None
    certificate = TlsCertificate(
        certificate_chain=DataSource(inline_string=secret.certificate_chain),
        private_key=DataSource(inline_string=secret.key_digest),
    )
    version = content_version(f"{secret.key} {secret.pair_digest}".encode())
    return Encoded(secret.key, version, bytes(Secret(name=secret.key, tls_certificate=certificate)))


def translate_ca(secret: KubernetesSecret) -> Encoded | None:
    """The certificates of authorities that the secret holds, for verifying others; None without any."""
    if not secret.ca_certificates:
        return None
    name = ca_name(secret.key)
    context = CertificateValidationContext(trusted_ca=DataSource(inline_string=secret.ca_certificates))
    return encoded(name, bytes(Secret(name=name, validation_context=context)))


def with_private_key(body: bytes, keys: Callable[[str], bytes | None]) -> bytes | None:
    """The secret as Envoy needs it.

    Args:
        body: What ``translate_secret`` or ``translate_ca`` made.
        keys: A private key (PEM) by its digest.

    Returns:
        None when the key is not to be had, as in a replay without its store.
    """
    secret = Secret.parse(body)
    if secret.validation_context is not None:
        return body
    certificate = secret.tls_certificate
    if certificate is None or certificate.private_key is None:
        return None
    key = keys(certificate.private_key.inline_string or "")
    if key is None:
        return None
    certificate.private_key = DataSource(inline_bytes=key)
    return bytes(secret)
