"""One document of YAML, built from the C parser's events: bounded, without recursion, with the scalars of kubectl.

PyYAML's own constructors take the last of two equal keys, read ``2024-01-01`` as a date, and make a billion laughs of nine
lines. What leaves the rest of a document readable (a key given twice) is a flaw of it; syntax errors are the parser's.

No flaw holds a value of the text: it may be a private key. Lines count from 1.
"""

from __future__ import annotations

import math
import re
from typing import Any, Final

import msgspec
import yaml
from yaml.events import (
    AliasEvent,
    DocumentEndEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from controlplane.sources.yaml_problems import Unparsable
from controlplane.sources.yaml_scalars import resolve_plain

MAX_DEPTH: Final = 100
"""Levels of nesting; manifests have a dozen."""
MAX_ALIASED: Final = 4 * 2**20
"""Characters and values that the aliases of one document may stand for together."""
MAX_FLAWS: Final = 20
"""Flaws named for one document; who has more mends these first."""


class Flaw(msgspec.Struct, frozen=True):
    """Something wrong at one place of a document whose other places can be read."""

    path: str
    """As the API spells it: ``spec.rules[0].name``."""
    line: int
    problem: str
    remedy: str


class BuiltDocument(msgspec.Struct, frozen=True):
    """The value of one document."""

    value: Any
    """Dicts with text as keys, lists, str, int, finite float, bool and None; shared where the text has aliases."""
    line: int
    """Where it begins."""
    flaws: tuple[Flaw, ...]


class TooDeepError(Exception):
    """Ends the reading of a text that is nested too deeply."""

    def __init__(self, event: Any) -> None:
        super().__init__(f"nested more than {MAX_DEPTH} levels deep")
        self.unparsable = Unparsable(
            event.start_mark.line + 1,
            event.start_mark.column + 1,
            problem=f"nested more than {MAX_DEPTH} levels deep",
            remedy="no manifest is; check the brackets and the indentation",
        )


class _Sequence:
    """A list under construction."""

    __slots__ = ("anchor", "cost", "value")

    def __init__(self, anchor: str | None, cost: int) -> None:
        self.value: list[Any] = []
        self.anchor = anchor
        self.cost = cost
        """What the document had cost when it began."""


class _Mapping:
    """A mapping under construction. Between entries ``key`` is None."""

    __slots__ = ("anchor", "cost", "drops", "key", "lines", "merged", "merges", "value")

    def __init__(self, anchor: str | None, cost: int) -> None:
        self.value: dict[str, Any] = {}
        self.anchor = anchor
        self.cost = cost
        self.key: str | None = None
        self.drops = False
        """The value of this key is not kept."""
        self.merges = False
        """The key is ``<<``."""
        self.merged: list[dict[str, Any]] = []
        self.lines: dict[str, int] = {}


class DocumentBuilder:
    """Builds the value of one document.

    Args:
        parser: Whose events are taken, from after the document's start to its end.
        lines: Where to put the line of each field, by path, if anywhere.
    """

    def __init__(self, parser: yaml.CSafeLoader, lines: dict[str, int] | None) -> None:
        self._parser = parser
        self._lines = lines
        self._frames: list[_Sequence | _Mapping] = []
        self._anchors: dict[str, tuple[Any, int] | None] = {}
        """Value and cost; None while the value is under construction."""
        self._cost = 0
        """Values and characters so far, as if nothing was shared."""
        self._aliased = 0
        self._flaws: list[Flaw] = []

    def build(self) -> BuiltDocument:
        """Takes the document's events.

        Raises:
            yaml.YAMLError: It is no YAML.
            TooDeepError: It is no manifest.
        """
        frames = self._frames
        get_event = self._parser.get_event
        line = 0
        root: Any = None
        while True:
            event: Any = get_event()
            kind = type(event)
            if kind is ScalarEvent:
                value = self._scalar(event)
                self._cost += 1 + len(event.value)
                if event.anchor:
                    self._anchors[event.anchor] = value, 1 + len(event.value)
            elif kind is MappingStartEvent or kind is SequenceStartEvent:
                line = line or event.start_mark.line + 1
                self._open(event, _Mapping if kind is MappingStartEvent else _Sequence)
                continue
            elif kind is MappingEndEvent or kind is SequenceEndEvent:
                value = self._close()
            elif kind is AliasEvent:
                value = self._alias(event)
            elif kind is DocumentEndEvent:
                return BuiltDocument(root, line or event.start_mark.line + 1, tuple(self._flaws))
            else:
                raise AssertionError(f"libyaml sent {event!r} inside a document")
            if not frames:
                line = line or event.start_mark.line + 1
                root = value
            elif isinstance(frame := frames[-1], _Sequence):
                if self._lines is not None and kind is not MappingEndEvent and kind is not SequenceEndEvent:
                    self._lines[self._path()] = event.start_mark.line + 1
                frame.value.append(value)
            elif frame.key is None:
                self._take_key(frame, event, value)
            else:
                self._take_value(frame, event, value)

    def _open(self, event: Any, frame: type[_Sequence | _Mapping]) -> None:
        frames = self._frames
        if len(frames) >= MAX_DEPTH:
            raise TooDeepError(event)
        if event.tag is not None and event.tag not in _COLLECTION_TAGS:
            self._flaw(event, "a tag (!) that manifests do not have", "remove it, or quote a value that begins with !")
        if self._lines is not None and (path := self._path()) and isinstance(frames[-1], _Sequence):
            self._lines[path] = event.start_mark.line + 1
        if event.anchor:
            self._anchors[event.anchor] = None
        frames.append(frame(event.anchor, self._cost))

    def _close(self) -> Any:
        frame = self._frames.pop()
        self._cost += 1
        if isinstance(frame, _Mapping):
            for merged in frame.merged:
                for key, value in merged.items():
                    frame.value.setdefault(key, value)
        if frame.anchor:
            self._anchors[frame.anchor] = frame.value, self._cost - frame.cost
        return frame.value

    def _take_key(self, frame: _Mapping, event: Any, value: Any) -> None:
        frame.drops = frame.merges = False
        if type(value) is not str:
            if isinstance(value, dict | list) or not isinstance(event, ScalarEvent):
                frame.key = ""
                frame.drops = True
                self._flaw(event, "a key that is no text", "write a word; a template ({{ }}) has to be rendered first")
                return
            frame.key = event.value
            self._flaw(event, f"the key is {_KINDS[type(value)]}, not text", "put it in quotes")
        elif value == "<<" and isinstance(event, ScalarEvent) and event.implicit[0]:
            frame.key = value
            frame.merges = True
            return
        else:
            frame.key = value
        first = frame.lines.setdefault(frame.key, line := event.start_mark.line + 1)
        if frame.key in frame.value or first != line:
            frame.drops = True
            remedy = "remove one of them"
            if len(self._frames) == 1:
                remedy += ", or put --- before the second if another object begins there"
            self._flaw(event, f"given twice, in lines {first} and {line}", remedy)
        elif self._lines is not None:
            path = self._path()
            self._lines[path] = line
            self._lines[f'{path.removesuffix(frame.key).removesuffix(".")}["{frame.key}"]'] = line

    def _take_value(self, frame: _Mapping, event: Any, value: Any) -> None:
        if frame.merges:
            candidates = value if isinstance(value, list) else [value]
            if all(isinstance(candidate, dict) for candidate in candidates):
                frame.merged += candidates
            else:
                self._flaw(event, "<< merges something that is no mapping", "refer to a mapping, or put << in quotes")
        elif not frame.drops:
            assert frame.key is not None
            frame.value[frame.key] = value
        frame.key = None

    def _scalar(self, event: Any) -> Any:
        text: str = event.value
        tag = event.tag
        if tag is None:
            value = resolve_plain(text) if event.implicit[0] else text
        elif tag in _TEXT_TAGS:
            value = text
        elif tag in _TYPED_TAGS:
            value = resolve_plain(text)
            if type(value) not in _TYPED_TAGS[tag]:
                self._flaw(event, "the value does not fit its tag (!!)", "remove the tag")
        else:
            value = text
            self._flaw(event, "a tag (!) that manifests do not have", "remove it, or quote a value that begins with !")
        if type(value) is float and not math.isfinite(value):
            self._flaw(
                event, "infinity and NaN are no numbers of a manifest", "give a number, or put the word in quotes"
            )
            return None
        return value

    def _alias(self, event: Any) -> Any:
        if event.anchor not in self._anchors:
            self._flaw(event, "an alias (*) that no anchor (&) before it defines", "quote a value that begins with *")
            return None
        anchored = self._anchors[event.anchor]
        if anchored is None:
            self._flaw(event, "an alias (*) to the value that holds it", "write the value out")
            return None
        value, cost = anchored
        within = self._aliased <= MAX_ALIASED
        self._aliased += cost
        self._cost += cost
        if self._aliased <= MAX_ALIASED:
            return value
        if within:
            problem = f"the document's aliases (*) stand for more than {MAX_ALIASED:,} characters".replace(",", " ")
            self._flaw(event, problem, "write the values out, or use fewer aliases")
        return None

    def _flaw(self, event: Any, problem: str, remedy: str) -> None:
        if len(self._flaws) < MAX_FLAWS:
            self._flaws.append(Flaw(self._path(shown=True), event.start_mark.line + 1, problem, remedy))

    def _path(self, *, shown: bool = False) -> str:
        """The path of what comes next: an item of a list, or the entry whose key has been read.

        Args:
            shown: Whether a person will see it: then a key that does not look like one is left out.
        """
        path = ""
        for frame in self._frames:
            if isinstance(frame, _Sequence):
                path += f"[{len(frame.value)}]"
            elif frame.key:
                key = "(a key)" if shown and not _SHOWN_KEY.match(frame.key) else frame.key
                path += f".{key}" if path else key
        return path


_YAML: Final = "tag:yaml.org,2002:"
_COLLECTION_TAGS: Final = frozenset({"!", f"{_YAML}map", f"{_YAML}seq"})
_TEXT_TAGS: Final = frozenset({"!", f"{_YAML}str", f"{_YAML}timestamp"})
_TYPED_TAGS: Final[dict[str, tuple[type, ...]]] = {
    f"{_YAML}int": (int,),
    f"{_YAML}float": (float, int),
    f"{_YAML}bool": (bool,),
    f"{_YAML}null": (type(None),),
}
_KINDS: Final[dict[type, str]] = {int: "a number", float: "a number", bool: "a boolean", type(None): "null"}
_SHOWN_KEY: Final = re.compile(r"([A-Za-z0-9._/-]{1,63}|<<)\Z")
"""The keys that a message may name look like fields or labels, and are shorter than a line of PEM."""
