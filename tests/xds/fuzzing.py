"""How long a fuzzer runs: some examples in the suite, the same each time; minutes, and others each time, when asked for them.

``FUZZ_SECONDS=600 make fuzz`` gives each fuzzer (a test named ``test_any_*``) ten minutes. What one finds becomes an ``example`` of its test, or a file of
the corpus.
"""

from __future__ import annotations

import itertools
import os
import random
import time
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, seed, settings
from hypothesis.strategies import SearchStrategy

SECONDS = float(os.environ.get("FUZZ_SECONDS", "0"))
BATCH = 500
"""Examples between two looks at the clock."""

fuzzer = pytest.mark.timeout(SECONDS + 300)


def fuzz(
    check: Callable[[Any], None], inputs: SearchStrategy[Any], *, examples: int, known: Iterable[Any] = ()
) -> None:
    """Checks many inputs.

    Args:
        check: Raises for a bad one.
        inputs: Where they come from.
        examples: How many in the suite.
        known: What is checked each time: what was found once.
    """

    def run(count: int, number: int | None) -> None:
        test = given(inputs)(check)
        for value in known:
            test = example(value)(test)
        test = settings(
            max_examples=count,
            deadline=None,
            database=None,
            derandomize=number is None,
            suppress_health_check=list(HealthCheck),
        )(test)
        (test if number is None else seed(number)(test))()

    if not SECONDS:
        run(examples, None)
        return
    end = time.monotonic() + SECONDS
    first = random.randrange(2**32)
    for number in itertools.count(first):
        run(BATCH, number)
        if time.monotonic() > end:
            print(f"{check.__qualname__}: {(number - first + 1) * BATCH} examples, seeds {first} to {number}")
            return
