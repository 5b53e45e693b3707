"""Whether the Secrets that a DestinationRule's TLS names are to be had where they are read: in the namespace of each client's Gateway.

A cluster whose Secret is missing connects nowhere until it comes, and its requests get 503. Told only where no Gateway has one
that will do: that only some of them have it may well be meant. Only rules that name a Secret read any, and no further than the
first that will do.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from controlplane.krt import Collection, Fetch, Graph, Index
from controlplane.model.ir import ObjectReport
from controlplane.model.istio import ClientTLSSettings, DestinationRule
from controlplane.model.kubernetes import Secret
from controlplane.model.problems import either, quoted
from controlplane.model.references import FieldProblem
from controlplane.model.services import ClientClass
from controlplane.reducers.base import Base
from controlplane.reducers.clients import Clients
from controlplane.reducers.destination_rules import ALL, seen_from
from controlplane.reducers.rule_localities import policies_of

_PAIR: Final = ("tls.crt", "tls.key")
_AUTHORITIES: Final = ("ca.crt",)
_MOST_NAMED: Final = 5


class ClientPlace(msgspec.Struct, frozen=True):
    """Clients of one namespace have a Gateway in another, or in the same."""

    key: tuple[str, str]
    """Their namespace, which decides whether they see a rule; the Gateway's, whose Secrets they are served."""


@dataclass(frozen=True)
class ClientPlaces:
    """Where clients and their Gateways are. That another client comes to a place changes nothing."""

    all: Collection[ClientPlace]
    by_client: Index[ClientPlace]
    """By the clients' namespace."""


def declare_client_places(graph: Graph, clients: Clients) -> ClientPlaces:
    """Declare where clients and their Gateways are."""
    sizes = graph.count("client_place_sizes", clients.classes, by=_place_of)
    places = graph.map("client_places", ClientPlace, sizes, lambda row, fetch: ClientPlace(row.key))
    return ClientPlaces(places, places.index("client_places_by_client", lambda row: row.key[0]))


def _place_of(row: ClientClass) -> tuple[str, str]:
    return row.namespace, row.key[0].partition("/")[0]


def _gateways(row: ClientPlace) -> str:
    return row.key[1]


def credentials_of(tls: ClientTLSSettings | None) -> tuple[str, ...]:
    """What the Secret that a policy names must hold, for it to be usable; empty if the policy needs none.

    What cannot be a Secret's name is told when the rule is decoded, and not sought.
    """
    if tls is None or tls.mode not in {"SIMPLE", "MUTUAL"} or not tls.credential_name or "/" in tls.credential_name:
        return ()
    pair = _PAIR if tls.mode == "MUTUAL" else ()
    return pair if tls.insecure_skip_verify else (*pair, *_AUTHORITIES)


def credential_problems(
    rule: DestinationRule, fetch: Fetch, base: Base, places: ClientPlaces
) -> Iterator[FieldProblem]:
    """Names of Secrets that none of a rule's clients is served; without a client, nobody can know."""
    wanted = [(path, policy.tls) for path, _, policy in policies_of(rule) if credentials_of(policy.tls)]
    if not wanted:
        return
    seen = seen_from(rule)
    if seen == (ALL,):
        found = {_gateways(row) for row in fetch.all(places.all)}
    else:
        found = {namespace for name in seen for namespace in fetch.by(places.by_client, name, view=_gateways)}
    for path, tls in wanted:
        if tls is not None and (problem := _unusable(fetch, base, sorted(found), tls)):
            yield FieldProblem(f"{path}.tls.credentialName", *problem)


def _unusable(fetch: Fetch, base: Base, namespaces: Iterable[str], tls: ClientTLSSettings) -> tuple[str, str] | None:
    """What is wrong with a Secret in each of the namespaces, and the remedy; None if it will do in one, or there are none."""
    name, needs = tls.credential_name, credentials_of(tls)
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
        where = (
            f"the Gateway's namespace {nowhere[0]}"
            if len(nowhere) == 1
            else f"the Gateways' namespaces {_listed(nowhere)}"
        )
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
