"""TLS on the xDS port: who may connect, and certificates that change while the server runs."""

from __future__ import annotations

import asyncio
import ssl
from datetime import UTC, datetime
from pathlib import Path

import pytest
from grpclib.client import Channel
from grpclib.exceptions import StreamTerminatedError
from structlog.testing import capture_logs

from controlplane.xds import Certificates, TlsFileError, TlsFiles
from controlplane.xds.types import CLUSTER
from tests.authority import Authority, Volume
from tests.xds.serving import Served, connect, until


@pytest.fixture
def authority() -> Authority:
    return Authority()


@pytest.fixture
def volume(tmp_path: Path, authority: Authority) -> Volume:
    volume = Volume(tmp_path / "volume")
    volume.show(authority.server(), authority)
    return volume


def files(volume: Volume, *, client_ca: bool = True) -> TlsFiles:
    """As the server takes them."""
    return TlsFiles(volume.certificate, volume.key, volume.authority if client_ca else None)


async def shown(served: Served, context: ssl.SSLContext) -> bytes:
    """The certificate that a new connection is shown."""
    _, writer = await asyncio.open_connection("127.0.0.1", served.port, ssl=context)
    try:
        found = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        assert writer.get_extra_info("ssl_object").selected_alpn_protocol() == "h2"
        return found
    finally:
        writer.transport.abort()


async def is_served(served: Served, context: ssl.SSLContext) -> bool:
    """Whether a client is answered."""
    try:
        async with connect(served, tls=context) as client:
            await client.say(CLUSTER)
            await client.hear()
            return True
    except (OSError, StreamTerminatedError):
        return False


@pytest.mark.asyncio
async def test_clients_are_served_over_tls_with_a_certificate_of_the_authority(serve, volume, authority, tmp_path):
    served = await serve(certificates=Certificates(files(volume)))
    assert await is_served(served, authority.client_context(authority.proxy("ns/gw"), tmp_path / "good"))
    with capture_logs() as logs:
        assert not await is_served(served, authority.client_context(None, tmp_path))
        stranger = Authority("another")
        other = authority.client_context(stranger.proxy("ns/gw"), tmp_path / "other")
        assert not await is_served(served, other)
        await until(lambda: served.server.counters.get("handshakes_failed") == 2)
    said = [entry["message"] for entry in logs if entry["event"] == "handshake_failed"]
    assert said[0] == "peer did not return a certificate"
    assert said[1].startswith("the client's certificate is refused: ")
    assert served.events[0].scope == "ns/gw"


@pytest.mark.asyncio
async def test_a_certificate_for_servers_only_is_no_clients(serve, volume, authority, tmp_path):
    served = await serve(certificates=Certificates(files(volume)))
    assert not await is_served(served, authority.client_context(authority.server(), tmp_path / "server"))


@pytest.mark.asyncio
async def test_tls_before_1_2_and_plaintext_are_refused(serve, volume, authority, tmp_path):
    served = await serve(certificates=Certificates(files(volume, client_ca=False)))
    context = authority.client_context(None, tmp_path)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    assert await is_served(served, context)
    old = authority.client_context(None, tmp_path)
    old.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    with capture_logs() as logs, pytest.raises(OSError):  # noqa: PT011  (OpenSSL's words change)
        await shown(served, old)
    await until(lambda: served.server.counters.get("handshakes_failed") == 1)
    assert [entry["message"] for entry in logs if entry["event"] == "handshake_failed"] == ["unsupported protocol"]
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    assert b"HTTP" not in await reader.read()
    writer.close()


@pytest.mark.asyncio
async def test_a_swapped_link_changes_what_new_connections_see_and_no_open_one(serve, volume, authority, tmp_path):
    first, second = authority.server(), authority.server()
    volume.show(first, authority)
    certificates = Certificates(files(volume))
    served = await serve(certificates=certificates)
    context = authority.client_context(authority.proxy("ns/gw"), tmp_path / "proxy")
    async with connect(served, tls=context) as kept:
        await kept.say(CLUSTER)
        await kept.ack(await kept.hear())
        assert await shown(served, context) == first.der
        volume.show(second, authority)
        certificates.look()
        assert await shown(served, context) == second.der
        assert certificates.reloads == 1
        served.put(CLUSTER, a="1")
        assert [resource.name for resource in (await kept.hear()).resources] == ["a"]


@pytest.mark.asyncio
async def test_another_authority_shuts_out_the_clients_of_the_one_before(serve, volume, authority, tmp_path):
    certificates = Certificates(files(volume))
    served = await serve(certificates=certificates)
    newer = Authority("newer")
    old = authority.client_context(authority.proxy("ns/gw"), tmp_path / "old")
    new = authority.client_context(newer.proxy("ns/gw"), tmp_path / "new")
    assert await is_served(served, old)
    assert not await is_served(served, new)
    volume.show(authority.server(), newer)
    certificates.look()
    assert not await is_served(served, old)
    assert await is_served(served, new)


