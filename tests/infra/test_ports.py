"""Who has a port."""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from controlplane.infra.ports import (
    ListeningSocket,
    Owner,
    explain,
    find_owner,
    listening_sockets,
    sockets_of,
    try_to_bind,
)

LOOPBACK = ipaddress.ip_address("127.0.0.1")


@pytest.fixture(params=["127.0.0.1", "::1", "0.0.0.0", "::"])
def server(request: pytest.FixtureRequest) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in request.param else socket.AF_INET
    with socket.create_server((request.param, 0), family=family) as listening:
        yield listening


def place(server: socket.socket) -> tuple[ipaddress.IPv4Address | ipaddress.IPv6Address, int]:
    address, port = server.getsockname()[:2]
    return ipaddress.ip_address(address), port


def test_a_port_is_taken_while_somebody_listens_and_not_afterwards(server: socket.socket) -> None:
    address, port = place(server)
    error = try_to_bind(address, port)
    assert error is not None
    assert error.errno == errno.EADDRINUSE
    server.close()
    assert try_to_bind(address, port) is None


def test_the_owner_of_a_port_is_found(server: socket.socket) -> None:
    address, port = place(server)
    (found,) = (s for s in listening_sockets() if s.port == port and s.conflicts(address, port))
    assert found.address == address
    assert found.inode in sockets_of(os.getpid())
    assert find_owner({found.inode}) == Owner(os.getpid(), Path("/proc/self/comm").read_text().strip())
    server.close()
    assert found.inode not in sockets_of(os.getpid())
    assert find_owner({found.inode}) is None


def test_a_connection_that_lingers_does_not_take_its_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        client = socket.create_connection(("127.0.0.1", port))
        accepted, _ = server.accept()
        accepted.close()  # first, so that the server's side is the one in TIME_WAIT
        client.close()
    assert try_to_bind(LOOPBACK, port) is None


@pytest.mark.parametrize(
    ("listening", "wanted", "conflict"),
    [
        ("127.0.0.1", "127.0.0.1", True),
        ("127.0.0.1", "127.0.0.2", False),
        ("0.0.0.0", "127.0.0.1", True),
        ("127.0.0.1", "0.0.0.0", True),
        ("::", "127.0.0.1", True),
        ("::ffff:127.0.0.1", "127.0.0.1", True),
        ("::1", "::1", True),
        ("::1", "127.0.0.1", False),
    ],
)
def test_who_is_in_the_way_of_whom(listening: str, wanted: str, conflict: bool) -> None:
    taken = ListeningSocket(ipaddress.ip_address(listening), 8080, inode=1)
    assert taken.conflicts(ipaddress.ip_address(wanted), 8080) is conflict
    assert not taken.conflicts(ipaddress.ip_address(wanted), 8081)


def test_reasons_name_the_place_the_culprit_and_what_to_do() -> None:
    taken = OSError(errno.EADDRINUSE, "in use")
    here = ListeningSocket(LOOPBACK, 8080, 1)
    everywhere = ListeningSocket(ipaddress.ip_address("0.0.0.0"), 8080, 2)
    assert explain(taken, LOOPBACK, 8080, (here,), Owner(42, "nginx")) == (
        "127.0.0.1:8080 is taken by another process (pid 42, nginx): stop it, or change spec.listeners[].port"
    )
    assert explain(taken, LOOPBACK, 8080, (everywhere,), Owner(42, "nginx")) == (
        "127.0.0.1:8080 is taken by another process (pid 42, nginx), which listens on 0.0.0.0:8080: stop it, or change "
        "spec.listeners[].port"
    )
    assert explain(taken, ipaddress.ip_address("::1"), 80, (), None) == (
        "[::1]:80 is taken by a process that this user may not see: stop it, or change spec.listeners[].port"
    )
    denied = explain(OSError(errno.EACCES, "denied"), LOOPBACK, 80, (), None)
    assert "127.0.0.1:80 needs a right" in denied
    assert "CAP_NET_BIND_SERVICE" in denied
    assert "spec.listeners[].port" in denied
    foreign = try_to_bind(ipaddress.ip_address("192.0.2.1"), 0)
    assert foreign is not None
    assert explain(foreign, ipaddress.ip_address("192.0.2.1"), 8080, (), None) == (
        "192.0.2.1 is no address of this machine: change spec.addresses"
    )
    assert "Too many open files" in explain(OSError(errno.EMFILE, ""), LOOPBACK, 8080, (), None)
