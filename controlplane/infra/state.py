"""What host mode writes down about its Envoys, so that the next control plane finds them.

::

    <state>/lock                              held while a control plane runs on this state
    <state>/gateways/<namespace>/<name>/
        bootstrap.json                        what the Envoy was started with; its path marks the Envoy's command line
        state.json                            a Record
        admin-address                         written by the Envoy: where its admin interface listens
        envoy.log, envoy.log.seen             its output, and how much of it is in our log

The process table is what counts: an Envoy is ours if its command line names a bootstrap of this state. The record only says
whether it is the one that we would start. So an Envoy whose control plane died between start and record is found too.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote, unquote

import msgspec

from controlplane.infra.errors import InfraError
from controlplane.infra.process import Process, command_line, processes

CONFIG_FLAG = "--config-path"
"""The flag whose value tells of which gateway an Envoy is."""


class Record(msgspec.Struct, frozen=True, rename="camel"):
    """The Envoy that was started for a gateway."""

    pid: int
    start_time: int
    """Clock ticks since the machine's start."""
    digest: str
    """Of everything that decides how it runs: command line, bootstrap, binary."""
    started: str
    """RFC 3339, UTC."""

    def describes(self, process: Process) -> bool:
        """Whether this process is the recorded one, and not another that was given its number."""
        return (self.pid, self.start_time) == (process.pid, process.start_time)


class GatewayDirectory:
    """The files of one gateway."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.bootstrap = path / "bootstrap.json"
        self.admin_address = path / "admin-address"
        self.output = path / "envoy.log"
        self.output_seen = path / "envoy.log.seen"
        self._record = path / "state.json"

    def create(self) -> None:
        """Make it, closed to other users: an Envoy's output may hold what it was sent."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)

    def remove(self) -> None:
        """Remove it with all that it holds."""
        shutil.rmtree(self.path, ignore_errors=True)

    def write_bootstrap(self, data: bytes) -> None:
        """Replace the bootstrap as a whole, or not at all."""
        _replace(self.bootstrap, data)

    def write_secret(self, name: str, data: bytes) -> None:
        """Replace a file that the bootstrap names, as a whole, or not at all."""
        _replace(self.path / name, data)

    def write_record(self, record: Record) -> None:
        """Replace the record as a whole, or not at all."""
        _replace(self._record, msgspec.json.encode(record))

    def remove_record(self) -> None:
        """Forget the Envoy that was started: it has ended."""
        self._record.unlink(missing_ok=True)

    def record(self) -> Record | None:
        """The Envoy that was started last; None where there is none, or where what stands there is not readable."""
        try:
            return msgspec.json.decode(self._record.read_bytes(), type=Record)
        except (FileNotFoundError, msgspec.MsgspecError):
            return None

    def admin_port(self) -> int | None:
        """Port of the Envoy's admin interface; None before it listens."""
        try:
            return int(self.admin_address.read_text().rpartition(":")[2])
        except (FileNotFoundError, ValueError):
            return None


class StateDirectory:
    """Everything that host mode keeps on disk; of one control plane at a time."""

    def __init__(self, path: Path) -> None:
        # Resolved, because Envoys are recognized by paths in it, however it was spelled when they were started.
        self.path = path.resolve()
        self._gateways = self.path / "gateways"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold it. The lock ends with the process, however that ends.

        Raises:
            InfraError: Another control plane holds it, or it cannot be written to.
        """
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            text = f"{self.path} cannot be written to: {error.strerror}; make it writable, or name another --state-dir"
            raise InfraError(text) from error
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
                raise InfraError(
                    f"{self.path} is in use by another control plane (pid {holder}): stop it, or give each a directory of its own"
                ) from error
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode("ascii"), 0)
            yield
        finally:
            os.close(descriptor)

    def gateway(self, gateway: str) -> GatewayDirectory:
        """The directory of ``namespace/name``, which need not exist."""
        namespace, _, name = gateway.partition("/")
        return GatewayDirectory(self._gateways / _file_name(namespace) / _file_name(name))

    def gateways(self) -> tuple[str, ...]:
        """Gateways that have a directory, sorted."""
        return tuple(sorted(f"{unquote(path.parent.name)}/{unquote(path.name)}" for path in self._gateways.glob("*/*")))

    def running(self) -> dict[str, list[Process]]:
        """Envoys of this state that live, by gateway. Cost: one look at every process of the machine."""
        found: dict[str, list[Process]] = {}
        for pid in processes():
            gateway = self._gateway_of(pid)
            process = Process.attach(pid) if gateway is not None else None
            if gateway is not None and process is not None:
                found.setdefault(gateway, []).append(process)
        return found

    def _gateway_of(self, pid: int) -> str | None:
        try:
            arguments = command_line(pid)
        except PermissionError:
            return None
        if CONFIG_FLAG not in arguments[:-1]:
            return None
        path = Path(arguments[arguments.index(CONFIG_FLAG) + 1])
        if path.name != "bootstrap.json" or path.parent.parent.parent != self._gateways:
            return None
        return f"{unquote(path.parent.parent.name)}/{unquote(path.parent.name)}"


def _file_name(part: str) -> str:
    """One component of a path, whatever stands in a manifest: neither a separator nor a step upwards."""
    return quote(part, safe="") if part.strip(".") else part.replace(".", "%2E")


def _replace(path: Path, data: bytes) -> None:
    temporary = path.with_name(f"{path.name}.new")
    temporary.write_bytes(data)
    temporary.replace(path)
