"""No key leaves in a rejection's text."""

from __future__ import annotations

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from controlplane.xds.redact import MAX_MESSAGE, redact

PEM = ec.generate_private_key(ec.SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
LONG_PEM = (
    rsa.generate_private_key(65537, 2048)
    .private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    .decode()
)
FORMS = {
    "as it is": lambda pem: f"Proto constraint validation failed: key {pem} is bad",
    "in text format": lambda pem: 'private_key { inline_string: "' + pem.replace("\n", "\\n") + '" } is bad',
    "bytes in text format": lambda pem: 'private_key { inline_bytes: "' + pem.replace("\n", "\\n") + '" } is bad',
    "in JSON": lambda pem: '{"inlineString":"' + pem.replace("\n", "\\n") + '"} is bad',
    "bytes in JSON": lambda pem: '{"inline_bytes": "' + base64.b64encode(pem.encode()).decode() + '"} is bad',
    "cut off": lambda pem: "is bad: " + pem[:150],
    "cut off in a field": lambda pem: 'is bad: inline_string: "' + pem[:150].replace("\n", "\\n"),
    "as base64 of nothing that we know": lambda pem: "is bad: " + base64.b64encode(pem.encode()).decode(),
    "without its frame": lambda pem: "is bad: " + "\n".join(pem.splitlines()[1:-1]) + "\nafter",
}


@pytest.mark.parametrize("pem", [PEM, LONG_PEM], ids=["EC", "RSA"])
@pytest.mark.parametrize("form", FORMS)
def test_no_eight_characters_of_a_key_are_left(pem, form):
    said = redact(FORMS[form](pem))
    assert "is bad" in said
    secret = "".join(pem.splitlines()[1:-1])
    encoded = base64.b64encode(pem.encode()).decode()
    for hidden in (secret, encoded):
        assert not any(hidden[at : at + 8] in said for at in range(len(hidden) - 8))


def test_names_and_reasons_stay():
    message = (
        "Error adding/updating listener(s) kube_some-long-namespace_and-an-even-longer-service-name_8080.example.com: "
        "cannot bind '127.0.0.1:80': Address already in use"
    )
    assert redact(message) == message


def test_the_reason_comes_before_the_resource():
    said = redact(f"{'word ' * 20_000}: Proto constraint validation failed (ClusterValidationError.Name: too long)")
    assert said.startswith("Proto constraint validation failed (ClusterValidationError.Name: too long): word word")


def test_the_text_is_bounded():
    assert len(redact("word " * 10_000)) < MAX_MESSAGE + 10
