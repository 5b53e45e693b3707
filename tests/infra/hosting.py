"""A control plane's host mode alone, as a process that a test can kill: ``hosting.py STATE_DIR XDS_PORT GATEWAY...``.

Prints its log as JSON lines.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import structlog

from controlplane.infra import HostInfra


async def main() -> None:
    state_dir, xds_port, *gateways = sys.argv[1:]
    logger = structlog.wrap_logger(structlog.PrintLogger(sys.stdout), processors=[structlog.processors.JSONRenderer()])

    async def report(event: object) -> None:
        logger.info("reported", event_type=type(event).__name__)

    infra = HostInfra(
        state_dir=Path(state_dir),
        xds_address="127.0.0.1",
        xds_port=int(xds_port),
        report=report,
        log=logger,
        concurrency=1,
    )
    infra.want(gateways)
    await infra.run()


if __name__ == "__main__":
    asyncio.run(main())
