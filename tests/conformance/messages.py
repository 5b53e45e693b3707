"""Requests and answers, and how resources are read: strictly, so that nothing passes by being overlooked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

Json = Mapping[str, Any]


class Rejected(AssertionError):
    """Envoy would not take this configuration."""


@dataclass(frozen=True)
class Request:
    """A request, as a client sends it."""

    path: str = "/"
    """With its query."""
    host: str = "example.com"
    """The Host header: with a port where the client sends one."""
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict)
    port: int = 80
    """Of the Gateway."""
    sni: str | None = None
    """None for plain HTTP."""


@dataclass(frozen=True)
class Forward:
    """A request as its backend sees it, and what becomes of the answer."""

    path: str
    host: str
    headers: Mapping[str, str]
    response: Mapping[str, str]
    """Headers of an answer that had those of ``Proxy.ask``'s ``answered``."""


@dataclass(frozen=True)
class Answer:
    """What happens to a request."""

    status: int | None = None
    """When Envoy answers itself; 0 when the connection fails; None when the request is forwarded, some of it at least."""
    location: str = ""
    """Of a redirect."""
    response: Mapping[str, str] = field(default_factory=dict)
    """Headers that the route adds to an answer of Envoy's own."""
    shares: Mapping[str, Fraction] = field(default_factory=dict)
    """By ``namespace/service:port``, or by the status that this share gets, ``500``."""
    forwards: Mapping[str, Forward] = field(default_factory=dict)
    """By backend."""
    mirrors: Mapping[str, Fraction] = field(default_factory=dict)
    """Share of the requests that is copied, by backend."""
    timeout_s: float = 0
    """0 for none."""
    idle_timeout_s: float = 0
    """Time without a byte either way after which Envoy gives up; 0 for none."""
    rule: str = ""
    """The name of the route that matched."""

    @property
    def backend(self) -> str:
        """The one backend that gets all of it; else the status, as text."""
        if self.status is not None:
            return str(self.status)
        assert len(self.shares) == 1, f"several: {self.shares}"
        return next(iter(self.shares))

    @property
    def forward(self) -> Forward:
        """The request as its one backend sees it."""
        return self.forwards[self.backend]


def known(message: Json, names: Iterable[str], what: str) -> None:
    unknown = set(message) - set(names) - {"@type"}
    assert not unknown, f"{what} with fields that this test does not know: {sorted(unknown)}"


def one_line(value: str) -> str:
    if set(value) & set("\0\r\n"):
        raise Rejected(f"value does not match regex pattern: {value!r}")
    return value
