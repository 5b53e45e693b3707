"""Rules P7 to P9, trap 5 and the coalescing: what goes before what, and what waits."""

import pytest

from controlplane.xds import Limits
from controlplane.xds.types import CLUSTER, LISTENER, LOAD_ASSIGNMENT, ROUTE_CONFIGURATION, SECRET, VIRTUAL_HOST

GRACE_S = 10.0
EVERYTHING = {
    CLUSTER: {"a": "1"},
    LOAD_ASSIGNMENT: {"a": "1"},
    SECRET: {"s": "1"},
    LISTENER: {"l": "1"},
    ROUTE_CONFIGURATION: {"rc": "1"},
    VIRTUAL_HOST: {"rc/x": "1"},
}


@pytest.fixture
def running(world, client):
    """A proxy that has everything."""
    world.commit(EVERYTHING)
    client.settle(client.ask(CLUSTER))
    client.settle(client.ask(LOAD_ASSIGNMENT, "a"))
    client.settle(client.ask(LISTENER))
    client.settle(client.ask(ROUTE_CONFIGURATION, "rc"))
    client.settle(client.ask(SECRET, "s"))
    client.settle(client.ask(VIRTUAL_HOST))
    assert client.machine.is_settled
    return client


def test_p7_one_push_goes_from_what_is_referred_to_to_what_refers(world, running, said):
    world.commit({type_url: dict.fromkeys(names, "2") for type_url, names in reversed(EVERYTHING.items())})
    assert said(running.responses()) == [
        ("CDS", {"a": "2"}, ()),
        ("EDS", {"a": "2"}, ()),
        ("SDS", {"s": "2"}, ()),
        ("LDS", {"l": "2"}, ()),
        ("RDS", {"rc": "2"}, ()),
        ("VHDS", {"rc/x": "2"}, ()),
    ]


def test_p7_removals_go_last_and_one_type_after_the_other(world, running, said):
    world.commit(
        {
            CLUSTER: {"a": None, "b": "1"},
            LOAD_ASSIGNMENT: {"a": None, "b": "1"},
            LISTENER: {"l": None, "m": "1"},
            VIRTUAL_HOST: {"rc/x": "2"},
        }
    )
    additions = running.responses()
    assert said(additions) == [
        ("CDS", {"b": "1"}, ()),
        ("EDS", {"b": "1"}, ()),
        ("LDS", {"m": "1"}, ()),
        ("VHDS", {"rc/x": "2"}, ()),
    ]
    assert running.ack(*additions[:2]) == []
    [listeners] = running.ack(additions[2])
    assert said([listeners]) == [("LDS", {}, ("l",))]
    assert running.ack(listeners, additions[3]) == []
    [clusters] = running.later(GRACE_S)
    assert said([clusters]) == [("CDS", {}, ("a",))]
    [assignments] = running.ack(clusters)
    assert said([assignments]) == [("EDS", {}, ("a",))]


def test_p7_a_load_assignment_that_is_unsubscribed_with_its_cluster_is_not_removed(world, running, said):
    world.commit({CLUSTER: {"a": None}, LOAD_ASSIGNMENT: {"a": None}})
    assert running.responses() == []
    [clusters] = running.later(GRACE_S)
    running.ask(LOAD_ASSIGNMENT, unsubscribe=["a"])  # Envoy has dropped the cluster
    assert running.ack(clusters) == []


def test_p7_a_removal_is_called_off_when_the_resource_comes_back(world, running):
    world.commit({CLUSTER: {"a": None}, LISTENER: {"l": "2"}})
    [listeners] = running.responses()
    world.put(CLUSTER, a="1")
    assert running.ack(listeners) == []
    assert running.machine.is_settled


@pytest.mark.parametrize("type_url", [CLUSTER, LISTENER])
def test_trap5_removals_never_share_a_response_with_additions(world, client, type_url):
    world.put(type_url, gone="1", stays="1")
    client.settle(client.ask(type_url))
    world.put(type_url, gone=None, stays="2", new="1")
    for response in client.settle():
        assert not (response.versions and response.removed)


