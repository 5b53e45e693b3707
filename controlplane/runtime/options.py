"""What the process is told at its start, beside the settings that go into the log."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Literal, Self

from controlplane.model.events import Settings
from controlplane.runtime.errors import OptionError

Infra = Literal["none", "host"]


@dataclass(frozen=True)
class HostPort:
    """Where a server listens."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str, option: str) -> Self:
        """``HOST:PORT``, ``[IPv6]:PORT`` or ``:PORT`` (loopback).

        Raises:
            OptionError: It is none of these; the message names ``option``.
        """
        host, separator, port = text.rpartition(":")
        host = host.removeprefix("[").removesuffix("]") or "127.0.0.1"
        if not separator or not port.isdecimal() or int(port) > 65_535:
            raise OptionError(f"{option} {text!r}: write HOST:PORT, such as 127.0.0.1:18000")
        return cls(host, int(port))

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine reaches it."""
        if self.host == "localhost":
            return True
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return False

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True)
class RunOptions:
    """One run of the control plane."""

    files: Path | None = None
    replay: Path | None = None
    until: int | None = None
    log_dir: Path | None = None
    """None keeps the log in memory."""
    state_dir: Path = Path(".controlplane")
    """For what the process leaves to the next one, the log aside."""
    xds: HostPort = field(default_factory=lambda: HostPort("127.0.0.1", 18000))
    admin: HostPort = field(default_factory=lambda: HostPort("127.0.0.1", 18001))
    infra: Infra = "none"
    insecure_xds: bool = False
    debug_from_anywhere: bool = False
    fsync: Literal["always", "grouped", "never"] = "grouped"

    def check(self) -> None:
        """Whether the options go together.

        Raises:
            OptionError: They do not.
        """
        if (self.files is None) == (self.replay is None):
            raise OptionError("name one source: --files DIR for manifests, or --replay LOG_DIR for a recorded log")
        if self.files is not None and not self.files.is_dir():
            raise OptionError(f"--files {self.files}: no such folder; create it or name another")
        if self.replay is not None and not self.replay.is_dir():
            raise OptionError(f"--replay {self.replay}: no such folder; name the folder of a log")
        if self.until is not None and self.replay is None:
            raise OptionError("--until goes with --replay: say of which log")
        if self.replay is not None and self.infra != "none":
            raise OptionError(
                "--infra host does not go with --replay: a replay runs nothing; start an Envoy of your own"
            )
        if not self.xds.is_loopback and not self.insecure_xds:
            raise OptionError(
                f"--xds {self.xds} is plaintext and reachable from other machines; use 127.0.0.1, or say --insecure-xds "
                "where the network itself is trusted"
            )

    def settings(self) -> Settings:
        """What of this a reducer or a translation sees."""
        if self.infra == "host":
            return Settings(infra="host", listen_address="127.0.0.1")
        return Settings()
