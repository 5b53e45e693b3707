"""HTTPS listeners: which certificate and which routes a connection gets, and what a bad reference breaks."""

from __future__ import annotations

import json

import pytest

from .conftest import MakeSecret
from .manifests import Manifest, gateway, http_route, https, listener, manifest, reference_grant, rule, serve
from .messages import Request
from .proxy import LISTENER, SECRET, certificates, filter_chain

ACCEPTED = ("True", "Accepted")
RESOLVED = ("True", "ResolvedRefs")


def test_a_listener_terminates_with_its_certificate(make_secret: MakeSecret) -> None:
    served = serve(
        gateway(https("https", "www.example.com", "cert")),
        make_secret("cert", "www.example.com"),
        http_route("a", rule()),
    )
    found = served.listener("https")
    assert (found["Accepted"], found["ResolvedRefs"], found["Programmed"]) == (
        ACCEPTED,
        RESOLVED,
        ("True", "Programmed"),
    )
    assert served.listener_status("https")["supportedKinds"] == [
        {"group": "gateway.networking.k8s.io", "kind": "HTTPRoute"}
    ]
    assert served.to(host="www.example.com", port=443, sni="www.example.com") == "v1"
    assert served.to(host="www.example.com", port=443, sni="other.test") == "0"
    assert served.to(host="www.example.com", port=443) == "0"


def test_the_private_key_is_in_a_secret_resource_alone_and_never_readable(make_secret: MakeSecret) -> None:
    secret = make_secret("cert", "www.example.com")
    served = serve(gateway(https("https", "www.example.com", "cert")), secret, http_route("a", rule()))
    text = json.dumps(served.document)
    assert "PRIVATE KEY" not in text
    assert secret["data"]["tls.key"] not in text
    assert list(served.proxy().table(SECRET))


def test_each_hostname_has_its_own_certificate_and_routes(make_secret: MakeSecret) -> None:
    """ListenerTLSConfig: the longest matching SNI; listeners distinct by hostname go from exact to fallback."""
    listeners = [
        https("all", None, "all"),
        https("wild", "*.example.com", "wild"),
        https("exact", "www.example.com", "exact"),
    ]
    secrets = [
        make_secret("all", "fallback.test"),
        make_secret("wild", "*.example.com"),
        make_secret("exact", "www.example.com"),
    ]
    routes = [
        http_route(name, rule(to=to), parents=[{"name": "web", "sectionName": name}])
        for name, to in (("all", "v1"), ("wild", "v2"), ("exact", "v3"))
    ]
    served = serve(gateway(*listeners), secrets, routes)
    for host, to in (
        ("www.example.com", "v3"),
        ("foo.example.com", "v2"),
        ("a.foo.example.com", "v2"),
        ("other.test", "v1"),
    ):
        assert served.to(host=host, port=443, sni=host) == to
    made = next(iter(served.proxy().table(LISTENER).values()))
    used = [certificates(filter_chain(made, sni) or {}) for sni in ("www.example.com", "foo.example.com", "other.test")]
    assert len({tuple(names) for names in used}) == 3


def test_a_host_of_another_listener_is_not_served_on_this_connection(make_secret: MakeSecret) -> None:
    """Listener.hostname: a Host that the connection's listener does not match gets 421 or 404, never another's routes."""
    listeners = [https("a", "a.example.com", "a"), https("b", "b.example.com", "b")]
    served = serve(
        gateway(*listeners),
        [make_secret("a", "a.example.com"), make_secret("b", "b.example.com")],
        http_route("a", rule(to="v1"), hostnames=["a.example.com"]),
        http_route("b", rule(to="v2"), hostnames=["b.example.com"]),
    )
    assert served.to(host="a.example.com", port=443, sni="a.example.com") == "v1"
    assert served.to(host="b.example.com", port=443, sni="a.example.com") in {"421", "404"}
    assert served.to(host="unknown.test", port=443, sni="a.example.com") == "404"


def test_a_more_specific_listener_takes_its_host_from_a_wildcards_connection(make_secret: MakeSecret) -> None:
    """Listener.hostname: an exact match elsewhere SHOULD be 421; a route for all hosts must not serve it either."""
    listeners = [https("wild", "*.example.com", "wild"), https("exact", "www.example.com", "exact")]
    served = serve(
        gateway(*listeners),
        [make_secret("wild", "*.example.com"), make_secret("exact", "www.example.com")],
        http_route("r", rule(), parents=[{"name": "web", "sectionName": "wild"}]),
    )
    assert served.to(host="foo.example.com", port=443, sni="bar.example.com") == "v1"
    assert served.to(host="www.example.com", port=443, sni="foo.example.com") in {"421", "404"}


