"""Load from a process of its own, and a report that says of each failure what was edited when it happened."""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

from tests.conftest import PATIENCE_S

from .certificates import Pair
from .client import Request

WORKER = Path(__file__).with_name("load_worker.py")
STALLED_S = 5.0
"""A request that has waited so long for its answer in the end has failed."""

_FLAGS = {
    "no healthy upstream": "UH",
    "connection failure": "UF",
    "connection termination": "UC",
    "connection timeout": "UF",
    "remote reset": "UR",
    "overflow": "UO",
    "upstream request timeout": "UT",
}
"""Envoy's response flags, by what it says in the body. Its access log, which would tell them, is no part of what we serve."""


@dataclass(frozen=True)
class Failure:
    """A request that was not answered with 200 by a backend that may."""

    group: int
    client: int
    request: str
    status: int
    """0 for none; 200 for a wrong backend."""
    at: float
    began: float
    """When it was sent, of the monotonic clock."""
    why: str = ""
    token: str = ""
    """``backend/mark``; empty where Envoy answered itself."""
    body: str = ""
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def flags(self) -> str:
        """Envoy's response flags, as far as the answer gives them away."""
        if self.status in (0, 200):
            return "-"
        if self.status == 404 and not self.body:
            return "NR"
        return next((flag for text, flag in _FLAGS.items() if text in self.body), "" if self.body else "NC")


