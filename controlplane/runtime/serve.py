"""One process wired together: log, graph, sources, xDS, proxies, admin server, and the end of it all.

The order of the start is the order of trust: the log is opened and folded, the servers listen (and hold whoever comes), the
sources begin, and at the first commit in which everything is synced the gate opens.
"""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from time import monotonic
from typing import Protocol

import anyio
import anyio.abc
import structlog
from aiohttp import web

from controlplane.infra import HostInfra
from controlplane.krt import Commit
from controlplane.log import Log, MemoryLog, MemorySecretStore, Secrets, SecretStore, SegmentedLog
from controlplane.model.codec import EventCodec
from controlplane.model.events import SCHEMA_VERSION, AnyEvent, ControlPlaneStarted
from controlplane.model.objects import KINDS
from controlplane.reducers import known_objects
from controlplane.runtime.admin import Admin, AdminSources, LoopLag
from controlplane.runtime.core import Core, State, replay
from controlplane.runtime.errors import ControlPlaneError
from controlplane.runtime.metrics import make_registry
from controlplane.runtime.options import HostPort, RunOptions
from controlplane.runtime.proxies import ProxyJournal, unbindable
from controlplane.runtime.readiness import Readiness
from controlplane.sources import FilesSource
from controlplane.translate import with_private_key
from controlplane.xds import Event, ProxyRejected, Resolve, Views, XdsServer

_SHUTDOWN_SECONDS = 4.0
_log = structlog.get_logger(__name__)


class Source(Protocol):
    """A task that appends events."""

    @property
    def name(self) -> str:
        """As the events name it."""

    async def run(self) -> None:
        """Append until cancelled."""

    def statistics(self) -> object:
        """What ``/debug/sources`` shows."""


MakeSource = Callable[[Core], Source]


@dataclass
class ControlPlane:
    """The parts of a running control plane; what tests and the quickstart look at."""

    options: RunOptions
    core: Core
    readiness: Readiness
    views: Views
    xds: XdsServer
    admin: HostPort
    sources: Sequence[Source]
    infra: HostInfra | None
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)

    def stop(self) -> None:
        """Begin the end."""
        self.scope.cancel()


class _Publisher:
    """What follows from a commit: the views of the proxies, the gate, the infrastructure."""

    def __init__(self, state: State, readiness: Readiness, views: Views, infra: HostInfra | None) -> None:
        self._state = state
        self._readiness = readiness
        self._views = views
        self._infra = infra

    def publish(self, commit: Commit) -> None:
        """After every commit, in order."""
        resources = self._state.translation.resources
        if self._infra is not None and resources.synced:
            self._want(commit)
        changes = commit.deltas.get(resources.name, {})
        self._views.apply(((*key, new) for key, (_, new) in changes.items()), seq=commit.seq)
        if resources.synced and not self._views.is_open:
            _log.info("gate_opened", seq=commit.seq, resources=len(resources))
            self._views.open()
            self._readiness.checks()

    def publish_all(self) -> None:
        """What a restored state holds, which no commit says."""
        resources = self._state.translation.resources
        self._views.apply(((*row.key, row) for row in resources.rows()), seq=self._state.seq)
        if resources.synced:
            self._views.open()

    def _want(self, commit: Commit) -> None:
        gateways = self._state.rows.gateways
        if not self._views.is_open or commit.deltas.keys() & {gateways.owned.name, gateways.wanted_ports.name}:
            assert self._infra is not None
            places: dict[str, list[tuple[str, int]]] = {row.key: [] for row in gateways.owned.rows()}
            for row in gateways.wanted_ports.rows():
                gateway, address, port = row.key
                places[gateway].append((address, port))
            self._infra.want_listeners(places)
            self._infra.want(places.keys())


def _resolver(secrets: Secrets) -> Resolve:
    def key_of(digest: str) -> bytes | None:
        return secrets.get(digest.removeprefix("sha256:"))

    return lambda row: with_private_key(row.body, key_of)


def _open_log(options: RunOptions, state: State) -> tuple[Log[AnyEvent], Secrets]:
    codec = EventCodec()
    if options.log_dir is None:
        return MemoryLog(codec), MemorySecretStore()
    log: SegmentedLog[AnyEvent] = SegmentedLog.open(
        options.log_dir, codec, checkpoint=state.checkpoint, fsync=options.fsync, schema_version=SCHEMA_VERSION
    )
    for warning in log.opened.warnings():
        _log.warning("log_opened", detail=warning)
    state.take(log.read(from_segment="newest"))
    return log, SecretStore(options.log_dir)


def _files_source(folder: Path, secrets: Secrets) -> MakeSource:
    def make(core: Core) -> Source:
        known = known_objects(core.state.rows.base, FilesSource.name)
        return FilesSource(
            folder,
            core.appender(FilesSource.name),
            known.objects,
            known.rejected,
            remarks=known.remarks,
            put_private_key=secrets.put,
        )

    return make


