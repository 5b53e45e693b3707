"""What Envoys reject: folded from the log, held back, told, and over when something else is offered."""

from __future__ import annotations

from controlplane.model.events import (
    DeliveryResumed,
    DeliveryWithheld,
    ListenerFailed,
    ProxyAcknowledged,
    ProxyConnected,
    ProxyDisconnected,
    RejectionEnded,
    ResourceRejected,
    Settings,
)
from controlplane.runtime.document import snapshot
from controlplane.translate import TypeUrl
from tests.conformance.manifests import gateway, http_route, https, manifest, rule
from tests.reducers.rejecting import GATEWAY, HOST, VIRTUAL_HOST, WORDS, World, cluster, route, service

HOST_URL, CLUSTER_URL = str(TypeUrl.VIRTUAL_HOST), str(TypeUrl.CLUSTER)
LISTENER = "listener~0.0.0.0~80"


def test_a_rejected_virtual_host_falls_back_until_there_is_another() -> None:
    world = World(route("r", "/a"))
    good = world.served(TypeUrl.VIRTUAL_HOST, VIRTUAL_HOST)
    world.apply(route("r", "/b", to="two"))
    bad = world.served(TypeUrl.VIRTUAL_HOST, VIRTUAL_HOST)
    world.reject(TypeUrl.VIRTUAL_HOST, VIRTUAL_HOST, good)
    held = world.served(TypeUrl.VIRTUAL_HOST, VIRTUAL_HOST)
    assert (held.version, held.body, held.clusters) == (good.version, good.body, (cluster("one"),))
    assert cluster("one") in world.names(TypeUrl.CLUSTER), "what the fallback names stays served"
    assert world.ended() == []
    world.apply(route("r", "/c", to="two"))
    assert world.served(TypeUrl.VIRTUAL_HOST, VIRTUAL_HOST).version not in (good.version, bad.version)
    assert world.ended() == [(GATEWAY, HOST_URL, VIRTUAL_HOST)]
    assert world.names(TypeUrl.CLUSTER) == {cluster("two")}, "and nothing else stays"
    world.append(RejectionEnded(GATEWAY, HOST_URL, VIRTUAL_HOST))
    assert world.ended() == []
    assert world.state.rows.base.rejections.rows() == ()


def test_what_was_never_taken_is_not_served() -> None:
    world = World(route("r", "/a"))
    world.reject(TypeUrl.VIRTUAL_HOST, VIRTUAL_HOST)
    held = world.served(TypeUrl.VIRTUAL_HOST, VIRTUAL_HOST)
    assert not held.is_served
    document = snapshot(world.state)
    assert HOST_URL not in document["gateways"][GATEWAY]
    said = document["rejections"][GATEWAY][HOST_URL][VIRTUAL_HOST]
    assert list(said["versions"].values()) == [{"message": WORDS, "served": "nothing"}]


def test_a_fallback_without_bytes_keeps_its_version() -> None:
    world = World(route("r", "/a"))
    world.reject(TypeUrl.VIRTUAL_HOST, VIRTUAL_HOST, fallback_version="abc", fallback_clusters=(cluster("two"),))
    held = world.served(TypeUrl.VIRTUAL_HOST, VIRTUAL_HOST)
    assert (held.version, held.body, held.is_served) == ("abc", b"", True)
    assert cluster("two") in world.names(TypeUrl.CLUSTER)


def test_only_the_route_at_fault_is_held_back() -> None:
    world = World(route("r1", "/a", "/b"), route("r2", "/c"))
    before = world.routes()
    world.apply(route("r1", "/a", "/bad", "/worse", to="two"), route("r2", "/d", to="two"))
    offered = world.routes()
    world.reject_routes("demo/r1/1/0", "demo/r1/2/0", before=before)
    served = world.routes()
    assert served.keys() == {"demo/r1/0/0", "demo/r1/1/0", "demo/r2/0/0"}, "what has no form before is left out"
    assert served["demo/r1/1/0"] == before["demo/r1/1/0"]
    assert served["demo/r2/0/0"] == offered["demo/r2/0/0"] != before["demo/r2/0/0"]
    row = world.served(TypeUrl.VIRTUAL_HOST, VIRTUAL_HOST)
    assert row.clusters == (cluster("one"), cluster("two"))
    assert {cluster("one"), cluster("two")} <= world.names(TypeUrl.CLUSTER)