def test_p8_a_changed_cluster_brings_its_unchanged_load_assignment(world, running, said):
    world.put(CLUSTER, a="2")
    assert said(running.responses()) == [("CDS", {"a": "2"}, ()), ("EDS", {"a": "1"}, ())]


def test_p8_a_new_cluster_brings_its_load_assignment_unasked(world, running, said):
    world.commit({CLUSTER: {"b": "1"}, LOAD_ASSIGNMENT: {"b": "1"}})
    assert said(running.settle()) == [("CDS", {"b": "1"}, ()), ("EDS", {"b": "1"}, ())]
    assert said(running.ask(LOAD_ASSIGNMENT, "b")) == [("EDS", {"b": "1"}, ())]  # W7 all the same


def test_p8_the_load_assignment_follows_while_others_wait_for_their_acknowledgement(world, running, said):
    world.put(LOAD_ASSIGNMENT, a="2")
    [waiting] = running.responses()
    world.put(CLUSTER, a="2")
    assert said(running.responses()) == [("CDS", {"a": "2"}, ()), ("EDS", {"a": "2"}, ())]
    running.ack(waiting)


def test_p8_a_cluster_without_endpoints_of_its_own_brings_nothing(world, running, said):
    world.put(CLUSTER, dns="1")
    assert said(running.responses()) == [("CDS", {"dns": "1"}, ())]


def test_p8_a_fresh_proxy_asks_for_load_assignments_itself(world, client, said):
    """It drops what comes before it asked, and asks as soon as it has the clusters."""
    world.commit({CLUSTER: {"a": "1"}, LOAD_ASSIGNMENT: {"a": "1"}})
    assert said(client.ask(CLUSTER)) == [("CDS", {"a": "1"}, ())]
    assert said(client.ask(LOAD_ASSIGNMENT, "a")) == [("EDS", {"a": "1"}, ())]


def test_p9_a_load_assignment_that_does_not_exist_is_answered_at_once(world, client, said):
    world.put(CLUSTER, a="1")
    client.ask(CLUSTER)
    assert said(client.ask(LOAD_ASSIGNMENT, "a")) == [("EDS", {}, ("a",))]


def test_changes_coalesce_to_the_newest_state_while_a_response_is_unacknowledged(world, running, said):
    world.put(LOAD_ASSIGNMENT, a="2")
    [waiting] = running.responses()
    for version in "3456":
        world.put(LOAD_ASSIGNMENT, a=version)
        assert running.responses() == []
    assert said(running.ack(waiting)) == [("EDS", {"a": "6"}, ())]


def test_a_change_that_is_taken_back_in_time_is_not_sent(world, running):
    world.put(LOAD_ASSIGNMENT, a="2")
    world.put(LOAD_ASSIGNMENT, a="1")
    assert running.responses() == []
    assert running.machine.is_settled


def test_a_change_that_is_taken_back_after_it_was_sent_is_sent_back(world, running, said):
    world.put(LOAD_ASSIGNMENT, a="2")
    [waiting] = running.responses()
    world.put(LOAD_ASSIGNMENT, a="1")
    assert said(running.ack(waiting)) == [("EDS", {"a": "1"}, ())]


def test_a_resource_that_came_and_went_unseen_is_not_removed(world, running):
    world.put(CLUSTER, brief="1")
    world.put(CLUSTER, brief=None)
    assert running.responses() == []


def test_types_do_not_wait_for_each_other(world, running, said):
    world.put(LISTENER, l="2")
    assert said(running.responses()) == [("LDS", {"l": "2"}, ())]  # never acknowledged
    world.put(LOAD_ASSIGNMENT, a="2")
    assert said(running.responses()) == [("EDS", {"a": "2"}, ())]


