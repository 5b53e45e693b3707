"""Where Envoy takes what we serve from."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from controlplane._proto.envoy.config.core.v3 import AggregatedConfigSource, ApiVersion, ConfigSource

FETCH_TIMEOUT: Final = timedelta(seconds=5)
"""How long one lost answer can hold up a cluster, and with it every later answer of its kind (envoy-observed, "CDS ACK")."""


def ads(initial_fetch_timeout: timedelta | None = None) -> ConfigSource:
    """The config source of everything that we serve: the stream that this came on."""
    return ConfigSource(
        ads=AggregatedConfigSource(),
        resource_api_version=ApiVersion.V3,
        initial_fetch_timeout=initial_fetch_timeout,
    )
