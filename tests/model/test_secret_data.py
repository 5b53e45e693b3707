"""Secrets: which pairs pass, what is told of the others, and that no byte of a key gets anywhere but into its own mapping."""

import base64
import gc
import pickle
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from hashlib import sha256
from typing import Any

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.model.decode import Decoded, Rejected, decode_object
from controlplane.model.kubernetes import Secret
from controlplane.model.objects import KubernetesObject

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


@cache
def make_key(kind: str) -> Any:
    match kind:
        case "rsa-2048" | "rsa-1024" | "other":
            return rsa.generate_private_key(65537, 1024 if kind == "rsa-1024" else 2048)
        case "p256":
            return ec.generate_private_key(ec.SECP256R1())
        case "p384":
            return ec.generate_private_key(ec.SECP384R1())
        case "p521":
            return ec.generate_private_key(ec.SECP521R1())
        case "k256":
            return ec.generate_private_key(ec.SECP256K1())
        case "ed25519":
            return ed25519.Ed25519PrivateKey.generate()
        case "dsa":
            return dsa.generate_private_key(2048)
    raise AssertionError(kind)


def pem_of(kind: str, form: PrivateFormat = PrivateFormat.PKCS8) -> str:
    pem: bytes = make_key(kind).private_bytes(Encoding.PEM, form, NoEncryption())
    return pem.decode()


@cache
def certificate_of(kind: str) -> str:
    key = make_key(kind)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, f"{kind}.example.com")])
    start = datetime(2024, 1, 1, tzinfo=UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, start, start + timedelta(days=1))
    algorithm = None if kind == "ed25519" else hashes.SHA256()
    return builder.sign(key, algorithm).public_bytes(Encoding.PEM).decode()


def encode(text: str | bytes) -> str:
    return base64.b64encode(text if isinstance(text, bytes) else text.encode()).decode()


def manifest(certificate: str, key: str, type_: str = "kubernetes.io/tls", **more: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "cert", "namespace": "demo"},
        "type": type_,
        "data": {"tls.crt": encode(certificate), "tls.key": encode(key)},
        **more,
    }


def accept(raw: dict[str, Any]) -> tuple[Secret, Decoded]:
    outcome = decode_object(raw)
    assert isinstance(outcome, Decoded), outcome
    assert isinstance(outcome.object, Secret)
    return outcome.object, outcome


def reject(raw: dict[str, Any]) -> tuple[str, ...]:
    outcome = decode_object(raw)
    assert isinstance(outcome, Rejected), outcome
    return outcome.messages


@pytest.mark.parametrize("kind", ["rsa-2048", "p256", "p384", "p521"])
def test_a_pair_is_parted(kind: str) -> None:
    secret, outcome = accept(manifest(certificate_of(kind), pem_of(kind)))
    assert secret.certificate_chain == certificate_of(kind)
    assert secret.key_digest is not None
    assert list(outcome.private_keys) == [secret.key_digest]
    key = outcome.private_keys[secret.key_digest]
    assert secret.key_digest == f"sha256:{sha256(key).hexdigest()}"
    assert load_pem_private_key(key, None).private_numbers() == make_key(kind).private_numbers()  # type: ignore[union-attr]
    assert outcome.warnings == ()


def test_one_pair_has_one_digest_whatever_its_spelling() -> None:
    plain, _ = accept(manifest(certificate_of("p256"), pem_of("p256")))
    spelled, _ = accept(
        manifest(
            f"a comment\n{certificate_of('p256')}\n\n",
            f"\n{pem_of('p256', PrivateFormat.TraditionalOpenSSL)}".replace("\n", "\r\n"),
        )
    )
    assert spelled == plain
    other, _ = accept(manifest(certificate_of("p384"), pem_of("p384")))
    assert other.pair_digest != plain.pair_digest
    longer, _ = accept(manifest(certificate_of("p256") + certificate_of("p384"), pem_of("p256")))
    assert longer.key_digest == plain.key_digest
    assert longer.pair_digest != plain.pair_digest


