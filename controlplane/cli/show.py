"""Commands that print: translations, replays, logs, bootstraps."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
import orjson

from controlplane.runtime.document import Format, compare, for_only_client, only_gateway, render, snapshot
from controlplane.runtime.errors import ControlPlaneError
from controlplane.runtime.held import held_by
from controlplane.runtime.offline import OfflineTranslation, bootstrap_text, log_records, read_state, verify_log
from controlplane.runtime.options import HostPort
from controlplane.runtime.xds_options import envoys_tls


def _print(text: str) -> None:
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        sys.stderr.close()


def show_translation(translation: OfflineTranslation, gateway: str | None, form: Format) -> int:
    """Print the document of manifests; what is wrong with them goes to standard error. 1 if anything is."""
    document = for_only_client(snapshot(translation.state))
    if gateway is not None:
        if gateway not in document["gateways"]:
            known = ", ".join(document["gateways"]) or "none"
            raise ControlPlaneError(f"--gateway {gateway}: nothing is served to it; Gateways that are served: {known}")
        document = only_gateway(document, gateway)
    _print(render(document, form))
    for line in translation.warnings:
        sys.stderr.write(f"warning: {line}\n")
    for line in translation.errors:
        sys.stderr.write(f"error: {line}\n")
    return 1 if translation.errors else 0


def show_bootstrap(
    gateway: str,
    xds: str,
    node_id: str,
    locality: str,
    labels: Sequence[str],
    admin: str,
    *,
    authority: Path | None = None,
    certificate: str = "",
    key: str = "",
    name: str = "",
    secrets: str = "",
) -> None:
    """Print a bootstrap."""
    addresses = HostPort.parse(xds, "--xds"), HostPort.parse(admin, "--admin")
    tls = envoys_tls(authority, certificate, key, name, secrets)
    _print(bootstrap_text(gateway, *addresses, node_id, locality, labels, tls))


def show_replay(log_dir: Path, until: int | None, form: Format) -> None:
    """Print the state that a log gives."""
    state = read_state(log_dir, until)
    if until is not None and state.seq != until:
        sys.stderr.write(f"warning: no transaction ends at seq {until}; this is the state at seq {state.seq}\n")
    _print(render(snapshot(state), form))


def show_difference(log_dir: Path, first: int, second: int, form: Format) -> None:
    """Print what differs between two moments: for each name the state before and after, null where it was absent."""
    before, after = snapshot(read_state(log_dir, first)), snapshot(read_state(log_dir, second))
    changes = {name: {"before": old, "after": new} for name, old, new in compare(before, after)}
    document = {"from": before["seq"], "to": after["seq"], "changes": changes}
    _print(render(document, form))


def show_held(log_dir: Path, at: int, form: Format) -> None:
    """Print what each proxy held at a moment."""
    _print(render(held_by(log_dir, at), form))


def show_log(log_dir: Path, start: int, until: int | None) -> None:
    """Print events, one a line."""
    for record in log_records(log_dir, start, until):
        name = type(record.event).__name__
        _print(f"{record.seq:>8}  {record.time}  {record.source:<12} {name:<20} {_summary(record.event)}\n")


def _summary(event: object) -> str:
    values = msgspec.to_builtins(event)
    obj = values.get("object")
    if obj is not None:
        metadata = obj["metadata"]
        key = "/".join(part for part in (metadata.get("namespace"), metadata["name"]) if part)
        return f"{obj['kind']} {key}  {values.get('origin', '')}".rstrip()
    reference = values.get("reference")
    if reference is not None:
        key = "/".join(part for part in (reference.get("namespace"), reference["name"]) if part)
        problems = "; ".join(f"{p['path']}: {p['problem']}" for p in values.get("errors", ()))
        return f"{reference['kind']} {key}  {problems}".rstrip()
    text = orjson.dumps(values).decode()
    return text if len(text) <= 160 else f"{text[:159]}…"


def show_verification(log_dir: Path) -> int:
    """Print what was found; 1 if anything is damaged."""
    report, lines = verify_log(log_dir)
    _print("\n".join([*lines, ""]))
    return 0 if report else 1
