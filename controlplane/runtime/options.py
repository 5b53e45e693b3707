"""What the process is told at its start, beside the settings that go into the log."""

from __future__ import annotations

import re
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Final, Literal, Self

from msgspec.structs import replace

from controlplane.log import SEGMENT_BYTES
from controlplane.model.events import Settings
from controlplane.runtime.errors import OptionError
from controlplane.runtime.xds_options import XdsOptions

Infra = Literal["none", "host"]
DnsLookupFamily = Literal["V4_PREFERRED", "V4_ONLY", "V6_ONLY", "AUTO", "ALL"]

_SIZES: Final = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30}
_AGES: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_WORDS: Final = {"true": True, "1": True, "false": False, "0": False}
_LABEL: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_NAME: Final = re.compile(rf"{_LABEL.pattern}(\.{_LABEL.pattern})*")


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
    client_status_from_anywhere: bool = False
    fsync: Literal["always", "grouped", "never"] = "grouped"
    security: XdsOptions = field(default_factory=XdsOptions)
    """Of the xDS port."""
    serve_from_log: bool = True
    """Whether the log's last complete state is served until the sources have been read again."""
    log_max_bytes: int | None = 1 << 30
    """Size of the log from which on its oldest segment goes; None keeps it for ever."""
    log_max_age: float | None = 7 * 86_400.0
    """Seconds after which a segment of the log goes; None keeps it for ever."""
    log_segment_bytes: int = SEGMENT_BYTES
    mesh: Settings = field(default_factory=Settings)
    """What was asked for of the settings that are not about where Envoys run."""
    observe_proxies: bool = True
    """As in ``Settings``; not for a translation, to which nobody is connected."""

    def check(self) -> None:
        """Whether the options go together.

        Raises:
            OptionError: They do not.
        """
        if (self.files is None) == (self.replay is None):
            raise OptionError("name one source: --files DIR for manifests, or --replay LOG_DIR for a recorded log")
        if self.files is not None and not self.files.is_dir() and not self._has_log():
            raise OptionError(f"--files {self.files}: no such folder; create it or name another")
        if self.replay is not None and not self.replay.is_dir():
            raise OptionError(f"--replay {self.replay}: no such folder; name the folder of a log")
        if self.until is not None and self.replay is None:
            raise OptionError("--until goes with --replay: say of which log")
        if self.replay is not None and self.infra != "none":
            raise OptionError(
                "--infra host does not go with --replay: a replay runs nothing; start an Envoy of your own"
            )
        self.security.check(runs_envoys=self.infra == "host")
        if not self.xds.is_loopback and not self.insecure_xds and not self.security.is_encrypted:
            raise OptionError(
                f"--xds {self.xds} is plaintext and reachable from other machines; give it certificates (--xds-cert, "
                "--xds-key, --xds-client-ca), use 127.0.0.1, or say --insecure-xds where the network itself is trusted"
            )

    def _has_log(self) -> bool:
        """Whether there may be something to serve until the folder is back, which is then waited for."""
        return (
            self.serve_from_log
            and self.files is not None
            and not self.files.exists()
            and self.log_dir is not None
            and any(self.log_dir.glob("*.jsonl"))
        )

    def settings(self) -> Settings:
        """What of this a reducer or a translation sees."""
        settings = replace(self.mesh, observe_proxies=self.observe_proxies)
        if self.infra == "host":
            return replace(settings, infra="host", listen_address="127.0.0.1")
        return settings


def parse_size(text: str, option: str) -> int | None:
    """Octets from ``1Gi``, ``500M``, ``65536``; None from ``none``.

    Raises:
        OptionError: It is none of these; the message names ``option``.
    """
    return _quantity(text, option, _SIZES, "a size such as 1Gi or 500M, or none")


def parse_age(text: str, option: str) -> float | None:
    """Seconds from ``7d``, ``12h``, ``30m``, ``90s``; None from ``none``.

    Raises:
        OptionError: It is none of these; the message names ``option``.
    """
    return _quantity(text, option, _AGES, "a time such as 7d, 12h or 30m, or none")


def _quantity(text: str, option: str, units: Mapping[str, int], form: str) -> int | None:
    if text == "none":
        return None
    number = text.rstrip(string.ascii_letters)
    unit = text.removeprefix(number)
    if not (number.isascii() and number.isdecimal()) or int(number) == 0 or unit not in units:
        raise OptionError(f"{option} {text!r}: write {form}")
    return int(number) * units[unit]


