"""A folder, a log that folds what is appended to it, and manifests to put into files."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from controlplane.model.events import (
    AnyEvent,
    ObjectAccepted,
    ObjectApplied,
    ObjectDeleted,
    ObjectRejected,
    SourceAvailable,
    SourceSynced,
    SourceUnavailable,
)
from controlplane.model.references import ObjectReference
from controlplane.sources import FilesSource
from controlplane.sources.differences import State

PATIENCE = 30.0
"""Seconds that a test gives a transaction to come; it comes within a tenth of one."""


class Fold:
    """What events add up to, as a reducer would have it."""

    def __init__(self, state: State | None = None) -> None:
        state = state or State()
        self.objects: dict[ObjectReference, Any] = {key: self._row(event) for key, event in state.objects.items()}
        self.rejections = {key: (event.errors, event.origin) for key, event in state.rejections.items()}
        self.parts = dict(state.parts)
        self.synced: tuple[str, ...] = ()

    @staticmethod
    def _row(event: ObjectApplied) -> Any:
        return event.object, event.warnings, event.unsupported

    def apply(self, events: Sequence[AnyEvent]) -> None:
        for event in events:
            match event:
                case ObjectApplied(object=o):
                    reference = ObjectReference(o.kind, o.metadata.namespace, o.metadata.name)
                    self.objects[reference] = self._row(event)
                    self.rejections.pop(reference, None)
                case ObjectDeleted(reference=reference):
                    # A deletion of nothing would be an event too many.
                    assert reference in self.objects or reference in self.rejections
                    self.objects.pop(reference, None)
                    self.rejections.pop(reference, None)
                case ObjectRejected(reference=reference, errors=errors, origin=origin):
                    assert errors
                    self.rejections[reference] = errors, origin
                case ObjectAccepted(reference=reference):
                    del self.rejections[reference]
                case SourceUnavailable(part=part, reason=reason):
                    self.parts[part] = reason
                case SourceAvailable(part=part):
                    del self.parts[part]
                case SourceSynced(kinds=kinds):
                    assert not self.synced
                    self.synced = kinds
                case _:
                    raise AssertionError(f"a source does not say {event!r}")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Fold) and (self.objects, self.rejections, self.parts) == (
            other.objects,
            other.rejections,
            other.parts,
        )

    __hash__ = None  # type: ignore[assignment]


class RecordingLog:
    """The way into a log that keeps its transactions for the test and their sum."""

    def __init__(self) -> None:
        self.fold = Fold()
        self.transactions: list[tuple[AnyEvent, ...]] = []
        self.task: asyncio.Task[None] | None = None
        self._unseen: asyncio.Queue[tuple[AnyEvent, ...]] = asyncio.Queue()

    async def __call__(self, events: Sequence[AnyEvent]) -> None:
        assert events, "an empty transaction was appended"
        self.transactions.append(tuple(events))
        self.fold.apply(events)
        self._unseen.put_nowait(tuple(events))

    async def next(self) -> list[AnyEvent]:
        """The next transaction that the test has not seen."""
        assert self.task is not None
        waiting = asyncio.ensure_future(self._unseen.get())
        done, _ = await asyncio.wait({waiting, self.task}, timeout=PATIENCE, return_when=asyncio.FIRST_COMPLETED)
        if waiting in done:
            return list(waiting.result())
        waiting.cancel()
        if self.task in done:
            self.task.result()
        raise AssertionError(f"no transaction within {PATIENCE} s")

    async def until(self, condition: Callable[[Fold], bool]) -> None:
        """Waits until what was appended fulfils the condition."""
        while not condition(self.fold):
            await self.next()


@pytest.fixture(scope="session")
def fold() -> type[Fold]:
    return Fold


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "manifests"
    path.mkdir()
    return path


@pytest.fixture
def log() -> RecordingLog:
    return RecordingLog()


@pytest.fixture
def keys() -> list[bytes]:
    """The private keys that a source handed over."""
    return []


@pytest.fixture
def running(
    folder: Path, log: RecordingLog, keys: list[bytes]
) -> Callable[..., AbstractAsyncContextManager[FilesSource]]:
    """Runs a source of ``folder`` that appends to ``log``."""

    def put_private_key(key: bytes) -> str:
        keys.append(key)
        return "digest"

    @asynccontextmanager
    async def run(
        known: Any = (), rejected: Any = (), *, path: Path = folder, append: Any = None, **options: Any
    ) -> AsyncIterator[FilesSource]:
        options.setdefault("put_private_key", put_private_key)
        source = FilesSource(path, append or log, dict(known), rejected, **options)
        log.task = asyncio.create_task(source.run())
        try:
            yield source
        finally:
            log.task.cancel()
            await asyncio.wait({log.task})

    return run


@pytest.fixture
def sleeps() -> Callable[[Callable[[int], None]], Callable[[float], Awaitable[None]]]:
    """A ``sleep`` that takes no time, in which something happens: it is called with the number of the sleep, from 1."""

    def make(happens: Callable[[int], None]) -> Callable[[float], Awaitable[None]]:
        count = 0

        async def sleep(seconds: float) -> None:
            nonlocal count
            count += 1
            happens(count)
            await asyncio.sleep(0)

        return sleep

    return make


def _save(path: Path, text: str | bytes) -> None:
    """As a careful editor saves: the file is the old one or the new one at every moment."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.draft")
    draft.write_bytes(text.encode() if isinstance(text, str) else text)
    draft.replace(path)


