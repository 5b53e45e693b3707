"""Rules W1 to W11: subscriptions, and the wildcard in its two forms."""

import pytest

from controlplane.xds.types import CLUSTER, LISTENER, LOAD_ASSIGNMENT, ROUTE_CONFIGURATION, SECRET


def test_w1_an_empty_first_request_means_everything(world, client, said):
    world.put(CLUSTER, a="1", b="1")
    client.settle(responses := client.ask(CLUSTER))
    assert said(responses) == [("CDS", {"a": "1", "b": "1"}, ())]
    world.put(CLUSTER, c="1")
    assert said(client.responses()) == [("CDS", {"c": "1"}, ())]


def test_w2_a_name_added_to_the_legacy_wildcard_keeps_the_wildcard(world, client, said):
    world.put(CLUSTER, a="1", b="1")
    client.settle(client.ask(CLUSTER))
    assert said(client.settle(client.ask(CLUSTER, "a"))) == [("CDS", {"a": "1"}, ())]
    world.put(CLUSTER, b="2")
    assert said(client.responses()) == [("CDS", {"b": "2"}, ())]


def test_w3_the_explicit_wildcard_comes_and_goes(world, client, said):
    world.put(CLUSTER, a="1", b="1")
    assert said(client.settle(client.ask(CLUSTER, "a"))) == [("CDS", {"a": "1"}, ())]
    assert said(client.settle(client.ask(CLUSTER, "*"))) == [("CDS", {"a": "1", "b": "1"}, ())]
    assert client.ask(CLUSTER, unsubscribe=["*"]) == []
    world.put(CLUSTER, b="2")
    assert client.responses() == []


def test_w3_once_names_were_given_an_empty_set_means_nothing(world, client):
    world.put(CLUSTER, a="1", b="1")
    client.settle(client.ask(CLUSTER, "a"))
    client.ask(CLUSTER, unsubscribe=["a"])
    assert client.ask(CLUSTER) == []
    world.put(CLUSTER, a="2", b="2")
    assert client.responses() == []


def test_w3_the_wildcard_subscribed_again_is_answered_again(world, client, said):
    world.put(CLUSTER, a="1")
    client.settle(client.ask(CLUSTER, "*"))
    assert said(client.ask(CLUSTER, "*")) == [("CDS", {"a": "1"}, ())]


def test_w3_the_wildcard_on_nothing_is_answered(client, said):
    client.settle(client.ask(CLUSTER, "a"))
    assert said(client.ask(CLUSTER, "*")) == [("CDS", {}, ())]


def test_w4_unsubscribing_the_wildcard_keeps_explicit_names(world, client, said):
    world.put(CLUSTER, a="1", b="1")
    client.settle(client.ask(CLUSTER, "*", "a"))
    client.ask(CLUSTER, unsubscribe=["*"])
    world.put(CLUSTER, a="2", b="2")
    assert said(client.responses()) == [("CDS", {"a": "2"}, ())]


def test_w4_what_was_pending_under_the_wildcard_is_dropped(world, client, said):
    world.put(CLUSTER, a="1", b="1")
    first = client.ask(CLUSTER, "*", "a")
    world.put(CLUSTER, a="2", b="2")  # waits for the acknowledgement
    client.ask(CLUSTER, unsubscribe=["*"])
    assert said(client.settle(first)[1:]) == [("CDS", {"a": "2"}, ())]


def test_w5_unsubscribing_a_name_under_the_wildcard_is_answered_with_it(world, client, said):
    world.put(CLUSTER, a="1", b="1")
    client.settle(client.ask(CLUSTER, "*", "a"))
    assert said(client.ask(CLUSTER, unsubscribe=["a"])) == [("CDS", {"a": "1"}, ())]


def test_w5_unsubscribing_an_absent_name_under_the_wildcard_is_answered_with_its_removal(world, client, said):
    world.put(CLUSTER, a="1")
    client.settle(client.ask(CLUSTER, "*", "gone"))
    assert said(client.ask(CLUSTER, unsubscribe=["gone"])) == [("CDS", {}, ("gone",))]