WRONG = {
    "missing": [],
    "of another kind": [],
    "of another group": ["cert"],
    "malformed": ["malformed"],
    "mismatched": ["mismatched"],
    "without its key": ["no key"],
    "empty": ["empty"],
}


@pytest.mark.parametrize("what", WRONG)
def test_a_bad_certificate_breaks_its_hostname_alone(what: str, make_secret: MakeSecret) -> None:
    """gateway-invalid-tls-configuration: ResolvedRefs False, InvalidCertificateRef; routes attach all the same."""
    good = make_secret("good", "good.example.com")
    whole = make_secret("cert", "bad.example.com")
    ref: Manifest = {"name": "cert"}
    extra: list[Manifest] = []
    match what:
        case "of another kind":
            ref, extra = ref | {"kind": "WrongKind"}, [whole]
        case "of another group":
            ref, extra = ref | {"group": "wrong.example.com"}, [whole]
        case "malformed":
            extra = [whole | {"data": {"tls.crt": "SGVsbG8gd29ybGQK", "tls.key": "SGVsbG8gd29ybGQK"}}]
        case "mismatched":
            extra = [make_secret("cert", "bad.example.com", key_of="good.example.com")]
        case "without its key":
            extra = [whole | {"data": {"tls.crt": whole["data"]["tls.crt"]}}]
        case "empty":
            extra = [manifest("Secret", "v1", "cert", type="kubernetes.io/tls", data={"tls.crt": "", "tls.key": ""})]
    listeners = [https("good", "good.example.com", "good"), https("bad", "bad.example.com", ref)]
    served = serve(gateway(*listeners), good, extra, http_route("r", rule()))
    bad = served.listener("bad")
    assert bad["ResolvedRefs"] == ("False", "InvalidCertificateRef")
    assert bad["Programmed"][0] == "False"
    assert served.attached("bad") == 1
    assert served.listener_status("bad")["supportedKinds"] == [
        {"group": "gateway.networking.k8s.io", "kind": "HTTPRoute"}
    ]
    assert served.listener("good")["ResolvedRefs"] == RESOLVED
    assert served.listener("good")["Programmed"] == ("True", "Programmed")
    assert served.to(host="good.example.com", port=443, sni="good.example.com") == "v1"
    assert served.to(host="bad.example.com", port=443, sni="bad.example.com") == "0"
    assert served.parent("r")["Accepted"] == ACCEPTED


def test_a_broken_hostname_is_not_served_with_a_wildcards_certificate(make_secret: MakeSecret) -> None:
    """Listener isolation: bad.example.com belongs to its own listener also while that cannot be served."""
    listeners = [https("wild", "*.example.com", "wild"), https("bad", "bad.example.com", "missing")]
    served = serve(
        gateway(*listeners),
        make_secret("wild", "*.example.com"),
        http_route("r", rule(), parents=[{"name": "web", "sectionName": "wild"}]),
    )
    assert served.to(host="foo.example.com", port=443, sni="foo.example.com") == "v1"
    assert served.to(host="bad.example.com", port=443, sni="bad.example.com") in {"0", "404", "421"}


FROM_GATEWAYS = [{"kind": "Gateway", "namespace": "demo"}]


