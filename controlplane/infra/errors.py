"""What can keep the control plane from running proxies at all. What befalls one proxy or one port is an event, not this."""

from __future__ import annotations


class InfraError(Exception):
    """Proxies cannot be run or set up as asked; the text says what to do."""
