"""From the text of one file to what it says about objects, each thing with the line where it stands.

Lines cost as much as the reading itself, so they are looked up only in texts in which something is wrong, or that hold a List.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any, Final

import msgspec

from controlplane.model.decode import Decoded, Ignored, Rejected, decode_object, describe
from controlplane.model.events import ObjectApplied, ObjectRejected
from controlplane.model.objects import KINDS
from controlplane.model.problems import kind_of
from controlplane.model.references import FieldProblem, ObjectReference
from controlplane.sources.claims import Claim, Reading
from controlplane.sources.documents import Document, join_surrogates, line_of, read_documents, read_field_lines
from controlplane.sources.yaml_builder import Flaw
from controlplane.sources.yaml_problems import Unparsable

MAX_PROBLEMS: Final = 20
"""Documents of one file that are named for what is wrong with them; the others are counted."""


def read_text(path: str, data: bytes) -> Reading:
    """What the file at ``path`` says.

    Args:
        path: As messages and origins shall name it; a suffix ``.json`` lets escapes be read as JSON has them.
        data: The whole content.
    """
    if path.lower().endswith(".json"):
        data = join_surrogates(data)
    documents = read_documents(data)
    if isinstance(documents, Unparsable):
        return Reading(problems={path: f"{path}:{documents}"}, complete=False)
    text = _Text(path, data)
    for document in documents:
        text.read(document)
    return text.reading()


class _Manifest(msgspec.Struct, frozen=True):
    """One object of a document: the document itself, or an item of a List."""

    document: int
    path: str
    """Within the document; empty for the document itself."""
    value: Any
    line: int
    flaws: tuple[Flaw, ...]
    """Their paths are the object's own."""

    @property
    def place(self) -> str:
        """How the part of the source is called that this is."""
        return f"{self.document}.{self.path}" if self.path else str(self.document)


