"""Rules P15, traps 1 and 5: a rejected response is taken apart, and stops nothing else."""

from controlplane.xds.facts import Rejected, RejectedResource
from controlplane.xds.types import CLUSTER, LISTENER, LOAD_ASSIGNMENT, ROUTE_CONFIGURATION, SECRET, VIRTUAL_HOST


def guilty(client) -> dict[str, tuple[str, str | None]]:
    """What was found to be at fault: by name its version, and the last that was taken."""
    found = [fact.resource for fact in client.facts if isinstance(fact, RejectedResource)]
    return {one.entry.name: (one.entry.version, one.last and one.last.version) for one in found}


def test_p15_the_rejected_version_is_not_sent_again(world, client, said):
    world.put(CLUSTER, a="bad")
    [rejected] = client.ask(CLUSTER)
    removed = client.nack(rejected)
    assert said(removed) == [("CDS", {}, ("a",))]  # Envoy may keep what it rejected, and answer nothing more (trap 1)
    client.settle(removed)
    assert client.later(100.0) == []
    assert client.machine.is_settled
    assert guilty(client) == {"a": ("bad", None)}


def test_p15_a_new_version_goes_out_at_once(world, client, said):
    world.put(CLUSTER, a="bad")
    client.settle(client.nack(*client.ask(CLUSTER)))
    world.put(CLUSTER, a="good")
    assert said(client.settle()) == [("CDS", {"a": "good"}, ())]


def test_p15_the_last_good_version_is_sent_with_its_load_assignment(world, client, said):
    world.commit({CLUSTER: {"a": "1"}, LOAD_ASSIGNMENT: {"a": "1"}})
    client.settle([*client.ask(CLUSTER), *client.ask(LOAD_ASSIGNMENT, "a")])
    world.put(CLUSTER, a="bad")
    [offered, assignment] = client.responses()
    client.ack(assignment)
    assert said(client.nack(offered)) == [("CDS", {"a": "1"}, ()), ("EDS", {"a": "1"}, ())]
    assert guilty(client) == {"a": ("bad", "1")}


def test_p15_other_types_and_other_resources_go_on(world, client, said):
    world.commit({CLUSTER: {"a": "bad"}, LISTENER: {"l": "1"}})
    client.settle(client.nack(*client.ask(CLUSTER)))
    assert said(client.settle(client.ask(LISTENER))) == [("LDS", {"l": "1"}, ())]
    world.commit({CLUSTER: {"b": "1"}, LISTENER: {"l": "2"}})
    assert said(client.settle()) == [("CDS", {"b": "1"}, ()), ("LDS", {"l": "2"}, ())]


def test_p15_a_change_that_waited_for_the_answer_goes_out_at_a_rejection(world, client, said):
    world.put(CLUSTER, a="bad")
    [rejected] = client.ask(CLUSTER)
    world.put(CLUSTER, a="good", b="1")
    assert client.responses() == []
    assert said(client.nack(rejected)) == [("CDS", {"a": "good", "b": "1"}, ())]


def test_p15_a_version_that_comes_back_after_it_was_rejected_is_not_offered_just_as_it_was(world, client, said):
    """Envoy would acknowledge the same bytes without taking them."""
    world.put(CLUSTER, a="1")
    client.settle(client.ask(CLUSTER))
    world.put(CLUSTER, a="bad")
    [rejected] = client.responses()
    world.put(CLUSTER, a="other")
    world.put(CLUSTER, a="bad")
    assert said(client.nack(rejected)) == [("CDS", {"a": "1"}, ())]


def test_p15_what_another_proxy_took_falls_back_to_what_was_taken_before(world, client, said):
    world.put(CLUSTER, a="1")
    other = world.connect()
    client.settle(client.ask(CLUSTER))
    other.settle(other.ask(CLUSTER))
    world.put(CLUSTER, a="2")
    other.settle()
    assert said(client.nack(*client.responses())) == [("CDS", {"a": "1"}, ())]
    assert guilty(client) == {"a": ("2", "1")}


def test_trap5_a_rejected_response_is_taken_apart_until_the_guilty_stands_alone(world, client, said):
    world.put(LISTENER, **{f"l{i}": "1" for i in range(8)} | {"l5": "bad"})
    waiting = client.ask(LISTENER)
    tries, taken = 0, set()
    while waiting:
        response = waiting.pop(0)
        tries += 1
        assert not (response.versions and response.removed)
        if "bad" in response.versions.values():
            waiting += client.nack(response)
        else:
            taken |= response.versions.keys()
            waiting += client.ack(response)
    assert taken == {f"l{i}" for i in range(8)} - {"l5"}
    assert guilty(client) == {"l5": ("bad", None)}
    assert tries < 16
    assert client.machine.is_settled


