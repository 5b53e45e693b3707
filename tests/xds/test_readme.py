"""The contract names tests that exist."""

from __future__ import annotations

import re
from fnmatch import fnmatch
from pathlib import Path

HERE = Path(__file__).parent
README = HERE.parents[1] / "controlplane" / "xds" / "README.md"


def test_every_test_that_the_contract_names_exists():
    functions = {
        path.stem: re.findall(r"def (test_\w+)", path.read_text(encoding="utf-8")) for path in HERE.glob("test_*.py")
    }
    table = README.read_text(encoding="utf-8").split("| rule | test |")[1].split("\n\n")[0]
    missing = []
    for row in table.splitlines()[2:]:
        module = "test_envoy"
        for reference in re.findall(r"`(test_[^`]*)`", row.split("|")[2]):
            found, _, pattern = reference.rpartition("::")
            module = found or module
            if reference in functions:
                module = reference
            elif not any(fnmatch(name, pattern) for name in [*functions[module], *functions["test_envoy"]]):
                missing.append(reference)
    assert missing == []
