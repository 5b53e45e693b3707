"""A control plane and an Envoy with four workers under load, for tests that change what is served while it is asked for."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from controlplane.infra import bootstrap
from controlplane.runtime.serve import ControlPlane
from tests.conftest import EnvoyProcess, free_port

from .client import Request
from .folder import Folder, Objects, to_text
from .load import Load, loading
from .plane import LOOPBACK, Admin, is_settled, planning, until, until_answer

WORKERS, CONNECTIONS = 4, 16
SHOP = Request("shop.example.com")
IS_LONG = bool(os.environ.get("CONTROLPLANE_LONG"))
"""Whether all the changes are made that the promise speaks of; else fewer, that follow each other faster."""

_STATS = "cluster_manager|none_healthy|no_cluster|no_route|rejected|rq_5xx|rq_503|warming|listener_modified"


class Scene:
    """Manifests, load, and what is between them once it is started."""

    def __init__(self, folder: Folder, directory: Path, stack: AsyncExitStack) -> None:
        self.folder = folder
        self.port = free_port()
        """For the Gateway's listener."""
        self.load: Load
        self.plane: ControlPlane
        self.admin: Admin
        self.envoy: EnvoyProcess
        self.bootstrap: dict[str, Any] = {}
        """Fields of the Envoy's bootstrap beyond ours."""
        self._directory = directory
        self._stack = stack

    def save(self, name: str, what: str, *objects: Objects) -> None:
        """An edit: a file in one stroke. ``what`` is told beside failures that follow."""
        self.load.editing(what)
        self.folder.replace_text(name, to_text(*objects))

    async def start(self, *requests: Request, pause_s: float = 0.001, **load: Any) -> None:
        """Serve the folder, and ask for these, in group 0, once they are served."""
        self.plane, self.admin = await self._stack.enter_async_context(planning(self.folder.path))
        document = bootstrap("demo/web", xds_address=LOOPBACK, xds_port=self.plane.options.xds.port) | self.bootstrap
        envoy = EnvoyProcess(document, self._directory / "envoy", workers=WORKERS)
        self.envoy = await self._stack.enter_async_context(envoy)
        for request in requests:
            await until_answer(self.port, request)
        if requests:
            await self.load.start(self.port, *requests, connections=CONNECTIONS, pause_s=pause_s, **load)

    async def settled(self) -> None:
        """Returns once the Envoy has acknowledged all that there is."""
        await until("the Envoy is in step", lambda: is_settled(self.admin))

    async def clusters(self) -> set[str]:
        """Names of the clusters that the Envoy has, but for the way to the control plane."""
        dump = await self.envoy.config_dump()
        (part,) = (part for part in dump["configs"] if part["@type"].endswith("ClustersConfigDump"))
        return {entry["cluster"]["name"] for entry in part.get("dynamic_active_clusters", ())}

    async def look(self) -> dict[str, Any]:
        """What belongs beside a failure."""
        return {
            "proxies": await self.admin.json("/debug/proxies"),
            "envoy": {name: value for name, value in (await self.envoy.stats(_STATS)).items() if value},
            "log": self.envoy.log_path.read_text()[-2000:],
        }


@asynccontextmanager
async def changing(folder: Folder, tmp_path: Path) -> AsyncIterator[Scene]:
    """A scene with nothing in it but the load's process; in the end no request has failed.

    Raises:
        AssertionError: One has; the message is the report.
    """
    async with AsyncExitStack() as stack:
        scene = Scene(folder, tmp_path, stack)
        scene.load = await stack.enter_async_context(loading(scene.look))
        yield scene
        await scene.load.finish()
        totals = scene.load.totals
        print(f"{totals['requests']} requests, {totals['failures']} failures, {totals['opened']} connections")