def test_a_route_at_fault_stays_out_whatever_else_changes() -> None:
    world = World(route("r1", "/a"), route("r2", "/b"))
    before = world.routes()
    world.apply(route("r1", "/bad"))
    bad = world.routes()["demo/r1/0/0"]
    world.reject_routes("demo/r1/0/0", before=before)
    world.apply(route("r2", "/c"))
    assert bad not in world.routes().values()
    assert world.ended() == []
    world.start()
    assert bad not in world.routes().values(), "a restart does not offer it again"
    world.apply(route("r1", "/good"))
    assert world.routes()["demo/r1/0/0"] not in (bad, before["demo/r1/0/0"])
    assert world.ended() == [(GATEWAY, HOST_URL, VIRTUAL_HOST)]


def test_routes_at_fault_add_up_and_end_one_by_one() -> None:
    world = World(route("r1", "/a"), route("r2", "/b"))
    before = world.routes()
    world.apply(route("r1", "/bad1"), route("r2", "/bad2"))
    world.reject_routes("demo/r1/0/0", before=before, message="the first")
    world.reject_routes("demo/r2/0/0", before=before, message="the second")
    assert world.routes() == before
    (row,) = world.state.rows.base.rejections.rows()
    assert {(part.name, part.message) for part in row.parts} == {
        ("demo/r1/0/0", "the first"),
        ("demo/r2/0/0", "the second"),
    }
    world.apply(route("r1", "/good"))
    (over,) = world.state.translation.ended_rejections.rows()
    assert over.parts == tuple(part.digest for part in row.parts if part.name == "demo/r2/0/0")
    assert world.routes()["demo/r2/0/0"] == before["demo/r2/0/0"]


def test_a_host_that_is_rejected_without_its_bad_routes_falls_back_as_a_whole() -> None:
    world = World(route("r1", "/a"), route("r2", "/b"))
    good = world.served(TypeUrl.VIRTUAL_HOST, VIRTUAL_HOST)
    world.apply(route("r1", "/bad"), route("r2", "/c"))
    world.reject_routes("demo/r1/0/0", before={})
    world.reject(TypeUrl.VIRTUAL_HOST, VIRTUAL_HOST, good)
    assert world.served(TypeUrl.VIRTUAL_HOST, VIRTUAL_HOST).version == good.version
    (row,) = world.state.rows.base.rejections.rows()
    assert len(row.parts) == len(row.forms) == 1


def test_a_rejected_cluster_falls_back_for_its_gateway_alone() -> None:
    other = gateway(name="other")
    both = http_route("r", rule(to="one"), hostnames=[HOST], parents=["web", "other"])
    world = World(other, both)
    name = cluster("one")
    good = world.served(TypeUrl.CLUSTER, name)
    policy = {"connectionPool": {"tcp": {"maxConnections": 7}}}
    world.apply(
        manifest("DestinationRule", "networking.istio.io/v1", "d", spec={"host": "one", "trafficPolicy": policy})
    )
    bad = world.served(TypeUrl.CLUSTER, name)
    assert bad.version != good.version
    world.reject(TypeUrl.CLUSTER, name, good)
    assert world.served(TypeUrl.CLUSTER, name).version == good.version
    elsewhere = world.state.translation.resources.get(("demo/other", CLUSTER_URL, name))
    assert elsewhere is not None
    assert elsewhere.version == bad.version


def test_two_classes_of_clients_are_held_each_at_its_own() -> None:
    """Were only the last rejected form remembered, each would have the other's bad one offered again."""
    setting = {"enabled": True, "failoverPriority": ["version"]}
    policy = {
        "loadBalancer": {"localityLbSetting": setting},
        "outlierDetection": {"consecutive5xxErrors": 7},
    }
    ruled = manifest(
        "ServiceEntry",
        "networking.istio.io/v1",
        "se",
        spec={
            "hosts": ["se.example.com"],
            "ports": [{"number": 8080, "name": "http", "protocol": "HTTP"}],
            "resolution": "DNS",
            "endpoints": [
                {"address": "v1.example.com", "labels": {"version": "v1"}},
                {"address": "v2.example.com", "labels": {"version": "v2"}},
            ],
        },
    )
    by_host = {"group": "networking.istio.io", "kind": "Hostname", "name": "se.example.com", "port": 8080}
    made = http_route("r", {"backendRefs": [by_host]}, hostnames=[HOST])
    destination = manifest(
        "DestinationRule", "networking.istio.io/v1", "d", spec={"host": "se.example.com", "trafficPolicy": policy}
    )
    world = World(ruled, destination, made)
    world.append(
        *(
            ProxyConnected(proxy=f"{v}.demo#1", node=f"{v}.demo", gateway=GATEWAY, labels=(("version", v),))
            for v in ("v1", "v2")
        )
    )
    own = world.state.translation.client_resources
    forms = {row.key: row for row in own.rows() if row.key[2] == CLUSTER_URL}
    assert len({row.version for row in forms.values()}) == 2
    for number, row in enumerate(forms.values()):
        world.append(ResourceRejected(GATEWAY, CLUSTER_URL, row.name, row.version, "p", WORDS, f"before{number}", b"x"))
    assert sorted(row.version for row in own.rows() if row.key in forms) == ["before0", "before1"]
    assert world.ended() == []
    world.append(ProxyDisconnected("v1.demo#1"))
    (over,) = world.state.translation.ended_rejections.rows()
    assert len(over.forms) == 1


