"""Listeners that an Envoy does not take: the old one serves on, and the Gateway's status says why."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conformance.manifests import Manifest, gateway, http_route, https, listener, rule

from .astray import NAMELESS, SAME, TWIN, Scene, lead_astray, scene
from .certificates import make_pair, tls_secret, trusting
from .client import Request, Traffic, ask
from .folder import Folder, backend_service
from .plane import until, until_answer
from .rejecting import FOLLOW_S

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio, pytest.mark.timeout(120)]

GATEWAY = "Gateway demo/web"
WORDS = {SAME: "same matching rules", NAMELESS: "Proto constraint validation failed"}
HOSTNAMES = pytest.mark.parametrize("hostname", WORDS)
GOOD, PLAIN, SECURE = "good.example.com", Request("plain.example.com"), Request(TWIN)
PAIR = make_pair("*.example.com")


@pytest.fixture(autouse=True)
def _astray(monkeypatch: pytest.MonkeyPatch) -> None:
    lead_astray(monkeypatch)


def save(found: Scene, *more: Manifest) -> None:
    """The Gateway: a plain listener, one with TLS, and these."""
    plain, secure, *_ = found.ports
    found.folder.write(
        "gateway.yaml",
        gateway(listener(port=plain), https("twin", TWIN, "cert", port=secure), *more),
        tls_secret("cert", PAIR),
    )


async def begin(found: Scene) -> None:
    """Both are served."""
    save(found)
    found.folder.write("route.yaml", http_route("route", rule()), backend_service("v1", found.backend_port))
    await until_answer(found.port, PLAIN)
    await until_answer(found.ports[1], SECURE, tls=trusting(PAIR))
    await found.in_step()


async def until_programmed(found: Scene, name: str, *, reason: str = "Programmed", words: str = "") -> None:
    """Returns once a listener's condition has this reason and these words."""
    said: tuple[str, str, str] = ("", "", "")

    async def look() -> bool:
        nonlocal said
        said = (await found.told.conditions(GATEWAY, name)).get("Programmed", said)
        return said[1] == reason and words in said[2]

    await until(f"listener {name} says {reason} {words}", look, FOLLOW_S, lambda: said)
    assert said[0] == ("True" if reason == "Programmed" else "False")


@HOSTNAMES
async def test_the_old_listener_serves_on(folder: Folder, tmp_path: Path, hostname: str) -> None:
    """A hostname more on a port of its own, that Envoy does not take, beside a listener on another that it does."""
    tls = trusting(PAIR)
    async with scene(folder, tmp_path) as found:
        await begin(found)
        secure, beside = found.ports[1:3]
        async with Traffic(found.port, PLAIN) as traffic, Traffic(secure, SECURE, tls=tls, fresh=True) as secured:
            save(found, https("more", hostname, "cert", port=secure), listener("beside", beside))
            await until_answer(beside, PLAIN)
            await until_programmed(found, "more", reason="Invalid", words=WORDS[hostname])
            await until_programmed(found, "beside")
            await until_programmed(found, "http")
            assert (await ask(secure, SECURE, tls)).status == 200
            assert await found.told.rejected("Listener") == 1
            await found.in_step()
            rejections = found.rejections()

            # It is not offered again, neither beside another change nor on another stream.
            streams = len(found.relay.streams)
            save(found, https("more", hostname, "cert", port=secure))
            await until("the listener beside is gone", lambda: _is_refused(beside))
            await found.in_step()
            assert found.rejections() == rejections
            found.relay.cut()
            await found.is_back(streams, 1)
            assert found.rejections(streams) == []
            await until_programmed(found, "more", reason="Invalid", words=WORDS[hostname])
            await found.live()
            await found.is_back(len(found.relay.streams) - 1, 1)
            assert found.rejections(streams) == []
            assert (await ask(secure, SECURE, tls)).status == 200

            save(found, https("more", GOOD, "cert", port=secure))
            await until_answer(secure, Request(GOOD), tls=tls)
            await until_programmed(found, "more")
            await until_programmed(found, "twin")
            assert await found.told.rejected("Listener") == 0
        assert traffic.failures == 0, traffic.bad
        assert secured.failures == 0, secured.bad


@HOSTNAMES
async def test_a_new_listener_that_is_not_taken(folder: Folder, tmp_path: Path, hostname: str) -> None:
    async with scene(folder, tmp_path) as found:
        await begin(found)
        new, beside = found.ports[2:4]
        twin = [https("new-twin", TWIN, "cert", port=new)]  # what ``SAME`` is the same as
        async with Traffic(found.port, PLAIN) as traffic:
            save(found, *twin, https("new", hostname, "cert", port=new), listener("beside", beside))
            await until_answer(beside, PLAIN)
            await until_programmed(found, "new", reason="Invalid", words=WORDS[hostname])
            await until_programmed(found, "beside")
            await until_programmed(found, "twin")
            assert await _is_refused(new)
            save(found, *twin, https("new", GOOD, "cert", port=new), listener("beside", beside))
            await until_answer(new, Request(GOOD), tls=trusting(PAIR))
            await until_programmed(found, "new")
        assert traffic.failures == 0, traffic.bad


async def _is_refused(port: int) -> bool:
    return (await ask(port, PLAIN)).status == 0
