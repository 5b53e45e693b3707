"""Clusters and listeners that an Envoy does not take, and a scene for them.

Nothing that can be written reaches an Envoy like this: the checks catch it, or the translation bounds it. So the translation is
led astray here, for objects that carry a mark.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

import pytest

from controlplane._proto.envoy.config.cluster.v3 import Cluster, ClusterLbPolicy, ClusterMaglevLbConfig
from controlplane._proto.envoy.config.listener.v3 import Filter, FilterChain, FilterChainMatch
from controlplane.model.ir import ListenerChain
from controlplane.model.istio import LoadBalancerSettings
from controlplane.runtime.options import HostPort
from controlplane.translate import cluster as cluster_module
from controlplane.translate import listener as listener_module
from tests.conformance.manifests import Manifest, gateway, listener
from tests.conftest import EnvoyProcess

from .backends import serving_all
from .folder import Folder
from .istio import destination_rule
from .plane import LOOPBACK, eager_envoy_at, free_port, is_settled, planning, until
from .rejecting import FOLLOW_S, Told
from .relay import Relay, relaying

EnvoyAt = Callable[[int, Path], EnvoyProcess]
MARKS: Final = {"wedges": 11, "is refused": 13, "spoils its response": 17}
"""What a cluster does, by the size of the Maglev table in its DestinationRule."""
SAME, NAMELESS = "same.example.com", "nameless.example.com"
"""Hostnames of HTTPS listeners: one is matched as ``TWIN`` is, the other has a filter without a name."""
TWIN: Final = "a.example.com"


def spoil_cluster(
    real: Callable[[Cluster, LoadBalancerSettings | None], None],
    cluster: Cluster,
    settings: LoadBalancerSettings | None,
) -> None:
    """As it should be; where the size is a mark, one of the ways in which Envoy does not take a cluster."""
    real(cluster, settings)
    size = cluster.maglev_lb_config.table_size if cluster.maglev_lb_config is not None else None
    if size == MARKS["wedges"]:  # checked late: no further answer to CDS (envoy-observed, trap 1)
        cluster.maglev_lb_config = ClusterMaglevLbConfig(table_size=10)
    elif size == MARKS["is refused"]:  # the other clusters of its response are taken
        cluster.lb_policy, cluster.maglev_lb_config = ClusterLbPolicy.CLUSTER_PROVIDED, None
    elif size == MARKS["spoils its response"]:  # checked first: nothing of its response is taken
        cluster.maglev_lb_config = ClusterMaglevLbConfig(table_size=5_000_012)


def spoil_chain(real: Callable[[ListenerChain], FilterChain], chain: ListenerChain) -> FilterChain:
    """As it should be; for a hostname with a mark, what Envoy does not take."""
    found = real(chain)
    if chain.hostname == SAME:  # as another chain
        found.filter_chain_match = FilterChainMatch(server_names=[TWIN])
    elif chain.hostname == NAMELESS:
        found.filters = [Filter(name="")]
    return found


def lead_astray(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on the translation is wrong for what has a mark."""
    monkeypatch.setattr(cluster_module, "set_load_balancer", partial(spoil_cluster, cluster_module.set_load_balancer))
    monkeypatch.setattr(listener_module, "_filter_chain", partial(spoil_chain, listener_module._filter_chain))


def service_rule(service: str, kind: str = "") -> Manifest:
    """The rule of a service: one that is taken, or one that does what ``kind`` says."""
    hashing = {"consistentHash": {"useSourceIp": True, "maglev": {"tableSize": MARKS[kind]}}} if kind else None
    host = f"{service}.demo.svc.cluster.local"
    return destination_rule(service, host, loadBalancer=hashing or {"simple": "LEAST_REQUEST"})


@dataclass
class Scene:
    """A control plane in this process on its log, an Envoy, and a relay between them."""

    folder: Folder
    path: Path
    ports: list[int]
    """Four, for listeners."""
    xds: HostPort
    backend_port: int
    life: AsyncExitStack
    """Of the control plane."""
    told: Told = field(init=False)
    relay: Relay = field(init=False)
    envoy: EnvoyProcess = field(init=False)

    async def live(self) -> None:
        """A control plane, on the log that the one before has left."""
        await self.life.aclose()
        _, admin = await self.life.enter_async_context(planning(self.folder.path, self.path / "log", xds=self.xds))
        self.told = Told(admin)

    async def is_back(self, streams: int, proxies: int) -> None:
        """Returns once there was a further stream that has asked for everything, and all are in step."""

        async def look() -> bool:
            later = self.relay.streams[streams:]
            there = later and "VirtualHost" in later[-1].asked_for
            return bool(there) and await is_settled(self.told.admin, proxies)

        await until("the Envoys are back and in step", look, FOLLOW_S)

    @property
    def port(self) -> int:
        """Of the listener that is always there."""
        return self.ports[0]

    async def in_step(self, proxies: int = 1) -> None:
        """Returns once the Envoys have taken all that there is."""
        await until("the Envoy is in step", lambda: is_settled(self.told.admin, proxies), FOLLOW_S)

    async def policies(self) -> dict[str, str]:
        """How each cluster balances, by its service."""
        dump = await self.envoy.config_dump()
        (found,) = (part for part in dump["configs"] if part["@type"].endswith("ClustersConfigDump"))
        clusters = [entry["cluster"] for entry in found.get("dynamic_active_clusters", ())]
        return {made["name"].split("_")[2]: made.get("lb_policy", "ROUND_ROBIN") for made in clusters}

    def rejections(self, since: int = 0) -> list[tuple[str, str]]:
        """What was rejected on the streams since then."""
        return [found for stream in self.relay.streams[since:] for found in stream.rejections]

    async def until_told(self, key: str, words: str) -> dict[str, tuple[str, str, str]]:
        """The conditions of an object, once one of them has these words."""
        found: dict[str, tuple[str, str, str]] = {}

        async def look() -> bool:
            nonlocal found
            found = await self.told.conditions(key)
            return any(words.lower() in message.lower() for _, _, message in found.values())

        await until(f"the status of {key} tells of {words}", look, FOLLOW_S, lambda: found)
        return found


@asynccontextmanager
async def scene(
    folder: Folder, tmp_path: Path, before: Callable[[Scene], None] = lambda _: None, envoy_at: EnvoyAt = eager_envoy_at
) -> AsyncIterator[Scene]:
    """With a Gateway of one listener, and a backend.

    Args:
        folder: For the manifests.
        tmp_path: For everything else.
        before: Done before there is a control plane.
        envoy_at: Makes the Envoy.
    """
    async with AsyncExitStack() as stack:
        backends = await stack.enter_async_context(serving_all("v1"))
        life = await stack.enter_async_context(AsyncExitStack())
        ports, xds = [free_port() for _ in range(4)], HostPort(LOOPBACK, free_port())
        folder.write("gateway.yaml", gateway(listener(port=ports[0])))
        found = Scene(folder, tmp_path, ports, xds, backends["v1"].port, life)
        before(found)
        await found.live()
        found.relay = await stack.enter_async_context(relaying(xds.port))
        found.envoy = await stack.enter_async_context(envoy_at(found.relay.port, tmp_path / "envoy"))
        yield found
