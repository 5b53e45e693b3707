"""The proxies: whether and how Envoys are run. See ``host.py`` for Envoys on this machine."""

from __future__ import annotations

from controlplane.infra.binary import find_envoy
from controlplane.infra.bootstrap import XDS_CLUSTER, bootstrap, to_yaml
from controlplane.infra.client_tls import ClientTls, secret_documents
from controlplane.infra.envoy import EnvoyState, EnvoyStatistics
from controlplane.infra.errors import InfraError
from controlplane.infra.host import HostInfra
from controlplane.infra.listeners import ListenerKey

__all__ = [
    "XDS_CLUSTER",
    "ClientTls",
    "EnvoyState",
    "EnvoyStatistics",
    "HostInfra",
    "InfraError",
    "ListenerKey",
    "bootstrap",
    "find_envoy",
    "secret_documents",
    "to_yaml",
]
