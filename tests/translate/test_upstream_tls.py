"""TLS to backends, as documents. What each does to real connections, ``test_envoy`` shows."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest

from controlplane.reducers.rule_credentials import credentials_of
from controlplane.translate.cluster import secrets_of
from tests.translate.policies import a_backend, a_policy, cluster_document, http_options, tls_context

HOST = "a.ns.svc.cluster.local"
SYSTEM = {"filename": "/etc/ssl/certs/ca-certificates.crt"}
ADS = {"ads": {}, "initialFetchTimeout": "5s", "resourceApiVersion": "V3"}
VERSIONS = {"tlsMinimumProtocolVersion": "TLSv1_2", "tlsMaximumProtocolVersion": "TLSv1_3"}


def context(tls: dict[str, Any], host: str = HOST, **fields: Any) -> Any:
    document = cluster_document(a_backend(host=host), tls=tls, namespace="gw", **fields)
    return tls_context(document)


def name(value: str, kind: str = "DNS") -> dict[str, Any]:
    return {"sanType": kind, "matcher": {"exact": value}}


def served(secret: str) -> dict[str, Any]:
    return {"name": secret, "sdsConfig": ADS}


def test_no_tls():
    assert context({"mode": "DISABLE", "credentialName": "cred", "sni": "x"}) is None
    assert context({}) is None


def test_simple_verifies_by_the_systems_authorities():
    assert context({"mode": "SIMPLE"}) == {
        "sni": HOST,
        "commonTlsContext": {
            "tlsParams": VERSIONS,
            "validationContext": {"trustedCa": SYSTEM, "matchTypedSubjectAltNames": [name(HOST)]},
        },
    }


def test_simple_verifies_by_the_secrets_authorities():
    assert context({"mode": "SIMPLE", "credentialName": "cred"})["commonTlsContext"] == {
        "tlsParams": VERSIONS,
        "combinedValidationContext": {
            "defaultValidationContext": {"matchTypedSubjectAltNames": [name(HOST)]},
            "validationContextSdsSecretConfig": served("gw/cred~ca"),
        },
    }


def test_mutual_shows_the_secrets_certificate():
    assert context({"mode": "MUTUAL", "credentialName": "cred", "sni": "x.example.com"}) == {
        "sni": "x.example.com",
        "commonTlsContext": {
            "tlsParams": VERSIONS,
            "tlsCertificateSdsSecretConfigs": [served("gw/cred")],
            "combinedValidationContext": {
                "defaultValidationContext": {"matchTypedSubjectAltNames": [name("x.example.com")]},
                "validationContextSdsSecretConfig": served("gw/cred~ca"),
            },
        },
    }


def test_mutual_without_a_secret_still_verifies():
    assert context({"mode": "MUTUAL"}) == context({"mode": "SIMPLE"})


@pytest.mark.parametrize("mode", ["SIMPLE", "MUTUAL"])
def test_verification_ends_only_where_it_is_said(mode):
    shown = context({"mode": mode, "credentialName": "cred", "insecureSkipVerify": True})
    assert "validationContext" not in shown["commonTlsContext"]
    assert "combinedValidationContext" not in shown["commonTlsContext"]
    assert shown["sni"] == HOST
    said_no = context({"mode": mode, "credentialName": "cred", "insecureSkipVerify": False})
    assert said_no == context({"mode": mode, "credentialName": "cred"})


@pytest.mark.parametrize(
    "files",
    [
        {"mode": "SIMPLE", "caCertificates": "/etc/ca.pem"},
        {"mode": "MUTUAL", "clientCertificate": "/etc/c.pem", "privateKey": "/etc/k.pem"},
    ],
)
def test_files_that_are_not_read_are_not_replaced_by_what_nobody_asked_for(files):
    refused = context(files)["commonTlsContext"]["validationContext"]
    assert refused == {"verifyCertificateHash": ["0" * 64]}
    system = context({"mode": "SIMPLE", "caCertificates": "system"})
    assert system == context({"mode": "SIMPLE"})


@pytest.mark.parametrize("sni", ["a\0b", "a\nb"])
def test_a_name_that_cannot_be_sent_is_not(sni):
    assert context({"mode": "SIMPLE", "sni": sni})["sni"] == HOST


@pytest.mark.parametrize("credential", ["", "cred"])
def test_istios_mutual_tls_accepts_no_certificate(credential):
    shown = context({"mode": "ISTIO_MUTUAL", "credentialName": credential, "insecureSkipVerify": True})
    assert shown == {
        "sni": HOST,
        "commonTlsContext": {"tlsParams": VERSIONS, "validationContext": {"verifyCertificateHash": ["0" * 64]}},
    }


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (["x.example.com"], [name("x.example.com")]),
        (["b", "a", "b", ""], [name("a"), name("b")]),
        (["spiffe://td/ns/a/sa/b"], [name("spiffe://td/ns/a/sa/b", "URI")]),
        (["10.0.0.1"], [name("10.0.0.1", "IP_ADDRESS")]),
        (["FD00:0::1"], [name("fd00::1", "IP_ADDRESS")]),
        (["me@example.com"], [name("me@example.com", "EMAIL")]),
        ([""], [name(HOST)]),
    ],
)
def test_names_that_a_certificate_may_have(said, expected):
    shown = context({"mode": "SIMPLE", "subjectAltNames": said})
    assert shown["commonTlsContext"]["validationContext"]["matchTypedSubjectAltNames"] == expected
    assert shown["sni"] == HOST


@pytest.mark.parametrize(
    ("host", "sni", "shown_sni", "names", "by_request"),
    [
        ("api.example.com", "", "api.example.com", [name("api.example.com")], False),
        ("api.example.com", "other.test", "other.test", [name("other.test")], False),
        ("api.example.com", "x" * 256, "api.example.com", [name("api.example.com")], False),
        ("10.0.0.1", "", None, [name("10.0.0.1", "IP_ADDRESS")], False),
        ("*.example.com", "", None, [{"sanType": "DNS", "matcher": {"suffix": ".example.com"}}], True),
        ("*.example.com", "a.example.com", "a.example.com", [name("a.example.com")], False),
        ("*", "", None, None, True),
    ],
)
def test_the_name_that_tls_asks_for(host, sni, shown_sni, names, by_request):
    document = cluster_document(a_backend(host=host), tls={"mode": "SIMPLE", "sni": sni}, namespace="gw")
    shown = tls_context(document)
    assert shown.get("sni") == shown_sni
    assert shown["commonTlsContext"]["validationContext"].get("matchTypedSubjectAltNames") == names
    automatic = {"autoSni": True, "autoSanValidation": True} if by_request else None
    assert http_options(document).get("upstreamHttpProtocolOptions") == automatic


@pytest.mark.parametrize(
    ("protocol", "policy", "expected"),
    [("http", "DEFAULT", None), ("http", "UPGRADE", ["h2"]), ("h2c", "DEFAULT", ["h2"]), ("ws", "UPGRADE", None)],
)
def test_http2_is_negotiated(protocol, policy, expected):
    document = cluster_document(
        a_backend(protocol=protocol), tls={"mode": "SIMPLE"}, connectionPool={"http": {"h2UpgradePolicy": policy}}
    )
    assert tls_context(document)["commonTlsContext"].get("alpnProtocols") == expected


@pytest.mark.parametrize(
    ("tls", "expected"),
    [
        ({"mode": "MUTUAL", "credentialName": "cred"}, ("gw/cred", "gw/cred~ca")),
        ({"mode": "MUTUAL", "credentialName": "cred", "insecureSkipVerify": True}, ("gw/cred",)),
        ({"mode": "SIMPLE", "credentialName": "cred"}, ("gw/cred~ca",)),
        ({"mode": "SIMPLE", "credentialName": "cred", "insecureSkipVerify": True}, ()),
        ({"mode": "DISABLE", "credentialName": "cred"}, ()),
        ({"mode": "ISTIO_MUTUAL", "credentialName": "cred"}, ()),
        ({"mode": "SIMPLE"}, ()),
    ],
)
def test_secrets_of_a_policy(tls, expected):
    assert secrets_of(a_policy(tls=tls), "gw") == expected
    assert secrets_of(None, "gw") == secrets_of(a_policy(), "gw") == ()


def test_a_rule_s_status_looks_for_what_its_clusters_name():
    modes = ("DISABLE", "SIMPLE", "MUTUAL", "ISTIO_MUTUAL")
    for mode, credential, skips in product(modes, ("", "cred"), (None, False, True)):
        policy = a_policy(tls={"mode": mode, "credentialName": credential, "insecureSkipVerify": skips})
        needs = credentials_of(policy.tls)
        named = ("gw/cred",) * ("tls.crt" in needs) + ("gw/cred~ca",) * ("ca.crt" in needs)
        assert secrets_of(policy, "gw") == named, policy.tls


def test_the_secrets_of_a_policy_are_those_that_its_cluster_names():
    modes, credentials = ("DISABLE", "SIMPLE", "MUTUAL", "ISTIO_MUTUAL"), ("", "cred")
    for mode, credential, skips in product(modes, credentials, (None, False, True)):
        tls = {"mode": mode, "credentialName": credential, "insecureSkipVerify": skips}
        named = sorted(_named(context(tls)))
        assert named == list(secrets_of(a_policy(tls=tls), "gw")), tls


def _named(value: Any) -> list[str]:
    if isinstance(value, list):
        return [found for item in value for found in _named(item)]
    if not isinstance(value, dict):
        return []
    own = [value["name"]] if "sdsConfig" in value else []
    return own + [found for item in value.values() for found in _named(item)]
