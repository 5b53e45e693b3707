"""The issue, 5: HBONE on 15008, terminated by Envoy, and an internal listener behind it; its certificates, and their edges."""

from __future__ import annotations

import base64

import pytest

from tests.conformance.manifests import Manifest, manifest
from tests.conformance.messages import Json
from tests.e2e.identities import Authority, spiffe

from .history import History
from .mesh import NS, View, service
from .waypoints import CAPTURED, at_waypoint, chains, hbone, last, match, proxying, waypoint

AUTHORITY = Authority()
SECRETS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"


def secret(name: str = "identity", **without: bool) -> Manifest:
    """An identity of the waypoint and the authority of its clients; ``ca=False`` is without the latter."""
    identity = AUTHORITY.issue(spiffe(NS, "wp"))
    parts = {"tls.crt": identity.certificate, "tls.key": identity.key, "ca.crt": AUTHORITY.certificate}
    if not without.get("ca", True):
        del parts["ca.crt"]
    data = {key: base64.b64encode(text.encode()).decode() for key, text in parts.items()}
    return manifest("Secret", "v1", name, NS, type="kubernetes.io/tls", data=data)


MADE = [service("reviews", {"name": "http", "port": 80}, {"name": "tcp", "port": 5432}, labels=CAPTURED)]


def internal(served: View) -> Json:
    """The listener that has no socket."""
    (found,) = (each for each in served.listeners.values() if "internalListener" in each)
    return found


def accepted(served: View) -> dict[str, str]:
    listed = served.status("Gateway", "wp")["listeners"]
    return {e["name"]: {c["type"]: c["status"] for c in e["conditions"]}["Programmed"] for e in listed}


def test_it_is_terminated_and_goes_on_inside() -> None:
    served = at_waypoint(waypoint(hbone("identity")), secret(), MADE)
    assert accepted(served) == {"hbone": "True"}
    (outer,) = chains(served, 15008).values()
    context = outer["transportSocket"]["typedConfig"]
    assert context["requireClientCertificate"] is True
    manager = last(outer)["typedConfig"]
    assert "CONNECT" in {each["upgradeType"] for each in manager["upgradeConfigs"]}
    inside = {chain["name"]: match(chain) for chain in internal(served)["filterChains"]}
    assert set(inside.values()) == {(80, ("10.96.0.1/32",)), (5432, ("10.96.0.1/32",))}


def test_both_at_once_lead_to_the_same() -> None:
    served = at_waypoint(waypoint(proxying(), hbone("identity")), secret(), MADE)
    assert accepted(served) == {"proxy": "True", "hbone": "True"}
    inside = {match(chain) for chain in internal(served)["filterChains"]}
    assert {match(chain) for chain in chains(served).values()} == inside


@pytest.mark.parametrize(
    ("listener", "made"),
    [(hbone(), [secret()]), (hbone("gone"), [secret()]), (hbone("identity"), [secret(ca=False)])],
    ids=["no reference", "no Secret", "no authority"],
)
def test_without_an_identity_nobody_is_let_in(listener: Manifest, made: list[Manifest]) -> None:
    served = at_waypoint(waypoint(proxying(), listener), made, MADE)
    assert chains(served, 15008) == {}
    assert len(chains(served)) == 2, "the other goes on"
    assert accepted(served) == {"proxy": "True", "hbone": "False"}


def test_a_secret_that_comes_and_goes() -> None:
    history = History(waypoint(hbone("identity")), MADE)
    assert chains(history.view("wp"), 15008) == {}
    made = secret()
    history.put(made)
    assert len(chains(history.view("wp"), 15008)) == 1
    before = history.view("wp").table(SECRETS)
    assert before
    history.put(secret())
    assert history.view("wp").table(SECRETS) != before, "another pair"
    history.take(made)
    assert chains(history.view("wp"), 15008) == {}
