"""The same writes give the same commits: whatever the hash seed, the order of writing, and the machine. krt.md 1.13: 38, 39, 44"""

from __future__ import annotations

import os
import random
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import msgspec
import pytest
from krt_random import KEYS, Built, draw, random_item

from controlplane.krt import Commit

ROOT = Path(__file__).parents[2]


def live(seed: int) -> list[Commit]:
    """Twelve transactions of a random graph."""
    rng = random.Random(seed)
    built = Built(draw(rng, 12))
    commits = []
    for seq in range(1, 13):
        tx = built.graph.begin(seq)
        for _ in range(rng.randrange(8)):
            source = rng.choice(built.sources)
            if rng.random() < 0.3:
                tx.delete(source, rng.choice(KEYS))
            else:
                tx.put(source, random_item(rng))
        commits.append(tx.commit())
    return commits


def digest(seeds: range) -> str:
    """Everything in the commits, in the order it is in."""
    found = sha256()
    for seed in seeds:
        for commit in live(seed):
            for name, delta in commit.deltas.items():
                found.update(name.encode())
                for key, change in delta.items():
                    found.update(repr(key).encode() + msgspec.msgpack.encode(change))
            found.update(msgspec.msgpack.encode((commit.failures, commit.cleared, list(commit.runs.items()))))
    return found.hexdigest()


def test_two_hash_seeds_give_the_same_bytes() -> None:
    program = "import test_determinism as t; print(t.digest(range(25)))"
    digests = []
    for hash_seed in ("1", "2"):
        path = os.pathsep.join((str(ROOT), str(Path(__file__).parent)))
        out = subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONHASHSEED": hash_seed, "PYTHONPATH": path},
            check=True,
            capture_output=True,
            text=True,
        )
        digests.append(out.stdout.strip())
    assert digests[0] == digests[1]
    assert digests[0] == digest(range(25))


def test_the_same_writes_give_the_same_commits() -> None:
    """44"""
    for seed in range(25, 35):
        assert live(seed) == live(seed)


@pytest.mark.parametrize("seed", range(10))
def test_the_order_of_writing_within_a_transaction_does_not_matter(seed: int) -> None:
    rng = random.Random(seed)
    specs = draw(rng, 12)
    writes = [(i, random_item(rng, key)) for i in range(2) for key in KEYS]
    commits = []
    for _ in range(4):
        rng.shuffle(writes)
        built = Built(specs)
        tx = built.graph.begin(1)
        for i, row in writes:
            tx.put(built.sources[i], row)
        commits.append(tx.commit())
        assert all(
            list(a) == list(b) for a, b in zip(commits[0].deltas.values(), commits[-1].deltas.values(), strict=True)
        )
    assert all(commit == commits[0] for commit in commits)
