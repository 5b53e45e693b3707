"""AuthorizationPolicies into Envoy's RBAC filters.

For each action one filter, in Istio's order: what is only noted, what is denied, what is allowed. Requests get through if no
DENY rule matches, and, where there is an ALLOW policy at all, some ALLOW rule does. What a rule says that cannot be enforced
never lets more through (see ``authorization_rules``). Source: Istio's API, security.istio.io/v1 (reference: istio-semantics,
4.7).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from controlplane._proto.envoy.config.listener.v3 import Filter
from controlplane._proto.envoy.config.rbac.v3 import Permission, Policy, Principal, Rbac, RbacAction
from controlplane._proto.envoy.extensions.filters.http.rbac.v3 import Rbac as HttpRbac
from controlplane._proto.envoy.extensions.filters.network.http_connection_manager.v3 import HttpFilter
from controlplane._proto.envoy.extensions.filters.network.rbac.v3 import Rbac as NetworkRbac
from controlplane._proto.google.protobuf import Any
from controlplane.model.events import Settings
from controlplane.model.istio import AuthorizationPolicy
from controlplane.reducers.authorization_rules import Attribute, Rule, is_dry_run, rules_of
from controlplane.translate.authorization_matchers import (
    all_permissions,
    all_principals,
    is_of_source,
    match_operation,
    match_source,
)

_HTTP: Final = "envoy.filters.http.rbac"
_NETWORK: Final = "envoy.filters.network.rbac"
_ACTIONS: Final = (("AUDIT", RbacAction.LOG), ("DENY", RbacAction.DENY), ("ALLOW", RbacAction.ALLOW))
_DRY_RUN: Final = {"AUDIT": "", "DENY": "istio_dry_run_deny_", "ALLOW": "istio_dry_run_allow_"}
"""By action: what the statistics and the metadata of policies in a dry run begin with."""

_NEVER: Final = Policy(
    permissions=[Permission(not_rule=Permission(any=True))], principals=[Principal(not_id=Principal(any=True))]
)


def http_filters(policies: Sequence[AuthorizationPolicy], settings: Settings) -> list[HttpFilter]:
    """The filters of an HTTP connection manager, which stand before all that answers requests.

    Args:
        policies: Those that hold, in any order; CUSTOM ones are passed over.
        settings: For the trust domain.

    Returns:
        One filter for each action that some policy has. They need the caller's SPIFFE ID in the filter state, paths that are
        normalized, and a connection whose addresses are restored.
    """
    filters = []
    for action, enforced, tried in _by_action(policies, settings, tcp=False):
        rbac = HttpRbac(rules=enforced, shadow_rules=tried, shadow_rules_stat_prefix=_DRY_RUN[action] if tried else "")
        filters.append(HttpFilter(name=_HTTP, typed_config=Any.pack(rbac)))
    return filters


def network_filters(policies: Sequence[AuthorizationPolicy], settings: Settings) -> list[Filter]:
    """The filters of a TCP chain, which stand after that which says who calls and before that which connects.

    A connection has no request: an ALLOW rule that asks for something of one allows nothing, a DENY rule denies as if it did
    not ask for that. Envoy decides at the caller's first byte, as in Istio: what a server says before that is heard.

    Args:
        policies: Those that hold, in any order; CUSTOM ones are passed over.
        settings: For the trust domain.
    """
    filters = []
    for action, enforced, tried in _by_action(policies, settings, tcp=True):
        rbac = NetworkRbac(
            rules=enforced,
            shadow_rules=tried,
            shadow_rules_stat_prefix=_DRY_RUN[action] if tried else "",
            stat_prefix="tcp.",
        )
        filters.append(Filter(name=_NETWORK, typed_config=Any.pack(rbac)))
    return filters


def _by_action(
    policies: Sequence[AuthorizationPolicy], settings: Settings, *, tcp: bool
) -> Iterator[tuple[str, Rbac | None, Rbac | None]]:
    """Each action that some policy has, with what is enforced and what is only tried; None where no policy is."""
    ordered = sorted(policies, key=lambda policy: policy.key)
    for action, rbac_action in _ACTIONS:
        of_action = [policy for policy in ordered if policy.spec.action == action]
        if not of_action:
            continue
        enforced, tried = (
            [policy for policy in of_action if is_dry_run(policy) == dry_run] for dry_run in (False, True)
        )
        yield (
            action,
            _rbac(enforced, rbac_action, settings, tcp=tcp) if enforced else None,
            _rbac(tried, rbac_action, settings, tcp=tcp) if tried else None,
        )


def _rbac(policies: list[AuthorizationPolicy], action: RbacAction, settings: Settings, *, tcp: bool) -> Rbac:
    found = {}
    for policy in policies:
        prefix = f"ns[{policy.metadata.namespace}]-policy[{policy.metadata.name}]"
        rules = rules_of(policy)
        for i, rule in enumerate(rules):
            translated = _translate_rule(rule, policy, settings, tcp=tcp)
            if translated is not None:
                found[f"{prefix}-rule[{i}]"] = translated
        if not rules:
            # An ALLOW policy without rules allows nothing, but it is there: what no policy allows is denied.
            found[f"{prefix}-rule[0]"] = _NEVER
    return Rbac(action=action, policies=dict(sorted(found.items())))


def _translate_rule(rule: Rule, policy: AuthorizationPolicy, settings: Settings, *, tcp: bool) -> Policy | None:
    """The rule, or None for an ALLOW rule that asks for something that cannot be enforced."""
    if policy.spec.action == "ALLOW" and not all(_is_enforceable(attribute, tcp=tcp) for attribute in rule.attributes):
        return None
    conditions = [attribute for attribute in rule.conditions if _is_enforceable(attribute, tcp=tcp)]
    about_source = [a for a in conditions if is_of_source(a)]
    about_operation = [a for a in conditions if not is_of_source(a)]
    sources = [[a for a in source if _is_enforceable(a, tcp=tcp)] for source in rule.sources or ((),)]
    operations = [[a for a in operation if _is_enforceable(a, tcp=tcp)] for operation in rule.operations or ((),)]
    namespace, trust_domain = policy.metadata.namespace, settings.trust_domain
    return Policy(
        permissions=[
            all_permissions([match_operation(a) for a in (*operation, *about_operation)]) for operation in operations
        ],
        principals=[
            all_principals([match_source(a, namespace, trust_domain) for a in (*source, *about_source)])
            for source in sources
        ],
    )


def _is_enforceable(attribute: Attribute, *, tcp: bool) -> bool:
    return not attribute.problem and not (tcp and attribute.http_only)
