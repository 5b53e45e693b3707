"""The rules of an AuthorizationPolicy as lists of attributes, and what of them cannot be enforced.

One reading for both who use it: the translation makes matchers of the attributes, the status tells of those that are lost. What
cannot be enforced never lets more through. An ALLOW rule that holds such a thing is dropped as a whole; a DENY or AUDIT rule
goes on as if the thing were not there, and so matches more. Decoding refuses most of this at the door; a log may hold what an
earlier door let in, and one bad policy must not stop the listener that it is a part of. Source: Istio's API,
security.istio.io/v1, AuthorizationPolicy.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import StrEnum
from typing import Final

import msgspec

from controlplane.model.addresses import parse_block
from controlplane.model.ir import ObjectReport
from controlplane.model.istio import (
    AuthorizationCondition,
    AuthorizationPolicy,
    AuthorizationRule,
    Operation,
    Source,
)
from controlplane.model.problems import join
from controlplane.model.references import FieldProblem
from controlplane.model.scalars import parse_bool
from controlplane.reducers.authorization_paths import template_problem

_LONGEST: Final = 4_096
"""Of a value, in characters. A pattern too large for Envoy would be refused with the whole listener that it stands in."""
_IN_A_RULE: Final = re.compile(r"spec\.rules\[(?P<position>[0-9]+)\]")


class Name(StrEnum):
    """Names of attributes: what a condition's ``key`` says, or, where no key says it, ours."""

    HOST = "host"
    METHOD = "method"
    PATH = "path"
    PRINCIPAL = "source.principal"
    NAMESPACE = "source.namespace"
    SERVICE_ACCOUNT = "source.serviceAccount"
    TRUST_DOMAIN = "source.trustDomain"
    SOURCE_IP = "source.ip"
    REMOTE_IP = "remote.ip"
    REQUEST_PRINCIPAL = "request.auth.principal"
    DESTINATION_IP = "destination.ip"
    DESTINATION_PORT = "destination.port"


HEADERS: Final = "request.headers"
"""What the names of headers begin with: ``request.headers[NAME]``."""

_TOKENS: Final = "request.auth."
_UNKNOWN: Final = {
    _TOKENS: "JSON Web Tokens are not validated here",
    "connection.sni": "nothing here looks into TLS",
    "experimental.envoy.filters.": "no filter of ours writes this metadata",
}
"""By what an attribute's name begins with: why nobody can tell whether a request has it."""

_SOURCE_FIELDS: Final = (
    ("principals", Name.PRINCIPAL),
    ("request_principals", Name.REQUEST_PRINCIPAL),
    ("namespaces", Name.NAMESPACE),
    ("service_accounts", Name.SERVICE_ACCOUNT),
    ("trust_domains", Name.TRUST_DOMAIN),
    ("ip_blocks", Name.SOURCE_IP),
    ("remote_ip_blocks", Name.REMOTE_IP),
)
_OPERATION_FIELDS: Final = (
    ("hosts", Name.HOST),
    ("methods", Name.METHOD),
    ("paths", Name.PATH),
    ("ports", Name.DESTINATION_PORT),
)

_HEADER_NAME: Final = re.compile(r":?[A-Za-z0-9!#$%&'*+\-.^_`|~]+")


class Attribute(msgspec.Struct, frozen=True):
    """One list of values of a rule: what it speaks of must have one of the values, or, negated, none of them."""

    path: str
    """Of the field: ``spec.rules[0].from[1].source.notPrincipals``."""
    name: str
    """As a condition's ``key`` names it; ``host``, ``method`` and ``path`` have no key."""
    values: tuple[str, ...]
    negated: bool = False
    problem: str = ""
    """Why it cannot be enforced; empty if it can."""
    remedy: str = ""

    @property
    def http_only(self) -> bool:
        """Whether a TCP connection has no such thing."""
        return self.name in (Name.HOST, Name.METHOD, Name.PATH) or self.name.startswith((HEADERS, _TOKENS))


