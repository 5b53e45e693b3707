"""A small world of Gateway API's objects that changes at random; what follows from it, ``oracle`` knows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any, Final

from tests.conformance.manifests import (
    Manifest,
    backend,
    filter_,
    gateway,
    gateway_class,
    http_route,
    listener,
    manifest,
    reference_grant,
    rule,
)

from .client import Request
from .folder import backend_service, endpoints

STABLE: Final = Request("stable.example.com", "/always")
BACKENDS: Final = ("b0", "b1", "b2", "b3", "b4", "b5")
SERVICES: Final = ("demo/s0", "demo/s1", "demo/s2", "demo/s3", "other/s4")
HOSTNAMES: Final = (
    ("a.example.com",), ("b.example.com",), ("x.b.example.com",), ("*.example.com",), ("*.b.example.com",), ("d.example.org",),
    ("*.example.org", "a.example.com"), ("a.example.com", "d.example.org"), (),
)  # fmt: skip
PATHS: Final = (
    ("PathPrefix", "/"), ("PathPrefix", "/"), ("PathPrefix", "/one"), ("PathPrefix", "/one/two"), ("PathPrefix", "/deep"),
    ("Exact", "/one"), ("Exact", "/two/x"), ("RegularExpression", "/[a-z]+"), ("RegularExpression", "/one.*"),
)  # fmt: skip
MAIN_HOSTNAMES: Final = (None, "*.example.com")
NARROW_HOSTNAMES: Final = ("", "a.example.com", "*.b.example.com", "*.example.org")
"""Empty: there is no such listener."""
ROUTES, FEW_ROUTES = 8, 5


@dataclass(frozen=True)
class Match:
    """What a rule selects."""

    type: str
    value: str
    env: str = ""
    method: str = ""

    def document(self) -> Manifest:
        """As in a manifest."""
        made: Manifest = {"path": {"type": self.type, "value": self.value}}
        if self.env:
            made["headers"] = [{"name": "X-Env", "value": self.env}]
        return made | ({"method": self.method} if self.method else {})


@dataclass(frozen=True)
class Rule:
    """What a route does with a request."""

    matches: tuple[Match, ...]
    targets: tuple[tuple[str, int], ...] = ()
    """Service and weight."""
    redirect: bool = False
    mark: str = ""
    """A header of the answer."""
    rewrite: str | None = None
    """What replaces the prefix; of rules with one match, of a prefix, only."""
    mirror: str = ""
    """A Service that gets copies."""
    times_out: bool = False

    def document(self) -> Manifest:
        """As in a manifest."""
        filters: list[Manifest] = []
        if self.mark:
            filters.append(filter_("ResponseHeaderModifier", set=[{"name": "X-Mark", "value": self.mark}]))
        if self.redirect:
            filters.append(filter_("RequestRedirect", hostname="moved.example.org"))
        if self.rewrite is not None:
            path = {"type": "ReplacePrefixMatch", "replacePrefixMatch": self.rewrite}
            filters.append(filter_("URLRewrite", path=path))
        if self.mirror and not self.redirect:
            filters.append(filter_("RequestMirror", backendRef=reference(self.mirror)))
        fields: dict[str, Any] = {"filters": filters} if filters else {}
        if self.times_out:
            fields["timeouts"] = {"request": "300ms"}
        targets = [] if self.redirect else [reference(service, weight=weight) for service, weight in self.targets]
        return rule(*(match.document() for match in self.matches), to=targets or None, **fields)


@dataclass(frozen=True)
class Route:
    """An HTTPRoute."""

    namespace: str
    hostnames: tuple[str, ...]
    section: str
    """Name of a listener; empty for all."""
    rules: tuple[Rule, ...]
    created: str = ""

    def document(self, name: str) -> Manifest:
        """As a manifest."""
        parent = {"name": "web", "namespace": "demo"} | ({"sectionName": self.section} if self.section else {})
        metadata = {"creationTimestamp": self.created} if self.created else {}
        rules = (one.document() for one in self.rules)
        return http_route(
            name, *rules, hostnames=self.hostnames, parents=[parent], namespace=self.namespace, **metadata
        )


def reference(service: str, **fields: Any) -> Manifest:
    """A reference to a Service of any namespace."""
    namespace, _, name = service.partition("/")
    return backend(name, namespace=namespace, **fields)


@dataclass
class World:
    """Everything that changes: ``change`` changes it, ``units`` says it in manifests."""

    ports: dict[str, int]
    """Of the backends and of the listeners ``first`` and ``second``."""
    routes: dict[str, Route] = field(default_factory=dict)
    services: set[str] = field(default_factory=lambda: set(SERVICES))
    endpoints: dict[str, tuple[str, ...]] = field(
        default_factory=lambda: dict(zip(SERVICES, zip(BACKENDS), strict=False))
    )
    main: str | None = None
    """Hostname of the listener ``main``."""
    narrow: str = ""
    has_second: bool = True
    is_granted: bool = True

    # Manifests.

    def units(self) -> dict[str, list[Manifest]]:
        """All manifests, in the pieces that lie in a file together."""
        made = {"stable": self._stable(), "gateway": [self._gateway()]}
        for service in sorted(self.services):
            namespace, _, name = service.partition("/")
            spec = {"ports": [{"port": 8080}]}
            made[f"service-{name}"] = [manifest("Service", "v1", name, namespace, spec=spec)]
        for service, names in sorted(self.endpoints.items()):
            namespace, _, name = service.partition("/")
            made[f"endpoints-{name}"] = endpoints(name, [self.ports[one] for one in names], namespace)
        for name, route in sorted(self.routes.items()):
            made[f"route-{name}"] = [route.document(name)]
        if self.is_granted:
            sources, targets = [{"kind": "HTTPRoute", "namespace": "demo"}], [{"kind": "Service"}]
            made["grant"] = [reference_grant("grant", "other", sources, targets)]
        return made

    def _stable(self) -> list[Manifest]:
        parents = [{"name": "web", "namespace": "demo", "sectionName": "stable"}]
        route = http_route("stable", rule(to="stable"), parents=parents, namespace="steady")
        return [gateway_class(), route, *backend_service("stable", self.ports["stable"], namespace="steady")]

    def _gateway(self) -> Manifest:
        first = self.ports["first"]
        selector = {"matchLabels": {"kubernetes.io/metadata.name": "steady"}}
        allowed = {"namespaces": {"from": "Selector", "selector": selector}}
        listeners = [
            listener("stable", first, STABLE.host, allowedRoutes=allowed),
            listener("main", first, self.main, routes="All"),
        ]
        if self.narrow:
            listeners.append(listener("narrow", first, self.narrow))
        if self.has_second:
            listeners.append(listener("second", self.ports["second"], routes="All"))
        return gateway(*listeners)

    # For the oracle.

    def listeners(self, port: str) -> dict[str, str | None]:
        """Hostnames of the listeners of a port, by name; ``stable`` is not among them."""
        if port == "second":
            return {"second": None} if self.has_second else {}
        return {"main": self.main} | ({"narrow": self.narrow} if self.narrow else {})

    def lets_in(self, name: str, namespace: str) -> bool:
        """Whether routes of a namespace may attach to a listener."""
        return namespace == "demo" or name != "narrow"

    def permits(self, namespace: str, service: str) -> bool:
        """Whether routes of a namespace may refer to a Service."""
        return service.startswith(f"{namespace}/") or (service.startswith("other/") and self.is_granted)

    # Changes.

    def copy(self) -> World:
        """One that can be changed apart."""
        return replace(self, routes=dict(self.routes), services=set(self.services), endpoints=dict(self.endpoints))

    def change(self, random: Random) -> str:
        """Change one thing; what, in words."""
        changes: list[Callable[[Random], str]] = [
            self._add_route, self._remove_route, self._change_service, self._change_endpoints, self._change_listeners,
            self._change_grant,
        ]  # fmt: skip
        if len(self.routes) < FEW_ROUTES:
            return self._add_route(random)
        if random.random() < 0.55:
            return self._change_route(random)
        return random.choice(changes)(random)

    def _add_route(self, random: Random) -> str:
        name = f"r{random.randrange(ROUTES)}"
        self.routes[name] = random_route(random)
        return f"add {name}"

    def _remove_route(self, random: Random) -> str:
        name = random.choice(sorted(self.routes))
        del self.routes[name]
        return f"remove {name}"

    def _change_route(self, random: Random) -> str:
        name = random.choice(sorted(self.routes))
        route, other = self.routes[name], random_route(random)
        position = random.randrange(len(route.rules))
        rules = list(route.rules)
        fields = random.choice(["hostnames", "section", "created", "targets", "weights", "filters", "matches", "rules"])
        match fields:
            case "hostnames" | "section" | "created" | "rules":
                self.routes[name] = replace(route, **{fields: getattr(other, fields)})
                return f"{fields} of {name}"
            case "targets":
                rules[position] = replace(rules[position], targets=other.rules[0].targets, redirect=False)
            case "weights":
                weighted = tuple((service, random.choice((0, 1, 1, 5))) for service, _ in rules[position].targets)
                rules[position] = replace(rules[position], targets=weighted)
            case "filters":
                new = random_rule(random, rules[position].matches)
                rules[position] = replace(new, targets=rules[position].targets or new.targets)
            case _:
                new = random_rule(random)
                rules[position] = replace(
                    rules[position], matches=new.matches, rewrite=new.rewrite, redirect=new.redirect
                )
        self.routes[name] = replace(route, rules=tuple(rules))
        return f"{fields} of {name}"

    def _change_service(self, random: Random) -> str:
        absent = sorted(set(SERVICES) - self.services)
        name = random.choice(absent or SERVICES)
        self.services ^= {name}
        return f"{'add' if name in self.services else 'remove'} Service {name}"

    def _change_endpoints(self, random: Random) -> str:
        name = random.choice(SERVICES)
        if name in self.endpoints and random.random() < 0.15:
            del self.endpoints[name]
        else:
            self.endpoints[name] = tuple(sorted(random.sample(BACKENDS, random.choice((0, 1, 1, 1, 2, 3)))))
        return f"endpoints of {name}"

    def _change_listeners(self, random: Random) -> str:
        kind = random.choice(["main", "narrow", "narrow", "second"])
        match kind:
            case "main":
                self.main = random.choice(MAIN_HOSTNAMES)
            case "narrow":
                self.narrow = random.choice(NARROW_HOSTNAMES)
            case _:
                self.has_second = not self.has_second
        return f"listener {kind}"

    def _change_grant(self, random: Random) -> str:
        self.is_granted = not self.is_granted
        return f"{'add' if self.is_granted else 'remove'} the grant"


def random_rule(random: Random, matches: tuple[Match, ...] = ()) -> Rule:
    """A rule."""
    if not matches:
        matches = tuple(
            Match(
                *random.choice(PATHS),
                env=random.choice(("", "", "", "blue")),
                method=random.choice(("", "", "", "", "GET", "POST")),
            )
            for _ in range(random.choice((1, 1, 2)))
        )
    matches = tuple(dict.fromkeys(matches))
    targets = tuple(
        (service, random.choice((0, 1, 1, 3))) for service in random.sample(SERVICES, random.choice((1, 1, 2)))
    )
    redirects = random.random() < 0.1
    may_rewrite = len(matches) == 1 and matches[0].type == "PathPrefix" and not redirects
    return Rule(
        matches=matches,
        targets=targets,
        redirect=redirects,
        mark=random.choice(("", "red", "100% sure")),
        rewrite="/new" if may_rewrite and random.random() < 0.3 else None,
        mirror=random.choice(("", "", "", *SERVICES)) if not redirects else "",
        times_out=random.random() < 0.3 and not redirects,
    )


def random_route(random: Random) -> Route:
    """A route."""
    return Route(
        namespace=random.choice(("demo", "demo", "demo", "other")),
        hostnames=random.choice(HOSTNAMES),
        section=random.choice(("", "", "main", "narrow", "second")),
        rules=tuple(random_rule(random) for _ in range(random.choice((1, 2, 3)))),
        created=random.choice(("", "2020-01-01T00:00:00Z", "2024-06-01T00:00:00Z")),
    )
