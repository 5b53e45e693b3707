"""The commands, as a user calls them: what they print, what they say when something is wrong, how they exit."""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from controlplane.cli import main
from controlplane.log import SegmentedLog
from controlplane.model.codec import EventCodec
from controlplane.model.events import AnyEvent, ControlPlaneStarted, ObjectDeleted, Settings, SourceSynced
from controlplane.model.objects import KINDS
from controlplane.model.references import ObjectReference
from controlplane.runtime.core import State
from controlplane.runtime.document import render, snapshot
from controlplane.sources import read_manifests
from tests.reducers.manifests import working_set


class Result(NamedTuple):
    """What a command left behind."""

    returncode: int
    stdout: str
    stderr: str


def controlplane(*arguments: object) -> Result:
    """Run the command in this process: ``main`` and all, but for the interpreter's start."""
    stdout, stderr = io.StringIO(), io.StringIO()
    code = 0
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(stdout),
        contextlib.redirect_stderr(stderr),
    ):
        patch.setattr(sys, "argv", ["controlplane", *map(str, arguments)])
        try:
            main()
        except SystemExit as ended:
            code = int(ended.code or 0)
    return Result(code, stdout.getvalue(), stderr.getvalue())


def test_the_installed_command_is_this_one() -> None:
    """``controlplane`` is on the path of the environment, and its help lists every command."""
    command = Path(sys.executable).with_name("controlplane")
    found = subprocess.run([command, "--help"], capture_output=True, text=True, check=True, timeout=60)
    for name in ("run", "quickstart", "translate", "bootstrap", "replay", "log"):
        assert f" {name} " in found.stdout


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Manifests in which everything is served but the certificate, which is missing."""
    made = tmp_path / "manifests"
    made.mkdir()
    (made / "all.yaml").write_text(yaml.safe_dump_all(working_set()))
    return made


@pytest.fixture
def recorded(tmp_path: Path, folder: Path) -> tuple[Path, dict[int, dict[str, Any]]]:
    """A log, and the document at each of its seqs."""
    path = tmp_path / "log"
    state = State()
    documents = {}
    events = list(read_manifests([folder]).events)
    started = ControlPlaneStarted(version="test", settings=Settings(), sources={"files": tuple(KINDS)})
    steps: list[list[AnyEvent]] = [
        [started],
        [*events, SourceSynced(tuple(KINDS))],
        [ObjectDeleted(ObjectReference("HTTPRoute", "alpha", "r1"))],
        [ObjectDeleted(ObjectReference("Service", "alpha", "s2"))],
    ]
    with SegmentedLog.open(path, EventCodec(), checkpoint=state.checkpoint) as log:
        for step in steps:
            state.apply(log.append(step, source="files"))
            documents[state.seq] = snapshot(state)
    return path, documents


def test_translate_prints_the_document(folder: Path) -> None:
    """The same document as JSON and as YAML; its version hashes what it says."""
    as_json = controlplane("translate", folder, "-o", "json")
    as_yaml = controlplane("translate", folder)
    assert (as_json.returncode, as_json.stderr) == (0, "")
    document = json.loads(as_json.stdout)
    assert document == yaml.safe_load(as_yaml.stdout)
    assert list(document) == ["gateways", "seq", "statuses", "version"]
    assert list(document["gateways"]) == ["alpha/edge"]
    listeners = document["gateways"]["alpha/edge"]["type.googleapis.com/envoy.config.listener.v3.Listener"]
    assert all(set(entry) == {"version", "resource"} for entry in listeners.values())
    assert all(entry["resource"]["@type"].endswith("v3.Listener") for entry in listeners.values())


def test_translate_shows_one_gateway(folder: Path) -> None:
    """Or says which there are."""
    one = controlplane("translate", folder, "--gateway", "alpha/edge", "-o", "json")
    assert list(json.loads(one.stdout)["gateways"]) == ["alpha/edge"]
    none = controlplane("translate", folder, "--gateway", "alpha/nope")
    assert none.returncode == 2
    assert "nothing is served to it; Gateways that are served: alpha/edge" in none.stderr


def test_translate_tells_errors_and_exits_with_one(folder: Path) -> None:
    """The rest is printed all the same."""
    (folder / "bad.yaml").write_text(
        "apiVersion: v1\nkind: Service\nmetadata: {name: x}\nspec:\n  ports:\n  - port: 99999\n"
    )
    found = controlplane("translate", folder, "-o", "json")
    assert found.returncode == 1
    assert "bad.yaml:6: Service default/x: spec.ports[0].port" in found.stderr
    assert "alpha/edge" in json.loads(found.stdout)["gateways"]


def test_translate_of_nothing_is_an_error(tmp_path: Path) -> None:
    """A path that does not exist is named."""
    found = controlplane("translate", tmp_path / "nope")
    assert found.returncode == 2
    assert "no such file or folder" in found.stderr
    assert "Traceback" not in found.stderr


REGION = "topology.kubernetes.io/region"
LOAD_ASSIGNMENT = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"


@pytest.fixture
def located(folder: Path) -> Path:
    """A Service with endpoints in two zones, and a rule by which clients prefer those of their own region and label."""
    policy = {
        "loadBalancer": {"localityLbSetting": {"failoverPriority": [REGION, "tier"]}},
        "outlierDetection": {"consecutive5xxErrors": 7},
    }
    rule = {
        "apiVersion": "networking.istio.io/v1",
        "kind": "DestinationRule",
        "metadata": {"name": "near", "namespace": "alpha"},
        "spec": {"host": "s1", "trafficPolicy": policy, "exportTo": ["."]},
    }
    nodes: list[dict[str, Any]] = [
        {"apiVersion": "v1", "kind": "Node", "metadata": {"name": region, "labels": {REGION: region}}}
        for region in ("r1", "r2")
    ]
    endpoints = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": "placed", "namespace": "alpha", "labels": {"kubernetes.io/service-name": "s1"}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [f"10.0.1.{region[1]}"], "nodeName": region} for region in ("r1", "r2")],
        "ports": [{"port": 8080}],
    }
    (folder / "rule.yaml").write_text(yaml.safe_dump_all([rule, endpoints, *nodes]))
    return folder


def test_translate_shows_the_view_of_any_client(located: Path) -> None:
    """Where nothing is said: of a client of which nothing is known. The version is of what all clients share."""

    def view(*options: str) -> tuple[dict[str, Any], dict[str, Any]]:
        found = controlplane("translate", located, "-o", "json", *options)
        assert found.stderr == ""
        document = json.loads(found.stdout)
        assert "clients" not in document
        return document, document["gateways"]["alpha/edge"][LOAD_ASSIGNMENT]

    plain, unknown = view()
    told_apart, here = view("--proxy-locality", "r1/z1/s1", "--proxy-label", "tier=a", "--proxy-label", "other=x")
    assert unknown.keys() == here.keys()
    assert plain["version"] == told_apart["version"]
    assert {name for name in unknown if unknown[name] != here[name]} == {"kube_alpha_s1_80"}
    _, there = view("--proxy-namespace", "beta")
    assert "priority" not in json.dumps(there["kube_alpha_s1_80"]), "the rule is exported to its own namespace only"


def test_translate_takes_settings_from_options_and_environment(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INGRESS_USE_WAYPOINTS", "perhaps")
    found = controlplane("translate", folder)
    assert found.returncode == 2
    assert found.stderr.strip() == "controlplane: INGRESS_USE_WAYPOINTS 'perhaps': write true, false, 1 or 0"
    assert controlplane("translate", folder, "--no-ingress-use-waypoints").returncode == 0
    monkeypatch.setenv("INGRESS_USE_WAYPOINTS", "0")
    monkeypatch.setenv("WAYPOINT_CLASSES", "mesh")
    assert controlplane("translate", folder, "--cluster-domain", "example.local").returncode == 0
    wrong = controlplane("translate", folder, "--dns-lookup-family", "V5")
    assert wrong.returncode == 2
    assert "V4_PREFERRED" in wrong.stderr


def test_bootstrap_names_the_gateway_and_the_control_plane() -> None:
    """The node's role is the gateway; everything comes over delta ADS."""
    found = controlplane(
        "bootstrap", "--gateway", "demo/web", "--xds", "10.0.0.1:1234", "--node-id", "pod-1.demo", "--locality", "r/z/s"
    )
    document = yaml.safe_load(found.stdout)
    assert document["node"]["id"] == "pod-1.demo"
    assert document["node"]["metadata"]["role"] == "controlplane~demo~web"
    assert document["node"]["locality"] == {"region": "r", "zone": "z", "sub_zone": "s"}
    assert document["dynamic_resources"]["ads_config"]["api_type"] == "DELTA_GRPC"
    assert document["dynamic_resources"]["ads_config"]["set_node_on_first_message_only"] is True
    assert "10.0.0.1" in found.stdout


