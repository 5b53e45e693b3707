"""Many saves, in all the ways in which files are saved, end in what the folder says when it is read anew."""

from __future__ import annotations

import asyncio
import random
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from controlplane.sources import read_manifests

SAVES = 100
FILES = ("a.yaml", "b.yaml", "sub/c.yaml", "sub/d.yml", "e.json")


class Saver:
    """Saves files at random, and knows which of them are broken."""

    def __init__(self, folder: Path, make, source_sleeps: Callable[[], Awaitable[object]], seed: int) -> None:
        self._folder = folder
        self._source_sleeps = source_sleeps
        self._make = make
        self._random = random.Random(seed)
        self._version = 0
        self._ways: list[Callable[[], Awaitable[None]]] = [
            self.write_in_pieces,
            self.write_in_pieces,
            self.replace,
            self.replace,
            self.rename,
            self.delete,
            self.swap_links,
            self.break_one,
        ]
        (folder / "volume").mkdir()
        self._swap(self._text("linked"))
        (folder / "volume" / "linked.yaml").symlink_to("..data/linked.yaml")

    async def save(self) -> None:
        await self._random.choice(self._ways)()

    async def pause(self) -> None:
        """After a change: not at all, or until the source has seen it and begun to wait for the file to be still."""
        if self._random.random() < 1 / 2:
            await self._source_sleeps()
        for _ in range(self._random.randrange(30)):
            await asyncio.sleep(0)

    async def write_in_pieces(self) -> None:
        path = self._path()
        content = self._text(path.stem).encode()
        cut = self._random.randrange(len(content))
        with path.open("wb", buffering=0) as file:
            file.write(content[:cut])
            await self.pause()
            file.write(content[cut:])

    async def replace(self) -> None:
        path = self._path()
        self._make.save(path, self._text(path.stem))
        await self.pause()

    async def rename(self) -> None:
        path, other = self._path(), self._path()
        if path.exists():
            path.rename(other)

    async def delete(self) -> None:
        self._path().unlink(missing_ok=True)

    async def swap_links(self) -> None:
        self._swap(self._text("linked"))
        await self.pause()

    async def break_one(self) -> None:
        text = self._random.choice(["a: [", "kind: Namespace\n", self._make.route("r", port="many"), ""])
        self._make.save(self._path(), text)
        await self.pause()

    def mend_all(self) -> None:
        for name in FILES:
            if (self._folder / name).exists():
                self._make.save(self._folder / name, self._text(Path(name).stem))

    def _path(self) -> Path:
        path = self._folder / self._random.choice(FILES)
        path.parent.mkdir(exist_ok=True)
        return path

    def _text(self, stem: str) -> str:
        """Objects of the file's own, so that two files define the same one only after a rename."""
        self._version += 1
        names = self._random.sample("abcdef", self._random.randrange(1, 6))
        return self._make.documents(
            *(self._make.namespace(f"{stem}-{name}", version=str(self._version)) for name in names),
            *(self._make.route(f"{stem}-{name}", path=f"/{self._version}") for name in names),
        )

    def _swap(self, text: str) -> None:
        volume = self._folder / "volume"
        before = (volume / "..data").readlink() if (volume / "..data").is_symlink() else None
        self._make.save(volume / f"..{self._version}" / "linked.yaml", text)
        (volume / "..data_tmp").symlink_to(f"..{self._version}")
        (volume / "..data_tmp").replace(volume / "..data")
        if before is not None:
            shutil.rmtree(volume / before)


@pytest.mark.asyncio
@pytest.mark.parametrize("seed", range(3))
async def test_random_saves(folder, log, running, make, fold, seed):
    asleep = asyncio.Condition()

    async def sleep(seconds: float) -> None:
        async with asleep:
            asleep.notify_all()
        await asyncio.sleep(seconds)

    async def source_sleeps() -> None:
        async with asleep:
            await asleep.wait()

    async with running(settle=0.01, sleep=sleep) as source:
        await log.next()
        saver = Saver(folder, make, source_sleeps, seed)
        for save in range(1, SAVES + 1):
            await saver.save()
            if save % 5 == 0:
                saver.mend_all()
                expected = fold(read_manifests([folder]).state)
                await log.until(lambda folded, expected=expected: folded == expected)
                assert source.statistics().objects == len(expected.objects)
    assert len(log.transactions) > SAVES / 5
