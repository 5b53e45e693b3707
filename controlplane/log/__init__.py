"""The log: the one way in, and the memory of everything. README.md is its contract.

It stores bytes and is handed its codec; it knows nothing of what the events mean, and holds no thread and no event loop.
"""

from controlplane.log.damage import Damage, Torn
from controlplane.log.errors import LogError, LogLocked, UnknownEventType
from controlplane.log.files import Files, OSFiles
from controlplane.log.interface import SYNC_SECONDS, Log, LogStatistics
from controlplane.log.memory import MemoryLog
from controlplane.log.naming import digests_in
from controlplane.log.opening import Opened
from controlplane.log.reading import FromSegment, read_log
from controlplane.log.records import Checkpoint, Codec, Record, Transaction
from controlplane.log.secrets import MemorySecretStore, Secrets, SecretStore
from controlplane.log.segmented import SEGMENT_BYTES, FsyncMode, SegmentedLog
from controlplane.log.segments import CheckpointFunction
from controlplane.log.verifying import LogReport, SegmentReport, verify
from controlplane.log.writing import Segment

__all__ = [
    "SEGMENT_BYTES",
    "SYNC_SECONDS",
    "Checkpoint",
    "CheckpointFunction",
    "Codec",
    "Damage",
    "Files",
    "FromSegment",
    "FsyncMode",
    "Log",
    "LogError",
    "LogLocked",
    "LogReport",
    "LogStatistics",
    "MemoryLog",
    "MemorySecretStore",
    "OSFiles",
    "Opened",
    "Record",
    "SecretStore",
    "Secrets",
    "Segment",
    "SegmentReport",
    "SegmentedLog",
    "Torn",
    "Transaction",
    "UnknownEventType",
    "digests_in",
    "read_log",
    "verify",
]
