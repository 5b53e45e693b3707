"""Traps 1, 2, 6 and 9: what names a cluster waits until the proxy has proven it; what it may still name stays."""

from __future__ import annotations

import pytest

from controlplane.xds import Limits
from controlplane.xds.facts import Rejected, RejectedResource
from controlplane.xds.gate import Resumed, Withheld
from controlplane.xds.types import CLUSTER, LISTENER, LOAD_ASSIGNMENT, ROUTE_CONFIGURATION, VIRTUAL_HOST
from controlplane.xds.wire import ErrorDetail, Request
from tests.xds.conftest import SCOPE, Row

GATE_S, GRACE_S, SILENCE_S, RESOLVE_S = 5.0, 10.0, 5.0, 1.0


@pytest.fixture
def running(world, client):
    """A proxy with one cluster and two virtual hosts, of which ``rc/x`` names it."""
    world.commit(
        {
            CLUSTER: {"a": "1"},
            LOAD_ASSIGNMENT: {"a": "1"},
            LISTENER: {"l": "1"},
            ROUTE_CONFIGURATION: {"rc": "1"},
            VIRTUAL_HOST: {"rc/x": "1", "rc/y": "1"},
        },
        clusters={"rc/x": ("a",)},
        route_configurations={"l": ("rc",)},
    )
    client.settle(client.ask(CLUSTER))
    client.settle(client.ask(LOAD_ASSIGNMENT, "a"))
    client.settle(client.ask(LISTENER))
    client.settle(client.ask(ROUTE_CONFIGURATION, "rc"))
    client.settle(client.ask(VIRTUAL_HOST))
    client.facts.clear()
    return client


def flip(world) -> None:
    """``rc/x`` goes from ``a`` to ``b``, which is new; ``a`` is not needed any more."""
    world.commit(
        {
            CLUSTER: {"a": None, "b": "1"},
            LOAD_ASSIGNMENT: {"a": None, "b": "1"},
            VIRTUAL_HOST: {"rc/x": "2"},
        },
        clusters={"rc/x": ("b",)},
    )


def told(client, kind) -> list:
    return [fact for fact in client.facts if isinstance(fact, kind)]


def test_a_virtual_host_waits_for_the_cluster_that_it_names(world, running, said):
    flip(world)
    clusters, assignments = running.responses()
    assert said([clusters, assignments]) == [("CDS", {"b": "1"}, ()), ("EDS", {"b": "1"}, ())]
    assert running.ack(clusters) == []
    assert said(running.ack(assignments)) == [("VHDS", {"rc/x": "2"}, ())]


def test_a_virtual_host_waits_for_its_own_clusters_only(world, running, said):
    flip(world)
    world.put(VIRTUAL_HOST, **{"rc/y": "2"})
    assert said(running.responses())[-1] == ("VHDS", {"rc/y": "2"}, ())


def test_a_load_assignment_proves_its_cluster_while_something_withholds_the_answer(world, running, said):
    """Envoy subscribes it first: the sign that it has taken the cluster in."""
    world.commit({CLUSTER: {"slow": "1"}})
    [withheld] = running.responses()
    running.now += 1.0
    flip(world)
    assert said(running.responses()) == []  # a second response of clusters would be one too many in flight
    running.now += SILENCE_S
    clusters, assignments = running.responses()
    running.ask(LOAD_ASSIGNMENT, "b")
    assert said(running.ack(assignments)) == [("VHDS", {"rc/x": "2"}, ())]
    running.ack(withheld, clusters)