def _namespace(name: str, **labels: str) -> str:
    text = "".join(f'\n    {label}: "{value}"' for label, value in sorted(labels.items()))
    return f"apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {name}\n" + (f"  labels:{text}\n" if labels else "")


def _route(name: str, path: str = "/", port: object = 80) -> str:
    return f"""apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata:
  name: {name}
spec:
  rules:
    - matches:
        - path: {{value: {path}}}
      backendRefs:
        - name: backend
          port: {port}
"""


@pytest.fixture
def make() -> SimpleNamespace:
    """Makes files (``save``) and manifests of 4 (``namespace``) and 11 lines (``route``); ``documents`` joins them."""
    return SimpleNamespace(
        save=_save, namespace=_namespace, route=_route, documents=lambda *manifests: "---\n".join(manifests)
    )


@pytest.fixture
def said() -> Callable[[Sequence[AnyEvent]], list[str]]:
    """Events as short texts: ``applied Namespace a``."""

    def say(event: AnyEvent) -> str:
        match event:
            case ObjectApplied(object=o):
                return f"applied {o.kind} {o.key}"
            case ObjectDeleted(reference=reference):
                return f"deleted {reference}"
            case ObjectRejected(reference=reference, origin=origin):
                return f"rejected {reference} at {origin}"
            case ObjectAccepted(reference=reference):
                return f"accepted {reference}"
            case SourceUnavailable(part=part):
                return f"unavailable {part}"
            case SourceAvailable(part=part):
                return f"available {part}"
            case SourceSynced():
                return "synced"
        raise AssertionError(event)

    return lambda events: [say(event) for event in events]


@pytest.fixture(scope="session")
def tls_secret() -> Callable[[str], SimpleNamespace]:
    """A Secret with a fresh key pair: ``manifest`` and ``key`` (PKCS #8 PEM)."""

    def make_secret(name: str) -> SimpleNamespace:
        private = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{name}.example.com")])
        certificate = (
            x509.CertificateBuilder(subject, subject, private.public_key(), 1)
            .not_valid_before(datetime(2024, 1, 1, tzinfo=UTC))
            .not_valid_after(datetime(2124, 1, 1, tzinfo=UTC))
            .sign(private, SHA256())
        )
        key = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        manifest = (
            f"apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}}}\ntype: kubernetes.io/tls\ndata:\n"
            f"  tls.crt: {b64encode(certificate.public_bytes(Encoding.PEM)).decode()}\n"
            f"  tls.key: {b64encode(key).decode()}\n"
        )
        return SimpleNamespace(manifest=manifest, key=key)

    return make_secret
