"""What a waypoint matches: one chain a port of a captured service, at the service's own addresses. Source: istio-semantics, 4.4."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.reducers.waypoint_ports import normalise_addresses
from tests.reducers.mesh import Mesh, entry, namespace, service, use, waypoint

OLD, NEW = "2024-01-01T00:00:00Z", "2025-01-01T00:00:00Z"


def test_a_chain_for_each_port_at_all_addresses() -> None:
    ports = ({"name": "http", "port": 80}, {"name": "db", "port": 5432}, {"name": "grpc-api", "port": 90})
    mesh = Mesh(waypoint(), service("web", *ports, vips=["10.0.0.1", "fd00::1"], labels=use()))
    assert mesh.matches() == {
        "fc_http_80_web_shop": ["10.0.0.1 80", "fd00::1 80"],
        "fc_http_90_web_shop": ["10.0.0.1 90", "fd00::1 90"],
        "fc_tcp_5432_web_shop": ["10.0.0.1 5432", "fd00::1 5432"],
    }
    chain = mesh.chains()["fc_tcp_5432_web_shop"]
    assert (chain.cluster, chain.application, chain.route_configuration) == (
        "kube_shop_web_5432",
        "tcp",
        "fc_tcp_5432_web_shop",
    )


@pytest.mark.parametrize(
    ("port", "application"),
    [
        ({"port": 80}, "tcp"),
        ({"port": 80, "name": "http"}, "http"),
        ({"port": 80, "name": "HTTP-web".lower()}, "http"),
        ({"port": 80, "name": "http2"}, "http"),
        ({"port": 80, "name": "grpc-web"}, "http"),
        ({"port": 80, "name": "web"}, "tcp"),
        ({"port": 80, "name": "web", "appProtocol": "http"}, "http"),
        ({"port": 80, "name": "web", "appProtocol": "GRPC"}, "http"),
        ({"port": 80, "name": "web", "appProtocol": "http_proxy"}, "http"),
        ({"port": 80, "name": "http", "appProtocol": "tcp"}, "tcp"),
        ({"port": 80, "name": "http", "appProtocol": "https"}, "tcp"),
    ],
)
def test_what_speaks_http(port: dict[str, Any], application: str) -> None:
    mesh = Mesh(waypoint(), service("web", port, labels=use()))
    (chain,) = mesh.chains().values()
    assert (chain.application, chain.key[1]) == (application, f"fc_{application}_80_web_shop")


@pytest.mark.parametrize(
    ("protocol", "application"),
    [
        ("HTTP", "http"),
        ("HTTP2", "http"),
        ("GRPC", "http"),
        ("GRPC-Web", "http"),
        ("HTTPS", "tcp"),
        ("TLS", "tcp"),
        ("TCP", "tcp"),
    ],
)
def test_what_an_entry_speaks(protocol: str, application: str) -> None:
    mesh = Mesh(waypoint(), entry(labels=use(), protocol=protocol))
    assert set(mesh.chains()) == {f"fc_{application}_80_ext_shop_ext.example.com"}


def test_an_entry_has_a_chain_for_each_host_that_has_an_address_of_its_own() -> None:
    status = {"addresses": [{"value": "240.0.0.1", "host": "a.com"}, {"value": "240.0.0.2", "host": "b.com"}]}
    mesh = Mesh(waypoint(), entry("ext", "a.com", "b.com", vips=[], labels=use(), status=status))
    assert mesh.matches() == {
        "fc_http_80_ext_shop_a.com": ["240.0.0.1 80"],
        "fc_http_80_ext_shop_b.com": ["240.0.0.2 80"],
    }
    assert mesh.chains()["fc_http_80_ext_shop_b.com"].cluster == "istio-se_shop_ext_b.com_80"


def test_hosts_of_an_entry_that_share_addresses_are_the_first_one_s() -> None:
    mesh = Mesh(waypoint(), entry("ext", "b.com", "a.com", labels=use()))
    assert mesh.matches() == {"fc_http_80_ext_shop_b.com": ["10.9.0.1 80"]}
    found = mesh.bound("ServiceEntry shop/ext")
    assert found is not None
    assert "10.9.0.1 port 80 is taken by ServiceEntry shop/ext (host b.com)" in found[2]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([], ()),
        (["None", "", "nonsense", "10.0.0.256", "10.0.0.0/33", "fe80::1%eth0", "10.0.0.1/x", "/8"], ()),
        (["10.0.0.1"], ("10.0.0.1",)),
        (["10.0.0.1", "10.0.0.1/32", "10.0.0.1"], ("10.0.0.1",)),
        (["10.0.0.7/24"], ("10.0.0.0/24",)),
        (["FD00:0::1", "fd00::1/128"], ("fd00::1",)),
        (["fd00::ff/64", "10.0.0.2"], ("10.0.0.2", "fd00::/64")),
        (["junk", "10.0.0.2"], ("10.0.0.2",)),
    ],
)
def test_addresses_have_one_spelling_and_junk_is_left_out(given: list[str], expected: tuple[str, ...]) -> None:
    assert normalise_addresses(given) == expected


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (service(vips=[], labels=use()), "there is no address of its own"),
        (entry("web", vips=[], labels=use()), "there is no address of its own"),
        (
            entry("web", vips=[], labels=use(), status={"addresses": [{"value": "junk"}]}),
            "there is no address of its own",
        ),
        (entry("web", labels=use(), spec={"resolution": "NONE", "endpoints": []}), "NONE"),
    ],
)
def test_without_an_address_there_is_no_chain_and_the_status_says_why(made: dict[str, Any], words: str) -> None:
    mesh = Mesh(waypoint(), made)
    assert mesh.chains() == {}
    key = f"{made['kind']} shop/web"
    (row,) = mesh.rows.waypoints.ports.by_owner.get(key)
    assert words in row.problem
    found = mesh.bound(key)
    assert found is not None
    assert found[:2] == ("True", "WaypointAccepted")
    assert words in found[2]


def test_of_two_services_with_one_address_and_port_the_older_has_it() -> None:
    mesh = Mesh(waypoint(), service("a", created=NEW, labels=use()), service("b", created=OLD, labels=use()))
    assert mesh.matches() == {"fc_http_80_b_shop": ["10.0.0.1 80"]}
    found = mesh.bound("Service shop/a")
    assert found is not None
    assert "10.0.0.1 port 80 is taken by Service shop/b, which is older" in found[2]
    mesh.delete("Service", "b")
    assert mesh.matches() == {"fc_http_80_a_shop": ["10.0.0.1 80"]}
    found = mesh.bound("Service shop/a")
    assert found is not None
    assert "taken" not in found[2]


def test_only_what_is_taken_is_lost() -> None:
    mesh = Mesh(
        waypoint(),
        service("a", vips=["10.0.0.1"], created=OLD, labels=use()),
        service(
            "b",
            {"name": "http", "port": 80},
            {"name": "http-2", "port": 81},
            vips=["10.0.0.1", "fd00::1"],
            labels=use(),
        ),
        entry("c", vips=["10.0.0.0/24"], labels=use()),
    )
    assert mesh.matches() == {
        "fc_http_80_a_shop": ["10.0.0.1 80"],
        "fc_http_80_b_shop": ["fd00::1 80"],
        "fc_http_81_b_shop": ["10.0.0.1 81", "fd00::1 81"],
        "fc_http_80_c_shop_c.example.com": ["10.0.0.0/24 80"],
    }


def test_services_of_two_waypoints_do_not_collide() -> None:
    mesh = Mesh(waypoint(), waypoint(name="other"), service("a", labels=use()), service("b", labels=use("other")))
    assert mesh.matches() == {"fc_http_80_a_shop": ["10.0.0.1 80"]}
    assert mesh.matches("shop/other") == {"fc_http_80_b_shop": ["10.0.0.1 80"]}
    mesh.apply(service("b", labels=use()))
    assert set(mesh.matches()) == {"fc_http_80_a_shop"}
    assert mesh.matches("shop/other") == {}


def test_an_address_that_changes_moves_the_chain() -> None:
    mesh = Mesh(waypoint(), service(labels=use()), entry(labels=use(), vips=[]))
    mesh.apply(service(labels=use(), vips=["10.0.0.2"]))
    assert mesh.matches() == {"fc_http_80_web_shop": ["10.0.0.2 80"]}
    mesh.apply(entry(labels=use(), vips=[], status={"addresses": [{"value": "240.240.0.1"}]}))
    assert mesh.matches()["fc_http_80_ext_shop_ext.example.com"] == ["240.240.0.1 80"]
    mesh.apply(service(labels=use(), vips=[]))
    assert set(mesh.matches()) == {"fc_http_80_ext_shop_ext.example.com"}


def test_a_name_that_is_too_long_ends_in_a_hash() -> None:
    hosts = [".".join(["a" * 60] * 4), ".".join(["a" * 60] * 3 + ["b" * 60])]
    status = {"addresses": [{"value": f"240.0.0.{i}", "host": host} for i, host in enumerate(hosts)]}
    mesh = Mesh(waypoint(), entry("e" * 60, *hosts, vips=[], labels=use(), status=status))
    names = list(mesh.chains())
    assert len(names) == 2
    assert all(len(name) <= 253 for name in names)


POLICY = {"apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy"}


def policy(name: str, kind: str, target: str, group: str = "") -> dict[str, Any]:
    spec = {"action": "DENY", "rules": [{}], "targetRefs": [{"kind": kind, "name": target, "group": group}]}
    return {**POLICY, "metadata": {"name": name, "namespace": "shop"}, "spec": spec}


def test_policies_of_the_service_and_of_its_waypoint_hold_for_its_chains() -> None:
    mesh = Mesh(waypoint(), service(labels=use()), entry(labels=use()))
    mesh.apply(
        policy("p1", "Service", "web"),
        policy("p2", "Gateway", "wp", "gateway.networking.k8s.io"),
        policy("p3", "ServiceEntry", "ext", "networking.istio.io"),
        policy("p4", "Service", "other"),
    )
    assert {name: chain.policies for name, chain in mesh.chains().items()} == {
        "fc_http_80_web_shop": ("shop/p1", "shop/p2"),
        "fc_http_80_ext_shop_ext.example.com": ("shop/p2", "shop/p3"),
    }
    mesh.delete("AuthorizationPolicy", "p2")
    assert mesh.chains()["fc_http_80_web_shop"].policies == ("shop/p1",)


_addresses = st.lists(
    st.sampled_from(["10.0.0.1", "10.0.0.1/32", "10.0.0.2", "10.0.0.9/24", "10.0.0.0/24", "fd00::1", "fd00:0::1"]),
    max_size=3,
)
_labels = st.sampled_from([use(), use(), use("other"), use("none"), {}])
_services = st.builds(
    lambda name, ports, vips, labels, created: service(name, *ports, vips=vips, labels=labels, created=created),
    st.sampled_from("abc"),
    st.lists(
        st.sampled_from([{"name": "http", "port": 80}, {"name": "tcp", "port": 81}]),
        min_size=1,
        max_size=2,
        unique_by=lambda port: port["port"],
    ),
    _addresses.map(lambda found: [a for a in found if "/" not in a][:2]).map(lambda found: list(dict.fromkeys(found))),
    _labels,
    st.sampled_from(["", OLD, NEW]),
)
_entries = st.builds(
    lambda name, hosts, vips, labels, created: entry(name, *hosts, vips=vips, labels=labels, created=created),
    st.sampled_from("abc"),
    st.lists(st.sampled_from(["a.com", "b.com", "c.com"]), min_size=1, max_size=3, unique=True),
    _addresses,
    _labels,
    st.sampled_from(["", OLD, NEW]),
)


def expected_places(objects: list[dict[str, Any]]) -> set[tuple[str, str, int]]:
    """The places that somebody asks for, computed without the graph."""
    places = set()
    for made in objects:
        name = made["metadata"].get("labels", {}).get("istio.io/use-waypoint", "wp")
        spec = made["spec"]
        addresses = spec["addresses"] if made["kind"] == "ServiceEntry" else spec.get("clusterIPs", ())
        ports = [port.get("number", port.get("port")) for port in spec["ports"]]
        if name != "none":
            places |= {(f"shop/{name}", a, port) for a in normalise_addresses(addresses) for port in ports}
    return places


@given(st.lists(st.one_of(_services, _entries), max_size=8))
def test_every_place_that_somebody_asks_for_is_in_exactly_one_chain(objects: list[dict[str, Any]]) -> None:
    latest = {(made["kind"], made["metadata"]["name"]): made for made in objects}
    mesh = Mesh(waypoint(), waypoint(name="other"), namespace("shop", use()))
    for made in objects:
        mesh.apply(made)
        chains = mesh.rows.waypoints.chains.rows()
        places = Counter((chain.gateway, address, chain.port) for chain in chains for address in chain.addresses)
        assert set(places.values()) <= {1}
        assert all(chain.addresses for chain in chains)
    assert set(places if objects else ()) == expected_places(list(latest.values()))
    at_once = Mesh(waypoint(), waypoint(name="other"), namespace("shop", use()), *latest.values())
    assert at_once.rows.waypoints.chains.rows() == mesh.rows.waypoints.chains.rows()
