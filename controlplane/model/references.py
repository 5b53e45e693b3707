"""How objects and what is wrong with them are named, wherever a person reads it."""

from __future__ import annotations

import msgspec


class ObjectReference(msgspec.Struct, frozen=True, order=True, rename="camel", omit_defaults=True):
    """Names one object. Kinds of ours do not collide across API groups, so the kind stands for both."""

    kind: str
    namespace: str
    """Empty for cluster-scoped kinds."""
    name: str

    @property
    def key(self) -> str:
        """``namespace/name``, or ``name`` for cluster-scoped kinds."""
        return f"{self.namespace}/{self.name}" if self.namespace else self.name

    def __str__(self) -> str:
        return f"{self.kind} {self.key}"


class FieldProblem(msgspec.Struct, frozen=True, order=True, rename="camel", omit_defaults=True):
    """One thing wrong with one field of an object, in words for the person who wrote it."""

    path: str
    """As the API spells it: ``spec.rules[0].matches[0].path.type``; empty for the object as a whole."""
    problem: str
    """What is wrong, with the value quoted where that helps."""
    remedy: str = ""
    """What to do about it."""

    def __str__(self) -> str:
        text = f"{self.path}: {self.problem}" if self.path else self.problem
        return f"{text}; {self.remedy}" if self.remedy else text
