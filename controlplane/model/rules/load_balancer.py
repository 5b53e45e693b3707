"""The rules of DestinationRule's ``loadBalancer``: the CRD's, Istio's own, and the bounds that an Envoy would refuse the cluster for.

Whether localities are well formed is not judged here: the rule's status says it, and the rest of the rule is applied.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from controlplane.model.base import Row
from controlplane.model.destination_rule import (
    ConsistentHashLB,
    Distribute,
    Failover,
    HTTPCookie,
    LoadBalancerSettings,
    LocalityLbSetting,
    Maglev,
    RingHash,
)
from controlplane.model.hash_keys import is_cookie_name, is_cookie_path, is_header_name
from controlplane.model.problems import either, entry, quoted
from controlplane.model.references import FieldProblem
from controlplane.model.rules.istio import durations
from controlplane.model.rules.rule import Rule

LARGEST_RING: Final = 8_388_608
LARGEST_TABLE: Final = 5_000_011
"""Envoy's bounds of a ring's and of a Maglev table's size."""
LARGE_RING: Final = 1_048_576
"""Above it an Envoy is seen to stall: a ring of 8,388,608 took it 5.8 s and 409 MB."""
_KEYS: Final = ("httpHeaderName", "httpCookie", "useSourceIp", "httpQueryParameterName")
_AT_RANDOM: Final = "nothing is hashed by it, and endpoints are chosen at random"


def balancer_is_one(settings: LoadBalancerSettings) -> Iterator[FieldProblem]:
    """Endpoints are chosen in one way."""
    if settings.simple is not None and settings.consistent_hash is not None:
        yield FieldProblem("consistentHash", "does not go with simple", "remove one of the two")


def hash_has_one_key(hash_: ConsistentHashLB) -> Iterator[FieldProblem]:
    """One thing is hashed."""
    keys = _keys_of(hash_)
    for key in keys[1:]:
        yield FieldProblem(key, f"does not go with {keys[0]}", "leave one of the two")
    for name, value in (
        ("httpHeaderName", hash_.http_header_name),
        ("httpQueryParameterName", hash_.http_query_parameter_name),
    ):
        if value == "":
            yield FieldProblem(name, "empty", "use the name, or remove the field")


def hash_has_one_algorithm(hash_: ConsistentHashLB) -> Iterator[FieldProblem]:
    """A ring or a table, and its size is said once."""
    if hash_.maglev is not None and hash_.ring_hash is not None:
        yield FieldProblem("maglev", "does not go with ringHash", "remove one of the two")
    if hash_.minimum_ring_size:
        if hash_.maglev is not None or hash_.ring_hash is not None:
            remedy = "remove it; ringHash has a minimumRingSize of its own"
            yield FieldProblem("minimumRingSize", "does not go with maglev or ringHash", remedy)
        yield from _ring_is_small(hash_.minimum_ring_size)


def ring_is_small(ring: RingHash) -> Iterator[FieldProblem]:
    """A ring has a largest size."""
    return _ring_is_small(ring.minimum_ring_size)


def _ring_is_small(size: int) -> Iterator[FieldProblem]:
    if size > LARGEST_RING:
        yield FieldProblem("minimumRingSize", f"{size} is too large for Envoy", f"use at most {LARGEST_RING}")


def table_is_prime(maglev: Maglev) -> Iterator[FieldProblem]:
    """A table's size is a prime number, and has a largest."""
    size = maglev.table_size
    if size > LARGEST_TABLE:
        problem = f"{size} is too large for Envoy"
        yield FieldProblem("tableSize", problem, f"use a prime number of at most {LARGEST_TABLE}")
    elif size and not _is_prime(size):
        yield FieldProblem("tableSize", f"{size} is no prime number", "use a prime number, such as 65537")


def _is_prime(number: int) -> bool:
    return number > 1 and all(number % divisor for divisor in range(2, int(number**0.5) + 1))


def cookie_is_named(cookie: HTTPCookie) -> Iterator[FieldProblem]:
    """A cookie has a name."""
    if not cookie.name:
        yield FieldProblem("name", "empty", "use the cookie's name")


def shares_or_failover(setting: LocalityLbSetting) -> Iterator[FieldProblem]:
    """Traffic is shared out, or goes to the nearest."""
    if setting.distribute and setting.failover:
        yield FieldProblem("failover", "does not go with distribute", "remove one of the two")


