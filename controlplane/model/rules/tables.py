"""Every rule, by what follows from it."""

from __future__ import annotations

from typing import Final

from controlplane.model.rules import (
    authorization_policy,
    destination_rule,
    gateway,
    http_route,
    kubernetes,
    load_balancer,
    service_entry,
)
from controlplane.model.rules.rule_set import RuleSet

RULES: Final = RuleSet(
    authorization_policy.RULES,
    destination_rule.RULES,
    gateway.RULES,
    http_route.RULES,
    kubernetes.RULES,
    load_balancer.RULES,
    service_entry.RULES,
)
"""Who breaks one of these is rejected."""

WARNINGS: Final = RuleSet(
    authorization_policy.WARNINGS, destination_rule.WARNINGS, load_balancer.WARNINGS, service_entry.WARNINGS
)
"""What is served, and most likely not meant."""

UNSUPPORTED: Final = RuleSet(
    authorization_policy.UNSUPPORTED,
    destination_rule.UNSUPPORTED,
    load_balancer.UNSUPPORTED,
    service_entry.UNSUPPORTED,
)
"""What the API has and we do not act on, where neither the field nor its value alone tells."""