def test_w6_unsubscribing_what_was_never_subscribed_is_silent(world, client):
    world.put(CLUSTER, a="1")
    client.settle(client.ask(CLUSTER))
    assert client.ask(CLUSTER, unsubscribe=["a", "unknown"]) == []
    client.settle(client.ask(LOAD_ASSIGNMENT, "x"))
    assert client.ask(LOAD_ASSIGNMENT, unsubscribe=["y"]) == []


def test_w7_every_subscribed_name_is_answered_also_in_the_same_version(world, client, said):
    world.put(LOAD_ASSIGNMENT, a="1")
    client.settle(client.ask(LOAD_ASSIGNMENT, "a"))
    assert said(client.settle(client.ask(LOAD_ASSIGNMENT, "a"))) == [("EDS", {"a": "1"}, ())]
    client.ask(LOAD_ASSIGNMENT, unsubscribe=["a"])
    assert said(client.ask(LOAD_ASSIGNMENT, "a")) == [("EDS", {"a": "1"}, ())]


def test_w8_in_one_request_unsubscribing_comes_after_subscribing(world, client):
    world.put(LOAD_ASSIGNMENT, a="1")
    assert client.ask(LOAD_ASSIGNMENT, "a", unsubscribe=["a"]) == []
    world.put(LOAD_ASSIGNMENT, a="2")
    assert client.responses() == []


def test_w8_the_wildcard_taken_and_given_back_in_one_request_means_nothing(world, client):
    world.put(CLUSTER, a="1")
    assert client.ask(CLUSTER, "*", unsubscribe=["*"]) == []
    world.put(CLUSTER, a="2")
    assert client.responses() == []


@pytest.mark.parametrize(
    ("type_url", "label"),
    [(LOAD_ASSIGNMENT, "EDS"), (SECRET, "SDS"), (ROUTE_CONFIGURATION, "RDS"), (CLUSTER, "CDS"), (LISTENER, "LDS")],
)
def test_w9_a_missing_name_is_answered_with_its_removal_and_sent_when_it_appears(world, client, said, type_url, label):
    assert said(client.settle(client.ask(type_url, "later"))) == [(label, {}, ("later",))]
    world.put(type_url, later="1")
    assert said(client.settle()) == [(label, {"later": "1"}, ())]


def test_w9_missing_and_present_clusters_are_answered_in_two_responses(world, client, said):
    world.put(CLUSTER, a="1")
    assert said(client.ask(CLUSTER, "a", "gone")) == [("CDS", {"a": "1"}, ()), ("CDS", {}, ("gone",))]


def test_w10_what_a_stream_did_not_subscribe_is_not_sent(world, client, said):
    world.put(LOAD_ASSIGNMENT, a="1", b="1")
    client.settle(client.ask(LOAD_ASSIGNMENT, "a"))
    world.put(LOAD_ASSIGNMENT, a="2", b="2")
    assert said(client.responses()) == [("EDS", {"a": "2"}, ())]


def test_w11_an_empty_first_request_of_a_type_by_name_means_nothing(world, client):
    """Envoy sends one when it reconnects and has lost interest in all names of the type."""
    world.commit({LOAD_ASSIGNMENT: {"a": "1"}, SECRET: {"s": "1"}, ROUTE_CONFIGURATION: {"r": "1"}})
    for type_url in (LOAD_ASSIGNMENT, SECRET, ROUTE_CONFIGURATION):
        assert client.ask(type_url) == []
    world.commit({LOAD_ASSIGNMENT: {"a": "2"}, SECRET: {"s": "2"}, ROUTE_CONFIGURATION: {"r": "2"}})
    assert client.responses() == []


def test_r8_the_first_wildcard_request_is_answered_when_nothing_exists(client, said):
    assert said(client.ask(CLUSTER)) == [("CDS", {}, ())]
    assert said(client.ask(LISTENER)) == [("LDS", {}, ())]
