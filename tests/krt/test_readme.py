"""The package's README: its example runs, and its table names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

HERE = Path(__file__).parent
README = (HERE.parents[1] / "controlplane" / "krt" / "README.md").read_text(encoding="utf-8")


def test_the_example_runs() -> None:
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    exec(compile(example, "README.md", "exec"), {"__name__": "krt_readme_example"})


def test_the_table_has_every_item_and_names_tests_that_exist() -> None:
    rows = re.findall(r"^\| (\d+) \| (.+?) \| (.+?) \|$", README, re.MULTILINE)
    assert [int(number) for number, _, _ in rows] == list(range(1, 45))
    tests = {name for path in HERE.glob("test_*.py") for name in re.findall(r"def (test_\w+)", path.read_text())}
    tests |= {path.stem for path in HERE.glob("test_*.py")}
    for number, _, held_by in rows:
        named = re.findall(r"`(test_\w+)`", held_by)
        assert named or "cannot occur" in held_by or "there is none" in held_by, number
        assert set(named) <= tests, (number, set(named) - tests)
