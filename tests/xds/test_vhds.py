"""Rules V1 to V10 and trap 3: virtual hosts, whose RouteConfiguration decides about them."""

import pytest

from controlplane._proto.envoy.config.core.v3 import AggregatedConfigSource, ConfigSource
from controlplane._proto.envoy.config.route.v3 import RouteConfiguration, Vhds, VirtualHost
from controlplane.xds.types import ROUTE_CONFIGURATION as RDS
from controlplane.xds.types import VIRTUAL_HOST as VHDS
from controlplane.xds.types import route_configuration_of
from tests.xds.conftest import SCOPE, Row


@pytest.fixture
def tables(world):
    world.commit({RDS: {"rc": "1", "other": "1"}, VHDS: {"rc/x": "1", "rc/y": "1", "other/z": "1"}})
    return world


@pytest.fixture
def running(tables, client):
    """A proxy that has ``rc`` and its virtual hosts."""
    [routes] = client.ask(RDS, "rc")
    client.ask(VHDS)
    client.settle(client.ack(routes))
    assert client.machine.is_settled
    return client


@pytest.mark.parametrize(
    ("name", "expected"), [("rc/a.com", "rc"), ("a/b/c.com", "a/b"), ("rc/*", "rc"), ("nothing", ""), ("rc/", "rc")]
)
def test_v2_the_route_configuration_is_all_before_the_last_slash(name, expected):
    assert route_configuration_of(name) == expected


def test_v4_v5_the_first_request_names_nothing_and_is_answered_for_all_accepted_configurations(tables, client, said):
    [routes] = client.ask(RDS, "rc", "other")
    client.ack(routes)
    sent = client.ask(VHDS)
    assert said(sent) == [("VHDS", {"other/z": "1"}, ()), ("VHDS", {"rc/x": "1", "rc/y": "1"}, ())]


def test_v6_virtual_hosts_wait_for_the_acknowledgement_of_their_configuration(tables, client, said):
    [routes] = client.ask(RDS, "rc")
    assert client.ask(VHDS) == []
    assert said(client.ack(routes)) == [("VHDS", {"rc/x": "1", "rc/y": "1"}, ())]


def test_v6_virtual_hosts_wait_until_envoy_asks_for_the_type(tables, client, said):
    [routes] = client.ask(RDS, "rc")
    assert client.ack(routes) == []
    assert said(client.ask(VHDS)) == [("VHDS", {"rc/x": "1", "rc/y": "1"}, ())]


def test_v6_a_rejected_configuration_gets_no_virtual_hosts_until_it_is_accepted(tables, client, said):
    [routes] = client.ask(RDS, "rc")
    client.ask(VHDS)
    assert client.nack(routes) == []
    tables.put(RDS, rc="2")
    [mended] = client.responses()
    assert said([mended]) == [("RDS", {"rc": "2"}, ())]
    assert said(client.ack(mended)) == [("VHDS", {"rc/x": "1", "rc/y": "1"}, ())]


def test_v6_an_acknowledgement_that_does_not_come_is_not_waited_for_for_good(tables, client, said):
    """The order on the stream is enough; the acknowledgement only guards against a rejection."""
    client.ask(RDS, "rc")
    client.ask(VHDS)
    client.now = 100.0
    assert said(client.responses()) == [("VHDS", {"rc/x": "1", "rc/y": "1"}, ())]


def test_v6_a_second_configuration_on_a_running_proxy_gets_its_virtual_hosts_unasked(tables, running, said):
    [routes] = running.ask(RDS, "other")
    assert said(running.ack(routes)) == [("VHDS", {"other/z": "1"}, ())]


def test_v6_of_configurations_that_were_not_delivered_nothing_is_sent(tables, running):
    tables.put(VHDS, **{"other/z": "2", "unknown/a": "1", "": "1"})
    assert running.responses() == []


