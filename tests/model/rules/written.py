"""Objects as somebody writes them: what becomes of them, and what is told of their mistakes."""

from typing import Any, NamedTuple

import yaml

from controlplane.model.decode import Decoded, Rejected, decode_object
from controlplane.model.objects import KINDS


def decode_document(kind: str, document: dict[str, Any], name: str = "a") -> Decoded | Rejected:
    """What becomes of an object of namespace ``demo``, of which ``document`` is all but the metadata."""
    metadata = {"name": name, "namespace": "demo"}
    outcome = decode_object({"apiVersion": KINDS[kind].api_versions[0], "kind": kind, "metadata": metadata, **document})
    assert isinstance(outcome, Decoded | Rejected)
    return outcome


def decode(kind: str, spec: str, name: str = "a") -> Decoded | Rejected:
    return decode_document(kind, {"spec": yaml.safe_load(spec)}, name)


class Told(NamedTuple):
    """What the author of an object is told; with errors it is rejected."""

    errors: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    unsupported: tuple[str, ...] = ()


def told(kind: str, spec: str) -> Told:
    outcome = decode(kind, spec)
    if isinstance(outcome, Rejected):
        assert outcome.errors
        return Told(errors=tuple(map(str, outcome.errors)))
    return Told(warnings=tuple(map(str, outcome.warnings)), unsupported=tuple(map(str, outcome.unsupported)))
