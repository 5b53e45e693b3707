"""TLS to a backend.

Nothing here falls back to plain text, nor to a certificate that nobody checked, where the policy does not say so:

* ``SIMPLE`` and ``MUTUAL`` verify the certificate: by the authorities of the Secret that the policy names, else by those of
  the proxy's system (``SYSTEM_AUTHORITIES``); and its name: one of ``subjectAltNames``, else the name that was asked for. ``insecureSkipVerify`` is
  the only way around both.
* ``MUTUAL`` without a Secret has no certificate to show; whether that will do is for the backend to say.
* ``ISTIO_MUTUAL`` needs an identity in Istio's mesh, which a proxy of ours does not have. No certificate is good enough then:
  requests get 503 and the backend sees no byte of them. Plain text would break the promise that the policy makes.
* The same holds where a policy names files of the proxy's disk (``clientCertificate``, ``privateKey``, ``caCertificates`` but for
  ``system``) and no Secret: they are not read, and others than those that were asked for would be trusted.
* A Secret that is missing, or lacks what is needed of it, is a cluster that cannot connect: requests get 503 until it comes; also
  where an Envoy has had it (``without_credentials``).
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import Final

import msgspec

from controlplane._proto.envoy.config.core.v3 import DataSource, TransportSocket
from controlplane._proto.envoy.extensions.transport_sockets.tls.v3 import (
    CertificateValidationContext,
    CommonTlsContext,
    CommonTlsContextCombinedCertificateValidationContext,
    SdsSecretConfig,
    SubjectAltNameMatcher,
    SubjectAltNameMatcherSanType,
    TlsParameters,
    TlsParametersTlsProtocol,
    UpstreamTlsContext,
)
from controlplane._proto.envoy.type.matcher.v3 import StringMatcher
from controlplane._proto.google.protobuf import Any
from controlplane.model.istio import ClientTLSSettings, TrafficPolicy
from controlplane.translate.config_source import FETCH_TIMEOUT, ads
from controlplane.translate.secret import ca_name

SYSTEM_AUTHORITIES: Final = "/etc/ssl/certs/ca-certificates.crt"
"""Whom the proxy's system trusts, where Debian, Ubuntu, Alpine and the images of Envoy have it.

Where the file is missing Envoy rejects the cluster, and the others go on. Not ``system_root_certs``: Envoy 1.40 knows the
field, ignores it, and then accepts any certificate.
"""

_LONGEST_SNI: Final = 255
_HTTP2: Final = "h2"
_NO_CERTIFICATE: Final = "0" * 64
"""The SHA-256 of no certificate."""


def secrets_of(policy: TrafficPolicy | None, namespace: str) -> tuple[str, ...]:
    """Names of the SDS resources that a cluster with this policy names, sorted.

    Args:
        policy: Of the cluster.
        namespace: Of the client: the Secret is there, wherever the rule is.

    Returns:
        ``namespace/name`` for a certificate with its key, ``namespace/name~ca`` for certificates of authorities.
    """
    tls = policy.tls if policy is not None else None
    if tls is None or not tls.credential_name or tls.mode not in {"SIMPLE", "MUTUAL"}:
        return ()
    secret = f"{namespace}/{tls.credential_name}"
    pair = (secret,) if tls.mode == "MUTUAL" else ()
    return pair if tls.insecure_skip_verify else (*pair, ca_name(secret))


def names_request_host(tls: ClientTLSSettings | None, host: str) -> bool:
    """Whether only a request can say which of a wildcard's hosts TLS is to name, and its certificate to have.

    Where the policy says one of the two, nothing is taken from requests.
    """
    if tls is None or tls.mode not in {"SIMPLE", "MUTUAL"} or not host.startswith("*"):
        return False
    return not tls.sni and not any(tls.subject_alt_names) and not tls.insecure_skip_verify


def names_files(tls: ClientTLSSettings) -> bool:
    """Whether a policy relies on files of the proxy's own disk."""
    files = (tls.client_certificate, tls.private_key, tls.ca_certificates.removeprefix("system"))
    return any(files) and not tls.credential_name


