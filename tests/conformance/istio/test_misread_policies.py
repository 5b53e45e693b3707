"""A slip of the pen in an AuthorizationPolicy never lets more through."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conformance.manifests import manifest

from .mesh import service
from .waypoints import CAPTURED, at_waypoint, chains, last, waypoint


def policies(action: str, *rules: Any) -> dict[str, Any]:
    """The policies that the waypoint's filter for the service holds, by name; of the one action."""
    target = {"group": "", "kind": "Service", "name": "reviews"}
    spec = {"targetRefs": [target], "action": action, "rules": list(rules)}
    policy = manifest("AuthorizationPolicy", "security.istio.io/v1", "p", "gwtest", spec=spec)
    served = at_waypoint(waypoint(), service("reviews", labels=CAPTURED), policy)
    filters = last(chains(served)["fc_http_80_reviews_gwtest"])["typedConfig"]["httpFilters"]
    (found,) = (each["typedConfig"]["rules"] for each in filters if each["name"].endswith("rbac"))
    assert found.get("action", "ALLOW") == action
    named: dict[str, Any] = found.get("policies", {})
    return named


GOOD = {"to": [{"operation": {"methods": ["GET"]}}]}


@pytest.mark.parametrize(
    "misread",
    [
        {"form": [{"source": {"principals": ["x"]}}]},
        {"from": [{"source": {"namespaces": ["client"], "princpals": ["x"]}}]},
        {"to": [{"operation": {"methods": ["GET"], "path": ["/public"]}}]},
    ],
)
def test_a_rule_with_an_unknown_field_allows_nothing(misread: dict[str, Any]) -> None:
    """The others of the policy go on; without others, it allows nobody."""
    assert policies("ALLOW", misread) == policies("ALLOW")
    assert list(policies("ALLOW", misread, GOOD).values()) == list(policies("ALLOW", GOOD).values())


def test_a_rule_with_an_unknown_field_denies_what_the_rest_of_it_says() -> None:
    wider = policies("DENY", {"form": [{"source": {"principals": ["x"]}}], **GOOD})
    assert wider == policies("DENY", GOOD)
