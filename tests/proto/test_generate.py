"""The committed package is what proto/generate.py writes: from a fresh environment, under any hash seed."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "controlplane" / "_proto"


def generate(*arguments: str | Path, hash_seed: str = "0") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, ROOT / "proto" / "generate.py", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONHASHSEED": hash_seed},
    )


def contents(folder: Path) -> dict[Path, bytes]:
    return {
        path.relative_to(folder): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.parent.name != "__pycache__"
    }


@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_the_committed_package_is_the_generated_one(hash_seed):
    checked = generate("--check", hash_seed=hash_seed)
    assert checked.returncode == 0, checked.stderr


def test_check_names_each_file_that_differs_and_writes_nothing(tmp_path):
    package = tmp_path / "_proto"
    shutil.copytree(PACKAGE, package)
    edited = package / "envoy" / "config" / "cluster" / "v3" / "__init__.py"
    edited.write_text(edited.read_text() + "\n")
    left_over = package / "envoy" / "gone.py"
    left_over.touch()
    missing = package / "descriptors.binpb"
    missing.unlink()
    before = contents(package)

    checked = generate("--check", "--output", package)

    assert checked.returncode == 1
    assert [line for line in checked.stderr.splitlines() if line.startswith(str(tmp_path))] == sorted(
        [f"{edited}: differs", f"{left_over}: not generated any more", f"{missing}: missing"]
    )
    assert contents(package) == before


def test_generating_replaces_what_was_there(tmp_path):
    package = tmp_path / "_proto"
    package.mkdir()
    (package / "left_over.py").touch()

    generated = generate("--output", package)

    assert generated.returncode == 0, generated.stderr
    assert contents(package) == contents(PACKAGE)


def test_a_folder_that_was_not_made_here_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")

    refused = generate("--check", "--venv", tmp_path)

    assert refused.returncode == 1
    assert f"{tmp_path} was not made by proto/generate.py" in refused.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
