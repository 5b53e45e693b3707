"""Certificates of three hostnames on one port, through everything that happens to certificates; and keys, which stay where they are."""

from __future__ import annotations

import asyncio
import ssl
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.conformance.manifests import gateway, http_route, https, manifest, rule
from tests.conftest import EnvoyProcess, free_port

from .backends import serving_all
from .certificates import Pair, make_pair, tls_secret, trusting
from .client import Answer, Connection, Request, Traffic, ask
from .folder import Folder, backend_service, to_text
from .plane import Command, envoy_at, until, until_answer

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio]

ROTATED, BROKEN, STILL = "rotated.example.com", "broken.example.com", "still.example.com"
GATEWAY = "Gateway demo/web"
FOLLOW_S = 10
ROTATIONS = 3


async def test_each_certificate_goes_its_own_way(folder: Folder, tmp_path: Path) -> None:
    port = free_port()
    pairs = [make_pair(ROTATED, kind=kind) for kind in ("ec", "rsa", "ec", "rsa")[: ROTATIONS + 1]]
    broken, stranger, still = make_pair(BROKEN), make_pair(BROKEN), make_pair(STILL)
    async with serving_all("v1") as backends:
        listeners = [https(name, f"{name}.example.com", name, port=port) for name in ("rotated", "broken", "still")]
        folder.write("all.yaml", gateway(*listeners), http_route("route", rule()), backend_service("v1", backends["v1"].port))
        folder.write("rotated.yaml", tls_secret("rotated", pairs[0]))
        folder.write("still.yaml", tls_secret("still", still))
        async with Command(tmp_path / "home", "--files", str(folder.path)) as command, envoy_at(command.xds, tmp_path / "envoy"):
            # Missing from the beginning: that hostname alone has no connection.
            await until_answer(port, Request(ROTATED), tls=trusting(pairs[0]))
            await until_answer(port, Request(STILL), tls=trusting(still))
            assert (await ask(port, Request(BROKEN), trusting(broken, stranger))).status == 0
            await until_condition(command, "False", "InvalidCertificateRef", "Secret demo/broken does not exist")

            seen: set[bytes] = set()
            kept = Traffic(port, Request(STILL), tls=trusting(still), clients=1)
            shaking = Traffic(port, Request(STILL), tls=trusting(still), clients=1, fresh=True)
            turning = Traffic(
                port, Request(ROTATED), tls=trusting(*pairs), clients=1, fresh=True,
                watch=lambda _, __, connection: seen.add(connection.certificate),
            )  # fmt: skip
            async with kept, shaking, turning:
                for pair in pairs[1:]:
                    await turning.answers.grow(20)
                    folder.write("rotated.yaml", tls_secret("rotated", pair))
                    await until_certificate(port, pair)
                    seen.clear()
                    await turning.answers.grow(20)
                    assert seen <= {pair.der}

                # Mismatched: as missing as before, and told. Then mended, then mismatched again: the last good pair stays.
                folder.write("broken.yaml", tls_secret("broken", broken, key=stranger))
                await until_condition(command, "False", "InvalidCertificateRef", "does not belong to")
                assert (await ask(port, Request(BROKEN), trusting(broken, stranger))).status == 0
                folder.write("broken.yaml", tls_secret("broken", broken))
                await until_answer(port, Request(BROKEN), tls=trusting(broken), patience_s=FOLLOW_S)
                await until_condition(command, "True", "ResolvedRefs", "")
                folder.write("broken.yaml", tls_secret("broken", stranger, key=broken))
                await until_condition(command, "False", "InvalidCertificateRef", "does not belong to")
                assert (await ask(port, Request(BROKEN), trusting(broken))).status == 200
                folder.remove("broken.yaml")
                await until_condition(command, "False", "InvalidCertificateRef", "does not exist")
                folder.write("broken.yaml", tls_secret("broken", stranger))
                await until_answer(port, Request(BROKEN), tls=trusting(stranger), patience_s=FOLLOW_S)
                await until_condition(command, "True", "ResolvedRefs", "")
                await asyncio.gather(*(traffic.answers.grow(20) for traffic in (kept, shaking, turning)))
            for traffic in (kept, shaking, turning):
                assert traffic.failures == 0, traffic.bad
            print({"kept": kept.by_status, "new handshakes": shaking.by_status, "rotated": turning.by_status})
