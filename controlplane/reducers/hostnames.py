"""How hostnames of listeners and routes meet. Source: Gateway API v1, HTTPRouteSpec.Hostnames and Listener.Hostname."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

ANY: Final = "*"
"""Stands for every hostname."""


def covers(pattern: str, hostname: str) -> bool:
    """Whether every name that ``hostname`` matches is matched by ``pattern`` as well.

    Args:
        pattern: Lower case; a DNS name, ``*.`` and one, or ``*``.
        hostname: The same form.

    Returns:
        ``*.a.com`` covers ``b.a.com``, ``c.b.a.com`` and ``*.b.a.com``, never ``a.com``.
    """
    if pattern in (ANY, hostname):
        return True
    return pattern.startswith("*.") and hostname.removeprefix("*").endswith(pattern[1:])


def intersect_hostnames(listener: str, route: tuple[str, ...]) -> tuple[str, ...]:
    """Hostnames that a route serves on a listener.

    Args:
        listener: Lower case, at most one leading ``*.``; ``*`` accepts all.
        route: Any case; empty takes the listener's.

    Returns:
        Sorted, without duplicates. Empty means *not attached*, never "all".

    Source: Gateway API v1, HTTPRouteSpec.Hostnames. Cost: O(len(route)).
    """
    if not route:
        return (listener,)
    narrower = set()
    for hostname in map(str.lower, route):
        if covers(listener, hostname):
            narrower.add(hostname)
        elif covers(hostname, listener):
            narrower.add(listener)
    return tuple(sorted(narrower))


def most_specific(hostname: str, candidates: Iterable[str]) -> str | None:
    """The candidate that covers ``hostname`` most closely: an exact name before a longer wildcard before a shorter one.

    Source: Gateway API v1, Gateway.spec.listeners (a request goes to the most specific matching listener, to it alone).
    """
    matching = [candidate for candidate in candidates if covers(candidate, hostname)]
    return max(matching, key=lambda c: (not c.startswith("*"), len(c), c), default=None)


def wider(hostname: str, within: str) -> tuple[str, ...]:
    """The patterns that cover ``hostname`` and are covered by ``within``, the closest first; ``hostname`` is not among them.

    ``a.b.com`` within ``*`` gives ``*.b.com``, ``*.com``, ``*``. Cost: O(labels).
    """
    labels = hostname.removeprefix("*.").split(".") if hostname != ANY else []
    patterns = [f"*.{'.'.join(labels[i:])}" for i in range(1, len(labels))]
    if hostname != ANY:
        patterns.append(ANY)
    return tuple(pattern for pattern in patterns if covers(within, pattern))