class _Text:
    """Collects what the documents of one text say."""

    def __init__(self, path: str, data: bytes) -> None:
        self._path = path
        self._data = data
        self._claims: list[Claim] = []
        self._problems: dict[str, str] = {}
        self._unnamed = 0
        self._ignored: Counter[str] = Counter()
        self._complete = True

    @cached_property
    def _lines(self) -> dict[int, dict[str, int]]:
        return read_field_lines(self._data)

    def reading(self) -> Reading:
        if self._unnamed:
            remedy = "mend those that are named first"
            self._problems[self._path] = f"{self._path}: {self._unnamed} more documents are wrong; {remedy}"
        return Reading(tuple(self._claims), self._problems, dict(sorted(self._ignored.items())), self._complete)

    def read(self, document: Document) -> None:
        if document.value is None and not document.flaws:
            return
        for manifest in self._unpack(_Manifest(document.index, "", document.value, document.line, document.flaws)):
            self._read_manifest(manifest)

    def _unpack(self, manifest: _Manifest) -> Iterator[_Manifest]:
        """The items of a List, and of Lists in it; what is no List is itself."""
        value = manifest.value
        if not isinstance(value, dict) or not (item_kind := _listed_kind(value)):
            yield manifest
            return
        items = value.get("items")
        if not isinstance(items, list):
            found = "missing" if items is None else kind_of(items)
            self._add_problem(
                manifest, f"{value['kind']}: items: {found}, where a list of objects belongs; add the objects"
            )
            return
        for flaw in manifest.flaws:
            if not flaw.path.startswith("items["):
                self._add_problem(manifest, f"{value['kind']}: {_field_problem(flaw)}", flaw.line)
        for position, item in enumerate(items):
            step = f"items[{position}]"
            path = f"{manifest.path}.{step}" if manifest.path else step
            if item_kind != "List" and isinstance(item, dict):
                item = {"apiVersion": value.get("apiVersion"), "kind": item_kind, **item}
            flaws = tuple(
                msgspec.structs.replace(flaw, path=flaw.path[len(step) :].removeprefix("."))
                for flaw in manifest.flaws
                if flaw.path == step or flaw.path.startswith((f"{step}.", f"{step}["))
            )
            line = line_of(path, self._lines[manifest.document]) or manifest.line
            yield from self._unpack(_Manifest(manifest.document, path, item, line, flaws))

    def _read_manifest(self, manifest: _Manifest) -> None:
        if not isinstance(manifest.value, dict):
            remedy = "write apiVersion, kind, metadata and what belongs to them"
            flaws = "".join(f"; {_field_problem(flaw)}" for flaw in manifest.flaws)
            self._add_problem(manifest, f"{kind_of(manifest.value)}, where an object belongs; {remedy}{flaws}")
            return
        outcome = decode_object(manifest.value)
        if isinstance(outcome, Ignored):
            if any(_is_top_level(flaw) for flaw in manifest.flaws):
                self._add_problem(
                    manifest, f"{outcome.kind}: {_field_problem(manifest.flaws[0])}", manifest.flaws[0].line
                )
            else:
                group = outcome.api_version.rpartition("/")[0]
                self._ignored[f"{outcome.kind}.{group}" if group else outcome.kind] += 1
            return
        if isinstance(outcome, Decoded) and not manifest.flaws:
            self._claim(manifest, outcome)
        else:
            self._reject(manifest, outcome)

    def _claim(self, manifest: _Manifest, decoded: Decoded) -> None:
        origin = f"{self._path}:{manifest.line}"
        applied = ObjectApplied(
            decoded.object, origin=origin, warnings=decoded.warnings, unsupported=decoded.unsupported
        )
        reference = _reference(decoded)
        self._claims.append(Claim(reference, origin, applied=applied, private_keys=decoded.private_keys))

    def _reject(self, manifest: _Manifest, outcome: Decoded | Rejected) -> None:
        reference = outcome.reference if isinstance(outcome, Rejected) else _reference(outcome)
        problems = [_field_problem(flaw, secret=reference.kind == "Secret") for flaw in manifest.flaws]
        line = manifest.flaws[0].line if manifest.flaws else None
        if isinstance(outcome, Rejected):
            flawed = {flaw.path for flaw in manifest.flaws}
            problems += (error for error in outcome.errors if error.path not in flawed)
            line = line or self._line_of(manifest, problems[0].path)
        line = line or manifest.line
        if any(_is_top_level(flaw) for flaw in manifest.flaws) or any(
            problem.path in _IDENTITY for problem in problems
        ):
            self._complete = False
        if reference.kind not in KINDS or not _is_named(manifest.value):
            reference = ObjectReference(reference.kind, "", "")
            text = "; also ".join(str(problem) for problem in problems)
            self._add_problem(manifest, f"{describe(reference)}: {text}", line)
            return
        rejected = ObjectRejected(reference, tuple(problems), f"{self._path}:{line}")
        self._claims.append(Claim(reference, f"{self._path}:{manifest.line}", rejected=rejected))

    def _line_of(self, manifest: _Manifest, path: str) -> int | None:
        prefix = f"{manifest.path}." if manifest.path and path else manifest.path
        return line_of(f"{prefix}{path}", self._lines[manifest.document])

    def _add_problem(self, manifest: _Manifest, problem: str, line: int | None = None) -> None:
        self._complete = False
        part = f"{self._path}#{manifest.place}"
        if len(self._problems) < MAX_PROBLEMS:
            self._problems.setdefault(part, f"{self._path}:{line or manifest.line}: {problem}")
        elif part not in self._problems:
            self._unnamed += 1


_IDENTITY: Final = frozenset({"kind", "metadata", "metadata.name", "metadata.namespace"})
"""Fields without which nobody can tell which object is meant."""
_SECRET_PATH: Final = re.compile(r"metadata(\.[a-zA-Z]+)?|[a-zA-Z]{1,30}")
"""What a message may name of the path to a flaw in a Secret."""


def _listed_kind(value: Mapping[str, Any]) -> str | None:
    """``List``, or the kind of the items of such as an ``HTTPRouteList``; None for what is no list."""
    kind = value.get("kind")
    if kind == "List":
        return "List"
    item_kind = kind.removesuffix("List") if isinstance(kind, str) else ""
    return item_kind if item_kind != kind and item_kind in KINDS else None


def _is_named(value: Mapping[str, Any]) -> bool:
    metadata = value.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    return isinstance(name, str) and name != ""


def _reference(decoded: Decoded) -> ObjectReference:
    metadata = decoded.object.metadata
    return ObjectReference(decoded.object.kind, metadata.namespace, metadata.name)


def _is_top_level(flaw: Flaw) -> bool:
    """Whether it may come of two objects without a --- between them, so that it is not known what the second one is."""
    return "." not in flaw.path and "[" not in flaw.path


def _field_problem(flaw: Flaw, *, secret: bool = False) -> FieldProblem:
    path = flaw.path
    if secret:
        shown = _SECRET_PATH.match(path)
        path = shown.group() if shown else ""
    return FieldProblem(path, flaw.problem, flaw.remedy)
