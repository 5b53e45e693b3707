"""The way between Envoys and the control plane: mutual TLS, certificates that change under it, and a network that goes silent."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from controlplane.infra import ClientTls, bootstrap, secret_documents
from tests.authority import Authority, Issued, Volume
from tests.conformance.manifests import gateway, http_route, listener, rule
from tests.conftest import EnvoyProcess
from tests.relay import Relay

from .backends import serving_all
from .client import NOTHING, Request, Traffic, ask
from .folder import Folder, backend_service
from .plane import LOOPBACK, Admin, Command, free_port, until, until_answer

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio]

ASKED = Request("example.com")


def two_gateways(folder: Folder, web: int, other: int, backend: int) -> None:
    """Two Gateways, a port each, and a route for both."""
    folder.write(
        "all.yaml",
        gateway(listener(port=web)),
        gateway(listener(port=other), name="other"),
        http_route("route", rule(to="v1"), parents=["web", "other"]),
        backend_service("v1", backend),
    )


def envoy_with(
    port: int, directory: Path, volume: Volume, *, gateway_name: str = "demo/web", name: str = "", shows: bool = True
) -> EnvoyProcess:
    """An Envoy that connects with the certificates of a volume, and follows them."""
    secrets = directory / "secrets"
    tls = ClientTls(
        str(volume.authority),
        str(volume.certificate) if shows else "",
        str(volume.key) if shows else "",
        name,
        str(secrets),
    )
    secrets.mkdir(parents=True)
    for file, document in secret_documents(tls).items():
        (secrets / file).write_text(json.dumps(document))
    return EnvoyProcess(bootstrap(gateway_name, xds_address=LOOPBACK, xds_port=port, tls=tls), directory)


def volume_of(path: Path, issued: Issued, authority: Authority) -> Volume:
    volume = Volume(path)
    volume.show(issued, authority)
    return volume


def encrypted(volume: Volume) -> tuple[str, ...]:
    """The options of a control plane that shows what is in this volume, and asks clients for the same authority's."""
    return (
        *("--xds-cert", str(volume.certificate), "--xds-key", str(volume.key)),
        *("--xds-client-ca", str(volume.authority)),
    )


async def proxies(admin: Admin) -> list[str]:
    return [proxy["proxy"] for proxy in await admin.json("/debug/proxies")]


def refusals(command: Command, event: str) -> list[str]:
    return [line["message"] for line in command.events() if line["event"] == event]


async def until_metric(admin: Admin, name: str, value: float) -> None:
    async def is_there() -> bool:
        return await admin.metric(name) == value

    await until(f"{name} is {value}", is_there)


