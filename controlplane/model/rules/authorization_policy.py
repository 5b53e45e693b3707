"""The rules of AuthorizationPolicy: the CRD's and Istio's own.

Nothing that might let more through than its author meant is accepted: an alternative that says nothing would match everything.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, Final, TypeAlias

from controlplane.model.addresses import parse_block
from controlplane.model.authorization_policy import (
    AuthorizationCondition,
    AuthorizationPolicySpec,
    Operation,
    PolicyTargetReference,
    RuleFrom,
    RuleTo,
    Source,
)
from controlplane.model.base import Row
from controlplane.model.problems import closest, either, quoted
from controlplane.model.references import FieldProblem
from controlplane.model.rules.rule import Rule

_TARGETS: Final = {
    "Gateway": "gateway.networking.k8s.io",
    "GatewayClass": "gateway.networking.k8s.io",
    "Service": "",
    "ServiceEntry": "networking.istio.io",
}
_PORT: Final = re.compile(r"[0-9]{1,10}\Z")
_LITERAL: Final = re.compile(r"[a-zA-Z0-9\-._~%!$&'()+,;:@=]+\Z")
"""A segment of a path that has templates in others."""

Check: TypeAlias = Callable[[str], FieldProblem | None]
"""What is wrong with one value, at an empty path."""


def _block(value: str) -> FieldProblem | None:
    if parse_block(value) is not None:
        return None
    problem = f"{quoted(value)} is neither an IP address nor a CIDR block"
    return FieldProblem("", problem, "use one such as 192.0.2.1, 2001:db8::1 or 192.0.2.0/24")


def _port(value: str) -> FieldProblem | None:
    if _PORT.match(value) and int(value) <= 65535:
        return None
    return FieldProblem("", f"{quoted(value)} is no port", "use a number from 0 to 65535")


def _service_account(value: str) -> FieldProblem | None:
    parts = value.split("/")
    if len(parts) <= 2 and all(parts) and "*" not in value:
        return None
    return FieldProblem("", f"{quoted(value)} is no service account", "use its name, or namespace/name, without *")


def _pattern(value: str) -> FieldProblem | None:
    if value.count("*") == 0 or (value.count("*") == 1 and (value[0] == "*" or value[-1] == "*")):
        return None
    return FieldProblem("", f"{quoted(value)} has a * in its middle, or several", "use one *, at the start or the end")


def _trust_domain(value: str) -> FieldProblem | None:
    if "/" in value:
        return FieldProblem("", f"{quoted(value)} is no trust domain", "use one such as cluster.local, without /")
    return _pattern(value)


def _path(value: str) -> FieldProblem | None:
    """Source: Istio, ``CheckValidPathTemplate``; Envoy's URI template."""
    segments = value.strip("/").split("/")
    templates = [segment for segment in segments if segment in {"{*}", "{**}"}]
    if "{**}" in templates[:-1]:
        return FieldProblem("", f"{quoted(value)} goes on with templates after {{**}}", "let {**} be the last")
    for segment in segments:
        if segment in {"{*}", "{**}"}:
            continue
        if "{" in segment or "}" in segment:
            problem = f"{quoted(value)} has braces that are no template"
            return FieldProblem("", problem, "use {*} for one segment or {**} for any number")
        if templates and not _LITERAL.match(segment):
            problem = f"{quoted(segment)} is no segment to go with templates"
            return FieldProblem("", problem, "use the characters of a URL's path, without *")
    return None


_CHECKS: Final[dict[str, Check]] = {
    "ip_blocks": _block,
    "paths": _path,
    "ports": _port,
    "remote_ip_blocks": _block,
    "service_accounts": _service_account,
    "trust_domains": _trust_domain,
}
"""By attribute of Source and Operation, of ``not_`` and without."""

_KEYS: Final[dict[str, Check | None]] = {
    "connection.sni": None,
    "destination.ip": _block,
    "destination.port": _port,
    "remote.ip": _block,
    "request.auth.audiences": None,
    "request.auth.presenter": None,
    "request.auth.principal": None,
    "source.ip": _block,
    "source.namespace": None,
    "source.principal": None,
    "source.serviceAccount": _service_account,
    "source.trustDomain": _pattern,
}
_KEYS_WITH_NAMES: Final = ("request.headers", "request.auth.claims", "experimental.envoy.filters.")


def _checked(values: tuple[str, ...], path: str, check: Check | None) -> Iterator[FieldProblem]:
    for position, value in enumerate(values):
        if not value:
            yield FieldProblem(f"{path}[{position}]", "empty", "use a value, or remove it")
        elif check is not None and (problem := check(value)) is not None:
            yield FieldProblem(f"{path}[{position}]", problem.problem, problem.remedy)


