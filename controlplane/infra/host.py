"""``--infra host``: one Envoy per Gateway, as processes of this machine.

What it is told to want, it brings about; what it finds out, it reports as events. It knows gateways by name and listeners by
address and port, never what they serve: that is between the Envoys and xDS.

Envoys end with us when we are asked to end. When we are killed they serve on, and the next control plane on the same state
directory takes them over.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Awaitable, Callable, Collection, Mapping
from pathlib import Path

import anyio
import anyio.abc
import anyio.to_thread
import msgspec
import structlog

from controlplane.infra.binary import find_envoy
from controlplane.infra.bootstrap import bootstrap
from controlplane.infra.client_tls import ClientTls, secret_documents
from controlplane.infra.envoy import EnvoyCommand, EnvoyStatistics, EnvoySupervisor
from controlplane.infra.errors import InfraError
from controlplane.infra.listeners import ListenerKey, ListenerWatch
from controlplane.infra.process import Process, is_supported
from controlplane.infra.state import StateDirectory
from controlplane.model.events import ListenerFailed, ListenerRecovered


class HostInfra:
    """Runs one Envoy for each gateway that is wanted.

    Args:
        state_dir: Where it keeps what the next control plane must find. One control plane at a time.
        xds_address: Where the Envoys reach us; an unspecified address (``0.0.0.0``, ``::``) becomes loopback.
        xds_port: Port there.
        report: Takes the events, one after the other, in order.
        drain_time_s: Seconds that an Envoy gives connections of a removed listener.
        concurrency: Worker threads of each Envoy; None takes the cores of this machine, two at most.
        binary: The Envoy; None takes the installed one (``find_envoy``).
        log_level: Of the Envoys.
        log: Where to tell what happens, the Envoys' own output included.
        tls: What the Envoys connect with; ``{namespace}`` and ``{name}`` in the paths of their own certificate stand for their
            Gateway's. None is plaintext.

    Raises:
        InfraError: No Envoy is installed, or this system cannot watch processes.
    """

    def __init__(
        self,
        *,
        state_dir: Path,
        xds_address: str,
        xds_port: int,
        report: Callable[[ListenerFailed | ListenerRecovered], Awaitable[None]],
        drain_time_s: int = 5,
        concurrency: int | None = None,
        binary: Path | None = None,
        log_level: str = "info",
        log: structlog.typing.FilteringBoundLogger | None = None,
        tls: ClientTls | None = None,
    ) -> None:
        if not is_supported():
            raise InfraError(
                "--infra host needs Linux 5.3 or later (pidfd_open); use --infra none and start Envoy yourself"
            )
        self._log: structlog.typing.FilteringBoundLogger = (
            log if log is not None else structlog.get_logger("controlplane.infra")
        )
        self._state = StateDirectory(state_dir)
        self._xds = (_reachable(xds_address), xds_port)
        self._tls = tls
        self._command = EnvoyCommand(
            binary=(binary or find_envoy()).absolute(),
            concurrency=concurrency or min(2, len(os.sched_getaffinity(0))),
            drain_time_s=drain_time_s,
            log_level=log_level,
        )
        self._listeners = ListenerWatch(
            report, self._pids, self._log, may_bind_any_port=_has_capabilities(self._command.binary)
        )
        self._wanted: frozenset[str] | None = None
        self._changed = anyio.Event()
        self._supervisors: dict[str, EnvoySupervisor] = {}
        self._found: dict[str, list[Process]] = {}
        """Envoys that an earlier control plane left, until it is known whether their gateway is wanted."""
        self._swept = False

    def want(self, gateways: Collection[str]) -> None:
        """Exactly these gateways (``namespace/name``) shall have an Envoy.

        Nothing is started or stopped before the first call, so that Envoys of an earlier life serve on until it is known who is
        wanted: call it once the collections are synced, not before.
        """
        self._wanted = frozenset(gateways)
        self._changed.set()

    def want_listeners(self, listeners: Mapping[str, Collection[tuple[str, int]]]) -> None:
        """The addresses and ports of each gateway, those that have failed included; to leave one out makes it recover.

        Each new one is looked at: call it before the Envoys are sent the listeners.
        """
        self._listeners.want(
            ListenerKey(gateway, address, port) for gateway, places in listeners.items() for address, port in places
        )

    def note_bind_failure(self, gateway: str, address: str, port: int, message: str) -> None:
        """An Envoy rejected a listener because it could not bind (``cannot bind ...``). Listeners nobody wants are ignored.

        Args:
            gateway: ``namespace/name``.
            address: Of the listener.
            port: Of the listener.
            message: What Envoy said; of a long text, the part that names the cause is kept.
        """
        self._listeners.refused(ListenerKey(gateway, address, port), message)

    def statistics(self) -> dict[str, EnvoyStatistics]:
        """How the Envoy of each gateway is, by gateway, sorted; also of one that is being stopped."""
        return {gateway: supervisor.statistics() for gateway, supervisor in sorted(self._supervisors.items())}

    async def run(self) -> None:
        """Do all this until cancelled, then end every Envoy, within seconds. To be called once.

        Raises:
            InfraError: Another control plane uses the state directory.
        """
        with self._state.locked():
            self._found = await anyio.to_thread.run_sync(self._state.running)
            try:
                async with anyio.create_task_group() as group:
                    group.start_soon(self._listeners.run)
                    while True:
                        await self._changed.wait()
                        self._changed = anyio.Event()
                        self._reconcile(group)
            finally:
                with anyio.CancelScope(shield=True):
                    await self._stop_unclaimed()

    def _reconcile(self, group: anyio.abc.TaskGroup) -> None:
        if self._wanted is None:
            return
        for gateway in sorted(self._supervisors.keys() - self._wanted):
            self._supervisors[gateway].retire()
        for gateway in sorted(self._wanted - self._supervisors.keys()):
            self._supervise(group, gateway)
        if not self._swept:
            self._swept = True
            for gateway in sorted({*self._found, *self._state.gateways()} - self._supervisors.keys()):
                self._supervise(group, gateway).retire()

    def _supervisor(self, gateway: str) -> EnvoySupervisor:
        address, port = self._xds
        directory = self._state.gateway(gateway)
        tls = None if self._tls is None else self._tls.for_gateway(gateway, str(directory.path))
        document = bootstrap(gateway, xds_address=address, xds_port=port, tls=tls)
        secrets = {} if tls is None else secret_documents(tls)
        return EnvoySupervisor(
            gateway,
            directory,
            self._command,
            msgspec.json.encode(document),
            self._found.pop(gateway, ()),
            self._log,
            {name: msgspec.json.encode(secret) for name, secret in secrets.items()},
        )

    def _supervise(self, group: anyio.abc.TaskGroup, gateway: str) -> EnvoySupervisor:
        supervisor = self._supervisors[gateway] = self._supervisor(gateway)
        group.start_soon(self._run_supervisor, supervisor, name=f"envoy of {gateway}")
        return supervisor

    async def _run_supervisor(self, supervisor: EnvoySupervisor) -> None:
        try:
            await supervisor.run()
        finally:
            del self._supervisors[supervisor.gateway]
            self._changed.set()  # it may be wanted again by now

    async def _stop_unclaimed(self) -> None:
        """End what an earlier control plane left and nobody has said to want: our Envoys end with us."""
        async with anyio.create_task_group() as group:
            for gateway in sorted(self._found):
                supervisor = self._supervisor(gateway)
                supervisor.stop()
                group.start_soon(supervisor.run)

    def _pids(self) -> dict[int, str]:
        found = {process.pid: gateway for gateway, processes in self._found.items() for process in processes}
        return found | {pid: gateway for gateway, supervisor in self._supervisors.items() for pid in supervisor.pids()}


def _reachable(address: str) -> str:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if not parsed.is_unspecified:
        return address
    return "127.0.0.1" if parsed.version == 4 else "::1"


def _has_capabilities(binary: Path) -> bool:
    """Whether the file gives who runs it rights that we may lack (``setcap cap_net_bind_service``)."""
    try:
        return bool(os.getxattr(binary, "security.capability"))
    except OSError:
        return False
