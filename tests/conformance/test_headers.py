"""RequestHeaderModifier and ResponseHeaderModifier, of rules and of backendRefs."""

from __future__ import annotations

import pytest

from .manifests import Manifest, backend, filter_, http_route, named, prefix, rule, serve
from .messages import Request
from .proxy import LISTENER

SENT = {"X-Header-Set": "sent", "X-Header-Add": "sent", "X-Header-Remove": "sent", "X-Other": "sent"}
CHANGE: Manifest = {
    "set": named(**{"x-header-set": "new"}),
    "add": named(**{"x-header-add": "more,and more"}),
    "remove": ["x-header-remove"],
}
CHANGED = {"x-header-set": "new", "x-header-add": "sent,more,and more", "x-other": "sent"}


def modified(kind: str, modifier: Manifest, headers: dict[str, str], of_backend: bool = False) -> dict[str, str]:
    """Headers that the backend sees, or of its answer, after a modifier of the rule or of the backendRef."""
    filters = [filter_(kind, **modifier)]
    made = rule(to=backend("v1", filters=filters)) if of_backend else rule(filters=filters)
    served = serve(http_route("a", made))
    assert not served.errors
    if kind == "RequestHeaderModifier":
        return dict(served.ask(headers=headers).forward.headers)
    return dict(served.proxy().ask(Request(), headers).forward.response)


BOTH = pytest.mark.parametrize("kind", ["RequestHeaderModifier", "ResponseHeaderModifier"])
LEVELS = pytest.mark.parametrize("of_backend", [False, True], ids=["rule", "backendRef"])


@BOTH
@LEVELS
def test_headers_are_set_added_and_removed_whatever_their_case(kind: str, of_backend: bool) -> None:
    """The examples of HTTPHeaderFilter."""
    assert modified(kind, CHANGE, SENT, of_backend) == CHANGED


@BOTH
def test_what_is_absent_is_set_added_and_not_missed(kind: str) -> None:
    assert modified(kind, CHANGE, {}) == {"x-header-set": "new", "x-header-add": "more,and more"}


@BOTH
@LEVELS
@pytest.mark.parametrize("value", ["100%", "%REQ(:path)%", "%%", "50%% off %", "%DOWNSTREAM_REMOTE_ADDRESS%", "a%20b"])
@pytest.mark.parametrize("action", ["set", "add"])
def test_a_value_is_literal(kind: str, value: str, action: str, of_backend: bool) -> None:
    """Percent signs mean something to Envoy and nothing to Gateway API."""
    assert modified(kind, {action: named(x=value)}, {}, of_backend) == {"x": value}


@BOTH
@pytest.mark.parametrize("action", ["set", "add"])
def test_of_names_that_differ_in_case_alone_the_first_counts(kind: str, action: str) -> None:
    """HTTPHeader.name: subsequent entries with an equivalent header name MUST be ignored."""
    assert modified(kind, {action: named(**{"X-A": "1", "x-a": "2"})}, {}) == {"x-a": "1"}


def test_many_headers_of_the_conformance_suite() -> None:
    modifier = {
        "set": named(**{"X-Header-Set-1": "header-set-1", "X-Header-Set-2": "header-set-2"}),
        "add": named(
            **{"X-Header-Add-1": "header-add-1", "X-Header-Add-2": "header-add-2", "X-Header-Add-3": "header-add-3"}
        ),
        "remove": ["X-Header-Remove-1", "X-Header-Remove-2"],
    }
    sent = {
        "X-Header-Remove-1": "v",
        "X-Header-Remove-2": "v",
        "X-Header-Add-2": "add-val-2",
        "X-Header-Set-2": "v",
        "Another-Header": "another",
    }
    assert modified("RequestHeaderModifier", modifier, sent) == {
        "x-header-set-1": "header-set-1",
        "x-header-set-2": "header-set-2",
        "x-header-add-1": "header-add-1",
        "x-header-add-2": "add-val-2,header-add-2",
        "x-header-add-3": "header-add-3",
        "another-header": "another",
    }