def mesh_settings(
    environment: Mapping[str, str],
    *,
    ingress_use_waypoints: bool | None = None,
    waypoint_classes: Sequence[str] = (),
    root_namespace: str | None = None,
    cluster_domain: str | None = None,
    trust_domain: str | None = None,
    dns_lookup_family: DnsLookupFamily | None = None,
) -> Settings:
    """Istio's settings, from options and from the environment: an option comes before a variable.

    Args:
        environment: ``INGRESS_USE_WAYPOINTS`` (true, false, 1, 0) and ``WAYPOINT_CLASSES`` (names with commas between them);
            empty is not set.
        ingress_use_waypoints: ``--ingress-use-waypoints``; None where it was not given, here and below.
        waypoint_classes: ``--waypoint-class``, beside the one that is always there.
        root_namespace: ``--root-namespace``.
        cluster_domain: ``--cluster-domain``.
        trust_domain: ``--trust-domain``.
        dns_lookup_family: ``--dns-lookup-family``.

    Raises:
        OptionError: A value is malformed; the message names the option or the variable.
    """
    defaults = Settings()
    word = environment.get("INGRESS_USE_WAYPOINTS", "")
    if ingress_use_waypoints is None and word:
        ingress_use_waypoints = _WORDS.get(word.lower())
        if ingress_use_waypoints is None:
            raise OptionError(f"INGRESS_USE_WAYPOINTS {word!r}: write true, false, 1 or 0")
    option = "--waypoint-class"
    if not waypoint_classes and (names := environment.get("WAYPOINT_CLASSES", "")):
        option, waypoint_classes = "WAYPOINT_CLASSES", [name.strip() for name in names.split(",")]
    classes = [_name(name, option, "the name of a GatewayClass") for name in waypoint_classes]
    given = {
        "ingress_use_waypoints": ingress_use_waypoints,
        "waypoint_classes": tuple(dict.fromkeys((*defaults.waypoint_classes, *classes))),
        "root_namespace": None if root_namespace is None else namespace(root_namespace, "--root-namespace"),
        "cluster_domain": None if cluster_domain is None else _name(cluster_domain, "--cluster-domain", "a domain"),
        "trust_domain": None if trust_domain is None else _name(trust_domain, "--trust-domain", "a domain"),
        "dns_lookup_family": dns_lookup_family,
    }
    return replace(defaults, **{key: value for key, value in given.items() if value is not None})


def namespace(text: str, option: str) -> str:
    """The name of a namespace.

    Raises:
        OptionError: It cannot be one; the message names ``option``.
    """
    if not _LABEL.fullmatch(text):
        raise OptionError(f"{option} {text!r}: write the name of a namespace, such as istio-system")
    return text


def _name(text: str, option: str, what: str) -> str:
    if len(text) > 253 or not _NAME.fullmatch(text):
        raise OptionError(f"{option} {text!r}: write {what}: lower-case letters, digits, '-' and '.'")
    return text


@dataclass(frozen=True)
class AskedClient:
    """The client whose view a translation shows; without anything said, one of which nothing is known."""

    locality: str = ""
    """``region/zone/sub_zone``."""
    labels: tuple[tuple[str, str], ...] = ()
    """Sorted."""
    namespace: str = ""
    """Empty takes the Gateway's."""

    @classmethod
    def parse(cls, locality: str, labels: Sequence[str], client_namespace: str | None) -> Self:
        """From ``--proxy-locality``, ``--proxy-label`` and ``--proxy-namespace``.

        Raises:
            OptionError: One of them is malformed; the message names it.
        """
        return cls(
            "/".join(parse_locality(locality, "--proxy-locality")).rstrip("/"),
            tuple(sorted(parse_labels(labels, "--proxy-label").items())),
            "" if client_namespace is None else namespace(client_namespace, "--proxy-namespace"),
        )


def parse_locality(text: str, option: str) -> tuple[str, str, str]:
    """Region, zone and sub-zone; what is not said is empty.

    Raises:
        OptionError: It has too many parts, or one without what it lies in; the message names ``option``.
    """
    parts = text.split("/") if text else []
    if len(parts) > 3 or any(not part.strip() for part in parts):
        raise OptionError(f"{option} {text!r}: write REGION, REGION/ZONE or REGION/ZONE/SUB_ZONE")
    region, zone, sub_zone = (*parts, "", "", "")[:3]
    return region, zone, sub_zone


def parse_labels(labels: Sequence[str], option: str) -> dict[str, str]:
    """Labels from ``KEY=VALUE``; of one key the last.

    Raises:
        OptionError: One of them is malformed; the message names ``option``.
    """
    found = {}
    for label in labels:
        key, equals, value = label.partition("=")
        if not key or not equals:
            raise OptionError(f"{option} {label!r}: write KEY=VALUE, such as version=v1")
        found[key] = value
    return found
