#!/usr/bin/env python3
"""Writes ``controlplane/_proto``, Envoy's messages as Python classes, or checks that it is what it would write.

Runs on the standard library of any Python that the project supports. The work is done by ``emit.py`` in a virtual
environment that this script makes once and keeps: its packages must not meet those of the project (see
``requirements.txt``).
"""

import argparse
import filecmp
import shutil
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
REQUIREMENTS = HERE / "requirements.txt"


def main(arguments: list[str] | None = None) -> int:
    """The exit code: 1 if ``--check`` found a difference."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; name the files that differ")
    parser.add_argument(
        "--output",
        type=Path,
        default=ROOT / "controlplane" / "_proto",
        help="replaced as a whole; default: %(default)s",
    )
    parser.add_argument("--venv", type=Path, default=ROOT / ".venv-proto", help="made if absent; default: %(default)s")
    options = parser.parse_args(arguments)

    python = prepare(options.venv.resolve())
    with tempfile.TemporaryDirectory(prefix="controlplane-proto-") as folder:
        fresh = Path(folder, "_proto")
        subprocess.run([python, HERE / "emit.py", fresh], check=True)
        if options.check:
            differences = sorted(compare(options.output, fresh))
            for difference in differences:
                print(difference, file=sys.stderr)
            if differences:
                print("Run proto/generate.py and commit what it writes.", file=sys.stderr)
            return 1 if differences else 0
        shutil.rmtree(options.output, ignore_errors=True)
        shutil.copytree(fresh, options.output)
    return 0


def prepare(environment: Path) -> Path:
    """The interpreter of a virtual environment that holds exactly ``requirements.txt``.

    One that was made here from the same requirements is reused, from others or by halves is made anew.

    Raises:
        SystemExit: The folder holds something that was not made here; it is left alone.
    """
    python = environment / "bin" / "python"
    made_from = environment / "proto-requirements.txt"
    if python.exists() and made_from.exists() and filecmp.cmp(made_from, REQUIREMENTS, shallow=False):
        return python
    if environment.exists() and any(environment.iterdir()) and not made_from.exists():
        sys.exit(f"{environment} was not made by proto/generate.py: empty it or name another folder with --venv")

    print(f"Making {environment} (once) ...", file=sys.stderr)
    venv.create(environment, clear=True, with_pip=True)
    made_from.touch()
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--requirement", REQUIREMENTS], check=True)
    shutil.copy(REQUIREMENTS, made_from)  # last: until then the environment is made by halves
    return python


def compare(committed: Path, fresh: Path) -> Iterator[str]:
    """One line for each file that is missing, left over or different in ``committed``."""
    have, want = files_in(committed), files_in(fresh)
    yield from (f"{committed / name}: missing" for name in want - have)
    yield from (f"{committed / name}: not generated any more" for name in have - want)
    for name in have & want:
        if not filecmp.cmp(committed / name, fresh / name, shallow=False):
            yield f"{committed / name}: differs"


def files_in(folder: Path) -> set[Path]:
    """Every file below a folder, relative to it, without what Python caches."""
    return {
        path.relative_to(folder) for path in folder.rglob("*") if path.is_file() and path.parent.name != "__pycache__"
    }


if __name__ == "__main__":
    sys.exit(main())
