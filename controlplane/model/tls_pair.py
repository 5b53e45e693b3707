"""The certificates and the private key of a Secret: read, checked, and parted for good.

The chain is public and goes on as text; the key goes on as bytes that nothing prints. Everything that is checked here is
something that Envoy would reject later, and with it all that came in the same response.

What is wrong is returned, never raised: an exception would carry the key in its context. No message quotes a value. Nothing here
knows the time, so expired certificates pass.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from hashlib import sha256
from typing import Final, TypeAlias

import msgspec
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes, PublicKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from controlplane.model.references import FieldProblem

CERTIFICATE: Final = "tls.crt"
KEY: Final = "tls.key"
"""The entries of a Secret's data; the paths of all problems with a pair."""

_SMALLEST_RSA: Final = 2048
_CURVES: Final = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)
_PRIVATE_KEY_BLOCK: Final = re.compile(rb"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----")
_CERTIFICATE_BLOCK: Final = re.compile(rb"-----BEGIN [A-Z0-9 ]*CERTIFICATE-----")
_MAKE_A_KEY: Final = "use an RSA key of at least 2048 bits or an EC key on P-256, P-384 or P-521"

_UNREADABLE: Final = FieldProblem(
    KEY, "the private key cannot be read", "write it anew; `openssl pkey -noout -check` tells whether a key is damaged"
)

SupportedKey: TypeAlias = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


class PrivateKeys(Mapping[str, bytes]):
    """Private keys (PKCS #8 PEM) by digest. Shows digests, whoever asks it to print itself."""

    __slots__ = ("_keys",)

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        self._keys = dict(keys)

    def __getitem__(self, digest: str) -> bytes:
        return self._keys[digest]

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)

    def __repr__(self) -> str:
        return f"<PrivateKeys {', '.join(sorted(self._keys)) or 'none'}>"

    def __reduce__(self) -> str:
        raise TypeError("private keys are not pickled")


NO_KEYS: Final = PrivateKeys({})


class TLSPair(msgspec.Struct, frozen=True):
    """A certificate chain and the digest of its key."""

    certificate_chain: str
    """PEM, the leaf first, nothing but certificates."""
    key_digest: str
    pair_digest: str
    keys: PrivateKeys
    """The one key."""
    warnings: tuple[FieldProblem, ...] = ()


class Authorities(msgspec.Struct, frozen=True):
    """Whom a client trusts."""

    certificates: str
    """PEM, nothing but certificates."""
    digest: str
    warnings: tuple[FieldProblem, ...] = ()


def parse_pair(certificate: bytes, key: bytes) -> TLSPair | tuple[FieldProblem, ...]:
    """The pair, in one spelling whatever the spelling of what was given; or what is wrong with it.

    Args:
        certificate: PEM, the leaf first.
        key: PEM, not encrypted.
    """
    chain = _parse_chain(certificate)
    private = _parse_key(key)
    if isinstance(chain, FieldProblem) or isinstance(private, FieldProblem):
        return tuple(problem for problem in (chain, private) if isinstance(problem, FieldProblem))
    if problem := _mismatch(chain, private):
        return (problem,)
    text = _text_of(chain)
    secret = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    key_digest = _digest(secret)
    return TLSPair(
        certificate_chain=text,
        key_digest=key_digest,
        pair_digest=_digest(f"{text}{key_digest}".encode("ascii")),
        keys=PrivateKeys({key_digest: secret}),
        warnings=tuple(_warnings(certificate, CERTIFICATE)),
    )


def parse_authorities(pem: bytes, path: str) -> Authorities | FieldProblem:
    """The certificates of authorities, in one spelling whatever the spelling of what was given; or what is wrong with them.

    Args:
        pem: At least one certificate, in any order, which is kept.
        path: Where they stand.
    """
    certificates = _parse_certificates(pem, path, "the authorities' certificates")
    if isinstance(certificates, FieldProblem):
        return certificates
    text = _text_of(certificates)
    return Authorities(text, _digest(text.encode("ascii")), tuple(_warnings(pem, path)))


def is_pem_pair(certificate: bytes, key: bytes) -> bool:
    """Whether both look like what their names say, right or not."""
    return _CERTIFICATE_BLOCK.search(certificate) is not None and _PRIVATE_KEY_BLOCK.search(key) is not None


def _warnings(certificates: bytes, path: str) -> Iterator[FieldProblem]:
    if _PRIVATE_KEY_BLOCK.search(certificates):
        problem = "holds a private key beside the certificates, which was dropped"
        yield FieldProblem(path, problem, "put nothing but certificates there: they are public")


