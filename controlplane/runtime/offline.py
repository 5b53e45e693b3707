"""What needs no server: translations, replays, logs, bootstraps."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

from controlplane.infra import ClientTls, bootstrap, secret_documents, to_yaml
from controlplane.log import Checkpoint, MemoryLog, Record, Transaction, read_log, verify
from controlplane.model.codec import EventCodec
from controlplane.model.events import (
    SCHEMA_VERSION,
    AnyEvent,
    ControlPlaneStarted,
    ObjectApplied,
    ObjectRejected,
    ProxyConnected,
    Settings,
    SourceSynced,
    SourceUnavailable,
)
from controlplane.model.objects import KINDS
from controlplane.runtime.core import State, replay
from controlplane.runtime.errors import ControlPlaneError, OptionError
from controlplane.runtime.options import AskedClient, HostPort, Infra, RunOptions, parse_labels, parse_locality
from controlplane.sources import FilesSource, read_manifests


@dataclass(frozen=True)
class OfflineTranslation:
    """Manifests folded without a server."""

    state: State
    errors: tuple[str, ...]
    warnings: tuple[str, ...]


def translate_paths(
    paths: Sequence[Path],
    infra: Infra = "none",
    mesh: Settings | None = None,
    client: AskedClient | None = None,
) -> OfflineTranslation:
    """The state that these manifests give in a fresh control plane.

    Args:
        paths: Files and folders.
        infra: Who runs the Envoys.
        mesh: Istio's settings.
        client: A proxy that each Gateway of ours has; None, as one of which nothing is known, needs none: that is what a
            Gateway without proxies is translated for.

    Raises:
        ControlPlaneError: A path does not exist.
    """
    for path in paths:
        if not path.exists():
            raise ControlPlaneError(f"{path}: no such file or folder")
    manifests = read_manifests(paths)
    folded = fold_events(
        manifests.events, RunOptions(infra=infra, mesh=mesh or Settings(), observe_proxies=False), client
    )
    ignored = tuple(
        f"{count} of kind {kind}: not read, since it is none of our kinds" for kind, count in manifests.ignored.items()
    )
    return replace(folded, warnings=(*folded.warnings, *ignored))


def fold_events(
    events: Sequence[AnyEvent], options: RunOptions, client: AskedClient | None = None
) -> OfflineTranslation:
    """The state of a control plane that has seen just these events of a files source, and a client of each Gateway if asked."""
    kinds = tuple(KINDS)
    started = ControlPlaneStarted(
        version=version("controlplane"), settings=options.settings(), sources={FilesSource.name: kinds}
    )
    log: MemoryLog[AnyEvent] = MemoryLog(EventCodec())
    state = State()
    state.apply(log.append([started], source="controlplane"))
    state.apply(log.append([*events, SourceSynced(kinds)], source=FilesSource.name))
    if client is not None and client != AskedClient():
        connected = list(_connections(state, client))
        if connected:
            state.apply(log.append(connected, source="xds"))
    errors: list[str] = []
    warnings: list[str] = []
    for event in events:
        match event:
            case ObjectRejected(reference, problems, origin):
                errors.extend(f"{origin}: {reference}: {problem}" for problem in problems)
            case SourceUnavailable(part, reason):
                errors.append(reason if part in reason else f"{part}: {reason}")
            case ObjectApplied(obj, _, origin, unknown, unsupported):
                warnings.extend(f"{origin}: {obj.kind} {obj.key}: {problem}" for problem in (*unknown, *unsupported))
            case _:
                pass
    return OfflineTranslation(state, tuple(errors), tuple(warnings))


def _connections(state: State, client: AskedClient) -> Iterator[ProxyConnected]:
    for number, row in enumerate(state.rows.gateways.owned.rows(), 1):
        # A node id is ``{pod}.{namespace}``.
        node = f"translate.{client.namespace or row.key.partition('/')[0]}"
        yield ProxyConnected(
            proxy=f"{node}#{number}", node=node, gateway=row.key, locality=client.locality, labels=client.labels
        )


def read_state(log_dir: Path, until: int | None = None) -> State:
    """The state that a log gives.

    Raises:
        LogError: There is no log, it is damaged, or it does not reach back that far.
        ControlPlaneError: The log does not reach ``until``.
    """
    state = replay(log_dir, until)
    if until is not None and state.seq == 0:
        raise ControlPlaneError(f"{log_dir}: no transaction ends at or before seq {until}")
    return state


def log_records(log_dir: Path, start: int = 1, until: int | None = None) -> Iterator[Record[AnyEvent]]:
    """Events of a log, from one seq to another; without a start, from the oldest that is there.

    Raises:
        ControlPlaneError: The first ones have been dropped.
        LogError: There is no log, or it is damaged.
    """
    for item in read_log(log_dir, EventCodec(), schema_version=SCHEMA_VERSION):
        if isinstance(item, Checkpoint) and (1 < start <= item.seq or (until is not None and until <= item.seq > 0)):
            raise ControlPlaneError(f"{log_dir}: events before seq {item.seq + 1} have been dropped; name a later seq")
        if isinstance(item, Transaction):
            for record in item.records():
                if until is not None and record.seq > until:
                    return
                if record.seq >= start:
                    yield record


def verify_log(log_dir: Path) -> tuple[bool, list[str]]:
    """Whether a log is whole, and what there is to say about it."""
    report = verify(log_dir, EventCodec())
    lines = [
        f"{s.file}: seq {s.first_seq} to {s.last_seq}, {s.transactions} transactions, {s.events} events, "
        f"{s.octets} bytes ({s.checkpoint_octets} of checkpoint)"
        for s in report.segments
    ]
    lines.extend(f"{d.file}:{d.line}: seq {d.seq}: {d.reason}" for d in report.damage)
    if report.torn is not None:
        torn = report.torn
        lines.append(
            f"{torn.file}:{torn.line}: {torn.octets} bytes of an unfinished transaction at the end (no damage)"
        )
    lines.extend(f"{name}: not a file of the log" for name in report.foreign)
    total = f"{report.events} events in {report.transactions} transactions"
    lines.append(f"{total}, {'damaged' if report.damage else 'whole'}")
    return not report.damage, lines


def bootstrap_text(
    gateway: str,
    xds: HostPort,
    admin: HostPort,
    node_id: str,
    locality: str,
    labels: Sequence[str] = (),
    tls: ClientTls | None = None,
) -> str:
    """An Envoy bootstrap as YAML; writes the files that ``tls`` asks for.

    Raises:
        OptionError: The locality or a label is malformed, or a file cannot be written.
    """
    region, zone, sub_zone = parse_locality(locality, "--locality")
    text = to_yaml(
        bootstrap(
            gateway,
            xds_address=xds.host,
            xds_port=xds.port,
            node_id=node_id,
            region=region,
            zone=zone,
            sub_zone=sub_zone,
            labels=parse_labels(labels, "--label"),
            admin_address=admin.host,
            admin_port=admin.port,
            tls=tls,
        )
    )
    if tls is not None:
        _write_secrets(tls)
    return text


def _write_secrets(tls: ClientTls) -> None:
    """An Envoy that runs already takes up what is renamed into place, and nothing else."""
    folder = Path(tls.secrets)
    try:
        for name, document in secret_documents(tls).items():
            folder.mkdir(parents=True, exist_ok=True)
            new = folder / f".{name}.new"
            new.write_text(json.dumps(document, indent=2) + "\n")
            new.replace(folder / name)
    except OSError as error:
        raise OptionError(f"--secrets {folder}: {error.strerror}; name a folder that can be written to") from error
