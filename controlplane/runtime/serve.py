"""One process wired together: log, graph, sources, xDS, proxies, admin server, and the end of it all.

The order of the start is the order of trust: the log is opened and folded, the servers listen (and hold whoever comes), the
incarnation begins, and then the sources. The gate opens at the first commit in which everything is synced; where the log has a
complete state that may be served, with the incarnation.
"""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

import anyio
import structlog

from controlplane.infra import HostInfra
from controlplane.log import LogError, SegmentedLog
from controlplane.model.events import ControlPlaneStarted, ListenerFailed, ListenerRecovered
from controlplane.model.objects import KINDS
from controlplane.reducers import known_objects
from controlplane.runtime.admin import AdminSources, LoopLag, serve_admin
from controlplane.runtime.core import Core, State
from controlplane.runtime.errors import ControlPlaneError
from controlplane.runtime.freshness import servable_since
from controlplane.runtime.held import describe_streams
from controlplane.runtime.metrics import make_registry
from controlplane.runtime.narration import Line, follow
from controlplane.runtime.opening import open_all, resolver
from controlplane.runtime.options import HostPort, RunOptions
from controlplane.runtime.private_keys import PrivateKeys
from controlplane.runtime.proxies import ProxyJournal, follow_rejections, next_number, unbindable
from controlplane.runtime.publish import Publisher
from controlplane.runtime.readiness import Readiness
from controlplane.runtime.upkeep import Upkeep, persist, sync_log
from controlplane.runtime.xds_metrics import XdsCollector
from controlplane.sources import FilesSource
from controlplane.xds import (
    Certificates,
    ClientStatus,
    DeliveryWithheld,
    Event,
    Health,
    IdentityRule,
    ProxyConnected,
    ProxyRejected,
    Views,
    XdsServer,
    everyone,
    this_machine,
)

_SHUTDOWN_SECONDS = 4.0
_STREAM_SECONDS = 1.0
"""For streams to end by themselves; Envoys that we run have three seconds after that."""
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
PlannedSource = tuple[Sequence[str], MakeSource]
"""The kinds that a source promises to sync, and how it is made."""
MoreSources = Mapping[str, PlannedSource]


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


def _files_source(folder: Path, keys: PrivateKeys) -> MakeSource:
    def make(core: Core) -> Source:
        known = known_objects(core.state.rows.base, FilesSource.name)
        return FilesSource(
            folder,
            keys.appender(FilesSource.name, core.appender(FilesSource.name)),
            known.objects,
            known.rejected,
            remarks=known.remarks,
            put_private_key=keys.keeper(FilesSource.name),
        )

    return make


def _planned_sources(options: RunOptions, keys: PrivateKeys, more: MoreSources) -> dict[str, PlannedSource]:
    planned: dict[str, PlannedSource] = {}
    if options.files is not None:
        planned[FilesSource.name] = (tuple(KINDS), _files_source(options.files, keys))
    return planned | dict(more)


@asynccontextmanager
async def running(options: RunOptions, more_sources: MoreSources = MappingProxyType({})) -> AsyncIterator[ControlPlane]:
    """A control plane that runs until the block ends.

    Args:
        options: How.
        more_sources: Other sources by name, with the kinds that each promises to sync.

    Raises:
        ControlPlaneError: It cannot start; the message says what to do.
        LogError: The log is damaged, or another process has it.
    """
    options.check()
    certificates = options.security.certificates()
    async with AsyncExitStack() as stack:
        state, log, secrets = open_all(options)
        stack.callback(log.close)
        core = Core(log, state)
        keys = PrivateKeys(secrets)
        readiness = Readiness(core, recorded=options.replay is not None)
        journal = ProxyJournal(core)
        views = Views(resolver(secrets))
        lag = LoopLag()
        facts = _Facts(state, journal)
        recorded = frozenset(row.key for row in state.rows.base.proxies.rows()) if options.replay is not None else ()
        access = everyone if options.client_status_from_anywhere else this_machine
        server = XdsServer(
            views,
            on_event=facts,
            settings=options.security.settings,
            services=(Health(readiness.ready), ClientStatus(lambda: server, access=access)),
            first_stream=next_number(recorded),
            certificates=certificates,
            identities=IdentityRule(options.mesh.trust_domain),
        )
        group = await stack.enter_async_context(anyio.create_task_group())
        stack.callback(group.cancel_scope.cancel)
        readiness.expect("admin", "the admin port is not bound yet")
        readiness.expect("xds", "the xDS port is not bound yet")

        bound = await _listen(server, options.xds)
        stack.push_async_callback(_stop, server, readiness, facts)
        readiness.fulfil("xds")
        if certificates is not None:
            readiness.observe("xds-certificates", lambda: _trouble(certificates))
            group.start_soon(certificates.follow)
            if not certificates.asks_clients and not options.xds.is_loopback:
                _log.warning(
                    "xds_clients_not_checked",
                    detail="whoever reaches the xDS port can read what any Gateway is served, private keys included",
                    remedy="--xds-client-ca",
                )
        infra = _infra(options, bound, core)
        facts.infra = infra
        publisher = Publisher(state, readiness, views, infra, recorded=options.replay is not None)
        publisher.publish_all()
        core.subscribe(publisher.publish)
        follow(core, _say)
        follow_rejections(core, journal)
        made: list[Source] = []
        registry = make_registry(core, readiness, recorded)
        registry.register(XdsCollector(server))
        upkeep = _upkeep(options, core, keys)
        if upkeep is not None:
            readiness.add(upkeep.checks)
        shown = AdminSources(
            core=core,
            readiness=readiness,
            registry=registry,
            lag=lag,
            proxies=lambda: describe_streams(state, server.statistics()),
            infra=lambda: infra.statistics() if infra is not None else {},
            sources=lambda: {source.name: source.statistics() for source in made},
            retry=None if options.replay is not None else journal.retry,
            log=lambda: upkeep.document() if upkeep is not None else {},
            debug_from_anywhere=options.debug_from_anywhere,
        )
        admin = await stack.enter_async_context(serve_admin(shown, options.admin))
        readiness.fulfil("admin")

        group.start_soon(_beat, lag)
        group.start_soon(persist, "xds", journal.run)
        if options.replay is None:
            group.start_soon(sync_log, log)
            planned = _planned_sources(options, keys, more_sources)
            await core.append("controlplane", [_started(options, state, planned)])
            journal.end_all()
            if upkeep is not None:
                group.start_soon(upkeep.run)
            if infra is not None:
                group.start_soon(infra.run)
            made.extend(make(core) for _, make in planned.values())
            for source in made:
                group.start_soon(persist, source.name, source.run)
        yield ControlPlane(options, core, readiness, views, server, admin, made, infra)
        readiness.stop()