def test_v7_an_empty_configuration_is_answered_with_a_removal(world, client, said):
    world.put(RDS, rc="1")
    [routes] = client.ask(RDS, "rc")
    client.ask(VHDS)
    assert said(client.settle(client.ack(routes))) == [("VHDS", {}, ("rc/-",))]
    world.put(VHDS, **{"rc/x": "1"})
    assert said(client.settle()) == [("VHDS", {"rc/x": "1"}, ())]


def test_v7_a_configuration_that_is_emptied_needs_no_more_than_the_removals(tables, running, said):
    tables.put(VHDS, **{"rc/x": None, "rc/y": None})
    assert said(running.settle()) == [("VHDS", {}, ("rc/x", "rc/y"))]


def test_v8_v9_a_moved_domain_travels_in_one_response(tables, running, said):
    """Removed and added apart, the domain would be rejected as a duplicate, or missing for a moment."""
    tables.put(VHDS, **{"rc/x": None, "rc/moved": "1"})
    assert said(running.responses()) == [("VHDS", {"rc/moved": "1"}, ("rc/x",))]


def test_v10_an_update_of_the_configuration_keeps_the_virtual_hosts(tables, running, said):
    tables.put(RDS, rc="2")
    assert said(running.settle()) == [("RDS", {"rc": "2"}, ())]


def test_v13_subscribed_again_all_virtual_hosts_are_sent_again(tables, running, said):
    """The listener came back after its drain: Envoy has dropped the configuration and asks for it, and for nothing else."""
    [routes] = running.ask(RDS, "rc")
    assert said([routes]) == [("RDS", {"rc": "1"}, ())]
    assert said(running.ack(routes)) == [("VHDS", {"rc/x": "1", "rc/y": "1"}, ())]


def test_v13_only_the_answer_to_the_newest_subscription_counts(tables, client, said):
    [first] = client.ask(RDS, "rc")
    [second] = client.ask(RDS, "rc")
    client.ask(VHDS)
    assert client.ack(first) == []
    assert said(client.ack(second)) == [("VHDS", {"rc/x": "1", "rc/y": "1"}, ())]


def test_trap3_unsubscribed_the_virtual_hosts_are_removed(tables, running, said):
    assert said(running.settle(running.ask(RDS, unsubscribe=["rc"]))) == [("VHDS", {}, ("rc/x", "rc/y"))]
    assert running.machine.is_settled
    tables.put(VHDS, **{"rc/x": "2"})
    assert running.responses() == []
    [routes] = running.ask(RDS, "rc")
    assert said(running.ack(routes)) == [("VHDS", {"rc/x": "2", "rc/y": "1"}, ())]


def test_trap3_subscribed_again_before_the_removal_was_acknowledged(tables, running, said):
    [removal] = running.ask(RDS, unsubscribe=["rc"])
    [routes] = running.ask(RDS, "rc")
    assert running.ack(routes) == []  # one outstanding response for each configuration
    assert said(running.ack(removal)) == [("VHDS", {"rc/x": "1", "rc/y": "1"}, ())]


def test_trap3_unsubscribed_while_virtual_hosts_are_under_way(tables, client, said):
    [routes] = client.ask(RDS, "rc")
    client.ask(VHDS)
    [hosts] = client.ack(routes)
    assert client.ask(RDS, unsubscribe=["rc"]) == []
    assert said(client.settle(client.ack(hosts))) == [("VHDS", {}, ("rc/x", "rc/y"))]
    assert client.machine.is_settled


def test_trap3_unsubscribed_before_any_virtual_host_was_sent(tables, client):
    [routes] = client.ask(RDS, "rc")
    client.ask(VHDS)
    assert client.ask(RDS, unsubscribe=["rc"], nonce=routes.nonce) == []
    assert client.machine.is_settled