def test_string_data_wins() -> None:
    raw = manifest("broken", pem_of("p256"), stringData={"tls.crt": certificate_of("p256")})
    secret, _ = accept(raw)
    assert secret.certificate_chain == certificate_of("p256")


def test_base64_may_be_broken_in_lines() -> None:
    raw = manifest(certificate_of("p256"), pem_of("p256"))
    raw["data"] = {
        name: "\n".join(text[at : at + 76] for at in range(0, len(text), 76)) for name, text in raw["data"].items()
    }
    accept(raw)


@pytest.mark.parametrize(
    "raw",
    [
        manifest("whatever", "it is", "kubernetes.io/dockerconfigjson"),
        manifest("", "", "Opaque", data={"password": encode("swordfish")}),
        manifest("", "", "Opaque", data=None),
        manifest("", "", "example.com/any", data={"tls.key": 5}, immutable=True),
    ],
)
def test_other_secrets_are_rows_without_data(raw: dict[str, Any]) -> None:
    secret, outcome = accept(raw)
    assert (secret.certificate_chain, secret.key_digest, secret.pair_digest) == (None, None, None)
    assert len(outcome.private_keys) == 0
    assert outcome.warnings == ()
    assert secret.type == raw["type"]


def test_an_opaque_secret_may_hold_a_pair() -> None:
    secret, _ = accept(manifest(certificate_of("p256"), pem_of("p256"), "Opaque"))
    assert secret.pair_digest is not None


def test_a_secret_without_a_type_is_opaque() -> None:
    raw = manifest("", "")
    del raw["type"], raw["data"]
    secret, _ = accept(raw)
    assert secret.type == "Opaque"


def test_a_private_key_among_the_certificates_is_dropped_and_told() -> None:
    secret, outcome = accept(manifest(certificate_of("p256") + pem_of("p256"), pem_of("p256")))
    assert secret.certificate_chain == certificate_of("p256")
    assert [str(warning) for warning in outcome.warnings] == [
        'data["tls.crt"]: holds a private key beside the certificates, which was dropped; '
        "put nothing but certificates there: they are public"
    ]


def test_fields_that_only_our_row_has_cannot_be_set() -> None:
    raw = manifest(certificate_of("p256"), pem_of("p256"), keyDigest="sha256:0", certificateChain="mine")
    secret, outcome = accept(raw)
    assert (secret.key_digest, secret.certificate_chain) != ("sha256:0", "mine")
    assert [warning.path for warning in outcome.warnings] == ["keyDigest", "certificateChain"]


def encrypted() -> str:
    pem: bytes = make_key("p256").private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"a"))
    return pem.decode()


def damaged(pem: str) -> str:
    lines = pem.splitlines()
    lines[1] = "A" * len(lines[1])
    return "\n".join(lines)


def inconsistent() -> str:
    """An RSA key with one bit of its last number (``iqmp``) changed: well-formed, and of no use."""
    pem = pem_of("rsa-2048", PrivateFormat.TraditionalOpenSSL)
    head, *body, foot = pem.strip().splitlines()
    der = bytearray(base64.b64decode("".join(body)))
    der[-1] ^= 1
    return f"{head}\n{encode(bytes(der))}\n{foot}\n"


CERTIFICATE, KEY = certificate_of("p256"), pem_of("p256")
MAKE_A_KEY = "use an RSA key of at least 2048 bits or an EC key on P-256, P-384 or P-521"

