"""The load itself: it sees what must not happen, and says when."""

from __future__ import annotations

import pytest

from . import load as load_module
from .client import Request
from .load import loading
from .plane import until

pytestmark = pytest.mark.asyncio

ASKED = Request("example.com", headers=(("x-mark", "m"),))


async def nothing() -> str:
    return "what is served"


async def test_a_backend_that_goes_is_seen_and_told_with_its_edit() -> None:
    async with loading(nothing) as load:
        ports = await load.serve("a")
        await load.start(ports["a"], ASKED, connections=4)
        await load.converge(["a/m"])
        load.editing("the backend is closed")
        assert await load.close("a") == 4

        async def all_are_told() -> bool:
            return len(load.failures) >= 4

        await until("it is seen", all_are_told)
        with pytest.raises(
            AssertionError,
            match=r"(?s)times 0 - .*in edit 1 \(the backend is closed\), the first after .* ms.*what is served",
        ):
            await load.finish()
        assert load.totals["failures"] >= 4


async def test_a_token_that_is_not_allowed_is_a_failure() -> None:
    async with loading(nothing) as load:
        ports = await load.serve("a")
        await load.start(ports["a"], ASKED, connections=2, pause_s=0.001)
        await load.converge(["a/m", "b/m"])
        await load.allow(["b/m"])
        await load.converge(["a/m"])
        with pytest.raises(AssertionError, match="times 200 - a/m before any edit"):
            await load.finish()


async def test_what_never_comes_is_waited_for_with_patience_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load_module, "PATIENCE_S", 0.5)
    async with loading(nothing) as load:
        ports = await load.serve("a")
        await load.start(ports["a"], ASKED, connections=1, pause_s=0.01)
        with pytest.raises(AssertionError, match="not all clients got"):
            await load.to("b")
