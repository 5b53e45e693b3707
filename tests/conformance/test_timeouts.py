"""HTTPRouteRule.timeouts."""

from __future__ import annotations

import pytest

from .manifests import Manifest, http_route, prefix, rule, serve


@pytest.mark.parametrize(
    ("timeouts", "seconds"),
    [
        ({"request": "10s"}, 10),
        ({"request": "500ms"}, 0.5),
        ({"request": "1m30s"}, 90),
        ({"request": "1h"}, 3600),
        ({"request": "1h1m1s1ms"}, 3661.001),
        ({"request": "0s"}, 0),
        ({"request": "0ms"}, 0),
        ({"backendRequest": "2s"}, 2),
        ({"request": "10s", "backendRequest": "2s"}, 2),
        ({"request": "10s", "backendRequest": "10s"}, 10),
        ({"request": "10s", "backendRequest": "0s"}, 10),
        ({"request": "0s", "backendRequest": "5s"}, 5),
        ({"request": "99999h"}, 99999 * 3600),
    ],
)
def test_a_request_ends_at_the_earlier_timeout(timeouts: Manifest, seconds: float) -> None:
    """A zero duration disables a timeout; durations are GEP-2257's. Without retries an attempt is the request."""
    served = serve(http_route("a", rule(timeouts=timeouts)))
    assert not served.errors
    assert served.ask().timeout_s == pytest.approx(seconds)


@pytest.mark.parametrize(
    "timeouts",
    [
        {"request": "1s", "backendRequest": "2s"},
        {"request": "1.5s"},
        {"request": "10"},
        {"request": "1d"},
        {"request": "-1s"},
        {"request": ""},
        {"request": "1s1s1s1s1s"},
        {"request": "100000s"},
        {"request": "1us"},
    ],
)
def test_a_timeout_that_the_crd_refuses_is_refused(timeouts: Manifest) -> None:
    served = serve(http_route("a", rule(timeouts=timeouts)), http_route("b", rule(prefix("/b"))))
    assert len(served.errors) == 1
    assert "HTTPRoute demo/a" in served.errors[0]
    assert (served.to("/a"), served.to("/b")) == ("404", "v1")


def test_timeouts_are_of_their_rule_alone() -> None:
    served = serve(
        http_route(
            "a", rule(prefix("/slow"), timeouts={"request": "9s"}), rule(prefix("/fast"), timeouts={"request": "1s"})
        )
    )
    assert (served.ask("/slow").timeout_s, served.ask("/fast").timeout_s) == (9, 1)


def test_a_rule_that_says_nothing_has_no_hidden_timeout() -> None:
    """Implementation-specific; Envoy's own 15 s would be a surprise that no manifest explains."""
    assert serve(http_route("a", rule())).ask().timeout_s == 0


@pytest.mark.parametrize(
    ("timeouts", "silence_s"),
    [({"request": "0s"}, None), ({"request": "10m"}, 600), ({"backendRequest": "1h"}, 3600), ({"request": "10s"}, 10)],
)
def test_a_backend_may_be_silent_as_long_as_its_route_allows(timeouts: Manifest, silence_s: float | None) -> None:
    """HTTPRouteTimeouts.request: zero SHOULD disable the timeout completely. Envoy's 300 s of silence are one, too."""
    idle = serve(http_route("a", rule(timeouts=timeouts))).ask().idle_timeout_s
    assert not idle or (silence_s is not None and idle >= silence_s)
