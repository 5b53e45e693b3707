"""Envoys that reject what our own checks let through, and what is said of it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from controlplane.log import Transaction, read_log
from controlplane.model.codec import EventCodec
from controlplane.model.events import SCHEMA_VERSION
from tests.conformance.manifests import Manifest, filter_, http_route, prefix, regex, rule
from tests.conftest import EnvoyProcess

from .client import Connection, Request
from .plane import Admin, eager_envoy_at, until

FOLLOW_S: Final = 15.0
COUNT, BAD = 50, 7
"""How many routes change in one save, and which of them is not taken."""
SHOP: Final = "shop.example.com"
LIMIT: Final = 100
"""Envoy's own default for the program size of a regular expression; the bootstrap that we print lifts it."""
TOO_LARGE: Final = "[0-9a-f]{1,60}"
"""What RE2 takes and an Envoy with that limit does not."""
WORDS: Final = "RE2 program size"
"""Of what Envoy says of it."""


def strict_envoy(xds: int, directory: Path, gateway: str = "demo/web") -> EnvoyProcess:
    """An Envoy with the limit, as one from another bootstrap than ours has it."""
    return eager_envoy_at(xds, directory, gateway, re2__max_program_size__error_level=LIMIT)


def marked(form: int, *matches: Manifest, to: Any = "v1") -> Manifest:
    """A rule whose answers say which form it has."""
    marking = filter_("ResponseHeaderModifier", set=[{"name": "x-form", "value": str(form)}])
    return rule(*matches, to=to, filters=[marking])


def route(number: int, form: int, *, one_hostname: bool, match: Manifest | None = None, to: str = "v1") -> Manifest:
    """One of the many; without a match it serves all below its path."""
    host = request(number, one_hostname=one_hostname).host
    made = marked(form, match or prefix(f"/r{number}"), to=to)
    return http_route(f"r{number}", made, hostnames=[host])


def routes(form: int, bad: str = "", *, one_hostname: bool, count: int = COUNT) -> list[Manifest]:
    """Many routes, all in this form; one matches ``bad`` below its path, if that is given."""
    return [
        route(
            number,
            form,
            one_hostname=one_hostname,
            match=regex(f"/r{number}/{bad}") if bad and number == BAD else None,
        )
        for number in range(count)
    ]


def request(number: int, *, one_hostname: bool) -> Request:
    """What such a route answers, in any of its forms."""
    return Request(SHOP if one_hostname else f"h{number}.example.com", f"/r{number}/abc")


async def forms(port: int, requests: Sequence[Request]) -> list[str]:
    """The form in which each was answered; the status instead, where it was not 200."""
    async with Connection(port) as connection:
        answers = [await connection.ask(asked) for asked in requests]
    return [(answer.header("x-form") or "200") if answer.status == 200 else str(answer.status) for answer in answers]


async def until_forms(
    port: int, requests: Sequence[Request], form: int, exceptions: Mapping[Request, str] | None = None
) -> None:
    """Returns once each is answered in this form; the exceptions in theirs."""
    wanted = [(exceptions or {}).get(asked, str(form)) for asked in requests]
    found: list[str] = []

    async def look() -> bool:
        nonlocal found
        found = await forms(port, requests)
        return found == wanted

    await until(f"all are answered in form {form}", look, FOLLOW_S, lambda: found)


class Told:
    """What a control plane says of rejections."""

    def __init__(self, admin: Admin) -> None:
        self.admin = admin

    async def conditions(self, key: str, listener: str | None = None) -> dict[str, tuple[str, str, str]]:
        """Status, reason and message by type: of an object, a route's one parent, or a Gateway's listener; none yet, at first."""
        status = (await self.admin.snapshot())["statuses"].get(key, {})
        if not status:
            return {}
        if listener is not None:
            (status,) = (entry for entry in status["listeners"] if entry["name"] == listener)
        elif "parents" in status:
            (status,) = status["parents"]
        return {c["type"]: (c["status"], c["reason"], c.get("message", "")) for c in status["conditions"]}

    async def until_partly_invalid(self, name: str, begin: str, words: str) -> str:
        """The message of a route, once it says with these words that something of it is not as it is written."""
        found: dict[str, tuple[str, str, str]] = {}

        async def look() -> bool:
            nonlocal found
            found = await self.conditions(f"HTTPRoute demo/{name}")
            return "PartiallyInvalid" in found and words in found["PartiallyInvalid"][2]

        await until(f"the status of {name} tells of {words}", look, FOLLOW_S, lambda: found)
        status, reason, message = found["PartiallyInvalid"]
        assert (status, reason) == ("True", "UnsupportedValue")
        assert message.startswith(begin), message
        assert found["Accepted"][:2] == ("True", "Accepted")
        return message

    async def until_valid(self, name: str) -> None:
        """Returns once a route has no such condition."""

        async def look() -> bool:
            return "PartiallyInvalid" not in await self.conditions(f"HTTPRoute demo/{name}")

        await until(f"the status of {name} tells of nothing", look, FOLLOW_S)

    async def partly_invalid(self) -> set[str]:
        """Names of the routes that have the condition."""
        statuses = (await self.admin.snapshot())["statuses"]
        return {
            key.rpartition("/")[2]
            for key, status in statuses.items()
            for parent in status.get("parents", ())
            if any(condition["type"] == "PartiallyInvalid" for condition in parent["conditions"])
        }

    async def rejected(self, type_: str, gateway: str = "demo/web") -> float:
        """How many resources of a type are not taken, by the metrics."""
        labels = frozenset({"gateway": gateway, "type": type_}.items())
        return (await self.admin.metrics()).get(("controlplane_rejected_resources", labels), 0)

    async def of_proxies(self) -> str:
        """``/debug/proxies``."""
        return await self.admin.text("/debug/proxies")


async def read_events(log_dir: Path, *kinds: type[Any]) -> list[Any]:
    """Events of these kinds in a log, in order; also while it is written."""

    def read() -> list[Any]:
        parts = read_log(log_dir, EventCodec(), schema_version=SCHEMA_VERSION)
        transactions = (part for part in parts if isinstance(part, Transaction))
        return [event for found in transactions for event in found.events if isinstance(event, kinds)]

    return await asyncio.to_thread(read)
