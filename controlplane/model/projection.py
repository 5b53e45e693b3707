"""What of a manifest others write, and how much of it goes into the row.

Status and metadata are full of what changes every few seconds and says nothing about what is to be served: it stays outside, so
that its change is no change. And since nobody who could mend it reads our reports of a status, what does not fit there is
dropped with a warning; it never rejects the object.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Final

import msgspec

from controlplane.model.addresses import parse_address
from controlplane.model.kubernetes import Pod
from controlplane.model.objects import KindInfo
from controlplane.model.problems import explain, quoted
from controlplane.model.references import FieldProblem
from controlplane.model.service_entry import ServiceEntry
from controlplane.model.shapes import Items, shape_of, without_nulls

LAST_APPLIED: Final = "kubectl.kubernetes.io/last-applied-configuration"
"""The annotation in which ``kubectl apply`` keeps a copy of the whole manifest."""

_WITHOUT_ANNOTATIONS: Final = frozenset({"Node", "Pod", "Secret"})
_WITHOUT_GENERATION: Final = frozenset({"Node", "Pod"})
_KEPT_CONDITION: Final[Mapping[str, str]] = {"Pod": "Ready", "WorkloadEntry": "Healthy"}
"""By kind: the type of condition that its status keeps."""


def project_metadata(metadata: dict[str, object], kind: str) -> None:
    """Takes out of an object's metadata what its row does not keep."""
    annotations = metadata.get("annotations")
    if kind in _WITHOUT_ANNOTATIONS:
        metadata["annotations"] = {}
    elif isinstance(annotations, Mapping) and LAST_APPLIED in annotations:
        metadata["annotations"] = {key: value for key, value in annotations.items() if key != LAST_APPLIED}
    if kind in _WITHOUT_GENERATION:
        metadata.pop("generation", None)


def project(
    raw: Mapping[str, object], metadata: Mapping[str, object], info: KindInfo
) -> tuple[dict[str, object], tuple[FieldProblem, ...]]:
    """The document as the struct is to read it, and what was dropped of its status though it was ours to read.

    Args:
        raw: The manifest.
        metadata: As ``project_metadata`` left it.
        info: The manifest's kind.
    """
    document: dict[str, object] = {**raw, "metadata": metadata}
    if info.struct is Pod:
        document["terminating"] = bool(metadata.get("deletionTimestamp"))
    struct = _status_of(info.struct)
    if struct is None or "status" not in raw:
        return document, ()
    problems: list[FieldProblem] = []
    status = _with_one_condition(raw["status"], info.kind)
    if not _fits(status, struct):
        status = _mended({} if status is None else status, struct, problems)
    if info.struct is ServiceEntry:
        status = _with_ip_addresses(status, problems)
    document["status"] = status
    return document, tuple(problems)


@cache
def _status_of(struct: type[msgspec.Struct]) -> type[msgspec.Struct] | None:
    """The struct of a kind's status, for kinds that keep one."""
    return next((field.type for field in msgspec.structs.fields(struct) if field.name == "status"), None)


def _with_one_condition(status: object, kind: str) -> object:
    """The status with the condition that matters alone, if its conditions are a list at all."""
    type_ = _KEPT_CONDITION.get(kind)
    if type_ is None or not isinstance(status, Mapping):
        return status
    conditions = status.get("conditions")
    if not isinstance(conditions, list | tuple):
        return status
    kept = [item for item in conditions if not isinstance(item, Mapping) or item.get("type") == type_]
    return {**status, "conditions": kept}


def _fits(status: object, struct: type[msgspec.Struct]) -> bool:
    try:
        msgspec.json.encode(msgspec.convert(status, struct))
    except (msgspec.ValidationError, UnicodeEncodeError):
        return False
    return True


def _mended(status: object, struct: type[msgspec.Struct], problems: list[FieldProblem]) -> Mapping[str, object]:
    """The status without the fields, and the items of lists, that do not fit."""
    shape = shape_of(struct)
    status = without_nulls(status, shape)
    if not isinstance(status, Mapping):
        problems += _ignored(explain(status, shape, "status", quoted))
        return {}
    kept: dict[str, object] = {}
    for name, part in shape.fields.items():
        if name not in status:
            continue
        value, path = status[name], f"status.{name}"
        if isinstance(part, Items) and isinstance(value, list | tuple):
            wrong = [_ignored(explain(item, part.item, f"{path}[{at}]", quoted)) for at, item in enumerate(value)]
            kept[name] = [item for item, found in zip(value, wrong, strict=True) if not found]
        else:
            wrong = [_ignored(explain(value, part, path, quoted))]
            if not wrong[0]:
                kept[name] = value
        for found in wrong:
            problems += found
    return kept


def _with_ip_addresses(status: object, problems: list[FieldProblem]) -> object:
    """A ServiceEntry's status without addresses that are none, its hosts in lower case."""
    addresses = status.get("addresses") if isinstance(status, Mapping) else None
    if not addresses:
        return status
    kept = []
    for position, address in enumerate(addresses):
        value = address.get("value", "")
        if parse_address(value) is None:
            problem = FieldProblem(f"status.addresses[{position}].value", f"{quoted(value)} is no IP address")
            problems += _ignored([problem])
        else:
            kept.append({"value": value, "host": address.get("host", "").lower()})
    return {"addresses": kept}


def _ignored(problems: Iterable[FieldProblem]) -> list[FieldProblem]:
    return [FieldProblem(found.path, f"{found.problem}; ignored", "mend what writes the status") for found in problems]