def test_a_cluster_whose_load_assignment_is_taken_unsubscribed_is_withdrawn_at_once(world, running, said):
    """Trap 1: it is wedged. Upon its withdrawal Envoy answers, and says why."""
    world.commit({CLUSTER: {"wedged": "1", "good": "1"}, LOAD_ASSIGNMENT: {"wedged": "1", "good": "1"}})
    world.commit({VIRTUAL_HOST: {"rc/x": "2", "rc/y": "2"}}, clusters={"rc/x": ("wedged",), "rc/y": ("good",)})
    clusters, assignments = running.responses()
    running.ask(LOAD_ASSIGNMENT, "good")
    after = running.ack(assignments)
    assert ("CDS", {}, ("wedged",)) in said(after)
    assert ("VHDS", {"rc/y": "2"}, ()) in said(after)
    words = "Error adding/updating cluster(s) wedged: The table size of maglev must be prime number"
    sent = running.nack(clusters, words)
    for response in after:
        sent += running.ack(response)
    assert said(sent) == [("CDS", {"good": "1"}, ()), ("EDS", {"good": "1"}, ())]
    again = [response for response in sent if response.type_url == CLUSTER]
    [alone, _] = running.ack(*again)
    assert said([alone]) == [("CDS", {"wedged": "1"}, ())]
    assert said(running.nack(alone, words))[0] == ("CDS", {}, ("wedged",))
    [found] = told(running, RejectedResource)
    assert (found.resource.entry.name, found.resource.message) == ("wedged", words)


def test_a_changed_cluster_that_silences_the_proxy_goes_back_to_what_it_was(world, running, said):
    world.commit({CLUSTER: {"a": "bad"}})
    offered, assignment = running.responses()
    running.ack(assignment)
    assert running.later(SILENCE_S - 0.1) == []
    assert said(running.later(0.1)) == [("CDS", {"a": "1"}, ()), ("EDS", {"a": "1"}, ())]
    running.nack(offered, "Error adding/updating cluster(s) a: no")
    assert [fact.resource.last.version for fact in told(running, RejectedResource)] == ["1"]


def test_a_proxy_that_stays_silent_whatever_is_taken_back_is_silent_for_another_reason(world, running, said):
    world.commit({CLUSTER: {"a": "2"}})
    _, assignment = running.responses()
    running.ack(assignment)
    assert said(running.later(SILENCE_S))[0] == ("CDS", {"a": "1"}, ())
    assert said(running.later(SILENCE_S))[0] == ("CDS", {"a": "2"}, ())
    [fact] = told(running, Rejected)
    assert fact.error.message == "no answer for 10 s; something else holds it back"
    assert told(running, RejectedResource) == []


def test_trap1_what_a_stream_ended_without_an_answer_to_is_taken_back_before_it_is_offered_again(world, running, said):
    """Envoy may have it wedged, and acknowledges the same bytes without taking them."""
    world.commit({CLUSTER: {"a": "bad"}})
    running.responses()
    running.disconnect()
    again = world.connect()
    sent = again.ask(CLUSTER, versions={"a": "1"})
    assert said(sent) == [("CDS", {"a": "1"}, ()), ("EDS", {"a": "1"}, ())]
    offered = again.settle(sent)
    assert said(offered)[-2] == ("CDS", {"a": "bad"}, ())


def test_at_the_deadline_a_virtual_host_stays_as_it_is_and_that_is_told(world, running, said):
    world.commit({CLUSTER: {"dns": "1"}, VIRTUAL_HOST: {"rc/x": "2"}}, clusters={"rc/x": ("dns",)})
    [clusters] = running.responses()
    assert running.later(GATE_S) == []
    assert not running.machine.is_settled
    assert told(running, Withheld) == [Withheld(VIRTUAL_HOST, "rc/x", ("dns",))]
    world.put(VIRTUAL_HOST, **{"rc/y": "2"})
    assert said(running.settle()) == [("VHDS", {"rc/y": "2"}, ())]
    running.ack(clusters)
    assert said(running.later(RESOLVE_S)) == [("VHDS", {"rc/x": "2"}, ())]
    assert told(running, Resumed) == [Resumed(VIRTUAL_HOST, "rc/x")]


def test_what_is_withheld_and_changes_to_what_is_proven_is_sent(world, running, said):
    world.commit({VIRTUAL_HOST: {"rc/x": "2"}}, clusters={"rc/x": ("never",)})
    running.responses()
    running.later(GATE_S)
    world.commit({VIRTUAL_HOST: {"rc/x": "3"}}, clusters={"rc/x": ("a",)})
    assert said(running.settle()) == [("VHDS", {"rc/x": "3"}, ())]
    assert [type(fact) for fact in running.facts if isinstance(fact, (Withheld, Resumed))] == [Withheld, Resumed]