def _trouble(certificates: Certificates) -> str:
    """What a person has to do about certificates; empty is nothing."""
    if certificates.failure is not None:
        return f"{certificates.failure}; the certificates from before are served"
    if certificates.expires <= datetime.now(UTC):
        return f"the certificate of the xDS port expired at {certificates.expires.isoformat()}; renew it"
    return ""


def _started(options: RunOptions, state: State, planned: Mapping[str, PlannedSource]) -> ControlPlaneStarted:
    kinds = {name: tuple(kinds) for name, (kinds, _) in planned.items()}
    awaited = {kind for of_one in kinds.values() for kind in of_one}
    since = servable_since(state, awaited) if options.serve_from_log else ""
    return ControlPlaneStarted(version("controlplane"), options.settings(), kinds, since)


def _upkeep(options: RunOptions, core: Core, keys: PrivateKeys) -> Upkeep | None:
    """None where the log is not on a disk, or is not ours to write."""
    if not isinstance(core.log, SegmentedLog):
        return None
    return Upkeep(core, core.log, keys, max_bytes=options.log_max_bytes, max_age=options.log_max_age)


def _say(line: Line) -> None:
    """What is wrong with a listener or a resource stands in a status that nobody may be looking at."""
    if line.kind == "wrong" and line.about == "listener":
        _log.warning("listener_not_programmed", detail=line.text)
    if line.kind == "wrong" and line.about == "resource":
        _log.error("resource_rejected", detail=line.text)


class _Facts:
    """Where the xDS server's facts go: to the log, and to whoever runs the Envoys."""

    def __init__(self, state: State, journal: ProxyJournal) -> None:
        self._state = state
        self.journal = journal
        self.infra: HostInfra | None = None

    def __call__(self, fact: Event) -> None:
        owned = self._state.rows.gateways.owned
        if isinstance(fact, ProxyConnected) and owned.synced and owned.get(fact.scope) is None:
            known = ", ".join(row.key for row in owned.rows()) or "none"
            _log.warning("proxy_of_unknown_gateway", proxy=fact.proxy, gateway=fact.scope, gateways=known)
        if isinstance(fact, ProxyRejected):
            _log.error(
                "proxy_rejected",
                proxy=fact.proxy,
                gateway=fact.scope,
                type=fact.type_url.rpartition(".")[2],
                names=[name for name, _ in fact.resources],
                message=fact.message,
            )
        if isinstance(fact, DeliveryWithheld):
            _log.warning(
                "delivery_withheld",
                proxy=fact.proxy,
                gateway=fact.scope,
                type=fact.type_url.rpartition(".")[2],
                name=fact.name,
                clusters=fact.clusters,
            )
        self.journal.put(fact)
        if self.infra is not None and isinstance(fact, ProxyRejected):
            for gateway, address, port in unbindable(fact):
                self.infra.note_bind_failure(gateway, address, port, fact.message)


async def _stop(server: XdsServer, readiness: Readiness, facts: _Facts) -> None:
    """Unready first, then the streams, then what they had to say; whatever has not ended by then is left."""
    readiness.stop()
    with anyio.CancelScope(shield=True), anyio.move_on_after(_SHUTDOWN_SECONDS):
        await server.stop(_STREAM_SECONDS)
        with suppress(LogError):
            await facts.journal.flush()


def _infra(options: RunOptions, xds: HostPort, core: Core) -> HostInfra | None:
    if options.infra == "none" or options.replay is not None:
        return None

    async def report(event: ListenerFailed | ListenerRecovered) -> None:
        await persist("infra", lambda: core.append("infra", [event]))

    return HostInfra(
        state_dir=options.state_dir / "envoys",
        xds_address=xds.host,
        xds_port=xds.port,
        report=report,
        tls=options.security.envoys,
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


async def _beat(lag: LoopLag) -> None:
    while True:
        lag.beat()
        await anyio.sleep(0.5)


async def serve(options: RunOptions) -> None:
    """Run until SIGTERM, SIGINT, or SIGHUP of a terminal that closes; then end within five seconds."""
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
        async with running(options):
            async for number in signals:
                _log.info("stopping", signal=signal.Signals(number).name)
                return