def test_trap5_the_innocent_are_offered_until_they_are_acknowledged(world, client, said):
    """Envoy has applied them, and does not remember."""
    world.put(LISTENER, a="1", b="bad", c="1")
    [first, *_] = client.nack(*client.ask(LISTENER), "Error adding/updating listener(s) b: no")
    assert said([first]) == [("LDS", {"a": "1", "c": "1"}, ())]  # what the words name comes last, by itself
    [alone] = client.ack(first)
    assert said([alone]) == [("LDS", {"b": "bad"}, ())]
    assert said(client.settle(client.nack(alone))) == [("LDS", {}, ("b",))]


def test_trap5_what_is_new_goes_before_what_is_suspect(world, client, said):
    """So that a resource which is still bad cannot take it down."""
    world.put(LISTENER, a="1", b="bad", c="1")
    [offered] = client.ask(LISTENER)
    world.put(LISTENER, a="2", d="1")
    assert said(client.nack(offered)) == [("LDS", {"a": "2", "d": "1"}, ())]


def test_trap5_one_that_is_bad_only_beside_another_is_tried_again_after_it(world, client, said):
    """A port that another listener of the same response is about to free."""
    world.put(LISTENER, a="1", b="1")
    client.settle(client.ask(LISTENER))
    world.put(LISTENER, a="2", b="2")
    [first] = client.nack(*client.responses())
    assert said([first]) == [("LDS", {"a": "2"}, ())]
    back, second = client.nack(first)[0], None
    assert said([back]) == [("LDS", {"a": "1"}, ())]
    [second] = client.ack(back)
    assert said([second]) == [("LDS", {"b": "2"}, ())]
    [again] = client.ack(second)
    assert said([again]) == [("LDS", {"a": "2"}, ())]
    assert client.ack(again) == []
    assert guilty(client) == {}
    assert client.machine.is_settled


def test_a_suspect_that_is_removed_is_removed(world, client, said):
    world.put(LISTENER, a="bad")
    client.settle(client.nack(*client.ask(LISTENER)))
    world.put(LISTENER, a=None)
    assert client.settle() == []
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
    assert said(client.settle(client.nack(*client.responses()))) == [("VHDS", {"rc/a": "1"}, ())]
    world.put(VIRTUAL_HOST, **{"rc/b": "2"})
    assert said(client.settle()) == [("VHDS", {"rc/b": "2"}, ())]


def test_a_rejected_virtual_host_of_an_unsubscribed_configuration_is_forgotten(world, client, said):
    world.commit({ROUTE_CONFIGURATION: {"rc": "1"}, VIRTUAL_HOST: {"rc/a": "1"}})
    client.settle(client.ask(ROUTE_CONFIGURATION, "rc"))
    client.settle(client.ask(VIRTUAL_HOST))
    world.put(VIRTUAL_HOST, **{"rc/a": "bad"})
    client.settle(client.nack(*client.responses()))
    assert said(client.settle(client.ask(ROUTE_CONFIGURATION, unsubscribe=["rc"]))) == [("VHDS", {}, ("rc/a",))]


def test_a_rejection_is_told_with_names_versions_and_words(world, client):
    world.put(CLUSTER, a="1", b="1")
    [response] = client.ask(CLUSTER)
    client.nack(response, "Error adding/updating cluster(s) a: no")
    fact = client.facts[0]
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
    client.settle(client.ask(LISTENER))
    world.put(CLUSTER, a=None)
    client.responses()
    assert client.nack(*client.later(10.0)) == []
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
    client.settle(client.nack(offered, "l: cannot bind"))
    world.put(LISTENER, l=None)
    world.put(LISTENER, l="1")
    assert said(client.responses()) == [("LDS", {"l": "1"}, ())]


def test_trap1_no_bad_cluster_is_offered_twice_without_being_taken_back(world, client):
    """Envoy would acknowledge it, without taking it. Its words are cut off, and so need not name all that are bad."""
    names = [f"kube_demo_service-{i:02}_8080" for i in range(60)]
    world.put(CLUSTER, **dict.fromkeys(names, "1"))
    client.settle(client.ask(CLUSTER))
    world.put(CLUSTER, **dict.fromkeys(names, "bad"))
    waiting = client.responses()
    wedged: set[str] = set()
    while waiting:
        response = waiting.pop(0)
        bad = {name for name, version in response.versions.items() if version == "bad"}
        assert not bad & wedged
        wedged = (wedged | bad) - {name for name, version in response.versions.items() if version != "bad"}
        words = ", ".join(f"{name}: The table size of maglev must be prime number" for name in sorted(bad))
        if bad:
            waiting += client.nack(response, f"Error adding/updating cluster(s) {words}"[:1500])
        else:
            waiting += client.ack(response)
    assert sorted(guilty(client)) == names
    assert client.machine.is_settled
