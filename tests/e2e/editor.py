"""Somebody who edits a folder at random, and now and then breaks something."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any, Final

from controlplane.runtime.document import snapshot
from controlplane.runtime.offline import translate_paths
from tests.conformance.manifests import Manifest

from .folder import Folder, to_text
from .world import World

_AGAIN: Final = "z/again.yaml"
"""Sorts after every other file, so that the definition in the other one is the one that counts."""


def _set(document: Manifest, *path: str | int) -> None:
    """Puts the last item of the path at the end of the rest of it."""
    *parents, last, value = path
    place: Any = document
    for step in parents:
        place = place[step]
    place[last] = value


_MISTAKES: Final[dict[str, Callable[[Manifest], None]]] = {
    "EndpointSlice": lambda document: _set(document, "addressType", "IPv5"),
    "Gateway": lambda document: _set(document, "spec", "listeners", 0, "port", "eighty"),
    "GatewayClass": lambda document: _set(document, "spec", "controllerName", 5),
    "HTTPRoute": lambda document: _set(document, "spec", "rules", 0, "backendRefs", "nowhere"),
    "ReferenceGrant": lambda document: _set(document, "spec", "from", 0, "namespace", "No Namespace"),
    "Service": lambda document: _set(document, "spec", "ports", 0, "port", 99_999),
}
"""By kind, something that its author should not have written."""


@dataclass
class Broken:
    """What is wrong in the folder."""

    file: str
    text: str
    units: frozenset[str]
    """What must not be changed until it is mended."""
    key: str = ""
    """``Kind namespace/name`` of the object that is wrong; empty when a file as a whole is."""
    edits_left: int = 1
    """Before it is mended."""


class Editor:
    """What lies in the folder is always the world's manifests, in files that change, except for what is broken."""

    def __init__(self, world: World, folder: Folder, random: Random) -> None:
        self.world = world
        self.broken: Broken | None = None
        self._folder = folder
        self._random = random
        self._place: dict[str, str] = {}
        self._texts: dict[str, str] = {}
        self._save()

    def edit(self) -> str:
        """One edit; its kind and, after a colon, more."""
        if self.broken is not None and not self.broken.edits_left:
            self.broken = None
            return f"mend: {self._save()}"
        choice = self._random.random()
        if self.broken is not None:
            self.broken.edits_left -= 1
        elif choice < 0.15:
            return self._break()
        if choice > 0.9:
            return self._rename()
        changes = [self._change() for _ in range(self._random.choice((1, 1, 1, 1, 2, 4)))]
        return f"{'change' if len(changes) == 1 else 'several'}: {', '.join(changes)}; {self._save()}"

    def expected(self) -> dict[str, Any]:
        """The document of the folder; with its last good form in the place of what is broken.

        Raises:
            AssertionError: The folder is not as it should be: an error where nothing is broken.
        """
        if self.broken is None:
            return self._translated(self._folder.path)
        with TemporaryDirectory() as beside:
            Path(beside, "all.yaml").write_text(to_text(*self.world.units().values()))
            return self._translated(Path(beside))

    @staticmethod
    def _translated(path: Path) -> dict[str, Any]:
        translated = translate_paths([path])
        assert translated.errors == ()
        return snapshot(translated.state)

    # What is done.

    def _change(self) -> str:
        """A change of the world that leaves alone what is broken."""
        while True:
            candidate = self.world.copy()
            what = candidate.change(self._random)
            before, after = self.world.units(), candidate.units()
            touched = {unit for unit in before.keys() | after.keys() if before.get(unit) != after.get(unit)}
            if self.broken is None or not touched & self.broken.units:
                self.world = candidate
                return what

    def _rename(self) -> str:
        old = self._random.choice(sorted(self._texts.keys() - self._untouchable()))
        new = self._free_name(lambda name: name not in self._texts)
        self._folder.rename(old, new)
        self._texts[new] = self._texts.pop(old)
        self._place = {unit: new if place == old else place for unit, place in self._place.items()}
        return f"rename: {old} to {new}"

    def _break(self) -> str:
        units = self.world.units()
        unit = self._random.choice(sorted(units))
        file = self._place[unit]
        documents = deepcopy(units[unit])
        wrong = self._random.choice(documents)
        key = "/".join(part for part in (wrong["metadata"].get("namespace"), wrong["metadata"]["name"]) if part)
        key = f"{wrong['kind']} {key}"
        in_file = frozenset(other for other, place in self._place.items() if place == file)
        edits_left = self._random.choice((0, 0, 1, 2))
        kind = self._random.choice(("syntax", "cut", "field", "twice"))
        if kind == "twice":
            wrong["metadata"]["generation"] = 7
            self.broken = Broken(_AGAIN, to_text(wrong), frozenset({unit}), key, edits_left)
        elif kind == "field":
            _MISTAKES[wrong["kind"]](wrong)
            others = [units[other] for other in sorted(in_file - {unit})]
            self.broken = Broken(file, to_text(documents, *others), in_file, key, edits_left)
        elif kind == "syntax":
            self.broken = Broken(file, self._texts[file] + "---\nkind: [Service\n", in_file, "", edits_left)
        else:
            # In the middle of a line of the last document, where what is left is no YAML.
            self.broken = Broken(file, self._texts[file] + "---\nkind: 'HTTPRou", in_file, "", edits_left)
        return f"{kind}: {self.broken.key} in {self.broken.file}; {self._save()}"

    # Files.

    def _save(self) -> str:
        """Writes what is not in the folder yet, then removes what is too much; how, in words."""
        wanted = self._wanted()
        styles = [self._write(name, text) for name, text in wanted.items() if self._texts.get(name) != text]
        for name in self._texts.keys() - wanted.keys():
            self._folder.remove(name)
        self._texts = wanted
        return ", ".join(styles) or "nothing to save"

    def _wanted(self) -> dict[str, str]:
        units = self.world.units()
        taken = self._untouchable()
        for unit in sorted(self._place.keys() - units.keys()):
            del self._place[unit]
        for unit in sorted(units.keys() - self._place.keys()):
            self._place[unit] = self._free_name(lambda name: name not in taken)
        files: dict[str, list[Manifest]] = {}
        for unit, name in sorted(self._place.items()):
            files.setdefault(name, []).extend(units[unit])
        texts = {name: to_text(documents) for name, documents in files.items()}
        return texts | ({self.broken.file: self.broken.text} if self.broken is not None else {})

    def _untouchable(self) -> set[str]:
        return {self.broken.file} if self.broken is not None else set()

    def _free_name(self, is_free: Callable[[str], bool]) -> str:
        while True:
            folder = self._random.choice(("", "", "deep/", "deep/er/"))
            name = f"{folder}{self._random.choice('abcdefghijkl')}.{self._random.choice(('yaml', 'yml'))}"
            if is_free(name):
                return name

    def _write(self, name: str, text: str) -> str:
        # What must not fail for a moment is saved with care: a computer this busy may stand still in the middle of a save.
        style = (
            "replaced"
            if self._place.get("stable") == name
            else self._random.choice(("written", "in parts", "replaced"))
        )
        match style:
            case "written":
                self._folder.write_text(name, text)
            case "in parts":
                self._folder.write_in_parts(name, text)
            case _:
                self._folder.replace_text(name, text)
        return f"{name} {style}"
