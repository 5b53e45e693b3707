"""What a real Envoy says of translated resources, which it is given as files.

Files instead of a server: each cluster is judged on its own, late checks of load balancers included, and a missing answer is
one that we left out.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from controlplane._proto.envoy.config.route.v3 import RouteActionHashPolicy
from controlplane.translate.document import to_document
from controlplane.translate.resource import TypeUrl
from tests.conftest import EnvoyProcess, delta_bootstrap

_REJECTED = re.compile(r"cds: cluster '([^']+)' config rejected: (.*)")
_CLOSED_PORT = 1
_HASH_POLICY = "type.googleapis.com/envoy.config.route.v3.RouteAction.HashPolicy"
MANAGER = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
ROUTER = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"


@dataclass
class Given:
    """What an Envoy is given.

    Args:
        clusters: Encoded, by name.
        assignments: Load assignments, encoded, by cluster. A cluster that has none here gets no answer, for 0.2 s.
        secrets: Encoded, by name; one that is not here gets no answer, for 0.2 s.
        routes: Documents of routes that a listener serves.
    """

    clusters: Mapping[str, bytes]
    assignments: Mapping[str, bytes] = field(default_factory=dict)
    secrets: Mapping[str, bytes] = field(default_factory=dict)
    routes: Iterable[Mapping[str, Any]] = ()
    resolvers: Mapping[str, int] = field(default_factory=dict)
    """Port of 127.0.0.1 that resolves the names of a cluster, by cluster."""


class Loaded:
    """A real Envoy that has taken what it was given, or not."""

    def __init__(self, envoy: EnvoyProcess, port: int, names: Iterable[str]) -> None:
        self.envoy = envoy
        self.port = port
        self._names = set(names)

    async def active(self) -> set[str]:
        """Names of the clusters that serve."""
        dump = await self.envoy.config_dump()
        parts = (part.get("dynamic_active_clusters", ()) for part in dump["configs"])
        return self._names & {entry["cluster"]["name"] for part in parts for entry in part}

    async def rejected(self) -> dict[str, str]:
        """Clusters that never came to serve, and why as far as the log says it."""
        reasons = dict(_REJECTED.findall(self.envoy.log_path.read_text()))
        missing = self._names - await self.active()
        return {name: reasons.get(name, "does not warm") for name in sorted(missing | reasons.keys())}

    async def warmed(self, patience_s: float) -> None:
        """Returns once nothing is warming any more, or when it took too long."""

        async def is_warm() -> bool:
            stats = await self.envoy.stats("cluster_manager")
            done = stats["cluster_manager.cds.update_success"] + stats["cluster_manager.cds.update_rejected"]
            return bool(done) and not stats["cluster_manager.warming_clusters"]

        with suppress(TimeoutError):
            await self.envoy.wait(is_warm, patience_s)

    async def request(self, path: str, host: str = "a.test") -> tuple[int, str]:
        """Status and body through the listener."""
        return await self.envoy.request(self.port, host, path)


@asynccontextmanager
async def load(given: Given, directory: Path, port: int, patience_s: float = 60.0) -> AsyncIterator[Loaded]:
    """An Envoy with the given resources, its listener on this port of 127.0.0.1.

    Args:
        given: They.
        directory: Empty, for files.
        port: A free one.
        patience_s: How long clusters may warm.
    """
    files = _Files(directory, given)
    clusters = [files.rewrite(to_document(TypeUrl.CLUSTER, body)) for body in given.clusters.values()]
    bootstrap = delta_bootstrap(_CLOSED_PORT, role="none")
    bootstrap["dynamic_resources"].pop("lds_config")
    bootstrap["dynamic_resources"]["cds_config"] = files.source("clusters", clusters)
    bootstrap["static_resources"]["listeners"] = [_listener(port, list(given.routes))]
    async with EnvoyProcess(bootstrap, directory / "envoy") as envoy:
        loaded = Loaded(envoy, port, given.clusters)
        await loaded.warmed(patience_s)
        yield loaded


def route(name: str, policies: Iterable[RouteActionHashPolicy] = ()) -> dict[str, Any]:
    """A route of which requests for ``/name`` go to the cluster, hashed by these policies."""
    hashed = [to_document(_HASH_POLICY, bytes(policy)) for policy in policies]
    for document in hashed:
        del document["@type"]
    action = {"cluster": name, "timeout": "5s", "hash_policy": hashed}
    return {"match": {"prefix": f"/{name}"}, "route": action}


class _Files:
    """Documents with their config sources led to files, as far as there is something to put into one."""

    def __init__(self, directory: Path, given: Given) -> None:
        directory.mkdir(parents=True)
        self._directory = directory
        self._given = given

    def source(self, name: str, resources: list[Any]) -> dict[str, Any]:
        path = self._directory / f"{name.replace('/', '~')}.json"
        path.write_text(json.dumps({"version_info": "1", "resources": resources}))
        return {"path_config_source": {"path": str(path)}, "resource_api_version": "V3"}

    def rewrite(self, cluster: Any) -> Any:
        name = cluster["name"]
        if "edsClusterConfig" in cluster and name in self._given.assignments:
            assignment = to_document(TypeUrl.LOAD_ASSIGNMENT, self._given.assignments[name])
            cluster["edsClusterConfig"] = {"edsConfig": self.source(f"endpoints-{name}", [assignment])}
        if name in self._given.resolvers:
            cluster["clusterType"]["typedConfig"]["typedDnsResolverConfig"] = _resolver(self._given.resolvers[name])
        return self._walk(cluster)

    def _walk(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._walk(item) for item in value]
        if not isinstance(value, dict):
            return value
        if "sdsConfig" in value and (body := self._given.secrets.get(value["name"])) is not None:
            secret = to_document(TypeUrl.SECRET, body)
            return {**value, "sdsConfig": self.source(f"secret-{value['name']}", [secret])}
        return {key: "0.2s" if key == "initialFetchTimeout" else self._walk(item) for key, item in value.items()}


def _resolver(port: int) -> dict[str, Any]:
    return {
        "name": "envoy.network.dns_resolver.cares",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig",
            "resolvers": [{"socket_address": {"address": "127.0.0.1", "port_value": port}}],
        },
    }


def _listener(port: int, routes: list[Any]) -> dict[str, Any]:
    manager = {
        "@type": MANAGER,
        "stat_prefix": "test",
        "route_config": {
            "name": "test",
            "validate_clusters": False,
            "virtual_hosts": [{"name": "test", "domains": ["*"], "routes": routes}],
        },
        "http_filters": [{"name": "router", "typed_config": {"@type": ROUTER}}],
    }
    return {
        "name": "test",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
    }