def test_a_rejected_secret_is_told_and_never_replaced() -> None:
    world = World(route("r", "/a"))
    key = (GATEWAY, str(TypeUrl.SECRET), "demo/cert")
    world.append(ResourceRejected(*key, "v", "p", WORDS))
    assert world.state.translation.resources.get(key) is None
    assert world.ended() == [key], "no such secret is offered"


def test_a_replay_gives_what_was_served_and_said() -> None:
    world = World(route("r1", "/a"), route("r2", "/b"))
    before = world.routes()
    world.apply(route("r1", "/bad"))
    world.reject_routes("demo/r1/0/0", before=before)
    world.start()
    assert snapshot(world.replayed()) == snapshot(world.state)
    again = type(world.state)()
    again.restore(world.state.checkpoint())
    assert snapshot(again) == snapshot(world.state)


# What is said.


def test_a_route_that_fell_back_says_so() -> None:
    world = World(route("r1", "/a", "/b"), route("r2", "/c"))
    before = world.routes()
    world.apply(route("r1", "/a", "/bad"))
    world.reject_routes("demo/r1/1/0", before=before)
    found = world.conditions("HTTPRoute demo/r1")
    assert found["Accepted"][:2] == ("True", "Accepted")
    assert found["PartiallyInvalid"] == (
        "True",
        "UnsupportedValue",
        f"Fall Back: Envoy does not take spec.rules[1].matches[0]: {WORDS}",
    )
    assert "PartiallyInvalid" not in world.conditions("HTTPRoute demo/r2")
    world.append(RejectionEnded(GATEWAY, HOST_URL, VIRTUAL_HOST))
    assert "PartiallyInvalid" not in world.conditions("HTTPRoute demo/r1")


def test_a_rule_without_a_form_before_is_dropped_and_says_so() -> None:
    world = World(route("r1", "/a", "/bad"))
    world.reject_routes("demo/r1/1/0", before={})
    found = world.conditions("HTTPRoute demo/r1")
    assert found["Accepted"][0] == "True"
    assert found["PartiallyInvalid"][:2] == ("True", "UnsupportedValue")
    assert found["PartiallyInvalid"][2].startswith("Dropped Rule")
    assert WORDS in found["PartiallyInvalid"][2]


def test_a_route_of_which_nothing_remains_is_not_accepted() -> None:
    world = World(route("r1", "/bad"), route("r2", "/b"))
    world.reject_routes("demo/r1/0/0", before={})
    found = world.conditions("HTTPRoute demo/r1")
    assert found["Accepted"][:2] == ("False", "UnsupportedValue")
    assert WORDS in found["Accepted"][2]
    assert "PartiallyInvalid" not in found


def test_a_rejected_cluster_is_told_to_the_routes_that_it_came_from() -> None:
    world = World(route("r1", "/a"), route("r2", "/b", to="two"))
    good = world.served(TypeUrl.CLUSTER, cluster("one"))
    origins = ("Gateway demo/web", "HTTPRoute demo/r1")
    world.reject(TypeUrl.CLUSTER, cluster("one"), good, version="other", origins=origins)
    text = world.conditions("HTTPRoute demo/r1")["PartiallyInvalid"][2]
    assert text == f"Fall Back: Envoy does not take Cluster {cluster('one')}: {WORDS}"
    assert "PartiallyInvalid" not in world.conditions("HTTPRoute demo/r2")


def test_a_rejected_listener_is_not_programmed() -> None:
    world = World(route("r", "/a"))
    good = world.served(TypeUrl.LISTENER, LISTENER)
    assert good.route_configurations == ("http~80",)
    world.reject(TypeUrl.LISTENER, LISTENER, good, version="other")
    status, reason, message = world.listener()["Programmed"]
    assert (status, reason) == ("False", "Invalid")
    assert WORDS in message
    assert world.conditions("Gateway demo/web")["Programmed"][:2] == ("False", "Invalid")