def _parse_chain(pem: bytes) -> list[x509.Certificate] | FieldProblem:
    chain = _parse_certificates(pem, CERTIFICATE, "the certificate chain")
    if isinstance(chain, FieldProblem) and _PRIVATE_KEY_BLOCK.search(pem) and not _CERTIFICATE_BLOCK.search(pem):
        return FieldProblem(CERTIFICATE, chain.problem, "swap tls.crt and tls.key")
    return chain


def _parse_certificates(pem: bytes, path: str, what: str) -> list[x509.Certificate] | FieldProblem:
    remedy = f"put {what} there, as PEM{', the leaf first' if path == CERTIFICATE else ''}"
    if not pem.strip():
        return FieldProblem(path, "empty", remedy)
    if not _CERTIFICATE_BLOCK.search(pem):
        return FieldProblem(path, "no PEM certificate is in it", remedy)
    try:
        certificates = x509.load_pem_x509_certificates(pem)
        for certificate in certificates:
            certificate.public_key()
    except Exception:  # noqa: BLE001 (not all that it raises of foreign bytes is documented; none of it may leave here)
        chain = "the chain" if path == CERTIFICATE else "them"
        remedy = f"write {chain} anew; `openssl x509 -noout -text` tells where a certificate is damaged"
        return FieldProblem(path, "a certificate in it cannot be read", remedy)
    return certificates


def _text_of(certificates: list[x509.Certificate]) -> str:
    return "".join(certificate.public_bytes(Encoding.PEM).decode("ascii") for certificate in certificates)


def _parse_key(pem: bytes) -> SupportedKey | FieldProblem:
    if not pem.strip():
        return FieldProblem(KEY, "empty", "put the leaf's private key there, as PEM")
    if not _PRIVATE_KEY_BLOCK.search(pem):
        remedy = "put the leaf's private key there, as PEM"
        if _CERTIFICATE_BLOCK.search(pem):
            remedy = "swap tls.crt and tls.key"
        return FieldProblem(KEY, "no PEM private key is in it", remedy)
    try:
        # The library's own check of an RSA key looks for primes, for 50 ms and more; Envoy's does not.
        key = load_pem_private_key(pem, password=None, unsafe_skip_rsa_key_validation=True)
    except TypeError:
        return FieldProblem(KEY, "the private key is encrypted", "decrypt it, as with `openssl pkey -in tls.key`")
    except UnsupportedAlgorithm:
        return FieldProblem(KEY, "a private key of a kind that Envoy does not take", _MAKE_A_KEY)
    except Exception:  # noqa: BLE001 (whatever it is, it has the key in its context and may not leave here)
        return _UNREADABLE
    return _supported(key)


def _supported(key: PrivateKeyTypes) -> SupportedKey | FieldProblem:
    match key:
        case rsa.RSAPrivateKey():
            if key.key_size < _SMALLEST_RSA:
                return FieldProblem(KEY, f"an RSA key of {key.key_size} bits, which Envoy does not take", _MAKE_A_KEY)
            return key if _is_consistent(key.private_numbers()) else _UNREADABLE
        case ec.EllipticCurvePrivateKey():
            if isinstance(key.curve, _CURVES):
                return key
            return FieldProblem(KEY, f"an EC key on {key.curve.name}, which Envoy does not take", _MAKE_A_KEY)
    return FieldProblem(KEY, "a private key of a kind that Envoy does not take", _MAKE_A_KEY)


def _is_consistent(key: rsa.RSAPrivateNumbers) -> bool:
    """Whether the numbers of a key belong together. Not whether ``p`` and ``q`` are prime.

    Source: BoringSSL, ``RSA_check_key``, which is what Envoy asks. Cost: 0.1 milliseconds.
    """
    p, q, d, e = key.p, key.q, key.d, key.public_numbers.e
    return (
        p > 1
        and q > 1
        and p * q == key.public_numbers.n
        and d * e % (p - 1) == 1
        and d * e % (q - 1) == 1
        and key.dmp1 == d % (p - 1)
        and key.dmq1 == d % (q - 1)
        and key.iqmp * q % p == 1
    )


def _mismatch(chain: list[x509.Certificate], key: SupportedKey) -> FieldProblem | None:
    public = _public_info(key.public_key())
    fitting = [
        position for position, certificate in enumerate(chain) if _public_info(certificate.public_key()) == public
    ]
    if fitting[:1] == [0]:
        return None
    if fitting:
        problem = f"the private key belongs to certificate {fitting[0] + 1} of {len(chain)}, not to the first"
        return FieldProblem(CERTIFICATE, problem, "put the leaf first")
    problem = "the private key does not belong to the first certificate of tls.crt"
    return FieldProblem(KEY, problem, "put the key there that the certificate was made for")


def _public_info(key: PublicKeyTypes) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _digest(data: bytes) -> str:
    return f"sha256:{sha256(data).hexdigest()}"
