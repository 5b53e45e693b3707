"""The Dockerfile and the compose file: no container engine here, so what can be known without one."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
QUICKSTART = ROOT / "examples" / "quickstart"


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions, lines that go on joined."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    lines = re.sub(r"\\\n\s*", " ", text).splitlines()
    return [(name, rest) for name, _, rest in (line.partition(" ") for line in lines if line.strip())]


def manifests(kind: str) -> dict[str, Any]:
    documents = [d for path in QUICKSTART.glob("*.yaml") for d in yaml.safe_load_all(path.read_text())]
    return {document["metadata"]["name"]: document for document in documents if document["kind"] == kind}


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return document


def options(service: dict[str, Any]) -> dict[str, str]:
    """``--name=value`` of a service's command, values of flags empty."""
    words = " ".join(service["command"]).split()
    return {name: value for name, _, value in (word.partition("=") for word in words if word.startswith("--"))}


def test_hadolint_has_nothing_to_say() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    result = subprocess.run([hadolint, ROOT / "Dockerfile"], capture_output=True, text=True, check=False, timeout=60)
    assert result.returncode == 0, result.stdout + result.stderr


def test_docker_compose_accepts_the_file() -> None:
    binary = shutil.which("docker-compose")
    if binary is None and not os.environ.get("CI"):
        pytest.skip("docker-compose is not installed (Debian package docker-compose)")
    assert binary is not None
    command = [binary, "--file", ROOT / "docker-compose.yml", "config"]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert result.returncode == 0, result.stderr
    assert yaml.safe_load(result.stdout)["services"].keys() == {"controlplane", "bootstrap", "envoy", "web", "api"}


def test_the_image_runs_as_nobody_in_particular_and_says_whether_it_is_well() -> None:
    names = [name for name, _ in instructions()]
    last = len(names) - 1 - names[::-1].index("FROM")
    final = dict(instructions()[last:])
    assert names.count("FROM") == 2
    assert re.fullmatch(r"[1-9]\d+:[1-9]\d+", final["USER"])
    assert "/readyz" in final["HEALTHCHECK"]
    assert final["ENTRYPOINT"] == '["controlplane"]'


def test_everything_that_is_copied_is_there_and_sent_to_the_builder() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    kept = [line[1:] for line in lines if line.startswith("!")]
    assert "*" in lines
    sources = [
        word for name, rest in instructions() if name == "COPY" and "--from" not in rest for word in rest.split()[:-1]
    ]
    assert sorted(sources) == sorted(kept)
    assert [source for source in sources if not (ROOT / source).exists()] == []


def test_the_image_has_the_python_that_is_tested() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    minimum = project["requires-python"].removeprefix(">=")
    assert {rest.split()[0] for name, rest in instructions() if name == "FROM"} == {f"python:{minimum}-slim-bookworm"}


def test_compose_runs_the_envoy_that_is_tested(compose: dict[str, Any]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (pinned,) = project["optional-dependencies"]["envoy"]
    assert compose["services"]["envoy"]["image"] == f"envoyproxy/envoy:v{pinned.partition('==')[2]}"


def test_compose_serves_the_gateway_of_the_quickstart(compose: dict[str, Any]) -> None:
    services = compose["services"]
    bootstrap = options(services["bootstrap"])
    namespace, _, name = bootstrap["--gateway"].partition("/")
    gateway = manifests("Gateway")[name]
    assert gateway["metadata"]["namespace"] == namespace
    published = {mapping.split(":", 1)[1] for mapping in services["envoy"]["ports"]}
    assert published == {f"{port}:{port}" for port in {listener["port"] for listener in gateway["spec"]["listeners"]}}
    run = options(services["controlplane"])
    host, _, port = bootstrap["--xds"].partition(":")
    assert host in services
    assert run["--xds"] == f"0.0.0.0:{port}"
    assert "--insecure-xds" in run
    mounts = {mount.split(":")[1]: mount for mount in services["controlplane"]["volumes"]}
    assert mounts[run["--files"]] == f"./{QUICKSTART.relative_to(ROOT)}:{run['--files']}:ro"


def test_compose_backends_are_where_the_endpointslices_say(compose: dict[str, Any]) -> None:
    slices = manifests("EndpointSlice")
    backends = {
        name: one
        for name, one in compose["services"].items()
        if "controlplane.runtime.echo" in one.get("entrypoint", ())
    }
    assert backends.keys() == slices.keys()
    for name, service in backends.items():
        assert service["network_mode"] == "service:envoy"
        assert options(service)["--name"] == name
        assert [options(service)["--port"]] == [str(port["port"]) for port in slices[name]["ports"]]
        assert slices[name]["endpoints"][0]["addresses"] == ["127.0.0.1"]


def test_compose_shows_nothing_to_other_machines(compose: dict[str, Any]) -> None:
    published = [mapping for service in compose["services"].values() for mapping in service.get("ports", ())]
    assert published
    assert all(mapping.startswith("127.0.0.1:") for mapping in published)


def test_the_bootstrap_of_compose_lands_where_envoy_looks(compose: dict[str, Any]) -> None:
    services = compose["services"]
    written = services["bootstrap"]["command"][0].rpartition("> ")[2]
    read = services["envoy"]["command"][services["envoy"]["command"].index("--config-path") + 1]
    (to,) = services["bootstrap"]["volumes"]
    (at,) = services["envoy"]["volumes"]
    volume, mounted = to.split(":")[:2]
    assert written.removeprefix(mounted) == read.removeprefix(at.split(":")[1])
    assert at.startswith(f"{volume}:")
    # A named volume takes its owner from the directory of the image at the same place.
    assert any(
        name == "RUN" and f" {mounted}" in rest and "--owner=controlplane" in rest for name, rest in instructions()
    )
    assert services["envoy"]["depends_on"] == {"bootstrap": {"condition": "service_completed_successfully"}}
