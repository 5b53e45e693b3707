"""HTTPRoute of Gateway API v1.

Each field, enum, range, pattern and default is the CRD's (standard channel, v1.6), which a test holds. What the API has and we
do not act on stands in ``controlplane.model.known_fields``.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, TypeAlias

import msgspec
from msgspec import Meta

from controlplane.model.base import NamespacedObject, Row
from controlplane.model.scalars import (
    INT32_MAX,
    Duration,
    Group,
    Hostname,
    HTTPHeaderName,
    HTTPHeaderValue,
    Kind,
    NamespaceName,
    ObjectName,
    PortNumber,
    PreciseHostname,
    SectionName,
)

HTTPMethod: TypeAlias = Literal["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"]
PathMatchType: TypeAlias = Literal["Exact", "PathPrefix", "RegularExpression"]
HeaderMatchType: TypeAlias = Literal["Exact", "RegularExpression"]
QueryParamMatchType: TypeAlias = Literal["Exact", "RegularExpression"]
HTTPPathModifierType: TypeAlias = Literal["ReplaceFullPath", "ReplacePrefixMatch"]
HTTPRouteFilterType: TypeAlias = Literal[
    "RequestHeaderModifier",
    "ResponseHeaderModifier",
    "RequestMirror",
    "RequestRedirect",
    "URLRewrite",
    "ExtensionRef",
    "CORS",
    "ExternalAuth",
]
RedirectStatusCode: TypeAlias = Literal[301, 302, 303, 307, 308]


class ParentReference(Row, frozen=True, kw_only=True, gc=False):
    """Names what a route wants to attach to."""

    name: ObjectName
    group: Group = "gateway.networking.k8s.io"
    kind: Kind = "Gateway"
    namespace: NamespaceName | None = None
    """None means the route's own."""
    section_name: SectionName | None = None
    """A listener; None means all."""
    port: PortNumber | None = None
    """Listeners on this port only."""


class HTTPPathMatch(Row, frozen=True, kw_only=True, gc=False):
    """Selects requests by path."""

    type: PathMatchType = "PathPrefix"
    """``PathPrefix`` goes by path element: ``/foo`` matches ``/foo/bar``, never ``/foobar``."""
    value: Annotated[str, Meta(max_length=1024)] = "/"


class HTTPHeaderMatch(Row, frozen=True, kw_only=True, gc=False):
    """Selects requests by a header."""

    name: HTTPHeaderName
    """Of names that differ in case alone the first entry counts."""
    value: HTTPHeaderValue
    type: HeaderMatchType = "Exact"


class HTTPQueryParamMatch(Row, frozen=True, kw_only=True, gc=False):
    """Selects requests by a query parameter."""

    name: HTTPHeaderName
    value: Annotated[str, Meta(min_length=1, max_length=1024)]
    type: QueryParamMatchType = "Exact"


class HTTPRouteMatch(Row, frozen=True, kw_only=True, gc=False):
    """Selects requests that satisfy all of it."""

    path: HTTPPathMatch = HTTPPathMatch()
    headers: Annotated[tuple[HTTPHeaderMatch, ...], Meta(max_length=16)] = ()
    query_params: Annotated[tuple[HTTPQueryParamMatch, ...], Meta(max_length=16)] = ()
    method: HTTPMethod | None = None


class HTTPHeader(Row, frozen=True, kw_only=True, gc=False):
    """A header to write."""

    name: HTTPHeaderName
    value: HTTPHeaderValue


class HTTPHeaderFilter(Row, frozen=True, kw_only=True, gc=False):
    """Changes headers: ``set`` overwrites, ``add`` appends, ``remove`` removes."""

    set: Annotated[tuple[HTTPHeader, ...], Meta(max_length=16)] = ()
    add: Annotated[tuple[HTTPHeader, ...], Meta(max_length=16)] = ()
    remove: Annotated[tuple[str, ...], Meta(max_length=16)] = ()


class BackendObjectReference(Row, frozen=True, kw_only=True, gc=False):
    """Names what can take requests."""

    name: ObjectName
    group: Group = ""
    kind: Kind = "Service"
    namespace: NamespaceName | None = None
    """None means the route's own; another needs a ReferenceGrant."""
    port: PortNumber | None = None
    """The Service's port, not the pods'. Always there for a Service."""


class Fraction(Row, frozen=True, kw_only=True, gc=False):
    """A share of requests; ``numerator`` is at most ``denominator``."""

    numerator: Annotated[int, Meta(ge=0, le=INT32_MAX)]
    denominator: Annotated[int, Meta(ge=1, le=INT32_MAX)] = 100


class HTTPRequestMirrorFilter(Row, frozen=True, kw_only=True, gc=False):
    """Sends a copy of requests elsewhere and drops the answers. Neither ``percent`` nor ``fraction`` means all."""

    backend_ref: BackendObjectReference
    percent: Annotated[int, Meta(ge=0, le=100)] | None = None
    fraction: Fraction | None = None


