"""The options of the xDS port: certificates, who is asked for one, limits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec

from controlplane.infra import ClientTls
from controlplane.runtime.errors import OptionError
from controlplane.xds import Certificates, Limits, Settings, TlsFileError, TlsFiles

_OPTIONS: Final = {"certificate": "--xds-cert", "key": "--xds-key", "client CA": "--xds-client-ca"}


@dataclass(frozen=True)
class XdsOptions:
    """How Envoys connect. Files are PEM."""

    certificate: Path | None = None
    key: Path | None = None
    client_ca: Path | None = None
    envoys: ClientTls | None = None
    """What the Envoys that we run ourselves connect with; ``{namespace}`` and ``{name}`` in paths stand for their Gateway's."""
    settings: Settings = field(default_factory=Settings)

    @property
    def is_encrypted(self) -> bool:
        """Whether the port speaks TLS."""
        return self.certificate is not None

    def check(self, *, runs_envoys: bool) -> None:
        """Whether the options go together.

        Raises:
            OptionError: They do not.
        """
        if (self.certificate is None) != (self.key is None):
            raise OptionError("--xds-cert goes with --xds-key: name the files of both")
        if self.client_ca is not None and self.certificate is None:
            raise OptionError(
                "--xds-client-ca goes with --xds-cert and --xds-key: without TLS nobody shows a certificate"
            )
        if self.envoys is not None:
            if not runs_envoys:
                raise OptionError(
                    "--xds-ca, --xds-name, --client-cert and --client-key are for the Envoys of --infra host; for one of "
                    "your own, give them to controlplane bootstrap"
                )
            if not self.is_encrypted:
                raise OptionError("--xds-ca goes with --xds-cert and --xds-key: without TLS there is nothing to trust")
            self.envoys.check()
        if runs_envoys and self.is_encrypted:
            if self.envoys is None:
                raise OptionError(
                    "--infra host with --xds-cert: name the authority that its Envoys trust with --xds-ca"
                )
            if self.client_ca is not None and not self.envoys.certificate:
                raise OptionError(
                    "--infra host with --xds-client-ca: name what its Envoys show with --client-cert and --client-key; "
                    "{namespace} and {name} in a path stand for an Envoy's Gateway"
                )

    def certificates(self) -> Certificates | None:
        """The certificates, read; None for plaintext.

        Raises:
            OptionError: A file cannot be used; the message names option, file and what to do.
        """
        if self.certificate is None or self.key is None:
            return None
        try:
            return Certificates(TlsFiles(self.certificate, self.key, self.client_ca))
        except TlsFileError as error:
            raise OptionError(f"{_OPTIONS[error.part]} {error.path}: {error.reason}") from error


def envoys_tls(authority: Path | None, certificate: str, key: str, name: str, secrets: str = "") -> ClientTls | None:
    """What an Envoy connects with; None for plaintext.

    Raises:
        OptionError: Something of it without the authority.
    """
    if authority is None:
        if certificate or key or name or secrets:
            raise OptionError(
                "--client-cert, --client-key, --xds-name and --secrets go with --xds-ca: say whom to trust"
            )
        return None
    return ClientTls(str(authority), certificate, key, name, secrets)


def xds_settings(limits: Sequence[str]) -> Settings:
    """The server's settings, from ``NAME=VALUE``; of one name the last.

    Raises:
        OptionError: There is no such limit, or it is not a number above 0; the message names those that there are.
    """
    known = {limit.name: limit.type for limit in msgspec.structs.fields(Settings) if limit.type in (int, float)}
    of_stream = {limit.name: limit.type for limit in msgspec.structs.fields(Limits) if limit.type in (int, float)}
    found: dict[str, int | float] = {}
    for text in limits:
        name, equals, value = text.partition("=")
        kind = (known | of_stream).get(name)
        if not equals or kind is None:
            names = ", ".join(sorted(known | of_stream))
            raise OptionError(f"--xds-limit {text!r}: write NAME=NUMBER; the names are {names}")
        try:
            found[name] = kind(value)
            valid = 0 < found[name] < float("inf")
        except ValueError:
            valid = False
        if not valid:
            what = "whole number" if kind is int else "number"
            raise OptionError(f"--xds-limit {text!r}: write a {what} above 0")
    return Settings(
        **{name: value for name, value in found.items() if name in known},  # type: ignore[arg-type]
        limits=Limits(**{name: value for name, value in found.items() if name in of_stream}),  # type: ignore[arg-type]
    )
