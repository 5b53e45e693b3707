"""Random policies against random calls: a real Envoy lets through what an independent reading of the policies does."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.translate.authorization_oracle import is_let_through
from tests.translate.authorization_world import Call, Manifest, destination, manifest, running

IDENTITIES = (
    "spiffe://cluster.local/ns/shop/sa/web",
    "spiffe://cluster.local/ns/shop/sa/web-admin",
    "spiffe://cluster.local/ns/bank/sa/web",
    "spiffe://other.example/ns/shop/sa/web",
    None,
)
PRINCIPALS = (
    "cluster.local/ns/shop/sa/web",
    "cluster.local/ns/shop/*",
    "*/sa/web",
    "*",
    "other.example/ns/shop/sa/web",
    "cluster.local/ns/b.nk/sa/web",
    "cluster.local*",
)
NAMESPACES = ("shop", "bank", "s*", "*", "*op", "sh.p", "hop")
ACCOUNTS = ("web", "bank/web", "shop/web-admin", "w.b", "shop/*")
TRUST_DOMAINS = ("cluster.local", "other.example", "*", "*.local", "cluster*", "clusterxlocal")
BLOCKS = ("10.200.0.7", "10.200.0.0/16", "192.0.2.0/24", "0.0.0.0/0", "2001:db8::/32", "10.200.0.7/8", "nowhere")
PORTS = ("80", "8080", "443", "http")
HOSTS = ("web.shop", "WEB.*", "*.shop", "*", "bank")
METHODS = ("GET", "POST", "*", "P*", "*T", "get")
PATHS = (
    "/",
    "/a/*",
    "*/b",
    "*",
    "/a",
    "/{*}",
    "/a/{*}/c",
    "/a/{**}",
    "/{**}/c",
    "/{*}/{**}",
    "/a.b",
    "/a{b}",
)
CALLED_PATHS = ("/", "/a", "/a/", "/a/b", "/a/b/c", "/a/b=1/c", "/a?x=/b", "/axb", "/c", "/b/c?q")
KEYS = {
    "source.principal": PRINCIPALS,
    "source.namespace": NAMESPACES,
    "source.serviceAccount": ACCOUNTS,
    "source.trustDomain": TRUST_DOMAINS,
    "source.ip": BLOCKS,
    "remote.ip": BLOCKS,
    "destination.ip": ("10.1.0.1", "10.1.0.0/16", "10.1.0.129", "10.1.0.0/30"),
    "destination.port": PORTS,
    "request.headers[X-Tier]": ("gold", "g*", "*d", "*", "silver"),
    "connection.sni": ("*", "web.shop"),
    "request.auth.principal": ("*",),
    "source.labels": ("x",),
}


def some(values: tuple[str, ...]) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(values), min_size=1, max_size=2)


def fields(**pools: tuple[str, ...]) -> st.SearchStrategy[Manifest]:
    """One to three fields, each as it is or negated."""
    one = st.sampled_from(sorted(pools)).flatmap(
        lambda name: st.tuples(st.sampled_from([name, name, "not" + name[0].upper() + name[1:]]), some(pools[name]))
    )
    return st.lists(one, max_size=3).map(dict)


sources = fields(
    principals=PRINCIPALS,
    namespaces=NAMESPACES,
    serviceAccounts=ACCOUNTS,
    trustDomains=TRUST_DOMAINS,
    ipBlocks=BLOCKS,
    remoteIpBlocks=BLOCKS,
    requestPrincipals=("*",),
)
operations = fields(hosts=HOSTS, ports=PORTS, methods=METHODS, paths=PATHS)
conditions = st.sampled_from(sorted(KEYS)).flatmap(
    lambda key: st.fixed_dictionaries(
        {"key": st.just(key)}, optional={"values": some(KEYS[key]), "notValues": some(KEYS[key])}
    )
)
rules = st.fixed_dictionaries(
    {},
    optional={
        "from": st.lists(sources.map(lambda s: {"source": s}), min_size=1, max_size=2),
        "to": st.lists(operations.map(lambda o: {"operation": o}), min_size=1, max_size=2),
        "when": st.lists(conditions, min_size=1, max_size=2),
    },
)
specs = st.fixed_dictionaries(
    {"action": st.sampled_from(["ALLOW", "ALLOW", "DENY", "DENY", "AUDIT"]), "rules": st.lists(rules, max_size=2)}
)
annotations: st.SearchStrategy[dict[str, str]] = st.sampled_from([{}, {}, {}, {"istio.io/dry-run": "true"}])


@st.composite
def cases(draw: st.DrawFn) -> list[Manifest]:
    count = draw(st.integers(1, 3))
    return [manifest(draw(specs), name=f"p{i}", annotations=draw(annotations)) for i in range(count)]


calls = st.builds(
    Call,
    principal=st.sampled_from(IDENTITIES),
    source=st.sampled_from(["10.200.0.7", "10.201.0.7", "192.0.2.9"]),
    port=st.sampled_from([80, 8080]),
    method=st.sampled_from(["GET", "POST"]),
    host=st.sampled_from(["web.shop", "Web.Shop", "bank"]),
    path=st.sampled_from(CALLED_PATHS),
    headers=st.sampled_from([(), (("x-tier", "gold"),), (("x-tier", "silver"), ("x-tier", "gold"))]),
)


async def compare(found: list[list[Manifest]], called: list[Call], folder: Path) -> list[Any]:
    """Calls of which the Envoy and the oracle think differently."""
    differences = []
    async with running(found, folder) as world:

        async def one(case: int, call: Call) -> None:
            for application in ("http", "tcp"):
                tcp = application == "tcp"
                expected = is_let_through(found[case], call, destination(case, application, 1), tcp=tcp)
                got = await (world.tcp(case, call) if tcp else world.http(case, call))
                if got != (expected if tcp else (200 if expected else 403)):
                    differences.append((application, expected, got, call, found[case]))

        for case in range(len(found)):
            await asyncio.gather(*(one(case, call) for call in called))
    return differences


@pytest.mark.envoy
@settings(
    max_examples=12,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(st.lists(cases(), min_size=6, max_size=20), st.lists(calls, min_size=8, max_size=12))
def test_an_envoy_decides_as_the_policies_say(found: list[list[Manifest]], called: list[Call]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        assert not asyncio.run(compare(found, called, Path(folder)))
