"""Options and variables into settings, and what is said of malformed ones."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.model.events import Settings
from controlplane.runtime.errors import OptionError
from controlplane.runtime.options import AskedClient, RunOptions, mesh_settings, parse_age, parse_size


def test_without_options_the_settings_are_the_defaults() -> None:
    assert mesh_settings({}) == RunOptions(observe_proxies=False).settings() == Settings()
    assert RunOptions().settings() == Settings(observe_proxies=True), "who runs sees what proxies have"
    assert mesh_settings({"INGRESS_USE_WAYPOINTS": "", "WAYPOINT_CLASSES": ""}) == Settings()


@pytest.mark.parametrize(
    ("text", "value"), [("true", True), ("1", True), ("false", False), ("0", False), ("False", False)]
)
def test_the_environment_says_whether_ingresses_use_waypoints(text: str, value: bool) -> None:
    environment = {"INGRESS_USE_WAYPOINTS": text}
    assert mesh_settings(environment).ingress_use_waypoints is value
    assert mesh_settings(environment, ingress_use_waypoints=not value).ingress_use_waypoints is not value


def test_waypoint_classes_are_beside_ours_and_an_option_comes_first() -> None:
    environment = {"WAYPOINT_CLASSES": "one, two,one"}
    assert mesh_settings(environment).waypoint_classes == ("controlplane-waypoint", "one", "two")
    given = mesh_settings(environment, waypoint_classes=["three", "controlplane-waypoint"])
    assert given.waypoint_classes == ("controlplane-waypoint", "three")


def test_the_other_settings_and_host_mode_go_together() -> None:
    mesh = mesh_settings(
        {}, root_namespace="mesh", cluster_domain="a.b", trust_domain="td", dns_lookup_family="V6_ONLY"
    )
    settings = RunOptions(infra="host", mesh=mesh).settings()
    assert (settings.root_namespace, settings.cluster_domain, settings.trust_domain) == ("mesh", "a.b", "td")
    assert (settings.dns_lookup_family, settings.infra, settings.listen_address) == ("V6_ONLY", "host", "127.0.0.1")


@pytest.mark.parametrize(
    ("environment", "options", "message"),
    [
        ({"INGRESS_USE_WAYPOINTS": "maybe"}, {}, "INGRESS_USE_WAYPOINTS 'maybe': write true, false, 1 or 0"),
        ({"INGRESS_USE_WAYPOINTS": "yes"}, {}, "INGRESS_USE_WAYPOINTS 'yes'"),
        ({"WAYPOINT_CLASSES": "a,,b"}, {}, "WAYPOINT_CLASSES ''"),
        ({}, {"waypoint_classes": ["A_B"]}, "--waypoint-class 'A_B'"),
        ({}, {"root_namespace": "a.b"}, "--root-namespace 'a.b'"),
        ({}, {"cluster_domain": ""}, "--cluster-domain ''"),
        ({}, {"trust_domain": "a b"}, "--trust-domain 'a b'"),
    ],
)
def test_a_malformed_value_is_named(environment: dict[str, str], options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError) as caught:
        mesh_settings(environment, **options)
    assert str(caught.value).startswith(message)


def test_a_client_is_asked_for_by_locality_labels_and_namespace() -> None:
    assert AskedClient.parse("", (), None) == AskedClient()
    asked = AskedClient.parse("r/z", ["b=2", "a=1", "c="], "mesh")
    assert asked == AskedClient("r/z", (("a", "1"), ("b", "2"), ("c", "")), "mesh")


@pytest.mark.parametrize(
    ("locality", "labels", "namespace", "message"),
    [
        ("r/z/s/t", [], None, "--proxy-locality 'r/z/s/t': write REGION"),
        ("r//s", [], None, "--proxy-locality 'r//s'"),
        ("", ["version"], None, "--proxy-label 'version': write KEY=VALUE"),
        ("", ["=v1"], None, "--proxy-label '=v1'"),
        ("", [], "", "--proxy-namespace ''"),
        ("", [], "Demo", "--proxy-namespace 'Demo'"),
    ],
)
def test_a_malformed_client_is_named(locality: str, labels: list[str], namespace: str | None, message: str) -> None:
    with pytest.raises(OptionError) as caught:
        AskedClient.parse(locality, labels, namespace)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("text", "octets"), [("1Gi", 1 << 30), ("500M", 500_000_000), ("65536", 65_536), ("64Ki", 65_536), ("none", None)]
)
def test_sizes(text: str, octets: int | None) -> None:
    assert parse_size(text, "--log-max-bytes") == octets


@pytest.mark.parametrize(
    ("text", "seconds"), [("7d", 604_800), ("12h", 43_200), ("30m", 1_800), ("5s", 5), ("none", None)]
)
def test_ages(text: str, seconds: int | None) -> None:
    assert parse_age(text, "--log-max-age") == seconds


@pytest.mark.parametrize("text", ["", "0", "-1", "1.5Gi", "1 Gi", "Gi", "7d", "1gi", "\u0663"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(OptionError, match=r"--log-max-bytes .*: write a size such as 1Gi or 500M, or none"):
        parse_size(text, "--log-max-bytes")


@pytest.mark.parametrize("text", ["", "7", "0d", "1w", "1Gi"])
def test_what_is_no_age(text: str) -> None:
    with pytest.raises(OptionError, match=r"--log-max-age .*: write a time such as 7d"):
        parse_age(text, "--log-max-age")
