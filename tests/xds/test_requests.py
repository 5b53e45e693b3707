"""Rules S1 to S15: streams and requests, as far as they are the machine's."""

import pytest
from grpclib.const import Status

from controlplane.xds import Limits, XdsError
from controlplane.xds.facts import Acknowledged, Rejected
from controlplane.xds.types import CLUSTER, LISTENER, LOAD_ASSIGNMENT, SECRET


def test_s1_a_request_without_a_type_ends_the_stream(client):
    with pytest.raises(XdsError, match="type_url") as caught:
        client.ask("")
    assert caught.value.code is Status.INVALID_ARGUMENT


def test_s3_types_are_walled_off(world, client, said):
    world.commit({CLUSTER: {"a": "1"}, LISTENER: {"l": "1"}})
    clusters = client.ask(CLUSTER)
    listeners = client.ask(LISTENER)
    assert said(clusters + listeners) == [("CDS", {"a": "1"}, ()), ("LDS", {"l": "1"}, ())]
    client.ask(LISTENER, nonce=clusters[0].nonce)
    assert client.facts == []  # a nonce of another type acknowledges nothing
    world.put(CLUSTER, a="2")
    assert client.responses() == []
    assert said(client.ack(*clusters)) == [("CDS", {"a": "2"}, ())]


def test_s4_every_response_has_a_nonce_of_its_own(world, client):
    world.commit({CLUSTER: {"a": "1"}, LISTENER: {"l": "1"}, SECRET: {"s": "1"}})
    responses = client.ask(CLUSTER) + client.ask(LISTENER) + client.ask(SECRET, "s", "missing")
    nonces = [response.nonce for response in responses]
    assert len(nonces) == 4
    assert len(set(nonces)) == 4
    assert all(nonces)


def test_s5_one_request_can_acknowledge_subscribe_and_unsubscribe(world, client, said):
    world.commit({LOAD_ASSIGNMENT: {"a": "1", "b": "1"}})
    [first] = client.ask(LOAD_ASSIGNMENT, "a")
    responses = client.ask(LOAD_ASSIGNMENT, "b", unsubscribe=["a"], nonce=first.nonce)
    assert said(responses) == [("EDS", {"b": "1"}, ())]
    assert client.facts == [Acknowledged(LOAD_ASSIGNMENT, first.nonce, 1)]
    client.ack(*responses)
    world.put(LOAD_ASSIGNMENT, a="2", b="2")
    assert said(client.responses()) == [("EDS", {"b": "2"}, ())]


@pytest.mark.parametrize("error", [None, "rejected"])
@pytest.mark.parametrize("nonce", ["", "of an earlier stream"])
def test_s6_subscriptions_apply_whatever_the_nonce_is(world, client, said, nonce, error):
    world.put(LOAD_ASSIGNMENT, a="1")
    assert said(client.ask(LOAD_ASSIGNMENT, "a", nonce=nonce, error=error)) == [("EDS", {"a": "1"}, ())]


def test_s6_subscriptions_apply_on_a_rejection(world, client, said):
    world.put(LOAD_ASSIGNMENT, a="1", b="1")
    [first] = client.ask(LOAD_ASSIGNMENT, "a")
    assert said(client.ask(LOAD_ASSIGNMENT, "b", nonce=first.nonce, error="bad")) == [("EDS", {"b": "1"}, ())]


def test_s7_an_error_makes_a_rejection_even_if_it_is_empty(world, client):
    world.put(CLUSTER, a="1")
    [response] = client.ask(CLUSTER)
    client.nack(response, "")
    fact = client.facts[0]
    assert isinstance(fact, Rejected)
    assert fact.items == {"a": "1"}


def test_s8_a_request_without_nonce_acknowledges_nothing(world, client):
    world.put(LOAD_ASSIGNMENT, a="1", b="1")
    client.ask(LOAD_ASSIGNMENT, "a")
    client.ask(LOAD_ASSIGNMENT, "b")
    assert client.facts == []


def test_s9_nothing_answers_an_acknowledgement_a_rejection_or_an_unsubscribe(world, client):
    world.put(SECRET, a="1", b="1", c="1")
    [first] = client.ask(SECRET, "a")
    assert client.ack(first) == []
    [second] = client.ask(SECRET, "b")
    assert client.nack(second) == []
    assert client.ask(SECRET, unsubscribe=["a"]) == []


def test_s10_an_unchanged_resource_is_not_sent_again(world, client, said):
    world.put(CLUSTER, a="1", b="1")
    client.settle(client.ask(CLUSTER))
    world.put(CLUSTER, a="1", b="2")
    assert said(client.settle()) == [("CDS", {"b": "2"}, ())]
    assert client.responses() == []


def test_s11_answers_do_not_wait_for_acknowledgements(world, client, said):
    world.put(LOAD_ASSIGNMENT, a="1", b="1")
    [first] = client.ask(LOAD_ASSIGNMENT, "a")
    [second] = client.ask(LOAD_ASSIGNMENT, "b")
    assert said([second]) == [("EDS", {"b": "1"}, ())]
    client.ack(second, first)  # in whatever order
    assert client.machine.is_settled


def test_s12_requests_taken_in_before_anything_was_written_are_all_answered(world, client, said):
    world.commit({CLUSTER: {"a": "1"}, LOAD_ASSIGNMENT: {"a": "1", "b": "1"}, SECRET: {"s": "1"}})
    machine = client.machine
    from controlplane.xds.wire import Request

    for request in (
        Request(type_url=SECRET, subscribe=("s",)),
        Request(type_url=CLUSTER),
        Request(type_url=LOAD_ASSIGNMENT, subscribe=("a",)),
        Request(type_url=LOAD_ASSIGNMENT, subscribe=("b",)),
    ):
        machine.receive(request)
    assert said(client.responses()) == [
        ("CDS", {"a": "1"}, ()),
        ("EDS", {"a": "1", "b": "1"}, ()),
        ("SDS", {"s": "1"}, ()),
    ]


def test_s13_an_ended_stream_leaves_nothing_behind(world):
    client = world.connect()
    client.ask(CLUSTER)
    world.put(CLUSTER, a="1")
    client.disconnect()
    world.put(CLUSTER, a=None)
    assert world.views.statistics() == {}
    assert "ns/gw" not in world.views._views


def test_s15_names_and_types_are_bounded(world):
    client = world.connect(Limits(names=2, types=1))
    client.ask(LOAD_ASSIGNMENT, "a", "b")
    with pytest.raises(XdsError, match="the limit is 2") as caught:
        client.ask(LOAD_ASSIGNMENT, "c")
    assert caught.value.code is Status.RESOURCE_EXHAUSTED
    client.ask("type.googleapis.com/one.more")
    with pytest.raises(XdsError, match="more than 1 types"):
        client.ask("type.googleapis.com/two.more")


def test_s15_the_claimed_versions_are_not_kept(world, client):
    names = {f"c{number}": "1" for number in range(100)}
    world.commit({CLUSTER: names})
    client.settle(client.ask(CLUSTER, versions=names))
    assert client.machine._clusters.held == {}
    assert client.machine._clusters.lanes._lanes == {}


def test_a_type_that_is_not_served_is_answered_with_nothing(client, said):
    other = "type.googleapis.com/envoy.service.runtime.v3.Runtime"
    assert said(client.ask(other, "layer")) == [("Runtime", {}, ("layer",))]
    another = "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig"
    assert said(client.ask(another)) == [("TypedExtensionConfig", {}, ())]