def shares_are_a_hundred(distribute: Distribute) -> Iterator[FieldProblem]:
    """Shares are percent, and the whole is 100."""
    for locality, weight in distribute.to.items():
        if not 1 <= weight <= 100:
            path = entry("to", locality)
            yield FieldProblem(path, f"{weight} is out of range", "use a whole number from 1 to 100")
    total = sum(distribute.to.values())
    if total != 100:
        yield FieldProblem("to", f"the weights sum to {total}", "let them sum to 100")


def failover_is_between_regions(failover: Failover) -> Iterator[FieldProblem]:
    """From one region to another, by their names alone."""
    for name, region in (("from", failover.from_), ("to", failover.to)):
        if "/" in region or "*" in region:
            yield FieldProblem(name, f"{quoted(region)} is more than a region", "use a region's name alone")
    if failover.from_ == failover.to:
        yield FieldProblem("to", f"{quoted(failover.to)} is the region of from too", "use another region")


def _keys_of(hash_: ConsistentHashLB) -> list[str]:
    values = (hash_.http_header_name, hash_.http_cookie, hash_.use_source_ip, hash_.http_query_parameter_name)
    return [name for name, value in zip(_KEYS, values, strict=True) if value is not None]


def hash_has_a_key(hash_: ConsistentHashLB) -> Iterator[FieldProblem]:
    """Without a key there is nothing to be consistent with."""
    if not _keys_of(hash_) or (hash_.use_source_ip is False and len(_keys_of(hash_)) == 1):
        yield FieldProblem("", "nothing to hash: endpoints are chosen at random", f"add {either(_KEYS)}")


def header_can_be_sent(hash_: ConsistentHashLB) -> Iterator[FieldProblem]:
    """A header that no request has is nothing to hash."""
    name = hash_.http_header_name
    if name and not is_header_name(name):
        problem = f"{quoted(name)} is no header's name: {_AT_RANDOM}"
        yield FieldProblem("httpHeaderName", problem, "use letters, digits and '-'")


def cookie_can_be_sent(cookie: HTTPCookie) -> Iterator[FieldProblem]:
    """Nor is a cookie that no request has."""
    if cookie.name and not is_cookie_name(cookie.name):
        problem = f"{quoted(cookie.name)} is no cookie's name: {_AT_RANDOM}"
        yield FieldProblem("name", problem, "use letters, digits, '-' and '_'")
    if not is_cookie_path(cookie.path):
        problem = f"{quoted(cookie.path)} is no cookie's path: {_AT_RANDOM}"
        yield FieldProblem("path", problem, "use printable ASCII without ';'")


def ring_is_quick(hash_: ConsistentHashLB | RingHash) -> Iterator[FieldProblem]:
    """A ring is built anew whenever endpoints come or go, and nothing else is done meanwhile."""
    size = hash_.minimum_ring_size
    if size > LARGE_RING:
        problem = f"with {size} entries Envoy stalls for seconds, in hundreds of megabytes, whenever endpoints change"
        yield FieldProblem("minimumRingSize", problem, f"use at most {LARGE_RING}")


def choice_is_served(settings: LoadBalancerSettings) -> Iterator[FieldProblem]:
    """A gateway has no address that a client went to, to pass it through to."""
    if settings.simple == "PASSTHROUGH":
        problem = '"PASSTHROUGH" is not supported yet: the default balancing is used, endpoints take turns'
        yield FieldProblem("simple", problem, "remove it, or use LEAST_REQUEST, RANDOM or ROUND_ROBIN")


RULES: Final[dict[type[Row], tuple[Rule[Any], ...]]] = {
    ConsistentHashLB: (hash_has_one_key, hash_has_one_algorithm),
    Distribute: (shares_are_a_hundred,),
    Failover: (failover_is_between_regions,),
    HTTPCookie: (cookie_is_named, durations("ttl")),
    LoadBalancerSettings: (balancer_is_one,),
    LocalityLbSetting: (shares_or_failover,),
    Maglev: (table_is_prime,),
    RingHash: (ring_is_small,),
}
WARNINGS: Final[dict[type[Row], tuple[Rule[Any], ...]]] = {
    ConsistentHashLB: (hash_has_a_key, header_can_be_sent, ring_is_quick),
    HTTPCookie: (cookie_can_be_sent,),
    RingHash: (ring_is_quick,),
}
UNSUPPORTED: Final[dict[type[Row], tuple[Rule[Any], ...]]] = {LoadBalancerSettings: (choice_is_served,)}