def test_a_first_answer_waits_until_it_is_whole(world, client, said):
    """What a new listener's first virtual hosts lack would be answered with 404 until it comes."""
    world.commit(
        {CLUSTER: {"a": "1"}, ROUTE_CONFIGURATION: {"rc": "1"}, VIRTUAL_HOST: {"rc/x": "1", "rc/y": "1"}},
        clusters={"rc/x": ("a",)},
    )
    [clusters] = client.ask(CLUSTER)
    client.settle(client.ask(ROUTE_CONFIGURATION, "rc"))
    assert client.ask(VIRTUAL_HOST) == []
    client.ack(clusters)
    assert said(client.later(RESOLVE_S)) == [("VHDS", {"rc/x": "1", "rc/y": "1"}, ())]


def test_a_first_answer_goes_without_what_waits_too_long(world, client, said):
    world.commit(
        {ROUTE_CONFIGURATION: {"rc": "1"}, VIRTUAL_HOST: {"rc/x": "1", "rc/y": "1"}}, clusters={"rc/x": ("never",)}
    )
    client.settle(client.ask(CLUSTER))
    client.settle(client.ask(ROUTE_CONFIGURATION, "rc"))
    assert client.ask(VIRTUAL_HOST) == []
    assert said(client.later(GATE_S)) == [("VHDS", {"rc/y": "1"}, ())]


@pytest.mark.parametrize(("type_url", "name"), [(LISTENER, "l2"), (ROUTE_CONFIGURATION, "rc2")])
def test_what_something_needs_to_start_goes_at_the_deadline(world, running, said, type_url, name):
    world.commit({type_url: {name: "1"}}, clusters={name: ("never",)})
    assert running.ask(type_url, name) == []
    [sent] = running.later(GATE_S)
    assert sent.versions == {name: "1"}


def test_trap9_a_cluster_stays_for_a_grace_after_nothing_names_it(world, running, said):
    flip(world)
    running.settle()
    assert running.later(GRACE_S - 0.1) == []
    assert running.machine.deadline == pytest.approx(GRACE_S)
    assert said(running.settle(running.later(0.1))) == [("CDS", {}, ("a",)), ("EDS", {}, ("a",))]


def test_a_cluster_stays_while_the_proxy_may_still_name_it(world, running, said):
    flip(world)
    *_, hosts = _until_hosts(running)
    assert said([hosts]) == [("VHDS", {"rc/x": "2"}, ())]
    assert all(response.type_url != CLUSTER for response in running.later(10 * GRACE_S))
    running.ack(hosts)
    assert said(running.later(GRACE_S)) == [("CDS", {}, ("a",))]


def _until_hosts(client) -> list:
    sent = client.responses()
    return [*sent, *[then for response in sent for then in client.ack(response)]]


def test_a_cluster_that_comes_back_within_the_grace_never_goes(world, running, said):
    flip(world)
    running.settle()
    running.later(GRACE_S / 2)
    world.commit(
        {CLUSTER: {"a": "1"}, LOAD_ASSIGNMENT: {"a": "1"}, VIRTUAL_HOST: {"rc/x": "1"}}, clusters={"rc/x": ("a",)}
    )
    assert said(running.settle()) == [("VHDS", {"rc/x": "1"}, ())]
    assert running.later(2 * GRACE_S) == []


def test_what_a_withheld_virtual_host_names_stays(world, running, said):
    world.commit(
        {CLUSTER: {"a": None}, LOAD_ASSIGNMENT: {"a": None}, VIRTUAL_HOST: {"rc/x": "2"}}, clusters={"rc/x": ("never",)}
    )
    assert running.responses() == []
    assert running.later(100 * GRACE_S) == []


