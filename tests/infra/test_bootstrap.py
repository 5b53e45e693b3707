"""The bootstrap, as a real Envoy reads it."""

from __future__ import annotations

import asyncio
import copy
import json
import subprocess
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import yaml

from controlplane.infra import ClientTls, InfraError, bootstrap, find_envoy, secret_documents, to_yaml
from tests.authority import Authority

pytestmark = pytest.mark.envoy


def validate(text: str, path: Path) -> subprocess.CompletedProcess[str]:
    path.write_text(text)
    command = [find_envoy(), "--mode", "validate", "--log-level", "warning", "--config-path", path]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "controlplane.example"])
def test_a_real_envoy_accepts_it(address: str, tmp_path: Path) -> None:
    document = bootstrap("demo/web", xds_address=address, xds_port=18000, region="eu", zone="eu-1", sub_zone="rack-7")
    result = validate(to_yaml(document), tmp_path / "bootstrap.yaml")
    assert result.returncode == 0, result.stderr
    assert "deprecated" not in result.stdout + result.stderr


@pytest.mark.parametrize("address", ["127.0.0.1", "controlplane.example"])
@pytest.mark.parametrize("follows", [False, True])
@pytest.mark.parametrize("shows", [False, True])
def test_a_real_envoy_accepts_it_with_tls(address: str, follows: bool, shows: bool, tmp_path: Path) -> None:
    authority = Authority()
    certificate, key = authority.proxy("demo/web").write(tmp_path)
    ca = tmp_path / "ca.crt"
    ca.write_text(authority.certificate)
    tls = ClientTls(
        str(ca),
        str(certificate) if shows else "",
        str(key) if shows else "",
        secrets=str(tmp_path) if follows else "",
    )
    for name, secret in secret_documents(tls).items():
        (tmp_path / name).write_text(json.dumps(secret))
    document = bootstrap("demo/web", xds_address=address, xds_port=18000, tls=tls)
    result = validate(to_yaml(document), tmp_path / "bootstrap.yaml")
    assert result.returncode == 0, result.stderr
    assert "deprecated" not in result.stdout + result.stderr


def test_it_is_the_same_for_the_same_arguments_and_survives_yaml() -> None:
    document = bootstrap("demo/web", xds_address="127.0.0.1", xds_port=18000)
    assert document == bootstrap("demo/web", xds_address="127.0.0.1", xds_port=18000)
    assert yaml.safe_load(to_yaml(document)) == document


def test_regular_expressions_of_any_size_are_taken(tmp_path: Path) -> None:
    document: dict[str, Any] = bootstrap("demo/web", xds_address="127.0.0.1", xds_port=18000)
    route = {"match": {"safe_regex": {"regex": "/users/[0-9a-f]{1,400}"}}, "direct_response": {"status": 200}}
    manager = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "test",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
    }
    listener = {
        "name": "test",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
    }
    document["static_resources"]["listeners"] = [listener]
    assert validate(json.dumps(document), tmp_path / "ours.json").returncode == 0
    without = copy.deepcopy(document)
    del without["layered_runtime"]
    assert "RE2 program size" in validate(json.dumps(without), tmp_path / "without.json").stderr


def test_listeners_inside_of_the_process_are_taken(tmp_path: Path) -> None:
    document: dict[str, Any] = bootstrap("demo/web", xds_address="127.0.0.1", xds_port=18000)
    proxy = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
        "stat_prefix": "test",
        "cluster": "controlplane_xds",
    }
    chain = {"filters": [{"name": "tcp", "typed_config": proxy}]}
    document["static_resources"]["listeners"] = [{"name": "test", "internal_listener": {}, "filter_chains": [chain]}]
    result = validate(json.dumps(document), tmp_path / "ours.json")
    assert result.returncode == 0, result.stderr
    del document["bootstrap_extensions"]
    without = validate(json.dumps(document), tmp_path / "without.json")
    assert "InternalListener bootstrap extension is mandatory" in without.stderr


@pytest.mark.asyncio
@pytest.mark.parametrize("address", ["127.0.0.1", "localhost"])
async def test_an_envoy_finds_its_control_plane_and_says_who_it_is(address: str, tmp_path: Path) -> None:
    connected = asyncio.Event()

    async def accept(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connected.set()
        writer.close()
        await writer.wait_closed()

    admin = tmp_path / "admin"
    async with await asyncio.start_server(accept, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        document = bootstrap(
            "demo/web", xds_address=address, xds_port=port, node_id="web-0.demo", region="eu", zone="eu-1"
        )
        path = tmp_path / "bootstrap.yaml"
        path.write_text(to_yaml(document))
        command = [find_envoy(), "--disable-hot-restart", "--config-path", path, "--admin-address-path", admin]
        envoy = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.DEVNULL)
        try:
            async with asyncio.timeout(20):
                await connected.wait()
            info = await asyncio.to_thread(_get, f"http://{admin.read_text()}/server_info")
        finally:
            envoy.kill()
            await envoy.wait()
    assert info["state"] == "PRE_INITIALIZING"  # it waits for clusters
    node = {key: info["node"][key] for key in ("id", "cluster", "metadata", "locality")}
    assert node == {
        "id": "web-0.demo",
        "cluster": "web.demo",
        "metadata": {"role": "controlplane~demo~web"},
        "locality": {"region": "eu", "zone": "eu-1", "sub_zone": ""},
    }


def _get(url: str) -> dict[str, Any]:
    with urllib.request.urlopen(url, timeout=10) as response:
        return json.load(response)


def test_names_that_are_no_gateway_are_refused() -> None:
    for name in ("", "web", "demo/", "/web", "demo/web/more"):
        with pytest.raises(InfraError, match="namespace/name"):
            bootstrap(name, xds_address="127.0.0.1", xds_port=18000)