def without_credentials(policy: TrafficPolicy | None) -> TrafficPolicy | None:
    """A policy whose Secret, or what is needed of it, is not there: no certificate is good enough.

    An Envoy goes on using a Secret that is withdrawn, and a new one would not have it: so the cluster does not name it.
    """
    if policy is None or policy.tls is None:
        return policy
    return msgspec.structs.replace(policy, tls=msgspec.structs.replace(policy.tls, mode="ISTIO_MUTUAL"))


def translate_tls(
    tls: ClientTLSSettings | None, host: str, namespace: str, *, is_http2: bool
) -> TransportSocket | None:
    """The transport socket of a cluster; None for plain text.

    Args:
        tls: What the policy says.
        host: The backend's; can be a wildcard.
        namespace: Of the client, where the Secret is.
        is_http2: Whether HTTP/2 is to be negotiated.
    """
    if tls is None or tls.mode == "DISABLE":
        return None
    common = CommonTlsContext(
        # A client of Envoy's would stop at 1.2.
        tls_params=TlsParameters(
            tls_minimum_protocol_version=TlsParametersTlsProtocol.TLSv1_2,
            tls_maximum_protocol_version=TlsParametersTlsProtocol.TLSv1_3,
        ),
        alpn_protocols=[_HTTP2] if is_http2 else [],
    )
    context = UpstreamTlsContext(common_tls_context=common, sni=_sni(tls, host))
    if tls.mode == "ISTIO_MUTUAL" or names_files(tls):
        common.validation_context = CertificateValidationContext(verify_certificate_hash=[_NO_CERTIFICATE])
    else:
        _set_credentials(common, tls, host, namespace)
    return TransportSocket(name="envoy.transport_sockets.tls", typed_config=Any.pack(context))


def _set_credentials(common: CommonTlsContext, tls: ClientTLSSettings, host: str, namespace: str) -> None:
    secret = f"{namespace}/{tls.credential_name}" if tls.credential_name else ""
    if secret and tls.mode == "MUTUAL":
        common.tls_certificate_sds_secret_configs = [_served(secret)]
    if tls.insecure_skip_verify:
        return
    validation = CertificateValidationContext(match_typed_subject_alt_names=_accepted_names(tls, host))
    if secret:
        common.combined_validation_context = CommonTlsContextCombinedCertificateValidationContext(
            default_validation_context=validation,
            validation_context_sds_secret_config=_served(ca_name(secret)),
        )
    else:
        validation.trusted_ca = DataSource(filename=SYSTEM_AUTHORITIES)
        common.validation_context = validation


def _served(name: str) -> SdsSecretConfig:
    return SdsSecretConfig(name=name, sds_config=ads(FETCH_TIMEOUT))


def _sni(tls: ClientTLSSettings, host: str) -> str:
    """The name that TLS asks for; empty for none, which addresses and wildcards have."""
    name = tls.sni if 0 < len(tls.sni.encode()) <= _LONGEST_SNI and tls.sni.isprintable() else host
    return "" if name.startswith("*") or _address(name) else name


def _accepted_names(tls: ClientTLSSettings, host: str) -> list[SubjectAltNameMatcher]:
    """Names of which the certificate must have one. A certificate for ``*.example.com`` has that of each host."""
    said = sorted({name for name in tls.subject_alt_names if name and name.isprintable()})
    if said:
        return [_accepted_name(name) for name in said]
    if tls.sni or not host.startswith("*"):
        return [_accepted_name(_sni(tls, host) or host)]
    if not (suffix := host.removeprefix("*")):
        return []
    return [SubjectAltNameMatcher(san_type=SubjectAltNameMatcherSanType.DNS, matcher=StringMatcher(suffix=suffix))]


def _accepted_name(name: str) -> SubjectAltNameMatcher:
    kind, spelling = SubjectAltNameMatcherSanType.DNS, name
    if "://" in name:
        kind = SubjectAltNameMatcherSanType.URI
    elif address := _address(name):
        kind, spelling = SubjectAltNameMatcherSanType.IP_ADDRESS, address
    elif "@" in name:
        kind = SubjectAltNameMatcherSanType.EMAIL
    return SubjectAltNameMatcher(san_type=kind, matcher=StringMatcher(exact=spelling))


def _address(name: str) -> str:
    """One spelling for each IP address; empty for what is none."""
    try:
        return str(ip_address(name))
    except ValueError:
        return ""