def test_trap6_what_a_drained_listener_names_stays_until_its_configuration_is_unsubscribed(world, running, said):
    world.commit(
        {
            LISTENER: {"l": None},
            ROUTE_CONFIGURATION: {"rc": None},
            VIRTUAL_HOST: {"rc/x": None, "rc/y": None},
            CLUSTER: {"a": None},
            LOAD_ASSIGNMENT: {"a": None},
        }
    )
    assert said(running.settle()) == [("LDS", {}, ("l",))]
    assert running.later(100 * GRACE_S) == []
    assert said(running.settle(running.ask(ROUTE_CONFIGURATION, unsubscribe=["rc"]))) == [
        ("VHDS", {}, ("rc/x", "rc/y"))
    ]
    assert said(running.settle(running.later(GRACE_S))) == [("CDS", {}, ("a",)), ("EDS", {}, ("a",))]


def test_trap6_a_listener_is_in_use_when_its_virtual_hosts_are_there(world, client):
    world.commit(
        {LISTENER: {"l": "1"}, ROUTE_CONFIGURATION: {"rc": "1"}, VIRTUAL_HOST: {"rc/x": "1"}},
        route_configurations={"l": ("rc",)},
    )
    client.settle(client.ask(CLUSTER))
    client.settle(client.ask(LISTENER))
    assert client.machine.listeners_in_use() == ()  # acknowledged
    client.settle(client.ask(ROUTE_CONFIGURATION, "rc"))
    assert client.machine.listeners_in_use() == ()
    client.settle(client.ask(VIRTUAL_HOST))
    assert client.machine.listeners_in_use() == ("l",)


def test_an_endless_flow_of_changes_costs_a_silent_proxy_nothing(world, running):
    flip(world)
    running.responses()
    machine = running.machine
    for version in range(1000):
        world.commit({VIRTUAL_HOST: {"rc/x": str(version)}}, clusters={"rc/x": (f"c{version}",)})
        running.responses()
    assert sum(len(delivery.held) for delivery in machine._deliveries.values()) <= 5
    assert len(machine._virtual_hosts.named["rc/x"]) <= 2


def test_settings_decide_the_times(world):
    client = world.connect(Limits(gate_seconds=1.0, grace_seconds=2.0))
    world.commit({CLUSTER: {"a": "1"}, LISTENER: {"l": "1"}}, clusters={"l": ("b",)})
    client.settle(client.ask(CLUSTER))
    assert client.ask(LISTENER) == []
    assert len(client.settle(client.later(1.0))) == 1
    world.put(CLUSTER, a=None)
    client.responses()
    assert client.later(1.9) == []
    assert len(client.later(0.1)) == 1


def test_trap1_a_new_stream_frees_a_proxy_that_an_unanswered_cluster_keeps_from_speaking(world, said):
    """Its stream broke: it says nothing of clusters, and subscribes load assignments of those alone that it has taken in."""
    world.commit({CLUSTER: {"a": "1", "wedged": "1"}, LOAD_ASSIGNMENT: {"a": "1", "wedged": "1"}})
    client = world.connect()
    client.settle(client.ask(LOAD_ASSIGNMENT, "a", versions={"a": "1"}))
    assert client.responses() == []
    freed = client.later(SILENCE_S)
    assert ("CDS", {}, ("wedged",)) in said(freed)
    offered = client.ask(CLUSTER, nonce=freed[0].nonce, versions={"a": "1"})
    assert said(offered)[0] == ("CDS", {"wedged": "1"}, ())


def test_trap1_what_was_rejected_is_removed_by_whoever_finds_a_proxy_speechless(world, said):
    """Another replica, whose tables do not have it, and a proxy that does not list it."""
    world.commit({CLUSTER: {"a": "1"}, LOAD_ASSIGNMENT: {"a": "1"}})
    client = world.connect()
    world.views.apply((), rejections=[(SCOPE, CLUSTER, "wedged", True)])
    client.settle(client.ask(LOAD_ASSIGNMENT, "a", versions={"a": "1"}))
    freed = client.later(SILENCE_S)
    assert ("CDS", {}, ("wedged",)) in said(freed)


def test_a_proxy_that_asks_for_clusters_in_time_is_left_alone(world, said):
    world.commit({CLUSTER: {"a": "1", "b": "1"}, LOAD_ASSIGNMENT: {"a": "1", "b": "1"}})
    client = world.connect()
    client.settle(client.ask(LOAD_ASSIGNMENT, "a", versions={"a": "1"}))
    client.now += SILENCE_S - 0.1
    client.settle(client.ask(CLUSTER, versions={"a": "1"}))
    assert client.later(10 * SILENCE_S) == []


