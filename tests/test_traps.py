"""The table of a real Envoy's traps names tests that exist, and tells of all fifteen."""

from __future__ import annotations

import re
from fnmatch import fnmatch
from pathlib import Path

HERE = Path(__file__).parent


def test_every_trap_has_tests_that_exist() -> None:
    text = (HERE / "README.md").read_text(encoding="utf-8").split("## Traps of a real Envoy")[1]
    rows = [row.split("|") for row in text.split("|---|---|---|\n")[1].splitlines()]
    assert [row[1].strip() for row in rows if row[1].strip()] == [str(number) for number in range(1, 16)]
    missing = []
    for row in rows:
        path = ""
        references = re.findall(r"`([^`]*)`", row[3])
        assert references, row
        for reference in references:
            file, separator, pattern = reference.rpartition("::")
            if separator or reference.startswith("test_"):
                path = file or path
                functions = re.findall(r"def (test_\w+)", (HERE / path).read_text(encoding="utf-8"))
                if not any(fnmatch(name, pattern) for name in functions):
                    missing.append(reference)
    assert missing == []