class HTTPPathModifier(Row, frozen=True, kw_only=True, gc=False):
    """Changes a path; the field that ``type`` names is there, the other is not."""

    type: HTTPPathModifierType
    replace_full_path: Annotated[str, Meta(max_length=1024)] | None = None
    replace_prefix_match: Annotated[str, Meta(max_length=1024)] | None = None


class HTTPRequestRedirectFilter(Row, frozen=True, kw_only=True, gc=False):
    """Answers with a redirection; what is None stays as in the request."""

    scheme: Literal["http", "https"] | None = None
    hostname: PreciseHostname | None = None
    path: HTTPPathModifier | None = None
    port: PortNumber | None = None
    """None with a ``scheme`` means that scheme's own port, without one the listener's."""
    status_code: RedirectStatusCode = 302


class HTTPURLRewriteFilter(Row, frozen=True, kw_only=True, gc=False):
    """Changes a request on its way to the backend; what is None stays."""

    hostname: PreciseHostname | None = None
    path: HTTPPathModifier | None = None


class LocalObjectReference(Row, frozen=True, kw_only=True, gc=False):
    """Names an object in the referrer's namespace."""

    group: Group
    kind: Kind
    name: ObjectName


class HTTPCORSFilter(Row, frozen=True, kw_only=True, gc=False):
    """Known and not supported: that it is there is all we hold of it."""


class HTTPExternalAuthFilter(Row, frozen=True, kw_only=True, gc=False):
    """Known and not supported: that it is there is all we hold of it."""


class HTTPRouteFilter(Row, frozen=True, kw_only=True, gc=False):
    """One step in the processing of requests; the field that ``type`` names is there, the others are not."""

    type: HTTPRouteFilterType
    request_header_modifier: HTTPHeaderFilter | None = None
    response_header_modifier: HTTPHeaderFilter | None = None
    request_mirror: HTTPRequestMirrorFilter | None = None
    request_redirect: HTTPRequestRedirectFilter | None = None
    url_rewrite: HTTPURLRewriteFilter | None = None
    extension_ref: LocalObjectReference | None = None
    cors: HTTPCORSFilter | None = None
    external_auth: HTTPExternalAuthFilter | None = None


class HTTPBackendRef(BackendObjectReference, frozen=True, kw_only=True, gc=False):
    """A backend, its share of the requests, and filters for that share alone."""

    weight: Annotated[int, Meta(ge=0, le=1_000_000)] = 1
    """Of the sum of the rule's weights; 0 gets nothing."""
    filters: Annotated[tuple[HTTPRouteFilter, ...], Meta(max_length=16)] = ()


class HTTPRouteTimeouts(Row, frozen=True, kw_only=True, gc=False):
    """How long a request may take; a zero duration means *without end*, None *as the implementation likes*."""

    request: Duration | None = None
    """From the client's request to the end of the answer."""
    backend_request: Duration | None = None
    """Each attempt at a backend; never longer than ``request``."""


MATCH_ALL = HTTPRouteMatch()
"""The match of a rule that has none: every path."""


class HTTPRouteRule(Row, frozen=True, kw_only=True, gc=False):
    """What happens to requests that satisfy any of ``matches``."""

    name: SectionName | None = None
    matches: Annotated[tuple[HTTPRouteMatch, ...], Meta(max_length=64)] = (MATCH_ALL,)
    """Never empty: an empty list of the manifest is read as the default, as the specification has it."""
    filters: Annotated[tuple[HTTPRouteFilter, ...], Meta(max_length=16)] = ()
    backend_refs: Annotated[tuple[HTTPBackendRef, ...], Meta(max_length=16)] = ()
    timeouts: HTTPRouteTimeouts | None = None

    def __post_init__(self) -> None:
        """Reads no matches as the default one."""
        if not self.matches:
            msgspec.structs.force_setattr(self, "matches", (MATCH_ALL,))


class HTTPRouteSpec(Row, frozen=True, kw_only=True, gc=False):
    """Where a route attaches, for which hostnames, and what it does."""

    parent_refs: Annotated[tuple[ParentReference, ...], Meta(max_length=32)] = ()
    hostnames: Annotated[tuple[Hostname, ...], Meta(max_length=16)] = ()
    """Empty takes the listeners'."""
    rules: Annotated[tuple[HTTPRouteRule, ...], Meta(min_length=1, max_length=16)] = (HTTPRouteRule(),)


class HTTPRoute(NamespacedObject, frozen=True, kw_only=True, gc=False):
    """Rules that lead HTTP requests from Gateways to backends."""

    kind: ClassVar[str] = "HTTPRoute"
    api_version: str = "gateway.networking.k8s.io/v1"
    spec: HTTPRouteSpec
