"""The rules of DestinationRule: the CRD's, Istio's own, and the bounds that an Envoy would refuse the cluster for.

Whether localities are well formed is not judged here: the rule's status says it, and the rest of the rule is applied.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from controlplane.model.base import Row
from controlplane.model.destination_rule import (
    ClientTLSSettings,
    ConsistentHashLB,
    DestinationRule,
    DestinationRuleSpec,
    Distribute,
    Failover,
    HTTPCookie,
    HTTPSettings,
    LoadBalancerSettings,
    LocalityLbSetting,
    Maglev,
    OutlierDetection,
    PortTrafficPolicy,
    ProxySelector,
    RingHash,
    TcpKeepalive,
    TCPSettings,
    TrafficPolicy,
)
from controlplane.model.hosts import is_host
from controlplane.model.problems import either, entry, quoted
from controlplane.model.references import FieldProblem
from controlplane.model.rules.istio import durations, exports, selected_labels
from controlplane.model.rules.rule import Rule, repetitions

LARGEST_RING: Final = 8_388_608
LARGEST_TABLE: Final = 5_000_011
"""Envoy's bounds of a ring's and of a Maglev table's size."""

_KEYS: Final = ("httpHeaderName", "httpCookie", "useSourceIp", "httpQueryParameterName")
_FILES: Final = ("clientCertificate", "privateKey", "caCertificates")


def host_is_one(spec: DestinationRuleSpec) -> Iterator[FieldProblem]:
    """A DNS name, a Service's name, or a wildcard."""
    if not is_host(spec.host):
        remedy = "use a DNS name, a Service's name, or a wildcard such as *.example.com"
        yield FieldProblem("host", f"{quoted(spec.host)} is no host", remedy)


def rule_is_exported(spec: DestinationRuleSpec) -> Iterator[FieldProblem]:
    """To namespaces or to all."""
    return exports(spec.export_to, (".", "*"))


def selector_has_labels(selector: ProxySelector) -> Iterator[FieldProblem]:
    """Labels are compared as they stand."""
    return selected_labels(selector.match_labels, "matchLabels")


def port_is_said(policy: PortTrafficPolicy) -> Iterator[FieldProblem]:
    """A port's policy names the port."""
    if not policy.port.number:
        yield FieldProblem("port.number", "required, but missing", "add it: a port of the host, from 1 to 65535")


def limits_are_not_negative(settings: TCPSettings | HTTPSettings) -> Iterator[FieldProblem]:
    """Limits count something."""
    names = zip(settings.__struct_fields__, settings.__struct_encode_fields__, strict=True)
    for attribute, name in names:
        value = getattr(settings, attribute)
        if isinstance(value, int) and value < 0:
            yield FieldProblem(name, f"{value} is negative", "use a whole number, or remove the field")


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


def tls_is_one_thing(tls: ClientTLSSettings) -> Iterator[FieldProblem]:
    """Certificates come from one place, and what is not to be verified has nothing to be verified by."""
    if tls.mode not in {"SIMPLE", "MUTUAL"}:
        return
    files = [name for name, path in zip(_FILES, _files_of(tls), strict=True) if path]
    if tls.credential_name and files:
        yield FieldProblem("credentialName", f"does not go with {either(files)}", "leave it, and remove the files")
    elif tls.mode == "MUTUAL" and not tls.credential_name and not {"clientCertificate", "privateKey"} <= set(files):
        remedy = "add it: a Secret with certificate and key, in the client's namespace"
        yield FieldProblem("credentialName", "required with mode MUTUAL, but missing", remedy)
    if tls.insecure_skip_verify:
        verified_by = [("caCertificates", tls.ca_certificates), ("subjectAltNames", tls.subject_alt_names)]
        if tls.mode == "SIMPLE":
            verified_by.append(("credentialName", tls.credential_name))
        for name, value in verified_by:
            if value:
                yield FieldProblem(name, "does not go with insecureSkipVerify", "remove one of the two")


def files_are_paths(tls: ClientTLSSettings) -> Iterator[FieldProblem]:
    """Where a path belongs, a key itself would come into the log."""
    for name, path in zip(_FILES, _files_of(tls), strict=True):
        if "-----BEGIN" in path or "\n" in path:
            yield FieldProblem(name, "this is no path", "put certificates and keys into a Secret, and name it")


