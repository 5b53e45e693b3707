"""Attributes of AuthorizationPolicies into what Envoy's RBAC filters match: principals (who asks) and permissions (for what).

The caller's identity is the filter state ``io.istio.peer_principal``: the whole SPIFFE ID, as a node's proxy passes it on and as
a certificate's URI says it. Where Istio takes any text for an identity (``*``), this asks for ``spiffe://``: what a listener
writes for a caller without one is no identity. Addresses of callers are those of the connection as its listener filters have
restored them; the address that the packets came from is a proxy's, on the same machine. Source: Istio's API and its behaviour.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from controlplane._proto.envoy.config.core.v3 import CidrRange
from controlplane._proto.envoy.config.rbac.v3 import Permission, PermissionSet, Principal, PrincipalSet
from controlplane._proto.envoy.config.route.v3 import HeaderMatcher
from controlplane._proto.envoy.type.matcher.v3 import FilterStateMatcher, PathMatcher, RegexMatcher, StringMatcher
from controlplane.model.addresses import parse_block
from controlplane.reducers.authorization_paths import is_path_template, path_expression
from controlplane.reducers.authorization_rules import (
    HEADERS,
    Attribute,
    Name,
    header_name,
    parse_port,
)

PEER_PRINCIPAL: Final = "io.istio.peer_principal"
"""Key of the filter state that holds the caller's SPIFFE ID, an ``envoy.string``; absent for a caller without one."""

_SPIFFE: Final = "spiffe://"
_LOCAL_TRUST_DOMAIN: Final = "cluster.local"
_SOURCES: Final = (
    Name.PRINCIPAL,
    Name.NAMESPACE,
    Name.SERVICE_ACCOUNT,
    Name.TRUST_DOMAIN,
    Name.SOURCE_IP,
    Name.REMOTE_IP,
)


def is_of_source(attribute: Attribute) -> bool:
    """Whether an attribute speaks of who asks, and not of what is asked for."""
    return attribute.name in _SOURCES or attribute.name.startswith(HEADERS)


def any_principal(parts: Sequence[Principal]) -> Principal:
    """A principal that is one of these."""
    return parts[0] if len(parts) == 1 else Principal(or_ids=PrincipalSet(ids=list(parts)))


def all_principals(parts: Sequence[Principal]) -> Principal:
    """A principal that is all of these; of none, any principal."""
    if len(parts) <= 1:
        return parts[0] if parts else Principal(any=True)
    return Principal(and_ids=PrincipalSet(ids=list(parts)))


def any_permission(parts: Sequence[Permission]) -> Permission:
    """A permission that is one of these."""
    return parts[0] if len(parts) == 1 else Permission(or_rules=PermissionSet(rules=list(parts)))


def all_permissions(parts: Sequence[Permission]) -> Permission:
    """A permission that is all of these; of none, any permission."""
    if len(parts) <= 1:
        return parts[0] if parts else Permission(any=True)
    return Permission(and_rules=PermissionSet(rules=list(parts)))


def match_source(attribute: Attribute, namespace: str, trust_domain: str) -> Principal:
    """The principal that an attribute asks for; it has no problem and ``is_of_source``.

    Args:
        attribute: It.
        namespace: The policy's, where a service account names none.
        trust_domain: Ours, which ``cluster.local`` stands for.
    """
    matched = any_principal([_match_caller(attribute.name, v, namespace, trust_domain) for v in attribute.values])
    return Principal(not_id=matched) if attribute.negated else matched


def match_operation(attribute: Attribute) -> Permission:
    """The permission that an attribute asks for; it has no problem and is not ``is_of_source``."""
    matched = any_permission([_match_request(attribute.name, value) for value in attribute.values])
    return Permission(not_rule=matched) if attribute.negated else matched


