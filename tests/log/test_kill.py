"""A writing process, killed at random moments: what it was told is in the log is in the log."""

from __future__ import annotations

import random
import signal
import struct
import subprocess
import sys
from pathlib import Path
from time import perf_counter

import orjson

from controlplane.log import Checkpoint, SegmentedLog, Transaction, read_log, verify
from controlplane.log.testing import DictCodec

LIVES = 60

WRITER = """
import os, random, struct, sys
from controlplane.log import SegmentedLog
from controlplane.log.testing import DictCodec

folder, fsync, segment_bytes, seed = sys.argv[1:]
chance = random.Random(seed)
state = lambda: b'{"last_seq":%d,"pad":"%b"}' % (log.last_seq, b"-" * 3000)
log = SegmentedLog.open(folder, DictCodec(), fsync=fsync, segment_bytes=int(segment_bytes), checkpoint=state)
while True:
    first_seq = log.last_seq + 1
    size = chance.choice((1, 1, 2, 50))
    pads = [chance.randrange(500) for _ in range(size)]
    pads[-1] = chance.choice((0, 0, 0, 500_000))  # a large write can be killed in the middle
    transaction = log.append([{"n": first_seq + n, "pad": "-" * pad} for n, pad in enumerate(pads)], source="writer")
    os.write(1, struct.pack("<Q", transaction.seq))
    log.sync_if_due(transaction.seq / 1000)
"""


def test_whatever_was_acknowledged_before_a_kill_is_there(tmp_path: Path) -> None:
    """Each life goes on with the log of the one before, so that all damage would add up."""
    chance = random.Random(20260102)
    folder = tmp_path / "log"
    SegmentedLog.open(folder, DictCodec()).close()
    acknowledged = [0]
    for life in range(LIVES):
        fsync = ("grouped", "never", "always")[life % 3]
        segment_bytes = ("20000", "30000000")[life % 2]
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(folder), fsync, segment_bytes, str(life)],
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parents[2],
        ) as writer:
            assert writer.stdout
            told = writer.stdout.read(8 * chance.choice((0, 1, 2, chance.randrange(40))))
            # Not right after an acknowledgement, which would always be the start of the next append.
            moment = perf_counter() + chance.uniform(0, 0.005)
            while perf_counter() < moment:
                pass
            writer.kill()
            told += writer.stdout.read()
        assert writer.returncode == -signal.SIGKILL
        acknowledged += [seq for (seq,) in struct.iter_unpack("<Q", told)]

        start, *transactions = read_log(folder, DictCodec(), from_segment="newest")
        assert isinstance(start, Checkpoint)
        assert start.seq == 0 or orjson.loads(start.data)["last_seq"] == start.seq
        assert (transactions[-1] if transactions else start).seq >= acknowledged[-1]

    assert len(acknowledged) > LIVES
    assert verify(folder, DictCodec()).damage == ()
    read = list(read_log(folder, DictCodec()))
    assert [event["n"] for t in read if isinstance(t, Transaction) for event in t.events] == [
        *range(1, read[-1].seq + 1)
    ]
    ends = [t.seq for t in read]
    assert acknowledged == sorted(acknowledged)
    assert set(ends) >= set(acknowledged)
    assert len(ends) - len(acknowledged) <= LIVES, "each life may have appended one more than it came to tell"
    with SegmentedLog.open(folder, DictCodec()) as log:
        assert log.last_seq == ends[-1]
