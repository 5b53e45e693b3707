"""What a process begins with: state, log and secrets, from a log of its own or from a recorded one.

A recorded log is served, never written. What happens while it is served (Envoys connect, acknowledge, reject, leave) is a fact
all the same, without which nobody could say what a proxy is to be served; it goes on in memory where the record ends. So at
the recorded seq the state is the recorded one, to the byte, and each proxy that comes adds transactions after it which are gone
with the process. The proxies of the record are part of that state, and none of them is connected.
"""

from __future__ import annotations

from pathlib import Path

import structlog

from controlplane.log import (
    Log,
    LogError,
    MemoryLog,
    MemorySecretStore,
    Secrets,
    SecretStore,
    SegmentedLog,
)
from controlplane.model.codec import EventCodec
from controlplane.model.events import SCHEMA_VERSION, AnyEvent
from controlplane.runtime.core import State
from controlplane.runtime.errors import ControlPlaneError
from controlplane.runtime.offline import read_state
from controlplane.runtime.options import RunOptions
from controlplane.translate import with_private_key
from controlplane.xds import Resolve

_log = structlog.get_logger(__name__)


def open_all(options: RunOptions) -> tuple[State, Log[AnyEvent], Secrets]:
    """State, log and secrets to begin with.

    Raises:
        ControlPlaneError: A recorded log holds nothing that was served; or another version wrote it.
        LogError: The log is damaged, or another process has it.
    """
    if options.replay is not None:
        state = _recorded(options.replay, options.until)
        return state, MemoryLog(EventCodec(), keep=False, after=state.seq), SecretStore(options.replay, read_only=True)
    state = State()
    codec = EventCodec()
    if options.log_dir is None:
        return state, MemoryLog(codec, keep=False), MemorySecretStore()
    log: SegmentedLog[AnyEvent] = SegmentedLog.open(
        options.log_dir,
        codec,
        checkpoint=state.checkpoint,
        fsync=options.fsync,
        segment_bytes=options.log_segment_bytes,
        schema_version=SCHEMA_VERSION,
    )
    try:
        for warning in log.opened.warnings():
            _log.warning("log_opened", detail=warning)
        state.take_with_memory(lambda start: log.read(from_segment=start))
        return state, log, SecretStore(options.log_dir)
    except BaseException:
        log.close()
        raise


def _recorded(path: Path, until: int | None) -> State:
    """The state of a log that is worth serving.

    Raises:
        ControlPlaneError: Up to there not everything had been read, so that nothing was served then either.
    """
    state = read_state(path, until)
    if until is not None and state.seq != until:
        _log.warning("no_transaction_ends_there", until=until, seq=state.seq)
    if not state.was_complete:
        text = f"{path}: at seq {state.seq} not everything had been read, so nothing was served; name a later seq"
        raise ControlPlaneError(text)
    return state


def resolver(secrets: Secrets) -> Resolve:
    """The bytes of certificates, whose keys lie in a store."""

    def key_of(digest: str) -> bytes | None:
        try:
            return secrets.get(digest.removeprefix("sha256:"))
        except LogError as error:
            # One key that cannot be read is one certificate that is not served, and no stream's end.
            _log.error("private_key_not_readable", error=str(error))
            return None

    return lambda row: with_private_key(row.body, key_of)
