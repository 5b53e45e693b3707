"""The documents tell the truth: their links lead somewhere, their commands and pages exist, their tables are complete."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer.main
import yaml

from controlplane.cli.main import app
from controlplane.xds import Settings

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted(
    path
    for path in (
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/**/*.md"),
        *ROOT.glob("controlplane/*/README.md"),
        *ROOT.glob("[a-z]*/README.md"),
    )
    if ".venv" not in path.parts
)
_LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)(?:#[^)]*)?\)")
_COMMAND = re.compile(r"^\$ ((?:\.venv/bin/)?controlplane .*|make .*)$", re.MULTILINE)


def test_there_are_documents() -> None:
    """The search below has something to look at."""
    names = {str(path.relative_to(ROOT)) for path in DOCUMENTS}
    assert {"README.md", "docs/concepts.md", "docs/why.md", "tests/README.md", "controlplane/krt/README.md"} <= names


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    """Every relative link names a file or folder."""
    for target in _LINK.findall(path.read_text()):
        if "://" not in target:
            assert (path.parent / target).exists(), f"{path}: {target}"


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_exist(path: Path) -> None:
    """Each command line in a console block names a command of ours, or a target of make, and options that it has."""
    group = typer.main.get_command(app)
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for line in _COMMAND.findall(path.read_text()):
        words = shlex.split(line, comments=True)
        if words[0] == "make":
            assert words[1] in targets, line
            continue
        command: object = group
        rest = words[1:]
        while hasattr(command, "commands"):
            assert rest[0] in command.commands, line
            command = command.commands[rest[0]]
            rest = rest[1:]
        options = {option for parameter in command.params for option in parameter.opts}  # type: ignore[attr-defined]
        for word in rest:
            if word.startswith("-"):
                assert word.partition("=")[0] in options, f"{line}: {word}"


def test_the_readme_names_every_page() -> None:
    """The admin server has no page that a reader of the README does not know, but for those of two parts."""
    source = (ROOT / "controlplane/runtime/admin.py").read_text()
    readme = (ROOT / "README.md").read_text()
    pages = re.findall(r'add_get\("(/[a-z]+)"', source)
    debug = re.findall(r'^\s+"([a-z]+)": self\._[a-z]+,$', source, re.MULTILINE)
    assert {"/livez", "/readyz", "/metrics"} <= set(pages)
    assert {"snapshot", "explain"} <= set(debug)
    for page in (*pages, *(f"/debug/{name}" for name in debug)):
        assert page in readme, page


def test_examples_are_served_without_a_word() -> None:
    """Every example folder translates without an error, a warning or an untrue condition."""
    from controlplane.runtime.document import snapshot
    from controlplane.runtime.offline import translate_paths

    for folder in sorted((ROOT / "examples").iterdir()):
        translation = translate_paths([folder])
        assert (translation.errors, translation.warnings) == ((), ()), folder
        text = yaml.safe_dump(snapshot(translation.state)["statuses"])
        assert "status: 'False'\n      type: Accepted" not in text
        assert "NotFound" not in text


@pytest.mark.parametrize("page", ["delivery", "xds-security"])
def test_limits_have_the_defaults_that_the_tables_say(page: str) -> None:
    """Names and defaults of ``--xds-limit``."""
    settings = Settings()
    rows = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \| ([\d, ]+)", (ROOT / "docs" / f"{page}.md").read_text(), re.MULTILINE)
    assert len(rows) >= 4
    for names, defaults in rows:
        for name, default in zip(re.findall(r"\w+", names), re.findall(r"\d+", defaults), strict=True):
            found = getattr(settings.limits, name) if hasattr(settings.limits, name) else getattr(settings, name)
            assert found == int(default), name
