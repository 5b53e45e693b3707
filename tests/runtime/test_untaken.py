"""What a control plane that starts again knows of the forms before those that nobody was seen to take."""

from __future__ import annotations

from controlplane.model.events import ProxyAcknowledged, ProxyConnected
from controlplane.runtime.core import State
from controlplane.translate import TypeUrl
from tests.reducers.rejecting import GATEWAY, VIRTUAL_HOST, World, route

KEY = (GATEWAY, str(TypeUrl.VIRTUAL_HOST), VIRTUAL_HOST)


def connected() -> ProxyConnected:
    return ProxyConnected(proxy="p", node="p", gateway=GATEWAY)


def restarted(world: World) -> State:
    state = State()
    state.take_with_memory(lambda start: world.log.read())
    return state


def test_what_has_changed_since_a_proxy_told_how_far_it_is_falls_back_to_what_was_there_then() -> None:
    world = World(route("r", "/taken"))
    taken = world.served(TypeUrl.VIRTUAL_HOST, VIRTUAL_HOST)
    world.append(connected(), ProxyAcknowledged(proxy="p", seq=world.state.seq))
    assert restarted(world).untaken.before() == {}
    world.apply(route("r", "/offered"))
    world.apply(route("r", "/offered-later"))
    assert restarted(world).untaken.before() == {KEY: taken}
    world.append(ProxyAcknowledged(proxy="p", seq=world.state.seq))
    assert restarted(world).untaken.before() == {}


def test_where_no_proxy_told_anything_the_form_before_may_have_been_taken() -> None:
    world = World(route("r", "/first"))
    first = world.served(TypeUrl.VIRTUAL_HOST, VIRTUAL_HOST)
    assert restarted(world).untaken.before()[KEY] is None
    world.apply(route("r", "/second"))
    assert restarted(world).untaken.before()[KEY] == first


def test_what_is_gone_is_not_remembered() -> None:
    world = World(route("r", "/a"))
    world.delete("HTTPRoute", "r")
    assert KEY not in restarted(world).untaken.before()


def test_another_gateways_proxy_tells_nothing() -> None:
    world = World(route("r", "/a"))
    other = ProxyConnected(proxy="o", node="o", gateway="demo/other")
    world.append(other, ProxyAcknowledged(proxy="o", seq=world.state.seq))
    assert KEY in restarted(world).untaken.before()
