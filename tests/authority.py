"""A certificate authority for tests, and the files of what it issues."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_BEGIN = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
_END = datetime.datetime(2120, 1, 1, tzinfo=datetime.UTC)


@dataclass(frozen=True)
class Issued:
    """A certificate and its key."""

    certificate: str
    key: str = field(repr=False)

    @property
    def der(self) -> bytes:
        """The certificate as the other side sees it."""
        return ssl.PEM_cert_to_DER_cert(self.certificate)

    def write(self, directory: Path) -> tuple[Path, Path]:
        """Writes both as ``tls.crt`` and ``tls.key``."""
        directory.mkdir(parents=True, exist_ok=True)
        paths = directory / "tls.crt", directory / "tls.key"
        for path, text in zip(paths, (self.certificate, self.key), strict=True):
            path.write_text(text)
        return paths


class Authority:
    """Signs certificates."""

    def __init__(self, name: str = "test authority") -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.certificate = _pem(
            _builder(self._name, self._name, self._key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(self._key, hashes.SHA256())
        )

    def issue(
        self,
        *,
        uris: Sequence[str] = (),
        dns: Sequence[str] = (),
        addresses: Sequence[str] = (),
        common_name: str = "",
        end: datetime.datetime = _END,
        usage: x509.ObjectIdentifier | None = None,
    ) -> Issued:
        """A certificate with these names."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)] if common_name else [])
        builder = _builder(subject, self._name, key, end)
        names = [
            *(x509.UniformResourceIdentifier(uri) for uri in uris),
            *(x509.DNSName(name) for name in dns),
            *(x509.IPAddress(ipaddress.ip_address(address)) for address in addresses),
        ]
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=not common_name)
        if usage is not None:
            builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        return Issued(_pem(builder.sign(self._key, hashes.SHA256())), private)

    def server(self, name: str = "localhost") -> Issued:
        """For a server on this machine."""
        return self.issue(dns=[name], addresses=["127.0.0.1"], usage=ExtendedKeyUsageOID.SERVER_AUTH)

    def proxy(self, gateway: str, trust_domain: str = "cluster.local") -> Issued:
        """For a proxy of a gateway, ``namespace/name``."""
        namespace, _, name = gateway.partition("/")
        return self.issue(uris=[f"spiffe://{trust_domain}/ns/{namespace}/sa/{name}"])

    def client_context(self, shown: Issued | None, directory: Path) -> ssl.SSLContext:
        """What a client connects with that trusts this authority and shows this certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.set_alpn_protocols(["h2"])
        context.load_verify_locations(cadata=self.certificate)
        if shown is not None:
            context.load_cert_chain(*shown.write(directory))
        return context


class Volume:
    """Files as Kubernetes mounts a Secret: links to links, of which one is swapped."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._count = 0
        self.certificate, self.key, self.authority = (path / name for name in ("tls.crt", "tls.key", "ca.crt"))

    def swap(self, certificate: str, key: str, authority: str) -> None:
        """New contents of all files, in one moment."""
        self._count += 1
        version = self._path / f"..{self._count}"
        version.mkdir(parents=True)
        for path, text in ((self.certificate, certificate), (self.key, key), (self.authority, authority)):
            (version / path.name).write_text(text)
            if not path.is_symlink():
                path.symlink_to(Path("..data", path.name))
        link = self._path / "..new"
        link.symlink_to(version.name)
        link.replace(self._path / "..data")

    def show(self, issued: Issued, authority: Authority) -> None:
        """A pair, and the authority of the other side."""
        self.swap(issued.certificate, issued.key, authority.certificate)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, end: datetime.datetime = _END
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_BEGIN)
        .not_valid_after(end)
    )


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(Encoding.PEM).decode()
