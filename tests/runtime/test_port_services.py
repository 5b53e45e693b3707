"""What a running control plane answers on the xDS port beside the proxies: health, and client status."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import yaml
from grpclib.client import Channel
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from controlplane._proto.envoy.service.status.v3 import ClientStatusDiscoveryServiceStub, ClientStatusRequest
from controlplane._proto.grpc.health.v1 import HealthCheckRequest, HealthCheckResponseServingStatus, HealthStub
from controlplane.runtime.options import HostPort, RunOptions
from controlplane.runtime.serve import ControlPlane, running
from tests.reducers.manifests import working_set

pytestmark = pytest.mark.asyncio

ANY_PORT = HostPort("127.0.0.1", 0)
PATIENCE_S = 20.0


@pytest.fixture
def options(tmp_path: Path) -> RunOptions:
    folder = tmp_path / "manifests"
    folder.mkdir()
    (folder / "all.yaml").write_text(yaml.safe_dump_all(working_set()))
    return RunOptions(files=folder, state_dir=tmp_path, xds=ANY_PORT, admin=ANY_PORT)


@asynccontextmanager
async def channel_to(plane: ControlPlane) -> AsyncIterator[Channel]:
    assert plane.xds._server is not None
    channel = Channel("127.0.0.1", plane.xds._server.port)
    try:
        yield channel
    finally:
        channel.close()


async def test_health_says_what_readyz_says(options: RunOptions) -> None:
    async with running(options) as plane, channel_to(plane) as channel:
        stub = HealthStub(channel, timeout=PATIENCE_S)
        assert not plane.readiness.ready()
        assert (await stub.check(HealthCheckRequest())).status == HealthCheckResponseServingStatus.NOT_SERVING
        answers = stub.watch(HealthCheckRequest())
        told = [(await anext(answers)).status, (await anext(answers)).status]
        assert told == [HealthCheckResponseServingStatus.NOT_SERVING, HealthCheckResponseServingStatus.SERVING]
        assert plane.readiness.ready()
        await answers.aclose()


async def test_client_status_answers_to_this_machine_only(options: RunOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("controlplane.xds.csds.is_loopback", lambda address: False)
    async with running(options) as plane, channel_to(plane) as channel:
        with pytest.raises(GRPCError, match="--client-status-from-anywhere") as caught:
            await ClientStatusDiscoveryServiceStub(channel).fetch_client_status(ClientStatusRequest())
        assert caught.value.status is Status.PERMISSION_DENIED
    open_to_all = RunOptions(
        files=options.files, state_dir=options.state_dir, xds=ANY_PORT, admin=ANY_PORT, client_status_from_anywhere=True
    )
    async with running(open_to_all) as plane, channel_to(plane) as channel:
        response = await ClientStatusDiscoveryServiceStub(channel).fetch_client_status(ClientStatusRequest())
        assert response.config == []