def _match_caller(name: str, value: str, namespace: str, trust_domain: str) -> Principal:
    match name:
        case Name.PRINCIPAL:
            return _peer(_principal(localize(value, trust_domain)))
        case Name.NAMESPACE:
            middle = ".*".join(re.escape(part) for part in value.split("*"))
            return _peer(_expression(f".*/ns/{middle}/.*"))
        case Name.SERVICE_ACCOUNT:
            given, _, account = value.rpartition("/")
            where = re.escape(given or namespace)
            return _peer(_expression(f"{_SPIFFE}.+/ns/{where}/(.+/|)sa/{re.escape(account)}(/.+)?"))
        case Name.TRUST_DOMAIN:
            return _peer(_trust_domain(value))
        case Name.SOURCE_IP:
            return Principal(source_ip=_block(value))
        case Name.REMOTE_IP:
            return Principal(remote_ip=_block(value))
        case _:
            return Principal(header=_header(header_name(name), value))


def _match_request(name: str, value: str) -> Permission:
    match name:
        case Name.HOST:
            return Permission(header=_header(":authority", value, ignore_case=True))
        case Name.METHOD:
            return Permission(header=_header(":method", value))
        case Name.PATH:
            return _path(value)
        case Name.DESTINATION_IP:
            return Permission(destination_ip=_block(value))
        case Name.DESTINATION_PORT:
            port = parse_port(value)
            assert port is not None, value
            return Permission(destination_port=port)
        case _:
            raise AssertionError(name)


def localize(principal: str, trust_domain: str) -> str:
    """A principal of a policy with our trust domain where it names ours.

    ``cluster.local`` always means ours; a pattern that ours ends as stays. Source: Istio's trust domain migration, for a mesh
    without aliases.
    """
    domain, slash, rest = principal.partition("/")
    if rest.count("/") != 3 or domain == "*" or (domain[:1] == "*" and trust_domain.endswith(domain[1:])):
        return principal
    is_ours = domain == _LOCAL_TRUST_DOMAIN or (domain[-1:] == "*" and trust_domain.startswith(domain[:-1]))
    return f"{trust_domain}{slash}{rest}" if is_ours else principal


def _principal(value: str) -> StringMatcher:
    if value == "*":
        return StringMatcher(prefix=_SPIFFE)
    if value.startswith("*"):
        return _expression(f"{_SPIFFE}.*{re.escape(value[1:])}")
    if value.endswith("*"):
        return StringMatcher(prefix=_SPIFFE + value[:-1])
    return StringMatcher(exact=_SPIFFE + value)


def _trust_domain(value: str) -> StringMatcher:
    if value == "*":
        return StringMatcher(prefix=_SPIFFE)
    if "*" not in value:
        return StringMatcher(prefix=f"{_SPIFFE}{value}/")
    before, _, after = value.partition("*")
    return _expression(f"{_SPIFFE}{re.escape(before)}[^/]*{re.escape(after)}/.*")


def _peer(matcher: StringMatcher) -> Principal:
    return Principal(filter_state=FilterStateMatcher(key=PEER_PRINCIPAL, string_match=matcher))


def _expression(text: str) -> StringMatcher:
    return StringMatcher(safe_regex=RegexMatcher(regex=text))


def _block(value: str) -> CidrRange:
    block = parse_block(value)
    assert block is not None, value
    return CidrRange(address_prefix=str(block.network_address), prefix_len=block.prefixlen)


def _text(value: str, *, ignore_case: bool = False) -> StringMatcher:
    """Exactly the value, or its beginning or end where it has a ``*``; never for ``*`` alone."""
    if value.startswith("*"):
        return StringMatcher(suffix=value[1:], ignore_case=ignore_case)
    if value.endswith("*"):
        return StringMatcher(prefix=value[:-1], ignore_case=ignore_case)
    return StringMatcher(exact=value, ignore_case=ignore_case)


def _header(name: str, value: str, *, ignore_case: bool = False) -> HeaderMatcher:
    if value == "*":
        return HeaderMatcher(name=name, present_match=True)
    return HeaderMatcher(name=name, string_match=_text(value, ignore_case=ignore_case))


def _path(value: str) -> Permission:
    if value == "*":
        return Permission(header=_header(":path", value))
    matcher = _expression(path_expression(value)) if is_path_template(value) else _text(value)
    return Permission(url_path=PathMatcher(path=matcher))
