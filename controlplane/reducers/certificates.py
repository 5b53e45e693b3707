"""What the certificateRefs of HTTPS and HBONE listeners resolve to.

Source: Gateway API v1, GatewayTLSConfig.CertificateRefs. HBONE is mutual TLS, so its Secrets must say whom to trust as well.
"""

from __future__ import annotations

from controlplane.krt import Collection, Fetch, Graph
from controlplane.model.conditions import Condition, ConditionType, Reason
from controlplane.model.gateway import Gateway, SecretObjectReference
from controlplane.model.ir import Listener, ListenerCertificates, OwnedGateway
from controlplane.model.kubernetes import Secret
from controlplane.reducers.base import Base
from controlplane.reducers.grants import GATEWAY_GROUP, Grants
from controlplane.reducers.protocols import HBONE


def declare_certificates(
    graph: Graph, base: Base, grants: Grants, owned: Collection[OwnedGateway], listeners: Collection[Listener]
) -> Collection[ListenerCertificates]:
    """Declare the certificates of every listener that ends TLS, by listener."""

    def resolve(listener: Listener, fetch: Fetch) -> ListenerCertificates | None:
        gateway = fetch(owned, listener.gateway, view=lambda row: row.gateway)
        ends_tls = listener.protocol == "HTTPS" or (listener.protocol == HBONE and listener.accepted.status)
        if not ends_tls or gateway is None:
            return None
        tls = next(spec.tls for spec in gateway.spec.listeners if spec.name == listener.name)
        references = tls.certificate_refs if tls is not None else ()
        secrets, usable, problems = [], [], []
        if not references:
            text = "tls.certificateRefs: empty; name a Secret of type kubernetes.io/tls"
            problems.append(_problem(Reason.INVALID_CERTIFICATE_REF, text))
        for reference in references:
            key = f"{reference.namespace or gateway.metadata.namespace}/{reference.name}"
            refusal = refuse(fetch, grants, gateway, reference, key)
            if refusal is not None:
                problems.append(refusal)
                continue
            secrets.append(key)
            problems.extend(missing(fetch, base, key))
            if fetch(base.secrets, key, view=lambda secret: bool(secret.pair_digest)):
                usable.append(key)
        if listener.protocol == HBONE and usable and not any(fetch(base.secrets, key, view=_has_ca) for key in usable):
            text = f"Secret {usable[0]} has no ca.crt, which says whose certificates clients must show; add it"
            problems.append(_problem(Reason.INVALID_CERTIFICATE_REF, text))
            usable = []
        return ListenerCertificates(listener.key, tuple(secrets), tuple(usable), tuple(problems))

    reads = (owned, base.secrets, base.reports, grants.by_pair)
    return graph.map("listener_certificates", ListenerCertificates, listeners, resolve, reads=reads)


def _has_ca(secret: Secret) -> bool:
    return bool(secret.ca_certificates)


def _problem(reason: Reason, message: str) -> Condition:
    return Condition(ConditionType.RESOLVED_REFS, False, reason, message)


def refuse(
    fetch: Fetch, grants: Grants, gateway: Gateway, reference: SecretObjectReference, key: str
) -> Condition | None:
    """Why a gateway may not use what a reference names, whether that exists or not; None if it may."""
    if (reference.group, reference.kind) != ("", "Secret"):
        kind = f"{reference.group or 'core'}/{reference.kind}"
        return _problem(
            Reason.INVALID_CERTIFICATE_REF, f"tls.certificateRefs: {kind} {key} is not supported; use a Secret"
        )
    namespace = key.partition("/")[0]
    own = gateway.metadata.namespace
    if grants.permit(
        fetch,
        kind=f"{GATEWAY_GROUP}/Gateway",
        namespace=own,
        to_kind="/Secret",
        to_namespace=namespace,
        to_name=reference.name,
    ):
        return None
    text = (
        f"tls.certificateRefs: Secret {key} may not be used from namespace {own}; add a ReferenceGrant in {namespace}"
    )
    return _problem(Reason.REF_NOT_PERMITTED, text)


def missing(fetch: Fetch, base: Base, key: str) -> tuple[Condition, ...]:
    """What is wrong with a Secret that may be used; one that is wrong now may still have a last good form."""
    errors = fetch(base.reports, f"Secret {key}", view=lambda report: report.errors)
    if errors:
        return tuple(_problem(Reason.INVALID_CERTIFICATE_REF, f"Secret {key}: {error}") for error in errors)
    has_pair = fetch(base.secrets, key, view=lambda secret: bool(secret.pair_digest))
    if has_pair:
        return ()
    if has_pair is None:
        text = f"Secret {key} does not exist; create it with type kubernetes.io/tls"
    else:
        text = f"Secret {key} holds no certificate; give it type kubernetes.io/tls with tls.crt and tls.key"
    return (_problem(Reason.INVALID_CERTIFICATE_REF, text),)