def _files_of(tls: ClientTLSSettings) -> tuple[str, str, str]:
    return tls.client_certificate, tls.private_key, tls.ca_certificates


def _keys_of(hash_: ConsistentHashLB) -> list[str]:
    values = (hash_.http_header_name, hash_.http_cookie, hash_.use_source_ip, hash_.http_query_parameter_name)
    return [name for name, value in zip(_KEYS, values, strict=True) if value is not None]


def hash_has_a_key(hash_: ConsistentHashLB) -> Iterator[FieldProblem]:
    """Without a key there is nothing to be consistent with."""
    if not _keys_of(hash_) or (hash_.use_source_ip is False and len(_keys_of(hash_)) == 1):
        yield FieldProblem("", "nothing to hash: endpoints are chosen at random", f"add {either(_KEYS)}")


def ports_have_one_policy(policy: TrafficPolicy) -> Iterator[FieldProblem]:
    """A port's first policy counts."""
    for position, first in repetitions(settings.port.number or None for settings in policy.port_level_settings):
        problem = f"has no effect: portLevelSettings[{first}] is for the same port"
        yield FieldProblem(f"portLevelSettings[{position}]", problem, "remove one of the two")


def local_errors_are_apart(detection: OutlierDetection) -> Iterator[FieldProblem]:
    """Local errors count on their own only where they are told from the others."""
    if detection.consecutive_local_origin_failures and not detection.split_external_local_origin_errors:
        problem = "has no effect without splitExternalLocalOriginErrors"
        yield FieldProblem("consecutiveLocalOriginFailures", problem, "set splitExternalLocalOriginErrors to true")


def selected_rule_stays_at_home(rule: DestinationRule) -> Iterator[FieldProblem]:
    """A rule for some workloads is a rule of their namespace."""
    if rule.spec.workload_selector is None:
        return
    for position, name in enumerate(rule.spec.export_to):
        if name not in {".", rule.metadata.namespace}:
            problem = "has no effect: with workloadSelector a rule is for its own namespace"
            yield FieldProblem(f"spec.exportTo[{position}]", problem, "remove it, or remove workloadSelector")


def credential_is_a_secret(tls: ClientTLSSettings) -> Iterator[FieldProblem]:
    """Certificates come from Secrets alone."""
    if "://" in tls.credential_name:
        problem = f"{quoted(tls.credential_name)} is not supported yet: only Secrets are read"
        yield FieldProblem("credentialName", problem, "use the name of a Secret in the client's namespace")


RULES: Final[dict[type[Row], tuple[Rule[Any], ...]]] = {
    ClientTLSSettings: (tls_is_one_thing, files_are_paths),
    ConsistentHashLB: (hash_has_one_key, hash_has_one_algorithm),
    DestinationRuleSpec: (host_is_one, rule_is_exported),
    Distribute: (shares_are_a_hundred,),
    Failover: (failover_is_between_regions,),
    HTTPCookie: (cookie_is_named, durations("ttl")),
    HTTPSettings: (limits_are_not_negative, durations()),
    LoadBalancerSettings: (balancer_is_one,),
    LocalityLbSetting: (shares_or_failover,),
    Maglev: (table_is_prime,),
    OutlierDetection: (durations(),),
    PortTrafficPolicy: (port_is_said,),
    ProxySelector: (selector_has_labels,),
    RingHash: (ring_is_small,),
    TCPSettings: (limits_are_not_negative, durations("idleTimeout")),
    TcpKeepalive: (durations(),),
}
WARNINGS: Final[dict[type[Row], tuple[Rule[Any], ...]]] = {
    ConsistentHashLB: (hash_has_a_key,),
    DestinationRule: (selected_rule_stays_at_home,),
    OutlierDetection: (local_errors_are_apart,),
    TrafficPolicy: (ports_have_one_policy,),
}
UNSUPPORTED: Final[dict[type[Row], tuple[Rule[Any], ...]]] = {ClientTLSSettings: (credential_is_a_secret,)}
