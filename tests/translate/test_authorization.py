"""AuthorizationPolicies enforced by a real Envoy: each attribute, by HTTP and by TCP; and what the filters look like."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from controlplane.model.events import Settings
from controlplane.translate.authorization import http_filters, network_filters
from controlplane.translate.authorization_matchers import localize
from controlplane.translate.document import to_document
from tests.translate.authorization_world import (
    Call,
    Manifest,
    destination,
    manifest,
    read,
    running,
)

WEB = Call()
ADMIN = Call(principal="spiffe://cluster.local/ns/shop/sa/web-admin")
BANK = Call(principal="spiffe://cluster.local/ns/bank/sa/web")
OTHER = Call(principal="spiffe://other.example/ns/shop/sa/web")
NOBODY = Call(principal=None)
LONGER = Call(principal="spiffe://cluster.local.example.org/ns/shop/sa/web")
SIMILAR = Call(principal="spiffe://cluster.local/ns/a.example/sa/web")
ODD = Call(principal="cluster.local/ns/shop/sa/web")
"""A text that is no SPIFFE ID."""


def calls(**fields: Any) -> Call:
    return replace(WEB, **fields)


def source(**fields: list[str]) -> Manifest:
    return {"from": [{"source": fields}]}


def operation(**fields: list[str]) -> Manifest:
    return {"to": [{"operation": fields}]}


def when(key: str, *values: str, no: tuple[str, ...] = ()) -> Manifest:
    return {"when": [{"key": key, "values": list(values), "notValues": list(no)}]}


# A rule; calls that it matches, by HTTP and by TCP; calls that it does not match.
MATCHES: tuple[tuple[Manifest, tuple[Call, ...], tuple[Call, ...]], ...] = (
    ({}, (WEB, NOBODY), ()),
    (source(principals=["cluster.local/ns/shop/sa/web"]), (WEB,), (ADMIN, BANK, OTHER, NOBODY, ODD)),
    (source(principals=["cluster.local/ns/shop/*"]), (WEB, ADMIN), (BANK, OTHER, NOBODY)),
    (source(principals=["*/sa/web"]), (WEB, BANK, OTHER), (ADMIN, NOBODY, ODD)),
    (source(principals=["*"]), (WEB, BANK), (NOBODY, ODD)),
    (source(notPrincipals=["*"]), (NOBODY, ODD), (WEB, BANK)),
    (source(notPrincipals=["*/sa/web", "*-admin"]), (NOBODY,), (WEB, ADMIN, OTHER)),
    (source(principals=["*"], notPrincipals=["*/sa/web"]), (ADMIN,), (WEB, NOBODY)),
    (source(namespaces=["shop"]), (WEB, ADMIN, OTHER), (BANK, NOBODY)),
    (source(namespaces=["b*", "nowhere"]), (BANK,), (WEB, NOBODY)),
    (source(namespaces=["sho."]), (), (WEB,)),
    (source(notNamespaces=["shop"]), (BANK, NOBODY), (WEB, OTHER)),
    (source(serviceAccounts=["web"]), (WEB, OTHER), (ADMIN, BANK, NOBODY)),
    (source(serviceAccounts=["bank/web"]), (BANK,), (WEB,)),
    (source(notServiceAccounts=["web"]), (ADMIN, NOBODY), (WEB,)),
    (source(trustDomains=["cluster.local"]), (WEB, BANK), (OTHER, NOBODY, LONGER)),
    (source(trustDomains=["*.example"]), (OTHER,), (WEB, SIMILAR)),
    (source(trustDomains=["cluster*"]), (WEB,), (OTHER,)),
    (source(trustDomains=["*"]), (WEB, OTHER), (NOBODY, ODD)),
    (source(notTrustDomains=["cluster.local"]), (OTHER, NOBODY), (WEB,)),
    (source(ipBlocks=["10.200.0.0/16"]), (WEB,), (calls(source="10.201.0.7"),)),
    (source(ipBlocks=["10.200.0.7"]), (WEB,), (calls(source="10.200.0.8"),)),
    (source(ipBlocks=["2001:db8::/32"]), (), (WEB,)),
    (source(notIpBlocks=["10.200.0.0/16"]), (calls(source="192.0.2.1"),), (WEB,)),
    (source(remoteIpBlocks=["10.200.0.7/32"]), (WEB,), (calls(source="10.200.0.8"),)),
    (source(notRemoteIpBlocks=["10.200.0.7"]), (calls(source="10.200.0.8"),), (WEB,)),
    (operation(ports=["80", "8081"]), (WEB, calls(port=8081)), (calls(port=8080),)),
    (operation(notPorts=["80"]), (calls(port=8080),), (WEB,)),
    (when("source.ip", "10.200.0.0/16"), (WEB,), (calls(source="10.201.0.7"),)),
    (when("remote.ip", "10.200.0.0/16"), (WEB,), (calls(source="10.201.0.7"),)),
    (when("source.namespace", "shop"), (WEB,), (BANK, NOBODY)),
    (when("source.namespace", no=("shop",)), (BANK, NOBODY), (WEB,)),
    (when("source.principal", "*/sa/web"), (WEB,), (ADMIN, NOBODY)),
    (when("source.serviceAccount", "shop/web"), (WEB,), (BANK,)),
    (when("source.trustDomain", "other.example"), (OTHER,), (WEB,)),
    (when("destination.port", "80"), (WEB,), (calls(port=81),)),
    (when("destination.port", "80", "81", no=("81",)), (WEB,), (calls(port=81),)),
    (
        {
            "from": [
                {"source": {"namespaces": ["shop"], "ipBlocks": ["10.200.0.0/16"]}},
                {"source": {"namespaces": ["bank"]}},
            ],
            "to": [{"operation": {"ports": ["80"]}}, {"operation": {"ports": ["81"]}}],
            "when": [{"key": "source.trustDomain", "values": ["cluster.local"]}],
        },
        (WEB, BANK, replace(BANK, source="192.0.2.1", port=81)),
        (OTHER, calls(source="192.0.2.1"), calls(port=82), NOBODY),
    ),
)

# A rule that asks for something of a request; requests that it matches; requests that it does not match.
HTTP_MATCHES: tuple[tuple[Manifest, tuple[Call, ...], tuple[Call, ...]], ...] = (
    (operation(hosts=["web.shop"]), (WEB, calls(host="WEB.shop")), (calls(host="web.bank"), calls(host="web.shop:80"))),
    (operation(hosts=["*.shop", "bank*"]), (WEB, calls(host="Bank.x")), (calls(host="web.x"),)),
    (operation(hosts=["*"]), (WEB,), ()),
    (operation(notHosts=["web.shop"]), (calls(host="x"),), (calls(host="Web.Shop"),)),
    (operation(methods=["GET", "PUT"]), (WEB, calls(method="PUT")), (calls(method="POST"),)),
    (operation(methods=["P*"]), (calls(method="PUT"),), (WEB,)),
    (operation(methods=["*"]), (WEB,), ()),
    (operation(notMethods=["GET"]), (calls(method="POST"),), (WEB,)),
    (operation(paths=["/a"]), (calls(path="/a"), calls(path="/a?b=c")), (WEB, calls(path="/a/"), calls(path="/A"))),
    (operation(paths=["/a/*"]), (calls(path="/a/b"), calls(path="/x/../a/b")), (calls(path="/a"),)),
    (operation(paths=["*/b"]), (calls(path="/a/b?x"),), (calls(path="/a/b/c"), calls(path="/a?x=/b"))),
    (operation(paths=["*"]), (WEB, calls(path="/a")), ()),
    (operation(notPaths=["/a", "/b"]), (WEB,), (calls(path="/a"), calls(path="/b?c"))),
    (
        operation(paths=["/a/{*}/c"]),
        (calls(path="/a/b/c"), calls(path="/a/b=1;x/c?d")),
        (calls(path="/a//c"), calls(path="/a/b/b/c"), calls(path="/a/b/c/")),
    ),
    (operation(paths=["/a/{**}"]), (calls(path="/a/"), calls(path="/a/b/c=d")), (calls(path="/a"), WEB)),
    (operation(paths=["/{**}/c"]), (calls(path="/a/b/c"),), (calls(path="/c"), calls(path="/a/c/b"))),
    (operation(paths=["/a.b/{*}"]), (calls(path="/a.b/c"),), (calls(path="/axb/c"),)),
    (when("request.headers[X-Tier]", "gold"), (calls(headers=(("x-tier", "gold"),)),), (WEB,)),
    (when("request.headers[x-tier]", "*"), (calls(headers=(("X-Tier", "a"),)),), (WEB,)),
    (
        when("request.headers[x-tier]", "g*"),
        (calls(headers=(("x-tier", "gold"),)),),
        (calls(headers=(("x-tier", "ag"),)),),
    ),
    (when("request.headers[x-tier]", no=("gold",)), (WEB,), (calls(headers=(("x-tier", "gold"),)),)),
    (when("request.headers[Host]", "web.shop"), (WEB,), (calls(host="x"),)),
)

# What nobody can tell. An ALLOW rule with it matches nothing, a DENY rule as if it were not there.
UNKNOWN: tuple[Manifest, ...] = (
    source(requestPrincipals=["*"]),
    source(notRequestPrincipals=["*"]),
    when("request.auth.claims[iss]", "x"),
    when("request.auth.audiences", no=("x",)),
    when("connection.sni", "*.shop"),
    when("connection.sni", no=("*.shop",)),
    when("experimental.envoy.filters.network.mysql_proxy[db.table]", "[update]"),
    when("source.labels", "x"),
    when("host", "web.shop"),
    when("request.headers", "x"),
    when("request.headers[a b]", "x"),
    when("request.headers[a]", "x\r\ny"),
    when("source.ip"),
    source(),
    operation(),
    source(principals=["spiffe://cluster.local/ns/shop/sa/web"]),
    source(principals=[""]),
    source(notServiceAccounts=["a/b/c"]),
    source(trustDomains=["a*b"]),
    source(ipBlocks=["10.0.0.0/33"]),
    source(notIpBlocks=["10.0.0.0/8", "x"]),
    source(ipBlocks=["10.200.0.7", "::ffff:10.200.0.7"]),
    operation(ports=["http"]),
    operation(notPorts=["65536"]),
    operation(paths=["/a/{**}/{*}"]),
    operation(notPaths=["/{id}"]),
    operation(paths=["{*}"]),
)


Expected = tuple[list[Manifest], Call, bool | None, bool | None]
"""Policies, a call, and whether it gets through by HTTP and by TCP; None does not matter."""


async def assert_decided(expected: list[Expected], folder: Path) -> None:
    cases: list[list[Manifest]] = []
    for policies, *_ in expected:
        if policies not in cases:
            cases.append(policies)
    wrong = []
    async with running(cases, folder) as world:
        for policies, call, http, tcp in expected:
            case = cases.index(policies)
            if http is not None and await world.http(case, call) != (200 if http else 403):
                wrong.append(("http", http, call, policies))
            if tcp is not None and await world.tcp(case, call) != tcp:
                wrong.append(("tcp", tcp, call, policies))
    assert not wrong


def policy(action: str, *rules: Manifest, **more: Any) -> Manifest:
    return manifest({"action": action, "rules": list(rules)}, **more)


@pytest.mark.envoy
@pytest.mark.asyncio
async def test_attributes_that_a_connection_has(tmp_path: Path) -> None:
    expected: list[Expected] = []
    for rule, matched, others in MATCHES:
        for is_matched, found in ((True, matched), (False, others)):
            for call in found:
                expected.append(([policy("ALLOW", rule)], call, is_matched, is_matched))
                expected.append(([policy("DENY", rule)], call, not is_matched, not is_matched))
    await assert_decided(expected, tmp_path)


@pytest.mark.envoy
@pytest.mark.asyncio
async def test_attributes_of_requests_and_what_becomes_of_them_by_tcp(tmp_path: Path) -> None:
    expected: list[Expected] = []
    for rule, matched, others in HTTP_MATCHES:
        for is_matched, found in ((True, matched), (False, others)):
            for call in found:
                expected.append(([policy("ALLOW", rule)], call, is_matched, False))
                expected.append(([policy("DENY", rule)], call, not is_matched, False))
    on_port = {"to": [{"operation": {"methods": ["POST"], "ports": ["81"]}}]}
    expected.append(([policy("DENY", on_port)], WEB, True, True))
    expected.append(([policy("DENY", on_port)], calls(port=81), True, False))
    two = {"to": [{"operation": {"methods": ["POST"]}}, {"operation": {"ports": ["80"]}}]}
    expected.append(([policy("ALLOW", two)], WEB, True, False))
    await assert_decided(expected, tmp_path)


@pytest.mark.envoy
@pytest.mark.asyncio
async def test_what_cannot_be_told_lets_nothing_more_through(tmp_path: Path) -> None:
    expected: list[Expected] = []
    for rule in UNKNOWN:
        expected.append(([policy("ALLOW", rule)], WEB, False, False))
        expected.append(([policy("ALLOW", rule, source(namespaces=["shop"]))], WEB, True, True))
        expected.append(([policy("DENY", rule)], WEB, False, False))
        narrower = rule | {"to": [{"operation": {"ports": ["81"]}}]} if "to" not in rule else None
        if narrower is not None:
            expected.append(([policy("DENY", narrower)], WEB, True, True))
            expected.append(([policy("DENY", narrower)], calls(port=81), False, False))
    await assert_decided(expected, tmp_path)


@pytest.mark.envoy
@pytest.mark.asyncio
async def test_policies_together(tmp_path: Path) -> None:
    web, bank = source(principals=["*/shop/sa/web"]), source(namespaces=["bank"])
    dry = {"istio.io/dry-run": "true"}
    await assert_decided(
        [
            ([], NOBODY, True, True),
            ([policy("ALLOW")], WEB, False, False),
            ([policy("DENY")], WEB, True, True),
            ([policy("AUDIT")], WEB, True, True),
            ([policy("AUDIT", {})], NOBODY, True, True),
            ([policy("CUSTOM", {})], WEB, True, True),
            ([policy("CUSTOM", {}), policy("ALLOW", bank, name="b")], WEB, False, False),
            ([policy("ALLOW", web), policy("ALLOW", bank, name="b")], WEB, True, True),
            ([policy("ALLOW", web), policy("ALLOW", bank, name="b")], BANK, True, True),
            ([policy("ALLOW", web), policy("ALLOW", bank, name="b")], NOBODY, False, False),
            ([policy("ALLOW"), policy("ALLOW", web, name="b")], WEB, True, True),
            ([policy("DENY"), policy("ALLOW", web, name="b")], WEB, True, True),
            ([policy("DENY", bank), policy("ALLOW", {}, name="b")], WEB, True, True),
            ([policy("DENY", bank), policy("ALLOW", {}, name="b")], BANK, False, False),
            ([policy("DENY", bank), policy("DENY", web, name="b")], WEB, False, False),
            ([policy("DENY", bank), policy("DENY", web, name="b")], NOBODY, True, True),
            ([policy("AUDIT", {}), policy("DENY", bank, name="b")], BANK, False, False),
            ([policy("ALLOW", annotations=dry)], WEB, True, True),
            ([policy("DENY", {}, annotations=dry)], WEB, True, True),
            ([policy("DENY", {}, annotations={"istio.io/dry-run": "yes"})], WEB, False, False),
            ([policy("ALLOW", bank, annotations=dry), policy("ALLOW", web, name="b")], BANK, False, False),
        ],
        tmp_path,
    )


@pytest.mark.envoy
@pytest.mark.asyncio
async def test_addresses_of_callers_are_those_of_the_connection_whatever_headers_say(tmp_path: Path) -> None:
    claimed = calls(headers=(("x-forwarded-for", "192.0.2.1"),))
    await assert_decided(
        [
            ([policy("ALLOW", source(ipBlocks=["192.0.2.0/24"]))], claimed, False, False),
            ([policy("DENY", source(ipBlocks=["10.200.0.0/16"]))], claimed, False, False),
            ([policy("DENY", source(ipBlocks=["127.0.0.0/8"]))], claimed, True, True),
            # What a header says is what remote.ip is for.
            ([policy("ALLOW", source(remoteIpBlocks=["192.0.2.0/24"]))], claimed, True, False),
        ],
        tmp_path,
    )


@pytest.mark.envoy
@pytest.mark.asyncio
async def test_destinations(tmp_path: Path) -> None:
    rule = when("destination.ip", destination(0, "http", 1), destination(0, "tcp", 1))
    inverse = when("destination.ip", no=("10.0.0.0/8",))
    await assert_decided(
        [
            ([policy("ALLOW", rule)], WEB, True, True),
            ([policy("ALLOW", rule)], calls(host_number=2), False, False),
            ([policy("ALLOW", inverse)], WEB, False, False),
        ],
        tmp_path,
    )


@pytest.mark.envoy
@pytest.mark.asyncio
async def test_long_and_strange_values_are_accepted_by_envoy(tmp_path: Path) -> None:
    strange = "a.b+c(d)[e]{2}|^$\\\\#-& ~é"
    rule = {
        "from": [
            {"source": {"principals": [f"*{strange * 20}", f"{strange}*"], "namespaces": [f"*{strange}*"]}},
            {
                "source": {
                    "serviceAccounts": [f"{'n' * 63}/{'s' * 253}"],
                    "trustDomains": [f"*{strange}".replace("*a", "a")],
                }
            },
        ],
        "to": [{"operation": {"paths": ["/" + "{*}/" * 200, strange.replace("{2}", ""), "**"], "hosts": ["**"]}}],
        "when": [{"key": "request.headers[x-y]", "values": [strange, "**"]}],
    }
    await assert_decided([([policy("ALLOW", rule)], WEB, False, False)], tmp_path)


def test_filters_are_of_istio_s_order_and_names() -> None:
    policies = [
        read(policy("ALLOW", {}, {}, name="b")),
        read(policy("ALLOW", name="a")),
        read(policy("DENY", {}, name="d")),
        read(policy("AUDIT", {}, name="n")),
        read(policy("CUSTOM", {}, name="c")),
    ]
    for filters, name in (
        (http_filters(policies, Settings()), "envoy.filters.http.rbac"),
        (network_filters(policies, Settings()), "envoy.filters.network.rbac"),
    ):
        assert [f.name for f in filters] == [name] * 3
        documents = [to_document(f.typed_config.type_url, f.typed_config.value)["rules"] for f in filters]  # type: ignore[union-attr]
        assert [(d.get("action", "ALLOW"), [*d["policies"]]) for d in documents] == [  # type: ignore[union-attr, index]
            ("LOG", ["ns[shop]-policy[n]-rule[0]"]),
            ("DENY", ["ns[shop]-policy[d]-rule[0]"]),
            ("ALLOW", ["ns[shop]-policy[a]-rule[0]", "ns[shop]-policy[b]-rule[0]", "ns[shop]-policy[b]-rule[1]"]),
        ]


def test_the_order_of_policies_is_no_matter() -> None:
    policies = [read(policy(action, {}, name=name)) for action in ("ALLOW", "DENY") for name in ("b", "a", "c")]
    assert [bytes(f) for f in http_filters(policies, Settings())] == [
        bytes(f) for f in http_filters(policies[::-1], Settings())
    ]


def test_a_dry_run_has_statistics_of_its_own() -> None:
    dry = {"istio.io/dry-run": "true"}
    policies = [read(policy("DENY", {}, annotations=dry)), read(policy("ALLOW", {}, name="a", annotations=dry))]
    documents = [to_document(f.typed_config.type_url, f.typed_config.value) for f in http_filters(policies, Settings())]  # type: ignore[union-attr]
    assert [d["shadowRulesStatPrefix"] for d in documents] == ["istio_dry_run_deny_", "istio_dry_run_allow_"]
    assert not any("rules" in d for d in documents)


@pytest.mark.parametrize(
    ("principal", "expected"),
    [
        ("cluster.local/ns/a/sa/b", "td/ns/a/sa/b"),
        ("td/ns/a/sa/b", "td/ns/a/sa/b"),
        ("t*/ns/a/sa/b", "td/ns/a/sa/b"),
        ("*d/ns/a/sa/b", "*d/ns/a/sa/b"),
        ("*/ns/a/sa/b", "*/ns/a/sa/b"),
        ("other/ns/a/sa/b", "other/ns/a/sa/b"),
        ("cluster.local/ns/a/*", "cluster.local/ns/a/*"),
        ("cluster.local/ns/a/sa/*", "td/ns/a/sa/*"),
        ("*", "*"),
    ],
)
def test_cluster_local_is_the_own_trust_domain(principal: str, expected: str) -> None:
    """Source: Istio, trust domain migration."""
    assert localize(principal, "td") == expected
