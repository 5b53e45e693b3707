"""Rules P15 and trap 5, as far as they are the machine's: a rejected response stops nothing else."""

from controlplane.xds.machine import Rejected
from controlplane.xds.types import CLUSTER, LISTENER, LOAD_ASSIGNMENT, ROUTE_CONFIGURATION, SECRET, VIRTUAL_HOST


def test_p15_the_rejected_version_is_not_sent_again(world, client):
    world.put(CLUSTER, a="bad")
    [rejected] = client.ask(CLUSTER)
    assert client.nack(rejected) == []
    assert client.responses() == []
    assert client.machine.is_settled


def test_p15_a_new_version_goes_out_at_once(world, client, said):
    world.put(CLUSTER, a="bad")
    client.nack(*client.ask(CLUSTER))
    world.put(CLUSTER, a="good")
    assert said(client.settle()) == [("CDS", {"a": "good"}, ())]


def test_p15_other_types_and_other_resources_go_on(world, client, said):
    world.commit({CLUSTER: {"a": "bad"}, LISTENER: {"l": "1"}})
    client.nack(*client.ask(CLUSTER))
    assert said(client.settle(client.ask(LISTENER))) == [("LDS", {"l": "1"}, ())]
    world.commit({CLUSTER: {"b": "1"}, LISTENER: {"l": "2"}})
    assert said(client.settle()) == [("CDS", {"b": "1"}, ()), ("LDS", {"l": "2"}, ())]


def test_p15_a_change_that_waited_for_the_answer_goes_out_at_a_rejection(world, client, said):
    world.put(CLUSTER, a="bad")
    [rejected] = client.ask(CLUSTER)
    world.put(CLUSTER, a="good", b="1")
    assert client.responses() == []
    assert said(client.nack(rejected)) == [("CDS", {"a": "good", "b": "1"}, ())]


def test_p15_a_version_that_comes_back_after_it_was_rejected_is_not_sent(world, client):
    world.put(CLUSTER, a="1")
    client.settle(client.ask(CLUSTER))
    world.put(CLUSTER, a="bad")
    [rejected] = client.responses()
    world.put(CLUSTER, a="other")
    world.put(CLUSTER, a="bad")
    assert client.nack(rejected) == []


def test_p15_back_to_the_accepted_version_after_a_rejection_is_sent(world, client, said):
    """What Envoy holds after a rejection is unknown, so the old version is said again."""
    world.put(CLUSTER, a="1")
    client.settle(client.ask(CLUSTER))
    world.put(CLUSTER, a="bad")
    client.nack(*client.responses())
    world.put(CLUSTER, a="1")
    assert said(client.settle()) == [("CDS", {"a": "1"}, ())]


def test_trap5_the_others_of_a_rejected_response_are_offered_again_when_one_of_them_has_changed(world, client, said):
    world.put(CLUSTER, a="1", b="1", c="bad")
    client.nack(*client.ask(CLUSTER))
    world.put(CLUSTER, c="good")
    assert said(client.settle()) == [("CDS", {"c": "good"}, ()), ("CDS", {"a": "1", "b": "1"}, ())]
    assert client.machine.is_settled
    assert client.machine.rejected == 0


def test_trap5_what_is_new_goes_before_what_is_suspect(world, client, said):
    """So that a resource which is still bad cannot take it down."""
    world.put(CLUSTER, a="1", b="bad", c="1")
    client.nack(*client.ask(CLUSTER))
    world.put(CLUSTER, a="2", d="1")
    [fresh] = client.responses()
    assert said([fresh]) == [("CDS", {"a": "2", "d": "1"}, ())]
    [again] = client.ack(fresh)
    assert said([again]) == [("CDS", {"b": "bad", "c": "1"}, ())]
    assert client.nack(again) == []  # and not a third time
    world.put(CLUSTER, e="1")
    assert said(client.settle()) == [("CDS", {"e": "1"}, ())]


def test_trap5_two_rejections_are_tried_once_more_together(world, client, said):
    """A resource can be bad only beside the old version of another: the change that frees it may be among the suspects."""
    world.put(CLUSTER, a="1")
    client.nack(*client.ask(CLUSTER))
    world.put(CLUSTER, b="1")
    [together] = client.nack(*client.responses())
    assert said([together]) == [("CDS", {"a": "1", "b": "1"}, ())]
    assert client.ack(together) == []
    assert client.machine.rejected == 0


def test_trap5_an_offer_without_an_answer_is_not_repeated(world, client, said):
    world.put(CLUSTER, a="1", b="bad", c="1")
    client.nack(*client.ask(CLUSTER))
    world.put(CLUSTER, a="2")
    [offered] = client.ack(*client.responses())
    assert said([offered]) == [("CDS", {"b": "bad", "c": "1"}, ())]
    client.now = 100.0
    assert client.responses() == []
    world.put(CLUSTER, d="1")
    assert said(client.responses()) == [("CDS", {"d": "1"}, ())]


