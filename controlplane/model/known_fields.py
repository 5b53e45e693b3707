"""The fields that the APIs have and our structs have not, or have without effect; and the unknown ones.

An unknown field is a warning (it is a slip of the pen, most likely), a known one that we do not act on is told as such: what it
asks for will not happen. Both need the APIs' own lists of fields, so they stand here, by path. ``[]`` is any item of a list;
a path stands for everything beneath it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Final, TypeAlias

from controlplane.model.objects import KINDS
from controlplane.model.problems import closest, either, join, quoted
from controlplane.model.references import FieldProblem
from controlplane.model.shapes import Items, Parts, shape_of

PROJECTED: Final[frozenset[str]] = frozenset(
    f"metadata.{name}"
    for name in (
        "deletionGracePeriodSeconds",
        "deletionTimestamp",
        "finalizers",
        "generateName",
        "managedFields",
        "ownerReferences",
        "resourceVersion",
        "selfLink",
        "uid",
    )
) | {"apiVersion", "kind", "status"}
"""Fields of every object that say nothing about what is to be served."""

NOT_OURS: Final[Mapping[str, frozenset[str]]] = {
    "EndpointSlice": frozenset(
        {
            "endpoints[].deprecatedTopology",
            "endpoints[].hints",
            "endpoints[].targetRef.apiVersion",
            "endpoints[].targetRef.fieldPath",
            "endpoints[].targetRef.resourceVersion",
            "endpoints[].targetRef.uid",
        }
    ),
    "Namespace": frozenset({"spec"}),
    "Node": frozenset({"spec"}),
    "Pod": frozenset({"spec"}),
    "Secret": frozenset({"data", "immutable", "stringData"}),
    "Service": frozenset(
        {
            "spec.allocateLoadBalancerNodePorts",
            "spec.externalIPs",
            "spec.externalTrafficPolicy",
            "spec.healthCheckNodePort",
            "spec.internalTrafficPolicy",
            "spec.ipFamilyPolicy",
            "spec.loadBalancerClass",
            "spec.loadBalancerIP",
            "spec.loadBalancerSourceRanges",
            "spec.ports[].nodePort",
            "spec.sessionAffinity",
            "spec.sessionAffinityConfig",
        }
    ),
}
"""By kind: fields for kube-proxy, the kubelet, a cloud or the server itself. Dropped without a word.

