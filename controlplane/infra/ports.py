"""Whether a port can be had, and who has it: what Linux knows.

This module must not know of Envoys or Gateways; what to do about a port that is taken is ``controlplane.infra.listeners``'.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
import sys
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Final, TypeAlias

import msgspec

from controlplane.infra.process import processes

IPAddress: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

_LISTEN: Final = "0A"
_PROC = Path("/proc")


class ListeningSocket(msgspec.Struct, frozen=True):
    """A TCP socket of this machine that somebody listens on."""

    address: IPAddress
    port: int
    inode: int

    def conflicts(self, address: IPAddress, port: int) -> bool:
        """Whether nobody else can listen on this address and port meanwhile."""
        if self.port != port:
            return False
        mine = getattr(self.address, "ipv4_mapped", None) or self.address
        # An IPv6 wildcard may or may not take IPv4 as well; asked is after a bind that failed, so it does.
        return mine == address or mine.is_unspecified or address.is_unspecified


class Owner(msgspec.Struct, frozen=True):
    """The process that a socket belongs to."""

    pid: int
    name: str


def try_to_bind(address: IPAddress, port: int) -> OSError | None:
    """Bind and let go at once, as Envoy binds: SO_REUSEADDR, so that connections in TIME_WAIT do not count.

    It disturbs nobody: a socket that is bound with SO_REUSEADDR and does not listen keeps no other from binding so.

    Returns:
        Why it cannot be done; None if it can.
    """
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family is socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            probe.bind((str(address), port))
    except OSError as error:
        return error
    return None


def listening_sockets() -> tuple[ListeningSocket, ...]:
    """All of this network namespace. Cost: O(all TCP sockets)."""
    return tuple(socket for table in ("tcp", "tcp6") for socket in _read_table(_PROC / "net" / table))


def sockets_of(pid: int) -> frozenset[int]:
    """Inodes of the sockets that a process has open.

    Raises:
        PermissionError: They may not be looked at.
    """
    inodes = set()
    try:
        with os.scandir(_PROC / str(pid) / "fd") as descriptors:
            for descriptor in descriptors:
                try:
                    target = os.readlink(descriptor.path)  # noqa: PTH115 (for every open file of the machine)
                except FileNotFoundError:
                    continue
                if target.startswith("socket:["):
                    inodes.add(int(target[len("socket:[") : -1]))
    except (FileNotFoundError, ProcessLookupError):
        pass
    return frozenset(inodes)


def find_owner(inodes: Collection[int]) -> Owner | None:
    """A process that has one of these sockets open; None if none that we may look at has. Cost: O(all open files)."""
    for pid in processes():
        try:
            if sockets_of(pid).isdisjoint(inodes):
                continue
            return Owner(pid, (_PROC / str(pid) / "comm").read_text(errors="replace").strip())
        except OSError:
            continue
    return None


def explain(
    error: OSError, address: IPAddress, port: int, taken_by: Iterable[ListeningSocket], owner: Owner | None
) -> str:
    """Why a listener cannot have its port, and what to do, in a sentence for a Gateway's status.

    Args:
        error: What binding it gave.
        address: Of the listener.
        port: Of the listener.
        taken_by: Sockets that are in the way, if that is the reason.
        owner: Whose they are, if that can be known.
    """
    place = display(address, port)
    match error.errno:
        case errno.EADDRINUSE:
            other = (
                "a process that this user may not see"
                if owner is None
                else f"another process (pid {owner.pid}, {owner.name})"
            )
            elsewhere = sorted({display(s.address, s.port) for s in taken_by} - {place})
            listens = f", which listens on {' and '.join(elsewhere)}" if elsewhere else ""
            return f"{place} is taken by {other}{listens}: stop it, or change spec.listeners[].port"
        case errno.EACCES:
            return (
                f"{place} needs a right that this process lacks, as ports below 1024 do: give it CAP_NET_BIND_SERVICE, lower "
                "net.ipv4.ip_unprivileged_port_start, or change spec.listeners[].port"
            )
        case errno.EADDRNOTAVAIL:
            return f"{address} is no address of this machine: change spec.addresses"
        case _:
            reason = os.strerror(error.errno) if error.errno else str(error)
            return f"{place} cannot be opened ({reason}): change spec.addresses or spec.listeners[].port"


def display(address: IPAddress | str, port: int) -> str:
    """``address:port``, an IPv6 address in brackets."""
    return f"[{address}]:{port}" if ":" in str(address) else f"{address}:{port}"


def _read_table(path: Path) -> Iterator[ListeningSocket]:
    """One of the kernel's tables. Source: proc_net_tcp in the kernel's documentation."""
    try:
        lines = path.read_text().splitlines()[1:]
    except FileNotFoundError:  # a kernel without IPv6
        return
    for line in lines:
        fields = line.split()
        if fields[3] == _LISTEN:
            address, _, port = fields[1].partition(":")
            yield ListeningSocket(_decode(bytes.fromhex(address)), int(port, 16), int(fields[9]))


def _decode(data: bytes) -> IPAddress:
    """An address that the kernel printed as words in its own byte order."""
    if sys.byteorder == "little":
        data = b"".join(data[i : i + 4][::-1] for i in range(0, len(data), 4))
    return ipaddress.ip_address(data)