def values_are_of_their_form(part: Source | Operation) -> Iterator[FieldProblem]:
    """No value is empty, and each is of its field's form."""
    for attribute, name in zip(part.__struct_fields__, part.__struct_encode_fields__, strict=True):
        yield from _checked(getattr(part, attribute), name, _CHECKS.get(attribute.removeprefix("not_")))


def _says_nothing(part: Source | Operation | None) -> bool:
    return part is None or not any(getattr(part, attribute) for attribute in part.__struct_fields__)


def source_says_something(alternative: RuleFrom) -> Iterator[FieldProblem]:
    """An alternative without conditions would be everybody."""
    if _says_nothing(alternative.source):
        yield FieldProblem("source", "says nothing, and would match everybody", "add a condition, or remove from")


def operation_says_something(alternative: RuleTo) -> Iterator[FieldProblem]:
    """An alternative without conditions would be everything."""
    if _says_nothing(alternative.operation):
        yield FieldProblem("operation", "says nothing, and would match everything", "add a condition, or remove to")


def service_accounts_stand_alone(source: Source) -> Iterator[FieldProblem]:
    """They are namespaces and principals in another spelling."""
    if source.principals or source.not_principals or source.namespaces or source.not_namespaces:
        for name, accounts in (
            ("serviceAccounts", source.service_accounts),
            ("notServiceAccounts", source.not_service_accounts),
        ):
            if accounts:
                yield FieldProblem(name, "do not go with namespaces or principals", "leave one of the two")


def condition_is_known(condition: AuthorizationCondition) -> Iterator[FieldProblem]:
    """The key is one of Istio's, and there are values of its form."""
    key = condition.key
    if key not in _KEYS and not key.startswith(_KEYS_WITH_NAMES):
        near = closest(key, [*_KEYS])
        remedy = f"did you mean {near}?" if near else f"use request.headers[name], {either([*_KEYS])}"
        yield FieldProblem("key", f"{quoted(key)} is no attribute of a request", remedy)
    elif key not in _KEYS and not (key.endswith("]") and 0 < key.find("[") < len(key) - 2):
        yield FieldProblem("key", f"{quoted(key)} names nothing in brackets", "write it as request.headers[name]")
    if not condition.values and not condition.not_values:
        yield FieldProblem("values", "required without notValues, but missing", "add at least one")
    check = _KEYS.get(key)
    yield from _checked(condition.values, "values", check)
    yield from _checked(condition.not_values, "notValues", check)


def target_is_one(target: PolicyTargetReference) -> Iterator[FieldProblem]:
    """A Gateway, a GatewayClass, a Service or a ServiceEntry, in the policy's own namespace."""
    group = "" if target.group == "core" else target.group
    if target.kind not in _TARGETS:
        yield FieldProblem("kind", f"{quoted(target.kind)} is no target of policies", f"use {either([*_TARGETS])}")
    elif group != _TARGETS[target.kind]:
        remedy = f"use {_TARGETS[target.kind]}" if _TARGETS[target.kind] else "remove it"
        yield FieldProblem("group", f"{quoted(target.group)} has no {target.kind}", remedy)
    if target.namespace:
        problem = "a policy is for objects of its own namespace alone"
        yield FieldProblem("namespace", problem, "remove it, or put the policy into that namespace")


def denial_denies(spec: AuthorizationPolicySpec) -> Iterator[FieldProblem]:
    """Without rules nothing is denied."""
    if spec.action == "DENY" and not spec.rules:
        yield FieldProblem("rules", "none: nothing is denied", "add a rule; {} denies everything")


def condition_is_served(condition: AuthorizationCondition) -> Iterator[FieldProblem]:
    """Metadata of filters that we do not run."""
    if condition.key.startswith("experimental."):
        problem = f"{quoted(condition.key)} is not supported yet: no filter gives it a value"
        yield FieldProblem("key", problem, "use an attribute of the request")


RULES: Final[dict[type[Row], tuple[Rule[Any], ...]]] = {
    AuthorizationCondition: (condition_is_known,),
    Operation: (values_are_of_their_form,),
    PolicyTargetReference: (target_is_one,),
    RuleFrom: (source_says_something,),
    RuleTo: (operation_says_something,),
    Source: (values_are_of_their_form, service_accounts_stand_alone),
}
WARNINGS: Final[dict[type[Row], tuple[Rule[Any], ...]]] = {AuthorizationPolicySpec: (denial_denies,)}
UNSUPPORTED: Final[dict[type[Row], tuple[Rule[Any], ...]]] = {AuthorizationCondition: (condition_is_served,)}
