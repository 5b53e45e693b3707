"""References that hide in a filter, a policy, a label or a missing object: each is moved under traffic, and the answers follow.

Beside each a service is asked to which nothing happens, on one connection: it is not to notice anything.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.conformance.manifests import (
    Manifest,
    backend,
    filter_,
    gateway,
    http_route,
    listener,
    manifest,
    reference_grant,
    rule,
)

from .edges import SHOP, scene, stops, undisturbed
from .folder import Folder, backend_service
from .istio import NETWORKING, at, hostname, namespace, pod, service_entry

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio]

ENTRY = {"group": "networking.istio.io", "kind": "ServiceEntry", "name": "shop"}


async def test_a_mirrors_service_goes_comes_and_changes_its_port(folder: Folder, tmp_path: Path) -> None:
    """The Service that copies go to: deleted, created, its port renumbered and renamed. No answer fails of those that are copied."""

    def mirroring(port: int) -> list[Manifest]:
        return [filter_("RequestMirror", backendRef=backend("mirror", port))]

    async with scene(folder, tmp_path, "main", "mirror") as s:
        copies, pod_port = s.backends["mirror"].requests, s.backends["mirror"].port
        folder.write("main.yaml", backend_service("main", s.backends["main"].port))
        s.route("main", filters=mirroring(8080))
        await s.answers()
        async with undisturbed(s.port, SHOP) as traffic:
            await s.says("BackendNotFound", "Service demo/mirror does not exist")
            for _ in range(3):
                folder.write("mirror.yaml", backend_service("mirror", pod_port))
                await copies.grow(5)
                await s.says("ResolvedRefs")
                folder.remove("mirror.yaml")
                await stops(copies, traffic)
                await s.says("BackendNotFound", "Service demo/mirror does not exist")

            service, *slices = backend_service("mirror", pod_port)
            service["spec"]["ports"] = [{"port": 9090}]
            folder.write("mirror.yaml", service, slices)
            await s.says("BackendNotFound", "its ports are 9090")
            await stops(copies, traffic)
            s.route("main", filters=mirroring(9090))
            await copies.grow(5)
            await s.says("ResolvedRefs")

            service["spec"]["ports"] = [{"port": 9090, "name": "web"}, {"port": 9091, "name": "admin"}]
            folder.write("mirror.yaml", service, slices)
            await stops(copies, traffic)
            slices[0]["ports"][0]["name"] = "web"
            folder.write("mirror.yaml", service, slices)
            await copies.grow(5)


async def test_a_service_goes_comes_and_changes_its_type(folder: Folder, tmp_path: Path) -> None:
    async with scene(folder, tmp_path, "shop") as s:
        s.route("shop")
        await s.answers(500)
        service, *slices = backend_service("shop", s.backends["shop"].port)
        elsewhere = {**service, "spec": {"type": "ExternalName", "externalName": "example.com", **service["spec"]}}
        for _ in range(2):
            folder.write("shop.yaml", service, slices)
            await s.answers()
            folder.write("shop.yaml", elsewhere, slices)
            await s.answers(500)
            await s.says("InvalidKind", "ExternalName")
            folder.write("shop.yaml", service)
            await s.answers(503)
            await s.says("ResolvedRefs")
            folder.write("shop.yaml", slices)
            await s.answers(500)
            await s.says("BackendNotFound")


async def test_a_host_that_comes_after_its_route(folder: Folder, tmp_path: Path) -> None:
    """The ServiceEntry of a Hostname: created, exported to some and to others, its port changed, an older one before it."""

    def entry(name: str, created: str, number: int = 80, exported: str = "*") -> Manifest:
        ports = [{"number": number, "name": "http", "protocol": "HTTP"}]
        endpoint = at(s.backends[name].port)
        metadata = {"creationTimestamp": created}
        fields: dict[str, Any] = {"ports": ports, "exportTo": [exported], "metadata": metadata}
        return service_entry(name, "shop.mesh", [endpoint], "other", **fields)

    young, old = "2026-02-01T00:00:00Z", "2026-01-01T00:00:00Z"
    async with scene(folder, tmp_path, "young", "old") as s:
        s.route(hostname("shop.mesh"))
        await s.answers(500)
        await s.says("BackendNotFound", "create a ServiceEntry for it")
        folder.write("young.yaml", entry("young", young))
        await s.answers(200, "young")
        folder.write("old.yaml", entry("old", old))
        await s.answer("old")
        for exported, answering in ((".", "young"), ("demo", "old"), ("elsewhere", "young"), ("*", "old")):
            folder.write("old.yaml", entry("old", old, exported=exported))
            await s.answer(answering)
        folder.write("old.yaml", entry("old", old, number=81))
        await s.answer("young")
        folder.remove("young.yaml")
        await s.answers(500)
        await s.says("BackendNotFound", "its ports are 81")
        folder.write("old.yaml", entry("old", old, exported="."))
        await s.says("BackendNotFound", "which is not exported to namespace demo")
        folder.write("old.yaml", entry("old", old))
        await s.answers(200, "old")
        await s.says("ResolvedRefs")


async def test_a_service_entry_of_another_namespace_and_its_grant(folder: Folder, tmp_path: Path) -> None:
    grant = reference_grant(
        "g",
        "other",
        [{"kind": "HTTPRoute", "namespace": "demo"}],
        [{"group": "networking.istio.io", "kind": "ServiceEntry"}],
    )
    async with scene(folder, tmp_path, "shop") as s:
        s.route({**ENTRY, "namespace": "other", "port": 80})
        await s.answers(500)
        await s.says("RefNotPermitted")
        folder.write("grant.yaml", grant)
        await s.says("BackendNotFound", "ServiceEntry other/shop does not exist")
        entry = service_entry("shop", "shop.mesh", [at(s.backends["shop"].port)], "other")
        for _ in range(2):
            folder.write("entry.yaml", entry)
            await s.answers()
            folder.remove("grant.yaml")
            await s.answers(500)
            await s.says("RefNotPermitted")
            folder.write("grant.yaml", grant)
            await s.answers()
            folder.remove("entry.yaml")
            await s.answers(500)
            await s.says("BackendNotFound")


async def test_workloads_that_a_service_entry_selects(folder: Folder, tmp_path: Path) -> None:
    """A Pod: not ready, ready, about to go, another label. A WorkloadEntry: unhealthy, healthy, gone. While one is left, none fails."""
    of = {"app": "shop"}
    async with scene(folder, tmp_path, "pod", "vm") as s:
        ports = [{"number": 80, "name": "http", "protocol": "HTTP", "targetPort": s.backends["pod"].port}]
        selecting = service_entry("shop", "shop.mesh", ports=ports, workloadSelector={"labels": of})
        del selecting["spec"]["endpoints"]
        ready = pod("shop-0", "", of, "127.0.0.1")
        unready = {**ready, "status": {**ready["status"], "conditions": [{"type": "Ready", "status": "False"}]}}
        going = {**ready, "metadata": {**ready["metadata"], "deletionTimestamp": "2026-01-01T00:00:00Z"}}
        stranger = pod("shop-0", "", {"app": "other"}, "127.0.0.1")

        def machine(health: str | None = None, **labels: str) -> Manifest:
            spec = {"address": "127.0.0.1", "ports": {"http": s.backends["vm"].port}}
            status = {"conditions": [{"type": "Healthy", "status": health}] if health else []}
            return manifest(
                "WorkloadEntry", NETWORKING, "vm", metadata={"labels": of | labels}, spec=spec, status=status
            )

        s.route({**ENTRY, "port": 80})
        folder.write("entry.yaml", selecting)
        await s.answers(503)
        folder.write("pod.yaml", ready)
        await s.answers()
        async with undisturbed(s.port, SHOP):
            folder.write("vm.yaml", machine())
            for other in (unready, going, stranger):
                await s.answer("pod", "vm")
                folder.write("pod.yaml", other)
                await s.answer("vm")
                folder.write("pod.yaml", ready)
            await s.answer("pod", "vm")
            for changed in (machine("False"), machine(app="other")):
                folder.write("vm.yaml", changed)
                await s.answer("pod")
                folder.write("vm.yaml", machine("True"))
                await s.answer("pod", "vm")
        folder.write("vm.yaml", machine("False"))
        folder.write("pod.yaml", unready)
        await s.answers(503)
        folder.remove("pod.yaml")
        folder.write("vm.yaml", machine("True"))
        await s.answer("vm")
        folder.remove("vm.yaml")
        await s.answers(503)


async def test_a_route_whose_namespace_is_labelled(folder: Folder, tmp_path: Path) -> None:
    """A listener that admits namespaces by their labels: given, taken, with the Namespace itself, and with what the listener asks for."""

    def web(wanted: str) -> list[Manifest]:
        selector = {"from": "Selector", "selector": {"matchLabels": {"team": wanted}}}
        entrance = listener("shop", s.port, "shop.example.com", allowedRoutes={"namespaces": selector})
        return [gateway(listener(port=s.port), entrance), *others]

    async with scene(folder, tmp_path, "shop") as s:
        _, *others = s.still
        parent = {"name": "web", "namespace": "demo", "sectionName": "shop"}
        folder.write("route.yaml", http_route("shop", rule(to="shop"), parents=[parent], namespace="team"))
        folder.write("shop.yaml", backend_service("shop", s.backends["shop"].port, namespace="team"))
        folder.write("still.yaml", web("a"))
        for _ in range(2):
            await s.answers(404)
            folder.write("namespace.yaml", namespace("team", {"team": "a"}))
            await s.answers()
            folder.write("namespace.yaml", namespace("team", {"team": "b"}))
            await s.answers(404)
            folder.write("still.yaml", web("b"))
            await s.answers()
            folder.remove("namespace.yaml")
            await s.answers(404)
            folder.write("still.yaml", web("a"))
