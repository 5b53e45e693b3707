"""Whether the Secrets that a DestinationRule's TLS names are to be had where its clients look for them: in their own namespaces.

A cluster whose Secret is missing connects nowhere until it comes, and its requests get 503. Told only where no client can use
the Secret: that only some of them have it may well be meant. Only rules that name one read Secrets, and no further than the first
that will do.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import msgspec

from controlplane.krt import Collection, Fetch, Graph
from controlplane.model.ir import ObjectReport
from controlplane.model.istio import ClientTLSSettings, DestinationRule
from controlplane.model.kubernetes import Secret
from controlplane.model.problems import either, quoted
from controlplane.model.references import FieldProblem
from controlplane.reducers.base import Base
from controlplane.reducers.clients import Clients
from controlplane.reducers.destination_rules import ALL, seen_from
from controlplane.reducers.rule_localities import policies_of

_PAIR: Final = ("tls.crt", "tls.key")
_AUTHORITIES: Final = ("ca.crt",)
_MOST_NAMED: Final = 5


class ClientNamespace(msgspec.Struct, frozen=True):
    """A namespace that clients are in."""

    key: str


def declare_client_namespaces(graph: Graph, clients: Clients) -> Collection[ClientNamespace]:
    """Declare where clients are. That another client comes to a namespace that has one changes nothing."""
    sizes = graph.count("classes_of_namespaces", clients.classes, by=lambda row: row.namespace or None)
    return graph.map("client_namespaces", ClientNamespace, sizes, lambda row, fetch: ClientNamespace(str(row.key)))


def credentials_of(tls: ClientTLSSettings | None) -> tuple[str, ...]:
    """What the Secret that a policy names must hold, for it to be usable; empty if the policy needs none.

    What cannot be a Secret's name is told when the rule is decoded, and not sought.
    """
    if tls is None or tls.mode not in {"SIMPLE", "MUTUAL"} or not tls.credential_name or "/" in tls.credential_name:
        return ()
    pair = _PAIR if tls.mode == "MUTUAL" else ()
    return pair if tls.insecure_skip_verify else (*pair, *_AUTHORITIES)


def credential_problems(
    rule: DestinationRule, fetch: Fetch, base: Base, namespaces: Collection[ClientNamespace]
) -> Iterator[FieldProblem]:
    """Names of Secrets that no client of a rule can use; without a client, nobody can know."""
    wanted = [
        (path, policy.tls, needs) for path, _, policy in policies_of(rule) if (needs := credentials_of(policy.tls))
    ]
    if not wanted:
        return
    seen = seen_from(rule)
    if seen == (ALL,):
        seen = tuple(row.key for row in fetch.all(namespaces))
    else:
        seen = tuple(name for name in seen if fetch.exists(namespaces, name))
    for path, tls, needs in wanted:
        assert tls is not None, "it needs credentials"
        if problem := _unusable(fetch, base, seen, tls.credential_name, needs):
            yield FieldProblem(f"{path}.tls.credentialName", *problem)


def _unusable(
    fetch: Fetch, base: Base, namespaces: Iterable[str], name: str, needs: tuple[str, ...]
) -> tuple[str, str] | None:
    """What is wrong with a Secret in each of the namespaces, and the remedy; None if it will do in one, or there are none."""
    nowhere, wrong, remedies = [], [], []
    for namespace in namespaces:
        key = f"{namespace}/{name}"
        held: tuple[str, ...] | None = fetch(base.secrets, key, view=_held)
        if held is not None and set(needs) <= set(held):
            return None
        if held is not None:
            wrong.append(f"Secret {key} has no {either([part for part in needs if part not in held])}")
            remedies.append("add it to the Secret")
        elif errors := fetch(base.reports, f"Secret {key}", view=_errors):
            wrong.append(f"Secret {key} is not accepted ({errors[0].path}: {errors[0].problem})")
            remedies.append("mend the Secret")
        else:
            nowhere.append(namespace)
    if nowhere:
        where = f"namespace{'s' if len(nowhere) > 1 else ''} {_listed(nowhere)}, where the clients are"
        wrong.append(f"there is no Secret {quoted(name)} in {where}")
        remedies.append(f"create it there with {_all(needs)}")
    if not wrong:
        return None
    return f"requests get 503: {_listed(wrong)}", " or ".join(dict.fromkeys(remedies))


def _held(secret: Secret) -> tuple[str, ...]:
    pair = _PAIR if secret.pair_digest else ()
    return (*pair, *_AUTHORITIES) if secret.ca_certificates else pair


def _errors(report: ObjectReport) -> tuple[FieldProblem, ...]:
    return report.errors


def _all(parts: Sequence[str]) -> str:
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def _listed(texts: list[str]) -> str:
    more = len(texts) - _MOST_NAMED
    return ", ".join([*texts[:_MOST_NAMED], *([f"and {more} more"] if more > 0 else [])])