def test_a_suspect_that_is_removed_is_removed(world, client, said):
    world.put(CLUSTER, a="bad")
    client.nack(*client.ask(CLUSTER))
    world.put(CLUSTER, a=None)
    assert said(client.settle()) == [("CDS", {}, ("a",))]
    assert client.machine.rejected == 0


def test_a_subscription_is_answered_also_with_a_rejected_version(world, client, said):
    world.put(SECRET, s="bad")
    client.nack(*client.ask(SECRET, "s"))
    assert said(client.ask(SECRET, "s")) == [("SDS", {"s": "bad"}, ())]


def test_a_rejected_secret_does_not_touch_others(world, client, said):
    world.put(SECRET, good="1", bad="1")
    [bad, good] = client.ask(SECRET, "good", "bad")
    client.nack(bad)
    client.ack(good)
    world.put(SECRET, good="2")
    assert said(client.settle()) == [("SDS", {"good": "2"}, ())]


def test_a_rejected_virtual_host_does_not_touch_others(world, client, said):
    world.commit({ROUTE_CONFIGURATION: {"rc": "1"}, VIRTUAL_HOST: {"rc/a": "1", "rc/b": "1"}})
    client.settle(client.ask(ROUTE_CONFIGURATION, "rc"))
    client.settle(client.ask(VIRTUAL_HOST))
    world.put(VIRTUAL_HOST, **{"rc/a": "bad"})
    client.nack(*client.responses())
    world.put(VIRTUAL_HOST, **{"rc/b": "2"})
    assert said(client.settle()) == [("VHDS", {"rc/b": "2"}, ())]


def test_a_rejected_virtual_host_of_an_unsubscribed_configuration_is_forgotten(world, client, said):
    world.commit({ROUTE_CONFIGURATION: {"rc": "1"}, VIRTUAL_HOST: {"rc/a": "1"}})
    client.settle(client.ask(ROUTE_CONFIGURATION, "rc"))
    client.settle(client.ask(VIRTUAL_HOST))
    world.put(VIRTUAL_HOST, **{"rc/a": "bad"})
    client.nack(*client.responses())
    assert said(client.settle(client.ask(ROUTE_CONFIGURATION, unsubscribe=["rc"]))) == [("VHDS", {}, ("rc/a",))]


def test_a_rejection_is_told_with_names_versions_and_words(world, client):
    world.put(CLUSTER, a="1", b="1")
    [response] = client.ask(CLUSTER)
    client.nack(response, "Error adding/updating cluster(s) a: no")
    [fact] = client.facts
    assert isinstance(fact, Rejected)
    assert (fact.type_url, fact.nonce, fact.items) == (CLUSTER, response.nonce, {"a": "1", "b": "1"})
    assert fact.error.message == "Error adding/updating cluster(s) a: no"
    ledger = client.machine.statistics()[CLUSTER]
    assert ledger["rejected"] == 1
    assert ledger["rejections"]["a"]["message"] == "Error adding/updating cluster(s) a: no"


def test_a_rejected_removal_counts_as_carried_out(world, client):
    """Envoy carries out the removals of what it rejects."""
    world.put(CLUSTER, a="1")
    client.settle(client.ask(CLUSTER))
    world.put(CLUSTER, a=None)
    assert client.nack(*client.responses()) == []
    assert client.machine.is_settled
    world.put(CLUSTER, a="1")
    assert len(client.settle()) == 1


def test_the_ledger_tells_what_is_held_and_what_is_under_way(world, client):
    world.put(LOAD_ASSIGNMENT, a="1", b="1")
    client.settle(client.ask(LOAD_ASSIGNMENT, "a", "b", "c"))
    world.put(LOAD_ASSIGNMENT, a="2")
    client.responses()
    ledger = client.machine.statistics()[LOAD_ASSIGNMENT]
    assert ledger["names"] == ["a", "b", "c"]
    assert ledger["acknowledged_versions"] == {"a": "1", "b": "1"}
    assert ledger["sent_versions"] == {"a": "2", "b": "1"}
    assert ledger["unanswered"] == ["2"]
    counted = client.machine.statistics(versions=False)[LOAD_ASSIGNMENT]
    assert counted["subscribed"] == 3
    assert "names" not in counted


def test_what_was_removed_and_comes_back_is_offered_again(world, client, said):
    """A listener that could not bind leaves the table, and comes back when its port is free, maybe before Envoy heard of it."""
    world.commit({CLUSTER: {"c": "1"}, LISTENER: {"l": "1"}})
    client.ask(CLUSTER)
    [offered] = client.ask(LISTENER)
    assert client.nack(offered, "l: cannot bind") == []
    world.put(LISTENER, l=None)
    world.put(LISTENER, l="1")
    assert said(client.responses()) == [("LDS", {"l": "1"}, ())]
