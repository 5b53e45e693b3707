"""What ``controlplane translate`` takes, and shows with it: any client's view, and Istio's settings."""

from __future__ import annotations

import contextlib
import io
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from controlplane.cli import main
from tests.conformance.manifests import Manifest, gateway_class

from .mesh import (
    NETWORK,
    NS,
    REGION,
    View,
    at,
    entry,
    istio_labels,
    leading_to,
    locality,
    rule_for,
    service,
    slice_of,
    to_host,
    to_service,
)
from .waypoints import waypoint

ENTRY, SERVICE = "istio-se_gwtest_se_se.example.com_80", "kube_gwtest_reviews_80"
SWITCH = istio_labels(use_waypoint="wp", ingress_use_waypoint="true")
CLASSES = [gateway_class(), gateway_class("controlplane-waypoint")]
PRIORITIES = [
    entry(endpoints=[at("1.1.1.1", "r1", network="n1"), at("2.2.2.2", "r2", network="n2")]),
    rule_for("se.example.com", **locality(failoverPriority=[NETWORK, REGION])),
    *leading_to(to_host()),
]
VIPS = ["10.96.0.1", "fd00::1"]
INGRESS = [
    waypoint(),
    service(labels=SWITCH, vips=VIPS),
    slice_of("reviews", [{"addresses": ["10.0.0.1"]}]),
    *leading_to(to_service()),
]


class Translate:
    """The command, in this process.

    Args:
        folder: For manifests.
    """

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._folder = folder
        self._patch = monkeypatch

    def __call__(self, objects: Sequence[Manifest], *options: str, **environment: str) -> View:
        """What it prints."""
        (self._folder / "all.yaml").write_text(yaml.safe_dump_all([*objects, *CLASSES]))
        stdout = io.StringIO()
        arguments = ["controlplane", "translate", "-o", "json", *options, str(self._folder)]
        with self._patch.context() as patch, contextlib.redirect_stdout(stdout):
            patch.setattr(sys, "argv", arguments)
            for name in ("INGRESS_USE_WAYPOINTS", "WAYPOINT_CLASSES"):
                patch.delenv(name, raising=False)
            for name, value in environment.items():
                patch.setenv(name, value)
            with contextlib.suppress(SystemExit):
                main()
        return View(json.loads(stdout.getvalue()), f"{NS}/web")


@pytest.fixture
def translate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Translate:
    return Translate(tmp_path, monkeypatch)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--proxy-locality", "r1/z/s"], {"1.1.1.1": 0, "2.2.2.2": 1}),
        (["--proxy-locality", "r2/z/s"], {"1.1.1.1": 1, "2.2.2.2": 0}),
        (["--proxy-label", f"{NETWORK}=n2"], {"1.1.1.1": 1, "2.2.2.2": 0}),
        (["--proxy-label", f"{NETWORK}=n1", "--proxy-locality", "r2/z/s"], {"1.1.1.1": 0, "2.2.2.2": 1}),
        (["--proxy-label", f"{NETWORK}=n1", "--proxy-label", f"{REGION}=r1"], {"1.1.1.1": 0, "2.2.2.2": 1}),
    ],
)
def test_any_client_s_view(translate: Translate, options: list[str], expected: dict[str, int]) -> None:
    assert translate(PRIORITIES, *options).priorities(ENTRY) == expected


@pytest.mark.parametrize(("options", "expected"), [([], False), (["--proxy-namespace", "elsewhere"], True)])
def test_a_client_of_another_namespace(translate: Translate, options: list[str], expected: bool) -> None:
    rule = rule_for("se.example.com", exportTo=["elsewhere"], outlierDetection={"consecutive5xxErrors": 7})
    made = [PRIORITIES[0], rule, *leading_to(to_host())]
    assert ("outlierDetection" in translate(made, *options).cluster(ENTRY)) is expected


@pytest.mark.parametrize(
    ("options", "environment", "expected"),
    [
        ([], {}, True),
        ([], {"INGRESS_USE_WAYPOINTS": "true"}, True),
        ([], {"INGRESS_USE_WAYPOINTS": "false"}, False),
        (["--no-ingress-use-waypoints"], {}, False),
        (["--ingress-use-waypoints"], {"INGRESS_USE_WAYPOINTS": "false"}, True),
        (["--no-ingress-use-waypoints"], {"INGRESS_USE_WAYPOINTS": "true"}, False),
    ],
)
def test_ingress_use_waypoints(
    translate: Translate, options: list[str], environment: dict[str, str], expected: bool
) -> None:
    found = translate(INGRESS, *options, **environment)
    assert found.sockets(SERVICE) == (["10.96.0.1:80"] if expected else ["10.0.0.1:8080"])


@pytest.mark.parametrize(
    ("family", "expected"),
    [
        ("V4_PREFERRED", VIPS),
        ("AUTO", VIPS[::-1]),
        ("ALL", VIPS),
        ("V4_ONLY", VIPS[:1]),
        ("V6_ONLY", VIPS[1:]),
    ],
)
def test_dns_lookup_family(translate: Translate, family: str, expected: list[str]) -> None:
    ((group,),) = [translate(INGRESS, "--dns-lookup-family", family).groups(SERVICE)]
    (item,) = group["lbEndpoints"]
    endpoint = item["endpoint"]
    found = [endpoint, *endpoint.get("additionalAddresses", ())]
    assert [each["address"]["socketAddress"]["address"] for each in found] == expected


@pytest.mark.parametrize("family", ["V4_PREFERRED", "V4_ONLY", "V6_ONLY", "AUTO", "ALL"])
def test_dns_lookup_family_of_names(translate: Translate, family: str) -> None:
    """1.3: of the clusters that Envoy itself resolves."""
    made = [entry(resolution="DNS"), *leading_to(to_host())]
    cluster = translate(made, "--dns-lookup-family", family).cluster(ENTRY)
    assert family in json.dumps(cluster)


def test_a_waypoint_s_class_has_another_name(translate: Translate) -> None:
    made = [
        each | {"spec": each["spec"] | {"gatewayClassName": "mine"}} if each is INGRESS[0] else each for each in INGRESS
    ]
    objects = [*made, gateway_class("mine")]
    assert translate(objects, "--waypoint-class", "mine").sockets(SERVICE) == ["10.96.0.1:80"]
    assert translate(objects, WAYPOINT_CLASSES="a,mine").sockets(SERVICE) == ["10.96.0.1:80"]
    assert translate(objects).sockets(SERVICE) == ["10.0.0.1:8080"]


def test_the_root_namespace_and_the_cluster_s_domain(translate: Translate) -> None:
    pool: dict[str, Any] = {"connectionPool": {"tcp": {"maxConnections": 7}}}
    rule = rule_for("reviews.gwtest.svc.example.org", namespace="root", **pool)
    options = ["--root-namespace", "root", "--cluster-domain", "example.org"]
    made = [rule, INGRESS[1], *leading_to(to_service())]
    for given, expected in ((options, 7), (options[:2], 4294967295)):
        ((threshold,),) = [translate(made, *given).cluster(SERVICE)["circuitBreakers"]["thresholds"]]
        assert threshold["maxConnections"] == expected