def test_a_filter_of_a_backend_is_for_that_backend_alone() -> None:
    """HTTPBackendRef.filters: if and only if the request is forwarded there. httproute-request-header-modifier-backend-weights."""

    def marked(name: str) -> Manifest:
        return backend(name, weight=10, filters=[filter_("RequestHeaderModifier", set=named(backend=name))])

    forwards = serve(http_route("a", rule(to=[marked("v1"), marked("v2"), backend("v3", weight=5)]))).ask().forwards
    assert {key: dict(forward.headers) for key, forward in forwards.items()} == {
        "demo/v1:8080": {"backend": "v1"},
        "demo/v2:8080": {"backend": "v2"},
        "demo/v3:8080": {},
    }


def test_filters_of_rule_and_backend_both_act() -> None:
    of_backend = filter_("RequestHeaderModifier", set=named(b="1"), add=named(both="backend"), remove=["gone-b"])
    of_rule = filter_("RequestHeaderModifier", set=named(r="1"), add=named(both="rule"), remove=["gone-r"])
    served = serve(http_route("a", rule(to=backend("v1", filters=[of_backend]), filters=[of_rule])))
    headers = dict(served.ask(headers={"gone-b": "x", "gone-r": "x"}).forward.headers)
    assert set(headers.pop("both").split(",")) == {"rule", "backend"}
    assert headers == {"b": "1", "r": "1"}


def test_request_and_response_are_modified_apart() -> None:
    filters = [
        filter_("RequestHeaderModifier", set=named(x="request")),
        filter_("ResponseHeaderModifier", set=named(x="response")),
    ]
    forward = serve(http_route("a", rule(filters=filters))).ask().forward
    assert (forward.headers, forward.response) == ({"x": "request"}, {"x": "response"})


def test_the_host_header_can_be_set() -> None:
    """Host is a header like others to Gateway API. Envoy rejects its mutation, and what comes with it."""
    served = serve(
        http_route("a", rule(prefix("/x"), filters=[filter_("RequestHeaderModifier", set=named(Host="example.net"))]))
    )
    assert served.ask("/x").forward.host == "example.net"


DANGEROUS: dict[str, Manifest] = {
    "remove Host": {"remove": ["Host"]},
    "set Host": {"set": named(Host="example.net")},
    "add Host": {"add": named(host="example.net")},
    "remove a pseudo-header": {"remove": [":path"]},
    "remove nothing": {"remove": [""]},
    "remove a line's end": {"remove": ["a\nb"]},
}


@BOTH
@LEVELS
@pytest.mark.parametrize("what", DANGEROUS)
def test_what_envoy_would_reject_never_reaches_it(kind: str, what: str, of_backend: bool) -> None:
    """The CRD lets these pass; Envoy refuses each, and with it every route of the hostname."""
    filters = [filter_(kind, **DANGEROUS[what])]
    bad = (
        rule(prefix("/bad"), to=backend("v1", filters=filters)) if of_backend else rule(prefix("/bad"), filters=filters)
    )
    served = serve(http_route("a", bad), http_route("b", rule(prefix("/good"), to="v2")))
    assert served.to("/good") == "v2"
    assert served.to("/bad") in {"v1", "500", "404"}


def test_a_value_of_several_lines_is_refused() -> None:
    served = serve(
        http_route("a", rule(filters=[filter_("RequestHeaderModifier", set=named(x="a\r\nb: c"))])),
        http_route("b", rule(prefix("/b"))),
    )
    assert len(served.errors) == 1
    assert "HTTPRoute demo/a" in served.errors[0]
    assert served.to("/b") == "v1"


@pytest.mark.parametrize("modifier", [{"set": named(server="mine")}, {"remove": ["server"]}])
def test_the_server_header_can_be_modified(modifier: Manifest) -> None:
    """Envoy writes ``server: envoy`` after all filters, unless its connection manager is told to pass the header through."""
    served = serve(http_route("a", rule(filters=[filter_("ResponseHeaderModifier", **modifier)])))
    (listener,) = served.proxy().table(LISTENER).values()
    managers = [chain["filters"][0]["typedConfig"] for chain in listener["filterChains"]]
    assert [manager.get("serverHeaderTransformation") for manager in managers] == ["PASS_THROUGH"]
