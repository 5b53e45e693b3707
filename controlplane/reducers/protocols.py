"""The protocols that listeners of ours can have. Sources: Gateway API v1, ProtocolType; Istio's waypoints."""

from __future__ import annotations

from typing import Final

PROXY: Final = "istio.io/PROXY"
"""PROXY protocol from a node's proxy, which has ended the mutual TLS; normally on port 15088."""
HBONE: Final = "HBONE"
"""CONNECT over mutual TLS; normally on port 15008."""
GATEWAY_PROTOCOLS: Final = ("HTTP", "HTTPS")
WAYPOINT_PROTOCOLS: Final = (PROXY, HBONE)
"""The first of them that a waypoint has is the one that says whom it captures."""