BROKEN = {
    "no certificate": (
        manifest("", KEY, data={"tls.key": encode(KEY)}),
        'data["tls.crt"]: required with type kubernetes.io/tls, but missing; add it: the certificate chain, as PEM',
    ),
    "no key": (
        manifest("", KEY, data={"tls.crt": encode(CERTIFICATE)}),
        'data["tls.key"]: required with type kubernetes.io/tls, but missing; add it: its private key, as PEM',
    ),
    "empty certificate": (
        manifest("", KEY),
        'data["tls.crt"]: empty; put the certificate chain there, as PEM, the leaf first',
    ),
    "empty key": (manifest(CERTIFICATE, " "), 'data["tls.key"]: empty; put the leaf\'s private key there, as PEM'),
    "text instead of a certificate": (
        manifest("hello", KEY),
        'data["tls.crt"]: no PEM certificate is in it; put the certificate chain there, as PEM, the leaf first',
    ),
    "text instead of a key": (
        manifest(CERTIFICATE, "hello"),
        'data["tls.key"]: no PEM private key is in it; put the leaf\'s private key there, as PEM',
    ),
    "damaged certificate": (
        manifest(damaged(CERTIFICATE), KEY),
        'data["tls.crt"]: a certificate in it cannot be read; '
        "write the chain anew; `openssl x509 -noout -text` tells where a certificate is damaged",
    ),
    "damaged key": (
        manifest(CERTIFICATE, damaged(KEY)),
        'data["tls.key"]: the private key cannot be read; '
        "write it anew; `openssl pkey -noout -check` tells whether a key is damaged",
    ),
    "RSA key whose numbers do not belong together": (
        manifest(certificate_of("rsa-2048"), inconsistent()),
        'data["tls.key"]: the private key cannot be read; '
        "write it anew; `openssl pkey -noout -check` tells whether a key is damaged",
    ),
    "encrypted key": (
        manifest(CERTIFICATE, encrypted()),
        'data["tls.key"]: the private key is encrypted; decrypt it, as with `openssl pkey -in tls.key`',
    ),
    "another key": (
        manifest(CERTIFICATE, pem_of("other")),
        'data["tls.key"]: the private key does not belong to the first certificate of tls.crt; '
        "put the key there that the certificate was made for",
    ),
    "leaf not first": (
        manifest(certificate_of("p384") + CERTIFICATE, KEY),
        'data["tls.crt"]: the private key belongs to certificate 2 of 2, not to the first; put the leaf first',
    ),
    "small RSA key": (
        manifest(certificate_of("rsa-1024"), pem_of("rsa-1024")),
        f'data["tls.key"]: an RSA key of 1024 bits, which Envoy does not take; {MAKE_A_KEY}',
    ),
    "another curve": (
        manifest(certificate_of("k256"), pem_of("k256")),
        f'data["tls.key"]: an EC key on secp256k1, which Envoy does not take; {MAKE_A_KEY}',
    ),
    "Ed25519": (
        manifest(certificate_of("ed25519"), pem_of("ed25519")),
        f'data["tls.key"]: a private key of a kind that Envoy does not take; {MAKE_A_KEY}',
    ),
    "DSA": (
        manifest(CERTIFICATE, pem_of("dsa")),
        f'data["tls.key"]: a private key of a kind that Envoy does not take; {MAKE_A_KEY}',
    ),
    "no base64": (
        manifest("", "", data={"tls.crt": encode(CERTIFICATE), "tls.key": KEY}),
        'data["tls.key"]: not base64; encode it, or put the PEM text itself into stringData',
    ),
    "no text": (
        manifest("", "", data={"tls.crt": encode(CERTIFICATE), "tls.key": [KEY]}),
        'data["tls.key"]: a list, where text belongs; use text',
    ),
    "plain text that is wrong": (
        manifest(CERTIFICATE, KEY, stringData={"tls.key": "hello"}),
        'stringData["tls.key"]: no PEM private key is in it; put the leaf\'s private key there, as PEM',
    ),
    "data of another type": (
        manifest("", "", data=KEY),
        "data: the value is text, where a map of names to texts belongs; use a map of names to texts",
    ),
    "type of another type": (
        manifest(CERTIFICATE, KEY, type_=5),  # type: ignore[arg-type]
        "type: the value is a number, where text belongs; use text",
    ),
    "labels of another type": (
        manifest(CERTIFICATE, KEY, metadata={"name": "cert", "namespace": "demo", "labels": {"a": 5}}),
        'metadata.labels["a"]: the value is a number, where text belongs; use text',
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_pair_is_told_in_whole(case: str) -> None:
    raw, message = BROKEN[case]
    assert reject(raw) == (f"Secret demo/cert: {message}",)


def test_swapped_entries_are_told() -> None:
    assert reject(manifest(KEY, CERTIFICATE)) == (
        'Secret demo/cert: data["tls.crt"]: no PEM certificate is in it; swap tls.crt and tls.key',
        'Secret demo/cert: data["tls.key"]: no PEM private key is in it; swap tls.crt and tls.key',
    )


def pieces_of(key: str) -> Iterator[str]:
    """Everything that would give a part of the key away: its lines and its base64's, in pieces of 16 characters."""
    body = "".join(line for line in key.splitlines() if "-----" not in line)
    for text in (body, encode(key)[40:]):
        yield from (text[at : at + 16] for at in range(len(text) - 16))
    yield base64.b64decode(body).hex()[60:92]


def everything_of(outcome: object) -> str:
    """All that anybody might print, log, store or send of an outcome, its keys' own mapping aside."""
    texts = [repr(outcome), str(outcome)]
    match outcome:
        case Decoded():
            texts += [repr(outcome.private_keys), f"{outcome.private_keys}", repr(outcome.object)]
            texts += [msgspec.json.encode(outcome.object).decode(), repr(msgspec.to_builtins(outcome.object))]
            texts += [repr(msgspec.structs.astuple(outcome)), repr(msgspec.structs.asdict(outcome))]
            texts += [msgspec.json.encode((outcome.warnings, outcome.unsupported)).decode()]
        case Rejected():
            texts += [*outcome.messages, msgspec.json.encode(outcome).decode()]
    return "\n".join(texts)


LEAKY = {
    **{case: raw for case, (raw, _) in BROKEN.items()},
    "good": manifest(CERTIFICATE, KEY),
    "good, of kubectl": manifest(
        CERTIFICATE,
        KEY,
        metadata={"name": "cert", "annotations": {LAST_APPLIED: f'{{"tls.key": "{encode(KEY)}"}}', "copy": KEY}},
    ),
    "key among the certificates": manifest(CERTIFICATE + KEY, KEY),
    "another type": manifest(CERTIFICATE, KEY, "example.com/own"),
    "key for the authorities": manifest("", "", "Opaque", data={"ca.crt": encode(KEY)}),
    "key for the authorities beside a pair": manifest(CERTIFICATE, KEY, stringData={"cacert": KEY}),
    "key in the names of Istio": manifest("", "", "Opaque", data={"cert": encode(CERTIFICATE), "key": encode(KEY)}),
    "damaged key in the names of Istio": manifest(
        "", "", "Opaque", data={"cert": encode(CERTIFICATE), "key": encode(damaged(KEY))}
    ),
    "key elsewhere in the data": manifest(CERTIFICATE, KEY, data={"other": encode(KEY)}, type_="Opaque"),
    "key as another field": manifest(CERTIFICATE, KEY, spec=KEY, keys=[KEY], status={"tls.key": KEY}),
    "key as a field's name": manifest(CERTIFICATE, KEY) | {KEY: 1, encode(KEY): 2},
    "key as a name in metadata": manifest(CERTIFICATE, KEY, metadata={"name": "cert", KEY: 1}),
    "key with half a surrogate pair": manifest(CERTIFICATE, KEY, stringData={"tls.key": KEY + "\ud800"}),
    "key that is no ASCII": manifest("", "", data={"tls.crt": encode(CERTIFICATE), "tls.key": encode(KEY) + "ä"}),
    "key as the type": manifest(CERTIFICATE, KEY, type_=[KEY]),  # type: ignore[arg-type]
    "key as a label that is wrong": manifest(CERTIFICATE, KEY, metadata={"name": "a", "labels": [KEY]}),
    "data as a key": manifest(CERTIFICATE, KEY, data=KEY),
    "key beside a wrong name": manifest(CERTIFICATE, KEY, metadata={"name": "A"}),
    "key beside a wrong version": manifest(CERTIFICATE, KEY, apiVersion="v2"),
}


@pytest.mark.parametrize("case", LEAKY)
def test_no_piece_of_a_key_is_anywhere(case: str) -> None:
    shown = everything_of(decode_object(LEAKY[case]))
    assert not [piece for piece in pieces_of(KEY) if piece in shown]


def test_the_search_for_pieces_finds_some() -> None:
    """The test above can fail: the mapping itself, asked for the key, gives it."""
    secret, outcome = accept(manifest(CERTIFICATE, KEY))
    assert secret.key_digest is not None
    shown = everything_of(outcome) + outcome.private_keys[secret.key_digest].decode()
    assert [piece for piece in pieces_of(KEY) if piece in shown]


@pytest.mark.parametrize("case", LEAKY)
def test_no_exception_is_left_behind(case: str) -> None:
    """Not even one that was caught: its context would hold what was being parsed."""
    gc.collect()
    before = {id(thing) for thing in gc.get_objects() if isinstance(thing, BaseException)}
    outcome = decode_object(LEAKY[case])
    left = [thing for thing in gc.get_objects() if isinstance(thing, BaseException) and id(thing) not in before]
    assert left == []
    del outcome


AUTHORITY, OTHER_AUTHORITY = certificate_of("p384"), certificate_of("ed25519")


def of_authorities(type_: str = "Opaque", **entries: str) -> dict[str, Any]:
    """A Secret of entries by name, with ``_`` for the dot."""
    data = {name.replace("_", "."): encode(content) for name, content in entries.items()}
    return manifest("", "", type_, data=data)


@pytest.mark.parametrize("name", ["ca_crt", "cacert"])
def test_authorities_are_read_without_a_pair(name: str) -> None:
    secret, outcome = accept(of_authorities(**{name: f"a comment\n{AUTHORITY}\n{OTHER_AUTHORITY}"}))
    assert secret.ca_certificates == AUTHORITY + OTHER_AUTHORITY
    assert secret.ca_digest == f"sha256:{sha256(secret.ca_certificates.encode()).hexdigest()}"
    assert (secret.certificate_chain, secret.key_digest, secret.pair_digest) == (None, None, None)
    assert outcome.warnings == ()
    assert len(outcome.private_keys) == 0
    spelled, _ = accept(of_authorities(**{name: f"{AUTHORITY}{OTHER_AUTHORITY}".replace("\n", "\r\n")}))
    assert spelled == secret


@pytest.mark.parametrize("type_", ["kubernetes.io/tls", "Opaque"])
def test_authorities_are_read_beside_a_pair(type_: str) -> None:
    alone, _ = accept(manifest(CERTIFICATE, KEY, type_))
    secret, outcome = accept(of_authorities(type_, tls_crt=CERTIFICATE, tls_key=KEY, ca_crt=AUTHORITY))
    assert secret == msgspec.structs.replace(alone, ca_certificates=AUTHORITY, ca_digest=secret.ca_digest)
    assert list(outcome.private_keys) == [secret.key_digest]


def test_the_first_authorities_that_are_there_count() -> None:
    first, _ = accept(of_authorities(ca_crt=AUTHORITY, cacert=OTHER_AUTHORITY))
    assert first.ca_certificates == AUTHORITY
    second, outcome = accept(of_authorities(ca_crt=" \n", cacert=OTHER_AUTHORITY))
    assert second.ca_certificates == OTHER_AUTHORITY
    assert outcome.warnings == ()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("hello", "no PEM certificate is in it%s; put the authorities' certificates there, as PEM"),
        (KEY, "no PEM certificate is in it%s; put the authorities' certificates there, as PEM"),
        (
            damaged(AUTHORITY),
            "a certificate in it cannot be read%s; "
            "write them anew; `openssl x509 -noout -text` tells where a certificate is damaged",
        ),
    ],
)
def test_broken_authorities_are_an_error_alone_and_a_warning_beside_a_pair(content: str, message: str) -> None:
    assert reject(of_authorities(cacert=content)) == (f'Secret demo/cert: data["cacert"]: {message % ""}',)
    secret, outcome = accept(of_authorities("kubernetes.io/tls", tls_crt=CERTIFICATE, tls_key=KEY, ca_crt=content))
    assert (secret.certificate_chain, secret.ca_certificates, secret.ca_digest) == (CERTIFICATE, None, None)
    assert [str(warning) for warning in outcome.warnings] == [f'data["ca.crt"]: {message % "; ignored"}']


