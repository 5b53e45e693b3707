"""Label selectors, as Kubernetes means them, in a form that can be a dependency: frozen, hashable, comparable."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import TypeAlias, assert_never

import msgspec

Pair: TypeAlias = tuple[str, str]


class Operator(StrEnum):
    """How a requirement compares. Source: apimachinery, LabelSelectorOperator."""

    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"


class Requirement(msgspec.Struct, frozen=True, cache_hash=True):
    """One condition on one label. ``NotIn`` also holds where the label is absent."""

    key: str
    operator: Operator
    values: tuple[str, ...] = ()

    def match(self, labels: Mapping[str, str]) -> bool:
        """Whether the labels meet the condition."""
        match self.operator:
            case Operator.IN:
                return labels.get(self.key) in self.values
            case Operator.NOT_IN:
                return labels.get(self.key) not in self.values
            case Operator.EXISTS:
                return self.key in labels
            case Operator.DOES_NOT_EXIST:
                return self.key not in labels
            case _:
                assert_never(self.operator)


class Selector(msgspec.Struct, frozen=True, cache_hash=True):
    """A set of conditions, all of which must hold. Without any it selects everything, never nothing.

    What selects nothing (a Service without selector) is the absence of a Selector: ``None``.
    """

    match_labels: tuple[Pair, ...] = ()
    match_expressions: tuple[Requirement, ...] = ()

    @classmethod
    def from_labels(cls, labels: Mapping[str, str]) -> Selector:
        """Selects what carries all of these labels."""
        return cls(tuple(sorted(labels.items())))

    def match(self, labels: Mapping[str, str]) -> bool:
        """Whether the labels meet every condition."""
        for key, value in self.match_labels:
            if labels.get(key) != value:
                return False
        for requirement in self.match_expressions:  # noqa: SIM110  # this loop is hot, and a generator costs more
            if not requirement.match(labels):
                return False
        return True

    def anchors(self) -> tuple[Pair, ...]:
        """Label pairs of which anything that is selected carries at least one; empty if there are no such pairs.

        One pair of ``match_labels`` is enough, or the values of one ``In``. This is what makes a selector findable by a label,
        and a label by a selector, without looking at every other one.
        """
        if self.match_labels:
            return (min(self.match_labels),)
        for requirement in self.match_expressions:
            if requirement.operator is Operator.IN and requirement.values:
                return tuple((requirement.key, value) for value in dict.fromkeys(requirement.values))
        return ()