A Secret's data is read apart, and of a Pod's specification its node; nobody looks for slips of the pen in either.
"""

DERIVED: Final[Mapping[str, frozenset[str]]] = {
    "Pod": frozenset({"terminating"}),
    "Secret": frozenset({"caCertificates", "caDigest", "certificateChain", "keyDigest", "pairDigest"}),
}
"""By kind: fields that our structs have and no API."""

PRESENCE_ONLY: Final[Mapping[str, frozenset[str]]] = {
    "HTTPRoute": frozenset(
        f"spec.rules[].{filters}[].{field}"
        for filters in ("filters", "backendRefs[].filters")
        for field in ("cors", "externalAuth")
    ),
}
"""By kind: fields of which our structs hold that they are there, and nothing of what is in them."""

_TRAFFIC_POLICIES = ("spec.trafficPolicy", "spec.trafficPolicy.portLevelSettings[]")
_TRAFFIC_POLICY = {
    "connectionPool.http.http2KeepAlive": "connections are sent no keepalive of HTTP/2",
    "connectionPool.http.useClientProtocol": "the host's own protocol is spoken",
    "loadBalancer.backendUtilization": "endpoints are chosen whatever load they report",
    "loadBalancer.consistentHash.httpCookie.attributes": "the cookie gets none",
    "loadBalancer.warmup": "new endpoints get their whole share at once",
    "loadBalancer.warmupDurationSecs": "new endpoints get their whole share at once",
    "loadBalancer.zoneAwareLbSetting": "endpoints of all zones are alike",
    "outlierDetection.consecutiveErrors": "no endpoint is ejected for it; consecutiveGatewayErrors took its place",
    "outlierDetection.outlierDetectionHttpErrorCodes": "the status codes from 500 on are errors, and no others",
    "tls.caCertificates": "no file is read; a Secret that credentialName names can hold it",
    "tls.caCrl": "no certificate is held to be revoked",
    "tls.clientCertificate": "no file is read; a Secret that credentialName names can hold it",
    "tls.privateKey": "no file is read; a Secret that credentialName names can hold it",
}
"""Of a DestinationRule's policies, the whole and the ports'."""

UNSUPPORTED: Final[Mapping[str, Mapping[str, str]]] = {
    "AuthorizationPolicy": {
        "spec.provider": "nobody else is asked",
        "spec.selector": "the policy is for what targetRefs names, and for nothing without them",
        "spec.targetRef": "the policy is for what targetRefs names, and for nothing without them",
    },
    "DestinationRule": {
        "spec.subsets": "no route can name a subset",
        "spec.trafficPolicy.proxyProtocol": "connections begin without a PROXY header",
        "spec.trafficPolicy.retryBudget": "retries are not limited by a share of the requests",
        "spec.trafficPolicy.tunnel": "connections go to the endpoints themselves",
        **{f"{policy}.{path}": text for policy in _TRAFFIC_POLICIES for path, text in _TRAFFIC_POLICY.items()},
    },
    "Gateway": {
        "spec.allowedListeners": "no ListenerSet attaches",
        "spec.defaultScope": "no route attaches by default",
        "spec.infrastructure": "what runs the Gateway gets none of it",
        "spec.listeners[].tls.options": "TLS keeps its default options",
        "spec.tls.backend": "backends are shown no client certificate",
        "spec.tls.frontend": "clients' certificates are not validated",
    },
    "GatewayClass": {"spec.parametersRef": "no parameters are read"},
    "HTTPRoute": {
        "spec.rules[].retry": "failed requests are not tried again",
        "spec.rules[].sessionPersistence": "requests of one session go to any endpoint",
        "spec.useDefaultGateways": "the route attaches to its parentRefs alone",
    },
}
"""By kind and path: fields that we know and do not act on, and what therefore does not happen."""

_CORE_FILTERS = frozenset(
    {"RequestHeaderModifier", "RequestMirror", "RequestRedirect", "ResponseHeaderModifier", "URLRewrite"}
)

SUPPORTED_VALUES: Final[Mapping[str, Mapping[str, frozenset[str]]]] = {
    "AuthorizationPolicy": {"spec.action": frozenset({"ALLOW", "AUDIT", "DENY"})},
    "EndpointSlice": {"addressType": frozenset({"IPv4", "IPv6"})},
    "Gateway": {
        "spec.addresses[].type": frozenset({"IPAddress"}),
        "spec.listeners[].protocol": frozenset({"HBONE", "HTTP", "HTTPS", "istio.io/PROXY"}),
        "spec.listeners[].tls.mode": frozenset({"Terminate"}),
    },
    "HTTPRoute": {
        "spec.rules[].filters[].type": _CORE_FILTERS,
        "spec.rules[].backendRefs[].filters[].type": _CORE_FILTERS,
    },
    "Service": {"spec.type": frozenset({"ClusterIP", "LoadBalancer", "NodePort"})},
}
"""By kind and path: the values that we act on, where the API has others too and there is no more to say of those."""

Plan: TypeAlias = "dict[str, Plan | frozenset[str] | str | None]"
"""By field: what is beneath it (of each item, for a list); the values that we act on; what does not happen; or None: fine."""


def survey(raw: Mapping[str, object], kind: str) -> tuple[tuple[FieldProblem, ...], tuple[FieldProblem, ...]]:
    """The unknown fields of an object, and those (fields or values) that we know and do not act on.

    Args:
        raw: As read, of a form that its struct accepts.
        kind: One of ``objects.KINDS``.

    Returns:
        Both in the document's order. Cost: two microseconds for an ordinary HTTPRoute in which there is nothing to tell.
    """
    plan = _plan_of(kind)
    if _is_plain(raw, plan):
        return (), ()
    unknown: list[FieldProblem] = []
    unsupported: list[FieldProblem] = []
    for is_known, problem in _remarks(raw, plan, ""):
        (unsupported if is_known else unknown).append(problem)
    return tuple(unknown), tuple(unsupported)


def _is_plain(value: Mapping[str, object], plan: Plan) -> bool:
    for name, item in value.items():
        known = plan.get(name, _UNKNOWN)
        if known is None:
            continue
        if type(known) is dict:
            if type(item) is dict:
                if not _is_plain(item, known):
                    return False
            elif type(item) is list:
                for element in item:
                    if type(element) is not dict or not _is_plain(element, known):
                        return False
            else:
                return False
        elif type(known) is str or item not in known:
            return False
    return True


def _remarks(value: Mapping[str, object], plan: Plan, path: str) -> Iterator[tuple[bool, FieldProblem]]:
    for name, item in value.items():
        here = join(path, name)
        match plan.get(name, _UNKNOWN):
            case "":
                yield False, _unknown(name, here, plan)
            case str(consequence) if item:
                remedy = "remove it, or do without until it is supported"
                yield True, FieldProblem(here, f"not supported yet: {consequence}", remedy)
            case frozenset() as values if item is not None and item not in values:
                remedy = f"use {either(sorted(values))}"
                yield True, FieldProblem(here, f"{quoted(item)} is not supported yet", remedy)
            case dict() as beneath if isinstance(item, Mapping):
                yield from _remarks(item, beneath, here)
            case dict() as beneath if isinstance(item, list | tuple):
                for position, element in enumerate(item):
                    if isinstance(element, Mapping):
                        yield from _remarks(element, beneath, f"{here}[{position}]")
            case _:
                pass


_UNKNOWN: Final = ""


def _unknown(name: str, path: str, plan: Plan) -> FieldProblem:
    names = sorted(plan)
    if near := closest(name, names):
        remedy = f"did you mean {near}?"
    else:
        remedy = f"remove it, or use {either(names)}" if len(names) <= _MOST_NAMES else "remove it"
    return FieldProblem(path, "unknown field, ignored", remedy)


_MOST_NAMES: Final = 12


@cache
def _plan_of(kind: str) -> Plan:
    plan = _beneath(shape_of(KINDS[kind].struct))
    for path in sorted(PROJECTED | NOT_OURS.get(kind, frozenset()) | PRESENCE_ONLY.get(kind, frozenset())):
        _lay(plan, path, None)
    for path, values in SUPPORTED_VALUES.get(kind, {}).items():
        _lay(plan, path, values)
    for path, consequence in UNSUPPORTED.get(kind, {}).items():
        _lay(plan, path, consequence)
    for name in DERIVED.get(kind, ()):
        del plan[name]
    return plan


def _beneath(shape: Parts) -> Plan:
    plan: Plan = {}
    for name, part in shape.fields.items():
        item = part.item if isinstance(part, Items) else part
        plan[name] = _beneath(item) if isinstance(item, Parts) else None
    return plan


def _lay(plan: Plan, path: str, entry: frozenset[str] | str | None) -> None:
    *parents, name = path.replace("[]", "").split(".")
    for parent in parents:
        beneath = plan.setdefault(parent, {})
        assert isinstance(beneath, dict), f"{path} lies beneath what stands for everything beneath it"
        plan = beneath
    plan[name] = entry
