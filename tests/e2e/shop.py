"""A folder that changes at random while every host in it keeps a backend that answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count
from random import Random
from typing import Any

from controlplane.runtime.document import for_only_client
from tests.conformance.manifests import Manifest, backend, filter_, gateway, http_route, listener, rule

from .client import Request
from .folder import backend_service, to_text
from .istio import destination_rule
from .relay import label_of

HOSTS, SERVICES, EXTRAS = 6, 4, 4
STAMP = Request("stamp.example.com")
"""Its answers carry the number of the save, as ``x-save``."""


@dataclass
class Shop:
    """What lies in the folder: hosts that are always there and always have a backend that answers; all else changes.

    Args:
        port: Of the listener.
        backends: Ports of the backends.
        random: Decides.
    """

    port: int
    backends: list[int]
    random: Random
    saves: int = 0
    services: dict[str, int] = field(default_factory=dict)
    """The port behind each."""
    routes: dict[str, list[str]] = field(default_factory=dict)
    """The services of each host, in weight from 1 up."""
    timeouts: dict[str, int] = field(default_factory=dict)
    """Of connections, in seconds, where a service has a rule."""
    extras: set[str] = field(default_factory=set)
    """Hosts that are there at times."""
    _numbers: count[int] = field(default_factory=count)

    def __post_init__(self) -> None:
        for _ in range(SERVICES):
            self._add_service()
        self.routes = {f"h{number}.example.com": [self._a_service()] for number in range(HOSTS)}

    def _add_service(self) -> str:
        name = f"service-{next(self._numbers)}"
        self.services[name] = self.random.choice(self.backends)
        return name

    def _a_service(self) -> str:
        return self.random.choice(sorted(self.services))

    def edit(self) -> str:
        """One save's change; what it was."""
        self.saves += 1
        edit = self.random.choice([self._move, self._split, self._replace, self._endpoints, self._policy, self._extra])
        edit()
        return f"{self.saves}: {edit.__name__.strip('_')}"

    def _move(self) -> None:
        self.routes[self.random.choice(sorted(self.routes))] = [self._a_service()]

    def _split(self) -> None:
        self.routes[self.random.choice(sorted(self.routes))] = self.random.sample(sorted(self.services), 2)

    def _replace(self) -> None:
        """A service goes, another comes, and every route moves with it, in one save."""
        old, new = self._a_service(), self._add_service()
        del self.services[old]
        self.timeouts.pop(old, None)
        for host, names in self.routes.items():
            self.routes[host] = [new if name == old else name for name in names]

    def _endpoints(self) -> None:
        self.services[self._a_service()] = self.random.choice(self.backends)

    def _policy(self) -> None:
        self.timeouts[self._a_service()] = self.random.randrange(1, 60)

    def _extra(self) -> None:
        self.extras ^= {f"x{self.random.randrange(EXTRAS)}.example.com"}

    def requests(self) -> list[Request]:
        """What must be answered with 200 at all times."""
        return [Request(host) for host in self.routes]

    def text(self) -> str:
        """All of it in one file, so that a save is one."""
        marking = filter_("ResponseHeaderModifier", set=[{"name": "x-save", "value": str(self.saves)}])
        first = next(iter(self.services))
        made: list[Manifest] = [
            gateway(listener(port=self.port)),
            http_route("stamp", rule(to=first, filters=[marking]), hostnames=[STAMP.host]),
        ]
        for name, port in self.services.items():
            made += backend_service(name, port)
        for name, seconds in self.timeouts.items():
            pool = {"tcp": {"connectTimeout": f"{seconds}s"}}
            made.append(destination_rule(name, f"{name}.demo.svc.cluster.local", connectionPool=pool))
        for host, names in [*self.routes.items(), *((host, [first]) for host in sorted(self.extras))]:
            refs = [backend(name, weight=weight) for weight, name in enumerate(names, 1)]
            made.append(http_route(host.partition(".")[0], rule(to=refs), hostnames=[host]))
        return to_text(made)


def versions_of(document: dict[str, Any], gateway_key: str = "demo/web") -> dict[tuple[str, str], str]:
    """What the one client of a Gateway is served: version by type and name."""
    return {
        (label_of(type_url), name): entry["version"]
        for type_url, resources in for_only_client(document)["gateways"][gateway_key].items()
        for name, entry in resources.items()
    }
