"""Secrets: pairs with the digest of their key, authorities as they are."""

from __future__ import annotations

from typing import Any

from controlplane.model.base import ObjectMeta
from controlplane.model.kubernetes import Secret
from controlplane.translate.document import to_document
from controlplane.translate.resource import TypeUrl
from controlplane.translate.secret import translate_ca, translate_secret, with_private_key

AUTHORITY = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"


def a_secret(**fields: Any) -> Secret:
    return Secret(metadata=ObjectMeta(name="cred", namespace="gw"), **fields)


def test_authorities_have_a_resource_of_their_own():
    found = translate_ca(a_secret(ca_certificates=AUTHORITY, ca_digest="sha256:00"))
    assert found is not None
    assert found.key == "gw/cred~ca"
    assert to_document(TypeUrl.SECRET, found.body) == {
        "@type": TypeUrl.SECRET,
        "name": "gw/cred~ca",
        "validationContext": {"trustedCa": {"inlineString": AUTHORITY}},
    }
    again = translate_ca(a_secret(ca_certificates=AUTHORITY, type="kubernetes.io/tls"))
    assert again == found
    other = translate_ca(a_secret(ca_certificates=AUTHORITY + AUTHORITY))
    assert other is not None
    assert other.version != found.version


def test_a_secret_without_authorities_has_none():
    assert translate_ca(a_secret()) is None
    assert translate_ca(a_secret(ca_certificates="")) is None
    assert translate_secret(a_secret(ca_certificates=AUTHORITY)) is None


def test_authorities_need_no_key_to_be_served():
    found = translate_ca(a_secret(ca_certificates=AUTHORITY))
    assert found is not None

    def no_key(digest: str) -> bytes | None:
        raise AssertionError(digest)

    assert with_private_key(found.body, no_key) == found.body


def test_a_pair_is_served_with_its_key():
    secret = a_secret(certificate_chain=AUTHORITY, key_digest="sha256:1", pair_digest="sha256:2")
    found = translate_secret(secret)
    assert found is not None
    assert with_private_key(found.body, lambda digest: None) is None
    body = with_private_key(found.body, {"sha256:1": b"key"}.get)
    assert body is not None
    assert b"key" in body
    assert b"sha256:1" not in body