@pytest.mark.parametrize("hosts_first", [False, True])
def test_trap3_claimed_virtual_hosts_count_for_claimed_configurations(tables, client, said, hosts_first):
    requests = [lambda: client.ask(RDS, "rc", versions={"rc": "1"})]
    requests.insert(
        0 if hosts_first else 1, lambda: client.ask(VHDS, versions={"rc/x": "1", "rc/y": "0", "rc/old": "1"})
    )
    assert said([*requests[0](), *requests[1]()]) == [("VHDS", {"rc/y": "1"}, ("rc/old",))]


@pytest.mark.parametrize("hosts_first", [False, True])
def test_trap3_claimed_virtual_hosts_of_other_configurations_are_removed(tables, client, said, hosts_first):
    requests = [lambda: client.ask(RDS, "rc", versions={"rc": "1"})]
    claims = {"rc/x": "1", "rc/y": "1", "other/z": "1", "long.gone/a": "1"}
    requests.insert(0 if hosts_first else 1, lambda: client.ask(VHDS, versions=claims))
    sent = client.settle([*requests[0](), *requests[1]()])
    assert sorted(said(sent), key=str) == [("VHDS", {}, ("long.gone/a",)), ("VHDS", {}, ("other/z",))]


def test_trap3_claimed_virtual_hosts_are_removed_when_no_configuration_is_subscribed(tables, client, said):
    assert client.ask(RDS) == []
    assert said(client.ask(VHDS, versions={"rc/x": "1"})) == [("VHDS", {}, ("rc/x",))]


def test_trap3_claimed_virtual_hosts_do_not_count_for_a_configuration_that_is_sent(tables, client, said):
    """The listener came back across a reconnect: Envoy claims virtual hosts that no configuration of it has."""
    [routes] = client.ask(RDS, "rc")
    assert client.ask(VHDS, versions={"rc/x": "1", "rc/y": "1", "rc/old": "1"}) == []
    assert said(client.ack(routes)) == [("VHDS", {"rc/x": "1", "rc/y": "1"}, ("rc/old",))]


def test_trap3_a_configuration_that_differs_at_a_reconnect_brings_all_its_virtual_hosts(tables, client, said):
    [routes] = client.ask(RDS, "rc", versions={"rc": "0"})
    client.ask(VHDS, versions={"rc/x": "1", "rc/y": "1"})
    assert said(client.ack(routes)) == [("VHDS", {"rc/x": "1", "rc/y": "1"}, ())]


def test_a_claimed_empty_configuration_is_answered_once_more(world, client, said):
    """The stream may have broken before the first answer; the listener would wait for it."""
    world.put(RDS, rc="1")
    client.ask(RDS, "rc", versions={"rc": "1"})
    assert said(client.settle(client.ask(VHDS))) == [("VHDS", {}, ("rc/-",))]


def test_one_response_at_a_time_for_each_configuration(tables, running, said):
    [routes] = running.ask(RDS, "other")
    running.settle(running.ack(routes))
    tables.put(VHDS, **{"rc/x": "2"})
    [waiting] = running.responses()
    tables.put(VHDS, **{"rc/x": "3", "rc/y": "2", "other/z": "2"})
    assert said(running.responses()) == [("VHDS", {"other/z": "2"}, ())]
    assert said(running.ack(waiting)) == [("VHDS", {"rc/x": "3", "rc/y": "2"}, ())]


def test_virtual_hosts_stay_while_their_listener_drains(tables, running, said):
    """The configuration leaves the tables with its listener; Envoy serves from it until the drain is over."""
    tables.commit({RDS: {"rc": None}, VHDS: {"rc/x": None, "rc/y": None}})
    assert running.responses() == []
    assert said(running.settle(running.ask(RDS, unsubscribe=["rc"]))) == [("VHDS", {}, ("rc/x", "rc/y"))]


def test_a_listener_added_again_while_it_drains_costs_nothing(tables, running):
    tables.commit({RDS: {"rc": None}, VHDS: {"rc/x": None, "rc/y": None}})
    assert running.responses() == []
    tables.commit({RDS: {"rc": "1"}, VHDS: {"rc/x": "1", "rc/y": "1"}})
    assert running.responses() == []
    assert running.machine.is_settled


