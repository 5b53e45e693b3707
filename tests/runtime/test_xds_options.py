"""TLS of a whole control plane: what its pages say of its certificates, and what is warned of."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from controlplane.runtime.options import HostPort
from controlplane.runtime.serve import running
from controlplane.runtime.xds_options import XdsOptions, xds_settings
from tests.authority import Authority, Volume
from tests.runtime.test_control_plane import folder as folder
from tests.runtime.test_control_plane import options, pages_of


def test_limits_are_taken_by_name() -> None:
    settings = xds_settings(["max_streams=7", "keepalive_seconds=1.5", "acknowledge_seconds=3", "max_streams=8"])
    assert settings.max_streams == 8
    assert settings.keepalive_seconds == 1.5
    assert settings.limits.acknowledge_seconds == 3
    assert xds_settings([]) == xds_settings(["max_streams=2000"])


@pytest.mark.asyncio
async def test_a_certificate_that_has_expired_or_is_broken_is_degraded_and_in_the_metrics(
    folder: Path, tmp_path: Path
) -> None:
    authority = Authority()
    volume = Volume(tmp_path / "tls")
    end = datetime.datetime(2021, 1, 1, tzinfo=datetime.UTC)
    volume.show(authority.issue(addresses=["127.0.0.1"], end=end), authority)
    security = XdsOptions(volume.certificate, volume.key, volume.authority)
    async with running(options(folder, security=security)) as plane, pages_of(plane) as pages:
        _, text = await pages.get("/readyz?verbose")
        assert "xds-certificates degraded" in text
        assert "the certificate of the xDS port expired at 2021-01-01T00:00:00+00:00; renew it" in text
        _, metrics = await pages.get("/metrics")
        assert f"controlplane_xds_certificate_expires_timestamp_seconds {end.timestamp()}" in metrics.replace(
            "1.6094592e+09", str(end.timestamp())
        )
        assert "controlplane_xds_streams_open 0.0" in metrics
        assert "controlplane_xds_connections_total 0.0" in metrics
        volume.swap("", "", authority.certificate)
        assert plane.xds.certificates is not None
        for _ in range(2):
            plane.xds.certificates.look()
        _, text = await pages.get("/readyz?verbose")
        assert f"{volume.certificate} (certificate): it holds no certificate in PEM" in text
        assert "the certificates from before are served" in text
        volume.show(authority.server(), authority)
        plane.xds.certificates.look()
        _, text = await pages.get("/readyz?verbose")
        assert "[+] process/xds-certificates ok" in text


@pytest.mark.asyncio
@pytest.mark.parametrize("asks", [False, True])
async def test_tls_that_asks_clients_for_nothing_beyond_loopback_is_warned_of(
    asks: bool, folder: Path, tmp_path: Path
) -> None:
    authority = Authority()
    volume = Volume(tmp_path / "tls")
    volume.show(authority.server(), authority)
    security = XdsOptions(volume.certificate, volume.key, volume.authority if asks else None)
    with capture_logs() as logs:
        async with running(options(folder, security=security, xds=HostPort("0.0.0.0", 0))):
            pass
    warned = [entry["remedy"] for entry in logs if entry["event"] == "xds_clients_not_checked"]
    assert warned == ([] if asks else ["--xds-client-ca"])
