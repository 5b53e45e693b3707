"""What an AuthorizationPolicy means, from Istio's description of it and nothing of ours, on manifests as they are written.

Beyond Istio's text it knows what cannot be told (tokens, SNI, what a connection has of a request) and the one law for that: an
ALLOW rule that needs it matches nothing, any other rule matches as if it did not ask.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Any

from tests.translate.authorization_world import Call

Manifest = dict[str, Any]
ID = re.compile(r"spiffe://([^/]+)/ns/([^/]+)/sa/([^/]+)")


def is_let_through(policies: list[Manifest], call: Call, to: str, *, tcp: bool) -> bool:
    """Whether a call to an address gets through."""
    enforced = [p for p in policies if p["metadata"].get("annotations", {}).get("istio.io/dry-run") != "true"]
    for policy in enforced:
        if policy["spec"].get("action") == "DENY" and policy_matches(policy, call, to, tcp=tcp):
            return False
    allowing = [p for p in enforced if p["spec"].get("action", "ALLOW") == "ALLOW"]
    return not allowing or any(policy_matches(p, call, to, tcp=tcp) for p in allowing)


def policy_matches(policy: Manifest, call: Call, to: str, *, tcp: bool) -> bool:
    """Whether some rule of a policy matches."""
    is_allow = policy["spec"].get("action", "ALLOW") == "ALLOW"
    judge = Judge(call, to, policy["metadata"]["namespace"], tcp=tcp)
    for rule in policy["spec"].get("rules", []):
        sources = [judge.source(f.get("source") or {}) for f in rule.get("from", [])] or [[True]]
        operations = [judge.operation(t.get("operation") or {}) for t in rule.get("to", [])] or [[True]]
        conditions = [fact for when in rule.get("when", []) for fact in judge.condition(when)]
        facts = [fact for part in [*sources, *operations, conditions] for fact in part]
        if is_allow and None in facts:
            continue
        if (
            any(all(fact is not False for fact in part) for part in sources)
            and any(all(fact is not False for fact in part) for part in operations)
            and all(fact is not False for fact in conditions)
        ):
            return True
    return False


class Judge:
    """Facts about one call: true, false, or None for what nobody can tell."""

    def __init__(self, call: Call, to: str, namespace: str, *, tcp: bool) -> None:
        self.call = call
        self.to = to
        self.namespace = namespace
        self.tcp = tcp
        self.identity = ID.fullmatch(call.principal or "")

    def source(self, source: Manifest) -> list[bool | None]:
        return self._pairs(
            source,
            {
                "principals": self.principal,
                "namespaces": self.of_namespace,
                "serviceAccounts": self.service_account,
                "trustDomains": self.trust_domain,
                "ipBlocks": self.from_ip,
                "remoteIpBlocks": self.from_ip,
                "requestPrincipals": unknown,
            },
        )

    def operation(self, operation: Manifest) -> list[bool | None]:
        return self._pairs(
            operation, {"hosts": self.host, "ports": self.port, "methods": self.method, "paths": self.path}
        )

    def condition(self, when: Manifest) -> list[bool | None]:
        key = when["key"]
        known = {
            "source.principal": self.principal,
            "source.namespace": self.of_namespace,
            "source.serviceAccount": self.service_account,
            "source.trustDomain": self.trust_domain,
            "source.ip": self.from_ip,
            "remote.ip": self.from_ip,
            "destination.ip": lambda value: in_block(self.to, value),
            "destination.port": self.port,
        }
        test = known.get(key, unknown)
        if key.startswith("request.headers["):
            test = self.header(key.removeprefix("request.headers[").removesuffix("]"))
        facts = []
        if when.get("values"):
            facts.append(one_of(test, when["values"]))
        if when.get("notValues"):
            facts.append(none_of(test, when["notValues"]))
        return facts or [None]

    def _pairs(self, part: Manifest, tests: dict[str, Any]) -> list[bool | None]:
        facts: list[bool | None] = []
        for name, test in tests.items():
            if part.get(name):
                facts.append(one_of(test, part[name]))
            negative = "not" + name[0].upper() + name[1:]
            if part.get(negative):
                facts.append(none_of(test, part[negative]))
        return facts or [None]

    def principal(self, value: str) -> bool:
        if self.identity is None:
            return False
        mine = self.identity[0].removeprefix("spiffe://")
        return like(mine, value)

    def of_namespace(self, value: str) -> bool:
        pattern = "".join(".*" if c == "*" else re.escape(c) for c in value)
        return self.identity is not None and re.fullmatch(pattern, self.identity[2]) is not None

    def service_account(self, value: str) -> bool | None:
        if "*" in value or value.count("/") > 1:
            return None
        namespace, account = value.split("/") if "/" in value else (self.namespace, value)
        return self.identity is not None and self.identity.group(2, 3) == (namespace, account)

    def trust_domain(self, value: str) -> bool:
        return self.identity is not None and like(self.identity[1], value)

    def from_ip(self, value: str) -> bool | None:
        return in_block(self.call.source, value)

    def port(self, value: str) -> bool | None:
        return int(value) == self.call.port if value.isdigit() and int(value) < 65536 else None

    def host(self, value: str) -> bool | None:
        return None if self.tcp else like(self.call.host.lower(), value.lower())

    def method(self, value: str) -> bool | None:
        return None if self.tcp else like(self.call.method, value)

    def path(self, value: str) -> bool | None:
        if self.tcp:
            return None
        path = self.call.path.partition("?")[0]
        if "{" not in value:
            return like(path, value)
        wanted, got = value.split("/"), path.split("/")
        if "{**}" not in wanted:
            return len(wanted) == len(got) and all(
                w == g or (w == "{*}" and g) for w, g in zip(wanted, got, strict=True)
            )
        at = wanted.index("{**}")
        after = wanted[at + 1 :]
        if len(got) < at + 1 + len(after) or (after and got[-len(after) :] != after):
            return False
        return all(w == g or (w == "{*}" and g) for w, g in zip(wanted[:at], got[:at], strict=True))

    def header(self, name: str) -> Any:
        values = [value for header, value in self.call.headers if header.lower() == name.lower()]

        def test(value: str) -> bool | None:
            if self.tcp:
                return None
            return bool(values) and like(",".join(values), value)

        return test


def unknown(value: str) -> None:
    """Nobody can tell."""


def one_of(test: Any, values: list[str]) -> bool | None:
    facts = [test(value) if value else None for value in values]
    return None if None in facts else any(facts)


def none_of(test: Any, values: list[str]) -> bool | None:
    fact = one_of(test, values)
    return None if fact is None else not fact


def like(text: str, pattern: str) -> bool:
    if pattern == "*":
        return text != ""
    if pattern.startswith("*"):
        return text.endswith(pattern[1:])
    if pattern.endswith("*"):
        return text.startswith(pattern[:-1])
    return text == pattern


def in_block(address: str, block: str) -> bool | None:
    try:
        network = ipaddress.ip_network(block, strict=False)
    except ValueError:
        return None
    return ipaddress.ip_address(address) in network
