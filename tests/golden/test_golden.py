"""Golden cases: ``<case>/in.yaml`` gives ``xds.yaml`` (what each Gateway's Envoy is sent) and ``status.yaml``, to the byte.

``GOLDEN=write`` (``make golden``) writes them anew. A golden file is a claim that somebody has read: compare the difference with
the specification before you commit it.
"""

from __future__ import annotations

import os
from difflib import unified_diff
from pathlib import Path

import pytest
import yaml

from controlplane.runtime.document import for_only_client, snapshot
from controlplane.runtime.offline import translate_paths

FOLDER = Path(__file__).parent
CASES = sorted(path.parent.name for path in FOLDER.glob("*/in.yaml"))
WRITE = os.environ.get("GOLDEN") == "write"


class Dumper(yaml.CSafeDumper):
    """Writes each resource out, also one that several Gateways share."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def as_text(part: object) -> str:
    """YAML of a fixed form: keys sorted, long lines left whole."""
    return yaml.dump(part, Dumper=Dumper, sort_keys=True, allow_unicode=True, width=10_000)


@pytest.mark.parametrize("case", CASES)
def test_golden(case: str) -> None:
    folder = FOLDER / case
    document = for_only_client(snapshot(translate_paths([folder / "in.yaml"]).state))
    for name, part in (("xds.yaml", "gateways"), ("status.yaml", "statuses")):
        path, text = folder / name, as_text(document[part])
        if WRITE:
            path.write_text(text)
        expected = path.read_text() if path.exists() else ""
        difference = unified_diff(expected.splitlines(), text.splitlines(), f"{case}/{name}", "now", lineterm="", n=8)
        assert text == expected, "\n".join([*difference, "If this is right: make golden"])


def test_nothing_else_lies_here() -> None:
    """A case that was renamed leaves no files that nobody reads."""
    files = {path.relative_to(FOLDER).as_posix() for path in FOLDER.glob("*/*") if "__pycache__" not in path.parts}
    assert files == {f"{case}/{name}" for case in CASES for name in ("in.yaml", "status.yaml", "xds.yaml")}