def test_a_listener_that_cannot_be_bound_says_that_first() -> None:
    world = World(route("r", "/a"))
    world.reject(TypeUrl.LISTENER, LISTENER)
    world.append(ListenerFailed(GATEWAY, "0.0.0.0", 80, "taken by nginx"))
    assert world.listener()["Programmed"] == ("False", "PortUnavailable", "taken by nginx")


def test_a_held_listener_keeps_the_route_configurations_that_it_names() -> None:
    world = World(route("r", "/a"))
    good = world.served(TypeUrl.LISTENER, LISTENER)
    world.apply(gateway(https("tls", HOST, "cert", port=80)))
    assert world.names(TypeUrl.ROUTE_CONFIGURATION) == {"https~80~a.example.com"}
    world.reject(TypeUrl.LISTENER, LISTENER, good)
    held = world.served(TypeUrl.LISTENER, LISTENER)
    assert (held.version, held.route_configurations) == (good.version, good.route_configurations)
    assert world.names(TypeUrl.ROUTE_CONFIGURATION) == {"https~80~a.example.com", "http~80"}


def test_proxies_that_wait_are_told_and_counted() -> None:
    world = World(route("r", "/a"))
    proxies = [f"p{n}" for n in range(5)]
    world.append(*(ProxyConnected(proxy=p, node="n", gateway=GATEWAY) for p in proxies))
    origins = ("HTTPRoute demo/r",)
    world.append(*(DeliveryWithheld(p, GATEWAY, HOST_URL, VIRTUAL_HOST, (cluster("one"),), origins) for p in proxies))
    status, reason, message = world.conditions("HTTPRoute demo/r")["controlplane.dev/Delivered"]
    assert (status, reason) == ("False", "ClusterNotReady")
    assert "proxies p0, p1, p2 and 2 more" in message
    assert cluster("one") in message
    world.append(DeliveryResumed("p0", HOST_URL, VIRTUAL_HOST), *(ProxyDisconnected(p) for p in proxies[1:4]))
    assert "proxies p4;" in world.conditions("HTTPRoute demo/r")["controlplane.dev/Delivered"][2]
    world.start()
    assert "controlplane.dev/Delivered" not in world.conditions("HTTPRoute demo/r")
    assert world.state.rows.base.withheld.rows() == ()


def test_a_listener_is_programmed_once_a_proxy_has_it() -> None:
    world = World(route("r", "/a"), settings=Settings(observe_proxies=True))

    def programmed() -> tuple[str, str, str]:
        of_gateway = world.conditions("Gateway demo/web")["Programmed"]
        found = world.listener()["Programmed"]
        assert of_gateway[:2] == found[:2]
        return found

    assert programmed() == ("False", "Pending", "no proxy of Gateway demo/web is connected")
    world.append(ProxyConnected(proxy="p", node="n", gateway=GATEWAY))
    assert programmed() == ("False", "Pending", "no connected proxy has 0.0.0.0:80 in use yet")
    world.append(ProxyAcknowledged("p", 1, ("listener~0.0.0.0~9",)))
    assert programmed()[1] == "Pending"
    world.append(ProxyAcknowledged("p", 2, (LISTENER,)))
    assert programmed() == ("True", "Programmed", "")
    (statuses,) = (c for c in world.state.graph.collections if c.name == "gateway_statuses")
    runs = statuses.statistics().runs
    world.append(ProxyConnected(proxy="q", node="n", gateway=GATEWAY), ProxyAcknowledged("p", 3, (LISTENER,)))
    world.append(ProxyAcknowledged("q", 3, (LISTENER,)))
    assert statuses.statistics().runs == runs, "one more proxy that has it changes nothing"
    world.append(ProxyDisconnected("p"))
    assert programmed()[0] == "True"
    world.append(ProxyDisconnected("q"))
    assert programmed()[1] == "Pending"


def test_every_resource_says_what_it_names() -> None:
    world = World(route("r", "/a"), *service("three"))
    rows = [row for row in world.state.translation.resources.rows() if row.key[0] == GATEWAY]
    naming = {
        row.key[1]: (row.clusters, row.route_configurations) for row in rows if row.clusters or row.route_configurations
    }
    assert naming == {HOST_URL: ((cluster("one"),), ()), str(TypeUrl.LISTENER): ((), ("http~80",))}