async def test_certificates_change_under_a_connected_envoy(folder: Folder, home: Path, tmp_path: Path) -> None:
    first, second = Authority("first"), Authority("second")
    server = volume_of(tmp_path / "server", first.server(), first)
    client = volume_of(tmp_path / "client", first.proxy("demo/web"), first)
    web, other = free_port(), free_port()
    async with (
        serving_all("v1", "v2") as backends,
        Command(home, "--files", str(folder.path), *encrypted(server)) as command,
        Relay(command.xds).running() as relay,
        envoy_with(relay.port, tmp_path / "envoy", client) as envoy,
    ):
        two_gateways(folder, web, other, backends["v1"].port)
        await until_answer(web, ASKED, backend="v1")
        stream = await proxies(command.admin)
        async with Traffic(web, ASKED) as traffic:
            # One thing after the other: what is broken is told and changes nothing.
            server.swap(first.server().certificate, first.server().key, first.certificate)
            await until_metric(command.admin, "controlplane_xds_certificate_failing", 1)
            assert await command.admin.is_ready()
            said = await command.admin.text("/readyz?verbose")
            assert "[!] process/xds-certificates degraded for" in said
            assert f"{server.key} (key): it is not the key of the certificate in {server.certificate}" in said
            assert [event["file"] for event in command.events() if event["event"] == "xds_certificates_not_usable"] == [
                str(server.key)
            ]
            # A new pair of the same authority.
            server.show(first.server(), first)
            await until_metric(command.admin, "controlplane_xds_certificate_failing", 0)
            assert await command.admin.metric("controlplane_xds_certificate_reloads_total") == 1
            two_gateways(folder, web, other, backends["v2"].port)
            await until_answer(web, ASKED, backend="v2")
            assert await proxies(command.admin) == stream, "a new pair ended an open stream"
            # Another authority for both sides: whoever comes next needs the new.
            server.show(second.server(), second)
            await until_metric(command.admin, "controlplane_xds_certificate_reloads_total", 2)
            assert await proxies(command.admin) == stream
            relay.cut()

            async def is_refused() -> bool:
                return await command.admin.metric("controlplane_xds_handshakes_failed_total") > 0

            await until("the Envoy with the old certificate is refused", is_refused)
            client.show(second.proxy("demo/web"), second)

            async def is_back() -> bool:
                return bool(found := await proxies(command.admin)) and found != stream

            await until("the Envoy is back with the new certificate", is_back)
            two_gateways(folder, web, other, backends["v1"].port)
            await until_answer(web, ASKED, backend="v1")
            await traffic.answers.grow(20)
        assert traffic.failures == 0, traffic.bad
        assert await envoy.stat("listener_manager.listener_removed") == 0


async def test_an_envoy_gets_what_its_certificate_says_and_nothing_else(
    folder: Folder, home: Path, tmp_path: Path
) -> None:
    authority, stranger = Authority(), Authority("stranger")
    server = volume_of(tmp_path / "server", authority.server(), authority)
    volumes = {
        "good": volume_of(tmp_path / "good", authority.proxy("demo/web"), authority),
        "of another gateway": volume_of(tmp_path / "other", authority.proxy("demo/other"), authority),
        "of a stranger": volume_of(tmp_path / "stranger", stranger.proxy("demo/web"), authority),
        "with another server": volume_of(tmp_path / "wrong", authority.proxy("demo/web"), stranger),
    }
    web, other = free_port(), free_port()
    async with (
        serving_all("v1") as backends,
        Command(home, "--files", str(folder.path), *encrypted(server)) as command,
    ):
        two_gateways(folder, web, other, backends["v1"].port)

        async with envoy_with(command.xds, tmp_path / "e1", volumes["of another gateway"]):

            async def is_refused() -> bool:
                return bool(refusals(command, "stream_refused"))

            await until("the Envoy is refused", is_refused)
            (message,) = refusals(command, "stream_refused")
            assert message == (
                "gateway demo/web is served to URI spiffe://cluster.local/ns/demo/sa/web, or without any URI to DNS "
                "web.demo.gateway.cluster.local; the client's certificate has URI spiffe://cluster.local/ns/demo/sa/other"
            )
            assert await ask(web, ASKED) == NOTHING
        async with envoy_with(command.xds, tmp_path / "e2", volumes["of a stranger"]):

            async def is_unknown() -> bool:
                return any("certificate" in text for text in refusals(command, "handshake_failed"))

            await until("the certificate of a stranger is refused", is_unknown)
        async with envoy_with(command.xds, tmp_path / "e3", volumes["good"], shows=False):

            async def is_asked() -> bool:
                return "peer did not return a certificate" in refusals(command, "handshake_failed")

            await until("an Envoy without a certificate is refused", is_asked)
        async with (
            envoy_with(command.xds, tmp_path / "e4", volumes["with another server"]) as distrusting,
            envoy_with(command.xds, tmp_path / "e5", volumes["good"], name="elsewhere.example") as mistaken,
        ):

            async def trusts_neither() -> bool:
                return (
                    await distrusting.stat("cluster.controlplane_xds.ssl.fail_verify_error") > 0
                    and await mistaken.stat("cluster.controlplane_xds.ssl.fail_verify_san") > 0
                )

            await until("an Envoy trusts no other server", trusts_neither)
        assert await proxies(command.admin) == []
        assert not [
            file for file in command.log_dir.rglob("*") if file.is_file() and b"ProxyConnected" in file.read_bytes()
        ]
        async with (
            envoy_with(command.xds, tmp_path / "e6", volumes["good"]),
            envoy_with(command.xds, tmp_path / "e7", volumes["of another gateway"], gateway_name="demo/other"),
        ):
            await until_answer(web, ASKED, backend="v1")
            await until_answer(other, ASKED, backend="v1")