class Load:
    """The process, its backends and its clients. Made by ``loading``."""

    def __init__(self, process: asyncio.subprocess.Process, look: Callable[[], Awaitable[object]]) -> None:
        self._process = process
        self._look = look
        self._ids = 0
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._edits: list[tuple[float, str]] = []
        self._requests: dict[int, int] = {}
        self._reader = asyncio.create_task(self._read())
        self._looking: asyncio.Task[object] | None = None
        self.failures: list[Failure] = []
        """The first of each group."""
        self.totals: Counter[str] = Counter()
        """Of groups that were stopped: ``requests``, ``failures``, ``opened``, and answers by token."""

    def editing(self, what: str) -> None:
        """The edit that is under way from now on."""
        self._edits.append((monotonic(), what))

    async def serve(self, *names: str) -> dict[str, int]:
        """Opens backends of these names; their ports."""
        return {name: (await self._do("serve", name=name))["port"] for name in names}

    async def close(self, name: str) -> int:
        """Ends a backend, as a pod ends; how many connections it had."""
        count: int = (await self._do("close", name=name))["connections"]
        return count

    async def start(
        self, port: int, *requests: Request, connections: int = 16, pause_s: float = 0.0, fresh: bool = False,
        tls: Sequence[Pair] = (),
    ) -> int:  # fmt: skip
        """Starts clients that ask these in turn; the number of their group.

        Args:
            port: Of 127.0.0.1.
            requests: Asked in turn.
            connections: How many ask at once.
            pause_s: Between an answer and the next request.
            fresh: Whether each request has a connection of its own.
            tls: Certificates to trust; the server's name is the first request's host.
        """
        group: int = (
            await self._do(
                "start", port=port, requests=[request.encode().decode() for request in requests], connections=connections,
                pause=pause_s, fresh=fresh, trust="".join(pair.certificate for pair in tls),
                server_name=requests[0].host if tls else None,
            )
        )["group"]  # fmt: skip
        self._requests[group] = len(requests)
        return group

    async def allow(self, *tokens: Iterable[str] | None, group: int = 0) -> None:
        """From now on any other token is a failure; a set for each request, or one for all."""
        spread = tokens * self._requests[group] if len(tokens) == 1 else tokens
        await self._do("allow", group=group, tokens=[None if each is None else sorted(each) for each in spread])

    async def converge(self, *tokens: Iterable[str], group: int = 0) -> None:
        """Returns once each client has one of these as its newest answer; a set for each request, or one for all."""
        spread = tokens * self._requests[group] if len(tokens) == 1 else tokens
        wanted = [sorted(each) for each in spread]
        try:
            await self._do("converge", group=group, wanted=wanted)
        except TimeoutError:
            raise AssertionError(f"not all clients got {wanted}\n{await self._report()}") from None

    async def to(self, *names: str, group: int = 0) -> None:
        """Returns once every answer comes from these backends, without a mark; from then on any other is a failure."""
        tokens = [f"{name}/" for name in names]
        await self.converge(tokens, group=group)
        await self.allow(tokens, group=group)

    async def stop(self, group: int = 0) -> dict[str, Any]:
        """Stops the clients of a group.

        Raises:
            AssertionError: A request has failed; the message is the report.
        """
        self._requests.pop(group)
        report: dict[str, Any] = await self._do("stop", group=group)
        statuses = {int(status): count for status, count in report["statuses"].items()}
        self.totals.update(report["tokens"])
        self.totals.update(requests=sum(statuses.values()), failures=report["failures"], opened=report["opened"])
        assert not report["failures"], f"{report}\n{await self._report()}"
        assert report["oldest"] < STALLED_S, f"a request has no answer for {report['oldest']} s\n{await self._report()}"
        return report

    async def finish(self) -> None:
        """Stops all that is left.

        Raises:
            AssertionError: As for ``stop``, of any group.
        """
        problems = []
        for group in list(self._requests):
            try:
                await self.stop(group)
            except AssertionError as error:
                problems.append(str(error))
        assert not problems, "\n".join(problems)

    async def _do(self, what: str, **arguments: Any) -> dict[str, Any]:
        self._ids += 1
        done: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._waiting[self._ids] = done
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": what, "id": self._ids, **arguments}).encode() + b"\n")
        async with asyncio.timeout(PATIENCE_S):
            return await done

    async def _read(self) -> None:
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            told = json.loads(line)
            if "failure" in told:
                self.failures.append(Failure(told.pop("failure"), **told))
                # What everybody held when it happened: in the end it may have mended itself.
                self._looking = self._looking or asyncio.create_task(_shown(self._look))
            elif (waiting := self._waiting.pop(told.pop("done"))) and not waiting.done():
                waiting.set_result(told)
        for waiting in self._waiting.values():
            waiting.set_exception(RuntimeError("the load's process has ended"))

    async def _report(self) -> str:
        kinds: dict[tuple[str, int, str, str], list[Failure]] = {}
        for each in self.failures:
            kinds.setdefault((self._edit_at(each), each.status, each.flags, each.token), []).append(each)
        lines = []
        for (edit, status, flags, token), failures in kinds.items():
            first = failures[0]
            lines.append(
                f"{len(failures)} times {status} {flags} {token} {edit}, the first {self._after(first)}: {first}"
            )
        if self._looking is not None:
            lines.append(f"at the first failure: {await self._looking}")
        return "\n".join([*lines, f"now: {await _shown(self._look)}"])

    def _edits_before(self, failure: Failure) -> list[tuple[float, str]]:
        return [edit for edit in self._edits if edit[0] <= failure.at]

    def _edit_at(self, failure: Failure) -> str:
        before = self._edits_before(failure)
        return f"in edit {len(before)} ({before[-1][1]})" if before else "before any edit"

    def _after(self, failure: Failure) -> str:
        before = self._edits_before(failure)
        return f"after {1000 * (failure.at - before[-1][0]):.0f} ms" if before else "of all"

    async def end(self) -> None:
        """Ends the process."""
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()
        for task in (self._reader, self._looking):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)


async def _shown(look: Callable[[], Awaitable[object]]) -> str:
    try:
        return json.dumps(await look(), default=str)
    except Exception as error:  # noqa: BLE001  (what is only told beside a failure must not hide it)
        return repr(error)


@asynccontextmanager
async def loading(look: Callable[[], Awaitable[object]]) -> AsyncIterator[Load]:
    """The process, alive while the block lasts.

    Args:
        look: Asked at the first failure and in the end for what belongs in the report.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(WORKER), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=2**24
    )
    load = Load(process, look)
    try:
        yield load
    finally:
        await load.end()
