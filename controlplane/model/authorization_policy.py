"""Istio's AuthorizationPolicy: who may ask what.

Field names, defaults and meanings are those of security.istio.io; what Istio has and we do not act on is listed in
``controlplane.model.known_fields``.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, TypeAlias

import msgspec
from msgspec import Meta

from controlplane.model.base import NamespacedObject, Row
from controlplane.model.scalars import Group, Kind, ObjectName

AuthorizationAction: TypeAlias = Literal["ALLOW", "DENY", "AUDIT", "CUSTOM"]
ServiceAccounts: TypeAlias = Annotated[tuple[Annotated[str, Meta(max_length=320)], ...], Meta(max_length=16)]


class Source(Row, frozen=True, kw_only=True, gc=False):
    """Who asks; all that is set must hold, any value of a list."""

    principals: tuple[str, ...] = ()
    not_principals: tuple[str, ...] = ()
    request_principals: tuple[str, ...] = ()
    not_request_principals: tuple[str, ...] = ()
    namespaces: tuple[str, ...] = ()
    not_namespaces: tuple[str, ...] = ()
    service_accounts: ServiceAccounts = ()
    """Names, in the policy's namespace, or ``namespace/name``."""
    not_service_accounts: ServiceAccounts = ()
    trust_domains: tuple[str, ...] = ()
    not_trust_domains: tuple[str, ...] = ()
    ip_blocks: tuple[str, ...] = ()
    not_ip_blocks: tuple[str, ...] = ()
    remote_ip_blocks: tuple[str, ...] = ()
    not_remote_ip_blocks: tuple[str, ...] = ()


class Operation(Row, frozen=True, kw_only=True, gc=False):
    """What is asked for; all that is set must hold, any value of a list."""

    hosts: tuple[str, ...] = ()
    not_hosts: tuple[str, ...] = ()
    ports: tuple[str, ...] = ()
    not_ports: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    not_methods: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    not_paths: tuple[str, ...] = ()


class RuleFrom(Row, frozen=True, kw_only=True, gc=False):
    """One alternative of who asks."""

    source: Source | None = None
    """Never None, nor without a condition, in an object that was accepted."""


class RuleTo(Row, frozen=True, kw_only=True, gc=False):
    """One alternative of what is asked for."""

    operation: Operation | None = None
    """Never None, nor without a condition, in an object that was accepted."""


class AuthorizationCondition(Row, frozen=True, kw_only=True, gc=False):
    """A further attribute of the request; at least one of the two lists has items.

    Istio calls it ``Condition``, which is another thing here.
    """

    key: str
    values: tuple[str, ...] = ()
    not_values: tuple[str, ...] = ()


class AuthorizationRule(Row, frozen=True, kw_only=True, gc=False):
    """Matches a request that matches one of ``from``, one of ``to``, and all of ``when``; what is empty matches all."""

    from_: Annotated[tuple[RuleFrom, ...], Meta(max_length=512)] = msgspec.field(name="from", default=())
    to: tuple[RuleTo, ...] = ()
    when: tuple[AuthorizationCondition, ...] = ()


class PolicyTargetReference(Row, frozen=True, kw_only=True, gc=False):
    """Names what a policy is for."""

    kind: Kind
    name: ObjectName
    group: Group = ""
    """Empty, or ``core``, for a Service."""
    namespace: str = ""
    """Always empty in an object that was accepted: the policy's own."""


class AuthorizationPolicySpec(Row, frozen=True, kw_only=True, gc=False):
    """Whom to let through. No rules: ALLOW allows nothing, DENY denies nothing."""

    action: AuthorizationAction = "ALLOW"
    rules: Annotated[tuple[AuthorizationRule, ...], Meta(max_length=512)] = ()
    target_refs: Annotated[tuple[PolicyTargetReference, ...], Meta(max_length=16)] = ()


class AuthorizationPolicy(NamespacedObject, frozen=True, kw_only=True, gc=False):
    """Who may ask what of a waypoint or of a service behind it."""

    kind: ClassVar[str] = "AuthorizationPolicy"
    api_version: str = "security.istio.io/v1"
    spec: AuthorizationPolicySpec = AuthorizationPolicySpec()
