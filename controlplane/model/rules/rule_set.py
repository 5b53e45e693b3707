"""The walk over an object that applies each struct's rules wherever the struct stands."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import Any

import msgspec
from msgspec import inspect

from controlplane.model.base import Row
from controlplane.model.references import FieldProblem
from controlplane.model.rules.rule import Rule


class _Child(msgspec.Struct, frozen=True):
    name: str
    """The API's."""
    get: Callable[[Row], Any]
    plan: _Plan
    is_list: bool


class _Plan(msgspec.Struct, frozen=True):
    rules: tuple[Rule[Any], ...]
    children: tuple[_Child, ...]
    """Those with rules on them or beneath them."""


class RuleSet:
    """Rules by the struct that they judge."""

    __slots__ = ("_plans", "table")

    def __init__(self, *tables: Mapping[type[Row], tuple[Rule[Any], ...]]) -> None:
        self.table: dict[type[Row], tuple[Rule[Any], ...]] = {}
        for table in tables:
            for struct, rules in table.items():
                self.table[struct] = (*self.table.get(struct, ()), *rules)
        self._plans: dict[type[Row], _Plan] = {}

    def findings(self, row: Row) -> Sequence[FieldProblem]:
        """What the rules find in the row's parts, outer before inner, with paths from the row. Empty: nothing.

        Cost: ten microseconds for an ordinary HTTPRoute; half a one where there are no rules beneath.
        """
        return _found(row, self._plan_of(type(row)))

    def _plan_of(self, struct: type[Row]) -> _Plan:
        if plan := self._plans.get(struct):
            return plan
        children = []
        for field in msgspec.structs.fields(struct):
            part = _part(inspect.type_info(field.type))
            if part is None:
                continue
            beneath, is_list = part
            plan = self._plan_of(beneath)
            if plan.rules or plan.children:
                children.append(_Child(field.encode_name, attrgetter(field.name), plan, is_list))
        plan = self._plans[struct] = _Plan(self.table.get(struct, ()), tuple(children))
        return plan


def _found(row: Row, plan: _Plan) -> Sequence[FieldProblem]:
    found: list[FieldProblem] = []
    for rule in plan.rules:
        found += rule(row)
    for child in plan.children:
        value = child.get(row)
        if not value:
            continue
        if child.is_list:
            for position, item in enumerate(value):
                if beneath := _found(item, child.plan):
                    found += [_under(f"{child.name}[{position}]", problem) for problem in beneath]
        elif beneath := _found(value, child.plan):
            found += [_under(child.name, problem) for problem in beneath]
    return found


def _under(prefix: str, problem: FieldProblem) -> FieldProblem:
    path = f"{prefix}.{problem.path}" if problem.path else prefix
    return FieldProblem(path, problem.problem, problem.remedy)


def _part(info: inspect.Type) -> tuple[type[Row], bool] | None:
    """The struct that a field holds one or many of; None for scalars and maps."""
    match info:
        case inspect.UnionType(types=types):
            return next((part for option in types if (part := _part(option))), None)
        case inspect.VarTupleType(item_type=inspect.StructType(cls=cls)) if issubclass(cls, Row):
            return cls, True
        case inspect.StructType(cls=cls) if issubclass(cls, Row):
            return cls, False
    return None