@pytest.mark.parametrize(
    ("grants", "resolved"),
    [
        ([], ("False", "RefNotPermitted")),
        ([reference_grant("g", "certs", FROM_GATEWAYS, [{"kind": "Secret"}])], RESOLVED),
        ([reference_grant("g", "certs", FROM_GATEWAYS, [{"kind": "Secret", "name": "cert"}], "v1beta1")], RESOLVED),
        (
            [reference_grant("g", "certs", FROM_GATEWAYS, [{"kind": "Secret", "name": "other"}])],
            ("False", "RefNotPermitted"),
        ),
        ([reference_grant("g", "demo", FROM_GATEWAYS, [{"kind": "Secret"}])], ("False", "RefNotPermitted")),
        ([reference_grant("g", "certs", FROM_GATEWAYS, [{"kind": "Service"}])], ("False", "RefNotPermitted")),
        (
            [reference_grant("g", "certs", [{"kind": "HTTPRoute", "namespace": "demo"}], [{"kind": "Secret"}])],
            ("False", "RefNotPermitted"),
        ),
    ],
)
def test_a_certificate_of_another_namespace_needs_a_grant(
    grants: list[Manifest], resolved: tuple[str, str], make_secret: MakeSecret
) -> None:
    """gateway-secret-missing-reference-grant and its siblings."""
    ref = {"name": "cert", "namespace": "certs"}
    served = serve(
        gateway(https("https", "www.example.com", ref)),
        make_secret("cert", "www.example.com", "certs"),
        grants,
        http_route("a", rule()),
    )
    assert served.listener("https")["ResolvedRefs"] == resolved
    answer = served.to(host="www.example.com", port=443, sni="www.example.com")
    assert answer == ("v1" if resolved == RESOLVED else "0")


def test_a_missing_certificate_of_another_namespace_is_not_told_apart_without_a_grant() -> None:
    """ListenerReasonInvalidCertificateRef must be used only when the reference is allowed."""
    served = serve(gateway(https("https", "www.example.com", {"name": "nobody", "namespace": "certs"})))
    assert served.listener("https")["ResolvedRefs"] == ("False", "RefNotPermitted")


def test_plain_and_secure_ports_stand_beside_each_other(make_secret: MakeSecret) -> None:
    served = serve(
        gateway(listener("http", 80, "www.example.com"), https("https", "www.example.com", "cert")),
        make_secret("cert", "www.example.com"),
        http_route("a", rule()),
    )
    assert served.to(host="www.example.com") == "v1"
    assert served.to(host="www.example.com", port=443, sni="www.example.com") == "v1"
    assert served.proxy().ports == [80, 443]


def test_both_protocols_of_http_are_offered(make_secret: MakeSecret) -> None:
    served = serve(
        gateway(https("https", "www.example.com", "cert")),
        make_secret("cert", "www.example.com"),
        http_route("a", rule()),
    )
    made = next(iter(served.proxy().table(LISTENER).values()))
    (chain,) = made["filterChains"]
    assert chain["transportSocket"]["typedConfig"]["commonTlsContext"]["alpnProtocols"] == ["h2", "http/1.1"]


@pytest.mark.parametrize(
    ("hostnames", "overlapping"),
    [
        (["foo.example.com", "foo.example.org", "*.example.com"], {0, 2}),
        (["*.example.com", "*.foo.example.com"], {0, 1}),
        ([None, "a.test"], {0, 1}),
        (["a.test", "b.test"], set()),
    ],
)
def test_listeners_with_overlapping_hostnames_say_so(
    hostnames: list[str | None], overlapping: set[int], make_secret: MakeSecret
) -> None:
    """ListenerConditionOverlappingTLSConfig: MUST be detected, set on all of them, and never be set to False."""
    listeners = [https(f"l{position}", hostname, "cert") for position, hostname in enumerate(hostnames)]
    served = serve(gateway(*listeners), make_secret("cert", "foo.example.com"))
    for position in range(len(hostnames)):
        expected = ("True", "OverlappingHostnames") if position in overlapping else None
        assert served.listener(f"l{position}").get("OverlappingTLSConfig") == expected


def test_a_route_of_a_certificateless_listener_counts() -> None:
    """gateway-with-attached-routes: attachedRoutes is set whatever the listener's state."""
    served = serve(
        gateway(https("tls", None, "nobody")),
        http_route("a", rule(to="nobody"), parents=[{"name": "web", "sectionName": "tls"}]),
    )
    assert served.attached("tls") == 1
    assert served.listener("tls")["Programmed"][0] == "False"
    assert served.listener("tls")["ResolvedRefs"][0] == "False"
    assert served.parent("a")["ResolvedRefs"][0] == "False"


def test_a_request_without_sni_gets_the_listener_for_all_names(make_secret: MakeSecret) -> None:
    served = serve(
        gateway(https("all", None, "cert"), https("one", "a.test", "cert")),
        make_secret("cert", "a.test"),
        http_route("a", rule()),
    )
    assert served.proxy().ask(Request(port=443, sni="")).backend == "demo/v1:8080"