class Rule(msgspec.Struct, frozen=True):
    """A rule: one of the sources, one of the operations, and all conditions; no sources or operations means any."""

    sources: tuple[tuple[Attribute, ...], ...]
    operations: tuple[tuple[Attribute, ...], ...]
    conditions: tuple[Attribute, ...]

    @property
    def attributes(self) -> Iterator[Attribute]:
        """All of them, in the order of the document."""
        for alternatives in (self.sources, self.operations):
            for alternative in alternatives:
                yield from alternative
        yield from self.conditions


def read_rule(rule: AuthorizationRule, path: str) -> Rule:
    """A rule's attributes. Cost: O(values)."""
    return Rule(
        tuple(_fields(item.source, _SOURCE_FIELDS, f"{path}.from[{i}].source") for i, item in enumerate(rule.from_)),
        tuple(
            _fields(item.operation, _OPERATION_FIELDS, f"{path}.to[{i}].operation") for i, item in enumerate(rule.to)
        ),
        tuple(
            attribute
            for i, condition in enumerate(rule.when)
            for attribute in _condition(condition, f"{path}.when[{i}]")
        ),
    )


def rules_of(policy: AuthorizationPolicy) -> tuple[Rule, ...]:
    """The rules of a policy, in its order."""
    return tuple(read_rule(rule, f"spec.rules[{i}]") for i, rule in enumerate(policy.spec.rules))


def rule_problems(policy: AuthorizationPolicy, *, on_tcp: bool = False) -> tuple[FieldProblem, ...]:
    """What of a policy's rules cannot be enforced, and what happens instead.

    Args:
        policy: It.
        on_tcp: Whether it holds for a port that does not speak HTTP too.
    """
    found = []
    for rule in rules_of(policy):
        for attribute in rule.attributes:
            if attribute.problem:
                text = f"{attribute.problem}, so {_consequence(policy.spec.action)}"
                found.append(FieldProblem(attribute.path, text, attribute.remedy))
            elif on_tcp and attribute.http_only:
                text = f"on ports that do not speak HTTP {_consequence(policy.spec.action)}"
                found.append(FieldProblem(attribute.path, text))
    return tuple(found)


def misread_rules(report: ObjectReport) -> tuple[int, ...]:
    """Positions of rules with fields that nobody knows: what their writer meant is not what was read. A view of a report."""
    found = (_IN_A_RULE.match(w.path) for w in report.warnings if w.problem.startswith("unknown field"))
    return tuple(sorted({int(match["position"]) for match in found if match}))


def without_misread(policy: AuthorizationPolicy, misread: tuple[int, ...]) -> AuthorizationPolicy:
    """A policy that lets nobody through by a slip of the pen: such a rule of an ALLOW matches nothing.

    A DENY's rule stays as it was read: without what was meant to narrow it, it denies more.
    """
    if policy.spec.action != "ALLOW" or not misread:
        return policy
    kept = tuple(rule for position, rule in enumerate(policy.spec.rules) if position not in misread)
    return msgspec.structs.replace(policy, spec=msgspec.structs.replace(policy.spec, rules=kept))


def is_dry_run(policy: AuthorizationPolicy) -> bool:
    """Whether a policy is only to be evaluated. Source: Istio, ``istio.io/dry-run``, what Go takes for a true boolean."""
    return parse_bool(policy.metadata.annotations.get("istio.io/dry-run", "")) is True


def parse_port(text: str) -> int | None:
    """A port's number, or None for what is none."""
    number = int(text) if text.isascii() and text.isdigit() and len(text) <= len("65535") else -1
    return number if 0 <= number <= 65535 else None


def header_name(name: str) -> str:
    """The header that an attribute's name stands for: ``request.headers[X]``."""
    return name[len(HEADERS) + 1 : -1]


def _consequence(action: str) -> str:
    match action:
        case "ALLOW":
            return "the whole rule allows nothing"
        case "DENY":
            return "the rule denies as if this were not set"
        case _:
            return "the rule matches as if this were not set"