def test_a_broken_pair_is_an_error_whatever_the_authorities() -> None:
    (message,) = reject(of_authorities("kubernetes.io/tls", tls_crt=CERTIFICATE, ca_crt=AUTHORITY))
    assert message.startswith('Secret demo/cert: data["tls.key"]: required')


def test_a_private_key_among_the_authorities_is_dropped_and_told() -> None:
    secret, outcome = accept(of_authorities(ca_crt=AUTHORITY + KEY))
    assert secret.ca_certificates == AUTHORITY
    assert [str(warning) for warning in outcome.warnings] == [
        'data["ca.crt"]: holds a private key beside the certificates, which was dropped; '
        "put nothing but certificates there: they are public"
    ]
    assert not [piece for piece in pieces_of(KEY) if piece in everything_of(outcome)]


def test_a_pair_may_have_the_names_of_istio() -> None:
    named, outcome = accept(of_authorities(cert=CERTIFICATE, key=KEY, cacert=AUTHORITY))
    plain, _ = accept(of_authorities(tls_crt=CERTIFICATE, tls_key=KEY, ca_crt=AUTHORITY))
    assert named == plain
    assert list(outcome.private_keys) == [named.key_digest]
    (message,) = reject(of_authorities(cert=CERTIFICATE, key=pem_of("other")))
    assert message == (
        'Secret demo/cert: data["key"]: the private key does not belong to the first certificate of cert; '
        "put the key there that the certificate was made for"
    )


