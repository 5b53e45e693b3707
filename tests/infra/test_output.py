"""The Envoy's log in ours."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from controlplane.infra import find_envoy
from controlplane.infra.output import LOG_FORMAT, OutputFollower, redact

KEY = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBg\n-----END PRIVATE KEY-----"

Follow = Callable[..., OutputFollower]


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "envoy.log"


@pytest.fixture
def follow(output: Path, log) -> Follow:
    return lambda **options: OutputFollower(output, output.with_suffix(".seen"), log.logger, **options)


def line(message: str, level: str = "info", logger: str = "upstream") -> str:
    return json.dumps({"level": level, "logger": logger, "message": message}) + "\n"


def append(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


def test_each_line_has_its_level_and_origin(output: Path, follow: Follow, log) -> None:
    levels = ("trace", "debug", "info", "warning", "error", "critical")
    append(output, "".join(line(f"said at {level}", level) for level in levels))
    follow().drain()
    assert [(e["level"], e["message"]) for e in log.items] == [
        ("debug", "said at trace"),
        *((level, f"said at {level}") for level in levels[1:]),
    ]
    assert log.items[0]["envoy_logger"] == "upstream"


def test_nothing_is_passed_on_twice_and_halves_wait(output: Path, follow: Follow, log) -> None:
    follower = follow()
    assert not follower.advance()  # there is no file yet
    whole = line("second")
    append(output, line("first") + whole[:20])
    follower.advance()
    assert log.texts() == ["first"]
    append(output, whole[20:])
    follower.advance()
    follower.drain()
    assert log.texts() == ["first", "second"]


def test_the_next_life_goes_on_where_the_last_one_ended(output: Path, follow: Follow, log) -> None:
    append(output, line("before") + line("cut")[:10])
    follow().advance()
    append(output, line("cut")[10:] + line("meanwhile"))
    follow().drain()
    assert log.texts() == ["before", "cut", "meanwhile"]


def test_words_of_the_dying_are_warnings(output: Path, follow: Follow, log) -> None:
    append(output, "error while loading shared libraries\n\nterminate called")
    follow().drain()
    assert [(e["level"], e["message"]) for e in log.items] == [
        ("warning", "error while loading shared libraries"),
        ("warning", "terminate called"),
    ]


def test_the_file_is_emptied_at_its_limit(output: Path, follow: Follow, log) -> None:
    follower = follow(limit=1000)
    for number in range(50):
        append(output, line(f"line {number}"))
        follower.advance()
        assert output.stat().st_size <= 1000 + len(line("line 99"))
    assert log.texts() == [f"line {number}" for number in range(50)]


def test_what_comes_too_fast_is_dropped_and_that_is_said(output: Path, follow: Follow, log) -> None:
    append(output, line("x" * 1000) * 200)
    follow(limit=1000).drain()
    assert output.stat().st_size == 0
    assert log.items[-1]["event"] == "envoy_log_dropped"
    assert log.items[-1]["octets"] > 0


def test_somebody_else_may_empty_it(output: Path, follow: Follow, log) -> None:
    follower = follow()
    append(output, line("a long line before"))
    follower.advance()
    output.write_text(line("after"))
    follower.advance()
    assert log.texts() == ["a long line before", "after"]


def test_a_line_without_end_is_cut(output: Path, follow: Follow, log) -> None:
    append(output, line(KEY + "y" * 3_000_000) + line("after"))
    follow().drain()
    assert len(log.items) == 2
    assert len(log.texts()[0]) < 10_000
    assert log.texts()[1] == "after"
    assert "MIIE" not in str(log.items)


def test_the_list_of_extensions_is_only_for_debugging(output: Path, follow: Follow, log) -> None:
    append(
        output,
        line("statically linked extensions:", logger="main")
        + line("  envoy.clusters: envoy.cluster.eds", logger="main"),
    )
    follow().drain()
    assert {e["level"] for e in log.items} == {"debug"}


@pytest.mark.parametrize(
    "text",
    [
        f'private_key {{ inline_string: {json.dumps(KEY)} }} password {{ inline_bytes: "MIIE\\002" }}',
        f'{{"privateKey": {{"inlineBytes": "{"TUlJRQ" * 9}MIIE"}}}}',
        f"the key {KEY} does not match",
        f"the key {KEY[:40]}",
    ],
)
def test_secrets_do_not_pass_and_do_not_stay(text: str, output: Path, follow: Follow, log) -> None:
    append(output, line(f"rejected: {text}", "warning") + line("x" * 1000) * 100)
    follow().drain()
    assert "MIIE" not in str(log.items)
    assert "[redacted]" in log.texts()[0]
    assert log.texts()[0].startswith("rejected: ")
    assert len(log.items) == 101
    assert output.stat().st_size == 0


def test_what_is_no_secret_is_left_alone() -> None:
    text = 'Error adding/updating listener(s) "https": inline_string is not set; filename: "/a"; -----BEGIN CERTIFICATE-----'
    assert redact(text) == text


@pytest.mark.envoy
def test_a_real_envoy_speaks_that_format_and_prints_keys(tmp_path: Path, output: Path, follow: Follow, log) -> None:
    bad = {"tls_certificate": {"private_key": {"inline_string": KEY}, "password": {"filename": ""}}}
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"static_resources": {"secrets": [{"name": "bad", **bad}]}}))
    command = [find_envoy(), "--mode", "validate", "--config-path", config, "--log-format", LOG_FORMAT]
    with output.open("ab") as file:
        subprocess.run(command, stdout=file, stderr=file, check=False, timeout=30)
    assert "MIIE" in output.read_text()
    follow().drain()
    assert "MIIE" not in str(log.items)
    assert any(entry["level"] == "critical" and "[redacted]" in entry["message"] for entry in log.items)