@pytest.mark.asyncio
async def test_sessions_are_not_resumed(serve, volume, authority, tmp_path):
    served = await serve(certificates=Certificates(files(volume)))
    context = authority.client_context(authority.proxy("ns/gw"), tmp_path / "proxy")
    channel = Channel("127.0.0.1", served.port, ssl=context)
    try:
        await channel.__connect__()
        tls = channel._protocol.connection._transport.get_extra_info("ssl_object")
        assert tls.version() == "TLSv1.3"
        assert tls.session is None or not tls.session.has_ticket
    finally:
        channel.close()


def broken(kind: str, authority: Authority) -> tuple[str, str, str]:
    """Contents with something wrong."""
    good, other = authority.server(), authority.server()
    return {
        "mismatch": (good.certificate, other.key, authority.certificate),
        "no certificate": ("", good.key, authority.certificate),
        "damaged certificate": (good.certificate.replace("MI", "XX"), good.key, authority.certificate),
        "no key": (good.certificate, "nothing", authority.certificate),
        "no authority": (good.certificate, good.key, "# none yet\n"),
    }[kind]


BROKEN = {
    "mismatch": ("key", "it is not the key of the certificate in"),
    "no certificate": ("certificate", "it holds no certificate in PEM"),
    "damaged certificate": ("certificate", "it holds no certificate in PEM, or a damaged one"),
    "no key": ("key", "it holds no private key in PEM"),
    "no authority": ("client CA", "it holds no certificate in PEM"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_what_is_wrong_at_the_start_is_told_with_its_file(kind, volume, authority):
    volume.swap(*broken(kind, authority))
    part, reason = BROKEN[kind]
    with pytest.raises(TlsFileError) as caught:
        Certificates(files(volume))
    assert caught.value.part == part
    assert caught.value.path == {"key": volume.key, "certificate": volume.certificate}.get(part, volume.authority)
    assert caught.value.reason.startswith(reason)


def test_a_file_that_cannot_be_read_is_told(volume):
    missing = volume.key.with_name("missing")
    with pytest.raises(TlsFileError, match=r"missing \(key\): No such file or directory; name a file"):
        Certificates(TlsFiles(volume.certificate, missing))


@pytest.mark.parametrize("kind", BROKEN)
def test_what_is_wrong_later_keeps_the_ones_before_and_is_told_once(kind, volume, authority):
    certificates = Certificates(files(volume))
    before = certificates.context
    volume.swap(*broken(kind, authority))
    with capture_logs() as logs:
        certificates.look()
        assert certificates.failure is None, "half a change was told"
        for _ in range(3):
            certificates.look()
    assert certificates.context is before
    assert certificates.failures == 1
    part, reason = BROKEN[kind]
    assert certificates.failure is not None
    assert certificates.failure.part == part
    assert [(entry["event"], entry["file"]) for entry in logs] == [
        ("xds_certificates_not_usable", str(certificates.failure.path))
    ]
    assert logs[0]["reason"].startswith(reason)
    volume.show(authority.server(), authority)
    certificates.look()
    assert certificates.failure is None
    assert certificates.context is not before
    assert certificates.reloads == 1


def test_one_file_after_the_other_is_no_failure(volume, authority):
    certificates = Certificates(files(volume))
    new = authority.server()
    with capture_logs() as logs:
        for path, text in ((volume.certificate, new.certificate), (volume.key, new.key)):
            path.unlink()
            certificates.look()
            path.write_text(text)
            certificates.look()
    assert [entry["event"] for entry in logs] == ["xds_certificates_reloaded"]
    assert certificates.failures == 0


def test_the_ones_before_put_back_are_no_failure_any_more(volume, authority):
    first = authority.server()
    volume.show(first, authority)
    certificates = Certificates(files(volume))
    before = certificates.context
    volume.swap(first.certificate, "nothing", authority.certificate)
    certificates.look()
    certificates.look()
    assert certificates.failure is not None
    volume.show(first, authority)
    certificates.look()
    assert certificates.failure is None
    assert certificates.context is before


def test_a_file_that_goes_keeps_what_was_read(volume):
    certificates = Certificates(files(volume))
    volume.authority.unlink()
    certificates.look()
    certificates.look()
    assert certificates.failure is not None
    assert certificates.failure.path == volume.authority
    assert certificates.asks_clients


def test_keys_are_told_nowhere(volume, authority):
    key = authority.server().key
    volume.swap(authority.server().certificate, key, authority.certificate)
    with pytest.raises(TlsFileError) as caught:
        Certificates(files(volume))
    assert key.splitlines()[1] not in str(caught.value) + repr(caught.value)


def test_an_expired_certificate_does_not_replace_one_that_has_not(volume, authority):
    certificates = Certificates(files(volume))
    before = certificates.context
    old = authority.issue(dns=["localhost"], end=datetime(2026, 1, 2, tzinfo=UTC))
    volume.show(old, authority)
    certificates.look()
    certificates.look()
    assert certificates.context is before
    assert certificates.failure is not None
    assert certificates.failure.reason.startswith(
        "the certificate expired at 2026-01-02T00:00:00+00:00, the one in use"
    )