async def test_envoys_of_host_mode_connect_with_certificates_of_their_own(
    folder: Folder, home: Path, tmp_path: Path
) -> None:
    authority = Authority()
    server = volume_of(tmp_path / "server", authority.server(), authority)
    for name in ("web", "other"):
        volume_of(tmp_path / "envoys" / "demo" / name, authority.proxy(f"demo/{name}"), authority)
    own = str(tmp_path / "envoys" / "{namespace}" / "{name}")
    client = ("--xds-ca", str(server.authority), "--client-cert", f"{own}/tls.crt", "--client-key", f"{own}/tls.key")
    web, other = free_port(), free_port()
    async with (
        serving_all("v1") as backends,
        Command(home, "--files", str(folder.path), "--infra", "host", *encrypted(server), *client) as command,
    ):
        two_gateways(folder, web, other, backends["v1"].port)
        await until_answer(web, ASKED, backend="v1")
        await until_answer(other, ASKED, backend="v1")
        assert refusals(command, "stream_refused") == []


def with_keepalive(document: dict[str, Any], seconds: float) -> dict[str, Any]:
    """The bootstrap with a shorter keepalive than we print."""
    (cluster,) = document["static_resources"]["clusters"]
    (options,) = cluster["typed_extension_protocol_options"].values()
    http2 = options["explicit_http_config"]["http2_protocol_options"]
    assert http2["connection_keepalive"] == {"interval": "30s", "timeout": "10s"}
    http2["connection_keepalive"] = {"interval": f"{seconds}s", "timeout": f"{seconds}s"}
    return document


@pytest.mark.parametrize("notices", ["both", "control plane", "envoy"])
async def test_a_network_that_goes_silent_is_noticed(notices: str, folder: Folder, home: Path, tmp_path: Path) -> None:
    """A relay that carries nothing any more and ends nothing; each side has to find out by itself."""
    quick, slow = 0.5, 600
    seconds = slow if notices == "envoy" else quick
    limits = ("--xds-limit", f"keepalive_seconds={seconds}", "--xds-limit", f"keepalive_timeout_seconds={seconds}")
    web, other = free_port(), free_port()
    async with (
        serving_all("v1", "v2") as backends,
        Command(home, "--files", str(folder.path), *limits) as command,
        Relay(command.xds).running() as relay,
    ):
        document = with_keepalive(
            bootstrap("demo/web", xds_address=LOOPBACK, xds_port=relay.port),
            slow if notices == "control plane" else quick,
        )
        async with EnvoyProcess(document, tmp_path / "envoy") as envoy:
            two_gateways(folder, web, other, backends["v1"].port)
            await until_answer(web, ASKED, backend="v1")
            stream = await proxies(command.admin)
            relay.freeze()
            if notices != "envoy":

                async def is_gone() -> bool:
                    return await proxies(command.admin) != stream

                await until("the control plane has noticed", is_gone, 10)
                (gone, *_) = (line for line in command.events() if line["event"] == "proxy_disconnected")
                assert gone["reason"] == f"the client did not answer a ping for {quick:g} s"
            if notices == "control plane":
                return
            two_gateways(folder, web, other, backends["v2"].port)
            relay.thaw()
            await until_answer(web, ASKED, backend="v2", patience_s=15)
            assert (
                await envoy.stat("cluster.controlplane_xds.http2.keepalive_timeout") >= 1
            )  # it may try while all is silent
