"""Certificates of three hostnames on one port, through everything that happens to certificates; and keys, which stay where they are."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import stat
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conformance.manifests import Manifest, gateway, http_route, https, manifest, rule

from .backends import serving_all
from .certificates import Pair, leaks, make_pair, tls_secret, trusting
from .client import Connection, Request, Traffic, ask
from .folder import Folder, backend_service, to_text
from .plane import COMMAND, Admin, Command, envoy_at, free_port, until, until_answer

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio]

ROTATED, BROKEN, STILL = "rotated.example.com", "broken.example.com", "still.example.com"
FOLLOW_S = 10


@dataclass(frozen=True)
class Scene:
    """A control plane and an Envoy with three HTTPS listeners on one port; each has a Secret of its name."""

    port: int
    folder: Folder
    command: Command
    backend_port: int

    def write_gateway(self, rotated: str = "rotated") -> None:
        """All but the Secrets; with the name of the one that ``rotated`` has."""
        secrets = {"rotated": rotated, "broken": "broken", "still": "still"}
        listeners = [https(name, f"{name}.example.com", secret, port=self.port) for name, secret in secrets.items()]
        route = http_route("route", rule())
        self.folder.write("all.yaml", gateway(*listeners), route, backend_service("v1", self.backend_port))

    def write_secret(self, name: str, certificate: Pair, key: Pair | None = None) -> None:
        """A Secret, in a file of its own."""
        self.folder.write(f"{name}.yaml", tls_secret(name, certificate, key))

    async def until_status(self, problem: str = "") -> None:
        """Returns once the status of the listener ``broken`` tells this problem of its certificate, or none."""
        wanted = ("False", "InvalidCertificateRef") if problem else ("True", "ResolvedRefs")

        async def is_said() -> bool:
            status, reason, message = await self.command.admin.condition("Gateway demo/web", "ResolvedRefs", "broken")
            return (status, reason) == wanted and problem in message

        await until(f"the status says {wanted} {problem}", is_said)

    async def until_certificate(self, host: str, pair: Pair) -> None:
        """Returns once a new handshake shows this certificate."""

        async def is_shown() -> bool:
            async with Connection(self.port, trusting(pair)) as connection:
                return (await connection.ask(Request(host))).status == 200 and connection.certificate == pair.der

        await until(f"{host} shows the certificate", is_shown, FOLLOW_S)

    async def status_of(self, host: str, *pairs: Pair) -> int:
        """What a new connection is answered; 0 where there is none."""
        return (await ask(self.port, Request(host), trusting(*pairs))).status


async def test_each_certificate_goes_its_own_way(folder: Folder, tmp_path: Path) -> None:
    pairs = [make_pair(ROTATED, kind=kind) for kind in ("ec", "rsa", "ec", "rsa")]
    still = make_pair(STILL)
    async with (
        serving_all("v1") as backends,
        Command(tmp_path / "home", "--files", str(folder.path)) as command,
        envoy_at(command.xds, tmp_path / "envoy"),
    ):
        scene = Scene(free_port(), folder, command, backends["v1"].port)
        scene.write_secret("rotated", pairs[0])
        scene.write_secret("still", still)
        scene.write_gateway()
        await scene.until_certificate(ROTATED, pairs[0])
        await scene.until_certificate(STILL, still)

        opened: set[int] = set()
        seen: set[bytes] = set()
        kept = Traffic(
            scene.port, Request(STILL), tls=trusting(still), clients=1,
            watch=lambda _, __, connection: opened.add(connection.opened),
        )  # fmt: skip
        shaking = Traffic(scene.port, Request(STILL), tls=trusting(still), clients=1, fresh=True)
        turning = Traffic(
            scene.port, Request(ROTATED), tls=trusting(*pairs), clients=1, fresh=True,
            watch=lambda _, __, connection: seen.add(connection.certificate),
        )  # fmt: skip
        async with kept, shaking, turning:
            await rotate(scene, pairs, turning, seen)
            await break_and_mend(scene, make_pair(BROKEN), make_pair(BROKEN))
            await asyncio.gather(*(traffic.answers.grow(20) for traffic in (kept, shaking, turning)))
        for traffic in (kept, shaking, turning):
            assert traffic.failures == 0, traffic.bad
        assert opened == {1}, "the connection of the hostname that nothing happened to was closed"


async def rotate(scene: Scene, pairs: list[Pair], traffic: Traffic, seen: set[bytes]) -> None:
    """One certificate after the other; each is all that new connections see once one has seen it."""
    for pair in pairs[1:]:
        await traffic.answers.grow(20)
        scene.write_secret("rotated", pair)
        await scene.until_certificate(ROTATED, pair)
        # The answer under way may still be of a connection that was opened before.
        await traffic.answers.grow(1)
        seen.clear()
        await traffic.answers.grow(20)
        assert seen == {pair.der}
    # Another Secret for the same hostname changes its filter chain, and nobody else's.
    scene.write_secret("rotated-2", pairs[0])
    scene.write_gateway(rotated="rotated-2")
    await scene.until_certificate(ROTATED, pairs[0])


async def break_and_mend(scene: Scene, good: Pair, other: Pair) -> None:
    """Missing, mismatched and mended; then mismatched and missing again, when there is a last good one to keep, and mended."""
    await scene.until_status("Secret demo/broken does not exist")
    assert await scene.status_of(BROKEN, good, other) == 0
    scene.write_secret("broken", good, key=other)
    await scene.until_status("does not belong to")
    assert await scene.status_of(BROKEN, good, other) == 0
    scene.write_secret("broken", good)
    await scene.until_certificate(BROKEN, good)
    await scene.until_status()
    scene.write_secret("broken", other, key=good)
    await scene.until_status("does not belong to")
    assert await scene.status_of(BROKEN, good) == 200
    scene.folder.remove("broken.yaml")
    await scene.until_status("does not exist")
    scene.write_secret("broken", other)
    await scene.until_certificate(BROKEN, other)
    await scene.until_status()


def plain(pair: Pair) -> dict[str, str]:
    return {"tls.crt": pair.certificate, "tls.key": pair.key}


def secret(name: str, **fields: object) -> Manifest:
    return manifest("Secret", "v1", name, "demo", **{"type": "kubernetes.io/tls", **fields})


def longest_word(pair: Pair) -> str:
    """Of the second half of a key's PEM, where it is private."""
    words: list[str] = re.findall("[A-Za-z0-9]+", pair.key[len(pair.key) // 2 :])
    return max(words, key=len)


def spoilt(pairs: list[Pair], word: str) -> dict[str, str]:
    """Files in which something is wrong; by name.

    Args:
        pairs: Each file has a private key of one of these in it.
        word: A piece of another, for places where YAML allows letters and digits only.
    """
    take = iter(pairs).__next__
    damaged = take()
    lines = damaged.key.splitlines()
    half = "\n".join([*lines[:2], lines[2][:-2], *lines[3:]])
    applied = tls_secret("annotated", take())
    applied["metadata"]["annotations"] = {"kubectl.kubernetes.io/last-applied-configuration": json.dumps(applied)}
    applied["data"] = {}
    swapped, both = take(), take()
    documents = {
        "mismatch": tls_secret("mismatch", take(), key=take()),
        "annotated": applied,
        "damaged": secret("damaged", stringData={"tls.crt": damaged.certificate, "tls.key": half}),
        "not-base64": secret("not-base64", data=plain(take())),
        "swapped": secret("swapped", stringData={"tls.crt": swapped.key, "tls.key": swapped.certificate}),
        "both-in-one": secret("both-in-one", stringData={"tls.crt": both.key + both.certificate, "tls.key": both.key}),
        "a-field-name": secret("a-field-name", stringData={take().key: "x", "tls.key": {take().key: 1}}),
        "a-list": secret("a-list", data=[take().key]),
        "a-text": secret("a-text", data=take().key, stringData=take().key),
        "misspelt": secret("misspelt", dta=plain(take()), **{take().key: 1}),
        "other-kind": manifest("Secrett", "v1", "other-kind", "demo", data=plain(take())),
        "other-version": secret("other-version", data=plain(take())) | {"apiVersion": "v2"},
        "opaque": secret("opaque", type="Opaque", stringData={"server.key": take().key}),
        "a-type": secret("a-type", type=take().key, stringData={"tls.key": take().key}),
        "a-name": secret(take().key, stringData={"tls.key": "x"}),
        "a-config-map": manifest("ConfigMap", "v1", "map", "demo", data={"key": take().key}),
    }
    texts = {name: to_text(document) for name, document in documents.items()}
    good = to_text(tls_secret("syntax", take()))
    texts["syntax-before"] = "data: [" + good
    texts["syntax-after"] = good + "  : : ["
    texts["syntax-inside"] = good.replace("  tls.key: ", "   tls.key: '")
    texts["twice"] = good + f"  tls.key: {base64.b64encode(take().key.encode()).decode()}\n"
    texts["tabs"] = to_text(secret("tabs", stringData={"tls.key": "KEY"})).replace(
        "KEY", "|\n\t" + take().key.replace("\n", "\n\t")
    )
    texts["bare"] = take().key
    texts["alias"] = f"kind: Secret\ndata: *{word}\n"
    texts["tag"] = f"kind: Secret\ndata: !{word} x\n"
    texts["directive"] = f"%{word} x\n"
    return texts


async def test_no_byte_of_a_key_is_found_anywhere(folder: Folder, tmp_path: Path) -> None:
    port = free_port()
    served = [make_pair(ROTATED), make_pair(ROTATED, kind="rsa"), make_pair(BROKEN)]
    hidden = [make_pair("hidden.example.com") for _ in range(40)]
    word = longest_word(make_pair("hidden.example.com", kind="rsa"))
    files = spoilt(hidden, word)
    names = ["rotated", "broken"]
    async with serving_all("v1") as backends, Command(tmp_path / "home", "--files", str(folder.path)) as command:
        listeners = [https(name, f"{name}.example.com", name, port=port) for name in names]
        folder.write(
            "all.yaml", gateway(*listeners), http_route("route", rule()), backend_service("v1", backends["v1"].port)
        )
        folder.write("secrets.yaml", tls_secret("rotated", served[0]), tls_secret("broken", served[2]))
        async with envoy_at(command.xds, tmp_path / "envoy") as envoy:
            await until_answer(port, Request(ROTATED), tls=trusting(served[0]))
            folder.write("secrets.yaml", tls_secret("rotated", served[1]), tls_secret("broken", served[2]))
            await until_answer(port, Request(ROTATED), tls=trusting(served[1]))
            for name, text in files.items():
                folder.write_text(f"spoilt/{name}.yaml", text)
            folder.write("last.yaml", backend_service("last"))
            await until("all of it is read", lambda: has_service(command.admin, "demo/last"))
            pages = await all_pages(command.admin)
            pages["Envoy's log"] = envoy.log_path.read_bytes()
        for arguments in (("log", "show", command.log_dir), ("replay", command.log_dir), ("translate", folder.path)):
            pages[str(arguments[0])] = await output_of(*map(str, arguments))
    pages["output"] = command.output.read_bytes()
    stored = command.log_dir / "secrets"
    for path in (tmp_path / "home").rglob("*"):
        if path.is_file() and stored not in path.parents:
            pages[str(path.relative_to(tmp_path))] = path.read_bytes()

    everybody = [*served, *hidden]
    assert {name: found for name, page in pages.items() if (found := leaks(page, everybody))} == {}
    assert [name for name, page in pages.items() if word.encode() in page] == []
    assert any(name.startswith("home/log/") for name in pages)
    # Looked for where they have to be, they are found.
    kept = [path for path in stored.iterdir() if path.is_file()]
    assert {number for path in kept for number in leaks(path.read_bytes(), served)} == {0, 1, 2}
    assert leaks(b"".join(text.encode() for text in files.values()), everybody)
    assert {stat.S_IMODE(path.stat().st_mode) for path in kept} == {0o600}
    assert stat.S_IMODE(stored.stat().st_mode) == 0o700


async def has_service(admin: Admin, key: str) -> bool:
    rows = (await admin.json("/debug/collections?name=services"))["rows"]
    return any(f"{row['metadata']['namespace']}/{row['metadata']['name']}" == key for row in rows)


async def all_pages(admin: Admin) -> dict[str, bytes]:
    """Everything that the admin server shows."""
    paths = [*(await admin.text("/")).split(), "/readyz?verbose", "/debug/snapshot?o=yaml", "/nothing"]
    paths += [
        f"/debug/collections?name={entry['name']}" for entry in (await admin.json("/debug/collections"))["collections"]
    ]
    for gateway_key, types in (await admin.snapshot())["gateways"].items():
        for url, resources in types.items():
            paths += [f"/debug/explain?gateway={gateway_key}&type={url}&name={name}" for name in resources]
    pages = {}
    for path in paths:
        answer = await admin.get(path)
        assert answer.status in (200, 404) or path == "/debug/explain", (path, answer, answer.body)
        pages[path] = answer.body
    return pages


async def output_of(*arguments: str) -> bytes:
    """What a command prints."""
    process = await asyncio.create_subprocess_exec(
        str(COMMAND), *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await process.communicate()
    assert output
    return output
