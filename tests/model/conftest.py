"""Random documents, each a function of its shape and of one number."""

from collections.abc import Iterator
from random import Random
from typing import Any

import pytest

from controlplane.model.shapes import Choice, Either, Entries, Flag, Items, Parts, Shape, Text, Whole

EXAMPLES = (
    "/", "0s", "10s", "1h30m", "99999ms", "2024-05-31T12:00:00Z", "A", "GET", "HTTP", "Hostname", "IPAddress", "Kind",
    "X-Header", "a", "a-b", "a.b", "example.com/a", "example.com", "*.example.com", "", "a_B.c", "gateway.networking.k8s.io",
    "192.0.2.1", "2001:db8::1",
)  # fmt: skip
"""Texts that fit one or the other pattern."""
JUNK: tuple[Any, ...] = (
    None, True, False, -1, 0, 1, 65535, 65536, 2**31, 2**63, 1.0, 0.5, "A B", "é", "\ud800", "a\n", "a" * 300, "a/b/c", "-",
    "1.5s", [], {}, [{}], {"name": "a"}, {1: "a"}, {"\ud800": "a"}, ["a"], [1, None], ["a"] * 70, *EXAMPLES,
)  # fmt: skip


class Documents:
    """Makes documents; the same ones for the same seed."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)

    def fitting(self, shape: Shape, depth: int = 0) -> Any:
        """A document that fits the shape."""
        random = self.random
        match shape:
            case Parts(fields=fields, required=required):
                share = 0.9 if depth < 2 else 0.4
                return {
                    name: self.fitting(part, depth + 1)
                    for name, part in fields.items()
                    if name in required or random.random() < share
                }
            case Items(item=item, min_length=low, max_length=high):
                length = min(low + random.choice((0, 1, 1, 2, 3)), 10**6 if high is None else high)
                return [self.fitting(item, depth + 1) for _ in range(length)]
            case Entries(value=value):
                return {random.choice(EXAMPLES): self.fitting(value) for _ in range(random.choice((0, 1, 2)))}
            case Text():
                return random.choice(self._texts(shape))
            case Whole(minimum=low, maximum=high):
                low, high = -5 if low is None else low, 2**40 if high is None else high
                return random.choice((low, high, random.randint(low, high)))
            case Choice(values=values):
                return random.choice(values)
            case Flag():
                return random.random() < 0.5
            case Either(options=options):
                return self.fitting(random.choice(options))
        raise AssertionError(shape)

    def _texts(self, shape: Text) -> list[str]:
        longest = 10**6 if shape.max_length is None else shape.max_length
        texts = [text for text in EXAMPLES if shape.min_length <= len(text) <= longest]
        return [text for text in texts if shape.accepts(text)]

    def damaged(self, shape: Shape) -> Any:
        """A document that may not fit any more: some values replaced, fields removed or added."""
        document = self.fitting(shape)
        for _ in range(self.random.choice((0, 1, 1, 2, 3))):
            self._damage(document)
        return document

    def _damage(self, document: Any) -> None:
        random = self.random
        found = list(places(document))
        if not found:
            return
        owner, place = random.choice(found)
        match random.choice(("replace", "replace", "remove", "add")):
            case "replace":
                owner[place] = self._junk()
            case "remove":
                del owner[place]
            case "add" if isinstance(owner, dict):
                owner[random.choice(("spec", "name", "port", "whatever", 1, "\ud800"))] = self._junk()
            case "add":
                owner.append(self._junk())

    def _junk(self) -> Any:
        junk = self.random.choice(JUNK)
        return type(junk)(junk) if isinstance(junk, list | dict) else junk


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every name or position in the document, with the container that it is in."""
    match value:
        case dict():
            for name, item in value.items():
                yield value, name
                yield from places(item)
        case list():
            for position, item in enumerate(value):
                yield value, position
                yield from places(item)


@pytest.fixture(scope="session")
def documents() -> type[Documents]:
    return Documents
