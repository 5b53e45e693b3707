"""TLS between an Envoy and its control plane, from the Envoy's side: whom it trusts, and what it shows of itself.

An Envoy reads certificates that its bootstrap names once. To take up renewed ones it has to be told of them by SDS, from files
of their own that describe them (``secret_documents``); then it watches the certificates' folders, for files and links that are
moved into them, as Kubernetes and cert-manager do it.
"""

from __future__ import annotations

import ipaddress
from pathlib import Path, PurePath
from typing import Final, Self

import msgspec

from controlplane.infra.errors import InfraError

Document = dict[str, object]

_CLIENT: Final = "xds_client"
_AUTHORITY: Final = "xds_authority"
_TYPES: Final = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3."


class ClientTls(msgspec.Struct, frozen=True):
    """What an Envoy needs to connect with TLS. All paths are the Envoy's."""

    authority: str
    """PEM file of the authorities that sign the control plane's certificate."""
    certificate: str = ""
    """PEM file of the Envoy's own certificate; empty shows none."""
    key: str = ""
    """PEM file of its private key."""
    name: str = ""
    """DNS name or IP address that the control plane's certificate must be for; empty is where the Envoy connects to."""
    secrets: str = ""
    """Folder of the files that ``secret_documents`` gives; empty reads the certificates once, when the Envoy starts."""

    def check(self) -> None:
        """Whether it is whole.

        Raises:
            InfraError: A certificate without its key, or the other way round.
        """
        if bool(self.certificate) != bool(self.key):
            raise InfraError("--client-cert goes with --client-key: name the files of both")

    def for_gateway(self, gateway: str, secrets: str) -> Self:
        """The same for one Envoy on this machine: its Gateway in place of ``{namespace}`` and ``{name}``, paths from the root."""
        namespace, _, name = gateway.partition("/")

        def filled(path: str) -> str:
            return path and str(Path(path.replace("{namespace}", namespace).replace("{name}", name)).absolute())

        return msgspec.structs.replace(
            self,
            authority=str(Path(self.authority).absolute()),
            certificate=filled(self.certificate),
            key=filled(self.key),
            secrets=secrets,
        )


def transport_socket(tls: ClientTls, address: str) -> Document:
    """The ``transport_socket`` of the cluster that leads to the control plane at this address."""
    name = tls.name or address
    is_address = _is_address(name)
    # Without this an Envoy would take any certificate of this authority for the control plane's: another Envoy's, too.
    only = {"san_type": "IP_ADDRESS" if is_address else "DNS", "matcher": {"exact": name}}
    context: Document = {
        # Envoy's default for clients ends at 1.2.
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_2", "tls_maximum_protocol_version": "TLSv1_3"},
        "alpn_protocols": ["h2"],
    }
    if tls.secrets:
        context["combined_validation_context"] = {
            "default_validation_context": {"match_typed_subject_alt_names": [only]},
            "validation_context_sds_secret_config": _followed(tls, _AUTHORITY),
        }
        if tls.certificate:
            context["tls_certificate_sds_secret_configs"] = [_followed(tls, _CLIENT)]
    else:
        context["validation_context"] = _authority(tls) | {"match_typed_subject_alt_names": [only]}
        if tls.certificate:
            context["tls_certificates"] = [_certificate(tls)]
    typed: Document = {"@type": f"{_TYPES}UpstreamTlsContext", "common_tls_context": context}
    if not is_address:
        typed["sni"] = name
    return {"name": "envoy.transport_sockets.tls", "typed_config": typed}


def secret_documents(tls: ClientTls) -> dict[str, Document]:
    """What has to stand in the folder ``secrets``, by file name; nothing where none is named."""
    if not tls.secrets:
        return {}
    authority = _authority(tls) | {"watched_directory": _folder_of(tls.authority)}
    found = {f"{_AUTHORITY}.json": _secret(_AUTHORITY, "validation_context", authority)}
    if tls.certificate:
        certificate = _certificate(tls) | {"watched_directory": _folder_of(tls.certificate)}
        found[f"{_CLIENT}.json"] = _secret(_CLIENT, "tls_certificate", certificate)
    return found


def _authority(tls: ClientTls) -> Document:
    return {"trusted_ca": {"filename": tls.authority}}


def _certificate(tls: ClientTls) -> Document:
    return {"certificate_chain": {"filename": tls.certificate}, "private_key": {"filename": tls.key}}


def _folder_of(path: str) -> Document:
    return {"path": str(PurePath(path).parent)}


def _secret(name: str, field: str, value: Document) -> Document:
    return {"resources": [{"@type": f"{_TYPES}Secret", "name": name, field: value}]}


def _followed(tls: ClientTls, name: str) -> Document:
    path = str(PurePath(tls.secrets, f"{name}.json"))
    return {"name": name, "sds_config": {"path_config_source": {"path": path}, "resource_api_version": "V3"}}


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
