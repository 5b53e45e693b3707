"""The certificates with which the xDS server speaks TLS, taken up again when their files change.

Whoever renews certificates replaces files: cert-manager writes a Secret, of which Kubernetes swaps a symbolic link; others write
one file after the other. So the files are read again and again, and what is read counts only when it is whole and fits together;
until then the pair before it serves on. Every change gives a new context: what OpenSSL adds to a living one it never takes back,
and no session of an earlier one can be resumed.

This module must not know what the certificates are asked for: who may connect is the context's, who may ask for what is
``identity``'s.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal, TypeVar

import anyio
import anyio.to_thread
import msgspec
import structlog
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

Part = Literal["certificate", "key", "client CA"]

_MAX_FILE: Final = 1 << 20
T = TypeVar("T")
log = structlog.get_logger(__name__)


class TlsFiles(msgspec.Struct, frozen=True):
    """Where the certificates are, in PEM."""

    certificate: Path
    """The server's, with what is between it and its authority."""
    key: Path
    """The private key, not encrypted."""
    client_ca: Path | None = None
    """The authorities of clients; with it a client without a certificate of theirs is refused."""


class TlsFileError(Exception):
    """A file cannot be used.

    Attributes:
        part: What it was to hold.
        path: Which it is.
        reason: What is wrong with it, and what to do.
    """

    def __init__(self, part: Part, path: Path, reason: str) -> None:
        super().__init__(part, path, reason)
        self.part = part
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.path} ({self.part}): {self.reason}"


class _Contents(msgspec.Struct, frozen=True):
    """What the files held at one moment."""

    certificate: bytes
    key: bytes
    client_ca: bytes | None


class Certificates:
    """The newest certificates that are whole.

    Args:
        files: Where they are.
        poll_seconds: Between two looks at the files.

    Raises:
        TlsFileError: They cannot be used now, at the start, where there is nothing to fall back to.

    Attributes:
        context: For new connections; another object after each change.
        expires: When the server's certificate does.
        failure: Why the files as they are now are not used; None while they are.
        reloads: How often a change was taken up.
        failures: How often one could not be.
    """

    def __init__(self, files: TlsFiles, *, poll_seconds: float = 1.0) -> None:
        self._files = files
        self._poll_seconds = poll_seconds
        self._used = _read(files)
        self._seen: _Contents | TlsFileError = self._used
        self.context, self.expires = _make_context(files, self._used)
        self.failure: TlsFileError | None = None
        self.reloads = 0
        self.failures = 0

    @property
    def asks_clients(self) -> bool:
        """Whether a client needs a certificate."""
        return self._files.client_ca is not None

    async def follow(self) -> None:
        """Looks at the files until cancelled."""
        while True:
            await anyio.sleep(self._poll_seconds)
            await anyio.to_thread.run_sync(self.look)

    def look(self) -> None:
        """Takes up what has changed; what is wrong twice in a row, unchanged, is told: once, it may be half written."""
        found = _attempt(_read, self._files)
        settled = _same(found, self._seen)
        self._seen = found
        if isinstance(found, _Contents):
            if found == self._used:
                if self.failure is not None:
                    log.info("xds_certificates_restored", certificate=str(self._files.certificate))
                self.failure = None
                return
            made = _attempt(_make_context, self._files, found)
            if not isinstance(made, TlsFileError) and made[1] <= datetime.now(UTC) < self.expires:
                reason = f"the certificate expired at {made[1].isoformat()}, the one in use has not; renew it"
                made = TlsFileError("certificate", self._files.certificate, reason)
            if isinstance(made, TlsFileError):
                found = made
            elif _attempt(_read, self._files) == found:
                self._take(found, *made)
                return
            else:
                return  # it was written meanwhile
        if settled and not _same(found, self.failure):
            self.failure = found
            self.failures += 1
            log.error(
                "xds_certificates_not_usable", file=str(found.path), reason=found.reason, served="the ones before"
            )

    def _take(self, contents: _Contents, context: ssl.SSLContext, expires: datetime) -> None:
        self._used, self.context, self.expires, self.failure = contents, context, expires, None
        self.reloads += 1
        log.info("xds_certificates_reloaded", certificate=str(self._files.certificate), expires=expires.isoformat())


def _attempt(function: Callable[..., T], *arguments: object) -> T | TlsFileError:
    try:
        return function(*arguments)
    except TlsFileError as error:
        return error


def _same(one: object, other: object) -> bool:
    return one == other or (
        isinstance(one, TlsFileError) and isinstance(other, TlsFileError) and one.args == other.args
    )


def _read(files: TlsFiles) -> _Contents:
    return _Contents(
        _read_file("certificate", files.certificate),
        _read_file("key", files.key),
        None if files.client_ca is None else _read_file("client CA", files.client_ca),
    )


def _read_file(part: Part, path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_FILE + 1)
    except OSError as error:
        raise TlsFileError(part, path, f"{error.strerror}; name a file that can be read") from None
    if len(data) > _MAX_FILE:
        raise TlsFileError(part, path, f"it has more than {_MAX_FILE} octets; name a file of PEM")
    return data


def _make_context(files: TlsFiles, contents: _Contents) -> tuple[ssl.SSLContext, datetime]:
    """A context of these, and when the certificate expires.

    Raises:
        TlsFileError: They are not what they should be, or do not fit together.
    """
    certificate = _certificates("certificate", files.certificate, contents.certificate)[0]
    _check_key(files, contents.key, certificate)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["h2"])
    # A resumed session is not verified again, and connections are too few to be worth it.
    context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.num_tickets = 0
    try:
        context.load_cert_chain(files.certificate, files.key, password=lambda: "")
    except (OSError, ValueError) as error:
        text = getattr(error, "reason", None) or error
        raise TlsFileError("certificate", files.certificate, f"OpenSSL does not take it: {text}") from None
    if files.client_ca is not None and contents.client_ca is not None:
        _certificates("client CA", files.client_ca, contents.client_ca)
        try:
            context.load_verify_locations(cadata=contents.client_ca.decode("ascii", "replace"))
        except (OSError, ValueError) as error:
            raise TlsFileError("client CA", files.client_ca, f"OpenSSL does not take it: {error}") from None
        context.verify_mode = ssl.CERT_REQUIRED
    return context, certificate.not_valid_after_utc


def _certificates(part: Part, path: Path, data: bytes) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(data)
    except ValueError:
        raise TlsFileError(
            part, path, "it holds no certificate in PEM, or a damaged one; it begins with -----BEGIN CERTIFICATE-----"
        ) from None


def _check_key(files: TlsFiles, data: bytes, certificate: x509.Certificate) -> None:
    try:
        key = load_pem_private_key(data, None)
    except TypeError:
        raise TlsFileError("key", files.key, "the private key is encrypted; store it without a password") from None
    except Exception:  # noqa: BLE001  the text of what went wrong may hold what was read
        raise TlsFileError(
            "key",
            files.key,
            "it holds no private key in PEM, or a damaged one; it begins with -----BEGIN PRIVATE KEY-----",
        ) from None
    form = Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    if key.public_key().public_bytes(*form) != certificate.public_key().public_bytes(*form):
        raise TlsFileError(
            "key", files.key, f"it is not the key of the certificate in {files.certificate}; write both of one pair"
        )