@pytest.mark.parametrize(
    "entries", [{"cert": "a", "key": "b"}, {"cert": CERTIFICATE, "key": "b"}, {"cert": CERTIFICATE}, {"key": KEY}]
)
def test_what_has_these_names_by_chance_is_no_pair(entries: dict[str, str]) -> None:
    secret, outcome = accept(of_authorities(**entries))
    assert (secret.certificate_chain, secret.key_digest) == (None, None)
    assert outcome.warnings == ()
    assert len(outcome.private_keys) == 0


def test_private_keys_go_nowhere_by_accident() -> None:
    _, outcome = accept(manifest(CERTIFICATE, KEY))
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(outcome.private_keys)
    with pytest.raises(TypeError):
        msgspec.json.encode(outcome)
    with pytest.raises(KeyError, match="absent"):
        outcome.private_keys["absent"]


def test_labels_of_a_secret_stay_and_annotations_go() -> None:
    metadata = {"name": "cert", "labels": {"a": "b"}, "annotations": {"c": "d"}, "creationTimestamp": None}
    secret, _ = accept(manifest(CERTIFICATE, KEY, metadata=metadata))
    assert (secret.metadata.labels, secret.metadata.annotations, secret.key) == ({"a": "b"}, {}, "default/cert")


def test_a_secret_survives_the_log() -> None:
    secret, _ = accept(manifest(CERTIFICATE, KEY))
    assert msgspec.json.decode(msgspec.json.encode(secret), type=KubernetesObject) == secret


@pytest.mark.parametrize(("kind", "examples"), [("p256", 300), ("rsa-2048", 100)])
@pytest.mark.parametrize("which", ["certificate", "key"])
def test_damage_is_never_an_exception(kind: str, examples: int, which: str) -> None:
    """Bytes changed inside the DER: told, or without harm, and never more than that."""
    pem = certificate_of(kind) if which == "certificate" else pem_of(kind)
    head, *body, foot = pem.strip().splitlines()
    whole = base64.b64decode("".join(body))

    @settings(max_examples=examples, deadline=None)
    @given(
        st.dictionaries(st.integers(0, len(whole) - 1), st.integers(0, 255), max_size=3),
        st.sampled_from([len(whole), len(whole) - 1, 40]),
    )
    def judge(changes: dict[int, int], length: int) -> None:
        der = bytearray(whole)
        for place, value in changes.items():
            der[place] = value
        changed = f"{head}\n{encode(bytes(der[:length]))}\n{foot}\n"
        raw = manifest(changed, pem_of(kind)) if which == "certificate" else manifest(certificate_of(kind), changed)
        assert isinstance(decode_object(raw), Decoded | Rejected)

    judge()
