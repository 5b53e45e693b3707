"""One gateway's resources as a static configuration, which an Envoy takes without a control plane."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from .proxy import CLUSTER, LISTENER, LOAD_ASSIGNMENT, ROUTE_CONFIGURATION, VIRTUAL_HOST, Proxy

Json = dict[str, Any]


def bootstrap(resources: Mapping[str, Mapping[str, Json]], certificate: Json | None = None) -> Json:
    """A bootstrap with virtual hosts and endpoints inline.

    Args:
        resources: By type URL and name, as the document has a gateway's.
        certificate: A TlsCertificate in place of all Secrets, of which documents hold a digest.
    """
    proxy = Proxy(deepcopy(resources))
    listeners = []
    for listener in proxy.table(LISTENER).values():
        for chain in listener["filterChains"]:
            for manager in (filter_["typedConfig"] for filter_ in chain["filters"]):
                if "rds" in manager:
                    manager["routeConfig"] = _route_configuration(proxy, manager.pop("rds")["routeConfigName"])
            if "transportSocket" in chain:
                context = chain["transportSocket"]["typedConfig"]["commonTlsContext"]
                del context["tlsCertificateSdsSecretConfigs"]
                context["tlsCertificates"] = [certificate]
        listeners.append(_plain(listener))
    runtime = {"re2.max_program_size.error_level": 4294967295}
    return {
        "admin": {"address": {"socketAddress": {"address": "127.0.0.1", "portValue": 0}}},
        "staticResources": {"listeners": listeners, "clusters": _clusters(proxy)},
        "layeredRuntime": {"layers": [{"name": "test", "staticLayer": runtime}]},
    }


def _route_configuration(proxy: Proxy, name: str) -> Json:
    hosts = [_plain(host) for key, host in proxy.table(VIRTUAL_HOST).items() if key.startswith(f"{name}/")]
    configuration = _plain(proxy.table(ROUTE_CONFIGURATION)[name], without="vhds")
    hosts += configuration.get("virtualHosts", [])
    # Clusters that do not exist are allowed, as in routes that come by RDS.
    return configuration | {"virtualHosts": hosts, "validateClusters": False}


def _clusters(proxy: Proxy) -> list[Json]:
    """Those by EDS with their endpoints inside; the others have them there."""
    assignments = proxy.table(LOAD_ASSIGNMENT)
    return [
        _plain(cluster, without="edsClusterConfig") | {"type": "STATIC", "loadAssignment": _plain(assignments[name])}
        if "edsClusterConfig" in cluster
        else _plain(cluster)
        for name, cluster in proxy.table(CLUSTER).items()
    ]


def _plain(message: Mapping[str, Any], without: str = "") -> Json:
    return {key: value for key, value in message.items() if key not in {"@type", without}}
