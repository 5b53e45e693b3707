"""Rules R1 to R8, and trap 8: what a proxy says it holds from an earlier stream."""

import pytest

from controlplane.xds.types import (
    CLUSTER,
    LISTENER,
    LOAD_ASSIGNMENT,
    PUSH_ORDER,
    ROUTE_CONFIGURATION,
    SECRET,
    VIRTUAL_HOST,
)

GRACE_S = 10.0
EVERYTHING = {
    CLUSTER: {"a": "1", "b": "1"},
    LOAD_ASSIGNMENT: {"a": "1", "b": "1"},
    SECRET: {"s": "1"},
    LISTENER: {"l": "1"},
    ROUTE_CONFIGURATION: {"rc": "1"},
    VIRTUAL_HOST: {"rc/x": "1", "rc/y": "1"},
}
BY_NAME = {LOAD_ASSIGNMENT: ["a", "b"], SECRET: ["s"], ROUTE_CONFIGURATION: ["rc"]}


def test_r2_a_reconnect_with_unchanged_content_is_sent_no_resource(world, client, said):
    world.commit(EVERYTHING)
    sent = [
        response
        for rule in PUSH_ORDER
        for response in client.settle(client.ask(rule.url, *BY_NAME.get(rule.url, ()), versions=EVERYTHING[rule.url]))
    ]
    assert said(sent) == [("CDS", {}, ()), ("LDS", {}, ())]  # R8, and empty
    assert client.machine.is_settled
    assert client.machine._virtual_hosts.held == {}


def test_r2_only_what_differs_is_sent_and_what_is_gone_is_removed(world, client, said):
    world.put(CLUSTER, same="1", new="1", changed="2")
    sent = client.settle(client.ask(CLUSTER, versions={"same": "1", "changed": "1", "gone": "1"}))
    assert said(sent) == [("CDS", {"changed": "2", "new": "1"}, ())]
    client.settle(client.ask(LISTENER))
    assert said(client.later(GRACE_S)) == [("CDS", {}, ("gone",))]


def test_r2_a_removal_waits_until_the_proxy_has_taken_everything_else(world, client, said):
    """Its virtual hosts, of which it has not even told yet, may still use the cluster that is gone."""
    world.commit({CLUSTER: {"a": "1"}, ROUTE_CONFIGURATION: {"rc": "1"}, VIRTUAL_HOST: {"rc/x": "2"}})
    clusters = client.ask(CLUSTER, versions={"a": "1", "gone": "1"})
    assert said(clusters) == [("CDS", {}, ())]
    assert client.ask(ROUTE_CONFIGURATION, "rc", versions={"rc": "1"}) == []
    hosts = client.ask(VIRTUAL_HOST, versions={"rc/x": "1"})
    assert said(hosts) == [("VHDS", {"rc/x": "2"}, ())]
    assert client.ack(*clusters) == []
    client.settle(client.ask(LISTENER, versions={"l": "1"}))
    assert client.later(GRACE_S) == []  # nobody knows what the virtual host of the version that it has names
    assert client.ack(*hosts) == []
    assert said(client.later(GRACE_S)) == [("CDS", {}, ("gone",))]


def test_r3_a_claimed_name_is_not_a_subscription(world, client):
    world.put(SECRET, a="1", b="1")
    assert client.ask(SECRET, "a", versions={"a": "1", "b": "0"}) == []
    world.put(SECRET, b="2")
    assert client.responses() == []


def test_r3_claimed_load_assignments_after_the_clusters_are_believed(world, client, said):
    world.commit({CLUSTER: {"a": "1", "b": "1"}, LOAD_ASSIGNMENT: {"a": "1", "b": "2"}})
    client.settle(client.ask(CLUSTER, versions={"a": "1", "b": "1"}))
    sent = client.ask(LOAD_ASSIGNMENT, "a", "b", versions={"a": "1", "b": "1"})
    assert said(sent) == [("EDS", {"b": "2"}, ())]


def test_r4_a_claim_satisfies_the_first_request_and_no_later_one(world, client, said):
    world.put(SECRET, s="1")
    assert client.ask(SECRET, "s", versions={"s": "1"}) == []
    assert said(client.ask(SECRET, "s")) == [("SDS", {"s": "1"}, ())]


def test_r4_versions_in_a_later_request_are_not_believed(world, client, said):
    world.put(SECRET, s="1")
    client.settle(client.ask(SECRET, "other"))
    assert said(client.ask(SECRET, "s", versions={"s": "1"})) == [("SDS", {"s": "1"}, ())]


def test_r4_a_claimed_name_that_is_gone_is_answered_with_its_removal(client, said):
    assert said(client.ask(SECRET, "s", versions={"s": "1"})) == [("SDS", {}, ("s",))]


