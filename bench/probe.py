"""Routes added one after another through a real Envoy, each asked every 5 ms until it answers 200.

``python -m bench.probe [--size N]``: each save of the folder adds an HTTPRoute with a Service of its own, so that each brings a
new cluster: once with a hostname each, once all on one hostname with a path each. Exits with 1 if any answer is neither 404 nor
200. The control plane and the Envoy are processes as an operator has them, the log is on disk.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path
from typing import get_args

from tests.e2e.probing import Shape, probe


async def measure(size: int, workers: int) -> bool:
    """Measure and print; whether all answers were 404 or 200."""
    clean = True
    for shape in get_args(Shape):
        with tempfile.TemporaryDirectory() as folder:
            found = await probe(Path(folder), size, shape, workers)
        print(f"by {shape}: {found}")
        for line in found.wrong:
            print(f"  {line}")
        clean = clean and found.is_clean
    return clean


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Routes added one after another, each asked until it is served.")
    parser.add_argument("--size", type=int, default=3_000, help="how many routes")
    parser.add_argument("--workers", type=int, default=4, help="threads of the Envoy")
    options = parser.parse_args()
    return 0 if asyncio.run(measure(options.size, options.workers)) else 1


if __name__ == "__main__":
    sys.exit(main())