def _fields(part: Source | Operation | None, names: tuple[tuple[str, str], ...], path: str) -> tuple[Attribute, ...]:
    found = []
    for field, name in names:
        for prefix, negated in (("", False), ("not_", True)):
            values: tuple[str, ...] = getattr(part, prefix + field, ())
            if values:
                named = _unknown(name)
                here = join(path, _camel(prefix + field))
                found.append(_attribute(here, name, values, negated=negated, named=named))
    if not found:
        return (Attribute(path, "", (), False, "it is empty", "set a field of it, or leave the whole list out"),)
    return tuple(found)


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def _condition(condition: AuthorizationCondition, path: str) -> Iterator[Attribute]:
    if not condition.values and not condition.not_values:
        yield Attribute(path, condition.key, (), False, "it has no values", "set values or notValues")
    named = _name_problem(condition.key)
    for field, values, negated in (("values", condition.values, False), ("notValues", condition.not_values, True)):
        if values:
            yield _attribute(join(path, field), condition.key, values, negated=negated, named=named)


def _attribute(
    path: str, name: str, values: tuple[str, ...], *, negated: bool, named: tuple[str, str] = ("", "")
) -> Attribute:
    problem, remedy = named
    for value in values:
        if problem:
            break
        problem, remedy = _value_problem(name, value)
    return Attribute(path, name, values, negated, problem, remedy)


_FINE: Final = ("", "")
_CONDITIONS: Final = frozenset({Name.DESTINATION_IP, Name.DESTINATION_PORT} | {name for _, name in _SOURCE_FIELDS})


def _unknown(name: str) -> tuple[str, str]:
    for prefix, reason in _UNKNOWN.items():
        if name.startswith(prefix):
            return f"{name} is not known, as {reason}", "do without it"
    return _FINE


def _name_problem(name: str) -> tuple[str, str]:
    """Why nothing can be said about a condition's attribute, and what to do."""
    if (unknown := _unknown(name)) != _FINE:
        return unknown
    if name.startswith(HEADERS):
        if name.startswith(f"{HEADERS}[") and name.endswith("]") and _HEADER_NAME.fullmatch(header_name(name)):
            return _FINE
        return f"{name!r} names no header", f"write {HEADERS}[NAME]"
    if name not in _CONDITIONS:
        return (
            f"{name!r} is no attribute",
            f"use one that Istio's API names, such as {Name.PRINCIPAL} or {HEADERS}[NAME]",
        )
    return _FINE


def _value_problem(name: str, value: str) -> tuple[str, str]:
    """Why a value of an attribute cannot be enforced, and what to do."""
    if not value:
        return "a value is empty", "remove it"
    if len(value) > _LONGEST:
        return f"a value has {len(value)} characters", f"use at most {_LONGEST}"
    if "\0" in value or "\n" in value or "\r" in value:
        return f"{value!r} holds a line's end or NUL", "remove it"
    match name:
        case Name.PRINCIPAL if value.startswith("spiffe://"):
            return f"{value!r} begins with spiffe://", "leave that out"
        case Name.SOURCE_IP | Name.REMOTE_IP | Name.DESTINATION_IP if parse_block(value) is None:
            return f"{value!r} is neither an IP address nor a CIDR block", "write 192.0.2.1 or 192.0.2.0/24"
        case Name.DESTINATION_PORT if parse_port(value) is None:
            return f"{value!r} is no port", "use a number from 0 to 65535"
        case Name.SERVICE_ACCOUNT if "*" in value or not all(value.split("/")) or value.count("/") > 1:
            return f"{value!r} is no service account", "write NAME or NAMESPACE/NAME, without wildcards"
        case Name.TRUST_DOMAIN if "/" in value or value.strip("*").count("*") or value.count("*") > 1:
            return f"{value!r} is no trust domain", "write a name, at most one * at its start or end"
        case Name.PATH if "{" in value or "}" in value:
            return template_problem(value) or _FINE
    return _FINE
