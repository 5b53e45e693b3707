"""gRPC health over a real socket."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import pytest
from grpclib.client import Channel
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from controlplane._proto.grpc.health.v1 import (
    HealthCheckRequest,
    HealthCheckResponseServingStatus,
    HealthListRequest,
    HealthStub,
)
from controlplane.xds import Health
from controlplane.xds.server import SERVICE
from tests.xds.serving import PATIENCE_S, Served

pytestmark = pytest.mark.asyncio

SERVING = HealthCheckResponseServingStatus.SERVING
NOT_SERVING = HealthCheckResponseServingStatus.NOT_SERVING
ADS = SERVICE.strip("/")


class Process:
    """What is ready, or not."""

    ready = False


@contextlib.asynccontextmanager
async def asking(served: Served) -> AsyncIterator[HealthStub]:
    channel = Channel("127.0.0.1", served.port)
    try:
        yield HealthStub(channel, timeout=PATIENCE_S)
    finally:
        channel.close()


@pytest.fixture
def process():
    return Process()


@pytest.fixture
def start(serve, process):
    async def start() -> Served:
        return await serve(services=(Health(lambda: process.ready, poll_seconds=0.01),))

    return start


@pytest.mark.parametrize("service", ["", ADS])
async def test_check_follows_readiness(start, process, service):
    served = await start()
    async with asking(served) as stub:
        assert (await stub.check(HealthCheckRequest(service=service))).status == NOT_SERVING
        process.ready = True
        assert (await stub.check(HealthCheckRequest(service=service))).status == SERVING
        process.ready = False
        assert (await stub.check(HealthCheckRequest(service=service))).status == NOT_SERVING


async def test_a_service_that_is_not_here_is_not_found(start):
    served = await start()
    async with asking(served) as stub:
        with pytest.raises(GRPCError) as caught:
            await stub.check(HealthCheckRequest(service="another"))
        assert caught.value.status is Status.NOT_FOUND
        assert ADS in caught.value.message
        answers = stub.watch(HealthCheckRequest(service="another"))
        assert (await anext(answers)).status == HealthCheckResponseServingStatus.SERVICE_UNKNOWN
        await answers.aclose()


async def test_list_has_all(start, process):
    served = await start()
    process.ready = True
    async with asking(served) as stub:
        listed = (await stub.list(HealthListRequest())).statuses
    assert {name: response.status for name, response in listed.items()} == {"": SERVING, ADS: SERVING}


async def test_watch_tells_the_status_and_each_change(start, process):
    served = await start()
    async with asking(served) as stub:
        answers = stub.watch(HealthCheckRequest(service=ADS))
        for ready, status in [(False, NOT_SERVING), (True, SERVING), (False, NOT_SERVING)]:
            process.ready = ready
            assert (await anext(answers)).status == status
        await answers.aclose()
