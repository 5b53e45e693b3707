"""The rules of DestinationRule but for how endpoints are chosen (``load_balancer``): the CRD's and Istio's own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from controlplane.model.base import Row
from controlplane.model.destination_rule import (
    ClientTLSSettings,
    DestinationRule,
    DestinationRuleSpec,
    HTTPSettings,
    OutlierDetection,
    PortTrafficPolicy,
    ProxySelector,
    TcpKeepalive,
    TCPSettings,
    TrafficPolicy,
)
from controlplane.model.hosts import is_host
from controlplane.model.problems import either, quoted
from controlplane.model.references import FieldProblem
from controlplane.model.rules.istio import durations, exports, selected_labels
from controlplane.model.rules.rule import Rule, repetitions

LONGEST_SNI: Final = 255
"""In octets. Source: RFC 6066; Envoy refuses a longer one."""

_VERIFYING: Final = frozenset({"SIMPLE", "MUTUAL"})
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


def tls_is_one_thing(tls: ClientTLSSettings) -> Iterator[FieldProblem]:
    """Certificates come from one place, and what is not to be verified has nothing to be verified by."""
    if tls.mode not in _VERIFYING:
        return
    files = [name for name, path in zip(_FILES, _files_of(tls), strict=True) if path]
    if tls.credential_name and files:
        yield FieldProblem("credentialName", f"does not go with {either(files)}", "leave it, and remove the files")
    elif tls.mode == "MUTUAL" and not tls.credential_name and not {"clientCertificate", "privateKey"} <= set(files):
        remedy = "add it: a Secret with certificate and key, in the Gateway's namespace"
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


def credential_is_a_name(tls: ClientTLSSettings) -> Iterator[FieldProblem]:
    """The namespace is the Gateway's, wherever the rule is."""
    if tls.mode in _VERIFYING and "/" in tls.credential_name and "://" not in tls.credential_name:
        problem = f"{quoted(tls.credential_name)} is no Secret's name, so none is found: requests get 503"
        yield FieldProblem("credentialName", problem, "use its name alone: it is read from the Gateway's namespace")


def names_can_be_asked_for(tls: ClientTLSSettings) -> Iterator[FieldProblem]:
    """A name that TLS cannot ask for, or that no certificate has, does not count."""
    if tls.mode not in _VERIFYING:
        return
    octets = len(tls.sni.encode())
    if octets > LONGEST_SNI:
        problem = f"{octets} octets, which TLS cannot send: the host is asked for instead"
        yield FieldProblem("sni", problem, f"use at most {LONGEST_SNI}")
    elif not tls.sni.isprintable():
        problem = f"{quoted(tls.sni)} is no name that TLS could ask for: the host is asked for instead"
        yield FieldProblem("sni", problem, "use a DNS name")
    for position, name in enumerate(tls.subject_alt_names):
        if not name.isprintable():
            problem = f"{quoted(name)} is in no certificate: it does not count"
            yield FieldProblem(f"subjectAltNames[{position}]", problem, "use a name that the certificate has")


def mode_is_served(tls: ClientTLSSettings) -> Iterator[FieldProblem]:
    """A proxy of ours has no identity in Istio's mesh."""
    if tls.mode == "ISTIO_MUTUAL":
        problem = '"ISTIO_MUTUAL" is not supported yet: requests get 503, and nothing is sent in plain text'
        yield FieldProblem("mode", problem, "use MUTUAL with a credentialName, or DISABLE for plain text")


def credential_is_a_secret(tls: ClientTLSSettings) -> Iterator[FieldProblem]:
    """Certificates come from Secrets alone."""
    if "://" in tls.credential_name:
        problem = f"{quoted(tls.credential_name)} is not supported yet: only Secrets are read"
        yield FieldProblem("credentialName", problem, "use the name of a Secret in the Gateway's namespace")


RULES: Final[dict[type[Row], tuple[Rule[Any], ...]]] = {
    ClientTLSSettings: (tls_is_one_thing, files_are_paths),
    DestinationRuleSpec: (host_is_one, rule_is_exported),
    HTTPSettings: (limits_are_not_negative, durations()),
    OutlierDetection: (durations(),),
    PortTrafficPolicy: (port_is_said,),
    ProxySelector: (selector_has_labels,),
    TCPSettings: (limits_are_not_negative, durations("idleTimeout")),
    TcpKeepalive: (durations(),),
}
WARNINGS: Final[dict[type[Row], tuple[Rule[Any], ...]]] = {
    ClientTLSSettings: (credential_is_a_name, names_can_be_asked_for),
    DestinationRule: (selected_rule_stays_at_home,),
    OutlierDetection: (local_errors_are_apart,),
    TrafficPolicy: (ports_have_one_policy,),
}
UNSUPPORTED: Final[dict[type[Row], tuple[Rule[Any], ...]]] = {
    ClientTLSSettings: (mode_is_served, credential_is_a_secret)
}