def test_a_listener_added_again_while_it_drains_brings_what_has_changed(tables, running, said):
    tables.commit({RDS: {"rc": None}, VHDS: {"rc/x": None, "rc/y": None}})
    running.settle()
    tables.commit({RDS: {"rc": "1"}, VHDS: {"rc/x": "2", "rc/y": None}})
    assert said(running.settle()) == [("VHDS", {"rc/x": "2"}, ("rc/y",))]


def test_p12_the_removal_of_a_configuration_is_not_told(tables, running):
    tables.put(RDS, rc=None)
    assert running.responses() == []
    assert running.machine.is_settled


def test_p12_a_configuration_that_goes_while_it_is_under_way_is_settled_by_its_acknowledgement(tables, client):
    [routes] = client.ask(RDS, "rc")
    tables.put(RDS, rc=None)
    assert client.ack(routes) == []
    assert client.machine.is_settled
    tables.put(RDS, rc="1")
    assert client.responses() == []  # Envoy has kept it


def test_an_explicitly_subscribed_virtual_host_is_answered(tables, running, said):
    assert said(running.settle(running.ask(VHDS, "rc/x", "rc/none", "other/z"))) == [
        ("VHDS", {}, ("other/z",)),
        ("VHDS", {"rc/x": "1"}, ("rc/none",)),
    ]


def test_a_change_before_envoy_asks_for_virtual_hosts_is_not_lost(tables, client, said):
    [routes] = client.ask(RDS, "rc")
    client.ack(routes)
    tables.put(VHDS, **{"rc/x": "2", "rc/new": "1", "rc/y": None})
    assert said(client.settle(client.ask(VHDS))) == [("VHDS", {"rc/new": "1", "rc/x": "2"}, ("rc/y",))]
    assert client.machine.is_settled


def test_a_change_between_the_claims_of_both_types_is_not_lost(tables, client, said):
    client.ask(RDS, "rc", versions={"rc": "1"})
    tables.put(VHDS, **{"rc/x": "2"})
    assert said(client.ask(VHDS, versions={"rc/x": "1", "rc/y": "1"})) == [("VHDS", {"rc/x": "2"}, ())]


def test_virtual_hosts_come_also_when_nobody_answers_for_route_configurations_any_more(tables, client, said):
    """An overdue RDS answer is not waited for: its RouteConfigurations count as taken in order."""
    client.ask(VHDS)
    assert said(client.ask(RDS, "other")) == [("RDS", {"other": "1"}, ())]
    client.now += 60
    assert said(client.responses()) == [("VHDS", {"other/z": "1"}, ())]
    assert said(client.ask(RDS, "rc")) == [("RDS", {"rc": "1"}, ())]
    assert said(client.later(60)) == [("VHDS", {"rc/x": "1", "rc/y": "1"}, ())]


def test_v7_a_configuration_that_holds_its_hosts_has_none_sent(world, client, said):
    """A waypoint's: there is no VHDS for it, and no removal that would end a wait which nobody has."""
    host = VirtualHost(name="own/*", domains=["*"])
    body = bytes(RouteConfiguration(name="own", virtual_hosts=[host]))
    by_vhds = bytes(RouteConfiguration(name="rc", vhds=Vhds(config_source=ConfigSource(ads=AggregatedConfigSource()))))
    rows = [Row("own", "1", body), Row("rc", "1", by_vhds)]
    world.views.apply(((SCOPE, RDS, row.name, row) for row in rows), seq=1)
    [routes] = client.ask(RDS, "own", "rc")
    client.ask(VHDS)
    assert said(client.ack(routes)) == [("VHDS", {}, ("rc/-",))]
    again = client.ask(RDS, "own", unsubscribe=["rc"])
    assert [response.type_url for response in client.settle(again) if response.type_url == VHDS] == []