def test_a_proxy_is_left_to_resolve_the_names_of_a_new_cluster(world, running, said):
    """It takes such a cluster at once, without endpoints."""
    world.commit({CLUSTER: {"dns": "1"}, VIRTUAL_HOST: {"rc/x": "2"}}, clusters={"rc/x": ("dns",)})
    assert said(running.settle()) == [("CDS", {"dns": "1"}, ())]
    assert running.later(0.9) == []
    assert said(running.settle(running.later(0.1))) == [("VHDS", {"rc/x": "2"}, ())]
    world.commit({CLUSTER: {"dns": "2"}, VIRTUAL_HOST: {"rc/x": "3"}}, clusters={"rc/x": ("dns",)})
    assert said(running.settle()) == [("CDS", {"dns": "2"}, ())]
    assert said(running.settle(running.later(RESOLVE_S))) == [("VHDS", {"rc/x": "3"}, ())]


def test_a_subscription_in_the_request_that_acknowledges_counts(world, running, said):
    """S5: both responses can be read before the proxy writes."""
    world.commit({CLUSTER: {"b": "1"}, LOAD_ASSIGNMENT: {"b": "1"}})
    _, assignments = running.responses()
    sent = running.ask(LOAD_ASSIGNMENT, "b", nonce=assignments.nonce)
    assert said(sent) == [("EDS", {"b": "1"}, ())]


def test_what_was_taken_back_and_is_taken_after_all_is_offered_again(world, running, said):
    world.commit({CLUSTER: {"b": "1"}, LOAD_ASSIGNMENT: {"b": "1"}})
    clusters, assignments = running.responses()
    [removal] = running.ack(assignments)
    assert said([removal]) == [("CDS", {}, ("b",))]
    assert running.ack(clusters) == []
    assert said(running.ack(removal)) == [("CDS", {"b": "1"}, ()), ("EDS", {"b": "1"}, ())]


def test_a_load_assignment_proves_no_cluster_that_has_secrets(world, running, said):
    """It goes on warming until they are there."""
    body = b"\n\x01b" + b"envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
    world.views.apply([(SCOPE, CLUSTER, "b", Row("b", "1", body))])
    world.commit({LOAD_ASSIGNMENT: {"b": "1"}, VIRTUAL_HOST: {"rc/x": "2"}}, clusters={"rc/x": ("b",)})
    clusters, assignments = running.responses()
    assert said(running.ask(LOAD_ASSIGNMENT, "b", nonce=assignments.nonce)) == [("EDS", {"b": "1"}, ())]
    assert said(running.ack(clusters)) == [("VHDS", {"rc/x": "2"}, ())]


def test_trap1_a_wedged_cluster_in_the_first_response_of_all_is_found(world, client, said):
    """A fresh proxy is sent no load assignment that it does not ask for; this one never asks."""
    world.commit({CLUSTER: {"a": "1", "wedged": "1"}, LOAD_ASSIGNMENT: {"a": "1", "wedged": "1"}})
    client.ask(CLUSTER)
    [assignments] = client.ask(LOAD_ASSIGNMENT, "a")
    [pushed] = client.ack(assignments)
    assert said([pushed]) == [("EDS", {"wedged": "1"}, ())]
    assert said(client.ack(pushed)) == [("CDS", {}, ("wedged",))]


def test_trap1_what_was_rejected_goes_at_once_also_when_the_tables_have_followed(world, running, said):
    world.put(CLUSTER, bad="1")
    [offered] = running.responses()
    # The commit that follows a rejection can come before anything is sent.
    running.machine.receive(Request(type_url=CLUSTER, nonce=offered.nonce, error=ErrorDetail(13, "no")))
    world.put(CLUSTER, bad=None)
    assert said(running.settle()) == [("CDS", {}, ("bad",))]
    assert running.machine._clusters.held == {}


