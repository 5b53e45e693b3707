"""One set of manifests in which every feature of routes, backends and hostnames stands once; each under a hostname of its own."""

from __future__ import annotations

from typing import Final

from tests.conformance.manifests import (
    Manifest,
    backend,
    endpoint_slice,
    exact,
    filter_,
    gateway,
    http_route,
    listener,
    manifest,
    prefix,
    reference_grant,
    regex,
    rule,
)

from .folder import backend_service, flat

BACKENDS: Final = ("v1", "v2", "v3", "copy-1", "copy-2", "copy-3", "other")

SLASHES: Final = (
    ("/foo/bar", "/foo", "/xyz", "/xyz/bar"),
    ("/foo/bar", "/foo", "/xyz/", "/xyz/bar"),
    ("/foo/bar", "/foo/", "/xyz", "/xyz/bar"),
    ("/foo/bar", "/foo/", "/xyz/", "/xyz/bar"),
    ("/foo", "/foo", "/xyz", "/xyz"),
    ("/foo/", "/foo", "/xyz", "/xyz/"),
    ("/foo/bar", "/foo", "", "/bar"),
    ("/foo/", "/foo", "", "/"),
    ("/foo", "/foo", "", "/"),
    ("/foo/", "/foo", "/", "/"),
    ("/foo", "/foo", "/", "/"),
    ("/foo/bar", "/foo", "/", "/bar"),
    ("/foo/bar?a=/foo&b=2", "/foo", "/xyz", "/xyz/bar?a=/foo&b=2"),
    ("/foo/bar", "/", "/xyz", "/xyz/foo/bar"),
    ("/", "/", "/xyz", "/xyz/"),
    ("/a.b+c/(d)", "/a.b+c", "", "/(d)"),
)
"""Path, prefix, its replacement, and what comes of it. Source: the table of HTTPPathModifier.replacePrefixMatch, and beyond."""

REDIRECTS: Final[dict[str, tuple[Manifest, int, str]]] = {
    "hostname": ({"hostname": "new.example.org"}, 302, "http://new.example.org:{port}/a/b?c=d"),
    "scheme": ({"scheme": "https"}, 302, "https://redirect-scheme.example.com/a/b?c=d"),
    "scheme-and-port": (
        {"scheme": "https", "port": 8443},
        302,
        "https://redirect-scheme-and-port.example.com:8443/a/b?c=d",
    ),
    "port": ({"port": 8081}, 302, "http://redirect-port.example.com:8081/a/b?c=d"),
    "well-known-port": ({"port": 80}, 302, "http://redirect-well-known-port.example.com/a/b?c=d"),
    "full-path": (
        {"path": {"type": "ReplaceFullPath", "replaceFullPath": "/new"}, "statusCode": 301},
        301,
        "http://redirect-full-path.example.com:{port}/new?c=d",
    ),
    "prefix": (
        {"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/new"}, "statusCode": 303},
        303,
        "http://redirect-prefix.example.com:{port}/new/b?c=d",
    ),
    "307": ({"statusCode": 307}, 307, "http://redirect-307.example.com:{port}/a/b?c=d"),
    "everything": (
        {
            "scheme": "https",
            "hostname": "new.example.org",
            "port": 444,
            "path": {"type": "ReplaceFullPath", "replaceFullPath": "/all"},
            "statusCode": 308,
        },
        308,
        "https://new.example.org:444/all?c=d",
    ),
}
"""By name: the filter, and what ``/a/b?c=d`` is answered with. A route stands at ``redirect-<name>.example.com``, prefix ``/a``."""

CHANGES: Final = {
    "set": [{"name": "X-Set", "value": "100% of %REQ(x-secret)%"}],
    "add": [{"name": "X-Add", "value": "a, b;c=%20"}, {"name": "X-New", "value": "new"}],
    "remove": ["X-Gone"],
}
"""Header changes for requests and responses alike."""


def host(name: str) -> str:
    """The hostname of a feature."""
    return f"{name}.example.com"


