"""The protocol against a real Envoy: what only it can show."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest

from controlplane._proto.envoy.config.cluster.v3 import Cluster, ClusterDiscoveryType, ClusterEdsClusterConfig
from controlplane._proto.envoy.config.core.v3 import (
    Address,
    AggregatedConfigSource,
    ApiVersion,
    ConfigSource,
    SocketAddress,
)
from controlplane._proto.envoy.config.endpoint.v3 import (
    ClusterLoadAssignment,
    Endpoint,
    LbEndpoint,
    LocalityLbEndpoints,
)
from controlplane._proto.envoy.config.listener.v3 import Filter, FilterChain, Listener
from controlplane._proto.envoy.config.route.v3 import (
    Route,
    RouteAction,
    RouteConfiguration,
    RouteMatch,
    Vhds,
    VirtualHost,
)
from controlplane._proto.envoy.extensions.filters.http.router.v3 import Router
from controlplane._proto.envoy.extensions.filters.network.http_connection_manager.v3 import (
    HttpConnectionManager,
    HttpFilter,
    Rds,
)
from controlplane._proto.google.protobuf import Any as ProtoAny
from controlplane.xds import Settings, Views, XdsServer
from controlplane.xds.types import CLUSTER, LISTENER, LOAD_ASSIGNMENT, ROUTE_CONFIGURATION, VIRTUAL_HOST

pytestmark = pytest.mark.envoy


@pytest.mark.asyncio
async def test_smoke(start_envoy, free_port):
    events = []
    views = Views()
    server = XdsServer(views, events.append)
    port = await server.start("127.0.0.1", 0)
    envoy = await start_envoy(port, role="controlplane~ns~gw")
    views.open()
    await envoy.wait(lambda: _live(envoy))
    print(events)
    print(server.statistics())
    await server.stop()

async def _live(envoy):
    return await envoy.stat("server.live") == 1