def test_what_a_form_names_whose_bytes_nobody_knows_stays(world, client, said):
    """A control plane that never had that form, and a proxy that rejects the one there is."""
    world.commit(
        {ROUTE_CONFIGURATION: {"rc": "1"}, VIRTUAL_HOST: {"rc/x": "bad"}, LISTENER: {"l": "1"}},
    )
    client.settle(client.ask(CLUSTER, versions={"a": "1"}))
    client.settle(client.ask(LISTENER))
    client.settle(client.ask(ROUTE_CONFIGURATION, "rc", versions={"rc": "1"}))
    [offered] = client.ask(VIRTUAL_HOST, versions={"rc/x": "old"})
    assert client.nack(offered) == []
    assert [fact.resource.held for fact in told(client, RejectedResource)] == ["old"]
    world.views.apply([(SCOPE, VIRTUAL_HOST, "rc/x", Row("rc/x", "old", b""))])
    assert client.later(10 * GRACE_S) == []
    assert client.machine.is_settled
    world.put(VIRTUAL_HOST, **{"rc/x": "2"})
    assert said(client.settle()) == [("VHDS", {"rc/x": "2"}, ())]
    assert said(client.later(GRACE_S)) == [("CDS", {}, ("a",))]


def test_p11_a_rejected_load_assignment_is_answered_with_its_removal(world, client, said):
    """It ends the warming of a new cluster."""
    world.commit({CLUSTER: {"c": "1"}, LOAD_ASSIGNMENT: {"c": "bad"}})
    client.settle(client.ask(CLUSTER))
    [offered] = client.ask(LOAD_ASSIGNMENT, "c")
    client.machine.receive(Request(type_url=LOAD_ASSIGNMENT, nonce=offered.nonce, error=ErrorDetail(13, "no")))
    world.put(LOAD_ASSIGNMENT, c=None)
    assert said(client.settle()) == [("EDS", {}, ("c",))]


def test_an_acknowledged_cluster_whose_load_assignment_was_rejected_is_not_proven(world, running, said):
    """Envoy acknowledges it all the same, and it has no endpoints."""
    world.commit({CLUSTER: {"b": "1", "c": "1"}, LOAD_ASSIGNMENT: {"b": "1", "c": "bad"}})
    world.commit({VIRTUAL_HOST: {"rc/x": "2"}}, clusters={"rc/x": ("b",)})
    clusters, assignments = running.responses()
    [retry] = running.ask(LOAD_ASSIGNMENT, "b", "c", nonce=assignments.nonce, error="c: no")[:1]
    assert running.ack(clusters) == []
    sent = running.ack(retry)
    while sent and sent[0].type_url == LOAD_ASSIGNMENT:
        response = sent.pop(0)
        sent += running.nack(response) if "bad" in response.versions.values() else running.ack(response)
    assert said(sent) == [("VHDS", {"rc/x": "2"}, ())]


def test_trap6_what_an_older_version_of_a_listener_names_stays_until_the_new_one_is_in_use(world, running, said):
    world.commit({LISTENER: {"l": "2"}}, clusters={"l": ("a",)}, route_configurations={"l": ("rc",)})
    world.commit({VIRTUAL_HOST: {"rc/x": "2"}})
    running.settle()
    world.commit(
        {LISTENER: {"l": "3"}, ROUTE_CONFIGURATION: {"rc2": "1"}, CLUSTER: {"a": None}, LOAD_ASSIGNMENT: {"a": None}},
        route_configurations={"l": ("rc", "rc2")},
    )
    assert said(running.settle()) == [("LDS", {"l": "3"}, ())]
    assert running.later(10 * GRACE_S) == []
    running.settle(running.ask(ROUTE_CONFIGURATION, "rc2"))
    assert running.responses() == []
    assert said(running.later(GRACE_S)) == [("CDS", {}, ("a",))]


def test_silence_counts_from_when_there_is_no_reason_for_it(world, running, said):
    world.commit({CLUSTER: {"a": "2"}})
    _, assignment = running.responses()
    running.later(2 * SILENCE_S)
    assert running.ack(assignment) == []
    assert running.later(SILENCE_S - 0.1) == []
    assert said(running.later(0.1)) == [("CDS", {"a": "1"}, ()), ("EDS", {"a": "1"}, ())]