def test_bootstrap_writes_what_an_envoy_follows_certificates_by(tmp_path: Path) -> None:
    """Beside the bootstrap, which names it, and only where it is asked for."""
    files = ("--xds-ca", "/certs/ca.crt", "--client-cert", "/certs/tls.crt", "--client-key", "/certs/tls.key")
    once = controlplane("bootstrap", "--gateway", "demo/web", "--xds", "cp.example:1", *files)
    (cluster,) = yaml.safe_load(once.stdout)["static_resources"]["clusters"]
    assert cluster["transport_socket"]["typed_config"]["sni"] == "cp.example"
    assert "/certs/tls.key" in once.stdout
    assert "path_config_source" not in once.stdout
    folder = tmp_path / "secrets"
    followed = controlplane("bootstrap", "--gateway", "demo/web", *files, "--secrets", str(folder))
    assert "/certs" not in followed.stdout
    written = {path.name: json.loads(path.read_text())["resources"][0] for path in folder.iterdir()}
    assert {name: secret["name"] for name, secret in written.items()} == {
        "xds_authority.json": "xds_authority",
        "xds_client.json": "xds_client",
    }
    for name in written:
        assert str(folder / name) in followed.stdout


TLS = ("--xds-cert", "a.crt", "--xds-key", "a.key")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("bootstrap", "--gateway", "web"), "namespace/name"),
        (("bootstrap", "--gateway", "demo/web", "--locality", "a/b/c/d"), "--locality 'a/b/c/d': write REGION"),
        (("bootstrap", "--gateway", "demo/web", "--xds", "nowhere"), "--xds 'nowhere': write HOST:PORT"),
        (("translate", ".", "--proxy-locality", "a/b/c/d"), "--proxy-locality 'a/b/c/d': write REGION"),
        (("translate", ".", "--proxy-label", "a"), "--proxy-label 'a': write KEY=VALUE"),
        (("translate", ".", "--proxy-namespace", "A"), "--proxy-namespace 'A': write the name of a namespace"),
        (("run", "--files", ".", "--waypoint-class", "A"), "--waypoint-class 'A': write the name of a GatewayClass"),
        (("run", "--files", ".", "--root-namespace", ""), "--root-namespace ''"),
        (("run",), "name one source: --files DIR"),
        (("run", "--files", "nope"), "--files nope: no such folder"),
        (("run", "--files", ".", "--replay", "."), "name one source"),
        (("run", "--files", ".", "--until", "3"), "--until goes with --replay"),
        (("run", "--files", ".", "--xds", "0.0.0.0:18000"), "--insecure-xds"),
        (("run", "--files", ".", "--admin", "1:2:3:x"), "--admin"),
        (("run", "--files", ".", "--xds-cert", "a.crt"), "--xds-cert goes with --xds-key"),
        (("run", "--files", ".", "--xds-client-ca", "ca"), "--xds-client-ca goes with --xds-cert and --xds-key"),
        (("run", "--files", ".", *TLS), "--xds-cert a.crt: No such file or directory; name a file that can be read"),
        (("run", "--files", ".", "--xds", "0.0.0.0:0", *TLS), "--xds-cert a.crt: No such file"),
        (("run", "--files", ".", "--infra", "host", *TLS), "name the authority that its Envoys trust with --xds-ca"),
        (
            ("run", "--files", ".", "--infra", "host", *TLS, "--xds-client-ca", "c", "--xds-ca", "c"),
            "--client-cert and",
        ),
        (("run", "--files", ".", "--xds-ca", "ca"), "give them to controlplane bootstrap"),
        (("run", "--files", ".", "--infra", "host", "--xds-ca", "ca"), "without TLS there is nothing to trust"),
        (("run", "--files", ".", "--client-cert", "a"), "go with --xds-ca"),
        (("run", "--files", ".", "--xds-limit", "x=1"), "the names are acknowledge_seconds, admission_seconds"),
        (("run", "--files", ".", "--xds-limit", "max_streams=1.5"), "'max_streams=1.5': write a whole number above 0"),
        (("run", "--files", ".", "--xds-limit", "send_seconds=-1"), "write a number above 0"),
        (("run", "--files", ".", "--xds-limit", "send_seconds=nan"), "write a number above 0"),
        (("bootstrap", "--gateway", "a/b", "--secrets", "x"), "go with --xds-ca"),
        (
            ("bootstrap", "--gateway", "a/b", "--xds-ca", "c", "--client-key", "x"),
            "--client-cert goes with --client-key",
        ),
        (("bootstrap", "--gateway", "a/b", "--xds-ca", "c", "--secrets", "/proc/x"), "--secrets /proc/x: "),
        (("log", "show", "nope"), "nope"),
        (("log", "verify", "nope"), "nope"),
        (("replay", "nope"), "nope"),
    ],
)
def test_a_mistake_is_one_line_that_says_what_to_do(
    arguments: tuple[str, ...], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No traceback, exit code 2."""
    monkeypatch.chdir(tmp_path)
    found = controlplane(*arguments)
    assert found.returncode == 2, found
    assert message in found.stderr
    assert "Traceback" not in found.stderr
    assert len(found.stderr.strip().splitlines()) == 1


def test_replay_prints_what_was_served_at_any_seq(recorded: tuple[Path, dict[int, dict[str, Any]]]) -> None:
    """Byte for byte what the live state gave."""
    path, documents = recorded
    for seq, document in documents.items():
        found = controlplane("replay", path, "--until", seq, "-o", "json")
        assert found.stdout == render(document, "json")
    assert controlplane("replay", path, "-o", "json").stdout == render(documents[max(documents)], "json")


def test_replay_tells_the_difference_of_two_moments(recorded: tuple[Path, dict[int, dict[str, Any]]]) -> None:
    """What appeared, what went, what changed."""
    path, documents = recorded
    seqs = sorted(documents)
    found = controlplane("replay", path, "--diff", seqs[1], seqs[2], "-o", "json")
    document = json.loads(found.stdout)
    assert (document["from"], document["to"]) == (seqs[1], seqs[2])
    assert document["changes"]["status HTTPRoute alpha/r1"]["after"] is None
    changed = [name for name in document["changes"] if "VirtualHost" in name]
    assert changed
    nothing = json.loads(controlplane("replay", path, "--diff", seqs[2], seqs[2], "-o", "json").stdout)
    assert nothing["changes"] == {}


def test_a_seq_before_the_log_is_an_error(recorded: tuple[Path, dict[int, dict[str, Any]]]) -> None:
    """There is no state before the first transaction."""
    found = controlplane("replay", recorded[0], "--until", 0)
    assert found.returncode == 2
    assert "seq 0" in found.stderr


def test_a_seq_that_ends_no_transaction_is_told(recorded: tuple[Path, dict[int, dict[str, Any]]]) -> None:
    """The state before it is printed, and the seq that it has."""
    path, documents = recorded
    last = max(documents)
    found = controlplane("replay", path, "--until", last + 100, "-o", "json")
    assert json.loads(found.stdout)["seq"] == last
    assert f"this is the state at seq {last}" in found.stderr
    assert controlplane("replay", path, "--until", last, "-o", "json").stderr == ""


def test_log_show_prints_every_event(recorded: tuple[Path, dict[int, dict[str, Any]]]) -> None:
    """One a line, with its seq, its source, its type, its object."""
    path, documents = recorded
    lines = controlplane("log", "show", path).stdout.splitlines()
    assert len(lines) == max(documents)
    assert "ControlPlaneStarted" in lines[0]
    assert any("ObjectApplied" in line and "HTTPRoute alpha/r1" in line and "all.yaml" in line for line in lines)
    assert "ObjectDeleted" in lines[-1]
    assert "Service alpha/s2" in lines[-1]
    assert controlplane("log", "show", path, "--from", 2, "--until", 3).stdout.splitlines() == lines[1:3]


def test_log_verify_finds_damage(recorded: tuple[Path, dict[int, dict[str, Any]]]) -> None:
    """Exit code 0 and 1; the damaged line is named, and replaying it is refused."""
    path, _ = recorded
    assert controlplane("log", "verify", path).returncode == 0
    segment = next(path.glob("*.jsonl"))
    content = bytearray(segment.read_bytes())
    at = content.index(b'"r1"')
    content[at + 1] ^= 1
    segment.write_bytes(content)
    found = controlplane("log", "verify", path)
    assert found.returncode == 1
    assert f"{segment.name}:" in found.stdout
    assert "damaged" in found.stdout
    refused = controlplane("replay", path)
    assert refused.returncode == 2
    assert segment.name in refused.stderr
    assert "seq" in refused.stderr