@asynccontextmanager
async def running(
    options: RunOptions, more_sources: Mapping[str, tuple[Sequence[str], MakeSource]] | None = None
) -> AsyncIterator[ControlPlane]:
    """A control plane that runs until the block ends, or until it is told to stop.

    Args:
        options: How.
        more_sources: Other sources by name, with the kinds that each promises to sync.

    Raises:
        ControlPlaneError: It cannot start; the message says what to do.
    """
    options.check()
    state = State()
    secrets: Secrets
    if options.replay is not None:
        state = replay(options.replay, options.until)
        log: Log[AnyEvent] = MemoryLog(EventCodec())
        secrets = SecretStore(options.replay)
    else:
        log, secrets = _open_log(options, state)
    core = Core(log, state)
    readiness = Readiness(state)
    journal = ProxyJournal(core)
    views = Views(_resolver(secrets))
    lag = LoopLag()
    for name, reason in (("xds", "the xDS port is not bound yet"), ("admin", "the admin port is not bound yet")):
        readiness.expect(name, reason)
    infra: HostInfra | None = None

    def take_fact(fact: Event) -> None:
        if options.replay is None:
            journal.put(fact)
        if infra is not None and isinstance(fact, ProxyRejected):
            for gateway, address, port in unbindable(fact):
                infra.note_bind_failure(gateway, address, port, fact.message)

    server = XdsServer(views, on_event=take_fact)

    async with anyio.create_task_group() as group:
        try:
            bound = await _listen(server, options.xds)
            readiness.fulfil("xds")
            if options.infra == "host":
                infra = HostInfra(
                    state_dir=options.state_dir / "envoys",
                    xds_address=bound.host,
                    xds_port=bound.port,
                    report=lambda event: core.appender("infra")([event]),
                )
            publisher = _Publisher(state, readiness, views, infra)
            core.subscribe(publisher.publish)
            made: list[Source] = []
            shown = AdminSources(
                state=state,
                readiness=readiness,
                registry=make_registry(core, readiness),
                lag=lag,
                proxies=server.statistics,
                infra=lambda: infra.statistics() if infra is not None else {},
                sources=lambda: {source.name: source.statistics() for source in made},
                debug_from_anywhere=options.debug_from_anywhere,
            )
            async with _admin(shown, options.admin) as admin:
                readiness.fulfil("admin")
                group.start_soon(_beat, lag)
                if options.replay is not None:
                    publisher.publish_all()
                else:
                    group.start_soon(_sync_log, log)
                    group.start_soon(journal.run)
                    await _start(core, options, more_sources or {})
                    publisher.publish_all()
                    if infra is not None:
                        group.start_soon(infra.run)
                    if options.files is not None:
                        made.append(_files_source(options.files, secrets)(core))
                    made.extend(make(core) for _, make in (more_sources or {}).values())
                    for source in made:
                        group.start_soon(source.run)
                plane = ControlPlane(options, core, readiness, views, server, admin, made, infra, group.cancel_scope)
                try:
                    yield plane
                finally:
                    readiness.stop()
                    with anyio.CancelScope(shield=True), anyio.move_on_after(_SHUTDOWN_SECONDS):
                        await server.stop()
                        if options.replay is None:
                            await journal.flush()
        finally:
            group.cancel_scope.cancel()
    log.close()


async def _start(core: Core, options: RunOptions, more: Mapping[str, tuple[Sequence[str], MakeSource]]) -> None:
    sources = {FilesSource.name: tuple(KINDS)} if options.files is not None else {}
    sources.update({name: tuple(kinds) for name, (kinds, _) in more.items()})
    await core.append(
        "controlplane",
        [ControlPlaneStarted(version=version("controlplane"), settings=options.settings(), sources=sources)],
    )


async def _listen(server: XdsServer, address: HostPort) -> HostPort:
    try:
        port = await server.start(address.host, address.port)
    except OSError as error:
        raise ControlPlaneError(
            f"--xds {address}: {error.strerror}; stop what listens there, or use another port"
        ) from error
    _log.info("xds_listening", address=f"{address.host}:{port}")
    return HostPort(address.host, port)


@asynccontextmanager
async def _admin(shown: AdminSources, address: HostPort) -> AsyncIterator[HostPort]:
    runner = web.AppRunner(Admin(shown).application(), access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    try:
        site = web.TCPSite(runner, address.host, address.port)
        try:
            await site.start()
        except OSError as error:
            text = f"--admin {address}: {error.strerror}; stop what listens there, or use another port"
            raise ControlPlaneError(text) from error
        bound = HostPort(address.host, runner.addresses[0][1])
        _log.info("admin_listening", address=str(bound))
        yield bound
    finally:
        with anyio.CancelScope(shield=True):
            await runner.cleanup()


async def _beat(lag: LoopLag) -> None:
    while True:
        lag.beat()
        await anyio.sleep(0.5)


async def _sync_log(log: Log[AnyEvent]) -> None:
    while True:  # noqa: ASYNC110 (the log says when it wants to be synced again)
        await anyio.sleep(log.sync_if_due(monotonic()))


async def serve(options: RunOptions) -> None:
    """Run until SIGTERM or SIGINT, then end within five seconds."""
    async with running(options) as plane:
        with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            async for number in signals:
                _log.info("stopping", signal=signal.Signals(number).name)
                plane.readiness.stop()
                return
