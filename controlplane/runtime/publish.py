"""What follows from a commit: the views of the proxies, the gate before them, and the Envoys that are wanted."""

from __future__ import annotations

import structlog

from controlplane.infra import HostInfra
from controlplane.krt import Commit
from controlplane.runtime.core import State
from controlplane.runtime.readiness import Readiness
from controlplane.xds import Views

_log = structlog.get_logger(__name__)


class Publisher:
    """What follows from a commit: the views of the proxies, the gate, the infrastructure."""

    def __init__(
        self, state: State, readiness: Readiness, views: Views, infra: HostInfra | None, *, recorded: bool
    ) -> None:
        self._recorded = recorded
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
        """What a restored state holds, which no commit says. A recorded one is served as it was, whatever came of its sources."""
        resources = self._state.translation.resources
        self._views.apply(((*row.key, row) for row in resources.rows()), seq=self._state.seq)
        if resources.synced or self._recorded:
            self._views.open()

    def _want(self, commit: Commit) -> None:
        gateways = self._state.rows.gateways
        if not self._views.is_open or commit.deltas.keys() & {gateways.owned.name, gateways.ports.wanted.name}:
            assert self._infra is not None
            places: dict[str, list[tuple[str, int]]] = {row.key: [] for row in gateways.owned.rows()}
            for row in gateways.ports.wanted.rows():
                gateway, address, port = row.key
                places[gateway].append((address, port))
            self._infra.want_listeners(places)
            self._infra.want(places.keys())
