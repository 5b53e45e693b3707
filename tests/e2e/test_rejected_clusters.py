"""Clusters that an Envoy does not take: each alone stays as it was, and nothing beside it notices."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.conformance.manifests import Manifest, http_route, prefix

from .astray import MARKS, Scene, lead_astray, scene, service_rule
from .backends import Backend, serving
from .client import Request, Traffic
from .folder import Folder, backend_service
from .plane import eager_envoy_at, until, until_answer
from .rejecting import FOLLOW_S, SHOP, forms, marked, request, until_forms
from .relay import label_of

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio, pytest.mark.timeout(120)]

COUNT, BAD = 10, 4
WORDS = {
    "wedges": "maglev",
    "is refused": "cluster provided LB",
    "spoils its response": "Proto constraint validation failed",
}
KINDS = pytest.mark.parametrize("kind", MARKS)
ONE_HOSTNAME = pytest.mark.parametrize("one_hostname", [False, True], ids=["a hostname each", "one hostname"])


@pytest.fixture(autouse=True)
def _astray(monkeypatch: pytest.MonkeyPatch) -> None:
    lead_astray(monkeypatch)


def many(found: Scene, form: int, *, rules: bool, bad: str = "", one_hostname: bool, moved: int | None = None) -> None:
    """One save: routes in this form, each with a service of its own, and rules that change every cluster, if that is asked for.

    Args:
        found: Where.
        form: Of the routes.
        rules: Whether there are rules.
        bad: What the cluster of ``BAD`` does.
        one_hostname: Whether the routes share one.
        moved: Port of that cluster's endpoint, if it is another than all have.
    """
    made: list[Manifest] = []
    for number in range(COUNT):
        name, asked = f"s{number}", request(number, one_hostname=one_hostname)
        made += backend_service(name, moved if moved and number == BAD else found.backend_port)
        made.append(http_route(f"r{number}", marked(form, prefix(f"/r{number}"), to=name), hostnames=[asked.host]))
        if rules:
            made.append(service_rule(name, bad if number == BAD else ""))
    found.folder.write("many.yaml", *made)


@ONE_HOSTNAME
@KINDS
async def test_a_cluster_that_is_not_taken_stays_as_it_was(
    folder: Folder, tmp_path: Path, kind: str, one_hostname: bool
) -> None:
    requests = [request(number, one_hostname=one_hostname) for number in range(COUNT)]
    async with serving(Backend("moved")) as moved, scene(folder, tmp_path) as found:
        many(found, 1, rules=False, one_hostname=one_hostname)
        await until_forms(found.port, requests, 1)
        async with Traffic(found.port, *requests, clients=4) as traffic:
            many(found, 2, rules=True, bad=kind, one_hostname=one_hostname)
            # Each route has its new form, also that of the bad cluster, which is there in its last form.
            await until_forms(found.port, requests, 2)
            message = await found.told.until_partly_invalid(f"r{BAD}", "Fall Back", "")
            assert WORDS[kind].lower() in message.lower()
            await found.in_step()
            wanted = {f"s{number}": "ROUND_ROBIN" if number == BAD else "LEAST_REQUEST" for number in range(COUNT)}
            assert await found.policies() == wanted
            assert await found.envoy.stat("cluster_manager.warming_clusters") == 0
            assert await found.told.partly_invalid() == {f"r{BAD}"}
            assert await found.told.rejected("Cluster") == 1

            # Clusters go on: a new one is served at once, and nothing is rejected again.
            rejections = found.rejections()
            folder.write("later.yaml", backend_service("later", found.backend_port), service_rule("later"))
            folder.write("route.yaml", http_route("later", marked(1, to="later"), hostnames=["later.example.com"]))
            await until_answer(found.port, Request("later.example.com"))
            await found.in_step()
            assert found.rejections() == rejections
            # Its endpoints do not wait for it.
            many(found, 2, rules=True, bad=kind, one_hostname=one_hostname, moved=moved.port)
            await until_answer(found.port, requests[BAD], backend="moved", patience_s=FOLLOW_S)
            assert found.rejections() == rejections

            many(found, 3, rules=True, one_hostname=one_hostname)
            await until_forms(found.port, requests, 3)
            await found.told.until_valid(f"r{BAD}")
            await found.in_step()
            assert (await found.policies())[f"s{BAD}"] == "LEAST_REQUEST"
        assert traffic.failures == 0, traffic.bad
        assert await found.told.rejected("Cluster") == 0


@ONE_HOSTNAME
@KINDS
async def test_a_new_cluster_that_is_not_taken_stops_its_own_route_alone(
    folder: Folder, tmp_path: Path, kind: str, one_hostname: bool
) -> None:
    requests = [request(number, one_hostname=one_hostname) for number in range(COUNT)]
    good, bad = (Request(SHOP if one_hostname else f"{name}.example.com", f"/{name}") for name in ("good", "bad"))
    async with scene(folder, tmp_path) as found:
        many(found, 1, rules=True, one_hostname=one_hostname)
        await until_forms(found.port, requests, 1)
        async with Traffic(found.port, *requests) as traffic:

            def save(mark: str) -> None:
                made: list[Manifest] = []
                for name, asked in (("good", good), ("bad", bad)):
                    made += backend_service(name, found.backend_port)
                    made.append(http_route(name, marked(1, prefix(f"/{name}"), to=name), hostnames=[asked.host]))
                    made.append(service_rule(name, mark if name == "bad" else ""))
                folder.write("new.yaml", *made)

            save(kind)
            await until_answer(found.port, good, patience_s=FOLLOW_S)
            await found.until_told("HTTPRoute demo/bad", WORDS[kind])
            assert await forms(found.port, [bad]) != ["1"]
            # What is written for its neighbours from now on is served as if it were not there.
            many(found, 2, rules=True, one_hostname=one_hostname)
            await until_forms(found.port, requests, 2)
            assert "bad" not in await found.policies()
            assert await found.envoy.stat("cluster_manager.warming_clusters") == 0
            save("")
            await until_answer(found.port, bad, patience_s=FOLLOW_S)
            await found.told.until_valid("bad")
        assert traffic.failures == 0, traffic.bad


async def _cut(found: Scene, stack: AsyncExitStack) -> int:
    found.relay.cut()
    return 1


async def _another_envoy(found: Scene, stack: AsyncExitStack) -> int:
    await stack.enter_async_context(eager_envoy_at(found.relay.port, found.path / "another"))
    return 2


async def _another_life(found: Scene, stack: AsyncExitStack) -> int:
    await found.live()
    return 1


WAYS: dict[str, Callable[[Scene, AsyncExitStack], Awaitable[int]]] = {
    "the Envoy reconnects": _cut,
    "another Envoy of the Gateway": _another_envoy,
    "the control plane starts again on its log": _another_life,
}
"""What happens; it gives how many Envoys there are then."""


@KINDS
@pytest.mark.parametrize("way", WAYS)
async def test_a_cluster_that_is_held_outlives_streams_and_processes(
    folder: Folder, tmp_path: Path, way: str, kind: str
) -> None:
    requests = [request(number, one_hostname=False) for number in range(COUNT)]
    async with AsyncExitStack() as stack, scene(folder, tmp_path) as found:
        many(found, 1, rules=False, one_hostname=False)
        await until_forms(found.port, requests, 1)
        async with Traffic(found.port, *requests) as traffic:
            many(found, 2, rules=True, bad=kind, one_hostname=False)
            await until_forms(found.port, requests, 2)
            await found.told.until_partly_invalid(f"r{BAD}", "Fall Back", "")
            await found.in_step()
            streams = len(found.relay.streams)
            proxies = await WAYS[way](found, stack)
            await found.is_back(streams, proxies)
            assert found.rejections(streams) == []
            many(found, 3, rules=True, bad=kind, one_hostname=False)
            await until_forms(found.port, requests, 3)
            await found.in_step(proxies)
            assert found.rejections(streams) == []
            assert (await found.policies())[f"s{BAD}"] == "ROUND_ROBIN"
            assert await found.envoy.stat("cluster_manager.warming_clusters") == 0
        assert traffic.failures == 0, traffic.bad


AGAIN = "the control plane starts again"
ENDS = [(kind, what) for kind in MARKS for what in ("the stream breaks", AGAIN)]


@pytest.mark.parametrize(("kind", "what"), ENDS)
@pytest.mark.parametrize("when", ["clusters sent", "clusters sent, load assignments acknowledged"])
async def test_what_ends_before_a_bad_cluster_is_found(
    folder: Folder, tmp_path: Path, kind: str, when: str, what: str
) -> None:
    """A new bad cluster among changed ones: nobody knows yet which one it is, and the next stream begins as trap 8 says."""
    requests = [request(number, one_hostname=False) for number in range(COUNT)]
    async with scene(folder, tmp_path) as found:
        many(found, 1, rules=False, one_hostname=False)
        await until_forms(found.port, requests, 1)
        await found.in_step()
        async with Traffic(found.port, *requests) as traffic:
            stream = found.relay.last
            said = len(stream.responses), len(stream.requests)
            many(found, 2, rules=True, bad=kind, one_hostname=False)

            async def is_sent() -> bool:
                kinds = {label_of(response.type_url) for response in stream.responses[said[0] :]}
                answers = {label_of(asked.type_url) for asked in stream.requests[said[1] :]}
                return "Cluster" in kinds and (when == "clusters sent" or bool(answers))

            await until("the clusters are sent", is_sent, FOLLOW_S)
            if what == "the stream breaks":
                found.relay.cut()
            else:
                await found.live()
            await until_forms(found.port, requests, 2)
            message = await found.told.until_partly_invalid(f"r{BAD}", "Fall Back", "")
            assert message
            await found.in_step()
            assert (await found.policies())[f"s{BAD}"] == "ROUND_ROBIN"
            assert await found.envoy.stat("cluster_manager.warming_clusters") == 0
            many(found, 3, rules=True, one_hostname=False)
            await until_forms(found.port, requests, 3)
            await found.told.until_valid(f"r{BAD}")
            await found.in_step()
            assert (await found.policies())[f"s{BAD}"] == "LEAST_REQUEST"
        assert traffic.failures == 0, traffic.bad