def at(name: str, *rules: Manifest, hosts: tuple[str, ...] = (), **fields: object) -> Manifest:
    """A route at the hostname of its feature."""
    return http_route(name, *rules, hostnames=hosts or (host(name),), **fields)  # type: ignore[arg-type]


def matches() -> list[Manifest]:
    """Every kind of match, alone and against each other."""
    headers = [{"name": "X-Color", "value": "blue"}, {"name": "x-size", "value": "[0-9]+", "type": "RegularExpression"}]
    params = [{"name": "q", "value": "1"}, {"name": "r", "value": "x.*z", "type": "RegularExpression"}]
    return [
        at("paths", rule(prefix("/foo"), to="v1"), rule(exact("/foo/exact"), to="v2"), rule(regex("/re/[a-z]+"), to="v3")),
        at("conditions", rule({"headers": headers}, to="v1"), rule({"queryParams": params}, to="v2"), rule({"method": "POST"}, to="v3")),
        # One after the other by the specification's precedence, though written the other way round.
        at(
            "precedence",
            rule(prefix("/"), to="v1"),
            rule(prefix("/a"), to="v2"),
            rule(prefix("/a", headers=headers[:1]), to="v3"),
            rule(prefix("/a", method="PUT"), to="copy-1"),
            rule(prefix("/a/b"), to="copy-2"),
            rule(exact("/a/b"), to="copy-3"),
        ),
        at("several", rule(exact("/one"), exact("/two", method="GET"), to="v1")),
        http_route("older", rule(prefix("/same"), to="v1"), hostnames=[host("same")], creationTimestamp="2020-01-01T00:00:00Z"),
        http_route("newer", rule(prefix("/same"), to="v2"), hostnames=[host("same")], creationTimestamp="2024-01-01T00:00:00Z"),
    ]  # fmt: skip


def filters() -> list[Manifest]:
    """Every filter, with every field of it."""
    rewrites = [
        at(
            f"slashes-{number}",
            rule(prefix(matched), to="v1", filters=[filter_("URLRewrite", path=prefix_path(replacement))]),
        )
        for number, (_, matched, replacement, _) in enumerate(SLASHES)
    ]
    redirects = [
        at(f"redirect-{name}", rule(prefix("/a"), to=None, filters=[filter_("RequestRedirect", **fields)]))
        for name, (fields, _, _) in REDIRECTS.items()
    ]
    full = {"type": "ReplaceFullPath", "replaceFullPath": r"/full/\1$"}
    both = [filter_("RequestHeaderModifier", **CHANGES), filter_("ResponseHeaderModifier", **CHANGES)]
    host_header = filter_("RequestHeaderModifier", set=[{"name": "Host", "value": "inner.example.org"}])
    return [
        *rewrites,
        *redirects,
        at("rewrite-full", rule(prefix("/a"), to="v1", filters=[filter_("URLRewrite", hostname="inner.example.org", path=full)])),
        at("headers", rule(to="v1", filters=both)),
        at("backend-headers", rule(to=backend("v1", filters=both))),
        at("host-header", rule(to="v1", filters=[host_header])),
        at(
            "mirrors",
            rule(
                to="v1",
                filters=[
                    filter_("RequestMirror", backendRef=backend("copy-1")),
                    filter_("RequestMirror", backendRef=backend("copy-2"), percent=0),
                    filter_("RequestMirror", backendRef=backend("copy-3"), fraction={"numerator": 1, "denominator": 2}),
                ],
            ),
        ),
    ]  # fmt: skip


def prefix_path(replacement: str) -> Manifest:
    """The path modifier that replaces a prefix."""
    return {"type": "ReplacePrefixMatch", "replacePrefixMatch": replacement}