def test_r5_equal_versions_are_equal_content_whoever_made_them(world, said):
    world.put(CLUSTER, a="hash")
    client = world.connect()
    assert said(client.ask(CLUSTER, versions={"a": "hash"})) == [("CDS", {}, ())]
    world.put(CLUSTER, a="hash")  # a commit that changes no content is no change
    assert client.settle() == []


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1]])
def test_r6_requests_come_in_any_order(world, client, order):
    world.commit(EVERYTHING)
    requests = [
        (CLUSTER, (), {"a": "0"}),
        (LISTENER, (), {}),
        (ROUTE_CONFIGURATION, ("rc",), {"rc": "0"}),
        (VIRTUAL_HOST, (), {"rc/x": "1"}),
    ]
    sent = []
    for position in order:
        type_url, names, versions = requests[position]
        sent += client.settle(client.ask(type_url, *names, versions=versions))
    found: dict[str, dict[str, str]] = {}
    for response in sent:
        found.setdefault(response.type_url, {}).update(response.versions)
    assert found[CLUSTER] == EVERYTHING[CLUSTER]
    assert found[LISTENER] == EVERYTHING[LISTENER]
    assert found[VIRTUAL_HOST] == EVERYTHING[VIRTUAL_HOST]
    assert client.machine.is_settled


def test_r7_what_was_rejected_on_an_earlier_stream_is_offered_again(world, client, said):
    world.put(CLUSTER, a="1")
    client.settle(client.ask(CLUSTER))
    world.put(CLUSTER, a="bad")
    [rejected] = client.responses()
    client.nack(rejected)
    client.disconnect()
    again = world.connect()
    assert said(again.ask(CLUSTER, versions={"a": "1"})) == [("CDS", {"a": "bad"}, ())]


def test_r8_a_reconnect_that_lacks_nothing_is_answered_once_and_empty(world, client, said):
    world.put(CLUSTER, a="1")
    assert said(client.settle(client.ask(CLUSTER, versions={"a": "1"}))) == [("CDS", {}, ())]


def test_p8_after_a_reconnect_a_changed_cluster_brings_its_load_assignment(world, client, said):
    world.commit({CLUSTER: {"a": "2", "b": "1"}, LOAD_ASSIGNMENT: {"a": "1", "b": "1"}})
    sent = client.ask(CLUSTER, versions={"a": "1", "b": "1"})
    assert said(sent) == [("CDS", {"a": "2"}, ()), ("EDS", {"a": "1"}, ())]
    assert client.ask(LOAD_ASSIGNMENT, "a", "b", versions={"a": "1", "b": "1"}) == []


def test_p8_an_empty_answer_to_a_reconnect_brings_no_load_assignment(world, client, said):
    world.commit({CLUSTER: {"a": "1"}, LOAD_ASSIGNMENT: {"a": "1"}})
    assert said(client.ask(CLUSTER, versions={"a": "1"})) == [("CDS", {}, ())]
    assert client.ask(LOAD_ASSIGNMENT, "a", versions={"a": "1"}) == []


def test_trap8_load_assignments_asked_for_before_clusters_are_all_answered(world, client, said):
    """The stream broke while a cluster warmed: Envoy asks for clusters only when that has ended."""
    world.commit({CLUSTER: {"a": "1", "b": "1"}, LOAD_ASSIGNMENT: {"a": "1", "b": "1"}})
    sent = client.ask(LOAD_ASSIGNMENT, "a", "b", versions={"a": "1", "b": "1"})
    assert said(sent) == [("EDS", {"a": "1", "b": "1"}, ())]


def test_trap8_a_stream_without_a_cluster_request_is_sent_changed_clusters_all_the_same(world, client, said):
    world.commit({CLUSTER: {"a": "1", "b": "1"}, LOAD_ASSIGNMENT: {"a": "1", "b": "1"}})
    client.settle(client.ask(LOAD_ASSIGNMENT, "a", "b", versions={"a": "1", "b": "1"}))
    world.put(CLUSTER, a="2")
    pushed = client.responses()
    assert said(pushed) == [("CDS", {"a": "2"}, ()), ("EDS", {"a": "1"}, ())]
    client.ack(pushed[1])
    client.settle(client.ask(LISTENER))
    world.put(CLUSTER, b=None)
    client.responses()
    assert said(client.later(GRACE_S)) == [("CDS", {}, ("b",))]


def test_trap8_once_clusters_are_asked_for_by_name_others_are_not_sent(world, client, said):
    world.commit({CLUSTER: {"a": "1", "b": "1"}, LOAD_ASSIGNMENT: {"a": "1", "b": "1"}})
    client.settle(client.ask(LOAD_ASSIGNMENT, "a"))
    world.put(CLUSTER, b="2")
    assert [response.type_url for response in client.responses()] == [CLUSTER, LOAD_ASSIGNMENT]
    client.settle(client.ask(CLUSTER, "a"))
    world.put(CLUSTER, b="3")
    assert client.responses() == []


def test_trap8_the_first_cluster_request_may_carry_a_nonce_and_versions(world, client, said):
    world.commit({CLUSTER: {"a": "1", "b": "1"}, LOAD_ASSIGNMENT: {"a": "1", "b": "1"}})
    client.settle(client.ask(LOAD_ASSIGNMENT, "a", "b"))
    world.put(CLUSTER, a="2")
    [clusters, assignments] = client.responses()
    client.ack(assignments)
    late = client.ask(CLUSTER, nonce=clusters.nonce, versions={"a": "2", "b": "1", "c": "1"})
    assert said(client.settle(late)) == [("CDS", {}, ())]
    client.settle(client.ask(LISTENER))
    assert said(client.later(GRACE_S)) == [("CDS", {}, ("c",))]


def test_trap8_a_first_request_with_the_nonce_of_another_stream_is_a_first_request(world, client, said):
    world.put(CLUSTER, a="1")
    assert said(client.ask(CLUSTER, nonce="77")) == [("CDS", {"a": "1"}, ())]