def test_endpoints_never_wait_for_clusters(world, running, said):
    world.put(CLUSTER, a="2")
    [_, assignments] = running.responses()
    running.ack(assignments)
    world.commit({CLUSTER: {"b": "1"}, LOAD_ASSIGNMENT: {"a": "2"}})
    assert ("EDS", {"a": "2"}, ()) in said(running.responses())


def test_an_overdue_answer_stops_holding_back(world, client, said):
    client = world.connect(Limits(acknowledge_seconds=5.0))
    world.put(CLUSTER, a="1")
    [first] = client.ask(CLUSTER)
    assert client.machine.deadline == 5.0
    world.put(CLUSTER, b="1")
    client.now = 4.9
    assert client.responses() == []
    client.now = 5.0
    [second] = client.responses()
    assert said([second]) == [("CDS", {"b": "1"}, ())]
    world.put(CLUSTER, b="2")  # changes coalesce again
    assert client.responses() == []
    [third] = client.later(5.0)
    assert said([third]) == [("CDS", {"b": "2"}, ())]
    client.ack(first, second, third)  # a late answer is an answer
    assert client.machine.is_settled


def test_an_overdue_answer_does_not_hold_back_removals_for_good(world, client, said):
    world.put(CLUSTER, a="1", wedged="1")
    client.ask(CLUSTER)
    client.settle(client.ask(LISTENER))
    world.put(CLUSTER, wedged=None)
    assert client.later(GRACE_S) == []
    assert said(client.later(GRACE_S)) == [("CDS", {}, ("wedged",))]


def test_unanswered_responses_are_bounded_and_nothing_of_them_is_lost(world, client):
    world.put(CLUSTER, a="0")
    sent = client.ask(CLUSTER)
    for number in range(40):
        world.put(CLUSTER, **{f"c{number}": "1"})
        sent += client.later(5.0)
    assert len(client.machine._clusters.lanes.unanswered()) == 16
    assert len(client.machine._clusters.lanes._of_nonce) == 16
    held: set[str] = set()
    while sent:  # at last it answers, to everything
        response = sent.pop(0)
        if client.machine._clusters.lanes.find_outstanding(response.nonce) is not None:
            held |= response.versions.keys()
        sent += client.ack(response)
    assert held == {"a", *(f"c{number}" for number in range(40))}
    assert client.machine.is_settled


def test_secrets_are_answered_one_by_one_and_at_once(world, client, said):
    world.put(SECRET, s="1", t="1")
    assert said(client.ask(SECRET, "s", "t", "missing")) == [
        ("SDS", {}, ("missing",)),
        ("SDS", {"s": "1"}, ()),
        ("SDS", {"t": "1"}, ()),
    ]


def test_a_secret_whose_bytes_are_gone_is_served_as_removed(world, client, said):
    world.secrets["s"] = None
    world.put(SECRET, s="1")
    assert said(client.settle(client.ask(SECRET, "s"))) == [("SDS", {}, ("s",))]
    assert client.machine.is_settled


def test_a_removed_secret_is_told(world, client, said):
    world.put(SECRET, s="1")
    client.settle(client.ask(SECRET, "s"))
    world.put(SECRET, s=None)
    assert said(client.settle()) == [("SDS", {}, ("s",))]
    world.put(SECRET, s="1")
    assert said(client.settle()) == [("SDS", {"s": "1"}, ())]


def test_endpoints_that_change_all_the_time_hold_up_no_removal(world, client, said):
    """Load assignments name nothing that could go."""
    world.commit({CLUSTER: {"c": "1"}, LISTENER: {"l": "1"}, LOAD_ASSIGNMENT: {"c": "1"}})
    client.settle([*client.ask(CLUSTER), *client.ask(LISTENER), *client.ask(LOAD_ASSIGNMENT, "c")])
    world.put(LOAD_ASSIGNMENT, c="2")
    [unanswered] = client.responses()
    world.put(LISTENER, l=None)
    assert said(client.responses()) == [("LDS", {}, ("l",))]
    client.ack(unanswered)