def backends(ports: dict[str, int]) -> list[Manifest]:
    """Weights, shares that lead nowhere, timeouts, protocols; and the Services."""
    named_ports = [
        {"port": 8080, "name": "web", "targetPort": "http"},
        {"port": 9090, "name": "admin", "targetPort": "adm"},
    ]
    slice_ports = [{"name": "web", "port": ports["v1"]}, {"name": "admin", "port": ports["v2"]}]
    here = {"addresses": ["127.0.0.1"]}
    going = {"ready": False, "serving": True, "terminating": True}
    return [
        at("even", rule(to=[backend("v1", weight=1), backend("v2", weight=1), backend("v3", weight=0)])),
        at("all-zero", rule(to=backend("v1", weight=0))),
        at("half-unresolved", rule(to=["v1", "missing"])),
        at("unresolved", rule(to="missing")),
        at("no-backends", rule(to=None)),
        at("wrong-port", rule(to=backend("v1", port=1))),
        at("no-endpoints", rule(to="empty")),
        at("timeout", rule(to="v1", timeouts={"request": "200ms"})),
        at("backend-timeout", rule(to="v1", timeouts={"request": "10s", "backendRequest": "200ms"})),
        at("h2c", rule(to="h2c")),
        at("websocket", rule(to="ws")),
        at("named-ports", rule(prefix("/web"), to="named"), rule(prefix("/admin"), to=backend("named", port=9090))),
        at("not-ready", rule(to="not-ready")),
        at("terminating", rule(to="terminating")),
        at("granted", rule(to=backend("other", namespace="other"))),
        at("not-granted", rule(to=backend("private", namespace="other"))),
        *(made for name in BACKENDS if name != "other" for made in backend_service(name, ports[name])),
        *backend_service("other", ports["other"], namespace="other"),
        *backend_service("private", ports["other"], namespace="other"),
        reference_grant("grant", "other", [{"kind": "HTTPRoute", "namespace": "demo"}], [{"kind": "Service", "name": "other"}]),
        *backend_service("empty"),
        *backend_service("h2c", ports["h2c"], appProtocol="kubernetes.io/h2c"),
        *backend_service("ws", ports["v2"], appProtocol="kubernetes.io/ws"),
        manifest("Service", "v1", "named", "demo", spec={"ports": named_ports}),
        endpoint_slice("named", [here], slice_ports),
        *backend_service("not-ready", ports["v1"]),
        endpoint_slice("not-ready", [here | {"conditions": {"ready": False}}], [{"port": ports["v2"]}], suffix="2"),
        *backend_service("terminating"),
        endpoint_slice("terminating", [here | {"conditions": going}], [{"port": ports["v3"]}], suffix="2"),
    ]  # fmt: skip


def hostnames() -> list[Manifest]:
    """Hostnames of routes against each other and against those of listeners; what a listener lets in."""
    return [
        at("wild", rule(to="v1"), hosts=("*.wild.example.com",)),
        at("exact", rule(to="v2"), hosts=("exact.wild.example.com",)),
        # `narrow` has its names to itself: what hangs on `http` alone does not serve them, whatever its hostnames.
        at("outside", rule(to="v1"), hosts=("a.narrow.example.com",), parents=({"name": "web", "sectionName": "http"},)),
        at("inside", rule(to="v2"), hosts=("b.narrow.example.com",), parents=({"name": "web", "sectionName": "narrow"},)),
        http_route("takes-the-listeners", rule(prefix("/listeners"), to="v3"), parents=[{"name": "web", "sectionName": "narrow"}]),
        at("by-port", rule(to="v1"), parents=({"name": "web", "port": 1},)),
        at("foreign", rule(to=None), hosts=("foreign.example.com",), namespace="other", parents=({"name": "web", "namespace": "demo"},)),
    ]  # fmt: skip


def every_feature(port: int, ports: dict[str, int]) -> list[Manifest]:
    """All of it, on one Gateway.

    Args:
        port: Of its listeners.
        ports: Of the backends by name, ``h2c`` included.
    """
    listeners = listener("http", port, routes="Same"), listener("narrow", port, "*.narrow.example.com")
    return flat(gateway(*listeners), matches(), filters(), backends(ports), hostnames())
