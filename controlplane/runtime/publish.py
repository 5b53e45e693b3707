"""What follows from a commit: the views of the proxies, the gate before them, and the Envoys that are wanted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

import structlog

from controlplane.infra import HostInfra
from controlplane.krt import Collection, Commit
from controlplane.model.services import Client
from controlplane.reducers.proxies import RejectedResource
from controlplane.runtime.core import State
from controlplane.runtime.readiness import Readiness
from controlplane.translate.resource import ClientResource, Resource
from controlplane.xds import Views

R = TypeVar("R", Client, ClientResource, RejectedResource, Resource)
S = TypeVar("S", ClientResource, Resource)
_log = structlog.get_logger(__name__)


class Publisher:
    """What follows from a commit: the views of the proxies, the gate, the infrastructure.

    A proxy is served once its class is known, and that is said by a commit: its connection has gone into the log first. While
    the log cannot be written a new proxy therefore waits, as at the gate, and readiness says why. Serving it on a guess would
    be a byte that no replay can explain; and those that are served already go on with what they have.
    """

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
        state = self._state
        # All in one go: a class's resources come and go with those who are of it.
        self._views.apply(
            ((*row.key, _served(new)) for row, new in _changes(commit, state.translation.resources)),
            ((*row.key, _served(new)) for row, new in _changes(commit, state.translation.client_resources)),
            ((row.key, _place(new)) for row, new in _changes(commit, state.rows.clients.clients)),
            seq=commit.seq,
            rejections=((*row.key, new is not None) for row, new in _changes(commit, state.rows.base.rejections)),
        )
        if self._infra is not None and state.may_be_served:
            self._want(commit)
        if state.may_be_served and not self._views.is_open:
            resources = len(state.translation.resources)
            _log.info("gate_opened", seq=commit.seq, resources=resources, stale_since=state.stale_since)
            self._views.open()
            self._readiness.checks()

    def publish_all(self) -> None:
        """What a restored state holds, which no commit says; before the first commit, so that nobody is served a part of it.

        A recorded state is served as it was, whatever came of its sources. The proxies of an earlier life are not connected to
        us, and nobody is to wait as one of them.
        """
        state = self._state
        rows, of_clients = state.translation.resources.rows(), state.translation.client_resources.rows()
        before, before_of_clients = state.untaken.before(), state.untaken_of_clients.before()
        self._views.apply(
            ((*row.key, _served(before.get(row.key, row))) for row in rows),
            ((*row.key, _served(before_of_clients.get(row.key, row))) for row in of_clients),
            seq=state.seq,
            rejections=((*row.key, True) for row in state.rows.base.rejections.rows()),
            taken=True,
        )
        self._views.apply(
            ((*row.key, _served(row)) for row in rows if row.key in before),
            ((*row.key, _served(row)) for row in of_clients if row.key in before_of_clients),
        )
        if self._recorded:
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


def _changes(commit: Commit, collection: Collection[R]) -> Iterator[tuple[R, R | None]]:
    """A row of each key that changed, and what it is now."""
    for old, new in commit.delta(collection).values():
        row = old if new is None else new
        assert row is not None
        yield row, new


def _served(row: S | None) -> S | None:
    """What is sent: nothing, where proxies reject the only form that there is."""
    return row if row is not None and row.is_served else None


def _place(client: Client | None) -> tuple[str, tuple[str, ...]] | None:
    return (client.gateway, client.class_names) if client is not None else None
